//! What a claim does once the lock is its own: what the protocol says, with a real database and a real log. It decides nothing and
//! gives nothing back: whoever called it holds the lock, and gives it up if this fails.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Interval, interval_at, sleep, timeout};

use super::ClaimError;
use super::protocol::{Action, Input, Protocol};
use crate::clock::Clock;
use crate::domain::{Epoch, PartitionId, Sequence};
use crate::engine::Snapshot;
use crate::event::LogVersion;
use crate::log::Log;
use crate::store::{Load, Store, StoreError};

/// How long the database may take for a step of a claim that touches one row.
const ROW_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the applied epoch is looked at while a claim drains: at first, and at last.
const DRAIN_LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));
/// How often a claim that still drains says what it waits for.
const DRAIN_WORD: Duration = Duration::from_secs(5);

/// What a claim came to.
pub(super) struct Climbed<L> {
    pub(super) epoch: Epoch,
    pub(super) version: LogVersion,
    pub(super) snapshot: Snapshot,
    pub(super) log: Arc<L>,
}

/// Who claims, and how.
pub(super) struct Claimant<'a> {
    pub(super) store: &'a Store,
    /// The name in the partitions table.
    pub(super) owner: &'a str,
    pub(super) clock: Clock,
    /// The newest version of the log that this process writes.
    pub(super) newest: LogVersion,
}

/// Becomes the owner: what it may serve, and where it appends, in which version. The drain lasts as long as the consumer
/// needs, and the load as long as rows come; the caller may stop waiting at any time.
pub(super) async fn climb<L: Log>(
    Claimant { store, owner, clock, newest }: Claimant<'_>,
    partition: PartitionId,
    log_of: impl Fn(Epoch, LogVersion) -> Arc<L> + Send,
) -> Result<Climbed<L>, ClaimError> {
    let mut protocol = Protocol::new(partition);
    let mut action = protocol.step(Input::LockGranted);
    let (mut log, mut snapshot, mut drain) = (None, None, Drain::new());
    let version = timely(ROW_TIMEOUT, store.log_version()).await?.min(newest);
    loop {
        let input = match action {
            Action::TakeEpoch => {
                drain.epoch = timely(ROW_TIMEOUT, store.claim_epoch(partition, owner)).await?;
                Input::EpochTaken(drain.epoch)
            }
            Action::CheckLock => {
                let log = log.insert(log_of(drain.epoch, version));
                log.check_lock().await.map_err(|gone| ClaimError::Unavailable(gone.to_string()))?;
                Input::LockHeld
            }
            Action::Fence(fence) => {
                let log = log.get_or_insert_with(|| log_of(fence.epoch, version));
                log.append(fence).await.map_err(|doubt| ClaimError::Unavailable(doubt.to_string()))?;
                Input::FenceConfirmed
            }
            Action::ReadApplied => drain.look(store, partition).await?,
            Action::ReadAppliedLater => {
                drain.pause(partition).await;
                drain.look(store, partition).await?
            }
            Action::Load => {
                let load = Load { now: clock(), with_live_orders: version < LogVersion::V2 };
                let loaded = store.snapshot(partition, load).await;
                snapshot = Some(loaded.map_err(|error| ClaimError::Unavailable(error.to_string()))?);
                Input::Loaded
            }
            Action::Serve(epoch) => {
                let (snapshot, log) = snapshot.zip(log).expect("what is served is loaded, behind a fence");
                return Ok(Climbed { epoch, version, snapshot, log });
            }
            Action::Overtaken { epoch, applied } => {
                let why = format!("epoch {epoch} of partition {partition} was overtaken by epoch {applied}");
                return Err(ClaimError::Unavailable(why));
            }
            Action::Lock | Action::Taken => unreachable!("the lock is the caller's"),
        };
        action = protocol.step(input);
    }
}

/// How far the projection is on its way to an epoch, and the patience with it.
struct Drain {
    epoch: Epoch,
    applied: (Epoch, Sequence),
    pause: Duration,
    word: Interval,
}

impl Drain {
    fn new() -> Self {
        let word = interval_at(Instant::now() + DRAIN_WORD, DRAIN_WORD);
        Self { epoch: Epoch::default(), applied: (Epoch::default(), Sequence::FENCE), pause: DRAIN_LOOK.0, word }
    }

    async fn look(&mut self, store: &Store, partition: PartitionId) -> Result<Input, ClaimError> {
        self.applied = timely(ROW_TIMEOUT, store.applied(partition)).await?;
        Ok(Input::Applied(self.applied.0))
    }

    async fn pause(&mut self, partition: PartitionId) {
        let (epoch, (applied, sequence)) = (self.epoch, self.applied);
        tokio::select! {
            () = sleep(self.pause) => self.pause = (self.pause * 2).min(DRAIN_LOOK.1),
            _ = self.word.tick() => tracing::warn!(
                %partition, %epoch, applied_epoch = %applied, applied_sequence = %sequence,
                "partition {partition} waits for the consumer to bring its log up to epoch {epoch}",
            ),
        }
    }
}

async fn timely<T>(bound: Duration, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, ClaimError> {
    match timeout(bound, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(ClaimError::Unavailable(error.to_string())),
        Err(_) => Err(ClaimError::Unavailable(format!("the database does not answer within {} ms", bound.as_millis()))),
    }
}
