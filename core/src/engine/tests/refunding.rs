//! Money that operators give back: with the units or without, once, and long after everything was over.

use super::support::*;
use crate::domain::{Actor, OrderId, OrderStatus, PaymentEnd, Stock};
use crate::engine::{Command, Refusal};
use crate::event::Event;

fn give_back(order: OrderId, restock: bool) -> Command {
    Command::Refund { order, reason: "broken".parse().ok(), restock, row: None }
}

#[test]
fn money_is_given_back_once_and_the_units_go_on_sale() {
    let mut sale = Sale::of(with_hold(), 10);
    let order = sale.paid(7, 3);
    sale.events.clear();
    assert_eq!(sale.moved(give_back(order.id, true)).status, OrderStatus::RefundDue);
    let Some(Event::Moved { cause, .. }) = sale.events.last() else { panic!("it moved") };
    assert_eq!((cause.by, cause.reason.as_ref().map(|reason| reason.as_str())), (Actor::Operator, Some("broken")));
    assert_eq!((sale.stock(), sale.refused(give_back(order.id, true))), ((10, 0, 0), Refusal::NotRefundable));
    sale.moved(payment_ended(&order, 1, PaymentEnd::Refunded));
    assert_eq!(sale.refused(give_back(order.id, false)), Refusal::NotRefundable);
    assert_eq!(sale.stock(), (10, 0, 0));
}

#[test]
fn units_that_are_written_off_leave_the_total_and_the_commodity_is_another_version() {
    let mut sale = Sale::of(with_hold(), 10);
    let order = sale.paid(7, 3);
    sale.moved(give_back(order.id, false));
    let written_off = sale.engine.commodity(commodity(1)).unwrap().clone();
    assert_eq!((written_off.stock, written_off.version), (Stock::fresh(units(7)), 2));
    sale.restart(false);
    assert_eq!(sale.engine.commodity(commodity(1)), Some(&written_off));
}

#[test]
fn only_what_was_paid_is_given_back() {
    let mut sale = Sale::of(terms(), 10);
    let confirmed = sale.placed(a_place(7, 1));
    assert_eq!(sale.refused(give_back(confirmed.id, true)), Refusal::NotRefundable, "it was for nothing: it is cancelled");
    let mut sale = Sale::of(with_hold(), 10);
    let reserved = sale.placed(a_place(7, 1));
    assert_eq!(sale.refused(give_back(reserved.id, true)), Refusal::NotRefundable);
}

/// Months after the commodity was closed, with its row and the commodity's.
#[test]
fn an_order_of_a_closed_commodity_is_given_back_from_its_row() {
    for restock in [true, false] {
        let mut sale = Sale::of(with_hold(), 10);
        let [order, other] = [7, 8].map(|by| sale.paid(by, 3));
        sale.now = at(9_000);
        sale.run(Command::Close(commodity(1))).unwrap();
        sale.restart(false);
        assert_eq!(sale.refused(give_back(order.id, restock)), Refusal::OrderNotFound);
        let row = sale.row(order.id);
        assert_eq!(sale.moved(with_row(give_back(order.id, restock), row)).status, OrderStatus::RefundDue);
        assert_eq!(sale.refused(with_row(cancellation(other.id), sale.row(other.id))), Refusal::Closed, "nothing else changes");
        sale.restart(false);
        let slot = sale.engine.commodities.find(commodity(1)).expect("it is known while it owes");
        let stock = sale.engine.commodities.get(slot).stock;
        let (total, available) = if restock { (10, 7) } else { (7, 4) };
        assert_eq!((stock.total, stock.available, stock.sold), (units(total), units(available), units(3)));
        assert_eq!(sale.moved(payment_ended(&order, 1, PaymentEnd::Refunded)).status, OrderStatus::Refunded);
        sale.forget();
        assert!(sale.engine.commodities.find(commodity(1)).is_none());
        let row = sale.row(order.id);
        assert_eq!(sale.refused(with_row(give_back(order.id, restock), row)), Refusal::NotRefundable);
    }
}
