//! Lists of orders, by every combination of filters, against the same rows sorted and sifted one by one.

use doorbuster::domain::{Order, OrderStatus, Timestamp};
use doorbuster::event::Batch;
use doorbuster::projection;
use doorbuster::store::{OrderFilter, Slice, Store};
use rstest::rstest;

use crate::support::history::History;
use crate::support::{Backend, TestDatabase, commodity, partition, position, user};

const COMMODITIES: usize = 3;
/// Buys every other order.
const HEAVY: i64 = 1;

/// What a sale of many leaves behind: every status, many orders of a millisecond, buyers of few orders and one of many.
fn sale(index: u16, orders: u32) -> (Vec<Order>, Vec<Batch>) {
    use OrderStatus::{Cancelled, Confirmed, Expired, Paid, RefundDue, Refunded, Reserved};
    let mut history = History::begin(partition(index), position(1, 0).0);
    for number in 0..COMMODITIES {
        history.list((usize::from(index) * COMMODITIES + number + 1) as i64, 1_000_000);
    }
    for number in 0..orders {
        if number.is_multiple_of(5) {
            // Ends the batch, and the next order is of another millisecond.
            history.choose(0x1000_00FF);
        }
        let buyer = if number.is_multiple_of(2) { HEAVY } else { i64::from(number * 7 % 40) + 2 };
        let at_once = number.is_multiple_of(3);
        history.place(number as usize % COMMODITIES, buyer, 1, if at_once { Confirmed } else { Reserved }, None);
        let moves: &[OrderStatus] = match (number / 3 % 16, at_once) {
            (0, true) => &[Cancelled, RefundDue, Refunded],
            (1, true) => &[Cancelled],
            (0..10, false) => &[Paid],
            (10, false) => &[Expired, RefundDue],
            (11, false) => &[Expired],
            _ => &[],
        };
        for to in moves {
            history.move_to(number as usize, *to);
        }
    }
    (history.orders().to_vec(), history.batches())
}

async fn apply(store: &Store, batches: &[Batch]) {
    for batches in batches.chunks(50) {
        let report = projection::apply(store, batches).await.expect("the database is there");
        assert_eq!(report.count(projection::Outcome::Applied), batches.len(), "{report:?}");
    }
}

/// Rows of many runs. One partition lags: its orders are as old as the others' and in the newest run.
async fn filled(database: &TestDatabase, store: &Store) -> Vec<Order> {
    let (mut orders, ahead) = sale(3, 600);
    let (lagging, behind) = sale(4, 300);
    for piece in ahead.chunks(ahead.len().div_ceil(11)) {
        apply(store, piece).await;
        database.execute("UPDATE meta SET order_run = order_run + 8").await;
    }
    // Two of them as if a consumer of the release before had written them, beside this one.
    database.execute("UPDATE orders SET run = 0 WHERE run IN (2, 7)").await;
    apply(store, &behind).await;
    orders.extend(lagging);
    orders.sort_unstable_by_key(|order| std::cmp::Reverse(order.id));
    orders
}

/// Two commodities are archived as far as nothing is owed, of a third a part of each status.
async fn archive_some(database: &TestDatabase, store: &Store) {
    database.execute("UPDATE commodities SET closed_at = 1, sealed_at = 1 WHERE id IN (10, 11, 13)").await;
    for (id, rows) in [(10, 50), (13, 1_000)] {
        while let Slice::Moved(_) = store.archive_slice(commodity(id), rows).await.expect("the database is there") {}
    }
    database
        .execute("INSERT INTO archived_orders SELECT * FROM orders WHERE commodity_id = 11 AND status NOT IN (0, 5) AND user_id <> 1")
        .await;
    database.execute("DELETE FROM orders WHERE id IN (SELECT id FROM archived_orders)").await;
    assert!(database.number("SELECT COUNT(*) FROM archived_orders").await > 300);
}

fn filters(orders: &[Order]) -> Vec<OrderFilter> {
    let time = |index: usize| Some(orders[index].id.placed_at());
    let windows: [(Option<Timestamp>, Option<Timestamp>); 5] =
        [(None, None), (time(700), time(100)), (time(500), None), (None, time(500)), (time(100), time(700))];
    let commodities = [None, Some(commodity(10)), Some(commodity(14)), Some(commodity(999))];
    let users = [None, Some(user(HEAVY).into()), Some(user(8).into()), Some(user(999).into())];
    let statuses = [None, Some(OrderStatus::Paid), Some(OrderStatus::Refunded), Some(OrderStatus::Expired)];
    let mut filters = Vec::new();
    for commodity in commodities {
        for user in users {
            for status in statuses {
                for (placed_from, placed_until) in windows {
                    filters.push(OrderFilter { commodity, user, status, placed_from, placed_until });
                }
            }
        }
    }
    filters
}

fn fits(filter: &OrderFilter, order: &Order) -> bool {
    let placed_at = order.id.placed_at();
    filter.commodity.is_none_or(|commodity| order.commodity == commodity)
        && filter.user.is_none_or(|user| order.user == user)
        && filter.status.is_none_or(|status| order.status == status)
        && filter.placed_from.is_none_or(|from| placed_at >= from)
        && filter.placed_until.is_none_or(|until| placed_at < until)
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn every_combination_of_filters_lists_each_order_once_and_in_order(
    #[case] backend: Backend,
    #[values(false, true)] is_archived: bool,
) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    let orders = filled(&database, &store).await;
    if is_archived {
        archive_some(&database, &store).await;
    }
    for (number, filter) in filters(&orders).into_iter().enumerate() {
        let wanted: Vec<Order> = orders.iter().filter(|order| fits(&filter, order)).copied().collect();
        let limit = [7, 50, 1_000][number % 3].max(wanted.len() as u64 / 20);
        let (mut listed, mut before) = (Vec::new(), None);
        loop {
            let page = store.orders(&filter, before, limit).await.unwrap();
            listed.extend(page.iter().map(|named| named.order));
            assert!(listed.len() <= wanted.len(), "{filter:?}: {} orders and more, of {}", listed.len(), wanted.len());
            if (page.len() as u64) < limit {
                break;
            }
            before = page.last().map(|named| named.order.id);
        }
        assert_eq!(listed, wanted, "{filter:?} in pages of {limit}");
    }
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn a_buyer_with_more_orders_than_a_race_looks_at_once_is_listed_whole(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    let (mut orders, batches) = sale(3, 4_000);
    apply(&store, &batches).await;
    orders.sort_unstable_by_key(|order| std::cmp::Reverse(order.id));
    let filter = OrderFilter { user: Some(user(HEAVY).into()), status: Some(OrderStatus::Refunded), ..OrderFilter::default() };
    let wanted: Vec<Order> = orders.iter().filter(|order| fits(&filter, order)).copied().collect();
    assert!(wanted.len() > 20);
    let listed = async |before, limit| -> Vec<Order> {
        store.orders(&filter, before, limit).await.unwrap().into_iter().map(|named| named.order).collect()
    };
    assert_eq!(listed(None, 1_000).await, wanted);
    let (first, rest) = wanted.split_at(20);
    assert_eq!(listed(None, 20).await, first);
    assert_eq!(listed(first.last().map(|order| order.id), 1_000).await, rest);
}
