//! Asks whether a partition is free, over a connection that owns nothing. It never takes a lock.
//!
//! A refused lock closes a channel by the broker's hand, and a connection has only so many of those in it (see
//! [`Session`]). The connection that owns partitions must not be used up by asking again and again for those of others.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::broker::{Broker, BrokerError, Session};
use crate::domain::PartitionId;

pub(super) struct Scout {
    broker: Broker,
    name: String,
    session: Mutex<Option<Arc<Session>>>,
}

impl Scout {
    /// Connects when it is asked for the first time, and again when its connection has ended.
    pub(super) fn new(broker: Broker, name: String) -> Self {
        Self { broker, name, session: Mutex::new(None) }
    }

    /// Whether somebody has the lock. What it says may be over by the time it is heard: the lock decides.
    pub(super) async fn is_taken(&self, partition: PartitionId) -> Result<bool, BrokerError> {
        let session = self.session().await?;
        self.broker.topology().is_locked(&session, partition).await
    }

    /// All partitions ask at once when a broker comes back: one of them connects, within the bound of a connect, and the others
    /// wait for it.
    async fn session(&self) -> Result<Arc<Session>, BrokerError> {
        let mut kept = self.session.lock().await;
        if let Some(session) = kept.as_ref().filter(|session| !session.lost().is_cancelled()) {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(self.broker.connect(&self.name).await?);
        *kept = Some(Arc::clone(&session));
        Ok(session)
    }
}
