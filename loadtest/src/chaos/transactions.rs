//! What a MySQL or MariaDB server says of the open transactions of one database, while a cluster on it is hurt: none may be open for
//! longer than its work, and none may be left open on a connection that waits to be lent. Only looks.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, ensure};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, QueryResult, Statement};
use tokio::time::MissedTickBehavior;

/// The server shows the same transactions again to whoever looks within 0.1 s of the last look.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How old a transaction may be, in seconds, on a machine that does a hundred things at once.
const OPEN_MAX_SECONDS: u64 = 10;
/// How long the connection of an open transaction may be without a statement, in seconds.
const ASLEEP_MAX_SECONDS: u64 = 3;
/// How long what is open at the end may stay so.
const ENDED_TIMEOUT: Duration = Duration::from_secs(15);

/// One open transaction, as the server tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Open {
    connection: i64,
    began: String,
    seconds: u64,
    /// How long its connection has had no statement; zero while it has one.
    asleep_seconds: u64,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) looks: u64,
    pub(super) oldest_seconds: u64,
}

/// Looks at the open transactions of one database.
#[derive(Debug)]
pub(super) struct Transactions {
    connection: DatabaseConnection,
}

impl Transactions {
    /// Of the database at that address.
    pub(super) async fn of(url: &str) -> anyhow::Result<Self> {
        let options = ConnectOptions::new(url).max_connections(1).sqlx_logging(false).to_owned();
        Ok(Self { connection: Database::connect(options).await? })
    }

    /// Looks again and again while something is done, and then until all that is open has ended.
    ///
    /// # Errors
    /// Of what is done; and if a transaction is open for too long, or open and without a statement.
    pub(super) async fn watch_while<T>(&self, done: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<(T, Seen)> {
        let mut seen = Seen::default();
        let done = {
            let watching = self.watch(&mut seen);
            tokio::select! {
                watched = watching => match watched? {},
                done = done => done?,
            }
        };
        let left = self.look(&mut seen).await?;
        tokio::time::timeout(ENDED_TIMEOUT, self.ended(&mut seen, left)).await.context("transactions do not end")??;
        Ok((done, seen))
    }

    /// Never ends but by an error.
    async fn watch(&self, seen: &mut Seen) -> anyhow::Result<Infallible> {
        let mut pause = interval();
        loop {
            pause.tick().await;
            self.look(seen).await?;
        }
    }

    async fn ended(&self, seen: &mut Seen, mut left: Vec<Open>) -> anyhow::Result<()> {
        let mut pause = interval();
        while !left.is_empty() {
            pause.tick().await;
            let open = self.look(seen).await?;
            left.retain(|left| open.iter().any(|open| (open.connection, &open.began) == (left.connection, &left.began)));
        }
        Ok(())
    }

    async fn look(&self, seen: &mut Seen) -> anyhow::Result<Vec<Open>> {
        const OPEN: &str = "SELECT CAST(p.id AS SIGNED), CAST(t.trx_started AS CHAR), \
            CAST(GREATEST(TIMESTAMPDIFF(SECOND, t.trx_started, NOW()), 0) AS SIGNED), \
            CAST(IF(p.command = 'Sleep', p.time, 0) AS SIGNED) FROM information_schema.innodb_trx t \
            JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id \
            WHERE p.db = DATABASE() AND p.id <> CONNECTION_ID()";
        let rows = self.connection.query_all_raw(Statement::from_string(DbBackend::MySql, OPEN)).await?;
        let open = rows.iter().map(Open::read).collect::<Result<Vec<_>, _>>()?;
        seen.looks += 1;
        for transaction in &open {
            seen.oldest_seconds = seen.oldest_seconds.max(transaction.seconds);
            transaction.is_at_work()?;
        }
        Ok(open)
    }
}

impl Open {
    fn read(row: &QueryResult) -> anyhow::Result<Self> {
        Ok(Self {
            connection: row.try_get_by_index(0)?,
            began: row.try_get_by_index(1)?,
            seconds: row.try_get_by_index::<i64>(2)?.unsigned_abs(),
            asleep_seconds: row.try_get_by_index::<i64>(3)?.unsigned_abs(),
        })
    }

    fn is_at_work(&self) -> anyhow::Result<()> {
        ensure!(self.seconds <= OPEN_MAX_SECONDS, "a transaction is open for longer than its work: {self:?}");
        ensure!(self.asleep_seconds <= ASLEEP_MAX_SECONDS, "a connection without a statement is in an open transaction: {self:?}");
        Ok(())
    }
}

fn interval() -> tokio::time::Interval {
    let mut pause = tokio::time::interval(LOOK_INTERVAL);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pause
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(seconds: u64, asleep_seconds: u64) -> Open {
        Open { connection: 1, began: String::new(), seconds, asleep_seconds }
    }

    #[test]
    fn a_transaction_that_is_old_or_forgotten_is_told_from_one_at_work() {
        assert!(open(OPEN_MAX_SECONDS, ASLEEP_MAX_SECONDS).is_at_work().is_ok());
        let old = open(OPEN_MAX_SECONDS + 1, 0).is_at_work().unwrap_err().to_string();
        assert!(old.contains("longer than its work"), "{old}");
        let forgotten = open(5, ASLEEP_MAX_SECONDS + 1).is_at_work().unwrap_err().to_string();
        assert!(forgotten.contains("without a statement"), "{forgotten}");
    }
}
