//! A lock that is taken from its owner, who lives and is connected: by hand, as an operator might who tidies up.

use std::time::Instant;

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
