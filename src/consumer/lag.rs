//! How many batches wait in each log, asked of the broker now and then. It never touches a message.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Gauge, gauge};

use crate::broker::{BrokerError, Session, Topology};
use crate::domain::Partitions;

const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Asks until the session ends.
pub(super) async fn watch(session: Arc<Session>, topology: Topology, partitions: Partitions) {
    let depths: Vec<Gauge> =
        partitions.iter().map(|partition| gauge!("doorbuster_log_depth", "partition" => partition.to_string())).collect();
    let dead = gauge!("doorbuster_dead_letters");
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = look(&session, &topology, partitions, &depths, &dead).await {
            if session.lost().is_cancelled() {
                return;
            }
            tracing::warn!(%error, "the depth of the logs is not known: {error}");
        }
    }
}

async fn look(session: &Session, topology: &Topology, partitions: Partitions, depths: &[Gauge], dead: &Gauge) -> Result<(), BrokerError> {
    let channel = session.channel().await?;
    for (partition, depth) in partitions.iter().zip(depths) {
        depth.set(f64::from(session.depth(&channel, topology.log(partition)).await?.ready));
    }
    dead.set(f64::from(session.depth(&channel, topology.dead()).await?.ready));
    session.close(channel).await;
    Ok(())
}
