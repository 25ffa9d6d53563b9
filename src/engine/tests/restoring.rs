//! Snapshots that contradict themselves are refused with a sentence that says where.

use super::support::*;
use crate::domain::{Commodity, Order, OrderId, OrderStatus, PartitionId, RequestFingerprint, Stock, Terms};
use crate::engine::{Engine, KnownOrder, Snapshot};

fn listed(held: i64, sold: i64) -> Commodity {
    let stock = Stock { total: units(10), available: units(10 - held - sold), held: units(held), sold: units(sold) };
    Commodity { id: commodity(1), terms: Terms { hold_seconds: Some(2), ..terms() }, stock, paused: false, ended_at: None, version: 1 }
}

fn known(number: u64, status: OrderStatus) -> KnownOrder {
    let order = Order {
        id: OrderId::new(at(1_000), partition(), epoch(4), number),
        commodity: commodity(1),
        user: user(7),
        quantity: quantity(2),
        unit_price: terms().price,
        currency: terms().currency,
        status,
        pay_by: Some(at(3_000)),
    };
    KnownOrder { order, key: None, fingerprint: RequestFingerprint(0), changed_at: at(1_000) }
}

fn restored(commodities: Vec<Commodity>, orders: Vec<KnownOrder>) -> Result<Engine, String> {
    Engine::restore(partition(), epoch(5), Snapshot { commodities, orders }, 8).map_err(|error| error.to_string())
}

fn complaint(commodities: Vec<Commodity>, orders: Vec<KnownOrder>) -> String {
    restored(commodities, orders).expect_err("the snapshot contradicts itself")
}

#[test]
fn a_sound_snapshot_of_every_status_is_taken() {
    let orders = OrderStatus::ALL.into_iter().zip(0..).map(|(status, number)| known(number, status)).collect();
    let engine = restored(vec![listed(2, 4)], orders).unwrap();
    assert_eq!((engine.orders_len(), engine.next_expiry(), engine.next_number()), (7, Some(at(3_000)), 0));
}

#[test]
fn stock_that_its_orders_do_not_claim_is_refused() {
    let reserved = || vec![known(0, OrderStatus::Reserved)];
    let said = "partition 3: commodity 1 has 3 units held and 0 sold, but its orders claim 2 and 0";
    assert_eq!(complaint(vec![listed(3, 0)], reserved()), said);
    assert!(complaint(vec![listed(0, 2)], reserved()).contains("0 units held and 2 sold"));
    assert!(complaint(vec![listed(0, 0)], reserved()).contains("claim 2 and 0"));
}

#[test]
fn stock_that_does_not_balance_is_refused() {
    let mut commodity = listed(0, 0);
    commodity.stock.total = units(11);
    assert!(complaint(vec![commodity], vec![]).contains("does not balance"));
}

#[test]
fn what_comes_twice_is_refused() {
    assert!(complaint(vec![listed(0, 0), listed(0, 0)], vec![]).contains("commodity 1 comes twice"));
    let twice = vec![known(0, OrderStatus::Paid), known(0, OrderStatus::Paid)];
    assert!(complaint(vec![listed(0, 4)], twice).contains("comes twice"));
    let keyed = |number| KnownOrder { key: Some(key("a")), ..known(number, OrderStatus::Paid) };
    assert!(complaint(vec![listed(0, 4)], vec![keyed(0), keyed(1)]).contains("have the same key"));
}

#[test]
fn orders_of_another_partition_or_of_no_earlier_epoch_are_refused() {
    let with_id = |id| {
        let mut known = known(0, OrderStatus::Paid);
        known.order.id = id;
        vec![known]
    };
    let elsewhere = OrderId::new(at(1_000), PartitionId::new(4).unwrap(), epoch(4), 0);
    assert!(complaint(vec![listed(0, 2)], with_id(elsewhere)).contains("is of partition 4"));
    let now = OrderId::new(at(1_000), partition(), epoch(5), 0);
    assert!(complaint(vec![listed(0, 2)], with_id(now)).contains("is of epoch 5, and epoch 5 only begins"));
}

#[test]
fn live_orders_and_refunds_due_of_an_unknown_commodity_are_refused_and_ended_ones_passed_over() {
    for status in [OrderStatus::Reserved, OrderStatus::Confirmed, OrderStatus::Paid, OrderStatus::RefundDue] {
        assert!(complaint(vec![], vec![known(0, status)]).contains("is of unknown commodity 1"));
    }
    for status in [OrderStatus::Cancelled, OrderStatus::Expired, OrderStatus::Refunded] {
        assert_eq!(restored(vec![], vec![known(0, status)]).unwrap().orders_len(), 0);
    }
}

#[test]
fn a_reserved_order_without_a_time_to_pay_by_is_refused() {
    let mut endless = known(0, OrderStatus::Reserved);
    endless.order.pay_by = None;
    assert!(complaint(vec![listed(2, 0)], vec![endless]).contains("no time to pay by"));
}
