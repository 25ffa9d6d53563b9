//! Snapshots that contradict themselves are refused with a sentence that says where.

use super::support::*;
use crate::domain::{Commodity, Order, OrderId, OrderStatus, PartitionId, Payments, RequestFingerprint, Stock, Terms, Timestamp};
use crate::engine::{Answer, BuyerUnits, Command, Engine, KnownCommodity, KnownKey, KnownOrder, Place, Snapshot};

fn listed(held: i64, sold: i64) -> Commodity {
    let stock = Stock { total: units(10), available: units(10 - held - sold), held: units(held), sold: units(sold) };
    let terms = Terms { hold_seconds: Some(2), ..terms() };
    Commodity { id: commodity(1), terms, stock, paused: false, ended_at: None, closed_at: None, version: 1 }
}

fn order_id(number: u64) -> OrderId {
    OrderId::new(at(1_000), partition(), epoch(4), number)
}

/// An order of user 7 of two units.
fn known(number: u64, status: OrderStatus) -> KnownOrder {
    let order = Order {
        id: order_id(number),
        commodity: commodity(1),
        user: buyer(7),
        quantity: quantity(2),
        unit_price: terms().price,
        currency: terms().currency,
        status,
        pay_by: Some(at(3_000)),
        grace_seconds: 0,
        discount: None,
    };
    KnownOrder { order, key: None, payments: Payments::default() }
}

fn keyed(number: u64, ended_at: Option<Timestamp>) -> KnownKey {
    KnownKey { user: buyer(7), key: key("a"), fingerprint: RequestFingerprint(1), order: order_id(number), ended_at }
}

/// Commodity 1 of which user 7 has all that is held and sold.
fn of_user_7(commodity: Commodity, orders: Vec<KnownOrder>) -> KnownCommodity {
    let taken = commodity.stock.held.get() + commodity.stock.sold.get();
    let buyers = if taken > 0 { vec![BuyerUnits { user: buyer(7), units: taken }] } else { Vec::new() };
    KnownCommodity { buyers, orders, ..KnownCommodity::fresh(commodity) }
}

fn restored(commodities: Vec<KnownCommodity>) -> Result<Engine, String> {
    Engine::restore(partition(), epoch(5), Snapshot { commodities, ..Snapshot::default() }, log_version(false))
        .map_err(|error| error.to_string())
}

fn complaint(commodity: KnownCommodity) -> String {
    restored(vec![commodity]).expect_err("the snapshot contradicts itself")
}

#[test]
fn a_sound_snapshot_of_every_status_that_is_known_is_taken() {
    let statuses = [OrderStatus::Reserved, OrderStatus::Confirmed, OrderStatus::Paid, OrderStatus::RefundDue];
    let orders = statuses.into_iter().zip(0..).map(|(status, number)| known(number, status)).collect();
    let engine = restored(vec![of_user_7(listed(2, 4), orders)]).unwrap();
    assert_eq!((engine.orders_len(), engine.next_expiry(), engine.next_number()), (4, Some(at(3_000)), 0));
    assert_eq!(engine.order(order_id(3)), Some(known(3, OrderStatus::RefundDue).order));
}

#[test]
fn sold_units_need_no_orders_and_count_against_the_limit() {
    let mut sold = listed(0, 4);
    sold.terms.limit_per_user = Some(5);
    let mut engine = restored(vec![of_user_7(sold, vec![])]).unwrap();
    assert_eq!(engine.orders_len(), 0);
    let mut place = |count| engine.apply(at(1_000), Command::Place(a_place(7, count)), &mut Vec::new());
    assert_eq!(place(2), Err(crate::engine::Refusal::LimitReached));
    assert!(matches!(place(1), Ok(Answer::Placed(_))));
}

#[test]
fn stock_that_buyers_and_orders_do_not_claim_is_refused() {
    let reserved = || vec![known(0, OrderStatus::Reserved)];
    let said = "partition 3: commodity 1 has 3 units held and 0 sold, but its orders hold 2 and its buyers have 3 in all";
    assert_eq!(complaint(of_user_7(listed(3, 0), reserved())), said);
    assert!(complaint(of_user_7(listed(0, 2), reserved())).contains("0 units held and 2 sold, but its orders hold 2"));
    let with_buyer = |units| KnownCommodity { buyers: vec![BuyerUnits { user: buyer(7), units }], ..KnownCommodity::fresh(listed(0, 4)) };
    restored(vec![with_buyer(4)]).unwrap();
    for units in [3, 5] {
        assert!(complaint(with_buyer(units)).contains(&format!("its buyers have {units} in all")));
    }
}

#[test]
fn stock_that_does_not_balance_is_refused() {
    let mut commodity = listed(0, 0);
    commodity.stock.total = units(11);
    assert!(complaint(KnownCommodity::fresh(commodity)).contains("does not balance"));
}

#[test]
fn what_comes_twice_is_refused() {
    let fresh = || KnownCommodity::fresh(listed(0, 0));
    assert!(restored(vec![fresh(), fresh()]).unwrap_err().contains("commodity 1 comes twice"));
    let twice = vec![known(0, OrderStatus::Paid), known(0, OrderStatus::Paid)];
    assert!(complaint(of_user_7(listed(0, 4), twice)).contains("comes twice"));
}

#[test]
fn units_of_a_buyer_that_nobody_can_count_are_refused() {
    let buyers = vec![BuyerUnits { user: buyer(7), units: u32::MAX }, BuyerUnits { user: buyer(7), units: 1 }];
    let commodity = KnownCommodity { buyers, ..KnownCommodity::fresh(listed(0, 4)) };
    assert!(complaint(commodity).contains("user 7 has too many units of commodity 1"));
}

#[test]
fn two_live_orders_under_one_key_are_refused_and_so_is_one_order_with_a_key_twice() {
    let with_keys = |keys| KnownCommodity { keys, ..of_user_7(listed(0, 4), vec![]) };
    let said = "two orders of user 7 and commodity 1 have the same key";
    assert!(complaint(with_keys(vec![keyed(0, None), keyed(1, None)])).contains(said));
    assert!(complaint(with_keys(vec![keyed(1, None), keyed(1, Some(at(2_000)))])).contains(said));
}

#[test]
fn of_two_orders_under_one_key_the_later_counts_in_whatever_order_they_come() {
    let place = Place { key: Some(key("a")), fingerprint: RequestFingerprint(1), ..a_place(7, 1) };
    for keys in [[keyed(0, Some(at(2_000))), keyed(1, None)], [keyed(1, None), keyed(0, Some(at(2_000)))]] {
        let commodity = KnownCommodity { keys: keys.to_vec(), ..of_user_7(listed(0, 2), vec![]) };
        let mut engine = restored(vec![commodity]).unwrap();
        let replay = engine.apply(at(4_000), Command::Place(place.clone()), &mut Vec::new());
        assert_eq!(replay, Ok(Answer::PlacedBefore(order_id(1))));
    }
}

#[test]
fn orders_and_keys_of_another_partition_or_of_no_earlier_epoch_are_refused() {
    let elsewhere = OrderId::new(at(1_000), PartitionId::new(4).unwrap(), epoch(4), 0);
    let now = OrderId::new(at(1_000), partition(), epoch(5), 0);
    for (id, said) in [(elsewhere, "is of partition 4"), (now, "is of epoch 5, and epoch 5 only begins")] {
        let mut order = known(0, OrderStatus::Paid);
        order.order.id = id;
        assert!(complaint(of_user_7(listed(0, 2), vec![order])).contains(said));
        let keys = vec![KnownKey { order: id, ..keyed(0, None) }];
        assert!(complaint(KnownCommodity { keys, ..of_user_7(listed(0, 2), vec![]) }).contains(said));
    }
}

#[test]
fn an_order_that_stands_with_another_commodity_is_refused() {
    let mut order = known(0, OrderStatus::Paid);
    order.order.commodity = commodity(2);
    assert!(complaint(of_user_7(listed(0, 2), vec![order])).contains("is of commodity 2 and stands with 1"));
}

#[test]
fn a_live_order_whose_buyer_has_fewer_units_is_refused() {
    for status in [OrderStatus::Reserved, OrderStatus::Confirmed, OrderStatus::Paid] {
        let commodity = KnownCommodity { orders: vec![known(0, status)], ..KnownCommodity::fresh(listed(0, 0)) };
        assert!(complaint(commodity).contains("claims 2 units, and its buyer has fewer"));
    }
}

#[test]
fn an_order_that_nothing_is_owed_for_is_refused() {
    for status in [OrderStatus::Cancelled, OrderStatus::Expired, OrderStatus::Refunded] {
        let said = complaint(of_user_7(listed(0, 0), vec![known(0, status)]));
        assert!(said.contains(&format!("is {}: nothing is owed for it", status.word())), "{said}");
    }
}

#[test]
fn a_reserved_order_without_a_time_to_pay_by_is_refused() {
    let mut endless = known(0, OrderStatus::Reserved);
    endless.order.pay_by = None;
    assert!(complaint(of_user_7(listed(2, 0), vec![endless])).contains("no time to pay by"));
}

#[test]
fn what_is_over_is_taken_for_the_money_that_is_owed_and_for_nothing_else() {
    let closed = || Commodity { closed_at: Some(at(9_000)), ..listed(0, 4) };
    let owing = |commodity, removed| {
        let orders = vec![known(0, OrderStatus::RefundDue)];
        KnownCommodity { removed, orders, keys: vec![keyed(0, None)], ..KnownCommodity::fresh(commodity) }
    };
    for over in [owing(closed(), false), owing(listed(0, 0), true)] {
        let engine = restored(vec![over.clone()]).unwrap();
        assert_eq!((engine.orders_len(), engine.commodities().count()), (1, 0));
        let nothing = KnownCommodity { orders: vec![], ..over.clone() };
        assert!(complaint(nothing).contains("commodity 1 is over, and nothing is owed of it"));
        let live = KnownCommodity { orders: vec![known(0, OrderStatus::Paid)], ..over };
        assert!(complaint(live).contains("claims 2 units, and its buyer has fewer"));
    }
}
