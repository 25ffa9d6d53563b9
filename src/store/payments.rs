//! Rows of payments: what the projection writes of them, and what of it others read. Never decides how one stands: the engine does, and
//! providers tell the rest.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, QueryResult, Value};
use uuid::Uuid;

use super::pool::Transaction;
use super::statements::{LIST_MAX, ids, padded, places};
use super::waits::timely;
use super::walk::hint;
use super::{Store, StoreError};
use crate::domain::{Attempt, CommodityId, Currency, OrderId, OrderStatus, PartitionId, PaymentId, PaymentStatus, Payments, Timestamp};

/// Rows in one statement, at most.
pub(super) const ROWS_MAX: usize = 100;

/// When an open payment is looked after first, in milliseconds after it was started: by then its provider has mostly told what came of it.
const FIRST_LOOK_MS: u64 = 15_000;

/// A row for the payments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewPayment {
    pub(crate) id: PaymentId,
    pub(crate) partition: PartitionId,
    pub(crate) commodity: CommodityId,
    pub(crate) amount: i64,
    pub(crate) currency: Currency,
    pub(crate) status: PaymentStatus,
    pub(crate) pays: bool,
    pub(crate) started_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) changed_at: Timestamp,
}

/// Payments that all came to stand the same way at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PaymentChange {
    pub(crate) attempt: Attempt,
    pub(crate) status: PaymentStatus,
    /// Whether they pay their orders from then on.
    pub(crate) pays: bool,
    pub(crate) at: Timestamp,
    /// Each once.
    pub(crate) orders: Vec<OrderId>,
}

/// A payment as the tables have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPayment {
    /// Which.
    pub id: PaymentId,
    /// Its order's commodity.
    pub commodity: CommodityId,
    /// Minor units.
    pub amount: i64,
    /// The currency of the amount.
    pub currency: Currency,
    /// How it stands, as the engine has it.
    pub status: PaymentStatus,
    /// Whether the order is paid by it, or came too late by it.
    pub pays: bool,
    /// When it was started.
    pub started_at: Timestamp,
    /// Up to when it can be paid.
    pub expires_at: Timestamp,
    /// When its status last changed.
    pub changed_at: Timestamp,
    /// When somebody is to look after it next; none = never.
    pub due_at: Option<Timestamp>,
}

pub(super) const COLUMNS: &str =
    "order_id, attempt, partition_id, commodity_id, amount, currency, status, pays, started_at, expires_at, changed_at, due_at";

/// When a payment that stands so since then is to be looked after.
pub(super) fn due_at(status: PaymentStatus, since: Timestamp, expires_at: Option<Timestamp>) -> Option<Timestamp> {
    match status {
        PaymentStatus::Open | PaymentStatus::Processing => {
            let first = since.plus_millis(FIRST_LOOK_MS);
            Some(expires_at.map_or(first, |expires_at| first.min(expires_at)))
        }
        PaymentStatus::Authorized | PaymentStatus::RefundDue => Some(since),
        PaymentStatus::Captured | PaymentStatus::Failed | PaymentStatus::Cancelled | PaymentStatus::Refunded => None,
    }
}

/// The statement that adds these rows.
pub(super) fn insert(rows: &[NewPayment]) -> (String, Vec<Value>) {
    let row = format!("({})", places(12));
    let sql = format!("INSERT INTO payments ({COLUMNS}) VALUES {}", vec![row.as_str(); rows.len()].join(","));
    let mut values = Vec::with_capacity(12 * rows.len());
    for new in rows {
        values.extend([
            new.id.order.uuid().into(),
            attempt_value(new.id.attempt),
            i32::from(new.partition.get()).into(),
            new.commodity.get().into(),
            new.amount.into(),
            new.currency.code().into(),
            i16::from(new.status.code()).into(),
            new.pays.into(),
            new.started_at.millis().into(),
            new.expires_at.millis().into(),
            new.changed_at.millis().into(),
            due_at(new.status, new.changed_at, Some(new.expires_at)).map(Timestamp::millis).into(),
        ]);
    }
    (sql, values)
}

/// The statement that changes those of these orders.
pub(super) fn change(change: &PaymentChange, orders: &[OrderId]) -> (String, Vec<Value>) {
    let pays = if change.pays { ", pays = TRUE" } else { "" };
    let sql = format!(
        "UPDATE payments SET status = ?, changed_at = ?, due_at = ?{pays} WHERE attempt = ? AND order_id IN ({})",
        places(padded(orders.len()))
    );
    let due = due_at(change.status, change.at, None).map(Timestamp::millis);
    let mut values = vec![i16::from(change.status.code()).into(), change.at.millis().into(), due.into(), attempt_value(change.attempt)];
    values.extend(ids(orders));
    (sql, values)
}

pub(super) fn attempt_value(attempt: Attempt) -> Value {
    i16::from(attempt.get()).into()
}

impl Store {
    /// The payments of an order, in the order they were started.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn payments(&self, order: OrderId) -> Result<Vec<StoredPayment>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM payments WHERE order_id = ? ORDER BY attempt");
        let rows = self.reader().query_all_raw(self.statement(&sql, [order.uuid().into()])).await?;
        rows.iter().map(read).collect()
    }

    /// What an engine must know of the payments of an order.
    pub(super) async fn known_payments(&self, order: OrderId) -> Result<Payments, StoreError> {
        let rows = self.payments(order).await?;
        known(order, rows.iter().map(|row| (row.id.attempt, row.status, row.pays)))
    }

    /// The same of many orders, in the transaction of a load; those without payments are left out.
    pub(super) async fn known_payments_in(
        &self,
        transaction: &Transaction,
        orders: &[OrderId],
    ) -> Result<BTreeMap<OrderId, Payments>, StoreError> {
        let mut found = BTreeMap::new();
        for chunk in orders.chunks(LIST_MAX) {
            let list = places(padded(chunk.len()));
            let sql = format!("SELECT order_id, attempt, status, pays FROM payments WHERE order_id IN ({list})");
            let statement = self.statement(&sql, ids(chunk));
            gather(&timely(transaction.query_all_raw(statement)).await?, &mut found)?;
        }
        Ok(found)
    }

    /// What an engine must know of the payments of all orders of a partition that it must know; those without payments are left out. With
    /// it come the orders that it must know for their payments alone.
    pub(super) async fn payments_of_partition(
        &self,
        transaction: &Transaction,
        partition: PartitionId,
    ) -> Result<BTreeMap<OrderId, Payments>, StoreError> {
        let (id, mut found) = (Value::from(i32::from(partition.get())), self.payments_owed(transaction, partition).await?);
        let of_orders = format!(
            "SELECT p.order_id, p.attempt, p.status, p.pays FROM orders o JOIN commodities c ON c.id = o.commodity_id \
             JOIN payments p ON p.order_id = o.id WHERE o.status IN ({}, {}) AND c.partition_id = ?",
            OrderStatus::Reserved.code(),
            OrderStatus::RefundDue.code()
        );
        let rows = timely(transaction.query_all_raw(self.statement(&of_orders, [id]))).await?;
        gather(&rows, &mut found)?;
        Ok(found)
    }

    /// The same of its orders of which a payment is open or must go back.
    pub(super) async fn payments_owed(
        &self,
        transaction: &Transaction,
        partition: PartitionId,
    ) -> Result<BTreeMap<OrderId, Payments>, StoreError> {
        let sql = format!(
            "SELECT p.order_id, p.attempt, p.status, p.pays FROM payments q {}JOIN payments p ON p.order_id = q.order_id \
             WHERE q.partition_id = ? AND q.status IN ({}, {})",
            hint(self.backend(), "ix_payments_partition_status"),
            PaymentStatus::Open.code(),
            PaymentStatus::RefundDue.code()
        );
        let mut found = BTreeMap::new();
        let id = Value::from(i32::from(partition.get()));
        gather(&timely(transaction.query_all_raw(self.statement(&sql, [id]))).await?, &mut found)?;
        Ok(found)
    }
}

/// Adds what rows say; all of an order's come together, and one may come twice.
fn gather(rows: &[QueryResult], found: &mut BTreeMap<OrderId, Payments>) -> Result<(), StoreError> {
    let mut of_orders: BTreeMap<OrderId, BTreeMap<Attempt, (PaymentStatus, bool)>> = BTreeMap::new();
    for row in rows {
        let id = id_of(row)?;
        let (status, pays): (i16, bool) = (row.try_get_by_index(2)?, row.try_get_by_index(3)?);
        of_orders.entry(id.order).or_default().insert(id.attempt, (status_of(id, status)?, pays));
    }
    for (order, told) in of_orders {
        let told = told.into_iter().map(|(attempt, (status, pays))| (attempt, status, pays));
        found.insert(order, known(order, told)?);
    }
    Ok(())
}

fn known(order: OrderId, told: impl IntoIterator<Item = (Attempt, PaymentStatus, bool)>) -> Result<Payments, StoreError> {
    Payments::of(told).map_err(|error| StoreError::Corrupt(format!("payments of {order}: {error}")))
}

pub(super) fn id_of(row: &QueryResult) -> Result<PaymentId, StoreError> {
    let (order, attempt): (Uuid, i16) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    let corrupt = |error| StoreError::Corrupt(format!("payment {attempt} of {order}: {error}"));
    let number = u8::try_from(attempt).unwrap_or_default();
    Ok(PaymentId { order: OrderId::from_uuid(order).map_err(corrupt)?, attempt: Attempt::new(number).map_err(corrupt)? })
}

fn status_of(id: PaymentId, code: i16) -> Result<PaymentStatus, StoreError> {
    let status = u8::try_from(code).ok().and_then(PaymentStatus::from_code);
    status.ok_or_else(|| StoreError::Corrupt(format!("payments.status of {id}: {code}")))
}

pub(super) fn read(row: &QueryResult) -> Result<StoredPayment, StoreError> {
    let id = id_of(row)?;
    let corrupt = |error| StoreError::Corrupt(format!("payment {id}: {error}"));
    let time = |index: usize| -> Result<Timestamp, StoreError> { Timestamp::from_millis(row.try_get_by_index(index)?).map_err(corrupt) };
    let currency: String = row.try_get_by_index(5)?;
    let due_at: Option<i64> = row.try_get_by_index(11)?;
    Ok(StoredPayment {
        id,
        commodity: CommodityId::new(row.try_get_by_index(3)?).map_err(corrupt)?,
        amount: row.try_get_by_index(4)?,
        currency: currency.parse().map_err(corrupt)?,
        status: status_of(id, row.try_get_by_index(6)?)?,
        pays: row.try_get_by_index(7)?,
        started_at: time(8)?,
        expires_at: time(9)?,
        changed_at: time(10)?,
        due_at: due_at.map(Timestamp::from_millis).transpose().map_err(corrupt)?,
    })
}
