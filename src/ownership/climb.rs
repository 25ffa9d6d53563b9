//! What a claim does once the lock is its own: what the protocol says, with a real database and a real log. It decides nothing and
//! gives nothing back: whoever called it holds the lock, and gives it up if this fails.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Interval, interval_at, sleep, timeout};

use super::ClaimError;
use super::confirmed::Confirmed;
use super::protocol::{Action, Input, Protocol};
use crate::clock::Clock;
use crate::domain::{Epoch, PartitionId, Sequence};
use crate::engine::Snapshot;
use crate::event::LogVersion;
use crate::log::Log;
use crate::projection::{Position, span};
use crate::store::{Load, Store, StoreError};

/// How long the database may take for a step of a claim that touches one row.
const ROW_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the applied epoch is looked at while a claim drains: at first, and at last.
const DRAIN_LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));
/// How often a claim that still drains says what it waits for.
const DRAIN_WORD: Duration = Duration::from_secs(5);
/// How often it looks whether a consumer has stopped because the log lacks something.
const GAP_LOOK: Duration = Duration::from_millis(500);
/// How long it drains while the projection does not move. Its own fence may be what the log has lost: then the next one says so.
const DRAIN_PATIENCE: Duration = Duration::from_secs(60);

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
    /// What this process knows to be confirmed; none where a log cannot lose anything that the tables have.
    pub(super) confirmed: Option<&'a Confirmed>,
}

/// Becomes the owner: what it may serve, and where it appends, in which version. The drain lasts as long as the consumer
/// needs, and the load as long as rows come; the caller may stop waiting at any time.
pub(super) async fn climb<L: Log>(
    Claimant { store, owner, clock, newest, confirmed }: Claimant<'_>,
    partition: PartitionId,
    log_of: impl Fn(Epoch, LogVersion) -> Arc<L> + Send,
) -> Result<Climbed<L>, ClaimError> {
    let mut protocol = Protocol::new(partition);
    let mut action = protocol.step(Input::LockGranted);
    let (mut log, mut snapshot, mut drain) = (None, None, Drain::new());
    let version = timely(ROW_TIMEOUT, store.log_version()).await?.min(newest);
    check_log(store, partition).await?;
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
            Action::CollectKnown => Input::Known(match confirmed {
                Some(confirmed) => {
                    let known = timely(ROW_TIMEOUT, confirmed.collect(store, partition)).await?;
                    // Behind no epoch there is nothing.
                    Some(known).filter(|(epoch, _)| *epoch > Epoch::default())
                }
                None => None,
            }),
            Action::Fence(fence) => {
                let log = log.get_or_insert_with(|| log_of(fence.epoch, version));
                log.append(fence).await.map_err(|doubt| ClaimError::Unavailable(doubt.to_string()))?;
                Input::FenceConfirmed
            }
            Action::ReadApplied => drain.look(store, partition).await?,
            Action::ReadAppliedLater => {
                drain.pause(store, partition).await?;
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
            Action::Behind { epoch, confirmed } => {
                return Err(ClaimError::Unavailable(format!(
                    "epoch {confirmed} of partition {partition} was confirmed, and this claim got {epoch}: a later owner was faster, or \
                     the tables are older than the log"
                )));
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
    /// Since when the projection is there.
    since: Instant,
    pause: Duration,
    word: Interval,
    gap: Interval,
}

impl Drain {
    fn new() -> Self {
        let now = Instant::now();
        let (word, gap) = (interval_at(now + DRAIN_WORD, DRAIN_WORD), interval_at(now + GAP_LOOK, GAP_LOOK));
        Self { epoch: Epoch::default(), applied: (Epoch::default(), Sequence::FENCE), since: now, pause: DRAIN_LOOK.0, word, gap }
    }

    async fn look(&mut self, store: &Store, partition: PartitionId) -> Result<Input, ClaimError> {
        let applied = timely(ROW_TIMEOUT, store.applied(partition)).await?;
        if std::mem::replace(&mut self.applied, applied) != applied {
            self.since = Instant::now();
        }
        Ok(Input::Applied(applied.0))
    }

    async fn pause(&mut self, store: &Store, partition: PartitionId) -> Result<(), ClaimError> {
        let (epoch, (applied, sequence)) = (self.epoch, self.applied);
        if self.since.elapsed() > DRAIN_PATIENCE {
            let seconds = DRAIN_PATIENCE.as_secs();
            return Err(ClaimError::Unavailable(format!("no consumer has applied anything of partition {partition} for {seconds} s")));
        }
        tokio::select! {
            () = sleep(self.pause) => self.pause = (self.pause * 2).min(DRAIN_LOOK.1),
            _ = self.gap.tick() => check_log(store, partition).await?,
            _ = self.word.tick() => tracing::warn!(
                %partition, %epoch, applied_epoch = %applied, applied_sequence = %sequence,
                "partition {partition} waits for the consumer to bring its log up to epoch {epoch}",
            ),
        }
        Ok(())
    }
}

/// Nobody can own a partition whose log lacks something, before that is put back or an operator lets it go on.
async fn check_log(store: &Store, partition: PartitionId) -> Result<(), ClaimError> {
    let Some(gap) = timely(ROW_TIMEOUT, store.gap(partition)).await? else { return Ok(()) };
    let [applied, missing] = [gap.applied, gap.missing].map(|(epoch, sequence)| Position { epoch, sequence });
    let what = match gap.is_broken {
        true => format!("batch {missing} contradicts the tables"),
        false => format!("its log lacks {}", span(applied, missing)),
    };
    Err(ClaimError::LogIncomplete(format!("{what}: put it back (`doorbuster dead list`), or see `doorbuster log accept-loss`")))
}

async fn timely<T>(bound: Duration, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, ClaimError> {
    match timeout(bound, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(ClaimError::Unavailable(error.to_string())),
        Err(_) => Err(ClaimError::Unavailable(format!("the database does not answer within {} ms", bound.as_millis()))),
    }
}
