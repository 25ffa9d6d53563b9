//! What the sandbox does wrong on purpose. Never changes what is in the books: it loses, delays and repeats what it says of them.

use std::time::Duration;

use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::books::Copies;
use crate::domain::Timestamp;

/// How long a key is remembered if nobody says otherwise, in seconds: a day.
const KEYS_KEPT_SECONDS: u64 = 24 * 60 * 60;

/// The longest of all times here, in milliseconds: an hour.
const TIME_MS_MAX: u64 = 60 * 60 * 1_000;

/// The switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Of the messages so many are never sent: 0 to 1.
    pub lose: f64,
    /// Of the messages so many are sent twice: 0 to 1.
    pub double: f64,
    /// Of the answers so many are 500, half of them after it was done: 0 to 1.
    pub fail: f64,
    /// Messages come so late, or half of that, or between: they overtake each other.
    pub delay_ms: u64,
    /// Answers come so late, half of them after it was done at once.
    pub hang_ms: u64,
    /// Keys are forgotten so soon. Null: after a day.
    pub forget_keys_after_s: Option<u64>,
}

/// What becomes of one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is answered.
    Fine,
    /// It is not done, and answered with 500.
    NotDone,
    /// It is done, and answered with 500.
    DoneAndNotTold,
}

impl Faults {
    /// Whether they are switches at all.
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, part) in [("lose", self.lose), ("double", self.double), ("fail", self.fail)] {
            if !(0.0..=1.0).contains(&part) {
                return Err(format!("{name} must be from 0 to 1"));
            }
        }
        for (name, time) in [("delay_ms", self.delay_ms), ("hang_ms", self.hang_ms)] {
            if time > TIME_MS_MAX {
                return Err(format!("{name} must be at most {TIME_MS_MAX}"));
            }
        }
        Ok(())
    }

    /// How one message is sent.
    pub(super) fn copies(&self) -> Copies {
        let mut rng = rand::rng();
        if rng.random_bool(self.lose) {
            return Copies::new();
        }
        let count = if rng.random_bool(self.double) { 2 } else { 1 };
        (0..count).map(|_| rng.random_range(self.delay_ms / 2..=self.delay_ms)).collect()
    }

    /// What becomes of a question.
    pub(super) fn fate(&self) -> Fate {
        let mut rng = rand::rng();
        match (rng.random_bool(self.fail), rng.random_bool(0.5)) {
            (false, _) => Fate::Fine,
            (true, false) => Fate::NotDone,
            (true, true) => Fate::DoneAndNotTold,
        }
    }

    /// How long a question hangs before it is done, and how long after that.
    pub(super) fn hang(&self) -> (Duration, Duration) {
        let hang = Duration::from_millis(self.hang_ms);
        if rand::rng().random_bool(0.5) { (hang, Duration::ZERO) } else { (Duration::ZERO, hang) }
    }

    /// Keys that were used then or before are forgotten.
    pub(super) fn forgotten_until(&self, now: Timestamp) -> Timestamp {
        now.minus_millis(self.forget_keys_after_s.unwrap_or(KEYS_KEPT_SECONDS).saturating_mul(1_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_faults_everything_is_said_once_and_at_once() {
        let faults = Faults::default();
        for _ in 0..100 {
            assert_eq!((faults.copies(), faults.fate(), faults.hang()), (vec![0], Fate::Fine, (Duration::ZERO, Duration::ZERO)));
        }
    }

    #[test]
    fn switches_do_what_they_say() {
        assert_eq!(Faults { lose: 1.0, ..Faults::default() }.copies(), Copies::new());
        let late = Faults { double: 1.0, delay_ms: 10, ..Faults::default() }.copies();
        assert!(late.len() == 2 && late.iter().all(|after| (5..=10).contains(after)), "{late:?}");
        let failing = Faults { fail: 1.0, ..Faults::default() };
        assert!((0..100).all(|_| failing.fate() != Fate::Fine));
        let now = Timestamp::ZERO.plus_millis(100_000_000);
        assert_eq!(Faults { forget_keys_after_s: Some(2), ..Faults::default() }.forgotten_until(now), now.minus_millis(2_000));
    }

    #[test]
    fn what_is_no_switch_is_refused() {
        for text in [r#"{"lose":1.5}"#, r#"{"fail":-0.1}"#, r#"{"delay_ms":3600001}"#] {
            assert!(serde_json::from_str::<Faults>(text).unwrap().check().is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Faults>(r#"{"loose":1}"#).is_err());
    }
}
