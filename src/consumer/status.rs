//! What a consumer knows of its own health. It never waits for anything: whoever asks gets the last that is known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::domain::PartitionId;
use crate::projection::Position;

/// The health of one consumer.
#[derive(Debug)]
pub struct Status(Mutex<Known>);

#[derive(Debug)]
struct Known {
    health: Health,
    /// Where the projections of partitions stood when they stopped here, if that is known.
    stopped_at: BTreeMap<u16, Position>,
    /// Partitions that are stopped because the broker does not let their logs be read.
    refused: BTreeSet<u16>,
}

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
        let health = Health { ready: false, broker, database: None, stopped: BTreeMap::new() };
        Self(Mutex::new(Known { health, stopped_at: BTreeMap::new(), refused: BTreeSet::new() }))
    }
}

impl Status {
    /// The health as last known.
    #[must_use]
    pub fn health(&self) -> Health {
        let mut health = self.lock().health.clone();
        health.ready = health.broker.is_none() && health.database.is_none() && health.stopped.is_empty();
        health
    }

    /// The broker is away (why), or there again. Says whether it was there before.
    pub(super) fn broker(&self, trouble: Option<String>) -> bool {
        std::mem::replace(&mut self.lock().health.broker, trouble).is_none()
    }

    /// The database is away (why), or there again.
    pub(super) fn database(&self, trouble: Option<String>) {
        self.lock().health.database = trouble;
    }

    /// A partition stopped. Says whether that is news.
    pub(super) fn stopped(&self, partition: PartitionId, why: String) -> bool {
        let mut known = self.lock();
        let is_news = known.health.stopped.insert(partition.get(), why.clone()) != Some(why);
        if is_news {
            known.stopped_at.remove(&partition.get());
        }
        known.refused.remove(&partition.get());
        is_news
    }

    /// The broker does not let the log of a partition be read.
    pub(super) fn refused(&self, partition: PartitionId, why: String) {
        self.stopped(partition, why);
        self.lock().refused.insert(partition.get());
    }

    /// Whether that was all that was the matter.
    pub(super) fn was_refused(&self, partition: PartitionId) -> bool {
        self.lock().refused.contains(&partition.get())
    }

    /// Whether it is stopped here.
    pub(super) fn is_stopped(&self, partition: PartitionId) -> bool {
        self.lock().health.stopped.contains_key(&partition.get())
    }

    /// The projection of a partition that is stopped here stands there. Whether somebody has moved it since it stopped: then what was the
    /// matter has been put right.
    pub(super) fn has_moved(&self, partition: PartitionId, position: Position) -> bool {
        *self.lock().stopped_at.entry(partition.get()).or_insert(position) != position
    }

    /// A partition goes on. Says whether that is news.
    pub(super) fn going_on(&self, partition: PartitionId) -> bool {
        let mut known = self.lock();
        known.stopped_at.remove(&partition.get());
        known.refused.remove(&partition.get());
        known.health.stopped.remove(&partition.get()).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
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
        assert!(status.going_on(partition) && !status.is_stopped(partition));
        status.database(Some("away".into()));
        assert!(!status.health().ready);
    }

    #[test]
    fn a_partition_has_moved_when_it_stands_elsewhere_than_where_it_stopped() {
        let at = |sequence| Position { sequence: crate::domain::Sequence(sequence), ..Position::default() };
        let (status, partition) = (Status::default(), PartitionId::new(3).unwrap());
        status.stopped(partition, "a gap".into());
        assert!(!status.has_moved(partition, at(4)), "that is where it stopped");
        assert!(!status.has_moved(partition, at(4)) && status.has_moved(partition, at(9)));
        status.stopped(partition, "another gap".into());
        assert!(!status.has_moved(partition, at(9)) && status.has_moved(partition, at(10)));
    }

    #[test]
    fn a_log_that_cannot_be_read_is_told_from_one_that_lacks_something() {
        let (status, partition) = (Status::default(), PartitionId::new(3).unwrap());
        status.refused(partition, "no such queue".into());
        assert!(status.is_stopped(partition) && status.was_refused(partition));
        status.stopped(partition, "a gap".into());
        assert!(!status.was_refused(partition));
        status.refused(partition, "no such queue".into());
        assert!(status.going_on(partition) && !status.was_refused(partition));
    }
}
