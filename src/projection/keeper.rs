//! Keeps checkpoints young, in whatever process applies the log: when enough lies on top of one, the next is written. Several may do it
//! for one database; the tables let one of them win. Rows of keys that are free again go with it. It never touches what was decided: without it, claims read rows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::{PartitionId, Timestamp};
use crate::event::LogVersion;
use crate::store::{CheckpointReport, PartitionRow, Position, Store, StoreError};

/// How often is looked, and up to how much later, so that several processes do not look at the same time.
const LOOK_EVERY: (Duration, u64) = (Duration::from_secs(4), 2_000);
/// What may lie on top of a checkpoint: a claim works it off in a tenth of a second.
const DELTA_BYTES_MAX: u64 = 4 * 1_024 * 1_024;
/// The same for deltas of single orders.
const DELTA_ROWS_MAX: u64 = 50_000;
/// A checkpoint that is not worth making smaller.
const SMALL_BYTES: u64 = 64 * 1_024;

/// Looks after the checkpoints of all partitions until `stop`, as a process that knows the log up to that version.
pub(crate) async fn keep((store, newest): (Store, LogVersion), clock: Clock, stop: CancellationToken) {
    let mut keeper = Keeper { store, newest, clock, seen: BTreeMap::new(), closed: BTreeMap::new(), whole: BTreeSet::new() };
    loop {
        let pause = LOOK_EVERY.0 + Duration::from_millis(rand::random_range(0..LOOK_EVERY.1));
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        if let Err(error) = keeper.look(&stop).await {
            tracing::debug!(%error, "no checkpoints for now: {error}");
        }
    }
}

struct Keeper {
    store: Store,
    newest: LogVersion,
    clock: Clock,
    /// Where the projection was when a partition was looked at last.
    seen: BTreeMap<PartitionId, Position>,
    /// When a commodity of a partition was closed last, as far as its checkpoint was made without it.
    closed: BTreeMap<PartitionId, Option<Timestamp>>,
    /// Partitions whose deltas were found whole: from then on every one is written with its batch.
    whole: BTreeSet<PartitionId>,
}

impl Keeper {
    async fn look(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        if let Err(error) = self.store.drop_old_keys((self.clock)()).await {
            // Another process may drop the same ones: they go at the next look.
            tracing::debug!(%error, "cannot drop old keys");
        }
        if self.store.log_version().await?.min(self.newest) < LogVersion::V2 {
            // A consumer of an older release writes no deltas: they would be in vain.
            self.whole.clear();
            return Ok(());
        }
        for row in self.store.partition_rows().await? {
            if stop.is_cancelled() {
                return Ok(());
            }
            if self.seen.get(&row.id) == Some(&row.applied) {
                continue;
            }
            match self.look_at(&row).await {
                Ok(()) => drop(self.seen.insert(row.id, row.applied)),
                // Of this partition alone; it is looked at again.
                Err(error) => tracing::warn!(partition = %row.id, %error, "no checkpoint of partition {}: {error}", row.id),
            }
        }
        Ok(())
    }

    async fn look_at(&mut self, row: &PartitionRow) -> Result<(), StoreError> {
        let closed_at = self.store.last_closed_at(row.id).await?;
        // What was closed is in the checkpoint still, and each claim would read and drop it.
        let has_closed = closed_at.is_some() && self.closed.get(&row.id) != Some(&closed_at) && row.checkpoint.bytes > SMALL_BYTES;
        if has_closed || self.is_due(row).await? {
            self.write(row.id).await?;
        }
        self.closed.insert(row.id, closed_at);
        Ok(())
    }

    async fn is_due(&mut self, row: &PartitionRow) -> Result<bool, StoreError> {
        if !self.whole.contains(&row.id) {
            if !self.store.deltas_are_whole(row).await? {
                return Ok(true);
            }
            self.whole.insert(row.id);
        }
        let size = self.store.delta_size(row.id).await?;
        Ok(size.rows >= DELTA_ROWS_MAX || size.bytes >= DELTA_BYTES_MAX.max(row.checkpoint.bytes / 2))
    }

    async fn write(&self, partition: PartitionId) -> Result<(), StoreError> {
        let report = self.store.write_checkpoint(partition, (self.clock)()).await?;
        if let CheckpointReport::Written { bytes } = report {
            metrics::counter!("doorbuster_checkpoints_total").increment(1);
            tracing::debug!(%partition, bytes, "partition {partition} has a checkpoint of {bytes} bytes");
        }
        Ok(())
    }
}
