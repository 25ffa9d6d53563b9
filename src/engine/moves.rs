//! Orders going from one status to another: paid, refunded, cancelled, expired; and ended ones being forgotten.

use super::{Answer, Ended, Engine, Outcome, Refusal};
use crate::domain::{OrderId, OrderStatus, Timestamp, UserId};
use crate::event::Event;

/// How many ended orders are forgotten at most when one more ends. One keeps the bound; two also work off what a
/// snapshot brought beyond it, without ever making one command's events grow with that.
const FORGOTTEN_PER_ENDING_MAX: usize = 2;

impl Engine {
    /// A payment arrived. A hold whose time is over but was not ended yet still gets its units: they are still held.
    pub(super) fn confirm_payment(&mut self, now: Timestamp, id: OrderId, events: &mut Vec<Event>) -> Outcome {
        let slot = self.find_order(id).ok_or(Refusal::OrderNotFound)?;
        match self.orders.get(slot).status() {
            OrderStatus::Reserved => Ok(self.shift(now, slot, OrderStatus::Paid, events)),
            OrderStatus::Cancelled | OrderStatus::Expired => Ok(self.shift(now, slot, OrderStatus::RefundDue, events)),
            OrderStatus::Paid | OrderStatus::RefundDue | OrderStatus::Refunded => Ok(Answer::Order(self.unpack(slot))),
            OrderStatus::Confirmed => Err(Refusal::NotPayable),
        }
    }

    /// The money of an order went back.
    pub(super) fn confirm_refund(&mut self, now: Timestamp, id: OrderId, events: &mut Vec<Event>) -> Outcome {
        let slot = self.find_order(id).ok_or(Refusal::OrderNotFound)?;
        match self.orders.get(slot).status() {
            OrderStatus::RefundDue => Ok(self.shift(now, slot, OrderStatus::Refunded, events)),
            OrderStatus::Refunded => Ok(Answer::Order(self.unpack(slot))),
            OrderStatus::Reserved | OrderStatus::Confirmed | OrderStatus::Paid | OrderStatus::Cancelled | OrderStatus::Expired => {
                Err(Refusal::NotRefundable)
            }
        }
    }

    /// Calls an order off. To another buyer it does not exist.
    pub(super) fn cancel(&mut self, now: Timestamp, id: OrderId, user: Option<UserId>, events: &mut Vec<Event>) -> Outcome {
        let slot = self.find_order(id).ok_or(Refusal::OrderNotFound)?;
        let record = self.orders.get(slot);
        if user.is_some_and(|user| user != self.buyers.user(record.buyer())) {
            return Err(Refusal::OrderNotFound);
        }
        match record.status() {
            OrderStatus::Reserved | OrderStatus::Confirmed => Ok(self.shift(now, slot, OrderStatus::Cancelled, events)),
            OrderStatus::Paid | OrderStatus::Cancelled | OrderStatus::Expired | OrderStatus::RefundDue | OrderStatus::Refunded => {
                Err(Refusal::NotCancellable)
            }
        }
    }

    /// Ends holds whose time is over, earliest first.
    pub(super) fn expire(&mut self, now: Timestamp, at_most: usize, events: &mut Vec<Event>) -> Outcome {
        let mut expired = 0;
        while expired < at_most && self.next_expiry().is_some_and(|pay_by| pay_by <= now) {
            let held = self.holds.first().expect("an expiry is that of a hold");
            self.shift(now, held.0, OrderStatus::Expired, events);
            expired += 1;
        }
        Ok(Answer::Expired(expired))
    }

    /// Gives an order another status, and carries its units, its buyer's count and its place in the heaps along.
    fn shift(&mut self, now: Timestamp, slot: u32, to: OrderStatus, events: &mut Vec<Event>) -> Answer {
        let record = self.orders.get_mut(slot);
        let (from, quantity, buyer) = (record.status(), record.quantity(), record.buyer());
        record.set_status(to);
        let commodity = self.buyers.commodity(buyer);
        self.commodities.shift(commodity, from, to, quantity);
        if from.is_live() && !to.is_live() {
            self.buyers.take_units(buyer, quantity.get());
        }
        if from == OrderStatus::Reserved {
            self.holds.remove(slot, &mut self.orders);
        }
        if is_forgettable(from) {
            self.ended.remove(slot, &mut self.orders);
        }
        let order = self.unpack(slot);
        events.push(Event::Moved { order: order.id, commodity: order.commodity, buyer: Some(order.user), quantity, from, to, at: now });
        if is_forgettable(to) {
            self.ended.push(Ended { slot, at: now.millis() }, &mut self.orders);
            self.forget_oldest(events);
        }
        Answer::Order(order)
    }

    /// Forgets ended orders beyond the bound, the one that ended first before the others.
    fn forget_oldest(&mut self, events: &mut Vec<Event>) {
        for _ in 0..FORGOTTEN_PER_ENDING_MAX {
            let Some(oldest) = self.ended.first().filter(|_| self.ended.len() > self.ended_orders_max) else { return };
            self.ended.remove(oldest.slot, &mut self.orders);
            let order = self.unpack(oldest.slot).id;
            if self.forget(oldest.slot) {
                events.push(Event::KeyForgotten { order });
            }
        }
    }
}

/// Whether an order of that status may be forgotten: it has ended, and no money is owed for it.
pub(super) const fn is_forgettable(status: OrderStatus) -> bool {
    match status {
        OrderStatus::Cancelled | OrderStatus::Expired | OrderStatus::Refunded => true,
        OrderStatus::Reserved | OrderStatus::Confirmed | OrderStatus::Paid | OrderStatus::RefundDue => false,
    }
}
