//! Orders of other issuers' accounts: in the tables, in lists, in what a claim loads, and over the whole way of a cluster. Equal subjects of
//! two issuers, and the account of our own with that number, are three buyers.

use doorbuster::domain::{NamedOrder, Order, OrderId, OrderStatus};
use doorbuster::engine::{Answer, Command, Refusal};
use doorbuster::event::Batch;
use doorbuster::projection::{self, Outcome};
use doorbuster::routing::{OrderLookup, Reply};
use doorbuster::store::{AuditScope, CheckpointReport, OrderFilter, Slice, Store};
use rstest::rstest;

use crate::spikes::{Spikes, place};
use crate::support::cluster::eventually;
use crate::support::history::History;
use crate::support::{Backend, TestDatabase, commodity, load, partition, position, principal, sorted};

/// Account 1 of our own, `a:1` and `b:1`.
const THREE: [i64; 3] = [1, -2, -3];

async fn apply(store: &Store, batches: &[Batch]) {
    let report = projection::apply(store, batches).await.expect("the database is there");
    assert_eq!(report.count(Outcome::Applied), batches.len(), "{report:?}");
}

/// Each of the three has two orders, of two commodities, under one text; and of each the first has ended.
fn sale() -> History {
    let mut history = History::begin(partition(3), position(1, 0).0);
    history.list(1, 100).list(2, 100);
    for index in [0, 1] {
        for buyer in THREE {
            history.place(index, buyer, 3, OrderStatus::Reserved, Some("k"));
        }
    }
    history.cut();
    (0..3).for_each(|number| history.move_to(number, OrderStatus::Expired));
    history.cut();
    history
}

fn of(buyer: i64) -> OrderFilter {
    OrderFilter { user: Some(principal(buyer).key()), ..OrderFilter::default() }
}

fn ids(orders: &[NamedOrder]) -> Vec<OrderId> {
    orders.iter().map(|named| named.order.id).collect()
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn equal_subjects_of_two_issuers_have_lists_keys_and_limits_of_their_own(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    let history = sale();
    let orders = history.orders().to_vec();
    apply(&store, &history.batches()).await;
    for (place, buyer) in THREE.into_iter().enumerate() {
        let (ended, held) = (orders[place], orders[3 + place]);
        let listed = store.orders(&of(buyer), None, 10).await.unwrap();
        assert_eq!(ids(&listed), [held.id, ended.id]);
        assert!(listed.iter().all(|named| named.buyer() == Some(principal(buyer))), "{listed:?}");
        assert_eq!(store.order(held.id).await.unwrap().as_ref(), listed.first());
        for (filter, found) in [
            (OrderFilter { status: Some(OrderStatus::Expired), ..of(buyer) }, ended),
            (OrderFilter { commodity: Some(commodity(2)), ..of(buyer) }, held),
            (OrderFilter { commodity: Some(commodity(1)), status: Some(OrderStatus::Expired), ..of(buyer) }, ended),
        ] {
            assert_eq!(ids(&store.orders(&filter, None, 10).await.unwrap()), [found.id]);
        }
        let key = doorbuster::domain::IdempotencyKey::of(&principal(buyer), "k").unwrap();
        let under_key = store.order_under_key(commodity(2), principal(buyer).key(), key).await.unwrap();
        assert_eq!(under_key.map(|(order, _)| order), Some(held.id));
    }
    assert_eq!(store.orders(&OrderFilter::default(), None, 10).await.unwrap().len(), 6);
    assert!(store.orders(&of(-4), None, 10).await.unwrap().is_empty(), "a:2 has bought nothing");

    let rows = store.audit().await.unwrap();
    assert!(rows.iter().all(|row| row.balanced && row.buyers_over_limit == 0 && row.keys_used_twice == 0), "{rows:?}");
    // Two who share the half of their keys that the indexes have: together they have more than one may.
    database.execute("UPDATE orders SET user_id = -77 WHERE user_id < 0").await;
    let rows = store.audit().await.unwrap();
    assert!(rows.iter().all(|row| row.balanced && row.buyers_over_limit == 0), "{rows:?}");
    database.execute("UPDATE orders SET user_high = -77 WHERE user_id < 0").await;
    assert_eq!(store.audit().await.unwrap().iter().map(|row| row.buyers_over_limit).sum::<i64>(), 1, "now they are one");
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn a_claim_loads_them_from_the_rows_and_from_a_checkpoint_alike(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    let mut batches = sale().batches();
    let late = batches.split_off(2);
    apply(&store, &batches).await;
    assert!(matches!(store.write_checkpoint(partition(3), load().now).await.unwrap(), CheckpointReport::Written { .. }));
    // In a delta on top of it.
    apply(&store, &late).await;
    let by_checkpoint = sorted(store.snapshot(partition(3), load()).await.unwrap());
    database.execute("DELETE FROM checkpoint_deltas").await;
    let by_rows = sorted(store.snapshot(partition(3), load()).await.unwrap());
    assert_eq!(by_checkpoint, by_rows);
    let mut buyers: Vec<_> = by_rows.commodities[1].buyers.iter().map(|buyer| (buyer.user, buyer.units)).collect();
    buyers.sort_unstable();
    let mut expected = THREE.map(|buyer| (principal(buyer).key(), 3));
    expected.sort_unstable();
    assert_eq!(buyers, expected);
    assert_eq!(by_rows.commodities.iter().map(|known| known.keys.len()).sum::<usize>(), 6);
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn they_keep_their_names_in_the_archive_and_when_they_come_back(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    let mut history = sale();
    history.close(0);
    let before_it_is_late = history.batches_so_far();
    apply(&store, &history.clone().batches()).await;
    let before = store.orders(&OrderFilter::default(), None, 10).await.unwrap();
    let (due, held) = (history.orders()[1], history.orders()[4]);
    assert_eq!(store.audit_of(AuditScope::All).await.unwrap().rows.len(), 2);
    database.execute("UPDATE commodities SET sealed_at = 1 WHERE id = 1").await;
    assert_eq!(store.archive_slice(commodity(1), 10).await.unwrap(), Slice::Last(3));
    assert_eq!(store.orders(&OrderFilter::default(), None, 10).await.unwrap(), before);
    assert_eq!(ids(&store.orders(&of(-2), None, 10).await.unwrap()), [held.id, due.id]);
    // Somebody paid too late.
    history.move_to(1, OrderStatus::RefundDue);
    apply(&store, &history.batches().split_off(before_it_is_late)).await;
    let back = store.order(due.id).await.unwrap().expect("it is there");
    assert_eq!((back.order, back.buyer()), (Order { status: OrderStatus::RefundDue, ..due }, Some(principal(-2))));
    assert_eq!(database.number("SELECT COUNT(*) FROM archived_orders").await, 2);
}

/// A name that is not whose key the row has would be shown to operators.
#[tokio::test]
async fn a_row_whose_name_is_anothers_is_corrupt() {
    let database = TestDatabase::migrated(Backend::Sqlite).await;
    let store = database.store().await;
    apply(&store, &sale().batches()).await;
    for sql in ["SET user_text = 'a:2' WHERE user_text = 'a:1'", "SET user_text = NULL WHERE user_text = 'b:1'"] {
        database.execute(&format!("UPDATE orders {sql}")).await;
        let error = store.orders(&OrderFilter::default(), None, 10).await.unwrap_err().to_string();
        assert!(error.contains("orders.user_text"), "{error}");
        database.execute("UPDATE orders SET user_text = 'a:1' WHERE user_text = 'a:2'").await;
    }
}

/// Two nodes, RabbitMQ and a consumer: bought through the node that does not own the commodity, and known by name before the tables have
/// it and after.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_another_issuer_buys_lists_and_cancels_through_any_node() {
    let mut spikes = Spikes::new().await;
    let nodes = [Spikes::start_with(&spikes.config("a")).await, Spikes::start_with(&spikes.config("b")).await];
    spikes.list(nodes[0].router(), 1_000).await;
    spikes.consumer.take().expect("it consumes").stop().await;
    let mut placed = Vec::new();
    for (node, buyer) in nodes.iter().cycle().zip(THREE) {
        let place = || place(7, principal(buyer), "k");
        let Reply::Done(Answer::Placed(order)) = node.router().about_commodity(commodity(7), place()).await else {
            panic!("units are there")
        };
        placed.push(order);
        for node in &nodes {
            assert_eq!(node.router().about_commodity(commodity(7), place()).await, Reply::Done(Answer::Replayed(order)));
        }
    }
    let stands = async |status: OrderStatus| {
        for (order, buyer) in placed.iter().zip(THREE) {
            let order = Order { status: if buyer == -2 { status } else { order.status }, ..*order };
            for node in &nodes {
                let OrderLookup::Known(named) = node.router().named_order(order.id).await else { panic!("it is known") };
                assert_eq!((named.order, named.buyer()), (order, Some(principal(buyer))));
                let (recent, complete) = node.router().recent_orders(principal(buyer).key(), std::time::Duration::from_secs(5)).await;
                assert!(complete && recent.iter().all(|recent| *recent == order), "{recent:?}");
            }
        }
    };
    stands(placed[1].status).await;
    let cancel = |buyer: i64| Command::Cancel { order: placed[1].id, user: Some(principal(buyer).key()), reason: None, row: None };
    let cancelled = Order { status: OrderStatus::Cancelled, ..placed[1] };
    assert_eq!(nodes[1].router().about_order(placed[1].id, cancel(-2)).await, Reply::Done(Answer::Order(cancelled)));
    stands(OrderStatus::Cancelled).await;
    spikes.consumer = Some(spikes.cluster.consumer());
    eventually("the tables have them", async || spikes.cluster.database.number("SELECT COUNT(*) FROM orders WHERE status = 3").await == 1)
        .await;
    stands(OrderStatus::Cancelled).await;
    for (buyer, node) in [(1, 0), (-3, 1)] {
        assert_eq!(nodes[node].router().about_order(placed[1].id, cancel(buyer)).await, Reply::Refused(Refusal::OrderNotFound));
    }
    // The next owner begins with what the tables have.
    let [first, second] = nodes;
    first.stop().await;
    let again = place(7, principal(-3), "k");
    assert_eq!(second.router().about_commodity(commodity(7), again).await, Reply::Done(Answer::Replayed(placed[2])));
    spikes.consumer.take().expect("it consumes").stop().await;
    // It knows the buyer of an order that it takes up again by their key alone.
    let cancel = Command::Cancel { order: placed[2].id, user: None, reason: None, row: None };
    assert!(matches!(second.router().about_order(placed[2].id, cancel).await, Reply::Done(Answer::Order(_))));
    let OrderLookup::Known(named) = second.router().named_order(placed[2].id).await else { panic!("it is known") };
    assert_eq!((named.order.status, named.buyer()), (OrderStatus::Cancelled, Some(principal(-3))));
    second.stop().await;
    assert!(spikes.cluster.store.audit().await.unwrap().iter().all(|row| row.balanced));
}
