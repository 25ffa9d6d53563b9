//! How long a key leads to its order: while that is live or owed money, and for 24 hours after it ended.

use super::support::*;
use crate::domain::{OrderId, OrderStatus, RequestFingerprint, Terms};
use crate::engine::{Answer, Command, Place, Refusal};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// On sale for longer than any key is kept.
fn for_long() -> Terms {
    Terms { ends_at: at(100 * DAY_MS as i64), ..terms() }
}

fn keyed(user_id: i64) -> Place {
    Place { key: Some(key("a")), ..a_place(user_id, 1) }
}

#[test]
fn a_key_is_kept_for_24_hours_after_its_order_ended_and_then_free_known_forgotten_or_restored() {
    for (forgotten, restored) in [(false, false), (true, false), (true, true)] {
        let mut sale = Sale::of(for_long(), 10);
        let order = sale.placed(keyed(7));
        sale.now = sale.now.plus_millis(5 * DAY_MS);
        assert_eq!(sale.run(Command::Place(keyed(7))), Ok(Answer::Replayed(order)), "it is live");
        let cancelled = sale.cancel(order.id);
        if forgotten {
            sale.forget();
        }
        sale.now = sale.now.plus_millis(DAY_MS);
        if restored {
            sale.restart(false);
        }
        let expected = if forgotten { Answer::PlacedBefore(order.id) } else { Answer::Replayed(cancelled) };
        assert_eq!(sale.run(Command::Place(keyed(7))), Ok(expected));
        let other = Place { fingerprint: RequestFingerprint(0), ..keyed(7) };
        assert_eq!(sale.refused(Command::Place(other.clone())), Refusal::IdempotencyMismatch);
        sale.now = sale.now.plus_millis(1);
        let again = sale.placed(other.clone());
        assert_ne!(again.id, order.id);
        assert_eq!(sale.run(Command::Place(other.clone())), Ok(Answer::Replayed(again)), "the key is the later order's");
        sale.restart(false);
        assert_eq!(sale.run(Command::Place(other.clone())), Ok(Answer::PlacedBefore(again.id)));
    }
}

#[test]
fn the_key_of_an_order_whose_refund_is_due_is_kept_however_long_that_takes() {
    let mut sale = Sale::of(Terms { hold_seconds: Some(2), ..for_long() }, 10);
    let order = sale.placed(keyed(7));
    sale.now = at(3_000);
    sale.expire();
    let due = sale.moved(payment(order.id));
    sale.now = sale.now.plus_millis(A_DAY_AND_MORE_MS);
    others_place(&mut sale, 3);
    assert_eq!(sale.run(Command::Place(keyed(7))), Ok(Answer::Replayed(due)));
    sale.restart(false);
    assert_eq!(sale.run(Command::Place(keyed(7))), Ok(Answer::Replayed(due)));
    sale.moved(refund(order.id));
    sale.now = sale.now.plus_millis(DAY_MS);
    assert!(matches!(sale.run(Command::Place(keyed(7))), Ok(Answer::Replayed(order)) if order.status == OrderStatus::Refunded));
    sale.now = sale.now.plus_millis(1);
    sale.placed(keyed(7));
}

#[test]
fn an_order_whose_key_is_anothers_by_now_ends_without_touching_it() {
    let mut sale = Sale::of(Terms { hold_seconds: Some(2), ..for_long() }, 10);
    let first = sale.placed(keyed(7));
    sale.cancel(first.id);
    sale.forget();
    sale.now = sale.now.plus_millis(A_DAY_AND_MORE_MS);
    let second = sale.placed(keyed(7));
    let row = sale.row(first.id);
    assert_eq!(row.key, Some(key("a")));
    sale.moved(with_row(payment(first.id), row));
    sale.moved(refund(first.id));
    sale.now = sale.now.plus_millis(A_DAY_AND_MORE_MS);
    sale.placed(a_place(1, 1));
    assert_eq!(sale.run(Command::Place(keyed(7))), Ok(Answer::Replayed(second)), "the second is live");
}

/// Each placing makes room.
fn others_place(sale: &mut Sale, orders: i64) {
    for number in 1..=orders {
        sale.placed(a_place(number, 1));
    }
}

/// Case 13 of what failed before: pushed out of memory by others, the key was free again within seconds.
#[test]
fn within_24_hours_a_repeated_request_is_never_a_second_order_whatever_happened_to_others() {
    let mut sale = Sale::of(for_long(), 10);
    let order = sale.placed(keyed(7));
    sale.cancel(order.id);
    for batch in 0..20 {
        for number in 0..1_000 {
            let other = sale.placed(keyed(1_000 + batch * 1_000 + number));
            sale.cancel(other.id);
        }
        sale.events.clear();
        sale.forget();
        sale.now = sale.now.plus_millis(1_000);
        assert_eq!(sale.run(Command::Place(keyed(7))), Ok(Answer::PlacedBefore(order.id)));
    }
    assert_eq!(sale.engine.orders_len(), 0);
    sale.restart(false);
    sale.now = at(1_000).plus_millis(DAY_MS);
    assert_eq!(sale.run(Command::Place(keyed(7))), Ok(Answer::PlacedBefore(order.id)));
    sale.now = sale.now.plus_millis(1);
    assert_ne!(sale.placed(keyed(7)).id, order.id);
}

#[test]
fn keys_that_are_free_again_go_while_orders_come_and_their_room_is_used_again() {
    let mut sale = Sale::of(for_long(), 1_000);
    let a_hundred_end = |sale: &mut Sale, first: i64| {
        let orders: Vec<OrderId> = (first..first + 100).map(|number| sale.placed(keyed(number)).id).collect();
        for order in orders {
            sale.cancel(order);
        }
        sale.forget();
    };
    a_hundred_end(&mut sale, 1_000);
    let before = sale.engine.memory_bytes();
    for day in 2..=20 {
        sale.now = sale.now.plus_millis(A_DAY_AND_MORE_MS);
        a_hundred_end(&mut sale, day * 1_000);
        assert_eq!(sale.engine.ended_keys.len(), 100, "each placing frees two");
    }
    assert!(sale.engine.memory_bytes() < 4 * before, "{} bytes, {before} before", sale.engine.memory_bytes());
}

/// A provider may take its time: that must not keep everybody's keys.
#[test]
fn a_refund_that_is_due_for_long_does_not_keep_the_keys_of_others() {
    let mut sale = Sale::of(for_long(), 1_000);
    let first = sale.placed(keyed(7)).id;
    sale.cancel(first);
    for number in 1..=20 {
        let other = sale.placed(keyed(100 + number)).id;
        sale.cancel(other);
    }
    let due = sale.moved(payment(first));
    sale.now = sale.now.plus_millis(A_DAY_AND_MORE_MS);
    others_place(&mut sale, 20);
    assert_eq!(sale.engine.ended_keys.len(), 0);
    assert_eq!(sale.run(Command::Place(keyed(7))), Ok(Answer::Replayed(due)));
    // Its own time begins when the money is back.
    sale.moved(refund(first));
    sale.now = sale.now.plus_millis(A_DAY_AND_MORE_MS);
    others_place(&mut sale, 20);
    assert_eq!(sale.engine.ended_keys.len(), 0);
}
