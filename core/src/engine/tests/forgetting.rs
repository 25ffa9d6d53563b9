//! What the tables have is forgotten, and known again when its row comes along with a command that is about it.

use super::support::*;
use crate::domain::{Order, OrderId, OrderStatus, Sequence, Terms};
use crate::engine::{Answer, Command, Place, Recalled, Refusal};

/// A sold order of user 7 of two units, of ten.
fn sold() -> (Sale, OrderId) {
    let mut sale = Sale::of(Terms { limit_per_user: Some(3), ..terms() }, 10);
    let order = sale.placed(a_place(7, 2));
    (sale, order.id)
}

/// An order of user 7 whose hold has ended, forgotten.
fn expired() -> (Sale, OrderId) {
    let mut sale = Sale::of(with_hold(), 10);
    let order = sale.placed(a_place(7, 2));
    sale.now = at(3_000);
    sale.expire();
    sale.forget();
    assert_eq!(sale.engine.orders_len(), 0);
    (sale, order.id)
}

#[test]
fn a_sold_order_is_forgotten_with_its_batch_and_its_buyers_units_are_not() {
    let (mut sale, order) = sold();
    assert!(!sale.engine.forget(Sequence::FENCE, usize::MAX));
    assert_eq!(sale.engine.orders_len(), 1, "its batch is not in the tables");
    sale.forget();
    assert_eq!((sale.engine.order(order), sale.engine.orders_len(), sale.engine.has_unsettled()), (None, 0, false));
    assert_eq!(sale.stock(), (8, 0, 2));
    assert_eq!(sale.refused(Command::Place(a_place(7, 2))), Refusal::LimitReached);
    sale.placed(a_place(7, 1));
}

#[test]
fn what_is_held_or_due_is_never_forgotten() {
    let mut sale = Sale::of(with_hold(), 10);
    let (held, due) = (sale.placed(a_place(1, 1)), sale.placed(a_place(2, 1)));
    sale.cancel(due.id);
    sale.moved(payment(due.id));
    sale.forget();
    assert_eq!(sale.engine.order(held.id).map(|order| order.status), Some(OrderStatus::Reserved));
    assert_eq!(sale.engine.order(due.id).map(|order| order.status), Some(OrderStatus::RefundDue));
    sale.moved(payment(held.id));
    sale.moved(refund(due.id));
    sale.forget();
    assert_eq!(sale.engine.orders_len(), 0, "paid and refunded, they are");
}

#[test]
fn with_older_releases_only_what_has_ended_is_forgotten() {
    let mut sale = Sale::with_older_releases(terms(), 10);
    let (live, ended) = (sale.placed(a_place(1, 1)), sale.placed(a_place(4, 1)));
    sale.cancel(ended.id);
    sale.forget();
    assert_eq!((sale.engine.order(live.id), sale.engine.order(ended.id)), (Some(live), None));
    sale.restart(true);
    assert_eq!(sale.engine.order(live.id), Some(live));
    sale.restart(false);
    assert_eq!(sale.engine.orders_len(), 0);
}

#[test]
fn at_most_so_many_are_forgotten_at_a_time_oldest_first() {
    let mut sale = Sale::of(terms(), 10);
    let orders: Vec<Order> = (1..=5).map(|id| sale.placed(a_place(id, 1))).collect();
    sale.apply();
    let known =
        |sale: &Sale| orders.iter().filter(|order| sale.engine.order(order.id).is_some()).map(|o| o.id.number()).collect::<Vec<_>>();
    assert!(sale.engine.forget(Sequence(1), 2));
    assert_eq!(known(&sale), [2, 3, 4]);
    assert!(sale.engine.has_unsettled() && !sale.engine.forget(Sequence(1), 9));
    assert_eq!(known(&sale), [0; 0]);
}

#[test]
fn an_order_that_a_later_batch_changed_is_kept_until_the_tables_have_that_too() {
    let (mut sale, order) = sold();
    sale.apply();
    let cancelled = sale.cancel(order);
    assert!(!sale.engine.forget(Sequence(1), usize::MAX));
    assert_eq!(sale.engine.order(order), Some(cancelled));
    sale.forget();
    assert_eq!(sale.engine.orders_len(), 0);
}

#[test]
fn a_forgotten_order_without_its_row_is_not_found_and_with_it_is_as_it_was() {
    let (mut sale, order) = sold();
    sale.forget();
    for command in [cancellation(order), payment(order), refund(order)] {
        assert_eq!(sale.refused(command), Refusal::OrderNotFound);
    }
    let row = sale.row(order);
    assert_eq!(sale.refused(with_row(payment(order), row.clone())), Refusal::NotPayable);
    assert_eq!(sale.refused(with_row(refund(order), row.clone())), Refusal::NotRefundable);
    let by_another = Command::Cancel { order, user: Some(buyer(8)), reason: None, row: Some(row.clone()) };
    assert_eq!(sale.refused(by_another), Refusal::OrderNotFound, "to another buyer it does not exist");
    assert_eq!(sale.engine.orders_len(), 0, "what changes nothing is not taken up");
    let cancelled = sale.moved(with_row(cancellation(order), row));
    assert_eq!((cancelled.status, sale.stock()), (OrderStatus::Cancelled, (10, 0, 0)));
    sale.placed(a_place(7, 3));
}

#[test]
fn what_a_row_says_of_an_order_that_is_known_does_not_count() {
    let (mut sale, order) = sold();
    sale.apply();
    let row = sale.row(order);
    sale.cancel(order);
    assert_eq!(sale.refused(with_row(cancellation(order), row)), Refusal::NotCancellable);
    assert_eq!(sale.stock(), (10, 0, 0));
}

#[test]
fn an_order_that_is_cancelled_twice_with_one_row_gives_its_units_back_once() {
    let (mut sale, order) = sold();
    sale.forget();
    let row = sale.row(order);
    sale.moved(with_row(cancellation(order), row.clone()));
    assert_eq!(sale.refused(with_row(cancellation(order), row.clone())), Refusal::NotCancellable, "it is known again");
    sale.forget();
    assert_eq!(sale.engine.orders_len(), 0);
    // The same buyer has as many units again: the count alone would not tell.
    sale.placed(a_place(7, 2));
    sale.forget();
    assert_eq!(sale.refused(with_row(cancellation(order), row)), Refusal::StaleRow);
    assert_eq!(sale.stock(), (8, 0, 2));
    let fresh = sale.row(order);
    assert_eq!(sale.refused(with_row(cancellation(order), fresh)), Refusal::NotCancellable);
}

#[test]
fn a_row_read_before_any_change_that_was_forgotten_is_refused_whosever_that_was() {
    let (mut sale, order) = sold();
    sale.forget();
    let row = sale.row(order);
    let other = sale.placed(a_place(8, 1));
    sale.apply();
    let later = sale.row(order);
    assert_eq!(sale.refused(with_row(payment(order), row.clone())), Refusal::NotPayable, "nothing was forgotten since");
    sale.forget();
    assert_eq!((sale.engine.order(other.id), sale.engine.orders_len()), (None, 0));
    assert_eq!(sale.refused(with_row(payment(order), row)), Refusal::StaleRow);
    assert_eq!(sale.refused(with_row(payment(order), later)), Refusal::NotPayable);
}

#[test]
fn a_row_read_in_another_epoch_is_refused() {
    let (mut sale, order) = sold();
    sale.forget();
    let before = sale.row(order);
    sale.restart(false);
    assert_eq!(sale.refused(with_row(payment(order), before)), Refusal::StaleRow);
    let row = sale.row(order);
    assert_eq!(sale.refused(with_row(payment(order), row)), Refusal::NotPayable);
}

#[test]
fn a_row_that_cannot_be_of_this_past_is_refused() {
    let (mut sale, order) = sold();
    sale.forget();
    let row = sale.row(order);
    let with = |order: Order| Box::new(Recalled { order, ..(*row).clone() });
    // Known for as long as they are so.
    for status in [OrderStatus::Reserved, OrderStatus::RefundDue] {
        assert_eq!(sale.refused(with_row(payment(order), with(Order { status, ..row.order }))), Refusal::StaleRow);
    }
    let of_a_stranger = with(Order { user: buyer(8), ..row.order });
    assert_eq!(sale.refused(with_row(cancellation(order), of_a_stranger)), Refusal::StaleRow, "who has no units");
    let another = sale.placed(a_place(8, 1));
    let of_another = with(another);
    assert_eq!(sale.refused(with_row(cancellation(order), of_another)), Refusal::OrderNotFound, "that is another order's row");
    let nearly = OrderId::new(at(1_001), partition(), epoch(5), another.id.number());
    let forged = with(Order { id: nearly, ..another });
    assert_eq!(sale.refused(with_row(cancellation(nearly), forged)), Refusal::StaleRow, "its number is that of an order that is known");
    assert_eq!((sale.stock(), sale.engine.orders_len()), ((7, 0, 3), 1));
}

#[test]
fn a_payment_long_after_the_hold_is_a_refund_due_that_stays_known_until_it_is_made() {
    let (mut sale, order) = expired();
    let row = sale.row(order);
    let due = sale.moved(with_row(payment(order), row.clone()));
    assert_eq!((due.status, due.pay_by, sale.stock()), (OrderStatus::RefundDue, Some(at(3_000)), (10, 0, 0)));
    sale.forget();
    assert_eq!(sale.moved(payment(order)), due, "it needs no row any more");
    assert_eq!(sale.refused(Command::Remove(commodity(1))), Refusal::HasOrders);
    sale.restart(false);
    assert_eq!(sale.engine.order(order), Some(due));
    assert_eq!(sale.moved(refund(order)).status, OrderStatus::Refunded);
    sale.forget();
    assert_eq!(sale.engine.orders_len(), 0);
    assert_eq!(sale.refused(with_row(payment(order), row)), Refusal::StaleRow);
    let refunded = sale.row(order);
    for command in [payment(order), refund(order)] {
        assert_eq!(sale.moved(with_row(command, refunded.clone())).status, OrderStatus::Refunded);
    }
}

#[test]
fn a_payment_that_is_told_again_of_a_forgotten_order_changes_nothing() {
    let mut sale = Sale::of(with_hold(), 10);
    let order = sale.placed(a_place(7, 2)).id;
    sale.moved(payment(order));
    sale.forget();
    sale.events.clear();
    let row = sale.row(order);
    assert_eq!(sale.moved(with_row(payment(order), row.clone())), row.order);
    assert_eq!((sale.events.len(), sale.engine.orders_len(), sale.stock()), (0, 0, (8, 0, 2)));
}

#[test]
fn an_order_taken_up_and_changed_in_the_batch_that_is_gathered_is_forgotten_with_it() {
    let (mut sale, order) = sold();
    sale.forget();
    let row = sale.row(order);
    sale.moved(with_row(cancellation(order), row));
    sale.moved(payment(order));
    sale.moved(refund(order));
    assert!(!sale.engine.forget(sale.tables.position.1, usize::MAX), "not before the tables have it");
    assert_eq!(sale.engine.order(order).map(|order| order.status), Some(OrderStatus::Refunded));
    sale.forget();
    assert_eq!(sale.engine.orders_len(), 0);
}

#[test]
fn a_key_whose_order_is_forgotten_leads_to_its_id() {
    let (mut sale, _) = sold();
    let place = Place { key: Some(key("a")), ..a_place(9, 1) };
    let order = sale.placed(place.clone());
    sale.forget();
    assert_eq!(sale.run(Command::Place(place)), Ok(Answer::PlacedBefore(order.id)));
    let other = Place { key: Some(key("a")), ..a_place(9, 2) };
    assert_eq!(sale.refused(Command::Place(other)), Refusal::IdempotencyMismatch);
}
