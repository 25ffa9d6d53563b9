//! The state machine of one partition: command in, decision and events out.
//!
//! It never reads a clock, draws a random number, awaits, logs or does I/O; time arrives as an argument.
//!
//! What it knows: every commodity that the tables do not have as closed or removed, how many live units each buyer has, the idempotency
//! keys, what was changed under a key in the last 25 hours, every reserved order, every one whose refund is due or of which a payment is open or must go back; and of
//! all others those whose last change is not in the tables yet.
//! What else there is of an order lies in the tables, and its row comes along with a command that is about it (R10).
//!
//! What that costs, with a million buyers of one order each: `cargo bench --bench engine` prints it.

mod buyers;
mod command;
mod commodities;
mod forget;
mod hash;
mod holds;
mod keys;
mod moves;
mod operate;
mod operations;
mod orders;
mod packed;
mod payments;
mod place;
mod restore;
mod slab;
mod snapshot;
#[cfg(test)]
pub(crate) mod tests;
mod transitions;

use std::collections::VecDeque;

pub use command::{Answer, Command, Outcome, Place, Recalled, Refusal};
pub use operations::OPERATIONS_KEPT_MS;
pub use restore::RestoreError;
pub use snapshot::{BuyerUnits, KnownCommodity, KnownKey, KnownOperation, KnownOrder, Snapshot};
pub use transitions::{STARTS, TRANSITIONS, Transition, diagram};

use self::commodities::Commodities;
use self::holds::Holds;
use self::operations::Operations;
use self::orders::{Orders, number_of};
use crate::domain::{Commodity, CommodityId, Epoch, Order, OrderId, PartitionId, Payments, Sequence, Timestamp};
use crate::event::{Event, LogVersion};

/// The state machine. One per partition, one writer.
pub struct Engine {
    partition: PartitionId,
    epoch: Epoch,
    next_number: u64,
    log_version: LogVersion,
    commodities: Commodities,
    orders: Orders,
    holds: Holds,
    /// The batch that is being gathered.
    gathering: Sequence,
    /// Changes of orders, oldest first: the batch and the order's slot.
    unsettled: VecDeque<(Sequence, u32)>,
    /// Commodities that came to be over, oldest first: the batch and the commodity's slot.
    ending: VecDeque<(Sequence, u32)>,
    /// The last batch with a change of an order, or the end of a commodity, that was forgotten.
    forgotten_up_to: Sequence,
    /// Keys of ended orders, those that ended first before the others.
    ended_keys: VecDeque<EndedKey>,
    /// Changes that were made under a key.
    operations: Operations,
}

/// Where the key of an ended order is.
#[derive(Clone, Copy, Debug)]
struct EndedKey {
    commodity: u32,
    keyed: u32,
    number: u64,
}

impl Engine {
    /// Builds the engine of an epoch from what the projection has; its events are written in that version of the log. Where that is of an
    /// older release, others of it may take part, and it does nothing that they would not understand: below version 2 it forgets no live
    /// order and closes nothing, below version 4 nobody buys but accounts of our own and no key of a change is kept, below version 5 there are no
    /// payments and no grace.
    ///
    /// # Errors
    /// [`RestoreError`] when the snapshot contradicts itself, its partition or its epoch.
    pub fn restore(partition: PartitionId, epoch: Epoch, snapshot: Snapshot, log_version: LogVersion) -> Result<Self, RestoreError> {
        restore::restore(partition, epoch, snapshot, log_version)
    }

    /// What is decided from here on goes into that batch.
    pub fn gather_into(&mut self, sequence: Sequence) {
        self.gathering = sequence;
    }

    /// Carries out one command at one instant. Events are appended to `events`; a refusal appends none.
    ///
    /// Time may stand still or go back between calls: an instant decides only its own command.
    pub fn apply(&mut self, now: Timestamp, command: Command, events: &mut Vec<Event>) -> Outcome {
        match command {
            Command::List { commodity, terms, total } => self.list(commodity, *terms, total, events),
            Command::ListOnce { commodity, terms, total, absent_at } => self.list_once(commodity, (*terms, total), absent_at, events),
            Command::Change { commodity, change } => self.change(commodity, &change, events),
            Command::Expecting { version, command } => {
                self.check_version(&command, version)?;
                self.apply(now, *command, events)
            }
            Command::Keyed { operation, command } => self.operate(now, operation, *command, events),
            Command::Restock { commodity, units } => self.restock(commodity, units, events),
            Command::Pause(commodity) => self.set_paused(commodity, true, events),
            Command::Resume(commodity) => self.set_paused(commodity, false, events),
            Command::End(commodity) => self.end(now, commodity, events),
            Command::Close(commodity) => self.close(now, commodity, events),
            Command::CloseEnded { before, at_most } => self.close_ended(now, before, at_most, events),
            Command::Remove(commodity) => self.remove(now, commodity, events),
            Command::Place(place) => self.place(now, place, events),
            Command::StartPayment { order, user, row } => self.start_payment(now, order, user, row, events),
            Command::PaymentSucceeded { payment, amount, currency, taken, row } => {
                self.payment_succeeded(now, payment, (amount, currency, taken), row, events)
            }
            Command::PaymentEnded { payment, how, row } => self.payment_ended(now, payment, how, row, events),
            Command::Refund { order, reason, restock, row } => self.refund(now, order, (reason, restock), row, events),
            Command::ConfirmPayment { order, row } => self.confirm_payment(now, order, row, events),
            Command::ConfirmRefund { order, row } => self.confirm_refund(now, order, row, events),
            Command::Cancel { order, user, reason, row } => self.cancel(now, order, (user, reason), row, events),
            Command::Expire { at_most } => self.expire(now, at_most, events),
        }
    }

    /// When the earliest hold is let go, if there is one: the shell sends [`Command::Expire`] then.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.orders.get(self.holds.first()?).held_until()
    }

    /// An order the engine knows.
    #[must_use]
    pub fn order(&self, id: OrderId) -> Option<Order> {
        self.find_order(id).map(|slot| self.unpack(slot))
    }

    /// What is known of the payments of an order the engine knows.
    #[must_use]
    pub fn payments(&self, id: OrderId) -> Option<Payments> {
        self.find_order(id).map(|slot| self.orders.payments(slot))
    }

    /// Every order the engine knows, in no particular order.
    pub fn orders(&self) -> impl Iterator<Item = Order> {
        self.orders.slots().map(|slot| self.unpack(slot))
    }

    /// A commodity as it stands, unless it is closed or removed.
    #[must_use]
    pub fn commodity(&self, id: CommodityId) -> Option<&Commodity> {
        let listing = self.commodities.listing(self.commodities.find(id)?);
        (!listing.is_over()).then_some(&listing.commodity)
    }

    /// A commodity as everyone may see it: one that is closed too, until the tables have that.
    #[must_use]
    pub fn shown(&self, id: CommodityId) -> Option<&Commodity> {
        let listing = self.commodities.listing(self.commodities.find(id)?);
        listing.is_shown().then_some(&listing.commodity)
    }

    /// All commodities that are neither closed nor removed, in no particular order.
    pub fn commodities(&self) -> impl Iterator<Item = &Commodity> {
        self.commodities.listed().map(|(_, commodity)| commodity)
    }

    /// The partition this engine decides for.
    #[must_use]
    pub const fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The epoch its order ids carry.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The number the next order of this epoch gets: an id of this epoch with this number or a higher one was never
    /// given to anyone.
    #[must_use]
    pub const fn next_number(&self) -> u64 {
        self.next_number
    }

    /// How many orders the engine knows.
    #[must_use]
    pub fn orders_len(&self) -> usize {
        self.orders.len()
    }

    /// Bytes allocated for orders, buyers, keys and their indexes, spare capacity included; without the commodities' texts.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let waiting = self.unsettled.capacity() + self.ending.capacity();
        let queues = waiting * size_of::<(Sequence, u32)>() + self.ended_keys.capacity() * size_of::<EndedKey>();
        let keys = self.operations.memory_bytes();
        self.commodities.memory_bytes() + self.orders.memory_bytes() + self.holds.memory_bytes() + queues + keys
    }

    /// Whether releases take part that know every live order, and nothing that is closed.
    const fn with_older_releases(&self) -> bool {
        matches!(self.log_version, LogVersion::V1)
    }

    /// The slot of an order; none unless every part of the id is what was given.
    fn find_order(&self, id: OrderId) -> Option<u32> {
        let slot = self.orders.find(number_of(id))?;
        (id.partition() == self.partition && id.placed_at() == self.orders.get(slot).placed_at()).then_some(slot)
    }

    fn unpack(&self, slot: u32) -> Order {
        let record = self.orders.get(slot);
        let (epoch, number) = (record.number() >> 36, record.number() & OrderId::NUMBER_MAX);
        let epoch = Epoch::new(epoch as u32).expect("packed from an epoch");
        Order {
            id: OrderId::new(record.placed_at(), self.partition, epoch, number),
            commodity: self.commodities.get(record.commodity()).id,
            user: self.orders.buyer(slot),
            quantity: record.quantity(),
            unit_price: record.unit_price(),
            currency: record.currency(),
            status: record.status(),
            pay_by: record.pay_by(),
            grace_seconds: record.grace_seconds(),
            discount: self.orders.discount(slot),
        }
    }
}

/// Names and counts, never the orders themselves.
impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("partition", &self.partition)
            .field("epoch", &self.epoch)
            .field("next_number", &self.next_number)
            .field("orders", &self.orders.len())
            .finish_non_exhaustive()
    }
}
