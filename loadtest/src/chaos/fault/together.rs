//! Both nodes killed and started together, so that each claims what the other is about to have: claims are given up half-way, and
//! partitions move. Meanwhile the database server is asked about the transactions of the cluster.

use std::time::Instant;

use super::{Done, Victims};
use crate::chaos::transactions::Transactions;

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
    let seen = transactions.watch_while(victims.cluster.start_spikes_together()).await?;
    for spike in &victims.cluster.spikes {
        spike.logged_nothing_of("READ ONLY transaction")?;
    }
    let moves = epochs(&store).await? - epochs_before;
    store.close().await?;
    let done = Done::now(at, gone, gone).with("claims", moves);
    Ok(done.with("oldest open transaction, s", seen.oldest_seconds).with("looks at open transactions", seen.looks))
}

/// The epochs of all partitions added up: each claim adds one.
async fn epochs(store: &doorbuster::store::Store) -> anyhow::Result<u64> {
    Ok(store.partition_rows().await?.iter().map(|row| u64::from(row.epoch.get())).sum())
}
