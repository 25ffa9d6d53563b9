//! What each node of a cluster did of a race: what it answered, and whether it was its own to decide. Never asks anybody.

use crate::loopback::Target;
use crate::meters::Reading;
use crate::tally::Shot;

/// What one node did of a race.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Share {
    /// Its id, or its address where it has none.
    pub node: String,
    /// Orders it answered as accepted.
    pub accepted: u64,
    /// Whether it owned the commodity's partition at the end, where that is known: the others passed their orders on.
    pub owner: Option<bool>,
}

impl Share {
    /// One for each target; none where there is only one. `nodes` are what the targets said of themselves.
    #[must_use]
    pub fn of_all(targets: &[Target], nodes: &[Reading], owner: Option<&str>, shots: &[Shot]) -> Vec<Self> {
        if targets.len() < 2 {
            return Vec::new();
        }
        let accepted = |target: usize| shots.iter().filter(|shot| shot.is_accepted() && shot.target == target).count() as u64;
        let share = |(index, (target, reading)): (usize, (&Target, &Reading))| {
            let id = reading.node.as_deref();
            let node = id.map_or_else(|| target.to_string(), ToOwned::to_owned);
            Self { node, accepted: accepted(index), owner: id.and_then(|id| Some(id == owner?)) }
        };
        targets.iter().zip(nodes).enumerate().map(share).collect()
    }
}
