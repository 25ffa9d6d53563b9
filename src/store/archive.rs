//! Orders of commodities that are over and sealed, moved into a table of their own a slice at a time, while others sell; and moved back
//! when one of them changes all the same. Never changes what is in a row.
//!
//! The row of the commodity is the guard. A slice locks it and moves nothing unless it is sealed; whoever changes an order of it breaks
//! the seal first, which waits for a slice that is under way and keeps the next from beginning. Both lock the commodity before its
//! orders, and a slice locks no partition, so they never wait for each other in a circle. Readers look into both tables in one
//! statement: an order is seen in one of them at any time.

use sea_orm::{ConnectionTrait, DbBackend, Value};
use uuid::Uuid;

use super::pool::Transaction;
use super::statements::{ORDER_COLUMNS, ids, padded, places};
use super::waits::to_the_end;
use super::walk::{ARCHIVED, MOVED, ORDERS, hint};
use super::{Store, StoreError};
use crate::domain::{CommodityId, OrderId, Timestamp};

/// What a row takes together with its entries in the indexes, where the database does not say.
const ROW_BYTES: u64 = 300;

/// A sealed commodity that may have orders to archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archivable {
    /// Which.
    pub id: CommodityId,
    /// As its terms have it.
    pub name: String,
}

/// What became of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// So many orders were moved, and there may be more.
    Moved(u64),
    /// So many orders were moved, and they were the last of the commodity.
    Last(u64),
    /// The commodity is not sealed: an order of it has changed since.
    NotSealed,
}

impl Store {
    /// Commodities with orders to archive, by rising id, at most `limit`, after `after`: sealed, and closed or removed before that time.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn archivable(&self, over_before: Timestamp, after: Option<CommodityId>, limit: u64) -> Result<Vec<Archivable>, StoreError> {
        let sql = format!(
            "SELECT id, name FROM commodities {}WHERE id > ? AND +sealed_at IS NOT NULL AND COALESCE(closed_at, removed_at) < ? \
             AND (archived_seal IS NULL OR archived_seal <> sealed_at) ORDER BY id LIMIT ?",
            hint(self.backend(), "PRIMARY")
        );
        let values = [after.map_or(0, CommodityId::get).into(), over_before.millis().into(), Value::from(limit)];
        let rows = self.reader().query_all_raw(self.statement(&sql, values)).await?;
        let archivable = rows.iter().map(|row| {
            let id: i64 = row.try_get_by_index(0)?;
            let id = CommodityId::new(id).map_err(|error| StoreError::Corrupt(format!("commodity {id}: {error}")))?;
            Ok(Archivable { id, name: row.try_get_by_index(1)? })
        });
        archivable.collect()
    }

    /// How many commodities were closed or removed before that time and are not sealed: no audit has found them right yet.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn over_and_unsealed(&self, over_before: Timestamp) -> Result<u64, StoreError> {
        let sql = format!(
            "SELECT COUNT(*) FROM commodities {}WHERE sealed_at IS NULL AND COALESCE(closed_at, removed_at) < ?",
            hint(self.backend(), "ix_commodities_sealed")
        );
        self.count(&sql, vec![over_before.millis().into()]).await
    }

    /// How many orders of a commodity would be archived.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn orders_to_archive(&self, commodity: CommodityId) -> Result<u64, StoreError> {
        let moved = MOVED.map(|status| status.code().to_string()).join(", ");
        let (table, hint) = (ORDERS.name, hint(self.backend(), ORDERS.of_commodity));
        let sql = format!("SELECT COUNT(*) FROM {table} {hint}WHERE commodity_id = ? AND status IN ({moved})");
        self.count(&sql, vec![commodity.get().into()]).await
    }

    /// About how many bytes an order takes, with its entries in the indexes.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn order_bytes(&self) -> Result<u64, StoreError> {
        if self.backend() != DbBackend::MySql {
            return Ok(ROW_BYTES);
        }
        let sql = "SELECT CAST(COALESCE((data_length + index_length) / NULLIF(table_rows, 0), 0) AS SIGNED) \
                   FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?";
        // A table of a few rows has a page for each index all the same.
        Ok(self.count(sql, vec![ORDERS.name.into()]).await?.clamp(ROW_BYTES / 2, ROW_BYTES * 4))
    }

    /// Moves at most so many orders of a commodity, in one transaction; by rising status and id, as they lie in the commodity's index.
    ///
    /// # Errors
    /// [`StoreError::Database`]: nothing was moved, or all of it was. Safe to repeat either way.
    pub async fn archive_slice(&self, commodity: CommodityId, rows: u64) -> Result<Slice, StoreError> {
        let store = self.clone();
        to_the_end(async move {
            let transaction = store.begin_write().await?;
            let slice = store.archive_in(&transaction, commodity, rows).await;
            match &slice {
                Ok(_) => transaction.commit().await?,
                Err(_) => transaction.rollback().await?,
            }
            slice
        })
        .await
    }

    async fn archive_in(&self, transaction: &Transaction, commodity: CommodityId, rows: u64) -> Result<Slice, StoreError> {
        let (lock, id) = (if self.backend() == DbBackend::MySql { " FOR UPDATE" } else { "" }, Value::from(commodity.get()));
        let sql = format!("SELECT id FROM commodities WHERE id = ? AND sealed_at IS NOT NULL{lock}");
        if transaction.query_one_raw(self.statement(&sql, [id.clone()])).await?.is_none() {
            return Ok(Slice::NotSealed);
        }
        let mut moved = 0;
        for status in MOVED {
            if moved < rows {
                moved += self.archive_of_status(transaction, (id.clone(), status.code().into()), rows - moved).await?;
            }
        }
        if moved == rows {
            return Ok(Slice::Moved(moved));
        }
        let sql = "UPDATE commodities SET archived_seal = sealed_at WHERE id = ?";
        transaction.execute_raw(self.statement(sql, [id])).await?;
        Ok(Slice::Last(moved))
    }

    async fn archive_of_status(
        &self,
        transaction: &Transaction,
        (commodity, status): (Value, Value),
        rows: u64,
    ) -> Result<u64, StoreError> {
        let (from, to, hint) = (ORDERS.name, ARCHIVED.name, hint(self.backend(), ORDERS.of_commodity));
        let sql = format!("SELECT id FROM {from} {hint}WHERE commodity_id = ? AND status = ? ORDER BY id LIMIT 1 OFFSET ?");
        let edge = transaction.query_one_raw(self.statement(&sql, [commodity.clone(), status.clone(), Value::from(rows - 1)])).await?;
        let edge = edge.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or(Uuid::max());
        let values = [commodity, status, Value::from(edge)];
        // The rows stay as they are from here on: their keys might be forgotten meanwhile.
        let (lock, delete) = match self.backend() {
            DbBackend::MySql => (" FOR UPDATE", format!("DELETE o FROM {from} o {hint}")),
            _ => ("", format!("DELETE FROM {from} {hint}")),
        };
        let of_slice = "WHERE commodity_id = ? AND status = ? AND id <= ?";
        let sql = format!("INSERT INTO {to} ({ORDER_COLUMNS}) SELECT {ORDER_COLUMNS} FROM {from} {hint}{of_slice} ORDER BY id{lock}");
        let copied = transaction.execute_raw(self.statement(&sql, values.clone())).await?.rows_affected();
        let deleted = transaction.execute_raw(self.statement(&format!("{delete}{of_slice}"), values)).await?.rows_affected();
        if copied == deleted { Ok(deleted) } else { Err(corrupt(copied, deleted)) }
    }

    async fn count(&self, sql: &str, values: Vec<Value>) -> Result<u64, StoreError> {
        let row = self.reader().query_one_raw(self.statement(sql, values)).await?;
        let count = row.map(|row| row.try_get_by_index::<i64>(0)).transpose()?.unwrap_or_default();
        Ok(u64::try_from(count).unwrap_or_default())
    }
}

/// Moves those of the orders back that are archived, for a transaction that changes them. Returns how many.
pub(super) async fn bring_back(transaction: &Transaction, orders: &[OrderId]) -> Result<u64, StoreError> {
    let (backend, list) = (transaction.get_database_backend(), places(padded(orders.len())));
    let statement = |sql: &str, values: Vec<Value>| sea_orm::Statement::from_sql_and_values(backend, sql, values);
    let (from, to) = (ARCHIVED.name, ORDERS.name);
    let sql = format!("SELECT DISTINCT commodity_id FROM {from} WHERE id IN ({list})");
    let found = transaction.query_all_raw(statement(&sql, ids(orders))).await?;
    let commodities = found.iter().map(|row| row.try_get_by_index(0)).collect::<Result<Vec<i64>, _>>()?;
    if commodities.is_empty() {
        return Ok(0);
    }
    // Also what has no seal any more: the lock is what counts.
    let sql = format!("UPDATE commodities SET sealed_at = NULL WHERE id IN ({})", places(commodities.len()));
    transaction.execute_raw(statement(&sql, commodities.into_iter().map(Value::from).collect())).await?;
    let sql = format!("INSERT INTO {to} ({ORDER_COLUMNS}) SELECT {ORDER_COLUMNS} FROM {from} WHERE id IN ({list})");
    let copied = transaction.execute_raw(statement(&sql, ids(orders))).await?.rows_affected();
    let sql = format!("DELETE FROM {from} WHERE id IN ({list})");
    let deleted = transaction.execute_raw(statement(&sql, ids(orders))).await?.rows_affected();
    if copied == deleted { Ok(deleted) } else { Err(corrupt(copied, deleted)) }
}

fn corrupt(copied: u64, deleted: u64) -> StoreError {
    StoreError::Corrupt(format!("{copied} orders were copied from table to table, and {deleted} deleted: nothing was moved"))
}
