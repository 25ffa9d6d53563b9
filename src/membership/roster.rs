//! Which members may be given partitions. Pure: it is told the time, by this process's own steady clock; the clocks of others
//! are never compared with it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::domain::{NodeId, Timestamp};
use crate::routing::peer::Contact;
use crate::store::{NodeRow, NodeState};

/// What was seen of the members' heartbeats.
#[derive(Debug, Default)]
pub(super) struct Roster {
    rows: Vec<NodeRow>,
    seen: HashMap<NodeId, Seen>,
}

#[derive(Debug)]
struct Seen {
    instance: u64,
    heartbeat_at: Timestamp,
    changed: Instant,
}

impl Roster {
    /// Takes in the rows as they were read just now.
    pub(super) fn read(&mut self, rows: Vec<NodeRow>, now: Instant) {
        for row in &rows {
            let seen = Seen { instance: row.instance, heartbeat_at: row.heartbeat_at, changed: now };
            match self.seen.get_mut(&row.id) {
                Some(before) if (before.instance, before.heartbeat_at) == (row.instance, row.heartbeat_at) => {}
                Some(before) => *before = seen,
                None => drop(self.seen.insert(row.id.clone(), seen)),
            }
        }
        self.rows = rows;
    }

    /// The rows as last read.
    pub(super) fn rows(&self) -> &[NodeRow] {
        &self.rows
    }

    /// Whether a member's heart has beaten within the bound, as far as could be seen.
    pub(super) fn beats(&self, id: &NodeId, now: Instant, stale: Duration) -> bool {
        self.seen.get(id).is_some_and(|seen| now.duration_since(seen.changed) < stale)
    }

    /// Whether partitions may be meant for a member.
    ///
    /// One that is heard is. One at whose address nobody listens is not, at once: its process is gone. One that is merely
    /// silent may be cut off from us alone: its heartbeat tells.
    pub(super) fn may_own(&self, row: &NodeRow, contact: Contact, leaving: bool, now: Instant, stale: Duration) -> bool {
        row.state == NodeState::Active
            && !leaving
            && match contact {
                Contact::Live => true,
                Contact::Refused => false,
                Contact::Unknown | Contact::Silent => self.beats(&row.id, now, stale),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE: Duration = Duration::from_secs(5);

    fn row(beat: i64, state: NodeState) -> NodeRow {
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        NodeRow {
            id: "n".parse().unwrap(),
            instance: 1,
            address: "127.0.0.1:1".parse().unwrap(),
            state,
            started_at: at(0),
            heartbeat_at: at(beat),
            broker: crate::domain::Reach::Up,
            log_version: crate::event::LogVersion::NEWEST,
        }
    }

    fn may_own(roster: &Roster, contact: Contact, now: Instant) -> bool {
        roster.may_own(&roster.rows()[0], contact, false, now, STALE)
    }

    #[test]
    fn a_heartbeat_is_fresh_while_it_changes_whatever_it_says() {
        let (mut roster, start) = (Roster::default(), Instant::now());
        roster.read(vec![row(1, NodeState::Active)], start);
        roster.read(vec![row(1, NodeState::Active)], start + Duration::from_secs(4));
        assert!(may_own(&roster, Contact::Silent, start + Duration::from_secs(4)));
        assert!(!may_own(&roster, Contact::Silent, start + STALE), "it stands still");
        roster.read(vec![row(0, NodeState::Active)], start + STALE);
        assert!(may_own(&roster, Contact::Silent, start + STALE), "a clock set back beats too");
    }

    #[test]
    fn a_refused_connection_outweighs_a_fresh_heartbeat_and_a_live_one_a_stale() {
        let (mut roster, start) = (Roster::default(), Instant::now());
        roster.read(vec![row(1, NodeState::Active)], start);
        assert!(!may_own(&roster, Contact::Refused, start));
        assert!(may_own(&roster, Contact::Unknown, start));
        assert!(may_own(&roster, Contact::Live, start + STALE * 10));
    }

    #[test]
    fn only_an_active_member_that_is_not_leaving_gets_partitions() {
        let (mut roster, now) = (Roster::default(), Instant::now());
        for state in NodeState::ALL {
            roster.read(vec![row(1, state)], now);
            assert_eq!(may_own(&roster, Contact::Live, now), state == NodeState::Active, "{state:?}");
        }
        roster.read(vec![row(1, NodeState::Active)], now);
        assert!(!roster.may_own(&roster.rows()[0], Contact::Live, true, now, STALE));
    }
}
