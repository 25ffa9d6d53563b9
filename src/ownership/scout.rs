//! Asks whether a partition is free, over a connection that owns nothing. It never takes a lock.
//!
//! A refused lock closes a channel by the broker's hand, and a connection has only so many of those in it (see
//! [`Session`]). The connection that owns partitions must not be used up by asking again and again for those of others.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

use crate::broker::{Broker, BrokerError, Session};
use crate::domain::PartitionId;
use crate::panics;

pub(super) struct Scout {
    broker: Broker,
    name: String,
    /// The last attempt to connect: under way, or with what came of it.
    attempt: Mutex<Option<Attempt>>,
}

type Attempt = Shared<BoxFuture<'static, Result<Arc<Session>, BrokerError>>>;

impl Scout {
    /// Connects when it is asked for the first time, and again when its connection has ended.
    pub(super) fn new(broker: Broker, name: String) -> Self {
        Self { broker, name, attempt: Mutex::new(None) }
    }

    /// Whether somebody has the lock. What it says may be over by the time it is heard: the lock decides.
    pub(super) async fn is_taken(&self, partition: PartitionId) -> Result<bool, BrokerError> {
        let session = self.session().await?;
        let is_locked = self.broker.topology().is_locked(&session, partition).await;
        if let Err(BrokerError::Away(why)) = &is_locked {
            // It gives no channel or no answer: the next one who asks gets another connection.
            session.end(why);
        }
        is_locked
    }

    async fn session(&self) -> Result<Arc<Session>, BrokerError> {
        self.attempt().await
    }

    /// All partitions ask at once when a broker comes back: they share one attempt to connect and what comes of it, so that nobody waits
    /// longer than the bound of a connect. Whoever asks after it has failed, or its connection has ended, begins the next.
    fn attempt(&self) -> Attempt {
        let mut last = self.attempt.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(attempt) = last.as_ref().filter(|attempt| is_good(attempt)) {
            return attempt.clone();
        }
        let (broker, name) = (self.broker.clone(), self.name.clone());
        let connect = async move { broker.connect(&name).await.map(Arc::new) };
        // A panic would be shared too, with everybody who ever asks.
        let connect = AssertUnwindSafe(connect).catch_unwind().map(|connected| {
            connected.unwrap_or_else(|panic| Err(BrokerError::Away(format!("the connect panicked: {}", panics::text_of(&*panic)))))
        });
        last.insert(connect.boxed().shared()).clone()
    }
}

/// Whether it may still lead to a connection, or has and that lives.
fn is_good(attempt: &Attempt) -> bool {
    match attempt.peek() {
        None => true,
        Some(Ok(session)) => !session.lost().is_cancelled(),
        Some(Err(_)) => false,
    }
}
