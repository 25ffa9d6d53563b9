//! How far the projection is with each partition, read for all that is owned here in one query now and then. Never decides anything
//! and never waits for the database without a bound: while it is away, nothing new is known.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::{Epoch, PartitionId, Sequence};
use crate::store::Store;

/// Where the projection of a partition is, whenever that changes.
pub(crate) type Applied = watch::Receiver<(Epoch, Sequence)>;

/// How often it is read.
const EVERY: Duration = Duration::from_millis(500);
/// How long it may take.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// By partition.
pub(super) struct Positions {
    of: Vec<watch::Sender<(Epoch, Sequence)>>,
}

impl Positions {
    /// Reads positions until `stop`, as long as somebody wants to know.
    pub(super) fn watch(store: Store, stop: CancellationToken) -> Self {
        let senders: Vec<_> = store.partitions().iter().map(|_| watch::Sender::new((Epoch::default(), Sequence::FENCE))).collect();
        tokio::spawn(stop.run_until_cancelled_owned(read_on(store, senders.clone())));
        Self { of: senders }
    }

    /// Where the projection of that partition is, from now on.
    pub(super) fn of(&self, partition: PartitionId) -> Applied {
        self.of[usize::from(partition.get())].subscribe()
    }
}

async fn read_on(store: Store, senders: Vec<watch::Sender<(Epoch, Sequence)>>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if senders.iter().all(|sender| sender.receiver_count() == 0) {
            continue;
        }
        // What fails is read again soon; heartbeats say that the database is away.
        let Ok(Ok(rows)) = timeout(READ_TIMEOUT, store.partition_rows()).await else { continue };
        for row in rows {
            if let Some(sender) = senders.get(usize::from(row.id.get())) {
                sender.send_if_modified(|known| std::mem::replace(known, row.applied) != row.applied);
            }
        }
    }
}
