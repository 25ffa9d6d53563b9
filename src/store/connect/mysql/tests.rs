//! Servers that are not as they come, each of them the test's own.

use sea_orm::{ConnectionTrait, Statement};

use super::*;
use crate::domain::{PartitionId, Partitions, Timestamp};
use crate::store::pool::Pool;
use crate::store::walk::tests::{Backend, TestDatabase};
use crate::store::{AuditScope, Load, Role, Store};

#[path = "../../../../tests/it/support/server.rs"]
mod server;

use server::DatabaseServer;

const SETTINGS: config::Database = config::Database { url: None, connections_max: 2, loads_max: 1, acquire_timeout_ms: 10_000 };

/// Everything that somebody might have set for all sessions of a server, for whatever reason.
const UNUSUAL: &str = "SET GLOBAL autocommit = 0, completion_type = 'CHAIN', sql_mode = 'ANSI', tx_isolation = 'SERIALIZABLE', tx_read_only = 1, \
     foreign_key_checks = 0, unique_checks = 0, check_constraint_checks = 0, default_storage_engine = 'MyISAM', sql_safe_updates = 1, \
     sql_select_limit = 3, max_join_size = 1, sql_auto_is_null = 1, max_statement_time = 3, idle_transaction_timeout = 3, \
     idle_readonly_transaction_timeout = 3, idle_write_transaction_timeout = 3, innodb_lock_wait_timeout = 1, wait_timeout = 3, \
     time_zone = '-05:00', character_set_server = 'latin1', collation_server = 'latin1_swedish_ci'";

/// What they are for us.
const OURS: [(&str, &str); 23] = [
    ("autocommit", "ON"),
    ("completion_type", "NO_CHAIN"),
    ("sql_mode", "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"),
    ("tx_isolation", "READ-COMMITTED"),
    ("tx_read_only", "OFF"),
    ("foreign_key_checks", "ON"),
    ("unique_checks", "ON"),
    ("check_constraint_checks", "ON"),
    ("default_storage_engine", "InnoDB"),
    ("sql_safe_updates", "OFF"),
    ("sql_select_limit", "18446744073709551615"),
    ("sql_big_selects", "ON"),
    ("sql_auto_is_null", "OFF"),
    ("max_statement_time", "0.000000"),
    ("idle_transaction_timeout", "0"),
    ("idle_readonly_transaction_timeout", "0"),
    ("idle_write_transaction_timeout", "0"),
    ("innodb_lock_wait_timeout", "50"),
    ("wait_timeout", "28800"),
    ("time_zone", "+00:00"),
    ("character_set_client", "utf8mb4"),
    ("character_set_connection", "utf8mb4"),
    ("collation_connection", "utf8mb4_bin"),
];

async fn text(connection: &impl ConnectionTrait, sql: &str) -> String {
    let row = connection.query_one_raw(Statement::from_string(DbBackend::MySql, sql)).await;
    row.unwrap_or_else(|error| panic!("{sql}: {error}")).expect("a row").try_get_by_index(0).expect("a text")
}

async fn settings_are_ours(pool: &Pool) {
    for (name, value) in OURS {
        assert_eq!(text(pool, &format!("SELECT CAST(@@SESSION.{name} AS CHAR)")).await, value, "{name}");
    }
}

#[tokio::test]
async fn what_a_session_needs_is_ours_whatever_the_server_would_give_it() {
    let Some(server) = DatabaseServer::start(&[]).await else { return };
    server.execute(UNUSUAL).await;
    Store::migrate(&server.url(), &SETTINGS, Partitions::DEFAULT).await.expect("it can be migrated");
    let store = Store::connect(&server.url(), &SETTINGS).await.expect("it is as it must be");
    settings_are_ours(store.reader()).await;
    settings_are_ours(&store.inner.connections.loader).await;

    let (now, partition) = (Timestamp::from_millis(1_795_600_000_000).expect("a time"), PartitionId::new(3).expect("an index"));
    let account = store.create_account("somebody", "hash", Role::Buyer, now).await.expect("it can be written");
    store.claim_epoch(partition, "node-1").await.expect("it can be claimed");
    store.snapshot(partition, Load { now, with_live_orders: false }).await.expect("it loads");
    let other = Store::connect(&server.url(), &SETTINGS).await.expect("it is as it must be");
    assert_eq!(other.account_by_name("somebody").await.expect("it answers"), account, "what one wrote another sees");
    assert_eq!(other.partition_rows().await.expect("it answers").len(), 16, "all rows are read");
    assert_eq!(other.epochs(partition).await.expect("it answers").claimed.get(), 1, "what one claimed another sees");
    assert!(other.audit_of(AuditScope::All).await.expect("it can be audited").is_balanced());
}

#[tokio::test]
async fn the_lock_for_the_schema_has_the_name_that_the_release_before_gave_it() {
    let database = TestDatabase::empty(Backend::Mysql).await;
    let mut connection = MySqlConnection::connect(database.url()).await.expect("the server is there");
    let by_server = "SELECT CONCAT('doorbuster.migrate.', SHA1(LOWER(DATABASE())))";
    let Ok(by_server) = sqlx::query_scalar::<_, String>(by_server).fetch_one(&mut connection).await else {
        // A server without the function has no process of that release either.
        return;
    };
    assert_eq!(lock_name(&mut connection).await.expect("it answers"), by_server);
}

#[test]
fn the_name_is_pinned() {
    assert_eq!(name_of("doorbuster"), "doorbuster.migrate.fbcce4dfec787d12e453b268a3b289b3bb1abb2f");
}

#[tokio::test]
async fn a_server_that_will_not_do_is_told_in_one_line() {
    let Some(mut server) = DatabaseServer::start(&["--log-bin", "--binlog-format=ROW"]).await else { return };
    let refusal = async |server: &DatabaseServer| {
        let connect = Store::connect(&server.url(), &SETTINGS).await.expect_err("it will not do").to_string();
        let migrate = Store::migrate(&server.url(), &SETTINGS, Partitions::DEFAULT).await.expect_err("it will not do").to_string();
        assert!(connect == migrate && !connect.contains('\n'), "{connect} / {migrate}");
        connect
    };
    server.execute("SET GLOBAL read_only = 1").await;
    let said = refusal(&server).await;
    assert!(said.contains("takes no writes") && said.contains("--read-only"), "before there are tables: {said}");
    server.execute("SET GLOBAL read_only = 0").await;
    server.execute("SET GLOBAL binlog_format = 'STATEMENT'").await;
    let said = refusal(&server).await;
    assert!(said.contains("SET GLOBAL binlog_format = 'ROW'"), "{said}");
    server.execute("SET GLOBAL binlog_format = 'ROW'").await;

    Store::migrate(&server.url(), &SETTINGS, Partitions::DEFAULT).await.expect("it does now");
    server.execute("SET GLOBAL read_only = 1").await;
    assert!(refusal(&server).await.contains("takes no writes"));
    server.execute("SET GLOBAL read_only = 0").await;
    server.execute("ALTER TABLE doorbuster.users ENGINE = MyISAM").await;
    let said = Store::connect(&server.url(), &SETTINGS).await.expect_err("it cannot roll back").to_string();
    assert!(said.contains("the table users") && said.contains("ENGINE = InnoDB"), "{said}");
    server.execute("ALTER TABLE doorbuster.users ENGINE = InnoDB").await;
    Store::connect(&server.url(), &SETTINGS).await.expect("it does again");

    server.restart(&["--innodb-read-only"]).await;
    assert!(refusal(&server).await.contains("innodb_read_only"));
}

/// Connections that somebody else has taken, all there are.
async fn taken(server: &DatabaseServer) -> Vec<MySqlConnection> {
    let mut taken = Vec::new();
    loop {
        match MySqlConnection::connect(&server.url()).await {
            Ok(connection) => taken.push(connection),
            Err(error) if is_full(&error) => return taken,
            Err(error) => panic!("it gives connections until there are none: {error}"),
        }
    }
}

#[tokio::test]
async fn a_server_without_a_connection_left_is_waited_for_as_long_as_a_connection_is() {
    let Some(server) = DatabaseServer::start(&["--max-connections=12"]).await else { return };
    Store::migrate(&server.url(), &SETTINGS, Partitions::DEFAULT).await.expect("it can be migrated");
    let store = Store::connect(&server.url(), &config::Database { connections_max: 6, ..SETTINGS }).await.expect("there are some left");
    let mut others = taken(&server).await;
    let lists = (0..40).map(|_| store.partition_rows());
    let (lists, ()) = tokio::join!(futures_util::future::join_all(lists), async {
        // They are refused by now, as often as they ask.
        while server.number("SHOW GLOBAL STATUS LIKE 'Connection_errors_max_connections'").await < 20 {
            tokio::task::yield_now().await;
        }
        others.truncate(others.len() - 2);
    });
    assert!(lists.iter().all(Result::is_ok), "{lists:?}");

    store.close().await.expect("nothing is under way");
    let short = config::Database { acquire_timeout_ms: 300, ..SETTINGS };
    // The server takes its time to end those that were closed just now.
    let said = loop {
        others.append(&mut taken(&server).await);
        match Store::connect(&server.url(), &short).await {
            Ok(store) => store.close().await.expect("nothing is under way"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(said.contains("has no connection left") || said.contains("does not answer within"), "{said}");
}
