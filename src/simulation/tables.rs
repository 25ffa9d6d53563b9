//! The database: tables in memory that keep the contract of the projection's transactions and of the snapshot. What the real one
//! refuses (a second row under a key, a counter below zero) this one refuses; and it can be away, or fail before or after a commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::checkpoint::{self, Checkpoint, CommodityRows, FromRows, Unreadable};
use crate::domain::{
    Commodity, CommodityId, Epoch, IdempotencyKey, Order, OrderId, OrderStatus, PartitionId, RequestFingerprint, Sequence, Stock,
    Timestamp, Units, UserId,
};
use crate::engine::{KnownCommodity, KnownOrder, Recalled, Snapshot};
use crate::event::LogVersion;
use crate::history::{CommodityRow, OrderRow, Rows};
use crate::store::{CommodityUpdate, Delta, Epochs, Move, NewCommodity, NewOrder, Position, StoreError, Tables, Transaction};

/// How the database is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mood {
    /// It does what it is told.
    #[default]
    Well,
    /// It does not answer.
    Away,
    /// The next commit fails, and nothing of it is there.
    LosesCommit,
    /// The next commit is there, and nobody is told.
    HidesCommit,
}

/// A row of the orders.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) order: Order,
    pub(super) key: Option<IdempotencyKey>,
    fingerprint: RequestFingerprint,
    changed_at: Timestamp,
}

/// A row of the commodities.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) commodity: Commodity,
    pub(super) partition: PartitionId,
    pub(super) removed: bool,
}

#[derive(Clone, Debug, Default)]
struct Inner {
    mood: Mood,
    orders: BTreeMap<OrderId, Row>,
    keys: BTreeMap<(UserId, CommodityId, IdempotencyKey), OrderId>,
    commodities: BTreeMap<CommodityId, Listed>,
    /// The claimed epoch and the position, by partition.
    partitions: BTreeMap<PartitionId, (Epoch, Position)>,
    checkpoints: BTreeMap<PartitionId, Kept>,
    is_mixed: bool,
    /// A delta may be missing somewhere: what is read then are the rows.
    has_gaps: bool,
    /// The process that applies batches now is of an older release: it knows nothing of checkpoints.
    is_older: bool,
}

/// The checkpoint of a partition, and what came after.
#[derive(Clone, Debug, Default)]
struct Kept {
    position: Position,
    parts: Vec<Vec<u8>>,
    deltas: Vec<Delta>,
}

impl Inner {
    fn rows(&self, partition: PartitionId) -> CommodityRows {
        let of_it = self.commodities.values().filter(|row| row.partition == partition);
        let (over, listed): (Vec<&Listed>, Vec<&Listed>) = of_it.partition(|row| row.removed || row.commodity.closed_at.is_some());
        CommodityRows {
            listed: listed.into_iter().map(|row| row.commodity.clone()).collect(),
            over: over.into_iter().map(|row| (row.commodity.clone(), row.removed)).collect(),
        }
    }

    fn by_rows(&self, partition: PartitionId, with_live_orders: bool) -> Snapshot {
        let mut rows = FromRows::new(DAWN, with_live_orders);
        let commodities = self.rows(partition);
        let is_listed = |id: CommodityId| commodities.listed.iter().any(|commodity| commodity.id == id);
        for row in self.orders.values().filter(|row| row.order.id.partition() == partition) {
            if row.order.status == OrderStatus::RefundDue || is_listed(row.order.commodity) {
                rows.row(row.order, row.key.map(|key| (key, row.fingerprint)), row.changed_at);
            }
        }
        rows.snapshot(commodities)
    }

    fn by_checkpoint(&self, partition: PartitionId) -> Result<Snapshot, Unreadable> {
        let nothing = Kept::default();
        let kept = self.checkpoints.get(&partition).unwrap_or(&nothing);
        let mut folded = Checkpoint::at(kept.position);
        kept.parts.iter().try_for_each(|part| folded.part(part))?;
        kept.deltas.iter().try_for_each(|delta| folded.delta(delta.previous, delta.position, &delta.body))?;
        if folded.position() != self.partitions[&partition].1 {
            return Err(Unreadable("a delta is missing at the end".into()));
        }
        let row = |id| self.orders.get(&id).map(|row: &Row| KnownOrder { order: row.order, key: row.key });
        let recalled: Vec<KnownOrder> = folded.recalled().filter_map(row).collect();
        folded.snapshot(self.rows(partition), &recalled, DAWN)
    }

    fn snapshot(&self, partition: PartitionId) -> Result<Snapshot, String> {
        let from_rows = sorted(self.by_rows(partition, false));
        match self.by_checkpoint(partition) {
            Ok(snapshot) if sorted(snapshot.clone()) == from_rows => Ok(snapshot),
            Ok(snapshot) => {
                let snapshot = sorted(snapshot);
                let differs = |(rows, checkpoint): &(&KnownCommodity, &KnownCommodity)| rows != checkpoint;
                let pair = from_rows.commodities.iter().zip(&snapshot.commodities).find(differs);
                Err(format!("where the rows come to {:?}, the checkpoint comes to {:?}", pair.map(|pair| pair.0), pair.map(|pair| pair.1)))
            }
            Err(_) if self.has_gaps => Ok(from_rows),
            Err(unreadable) => Err(format!("the checkpoint cannot be used: {unreadable}")),
        }
    }
}

/// Keys are kept for longer than a run lasts.
const DAWN: Timestamp = Timestamp::ZERO;

/// In an order that does not depend on how it was made.
fn sorted(mut snapshot: Snapshot) -> Snapshot {
    for known in &mut snapshot.commodities {
        known.buyers.sort_unstable();
        known.keys.sort_unstable_by_key(|key| key.order);
        known.orders.sort_unstable_by_key(|known| known.order.id);
    }
    snapshot.commodities.sort_unstable_by_key(|known| known.commodity.id);
    snapshot
}

/// The database.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Mutex<Inner>>);

/// A transaction. What it did is undone, last first, unless it is committed.
pub(super) struct Change {
    memory: Memory,
    undo: Mutex<Vec<Undo>>,
}

enum Undo {
    Order(OrderId, Option<Row>),
    Commodity(CommodityId, Option<Listed>),
    Position(PartitionId, Position),
    Delta(PartitionId),
}

impl Memory {
    pub(super) fn new(partitions: impl Iterator<Item = PartitionId>) -> Self {
        let start = (Epoch::default(), (Epoch::default(), Sequence::FENCE));
        Self(Arc::new(Mutex::new(Inner { partitions: partitions.map(|partition| (partition, start)).collect(), ..Inner::default() })))
    }

    pub(super) fn set_mood(&self, mood: Mood) {
        self.lock().mood = mood;
    }

    pub(super) fn is_away(&self) -> bool {
        self.lock().mood == Mood::Away
    }

    /// Counts the epoch up and says which it is.
    pub(super) fn claim_epoch(&self, partition: PartitionId) -> Epoch {
        let mut inner = self.lock();
        let (claimed, _) = inner.partitions.get_mut(&partition).expect("partitions are there from the beginning");
        *claimed = Epoch::new(claimed.get() + 1).expect("a run has few epochs");
        *claimed
    }

    pub(super) fn position(&self, partition: PartitionId) -> Position {
        self.lock().partitions[&partition].1
    }

    /// What a new owner without a fence would do.
    pub(super) fn force_position(&self, partition: PartitionId, epoch: Epoch) {
        let mut inner = self.lock();
        inner.has_gaps = true;
        if let Some((_, position)) = inner.partitions.get_mut(&partition) {
            *position = (epoch, Sequence::FENCE);
        }
    }

    pub(super) fn epochs(&self, partition: PartitionId) -> Epochs {
        let (claimed, (applied, _)) = self.lock().partitions[&partition];
        Epochs { claimed, applied }
    }

    pub(super) fn order(&self, id: OrderId) -> Option<Order> {
        self.lock().orders.get(&id).map(|row| row.order)
    }

    /// The newest form that may be in the log.
    pub(super) fn log_version(&self) -> LogVersion {
        if self.lock().is_mixed { LogVersion::OLDEST } else { LogVersion::NEWEST }
    }

    /// Whether processes of an older release take part.
    pub(super) fn set_mixed(&self, is_mixed: bool) {
        let mut inner = self.lock();
        (inner.is_mixed, inner.has_gaps) = (is_mixed, inner.has_gaps || is_mixed);
    }

    /// Whether they do.
    pub(super) fn is_mixed(&self) -> bool {
        self.lock().is_mixed
    }

    /// Whether the process that applies batches next is one of them.
    pub(super) fn set_older(&self, is_older: bool) {
        self.lock().is_older = is_older;
    }

    /// An order's row, for an engine that has forgotten it.
    pub(super) fn recalled(&self, id: OrderId, applied: Position) -> Option<Recalled> {
        let inner = self.lock();
        let row = inner.orders.get(&id)?;
        let listed = &inner.commodities[&row.order.commodity];
        let over = listed.removed || listed.commodity.closed_at.is_some();
        let commodity = over.then(|| Box::new(listed.commodity.clone()));
        Some(Recalled { order: row.order, key: row.key, applied, commodity })
    }

    /// A closed commodity.
    pub(super) fn closed_commodity(&self, id: CommodityId) -> Option<Commodity> {
        let inner = self.lock();
        let row = inner.commodities.get(&id).filter(|row| !row.removed && row.commodity.closed_at.is_some())?;
        Some(row.commodity.clone())
    }

    /// The order that was placed under a key, and what it asked for.
    pub(super) fn order_under_key(
        &self,
        commodity: CommodityId,
        user: UserId,
        key: IdempotencyKey,
    ) -> Option<(OrderId, RequestFingerprint)> {
        let inner = self.lock();
        let id = inner.keys.get(&(user, commodity, key))?;
        Some((*id, inner.orders[id].fingerprint))
    }

    /// What an engine starts from: made from the rows, and from checkpoint and deltas, which must come to the same.
    pub(super) fn snapshot(&self, partition: PartitionId, with_live_orders: bool) -> Result<Snapshot, String> {
        let inner = self.lock();
        if with_live_orders { Ok(sorted(inner.by_rows(partition, true))) } else { inner.snapshot(partition) }
    }

    /// Writes a checkpoint of a partition as it is now.
    pub(super) fn write_checkpoint(&self, partition: PartitionId) -> Result<(), String> {
        let mut inner = self.lock();
        let snapshot = inner.snapshot(partition)?;
        let position = inner.partitions[&partition].1;
        let kept = inner.checkpoints.entry(partition).or_default();
        (kept.position, kept.parts) = (position, checkpoint::parts_of(&snapshot));
        kept.deltas.retain(|delta| delta.position > position);
        Ok(())
    }

    /// Every commodity, for the checks.
    pub(super) fn commodities(&self) -> Vec<Listed> {
        self.lock().commodities.values().cloned().collect()
    }

    /// Every order, for the checks.
    pub(super) fn orders(&self) -> Vec<Row> {
        self.lock().orders.values().cloned().collect()
    }

    /// The tables as the history is held against them. With how many units a commodity was listed is the operators' to know.
    pub(super) fn rows(&self, listed: &BTreeMap<CommodityId, i64>) -> Rows {
        let inner = self.lock();
        let order = |row: &Row| OrderRow {
            id: row.order.id,
            commodity: row.order.commodity,
            user: row.order.user,
            quantity: row.order.quantity,
            key: row.key,
            status: row.order.status,
        };
        let commodity = |row: &Listed| {
            let Stock { total, available, held, sold } = row.commodity.stock;
            let [total, available, held, sold] = [total, available, held, sold].map(i64::from);
            CommodityRow {
                id: row.commodity.id,
                listed: listed.get(&row.commodity.id).copied().unwrap_or_default(),
                total,
                available,
                held,
                sold,
            }
        };
        Rows { orders: inner.orders.values().map(order).collect(), commodities: inner.commodities.values().map(commodity).collect() }
    }

    /// The equation of the tables; what does not add up, if so. Cheap: it is asked after every transaction.
    pub(super) fn imbalance(&self) -> Option<String> {
        let inner = self.lock();
        let mut claims: BTreeMap<CommodityId, (u64, u64)> = BTreeMap::new();
        for row in inner.orders.values() {
            let (held, sold) = claims.entry(row.order.commodity).or_default();
            match row.order.status {
                OrderStatus::Reserved => *held += u64::from(row.order.quantity.get()),
                OrderStatus::Confirmed | OrderStatus::Paid => *sold += u64::from(row.order.quantity.get()),
                OrderStatus::Cancelled | OrderStatus::Expired | OrderStatus::RefundDue | OrderStatus::Refunded => {}
            }
        }
        inner.commodities.values().find_map(|row| {
            let stock = row.commodity.stock;
            let claimed = claims.get(&row.commodity.id).copied().unwrap_or_default();
            let fits = stock.balances() && claimed == (u64::from(stock.held.get()), u64::from(stock.sold.get()));
            (!fits).then(|| format!("the tables have commodity {} as {stock:?}, and its orders claim {claimed:?}", row.commodity.id))
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables for Memory {
    type Transaction = Change;

    async fn begin(&self) -> Result<Change, StoreError> {
        if self.is_away() { Err(away()) } else { Ok(Change { memory: self.clone(), undo: Mutex::new(Vec::new()) }) }
    }
}

impl Transaction for Change {
    async fn positions(&self, partitions: &[PartitionId]) -> Result<BTreeMap<PartitionId, Position>, StoreError> {
        let inner = self.memory.lock();
        Ok(partitions.iter().filter_map(|id| Some((*id, inner.partitions.get(id)?.1))).collect())
    }

    async fn set_positions(&self, positions: &BTreeMap<PartitionId, Position>) -> Result<(), StoreError> {
        for (id, position) in positions {
            if let Some((_, found)) = self.memory.lock().partitions.get_mut(id) {
                let before = std::mem::replace(found, *position);
                self.noted(Undo::Position(*id, before));
            }
        }
        Ok(())
    }

    async fn append_deltas(&self, deltas: Vec<Delta>) -> Result<(), StoreError> {
        if self.memory.lock().is_older {
            return Ok(());
        }
        for delta in deltas {
            self.noted(Undo::Delta(delta.partition));
            self.memory.lock().checkpoints.entry(delta.partition).or_default().deltas.push(delta);
        }
        Ok(())
    }

    async fn insert_orders(&self, orders: &[NewOrder]) -> Result<(), StoreError> {
        let mut inner = self.memory.lock();
        for NewOrder { order, key, fingerprint, changed_at } in orders {
            if inner.orders.contains_key(&order.id) {
                return Err(StoreError::Refused(format!("order {} is there already", order.id)));
            }
            if !inner.commodities.contains_key(&order.commodity) {
                return Err(StoreError::Refused(format!("order {} is of no commodity", order.id)));
            }
            if let Some(key) = key
                && let Some(other) = inner.keys.insert((order.user, order.commodity, *key), order.id)
            {
                inner.keys.insert((order.user, order.commodity, *key), other);
                return Err(StoreError::Refused(format!("orders {other} and {} have one key", order.id)));
            }
            inner.orders.insert(order.id, Row { order: *order, key: *key, fingerprint: *fingerprint, changed_at: *changed_at });
            self.noted(Undo::Order(order.id, None));
        }
        Ok(())
    }

    async fn move_orders(&self, orders: &Move) -> Result<u64, StoreError> {
        let mut inner = self.memory.lock();
        let mut found = 0;
        for id in &orders.orders {
            let Some(row) = inner.orders.get_mut(id).filter(|row| row.order.status == orders.from) else { continue };
            self.noted(Undo::Order(*id, Some(row.clone())));
            (row.order.status, row.changed_at) = (orders.to, orders.at);
            found += 1;
        }
        Ok(found)
    }

    async fn forget_keys(&self, orders: &[OrderId]) -> Result<(), StoreError> {
        let mut inner = self.memory.lock();
        for id in orders {
            let Some(row) = inner.orders.get_mut(id) else { continue };
            self.noted(Undo::Order(*id, Some(row.clone())));
            let key = row.key.take().map(|key| (row.order.user, row.order.commodity, key));
            key.and_then(|key| inner.keys.remove(&key));
        }
        Ok(())
    }

    async fn insert_commodity(&self, new: &NewCommodity) -> Result<(), StoreError> {
        let NewCommodity { commodity, partition, removed_at } = new;
        let mut inner = self.memory.lock();
        if inner.commodities.contains_key(&commodity.id) {
            return Err(StoreError::Refused(format!("commodity {} is there already", commodity.id)));
        }
        self.noted(Undo::Commodity(commodity.id, None));
        let row = Listed { commodity: commodity.clone(), partition: *partition, removed: removed_at.is_some() };
        inner.commodities.insert(commodity.id, row);
        Ok(())
    }

    async fn update_commodity(&self, id: CommodityId, update: &CommodityUpdate) -> Result<bool, StoreError> {
        let mut inner = self.memory.lock();
        let Some(row) = inner.commodities.get_mut(&id) else { return Ok(false) };
        self.noted(Undo::Commodity(id, Some(row.clone())));
        let commodity = &mut row.commodity;
        let stock = commodity.stock;
        let total = update.total.unwrap_or(stock.total);
        let sum = |now: Units, change: i64| {
            Units::new(i64::from(now) + change).map_err(|_| StoreError::Refused(format!("commodity {id}: a counter below zero")))
        };
        commodity.stock = Stock {
            total,
            available: sum(stock.available, update.available + i64::from(total) - i64::from(stock.total))?,
            held: sum(stock.held, update.held)?,
            sold: sum(stock.sold, update.sold)?,
        };
        if let Some(terms) = &update.terms {
            commodity.terms = (**terms).clone();
        }
        commodity.paused = update.paused.unwrap_or(commodity.paused);
        commodity.ended_at = update.ended_at.or(commodity.ended_at);
        commodity.closed_at = update.closed_at.or(commodity.closed_at);
        commodity.version = update.version.unwrap_or(commodity.version);
        row.removed |= update.removed_at.is_some();
        Ok(true)
    }

    async fn unseal(&self, _: &BTreeSet<CommodityId>) -> Result<(), StoreError> {
        // Nobody audits these tables.
        Ok(())
    }

    async fn commit(self) -> Result<(), StoreError> {
        let mood = std::mem::replace(&mut self.memory.lock().mood, Mood::Well);
        match mood {
            Mood::Well => {
                self.undo.lock().unwrap_or_else(PoisonError::into_inner).clear();
                Ok(())
            }
            Mood::HidesCommit => {
                self.undo.lock().unwrap_or_else(PoisonError::into_inner).clear();
                Err(away())
            }
            Mood::Away | Mood::LosesCommit => Err(away()),
        }
    }

    async fn rollback(self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Change {
    fn noted(&self, undo: Undo) {
        self.undo.lock().unwrap_or_else(PoisonError::into_inner).push(undo);
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        let undo = std::mem::take(self.undo.get_mut().unwrap_or_else(PoisonError::into_inner));
        let mut inner = self.memory.lock();
        for undo in undo.into_iter().rev() {
            match undo {
                Undo::Order(id, before) => {
                    if let Some(key) = inner.orders.remove(&id).and_then(|row| Some((row.order.user, row.order.commodity, row.key?))) {
                        inner.keys.remove(&key);
                    }
                    if let Some(row) = before {
                        if let Some(key) = row.key {
                            inner.keys.insert((row.order.user, row.order.commodity, key), id);
                        }
                        inner.orders.insert(id, row);
                    }
                }
                Undo::Commodity(id, Some(row)) => drop(inner.commodities.insert(id, row)),
                Undo::Commodity(id, None) => drop(inner.commodities.remove(&id)),
                Undo::Delta(id) => drop(inner.checkpoints.get_mut(&id).and_then(|kept| kept.deltas.pop())),
                Undo::Position(id, position) => {
                    if let Some((_, found)) = inner.partitions.get_mut(&id) {
                        *found = position;
                    }
                }
            }
        }
    }
}

fn away() -> StoreError {
    StoreError::Connect("the database is away".into())
}
