//! From a URL to a connected store: how each family of databases is opened, and whether its schema is of this release.
//!
//! Never shows a password: errors name the server and the database, not the URL.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use doorbuster_migrations::{Migrator, Widening};
use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlPoolOptions};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sea_orm::sqlx::{self, Connection, Executor};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, SqlxMySqlConnector, SqlxSqliteConnector, Statement, TransactionTrait, Value,
};
use sea_orm_migration::{MigrationTrait, MigratorTrait, SchemaManager};

use super::StoreError;
use crate::config;
use crate::domain::Partitions;
use crate::event::LogVersion;

/// Both ends of a database: where rows are changed and where they are only read.
#[derive(Clone)]
pub(super) struct Connections {
    pub(super) writer: DatabaseConnection,
    pub(super) reader: DatabaseConnection,
    /// Apart from the others: what loads a partition must not keep heartbeats, logins and lists waiting.
    pub(super) loader: DatabaseConnection,
    pub(super) answer_timeout: Duration,
}

/// What a URL asks for.
enum Target {
    Sqlite(PathBuf),
    MySql(Box<MySqlConnectOptions>),
}

/// Whether a file that is missing is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Create,
    Refuse,
}

impl Connections {
    pub(super) async fn open(url: &str, settings: &config::Database, missing: Missing) -> Result<Self, StoreError> {
        match Target::parse(url)? {
            Target::Sqlite(path) => open_sqlite(&path, settings, missing).await,
            Target::MySql(options) => open_mysql(*options, settings).await,
        }
    }

    pub(super) fn backend(&self) -> DbBackend {
        self.writer.get_database_backend()
    }

    pub(super) async fn close(&self) -> Result<(), StoreError> {
        self.reader.close_by_ref().await?;
        self.loader.close_by_ref().await?;
        self.writer.close_by_ref().await?;
        Ok(())
    }

    /// Brings the schema up to this release, alone; returns how many steps that took. `patience` is for whoever does the same.
    pub(super) async fn migrate(&self, partitions: Partitions, patience: Duration) -> Result<usize, StoreError> {
        match self.backend() {
            DbBackend::MySql => {
                let lock = MigrationLock::take(&self.writer, patience).await?;
                let steps = self.upgrade(partitions).await;
                lock.release().await;
                steps
            }
            // Whoever names no database has locked the data folder. A file that is named by its path is nobody's but the operator's.
            _ => self.upgrade(partitions).await,
        }
    }

    async fn upgrade(&self, partitions: Partitions) -> Result<usize, StoreError> {
        let missing = Steps::applied(&self.writer).await?.missing()?;
        // One that lacks nothing may have steps of the next release, which the library would not stand.
        if missing > 0 {
            Migrator::up(&self.writer, None).await?;
            Widening::up(&self.writer, None).await?;
        }
        first_rows(&self.writer, partitions).await?;
        Ok(missing)
    }

    /// The number of partitions, if this release can work on the schema: it has all of its steps, and of later ones at most such that
    /// widen; and nothing is in the log that this release cannot read.
    pub(super) async fn check_schema(&self) -> Result<Partitions, StoreError> {
        let applied = Steps::applied(&self.reader).await?;
        let missing = applied.missing()?;
        if applied.first.is_empty() {
            return Err(StoreError::Schema("the database has no Doorbuster schema: run `doorbuster migrate`".into()));
        }
        if missing > 0 {
            return Err(StoreError::Schema("the schema is of an older release: run `doorbuster migrate` of this one".into()));
        }
        let partitions = read_partitions(&self.reader).await?;
        let partitions = partitions.ok_or_else(|| {
            StoreError::Schema("the schema was left unfinished by an interrupted `doorbuster migrate`: run it again".into())
        })?;
        read_log_version(&self.reader).await?;
        Ok(partitions)
    }
}

/// The newest form that may be in the log, if this release knows it.
pub(super) async fn read_log_version(connection: &DatabaseConnection) -> Result<LogVersion, StoreError> {
    let query = Statement::from_string(connection.get_database_backend(), "SELECT log_version FROM meta WHERE id = 1");
    let row = connection.query_one_raw(query).await?.ok_or_else(|| StoreError::Corrupt("meta is empty".into()))?;
    let number: i16 = row.try_get_by_index(0)?;
    let known = u8::try_from(number).ok().and_then(|number| LogVersion::new(number).ok());
    known.ok_or_else(|| {
        StoreError::Schema(format!("the log is written in version {number}, which this release does not know: use a newer one"))
    })
}

impl Target {
    fn parse(url: &str) -> Result<Self, StoreError> {
        let wrong = |what: &str| StoreError::Connect(format!("database URL: {what}"));
        let (scheme, rest) = url
            .split_once(':')
            .ok_or_else(|| wrong("it must begin with sqlite:, mysql:// or mariadb://, like sqlite:data/doorbuster.db"))?;
        match scheme {
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if path.is_empty() || path.starts_with(':') || path.contains(['?', '#']) {
                    return Err(wrong("sqlite: must be followed by the path of a file, and nothing else (memory is not durable)"));
                }
                Ok(Self::Sqlite(path.into()))
            }
            "mysql" | "mariadb" => {
                let options = MySqlConnectOptions::from_str(&format!("mysql:{rest}"))
                    .map_err(|_| wrong("it must look like mysql://user:password@host:3306/database"))?;
                if options.get_database().is_none_or(str::is_empty) {
                    return Err(wrong("it must end with the name of a database, like mysql://user:password@host:3306/doorbuster"));
                }
                Ok(Self::MySql(Box::new(options)))
            }
            other => Err(wrong(&format!("unknown scheme {other:?}; known are sqlite:, mysql:// and mariadb://"))),
        }
    }
}

/// SQLite: one connection writes, so tasks of this process wait for each other in a queue and never meet SQLITE_BUSY;
/// others read beside it, each in a snapshot of its own.
async fn open_sqlite(path: &Path, settings: &config::Database, missing: Missing) -> Result<Connections, StoreError> {
    let shown = path.display();
    match missing {
        Missing::Create => create_private(path).map_err(|error| StoreError::Connect(format!("cannot create {shown}: {error}")))?,
        Missing::Refuse if !path.exists() => {
            return Err(StoreError::Schema(format!("there is no database at {shown}: run `doorbuster migrate`")));
        }
        Missing::Refuse => {}
    }
    let timeout = Duration::from_millis(settings.acquire_timeout_ms);
    let options = SqliteConnectOptions::new()
        .filename(path)
        // Readers do not stop the writer, and a commit is one write to the end of one file.
        .journal_mode(SqliteJournalMode::Wal)
        // A commit waits for the disk: a 201 survives the loss of power (NORMAL would lose the last commits).
        .synchronous(SqliteSynchronous::Full)
        // Another process (an audit, a backup) may hold the file for a moment.
        .busy_timeout(timeout)
        // The schema has no foreign keys; SQLite would check none either way.
        .foreign_keys(false)
        // 32 MiB of pages: the upper levels of the random index stay in memory.
        .pragma("cache_size", "-32768")
        // The journal of one statement, by which it alone can be undone, needs no disk: a crash undoes the transaction.
        .pragma("temp_store", "MEMORY")
        // 32 MiB of log between checkpoints: pages that many commits write are copied back once for all of them.
        .pragma("wal_autocheckpoint", "8192");
    sqlx::sqlite::SqliteConnection::connect_with(&options)
        .await
        .map_err(|error| StoreError::Connect(format!("cannot open {shown}: {}", reason(&error))))?
        .close()
        .await
        .map_err(|error| StoreError::Connect(format!("cannot open {shown}: {}", reason(&error))))?;
    let pool = |connections: u32, options: SqliteConnectOptions| {
        let pool = SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(timeout)
            // A file does not go away; its connections need no test and no retirement.
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .after_release(|connection, _| Box::pin(is_between_transactions(connection)))
            .connect_lazy_with(options);
        SqlxSqliteConnector::from_sqlx_sqlite_pool(pool)
    };
    // There are several of these, each with pages of its own; what they miss is in the system's cache.
    let reader = options.clone().pragma("query_only", "ON").pragma("cache_size", "-8192");
    Ok(Connections {
        writer: pool(1, options),
        loader: pool(settings.loads_max, reader.clone()),
        reader: pool(settings.connections_max, reader),
        answer_timeout: timeout,
    })
}

/// Whether a connection may be used again. After a full disk or a failing one SQLite has rolled back by itself: the ROLLBACK
/// that follows fails, and the library takes the transaction for open ever after. What it would call BEGIN and COMMIT from
/// then on are savepoints of a transaction that nobody commits. Such a connection is closed and replaced.
async fn is_between_transactions(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    // Behind a rollback that a dropped transaction has left in the queue.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// Makes the file if it is missing, readable by its owner alone: it holds password hashes. What SQLite puts beside it
/// gets the same rights.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(drop),
    }
}

/// MySQL and MariaDB: one pool for loads, one for everything else.
async fn open_mysql(options: MySqlConnectOptions, settings: &config::Database) -> Result<Connections, StoreError> {
    let timeout = Duration::from_millis(settings.acquire_timeout_ms);
    // The session's modes are set below, as a whole, so that the server's defaults have no say.
    let options = options
        .charset("utf8mb4")
        .collation("utf8mb4_bin")
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone("+00:00".to_owned());
    let server = format!("{}:{}", options.get_host(), options.get_port());
    let first = tokio::time::timeout(timeout, MySqlConnection::connect_with(&options)).await;
    match first {
        Err(_) => {
            return Err(StoreError::Connect(format!("the database server at {server} does not answer within {} ms", timeout.as_millis())));
        }
        Ok(Err(error)) => return Err(StoreError::Connect(mysql_failure(&server, &options, &error))),
        Ok(Ok(mut connection)) => {
            warn_if_commits_are_lazy(&mut connection).await;
            drop(connection.close().await);
        }
    }
    let pool = |connections: u32| {
        let pool = MySqlPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(timeout)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    // Strict: what does not fit a column is an error and never cut to size.
                    connection
                        .execute("SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO'")
                        .await?;
                    // No gap locks: consumers of different partitions insert beside each other without deadlocks. What needs
                    // one snapshot for several reads asks for REPEATABLE READ itself.
                    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
                    Ok(())
                })
            })
            .connect_lazy_with(options.clone());
        SqlxMySqlConnector::from_sqlx_mysql_pool(pool)
    };
    let connection = pool(settings.connections_max);
    Ok(Connections { writer: connection.clone(), reader: connection, loader: pool(settings.loads_max), answer_timeout: timeout })
}

/// What is acknowledged to the log after a commit must survive the server's loss of power too.
async fn warn_if_commits_are_lazy(connection: &mut MySqlConnection) {
    let flush: Result<i64, _> = sqlx::query_scalar("SELECT CAST(@@innodb_flush_log_at_trx_commit AS SIGNED)").fetch_one(connection).await;
    if flush.is_ok_and(|flush| flush != 1) {
        tracing::warn!("the database server loses the last commits with its power: set innodb_flush_log_at_trx_commit = 1");
    }
}

fn mysql_failure(server: &str, options: &MySqlConnectOptions, error: &sqlx::Error) -> String {
    let (database, user) = (options.get_database().unwrap_or_default(), options.get_username());
    let number = match error {
        sqlx::Error::Database(error) => error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>().map(|error| error.number()),
        _ => None,
    };
    match number {
        Some(1049) => format!("the server at {server} has no database {database:?}: CREATE DATABASE `{database}` CHARACTER SET utf8mb4"),
        Some(1044) => format!("the server at {server} does not let user {user:?} use the database {database:?}"),
        Some(1045 | 1698) => format!("the server at {server} does not accept user {user:?} with this password"),
        _ => format!("cannot connect to the database server at {server}: {}", reason(error)),
    }
}

/// The innermost sentence of an error, on one line.
fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => other.to_string(),
    }
    .replace('\n', " ")
}

/// The server's lock for whoever changes the schema of one database. It is a connection's, and ends with it.
struct MigrationLock(MySqlConnection);

/// How long the connection for it may take.
const LOCK_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl MigrationLock {
    /// Waits for it, on a connection beside the pool: a pool of one has none to spare.
    async fn take(pool: &DatabaseConnection, patience: Duration) -> Result<Self, StoreError> {
        let failed = |error: sqlx::Error| StoreError::Connect(format!("cannot lock the schema: {}", reason(&error)));
        let options = pool.get_mysql_connection_pool().connect_options();
        let silent = |_| StoreError::Connect(format!("cannot lock the schema: no connection within {LOCK_CONNECT_TIMEOUT:?}"));
        let connect = MySqlConnection::connect_with(&options);
        let mut connection = tokio::time::timeout(LOCK_CONNECT_TIMEOUT, connect).await.map_err(silent)?.map_err(failed)?;
        // Its name has a length that every server takes, whatever that of the database.
        let query = "SELECT COALESCE(GET_LOCK(CONCAT('doorbuster.migrate.', SHA1(LOWER(DATABASE()))), ?), 0)";
        let got: i64 = sqlx::query_scalar(query).bind(patience.as_secs()).fetch_one(&mut connection).await.map_err(failed)?;
        if got == 1 {
            return Ok(Self(connection));
        }
        Err(StoreError::Schema(format!(
            "somebody else is changing the schema of this database, for {} s and more: wait until that `doorbuster migrate` has ended, \
             then run it again",
            patience.as_secs()
        )))
    }

    /// Gives it back. If that fails it goes with the connection.
    async fn release(mut self) {
        drop(self.0.execute("DO RELEASE_LOCK(CONCAT('doorbuster.migrate.', SHA1(LOWER(DATABASE()))))").await);
        drop(self.0.close().await);
    }
}

/// The steps a schema has. They stand in two tables: the releases before this one read the first alone, and refuse what
/// they do not know in it; they work on a schema with more of the later steps, which only widen.
struct Steps {
    first: Vec<String>,
    widening: Vec<String>,
}

impl Steps {
    async fn applied(connection: &DatabaseConnection) -> Result<Self, StoreError> {
        let first = recorded::<Migrator>(connection).await?;
        Ok(Self { first, widening: recorded::<Widening>(connection).await? })
    }

    /// How many steps of this release it lacks. Of those it does not know it can work with what widens, as releases before it did with
    /// what it made; what a later release narrows is recorded beside the first steps, and an error.
    fn missing(&self) -> Result<usize, StoreError> {
        let first = Migrator::migrations();
        if let Some(step) = self.first.iter().find(|step| first.iter().all(|migration| migration.name() != *step)) {
            return Err(StoreError::Schema(format!("the schema is of a newer release (it has the step {step}): use that release")));
        }
        let lacks = |steps: Vec<Box<dyn MigrationTrait>>, applied: &[String]| {
            steps.iter().filter(|migration| applied.iter().all(|step| migration.name() != step)).count()
        };
        Ok(lacks(first, &self.first) + lacks(Widening::migrations(), &self.widening))
    }
}

async fn recorded<M: MigratorTrait>(connection: &DatabaseConnection) -> Result<Vec<String>, StoreError> {
    let table = M::migration_table_name().to_string();
    if !SchemaManager::new(connection).has_table(table.as_str()).await? {
        return Ok(Vec::new());
    }
    let query = Statement::from_string(connection.get_database_backend(), format!("SELECT version FROM {table} ORDER BY version"));
    connection.query_all_raw(query).await?.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}

/// What a fresh schema starts with. The number of partitions is written once and never again.
async fn first_rows(connection: &DatabaseConnection, partitions: Partitions) -> Result<(), StoreError> {
    if read_partitions(connection).await?.is_some() {
        return Ok(());
    }
    let backend = connection.get_database_backend();
    let transaction = connection.begin().await?;
    for partition in partitions.iter() {
        let sql = "INSERT INTO partitions (id, owner, epoch, applied_epoch, applied_sequence) VALUES (?, NULL, 0, 0, 0)";
        transaction.execute_raw(Statement::from_sql_and_values(backend, sql, [Value::from(i32::from(partition.get()))])).await?;
    }
    // No process of an older release has written to its log, or will: it begins with the form of this one.
    let sql = "INSERT INTO meta (id, partitions, last_commodity_id, log_version) VALUES (1, ?, 0, 2)";
    transaction.execute_raw(Statement::from_sql_and_values(backend, sql, [Value::from(i32::from(partitions.get()))])).await?;
    Ok(transaction.commit().await?)
}

async fn read_partitions(connection: &DatabaseConnection) -> Result<Option<Partitions>, StoreError> {
    let query = Statement::from_string(connection.get_database_backend(), "SELECT partitions FROM meta WHERE id = 1");
    let Some(row) = connection.query_one_raw(query).await? else { return Ok(None) };
    let count: i32 = row.try_get_by_index(0)?;
    let partitions = u16::try_from(count).ok().and_then(|count| Partitions::new(count).ok());
    partitions.map(Some).ok_or_else(|| StoreError::Corrupt(format!("meta.partitions is {count}")))
}

#[cfg(test)]
mod tests;
