//! A circuit breaker: after a few failures in a row a peer is left alone for a while, then tried with one request. Pure:
//! it is told the time.

use std::time::{Duration, Instant};

/// Failures in a row that open it.
const FAILURES_MAX: u32 = 3;
/// How long it stays open the first time.
const FIRST_REST: Duration = Duration::from_millis(100);
/// How long it stays open at most.
const LONGEST_REST: Duration = Duration::from_secs(2);

/// Whether to bother a peer.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    /// Not before this time; none = closed.
    open_until: Option<Instant>,
}

impl Breaker {
    /// Whether a request may go out now. An open breaker whose rest is over lets one through and rests again meanwhile.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        match self.open_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.open_until = Some(now + self.rest());
                true
            }
        }
    }

    /// A request was answered.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A request failed. Whether this opened the breaker.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        let opens = self.failures >= FAILURES_MAX;
        let was_closed = self.open_until.is_none();
        if opens {
            self.open_until = Some(now + self.rest());
        }
        opens && was_closed
    }

    /// Doubles with each failure.
    fn rest(&self) -> Duration {
        let doublings = self.failures.saturating_sub(FAILURES_MAX).min(8);
        (FIRST_REST * 2u32.pow(doublings)).min(LONGEST_REST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_three_failures_in_a_row_and_lets_one_through_after_its_rest() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        assert_eq!([breaker.failed(start), breaker.failed(start)], [false, false]);
        breaker.succeeded();
        assert_eq!([breaker.failed(start), breaker.failed(start), breaker.failed(start)], [false, false, true]);
        assert!(!breaker.admits(start) && !breaker.admits(start + Duration::from_millis(99)));
        let later = start + Duration::from_millis(100);
        assert!(breaker.admits(later), "the one that tries");
        assert!(!breaker.admits(later), "nobody else meanwhile");
        breaker.succeeded();
        assert!(breaker.admits(later));
    }

    #[test]
    fn its_rest_doubles_up_to_two_seconds() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..40 {
            breaker.failed(now);
        }
        assert!(!breaker.admits(now + Duration::from_millis(1_999)));
        assert!(breaker.admits(now + LONGEST_REST));
    }
}
