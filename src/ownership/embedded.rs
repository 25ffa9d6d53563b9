//! Ownership in the embedded mode: the process owns everything, and the epochs in the database fence off any other
//! process that believes the same. Never waits for another owner to leave.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Claim, ClaimError, Ownership};
use crate::config;
use crate::domain::PartitionId;
use crate::event::Batch;
use crate::log::Log;
use crate::log::embedded::{self, EmbeddedLog, Writer};
use crate::store::{Store, StoreError};

/// The owner of every partition of one database.
#[derive(Debug)]
pub struct EmbeddedOwnership {
    store: Store,
    owner: String,
    append_timeout: Duration,
    log: EmbeddedLog,
    writer: Mutex<Option<Writer>>,
}

impl EmbeddedOwnership {
    /// Starts the writer of the log. `owner` is the name in the partitions table.
    #[must_use]
    pub fn start(store: Store, owner: String, config: &config::Partition) -> Self {
        let (log, writer) = embedded::start(store.clone());
        let append_timeout = Duration::from_millis(config.append_timeout_ms);
        Self { store, owner, append_timeout, log, writer: Mutex::new(Some(writer)) }
    }

    /// Commits what was appended and ends the writer. Safe to call again.
    pub async fn stop(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            writer.stop().await;
        }
    }

    async fn take(&self, partition: PartitionId) -> Result<Claim, ClaimError> {
        let epoch = self.store.claim_epoch(partition, &self.owner).await?;
        // The fence goes the way of every batch, so that whatever an earlier term had sent is in the tables before it.
        let fence = timeout(self.append_timeout, self.log.append(Batch::fence(partition, epoch))).await;
        fence
            .map_err(|_| ClaimError::Unavailable(format!("no confirm of the fence within {:?}", self.append_timeout)))?
            .map_err(|doubt| ClaimError::Unavailable(doubt.to_string()))?;
        let snapshot = self.store.snapshot(partition).await?;
        Ok(Claim { epoch, snapshot, log: Arc::new(self.log.clone()), lost: CancellationToken::new() })
    }
}

impl From<StoreError> for ClaimError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl Ownership for EmbeddedOwnership {
    fn claim(&self, partition: PartitionId) -> BoxFuture<'_, Result<Claim, ClaimError>> {
        Box::pin(self.take(partition))
    }

    fn release(&self, _partition: PartitionId) -> BoxFuture<'_, ()> {
        // Nobody waits for a lock here: the next claim's epoch is all it takes.
        Box::pin(std::future::ready(()))
    }
}
