//! The rules one at a time.

use super::support::*;
use crate::domain::{OrderStatus, Terms, TermsChange};
use crate::engine::{Answer, Command, Place, Refusal};
use crate::event::Event;

#[test]
fn a_placed_order_without_a_hold_is_confirmed_and_sold() {
    let mut sale = Sale::of(terms(), 10);
    let order = sale.placed(a_place(7, 3));
    assert_eq!((order.status, order.pay_by, order.amount()), (OrderStatus::Confirmed, None, 3 * 1_999));
    assert_eq!((order.id.number(), order.id.epoch(), order.id.partition(), order.id.placed_at()), (0, epoch(5), partition(), at(1_000)));
    assert_eq!(sale.stock(), (7, 0, 3));
    assert_eq!(sale.engine.order(order.id), Some(order));
    assert_eq!(sale.events, [Event::Placed { order, foreign: None, key: None, fingerprint: a_place(7, 3).fingerprint }]);
    assert_eq!((sale.engine.next_number(), sale.engine.next_expiry()), (1, None));
}

#[test]
fn a_placed_order_with_a_hold_is_reserved_until_pay_by_and_paid_by_a_payment() {
    let mut sale = Sale::of(with_hold(), 10);
    let order = sale.placed(a_place(7, 3));
    assert_eq!((order.status, order.pay_by), (OrderStatus::Reserved, Some(at(3_000))));
    assert_eq!((sale.stock(), sale.engine.next_expiry()), ((7, 3, 0), Some(at(3_000))));
    let paid = sale.moved(payment(order.id));
    assert_eq!((paid.status, sale.stock(), sale.engine.next_expiry()), (OrderStatus::Paid, (7, 0, 3), None));
    let events = sale.events.len();
    assert_eq!(sale.moved(payment(order.id)), paid);
    assert_eq!(sale.events.len(), events, "a payment that was told of before changes nothing");
}

#[test]
fn the_window_includes_its_start_and_excludes_its_end() {
    let mut sale = Sale::of(terms(), 10);
    sale.now = at(999);
    assert_eq!(sale.refused(Command::Place(a_place(1, 1))), Refusal::NotStarted);
    sale.now = at(1_000);
    sale.placed(a_place(1, 1));
    sale.now = at(8_999);
    sale.placed(a_place(1, 1));
    sale.now = at(9_000);
    assert_eq!(sale.refused(Command::Place(a_place(1, 1))), Refusal::Ended);
}

#[test]
fn a_key_gives_the_same_order_again_even_when_the_sale_has_ended() {
    let mut sale = Sale::of(terms(), 1);
    let place = Place { key: Some(key("a")), ..a_place(7, 1) };
    let order = sale.placed(place.clone());
    assert_eq!(sale.run(Command::Place(place.clone())), Ok(Answer::Replayed(order)));
    sale.run(Command::End(commodity(1))).unwrap();
    assert_eq!(sale.run(Command::Place(place.clone())), Ok(Answer::Replayed(order)));
    let cancelled = sale.cancel(order.id);
    assert_eq!(sale.run(Command::Place(place.clone())), Ok(Answer::Replayed(cancelled)), "as it stands now");
    assert_eq!(sale.refused(Command::Place(Place { user: user(8), ..place })), Refusal::Ended, "another buyer's key is another key");
    let other = Place { key: Some(key("a")), ..a_place(7, 2) };
    assert_eq!(sale.refused(Command::Place(other)), Refusal::IdempotencyMismatch);
}

#[test]
fn holds_expire_by_pay_by_at_most_so_many_at_a_time() {
    let mut sale = Sale::of(with_hold(), 10);
    sale.now = at(1_002);
    let late = sale.placed(a_place(1, 1));
    sale.now = at(1_001);
    let early = sale.placed(a_place(2, 1));
    let twin = sale.placed(a_place(3, 1));
    sale.events.clear();
    sale.now = at(3_000);
    assert_eq!(sale.run(Command::Expire { at_most: 9 }), Ok(Answer::Expired(0)));
    sale.now = at(3_002);
    assert_eq!(sale.run(Command::Expire { at_most: 2 }), Ok(Answer::Expired(2)));
    assert_eq!((sale.engine.next_expiry(), sale.stock()), (Some(at(3_002)), (9, 1, 0)));
    assert_eq!(sale.run(Command::Expire { at_most: 2 }), Ok(Answer::Expired(1)));
    let ended: Vec<_> =
        sale.events.iter().map(|event| if let Event::Moved { order, .. } = event { *order } else { panic!("{event:?}") }).collect();
    assert_eq!(ended, [early.id, twin.id, late.id]);
    assert_eq!(sale.stock(), (10, 0, 0));
}

#[test]
fn a_payment_after_the_hold_ended_is_a_refund_due_and_moves_no_stock() {
    let mut sale = Sale::of(with_hold(), 1);
    let paid_late = sale.placed(a_place(1, 1));
    sale.now = at(4_000);
    assert_eq!(sale.moved(payment(paid_late.id)).status, OrderStatus::Paid, "the units were still held");

    let mut sale = Sale::of(with_hold(), 1);
    let order = sale.placed(a_place(1, 1));
    sale.now = at(4_000);
    sale.run(Command::Expire { at_most: 1 }).unwrap();
    assert_eq!(sale.moved(payment(order.id)).status, OrderStatus::RefundDue);
    assert_eq!(sale.stock(), (1, 0, 0));
    assert_eq!(sale.refused(Command::Remove(commodity(1))), Refusal::HasOrders);
    assert_eq!(sale.moved(refund(order.id)).status, OrderStatus::Refunded);
    assert_eq!(sale.moved(refund(order.id)).status, OrderStatus::Refunded);
    assert_eq!(sale.moved(payment(order.id)).status, OrderStatus::Refunded);
    assert_eq!(sale.run(Command::Remove(commodity(1))), Ok(Answer::Removed));
    assert_eq!((sale.engine.commodity(commodity(1)), sale.engine.orders_len()), (None, 1), "the tables do not have its end yet");
    sale.forget();
    assert_eq!(sale.engine.orders_len(), 0);
}

#[test]
fn a_refund_is_due_even_when_the_units_were_sold_again() {
    let mut sale = Sale::of(with_hold(), 1);
    let late = sale.placed(a_place(1, 1));
    sale.cancel(late.id);
    let sold_again = sale.placed(a_place(2, 1));
    assert_eq!(sale.moved(payment(sold_again.id)).status, OrderStatus::Paid);
    assert_eq!(sale.moved(payment(late.id)).status, OrderStatus::RefundDue);
    assert_eq!(sale.moved(refund(late.id)).status, OrderStatus::Refunded);
    assert_eq!(sale.stock(), (0, 0, 1));
}

#[test]
fn a_cancelled_order_gives_its_units_and_the_buyers_limit_back() {
    let mut sale = Sale::of(Terms { limit_per_user: Some(2), ..terms() }, 2);
    let order = sale.placed(a_place(7, 2));
    assert_eq!(sale.refused(Command::Place(a_place(7, 1))), Refusal::SoldOut);
    sale.cancel(order.id);
    assert_eq!(sale.stock(), (2, 0, 0));
    assert_eq!(sale.refused(Command::Place(a_place(7, 3))), Refusal::LimitReached);
    sale.placed(a_place(7, 2));
}

#[test]
fn a_buyer_pays_what_they_saw_or_nothing() {
    let mut sale = Sale::of(terms(), 10);
    let at = |minor| crate::domain::Price::new(minor).ok();
    let price = terms().price.minor();
    let place = Place { key: Some(key("a")), unit_price: at(price), ..a_place(7, 1) };
    let order = sale.placed(place.clone());
    let change = TermsChange { price: at(price + 1), ..TermsChange::default() };
    sale.run(Command::Change { commodity: commodity(1), change: Box::new(change) }).unwrap();
    assert_eq!(sale.refused(Command::Place(Place { key: None, ..place.clone() })), Refusal::PriceChanged);
    assert_eq!(sale.run(Command::Place(place)), Ok(Answer::Replayed(order)), "whoever asks again gets what they got");
    let dearer = sale.placed(Place { unit_price: at(price + 1), ..a_place(7, 1) });
    assert_eq!(dearer.unit_price.minor(), price + 1);
    sale.placed(a_place(7, 1));
}

#[test]
fn whatever_an_operator_asks_of_another_version_changes_nothing() {
    let mut sale = Sale::of(terms(), 10);
    let expecting = |version, command| Command::Expecting { version, command: Box::new(command) };
    let commands = [
        Command::Restock { commodity: commodity(1), units: units(1) },
        Command::Pause(commodity(1)),
        Command::Resume(commodity(1)),
        Command::End(commodity(1)),
        Command::Close(commodity(1)),
        Command::Remove(commodity(1)),
    ];
    sale.events.clear();
    for command in &commands {
        assert_eq!(sale.refused(expecting(2, command.clone())), Refusal::VersionMismatch, "{command:?}");
    }
    assert!(sale.events.is_empty());
    for (version, command) in (1..).zip(commands) {
        let outcome = sale.run(expecting(version, command.clone()));
        // It is closed by then.
        assert_eq!(outcome.err(), matches!(command, Command::Remove(_)).then_some(Refusal::Closed), "{command:?}");
    }
}

#[test]
fn a_change_of_terms_and_total_is_one_version_and_a_change_of_nothing_is_none() {
    let mut sale = Sale::of(terms(), 10);
    sale.placed(a_place(7, 4));
    sale.events.clear();
    let change = TermsChange { name: Some("Light".into()), total: Some(units(4)), ..TermsChange::default() };
    let expecting = |version, change| {
        let command = Box::new(Command::Change { commodity: commodity(1), change: Box::new(change) });
        Command::Expecting { version, command }
    };
    let command = expecting(1, change);
    sale.run(command.clone()).unwrap();
    assert_eq!(sale.stock(), (0, 0, 4));
    assert!(matches!(&sale.events[..], [Event::Changed { version: 2, .. }, Event::Restocked { version: 2, .. }]));
    assert_eq!(sale.refused(command), Refusal::VersionMismatch);
    let again = expecting(2, TermsChange { total: Some(units(4)), ..TermsChange::default() });
    let Answer::Commodity(same) = sale.run(again).unwrap() else { panic!("no commodity") };
    assert_eq!((same.version, sale.events.len()), (2, 2));
}
