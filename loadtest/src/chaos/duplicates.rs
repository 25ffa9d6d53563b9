//! Proof that the consumer was given everything twice. Only reads its metrics.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::client::{Client, Shape};
use crate::loopback::Target;

/// How long the second copies may take to come.
const AGAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Batches that a consumer has met since it was started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batches {
    pub(super) applied: u64,
    pub(super) skipped: u64,
}

impl Batches {
    /// What the consumer's metrics say.
    pub(super) async fn of(consumer: &Target) -> anyhow::Result<Self> {
        let answer = Client::new(consumer.clone()).send(&Shape::get("/metrics"), None, None, Duration::from_secs(10)).await;
        let answer = answer.map_err(|error| anyhow::anyhow!("the consumer's metrics: {}", error.words()))?;
        let text = String::from_utf8_lossy(&answer.body);
        // One that was never counted is not there.
        let counter = |outcome| counter(&text, &format!(r#"doorbuster_consumer_batches_total{{outcome="{outcome}"}}"#)).unwrap_or(0);
        Ok(Self { applied: counter("applied"), skipped: counter("skipped") })
    }

    /// Waits until every batch that was ever applied came once more, and was skipped.
    pub(super) async fn all_came_again(consumer: &Target) -> anyhow::Result<Self> {
        let began = Instant::now();
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        loop {
            pause.tick().await;
            let batches = Self::of(consumer).await?;
            if batches.skipped >= batches.applied {
                return Ok(batches);
            }
            ensure!(began.elapsed() < AGAIN_TIMEOUT, "not every message came twice, so nothing is proved: {batches:?}");
        }
    }

    /// What came since, of which there must be something.
    pub(super) fn since(self, before: Self) -> anyhow::Result<Self> {
        let since = |now: u64, before: u64| now.checked_sub(before).filter(|more| *more > 0).context("no batch came, so nothing is proved");
        Ok(Self { applied: since(self.applied, before.applied)?, skipped: since(self.skipped, before.skipped)? })
    }
}

fn counter(metrics: &str, name: &str) -> Option<u64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_its_name_and_labels() {
        let metrics = "# TYPE batches counter\nbatches{outcome=\"applied\"} 12\nbatches{outcome=\"skipped\"} 7\n";
        assert_eq!(counter(metrics, r#"batches{outcome="skipped"}"#), Some(7));
        assert_eq!(counter(metrics, r#"batches{outcome="stopped"}"#), None);
    }

    #[test]
    fn a_turn_in_which_nothing_came_twice_proves_nothing() {
        let before = Batches { applied: 16, skipped: 16 };
        assert!(Batches { applied: 20, skipped: 16 }.since(before).is_err());
        assert!(Batches { applied: 20, skipped: 20 }.since(before).is_ok_and(|since| since.skipped == 4));
    }
}
