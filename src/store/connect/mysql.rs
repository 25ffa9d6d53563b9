//! MySQL and MariaDB: how a server is reached, what its sessions are like, and the lock for whoever changes the schema.

use std::time::Duration;

use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlPoolOptions};
use sea_orm::sqlx::{self, Connection, Executor};
use sea_orm::{DatabaseConnection, SqlxMySqlConnector};

use super::{Connections, reason};
use crate::config;
use crate::store::StoreError;
use crate::store::pool::{Interruptions, Pool};

/// How long the server may take to say that a connection lives, and what it still has to say to whoever had it before.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that was not used for so long is asked whether it lives before it is used.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

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
            .after_release(move |connection, known| {
                let is_known = !asked.may_be_of(known.age);
                Box::pin(async move {
                    match is_known {
                        // It reads the answer to the ROLLBACK of a transaction that was dropped, too.
                        true => lives(connection).await.map(|()| true),
                        // An error, so that nobody tries to take leave of the server on it.
                        false => Err(sqlx::Error::Protocol("it may have been interrupted in the middle of an answer".into())),
                    }
                })
            })
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
        Pool::new(SqlxMySqlConnector::from_sqlx_mysql_pool(pool), connections, timeout, interruptions)
    };
    let connection = pool(settings.connections_max);
    Ok(Connections { writer: connection.clone(), reader: connection, loader: pool(settings.loads_max), answer_timeout: timeout })
}

async fn lives(connection: &mut MySqlConnection) -> sqlx::Result<()> {
    tokio::time::timeout(PING_TIMEOUT, connection.ping()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
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

/// The server's lock for whoever changes the schema of one database. It is a connection's, and ends with it.
pub(super) struct MigrationLock(MySqlConnection);

/// How long the connection for it may take.
const LOCK_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl MigrationLock {
    /// Waits for it, on a connection beside the pool: a pool of one has none to spare.
    pub(super) async fn take(pool: &DatabaseConnection, patience: Duration) -> Result<Self, StoreError> {
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
    pub(super) async fn release(mut self) {
        drop(self.0.execute("DO RELEASE_LOCK(CONCAT('doorbuster.migrate.', SHA1(LOWER(DATABASE()))))").await);
        drop(self.0.close().await);
    }
}
