//! What an engine decides about payments of orders. Each command can be repeated any number of times, in any order, also of orders that it
//! has forgotten. Never talks to a provider, and never moves money: it says what has to be done.

use super::moves::Found;
use super::{Answer, Engine, Outcome, Recalled, Refusal};
use crate::domain::{
    Actor, Attempt, Cause, Currency, Order, OrderId, OrderStatus, PaymentEnd, PaymentFact, PaymentId, PaymentStatus, Payments,
    PrincipalKey, Reason, Taken, Timestamp,
};
use crate::event::{Event, LogVersion};

impl Engine {
    /// Starts a payment of a reserved order, up to its `pay_by`; or says which one is open.
    pub(super) fn start_payment(
        &mut self,
        now: Timestamp,
        id: OrderId,
        user: Option<PrincipalKey>,
        row: Option<Box<Recalled>>,
        events: &mut Vec<Event>,
    ) -> Outcome {
        let (found, order) = self.find_or_recall(id, row)?;
        if user.is_some_and(|user| user != order.user) {
            return Err(Refusal::OrderNotFound);
        }
        let Some(expires_at) = order.pay_by.filter(|pay_by| order.status == OrderStatus::Reserved && now < *pay_by) else {
            return Err(Refusal::NotPayable);
        };
        self.with_payments()?;
        // A reserved order is known as long as it is one.
        let Found::Known(slot) = found else { return Err(Refusal::StaleRow) };
        let payments = self.orders.payments(slot);
        if let Some(attempt) = payments.open() {
            return Ok(Answer::Payment { order, attempt, is_new: false });
        }
        let attempt = payments.next().ok_or(Refusal::NotPayable)?;
        self.set_payments(slot, payments.with_started(attempt));
        events.push(Event::PaymentStarted {
            payment: PaymentId { order: id, attempt },
            commodity: order.commodity,
            amount: order.amount(),
            currency: order.currency,
            expires_at,
            at: now,
        });
        Ok(Answer::Payment { order, attempt, is_new: true })
    }

    /// The money of a payment is there. Paid is what it pays, in one step with the units; everything else has to go back.
    pub(super) fn payment_succeeded(
        &mut self,
        now: Timestamp,
        payment: PaymentId,
        (amount, currency, taken): (i64, Currency, Taken),
        row: Option<Box<Recalled>>,
        events: &mut Vec<Event>,
    ) -> Outcome {
        let (found, order) = self.find_or_recall(payment.order, row)?;
        self.with_payments()?;
        let (attempt, payments) = (payment.attempt, self.payments_of(&found));
        is_started(payments, attempt)?;
        if payments.paid_by() == Some(attempt) || payments.is_unwanted(attempt) {
            return Ok(Answer::Order(order));
        }
        let is_right = amount == order.amount() && currency == order.currency;
        // That something is set aside may have been so before it was let go again; what is taken is taken.
        let is_there = payments.open() == Some(attempt) || taken == Taken::Captured;
        let to = match order.status {
            _ if !is_right || !is_there || payments.paid_by().is_some() => None,
            OrderStatus::Reserved => Some(OrderStatus::Paid),
            OrderStatus::Expired if self.has_room_for(&order) => Some(OrderStatus::Paid),
            OrderStatus::Expired | OrderStatus::Cancelled => Some(OrderStatus::RefundDue),
            OrderStatus::Confirmed | OrderStatus::Paid | OrderStatus::RefundDue | OrderStatus::Refunded => None,
        };
        let status = if to == Some(OrderStatus::Paid) { taken.status() } else { PaymentStatus::RefundDue };
        let fact = PaymentFact { attempt, status };
        match to {
            Some(to) => {
                let slot = self.slot_of(&found)?;
                self.set_payments(slot, payments.with_paid_by(attempt));
                Ok(self.shift_known(now, slot, to, by_provider(fact), events))
            }
            None => self.payment_changed(now, &found, (order, fact), events),
        }
    }

    /// There is no money of a payment. An order that it had paid is not paid any more, and one that it was to be given back for is done.
    pub(super) fn payment_ended(
        &mut self,
        now: Timestamp,
        payment: PaymentId,
        how: PaymentEnd,
        row: Option<Box<Recalled>>,
        events: &mut Vec<Event>,
    ) -> Outcome {
        let (found, order) = self.find_or_recall(payment.order, row)?;
        self.with_payments()?;
        let (attempt, payments) = (payment.attempt, self.payments_of(&found));
        is_started(payments, attempt)?;
        let fact = PaymentFact { attempt, status: how.status() };
        if payments.paid_by() == Some(attempt) {
            if !matches!(order.status, OrderStatus::Paid | OrderStatus::RefundDue) {
                return Ok(Answer::Order(order));
            }
            let slot = self.slot_of(&found)?;
            if order.status == OrderStatus::Paid {
                let due = PaymentFact { attempt, status: PaymentStatus::RefundDue };
                self.shift_known(now, slot, OrderStatus::RefundDue, by_provider(due), events);
            }
            return Ok(self.shift_known(now, slot, OrderStatus::Refunded, by_provider(fact), events));
        }
        if payments.open() == Some(attempt) || payments.is_unwanted(attempt) {
            return self.payment_changed(now, &found, (order, fact), events);
        }
        Ok(Answer::Order(order))
    }

    /// Has the money of a paid order given back.
    pub(super) fn refund(
        &mut self,
        now: Timestamp,
        id: OrderId,
        (reason, restock): (Option<Reason>, bool),
        row: Option<Box<Recalled>>,
        events: &mut Vec<Event>,
    ) -> Outcome {
        let (found, order) = self.find_or_recall(id, row)?;
        if order.status != OrderStatus::Paid {
            return Err(Refusal::NotRefundable);
        }
        self.with_payments()?;
        let slot = self.slot_of(&found)?;
        let cause = Cause { reason, ..self.called_off(slot, Actor::Operator) };
        let answer = self.shift_known(now, slot, OrderStatus::RefundDue, cause, events);
        if !restock {
            self.write_off(self.orders.get(slot).commodity(), order.quantity, events);
        }
        Ok(answer)
    }

    /// By whom an order comes to be given back, and which payment is.
    pub(super) fn called_off(&self, slot: u32, by: Actor) -> Cause {
        let payment = self.orders.payments(slot).paid_by().map(|attempt| PaymentFact { attempt, status: PaymentStatus::RefundDue });
        Cause { payment, ..Cause::by(by) }
    }

    /// The payments of an order, known or recalled.
    pub(super) fn payments_of(&self, found: &Found) -> Payments {
        match found {
            Found::Known(slot) => self.orders.payments(*slot),
            Found::Recalled(row) => row.payments,
        }
    }

    /// A payment stands otherwise, and its order as before.
    fn payment_changed(&mut self, now: Timestamp, found: &Found, (order, fact): (Order, PaymentFact), events: &mut Vec<Event>) -> Outcome {
        let slot = self.slot_of(found)?;
        self.set_payments(slot, self.orders.payments(slot).with(fact));
        let PaymentFact { attempt, status } = fact;
        let payment = PaymentId { order: order.id, attempt };
        events.push(Event::PaymentChanged { payment, commodity: order.commodity, status, at: now });
        Ok(Answer::Order(order))
    }

    /// Notes what became of an order's payments, and what is owed of its commodity by that.
    fn set_payments(&mut self, slot: u32, payments: Payments) {
        let (before, commodity) = (self.orders.payments(slot).owe(), self.orders.get(slot).commodity());
        self.orders.set_payments(slot, payments);
        self.commodities.count_owed(commodity, (before, payments.owe()));
        self.note_changed(slot);
    }

    /// Whether an order that has expired can have its units again: they are on sale, and its buyer may have them.
    fn has_room_for(&self, order: &Order) -> bool {
        let listing = self.commodities.find(order.commodity).map(|slot| self.commodities.listing(slot));
        let units = order.quantity.get();
        listing.is_some_and(|listing| {
            let Some(commodity) = (!listing.is_over()).then_some(&listing.commodity) else { return false };
            let with_them = u64::from(listing.buyers.units(order.user)) + u64::from(units);
            let is_allowed = commodity.terms.limit_per_user.is_none_or(|limit| with_them <= u64::from(limit));
            is_allowed && commodity.stock.available.get() >= units
        })
    }

    /// Older releases know no payments.
    fn with_payments(&self) -> Result<(), Refusal> {
        if self.log_version < LogVersion::V5 { Err(Refusal::UpgradeUnfinished) } else { Ok(()) }
    }
}

fn is_started(payments: Payments, attempt: Attempt) -> Result<(), Refusal> {
    if payments.last().is_some_and(|last| attempt <= last) { Ok(()) } else { Err(Refusal::PaymentNotFound) }
}

fn by_provider(fact: PaymentFact) -> Cause {
    Cause { payment: Some(fact), ..Cause::by(Actor::Provider) }
}
