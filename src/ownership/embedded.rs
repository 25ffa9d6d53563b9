//! Ownership in the embedded mode: the process owns every partition it claims, for nobody else can.
//!
//! That the process is alone is not decided here: it holds the lock of its data folder before it makes one of these. If
//! another process works on the same database all the same, the epochs in it fence off the older claim. Epoch, fence and
//! load are the same as in the cluster, so that an order in doubt ends the same way: after the fence it is in the tables
//! or it never was.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{Claim, ClaimError, Ownership};
use crate::config;
use crate::domain::PartitionId;
use crate::event::Batch;
use crate::log::Log;
use crate::log::embedded::{EmbeddedLog, Writer};
use crate::store::{Store, StoreError};

/// The owner of every partition of one database, and the writer of their log.
#[derive(Debug)]
pub struct EmbeddedOwnership {
    store: Store,
    owner: String,
    log: EmbeddedLog,
    writer: Mutex<Option<Writer>>,
    /// The last claim of each partition, at most one for each.
    claims: Mutex<HashMap<PartitionId, CancellationToken>>,
}

impl EmbeddedOwnership {
    /// Starts the writer of the log. `owner` is the name in the partitions table.
    #[must_use]
    pub fn start(store: Store, owner: String, config: &config::Partition) -> Self {
        let (log, writer) = EmbeddedLog::start(store.clone(), Duration::from_millis(config.append_timeout_ms));
        Self { store, owner, log, writer: Mutex::new(Some(writer)), claims: Mutex::default() }
    }

    /// Commits what was appended and ends the writer; every claim is lost then. Safe to call again.
    pub async fn stop(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            writer.stop().await;
        }
    }

    async fn take(&self, partition: PartitionId) -> Result<Claim, ClaimError> {
        let lost = self.log.lost_token();
        self.remember(partition, Some(lost.clone()));
        let epoch = self.store.claim_epoch(partition, &self.owner).await?;
        let log = self.log.of_claim(partition, epoch, lost.clone());
        // The writer keeps the order of appends: once the fence is in, so is all that earlier claims got confirmed. That
        // is the drain.
        log.append(Batch::fence(partition, epoch)).await.map_err(|doubt| ClaimError::Unavailable(doubt.to_string()))?;
        let snapshot = self.store.snapshot(partition).await?;
        Ok(Claim { epoch, snapshot, log: Arc::new(log), lost })
    }

    /// Ends the claim before, if there is one.
    fn remember(&self, partition: PartitionId, claim: Option<CancellationToken>) {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match claim {
            Some(claim) => claims.insert(partition, claim),
            None => claims.remove(&partition),
        };
        if let Some(before) = before {
            before.cancel();
        }
    }
}

impl Ownership for EmbeddedOwnership {
    fn claim(&self, partition: PartitionId) -> BoxFuture<'_, Result<Claim, ClaimError>> {
        Box::pin(self.take(partition))
    }

    fn release(&self, partition: PartitionId) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.remember(partition, None) })
    }
}

impl From<StoreError> for ClaimError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
