//! What tests share. Nothing here asserts.

pub mod accounts;
pub mod app;
pub mod broker;
pub mod cluster;
pub mod database;
pub mod history;
pub mod issuer;
pub mod issuer_keys;
pub mod otlp;
pub mod past;
pub mod private_database;
pub mod program;
pub mod proxy;
pub mod recorder;
pub mod sandbox;
pub mod stripe;
pub mod tls;

pub use database::{Backend, TestDatabase};

use std::task::Poll;

use doorbuster::domain::{CommodityId, Epoch, NamedOrder, Order, PartitionId, Principal, Sequence, Timestamp, UserId};
use doorbuster::engine::Snapshot;
use doorbuster::event::{self, Batch, LogVersion};
use doorbuster::store::Load;

/// Polls a future so many times at most, and drops it then; what it came to, if it did.
pub async fn polled<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut left) = (std::pin::pin!(future), times);
    std::future::poll_fn(|context| {
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// A commodity id.
pub fn commodity(id: i64) -> CommodityId {
    CommodityId::new(id).expect("a positive id")
}

/// An account of our own; below zero, of one of two other issuers, which know the same subjects: -2 is `a:1`, and -3 is `b:1`.
pub fn principal(id: i64) -> Principal {
    match id {
        1.. => user(id).into(),
        id => format!("{}:{}", if id % 2 == 0 { "a" } else { "b" }, -id / 2).parse().expect("a principal"),
    }
}

/// As lists show an order of an account of our own.
pub fn named(order: Order) -> NamedOrder {
    NamedOrder { order, foreign: None }
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

/// A batch as it lies in a log; one that names no system as version 2 has it, which is everybody's.
pub fn bytes(batch: &Batch) -> Vec<u8> {
    let version = if batch.system.is_some() { LogVersion::NEWEST } else { LogVersion::V2 };
    event::encode(batch, version).expect("both have a form for everything")
}

/// So many milliseconds after a fixed time.
pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_795_600_000_000 + millis).expect("a time in this century")
}

/// How a claim loads: soon after what these tests write happened.
pub fn load() -> Load {
    Load { now: at(100_000), with_live_orders: false }
}

/// In an order that does not depend on how it was read.
pub fn sorted(mut snapshot: Snapshot) -> Snapshot {
    for known in &mut snapshot.commodities {
        known.buyers.sort_unstable();
        known.keys.sort_unstable_by_key(|key| key.order);
        known.orders.sort_unstable_by_key(|known| known.order.id);
    }
    snapshot.commodities.sort_unstable_by_key(|known| known.commodity.id);
    snapshot
}

/// Buyers with live units, each counted once for each commodity.
pub fn buyers_in(snapshot: &Snapshot) -> usize {
    snapshot.commodities.iter().map(|known| known.buyers.len()).sum()
}
