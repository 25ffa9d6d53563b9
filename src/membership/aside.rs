//! Which members stand aside: those that are without a broker while another has one. Pure: it is told the time, by this process's own
//! steady clock. A wrong answer costs a hop or a wait, never correctness: the lock decides.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::domain::{NodeId, Reach};

/// What was seen of the members' ways to the broker.
#[derive(Debug)]
pub(super) struct Aside {
    hold: Duration,
    members: BTreeMap<NodeId, Seen>,
    /// When each was last without a broker for good.
    away: BTreeMap<NodeId, Instant>,
    aside: BTreeSet<NodeId>,
}

/// Since when a member has had its broker on end.
#[derive(Clone, Copy, Debug)]
enum Seen {
    /// It had it when it was first seen.
    Always,
    /// It came back then.
    Since(Instant),
    /// It has not now.
    Without,
}

impl Aside {
    /// Nobody seen yet. When a broker comes back to all, the last has its session some time after the first: others stand aside for a
    /// member only when it has been back for `hold`, which is longer than a connect may hang.
    pub(super) const fn new(hold: Duration) -> Self {
        Self { hold, members: BTreeMap::new(), away: BTreeMap::new(), aside: BTreeSet::new() }
    }

    /// Takes in how the members reach the broker now, as far as is known. Whether others stand aside than before.
    pub(super) fn heed(&mut self, members: &[(NodeId, Option<Reach>)], now: Instant) -> bool {
        for (id, told) in members {
            let seen = match (*told, self.members.get(id)) {
                (Some(Reach::Up), None) => Seen::Always,
                (Some(Reach::Up), Some(Seen::Without)) => Seen::Since(now),
                (Some(Reach::Up), Some(seen)) => *seen,
                // Whoever is not heard yet has not been seen.
                (None, None) => continue,
                (Some(Reach::Down | Reach::Away) | None, _) => Seen::Without,
            };
            self.members.insert(id.clone(), seen);
            if *told == Some(Reach::Away) {
                self.away.insert(id.clone(), now);
            }
        }
        self.members.retain(|id, _| members.iter().any(|(member, _)| member == id));
        self.away.retain(|id, _| self.members.contains_key(id));
        let is_steady = members.iter().any(|(id, _)| self.is_steady(id, now));
        // A reconnect of the one that took over brings nobody back. Only when nobody has a broker nobody stands aside.
        let is_hoped_for = members.iter().any(|(_, told)| matches!(told, Some(Reach::Up | Reach::Down)));
        let stands = |(id, told): &&(NodeId, Option<Reach>)| match told {
            Some(Reach::Away) => is_steady || is_hoped_for && self.aside.contains(id),
            // Whose broker comes and goes takes nothing from those that keep theirs; but not for long, as a newcomer has not seen it.
            Some(Reach::Up) => is_steady && self.was_just_away(id, now) && !self.is_steady(id, now),
            Some(Reach::Down) => is_steady && self.was_just_away(id, now),
            None => false,
        };
        let aside = members.iter().filter(stands).map(|(id, _)| id.clone()).collect();
        std::mem::replace(&mut self.aside, aside) != self.aside
    }

    /// Whether it stood aside, and was away not much longer ago than a member that has its broker for good takes to come back.
    fn was_just_away(&self, id: &NodeId, now: Instant) -> bool {
        self.aside.contains(id) && self.away.get(id).is_some_and(|away| now.duration_since(*away) < self.hold * 2)
    }

    fn is_steady(&self, id: &NodeId, now: Instant) -> bool {
        match self.members.get(id) {
            Some(Seen::Always) => true,
            Some(Seen::Since(since)) => now.duration_since(*since) >= self.hold,
            Some(Seen::Without) | None => false,
        }
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
    const HOLD: Duration = Duration::from_secs(6);

    /// Members `a`, `b`, `c`, and a clock.
    struct Seen(Aside, Instant);

    impl Seen {
        fn nobody() -> Self {
            Self(Aside::new(HOLD), Instant::now())
        }

        /// Two members that had their broker when they were first seen.
        fn steady() -> Self {
            let mut seen = Self::nobody();
            assert_eq!(seen.heed(SECOND, [Some(Up), Some(Up)]), "");
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
    fn one_without_a_broker_stands_aside_for_one_that_has_it_until_it_has_been_back_for_a_while() {
        let mut seen = Seen::steady();
        assert_eq!(seen.heed(SECOND, [Some(Down), Some(Up)]), "", "a reconnect moves nothing");
        assert_eq!(seen.heed(SECOND, [Some(Away), Some(Up)]), "a");
        assert_eq!(seen.heed(HOLD * 9, [Some(Away), Some(Up)]), "a");
        assert_eq!(seen.heed(SECOND, [Some(Up), Some(Up)]), "a");
        assert_eq!(seen.heed(HOLD - SECOND, [Some(Up), Some(Up)]), "a");
        assert_eq!(seen.heed(SECOND, [Some(Up), Some(Up)]), "");
    }

    #[test]
    fn one_whose_broker_comes_and_goes_stays_aside_but_for_nobody() {
        let mut seen = Seen::steady();
        assert_eq!(seen.heed(SECOND, [Some(Away), Some(Up)]), "a");
        for _ in 0..3 {
            assert_eq!(seen.heed(SECOND, [Some(Up), Some(Up)]), "a");
            assert_eq!(seen.heed(SECOND, [Some(Down), Some(Up)]), "a");
            assert_eq!(seen.heed(SECOND, [Some(Away), Some(Up)]), "a");
        }
        assert_eq!(seen.heed(SECOND, [Some(Up), Some(Up)]), "a");
        assert_eq!(seen.heed(SECOND, [Some(Up), Some(Down)]), "", "the other may need it");
    }

    #[test]
    fn a_newcomer_agrees_soon_with_who_has_seen_a_broker_go_and_come() {
        let (mut seen, mut newcomer) = (Seen::steady(), Seen::nobody());
        assert_eq!(seen.heed(SECOND, [Some(Away), Some(Up), None]), "a");
        let flaps = [[Some(Up), Some(Up), Some(Up)], [Some(Down), Some(Up), Some(Up)]];
        for told in flaps.into_iter().cycle().take(12) {
            let _ = (seen.heed(SECOND, told), newcomer.heed(SECOND, told));
        }
        for told in flaps.into_iter().cycle().take(12) {
            assert_eq!((seen.heed(SECOND, told), newcomer.heed(SECOND, told)), (String::new(), String::new()));
        }
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
        let mut seen = Seen::nobody();
        assert_eq!(seen.heed(SECOND, [Some(Away), Some(Down)]), "");
        assert_eq!(seen.heed(SECOND, [Some(Away), Some(Up)]), "");
        assert_eq!(seen.heed(HOLD - SECOND, [Some(Away), Some(Down)]), "");
        assert_eq!(seen.heed(SECOND, [Some(Away), Some(Up)]), "");
        assert_eq!(seen.heed(HOLD - SECOND, [Some(Away), Some(Up)]), "");
        assert_eq!(seen.heed(SECOND, [Some(Away), Some(Up)]), "a");
    }

    #[test]
    fn who_looks_for_the_first_time_sees_at_once_what_the_others_have_seen_for_long() {
        let mut seen = Seen::nobody();
        assert_eq!(seen.heed(SECOND, [None, None, Some(Up)]), "");
        assert_eq!(seen.heed(SECOND, [Some(Away), Some(Up), Some(Up)]), "a");
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
        assert_eq!(seen.heed(SECOND, [None, Some(Up)]), "");
        assert_eq!(seen.heed(HOLD - SECOND, [Some(Away), Some(Up)]), "", "silent and back is not on end");
        assert_eq!(seen.heed(SECOND, [Some(Away), Some(Up)]), "a");
    }
}
