//! A commodity whose sale and money are over becomes history: nothing of it stays, and what is still owed of it later is paid back.

use super::support::*;
use crate::domain::{Commodity, OrderId, OrderStatus, Terms, TermsChange};
use crate::engine::{Answer, Command, Place, Refusal};
use crate::event::Event;

fn close(sale: &mut Sale) -> Commodity {
    match sale.run(Command::Close(commodity(1))).unwrap() {
        Answer::Commodity(closed) => *closed,
        other => panic!("not closed: {other:?}"),
    }
}

/// A closed commodity, and an order of it whose hold had ended, both forgotten.
fn closed_with_an_expired_order() -> (Sale, OrderId) {
    let mut sale = Sale::of(with_hold(), 10);
    let order = sale.placed(Place { key: Some(key("a")), ..a_place(7, 2) });
    sale.now = at(9_000);
    sale.expire();
    close(&mut sale);
    sale.forget();
    (sale, order.id)
}

/// Nothing of the commodity is left in the engine.
fn is_forgotten(sale: &Sale) -> bool {
    sale.engine.orders_len() == 0 && sale.engine.commodities.find(commodity(1)).is_none()
}

#[test]
fn closing_is_an_event_with_a_version_and_forgets_buyers_at_once_and_keys_when_the_tables_have_them() {
    let mut sale = Sale::of(terms(), 10);
    let place = Place { key: Some(key("a")), ..a_place(7, 2) };
    let order = sale.placed(place.clone());
    let slot = sale.engine.commodities.find(commodity(1)).unwrap();
    assert!(
        sale.engine.commodities.listing(slot).buyers.memory_bytes() > 0 && sale.engine.commodities.listing(slot).keys.memory_bytes() > 0
    );
    sale.now = at(9_000);
    sale.events.clear();
    let closed = close(&mut sale);
    assert_eq!((closed.closed_at, closed.version), (Some(at(9_000)), 2));
    assert_eq!(sale.events, [Event::Closed { commodity: commodity(1), at: at(9_000), version: 2 }]);
    assert_eq!((sale.engine.commodity(commodity(1)), sale.engine.commodities().count()), (None, 0));
    assert_eq!(sale.engine.commodities.listing(slot).buyers.memory_bytes(), 0);

    // Until the tables have that, it is known what it was, and under which keys.
    assert_eq!(sale.engine.shown(commodity(1)), Some(&closed));
    assert_eq!(close(&mut sale), closed, "and closing it again changes nothing");
    assert_eq!(sale.run(Command::Place(place.clone())), Ok(Answer::Replayed(order)));
    let another = Place { quantity: quantity(1), fingerprint: crate::domain::RequestFingerprint(9), ..place.clone() };
    assert_eq!(sale.refused(Command::Place(another)), Refusal::IdempotencyMismatch);
    assert_eq!(sale.events.len(), 1);
    assert_eq!(sale.refused(Command::Place(Place { key: Some(key("b")), ..place.clone() })), Refusal::Closed);
    assert_eq!(sale.refused(Command::Place(a_place(7, 2))), Refusal::Closed);
    for command in [Command::Pause(commodity(1)), Command::End(commodity(1)), Command::Remove(commodity(1))] {
        assert_eq!(sale.refused(command), Refusal::Closed);
    }
    sale.forget();
    assert!(is_forgotten(&sale) && !sale.engine.commodities.is_there(slot));
    assert_eq!(sale.engine.shown(commodity(1)), None);
    for command in [Command::Place(place), Command::Close(commodity(1)), Command::Resume(commodity(1))] {
        assert_eq!(sale.refused(command), Refusal::CommodityNotFound);
    }
}

#[test]
fn a_commodity_without_orders_is_gone_when_the_tables_have_it_as_closed_and_its_place_is_used_again() {
    let mut sale = Sale::of(terms(), 10);
    sale.run(Command::End(commodity(1))).unwrap();
    let slot = sale.engine.commodities.find(commodity(1)).unwrap();
    close(&mut sale);
    assert!(!is_forgotten(&sale));
    sale.forget();
    assert!(is_forgotten(&sale));
    sale.run(Command::List { commodity: commodity(2), terms: Box::new(terms()), total: units(1) }).unwrap();
    assert_eq!(sale.engine.commodities.find(commodity(2)), Some(slot));
}

#[test]
fn a_commodity_of_which_a_refund_is_due_is_not_closed_until_it_is_made() {
    let mut sale = Sale::of(with_hold(), 10);
    let order = sale.placed(a_place(7, 2)).id;
    sale.now = at(9_000);
    assert_eq!(sale.refused(Command::Close(commodity(1))), Refusal::HasOpenOrders, "its hold has not ended");
    sale.expire();
    sale.moved(payment(order));
    sale.restart(false);
    assert_eq!(sale.refused(Command::Close(commodity(1))), Refusal::HasOpenOrders);
    assert_eq!(sale.run(Command::CloseEnded { before: at(9_000), at_most: 9 }), Ok(Answer::Closed(0)));
    sale.moved(refund(order));
    close(&mut sale);
}

#[test]
fn what_ended_before_a_time_and_owes_nothing_is_closed_at_most_so_many() {
    let mut sale = Sale::of(Terms { ends_at: at(2_000), ..with_hold() }, 10);
    let list = |id, ends_at| Command::List { commodity: commodity(id), terms: Box::new(Terms { ends_at, ..terms() }), total: units(1) };
    for (id, ends_at) in [(2, 1_500), (3, 2_000), (4, 2_001), (5, 9_000)] {
        sale.run(list(id, at(ends_at))).unwrap();
    }
    sale.placed(a_place(7, 1));
    sale.now = at(1_600);
    sale.run(Command::End(commodity(5))).unwrap();
    sale.now = at(2_500);
    let close_ended = |sale: &mut Sale, before, at_most| {
        let closed = sale.run(Command::CloseEnded { before: at(before), at_most }).unwrap();
        let mut left: Vec<i64> = sale.engine.commodities().map(|commodity| commodity.id.get()).collect();
        left.sort_unstable();
        (closed, left)
    };
    assert_eq!(close_ended(&mut sale, 1_499, 9), (Answer::Closed(0), vec![1, 2, 3, 4, 5]));
    assert_eq!(close_ended(&mut sale, 1_500, 9), (Answer::Closed(1), vec![1, 3, 4, 5]));
    assert_eq!(close_ended(&mut sale, 2_000, 1).0, Answer::Closed(1));
    assert_eq!(close_ended(&mut sale, 2_000, 9), (Answer::Closed(1), vec![1, 4]), "of the first a unit is held");
    sale.now = at(2_000);
    assert_eq!(close_ended(&mut sale, 9_000, 9), (Answer::Closed(0), vec![1, 4]), "the sale of the fourth goes on");
    sale.now = at(3_000);
    sale.expire();
    assert_eq!(close_ended(&mut sale, 2_500, 9), (Answer::Closed(2), vec![]));
}

#[test]
fn nothing_closes_by_itself_while_older_releases_take_part() {
    let mut sale = Sale::with_older_releases(terms(), 10);
    sale.now = at(9_000);
    assert_eq!(sale.run(Command::CloseEnded { before: at(9_000), at_most: 9 }), Ok(Answer::Closed(0)));
    sale.restart(false);
    assert_eq!(sale.run(Command::CloseEnded { before: at(9_000), at_most: 9 }), Ok(Answer::Closed(1)));
}

#[test]
fn an_order_of_what_is_closed_is_not_cancelled_known_or_forgotten() {
    let mut sale = Sale::of(terms(), 10);
    let order = sale.placed(a_place(7, 2)).id;
    sale.now = at(9_000);
    close(&mut sale);
    assert_eq!(sale.refused(cancellation(order)), Refusal::Closed);
    sale.forget();
    let row = sale.row(order);
    assert_eq!(sale.refused(with_row(cancellation(order), row.clone())), Refusal::Closed);
    assert_eq!(sale.refused(with_row(payment(order), row)), Refusal::NotPayable);
    assert!(is_forgotten(&sale));
}

#[test]
fn a_late_payment_of_what_is_closed_is_refunded_and_then_nothing_is_left_of_it() {
    let (mut sale, order) = closed_with_an_expired_order();
    let before = sale.engine.memory_bytes();
    assert!(is_forgotten(&sale));
    assert_eq!(sale.refused(payment(order)), Refusal::OrderNotFound);
    let row = sale.row(order);
    assert_eq!(sale.moved(with_row(payment(order), row)).status, OrderStatus::RefundDue);
    sale.forget();
    assert_eq!((sale.engine.orders_len(), sale.engine.commodity(commodity(1))), (1, None));
    assert_eq!(sale.refused(Command::Restock { commodity: commodity(1), units: units(1) }), Refusal::Closed);

    for _ in 0..2 {
        sale.restart(false);
        assert_eq!(sale.engine.order(order).map(|order| order.status), Some(OrderStatus::RefundDue));
        assert_eq!(sale.engine.commodities().count(), 0);
        assert_eq!(sale.refused(Command::Restock { commodity: commodity(1), units: units(1) }), Refusal::Closed);
        assert_eq!(sale.moved(payment(order)).status, OrderStatus::RefundDue, "it is due once");
    }

    assert_eq!(sale.moved(refund(order)).status, OrderStatus::Refunded);
    assert_eq!(sale.moved(refund(order)).status, OrderStatus::Refunded);
    sale.forget();
    assert!(is_forgotten(&sale));
    sale.restart(false);
    assert!(is_forgotten(&sale) && sale.engine.memory_bytes() <= before);
}

#[test]
fn a_late_payment_of_what_was_removed_is_refunded_too() {
    let mut sale = Sale::of(with_hold(), 10);
    let order = sale.placed(a_place(7, 2)).id;
    sale.cancel(order);
    sale.run(Command::Remove(commodity(1))).unwrap();
    sale.forget();
    assert!(is_forgotten(&sale));
    let row = sale.row(order);
    assert_eq!(sale.refused(with_row(cancellation(order), row.clone())), Refusal::NotCancellable);
    assert_eq!(sale.moved(with_row(payment(order), row)).status, OrderStatus::RefundDue);
    sale.restart(false);
    let change = TermsChange { name: Some("Light".into()), ..TermsChange::default() };
    let change = Command::Change { commodity: commodity(1), change: Box::new(change) };
    for command in [change, Command::Place(a_place(8, 1)), Command::Close(commodity(1))] {
        assert_eq!(sale.refused(command), Refusal::CommodityNotFound, "nothing of it is on sale again");
    }
    assert_eq!(sale.moved(refund(order)).status, OrderStatus::Refunded);
    sale.forget();
    assert!(is_forgotten(&sale));
}

#[test]
fn what_an_operator_ended_stays_ended_when_the_clock_goes_back() {
    let mut sale = Sale::of(terms(), 10);
    sale.now = at(5_000);
    sale.run(Command::End(commodity(1))).unwrap();
    sale.now = at(2_000);
    assert_eq!(sale.refused(Command::Place(a_place(8, 1))), Refusal::Ended);
    sale.run(Command::Close(commodity(1))).unwrap();
}

/// A payment that is told "no such order" is never told again: the money would stay with us.
#[test]
fn a_row_that_was_read_before_its_commodity_was_closed_is_too_old() {
    let mut sale = Sale::of(with_hold(), 10);
    let sold = sale.placed(a_place(8, 1)).id;
    let late = sale.placed(a_place(7, 2)).id;
    sale.moved(payment(sold));
    sale.now = at(9_000);
    sale.expire();
    sale.forget();
    let rows = [sale.row(sold), sale.row(late)];
    close(&mut sale);
    assert_eq!(sale.refused(with_row(cancellation(sold), rows[0].clone())), Refusal::Closed, "until it is forgotten, it is known");
    sale.forget();
    for (id, row) in [sold, late].into_iter().zip(rows) {
        for command in [payment(id), refund(id), cancellation(id)] {
            assert_eq!(sale.refused(with_row(command, row.clone())), Refusal::StaleRow);
        }
    }
    let row = sale.row(late);
    assert_eq!(sale.moved(with_row(payment(late), row)).status, OrderStatus::RefundDue);
}
