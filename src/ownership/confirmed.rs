//! What this process knows to be confirmed of each partition's log: what its own owners got confirmed, and what others said they had.
//!
//! It is what notices that a broker has lost something: the next fence says what is known, and a projection that is short of that stops.
//! It holds only what really is confirmed, never what may be; to know too little is no fault. Nobody waits for it: the tables are told
//! beside the accepts, and when a partition is given up.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::{Epoch, PartitionId, Partitions, Sequence};
use crate::event::Batch;
use crate::log::{InDoubt, Log};
use crate::store::{Store, StoreError};
use crate::trace::Context;

/// How often the tables are told.
const EVERY: Duration = Duration::from_secs(1);
/// How long they may take to be told of one partition. Whoever gives one up waits for it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);
/// The same of all.
const ROUND_TIMEOUT: Duration = Duration::from_secs(2);

/// What is known beside this, of one partition.
type Others = Box<dyn Fn(PartitionId) -> Option<(Epoch, Sequence)> + Send + Sync>;

/// By partition.
pub struct Confirmed {
    known: Vec<Mutex<Known>>,
    others: OnceLock<Others>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    last: (Epoch, Sequence),
    /// What the tables were told.
    written: (Epoch, Sequence),
}

impl Confirmed {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(partitions: Partitions) -> Self {
        Self { known: partitions.iter().map(|_| Mutex::default()).collect(), others: OnceLock::new() }
    }

    /// From now on `others` is asked too: what other nodes have said of their partitions. Once.
    pub fn ask_too(&self, others: impl Fn(PartitionId) -> Option<(Epoch, Sequence)> + Send + Sync + 'static) {
        let set = self.others.set(Box::new(others));
        debug_assert!(set.is_ok(), "there is one board");
    }

    /// That batch is confirmed to an owner in this process. Safe to call late and out of order.
    pub fn note(&self, partition: PartitionId, epoch: Epoch, sequence: Sequence) {
        if let Some(mut known) = self.known(partition) {
            known.last = known.last.max((epoch, sequence));
        }
    }

    /// The last batch of a partition that is known to be confirmed; (0, 0) for none.
    #[must_use]
    pub fn of(&self, partition: PartitionId) -> (Epoch, Sequence) {
        let here = self.known(partition).map_or_else(Default::default, |known| known.last);
        self.others.get().and_then(|others| others(partition)).map_or(here, |told| told.max(here))
    }

    /// Tells the tables of a partition what they have not been told yet, within a bound. What fails is told again later.
    pub(super) async fn tell(&self, store: &Store, partition: PartitionId) {
        let Some(last) = self.known(partition).filter(|known| known.last > known.written).map(|known| known.last) else { return };
        // Heartbeats say that the database is away.
        if let Ok(Ok(())) = timeout(WRITE_TIMEOUT, store.note_confirmed(partition, last)).await
            && let Some(mut known) = self.known(partition)
        {
            known.written = known.written.max(last);
        }
    }

    /// What is known of a partition here and in the tables, which know it too then.
    pub(super) async fn collect(&self, store: &Store, partition: PartitionId) -> Result<(Epoch, Sequence), StoreError> {
        let (here, told) = (self.of(partition), store.confirmed(partition).await?);
        if here > told {
            store.note_confirmed(partition, here).await?;
        }
        Ok(here.max(told))
    }

    fn known(&self, partition: PartitionId) -> Option<MutexGuard<'_, Known>> {
        Some(self.known.get(usize::from(partition.get()))?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for Confirmed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Confirmed").field("known", &self.known).finish_non_exhaustive()
    }
}

/// Tells the tables now and then, until `stop`, and once more then.
pub(super) async fn keep_told(confirmed: Arc<Confirmed>, store: Store, stop: CancellationToken) {
    let mut partitions = store.partitions().iter().collect::<Vec<_>>().into_iter().cycle();
    let count = store.partitions().get();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let over = stop.run_until_cancelled(ticks.tick()).await.is_none();
        // One that is cut short goes on where it was, so that each has its turn.
        let round = async {
            for partition in partitions.by_ref().take(count.into()) {
                confirmed.tell(&store, partition).await;
            }
        };
        // What was not told in time is told in the next round.
        let _ = timeout(ROUND_TIMEOUT, round).await;
        if over {
            return;
        }
    }
}

/// A log whose confirms are noted.
pub(super) struct Noting<L> {
    pub(super) log: L,
    pub(super) confirmed: Arc<Confirmed>,
}

impl<L: Log> Log for Noting<L> {
    fn append(&self, batch: Batch) -> BoxFuture<'_, Result<(), InDoubt>> {
        self.append_traced(batch, Vec::new())
    }

    fn check_lock(&self) -> BoxFuture<'_, Result<(), InDoubt>> {
        self.log.check_lock()
    }

    fn append_traced(&self, batch: Batch, traces: Vec<Context>) -> BoxFuture<'_, Result<(), InDoubt>> {
        let (partition, epoch, sequence) = (batch.partition, batch.epoch, batch.sequence);
        Box::pin(async move {
            self.log.append_traced(batch, traces).await?;
            self.confirmed.note(partition, epoch, sequence);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u32, sequence: u64) -> (Epoch, Sequence) {
        (Epoch::new(epoch).unwrap(), Sequence(sequence))
    }

    #[test]
    fn the_latest_counts_in_whatever_order_it_is_told() {
        let confirmed = Confirmed::new(Partitions::new(2).unwrap());
        let [one, other, foreign] = [0, 1, 2].map(|index| PartitionId::new(index).unwrap());
        for (epoch, sequence) in [at(4, 2), at(5, 0), at(4, 9), at(5, 0)] {
            confirmed.note(one, epoch, sequence);
        }
        confirmed.note(foreign, at(7, 0).0, Sequence(1));
        assert_eq!([one, other, foreign].map(|partition| confirmed.of(partition)), [at(5, 0), at(0, 0), at(0, 0)]);
        // What other nodes have said counts as well.
        confirmed.ask_too(move |partition| (partition == other).then(|| at(3, 7)));
        assert_eq!([one, other].map(|partition| confirmed.of(partition)), [at(5, 0), at(3, 7)]);
    }
}
