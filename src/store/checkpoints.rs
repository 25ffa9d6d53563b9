//! Loading what an engine starts from, and writing the checkpoint that makes it cheap. The rows decide: a checkpoint that does not
//! fit them is passed over.
//!
//! A load is never given up half-way by whoever asked for it: it reads streams of rows, which must not be left in the middle. A
//! database that stops answering ends it, however much there is to load.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use sea_orm::{ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, QueryFilter, QueryOrder};
use sea_orm::{QueryResult, Statement, StreamTrait, Value};

use super::entity::{commodity, order};
use super::partitions::{CheckpointRow, PartitionRow, find};
use super::pool::Transaction;
use super::waits::{timely, to_the_end};
use super::{Store, StoreError};
use crate::checkpoint::{self, Checkpoint, CommodityRows, FromRows, Position};
use crate::domain::{Commodity, CommodityId, Epoch, OrderId, OrderStatus, PartitionId, Sequence, Timestamp};
use crate::engine::{KnownOrder, Snapshot};

/// Rows looked up by their ids in one statement.
const LIST_MAX: usize = 256;

/// How to load a partition.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The time: keys of orders that ended more than 24 hours before are left out.
    pub now: Timestamp,
    /// Whether every live order is to be known by itself, for the sake of older releases.
    pub with_live_orders: bool,
}

/// What came of writing a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointReport {
    /// It is there.
    Written {
        /// Its bytes.
        bytes: u64,
    },
    /// Somebody else wrote one meanwhile, or cleared this one's parts away.
    Overtaken,
}

/// What has gathered since the checkpoint of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaSize {
    /// Rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Store {
    /// What an engine of the partition starts from, read in one snapshot. Waits for its turn: so many load at one time as there are
    /// connections for it.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`], and [`StoreError::Connect`] when no row comes for too long.
    pub async fn snapshot(&self, partition: PartitionId, load: Load) -> Result<Snapshot, StoreError> {
        let store = self.clone();
        to_the_end(async move { Ok(store.load(partition, load).await?.1) }).await
    }

    /// Writes a new checkpoint of a partition, and clears away what it replaces.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot).
    pub async fn write_checkpoint(&self, partition: PartitionId, now: Timestamp) -> Result<CheckpointReport, StoreError> {
        let store = self.clone();
        to_the_end(async move {
            let (row, snapshot) = store.load(partition, Load { now, with_live_orders: false }).await?;
            let parts = blocking(move || checkpoint::parts_of(&snapshot)).await;
            store.put_checkpoint(&row, parts, now).await
        })
        .await
    }

    /// How much lies on top of the checkpoint of a partition.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn delta_size(&self, partition: PartitionId) -> Result<DeltaSize, StoreError> {
        let sql = "SELECT COUNT(*), CAST(COALESCE(SUM(LENGTH(body)), 0) AS SIGNED) FROM checkpoint_deltas WHERE partition_id = ?";
        let row = self.reader().query_one_raw(self.statement(sql, [i32::from(partition.get()).into()])).await?;
        let (rows, bytes): (i64, i64) =
            row.map(|row| Ok::<_, sea_orm::DbErr>((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).transpose()?.unwrap_or_default();
        Ok(DeltaSize { rows: u64::try_from(rows).unwrap_or_default(), bytes: u64::try_from(bytes).unwrap_or_default() })
    }

    /// Whether the deltas lead from the checkpoint of a partition to where the projection was when its row was read: if not, an
    /// older release applied batches, or there never was a checkpoint.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn deltas_are_whole(&self, row: &PartitionRow) -> Result<bool, StoreError> {
        let sql = "SELECT epoch, sequence, previous_epoch, previous_sequence FROM checkpoint_deltas \
                   WHERE partition_id = ? ORDER BY epoch, sequence";
        let mut position = row.checkpoint.position;
        for delta in self.reader().query_all_raw(self.statement(sql, [i32::from(row.id.get()).into()])).await? {
            let (next, previous) = positions_of(&delta)?;
            // What is beyond the row came after it was read.
            if previous == position && next <= row.applied {
                position = next;
            }
        }
        Ok(position == row.applied)
    }

    async fn load(&self, partition: PartitionId, load: Load) -> Result<(PartitionRow, Snapshot), StoreError> {
        let _turn = self.inner.loads.acquire().await.map_err(|_| StoreError::Connect("the database is closed".into()))?;
        let transaction = timely(async { Ok(self.snapshot_of(&self.inner.connections.loader).await) }).await??;
        match self.load_in(&transaction, partition, load).await {
            Ok(loaded) => {
                timely(transaction.rollback()).await?;
                Ok(loaded)
            }
            Err(error) => {
                // It may have ended in the middle of the rows.
                transaction.give_up();
                Err(error)
            }
        }
    }

    async fn load_in(&self, transaction: &Transaction, partition: PartitionId, load: Load) -> Result<(PartitionRow, Snapshot), StoreError> {
        let row = timely(async { Ok(find(transaction, partition).await) }).await??;
        let listed = listed(transaction, partition).await?;
        let operations = self.known_operations(transaction, partition, load.now).await?;
        if !load.with_live_orders {
            match self.by_checkpoint(transaction, &row, &listed, load.now).await {
                Ok(snapshot) => return Ok((row, Snapshot { operations, ..snapshot })),
                Err(Failure::Store(error)) => return Err(error),
                Err(Failure::Unfit(why)) => {
                    tracing::info!(%partition, why, "partition {partition} is loaded from its rows: {why}");
                }
            }
        }
        let snapshot = self.by_rows(transaction, partition, listed, load).await?;
        Ok((row, Snapshot { operations, ..snapshot }))
    }

    async fn by_checkpoint(
        &self,
        transaction: &Transaction,
        row: &PartitionRow,
        listed: &[Commodity],
        now: Timestamp,
    ) -> Result<Snapshot, Failure> {
        let CheckpointRow { generation, position, parts, .. } = row.checkpoint;
        let id = Value::from(i32::from(row.id.get()));
        let sql = "SELECT body FROM checkpoint_parts WHERE partition_id = ? AND generation = ? ORDER BY part";
        let bodies =
            all(transaction, self.statement(sql, [id.clone(), generation.into()]), |row| row.try_get_by_index::<Vec<u8>>(0)).await?;
        if bodies.len() != parts as usize {
            return Err(Failure::Unfit(format!("its checkpoint has {} of {parts} parts", bodies.len())));
        }
        // Without their bodies first: where an older release was here there may be very many that are of no use.
        let sql = "SELECT epoch, sequence, previous_epoch, previous_sequence FROM checkpoint_deltas \
                   WHERE partition_id = ? ORDER BY epoch, sequence";
        let positions = all(transaction, self.statement(sql, [id.clone()]), |row| Ok(positions_of(row))).await?;
        if !leads_to(position, row.applied, positions.into_iter().collect::<Result<_, _>>()?) {
            return Err(Failure::Unfit("there is no checkpoint up to here".into()));
        }
        let sql = "SELECT epoch, sequence, previous_epoch, previous_sequence, body FROM checkpoint_deltas \
                   WHERE partition_id = ? ORDER BY epoch, sequence";
        let deltas =
            all(transaction, self.statement(sql, [id]), |row| Ok((positions_of(row), row.try_get_by_index::<Vec<u8>>(4)?))).await?;
        let (applied, mut rows) = (row.applied, CommodityRows { listed: listed.to_vec(), over: Vec::new() });
        let folded = blocking(move || fold(position, applied, &bodies, deltas)).await?;
        rows.over = over(transaction, &not_listed(folded.owing(), listed)).await?;
        let recalled: Vec<OrderId> = folded.recalled().collect();
        let recalled = self.known_orders(transaction, &recalled).await?;
        blocking(move || {
            let snapshot = folded.snapshot(rows, &recalled, now).map_err(|unreadable| Failure::Unfit(unreadable.to_string()))?;
            fits(&snapshot).map_err(Failure::Unfit)?;
            Ok(snapshot)
        })
        .await
    }

    /// Row by row: every live order, every refund due, every key that is remembered.
    async fn by_rows(
        &self,
        transaction: &Transaction,
        partition: PartitionId,
        listed: Vec<Commodity>,
        load: Load,
    ) -> Result<Snapshot, StoreError> {
        let payments = self.payments_of_partition(transaction, partition).await?;
        let mut rows = FromRows::new(load.now, load.with_live_orders, payments);
        let id = Value::from(i32::from(partition.get()));
        let codes = |wanted: fn(OrderStatus) -> bool| -> String {
            let codes: Vec<String> =
                OrderStatus::ALL.into_iter().filter(|status| wanted(*status)).map(|status| status.code().to_string()).collect();
            codes.join(", ")
        };
        let (live, due) = (codes(OrderStatus::is_live), codes(|status| status == OrderStatus::RefundDue));
        let ended = codes(|status| !status.is_live() && status != OrderStatus::RefundDue);
        let of_listed = "FROM commodities c JOIN orders o ON o.commodity_id = c.id \
                         WHERE c.partition_id = ? AND c.removed_at IS NULL AND c.closed_at IS NULL";
        let queries = [
            (format!("SELECT o.* {of_listed} AND o.status IN ({live})"), vec![id.clone()]),
            // Those that ended too long ago come too: rows that the server passes over in silence look like one that does not answer.
            (format!("SELECT o.* {of_listed} AND o.status IN ({ended}) AND o.idempotency_key IS NOT NULL"), vec![id.clone()]),
            // Of closed and removed ones too.
            (
                format!(
                    "SELECT o.* FROM orders o JOIN commodities c ON c.id = o.commodity_id WHERE o.status IN ({due}) AND c.partition_id = ?"
                ),
                vec![id],
            ),
        ];
        let mut owing: Vec<CommodityId> = Vec::new();
        for (sql, values) in queries {
            let mut found = timely(transaction.streams().stream_raw(self.statement(&sql, values))).await?;
            while let Some(row) = timely(found.try_next()).await? {
                let row = order::Model::from_query_result(&row, "")?;
                let order = row.order()?;
                if order.status == OrderStatus::RefundDue {
                    owing.push(order.commodity);
                }
                rows.row(order, row.key(), row.changed_at()?);
            }
        }
        let ids: Vec<OrderId> = rows.owing_ids().collect();
        for known in self.known_orders(transaction, &ids).await? {
            owing.push(known.order.commodity);
            rows.owing(known.order, known.key);
        }
        let over = over(transaction, &not_listed(owing.into_iter(), &listed)).await?;
        Ok(blocking(move || rows.snapshot(CommodityRows { listed, over })).await)
    }

    async fn known_orders(&self, transaction: &Transaction, ids: &[OrderId]) -> Result<Vec<KnownOrder>, StoreError> {
        let mut known = Vec::with_capacity(ids.len());
        let payments = self.known_payments_in(transaction, ids).await?;
        for ids in ids.chunks(LIST_MAX) {
            let query = order::Entity::find().filter(order::Column::Id.is_in(ids.iter().map(|id| id.uuid())));
            for row in timely(query.all(transaction)).await? {
                let order = row.order()?;
                let payments = payments.get(&order.id).copied().unwrap_or_default();
                known.push(KnownOrder { order, key: row.key().map(|(key, _)| key), payments });
            }
        }
        Ok(known)
    }

    /// Puts the parts into the tables, then makes them the checkpoint if it is still the one that was read.
    async fn put_checkpoint(&self, row: &PartitionRow, parts: Vec<Vec<u8>>, now: Timestamp) -> Result<CheckpointReport, StoreError> {
        let (id, before) = (Value::from(i32::from(row.id.get())), row.checkpoint.generation);
        // Later ones are higher, so that those of writers that were interrupted are known by being lower.
        let generation = now.millis().max(before + 1);
        let (count, bytes) = (parts.len() as i64, parts.iter().map(|part| part.len() as u64).sum::<u64>());
        for (number, part) in (0i32..).zip(parts) {
            let sql = "INSERT INTO checkpoint_parts (partition_id, generation, part, body) VALUES (?, ?, ?, ?)";
            let values = [id.clone(), generation.into(), number.into(), part.into()];
            self.inner.connections.writer.execute_raw(self.statement(sql, values)).await?;
        }
        let transaction = self.begin_write().await?;
        let lock = if self.backend() == DbBackend::MySql { " FOR UPDATE" } else { "" };
        let sql = format!("SELECT checkpoint_generation FROM partitions WHERE id = ?{lock}");
        let found = transaction.query_one_raw(self.statement(&sql, [id.clone()])).await?;
        let found: Option<i64> = found.map(|row| row.try_get_by_index(0)).transpose()?;
        let sql = "SELECT COUNT(*) FROM checkpoint_parts WHERE partition_id = ? AND generation = ?";
        let there = transaction.query_one_raw(self.statement(sql, [id.clone(), generation.into()])).await?;
        let there: Option<i64> = there.map(|row| row.try_get_by_index(0)).transpose()?;
        if found != Some(before) || there != Some(count) {
            transaction.rollback().await?;
            let sql = "DELETE FROM checkpoint_parts WHERE partition_id = ? AND generation = ?";
            self.inner.connections.writer.execute_raw(self.statement(sql, [id, generation.into()])).await?;
            return Ok(CheckpointReport::Overtaken);
        }
        let (epoch, sequence) = columns(row.applied)?;
        let sql = "UPDATE partitions SET checkpoint_generation = ?, checkpoint_epoch = ?, checkpoint_sequence = ?, checkpoint_parts = ?, \
                   checkpoint_bytes = ? WHERE id = ?";
        let values = [generation.into(), epoch.clone(), sequence.clone(), count.into(), Value::from(bytes as i64), id.clone()];
        transaction.execute_raw(self.statement(sql, values)).await?;
        transaction.commit().await?;
        self.clear_away(id, generation, (epoch, sequence)).await?;
        Ok(CheckpointReport::Written { bytes })
    }

    /// What is cut short here is done with the next checkpoint.
    async fn clear_away(&self, id: Value, generation: i64, (epoch, sequence): (Value, Value)) -> Result<(), StoreError> {
        let sql = "DELETE FROM checkpoint_deltas WHERE partition_id = ? AND (epoch < ? OR epoch = ? AND sequence <= ?)";
        let writer = &self.inner.connections.writer;
        writer.execute_raw(self.statement(sql, [id.clone(), epoch.clone(), epoch, sequence])).await?;
        let sql = "DELETE FROM checkpoint_parts WHERE partition_id = ? AND generation < ?";
        writer.execute_raw(self.statement(sql, [id, generation.into()])).await?;
        Ok(())
    }
}

/// Why there is no snapshot from a checkpoint.
enum Failure {
    Store(StoreError),
    /// The rows are read instead.
    Unfit(String),
}

impl<E: Into<StoreError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

type DeltaRow = (Result<(Position, Position), StoreError>, Vec<u8>);

fn fold(position: Position, applied: Position, parts: &[Vec<u8>], deltas: Vec<DeltaRow>) -> Result<Checkpoint, Failure> {
    let unfit = |unreadable: checkpoint::Unreadable| Failure::Unfit(unreadable.to_string());
    let mut folded = Checkpoint::at(position);
    parts.iter().try_for_each(|part| folded.part(part)).map_err(unfit)?;
    for (positions, body) in deltas {
        let (next, previous) = positions?;
        // What the checkpoint has already waits to be cleared away.
        if next > position {
            folded.delta(previous, next, &body).map_err(unfit)?;
        }
    }
    if folded.position() == applied { Ok(folded) } else { Err(Failure::Unfit("there is no checkpoint up to here".into())) }
}

/// Whether deltas, in the order of their positions, lead from one to the other. What lies before the first waits to be cleared away.
fn leads_to(from: Position, to: Position, deltas: Vec<(Position, Position)>) -> bool {
    let follow = |position: Position, (next, previous): (Position, Position)| match next <= from {
        true => Some(position),
        false => (previous == position).then_some(next),
    };
    deltas.into_iter().try_fold(from, follow) == Some(to)
}

/// Holds what was loaded against the commodities' counters: what does not fit is not the checkpoint of these rows.
fn fits(snapshot: &Snapshot) -> Result<(), String> {
    for known in &snapshot.commodities {
        let stock = known.commodity.stock;
        let held: u64 = known
            .orders
            .iter()
            .map(|known| (known.order.status, known.order.quantity))
            .filter(|(status, _)| *status == OrderStatus::Reserved)
            .map(|(_, quantity)| u64::from(quantity.get()))
            .sum();
        let taken: u64 = known.buyers.iter().map(|buyer| u64::from(buyer.units)).sum();
        let over = known.removed || known.commodity.closed_at.is_some();
        if !over && (held, taken) != (u64::from(stock.held.get()), u64::from(stock.held.get()) + u64::from(stock.sold.get())) {
            return Err(format!("its checkpoint is not that of commodity {}", known.commodity.id));
        }
    }
    Ok(())
}

/// Those that are not among what is listed, each once.
fn not_listed(ids: impl Iterator<Item = CommodityId>, listed: &[Commodity]) -> Vec<CommodityId> {
    let mut ids: BTreeSet<CommodityId> = ids.collect();
    for commodity in listed {
        ids.remove(&commodity.id);
    }
    ids.into_iter().collect()
}

async fn listed(transaction: &Transaction, partition: PartitionId) -> Result<Vec<Commodity>, StoreError> {
    let query = commodity::Entity::find()
        .filter(commodity::Column::PartitionId.eq(i32::from(partition.get())))
        .filter(commodity::Column::ClosedAt.is_null())
        .filter(commodity::Column::RemovedAt.is_null())
        .order_by_asc(commodity::Column::Id);
    timely(query.all(transaction)).await?.into_iter().map(commodity::Model::commodity).collect()
}

/// Rows of closed and removed commodities, and which of them were removed.
async fn over(transaction: &Transaction, ids: &[CommodityId]) -> Result<Vec<(Commodity, bool)>, StoreError> {
    let mut rows = Vec::with_capacity(ids.len());
    for ids in ids.chunks(LIST_MAX) {
        let query = commodity::Entity::find().filter(commodity::Column::Id.is_in(ids.iter().map(|id| id.get())));
        for row in timely(query.all(transaction)).await? {
            let removed = row.removed_at.is_some();
            rows.push((row.commodity()?, removed));
        }
    }
    Ok(rows)
}

/// All rows of a query, each within the time for progress.
async fn all<T>(
    transaction: &Transaction,
    query: Statement,
    read: impl Fn(&QueryResult) -> Result<T, sea_orm::DbErr>,
) -> Result<Vec<T>, StoreError> {
    let mut rows = timely(transaction.streams().stream_raw(query)).await?;
    let mut found = Vec::new();
    while let Some(row) = timely(rows.try_next()).await? {
        found.push(read(&row)?);
    }
    Ok(found)
}

/// The position a delta leads to, and the one it begins at.
fn positions_of(row: &QueryResult) -> Result<(Position, Position), StoreError> {
    let position = |first: usize| -> Result<Position, StoreError> {
        let (epoch, sequence): (i64, i64) = (row.try_get_by_index(first)?, row.try_get_by_index(first + 1)?);
        let corrupt = || StoreError::Corrupt(format!("a position of checkpoint_deltas: {epoch}/{sequence}"));
        let epoch = u32::try_from(epoch).ok().and_then(|epoch| Epoch::new(epoch).ok()).ok_or_else(corrupt)?;
        Ok((epoch, Sequence(u64::try_from(sequence).map_err(|_| corrupt())?)))
    };
    Ok((position(0)?, position(2)?))
}

fn columns((epoch, sequence): Position) -> Result<(Value, Value), StoreError> {
    let sequence = i64::try_from(sequence.0).map_err(|_| StoreError::Corrupt(format!("sequence {sequence}")))?;
    Ok((i64::from(epoch.get()).into(), sequence.into()))
}

/// Work of many milliseconds, off the threads that others wait for.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))
}
