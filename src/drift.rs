//! How far this machine's clock is from the database's. A sale begins and ends by its owner's clock: whoever runs a cluster is to know of
//! one that is off. Never corrects a clock, and decides nothing.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::store::Store;

/// How often the database is asked.
const INTERVAL: Duration = Duration::from_secs(10);

/// How long it may take to answer, or nothing is said of it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// How far the clocks may be apart, in milliseconds.
pub const DRIFT_MAX_MS: u64 = 2_000;

/// What is known of it. Shared by whoever tells it.
#[derive(Debug, Default)]
pub struct Drift(AtomicI64);

impl Drift {
    /// By how many milliseconds this clock is ahead, if that is more than may be; negative if it is behind.
    #[must_use]
    pub fn beyond(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|drift| drift.unsigned_abs() > DRIFT_MAX_MS)
    }

    /// A sentence for operators, if there is something to say.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let drift = self.beyond()?;
        let side = if drift > 0 { "ahead of" } else { "behind" };
        Some(format!("the clock of this machine is {:.1} s {side} the database's", drift.unsigned_abs() as f64 / 1_000.0))
    }

    /// Asks the database again and again until `stop`.
    pub async fn watch(&self, store: Store, clock: Clock, stop: CancellationToken) {
        metrics::describe_gauge!("doorbuster_clock_drift_seconds", "This machine's clock less the database's");
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.look(&store, clock).await;
        }
    }

    /// Asks once. A database that is away or slow is somebody else's to tell: what was known stays.
    pub async fn look(&self, store: &Store, clock: Clock) {
        let before = clock();
        let Ok(Ok(Some(theirs))) = tokio::time::timeout(ANSWER_TIMEOUT, store.time()).await else { return };
        let was = self.beyond();
        // Theirs was read somewhere between.
        let drift = apart((before.millis(), clock().millis()), theirs.millis());
        self.0.store(drift, Ordering::Relaxed);
        metrics::gauge!("doorbuster_clock_drift_seconds").set(drift as f64 / 1_000.0);
        match (was, self.warning()) {
            (None, Some(warning)) => tracing::warn!(drift_ms = drift, "{warning}: sales begin and end by the clock of their owner"),
            (Some(_), None) => tracing::info!(drift_ms = drift, "the clock of this machine is right again"),
            _ => {}
        }
    }
}

/// How far a time is from two between which it was read, at least.
fn apart((before, after): (i64, i64), theirs: i64) -> i64 {
    if before > theirs { before - theirs } else { (after - theirs).min(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_was_read_between_is_not_apart() {
        assert_eq!(apart((1_000, 1_100), 1_050), 0);
        assert_eq!(apart((1_000, 1_100), 1_100), 0);
        assert_eq!(apart((1_000, 1_100), 900), 100, "ahead");
        assert_eq!(apart((1_000, 1_100), 1_300), -200, "behind");
    }

    #[test]
    fn only_what_is_beyond_the_bound_is_told() {
        let told = |drift| Drift(AtomicI64::new(drift)).warning();
        assert_eq!((told(0), told(2_000), told(-2_000)), (None, None, None));
        assert_eq!(told(60_049).unwrap(), "the clock of this machine is 60.0 s ahead of the database's");
        assert_eq!(told(-2_500).unwrap(), "the clock of this machine is 2.5 s behind the database's");
    }
}
