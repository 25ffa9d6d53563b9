//! What was done under an `Idempotency-Key`, and the ids that were drawn, or whatever else is remembered, for what is done under one. Never decides whether something is
//! done: rows of changes are the projection's, and an id is drawn before anything is made with it.

use sea_orm::{ConnectionTrait, QueryResult, Statement, Value};
use uuid::Uuid;

use super::pool::Transaction;
use super::waits::timely;
use super::{Store, StoreError};
use crate::domain::{CommodityId, Operation, OperationKey, OrderId, PartitionId, RequestFingerprint, Subject, Timestamp};
use crate::engine::{KnownOperation, OPERATIONS_KEPT_MS};

/// How long an id that was drawn under a key is that key's, in milliseconds: 24 hours. Engines keep the key longer, so that none can have
/// forgotten what was made with an id that is still drawn.
const DRAWN_MS: u64 = 24 * 60 * 60 * 1_000;
/// How long rows stay, in milliseconds: twice as long as anybody needs them.
const ROWS_KEPT_MS: u64 = 2 * OPERATIONS_KEPT_MS;
/// Rows that go in one transaction, at most.
const DROPPED_MAX: u64 = 1_000;

const COLUMNS: &str = "operation_key, partition_id, fingerprint, commodity_id, order_id, done_at";

/// A row for the changes that were made under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewOperation {
    pub(crate) partition: PartitionId,
    pub(crate) operation: Operation,
    pub(crate) subject: Subject,
    pub(crate) at: Timestamp,
}

/// An id for something to be made under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawn {
    /// This one, now.
    New(CommodityId),
    /// This one, before: something may be made with it already.
    Before(CommodityId),
    /// The key is that of a request that asked for something else.
    Mismatch,
}

/// A number that was to be remembered for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// It is from now on.
    New,
    /// This one was before.
    Before(i64),
    /// The key is that of a request that asked for something else.
    Mismatch,
}

impl Store {
    /// What was done under a key, as far as the tables have it.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn operation(&self, key: OperationKey) -> Result<Option<(Operation, Subject)>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM operations WHERE operation_key = ?");
        let row = self.reader().query_one_raw(self.statement(&sql, [key_value(key)])).await?;
        row.map(|row| read(&row).map(|(operation, subject, _)| (operation, subject))).transpose()
    }

    /// The first of so many commodity ids in a row for a request under a key: that which it got before, or one that nobody got.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn commodity_ids_under_key(&self, operation: Operation, count: u32, now: Timestamp) -> Result<Drawn, StoreError> {
        let transaction = self.begin_write().await?;
        // The first statement: whoever draws an id waits here for whoever draws one, under the same key too.
        let id = self.draw_commodity_ids(&transaction, count).await?;
        let remembered = self.remember_in(&transaction, operation, id.get(), now).await?;
        if remembered == Remembered::New {
            transaction.commit().await?;
            return Ok(Drawn::New(id));
        }
        // The id that was drawn in vain is the next one's.
        transaction.rollback().await?;
        match remembered {
            Remembered::Mismatch => Ok(Drawn::Mismatch),
            Remembered::New => Ok(Drawn::New(id)),
            Remembered::Before(id) => {
                CommodityId::new(id).map(Drawn::Before).map_err(|error| StoreError::Corrupt(format!("creations.made_id: {error}")))
            }
        }
    }

    /// Remembers a number for a request under a key, unless one is remembered.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn remember(&self, operation: Operation, number: i64, now: Timestamp) -> Result<Remembered, StoreError> {
        let transaction = self.begin_write().await?;
        // As above: the row is locked, whatever is written into it.
        transaction.execute_raw(self.statement("UPDATE meta SET id = id WHERE id = 1", [])).await?;
        let remembered = self.remember_in(&transaction, operation, number, now).await?;
        transaction.commit().await?;
        Ok(remembered)
    }

    /// What is remembered for a request under a key.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn remembered(&self, operation: Operation, now: Timestamp) -> Result<Option<Remembered>, StoreError> {
        let row = self.reader().query_one_raw(self.creation(operation, now)).await?;
        row.map(|row| before(&row, operation)).transpose()
    }

    /// The same as [`Self::remember`], in a transaction in which nobody else does it for the same key.
    pub(super) async fn remember_in(
        &self,
        transaction: &Transaction,
        operation: Operation,
        number: i64,
        now: Timestamp,
    ) -> Result<Remembered, StoreError> {
        if let Some(row) = transaction.query_one_raw(self.creation(operation, now)).await? {
            return before(&row, operation);
        }
        let sql = "REPLACE INTO creations (operation_key, fingerprint, made_id, drawn_at) VALUES (?, ?, ?, ?)";
        let values = [key_value(operation.key), operation.fingerprint.0.into(), number.into(), now.millis().into()];
        transaction.execute_raw(self.statement(sql, values)).await?;
        Ok(Remembered::New)
    }

    fn creation(&self, operation: Operation, now: Timestamp) -> Statement {
        let sql = "SELECT fingerprint, made_id FROM creations WHERE operation_key = ? AND drawn_at >= ?";
        self.statement(sql, [key_value(operation.key), now.minus_millis(DRAWN_MS).millis().into()])
    }

    /// Drops rows of keys that nobody needs any more, at most so many of each table as go in one transaction.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn drop_old_keys(&self, now: Timestamp) -> Result<(), StoreError> {
        let before = now.minus_millis(ROWS_KEPT_MS).millis();
        for (table, column) in [("operations", "done_at"), ("creations", "drawn_at")] {
            let sql = format!("SELECT {column} FROM {table} WHERE {column} < ? ORDER BY {column} LIMIT ?");
            let old = self.reader().query_all_raw(self.statement(&sql, [before.into(), DROPPED_MAX.into()])).await?;
            let Some(last) = old.last() else { continue };
            let last: i64 = last.try_get_by_index(0)?;
            let sql = format!("DELETE FROM {table} WHERE {column} <= ?");
            self.inner.connections.writer.execute_raw(self.statement(&sql, [last.into()])).await?;
        }
        Ok(())
    }

    /// What an engine of the partition is to know of changes that were made under a key.
    pub(super) async fn known_operations(
        &self,
        transaction: &Transaction,
        partition: PartitionId,
        now: Timestamp,
    ) -> Result<Vec<KnownOperation>, StoreError> {
        // None of them has 0: that is every commodity, and leaves out the orders.
        let sql = format!("SELECT {COLUMNS} FROM operations WHERE partition_id = ? AND commodity_id > 0 AND done_at >= ?");
        let since = now.minus_millis(OPERATIONS_KEPT_MS).millis();
        let query = self.statement(&sql, [i32::from(partition.get()).into(), since.into()]);
        let rows = timely(transaction.query_all_raw(query)).await?;
        let known = rows.iter().map(|row| match read(row)? {
            (operation, Subject::Commodity(commodity), at) => Ok(Some(KnownOperation { operation, commodity, at })),
            (_, Subject::Order(_), _) => Ok(None),
        });
        known.filter_map(Result::transpose).collect()
    }
}

/// The statement that adds so many rows, each in place of one under the same key, and its values.
pub(super) fn insert(operations: &[NewOperation]) -> (String, Vec<Value>) {
    let rows = vec!["(?, ?, ?, ?, ?, ?)"; operations.len()].join(", ");
    let values = operations.iter().flat_map(|new| {
        let (commodity, order) = match new.subject {
            Subject::Commodity(commodity) => (Some(commodity.get()), None),
            Subject::Order(order) => (None, Some(order.uuid())),
        };
        [
            key_value(new.operation.key),
            i32::from(new.partition.get()).into(),
            new.operation.fingerprint.0.into(),
            commodity.into(),
            order.into(),
            new.at.millis().into(),
        ]
    });
    (format!("REPLACE INTO operations ({COLUMNS}) VALUES {rows}"), values.collect())
}

fn before(row: &QueryResult, operation: Operation) -> Result<Remembered, StoreError> {
    let (fingerprint, number): (i64, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    Ok(if RequestFingerprint(fingerprint) == operation.fingerprint { Remembered::Before(number) } else { Remembered::Mismatch })
}

fn key_value(key: OperationKey) -> Value {
    Uuid::from_bytes(key.to_bytes()).into()
}

fn read(row: &QueryResult) -> Result<(Operation, Subject, Timestamp), StoreError> {
    let (key, fingerprint): (Uuid, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(2)?);
    let (commodity, order): (Option<i64>, Option<Uuid>) = (row.try_get_by_index(3)?, row.try_get_by_index(4)?);
    let corrupt = || StoreError::Corrupt(format!("the operation under key {key}"));
    let subject = match (commodity, order) {
        (Some(commodity), None) => CommodityId::new(commodity).map(Subject::Commodity).map_err(|_| corrupt())?,
        (None, Some(order)) => OrderId::from_uuid(order).map(Subject::Order).map_err(|_| corrupt())?,
        (Some(_), Some(_)) | (None, None) => return Err(corrupt()),
    };
    let at = Timestamp::from_millis(row.try_get_by_index(5)?).map_err(|_| corrupt())?;
    let key = OperationKey::from_bytes(key.into_bytes());
    Ok((Operation { key, fingerprint: RequestFingerprint(fingerprint) }, subject, at))
}
