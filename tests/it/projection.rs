//! The projection on both families of databases.

use doorbuster::domain::OrderStatus;
use doorbuster::event::{Batch, Event};
use doorbuster::projection::{self, Outcome, Stop};
use doorbuster::store::{Load, OrderFilter, Store};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rstest::rstest;

use crate::support::history::{History, listed};
use crate::support::{Backend, TestDatabase, commodity, load, partition, position, sorted};

async fn apply(store: &Store, batches: &[Batch]) -> projection::Report {
    projection::apply(store, batches).await.expect("the database is there")
}

/// Everything in the tables that batches can change.
async fn tables(store: &Store) -> impl PartialEq + std::fmt::Debug {
    let commodities = store.commodities(None, 1000, true).await.unwrap();
    let orders = store.orders(&OrderFilter::default(), None, 10_000).await.unwrap();
    let mut known = Vec::new();
    for partition in store.partitions().iter() {
        known.push(sorted(store.snapshot(partition, load()).await.unwrap()));
    }
    (commodities, orders, known, store.partition_rows().await.unwrap())
}

fn sale(index: u16, id: i64) -> Vec<Batch> {
    let mut history = History::begin(partition(index), position(1, 0).0);
    history.list(id, 3).cut();
    history.place(0, 1, 1, OrderStatus::Reserved, Some("k"));
    history.cut();
    history.place(0, 2, 2, OrderStatus::Confirmed, None);
    history.batches()
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn batches_of_many_partitions_are_applied_once_each(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    let batches: Vec<Batch> = [sale(3, 1), sale(4, 2)].concat();
    assert_eq!(apply(&store, &batches).await.count(Outcome::Applied), 8);
    let before = tables(&store).await;
    assert_eq!(apply(&store, &batches).await.count(Outcome::Skipped), 8);
    assert!(tables(&store).await == before, "a batch that comes again changes nothing");
    assert_eq!(store.applied(partition(4)).await.unwrap(), position(1, 3));
    assert!(store.audit().await.unwrap().iter().all(|row| row.balanced && row.available == 0));
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn a_gap_stops_its_partition_and_no_other(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    let mut broken = sale(3, 1);
    broken.remove(2);
    let report = apply(&store, &[broken, sale(4, 2)].concat()).await;
    assert_eq!(report.stops.len(), 1);
    assert!(matches!(report.stops[0], Stop::Gap { .. }) && report.stops[0].partition() == partition(3));
    assert_eq!(store.applied(partition(3)).await.unwrap(), position(1, 1));
    assert_eq!(store.applied(partition(4)).await.unwrap(), position(1, 3));
}

/// Batches that contradict the tables, each in its way.
fn faults() -> Vec<Vec<Event>> {
    let [fence, list, place, confirm] = <[Batch; 4]>::try_from(sale(3, 1)).expect("four batches");
    let Event::Placed { mut order, key, fingerprint, .. } = place.events[0] else { unreachable!("it places") };
    let (id, now) = (order.id, order.id.placed_at());
    assert!(fence.is_fence());
    let placed_again = place.events;
    order.user = crate::support::user(7).into();
    let same_id = vec![Event::Placed { order, foreign: None, key: None, fingerprint }];
    order.id = doorbuster::domain::OrderId::new(now, partition(3), position(1, 0).0, 99);
    order.user = crate::support::user(1).into();
    let same_key = vec![Event::Placed { order, foreign: None, key, fingerprint }];
    let oversold = vec![Event::Placed { order, foreign: None, key: None, fingerprint }];
    let wrong_status = vec![Event::Moved {
        order: id,
        commodity: order.commodity,
        buyer: Some(order.user),
        quantity: order.quantity,
        from: OrderStatus::Paid,
        to: OrderStatus::Cancelled,
        at: now,
        cause: doorbuster::domain::Cause::by(doorbuster::domain::Actor::System),
    }];
    let no_commodity = vec![Event::Paused { commodity: commodity(99), paused: true, version: 2 }];
    let restocked_below = vec![Event::Restocked { commodity: commodity(1), total: doorbuster::domain::Units::ZERO, version: 2 }];
    assert_eq!(confirm.events.len(), 1);
    vec![placed_again, same_id, same_key, oversold, wrong_status, no_commodity, restocked_below, list.events]
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn a_batch_that_contradicts_the_tables_stops_its_partition_and_changes_nothing(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    apply(&store, &sale(3, 1)).await;
    let before = tables(&store).await;
    for (number, events) in faults().into_iter().enumerate() {
        let (epoch, sequence) = position(1, 4);
        let fault = Batch::new(partition(3), epoch, sequence, events);
        let after = Batch { sequence: sequence.next(), events: Vec::new(), ..fault.clone() };
        let other = Batch { partition: partition(4), ..Batch::fence(partition(4), position(number as u32 + 1, 0).0) };
        let report = apply(&store, &[fault, other, after]).await;
        assert_eq!(report.outcomes, [Outcome::Stopped, Outcome::Applied, Outcome::Stopped], "fault {number}: {report:?}");
        assert!(matches!(&report.stops[..], [Stop::Broken { .. }]), "fault {number}: {report:?}");
    }
    database.execute("UPDATE partitions SET applied_epoch = 0 WHERE id = 4").await;
    assert!(tables(&store).await == before);
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn a_key_can_be_used_again_in_the_transaction_that_forgets_it(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    let mut batches = sale(3, 1);
    let Event::Placed { mut order, key, fingerprint, .. } = batches[2].events[0] else { unreachable!("it places") };
    batches.truncate(3);
    apply(&store, &batches).await;
    let forgotten = Event::KeyForgotten { order: order.id };
    order.id = doorbuster::domain::OrderId::new(order.id.placed_at(), partition(3), position(1, 0).0, 99);
    let again = Event::Placed { order, foreign: None, key, fingerprint };
    let (epoch, sequence) = position(1, 3);
    let report = apply(&store, &[Batch::new(partition(3), epoch, sequence, vec![forgotten, again])]).await;
    assert_eq!(report.count(Outcome::Applied), 1, "{report:?}");
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn every_field_of_a_commodity_is_stored(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    let mut wanted = listed(commodity(1), 10);
    wanted.terms.description = "🪔".repeat(10_000);
    wanted.terms.name = "ß".repeat(200);
    let (epoch, sequence) = position(1, 1);
    let batch = |sequence, events| Batch::new(partition(3), epoch, sequence, events);
    apply(&store, &[Batch::fence(partition(3), epoch), batch(sequence, vec![Event::Listed(Box::new(wanted.clone()))])]).await;
    assert_eq!(store.commodity(wanted.id).await.unwrap().unwrap().commodity, wanted);

    wanted.terms.image_url = None;
    wanted.terms.limit_per_user = None;
    wanted.terms.hold_seconds = None;
    (wanted.version, wanted.paused, wanted.ended_at) = (4, true, Some(crate::support::at(5)));
    let (id, at) = (wanted.id, crate::support::at(5));
    let changes = vec![
        Event::Changed { commodity: id, terms: Box::new(wanted.terms.clone()), version: 2 },
        Event::Paused { commodity: id, paused: true, version: 3 },
        Event::Ended { commodity: id, at, version: 4 },
    ];
    apply(&store, &[batch(sequence.next(), changes)]).await;
    assert_eq!(store.commodity(id).await.unwrap().unwrap().commodity, wanted);
    assert_eq!(store.commodities(None, 10, false).await.unwrap().len(), 1);
    apply(&store, &[batch(sequence.next().next(), vec![Event::Removed { commodity: id, at }])]).await;
    assert_eq!(store.commodity(id).await.unwrap().unwrap().removed_at, Some(at));
    assert!(store.commodities(None, 10, false).await.unwrap().is_empty());
    assert!(store.snapshot(partition(3), load()).await.unwrap().commodities.is_empty());
}

/// The batches two partitions could have written.
fn histories() -> impl Strategy<Value = Vec<Batch>> {
    let history = |index: u16| {
        proptest::collection::vec(any::<u32>(), 0..120).prop_map(move |choices| {
            let mut history = History::begin(partition(index), position(1, 0).0);
            choices.into_iter().for_each(|choice| history.choose(choice));
            history.batches()
        })
    };
    (history(3), history(4)).prop_map(|(one, other)| [one, other].concat())
}

#[rstest]
#[case(Backend::Sqlite, 24)]
#[case(Backend::Mysql, 8)]
fn one_transaction_and_many_come_to_the_same_tables(#[case] backend: Backend, #[case] cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() });
    let property = |batches: Vec<Batch>| {
        runtime.block_on(async {
            let (one, many) = (TestDatabase::migrated(backend).await, TestDatabase::migrated(backend).await);
            let (together, apart) = (one.store().await, many.store().await);
            let report = apply(&together, &batches).await;
            prop_assert_eq!(report.count(Outcome::Applied), batches.len(), "{:?}", report.stops);
            for batch in &batches {
                let report = apply(&apart, std::slice::from_ref(batch)).await;
                prop_assert_eq!(report.count(Outcome::Applied), 1, "{:?}", report.stops);
            }
            prop_assert!(tables(&together).await == tables(&apart).await);
            for partition in apart.partitions().iter() {
                let by_deltas = sorted(apart.snapshot(partition, load()).await.unwrap());
                apart.write_checkpoint(partition, load().now).await.unwrap();
                let by_checkpoint = sorted(apart.snapshot(partition, load()).await.unwrap());
                let mut by_rows = apart.snapshot(partition, Load { with_live_orders: true, ..load() }).await.unwrap();
                for known in &mut by_rows.commodities {
                    known.orders.retain(|known| matches!(known.order.status, OrderStatus::Reserved | OrderStatus::RefundDue));
                }
                prop_assert_eq!(&by_deltas, &by_checkpoint);
                prop_assert_eq!(by_deltas, sorted(by_rows));
            }
            let audit = together.audit().await.unwrap();
            prop_assert!(audit.iter().all(|row| row.balanced), "{:?}", audit);
            Ok(())
        })
    };
    runner.run(&histories(), property).unwrap();
}
