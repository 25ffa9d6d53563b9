//! Asks whether a partition is free, over a connection that owns nothing. It never takes a lock.
//!
//! A refused lock closes a channel by the broker's hand, and a connection has only so many of those in it (see
//! [`Session`]). The connection that owns partitions must not be used up by asking again and again for those of others.

use std::sync::{Arc, Mutex, PoisonError};

use crate::broker::{Broker, BrokerError, Session};
use crate::domain::PartitionId;

pub(super) struct Scout {
    broker: Broker,
    name: String,
    session: Mutex<Option<Arc<Session>>>,
}

impl Scout {
    /// Connects when it is asked for the first time, and again when its connection has ended.
    pub(super) const fn new(broker: Broker, name: String) -> Self {
        Self { broker, name, session: Mutex::new(None) }
    }

    /// Whether somebody has the lock. What it says may be over by the time it is heard: the lock decides.
    pub(super) async fn is_taken(&self, partition: PartitionId) -> Result<bool, BrokerError> {
        let session = match self.usable() {
            Some(session) => session,
            None => {
                let session = Arc::new(self.broker.connect(&self.name).await?);
                // Two that came at the same time open two; the one that is replaced here closes when it has answered.
                *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&session));
                session
            }
        };
        self.broker.topology().is_locked(&session, partition).await
    }

    fn usable(&self) -> Option<Arc<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone().filter(|session| !session.lost().is_cancelled())
    }
}
