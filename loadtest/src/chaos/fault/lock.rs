//! A lock that is taken from its owner, who lives and is connected: by hand, as an operator might who tidies up, or by a policy.

use std::time::{Duration, Instant};

use anyhow::Context;
use doorbuster::domain::Partitions;
use doorbuster::ring::partition_of;

use super::{Done, Victims};

/// The lock queue of the commodity's partition is deleted.
pub(super) async fn deleted(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let partition = partition_of(victims.commodity, Partitions::DEFAULT);
    let queue = format!("{}.partition.{partition}.owner", victims.cluster.prefix());
    let broker = victims.server.as_ref().context("no server of our own")?;
    let at = Instant::now();
    broker.control(&["delete_queue", &queue]).await?;
    let gone = Instant::now();
    Ok(Done::now(at, gone, gone).with("ms until the lock was deleted", gone.duration_since(at).as_millis() as u64))
}

/// How long the policy is in force.
const IN_FORCE: Duration = Duration::from_secs(6);
const POLICY: &str = "locks-expire";

/// A policy lets the locks expire that nobody has used for a second. Whoever consumes one uses it.
pub(super) async fn expires(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let pattern = format!("^{}\\.partition\\..*\\.owner$", victims.cluster.prefix());
    let broker = victims.server.as_ref().context("no server of our own")?;
    let at = Instant::now();
    broker.control(&["set_policy", "--apply-to", "queues", POLICY, &pattern, r#"{"expires":1000}"#]).await?;
    let gone = Instant::now();
    // The time it is in force is the damage.
    tokio::time::sleep(IN_FORCE).await;
    let began = Instant::now();
    broker.control(&["clear_policy", POLICY]).await?;
    victims.cluster.wait_owned().await?;
    Ok(Done::now(at, gone, began))
}
