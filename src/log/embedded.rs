//! The log of the embedded mode: the projection's own transaction is the append. One writer commits what all partitions
//! have appended meanwhile in one transaction (group commit). Never applies a batch twice, never keeps one for later.

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{InDoubt, Log};
use crate::event::Batch;
use crate::projection::{self, Outcome, Report};
use crate::store::Store;

/// Batches waiting for the writer, at most. Each partition has one in flight, so that a sane system stays far below.
const WAITING_MAX: usize = 4_096;

/// The appending end; clones share the writer.
#[derive(Clone, Debug)]
pub struct EmbeddedLog {
    sender: mpsc::Sender<Append>,
}

/// The task that commits.
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

/// Starts the writer of a database.
#[must_use]
pub fn start(store: Store) -> (EmbeddedLog, Writer) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let stop = CancellationToken::new();
    let task = tokio::spawn(write(store, receiver, stop.clone()));
    (EmbeddedLog { sender }, Writer { task, stop })
}

impl Log for EmbeddedLog {
    fn append(&self, batch: Batch) -> BoxFuture<'_, Result<(), InDoubt>> {
        Box::pin(async move {
            let (confirm, confirmed) = oneshot::channel();
            let ended = || InDoubt("the writer has ended".into());
            self.sender.send(Append { batch, confirm }).await.map_err(|_| ended())?;
            confirmed.await.unwrap_or_else(|_| Err(ended()))
        })
    }
}

impl Writer {
    /// Commits what was appended, refuses what comes later, and ends.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the writer of the embedded log ended abnormally");
        }
    }
}

async fn write(store: Store, mut appends: mpsc::Receiver<Append>, stop: CancellationToken) {
    let mut waiting = Vec::new();
    loop {
        tokio::select! {
            biased;
            count = appends.recv_many(&mut waiting, WAITING_MAX) => if count == 0 { return },
            () = stop.cancelled(), if !appends.is_closed() => {
                appends.close();
                continue;
            }
        }
        let (batches, confirms): (Vec<Batch>, Vec<_>) = waiting.drain(..).map(|append| (append.batch, append.confirm)).unzip();
        let answers = match projection::apply(&store, &batches).await {
            Ok(report) => answers(&batches, &report),
            Err(error) => {
                tracing::error!(%error, batches = batches.len(), "the embedded log could not commit");
                vec![Err(InDoubt(error.to_string())); batches.len()]
            }
        };
        for (confirm, answer) in confirms.into_iter().zip(answers) {
            // An owner that waits no longer has started over and learns from the tables.
            drop(confirm.send(answer));
        }
    }
}

/// What each appender hears: only what is in the tables is confirmed.
fn answers(batches: &[Batch], report: &Report) -> Vec<Result<(), InDoubt>> {
    let answer = |(batch, outcome): (&Batch, &Outcome)| match outcome {
        Outcome::Applied => Ok(()),
        Outcome::Skipped => Err(InDoubt(format!("partition {} has a later owner than epoch {}", batch.partition, batch.epoch))),
        Outcome::Stopped => {
            let stop = report.stops.iter().find(|stop| stop.partition() == batch.partition);
            Err(InDoubt(stop.map_or_else(|| "the projection stopped".into(), ToString::to_string)))
        }
    };
    batches.iter().zip(&report.outcomes).map(answer).collect()
}
