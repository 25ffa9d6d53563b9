//! What a consumer knows of its own health. It never waits for anything: whoever asks gets the last that is known.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::domain::PartitionId;

/// The health of one consumer.
#[derive(Debug)]
pub struct Status(Mutex<Health>);

/// What `/readyz` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Whether everything below is well.
    pub ready: bool,
    /// Why the broker is not consumed from, if so.
    pub broker: Option<String>,
    /// Why nothing can be written, if so.
    pub database: Option<String>,
    /// The partitions that stopped here, with the reason.
    pub stopped: BTreeMap<u16, String>,
}

impl Default for Status {
    fn default() -> Self {
        let broker = Some("not connected yet".to_owned());
        Self(Mutex::new(Health { ready: false, broker, database: None, stopped: BTreeMap::new() }))
    }
}

impl Status {
    /// The health as last known.
    #[must_use]
    pub fn health(&self) -> Health {
        let mut health = self.lock().clone();
        health.ready = health.broker.is_none() && health.database.is_none() && health.stopped.is_empty();
        health
    }

    /// The broker is away (why), or there again. Says whether it was there before.
    pub(super) fn broker(&self, trouble: Option<String>) -> bool {
        std::mem::replace(&mut self.lock().broker, trouble).is_none()
    }

    /// The database is away (why), or there again.
    pub(super) fn database(&self, trouble: Option<String>) {
        self.lock().database = trouble;
    }

    /// A partition stopped. Says whether that is news.
    pub(super) fn stopped(&self, partition: PartitionId, why: String) -> bool {
        self.lock().stopped.insert(partition.get(), why.clone()) != Some(why)
    }

    /// A partition goes on. Says whether that is news.
    pub(super) fn going_on(&self, partition: PartitionId) -> bool {
        self.lock().stopped.remove(&partition.get()).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_is_ready_when_broker_and_database_are_there_and_no_partition_stopped() {
        let status = Status::default();
        let partition = PartitionId::new(3).unwrap();
        assert!(!status.health().ready);
        assert!(!status.broker(None));
        assert!(status.health().ready);
        assert!(status.stopped(partition, "a gap".into()));
        assert!(!status.stopped(partition, "a gap".into()));
        assert_eq!(status.health().stopped.get(&3).map(String::as_str), Some("a gap"));
        assert!(!status.health().ready);
        assert!(status.going_on(partition));
        status.database(Some("away".into()));
        assert!(!status.health().ready);
    }
}
