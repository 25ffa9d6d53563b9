//! The statements of the projection: rows of commodities and orders are changed here and nowhere else.
//!
//! They are written out by hand because they are the way of every accepted order: a few fixed texts, so that each is
//! prepared once a connection, and as many rows in each as pays off. Never decides what the rows are.
//!
//! Rows are never counted by what an INSERT says it affected (MariaDB counts what it found). The UPDATEs that are
//! checked change every row they find, so found and changed are the same number whoever counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{LazyLock, OnceLock};

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ActiveValue::NotSet, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter};
use sea_orm::{Statement, Value};

use super::entity::commodity::{ActiveModel, Column, Entity};
use super::operations::NewOperation;
use super::payments::{NewPayment, PaymentChange};
use super::statements::{LIST_MAX, ORDER_COLUMNS, OWN_ORDER_COLUMNS, PLAIN_ORDER_COLUMNS, ids, pad, padded, places};
use super::timeline::{NewNotice, NewStep};
use super::walk::{ARCHIVED, ORDERS};
use super::{Store, StoreError, archive, operations, payments, pool, runs, timeline};
use crate::domain::{
    Commodity, CommodityId, Epoch, Foreign, IdempotencyKey, Order, OrderId, OrderStatus, PartitionId, RequestFingerprint, Sequence,
    SystemId, Terms, Timestamp, Units,
};
use crate::event::LogVersion;

/// Where the projection of a partition is.
pub type Position = (Epoch, Sequence);

/// A row for the orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewOrder {
    pub(crate) order: Order,
    /// Who placed it, if they are no account of our own.
    pub(crate) foreign: Option<Foreign>,
    pub(crate) key: Option<IdempotencyKey>,
    pub(crate) fingerprint: RequestFingerprint,
    pub(crate) changed_at: Timestamp,
}

/// A row for the commodities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewCommodity {
    pub(crate) commodity: Commodity,
    pub(crate) partition: PartitionId,
    pub(crate) removed_at: Option<Timestamp>,
}

/// Orders that all went from one status to another at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) from: OrderStatus,
    pub(crate) to: OrderStatus,
    pub(crate) at: Timestamp,
    /// Each once.
    pub(crate) orders: Vec<OrderId>,
}

/// What a transaction adds to what a claim loads of a partition, as a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delta {
    pub(crate) partition: PartitionId,
    /// Where the projection was.
    pub(crate) previous: Position,
    /// Where it is then.
    pub(crate) position: Position,
    pub(crate) body: Vec<u8>,
}

/// What changes in a commodity's row. Counters change by a difference, all else is what it will be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommodityUpdate {
    pub(crate) terms: Option<Box<Terms>>,
    /// The difference to the old total goes to `available`, besides the difference below.
    pub(crate) total: Option<Units>,
    pub(crate) paused: Option<bool>,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) closed_at: Option<Timestamp>,
    pub(crate) removed_at: Option<Timestamp>,
    pub(crate) version: Option<u32>,
    pub(crate) available: i64,
    pub(crate) held: i64,
    pub(crate) sold: i64,
}

impl CommodityUpdate {
    fn moves_units(&self) -> bool {
        (self.available, self.held, self.sold) != (0, 0, 0)
    }

    fn is_by_an_operator(&self) -> bool {
        self.terms.is_some()
            || self.total.is_some()
            || self.paused.is_some()
            || self.ended_at.is_some()
            || self.closed_at.is_some()
            || self.removed_at.is_some()
            || self.version.is_some()
    }
}

/// What the projection writes to: this database, or the simulator's tables.
pub(crate) trait Tables: Sync {
    /// A transaction. Dropped, it is rolled back.
    type Transaction: Transaction;

    /// Begins one that changes rows.
    fn begin(&self) -> impl Future<Output = Result<Self::Transaction, StoreError>> + Send;
}

/// One transaction of the projection.
pub(crate) trait Transaction: Send + Sync {
    /// Which system the tables are of.
    fn system(&self) -> SystemId;
    /// Where the projections of these partitions are. The rows stay locked until the end of the transaction, so that two
    /// consumers can never apply the same batch. A partition that is not in the schema is not in the answer.
    fn positions(&self, partitions: &[PartitionId]) -> impl Future<Output = Result<BTreeMap<PartitionId, Position>, StoreError>> + Send;
    /// Sets them.
    fn set_positions(&self, positions: &BTreeMap<PartitionId, Position>) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Adds rows.
    fn append_deltas(&self, deltas: Vec<Delta>) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Adds rows. A refusal if one of their ids is there already.
    fn insert_orders(&self, orders: &[NewOrder]) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Returns how many of the orders were in the status they were to leave: anything but all of them is a fault, unless they were
    /// archived.
    fn move_orders(&self, orders: &Move) -> impl Future<Output = Result<u64, StoreError>> + Send;
    /// Brings those of the orders back that were archived, and breaks the seals of their commodities. Returns how many.
    fn bring_back(&self, orders: &[OrderId]) -> impl Future<Output = Result<u64, StoreError>> + Send;
    /// Takes the keys off these orders.
    fn forget_keys(&self, orders: &[OrderId]) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Adds a row. A refusal if its id is there already.
    fn insert_commodity(&self, new: &NewCommodity) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Returns whether there is such a commodity: if not, that is a fault.
    fn update_commodity(&self, id: CommodityId, update: &CommodityUpdate) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Adds rows. One that is there under the same key is of long ago: the new one takes its place.
    fn insert_operations(&self, operations: &[NewOperation]) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Breaks the audit's seals of these commodities, where there are some: their orders change. From here to the end of the
    /// transaction none of their orders is archived.
    fn unseal(&self, commodities: &BTreeSet<CommodityId>) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Whether anybody is to be told of events; as it was when the positions were read.
    fn is_outbox_wanted(&self) -> bool;
    /// Adds rows. A refusal if one of them is there already.
    fn insert_payments(&self, payments: &[NewPayment]) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Returns how many of the payments were there: anything but all of them is a fault.
    fn change_payments(&self, change: &PaymentChange) -> impl Future<Output = Result<u64, StoreError>> + Send;
    /// Adds rows.
    fn insert_steps(&self, steps: &[NewStep]) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Adds rows.
    fn insert_notices(&self, notices: &[NewNotice]) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Makes all of it durable.
    fn commit(self) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Undoes all of it.
    fn rollback(self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// One transaction of the projection in the database.
pub(crate) struct Write {
    transaction: pool::Transaction,
    system: SystemId,
    backend: DbBackend,
    /// The run its orders belong to, read along with the positions.
    run: OnceLock<i32>,
    /// How far its orders move the runs on.
    steps: AtomicI64,
    /// Whether older releases take part, as was read with the positions.
    is_mixed: OnceLock<bool>,
    /// Whether anybody is to be told of events, as was read with the positions.
    is_outbox_wanted: OnceLock<bool>,
}

impl Tables for Store {
    type Transaction = Write;

    async fn begin(&self) -> Result<Write, StoreError> {
        let transaction = self.begin_write().await?;
        Ok(Write {
            transaction,
            system: self.system(),
            backend: self.backend(),
            run: OnceLock::new(),
            steps: AtomicI64::new(0),
            is_mixed: OnceLock::new(),
            is_outbox_wanted: OnceLock::new(),
        })
    }
}

impl Transaction for Write {
    fn system(&self) -> SystemId {
        self.system
    }

    async fn positions(&self, partitions: &[PartitionId]) -> Result<BTreeMap<PartitionId, Position>, StoreError> {
        let lock = if self.backend == DbBackend::MySql { " FOR UPDATE" } else { "" };
        let mut positions = BTreeMap::new();
        for chunk in partitions.chunks(LIST_MAX) {
            // The row of a subquery is not locked: consumers wait for each other at their partitions only.
            let sql = format!(
                "SELECT id, applied_epoch, applied_sequence, (SELECT order_run FROM meta WHERE id = 1), \
                 (SELECT log_version FROM meta WHERE id = 1), (SELECT outbox_wanted FROM meta WHERE id = 1) FROM partitions WHERE id IN ({}) ORDER BY id{lock}",
                places(padded(chunk.len()))
            );
            let ids = pad(chunk.iter().map(|partition| Value::from(i32::from(partition.get()))).collect());
            for row in self.transaction.query_all_raw(self.statement(sql, ids)).await? {
                let (id, epoch, sequence): (i32, i64, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?);
                let corrupt = || StoreError::Corrupt(format!("the position of partition {id}"));
                let partition = u16::try_from(id).ok().and_then(|id| PartitionId::new(id).ok()).ok_or_else(corrupt)?;
                let epoch = u32::try_from(epoch).ok().and_then(|epoch| Epoch::new(epoch).ok()).ok_or_else(corrupt)?;
                let sequence = Sequence(u64::try_from(sequence).map_err(|_| corrupt())?);
                positions.insert(partition, (epoch, sequence));
                let version: i16 = row.try_get_by_index(4)?;
                self.is_mixed.get_or_init(|| version < i16::from(LogVersion::V2.get()));
                let outbox_wanted: i16 = row.try_get_by_index(5)?;
                self.is_outbox_wanted.get_or_init(|| outbox_wanted != 0);
                let steps = row.try_get_by_index(3)?;
                self.run.get_or_init(|| runs::run_after(steps));
            }
        }
        Ok(positions)
    }

    async fn set_positions(&self, positions: &BTreeMap<PartitionId, Position>) -> Result<(), StoreError> {
        let rows: Vec<_> = positions.iter().map(|(partition, position)| (*partition, *position)).collect();
        for chunk in rows.chunks(POSITIONS_MAX) {
            let filled = chunk.iter().chain(std::iter::repeat(&chunk[chunk.len() - 1])).take(padded(chunk.len()));
            let (mut epochs, mut sequences, mut ids) = (Vec::new(), Vec::new(), Vec::new());
            for (partition, (epoch, sequence)) in filled {
                let id = Value::from(i32::from(partition.get()));
                let sequence = i64::try_from(sequence.0).map_err(|_| StoreError::Corrupt(format!("sequence {sequence}")))?;
                epochs.extend([id.clone(), i64::from(epoch.get()).into()]);
                sequences.extend([id.clone(), sequence.into()]);
                ids.push(id);
            }
            let cases = "WHEN ? THEN ? ".repeat(ids.len());
            let sql = format!(
                "UPDATE partitions SET applied_epoch = CASE id {cases}END, applied_sequence = CASE id {cases}END WHERE id IN ({})",
                places(ids.len())
            );
            self.execute(&sql, [epochs, sequences, ids].concat()).await?;
        }
        Ok(())
    }

    async fn append_deltas(&self, deltas: Vec<Delta>) -> Result<(), StoreError> {
        if self.is_mixed.get() == Some(&true) {
            // A consumer of an older release leaves gaps between them: nobody could use them.
            return Ok(());
        }
        for Delta { partition, previous, position, body } in deltas {
            let sql = "INSERT INTO checkpoint_deltas (partition_id, epoch, sequence, previous_epoch, previous_sequence, body) \
                       VALUES (?, ?, ?, ?, ?, ?)";
            let column = |sequence: Sequence| i64::try_from(sequence.0).map_err(|_| StoreError::Corrupt(format!("sequence {sequence}")));
            let [epoch, previous_epoch] = [position.0, previous.0].map(|epoch| Value::from(i64::from(epoch.get())));
            let (sequence, previous_sequence) = (column(position.1)?, column(previous.1)?);
            let id = i32::from(partition.get()).into();
            self.execute(sql, vec![id, epoch, sequence.into(), previous_epoch, previous_sequence.into(), body.into()]).await?;
        }
        Ok(())
    }

    async fn insert_orders(&self, orders: &[NewOrder]) -> Result<(), StoreError> {
        if orders.is_empty() {
            return Ok(());
        }
        let Some(run) = self.run.get() else {
            return Err(StoreError::Corrupt("orders of a transaction that asked for no positions".into()));
        };
        self.steps.fetch_add(runs::steps_of(orders.iter().map(|new| new.order.id)), Ordering::Relaxed);
        // As a rule all of them are plain, or none: of rows of both kinds each goes to the end of the table where it came.
        let mut orders = orders;
        while let Some(first) = orders.first() {
            let is_plain = first.is_plain();
            let (alike, others) = orders.split_at(orders.iter().take_while(|new| new.is_plain() == is_plain).count());
            self.insert_alike(alike, is_plain, *run).await?;
            orders = others;
        }
        Ok(())
    }

    async fn move_orders(&self, orders: &Move) -> Result<u64, StoreError> {
        let mut found = 0;
        // The rows are found by their ids. Left to itself SQLite takes the index of what is changed, and MySQL looks into both.
        let hint = if self.backend == DbBackend::MySql { "FORCE INDEX (PRIMARY) " } else { "" };
        for chunk in orders.orders.chunks(LIST_MAX) {
            let ids_wanted = places(padded(chunk.len()));
            let sql = format!("UPDATE orders {hint}SET status = ?, changed_at = ? WHERE +status = ? AND id IN ({ids_wanted})");
            let mut values = vec![orders.to.code().into(), orders.at.millis().into(), orders.from.code().into()];
            values.extend(ids(chunk));
            found += self.execute(&sql, values).await?;
        }
        Ok(found)
    }

    async fn bring_back(&self, orders: &[OrderId]) -> Result<u64, StoreError> {
        let mut found = 0;
        for chunk in orders.chunks(LIST_MAX) {
            found += archive::bring_back(&self.transaction, chunk).await?;
        }
        Ok(found)
    }

    async fn forget_keys(&self, orders: &[OrderId]) -> Result<(), StoreError> {
        for chunk in orders.chunks(LIST_MAX) {
            let forget = |table: &str| format!("UPDATE {table} SET idempotency_key = NULL WHERE id IN ({})", places(padded(chunk.len())));
            if self.execute(&forget(ORDERS.name), ids(chunk)).await? < chunk.len() as u64 {
                self.execute(&forget(ARCHIVED.name), ids(chunk)).await?;
            }
        }
        Ok(())
    }

    async fn insert_commodity(&self, new: &NewCommodity) -> Result<(), StoreError> {
        let Commodity { id, terms, stock, paused, ended_at, closed_at, version } = &new.commodity;
        let row = ActiveModel {
            id: Set(id.get()),
            partition_id: Set(new.partition.get().into()),
            sku: Set(terms.sku.as_ref().map(|sku| sku.as_str().to_owned())),
            name: Set(terms.name.clone()),
            description: Set(terms.description.clone()),
            image_url: Set(terms.image_url.clone()),
            price: Set(terms.price.minor()),
            currency: Set(terms.currency.code().to_owned()),
            limit_per_user: Set(terms.limit_per_user.map(column_int)),
            hold_seconds: Set(terms.hold_seconds.map(column_int)),
            grace_seconds: Set(column_int(terms.grace_seconds)),
            cancellation: Set(terms.cancellation.code().into()),
            starts_at: Set(terms.starts_at.millis()),
            ends_at: Set(terms.ends_at.millis()),
            total: Set(stock.total.into()),
            available: Set(stock.available.into()),
            held: Set(stock.held.into()),
            sold: Set(stock.sold.into()),
            paused: Set(*paused),
            ended_at: Set(ended_at.map(Timestamp::millis)),
            version: Set((*version).into()),
            removed_at: Set(new.removed_at.map(Timestamp::millis)),
            closed_at: Set(closed_at.map(Timestamp::millis)),
            sealed_at: NotSet,
        };
        Entity::insert(row).exec_without_returning(&self.transaction).await?;
        Ok(())
    }

    async fn update_commodity(&self, id: CommodityId, update: &CommodityUpdate) -> Result<bool, StoreError> {
        if update.is_by_an_operator() {
            return self.update_by_an_operator(id, update).await;
        }
        if !update.moves_units() {
            return Ok(true);
        }
        let values = vec![update.available.into(), update.held.into(), update.sold.into(), id.get().into()];
        let sql = "UPDATE commodities SET available = available + ?, held = held + ?, sold = sold + ? WHERE id = ?";
        Ok(self.execute(sql, values).await? == 1)
    }

    async fn insert_operations(&self, operations: &[NewOperation]) -> Result<(), StoreError> {
        for chunk in operations.chunks(OPERATIONS_MAX) {
            let (sql, values) = operations::insert(chunk);
            self.execute(&sql, values).await?;
        }
        Ok(())
    }

    async fn unseal(&self, commodities: &BTreeSet<CommodityId>) -> Result<(), StoreError> {
        let ids: Vec<Value> = commodities.iter().map(|id| id.get().into()).collect();
        for chunk in ids.chunks(LIST_MAX) {
            let sql =
                format!("UPDATE commodities SET sealed_at = NULL WHERE id IN ({}) AND sealed_at IS NOT NULL", places(padded(chunk.len())));
            self.execute(&sql, pad(chunk.to_vec())).await?;
        }
        Ok(())
    }

    fn is_outbox_wanted(&self) -> bool {
        self.is_outbox_wanted.get().copied().unwrap_or_default()
    }

    async fn insert_payments(&self, payments: &[NewPayment]) -> Result<(), StoreError> {
        for chunk in payments.chunks(payments::ROWS_MAX) {
            let (sql, values) = payments::insert(chunk);
            self.execute(&sql, values).await?;
        }
        Ok(())
    }

    async fn change_payments(&self, change: &PaymentChange) -> Result<u64, StoreError> {
        let mut found = 0;
        for chunk in change.orders.chunks(LIST_MAX) {
            let (sql, values) = payments::change(change, chunk);
            found += self.execute(&sql, values).await?;
        }
        Ok(found)
    }

    async fn insert_steps(&self, steps: &[NewStep]) -> Result<(), StoreError> {
        for chunk in steps.chunks(timeline::ROWS_MAX) {
            let (sql, values) = timeline::insert_steps(chunk)?;
            self.execute(&sql, values).await?;
        }
        Ok(())
    }

    async fn insert_notices(&self, notices: &[NewNotice]) -> Result<(), StoreError> {
        for chunk in notices.chunks(timeline::ROWS_MAX) {
            let (sql, values) = timeline::insert_notices(chunk)?;
            self.execute(&sql, values).await?;
        }
        Ok(())
    }

    async fn commit(self) -> Result<(), StoreError> {
        let steps = self.steps.load(Ordering::Relaxed);
        if steps > 0 {
            // The last statement, because others wait for the row from here on.
            self.execute("UPDATE meta SET order_run = order_run + ? WHERE id = 1", vec![steps.into()]).await?;
        }
        Ok(self.transaction.commit().await?)
    }

    async fn rollback(self) -> Result<(), StoreError> {
        Ok(self.transaction.rollback().await?)
    }
}

impl Write {
    async fn insert_alike(&self, mut orders: &[NewOrder], are_plain: bool, run: i32) -> Result<(), StoreError> {
        for inserts in INSERTS.iter() {
            while orders.len() >= inserts.size {
                let (chunk, rest) = orders.split_at(inserts.size);
                let are_own = are_plain && chunk.iter().all(|new| new.order.user.account().is_some());
                let (sql, columns) = match (are_own, are_plain) {
                    (true, _) => (&inserts.own, OWN_COLUMNS_COUNT),
                    (false, true) => (&inserts.plain, PLAIN_COLUMNS_COUNT),
                    (false, false) => (&inserts.full, ORDER_COLUMNS_COUNT),
                };
                let mut values = Vec::with_capacity(chunk.len() * columns);
                for order in chunk {
                    order.push_values(run, &mut values);
                    if !are_own {
                        order.push_foreign(&mut values);
                    }
                    if !are_plain {
                        order.push_money(&mut values);
                    }
                }
                self.execute(sql, values).await?;
                orders = rest;
            }
        }
        Ok(())
    }

    async fn update_by_an_operator(&self, id: CommodityId, update: &CommodityUpdate) -> Result<bool, StoreError> {
        let mut available = Expr::col(Column::Available).add(update.available);
        if let Some(total) = update.total {
            available = available.add(Expr::val(i64::from(total)).sub(Expr::col(Column::Total)));
        }
        let mut query = Entity::update_many()
            .filter(Column::Id.eq(id.get()))
            .col_expr(Column::Available, available)
            .col_expr(Column::Held, Expr::col(Column::Held).add(update.held))
            .col_expr(Column::Sold, Expr::col(Column::Sold).add(update.sold));
        if let Some(total) = update.total {
            // Behind `available`: MySQL assigns from left to right, and the line above means the old total.
            query = query.col_expr(Column::Total, Expr::val(i64::from(total)));
        }
        if let Some(terms) = &update.terms {
            query = query
                .col_expr(Column::Sku, Expr::val(terms.sku.as_ref().map(|sku| sku.as_str().to_owned())))
                .col_expr(Column::Name, Expr::val(terms.name.clone()))
                .col_expr(Column::Description, Expr::val(terms.description.clone()))
                .col_expr(Column::ImageUrl, Expr::val(terms.image_url.clone()))
                .col_expr(Column::Price, Expr::val(terms.price.minor()))
                .col_expr(Column::Currency, Expr::val(terms.currency.code()))
                .col_expr(Column::LimitPerUser, Expr::val(terms.limit_per_user.map(column_int)))
                .col_expr(Column::HoldSeconds, Expr::val(terms.hold_seconds.map(column_int)))
                .col_expr(Column::GraceSeconds, Expr::val(column_int(terms.grace_seconds)))
                .col_expr(Column::Cancellation, Expr::val(i16::from(terms.cancellation.code())))
                .col_expr(Column::StartsAt, Expr::val(terms.starts_at.millis()))
                .col_expr(Column::EndsAt, Expr::val(terms.ends_at.millis()));
        }
        if let Some(paused) = update.paused {
            query = query.col_expr(Column::Paused, Expr::val(paused));
        }
        if let Some(at) = update.ended_at {
            query = query.col_expr(Column::EndedAt, Expr::val(at.millis()));
        }
        if let Some(at) = update.closed_at {
            query = query.col_expr(Column::ClosedAt, Expr::val(at.millis()));
        }
        if let Some(at) = update.removed_at {
            query = query.col_expr(Column::RemovedAt, Expr::val(at.millis()));
        }
        if let Some(version) = update.version {
            query = query.col_expr(Column::Version, Expr::val(i64::from(version)));
        }
        Ok(query.exec(&self.transaction).await?.rows_affected == 1)
    }

    async fn execute(&self, sql: &str, values: Vec<Value>) -> Result<u64, StoreError> {
        Ok(self.transaction.execute_raw(self.statement(sql, values)).await?.rows_affected())
    }

    fn statement(&self, sql: impl Into<String>, values: Vec<Value>) -> Statement {
        Statement::from_sql_and_values(self.backend, sql, values)
    }
}

impl NewOrder {
    /// Whether what it has beside the others is what the columns have by themselves.
    fn is_plain(&self) -> bool {
        self.order.grace_seconds == 0 && self.order.discount.is_none()
    }

    fn push_values(&self, run: i32, values: &mut Vec<Value>) {
        let order = &self.order;
        let (_, low) = order.user.halves();
        values.extend([
            Value::from(order.id.uuid()),
            order.commodity.get().into(),
            low.into(),
            column_int(order.quantity.get()).into(),
            order.unit_price.minor().into(),
            order.currency.code().into(),
            order.status.code().into(),
            order.pay_by.map(Timestamp::millis).into(),
            self.key.map(|key| uuid::Uuid::from_bytes(key.to_bytes())).into(),
            self.fingerprint.0.into(),
            self.changed_at.millis().into(),
            run.into(),
        ]);
    }

    /// The columns in which an order with a hold or a discount differs.
    fn push_money(&self, values: &mut Vec<Value>) {
        let order = &self.order;
        values.extend([
            column_int(order.grace_seconds).into(),
            order.discount.map_or(0, |discount| discount.amount).into(),
            order.discount.map(|discount| discount.coupon.get()).into(),
        ]);
    }

    /// The columns in which an order of another issuer's account differs.
    fn push_foreign(&self, values: &mut Vec<Value>) {
        let (high, _) = self.order.user.halves();
        values.extend([high.into(), self.foreign.as_ref().map(|foreign| foreign.as_str().to_owned()).into()]);
    }
}

const PLAIN_COLUMNS_COUNT: usize = 14;
const ORDER_COLUMNS_COUNT: usize = 17;

const OWN_COLUMNS_COUNT: usize = 12;

/// The sizes of an insert, each a statement of its own; any number of rows is a few of them, like coins. 500 is where
/// more rows a statement stop to pay off, and far below the 65,535 and 32,766 placeholders of the two families.
const INSERT_SIZES: [usize; 9] = [500, 200, 100, 50, 20, 10, 5, 2, 1];

/// Statements that insert so many orders, by what has to be said of them: what is bound costs about as much as a short column.
struct Inserts {
    size: usize,
    own: String,
    plain: String,
    full: String,
}

static INSERTS: LazyLock<Vec<Inserts>> = LazyLock::new(|| {
    let insert = |columns: &str, count: usize, size: usize| {
        let row = format!("({})", places(count));
        format!("INSERT INTO orders ({columns}) VALUES {}", vec![row.as_str(); size].join(","))
    };
    let inserts = |size: usize| Inserts {
        size,
        own: insert(OWN_ORDER_COLUMNS, OWN_COLUMNS_COUNT, size),
        plain: insert(PLAIN_ORDER_COLUMNS, PLAIN_COLUMNS_COUNT, size),
        full: insert(ORDER_COLUMNS, ORDER_COLUMNS_COUNT, size),
    };
    INSERT_SIZES.into_iter().map(inserts).collect()
});

/// The most partitions in one statement that sets positions: it looks for each row's among all of them.
const POSITIONS_MAX: usize = 32;

/// The most rows of operations in one statement.
const OPERATIONS_MAX: usize = 50;

/// All counts of a row are far below 2^31: quantities 10^6, limits 10^6, hold seconds 31,536,000.
fn column_int(value: u32) -> i32 {
    i32::try_from(value).expect("counts of orders and terms fit 31 bits")
}
