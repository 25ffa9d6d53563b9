//! What pages read, on both databases: never more than their rows and a bound for the walk, wherever in the list they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::config;
use crate::domain::{Epoch, OrderId, PartitionId, Timestamp};
use crate::store::{OrderFilter, Store};

#[expect(dead_code, reason = "the other tests use more of it")]
#[path = "../../../tests/it/support/database.rs"]
mod database;

pub(in crate::store) use database::{Backend, TestDatabase};

pub(in crate::store) const ROWS: u64 = 30_000;
const ROWS_A_RUN: u64 = 10_000;
const NEWEST_RUN: i32 = 3;
const LIMIT: u64 = 50;
/// Has every third order.
const HEAVY: i64 = 1;

fn id(number: u64) -> OrderId {
    let at = Timestamp::from_millis(1_795_600_000_000 + number as i64 / 10).expect("a time");
    OrderId::new(at, PartitionId::new(3).expect("an index"), Epoch::new(1).expect("an epoch"), number)
}

fn row(number: u64) -> String {
    let user = if number.is_multiple_of(3) { HEAVY } else { number as i64 % 500 + 2 };
    let (commodity, run) = (number % 2 + 1, number / ROWS_A_RUN + 1);
    // Confirmed for the most part; the rarest is one in a thousand.
    let status = match number % 1_000 {
        0 => 6,
        1..300 => 4,
        _ => 1,
    };
    format!("(X'{}', {commodity}, {user}, 1, 100, 'EUR', {status}, NULL, NULL, 1, 1, {run})", id(number).uuid().simple())
}

/// Rows on one connection for readers, so that what it counts is of one page.
pub(in crate::store) async fn filled(backend: Backend) -> (TestDatabase, Store) {
    let database = TestDatabase::migrated(backend).await;
    let settings = config::Database { url: None, connections_max: 1, loads_max: 1, acquire_timeout_ms: 10_000 };
    let store = Store::connect(database.url(), &settings).await.expect("it is migrated");
    let writer = &store.inner.connections.writer;
    for chunk in (0..ROWS).collect::<Vec<_>>().chunks(1_000) {
        let rows: Vec<String> = chunk.iter().map(|number| row(*number)).collect();
        let sql = format!(
            "INSERT INTO orders (id, commodity_id, user_id, quantity, unit_price, currency, status, pay_by, idempotency_key, fingerprint, \
             changed_at, run) VALUES {}",
            rows.join(",")
        );
        writer.execute_unprepared(&sql).await.expect("the rows are good");
    }
    writer.execute_unprepared("UPDATE meta SET order_run = 16").await.expect("it is there");
    (database, store)
}

fn walks() -> [Walk; 8] {
    let commodity = CommodityId::new(2).expect("an id");
    [
        Walk::All,
        Walk::Status(OrderStatus::Confirmed),
        Walk::Status(OrderStatus::Refunded),
        Walk::Commodity(commodity),
        Walk::CommodityStatus(commodity, OrderStatus::Confirmed),
        Walk::CommodityStatus(commodity, OrderStatus::Refunded),
        Walk::User(UserId::new(HEAVY).expect("an id"), NEWEST_RUN),
        Walk::User(UserId::new(77).expect("an id"), NEWEST_RUN),
    ]
}

/// The first page, one in the middle, the last.
fn places() -> [Ids; 3] {
    [u64::MAX, ROWS / 2, LIMIT * 2].map(|number| {
        let until = if number == u64::MAX { Uuid::max() } else { id(number).uuid() };
        Ids { from: Uuid::nil(), until }
    })
}

/// Counts what the one connection of the readers reads from now on.
pub(in crate::store) enum Meter {
    Rows,
    Steps(Arc<AtomicU64>),
}

impl Meter {
    pub(in crate::store) async fn of(store: &Store) -> Self {
        if store.backend() == DbBackend::MySql {
            return Self::Rows;
        }
        let steps = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&steps);
        let mut connection = store.reader().connections().get_sqlite_connection_pool().acquire().await.expect("it is free");
        let counting = move || {
            count.fetch_add(1, Ordering::Relaxed);
            true
        };
        connection.lock_handle().await.expect("it is open").set_progress_handler(1, counting);
        Self::Steps(steps)
    }

    pub(in crate::store) async fn reset(&self, store: &Store) {
        match self {
            Self::Rows => drop(store.reader().execute_unprepared("FLUSH STATUS").await.expect("it may")),
            Self::Steps(steps) => steps.store(0, Ordering::Relaxed),
        }
    }

    /// Rows and entries of indexes; or steps of SQLite's machine, of which a row takes some 30.
    pub(in crate::store) async fn read(&self, store: &Store) -> u64 {
        if let Self::Steps(steps) = self {
            return steps.load(Ordering::Relaxed) / 30;
        }
        let counters = Statement::from_string(DbBackend::MySql, "SHOW SESSION STATUS LIKE 'Handler_read%'");
        let rows = store.reader().query_all_raw(counters).await.expect("it answers");
        let count = |row: &QueryResult| row.try_get_by_index::<String>(1).expect("a text").parse::<u64>().expect("a number");
        rows.iter().map(count).sum()
    }
}

async fn no_page_reads_more_than_it_has(backend: Backend) {
    let (_database, store) = filled(backend).await;
    let meter = Meter::of(&store).await;
    for walk in walks() {
        // What each lane reads of its index, what is merged of that, and the rows.
        let lanes = match walk {
            Walk::All | Walk::Status(_) | Walk::CommodityStatus(..) => 1,
            Walk::Commodity(_) => OrderStatus::ALL.len() as u64,
            Walk::User(..) => RUNS_FIRST as u64,
        };
        let bound = 3 * (lanes + 1) * (LIMIT + 1) + 100;
        for ids in places() {
            meter.reset(&store).await;
            walk.page(store.reader(), ids, Sieve::default(), LIMIT).await.expect("it is there");
            let read = meter.read(&store).await;
            assert!(read <= bound, "{walk:?} before {}: {read} read for {LIMIT} rows, {bound} are plenty", ids.until);
        }
    }
    // A race ends with the shorter list, whichever that is.
    for (user, status, shorter) in [(HEAVY, OrderStatus::Refunded, ROWS / 1_000), (77, OrderStatus::Confirmed, ROWS / 500)] {
        let filter = OrderFilter { user: Some(UserId::new(user).expect("an id")), status: Some(status), ..OrderFilter::default() };
        meter.reset(&store).await;
        store.orders(&filter, None, 1_000).await.expect("it is there");
        let (read, bound) = (meter.read(&store).await, 30 * (256 + shorter));
        assert!(read <= bound, "{filter:?}: {read} read, {bound} are plenty");
    }
    store.close().await.expect("nothing is under way");
}

#[tokio::test]
async fn no_page_of_sqlite_reads_more_than_it_has() {
    no_page_reads_more_than_it_has(Backend::Sqlite).await;
}

#[tokio::test]
async fn no_page_of_mysql_reads_more_than_it_has() {
    no_page_reads_more_than_it_has(Backend::Mysql).await;
}

#[tokio::test]
async fn sqlite_plans_each_page_as_a_search() {
    let (_database, store) = filled(Backend::Sqlite).await;
    for statement in statements(DbBackend::Sqlite) {
        let plan = explain(&store, "EXPLAIN QUERY PLAN", &statement, 3).await;
        let of_the_table: Vec<&String> = plan.iter().filter(|line| line.split(' ').nth(1) == Some("o")).collect();
        assert!(!of_the_table.is_empty() && of_the_table.iter().all(|line| line.starts_with("SEARCH o USING")), "{plan:#?}");
    }
}

#[tokio::test]
async fn mysql_plans_each_page_as_a_range_and_sorts_no_table() {
    let (_database, store) = filled(Backend::Mysql).await;
    for statement in statements(DbBackend::MySql) {
        // The columns are id, select_type, table, type, ...; MySQL has the partitions between.
        let sql = format!("EXPLAIN {}", statement.sql);
        let plan = Statement { sql, ..statement.clone() };
        for row in store.reader().query_all_raw(plan).await.expect("it can be explained") {
            let column = |name: &str| row.try_get::<Option<String>>("", name).expect("it is a column").unwrap_or_default();
            if column("table") == "o" {
                assert!(matches!(column("type").as_str(), "range" | "eq_ref"), "{}: {}", column("type"), statement.sql);
                assert!(!column("Extra").contains("filesort"), "{}: {}", column("Extra"), statement.sql);
            }
        }
    }
}

/// The statements of all pages.
fn statements(backend: DbBackend) -> Vec<Statement> {
    let mut statements = Vec::new();
    for walk in walks() {
        for ids in places() {
            statements.extend(walk.lanes(backend).into_iter().map(|lanes| lanes.page(ids, Sieve::default(), LIMIT)));
            statements.extend(walk.lanes(backend).into_iter().map(|lanes| lanes.edge(ids, LIMIT)));
        }
    }
    statements
}

async fn explain(store: &Store, word: &str, statement: &Statement, column: usize) -> Vec<String> {
    let sql = format!("{word} {}", statement.sql);
    let plan = Statement { sql, ..statement.clone() };
    let rows = store.reader().query_all_raw(plan).await.expect("it can be explained");
    rows.iter().map(|row| row.try_get_by_index(column).expect("a text")).collect()
}
