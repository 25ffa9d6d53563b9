//! What an engine starts from: the state of a partition as the projection has it.

use crate::domain::{Commodity, IdempotencyKey, Order, RequestFingerprint, Timestamp};

/// Everything an engine must know of its partition's past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Every commodity that was not removed.
    pub commodities: Vec<Commodity>,
    /// Every live order, every order whose refund is due, and every ended one whose key is not forgotten. In any order.
    ///
    /// Ended orders without a key may be left out: all that is lost is that a payment which comes too late for one is
    /// "not found" rather than "refund due". A loader that can gives the last ones. Ended orders of removed commodities
    /// are passed over.
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
    /// When its status last changed (the `at` of its last [`Moved`](crate::event::Event::Moved)): the order in which
    /// ended orders are forgotten. Of no matter for others.
    pub changed_at: Timestamp,
}
