//! How many holds are let go in one batch: as many as the log takes without making orders wait. Never reads a clock.

use std::time::Duration;

/// Holds in one batch, at least and at most. The most leaves half of a batch to orders.
const LEAST: usize = 16;
const MOST: usize = 512;
/// A batch with holds that is confirmed so fast may have more of them, and one that takes so long must have fewer: orders of the next batch wait
/// for it.
const FAST: Duration = Duration::from_millis(8);
const SLOW: Duration = Duration::from_millis(20);

/// The pace of one partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    per_batch: usize,
    /// Whether the batch that is gathered has holds that were let go, and the one in flight.
    gathered: bool,
    in_flight: bool,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self { per_batch: 64, gathered: false, in_flight: false }
    }

    /// How many may be let go now: once in a batch.
    pub(super) const fn now(self, batch_commands_max: usize) -> usize {
        if self.gathered {
            return 0;
        }
        let half = batch_commands_max.div_ceil(2);
        if self.per_batch < half { self.per_batch } else { half }
    }

    /// Some were.
    pub(super) const fn let_go(&mut self) {
        self.gathered = true;
    }

    /// The batch that was gathered is on its way.
    pub(super) const fn sent(&mut self) {
        (self.in_flight, self.gathered) = (self.gathered, false);
    }

    /// It is confirmed, and took so long.
    pub(super) fn confirmed(&mut self, took: Duration) {
        if std::mem::take(&mut self.in_flight) {
            if took <= FAST {
                self.per_batch = (self.per_batch * 2).min(MOST);
            } else if took >= SLOW {
                self.per_batch = (self.per_batch / 2).max(LEAST);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(mut pace: Pace, batches: usize, took: Duration) -> Pace {
        for _ in 0..batches {
            pace.let_go();
            assert_eq!(pace.now(1_024), 0, "once in a batch");
            pace.sent();
            pace.confirmed(took);
        }
        pace
    }

    #[test]
    fn what_is_fast_gets_more_and_what_is_slow_gets_less_within_bounds() {
        let fast = after(Pace::new(), 20, FAST);
        assert_eq!((fast.now(1_024), fast.now(100), fast.now(1)), (MOST, 50, 1));
        let slow = after(fast, 20, SLOW);
        assert_eq!(slow.now(1_024), LEAST);
        let between = after(slow, 20, (FAST + SLOW) / 2);
        assert_eq!(between.now(1_024), LEAST, "what is neither stays as it is");
    }

    #[test]
    fn batches_without_holds_say_nothing_about_them() {
        let mut pace = Pace::new();
        pace.sent();
        pace.confirmed(Duration::from_secs(5));
        assert_eq!(pace.now(1_024), 64);
    }
}
