//! The state machine of one partition: command in, decision and events out.
//!
//! It never reads a clock, draws a random number, awaits, logs or does I/O; time arrives as an argument.

mod command;
mod snapshot;

pub use command::{Answer, Command, Outcome, Place, Refusal};
pub use snapshot::{KnownOrder, Snapshot};

use crate::domain::{Commodity, CommodityId, Epoch, Order, OrderId, PartitionId, Timestamp};
use crate::event::Event;

/// The state machine. One per partition, one writer.
#[derive(Debug)]
pub struct Engine {
    _partition: PartitionId,
}

/// A snapshot that contradicts itself: the tables were tampered with, or we have a bug. The partition must not serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("partition {partition}: {what}")]
pub struct RestoreError {
    /// Whose snapshot.
    pub partition: PartitionId,
    /// What does not fit.
    pub what: String,
}

impl Engine {
    /// Builds the engine of an epoch from what the projection has.
    ///
    /// # Errors
    /// [`RestoreError`] when the snapshot's stock and orders do not agree.
    pub fn restore(partition: PartitionId, _epoch: Epoch, _snapshot: Snapshot) -> Result<Self, RestoreError> {
        Ok(Self { _partition: partition })
    }

    /// Carries out one command at one instant. Events are appended to `events`; a refusal appends none.
    pub fn apply(&mut self, _now: Timestamp, _command: Command, _events: &mut Vec<Event>) -> Outcome {
        Err(Refusal::CommodityNotFound)
    }

    /// When the earliest hold ends, if there is one: the shell sends [`Command::Expire`] then.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        None
    }

    /// An order the engine still knows: every live one, and the last ended ones.
    #[must_use]
    pub fn order(&self, _id: OrderId) -> Option<Order> {
        None
    }

    /// A commodity as it stands.
    #[must_use]
    pub fn commodity(&self, _id: CommodityId) -> Option<&Commodity> {
        None
    }

    /// All commodities, in no particular order.
    pub fn commodities(&self) -> impl Iterator<Item = &Commodity> {
        std::iter::empty()
    }
}
