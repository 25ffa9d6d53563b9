//! The database: entities and queries, the only place that knows SQL. Never decides, never changes stock: rows of
//! commodities and orders are written by the projection alone.

mod accounts;
mod archive;
mod audit;
mod checkpoints;
mod commodities;
mod connect;
mod convert;
mod database_file;
mod entity;
mod listings;
mod logins;
mod losses;
mod meta;
mod nodes;
mod operations;
mod orders;
mod partitions;
mod payments;
mod pool;
mod provider_payments;
#[cfg(test)]
mod reads;
mod runs;
mod skus;
mod statements;
mod timeline;
mod waits;
mod walk;
mod write;

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{AccessMode, ConnectionTrait, DbBackend, IsolationLevel, Statement, Value};

pub use accounts::AccountChange;
pub use archive::{Archivable, Slice};
pub use audit::{Audit, AuditRow, AuditScope};
pub use checkpoints::{CheckpointReport, DeltaSize, Load};
pub use commodities::StoredCommodity;
pub use listings::{DueListing, Import, Reserved};
pub use logins::Budget;
pub use losses::{Gap, Loss, NoLoss, REASON_CHARS_MAX};
pub use nodes::{NodeRow, NodeState};
pub(crate) use operations::NewOperation;
pub use operations::{Drawn, Remembered};
pub use partitions::{CheckpointRow, Epochs, PartitionRow};
pub use payments::StoredPayment;
pub(crate) use payments::{NewPayment, PaymentChange};
pub use provider_payments::{Asked, FullPayment, Heard, ProviderPayment};
pub use skus::{SkuClaim, SkuClaimed};
pub use timeline::{EventPlace, TimelineStep};
pub(crate) use timeline::{NewNotice, NewStep};
pub use write::Position;
pub(crate) use write::{CommodityUpdate, Delta, Move, NewCommodity, NewOrder, Tables, Transaction};

use tokio::sync::Semaphore;

use crate::config;
use crate::domain::{CommodityId, Invalid, OrderStatus, Partitions, PrincipalKey, SystemId, Timestamp, UserId};
use connect::{Connections, Missing};
use pool::Pool;

/// A connected database with a schema of this release. Clones share the connections.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    connections: Connections,
    partitions: Partitions,
    system: SystemId,
    /// One for each load under way.
    loads: Arc<Semaphore>,
}

/// What the database did not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is wrong, or what it names cannot be reached: one line that says what to do.
    #[error("{0}")]
    Connect(String),
    /// The database answered with an error or not at all.
    #[error("database: {0}")]
    Database(#[from] sea_orm::DbErr),
    /// The schema is missing, older or newer than this release.
    #[error("{0}")]
    Schema(String),
    /// A row holds what no release writes.
    #[error("corrupt row: {0}")]
    Corrupt(String),
    /// Rows break a key or a check of the tables. Databases say it in their own words: see [`StoreError::is_refusal`].
    #[error("the tables refuse: {0}")]
    Refused(String),
}

impl StoreError {
    /// Whether the database refused rows that break its keys or checks: our bug, and no use to try again.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        use sea_orm::sqlx::{Error, error::ErrorKind};
        if matches!(self, Self::Refused(_)) {
            return true;
        }
        let Self::Database(
            sea_orm::DbErr::Exec(sea_orm::RuntimeErr::SqlxError(error)) | sea_orm::DbErr::Query(sea_orm::RuntimeErr::SqlxError(error)),
        ) = self
        else {
            return false;
        };
        let Error::Database(error) = &**error else { return false };
        matches!(
            error.kind(),
            ErrorKind::UniqueViolation | ErrorKind::ForeignKeyViolation | ErrorKind::NotNullViolation | ErrorKind::CheckViolation
        )
    }
}

/// What an account, or a token, may do. Codes and words are append-only: a release that does not know one gives whoever has it nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Buys.
    Buyer,
    /// Reads and runs sales, and everything below it; also accounts, nodes and secrets.
    Admin,
    /// Reads and runs sales; buys, like everybody with an account.
    Operator,
    /// Another system that calls on behalf of buyers. Neither buys nor operates.
    Service,
}

impl Role {
    /// Every role, in the order of their codes.
    pub const ALL: [Role; 4] = [Self::Buyer, Self::Admin, Self::Operator, Self::Service];

    /// The word in tokens, in JSON and on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Buyer => "buyer",
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Service => "service",
        }
    }

    /// Whether the releases before this one know it.
    #[must_use]
    pub const fn is_known_to_all(self) -> bool {
        match self {
            Self::Buyer | Self::Admin => true,
            Self::Operator | Self::Service => false,
        }
    }

    const fn code(self) -> i16 {
        self as i16
    }

    fn from_code(code: i16) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }
}

impl std::str::FromStr for Role {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|role| role.word() == text).ok_or(Invalid("a role is buyer, operator, admin or service"))
    }
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The id tokens carry.
    pub id: UserId,
    /// The name to log in with, unique without regard to case.
    pub username: String,
    /// The argon2id hash in PHC form.
    pub password_hash: String,
    /// What the account may do.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// How often its password or role was changed. Its tokens carry this: a change ends those that carry less.
    pub generation: i64,
}

/// Which orders to list. Absent = any.
#[derive(Clone, Debug, Default)]
pub struct OrderFilter {
    /// Of this commodity.
    pub commodity: Option<CommodityId>,
    /// Of this buyer.
    pub user: Option<PrincipalKey>,
    /// In this status.
    pub status: Option<OrderStatus>,
    /// Placed at or after.
    pub placed_from: Option<Timestamp>,
    /// Placed before.
    pub placed_until: Option<Timestamp>,
}

impl Store {
    /// Connects to `sqlite:PATH`, `mysql://...` or `mariadb://...` and checks the schema.
    ///
    /// # Errors
    /// [`StoreError::Connect`] for a wrong URL or a database that cannot be reached, [`StoreError::Schema`] for a schema
    /// that is missing, unfinished, older or newer; each in one sentence that says what to do.
    pub async fn connect(url: &str, settings: &config::Database) -> Result<Self, StoreError> {
        let connections = Connections::open(url, settings, Missing::Refuse).await?;
        let (partitions, system) = connections.check_schema().await?;
        let loads = Arc::new(Semaphore::new(connections.loads_max as usize));
        Ok(Self { inner: Arc::new(Inner { connections, partitions, system, loads }) })
    }

    /// Creates the schema or brings it up to this release; returns how many steps that took (0 = it was). A SQLite file
    /// that is missing is made, with mode 600. `partitions` counts for a new schema only: an existing one keeps its own.
    /// Of several at once on one MySQL or MariaDB, one works and the others wait for it, for at most a minute.
    ///
    /// # Errors
    /// [`StoreError::Connect`], and [`StoreError::Schema`] for a schema of a newer release, or one that somebody else is changing.
    pub async fn migrate(url: &str, settings: &config::Database, partitions: Partitions) -> Result<usize, StoreError> {
        const PATIENCE: Duration = Duration::from_secs(60);
        Self::migrate_within(PATIENCE, url, settings, partitions).await
    }

    /// As [`migrate`](Self::migrate), but waits so long (in whole seconds) for somebody who is changing the schema.
    ///
    /// # Errors
    /// As there.
    pub async fn migrate_within(
        patience: Duration,
        url: &str,
        settings: &config::Database,
        partitions: Partitions,
    ) -> Result<usize, StoreError> {
        let connections = Connections::open(url, settings, Missing::Create).await?;
        let steps = connections.migrate(partitions, patience).await;
        connections.close().await?;
        steps
    }

    /// Checks again that the schema is this release's.
    ///
    /// # Errors
    /// [`StoreError::Schema`].
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        self.inner.connections.check_schema().await.map(drop)
    }

    /// How many partitions the schema was made with.
    #[must_use]
    pub fn partitions(&self) -> Partitions {
        self.inner.partitions
    }

    /// Which system this is: what its batches are told by.
    #[must_use]
    pub fn system(&self) -> SystemId {
        self.inner.system
    }

    /// Whether the database answers now, within the acquire timeout.
    ///
    /// # Errors
    /// [`StoreError::Connect`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let bound = self.inner.connections.answer_timeout;
        let query = self.statement("SELECT id FROM meta", []);
        match tokio::time::timeout(bound, self.reader().query_one_raw(query)).await {
            Ok(answer) => Ok(answer.map(drop)?),
            Err(_) => Err(StoreError::Connect(format!("the database does not answer within {} ms", bound.as_millis()))),
        }
    }

    /// What time the database server has; none for a file, which has no clock of its own.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        if self.inner.connections.backend() != DbBackend::MySql {
            return Ok(None);
        }
        let query = self.statement("SELECT CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)", []);
        let row = self.reader().query_one_raw(query).await?;
        let millis = row.map(|row| row.try_get_by_index::<i64>(0)).transpose()?;
        millis.map(Timestamp::from_millis).transpose().map_err(|_| StoreError::Corrupt("the server's clock".into()))
    }

    /// Whether the file of the database is the one that was opened. A server has none.
    ///
    /// # Errors
    /// [`StoreError::Connect`] when it was deleted or replaced.
    pub fn check_file(&self) -> Result<(), StoreError> {
        let Some(file) = &self.inner.connections.file else { return Ok(()) };
        file.check().map_err(|gone| StoreError::Connect(gone.to_string()))
    }

    /// Closes all connections, after what is under way. Clones of this store cannot be used any more.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn close(&self) -> Result<(), StoreError> {
        self.inner.connections.close().await
    }

    /// The same, but what is only read comes from there: as a proxy does it that has copies answer.
    #[cfg(test)]
    pub(crate) fn reading_from(&self, copy: &Self) -> Self {
        let connections = Connections { reader: copy.inner.connections.reader.clone(), ..self.inner.connections.clone() };
        let Inner { partitions, system, loads, .. } = &*self.inner;
        Self { inner: Arc::new(Inner { connections, partitions: *partitions, system: *system, loads: Arc::clone(loads) }) }
    }

    fn reader(&self) -> &Pool {
        &self.inner.connections.reader
    }

    fn backend(&self) -> DbBackend {
        self.inner.connections.backend()
    }

    fn statement(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
        Statement::from_sql_and_values(self.backend(), sql, values)
    }

    /// A transaction in which several reads see one snapshot.
    async fn read_snapshot(&self) -> Result<pool::Transaction, StoreError> {
        self.snapshot_of(self.reader()).await
    }

    async fn snapshot_of(&self, connections: &Pool) -> Result<pool::Transaction, StoreError> {
        let options = match self.backend() {
            DbBackend::MySql => sea_orm::TransactionOptions {
                isolation_level: Some(IsolationLevel::RepeatableRead),
                access_mode: Some(AccessMode::ReadOnly),
                sqlite_transaction_mode: None,
            },
            // A reader of a WAL sees what its first read saw.
            _ => sea_orm::TransactionOptions::default(),
        };
        Ok(connections.begin(options).await?)
    }

    /// A transaction that changes rows: on SQLite it has the write lock from its beginning.
    async fn begin_write(&self) -> Result<pool::Transaction, StoreError> {
        let options = sea_orm::TransactionOptions {
            sqlite_transaction_mode: (self.backend() == DbBackend::Sqlite).then_some(sea_orm::SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        Ok(self.inner.connections.writer.begin(options).await?)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("backend", &self.backend()).field("partitions", &self.inner.partitions).finish()
    }
}
