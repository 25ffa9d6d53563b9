//! Payments of orders: in time, late, twice, too little, and told in any order.

use super::support::*;
use crate::domain::{Attempt, Cancellation, Order, OrderStatus, PaymentEnd, Price, Taken, Terms, TermsChange};
use crate::engine::{Answer, Command, Refusal};
use crate::event::{Event, LogVersion};

fn start(order: &Order) -> Command {
    Command::StartPayment { order: order.id, user: Some(order.user), row: None }
}

/// An order whose hold was let go while its payment was open.
fn expired(total: i64, count: i64) -> (Sale, Order) {
    let mut sale = Sale::of(with_hold(), total);
    let order = sale.placed(a_place(7, count));
    sale.started(&order);
    sale.now = at(3_000);
    sale.expire();
    sale.story();
    (sale, sale_order(&order))
}

fn sale_order(order: &Order) -> Order {
    Order { status: OrderStatus::Expired, ..*order }
}

#[test]
fn one_payment_of_an_order_is_open_at_a_time_and_nobody_elses() {
    let mut sale = Sale::of(with_hold(), 10);
    let order = sale.placed(a_place(7, 2));
    let answer = |is_new| Ok(Answer::Payment { order, attempt: Attempt::FIRST, is_new });
    assert_eq!(sale.run(start(&order)), answer(true));
    assert_eq!(sale.run(start(&order)), answer(false));
    let another = Command::StartPayment { order: order.id, user: Some(buyer(8)), row: None };
    assert_eq!(sale.refused(another), Refusal::OrderNotFound);
    let Some(Event::PaymentStarted { amount, expires_at, at: since, .. }) = sale.events.pop() else { panic!("it was started") };
    assert_eq!((amount, expires_at, since), (2 * 1_999, at(3_000), at(1_000)));
    sale.run(payment_ended(&order, 1, PaymentEnd::Failed)).unwrap();
    assert_eq!(sale.started(&order), 2);
    assert_eq!(sale.stock(), (8, 2, 0));
}

#[test]
fn a_payment_starts_up_to_pay_by_and_what_was_started_counts_up_to_the_grace() {
    let mut sale = Sale::of(Terms { grace_seconds: 5, ..with_hold() }, 10);
    let [order, other, late] = [7, 8, 9].map(|by| sale.placed(a_place(by, 1)));
    assert_eq!((order.pay_by, order.held_until(), sale.engine.next_expiry()), (Some(at(3_000)), Some(at(8_000)), Some(at(8_000))));
    sale.now = at(2_999);
    sale.started(&order);
    sale.started(&other);
    sale.now = at(3_000);
    for order in [&order, &late] {
        assert_eq!(sale.refused(start(order)), Refusal::NotPayable);
    }
    sale.now = at(7_999);
    sale.expire();
    assert_eq!(sale.moved(succeeded(&order, 1, Taken::Authorized)).status, OrderStatus::Paid);
    sale.now = at(8_000);
    sale.expire();
    assert_eq!((sale.stock(), sale.engine.order(other.id).unwrap().status), ((9, 0, 1), OrderStatus::Expired));
}

#[test]
fn a_grace_is_frozen_when_an_order_is_placed_and_so_is_its_price() {
    let mut sale = Sale::of(Terms { grace_seconds: 5, ..with_hold() }, 10);
    let order = sale.placed(a_place(7, 1));
    let change = TermsChange { grace_seconds: Some(0), price: Price::new(1).ok(), ..TermsChange::default() };
    sale.run(Command::Change { commodity: commodity(1), change: Box::new(change) }).unwrap();
    sale.restart(false);
    assert_eq!((sale.engine.next_expiry(), sale.engine.order(order.id)), (Some(at(8_000)), Some(order)));
    sale.started(&order);
    let cheap = Command::PaymentSucceeded {
        payment: payment_of(&order, 1),
        amount: 1,
        currency: order.currency,
        taken: Taken::Captured,
        row: None,
    };
    assert_eq!(sale.moved(cheap).status, OrderStatus::Reserved, "what was agreed on is what is to be paid");
    assert_eq!(sale.engine.payments(order.id).unwrap().unwanted().count(), 1, "and anything else goes back");
}

#[test]
fn what_costs_nothing_is_confirmed_at_once() {
    let mut sale = Sale::of(Terms { price: Price::new(0).unwrap(), ..with_hold() }, 10);
    let order = sale.placed(a_place(7, 2));
    assert_eq!((order.status, order.pay_by, sale.stock()), (OrderStatus::Confirmed, None, (8, 0, 2)));
    assert_eq!(sale.refused(start(&order)), Refusal::NotPayable);
}

#[test]
fn browser_and_webhook_both_complete_and_the_order_is_paid_once() {
    let mut sale = Sale::of(with_hold(), 10);
    let order = sale.placed(a_place(7, 2));
    sale.started(&order);
    for taken in [Taken::Authorized, Taken::Captured, Taken::Authorized] {
        assert_eq!(sale.moved(succeeded(&order, 1, taken)).status, OrderStatus::Paid);
    }
    assert_eq!((sale.story(), sale.stock()), (vec!["started", "paid"], (8, 0, 2)));
}

#[test]
fn paid_late_with_units_left_the_order_is_taken_up_again_in_one_step() {
    let (mut sale, order) = expired(10, 3);
    assert_eq!(sale.stock(), (10, 0, 0), "its units were on sale meanwhile");
    assert_eq!(sale.moved(succeeded(&order, 1, Taken::Authorized)).status, OrderStatus::Paid);
    assert_eq!((sale.stock(), sale.story()), ((7, 0, 3), vec!["paid"]));
    sale.restart(false);
    assert_eq!(sale.stock(), (7, 0, 3));
    sale.moved(with_row(Command::Refund { order: order.id, reason: None, restock: true, row: None }, sale.row(order.id)));
    assert_eq!(sale.stock(), (10, 0, 0), "its buyer had been counted");
}

#[test]
fn paid_late_and_nothing_left_is_a_refund_due() {
    let (mut sale, order) = expired(4, 3);
    sale.placed(a_place(8, 2));
    let due = sale.moved(succeeded(&order, 1, Taken::Authorized));
    assert_eq!((due.status, sale.stock()), (OrderStatus::RefundDue, (2, 2, 0)));
    assert_eq!(sale.moved(succeeded(&order, 1, Taken::Captured)).status, OrderStatus::RefundDue, "whoever tells it again");
    sale.restart(false);
    assert_eq!(sale.moved(payment_ended(&order, 1, PaymentEnd::Cancelled)).status, OrderStatus::Refunded);
    assert_eq!(sale.story(), ["refund_due", "refunded"]);
}

#[test]
fn paid_late_by_who_has_bought_all_they_may_meanwhile_is_a_refund_due() {
    let mut sale = Sale::of(Terms { limit_per_user: Some(2), ..with_hold() }, 10);
    let order = sale.placed(a_place(7, 2));
    sale.started(&order);
    sale.now = at(3_000);
    sale.expire();
    sale.placed(a_place(7, 1));
    assert_eq!(sale.moved(succeeded(&order, 1, Taken::Captured)).status, OrderStatus::RefundDue);
}

#[test]
fn a_late_paid_does_not_raise_a_refunded_order_again() {
    let mut sale = Sale::of(with_hold(), 10);
    let order = sale.paid(7, 2);
    sale.moved(Command::Refund { order: order.id, reason: None, restock: true, row: None });
    sale.moved(payment_ended(&order, 1, PaymentEnd::Refunded));
    for is_forgotten in [false, true] {
        let mut command = succeeded(&order, 1, Taken::Captured);
        if is_forgotten {
            sale.forget();
            command = with_row(command, sale.row(order.id));
        }
        sale.events.clear();
        assert_eq!(sale.moved(command).status, OrderStatus::Refunded);
        assert_eq!((sale.story(), sale.stock()), (vec![], (10, 0, 0)));
    }
}

#[test]
fn a_second_payment_of_an_order_goes_back_and_the_order_stays_paid() {
    let mut sale = Sale::of(with_hold(), 10);
    let order = sale.placed(a_place(7, 2));
    sale.started(&order);
    // It is said to have failed, and had not.
    sale.run(payment_ended(&order, 1, PaymentEnd::Failed)).unwrap();
    sale.started(&order);
    sale.moved(succeeded(&order, 2, Taken::Captured));
    sale.story();
    for is_forgotten in [false, true] {
        let mut command = succeeded(&order, 1, Taken::Captured);
        if is_forgotten {
            sale.forget();
            command = with_row(command, sale.row(order.id));
        }
        assert_eq!(sale.moved(command.clone()).status, OrderStatus::Paid);
        assert_eq!(sale.moved(command).status, OrderStatus::Paid);
        sale.now = at(9_000);
        assert_eq!(sale.refused(Command::Close(commodity(1))), Refusal::HasOpenOrders);
        sale.forget();
        assert!(sale.engine.order(order.id).is_some(), "it is known until the money went back");
        sale.restart(false);
        sale.run(payment_ended(&order, 1, PaymentEnd::Refunded)).unwrap();
        assert_eq!(sale.story(), ["refund_due", "refunded"]);
    }
    assert_eq!(sale.stock(), (8, 0, 2));
    sale.run(Command::Close(commodity(1))).unwrap();
}

#[test]
fn what_was_let_go_again_pays_nothing_and_what_was_taken_does() {
    for (taken, becomes) in [(Taken::Authorized, OrderStatus::Reserved), (Taken::Captured, OrderStatus::Paid)] {
        let mut sale = Sale::of(with_hold(), 10);
        let order = sale.placed(a_place(7, 2));
        sale.started(&order);
        sale.run(payment_ended(&order, 1, PaymentEnd::Cancelled)).unwrap();
        assert_eq!(sale.moved(succeeded(&order, 1, taken)).status, becomes);
        let owes = sale.engine.payments(order.id).unwrap().owe();
        assert_eq!(owes, becomes == OrderStatus::Reserved, "somebody looks whether there is anything to give back");
    }
}

#[test]
fn a_payment_whose_money_turns_out_not_to_be_there_is_undone() {
    let mut sale = Sale::of(with_hold(), 10);
    let order = sale.paid(7, 2);
    assert_eq!(sale.moved(payment_ended(&order, 1, PaymentEnd::Cancelled)).status, OrderStatus::Refunded);
    assert_eq!((sale.story(), sale.stock()), (vec!["started", "paid", "refund_due", "refunded"], (10, 0, 0)));
}

#[test]
fn an_order_that_is_being_paid_is_not_cancelled_until_that_has_come_to_something() {
    let mut sale = Sale::of(Terms { cancellation: Cancellation::Any, ..with_hold() }, 10);
    let order = sale.placed(a_place(7, 2));
    sale.started(&order);
    assert_eq!(sale.refused(cancellation(order.id)), Refusal::PaymentOpen(Attempt::FIRST));
    sale.run(payment_ended(&order, 1, PaymentEnd::Cancelled)).unwrap();
    assert_eq!(sale.cancel(order.id).status, OrderStatus::Cancelled);
    assert_eq!((sale.stock(), sale.refused(start(&order))), ((10, 0, 0), Refusal::NotPayable));
    // It had been paid all the same: whoever called it off does not get it back.
    assert_eq!(sale.moved(succeeded(&order, 1, Taken::Captured)).status, OrderStatus::RefundDue);
    let order = sale.placed(a_place(7, 2));
    sale.started(&order);
    sale.moved(succeeded(&order, 1, Taken::Authorized));
    assert_eq!(sale.cancel(order.id).status, OrderStatus::RefundDue, "paid it is called off as the terms allow");
}

#[test]
fn an_open_payment_keeps_its_order_known_and_its_commodity_open() {
    let (mut sale, order) = expired(10, 3);
    sale.forget();
    assert_eq!(sale.engine.order(order.id), Some(order));
    sale.now = at(9_000);
    assert_eq!(sale.refused(Command::Close(commodity(1))), Refusal::HasOpenOrders);
    assert_eq!(sale.refused(Command::Remove(commodity(1))), Refusal::HasOrders);
    sale.restart(false);
    assert_eq!(sale.engine.order(order.id), Some(order));
    sale.run(payment_ended(&order, 1, PaymentEnd::Failed)).unwrap();
    sale.forget();
    assert_eq!(sale.engine.orders_len(), 0);
    sale.run(Command::Close(commodity(1))).unwrap();
}

#[test]
fn a_payment_that_was_never_started_is_not_found() {
    let mut sale = Sale::of(with_hold(), 10);
    let order = sale.placed(a_place(7, 2));
    for command in [succeeded(&order, 1, Taken::Captured), payment_ended(&order, 1, PaymentEnd::Failed)] {
        assert_eq!(sale.refused(command), Refusal::PaymentNotFound);
    }
    for _ in 0..32 {
        let number = sale.started(&order);
        sale.run(payment_ended(&order, number, PaymentEnd::Failed)).unwrap();
    }
    assert_eq!(sale.refused(start(&order)), Refusal::NotPayable, "one may try so often");
}

#[test]
fn beside_older_releases_nothing_is_paid() {
    let mut sale = Sale::with_older_releases(with_hold(), 10);
    let order = sale.placed(a_place(7, 2));
    assert_eq!(order.held_until(), Some(at(3_000)), "and there is no grace");
    assert_eq!(sale.refused(start(&order)), Refusal::UpgradeUnfinished);
    assert!(LogVersion::NEWEST >= LogVersion::V5);
}
