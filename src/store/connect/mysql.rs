//! MySQL and MariaDB: how a server is reached, and the lock for whoever changes the schema.

mod session;

use std::time::Duration;

use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlPoolOptions, MySqlSslMode};
use sea_orm::sqlx::{self, Connection};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, SqlxMySqlConnector, Statement};
use sha1::{Digest, Sha1};
use tokio::time::Instant;

use super::{Connections, reason};
use crate::config;
use crate::store::StoreError;
use crate::store::pool::{FULL_PAUSE_MAX, FULL_PAUSE_MIN, Interruptions, Pool, is_full};
use crate::tls;

/// How long the server may take to say that a connection lives.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that was not used for so long is asked whether it lives before it is used.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// What the schema consists of.
const TABLES: [&str; 9] =
    ["meta", "partitions", "commodities", "orders", "archived_orders", "users", "nodes", "checkpoint_parts", "checkpoint_deltas"];

/// MySQL and MariaDB: one pool for loads, one for everything else.
pub(super) async fn open(options: MySqlConnectOptions, settings: &config::Database) -> Result<Connections, StoreError> {
    let timeout = Duration::from_millis(settings.acquire_timeout_ms);
    // The session's modes are set below, as a whole, so that the server's defaults have no say.
    let options = options
        .charset("utf8mb4")
        .collation("utf8mb4_bin")
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone("+00:00".to_owned());
    let server = format!("{}:{}", options.get_host(), options.get_port());
    let first = tokio::time::timeout(timeout, try_out(&options, timeout)).await;
    match first {
        Err(_) => {
            return Err(StoreError::Connect(format!("the database server at {server} does not answer within {} ms", timeout.as_millis())));
        }
        Ok(Err(error)) => return Err(StoreError::Connect(mysql_failure(&server, &options, &error))),
        Ok(Ok(Err(why))) => return Err(StoreError::Connect(format!("the database server at {server} {why}"))),
        Ok(Ok(Ok(()))) => {}
    }
    let pool = |connections: u32| {
        let interruptions = Interruptions::none();
        let asked = interruptions.clone();
        let pool = MySqlPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(timeout)
            .test_before_acquire(false)
            .before_acquire(|connection, known| {
                let is_trusted = known.idle_for < TRUSTED_FOR;
                Box::pin(async move { if is_trusted { Ok(true) } else { lives(connection).await.map(|()| true) } })
            })
            .after_release(move |_, known| {
                let is_known = !asked.may_be_of(known.age);
                Box::pin(async move {
                    match is_known {
                        // The library asks for a sign of life then, behind the ROLLBACK of a transaction that was dropped.
                        true => Ok(true),
                        // An error, so that nobody tries to take leave of the server on it.
                        false => Err(sqlx::Error::Protocol("it may have been interrupted in the middle of an answer".into())),
                    }
                })
            })
            .after_connect(|connection, _| Box::pin(session::prepare(connection)))
            .connect_lazy_with(options.clone());
        Pool::new(SqlxMySqlConnector::from_sqlx_mysql_pool(pool), connections, timeout, interruptions)
    };
    let connection = pool(settings.connections_max);
    let loads_max = settings.loads_max.max(1);
    let (writer, reader, loader) = (connection.clone(), connection, pool(loads_max));
    Ok(Connections { writer, reader, loader, loads_max, answer_timeout: timeout, file: None })
}

async fn lives(connection: &mut MySqlConnection) -> sqlx::Result<()> {
    tokio::time::timeout(PING_TIMEOUT, connection.ping()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// A connection with a session as it must be. A server that has none left is asked again for so long.
async fn connect(options: &MySqlConnectOptions, patience: Duration) -> sqlx::Result<MySqlConnection> {
    let (deadline, mut pause) = (Instant::now() + patience, FULL_PAUSE_MIN);
    loop {
        match MySqlConnection::connect_with(options).await {
            Ok(mut connection) => {
                session::prepare(&mut connection).await?;
                return Ok(connection);
            }
            Err(error) if is_full(&error) && Instant::now() + pause < deadline => tokio::time::sleep(pause).await,
            Err(error) => return Err(error),
        }
        pause = (pause * 2).min(FULL_PAUSE_MAX);
    }
}

/// Connects once, and asks the server whether it will do.
async fn try_out(options: &MySqlConnectOptions, patience: Duration) -> sqlx::Result<Result<(), String>> {
    let mut connection = connect(options, patience).await?;
    let answer = session::check(&mut connection).await;
    drop(connection.close().await);
    answer
}

/// Whether all tables are of the engine that has transactions: a server may have made them otherwise, or an operator.
pub(super) async fn check_tables(connection: &impl ConnectionTrait) -> Result<(), StoreError> {
    let names = TABLES.map(|name| format!("'{name}'")).join(", ");
    let sql = format!(
        "SELECT CAST(table_name AS CHAR), CAST(engine AS CHAR) FROM information_schema.tables \
         WHERE table_schema = DATABASE() AND table_name IN ({names}) AND engine <> 'InnoDB' LIMIT 1"
    );
    let Some(row) = connection.query_one_raw(Statement::from_string(DbBackend::MySql, sql)).await? else { return Ok(()) };
    let (table, engine): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    Err(StoreError::Schema(format!(
        "the table {table} is of the engine {engine}, which cannot roll back: ALTER TABLE {table} ENGINE = InnoDB"
    )))
}

fn mysql_failure(server: &str, options: &MySqlConnectOptions, error: &sqlx::Error) -> String {
    let (database, user) = (options.get_database().unwrap_or_default(), options.get_username());
    match session::number(error) {
        Some(1049) => format!("the server at {server} has no database {database:?}: CREATE DATABASE `{database}` CHARACTER SET utf8mb4"),
        Some(1044) => format!("the server at {server} does not let user {user:?} use the database {database:?}"),
        Some(1040 | 1203 | 1226) => format!(
            "the server at {server} has no connection left for user {user:?}: raise its max_connections, or lower database.connections_max"
        ),
        // MariaDB says the same to whom it does not let in without TLS.
        Some(1045 | 1698) if matches!(options.get_ssl_mode(), MySqlSslMode::Disabled) => format!(
            "the server at {server} does not accept user {user:?} with this password, or wants TLS: leave out ssl-mode=DISABLED in the \
             database URL then, see docs/security.md"
        ),
        Some(1045 | 1698) => format!("the server at {server} does not accept user {user:?} with this password"),
        // ER_SECURE_TRANSPORT_REQUIRED
        Some(3159) => format!("the server at {server} wants TLS: leave out ssl-mode=DISABLED in the database URL, see docs/security.md"),
        _ => match tls::why(error) {
            Some(why) => format!(
                "no TLS connection to the database server at {server}: {why} (ssl-mode and ssl-ca in its URL, see docs/security.md)"
            ),
            None => format!("cannot connect to the database server at {server}: {}", reason(error)),
        },
    }
}

/// The server's lock for whoever changes the schema of one database. It is a connection's, and ends with it.
pub(super) struct MigrationLock {
    connection: MySqlConnection,
    name: String,
}

/// How long the connection for it may take.
const LOCK_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl MigrationLock {
    /// Waits for it, on a connection beside the pool: a pool of one has none to spare.
    pub(super) async fn take(pool: &DatabaseConnection, patience: Duration) -> Result<Self, StoreError> {
        let failed = |error: sqlx::Error| StoreError::Connect(format!("cannot lock the schema: {}", reason(&error)));
        let options = pool.get_mysql_connection_pool().connect_options();
        let silent = |_| StoreError::Connect(format!("cannot lock the schema: no connection within {LOCK_CONNECT_TIMEOUT:?}"));
        let connect = connect(&options, LOCK_CONNECT_TIMEOUT);
        let mut connection = tokio::time::timeout(LOCK_CONNECT_TIMEOUT, connect).await.map_err(silent)?.map_err(failed)?;
        let name = lock_name(&mut connection).await.map_err(failed)?;
        let query = "SELECT COALESCE(GET_LOCK(?, ?), 0)";
        let got: i64 = sqlx::query_scalar(query).bind(&name).bind(patience.as_secs()).fetch_one(&mut connection).await.map_err(failed)?;
        if got == 1 {
            return Ok(Self { connection, name });
        }
        Err(StoreError::Schema(format!(
            "somebody else is changing the schema of this database, for {} s and more: wait until that `doorbuster migrate` has ended, \
             then run it again",
            patience.as_secs()
        )))
    }

    /// Gives it back. If that fails it goes with the connection.
    pub(super) async fn release(mut self) {
        drop(sqlx::query("DO RELEASE_LOCK(?)").bind(&self.name).execute(&mut self.connection).await);
        drop(self.connection.close().await);
    }
}

/// The lock's name, of a length that every server takes, whatever that of the database. The release before had the server make it
/// with SHA1(), which newer servers lack: it is the same name, so that processes of both wait for each other.
async fn lock_name(connection: &mut MySqlConnection) -> sqlx::Result<String> {
    // The server knows which letters are the same to it.
    let database: String = sqlx::query_scalar("SELECT CAST(LOWER(DATABASE()) AS CHAR)").fetch_one(connection).await?;
    Ok(name_of(&database))
}

fn name_of(database: &str) -> String {
    let hash = base16ct::lower::encode_string(&Sha1::digest(database.as_bytes()));
    format!("doorbuster.migrate.{hash}")
}

#[cfg(test)]
mod tests;
