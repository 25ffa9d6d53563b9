//! What is in the log: batches of events, and their versioned wire form.
//!
//! Events are facts the engine decided; each carries all that the projection needs, so that nothing has to be looked up
//! to apply one. This module never decides, never reads a clock and never talks to a broker or a database.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::domain::{
    Commodity, CommodityId, Epoch, IdempotencyKey, Order, OrderId, OrderStatus, PartitionId, Quantity, RequestFingerprint, Sequence, Terms,
    Timestamp, Units,
};

/// One entry of a partition's log: what one append makes durable, whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The partition whose log this is.
    pub partition: PartitionId,
    /// The epoch of the owner that wrote it.
    pub epoch: Epoch,
    /// Its place in that epoch: 0 for the fence, then 1, 2, 3 ... without gaps.
    pub sequence: Sequence,
    /// The facts, in the order they were decided. Empty for the fence and for nothing else.
    pub events: Vec<Event>,
}

impl Batch {
    /// The first batch of an epoch: from here on what older epochs wrote does not count.
    #[must_use]
    pub const fn fence(partition: PartitionId, epoch: Epoch) -> Self {
        Self { partition, epoch, sequence: Sequence::FENCE, events: Vec::new() }
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

/// A fact. Variants and fields are append-only: the wire form counts them in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        /// The key it was placed under.
        key: Option<IdempotencyKey>,
        /// What the request asked for.
        fingerprint: RequestFingerprint,
    },
    /// An order went from one status to another; whether units moved follows from the two.
    Moved {
        /// Which order.
        order: OrderId,
        /// Its commodity.
        commodity: CommodityId,
        /// Its units.
        quantity: Quantity,
        /// What it was.
        from: OrderStatus,
        /// What it is.
        to: OrderStatus,
        /// When.
        at: Timestamp,
    },
    /// The idempotency key of an ended order was forgotten (see the engine's bound on remembered orders).
    KeyForgotten {
        /// Which order.
        order: OrderId,
    },
}

/// The version [`encode`] writes.
pub const WIRE_VERSION: u8 = 1;

/// Why bytes are no batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Nothing, or not begun with the two bytes `DB`.
    #[error("not an event batch (it does not begin with the mark)")]
    Foreign,
    /// Written by a newer release: to be kept, not thrown away.
    #[error("event batch of version {0}; this release reads up to {WIRE_VERSION}")]
    Newer(u8),
    /// The mark and the version are right and the rest is not.
    #[error("broken event batch: {0}")]
    Broken(String),
}

/// The wire form: the mark `DB`, one byte of version, then the batch in postcard's format
/// (<https://postcard.jamesmunns.com/wire-format>).
#[must_use]
pub fn encode(batch: &Batch) -> Vec<u8> {
    let header = vec![b'D', b'B', WIRE_VERSION];
    postcard::to_extend(batch, header).expect("a batch has no type that postcard cannot write")
}

/// Reads the wire form of any version up to [`WIRE_VERSION`]. Every value read is in its type's range; what is allocated is
/// bounded by the bytes that are there, whatever lengths they claim.
///
/// # Errors
/// [`DecodeError`], which says whether to keep the bytes for a newer release.
pub fn decode(bytes: &[u8]) -> Result<Batch, DecodeError> {
    match bytes {
        [b'D', b'B', 1, body @ ..] => match postcard::take_from_bytes(body) {
            Ok((batch, [])) => sound(batch),
            Ok((_, rest)) => Err(DecodeError::Broken(format!("{} bytes too many", rest.len()))),
            Err(error) => Err(DecodeError::Broken(error.to_string())),
        },
        [b'D', b'B', version, ..] if *version > WIRE_VERSION => Err(DecodeError::Newer(*version)),
        _ => Err(DecodeError::Foreign),
    }
}

/// Holds a batch to what its fields promise each other.
fn sound(batch: Batch) -> Result<Batch, DecodeError> {
    if batch.is_fence() && !batch.events.is_empty() {
        return Err(DecodeError::Broken("a fence with events".to_owned()));
    }
    Ok(batch)
}
