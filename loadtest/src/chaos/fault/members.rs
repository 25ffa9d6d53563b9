//! Nodes that come and go in order, and none of it may be felt.

use std::time::Instant;

use super::{Done, Victims};

/// One more node joins, and takes over what it should own.
pub(super) async fn node_joins(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let at = Instant::now();
    victims.cluster.grow().await?;
    let joined = Instant::now();
    Ok(Done::now(at, at, joined))
}

/// Each node is stopped, started again, and left alone until it owns its share; the owner comes where its number is.
pub(super) async fn rolling_restart(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let launcher = victims.cluster.launcher().clone();
    let at = Instant::now();
    for number in 0..victims.cluster.spikes.len() {
        victims.cluster.spikes[number].stop().await?;
        victims.cluster.spikes[number].start(&launcher).await?;
        victims.cluster.wait_owned().await?;
    }
    let restarted = Instant::now();
    Ok(Done::now(at, at, restarted))
}
