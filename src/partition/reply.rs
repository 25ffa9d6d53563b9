//! What whoever asks a partition hears. Never says more than is confirmed.

use std::time::Duration;

use crate::domain::{Epoch, NamedOrder, OrderId};
use crate::engine::{Answer, Refusal};

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Carried out, and on stable storage.
    Done(Answer),
    /// Refused; nothing changed.
    Refused(Refusal),
    /// Not known yet (R2). The order's id, where there is one, is what to ask again with.
    Pending(Option<OrderId>),
    /// Certainly not carried out: try again later.
    Busy(Busy),
}

/// Why a request was certainly not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// The inbox is full, or the request's time passed while it waited there: `503 overloaded`.
    Overloaded,
    /// Nobody serves the partition right now (starting, stopping, or its log is away): `503 unavailable`.
    Unavailable,
    /// The owner-to-be cannot reach the broker, or the broker takes no messages: nobody can accept anything now, and it is no use
    /// to wait for that: `503 unavailable`.
    LogAway,
}

impl Busy {
    /// What to put into `Retry-After`.
    #[must_use]
    pub const fn retry_after(self) -> Duration {
        Duration::from_secs(1)
    }
}

/// What a partition's owner says of an order id. All it rests on is confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// The engine knows the order.
    Known(NamedOrder),
    /// It does not: the order is in the tables, or never was.
    Unknown {
        /// The owner's epoch.
        epoch: Epoch,
        /// A number above those of all confirmed orders of this epoch: no other was told to anybody.
        next_number: u64,
        /// Whether every confirmed order that the owner does not know is in the tables, as it stands. Owners of an older release know
        /// every live order, and of ended ones not whether the tables have them.
        in_tables: bool,
    },
    /// The batch that would tell is in doubt.
    InDoubt,
}

/// Somebody who hears one answer.
pub(crate) trait Hear<T> {
    /// Tells them. Who has left loses nothing but the answer.
    fn hear(self, what: T);

    /// They are to hear this, when it is true: that much is decided.
    fn wait_for(&self, _: &T) {}
}
