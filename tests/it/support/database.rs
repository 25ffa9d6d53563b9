//! A database for one test, gone when the test is over, however it ends.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use doorbuster::config;
use doorbuster::domain::Partitions;
use doorbuster::store::Store;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};

/// The families of databases every test of tables runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A file in a temporary folder.
    Sqlite,
    /// A real server (MariaDB or MySQL), at `DOORBUSTER_TEST_MYSQL_URL` or on this machine.
    Mysql,
}

/// An empty database with its own name.
pub struct TestDatabase {
    url: String,
    remains: Remains,
}

enum Remains {
    Folder(#[expect(dead_code, reason = "dropping it removes the folder")] tempfile::TempDir),
    Schema { server: String, name: String },
}

impl TestDatabase {
    /// A database without a schema.
    pub async fn empty(backend: Backend) -> Self {
        match backend {
            Backend::Sqlite => {
                let folder = tempfile::tempdir().expect("a temporary folder");
                let url = format!("sqlite:{}", folder.path().join("test.db").display());
                Self { url, remains: Remains::Folder(folder) }
            }
            Backend::Mysql => Self::on(server(), "").await,
        }
    }

    /// A database without a schema on some server, with parameters in its URL.
    pub async fn on(server: String, parameters: &str) -> Self {
        let name = unique_name();
        let connection = connect(&server).await;
        execute(&connection, &format!("CREATE DATABASE `{name}` CHARACTER SET utf8mb4")).await;
        Self { url: format!("{server}/{name}{parameters}"), remains: Remains::Schema { server, name } }
    }

    /// A database with the schema of this release and 16 partitions.
    pub async fn migrated(backend: Backend) -> Self {
        let database = Self::empty(backend).await;
        Store::migrate(&database.url, &settings(), Partitions::DEFAULT).await.expect("a fresh database can be migrated");
        database
    }

    /// What `DATABASE_URL` would be.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The store on it.
    pub async fn store(&self) -> Store {
        Store::connect(&self.url, &settings()).await.expect("a migrated database can be connected to")
    }

    /// Runs SQL behind the store's back.
    pub async fn execute(&self, sql: &str) {
        execute(&connect(&self.url).await, sql).await;
    }

    /// Waits until no connection to it is inside a transaction, as its server says. SQLite has nobody to ask.
    pub async fn is_at_rest(&self) {
        let Remains::Schema { name, .. } = &self.remains else { return };
        let connection = connect(&self.url).await;
        let (began, mut pause) = (Instant::now(), tokio::time::interval(Duration::from_millis(20)));
        while has_open_transaction(&connection, name).await {
            assert!(began.elapsed() < Duration::from_secs(20), "a transaction stays open");
            pause.tick().await;
        }
    }

    /// The number that a query comes to.
    pub async fn number(&self, sql: &str) -> i64 {
        let connection = connect(&self.url).await;
        let row = connection.query_one_raw(Statement::from_string(connection.get_database_backend(), sql)).await;
        row.unwrap_or_else(|error| panic!("{sql}: {error}")).expect("a row").try_get_by_index(0).expect("a number")
    }
}

/// Whether a connection to that database is inside a transaction. (`information_schema.innodb_trx` is a copy that is not made anew
/// while somebody reads it every 100 ms, and tests that run beside this one do.)
async fn has_open_transaction(connection: &DatabaseConnection, name: &str) -> bool {
    let rows = async |sql: String| {
        let rows = connection.query_all_raw(Statement::from_string(DbBackend::MySql, sql.as_str())).await;
        rows.unwrap_or_else(|error| panic!("{sql}: {error}"))
    };
    let status: String = rows("SHOW ENGINE INNODB STATUS".into()).await[0].try_get_by_index(2).expect("a text");
    let threads = rows(format!("SELECT CAST(id AS SIGNED) FROM information_schema.processlist WHERE db = '{name}'")).await;
    let threads: Vec<i64> = threads.iter().map(|row| row.try_get_by_index(0).expect("a number")).collect();
    let mut transactions =
        status.split("---TRANSACTION ").skip(1).filter(|text| text.lines().next().is_some_and(|line| line.contains("ACTIVE")));
    transactions.any(|text| threads.iter().any(|thread| text.contains(&format!("thread id {thread},"))))
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Remains::Schema { server, name } = &self.remains {
            let (server, name) = (server.clone(), name.clone());
            // The test's own runtime may be going down with a panic: this needs one of its own, on a thread of its own.
            let dropper = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(drop_schema(&server, &name));
            });
            drop(dropper.join());
        }
    }
}

/// A test that ends in the middle of a transaction leaves locks that the drop would wait for, and its runtime, which
/// stands still meanwhile, cannot let go of them: so the connections go first.
async fn drop_schema(server: &str, name: &str) {
    let connection = connect(server).await;
    let query = format!("SELECT CAST(id AS SIGNED) FROM information_schema.processlist WHERE db = '{name}'");
    let rows = connection.query_all_raw(Statement::from_string(DbBackend::MySql, query)).await.unwrap_or_default();
    for id in rows.iter().filter_map(|row| row.try_get_by_index::<i64>(0).ok()) {
        // One that is gone by now is what is wanted.
        drop(connection.execute_unprepared(&format!("KILL {id}")).await);
    }
    execute(&connection, &format!("DROP DATABASE IF EXISTS `{name}`")).await;
}

/// The store at that URL.
pub async fn store_at(url: &str) -> Store {
    Store::connect(url, &settings()).await.expect("a migrated database can be connected to")
}

/// The settings tests connect with.
pub fn settings() -> config::Database {
    config::Database { url: None, connections_max: 4, loads_max: 2, acquire_timeout_ms: 10_000 }
}

fn server() -> String {
    let url = std::env::var("DOORBUSTER_TEST_MYSQL_URL").unwrap_or_else(|_| "mysql://root@127.0.0.1:3306".into());
    url.trim_end_matches('/').to_owned()
}

fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_nanos();
    format!("doorbuster_test_{}_{nanos}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

async fn connect(url: &str) -> DatabaseConnection {
    let mut options = sea_orm::ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    match Database::connect(options).await {
        Ok(connection) => connection,
        Err(error) => panic!("no database at {url}: start MariaDB or set DOORBUSTER_TEST_MYSQL_URL (script/test does): {error}"),
    }
}

async fn execute(connection: &DatabaseConnection, sql: &str) {
    connection.execute_unprepared(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    drop(connection.close_by_ref().await);
}
