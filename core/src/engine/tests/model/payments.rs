//! What the rules say of payments, as plainly as they can be said.

use super::{Known, Model, Pay};
use crate::domain::{Attempt, Currency, Order, OrderId, OrderStatus, PaymentEnd, PaymentId, PaymentStatus, PrincipalKey, Taken, Timestamp};
use crate::engine::{Answer, Outcome, Refusal};

/// When a hold is let go.
pub(super) fn let_go(order: &Order) -> Timestamp {
    Timestamp::from_millis(order.pay_by.unwrap().millis() + 1_000 * i64::from(order.grace_seconds)).unwrap()
}

impl Known {
    /// Whether somebody has to see to one of its payments, whatever the order's own status.
    pub(in crate::engine::tests) fn owes(&self) -> bool {
        self.payments.iter().any(|pay| pay.status == PaymentStatus::Open || pay.status == PaymentStatus::RefundDue && !pay.pays)
    }
}

impl Model {
    pub(super) fn payments(&mut self, id: OrderId) -> &mut Vec<Pay> {
        &mut self.orders.iter_mut().find(|known| known.row.order.id == id).unwrap().payments
    }

    /// Whether somebody has to see to a payment of that order.
    pub(in crate::engine::tests) fn owes_payment(&self, id: OrderId) -> bool {
        self.known(id).is_ok_and(Known::owes)
    }

    pub(super) fn open_payment(&mut self, id: OrderId) -> Option<Attempt> {
        let last = *self.payments(id).last()?;
        let number = self.payments(id).len() as u8;
        (last.status == PaymentStatus::Open).then(|| Attempt::new(number).unwrap())
    }

    /// The money that an order was paid by has to go back.
    pub(super) fn give_back(&mut self, id: OrderId) {
        self.payments(id).iter_mut().filter(|pay| pay.pays).for_each(|pay| pay.status = PaymentStatus::RefundDue);
    }

    pub(super) fn with_payments(&self) -> Result<(), Refusal> {
        if self.with_older_releases { Err(Refusal::UpgradeUnfinished) } else { Ok(()) }
    }

    pub(super) fn start_payment(&mut self, now: Timestamp, id: OrderId, user: Option<PrincipalKey>) -> Outcome {
        let order = self.known(id)?.row.order;
        if user.is_some_and(|user| user != order.user) {
            return Err(Refusal::OrderNotFound);
        }
        if order.status != OrderStatus::Reserved || now >= order.pay_by.unwrap() {
            return Err(Refusal::NotPayable);
        }
        self.with_payments()?;
        if let Some(attempt) = self.open_payment(id) {
            return Ok(Answer::Payment { order, attempt, is_new: false });
        }
        let payments = self.payments(id);
        if payments.len() == 32 {
            return Err(Refusal::NotPayable);
        }
        payments.push(Pay { status: PaymentStatus::Open, pays: false });
        let attempt = Attempt::new(payments.len() as u8).unwrap();
        Ok(Answer::Payment { order, attempt, is_new: true })
    }

    pub(super) fn payment_succeeded(&mut self, now: Timestamp, payment: PaymentId, money: (i64, Currency), taken: Taken) -> Outcome {
        let (order, pay) = self.started(payment)?;
        if pay.pays || pay.status == PaymentStatus::RefundDue {
            return Ok(Answer::Order(order));
        }
        let is_paid = self.payments(order.id).iter().any(|pay| pay.pays);
        let is_there = pay.status == PaymentStatus::Open || taken == Taken::Captured;
        let counts = money == (order.amount(), order.currency) && is_there && !is_paid;
        let to = match order.status {
            OrderStatus::Reserved if counts => Some(OrderStatus::Paid),
            OrderStatus::Expired if counts && self.has_room_for(&order) => Some(OrderStatus::Paid),
            OrderStatus::Expired | OrderStatus::Cancelled if counts => Some(OrderStatus::RefundDue),
            _ => None,
        };
        let status = match (to, taken) {
            (Some(OrderStatus::Paid), Taken::Authorized) => PaymentStatus::Authorized,
            (Some(OrderStatus::Paid), Taken::Captured) => PaymentStatus::Captured,
            _ => PaymentStatus::RefundDue,
        };
        self.set(payment, Pay { status, pays: to.is_some() });
        Ok(to.map_or(Answer::Order(order), |to| self.turn(now, order.id, to)))
    }

    pub(super) fn payment_ended(&mut self, now: Timestamp, payment: PaymentId, how: PaymentEnd) -> Outcome {
        let (order, pay) = self.started(payment)?;
        let status = match how {
            PaymentEnd::Failed => PaymentStatus::Failed,
            PaymentEnd::Cancelled => PaymentStatus::Cancelled,
            PaymentEnd::Refunded => PaymentStatus::Refunded,
        };
        if pay.pays && matches!(order.status, OrderStatus::Paid | OrderStatus::RefundDue) {
            self.set(payment, Pay { status, pays: true });
            if order.status == OrderStatus::Paid {
                self.turn(now, order.id, OrderStatus::RefundDue);
            }
            return Ok(self.turn(now, order.id, OrderStatus::Refunded));
        }
        if !pay.pays && matches!(pay.status, PaymentStatus::Open | PaymentStatus::RefundDue) {
            self.set(payment, Pay { status, pays: false });
        }
        Ok(Answer::Order(order))
    }

    fn started(&mut self, payment: PaymentId) -> Result<(Order, Pay), Refusal> {
        let known = self.known(payment.order)?;
        self.with_payments()?;
        let pay = known.payments.get(usize::from(payment.attempt.get()) - 1).ok_or(Refusal::PaymentNotFound)?;
        Ok((known.row.order, *pay))
    }

    fn set(&mut self, payment: PaymentId, pay: Pay) {
        self.payments(payment.order)[usize::from(payment.attempt.get()) - 1] = pay;
    }

    fn has_room_for(&mut self, order: &Order) -> bool {
        let (wants, has) = (i64::from(order.quantity), self.units_of_buyer(order.commodity, order.user));
        let Ok(commodity) = self.commodity(order.commodity) else { return false };
        let is_allowed = commodity.terms.limit_per_user.is_none_or(|limit| has + wants <= i64::from(limit));
        is_allowed && i64::from(commodity.stock.available) >= wants
    }
}
