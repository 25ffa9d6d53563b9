//! What an engine starts from: the state of a partition as the projection has it.

use crate::domain::{Commodity, IdempotencyKey, Order, RequestFingerprint, Timestamp};

/// Everything an engine must know of its partition's past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Every commodity that was not removed.
    pub commodities: Vec<Commodity>,
    /// Every live order, and every ended one whose key is not forgotten.
    pub orders: Vec<KnownOrder>,
}

/// An order with what only the engine needs of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownOrder {
    /// The order.
    pub order: Order,
    /// The key it was placed under, if it is not forgotten.
    pub key: Option<IdempotencyKey>,
    /// What the request asked for.
    pub fingerprint: RequestFingerprint,
    /// When its status last changed: the order in which ended orders are forgotten.
    pub changed_at: Timestamp,
}
