//! SQLite: how its file is opened, and when one of its connections may be used again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::SqlxSqliteConnector;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sea_orm::sqlx::{self, Connection};

use super::{Connections, Missing, reason};
use crate::config;
use crate::store::StoreError;
use crate::store::database_file::DatabaseFile;
use crate::store::pool::{Interruptions, Pool};

/// Partitions loaded at one time. Two are hardly faster where one process reads one file, and what they need besides is not given back at once.
const LOADS_MAX: u32 = 1;

/// SQLite: one connection writes, so tasks of this process wait for each other in a queue and never meet SQLITE_BUSY;
/// others read beside it, each in a snapshot of its own.
pub(super) async fn open(path: &Path, settings: &config::Database, missing: Missing) -> Result<Connections, StoreError> {
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
    let failed = |error: sqlx::Error| StoreError::Connect(format!("cannot open {shown}: {}", reason(&error)));
    let first = SqliteConnection::connect_with(&options).await.map_err(failed)?;
    let file = Arc::new(DatabaseFile::watched(path, first).await.map_err(failed)?);
    let pool = |connections: u32, options: SqliteConnectOptions| {
        let interruptions = Interruptions::none();
        let asked = interruptions.clone();
        let pool = SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(timeout)
            // A file does not go away; its connections need no test and no retirement.
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .after_release(move |connection, known| {
                let is_known = !asked.may_be_of(known.age);
                Box::pin(async move { Ok(is_known && is_between_transactions(connection).await?) })
            })
            .connect_lazy_with(options);
        Pool::new(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool), connections, timeout, interruptions).of_file(Arc::clone(&file))
    };
    // There are several of these, each with pages of its own; what they miss is in the system's cache.
    let reader = options.clone().pragma("query_only", "ON").pragma("cache_size", "-8192");
    Ok(Connections {
        writer: pool(1, options),
        loader: pool(LOADS_MAX, reader.clone()),
        reader: pool(settings.connections_max, reader),
        loads_max: LOADS_MAX,
        answer_timeout: timeout,
        file: Some(file),
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
