//! What an engine starts from: the state of a partition as the projection has it.

use crate::domain::{
    Commodity, CommodityId, IdempotencyKey, Operation, Order, OrderId, Payments, PrincipalKey, RequestFingerprint, Timestamp,
};

/// Everything an engine must know of its partition's past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Every commodity that is neither removed nor closed; and each other one of which money is owed. In any order.
    pub commodities: Vec<KnownCommodity>,
    /// Changes of commodities that were made under a key in the last 25 hours. In any order.
    pub operations: Vec<KnownOperation>,
}

/// A change of a commodity that was made under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownOperation {
    /// Whose key, and what the request asked for.
    pub operation: Operation,
    /// What was changed.
    pub commodity: CommodityId,
    /// When.
    pub at: Timestamp,
}

/// A commodity with what an engine must know of its orders. What was sold is known by its buyers' units: the orders themselves lie
/// in the tables, and come along with a command that is about one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownCommodity {
    /// The commodity.
    pub commodity: Commodity,
    /// Taken off the list: nothing is sold of it, only money is owed.
    pub removed: bool,
    /// Every buyer with live units, each once.
    pub buyers: Vec<BuyerUnits>,
    /// Every key of a live order, of one whose refund is due, and of those that ended in the last 24 hours.
    pub keys: Vec<KnownKey>,
    /// Every reserved order, every one whose refund is due, and every one with a payment that is open or must go back; while older releases take part, every live one.
    pub orders: Vec<KnownOrder>,
}

/// Units of one buyer in live orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BuyerUnits {
    /// Whose.
    pub user: PrincipalKey,
    /// How many, at least one.
    pub units: u32,
}

/// An idempotency key and the order that was placed under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// Whose key.
    pub user: PrincipalKey,
    /// The key.
    pub key: IdempotencyKey,
    /// What the request asked for.
    pub fingerprint: RequestFingerprint,
    /// The order.
    pub order: OrderId,
    /// When the order ended; none if it is live or its refund is due.
    pub ended_at: Option<Timestamp>,
}

/// An order with the key it was placed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownOrder {
    /// The order.
    pub order: Order,
    /// The key, if it had one.
    pub key: Option<IdempotencyKey>,
    /// Its payments.
    pub payments: Payments,
}

impl KnownCommodity {
    /// A commodity nobody ordered anything of.
    #[must_use]
    pub const fn fresh(commodity: Commodity) -> Self {
        Self { commodity, removed: false, buyers: Vec::new(), keys: Vec::new(), orders: Vec::new() }
    }
}
