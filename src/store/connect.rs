//! From a URL to a connected store: how each family of databases is opened, and whether its schema is of this release.
//!
//! Never shows a password: errors name the server and the database, not the URL.

mod mysql;
mod sqlite;
mod target;

use std::sync::Arc;
use std::time::Duration;

use doorbuster_migrations::{Migrator, Widening};
use sea_orm::sqlx;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement, TransactionTrait, Value};
use sea_orm_migration::{MigrationTrait, MigratorTrait, SchemaManager};

use super::StoreError;
use super::database_file::DatabaseFile;
use super::meta::{read_log_version, read_partitions, read_system};
use super::pool::Pool;
use super::waits::to_the_end;
use crate::config;
use crate::domain::{Partitions, SystemId};
use target::Target;

/// Both ends of a database: where rows are changed and where they are only read.
#[derive(Clone)]
pub(super) struct Connections {
    pub(super) writer: Pool,
    pub(super) reader: Pool,
    /// Apart from the others: what loads a partition must not keep heartbeats, logins and lists waiting.
    pub(super) loader: Pool,
    /// Loads at one time, at least one.
    pub(super) loads_max: u32,
    pub(super) answer_timeout: Duration,
    /// Of SQLite.
    pub(super) file: Option<Arc<DatabaseFile>>,
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
            Target::Sqlite { path, may_be_made: false } if missing == Missing::Create && !path.exists() => {
                let shown = path.display();
                Err(StoreError::Connect(format!(
                    "there is no database at {shown}, and mode=rw in its URL says that none is made: use mode=rwc"
                )))
            }
            Target::Sqlite { path, .. } => sqlite::open(&path, settings, missing).await,
            Target::MySql(options) => mysql::open(*options, settings).await,
        }
    }

    pub(super) fn backend(&self) -> DbBackend {
        self.writer.get_database_backend()
    }

    pub(super) async fn close(&self) -> Result<(), StoreError> {
        self.reader.close().await?;
        self.loader.close().await?;
        self.writer.close().await?;
        if let Some(file) = &self.file {
            file.close().await.map_err(|error| StoreError::Connect(format!("the database does not close: {}", reason(&error))))?;
        }
        Ok(())
    }

    /// Brings the schema up to this release, alone; returns how many steps that took. `patience` is for whoever does the same. Dropped,
    /// it goes on to its end.
    pub(super) async fn migrate(&self, partitions: Partitions, patience: Duration) -> Result<usize, StoreError> {
        let writer = self.writer.connections().clone();
        to_the_end(async move {
            match writer.get_database_backend() {
                DbBackend::MySql => {
                    let lock = mysql::MigrationLock::take(&writer, patience).await?;
                    let steps = upgrade(&writer, partitions).await;
                    lock.release().await;
                    steps
                }
                // Whoever names no database has locked the data folder. A file that is named by its path is nobody's but the operator's.
                _ => upgrade(&writer, partitions).await,
            }
        })
        .await
    }

    /// The number of partitions and the system's id, if this release can work on the schema: it has all of its steps, and of later ones at most such that
    /// widen; and nothing is in the log that this release cannot read.
    pub(super) async fn check_schema(&self) -> Result<(Partitions, SystemId), StoreError> {
        let reader = self.reader.connections().clone();
        let applied = to_the_end(async move { Steps::applied(&reader).await }).await?;
        let missing = applied.missing()?;
        if applied.first.is_empty() {
            return Err(StoreError::Schema("the database has no Doorbuster schema: run `doorbuster migrate`".into()));
        }
        if missing > 0 {
            return Err(StoreError::Schema("the schema is of an older release: run `doorbuster migrate` of this one".into()));
        }
        if self.backend() == DbBackend::MySql {
            mysql::check_tables(&self.reader).await?;
        }
        let unfinished =
            || StoreError::Schema("the schema was left unfinished by an interrupted `doorbuster migrate`: run it again".into());
        let partitions = read_partitions(&self.reader).await?.ok_or_else(unfinished)?;
        let system = read_system(&self.reader).await?.ok_or_else(unfinished)?;
        read_log_version(&self.reader).await?;
        Ok((partitions, system))
    }
}

async fn upgrade(connection: &DatabaseConnection, partitions: Partitions) -> Result<usize, StoreError> {
    let missing = Steps::applied(connection).await?.missing()?;
    // One that lacks nothing may have steps of the next release, which the library would not stand.
    if missing > 0 {
        Migrator::up(connection, None).await?;
        Widening::up(connection, None).await?;
    }
    first_rows(connection, partitions).await?;
    later_rows(connection).await?;
    Ok(missing)
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
    let sql = "INSERT INTO meta (id, partitions, last_commodity_id, log_version) VALUES (1, ?, 0, 5)";
    transaction.execute_raw(Statement::from_sql_and_values(backend, sql, [Value::from(i32::from(partitions.get()))])).await?;
    Ok(transaction.commit().await?)
}

/// What a schema of an older release lacks beside its steps, and a fresh one too. Does nothing where it was done.
async fn later_rows(connection: &DatabaseConnection) -> Result<(), StoreError> {
    let backend = connection.get_database_backend();
    let sql = "UPDATE meta SET system_id = ? WHERE id = 1 AND system_id IS NULL";
    let system: [u8; 16] = rand::random();
    connection.execute_raw(Statement::from_sql_and_values(backend, sql, [Value::from(system.to_vec())])).await?;
    let sql = "INSERT INTO log_confirmed (partition_id, epoch, sequence) \
               SELECT id, 0, 0 FROM partitions WHERE id NOT IN (SELECT partition_id FROM log_confirmed)";
    connection.execute_raw(Statement::from_string(backend, sql)).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
