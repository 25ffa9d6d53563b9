//! Which orders can be cancelled, as the terms of their commodity say.

use super::support::*;
use crate::domain::{Cancellation, Order, OrderStatus, Terms, TermsChange};
use crate::engine::{Command, Refusal};

fn with(cancellation: Cancellation) -> Sale {
    Sale::of(Terms { cancellation, ..with_hold() }, 10)
}

fn by_its_buyer(order: &Order) -> Command {
    Command::Cancel { order: order.id, user: Some(order.user), reason: None, row: None }
}

fn paid(sale: &mut Sale) -> Order {
    let order = sale.placed(a_place(7, 3));
    sale.moved(payment(order.id))
}

#[test]
fn of_a_commodity_without_cancellation_operators_alone_cancel() {
    let mut sale = with(Cancellation::None);
    let order = sale.placed(a_place(7, 3));
    assert_eq!(sale.refused(by_its_buyer(&order)), Refusal::NotCancellable);
    let another = Command::Cancel { order: order.id, user: Some(buyer(8)), reason: None, row: None };
    assert_eq!(sale.refused(another), Refusal::OrderNotFound, "nobody learns of another's order");
    assert_eq!((sale.cancel(order.id).status, sale.stock()), (OrderStatus::Cancelled, (10, 0, 0)));
    let order = paid(&mut sale);
    assert_eq!(sale.refused(cancellation(order.id)), Refusal::NotCancellable);
    assert_eq!(sale.stock(), (7, 0, 3));
}

#[test]
fn unless_something_else_is_said_what_no_money_was_taken_for_can_be_cancelled() {
    let mut sale = Sale::of(terms(), 10);
    let confirmed = sale.placed(a_place(7, 3));
    assert_eq!(sale.moved(by_its_buyer(&confirmed)).status, OrderStatus::Cancelled);
    let mut sale = with(Cancellation::Unpaid);
    let order = paid(&mut sale);
    for command in [by_its_buyer(&order), cancellation(order.id)] {
        assert_eq!(sale.refused(command), Refusal::NotCancellable);
    }
}

#[test]
fn a_paid_order_that_is_cancelled_gives_its_units_back_at_once_and_its_money_is_due() {
    for by_an_operator in [false, true] {
        for is_forgotten in [false, true] {
            let mut sale = with(Cancellation::Any);
            let order = paid(&mut sale);
            let mut command = if by_an_operator { cancellation(order.id) } else { by_its_buyer(&order) };
            if is_forgotten {
                sale.forget();
                assert_eq!(sale.refused(command.clone()), Refusal::OrderNotFound);
                command = with_row(command, sale.row(order.id));
            }
            let cancelled = sale.moved(command.clone());
            assert_eq!((cancelled.status, sale.stock()), (OrderStatus::RefundDue, (10, 0, 0)));
            assert_eq!(sale.refused(command), Refusal::NotCancellable, "it is cancelled once");
            sale.now = at(9_000);
            assert_eq!(sale.refused(Command::Close(commodity(1))), Refusal::HasOpenOrders);
            sale.restart(false);
            assert_eq!(sale.moved(refund(order.id)).status, OrderStatus::Refunded);
            sale.run(Command::Close(commodity(1))).unwrap();
        }
    }
}

#[test]
fn what_the_terms_say_now_counts_for_orders_that_were_placed_before() {
    let mut sale = with(Cancellation::Unpaid);
    let order = paid(&mut sale);
    let change = TermsChange { cancellation: Some(Cancellation::Any), ..TermsChange::default() };
    sale.run(Command::Change { commodity: commodity(1), change: Box::new(change) }).unwrap();
    assert_eq!(sale.moved(by_its_buyer(&order)).status, OrderStatus::RefundDue);
}
