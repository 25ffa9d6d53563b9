//! Partitions that move: both nodes killed and started together, so that each claims what the other is about to have, and claims are given up
//! half-way; or nodes that leave and come in order. Meanwhile the database server is asked about the transactions of the cluster.

use std::time::Instant;

use super::members::rolling_restart;
use super::{Done, Victims};
use crate::chaos::transactions::{Seen, Transactions};
use crate::cluster::Cluster;

/// Both nodes are killed and started at the same time; done when the partitions are shared again.
pub(super) async fn started(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let store = victims.cluster.store().await?;
    let transactions = Transactions::of(victims.cluster.database_url()).await?;
    let epochs_before = epochs(&store).await?;
    let at = Instant::now();
    for spike in &mut victims.cluster.spikes {
        spike.kill().await?;
    }
    let gone = Instant::now();
    let ((), seen) = transactions.watch_while(victims.cluster.start_spikes_together()).await?;
    let moves = epochs(&store).await? - epochs_before;
    store.close().await?;
    clean(Done::now(at, gone, gone), victims.cluster, (moves, seen))
}

/// Each node is stopped and started again, one after the other: each time partitions move away from it, and to it.
pub(super) async fn moved(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let store = victims.cluster.store().await?;
    let transactions = Transactions::of(victims.cluster.database_url()).await?;
    let epochs_before = epochs(&store).await?;
    let (done, seen) = transactions.watch_while(rolling_restart(victims)).await?;
    let moves = epochs(&store).await? - epochs_before;
    store.close().await?;
    clean(done, victims.cluster, (moves, seen))
}

/// No statement failed because of what another had left on its connection.
fn clean(done: Done, cluster: &Cluster, (moves, seen): (u64, Seen)) -> anyhow::Result<Done> {
    for spike in &cluster.spikes {
        spike.logged_nothing_of("READ ONLY transaction")?;
    }
    let done = done.with("claims", moves).with("oldest open transaction, s", seen.oldest_seconds);
    Ok(done.with("looks at open transactions", seen.looks))
}

/// The epochs of all partitions added up: each claim adds one.
async fn epochs(store: &doorbuster::store::Store) -> anyhow::Result<u64> {
    Ok(store.partition_rows().await?.iter().map(|row| u64::from(row.epoch.get())).sum())
}
