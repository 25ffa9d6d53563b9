//! The check must see each kind of lie, and no lie in an honest history.

use super::*;
use crate::domain::{Epoch, PartitionId, Timestamp};

fn id(number: u64) -> OrderId {
    OrderId::new(Timestamp::ZERO, PartitionId::new(0).unwrap(), Epoch::new(1).unwrap(), number)
}

fn commodity() -> CommodityId {
    CommodityId::new(1).unwrap()
}

fn user() -> Principal {
    "7".parse().unwrap()
}

fn place(key: Option<&str>) -> Asked {
    let key = key.map(|text| IdempotencyKey::from_text(text).unwrap());
    Asked::Place { commodity: commodity(), user: user(), quantity: Quantity::ONE, key }
}

fn row(number: u64, key: Option<&str>, status: OrderStatus) -> OrderRow {
    let key = key.map(|text| IdempotencyKey::from_text(text).unwrap());
    OrderRow { id: id(number), commodity: commodity(), user: user(), quantity: Quantity::ONE, key, status }
}

/// The rows with a commodity of three units that fits them.
fn rows(orders: Vec<OrderRow>) -> Rows {
    let count = |wanted: &[OrderStatus]| orders.iter().filter(|row| wanted.contains(&row.status)).count() as i64;
    let (held, sold) = (count(&[OrderStatus::Reserved]), count(&[OrderStatus::Confirmed, OrderStatus::Paid]));
    let commodity = CommodityRow { id: commodity(), listed: 3, total: 3, available: 3 - held - sold, held, sold };
    Rows { orders, commodities: vec![commodity] }
}

fn accepted(number: u64) -> Told {
    Told::Accepted { order: id(number), status: OrderStatus::Confirmed }
}

fn shown(number: u64, status: OrderStatus) -> Told {
    Told::Order { order: id(number), status }
}

/// Calls one after the other, each answered before the next is asked; all before the rest, which is at 1,000.
fn violations(calls: &[(Asked, Told)], rows: &Rows) -> Vec<Violation> {
    verdict(calls, rows, 1_000).violations
}

fn verdict(calls: &[(Asked, Told)], rows: &Rows, rest: u64) -> Verdict {
    let mut history = History::default();
    for (at, (asked, told)) in (0..).zip(calls) {
        let call = history.asked(2 * at, 0, asked.clone());
        history.told(call, 2 * at + 1, *told);
    }
    check(&history, rows, rest)
}

#[test]
fn an_honest_history_has_no_violations() {
    let calls = [
        (place(Some("k")), accepted(0)),
        (place(Some("k")), shown(0, OrderStatus::Confirmed)),
        (place(None), Told::Refused),
        (place(None), Told::Pending(Some(id(1)))),
        (Asked::Look(id(1)), Told::Pending(None)),
        (Asked::Look(id(1)), Told::Refused),
        (place(None), Told::Nothing),
        (Asked::Cancel(id(0)), shown(0, OrderStatus::Cancelled)),
    ];
    let rows = rows(vec![row(0, Some("k"), OrderStatus::Cancelled), row(2, None, OrderStatus::Confirmed)]);
    assert_eq!(verdict(&calls, &rows, 1_000), Verdict::default());
}

#[test]
fn an_accepted_order_without_a_row_is_seen() {
    assert_eq!(violations(&[(place(None), accepted(0))], &rows(vec![])), [Violation::AcceptedWithoutRow(id(0))]);
}

#[test]
fn one_order_for_two_requests_is_seen() {
    let calls = [(place(None), accepted(0)), (place(None), accepted(0))];
    assert_eq!(violations(&calls, &rows(vec![row(0, None, OrderStatus::Confirmed)])), [Violation::AcceptedTwice(id(0))]);
}

#[test]
fn a_row_of_a_request_that_was_not_carried_out_is_seen() {
    for told in [Told::Refused, Told::Busy] {
        let found = violations(&[(place(Some("k")), told)], &rows(vec![row(0, Some("k"), OrderStatus::Confirmed)]));
        assert_eq!(found, [Violation::Unexplained(id(0))]);
    }
}

#[test]
fn two_rows_of_one_request_of_unknown_outcome_are_seen() {
    let both = rows(vec![row(0, None, OrderStatus::Confirmed), row(1, None, OrderStatus::Confirmed)]);
    assert_eq!(violations(&[(place(None), Told::Nothing)], &both), [Violation::Unexplained(id(1))]);
}

/// Seed 327 of the simulator, before rows with known keys went first.
#[test]
fn a_row_whose_key_is_forgotten_takes_no_placing_from_one_whose_key_is_known() {
    let calls = [(place(Some("later")), Told::Nothing), (place(Some("forgotten")), Told::Nothing)];
    let rows = rows(vec![row(0, None, OrderStatus::Cancelled), row(1, Some("later"), OrderStatus::Confirmed)]);
    assert_eq!(violations(&calls, &rows), []);
}

#[test]
fn a_row_of_a_refused_id_is_seen() {
    let calls = [(place(None), Told::Pending(Some(id(0)))), (Asked::Look(id(0)), Told::Refused)];
    assert_eq!(violations(&calls, &rows(vec![row(0, None, OrderStatus::Confirmed)])), [Violation::RefusedWithRow(id(0))]);
}

#[test]
fn a_status_of_an_order_that_is_not_is_seen() {
    let calls = [(place(None), Told::Pending(Some(id(0)))), (Asked::Look(id(0)), shown(0, OrderStatus::Paid))];
    assert_eq!(violations(&calls, &rows(vec![])), [Violation::ShownWithoutRow(id(0), OrderStatus::Paid)]);
}

#[test]
fn a_cancelled_order_that_is_sold_is_seen() {
    let calls = [(place(None), accepted(0)), (Asked::Cancel(id(0)), shown(0, OrderStatus::Cancelled))];
    let found = violations(&calls, &rows(vec![row(0, None, OrderStatus::Confirmed)]));
    assert_eq!(found, [Violation::ImpossibleStatus(id(0), OrderStatus::Cancelled, OrderStatus::Confirmed)]);
}

#[test]
fn an_id_that_was_given_and_is_not_found_is_seen() {
    let calls = [(place(None), accepted(0)), (Asked::Look(id(0)), Told::NotFound)];
    assert_eq!(violations(&calls, &rows(vec![row(0, None, OrderStatus::Confirmed)])), [Violation::GivenAndNotFound(id(0))]);
}

#[test]
fn two_live_orders_under_one_key_are_seen() {
    let calls = [(place(Some("k")), accepted(0)), (place(Some("k")), accepted(1))];
    let live = rows(vec![row(0, Some("k"), OrderStatus::Confirmed), row(1, Some("k"), OrderStatus::Confirmed)]);
    assert_eq!(violations(&calls, &live), [Violation::KeyUsedTwice(id(0), id(1))]);
}

#[test]
fn a_request_that_is_refused_when_repeated_at_rest_is_seen() {
    let calls = [(place(Some("k")), accepted(0)), (place(Some("k")), Told::Refused)];
    let live = rows(vec![row(0, Some("k"), OrderStatus::Confirmed)]);
    assert_eq!(verdict(&calls, &live, 2).violations, [Violation::RefusedAgain(id(0))]);
    assert_eq!(violations(&calls, &live), [], "an owner that was one no longer may have said so");
    let over = rows(vec![row(0, Some("k"), OrderStatus::Cancelled)]);
    assert_eq!(verdict(&calls, &over, 2).violations, [], "a key is not kept for longer than its order lives");
}

#[test]
fn what_is_still_pending_at_rest_is_seen() {
    let calls = [(place(None), Told::Pending(Some(id(0)))), (Asked::Look(id(0)), Told::Pending(None))];
    let unresolved = Violation::Unresolved { order: id(0), via: 0, told: Told::Pending(None), row: None };
    assert_eq!(verdict(&calls, &rows(vec![]), 2).violations, [unresolved]);
}

#[test]
fn stock_that_does_not_add_up_is_seen() {
    let mut unbalanced = rows(vec![row(0, None, OrderStatus::Confirmed)]);
    unbalanced.commodities[0].available += 1;
    assert_eq!(violations(&[(place(None), accepted(0))], &unbalanced).len(), 1);
    unbalanced.commodities[0].sold -= 1;
    assert_eq!(violations(&[(place(None), accepted(0))], &unbalanced).len(), 1, "balanced, and not what the orders say");
}

#[test]
fn a_restock_that_is_missing_or_counted_twice_is_seen() {
    let restock = || Asked::Restock { commodity: commodity(), units: 2, key: None };
    let with_total = |total| Rows {
        orders: vec![],
        commodities: vec![CommodityRow { id: commodity(), listed: 3, total, available: total, held: 0, sold: 0 }],
    };
    for (told, right) in [(Told::Done, vec![5]), (Told::Nothing, vec![3, 5]), (Told::Busy, vec![3])] {
        let fine: Vec<i64> = (2..=8).filter(|total| violations(&[(restock(), told)], &with_total(*total)).is_empty()).collect();
        assert!(right.iter().all(|total| fine.contains(total)) && !fine.contains(&2) && !fine.contains(&7), "{told:?}: {fine:?}");
    }
}

#[test]
fn a_restock_under_a_key_counts_once_however_often_it_is_asked_for() {
    let key = IdempotencyKey::from_text("a").ok();
    let restock = || Asked::Restock { commodity: commodity(), units: 2, key };
    let with_total = |total| Rows {
        orders: vec![],
        commodities: vec![CommodityRow { id: commodity(), listed: 3, total, available: total, held: 0, sold: 0 }],
    };
    for (told, right) in [
        (vec![Told::Done, Told::Done, Told::Nothing], vec![5]),
        (vec![Told::Nothing, Told::Pending(None), Told::Busy], vec![3, 4, 5]),
        (vec![Told::Busy, Told::Refused], vec![3]),
    ] {
        let calls: Vec<_> = told.iter().map(|told| (restock(), *told)).collect();
        let fine: Vec<i64> = (2..=8).filter(|total| violations(&calls, &with_total(*total)).is_empty()).collect();
        assert_eq!(fine, right, "{told:?}");
    }
}

#[test]
fn a_status_that_was_over_is_counted_as_stale() {
    let calls = [
        (place(None), accepted(0)),
        (Asked::Cancel(id(0)), shown(0, OrderStatus::Cancelled)),
        (Asked::Look(id(0)), shown(0, OrderStatus::Confirmed)),
    ];
    let verdict = verdict(&calls, &rows(vec![row(0, None, OrderStatus::Cancelled)]), 1_000);
    assert_eq!(verdict, Verdict { violations: vec![], stale: 1 });
}
