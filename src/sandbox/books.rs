//! What the sandbox knows: payments, refunds, keys, events and the messages it still has to send, in one SQLite file. The only place here
//! that knows SQL. Each change is one transaction with its event and its messages; nothing is kept in memory, and nothing is forgotten but
//! keys. Never draws a random number and never sends anything.

mod rows;

use std::path::Path;
use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, QueryResult, SqlxSqliteConnector, Statement,
    TransactionTrait, Value,
};
use serde_json::json;

pub(super) use rows::{Delivery, Event, Key, Payment, Refund, State};

use crate::domain::{Currency, Timestamp};

/// How long a transaction waits for the one before it.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// Payments that are settled in one transaction, at most.
const SETTLED_MAX: i64 = 256;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS payments (
    id TEXT PRIMARY KEY, token TEXT NOT NULL UNIQUE, reference TEXT, order_name TEXT, description TEXT NOT NULL, amount INTEGER NOT NULL,
    currency TEXT NOT NULL, state TEXT NOT NULL, authorized INTEGER NOT NULL, captured INTEGER NOT NULL, refunded INTEGER NOT NULL,
    return_url TEXT, created_at INTEGER NOT NULL, expires_at INTEGER, succeeds_at INTEGER);
CREATE INDEX IF NOT EXISTS ix_payments_reference ON payments (reference);
CREATE INDEX IF NOT EXISTS ix_payments_succeeds_at ON payments (succeeds_at) WHERE succeeds_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS refunds (
    id TEXT PRIMARY KEY, payment_id TEXT NOT NULL, reference TEXT, amount INTEGER NOT NULL, created_at INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS ix_refunds_payment_id ON refunds (payment_id);
CREATE TABLE IF NOT EXISTS idempotency_keys (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, made_id TEXT NOT NULL, used_at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, payment_id TEXT NOT NULL, body TEXT NOT NULL, created_at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, event_number INTEGER NOT NULL, due_at INTEGER NOT NULL, attempts INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS ix_deliveries_due_at ON deliveries (due_at);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
";

/// The file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox's file: {0}")]
pub struct BooksError(#[from] DbErr);

/// What a change came to.
#[derive(Clone, Debug)]
pub(super) enum Outcome<T> {
    /// It was made.
    Made(T),
    /// It was made before, under the same key.
    Before(T),
    /// The key was used for something else.
    KeyReused,
    /// The payment is not in a state for it.
    UnexpectedState(Box<Payment>),
    /// There is no such payment.
    Missing,
    /// More than there is to give back.
    TooMuch,
}

/// What a person, or the passing of time, makes of a payment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Pay,
    Decline,
    /// It succeeds then.
    Later(Timestamp),
}

/// What whoever sells makes of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Capture,
    Cancel,
    Void,
}

/// How an event is sent: after so many milliseconds each. None = it is lost.
pub(super) type Copies = Vec<u64>;

/// When something happens and how it is told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) now: Timestamp,
    pub(super) copies: Copies,
}

/// The books.
#[derive(Clone, Debug)]
pub(super) struct Books {
    connection: DatabaseConnection,
}

impl Books {
    /// Opens the file, or makes it.
    pub(super) async fn open(path: &Path) -> Result<Self, BooksError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What was committed survives the end of the process; after a loss of power the last of it may be missing.
            .synchronous(SqliteSynchronous::Normal);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(TURN_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options);
        let connection = SqlxSqliteConnector::from_sqlx_sqlite_pool(pool);
        for statement in SCHEMA.split(';').filter(|statement| !statement.trim().is_empty()) {
            connection.execute_unprepared(statement).await?;
        }
        Ok(Self { connection })
    }

    /// Closes the file, after what is under way.
    pub(super) async fn close(&self) -> Result<(), BooksError> {
        Ok(self.connection.close_by_ref().await?)
    }

    pub(super) async fn setting(&self, name: &'static str) -> Result<Option<String>, BooksError> {
        self.run(async move |books| {
            let row = one(&books, "SELECT value FROM settings WHERE name = ?", [name.into()]).await?;
            row.map(|row| row.try_get_by_index(0)).transpose()
        })
        .await
    }

    pub(super) async fn set(&self, name: &'static str, value: String) -> Result<(), BooksError> {
        self.run(async move |books| execute(&books, "REPLACE INTO settings (name, value) VALUES (?, ?)", [name.into(), value.into()]).await)
            .await
    }

    /// Makes a payment, once for each key that is not forgotten.
    pub(super) async fn create(&self, payment: Payment, key: Option<Key>, told: Told) -> Result<Outcome<Payment>, BooksError> {
        self.run(async move |books| {
            if let Some(key) = &key {
                match made_under(&books, key).await? {
                    Some((_, false)) => return Ok(Outcome::KeyReused),
                    Some((id, true)) => return Ok(payment_of(&books, &id).await?.map_or(Outcome::Missing, Outcome::Before)),
                    None => remember(&books, key, &payment.id).await?,
                }
            }
            rows::insert(&books, &payment).await?;
            note(&books, "payment.created", &payment, &told).await?;
            Ok(Outcome::Made(payment))
        })
        .await
    }

    /// A payment by its id, or the last one with that reference.
    pub(super) async fn payment(&self, name: String) -> Result<Option<Payment>, BooksError> {
        self.run(async move |books| match payment_of(&books, &name).await? {
            Some(payment) => Ok(Some(payment)),
            None => rows::payment_where(&books, "reference = ? ORDER BY created_at DESC, id LIMIT 1", name).await,
        })
        .await
    }

    /// A payment by the secret part of its page's address.
    pub(super) async fn payment_of_page(&self, token: String) -> Result<Option<Payment>, BooksError> {
        self.run(async move |books| rows::payment_where(&books, "token = ?", token).await).await
    }

    /// What a person does at a payment's page.
    pub(super) async fn act(&self, token: String, act: Act, told: Told) -> Result<Outcome<Payment>, BooksError> {
        self.run(async move |books| {
            let Some(mut payment) = rows::payment_where(&books, "token = ?", token).await? else { return Ok(Outcome::Missing) };
            if payment.state != State::Open {
                return Ok(Outcome::UnexpectedState(Box::new(payment)));
            }
            let kind = match act {
                Act::Pay => payment.authorize(),
                Act::Decline => payment.turn(State::Failed, "payment.failed"),
                Act::Later(at) => {
                    payment.succeeds_at = Some(at);
                    payment.turn(State::Processing, "payment.processing")
                }
            };
            rows::update(&books, &payment).await?;
            note(&books, kind, &payment, &told).await?;
            Ok(Outcome::Made(payment))
        })
        .await
    }

    /// What whoever sells does with a payment.
    pub(super) async fn change(&self, id: String, change: Change, told: Told) -> Result<Outcome<Payment>, BooksError> {
        self.run(async move |books| {
            let Some(mut payment) = payment_of(&books, &id).await? else { return Ok(Outcome::Missing) };
            let kind = match (change, payment.state) {
                (Change::Capture, State::Authorized) => {
                    payment.captured = payment.authorized;
                    payment.turn(State::Captured, "payment.captured")
                }
                (Change::Cancel | Change::Void, State::Open) | (Change::Void, State::Authorized) => {
                    payment.turn(State::Cancelled, "payment.cancelled")
                }
                _ => return Ok(Outcome::UnexpectedState(Box::new(payment))),
            };
            rows::update(&books, &payment).await?;
            note(&books, kind, &payment, &told).await?;
            Ok(Outcome::Made(payment))
        })
        .await
    }

    /// Gives money back, once for each key that is not forgotten.
    pub(super) async fn refund(
        &self,
        refund: Refund,
        currency: Currency,
        key: Option<Key>,
        told: Told,
    ) -> Result<Outcome<Refund>, BooksError> {
        self.run(async move |books| {
            if let Some(key) = &key {
                match made_under(&books, key).await? {
                    Some((_, false)) => return Ok(Outcome::KeyReused),
                    Some((id, true)) => {
                        let row = one(&books, &format!("SELECT {} FROM refunds WHERE id = ?", rows::REFUND_COLUMNS), [id.into()]).await?;
                        return Ok(row.map(|row| rows::refund(&row)).transpose()?.map_or(Outcome::Missing, Outcome::Before));
                    }
                    None => {}
                }
            }
            let Some(mut payment) = payment_of(&books, &refund.payment).await? else { return Ok(Outcome::Missing) };
            if payment.state != State::Captured || payment.currency != currency {
                return Ok(Outcome::UnexpectedState(Box::new(payment)));
            }
            if refund.amount < 1 || refund.amount > payment.captured - payment.refunded {
                return Ok(Outcome::TooMuch);
            }
            if let Some(key) = &key {
                remember(&books, key, &refund.id).await?;
            }
            payment.refunded += refund.amount;
            rows::update(&books, &payment).await?;
            rows::insert_refund(&books, &refund).await?;
            note(&books, "payment.refunded", &payment, &told).await?;
            Ok(Outcome::Made(refund))
        })
        .await
    }

    pub(super) async fn refunds(&self, payment: String) -> Result<Option<Vec<Refund>>, BooksError> {
        self.run(async move |books| {
            let Some(payment) = payment_of(&books, &payment).await? else { return Ok(None) };
            let sql = format!("SELECT {} FROM refunds WHERE payment_id = ? ORDER BY created_at, id LIMIT 100", rows::REFUND_COLUMNS);
            let found = all(&books, &sql, [payment.id.into()]).await?;
            found.iter().map(rows::refund).collect::<Result<_, _>>().map(Some)
        })
        .await
    }

    /// Events after a number, the oldest first.
    pub(super) async fn events(&self, after: i64, limit: u32) -> Result<Vec<Event>, BooksError> {
        self.run(async move |books| {
            let sql = "SELECT number, kind, body, created_at FROM events WHERE number > ? ORDER BY number LIMIT ?";
            let found = all(&books, sql, [after.into(), i64::from(limit).into()]).await?;
            found.iter().map(rows::event).collect()
        })
        .await
    }

    /// The newest events, the oldest of them first.
    pub(super) async fn newest_events(&self, limit: u32) -> Result<Vec<Event>, BooksError> {
        self.run(async move |books| {
            let sql = "SELECT number, kind, body, created_at FROM events ORDER BY number DESC LIMIT ?";
            let found = all(&books, sql, [i64::from(limit).into()]).await?;
            found.iter().rev().map(rows::event).collect()
        })
        .await
    }

    /// Has what was to succeed by now succeed; how many there were. `copies` of each event, one after the other.
    pub(super) async fn settle(&self, now: Timestamp, mut copies: impl FnMut() -> Copies + Send + 'static) -> Result<usize, BooksError> {
        self.run(async move |books| {
            let due =
                rows::payments_where(&books, "succeeds_at <= ? ORDER BY succeeds_at LIMIT ?", [now.millis().into(), SETTLED_MAX.into()])
                    .await?;
            for mut payment in due.iter().cloned() {
                let kind = payment.authorize();
                rows::update(&books, &payment).await?;
                note(&books, kind, &payment, &Told { now, copies: copies() }).await?;
            }
            Ok(due.len())
        })
        .await
    }

    /// Messages that are to be sent by now.
    pub(super) async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<Delivery>, BooksError> {
        self.run(async move |books| {
            let sql = "SELECT d.id, d.attempts, e.number, e.body FROM deliveries d JOIN events e ON e.number = d.event_number \
                       WHERE d.due_at <= ? ORDER BY d.due_at, d.id LIMIT ?";
            let found = all(&books, sql, [now.millis().into(), i64::from(limit).into()]).await?;
            found.iter().map(rows::delivery).collect()
        })
        .await
    }

    /// When something is to be done next: a payment succeeds, or a message is sent.
    pub(super) async fn next_due(&self, with_messages: bool) -> Result<Option<Timestamp>, BooksError> {
        self.run(async move |books| {
            let sql = "SELECT MIN(at) FROM (SELECT MIN(due_at) AS at FROM deliveries WHERE ? UNION ALL \
                       SELECT MIN(succeeds_at) FROM payments WHERE succeeds_at IS NOT NULL)";
            let row = one(&books, sql, [with_messages.into()]).await?;
            let at = row.map(|row| row.try_get_by_index::<Option<i64>>(0)).transpose()?.flatten();
            Ok(at.map(|millis| Timestamp::from_millis(millis).unwrap_or(Timestamp::ZERO)))
        })
        .await
    }

    /// A message is there, or given up.
    pub(super) async fn delivered(&self, id: i64) -> Result<(), BooksError> {
        self.run(async move |books| execute(&books, "DELETE FROM deliveries WHERE id = ?", [id.into()]).await).await
    }

    /// A message is sent again then.
    pub(super) async fn postpone(&self, id: i64, due_at: Timestamp) -> Result<(), BooksError> {
        self.run(async move |books| {
            let sql = "UPDATE deliveries SET due_at = ?, attempts = attempts + 1 WHERE id = ?";
            execute(&books, sql, [due_at.millis().into(), id.into()]).await
        })
        .await
    }

    /// Runs work in a transaction of its own, to its end, whatever becomes of whoever waits for it.
    async fn run<T, W, F>(&self, work: W) -> Result<T, BooksError>
    where
        T: Send + 'static,
        W: FnOnce(Open) -> F + Send + 'static,
        F: Future<Output = Result<T, DbErr>> + Send + 'static,
    {
        let connection = self.connection.clone();
        let task = tokio::spawn(async move {
            let open = Open(std::sync::Arc::new(connection.begin().await?));
            let done = work(open.clone()).await;
            let transaction = std::sync::Arc::into_inner(open.0).expect("the work is over, and it keeps nothing");
            match &done {
                Ok(_) => transaction.commit().await?,
                Err(_) => transaction.rollback().await?,
            }
            done
        });
        match task.await {
            Ok(done) => Ok(done?),
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            Err(_) => Err(BooksError(DbErr::Custom("the process is stopping".to_owned()))),
        }
    }
}

/// An open transaction.
#[derive(Clone)]
pub(super) struct Open(std::sync::Arc<DatabaseTransaction>);

async fn payment_of(books: &Open, id: &str) -> Result<Option<Payment>, DbErr> {
    rows::payment_where(books, "id = ?", id.to_owned()).await
}

/// What was made under a key that is not forgotten, and whether by the same request.
async fn made_under(books: &Open, key: &Key) -> Result<Option<(String, bool)>, DbErr> {
    let sql = "SELECT fingerprint, made_id FROM idempotency_keys WHERE key = ? AND used_at > ?";
    let row = one(books, sql, [key.text.clone().into(), key.forgotten_until.millis().into()]).await?;
    let Some(row) = row else { return Ok(None) };
    let (fingerprint, made): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    Ok(Some((made, fingerprint == key.fingerprint)))
}

async fn remember(books: &Open, key: &Key, made: &str) -> Result<(), DbErr> {
    let sql = "REPLACE INTO idempotency_keys (key, fingerprint, made_id, used_at) VALUES (?, ?, ?, ?)";
    let values = [key.text.clone().into(), key.fingerprint.clone().into(), made.into(), key.used_at.millis().into()];
    execute(books, sql, values).await
}

/// Writes down that something happened, and what is to be sent of it.
async fn note(books: &Open, kind: &str, payment: &Payment, told: &Told) -> Result<(), DbErr> {
    let body = json!({"type": kind, "timestamp": told.now, "data": payment.facts()}).to_string();
    let sql = "INSERT INTO events (kind, payment_id, body, created_at) VALUES (?, ?, ?, ?) RETURNING number";
    let row = one(books, sql, [kind.into(), payment.id.clone().into(), body.into(), told.now.millis().into()]).await?;
    let number: i64 = row.ok_or_else(|| DbErr::Custom("an event got no number".to_owned()))?.try_get_by_index(0)?;
    for after in &told.copies {
        let sql = "INSERT INTO deliveries (event_number, due_at, attempts) VALUES (?, ?, 0)";
        execute(books, sql, [number.into(), told.now.plus_millis(*after).millis().into()]).await?;
    }
    Ok(())
}

async fn one(books: &Open, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<Option<QueryResult>, DbErr> {
    books.0.query_one_raw(Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)).await
}

async fn all(books: &Open, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<Vec<QueryResult>, DbErr> {
    books.0.query_all_raw(Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)).await
}

async fn execute(books: &Open, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<(), DbErr> {
    books.0.execute_raw(Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)).await.map(drop)
}

#[cfg(test)]
mod tests;
