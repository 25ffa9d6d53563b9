//! A database of the release before: it is widened, keeps its rows, and serves the processes of that release still.

use doorbuster::domain::{OrderStatus, Partitions};
use doorbuster::store::{OrderFilter, Store};
use doorbuster_migrations::Migrator;
use rstest::rstest;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, Statement};
use sea_orm_migration::MigratorTrait;

use crate::support::database::settings;
use crate::support::{Backend, TestDatabase, principal};

/// As the release before writes an order: a list of columns of its own.
const INSERT_ORDER: &str = "INSERT INTO orders (id, commodity_id, user_id, quantity, unit_price, currency, status, pay_by, \
                            idempotency_key, fingerprint, changed_at) VALUES ";

fn order(number: u32) -> String {
    format!("(X'019a00000{number:03x}8000800000000000{number:04x}', 1, 7, 1, 4999, 'EUR', 1, NULL, NULL, 1, 1)")
}

/// The schema of the release before with a commodity and two orders.
async fn of_the_release_before(backend: Backend) -> TestDatabase {
    let database = TestDatabase::empty(backend).await;
    let url = if backend == Backend::Sqlite { format!("{}?mode=rwc", database.url()) } else { database.url().to_owned() };
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    let connection = Database::connect(options).await.expect("it can be made");
    Migrator::up(&connection, None).await.expect("the first steps are whole");
    for sql in [
        "INSERT INTO partitions (id, owner, epoch, applied_epoch, applied_sequence) VALUES (0, 'node-1', 3, 3, 9)",
        "INSERT INTO meta (id, partitions, last_commodity_id) VALUES (1, 1, 1)",
        "INSERT INTO commodities (id, partition_id, name, description, price, currency, starts_at, ends_at, total, available, held, sold, \
         paused, version) VALUES (1, 0, 'Keyboard', '', 4999, 'EUR', 1, 2, 10, 8, 0, 2, 0, 1)",
        &format!("{INSERT_ORDER} {}, {}", order(1), order(2)),
    ] {
        connection.execute_unprepared(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    connection.close().await.expect("nothing is under way");
    database
}

async fn number(database: &TestDatabase, sql: &str) -> i64 {
    let connection = Database::connect(database.url()).await.expect("it is there");
    let row = connection.query_one_raw(Statement::from_string(connection.get_database_backend(), sql)).await.expect("it is SQL");
    row.expect("a row").try_get_by_index(0).expect("a number")
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn a_schema_of_the_release_before_is_widened_and_that_release_works_on(#[case] backend: Backend) {
    let database = of_the_release_before(backend).await;
    let error = Store::connect(database.url(), &settings()).await.expect_err("steps are missing").to_string();
    assert!(error.contains("older release: run `doorbuster migrate`"), "{error}");
    assert_eq!(Store::migrate(database.url(), &settings(), Partitions::DEFAULT).await.unwrap(), 13);
    assert_eq!(Store::migrate(database.url(), &settings(), Partitions::DEFAULT).await.unwrap(), 0);

    // What the release before looks at when it starts.
    assert_eq!(number(&database, "SELECT COUNT(*) FROM seaql_migrations").await, Migrator::migrations().len() as i64);
    assert_eq!(number(&database, "SELECT CAST(log_version AS SIGNED) FROM meta").await, 1, "its log may hold what that release wrote");
    // And what it does: its consumer adds a row, its node enters itself.
    database.execute(&format!("{INSERT_ORDER} {}", order(3))).await;
    database
        .execute("INSERT INTO nodes (id, instance, internal_address, state, started_at, heartbeat_at, broker) VALUES ('n', 1, '127.0.0.1:1', 1, 1, 1, 0)")
        .await;
    assert_eq!(number(&database, "SELECT CAST(log_version AS SIGNED) FROM nodes").await, 1);

    let store = database.store().await;
    let orders = store.orders(&OrderFilter::default(), None, 10).await.unwrap();
    // What that release wrote, before the step and after it, is of accounts of our own.
    assert!(orders.iter().all(|named| (named.order.status, named.buyer()) == (OrderStatus::Confirmed, Some(principal(7)))));
    assert!(orders.len() == 3 && orders.is_sorted_by_key(|named| std::cmp::Reverse(named.order.id)));
    let of_7 = OrderFilter { user: Some(principal(7).key()), ..OrderFilter::default() };
    assert_eq!(store.orders(&of_7, None, 10).await.unwrap(), orders);
    assert_eq!(store.commodities(None, 10, true).await.unwrap().len(), 1);
    assert_eq!(store.epochs(store.partition_rows().await.unwrap()[0].id).await.unwrap().claimed.get(), 3);
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn a_widening_that_was_cut_short_is_finished_by_the_next(#[case] backend: Backend) {
    let database = of_the_release_before(backend).await;
    // As far as a server that lost its power may have come: changed, and not recorded.
    assert_eq!(Store::migrate(database.url(), &settings(), Partitions::DEFAULT).await.unwrap(), 13);
    database.execute("DELETE FROM schema_steps").await;
    database
        .execute(if backend == Backend::Sqlite { "DROP INDEX ix_commodities_sealed" } else { "DROP INDEX ix_orders_status ON orders" })
        .await;
    assert_eq!(Store::migrate(database.url(), &settings(), Partitions::DEFAULT).await.unwrap(), 13);
    let store = database.store().await;
    store.check_schema().await.unwrap();
    assert_eq!(store.orders(&OrderFilter::default(), None, 10).await.unwrap().len(), 2);
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn a_schema_that_the_next_release_has_widened_is_worked_on_until_its_log_holds_what_this_one_cannot_read(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    database.execute("INSERT INTO schema_steps (version, applied_at) VALUES ('m29990101_000001_beyond', 0)").await;
    database.store().await.check_schema().await.unwrap();
    assert_eq!(Store::migrate(database.url(), &settings(), Partitions::DEFAULT).await.unwrap(), 0);
    database.execute("UPDATE meta SET log_version = 6").await;
    let error = Store::connect(database.url(), &settings()).await.expect_err("it cannot read that").to_string();
    assert!(error.contains("version 6, which this release does not know"), "{error}");
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn a_fresh_schema_begins_with_the_form_of_this_release(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    assert_eq!(number(&database, "SELECT CAST(log_version AS SIGNED) FROM meta").await, 5);
    assert_eq!(number(&database, "SELECT CAST(order_run AS SIGNED) FROM meta").await, 1);
}
