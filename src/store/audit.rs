//! The audit: what the counters say and what the order rows say, read in one snapshot. Never repairs anything.
//!
//! What is over and right is *sealed*: its orders change no more, and the next audit does not read them again. Whatever changes of
//! one all the same breaks its seal (`Transaction::unseal`).

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Value};

use super::pool::Transaction;
use super::statements::places;
use super::waits::to_the_end;
use super::walk::{ARCHIVED, ORDERS, Table, hint};
use super::{Store, StoreError};
use crate::domain::{CommodityId, OrderStatus, PaymentStatus, Timestamp};

/// Commodities whose orders are added up in one statement.
const LIST_MAX: usize = 256;
/// Commodities that are sealed in one transaction: their partition's projection waits for so long.
const SEALED_MAX: usize = 100;

/// The equation of one commodity, read in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct AuditRow {
    /// Which commodity.
    pub commodity_id: CommodityId,
    /// Its name.
    pub name: String,
    /// The four counters of its row.
    pub total: i64,
    /// On sale.
    pub available: i64,
    /// Held.
    pub held: i64,
    /// Sold.
    pub sold: i64,
    /// Units in reserved order rows.
    pub held_by_orders: i64,
    /// Units in confirmed and paid order rows.
    pub sold_by_orders: i64,
    /// Live order rows.
    pub live_orders: i64,
    /// Order rows whose money has to go back.
    pub refunds_due: i64,
    /// Live order rows under a key that another live order of the same buyer has.
    pub keys_used_twice: i64,
    /// Buyers whose live orders exceed the limit per user as it is now. No fault: the limit may have been lowered.
    pub buyers_over_limit: i64,
    /// Whether no counter is negative, `total = available + held + sold`, both counters are what the order rows say, no key is used
    /// twice, and every order row has a status of this release and a commodity.
    pub balanced: bool,
}

/// Which commodities an audit looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditScope {
    /// Those that are not sealed.
    Unsealed,
    /// All of them, and orders of none.
    All,
    /// This one, sealed or not.
    One(CommodityId),
}

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// What was looked at, by rising id.
    pub rows: Vec<AuditRow>,
    /// How many commodities were sealed before and not looked at.
    pub sealed: u64,
    /// What may be sealed, by partition.
    sealable: BTreeMap<i32, Vec<i64>>,
    /// Commodities that are sealed and wrong.
    broken: Vec<i64>,
}

impl Audit {
    /// Whether everything that was looked at is right.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.rows.iter().all(|row| row.balanced)
    }
}

/// A row of the commodities, as far as it matters here.
struct Listed {
    id: i64,
    partition: i32,
    name: String,
    total: i64,
    available: i64,
    held: i64,
    sold: i64,
    is_over: bool,
    is_sealed: bool,
}

/// Order rows of one commodity, added up.
#[derive(Clone, Copy, Default)]
struct Sums {
    live_orders: i64,
    held: i64,
    sold: i64,
    refunds_due: i64,
    unknown: i64,
    keys_used_twice: i64,
    buyers_over_limit: i64,
    /// Whether it has rows in each of the tables.
    in_orders: bool,
    in_archived: bool,
}

impl Store {
    /// The equation for every commodity, removed, closed and sealed ones too, and for orders of none; by rising id, read in one snapshot.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn audit(&self) -> Result<Vec<AuditRow>, StoreError> {
        Ok(self.audit_of(AuditScope::All).await?.rows)
    }

    /// The equation for the commodities of a scope, read in one snapshot. What is sealed costs nothing unless it is asked for.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn audit_of(&self, scope: AuditScope) -> Result<Audit, StoreError> {
        let transaction = self.read_snapshot().await?;
        let read = self.read_books(&transaction, scope).await;
        let ended = transaction.rollback().await;
        let (listed, mut sums, sealed) = read?;
        ended?;
        let mut audit = Audit { rows: Vec::with_capacity(listed.len()), sealed, sealable: BTreeMap::new(), broken: Vec::new() };
        for listed in listed {
            let (id, partition, is_over, is_sealed) = (listed.id, listed.partition, listed.is_over, listed.is_sealed);
            let row = row(listed, &sums.remove(&id).unwrap_or_default())?;
            let is_history = is_over && row.balanced && row.held == 0 && row.refunds_due == 0;
            match (is_sealed, is_history) {
                (false, true) => audit.sealable.entry(partition).or_default().push(id),
                (true, false) => audit.broken.push(id),
                (true, true) | (false, false) => {}
            }
            audit.rows.push(row);
        }
        for (id, sums) in sums {
            audit.rows.push(orphan(id, &sums)?);
        }
        Ok(audit)
    }

    /// Seals what an audit found to be over and right, unless an order of it has changed since; breaks the seals of what is sealed and
    /// wrong. Returns how many were sealed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn seal(&self, audit: &Audit, now: Timestamp) -> Result<u64, StoreError> {
        let (store, sealable, broken) = (self.clone(), audit.sealable.clone(), audit.broken.clone());
        to_the_end(async move {
            let mut sealed = 0;
            for (partition, ids) in sealable {
                for ids in ids.chunks(SEALED_MAX) {
                    sealed += store.seal_together(partition, ids, now).await?;
                }
            }
            for ids in broken.chunks(LIST_MAX) {
                let sql = format!("UPDATE commodities SET sealed_at = NULL WHERE id IN ({})", places(ids.len()));
                store.inner.connections.writer.execute_raw(store.statement(&sql, values(ids))).await?;
            }
            Ok(sealed)
        })
        .await
    }

    async fn seal_together(&self, partition: i32, ids: &[i64], now: Timestamp) -> Result<u64, StoreError> {
        let transaction = self.begin_write().await?;
        let sealed = self.seal_in(&transaction, partition, ids, now).await;
        match &sealed {
            Ok(_) => transaction.commit().await?,
            Err(_) => transaction.rollback().await?,
        }
        sealed
    }

    /// As long as the partition's row is locked, its projection changes nothing: what is read then holds until the commit.
    async fn seal_in(&self, transaction: &Transaction, partition: i32, ids: &[i64], now: Timestamp) -> Result<u64, StoreError> {
        let (lock, list) = (if self.backend() == DbBackend::MySql { " FOR UPDATE" } else { "" }, places(ids.len()));
        transaction
            .query_one_raw(self.statement(&format!("SELECT id FROM partitions WHERE id = ?{lock}"), [Value::from(partition)]))
            .await?;
        let owed = [OrderStatus::Reserved, OrderStatus::RefundDue].map(|status| status.code().to_string()).join(", ");
        let sql = format!(
            "SELECT DISTINCT commodity_id FROM orders {}WHERE commodity_id IN ({list}) AND status IN ({owed})",
            // What is archived is not owed.
            hint(self.backend(), ORDERS.of_commodity)
        );
        let found = transaction.query_all_raw(self.statement(&sql, values(ids))).await?;
        let mut owing = found.iter().map(|row| row.try_get_by_index(0)).collect::<Result<Vec<i64>, _>>()?;
        let owed = [PaymentStatus::Open, PaymentStatus::RefundDue].map(|status| status.code().to_string()).join(", ");
        let sql = format!("SELECT DISTINCT commodity_id FROM payments WHERE partition_id = ? AND status IN ({owed})");
        for row in transaction.query_all_raw(self.statement(&sql, [Value::from(partition)])).await? {
            owing.push(row.try_get_by_index(0)?);
        }
        let ids: Vec<i64> = ids.iter().copied().filter(|id| !owing.contains(id)).collect();
        if ids.is_empty() {
            return Ok(0);
        }
        let sql = format!(
            "UPDATE commodities SET sealed_at = ? WHERE id IN ({}) AND sealed_at IS NULL \
             AND (closed_at IS NOT NULL OR removed_at IS NOT NULL)",
            places(ids.len())
        );
        let values = std::iter::once(now.millis().into()).chain(values(&ids));
        Ok(transaction.execute_raw(self.statement(&sql, values)).await?.rows_affected())
    }

    async fn read_books(
        &self,
        transaction: &Transaction,
        scope: AuditScope,
    ) -> Result<(Vec<Listed>, BTreeMap<i64, Sums>, u64), StoreError> {
        let columns = "id, partition_id, name, total, available, held, sold, closed_at, removed_at, sealed_at";
        let (condition, values) = match scope {
            AuditScope::All => (String::new(), Vec::new()),
            AuditScope::Unsealed => (format!("{}WHERE sealed_at IS NULL ", hint(self.backend(), "ix_commodities_sealed")), Vec::new()),
            AuditScope::One(id) => ("WHERE id = ? ".to_owned(), vec![Value::from(id.get())]),
        };
        let sql = format!("SELECT {columns} FROM commodities {condition}ORDER BY id");
        let rows = transaction.query_all_raw(self.statement(&sql, values)).await?;
        let listed = rows.iter().map(Listed::of).collect::<Result<Vec<_>, _>>()?;
        let sealed = match scope {
            AuditScope::All | AuditScope::One(_) => 0,
            AuditScope::Unsealed => {
                let sql = "SELECT COUNT(*) FROM commodities WHERE sealed_at IS NOT NULL";
                let count = transaction.query_one_raw(self.statement(sql, [])).await?;
                count.map(|row| row.try_get_by_index::<i64>(0)).transpose()?.unwrap_or_default().unsigned_abs()
            }
        };
        let mut sums = BTreeMap::new();
        match scope {
            AuditScope::All => self.add_up(transaction, "", &[], &mut sums).await?,
            AuditScope::Unsealed | AuditScope::One(_) => {
                for listed in listed.chunks(LIST_MAX) {
                    let ids: Vec<i64> = listed.iter().map(|listed| listed.id).collect();
                    self.add_up(transaction, &format!("WHERE commodity_id IN ({}) ", places(ids.len())), &ids, &mut sums).await?;
                }
            }
        }
        // The orders of one buyer may lie in both tables: then both are read together, which costs more.
        let places: [(&[&Table], (bool, bool)); 3] =
            [(&[&ORDERS], (true, false)), (&[&ARCHIVED], (false, true)), (&[&ORDERS, &ARCHIVED], (true, true))];
        for (tables, lies_there) in places {
            let is_there = |id: &i64| sums.get(id).is_some_and(|sums| (sums.in_orders, sums.in_archived) == lies_there);
            let ids: Vec<i64> = listed.iter().map(|listed| listed.id).filter(is_there).collect();
            for ids in ids.chunks(LIST_MAX) {
                self.look_at_buyers(transaction, tables, ids, &mut sums).await?;
            }
        }
        Ok((listed, sums, sealed))
    }

    /// Adds up orders along an index that has all that is needed.
    async fn add_up(
        &self,
        transaction: &Transaction,
        condition: &str,
        ids: &[i64],
        sums: &mut BTreeMap<i64, Sums>,
    ) -> Result<(), StoreError> {
        for table in [&ORDERS, &ARCHIVED] {
            let (name, hint) = (table.name, hint(self.backend(), table.of_commodity));
            let sql = format!(
                "SELECT commodity_id, status, COUNT(*), CAST(SUM(quantity) AS SIGNED) FROM {name} {hint}{condition}\
                 GROUP BY commodity_id, status"
            );
            for row in transaction.query_all_raw(self.statement(&sql, values(ids))).await? {
                let sum = sums.entry(row.try_get_by_index(0)?).or_default();
                (sum.in_orders, sum.in_archived) = (sum.in_orders || *table == ORDERS, sum.in_archived || *table == ARCHIVED);
                sum.add(OrderStatus::from_code(row.try_get_by_index(1)?), row.try_get_by_index(2)?, row.try_get_by_index(3)?);
            }
        }
        Ok(())
    }

    /// Buyers with more live units than the limit, and live orders under one key.
    async fn look_at_buyers(
        &self,
        transaction: &Transaction,
        tables: &[&Table],
        ids: &[i64],
        sums: &mut BTreeMap<i64, Sums>,
    ) -> Result<(), StoreError> {
        let live: Vec<String> = OrderStatus::ALL.iter().filter(|status| status.is_live()).map(|status| status.code().to_string()).collect();
        let rows = tables.iter().map(|table| {
            format!(
                "SELECT o.commodity_id, o.user_id, o.user_high, o.quantity, o.idempotency_key, c.limit_per_user \
                 FROM commodities c JOIN {} o {}ON o.commodity_id = c.id WHERE c.id IN ({}) AND o.status IN ({})",
                table.name,
                hint(self.backend(), table.of_commodity),
                places(ids.len()),
                live.join(", ")
            )
        });
        let sql = format!(
            "SELECT commodity_id, CAST(SUM(beyond) AS SIGNED), CAST(SUM(twice) AS SIGNED) FROM (\
               SELECT commodity_id, CASE WHEN SUM(quantity) > MIN(limit_per_user) THEN 1 ELSE 0 END AS beyond, \
                      COUNT(idempotency_key) - COUNT(DISTINCT idempotency_key) AS twice \
               FROM ({}) AS live GROUP BY commodity_id, user_id, user_high\
             ) AS buyers WHERE beyond > 0 OR twice > 0 GROUP BY commodity_id",
            rows.collect::<Vec<_>>().join(" UNION ALL ")
        );
        let values = values(&ids.repeat(tables.len()));
        for row in transaction.query_all_raw(self.statement(&sql, values)).await? {
            let sum = sums.entry(row.try_get_by_index(0)?).or_default();
            (sum.buyers_over_limit, sum.keys_used_twice) = (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
        }
        Ok(())
    }
}

impl Sums {
    fn add(&mut self, status: Option<OrderStatus>, orders: i64, units: i64) {
        match status {
            Some(OrderStatus::Reserved) => (self.live_orders, self.held) = (self.live_orders + orders, self.held + units),
            Some(OrderStatus::Confirmed | OrderStatus::Paid) => {
                (self.live_orders, self.sold) = (self.live_orders + orders, self.sold + units);
            }
            Some(OrderStatus::RefundDue) => self.refunds_due += orders,
            Some(OrderStatus::Cancelled | OrderStatus::Expired | OrderStatus::Refunded) => {}
            None => self.unknown += orders,
        }
    }
}

impl Listed {
    fn of(row: &QueryResult) -> Result<Self, StoreError> {
        let time = |index| row.try_get_by_index::<Option<i64>>(index);
        Ok(Self {
            id: row.try_get_by_index(0)?,
            partition: row.try_get_by_index(1)?,
            name: row.try_get_by_index(2)?,
            total: row.try_get_by_index(3)?,
            available: row.try_get_by_index(4)?,
            held: row.try_get_by_index(5)?,
            sold: row.try_get_by_index(6)?,
            is_over: time(7)?.is_some() || time(8)?.is_some(),
            is_sealed: time(9)?.is_some(),
        })
    }
}

fn row(listed: Listed, sums: &Sums) -> Result<AuditRow, StoreError> {
    let Listed { id, name, total, available, held, sold, .. } = listed;
    let counters_hold = [available, held, sold].iter().all(|count| *count >= 0) && total == available + held + sold;
    let orders_hold = held == sums.held && sold == sums.sold && sums.unknown == 0 && sums.keys_used_twice == 0;
    Ok(AuditRow {
        commodity_id: CommodityId::new(id).map_err(|error| StoreError::Corrupt(format!("commodity {id}: {error}")))?,
        name,
        total,
        available,
        held,
        sold,
        held_by_orders: sums.held,
        sold_by_orders: sums.sold,
        live_orders: sums.live_orders,
        refunds_due: sums.refunds_due,
        keys_used_twice: sums.keys_used_twice,
        buyers_over_limit: sums.buyers_over_limit,
        balanced: counters_hold && orders_hold,
    })
}

/// Orders of a commodity that is not there.
fn orphan(id: i64, sums: &Sums) -> Result<AuditRow, StoreError> {
    let name = "(no such commodity)".to_owned();
    let nothing = Listed { id, partition: 0, name, total: 0, available: 0, held: 0, sold: 0, is_over: false, is_sealed: false };
    Ok(AuditRow { balanced: false, ..row(nothing, sums)? })
}

fn values(ids: &[i64]) -> Vec<Value> {
    ids.iter().map(|id| (*id).into()).collect()
}

#[cfg(test)]
mod tests;
