//! What an engine need not know any more: orders that are in the tables, keys of orders that ended long ago.
//!
//! A commodity that is over is forgotten with its keys when the tables have that, and with it all of its orders: whoever asks for
//! one by its key is answered from here until then, and from the tables afterwards.
//!
//! An order is forgotten when the tables have its last change and nothing is due of it (no hold to end, no payment open, no refund to make). A
//! command about it then brings its row along. The row counts only if it was read when the tables had all that this engine has
//! forgotten: what changed later, this engine still knows.

use super::{Engine, Refusal};
use crate::domain::{Epoch, OrderStatus, Sequence, Timestamp};
use crate::engine::Recalled;
use crate::engine::orders::NONE;

/// Keys that are freed at most when an order is placed: two, so that their number falls while orders come.
const KEYS_FREED_PER_ORDER_MAX: usize = 2;

impl Engine {
    /// Forgets orders whose last change is in a batch of this epoch up to `applied`, which the tables have, and commodities that came
    /// to be over in one; at most so many of each, oldest first. Returns whether there may be more.
    pub fn forget(&mut self, applied: Sequence, at_most: usize) -> bool {
        let (orders, commodities) = (self.forget_orders(applied, at_most), self.forget_commodities(applied, at_most));
        // After the orders: whose key is asked for, its order is here too or in the tables.
        let operations = self.operations.forget(applied, at_most);
        orders || commodities || operations
    }

    fn forget_commodities(&mut self, applied: Sequence, at_most: usize) -> bool {
        for _ in 0..at_most {
            let Some((sequence, slot)) = self.ending.front().copied().filter(|(sequence, _)| *sequence <= applied) else { return false };
            self.ending.pop_front();
            self.commodities.make_history(slot);
            self.forgotten_up_to = self.forgotten_up_to.max(sequence);
        }
        true
    }

    fn forget_orders(&mut self, applied: Sequence, at_most: usize) -> bool {
        for _ in 0..at_most {
            let Some((sequence, slot)) = self.unsettled.front().copied().filter(|(sequence, _)| *sequence <= applied) else { return false };
            self.unsettled.pop_front();
            let record = self.orders.get(slot);
            if record.changed_in() == sequence && self.is_forgettable(record.status()) && !self.orders.payments(slot).owe() {
                let commodity = record.commodity();
                self.orders.remove(slot);
                self.commodities.forget_order(commodity);
                self.forgotten_up_to = self.forgotten_up_to.max(sequence);
            }
        }
        true
    }

    /// Whether orders wait to be forgotten.
    #[must_use]
    pub fn has_unsettled(&self) -> bool {
        !self.unsettled.is_empty()
    }

    const fn is_forgettable(&self, status: OrderStatus) -> bool {
        match status {
            OrderStatus::Cancelled | OrderStatus::Expired | OrderStatus::Refunded => true,
            OrderStatus::Confirmed | OrderStatus::Paid => !self.with_older_releases(),
            OrderStatus::Reserved | OrderStatus::RefundDue => false,
        }
    }

    /// The time that keys are held against. Older releases load the keys of all orders that are there, however long ago they ended, and
    /// take two orders under one key for a contradiction: beside them no key is ever free again.
    pub(super) const fn time_for_keys(&self, now: Timestamp) -> Timestamp {
        if self.with_older_releases() { Timestamp::ZERO } else { now }
    }

    /// Frees keys of orders that ended more than 24 hours ago.
    pub(super) fn free_old_keys(&mut self, now: Timestamp) {
        let now = self.time_for_keys(now);
        for _ in 0..KEYS_FREED_PER_ORDER_MAX {
            let Some(ended) = self.ended_keys.front().copied() else { return };
            // A slot that is another's by now is left alone: whoever has it has an entry of its own here.
            if self.commodities.is_there(ended.commodity) {
                let keys = &mut self.commodities.listing_mut(ended.commodity).keys;
                // A key whose order came to be owed money has another entry here when that has gone back.
                if keys.is_of(ended.keyed, ended.number) && !keys.is_live(ended.keyed) {
                    if !keys.is_over(ended.keyed, now) {
                        return;
                    }
                    keys.remove(ended.keyed);
                }
            }
            self.ended_keys.pop_front();
        }
    }

    /// Whether a row was read when the tables had all that this engine has forgotten.
    pub(super) fn check_row(&self, applied: (Epoch, Sequence)) -> Result<(), Refusal> {
        let is_fresh = applied.0 == self.epoch && applied.1 >= self.forgotten_up_to;
        if is_fresh { Ok(()) } else { Err(Refusal::StaleRow) }
    }

    /// Knows an order again that it had forgotten, as its row has it. A row that does not fit what is known here is refused.
    pub(super) fn take_up(&mut self, recalled: &Recalled) -> Result<u32, Refusal> {
        let order = &recalled.order;
        let commodity = match (self.commodities.find(order.commodity), &recalled.commodity) {
            (Some(slot), _) => slot,
            (None, Some(commodity)) if commodity.id == order.commodity && commodity.stock.balances() => {
                self.commodities.insert((**commodity).clone(), commodity.closed_at.is_none())
            }
            (None, _) => return Err(Refusal::OrderNotFound),
        };
        let listing = self.commodities.listing(commodity);
        let keyed = recalled.key.and_then(|key| listing.keys.of_order(order.user, key, super::orders::number_of(order.id)));
        let slot = self.insert(order, commodity, keyed.unwrap_or(NONE));
        self.orders.set_payments(slot, recalled.payments);
        Ok(slot)
    }

    /// Whether the row of a sold order claims units that its buyer has and that are sold: any other is no row of these tables. Of what is
    /// over nobody knows who has how much.
    pub(super) fn has_units(&self, recalled: &Recalled) -> bool {
        let order = &recalled.order;
        let units = order.quantity.get();
        match (self.commodities.find(order.commodity), &recalled.commodity) {
            (Some(slot), _) => {
                let listing = self.commodities.listing(slot);
                let has_them = listing.is_over() || listing.buyers.units(order.user) >= units;
                has_them && listing.commodity.stock.sold.get() >= units
            }
            (None, Some(commodity)) => commodity.stock.sold.get() >= units,
            (None, None) => false,
        }
    }
}
