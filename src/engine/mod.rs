//! The state machine of one partition: command in, decision and events out.
//!
//! It never reads a clock, draws a random number, awaits, logs or does I/O; time arrives as an argument.
//!
//! What it remembers: every commodity, every live order, every order whose refund is due, and the last
//! `ended_orders_max` orders that ended otherwise (by the time of their last change, then by number). A forgotten order
//! is [`Refusal::OrderNotFound`] here though the projection still has it: whoever asks about an old order asks there.
//!
//! What that costs, with a million buyers of one order each: 85 bytes an order that is confirmed and has no key, 124 bytes
//! one that is reserved and has a key (`cargo bench --bench engine` prints it).

mod buyers;
mod command;
mod commodities;
mod hash;
mod heap;
mod keys;
mod moves;
mod operate;
mod orders;
mod place;
mod restore;
mod slab;
mod snapshot;
#[cfg(test)]
mod tests;

pub use command::{Answer, Command, Outcome, Place, Refusal};
pub use restore::RestoreError;
pub use snapshot::{KnownOrder, Snapshot};

use self::buyers::Buyers;
use self::commodities::Commodities;
use self::heap::{Ended, Heap, Held};
use self::keys::Keys;
use self::orders::{Orders, number_of};
use crate::domain::{Commodity, CommodityId, Epoch, Order, OrderId, PartitionId, Timestamp};
use crate::event::Event;

/// The state machine. One per partition, one writer.
pub struct Engine {
    partition: PartitionId,
    epoch: Epoch,
    next_number: u64,
    ended_orders_max: usize,
    commodities: Commodities,
    buyers: Buyers,
    orders: Orders,
    keys: Keys,
    holds: Heap<Held>,
    ended: Heap<Ended>,
}

impl Engine {
    /// Builds the engine of an epoch from what the projection has. It remembers at most `ended_orders_max` ended orders
    /// (refunds due not counted), once it has worked off what the snapshot brings beyond that.
    ///
    /// # Errors
    /// [`RestoreError`] when the snapshot contradicts itself, its partition or its epoch.
    pub fn restore(partition: PartitionId, epoch: Epoch, snapshot: Snapshot, ended_orders_max: usize) -> Result<Self, RestoreError> {
        restore::restore(partition, epoch, snapshot, ended_orders_max)
    }

    /// Carries out one command at one instant. Events are appended to `events`; a refusal appends none.
    ///
    /// Time may stand still or go back between calls: an instant decides only its own command.
    pub fn apply(&mut self, now: Timestamp, command: Command, events: &mut Vec<Event>) -> Outcome {
        match command {
            Command::List { commodity, terms, total } => self.list(commodity, *terms, total, events),
            Command::Change { commodity, change, expected_version } => self.change(commodity, &change, expected_version, events),
            Command::Restock { commodity, units } => self.restock(commodity, units, events),
            Command::Pause(commodity) => self.set_paused(commodity, true, events),
            Command::Resume(commodity) => self.set_paused(commodity, false, events),
            Command::End(commodity) => self.end(now, commodity, events),
            Command::Remove(commodity) => self.remove(now, commodity, events),
            Command::Place(place) => self.place(now, place, events),
            Command::ConfirmPayment(order) => self.confirm_payment(now, order, events),
            Command::ConfirmRefund(order) => self.confirm_refund(now, order, events),
            Command::Cancel { order, user } => self.cancel(now, order, user, events),
            Command::Expire { at_most } => self.expire(now, at_most, events),
        }
    }

    /// When the earliest hold ends, if there is one: the shell sends [`Command::Expire`] then.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.orders.get(self.holds.first()?.0).pay_by()
    }

    /// An order the engine still knows: every live one, every refund due, and the last ended ones.
    #[must_use]
    pub fn order(&self, id: OrderId) -> Option<Order> {
        self.find_order(id).map(|slot| self.unpack(slot))
    }

    /// A commodity as it stands.
    #[must_use]
    pub fn commodity(&self, id: CommodityId) -> Option<&Commodity> {
        self.commodities.find(id).map(|slot| self.commodities.get(slot))
    }

    /// All commodities, in no particular order.
    pub fn commodities(&self) -> impl Iterator<Item = &Commodity> {
        self.commodities.iter()
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

    /// How many orders the engine remembers, live and ended.
    #[must_use]
    pub fn orders_len(&self) -> usize {
        self.orders.len()
    }

    /// Bytes allocated for orders, buyers, keys and their indexes, spare capacity included; without the commodities' texts.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.commodities.memory_bytes()
            + self.buyers.memory_bytes()
            + self.orders.memory_bytes()
            + self.keys.memory_bytes()
            + self.holds.memory_bytes()
            + self.ended.memory_bytes()
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
            commodity: self.commodities.get(self.buyers.commodity(record.buyer())).id,
            user: self.buyers.user(record.buyer()),
            quantity: record.quantity(),
            unit_price: record.unit_price(),
            currency: record.currency(),
            status: record.status(),
            pay_by: record.pay_by(),
        }
    }

    /// Drops an order and what was kept for it. Says whether it had a key.
    fn forget(&mut self, slot: u32) -> bool {
        let had_key = self.keys.remove(slot, &self.orders);
        self.buyers.leave(self.orders.get(slot).buyer());
        self.orders.remove(slot);
        had_key
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
