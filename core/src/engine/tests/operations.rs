//! What operators ask for under a key, and what is cancelled under one: done once, whoever asks again and whenever.

use super::support::*;
use crate::domain::{Operation, OperationKey, RequestFingerprint, Sequence, Subject, Timestamp};
use crate::engine::operations::KEPT_MAX;
use crate::engine::{Answer, Command, OPERATIONS_KEPT_MS, Refusal};
use crate::event::Event;

const KEPT_MS: i64 = OPERATIONS_KEPT_MS.cast_signed();

fn operation(key: &str, fingerprint: i64) -> Operation {
    Operation { key: OperationKey::of("1", "/", key), fingerprint: RequestFingerprint(fingerprint) }
}

fn keyed(key: &str, command: Command) -> Command {
    Command::Keyed { operation: operation(key, 1), command: Box::new(command) }
}

fn restock(count: i64) -> Command {
    Command::Restock { commodity: commodity(1), units: units(count) }
}

fn total(sale: &Sale) -> u32 {
    sale.engine.commodity(commodity(1)).unwrap().stock.total.get()
}

#[test]
fn a_change_under_a_key_is_made_once_and_answered_as_it_stands_now() {
    let mut sale = Sale::of(terms(), 10);
    assert!(matches!(sale.run(keyed("a", restock(5))), Ok(Answer::Commodity(commodity)) if commodity.stock.total == units(15)));
    let subject = Subject::Commodity(commodity(1));
    assert!(
        matches!(sale.events[..], [Event::Restocked { .. }, Event::Operated { subject: of, at, .. }] if of == subject && at == sale.now)
    );
    sale.run(Command::Pause(commodity(1))).unwrap();
    sale.events.clear();
    let Ok(Answer::DoneBefore(_, Some(now))) = sale.run(keyed("a", restock(5))) else { panic!("it was done before") };
    assert_eq!((now.version, now.paused, total(&sale), sale.events.len()), (3, true, 15, 0));
    let other = Command::Keyed { operation: operation("a", 2), command: Box::new(restock(6)) };
    assert_eq!(sale.refused(other), Refusal::IdempotencyMismatch);
    sale.run(keyed("b", restock(5))).unwrap();
    assert_eq!(total(&sale), 20);
}

/// Whoever repeats a pause means the one that was: the sale may go on meanwhile.
#[test]
fn a_change_that_changes_nothing_has_its_key_too() {
    let mut sale = Sale::of(terms(), 10);
    sale.run(Command::Pause(commodity(1))).unwrap();
    sale.run(keyed("a", Command::Pause(commodity(1)))).unwrap();
    sale.run(Command::Resume(commodity(1))).unwrap();
    sale.events.clear();
    assert!(matches!(sale.run(keyed("a", Command::Pause(commodity(1)))), Ok(Answer::DoneBefore(..))));
    assert!(!sale.engine.commodity(commodity(1)).unwrap().paused && sale.events.is_empty());
}

#[test]
fn a_repeated_change_gets_its_outcome_whatever_version_it_was_for() {
    let mut sale = Sale::of(terms(), 10);
    let asked = keyed("a", Command::Expecting { version: 1, command: Box::new(restock(1)) });
    sale.run(asked.clone()).unwrap();
    assert!(matches!(sale.run(asked), Ok(Answer::DoneBefore(..))));
    let stale = keyed("b", Command::Expecting { version: 1, command: Box::new(restock(1)) });
    assert_eq!(sale.refused(stale), Refusal::VersionMismatch);
    assert_eq!(total(&sale), 11);
}

#[test]
fn a_refusal_keeps_no_key() {
    let mut sale = Sale::of(terms(), 10);
    assert_eq!(sale.refused(keyed("a", Command::Close(commodity(1)))), Refusal::NotEnded);
    sale.now = at(9_000);
    assert!(matches!(sale.run(keyed("a", Command::Close(commodity(1)))), Ok(Answer::Commodity(_))));
}

#[test]
fn every_later_engine_knows_the_keys_of_more_than_a_day() {
    let mut sale = Sale::of(terms(), 10);
    sale.run(keyed("a", restock(5))).unwrap();
    let made_at = sale.now.millis();
    for later in [0, 1, KEPT_MS] {
        sale.now = at(made_at + later);
        sale.restart(false);
        assert!(matches!(sale.run(keyed("a", restock(5))), Ok(Answer::DoneBefore(..))), "{later}");
    }
    sale.now = at(made_at + KEPT_MS + 1);
    for restarted in [false, true] {
        if restarted {
            sale.restart(false);
        }
        assert!(matches!(sale.run(keyed(if restarted { "b" } else { "a" }, restock(5))), Ok(Answer::Commodity(_))));
    }
    assert_eq!(total(&sale), 25);
}

#[test]
fn a_key_that_was_used_again_is_the_later_changes() {
    let mut sale = Sale::of(terms(), 10);
    sale.run(keyed("a", restock(1))).unwrap();
    sale.now = at(sale.now.millis() + KEPT_MS + 1);
    sale.run(keyed("a", restock(1))).unwrap();
    // Frees what is over, and not that.
    sale.run(keyed("b", restock(1))).unwrap();
    assert!(matches!(sale.run(keyed("a", restock(1))), Ok(Answer::DoneBefore(..))));
    sale.restart(false);
    assert!(matches!(sale.run(keyed("a", restock(1))), Ok(Answer::DoneBefore(..))));
    assert_eq!(total(&sale), 13);
}

#[test]
fn what_was_closed_and_forgotten_is_still_known_by_its_key() {
    let mut sale = Sale::of(terms(), 10);
    sale.run(keyed("a", restock(5))).unwrap();
    sale.now = at(9_000);
    sale.run(Command::Close(commodity(1))).unwrap();
    sale.forget();
    assert_eq!(sale.run(keyed("a", restock(5))), Ok(Answer::DoneBefore(commodity(1), None)));
    assert_eq!(sale.refused(keyed("b", restock(5))), Refusal::CommodityNotFound);
}

#[test]
fn a_commodity_is_listed_once_under_its_key_even_when_it_is_gone_again() {
    let mut sale = Sale::of(terms(), 10);
    let list = || keyed("a", Command::List { commodity: commodity(2), terms: Box::new(terms()), total: units(3) });
    assert!(matches!(sale.run(list()), Ok(Answer::Commodity(_))));
    assert!(matches!(sale.run(list()), Ok(Answer::DoneBefore(_, Some(_)))));
    sale.run(Command::Remove(commodity(2))).unwrap();
    sale.forget();
    sale.restart(false);
    assert_eq!(sale.run(list()), Ok(Answer::DoneBefore(commodity(2), None)), "a second row of that id would stop the projection");
}

#[test]
fn there_is_no_room_for_keys_without_end_and_some_again_after_a_day() {
    let mut sale = Sale::of(terms(), 10);
    let pause = |number: usize| keyed(&number.to_string(), Command::Pause(commodity(1)));
    for number in 0..KEPT_MAX {
        sale.run(pause(number)).unwrap();
    }
    assert_eq!(sale.refused(pause(KEPT_MAX)), Refusal::TooManyKeys);
    assert!(matches!(sale.run(pause(0)), Ok(Answer::DoneBefore(..))), "none is forgotten early");
    sale.run(restock(1)).unwrap();
    sale.now = at(sale.now.millis() + KEPT_MS + 1);
    sale.run(pause(KEPT_MAX)).unwrap();
    assert!(sale.engine.memory_bytes() < 16 << 20, "{}", sale.engine.memory_bytes());
}

#[test]
fn an_order_is_cancelled_once_under_its_key_and_again_only_refused() {
    let mut sale = Sale::of(terms(), 10);
    let order = sale.placed(a_place(7, 2));
    let Answer::Order(cancelled) = sale.run(keyed("a", cancellation(order.id))).unwrap() else { panic!("it is cancelled") };
    assert!(matches!(sale.events.last(), Some(Event::Operated { subject: Subject::Order(id), .. }) if *id == order.id));
    assert_eq!(sale.run(keyed("a", cancellation(order.id))), Ok(Answer::Order(cancelled)));
    assert_eq!(sale.refused(keyed("b", cancellation(order.id))), Refusal::NotCancellable);
    assert_eq!(sale.refused(cancellation(order.id)), Refusal::NotCancellable);
    let other = Command::Keyed { operation: operation("a", 2), command: Box::new(cancellation(order.id)) };
    assert_eq!(sale.refused(other), Refusal::IdempotencyMismatch);
    assert_eq!(sale.stock(), (10, 0, 0));
}

/// From there on the tables say under which key it was cancelled.
#[test]
fn the_key_of_a_cancellation_is_forgotten_when_the_tables_have_it_and_not_before() {
    let mut sale = Sale::of(terms(), 10);
    let order = sale.placed(a_place(7, 2));
    let cancelled = sale.cancel_keyed(order.id);
    assert!(!sale.engine.forget(Sequence(0), usize::MAX));
    assert_eq!(sale.run(keyed("a", cancellation(order.id))), Ok(Answer::Order(cancelled)));
    sale.forget();
    let again = keyed("a", with_row(cancellation(order.id), sale.row(order.id)));
    assert_eq!(sale.refused(again), Refusal::NotCancellable);
    assert_eq!(sale.tables.cancelled.get(&operation("a", 1).key), Some(&(operation("a", 1), order.id)));
}

#[test]
fn beside_older_releases_nothing_is_done_under_a_key_that_would_be_done_twice() {
    let mut sale = Sale::with_older_releases(terms(), 10);
    let order = sale.placed(a_place(7, 2));
    assert_eq!(sale.refused(keyed("a", restock(1))), Refusal::UpgradeUnfinished);
    sale.events.clear();
    sale.cancel_keyed(order.id);
    assert!(matches!(sale.events[..], [Event::Moved { .. }]), "no other event is known to them");
    assert_eq!(sale.refused(keyed("a", cancellation(order.id))), Refusal::NotCancellable);
}

#[test]
fn a_clock_that_went_back_keeps_keys_longer() {
    let mut sale = Sale::of(terms(), 10);
    sale.now = at(2 * KEPT_MS);
    sale.run(keyed("a", Command::Pause(commodity(1)))).unwrap();
    sale.now = Timestamp::ZERO;
    assert!(matches!(sale.run(keyed("a", Command::Pause(commodity(1)))), Ok(Answer::DoneBefore(..))));
}

impl Sale {
    fn cancel_keyed(&mut self, order: crate::domain::OrderId) -> crate::domain::Order {
        self.moved(keyed("a", cancellation(order)))
    }
}
