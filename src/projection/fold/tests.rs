//! What events fold to.

use super::*;
use crate::domain::{
    Actor, Cancellation, Cause, Commodity, Epoch, IdempotencyKey, Order, Price, RequestFingerprint, Sequence, Terms, UserId,
};

const PARTITION: u16 = 3;

fn id(number: u64) -> OrderId {
    OrderId::new(at(number as i64), PartitionId::new(PARTITION).unwrap(), Epoch::new(1).unwrap(), number)
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn lamp() -> CommodityId {
    CommodityId::new(7).unwrap()
}

fn units(count: i64) -> Units {
    Units::new(count).unwrap()
}

fn placed(number: u64, quantity: i64, status: OrderStatus) -> Event {
    let order = Order {
        id: id(number),
        commodity: lamp(),
        user: UserId::new(1).unwrap().into(),
        quantity: Quantity::new(quantity).unwrap(),
        unit_price: Price::new(5).unwrap(),
        currency: "EUR".parse().unwrap(),
        status,
        pay_by: None,
        grace_seconds: 0,
        discount: None,
    };
    Event::Placed { order, foreign: None, key: Some(IdempotencyKey::from_bytes([number as u8; 16])), fingerprint: RequestFingerprint(1) }
}

fn moved(number: u64, quantity: i64, from: OrderStatus, to: OrderStatus, millis: i64) -> Event {
    Event::Moved {
        order: id(number),
        commodity: lamp(),
        buyer: None,
        quantity: Quantity::new(quantity).unwrap(),
        from,
        to,
        at: at(millis),
        cause: Cause::by(Actor::System),
    }
}

fn listed(total: i64) -> Event {
    let terms = Terms {
        sku: None,
        name: "Lamp".into(),
        description: String::new(),
        image_url: None,
        price: Price::new(5).unwrap(),
        currency: "EUR".parse().unwrap(),
        limit_per_user: None,
        hold_seconds: None,
        grace_seconds: Terms::GRACE_SECONDS,
        cancellation: Cancellation::Unpaid,
        starts_at: at(0),
        ends_at: at(1),
    };
    Event::Listed(Box::new(Commodity {
        id: lamp(),
        terms,
        stock: Stock::fresh(units(total)),
        paused: false,
        ended_at: None,
        closed_at: None,
        version: 1,
    }))
}

fn fold(events: Vec<Event>) -> Result<Changes, String> {
    let partition = PartitionId::new(PARTITION).unwrap();
    let mut fold = Fold::default();
    // One event a batch: what is folded does not depend on where batches end.
    for (number, event) in events.into_iter().enumerate() {
        fold.batch(&Batch::new(partition, Epoch::new(1).unwrap(), Sequence(number as u64 + 1), vec![event]))?;
    }
    fold.finish()
}

use OrderStatus::{Cancelled, Confirmed, Expired, Paid, RefundDue, Refunded, Reserved};

#[test]
fn an_order_that_is_new_is_one_row_in_its_last_status() {
    let changes = fold(vec![placed(1, 2, Reserved), moved(1, 2, Reserved, Expired, 40), moved(1, 2, Expired, RefundDue, 50)]).unwrap();
    let row = &changes.placed[0];
    assert_eq!((changes.placed.len(), row.order.status, row.changed_at), (1, RefundDue, at(50)));
    assert!(changes.moves.is_empty());
    let update = &changes.updates[&lamp()];
    assert_eq!((update.available, update.held, update.sold), (0, 0, 0), "its units went and came back");
}

#[test]
fn moves_of_an_order_in_the_table_become_one() {
    let changes = fold(vec![moved(1, 2, Reserved, Paid, 40), moved(1, 2, Paid, Cancelled, 50)]).unwrap();
    assert_eq!(changes.moves, [Move { from: Reserved, to: Cancelled, at: at(50), orders: vec![id(1)] }]);
    let update = &changes.updates[&lamp()];
    assert_eq!((update.available, update.held, update.sold), (2, -2, 0));
}

#[test]
fn orders_that_moved_alike_at_one_time_are_one_statement() {
    let changes =
        fold(vec![moved(9, 1, Reserved, Expired, 40), moved(2, 1, Reserved, Expired, 40), moved(3, 1, Reserved, Paid, 40)]).unwrap();
    let expected = [
        Move { from: Reserved, to: Paid, at: at(40), orders: vec![id(3)] },
        Move { from: Reserved, to: Expired, at: at(40), orders: vec![id(2), id(9)] },
    ];
    assert_eq!(changes.moves, expected);
}

#[test]
fn units_go_where_the_two_statuses_say() {
    let delta = |from, to| {
        let changes = fold(vec![moved(1, 3, from, to, 1)]).unwrap();
        changes.updates.get(&lamp()).map_or((0, 0, 0), |update| (update.available, update.held, update.sold))
    };
    assert_eq!(delta(Reserved, Paid), (0, -3, 3));
    assert_eq!(delta(Reserved, Cancelled), (3, -3, 0));
    assert_eq!(delta(Reserved, Expired), (3, -3, 0));
    assert_eq!(delta(Confirmed, Cancelled), (3, 0, -3));
    assert_eq!(delta(Paid, Cancelled), (3, 0, -3));
    assert_eq!(delta(Expired, RefundDue), (0, 0, 0));
    assert_eq!(delta(RefundDue, Refunded), (0, 0, 0));
    let new = |status| {
        let changes = fold(vec![placed(1, 3, status)]).unwrap();
        let update = changes.updates[&lamp()].clone();
        (update.available, update.held, update.sold)
    };
    assert_eq!((new(Reserved), new(Confirmed)), ((-3, 3, 0), (-3, 0, 3)));
}

#[test]
fn a_commodity_that_is_new_is_one_row_with_all_that_happened() {
    let restocked = Event::Restocked { commodity: lamp(), total: units(12), version: 2 };
    let paused = Event::Paused { commodity: lamp(), paused: true, version: 3 };
    let removed = Event::Removed { commodity: lamp(), at: at(9) };
    let changes = fold(vec![listed(10), placed(1, 2, Reserved), restocked, placed(2, 3, Confirmed), paused, removed]).unwrap();
    assert!(changes.updates.is_empty());
    let new = &changes.listed[0];
    let stock = Stock { total: units(12), available: units(7), held: units(2), sold: units(3) };
    assert_eq!((new.commodity.stock, new.commodity.version, new.commodity.paused), (stock, 3, true));
    assert_eq!(new.removed_at, Some(at(9)));
}

#[test]
fn the_last_total_counts_and_differences_stay_differences() {
    let total = |total, version| Event::Restocked { commodity: lamp(), total: units(total), version };
    let changes = fold(vec![total(5, 2), placed(1, 1, Reserved), total(9, 3)]).unwrap();
    let update = &changes.updates[&lamp()];
    assert_eq!((update.total, update.version, update.available, update.held), (Some(units(9)), Some(3), -1, 1));
}

#[test]
fn a_forgotten_key_is_gone_from_the_row_to_insert_or_else_from_the_table() {
    let changes = fold(vec![placed(1, 1, Confirmed), Event::KeyForgotten { order: id(1) }, Event::KeyForgotten { order: id(8) }]).unwrap();
    assert_eq!((changes.placed[0].key, changes.forgotten), (None, vec![id(8)]));
}

#[test]
fn new_rows_are_sorted_by_id() {
    let changes = fold(vec![placed(5, 1, Reserved), placed(2, 1, Reserved), placed(9, 1, Reserved)]).unwrap();
    assert_eq!(changes.placed.iter().map(|new| new.order.id).collect::<Vec<_>>(), [id(2), id(5), id(9)]);
}

#[test]
fn what_contradicts_itself_is_an_error() {
    let contradictions = [
        (vec![placed(1, 1, Reserved), placed(1, 1, Reserved)], "is placed twice"),
        (vec![placed(1, 1, Reserved), moved(1, 1, Paid, Cancelled, 1)], "was to leave the status paid, it is reserved"),
        (vec![moved(1, 1, Reserved, Paid, 1), moved(1, 1, Reserved, Expired, 2)], "was to leave the status reserved, it is paid"),
        (vec![listed(1), listed(1)], "is listed twice"),
        (vec![listed(1), placed(1, 2, Reserved)], "-1 units"),
    ];
    for (events, what) in contradictions {
        let error = fold(events).expect_err(what);
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn an_order_of_another_partition_or_a_fence_with_events_is_an_error() {
    let (other, epoch) = (PartitionId::new(PARTITION + 1).unwrap(), Epoch::new(1).unwrap());
    let events = vec![placed(1, 1, Reserved)];
    let foreign = Batch::new(other, epoch, Sequence(1), events.clone());
    assert!(Fold::default().batch(&foreign).unwrap_err().contains("is of partition 3"));
    let fence = Batch::new(PartitionId::new(PARTITION).unwrap(), epoch, Sequence::FENCE, events);
    assert!(Fold::default().batch(&fence).unwrap_err().contains("fence"));
}
