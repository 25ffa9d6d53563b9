//! The store on both families of databases.

use std::time::Duration;

use doorbuster::domain::{OrderStatus, Partitions};
use doorbuster::engine::KnownCommodity;
use doorbuster::event::Batch;
use doorbuster::projection;
use doorbuster::store::{Load, OrderFilter, Role, Store, StoreError};
use rstest::rstest;
use sea_orm::sqlx::mysql::MySqlConnection;
use sea_orm::sqlx::{AssertSqlSafe, Connection, Executor};
use sha1::{Digest, Sha1};

use crate::support::database::settings;
use crate::support::history::History;
use crate::support::{Backend, TestDatabase, at, commodity, load, named, partition, position, sorted, user};

async fn connect_error(url: &str) -> String {
    let error = Store::connect(url, &settings()).await.expect_err("it cannot be connected to").to_string();
    assert!(!error.contains('\n') && !error.contains("hunter2"), "one line, no password: {error}");
    error
}

async fn apply(store: &Store, batches: &[Batch]) {
    let report = projection::apply(store, batches).await.expect("the database is there");
    assert_eq!((report.stops.len(), report.count(projection::Outcome::Applied)), (0, batches.len()), "{report:?}");
}

#[rstest]
#[case("postgres://localhost/x", "unknown scheme")]
#[case("somewhere", "it must begin with")]
#[case("sqlite:", "path of a file")]
#[case("sqlite::memory:", "memory is not durable")]
#[case("sqlite:/nowhere/at/all.db", "doorbuster migrate")]
#[case("mysql://root@127.0.0.1:3306", "name of a database")]
#[case("mysql://root:hunter2@127.0.0.1:1/doorbuster", "cannot connect to the database server at 127.0.0.1:1")]
#[tokio::test]
async fn a_url_that_leads_nowhere_is_explained_in_one_line(#[case] url: &str, #[case] part: &str) {
    let error = connect_error(url).await;
    assert!(error.contains(part), "{error}");
}

#[tokio::test]
async fn a_database_the_server_does_not_have_is_named() {
    let database = TestDatabase::empty(Backend::Mysql).await;
    let error = connect_error(&format!("{}_not", database.url())).await;
    assert!(error.contains("has no database") && error.contains("CREATE DATABASE"), "{error}");
}

#[tokio::test]
async fn a_sqlite_file_is_made_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let database = TestDatabase::migrated(Backend::Sqlite).await;
    let path = database.url().strip_prefix("sqlite:").unwrap();
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letter.txt");
    std::fs::write(&path, "Dear reader, this is no database, however long one looks at it.").unwrap();
    let url = format!("sqlite:{}", path.display());
    assert!(connect_error(&url).await.contains("file is not a database"));
    let error = Store::migrate(&url, &settings(), Partitions::DEFAULT).await.unwrap_err();
    assert!(matches!(error, StoreError::Connect(_)), "{error}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("Dear reader"));
    let nowhere = format!("sqlite:{}/no/folder/x.db", folder.path().display());
    let error = Store::migrate(&nowhere, &settings(), Partitions::DEFAULT).await.unwrap_err().to_string();
    assert!(error.contains("cannot create") && error.contains("No such file or directory"), "{error}");
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn a_schema_that_is_missing_unfinished_or_newer_says_what_to_do(#[case] backend: Backend) {
    let database = TestDatabase::empty(backend).await;
    if backend == Backend::Mysql {
        assert!(connect_error(database.url()).await.contains("run `doorbuster migrate`"));
    }
    assert_eq!(Store::migrate(database.url(), &settings(), Partitions::new(8).unwrap()).await.unwrap(), 15);
    assert_eq!(Store::migrate(database.url(), &settings(), Partitions::DEFAULT).await.unwrap(), 0);
    let store = database.store().await;
    assert_eq!(store.partitions().get(), 8, "a schema keeps the partitions it was made with");
    assert_eq!(store.partition_rows().await.unwrap().len(), 8);
    store.check_schema().await.unwrap();

    database.execute("DELETE FROM meta").await;
    assert!(connect_error(database.url()).await.contains("run it again"));
    database.execute("DELETE FROM seaql_migrations").await;
    assert!(connect_error(database.url()).await.contains("run `doorbuster migrate`"));
    database.execute("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m29990101_000001_beyond', 0)").await;
    assert!(connect_error(database.url()).await.contains("newer release"));
    let error = Store::migrate(database.url(), &settings(), Partitions::DEFAULT).await.unwrap_err();
    assert!(matches!(error, StoreError::Schema(_)), "{error}");
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn commodity_ids_are_given_once_even_to_many_at_a_time(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    let ids = futures_util::future::try_join_all((0..20).map(|_| store.next_commodity_id())).await.unwrap();
    let distinct: std::collections::BTreeSet<i64> = ids.iter().map(|id| id.get()).collect();
    assert_eq!(distinct, (1..=20).collect());
    let first_of_three = store.next_commodity_ids(3).await.unwrap();
    assert_eq!((first_of_three.get(), store.next_commodity_id().await.unwrap().get()), (21, 24));
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn a_claim_begins_the_next_epoch_and_names_the_owner(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    assert_eq!(store.claim_epoch(partition(3), "node-1").await.unwrap().get(), 1);
    assert_eq!(store.claim_epoch(partition(3), "node-2").await.unwrap().get(), 2);
    let row = store.partition_rows().await.unwrap().swap_remove(3);
    assert_eq!((row.id, row.owner.as_deref(), row.epoch.get()), (partition(3), Some("node-2"), 2));
    assert_eq!(store.applied(partition(3)).await.unwrap(), position(0, 0));
    assert!(store.claim_epoch(partition(16), "node-1").await.is_err(), "the schema has 16 partitions");
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn account_names_are_unique_without_regard_to_case_and_nothing_else(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    let ann = store.create_account("Ärne", "hash", Role::Buyer, at(0)).await.unwrap().unwrap();
    assert_eq!(store.create_account("äRNE", "other", Role::Buyer, at(1)).await.unwrap(), None);
    let other = store.create_account("arne", "other", Role::Admin, at(2)).await.unwrap().unwrap();
    assert_eq!(store.account_by_name("ÄRNE").await.unwrap(), Some(ann.clone()));
    assert_eq!(store.account(other.id).await.unwrap(), Some(other.clone()));
    assert_eq!(store.accounts(None, 10).await.unwrap(), [ann.clone(), other.clone()]);
    assert_eq!(store.accounts(Some(ann.id), 10).await.unwrap(), [other]);
    let changed = store.change_account(ann.id, Some(Role::Admin), at(2)).await.unwrap().unwrap().0;
    assert_eq!((changed.role, changed.password_hash.as_str()), (Role::Admin, "hash"));
    assert_eq!(store.change_account(user(999), Some(Role::Admin), at(2)).await.unwrap(), None);
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn orders_are_listed_newest_first_by_any_filter(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    let mut history = History::begin(partition(3), position(1, 0).0);
    history.list(1, 100).list(2, 100);
    for number in 0..10 {
        // Each choice of the clock's kind moves the time on; here every order has a millisecond of its own.
        history.choose(0x1000_00FF);
        history.place(number % 2, number as i64 % 3 + 1, 1, OrderStatus::Reserved, None);
    }
    history.move_to(4, OrderStatus::Cancelled);
    let orders = history.orders().to_vec();
    apply(&store, &history.batches()).await;

    let of =
        |wanted: &dyn Fn(usize) -> bool| orders.iter().enumerate().rev().filter(|(n, _)| wanted(*n)).map(|(_, o)| *o).collect::<Vec<_>>();
    let find = async |filter: OrderFilter, before, limit| {
        store.orders(&filter, before, limit).await.unwrap().iter().map(|named| named.order).collect::<Vec<_>>()
    };
    assert_eq!(find(OrderFilter::default(), None, 100).await, of(&|_| true));
    assert_eq!(find(OrderFilter::default(), Some(orders[4].id), 2).await, of(&|n| n == 3 || n == 2));
    assert_eq!(find(OrderFilter { commodity: Some(commodity(1)), ..Default::default() }, None, 100).await, of(&|n| n % 2 == 0));
    assert_eq!(find(OrderFilter { user: Some(user(2).into()), ..Default::default() }, None, 100).await, of(&|n| n % 3 == 1));
    assert_eq!(find(OrderFilter { status: Some(OrderStatus::Cancelled), ..Default::default() }, None, 100).await, of(&|n| n == 4));
    let window =
        OrderFilter { placed_from: Some(orders[2].id.placed_at()), placed_until: Some(orders[5].id.placed_at()), ..Default::default() };
    assert_eq!(find(window.clone(), None, 100).await, of(&|n| (2..5).contains(&n)));
    assert_eq!(find(window, Some(orders[4].id), 100).await, of(&|n| (2..4).contains(&n)));
    assert_eq!(store.order(orders[4].id).await.unwrap(), Some(named(orders[4])));
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn a_snapshot_has_what_the_engine_must_know_and_no_more(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    let mut history = History::begin(partition(3), position(1, 0).0);
    history.list(1, 100).list(2, 0);
    history.place(0, 1, 1, OrderStatus::Reserved, None);
    history.place(0, 2, 2, OrderStatus::Confirmed, Some("a"));
    history.place(0, 3, 1, OrderStatus::Reserved, Some("b"));
    history.place(0, 4, 1, OrderStatus::Reserved, None);
    history.place(0, 5, 1, OrderStatus::Reserved, None);
    history.move_to(2, OrderStatus::Cancelled);
    history.move_to(3, OrderStatus::Expired);
    history.move_to(4, OrderStatus::Expired);
    history.move_to(4, OrderStatus::RefundDue);
    let orders = history.orders().to_vec();
    apply(&store, &history.batches()).await;
    let mut elsewhere = History::begin(partition(4), position(1, 0).0);
    elsewhere.list(3, 5).place(0, 1, 1, OrderStatus::Confirmed, None);
    apply(&store, &elsewhere.batches()).await;

    let snapshot = sorted(store.snapshot(partition(3), load()).await.unwrap());
    let [lamp, other] = &snapshot.commodities[..] else { panic!("two commodities: {snapshot:?}") };
    let stock = |known: &KnownCommodity| (known.commodity.id.get(), known.commodity.stock.held.get(), known.commodity.stock.sold.get());
    assert_eq!((stock(lamp), stock(other)), ((1, 1, 2), (2, 0, 0)));
    assert_eq!(lamp.orders.iter().map(|known| known.order).collect::<Vec<_>>(), [orders[0], orders[4]]);
    assert_eq!(lamp.buyers.iter().map(|buyer| (buyer.user, buyer.units)).collect::<Vec<_>>(), [(user(1).into(), 1), (user(2).into(), 2)]);
    let keys: Vec<_> = lamp.keys.iter().map(|key| (key.order, key.ended_at.is_some())).collect();
    assert_eq!(keys, [(orders[1].id, false), (orders[2].id, true)]);
    assert!(other.buyers.is_empty() && other.orders.is_empty());
    assert_eq!(store.snapshot(partition(5), load()).await.unwrap(), doorbuster::engine::Snapshot::default());

    let with_live_orders = Load { with_live_orders: true, ..load() };
    let snapshot = sorted(store.snapshot(partition(3), with_live_orders).await.unwrap());
    assert_eq!(snapshot.commodities[0].orders.len(), 3, "an older release knows every live order");
    let a_day_later = Load { now: load().now.plus_millis(25 * 3_600_000), ..load() };
    let snapshot = store.snapshot(partition(3), a_day_later).await.unwrap();
    assert_eq!(snapshot.commodities.iter().map(|known| known.keys.len()).sum::<usize>(), 1, "that of the order that ended is free");
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn the_audit_compares_the_counters_with_the_order_rows(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    let mut history = History::begin(partition(3), position(1, 0).0);
    history.list(1, 100).list(2, 7);
    history.place(0, 1, 4, OrderStatus::Reserved, None);
    history.place(0, 1, 3, OrderStatus::Confirmed, None);
    history.place(0, 2, 2, OrderStatus::Reserved, None);
    history.move_to(2, OrderStatus::Expired);
    apply(&store, &history.batches()).await;

    let rows = store.audit().await.unwrap();
    assert_eq!(rows.len(), 2);
    let row = &rows[0];
    assert_eq!((row.total, row.available, row.held, row.sold), (100, 93, 4, 3));
    assert_eq!((row.held_by_orders, row.sold_by_orders, row.live_orders, row.buyers_over_limit), (4, 3, 2, 1));
    assert!(rows.iter().all(|row| row.balanced));

    database.execute("UPDATE commodities SET available = available - 1, held = held + 1 WHERE id = 1").await;
    database.execute("UPDATE orders SET commodity_id = 9 WHERE status = 4").await;
    let rows = store.audit().await.unwrap();
    let faults: Vec<_> = rows.iter().filter(|row| !row.balanced).map(|row| row.commodity_id.get()).collect();
    assert_eq!(faults, [1, 9]);
}

#[tokio::test]
async fn of_several_that_migrate_a_fresh_database_at_once_one_does_and_all_end_well() {
    let database = TestDatabase::empty(Backend::Mysql).await;
    let migrate = || async {
        let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_doorbuster"));
        program.arg("migrate").env("DATABASE_URL", database.url()).output().await.expect("the program runs")
    };
    let outputs = futures_util::future::join_all((0..4).map(|_| migrate())).await;
    let said = |output: &std::process::Output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let (current, migrated): (Vec<String>, Vec<String>) = outputs.iter().map(said).partition(|said| said == "the schema was up to date");
    assert_eq!((current.len(), migrated.len()), (3, 1), "{migrated:?}");
    database.store().await.check_schema().await.expect("a whole schema");
}

#[tokio::test]
async fn whoever_cannot_have_the_schema_for_itself_says_so_and_changes_nothing() {
    let database = TestDatabase::empty(Backend::Mysql).await;
    let migrate = async || Store::migrate_within(Duration::ZERO, database.url(), &settings(), Partitions::DEFAULT).await;
    let mut somebody = MySqlConnection::connect(database.url()).await.expect("the server is there");
    // The name that it has in every release.
    let name = database.url().rsplit('/').next().expect("a name").to_lowercase();
    let hash: String = Sha1::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let lock = async |somebody: &mut MySqlConnection, what: &str| {
        let sql = format!("DO {what}");
        somebody.execute(AssertSqlSafe(sql.replace("NAME", &format!("'doorbuster.migrate.{hash}'")))).await.map(drop)
    };
    lock(&mut somebody, "GET_LOCK(NAME, 0)").await.expect("it is free");
    let refusal = migrate().await.expect_err("somebody else has it").to_string();
    assert!(refusal.starts_with("somebody else is changing the schema") && !refusal.contains('\n'), "{refusal}");
    assert!(matches!(Store::connect(database.url(), &settings()).await, Err(StoreError::Schema(_))), "nothing is made");
    lock(&mut somebody, "RELEASE_LOCK(NAME)").await.expect("it was had");
    assert_ne!(migrate().await.expect("it is free"), 0);
    // It was given back, and not only when its connection has gone.
    assert_eq!(migrate().await.expect("it is free again"), 0);
}

/// A minute ahead, a minute behind, and then right again. An answer that takes too long says nothing, and is asked for anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_far_from_the_databases_is_told() {
    let database = TestDatabase::migrated(Backend::Mysql).await;
    let (store, drift) = (database.store().await, doorbuster::drift::Drift::default());
    while drift.beyond().is_none() {
        drift.look(&store, || doorbuster::clock::system().plus_millis(60_000)).await;
    }
    // As long as the answer took, it may seem less.
    assert!(drift.beyond().is_some_and(|ahead| (50_000..=60_000).contains(&ahead)), "{drift:?}");
    assert!(drift.warning().is_some_and(|warning| warning.contains("ahead of the database's")));
    while drift.beyond().is_none_or(|ahead| ahead > 0) {
        drift.look(&store, || doorbuster::clock::system().minus_millis(60_000)).await;
    }
    assert!(drift.warning().is_some_and(|warning| warning.contains("behind the database's")), "{drift:?}");
    // Both are on one machine.
    while drift.warning().is_some() {
        drift.look(&store, doorbuster::clock::system).await;
    }
    let file = TestDatabase::migrated(Backend::Sqlite).await;
    assert_eq!(file.store().await.time().await.expect("it answers"), None);
}
