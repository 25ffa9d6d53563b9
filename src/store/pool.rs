//! The connections that the store works over. What is sent to a database runs to its end, whatever becomes of whoever waits for it.
//!
//! The library's connections do not stand being left in the middle of something. A BEGIN that is dropped between the server's answer
//! and the library's note of it leaves a pooled connection inside a transaction that nobody ends: every later write on it fails or is
//! never committed, every read sees a snapshot of long ago, its locks are kept. A `SET TRANSACTION READ ONLY` before it waits for
//! whatever transaction is next. An answer that is read half-way leaves bytes that are taken for the next answer.
//!
//! So each statement, BEGIN, COMMIT and ROLLBACK is a task of its own, which owns the connection as long as it runs. Whoever is dropped
//! while it waits leaves a task that ends by itself: a transaction that was begun is then rolled back, a commit is a commit. That costs
//! a task for each, a microsecond or two, and no word to the server. (To ask the server before each loan whether a transaction is open
//! would cost an answer each time, and would not see the half-read one.)
//!
//! A task whose asker has gone gets the time that is allowed for a connection. Then it is interrupted, and every connection of the pool
//! that is as old is closed when it comes back: one of them is in an unknown state.
//!
//! Never repeats what may have been carried out. Only connecting to a server that has no connection left is tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant as Clock};

use sea_orm::sqlx;
use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr,
    Statement, TransactionOptions, TransactionTrait,
};
use sea_orm_migration::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tracing::Instrument;

use super::database_file::DatabaseFile;

/// The pauses between two tries to get a connection from a server that has none left.
pub(super) const FULL_PAUSE_MIN: Duration = Duration::from_millis(10);
pub(super) const FULL_PAUSE_MAX: Duration = Duration::from_millis(200);

/// Some connections to a database. Clones share them.
#[derive(Clone)]
pub(super) struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    connections: DatabaseConnection,
    /// One for each connection. They are waited for here and not in the library, because here the waiter can be dropped.
    turns: Arc<Semaphore>,
    timeout: Duration,
    interruptions: Interruptions,
    /// Of SQLite: looked at before whatever is done, and after what was changed.
    file: Option<Arc<DatabaseFile>>,
}

impl Pool {
    /// `timeout` is for getting a connection; `interruptions` are those that the library's pool asks when a connection comes back.
    pub(super) fn new(connections: DatabaseConnection, count: u32, timeout: Duration, interruptions: Interruptions) -> Self {
        let turns = Arc::new(Semaphore::new(count.max(1) as usize));
        Self { inner: Arc::new(Inner { connections, turns, timeout, interruptions, file: None }) }
    }

    /// The same, for connections to that file. Before there are clones.
    pub(super) fn of_file(self, file: Arc<DatabaseFile>) -> Self {
        let inner = Arc::into_inner(self.inner).expect("there are no clones");
        Self { inner: Arc::new(Inner { file: Some(file), ..inner }) }
    }

    /// The library's handle, for whoever runs to its end in another way.
    pub(super) fn connections(&self) -> &DatabaseConnection {
        &self.inner.connections
    }

    /// Closes all of them, after what is under way.
    pub(super) async fn close(&self) -> Result<(), DbErr> {
        self.inner.connections.close_by_ref().await
    }

    /// Begins a transaction.
    pub(super) async fn begin(&self, options: TransactionOptions) -> Result<Transaction, DbErr> {
        let begin = move |connections: DatabaseConnection| async move { connections.begin_with_options(options).await };
        let (transaction, turn) = self.lend(begin).await?;
        Ok(Transaction { open: Arc::new(Open { transaction, _turn: turn }), pool: self.clone() })
    }

    /// Has work done over a connection, within the time for getting one and then as long as it takes.
    async fn lend<T, W>(&self, mut work: impl FnMut(DatabaseConnection) -> W + Send) -> Result<(T, OwnedSemaphorePermit), DbErr>
    where
        W: Future<Output = Result<T, DbErr>> + Send + 'static,
        T: Send + 'static,
    {
        self.is_there()?;
        let deadline = Instant::now() + self.inner.timeout;
        let turn = tokio::time::timeout_at(deadline, Arc::clone(&self.inner.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))?;
        let mut turn = turn.map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed))?;
        let mut pause = FULL_PAUSE_MIN;
        loop {
            let work = work(self.inner.connections.clone());
            // In this order they are dropped, too: first what holds the connection, then the turn.
            let (done, kept) = self.to_its_end(async move { (work.await, turn) }).await?;
            match done {
                Err(error) if is_without_connection(&error) && Instant::now() + pause < deadline => {
                    tokio::time::sleep(pause).await;
                    (turn, pause) = (kept, (pause * 2).min(FULL_PAUSE_MAX));
                }
                done => return done.map(|done| (done, kept)),
            }
        }
    }

    /// As [`lend`](Self::lend), for what changes rows: it is done only if it went where it was to go.
    async fn change<T, W>(&self, work: impl FnMut(DatabaseConnection) -> W + Send) -> Result<T, DbErr>
    where
        W: Future<Output = Result<T, DbErr>> + Send + 'static,
        T: Send + 'static,
    {
        let (done, _) = self.lend(work).await?;
        self.is_there()?;
        Ok(done)
    }

    fn is_there(&self) -> Result<(), DbErr> {
        let Some(file) = &self.inner.file else { return Ok(()) };
        file.check().map_err(|gone| DbErr::Custom(gone.to_string()))
    }

    /// Runs work as a task. Dropped, it leaves the task to its end, or to its interruption.
    async fn to_its_end<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, DbErr> {
        let (asker, gone) = oneshot::channel::<()>();
        let pool = Arc::clone(&self.inner);
        let task = async move {
            let mut work = std::pin::pin!(work);
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                _ = gone => {}
            }
            let done = tokio::time::timeout(pool.timeout, &mut work).await.ok();
            if done.is_none() {
                tracing::warn!(
                    "the database does not end what nobody waits for any more: it is interrupted, and connections are made anew"
                );
                pool.interruptions.note();
            }
            done
        };
        let done = tokio::spawn(task.in_current_span()).await;
        drop(asker);
        match done {
            Ok(Some(done)) => Ok(done),
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            Ok(None) | Err(_) => Err(DbErr::Conn(RuntimeErr::Internal("the process is stopping".into()))),
        }
    }
}

/// The error when the server has no connection to give: nothing was sent to it then.
fn is_without_connection(error: &DbErr) -> bool {
    let DbErr::Conn(RuntimeErr::SqlxError(error)) = error else { return false };
    is_full(error)
}

/// Whether a server, or the user's share of it, has no connection left.
pub(super) fn is_full(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    let number = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>().map(sqlx::mysql::MySqlDatabaseError::number);
    // Too many connections: of the server, of the user by the server's setting, of the user by its account's.
    matches!(number, Some(1040 | 1203 | 1226))
}

#[async_trait::async_trait]
impl ConnectionTrait for Pool {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.connections.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let work = |connections: DatabaseConnection| {
            let statement = statement.clone();
            async move { connections.execute_raw(statement).await }
        };
        self.change(work).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let work = |connections: DatabaseConnection| {
            let sql = sql.to_owned();
            async move { connections.execute_unprepared(&sql).await }
        };
        self.change(work).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let work = |connections: DatabaseConnection| {
            let statement = statement.clone();
            async move { connections.query_one_raw(statement).await }
        };
        Ok(self.lend(work).await?.0)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let work = |connections: DatabaseConnection| {
            let statement = statement.clone();
            async move { connections.query_all_raw(statement).await }
        };
        Ok(self.lend(work).await?.0)
    }
}

/// An open transaction. Dropped, it is rolled back.
pub(super) struct Transaction {
    open: Arc<Open>,
    pool: Pool,
}

struct Open {
    transaction: DatabaseTransaction,
    _turn: OwnedSemaphorePermit,
}

impl Transaction {
    /// Makes it durable. Whoever drops this does not learn whether it was.
    pub(super) async fn commit(self) -> Result<(), DbErr> {
        let Some(open) = Arc::into_inner(self.open) else {
            return Err(DbErr::Custom("a statement of the transaction was given up: all of it is rolled back".into()));
        };
        let commit = async move {
            // As a whole: the turn is given on when the connection is back.
            let Open { transaction, _turn } = open;
            transaction.commit().await
        };
        self.pool.to_its_end(commit).await??;
        self.pool.is_there()
    }

    /// Undoes it.
    pub(super) async fn rollback(self) -> Result<(), DbErr> {
        // A statement that was given up has it still: then it is undone when that ends.
        let Some(open) = Arc::into_inner(self.open) else { return Ok(()) };
        let rollback = async move {
            let Open { transaction, _turn } = open;
            transaction.rollback().await
        };
        self.pool.to_its_end(rollback).await?
    }

    /// The library's transaction, to read a stream of rows from. Only for tasks that nobody drops; one that stops in the middle of the
    /// rows gives the transaction up.
    pub(super) fn streams(&self) -> &DatabaseTransaction {
        &self.open.transaction
    }

    /// Ends it in the middle of an answer: its connection is closed.
    pub(super) fn give_up(self) {
        self.pool.inner.interruptions.note();
    }

    async fn run<T: Send + 'static, W>(&self, work: impl FnOnce(Arc<Open>) -> W + Send) -> Result<T, DbErr>
    where
        W: Future<Output = Result<T, DbErr>> + Send + 'static,
    {
        self.pool.to_its_end(work(Arc::clone(&self.open))).await?
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        self.open.transaction.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.run(|open| async move { open.transaction.execute_raw(statement).await }).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let sql = sql.to_owned();
        self.run(|open| async move { open.transaction.execute_unprepared(&sql).await }).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.run(|open| async move { open.transaction.query_one_raw(statement).await }).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.run(|open| async move { open.transaction.query_all_raw(statement).await }).await
    }
}

/// When something was last interrupted on a pool's connections. Clones share it.
#[derive(Clone)]
pub(super) struct Interruptions {
    since: Clock,
    /// In microseconds; 0 = never.
    last: Arc<AtomicU64>,
}

impl Interruptions {
    pub(super) fn none() -> Self {
        Self { since: Clock::now(), last: Arc::default() }
    }

    /// Noted before the connection comes back.
    fn note(&self) {
        self.last.fetch_max(micros(self.since.elapsed()).max(1), Ordering::AcqRel);
    }

    /// Whether a connection of that age may be the one.
    pub(super) fn may_be_of(&self, age: Duration) -> bool {
        let (last, made) = (self.last.load(Ordering::Acquire), micros(self.since.elapsed().saturating_sub(age)));
        last > 0 && made <= last
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
