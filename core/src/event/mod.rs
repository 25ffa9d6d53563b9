//! What is in the log: batches of events. Their bytes are [`encode`]'s and [`decode`]'s, in one frozen form a version.
//!
//! Events are facts the engine decided; each carries all that the projection needs, so that nothing has to be looked up
//! to apply one. This module never decides, never reads a clock and never talks to a broker or a database.

mod codec;
#[cfg(test)]
mod tests;
mod v1;
mod v2;
mod v3;
mod v4;
mod v5;
mod version;
mod wire;

pub use codec::{DecodeError, Unwritable};
pub use version::LogVersion;
pub use wire::{decode, decode_up_to, encode};

use crate::domain::{
    Cause, Commodity, CommodityId, Currency, Epoch, Foreign, IdempotencyKey, Operation, Order, OrderId, OrderStatus, PartitionId,
    PaymentId, PaymentStatus, PrincipalKey, Quantity, RequestFingerprint, Sequence, Subject, SystemId, Terms, Timestamp, Units,
};

/// One entry of a partition's log: what one append makes durable, whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The partition whose log this is.
    pub partition: PartitionId,
    /// The epoch of the owner that wrote it.
    pub epoch: Epoch,
    /// Its place in that epoch: 0 for the fence, then 1, 2, 3 ... without gaps.
    pub sequence: Sequence,
    /// The system it belongs to; whoever appends it says so. None in what versions 1 and 2 wrote.
    pub system: Option<SystemId>,
    /// Of a fence: the last batch before it that was known to be confirmed when it was written, and its epoch. None where nothing was
    /// known, and in what versions 1 and 2 wrote.
    pub known: Option<(Epoch, Sequence)>,
    /// The facts, in the order they were decided. Empty for the fence and for nothing else.
    pub events: Vec<Event>,
}

impl Batch {
    /// A batch as its owner writes it.
    #[must_use]
    pub const fn new(partition: PartitionId, epoch: Epoch, sequence: Sequence, events: Vec<Event>) -> Self {
        Self { partition, epoch, sequence, system: None, known: None, events }
    }

    /// The first batch of an epoch: from here on what older epochs wrote does not count.
    #[must_use]
    pub const fn fence(partition: PartitionId, epoch: Epoch) -> Self {
        Self::new(partition, epoch, Sequence::FENCE, Vec::new())
    }

    /// A fence that says which batch before it is known to be confirmed.
    #[must_use]
    pub fn knowing(self, known: Option<(Epoch, Sequence)>) -> Self {
        Self { known, ..self }
    }

    /// The same batch, as one of that system.
    #[must_use]
    pub fn of_system(self, system: SystemId) -> Self {
        Self { system: Some(system), ..self }
    }

    /// Says nothing, and is skipped by every release, because no epoch is as old. Whoever looks through a log writes one to its end, and
    /// has seen the log when it comes.
    #[must_use]
    pub fn marker(partition: PartitionId) -> Self {
        Self::fence(partition, Epoch::default())
    }

    /// What it is called wherever it is spoken of: its partition, epoch and sequence.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}/{}", self.partition, self.epoch, self.sequence)
    }

    /// Whether this is the fence of its epoch.
    #[must_use]
    pub fn is_fence(&self) -> bool {
        self.sequence == Sequence::FENCE
    }
}

/// A fact. What is added here is added to the newest version of the wire form, or to one after it: see [`LogVersion`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A commodity went on sale (or will, when its window opens).
    Listed(Box<Commodity>),
    /// Its terms are these from now on.
    Changed {
        /// Which commodity.
        commodity: CommodityId,
        /// All of the new terms.
        terms: Box<Terms>,
        /// The version after the change.
        version: u32,
    },
    /// Its total is this from now on; the difference went to, or came from, what is available.
    Restocked {
        /// Which commodity.
        commodity: CommodityId,
        /// The new total.
        total: Units,
        /// The version after the change.
        version: u32,
    },
    /// The sale stopped, or went on again.
    Paused {
        /// Which commodity.
        commodity: CommodityId,
        /// Stopped, or going on.
        paused: bool,
        /// The version after the change.
        version: u32,
    },
    /// An operator ended the sale before its window did.
    Ended {
        /// Which commodity.
        commodity: CommodityId,
        /// When.
        at: Timestamp,
        /// The version after the change.
        version: u32,
    },
    /// A commodity nobody holds or bought units of was taken off the list. The engine forgot its orders, keys too.
    Removed {
        /// Which commodity.
        commodity: CommodityId,
        /// When.
        at: Timestamp,
    },
    /// An order was accepted: reserved, or confirmed at once.
    Placed {
        /// The order as it stands after this event.
        order: Order,
        /// Who placed it, if they are no account of our own: the order has no more than their key.
        foreign: Option<Foreign>,
        /// The key it was placed under.
        key: Option<IdempotencyKey>,
        /// What the request asked for. Of use together with the key alone: without one it may be 0.
        fingerprint: RequestFingerprint,
    },
    /// An order went from one status to another; whether units moved follows from the two.
    Moved {
        /// Which order.
        order: OrderId,
        /// Its commodity.
        commodity: CommodityId,
        /// Whose order it is; none in what version 1 wrote, and where versions 2 and 3 have no form for them.
        buyer: Option<PrincipalKey>,
        /// Its units.
        quantity: Quantity,
        /// What it was.
        from: OrderStatus,
        /// What it is.
        to: OrderStatus,
        /// When.
        at: Timestamp,
        /// Who moved it, and why; nobody says so in what versions before 5 wrote.
        cause: Cause,
    },
    /// Somebody is about to pay an order.
    PaymentStarted {
        /// Which payment.
        payment: PaymentId,
        /// The order's commodity.
        commodity: CommodityId,
        /// What is to be paid, in minor units.
        amount: i64,
        /// The currency of the amount.
        currency: Currency,
        /// Up to when.
        expires_at: Timestamp,
        /// When it was started.
        at: Timestamp,
    },
    /// A payment stands otherwise that its order is not moved by.
    PaymentChanged {
        /// Which payment.
        payment: PaymentId,
        /// The order's commodity.
        commodity: CommodityId,
        /// How it stands.
        status: PaymentStatus,
        /// When.
        at: Timestamp,
    },
    /// The idempotency key of an ended order was forgotten (see the engine's bound on remembered orders).
    KeyForgotten {
        /// Which order.
        order: OrderId,
    },
    /// What was decided right before this was asked for under a key. It may be nothing, where what was asked for was so already.
    Operated {
        /// Whose key, and what the request asked for.
        operation: Operation,
        /// What was changed.
        subject: Subject,
        /// When.
        at: Timestamp,
    },
    /// A commodity became history: the engine forgot it, its buyers, orders and keys.
    Closed {
        /// Which commodity.
        commodity: CommodityId,
        /// When.
        at: Timestamp,
        /// The version after the change.
        version: u32,
    },
}
