//! What servers say of themselves at `/metrics`: who they are, and how long their batches took to be confirmed. Only reads.

use std::time::Duration;

use anyhow::{Context, ensure};

use crate::client::{Client, Shape};
use crate::loopback::Target;

/// How long a server may take to answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// From the publish of a batch to its confirm; in the embedded mode to its commit.
const CONFIRMS: &str = "doorbuster_commit_seconds";
/// Who a node of a cluster is.
const NODE: &str = "doorbuster_node_info{node=\"";

/// What one server said at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The node's id; none in the embedded mode.
    pub node: Option<String>,
    buckets: Vec<Bucket>,
    seconds: f64,
}

/// How many batches took at most so long.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    seconds_max: f64,
    batches: u64,
}

/// How long batches took from their publish to their confirm, as the nodes measured it: a histogram, so a percentile is known
/// as the upper edge of its bucket, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Confirms {
    /// How many batches.
    pub batches: u64,
    /// The mean, exactly.
    pub mean_us: u64,
    /// Half took at most this; null is beyond all buckets.
    pub p50_us_max: Option<u64>,
    /// Nine in ten.
    pub p90_us_max: Option<u64>,
    /// Ninety-nine in a hundred.
    pub p99_us_max: Option<u64>,
    /// All.
    pub all_us_max: Option<u64>,
}

impl Reading {
    /// Asks a server.
    ///
    /// # Errors
    /// If it does not answer with metrics.
    pub async fn of(target: &Target) -> anyhow::Result<Self> {
        let answer = Client::new(target.clone()).send(&Shape::get("/metrics"), None, None, CALL_TIMEOUT).await;
        let answer = answer.map_err(|error| anyhow::anyhow!("{target}/metrics: {}", error.words()))?;
        ensure!(answer.status.is_success(), "{target}/metrics: {}", answer.status);
        Self::parse(std::str::from_utf8(&answer.body)?).with_context(|| format!("{target}/metrics is not to be read"))
    }

    /// Asks all of them, in their order.
    ///
    /// # Errors
    /// If one does not answer with metrics.
    pub async fn of_all(targets: &[Target]) -> anyhow::Result<Vec<Self>> {
        futures_util::future::try_join_all(targets.iter().map(Self::of)).await
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut reading = Self::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix(NODE) {
                reading.node = rest.split_once('"').map(|(id, _)| id.to_owned());
            }
            let Some(rest) = line.strip_prefix(CONFIRMS) else { continue };
            if let Some(bucket) = rest.strip_prefix("_bucket{le=\"") {
                let (edge, count) = bucket.split_once("\"} ").context("a bucket without a count")?;
                reading.buckets.push(Bucket { seconds_max: edge.parse()?, batches: count.parse()? });
            } else if let Some(sum) = rest.strip_prefix("_sum ") {
                reading.seconds = sum.parse()?;
            }
        }
        Ok(reading)
    }
}

impl Confirms {
    /// What was confirmed between two readings of the same servers; none if nothing was.
    #[must_use]
    pub fn between(before: &[Reading], after: &[Reading]) -> Option<Self> {
        let mut buckets: Vec<Bucket> = Vec::new();
        let mut seconds = 0.0;
        for (before, after) in before.iter().zip(after) {
            seconds += after.seconds - before.seconds;
            for (index, bucket) in after.buckets.iter().enumerate() {
                // All servers have the same edges: one release.
                let batches = bucket.batches.saturating_sub(before.buckets.get(index).map_or(0, |bucket| bucket.batches));
                match buckets.get_mut(index) {
                    Some(sum) => sum.batches += batches,
                    None => buckets.push(Bucket { batches, ..*bucket }),
                }
            }
        }
        let batches = buckets.last()?.batches;
        let within = |share: f64| {
            let edge = buckets.iter().find(|bucket| bucket.batches as f64 >= share * batches as f64)?.seconds_max;
            edge.is_finite().then(|| (edge * 1e6).round() as u64)
        };
        (batches > 0).then(|| Self {
            batches,
            mean_us: (seconds * 1e6 / batches as f64).round() as u64,
            p50_us_max: within(0.5),
            p90_us_max: within(0.9),
            p99_us_max: within(0.99),
            all_us_max: within(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(edges: [u64; 3], sum: f64) -> Reading {
        let [one, ten, all] = edges;
        Reading::parse(&format!(
            "# TYPE doorbuster_commit_seconds histogram\n\
             doorbuster_commit_seconds_bucket{{le=\"0.001\"}} {one}\n\
             doorbuster_commit_seconds_bucket{{le=\"0.01\"}} {ten}\n\
             doorbuster_commit_seconds_bucket{{le=\"+Inf\"}} {all}\n\
             doorbuster_commit_seconds_sum {sum}\n\
             doorbuster_commit_seconds_count {all}\n\
             doorbuster_node_info{{node=\"spike-2\",version=\"0.1.0\"}} 1\n"
        ))
        .unwrap()
    }

    #[test]
    fn confirms_of_all_nodes_add_up_without_those_of_before() {
        let (before, after) = ([page([5, 5, 5], 0.004), page([0, 0, 0], 0.0)], [page([65, 95, 95], 0.504), page([0, 9, 10], 0.5)]);
        assert_eq!(after[0].node.as_deref(), Some("spike-2"));
        let confirms = Confirms::between(&before, &after).unwrap();
        assert_eq!((confirms.batches, confirms.mean_us), (100, 10_000));
        assert_eq!([confirms.p50_us_max, confirms.p90_us_max, confirms.p99_us_max], [Some(1_000), Some(10_000), Some(10_000)]);
        assert_eq!(confirms.all_us_max, None);
    }

    #[test]
    fn nothing_confirmed_is_no_latency() {
        assert_eq!(Confirms::between(&[page([5, 5, 5], 0.1)], &[page([5, 5, 5], 0.1)]), None);
        assert_eq!(Confirms::between(&[Reading::default()], &[Reading::default()]), None);
    }
}
