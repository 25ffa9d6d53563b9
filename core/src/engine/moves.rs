//! Orders going from one status to another: paid, refunded, cancelled, expired.

use super::{Answer, EndedKey, Engine, Outcome, Recalled, Refusal, transitions};
use crate::domain::{
    Actor, Cancellation, Cause, Commodity, Order, OrderId, OrderStatus, PaymentFact, PaymentStatus, PrincipalKey, Reason, Timestamp,
};
use crate::event::Event;

/// An order that a command is about.
pub(super) enum Found {
    /// The engine knows it, in that slot.
    Known(u32),
    /// It had forgotten it: this is its row.
    Recalled(Box<Recalled>),
}

impl Engine {
    /// An order was paid by another way than a payment of ours. A hold whose time is over but was not ended yet still gets its units: they are still held.
    pub(super) fn confirm_payment(&mut self, now: Timestamp, id: OrderId, row: Option<Box<Recalled>>, events: &mut Vec<Event>) -> Outcome {
        let (found, order) = self.find_or_recall(id, row)?;
        match order.status {
            OrderStatus::Reserved => self.shift(now, &found, (OrderStatus::Paid, Cause::by(Actor::Provider)), events),
            OrderStatus::Cancelled | OrderStatus::Expired => {
                self.shift(now, &found, (OrderStatus::RefundDue, Cause::by(Actor::Provider)), events)
            }
            OrderStatus::Paid | OrderStatus::RefundDue | OrderStatus::Refunded => Ok(Answer::Order(order)),
            OrderStatus::Confirmed => Err(Refusal::NotPayable),
        }
    }

    /// The money of an order went back.
    pub(super) fn confirm_refund(&mut self, now: Timestamp, id: OrderId, row: Option<Box<Recalled>>, events: &mut Vec<Event>) -> Outcome {
        let (found, order) = self.find_or_recall(id, row)?;
        match order.status {
            OrderStatus::RefundDue => {
                let refunded = |attempt| PaymentFact { attempt, status: PaymentStatus::Refunded };
                let payment = self.payments_of(&found).paid_by().map(refunded);
                self.shift(now, &found, (OrderStatus::Refunded, Cause { payment, ..Cause::by(Actor::Provider) }), events)
            }
            OrderStatus::Refunded => Ok(Answer::Order(order)),
            OrderStatus::Reserved | OrderStatus::Confirmed | OrderStatus::Paid | OrderStatus::Cancelled | OrderStatus::Expired => {
                Err(Refusal::NotRefundable)
            }
        }
    }

    /// Calls an order off. To another buyer it does not exist.
    pub(super) fn cancel(
        &mut self,
        now: Timestamp,
        id: OrderId,
        (user, reason): (Option<PrincipalKey>, Option<Reason>),
        row: Option<Box<Recalled>>,
        events: &mut Vec<Event>,
    ) -> Outcome {
        let (found, order) = self.find_or_recall(id, row)?;
        if user.is_some_and(|user| user != order.user) {
            return Err(Refusal::OrderNotFound);
        }
        let commodity = self.commodity_of(&found, &order);
        if commodity.is_some_and(|commodity| commodity.closed_at.is_some()) {
            return Err(Refusal::Closed);
        }
        // Of a commodity that was removed nothing is said, and no order of it is live.
        let allowed = commodity.map_or(Cancellation::None, |commodity| commodity.terms.cancellation);
        let by = if user.is_some() { Actor::Buyer } else { Actor::Operator };
        match (order.status, allowed) {
            (_, Cancellation::None) if user.is_some() => Err(Refusal::NotCancellable),
            (OrderStatus::Reserved | OrderStatus::Confirmed, _) => match self.payments_of(&found).open() {
                Some(attempt) => Err(Refusal::PaymentOpen(attempt)),
                None => self.shift(now, &found, (OrderStatus::Cancelled, Cause { reason, ..Cause::by(by) }), events),
            },
            (OrderStatus::Paid, Cancellation::Any) => {
                let slot = self.slot_of(&found)?;
                let cause = Cause { reason, ..self.called_off(slot, by) };
                Ok(self.shift_known(now, slot, OrderStatus::RefundDue, cause, events))
            }
            (
                OrderStatus::Paid | OrderStatus::Cancelled | OrderStatus::Expired | OrderStatus::RefundDue | OrderStatus::Refunded,
                Cancellation::None | Cancellation::Unpaid | Cancellation::Any,
            ) => Err(Refusal::NotCancellable),
        }
    }

    /// Ends holds whose time is over, earliest first.
    pub(super) fn expire(&mut self, now: Timestamp, at_most: usize, events: &mut Vec<Event>) -> Outcome {
        let mut expired = 0;
        while expired < at_most && self.next_expiry().is_some_and(|at| at <= now) {
            let held = self.holds.first().expect("an expiry is that of a hold");
            self.shift_known(now, held, OrderStatus::Expired, Cause::by(Actor::Expiry), events);
            expired += 1;
        }
        Ok(Answer::Expired(expired))
    }

    /// The order as it stands; its row counts only where the engine does not know better.
    pub(super) fn find_or_recall(&self, id: OrderId, row: Option<Box<Recalled>>) -> Result<(Found, Order), Refusal> {
        if let Some(slot) = self.find_order(id) {
            return Ok((Found::Known(slot), self.unpack(slot)));
        }
        let row = row.filter(|row| row.order.id == id && id.partition() == self.partition).ok_or(Refusal::OrderNotFound)?;
        self.check_row(row.applied)?;
        // Read before its commodity was closed or removed: what may be done with it depends on that.
        if row.commodity.is_none() && self.commodities.find(row.order.commodity).is_none() {
            return Err(Refusal::StaleRow);
        }
        // These are known for as long as they are in such a status: the row is not of this engine's past.
        let is_always_known = matches!(row.order.status, OrderStatus::Reserved | OrderStatus::RefundDue) || row.payments.owe();
        if is_always_known || self.orders.find(super::orders::number_of(id)).is_some() {
            return Err(Refusal::StaleRow);
        }
        let order = row.order;
        Ok((Found::Recalled(row), order))
    }

    /// Its commodity, as it is known here or came along.
    fn commodity_of<'a>(&'a self, found: &'a Found, order: &Order) -> Option<&'a Commodity> {
        match (self.commodities.find(order.commodity), found) {
            (Some(slot), _) => Some(self.commodities.get(slot)),
            (None, Found::Recalled(row)) => row.commodity.as_deref(),
            (None, Found::Known(_)) => unreachable!("the commodity of a known order is there"),
        }
    }

    fn shift(&mut self, now: Timestamp, found: &Found, (to, cause): (OrderStatus, Cause), events: &mut Vec<Event>) -> Outcome {
        let slot = self.slot_of(found)?;
        Ok(self.shift_known(now, slot, to, cause, events))
    }

    /// The slot of an order, which is known from here on.
    pub(super) fn slot_of(&mut self, found: &Found) -> Result<u32, Refusal> {
        match found {
            Found::Known(slot) => Ok(*slot),
            Found::Recalled(row) if row.order.status.is_live() && !self.has_units(row) => Err(Refusal::StaleRow),
            Found::Recalled(row) => {
                let slot = self.take_up(row)?;
                self.unsettled.push_back((self.gathering, slot));
                Ok(slot)
            }
        }
    }

    /// Notes that something of an order changes with the batch that is gathered.
    pub(super) fn note_changed(&mut self, slot: u32) {
        let gathering = self.gathering;
        let record = self.orders.get_mut(slot);
        if record.changed_in() != gathering {
            record.set_changed_in(gathering);
            self.unsettled.push_back((gathering, slot));
        }
    }

    /// Gives an order another status, and carries its units, its buyer's count, its hold and its key along.
    pub(super) fn shift_known(&mut self, now: Timestamp, slot: u32, to: OrderStatus, cause: Cause, events: &mut Vec<Event>) -> Answer {
        self.note_changed(slot);
        let user = self.orders.buyer(slot);
        let record = self.orders.get_mut(slot);
        let (from, quantity, commodity, keyed) = (record.status(), record.quantity(), record.commodity(), record.keyed());
        let number = record.number();
        assert!(transitions::is_one(from, to), "no order goes from {} to {}", from.word(), to.word());
        record.set_status(to);
        self.commodities.shift(commodity, from, to, quantity);
        let listing = self.commodities.listing_mut(commodity);
        if from.is_live() && !to.is_live() && !listing.is_over() {
            listing.buyers.take(user, quantity.get()).expect("units are taken back once per order");
        } else if !from.is_live() && to.is_live() {
            listing.buyers.add(user, quantity.get()).expect("one buyer has at most all units of a commodity");
        }
        if keyed != super::orders::NONE && !listing.is_over() && listing.keys.is_of(keyed, number) {
            let ended = has_ended(to).then_some(now);
            listing.keys.set_ended(keyed, ended);
            self.ended_keys.extend(ended.map(|_| EndedKey { commodity, keyed, number }));
        }
        if from == OrderStatus::Reserved {
            self.holds.remove(slot, &mut self.orders);
        }
        let order = self.unpack(slot);
        events.push(Event::Moved { order: order.id, commodity: order.commodity, quantity, from, to, at: now, buyer: Some(user), cause });
        Answer::Order(order)
    }
}

/// Whether nothing is owed for an order of that status any more, in units or in money.
pub(super) const fn has_ended(status: OrderStatus) -> bool {
    match status {
        OrderStatus::Cancelled | OrderStatus::Expired | OrderStatus::Refunded => true,
        OrderStatus::Reserved | OrderStatus::Confirmed | OrderStatus::Paid | OrderStatus::RefundDue => false,
    }
}
