//! Which status an order can go to from which: the only table of it. The engine asserts it with each move, and the picture in
//! `docs/orders.md` is drawn from it. Never decides when.

use crate::domain::OrderStatus;

/// A step from one status to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// What the order was.
    pub from: OrderStatus,
    /// What it becomes.
    pub to: OrderStatus,
    /// What leads to it.
    pub why: &'static str,
}

/// The statuses that an order begins in, and when.
pub const STARTS: [(OrderStatus, &str); 2] =
    [(OrderStatus::Reserved, "placed, with a hold"), (OrderStatus::Confirmed, "placed, nothing to pay")];

/// Every step there is.
pub const TRANSITIONS: [Transition; 9] = [
    step(OrderStatus::Reserved, OrderStatus::Paid, "paid in time"),
    step(OrderStatus::Reserved, OrderStatus::Cancelled, "called off"),
    step(OrderStatus::Reserved, OrderStatus::Expired, "pay_by and the grace are over"),
    step(OrderStatus::Confirmed, OrderStatus::Cancelled, "called off"),
    step(OrderStatus::Paid, OrderStatus::RefundDue, "called off, or given back"),
    step(OrderStatus::Cancelled, OrderStatus::RefundDue, "paid after that"),
    step(OrderStatus::Expired, OrderStatus::Paid, "paid late, units are left"),
    step(OrderStatus::Expired, OrderStatus::RefundDue, "paid late, nothing is left"),
    step(OrderStatus::RefundDue, OrderStatus::Refunded, "the money went back"),
];

const fn step(from: OrderStatus, to: OrderStatus, why: &'static str) -> Transition {
    Transition { from, to, why }
}

/// Whether there is such a step.
pub(super) fn is_one(from: OrderStatus, to: OrderStatus) -> bool {
    TRANSITIONS.iter().any(|step| step.from == from && step.to == to)
}

/// The picture of all of it, for Mermaid.
#[must_use]
pub fn diagram() -> String {
    let starts = STARTS.iter().map(|(status, why)| format!("    [*] --> {}: {why}\n", status.word()));
    let steps = TRANSITIONS.iter().map(|Transition { from, to, why }| format!("    {} --> {}: {why}\n", from.word(), to.word()));
    std::iter::once("stateDiagram-v2\n".to_owned()).chain(starts).chain(steps).collect()
}
