//! Which members stand aside: those that are without a broker while another has one. Pure: it is told the time, by this process's own
//! steady clock. A wrong answer costs a hop or a wait, never correctness: the lock decides.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::domain::{NodeId, Reach};

/// How long a member must have been seen with its broker before others stand aside for it. When a broker comes back to all, the last
/// has its session some time after the first: a connect that hung is given up after `broker.answer_timeout_ms` (5 s).
const HOLD: Duration = Duration::from_secs(6);

/// What was seen of the members' ways to the broker.
#[derive(Debug, Default)]
pub(super) struct Aside {
    up_since: BTreeMap<NodeId, Instant>,
    aside: BTreeSet<NodeId>,
}

impl Aside {
    /// Takes in how the members reach the broker now, as far as is known. Whether others stand aside than before.
    pub(super) fn heed(&mut self, members: &[(NodeId, Option<Reach>)], now: Instant) -> bool {
        let told = |reach| members.iter().filter(move |(_, told)| *told == Some(reach)).map(|(id, _)| id);
        self.up_since.retain(|id, _| told(Reach::Up).any(|up| up == id));
        for id in told(Reach::Up) {
            self.up_since.entry(id.clone()).or_insert(now);
        }
        let is_steady = self.up_since.values().any(|since| now.duration_since(*since) >= HOLD);
        // A reconnect of the one that took over brings nobody back. Only when nobody has a broker nobody stands aside.
        let is_hoped_for = told(Reach::Up).chain(told(Reach::Down)).next().is_some();
        let aside = told(Reach::Away).filter(|id| is_steady || is_hoped_for && self.aside.contains(*id)).cloned().collect();
        std::mem::replace(&mut self.aside, aside) != self.aside
    }

    /// Who stands aside.
    pub(super) const fn members(&self) -> &BTreeSet<NodeId> {
        &self.aside
    }
}

#[cfg(test)]
mod tests {
    use super::Reach::{Away, Down, Up};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Members `a`, `b`, `c`, and a clock.
    struct Seen(Aside, Instant);

    impl Seen {
        /// Two members that had their broker for long.
        fn steady() -> Self {
            let mut seen = Self(Aside::default(), Instant::now());
            assert_eq!(seen.heed(HOLD, [Some(Up), Some(Up)]), "");
            assert_eq!(seen.heed(HOLD, [Some(Up), Some(Up)]), "");
            seen
        }

        /// Who stands aside when that is told that much later.
        fn heed<const N: usize>(&mut self, later: Duration, told: [Option<Reach>; N]) -> String {
            self.1 += later;
            let members: Vec<_> = ["a", "b", "c"].iter().zip(told).map(|(id, reach)| (id.parse().unwrap(), reach)).collect();
            self.0.heed(&members, self.1);
            self.0.members().iter().map(NodeId::as_str).collect()
        }
    }

    #[test]
    fn one_without_a_broker_stands_aside_for_one_that_has_it_until_it_is_back() {
        let mut seen = Seen::steady();
        assert_eq!(seen.heed(SECOND, [Some(Down), Some(Up)]), "", "a reconnect moves nothing");
        assert_eq!(seen.heed(SECOND, [Some(Away), Some(Up)]), "a");
        assert_eq!(seen.heed(HOLD * 9, [Some(Away), Some(Up)]), "a");
        assert_eq!(seen.heed(SECOND, [Some(Up), Some(Up)]), "");
    }

    #[test]
    fn nobody_stands_aside_while_the_broker_is_away_for_all_nor_while_they_come_back_one_by_one() {
        let mut seen = Seen::steady();
        assert_eq!(seen.heed(SECOND, [Some(Down), Some(Down)]), "");
        assert_eq!(seen.heed(SECOND, [Some(Away), Some(Down)]), "", "they do not notice at once");
        assert_eq!(seen.heed(SECOND, [Some(Away), Some(Away)]), "");
        assert_eq!(seen.heed(HOLD * 9, [Some(Up), Some(Away)]), "");
        assert_eq!(seen.heed(HOLD - SECOND, [Some(Up), Some(Away)]), "");
        assert_eq!(seen.heed(Duration::ZERO, [Some(Up), Some(Up)]), "");
    }

    #[test]
    fn the_hold_runs_out_without_a_word_and_begins_anew_with_each_session() {
        let mut seen = Seen(Aside::default(), Instant::now());
        assert_eq!(seen.heed(SECOND, [Some(Away), Some(Up)]), "");
        assert_eq!(seen.heed(HOLD - SECOND, [Some(Away), Some(Down)]), "");
        assert_eq!(seen.heed(SECOND, [Some(Away), Some(Up)]), "");
        assert_eq!(seen.heed(HOLD - SECOND, [Some(Away), Some(Up)]), "");
        assert_eq!(seen.heed(SECOND, [Some(Away), Some(Up)]), "a");
    }

    #[test]
    fn a_reconnect_of_the_one_that_took_over_brings_nobody_back_and_its_loss_does() {
        let mut seen = Seen::steady();
        assert_eq!(seen.heed(SECOND, [Some(Away), Some(Up)]), "a");
        assert_eq!(seen.heed(SECOND, [Some(Away), Some(Down)]), "a");
        assert_eq!(seen.heed(SECOND, [Some(Away), Some(Up)]), "a");
        assert_eq!(seen.heed(SECOND, [Some(Away), Some(Away)]), "");
    }

    #[test]
    fn a_member_that_is_not_heard_neither_stands_aside_nor_lets_others() {
        let mut seen = Seen::steady();
        assert_eq!(seen.heed(SECOND, [Some(Away), None]), "");
        assert_eq!(seen.heed(HOLD, [Some(Away), None, Some(Up)]), "");
        assert_eq!(seen.heed(HOLD, [Some(Away), None, Some(Up)]), "a");
    }
}
