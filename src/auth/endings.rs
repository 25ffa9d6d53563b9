//! Which tokens a changed password or role has ended. Kept in memory, so that a request asks no database; somebody else brings the news
//! ([`crate::account_changes`]). Never grows beyond its bound.
//!
//! A token of an account carries the account's generation, which each change raises: a token that carries less than is known is over. No
//! clock is compared, so a token that is given in the same instant as a change is judged right.
//!
//! So many changes are remembered, the last ones. What is known of an account that was changed before those is only that it may have been:
//! then a token counts only if it was given after the last change that is not remembered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;

use crate::domain::{Timestamp, UserId};

/// Accounts whose last change is remembered, at most: some ten megabytes.
pub const CHANGES_MAX: usize = 100_000;

/// How far the clocks of those who give tokens and those who change accounts may be apart, in milliseconds, where times are compared.
pub const SKEW_MAX_MS: u64 = 10 * 60 * 1_000;

/// After how long without news somebody should be told: what was ended since may still be believed.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// What a token of our own says about the account it was given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Given for a number, by whoever has the secret: no account's change ends it.
    OfNobody,
    /// Given to an account that had been changed so often.
    OfAccount { generation: i64, issued_at_ms: i64 },
    /// Given by a release that knew of no generations.
    Unsaid { issued_at_ms: i64 },
}

/// The changes that are known. Shared by all workers.
#[derive(Debug)]
pub struct Endings {
    changes: DashMap<UserId, Known>,
    /// The same accounts by the number of their change. Locked by whoever brings news, and never while somebody waits.
    by_number: Mutex<BTreeMap<i64, UserId>>,
    changes_max: usize,
    /// What was given until then, in Unix milliseconds, may have been ended by a change that is not remembered; the minimum = nothing may.
    unsure_until_ms: AtomicI64,
    started: Instant,
    /// When news was last asked for with success, in milliseconds since the start.
    heard_ms: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    number: i64,
    generation: i64,
    at: Timestamp,
}

impl Default for Endings {
    fn default() -> Self {
        Self::with_room_for(CHANGES_MAX)
    }
}

impl Endings {
    fn with_room_for(changes_max: usize) -> Self {
        Self {
            changes: DashMap::new(),
            by_number: Mutex::default(),
            changes_max,
            unsure_until_ms: AtomicI64::new(i64::MIN),
            started: Instant::now(),
            heard_ms: AtomicU64::new(0),
        }
    }

    /// An account was changed. What is older than what is known of it changes nothing.
    pub fn note(&self, account: UserId, number: i64, generation: i64, at: Timestamp) {
        let mut by_number = self.by_number.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.known(account) {
            if known.number >= number {
                return;
            }
            by_number.remove(&known.number);
        }
        self.changes.insert(account, Known { number, generation, at });
        by_number.insert(number, account);
        while by_number.len() > self.changes_max {
            let Some((_, oldest)) = by_number.pop_first() else { break };
            if let Some(known) = self.known(oldest) {
                // Before it is forgotten, so that nobody finds neither.
                self.unsure_until(known.at);
            }
            self.changes.remove(&oldest);
        }
    }

    /// The number of the newest change that is known; 0 = none is.
    #[must_use]
    pub fn newest(&self) -> i64 {
        let by_number = self.by_number.lock().unwrap_or_else(PoisonError::into_inner);
        by_number.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// Changes until then were not looked for.
    pub fn unsure_until(&self, at: Timestamp) {
        self.unsure_until_ms.fetch_max(at.plus_millis(SKEW_MAX_MS).millis(), Ordering::AcqRel);
    }

    /// The sequence of changes has begun anew, as that of a database that was brought back from a copy: what was known says nothing any
    /// more.
    pub fn begin_anew(&self) {
        let mut by_number = self.by_number.lock().unwrap_or_else(PoisonError::into_inner);
        by_number.clear();
        self.changes.clear();
    }

    /// News was asked for, and all there was has been noted.
    pub fn heard(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_ms.fetch_max(now, Ordering::AcqRel);
    }

    /// For how long news was not to be had.
    #[must_use]
    pub fn unheard_for(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.heard_ms.load(Ordering::Acquire)))
    }

    /// A sentence for operators, if there is something to say.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let silence = self.unheard_for();
        let said = format!(
            "changed passwords and roles were last heard of {} s ago: tokens that were ended since may still be believed",
            silence.as_secs()
        );
        (silence > SILENCE_MAX).then_some(said)
    }

    /// Whether a token of this account is over.
    pub(super) fn ends(&self, account: UserId, standing: Standing) -> bool {
        match standing {
            Standing::OfNobody => false,
            Standing::OfAccount { generation, issued_at_ms } => match self.known(account) {
                // The time counts too: a database that was brought back from a copy has counted again.
                Some(known) => generation < known.generation || issued_at_ms.saturating_add_unsigned(SKEW_MAX_MS) < known.at.millis(),
                None => self.may_be_over(issued_at_ms),
            },
            Standing::Unsaid { issued_at_ms } => match self.known(account) {
                Some(known) => issued_at_ms <= known.at.millis(),
                None => self.may_be_over(issued_at_ms),
            },
        }
    }

    /// Whether a change that is not remembered may have ended what was given then.
    fn may_be_over(&self, issued_at_ms: i64) -> bool {
        let unsure_until_ms = self.unsure_until_ms.load(Ordering::Acquire);
        unsure_until_ms > i64::MIN && issued_at_ms <= unsure_until_ms
    }

    fn known(&self, account: UserId) -> Option<Known> {
        self.changes.get(&account).map(|known| *known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(id: i64) -> UserId {
        UserId::new(id).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_795_000_000_000 + seconds * 1_000).unwrap()
    }

    fn of(generation: i64, seconds: i64) -> Standing {
        Standing::OfAccount { generation, issued_at_ms: at(seconds).millis() }
    }

    fn unsaid(seconds: i64) -> Standing {
        Standing::Unsaid { issued_at_ms: at(seconds).millis() }
    }

    #[test]
    fn a_change_ends_what_was_given_before_it_and_nothing_else() {
        let endings = Endings::default();
        assert!(!endings.ends(account(1), of(0, 0)));
        endings.note(account(1), 7, 1, at(10));
        assert!(endings.ends(account(1), of(0, 10)), "given before, in the same second");
        assert!(!endings.ends(account(1), of(1, 10)), "given after, in the same second");
        assert!(!endings.ends(account(1), of(2, 10)), "given after a change that is not heard of yet");
        assert!(!endings.ends(account(2), of(0, 0)), "another account's");
    }

    #[test]
    fn a_token_without_a_generation_counts_by_its_time_and_one_that_is_nobodys_always() {
        let endings = Endings::default();
        endings.note(account(1), 7, 1, at(10));
        assert!(endings.ends(account(1), unsaid(10)) && endings.ends(account(1), unsaid(-10)));
        assert!(!endings.ends(account(1), unsaid(11)) && !endings.ends(account(2), unsaid(0)));
        assert!(!endings.ends(account(1), Standing::OfNobody));
    }

    #[test]
    fn news_comes_in_any_order_and_twice() {
        let endings = Endings::default();
        for (number, generation) in [(9, 3), (7, 1), (8, 2), (9, 3)] {
            endings.note(account(1), number, generation, at(10));
        }
        assert!(endings.ends(account(1), of(2, 20)) && !endings.ends(account(1), of(3, 20)));
        assert_eq!(endings.by_number.lock().unwrap().len(), 1, "one change of each account");
    }

    #[test]
    fn beyond_the_bound_what_was_given_before_the_last_forgotten_change_is_over() {
        let endings = Endings::with_room_for(2);
        let skew = i64::try_from(SKEW_MAX_MS / 1_000).unwrap();
        for id in 1..=4 {
            endings.note(account(id), id, 1, at(id * 10_000));
        }
        assert_eq!((endings.changes.len(), endings.by_number.lock().unwrap().len()), (2, 2));
        for forgotten in [1, 2] {
            assert!(endings.ends(account(forgotten), of(0, forgotten * 10_000 - 1)));
        }
        // The change of account 2 is the last that is forgotten.
        assert!(endings.ends(account(9), of(0, 20_000)), "nobody can say whether this one was changed");
        assert!(!endings.ends(account(9), of(0, 20_000 + skew + 1)));
        assert!(!endings.ends(account(4), of(1, 40_000)), "of this one it is known");
        assert!(endings.ends(account(4), of(9, 0)), "a database that was brought back from a copy counts again");
        // So it is with what does not say how often its account had been changed.
        assert!(endings.ends(account(9), unsaid(20_000)) && !endings.ends(account(9), unsaid(20_000 + skew + 1)));
        assert!(endings.ends(account(9), Standing::Unsaid { issued_at_ms: i64::MIN }), "nor when it was given");
        assert!(!endings.ends(account(9), Standing::OfNobody));
    }

    #[test]
    fn as_long_as_all_changes_are_remembered_nothing_is_unsure() {
        let endings = Endings::default();
        endings.note(account(1), 7, 1, at(10));
        for standing in [Standing::Unsaid { issued_at_ms: i64::MIN }, Standing::OfAccount { generation: 0, issued_at_ms: i64::MIN }] {
            assert!(!endings.ends(account(2), standing), "{standing:?}");
        }
    }

    #[test]
    fn a_sequence_that_begins_anew_is_heard_from_its_beginning() {
        let endings = Endings::default();
        endings.note(account(1), 7, 5, at(10));
        endings.begin_anew();
        endings.note(account(1), 2, 2, at(20));
        assert!(endings.ends(account(1), of(1, 30)) && !endings.ends(account(1), of(2, 30)));
    }

    #[test]
    fn silence_is_told_after_a_while() {
        let endings = Endings::default();
        endings.heard();
        assert_eq!(endings.warning(), None);
        let started = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        let old = Endings { started, ..Endings::default() };
        assert!(old.warning().unwrap().contains("60 s ago"));
        old.heard();
        assert_eq!(old.warning(), None);
    }
}
