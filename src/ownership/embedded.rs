//! Ownership in the embedded mode: the process owns every partition it claims, for nobody else can.
//!
//! That the process is alone is not decided here: it holds the lock of its data folder before it makes one of these. If
//! another process works on the same database all the same, the epochs in it fence off the older claim. Epoch, fence, load
//! and look back are the same as in the cluster, so that an order in doubt ends the same way: after the fence it is in the tables
//! or it never was.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::climb::{Claimant, Climbed, climb};
use super::{Claim, ClaimError, Ownership};
use crate::clock::Clock;
use crate::config;
use crate::domain::PartitionId;
use crate::event::LogVersion;
use crate::log::embedded::{EmbeddedLog, Writer};
use crate::store::Store;

/// The owner of every partition of one database, and the writer of their log.
#[derive(Debug)]
pub struct EmbeddedOwnership {
    store: Store,
    owner: String,
    clock: Clock,
    log: EmbeddedLog,
    writer: Mutex<Option<Writer>>,
    /// The last claim of each partition, at most one for each.
    claims: Mutex<HashMap<PartitionId, CancellationToken>>,
}

impl EmbeddedOwnership {
    /// Starts the writer of the log. `owner` is the name in the partitions table.
    #[must_use]
    pub fn start(store: Store, owner: String, config: &config::Partition, clock: Clock) -> Self {
        let (log, writer) = EmbeddedLog::start(store.clone(), Duration::from_millis(config.append_timeout_ms));
        Self { store, owner, clock, log, writer: Mutex::new(Some(writer)), claims: Mutex::default() }
    }

    /// Commits what was appended and ends the writer; every claim is lost then. Safe to call again.
    pub async fn stop(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            writer.stop().await;
        }
    }

    async fn take(&self, partition: PartitionId) -> Result<Claim, ClaimError> {
        // Where there is no file there is no log: nobody is kept waiting for it.
        self.store.check_file().map_err(|gone| ClaimError::LogAway(gone.to_string()))?;
        let lost = self.log.lost_token();
        self.remember(partition, Some(lost.clone()));
        // The lock is the data folder's. The writer keeps the order of appends, so there is nothing to drain: once the fence
        // is in, so is all that earlier claims got confirmed.
        let log_of = |epoch, _| Arc::new(self.log.of_claim(partition, epoch, lost.clone()));
        let who = Claimant { store: &self.store, owner: &self.owner, clock: self.clock, newest: LogVersion::NEWEST, confirmed: None };
        let Climbed { epoch, version, snapshot, log } = climb(who, partition, log_of).await?;
        // A confirm is the commit of the rows.
        Ok(Claim { epoch, snapshot, log, lost, log_version: version, applied: None })
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
