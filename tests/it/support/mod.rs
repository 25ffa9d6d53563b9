//! What tests share. Nothing here asserts.

pub mod app;
pub mod broker;
pub mod cluster;
pub mod database;
pub mod history;
pub mod otlp;
pub mod proxy;

pub use database::{Backend, TestDatabase};

use doorbuster::domain::{CommodityId, Epoch, PartitionId, Sequence, Timestamp, UserId};
use doorbuster::event::{self, Batch, LogVersion};

/// A commodity id.
pub fn commodity(id: i64) -> CommodityId {
    CommodityId::new(id).expect("a positive id")
}

/// A user id.
pub fn user(id: i64) -> UserId {
    UserId::new(id).expect("a positive id")
}

/// A partition.
pub fn partition(index: u16) -> PartitionId {
    PartitionId::new(index).expect("an index below 4096")
}

/// A position in a log.
pub fn position(epoch: u32, sequence: u64) -> (Epoch, Sequence) {
    (Epoch::new(epoch).expect("an epoch below 2^26"), Sequence(sequence))
}

/// A batch as the newest release writes it.
pub fn bytes(batch: &Batch) -> Vec<u8> {
    event::encode(batch, LogVersion::NEWEST).expect("the newest version has a form for everything")
}

/// So many milliseconds after a fixed time.
pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_795_600_000_000 + millis).expect("a time in this century")
}
