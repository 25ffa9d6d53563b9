//! The log of the embedded mode: the projection's own transaction is the append, so a confirm is a commit.
//!
//! One task writes for all partitions. While a commit waits for the disk the next appends gather, and all of them go
//! into one transaction: what a disk can commit bounds groups a second, not orders. It never confirms what is not
//! committed and never leaves an append without an answer.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{InDoubt, Log};
use crate::domain::{Epoch, PartitionId};
use crate::event::Batch;
use crate::projection::{self, Outcome, Report};
use crate::store::{Store, StoreError};

/// Appends waiting for the writer, at most. A partition has one in flight, so more than there are partitions wait only
/// in a misuse; who finds it full waits, within the append's own bound.
const WAITING_MAX: usize = 256;

/// Batches in one transaction, at most.
const GROUP_MAX: usize = 256;

/// The way to the writer. Clones lead to the same one.
#[derive(Clone, Debug)]
pub struct EmbeddedLog {
    appends: mpsc::Sender<Append>,
    append_timeout: Duration,
    /// Cancelled when the writer has ended, however it did.
    ended: CancellationToken,
}

/// The running writer.
#[derive(Debug)]
pub struct Writer {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Append {
    batch: Batch,
    confirm: oneshot::Sender<Result<(), InDoubt>>,
}

impl EmbeddedLog {
    /// Starts the writer. A commit that takes longer than `append_timeout` leaves its appends in doubt.
    #[must_use]
    pub fn start(store: Store, append_timeout: Duration) -> (Self, Writer) {
        let (appends, waiting) = mpsc::channel(WAITING_MAX);
        let (ended, stop) = (CancellationToken::new(), CancellationToken::new());
        let end = ended.clone().drop_guard();
        let task = tokio::spawn(write(store, waiting, append_timeout, stop.clone(), end));
        (Self { appends, append_timeout, ended }, Writer { task, stop })
    }

    /// A token for a new claim: it is cancelled at the latest when the writer ends.
    pub(crate) fn lost_token(&self) -> CancellationToken {
        self.ended.child_token()
    }

    /// The log of one claim. It appends for this epoch alone, and nothing once `lost` is cancelled; it cancels `lost`
    /// itself with the first append that is not confirmed.
    pub(crate) fn of_claim(&self, partition: PartitionId, epoch: Epoch, lost: CancellationToken) -> ClaimedLog {
        ClaimedLog { log: self.clone(), partition, epoch, lost }
    }

    async fn send(&self, batch: Batch) -> Result<(), InDoubt> {
        let (confirm, confirmed) = oneshot::channel();
        let append = async {
            let gone = |_| InDoubt("the writer has ended".into());
            self.appends.send(Append { batch, confirm }).await.map_err(|_| InDoubt("the writer has ended".into()))?;
            confirmed.await.map_err(gone)?
        };
        timeout(self.append_timeout, append).await.unwrap_or_else(|_| Err(too_slow(self.append_timeout)))
    }
}

impl Writer {
    /// Writes what waits, answers it, and ends. Appends that come later are in doubt.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the writer of the embedded log ended abnormally");
        }
    }
}

/// The log of one claim.
#[derive(Debug)]
pub(crate) struct ClaimedLog {
    log: EmbeddedLog,
    partition: PartitionId,
    epoch: Epoch,
    lost: CancellationToken,
}

impl Log for ClaimedLog {
    fn append(&self, batch: Batch) -> BoxFuture<'_, Result<(), InDoubt>> {
        Box::pin(async move {
            if self.lost.is_cancelled() {
                return Err(InDoubt(format!("the claim of epoch {} is lost", self.epoch)));
            }
            // Also when the caller gives up and drops this future: what follows an append in doubt would be a gap.
            let poison = self.lost.clone().drop_guard();
            if (batch.partition, batch.epoch) != (self.partition, self.epoch) {
                let (partition, epoch) = (batch.partition, batch.epoch);
                return Err(InDoubt(format!("epoch {epoch} of partition {partition} is not the claimed one, {}", self.epoch)));
            }
            self.log.send(batch).await?;
            poison.disarm();
            Ok(())
        })
    }
}

/// The writer: until it is stopped or nobody can append any more.
async fn write(store: Store, mut waiting: mpsc::Receiver<Append>, bound: Duration, stop: CancellationToken, _end: DropGuard) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    loop {
        let gathered = tokio::select! {
            biased;
            () = stop.cancelled(), if !waiting.is_closed() => {
                waiting.close();
                continue;
            }
            gathered = waiting.recv_many(&mut group, GROUP_MAX) => gathered,
        };
        if gathered == 0 {
            return;
        }
        commit(&store, &mut group, bound).await;
    }
}

async fn commit(store: &Store, group: &mut Vec<Append>, bound: Duration) {
    // Whoever has given up has called its append in doubt; not written is one of the two things that can mean.
    group.retain(|append| !append.confirm.is_closed());
    let (batches, confirms): (Vec<Batch>, Vec<_>) = group.drain(..).map(|append| (append.batch, append.confirm)).unzip();
    if batches.is_empty() {
        return;
    }
    let answers = match timeout(bound, projection::apply(store, &batches)).await {
        Ok(applied) => answers(&batches, applied),
        // Dropped, the transaction is rolled back, unless it was just being committed.
        Err(_) => vec![Err(too_slow(bound)); batches.len()],
    };
    for (confirm, answer) in confirms.into_iter().zip(answers) {
        // Nobody there any more: see above.
        drop(confirm.send(answer));
    }
}

fn answers(batches: &[Batch], applied: Result<Report, StoreError>) -> Vec<Result<(), InDoubt>> {
    let report = match applied {
        Ok(report) => report,
        Err(error) => return vec![Err(InDoubt(error.to_string())); batches.len()],
    };
    let answer = |(batch, outcome): (&Batch, &Outcome)| match outcome {
        Outcome::Applied => Ok(()),
        Outcome::Skipped => {
            metrics::counter!("doorbuster_skipped_batches_total").increment(1);
            Err(InDoubt(format!("epoch {} of partition {} is over", batch.epoch, batch.partition)))
        }
        Outcome::Stopped => {
            let stop = report.stops.iter().find(|stop| stop.partition() == batch.partition);
            Err(InDoubt(stop.map_or_else(|| "the partition stopped".to_owned(), ToString::to_string)))
        }
    };
    batches.iter().zip(&report.outcomes).map(answer).collect()
}

fn too_slow(bound: Duration) -> InDoubt {
    InDoubt(format!("no commit within {} ms", bound.as_millis()))
}
