//! What slows the guessing of passwords and is known to all nodes: budgets, and where accounts were logged in from lately. Never decides
//! who is let in. Budgets count on the server's clock, so that nodes whose clocks differ share them all the same.

use sea_orm::{ConnectionTrait, DbBackend, Value};

use super::{Store, StoreError};
use crate::domain::Timestamp;

/// Addresses that are remembered of one name, at most: the last ones.
const ADDRESSES_MAX: u64 = 16;

/// Rows that one statement forgets, at most, and how many statements there are then.
const FORGOTTEN_MAX: u64 = 1_000;
const ROUNDS_MAX: usize = 1_000;

/// A budget of attempts: a token bucket (GCRA), whose only state is the time at which it is full again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Attempts at once, at most; at least 1.
    pub burst: u32,
    /// After how many milliseconds there is one more; at least 1.
    pub step_ms: u32,
}

impl Store {
    /// Takes one attempt of the budget with this id. None if there was one; else the milliseconds until there is.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn take_attempt(&self, id: u64, budget: Budget) -> Result<Option<u64>, StoreError> {
        let (writer, now) = (&self.inner.connections.writer, self.now());
        let (id, step) = (Value::from(id.cast_signed()), i64::from(budget.step_ms));
        let slack = step * i64::from(budget.burst.max(1) - 1);
        let take = format!(
            "UPDATE login_budgets SET full_at = CASE WHEN full_at > {now} THEN full_at ELSE {now} END + ? WHERE id = ? AND full_at <= {now} + ?"
        );
        // The rows are counted that the condition is true of. Of two attempts at once the second sees what the first has left.
        let take = || writer.execute_raw(self.statement(&take, [step.into(), id.clone(), slack.into()]));
        if take().await?.rows_affected() == 1 {
            return Ok(None);
        }
        let ignore = if self.backend() == DbBackend::MySql { "INSERT IGNORE" } else { "INSERT OR IGNORE" };
        let full = format!("{ignore} INTO login_budgets (id, full_at) VALUES (?, 0)");
        writer.execute_raw(self.statement(&full, [id.clone()])).await?;
        if take().await?.rows_affected() == 1 {
            return Ok(None);
        }
        let wait = format!("SELECT CAST(full_at - {now} AS {}) FROM login_budgets WHERE id = ?", self.whole_number());
        let row = writer.query_one_raw(self.statement(&wait, [id])).await?;
        let until_full: i64 = row.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or(0);
        Ok(Some(u64::try_from(until_full - slack).unwrap_or(0).max(1)))
    }

    /// When this name was last logged in from this address, if that is known.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn login_seen_at(&self, account: u64, address: u64) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT seen_at FROM login_addresses WHERE account = ? AND address = ?";
        let row = self.reader().query_one_raw(self.statement(sql, pair(account, address))).await?;
        Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
    }

    /// Remembers that this name was logged in from this address; of one name only the last of them.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn note_login(&self, account: u64, address: u64, now: Timestamp) -> Result<(), StoreError> {
        let writer = &self.inner.connections.writer;
        let [of, at] = pair(account, address);
        let sql = "UPDATE login_addresses SET seen_at = ? WHERE account = ? AND address = ?";
        if writer.execute_raw(self.statement(sql, [now.millis().into(), of.clone(), at.clone()])).await?.rows_affected() > 0 {
            return Ok(());
        }
        let ignore = if self.backend() == DbBackend::MySql { "INSERT IGNORE" } else { "INSERT OR IGNORE" };
        let sql = format!("{ignore} INTO login_addresses (account, address, seen_at) VALUES (?, ?, ?)");
        writer.execute_raw(self.statement(&sql, [of.clone(), at, now.millis().into()])).await?;
        let sql = format!(
            "SELECT address FROM login_addresses WHERE account = ? ORDER BY seen_at DESC, address LIMIT {FORGOTTEN_MAX} OFFSET {ADDRESSES_MAX}"
        );
        for row in writer.query_all_raw(self.statement(&sql, [of.clone()])).await? {
            let address: i64 = row.try_get_by_index(0)?;
            let sql = "DELETE FROM login_addresses WHERE account = ? AND address = ?";
            writer.execute_raw(self.statement(sql, [of.clone(), address.into()])).await?;
        }
        Ok(())
    }

    /// Forgets budgets that are full again, and addresses that were last seen before that time: all of them, if that are no more than a million.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn forget_logins(&self, seen_before: Timestamp) -> Result<(), StoreError> {
        self.forget_some(&format!("DELETE FROM login_budgets WHERE full_at < {}", self.now()), "full_at", None).await?;
        self.forget_some("DELETE FROM login_addresses WHERE seen_at < ?", "seen_at", Some(seen_before.millis().into())).await
    }

    async fn forget_some(&self, sql: &str, oldest: &str, value: Option<Value>) -> Result<(), StoreError> {
        // A statement at a time, so that nobody waits long for a row. SQLite's DELETE has no limit, and the one process that writes to it makes
        // few such rows.
        let is_limited = self.backend() == DbBackend::MySql;
        let sql = if is_limited { format!("{sql} ORDER BY {oldest} LIMIT {FORGOTTEN_MAX}") } else { sql.to_owned() };
        for _ in 0..ROUNDS_MAX {
            let forgotten = self.inner.connections.writer.execute_raw(self.statement(&sql, value.clone())).await?.rows_affected();
            if !is_limited || forgotten < FORGOTTEN_MAX {
                break;
            }
        }
        Ok(())
    }

    /// The server's time in Unix milliseconds, in its own words. A file has the clock of this machine.
    fn now(&self) -> &'static str {
        match self.backend() {
            DbBackend::MySql => "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)",
            _ => "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
        }
    }

    fn whole_number(&self) -> &'static str {
        if self.backend() == DbBackend::MySql { "SIGNED" } else { "INTEGER" }
    }
}

fn pair(account: u64, address: u64) -> [Value; 2] {
    [account.cast_signed().into(), address.cast_signed().into()]
}
