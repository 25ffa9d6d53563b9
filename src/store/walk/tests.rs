//! What pages read, on both databases: never more than their rows and a bound for the walk, wherever in the list they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::config;
use crate::domain::{Epoch, OrderId, PartitionId, Timestamp, UserId};
use crate::store::statements::PLAIN_ORDER_COLUMNS;
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

pub(in crate::store) fn id(number: u64) -> OrderId {
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
    format!("(X'{}', {commodity}, {user}, 1, 100, 'EUR', {status}, NULL, NULL, 1, 1, {run}, 0, NULL)", id(number).uuid().simple())
}

/// Rows on one connection for readers, so that what it counts is of one page.
pub(in crate::store) async fn filled(backend: Backend) -> (TestDatabase, Store) {
    filled_in(backend, |_| &ORDERS).await
}

/// The same, but of two neighbours one is archived: every page has rows of both tables.
async fn half_archived(backend: Backend) -> (TestDatabase, Store) {
    filled_in(backend, |number| if number % 4 < 2 { &ORDERS } else { &ARCHIVED }).await
}

async fn filled_in(backend: Backend, table_of: fn(u64) -> &'static Table) -> (TestDatabase, Store) {
    let database = TestDatabase::migrated(backend).await;
    let settings = config::Database { url: None, connections_max: 1, loads_max: 1, acquire_timeout_ms: 10_000 };
    let store = Store::connect(database.url(), &settings).await.expect("it is migrated");
    let writer = &store.inner.connections.writer;
    for table in [&ORDERS, &ARCHIVED] {
        let numbers: Vec<u64> = (0..ROWS).filter(|number| table_of(*number) == table).collect();
        for chunk in numbers.chunks(1_000) {
            let (name, rows) = (table.name, chunk.iter().map(|number| row(*number)).collect::<Vec<_>>().join(","));
            let sql = format!("INSERT INTO {name} ({PLAIN_ORDER_COLUMNS}) VALUES {rows}");
            writer.execute_unprepared(&sql).await.expect("the rows are good");
        }
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
        Walk::User(UserId::new(HEAVY).expect("an id").into(), NEWEST_RUN),
        Walk::User(UserId::new(77).expect("an id").into(), NEWEST_RUN),
    ]
}

/// The first page, one in the middle, the last.
fn places() -> [Ids; 3] {
    [u64::MAX, ROWS / 2, LIMIT * 2].map(|number| {
        let until = if number == u64::MAX { Uuid::max() } else { id(number).uuid() };
        Ids { from: Uuid::nil(), until }
    })
}

/// Counts what the one connection of the readers, and that of the writer, read from now on.
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
        for connections in [store.reader(), &store.inner.connections.writer] {
            let mut connection = connections.connections().get_sqlite_connection_pool().acquire().await.expect("it is free");
            let count = Arc::clone(&steps);
            let counting = move || {
                count.fetch_add(1, Ordering::Relaxed);
                true
            };
            connection.lock_handle().await.expect("it is open").set_progress_handler(1, counting);
        }
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

async fn no_page_reads_more_than_it_has((_database, store): (TestDatabase, Store)) {
    let meter = Meter::of(&store).await;
    for walk in walks() {
        // What each lane reads of its index, what is merged of that, and the rows; in both tables.
        let lanes = match walk {
            Walk::All | Walk::Status(_) | Walk::CommodityStatus(..) => 2,
            Walk::Commodity(_) => (OrderStatus::ALL.len() + MOVED.len()) as u64,
            Walk::User(..) => 2 * RUNS_FIRST as u64,
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
        let filter = OrderFilter { user: Some(UserId::new(user).expect("an id").into()), status: Some(status), ..OrderFilter::default() };
        meter.reset(&store).await;
        store.orders(&filter, None, 1_000).await.expect("it is there");
        let (read, bound) = (meter.read(&store).await, 30 * (256 + shorter));
        assert!(read <= bound, "{filter:?}: {read} read, {bound} are plenty");
    }
    store.close().await.expect("nothing is under way");
}

#[tokio::test]
async fn no_page_of_sqlite_reads_more_than_it_has() {
    no_page_reads_more_than_it_has(filled(Backend::Sqlite).await).await;
    no_page_reads_more_than_it_has(half_archived(Backend::Sqlite).await).await;
}

#[tokio::test]
async fn no_page_of_mysql_reads_more_than_it_has() {
    no_page_reads_more_than_it_has(filled(Backend::Mysql).await).await;
    no_page_reads_more_than_it_has(half_archived(Backend::Mysql).await).await;
}

/// What a buyer or a commodity has is the same wherever it lies.
#[tokio::test]
async fn pages_of_two_tables_are_those_of_one() {
    for backend in [Backend::Sqlite, Backend::Mysql] {
        let ((_one, whole), (_other, halves)) = (filled(backend).await, half_archived(backend).await);
        let mut compared = 0;
        for walk in walks() {
            for ids in places() {
                let [one, two] = [&whole, &halves].map(|store| walk.page(store.reader(), ids, Sieve::default(), LIMIT));
                let (one, two) = (one.await.expect("it is there"), two.await.expect("it is there"));
                assert!(one == two, "{walk:?} before {}", ids.until);
                compared += one.len() as u64;
            }
        }
        assert!(compared > 10 * LIMIT, "{compared} orders were compared");
    }
}

#[tokio::test]
async fn sqlite_plans_each_page_as_a_search() {
    let (_database, store) = half_archived(Backend::Sqlite).await;
    for statement in statements(DbBackend::Sqlite) {
        let plan = explain(&store, "EXPLAIN QUERY PLAN", &statement, 3).await;
        // Both tables are "o", and "a" is the one that is archived where the rows are fetched.
        let of_the_tables: Vec<&String> = plan.iter().filter(|line| matches!(line.split(' ').nth(1), Some("o" | "a"))).collect();
        assert!(!of_the_tables.is_empty() && of_the_tables.iter().all(|line| line.starts_with("SEARCH ")), "{plan:#?}");
    }
}

#[tokio::test]
async fn mysql_plans_each_page_as_a_range_and_sorts_no_table() {
    let (_database, store) = half_archived(Backend::Mysql).await;
    for statement in statements(DbBackend::MySql) {
        // The columns are id, select_type, table, type, ...; MySQL has the partitions between.
        let sql = format!("EXPLAIN {}", statement.sql);
        let plan = Statement { sql, ..statement.clone() };
        for row in store.reader().query_all_raw(plan).await.expect("it can be explained") {
            let column = |name: &str| row.try_get::<Option<String>>("", name).expect("it is a column").unwrap_or_default();
            if matches!(column("table").as_str(), "o" | "a") {
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
