//! What keeps a partition's task going. A panic ends the term and not the task; tables that contradict themselves are looked at
//! again. It never goes on with an engine that panicked: the batch in flight is seen to its end, the partition is released, and claimed
//! again from the tables (R2).

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::task::{Task, Terms};
use super::{Busy, Trouble};
use crate::log::InDoubt;
use crate::panics;

/// The pause after a panic. What caused it may be in the tables and cause it again, and each claim loads the partition.
const PANIC_PAUSE: Duration = Duration::from_secs(1);

impl Task {
    /// Runs until told to stop.
    pub(super) async fn run(mut self) {
        loop {
            let (trouble, pause, told) = match AssertUnwindSafe(self.serve_terms()).catch_unwind().await {
                Ok(Terms::Stopped) => break,
                Ok(Terms::Contradicted(error)) => {
                    tracing::error!(
                        partition = %self.partition, %error,
                        "partition {} is stopped: its tables contradict themselves: {error}", self.partition,
                    );
                    (Trouble::TablesContradict, self.settings.stopped_retry, Some(Busy::Unavailable))
                }
                Err(panic) => {
                    let error = panics::text_of(&*panic);
                    self.meters.panicked();
                    tracing::error!(partition = %self.partition, error, "the task of partition {} panicked: {error}", self.partition);
                    (Trouble::Panicked, PANIC_PAUSE, None)
                }
            };
            self.note(Some(trouble));
            self.see_out_the_append().await;
            self.ownership.release(self.partition).await;
            if self.rest(Instant::now() + pause, told).await.is_none() {
                break;
            }
            if trouble == Trouble::Panicked {
                // It begins again: what it waits for from here on is no trouble of its own.
                self.note(None);
            }
        }
        self.ownership.release(self.partition).await;
        // What is the matter with it now is its next owner's to say.
        self.note(None);
    }

    /// Waits for the append that a term left behind which panicked: its callers are answered (*pending*), but given up half-way it
    /// would be in doubt to the log as well, and with RabbitMQ end the partition's connection. It ends within the bounds of the log.
    async fn see_out_the_append(&mut self) {
        let Some(under_way) = self.under_way.take() else { return };
        let partition = self.partition;
        match AssertUnwindSafe(under_way.append).catch_unwind().await {
            Ok(Ok(())) => tracing::info!(%partition, "the batch of partition {partition} that was in flight is confirmed"),
            Ok(Err(InDoubt(why))) => tracing::warn!(%partition, why, "the batch of partition {partition} that was in flight is in doubt"),
            // It was the append that panicked, and whatever became of it, it has.
            Err(_) => {}
        }
    }
}
