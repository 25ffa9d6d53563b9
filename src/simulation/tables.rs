//! The database: tables in memory that keep the contract of the projection's transactions and of the snapshot. What the real one
//! refuses (a second row under a key, a counter below zero) this one refuses; and it can be away, or fail before or after a commit.

mod archive;
mod change;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::checkpoint::{self, Checkpoint, CommodityRows, FromRows, Unreadable};
use crate::domain::{
    Commodity, CommodityId, Epoch, Foreign, IdempotencyKey, NamedOrder, OperationKey, Order, OrderId, OrderStatus, PartitionId, PaymentId,
    PaymentStatus, Payments, Principal, PrincipalKey, RequestFingerprint, Sequence, Stock, Subject, SystemId, Timestamp,
};
use crate::engine::{KnownCommodity, KnownOperation, KnownOrder, Recalled, Snapshot};
use crate::event::LogVersion;
use crate::history::{CommodityRow, OrderRow, Rows};
use crate::store::{Delta, Epochs, EventPlace, Gap, NewNotice, NewOperation, NewPayment, NewStep, Position, StoreError, Tables};
use change::Change;

/// The system that all of this is.
pub(super) const SYSTEM: SystemId = SystemId::from_bytes([1; 16]);

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
    foreign: Option<Foreign>,
    pub(super) key: Option<IdempotencyKey>,
    fingerprint: RequestFingerprint,
    changed_at: Timestamp,
}

impl Row {
    fn named(&self) -> NamedOrder {
        NamedOrder { order: self.order, foreign: self.foreign.clone() }
    }

    fn buyer(&self) -> Principal {
        self.named().buyer().expect("the projection writes it down")
    }
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
    /// Orders of commodities that are over, moved out of the way.
    archived: BTreeMap<OrderId, Row>,
    /// Commodities of which an audit has found that nothing is owed.
    sealed: BTreeSet<CommodityId>,
    keys: BTreeMap<(PrincipalKey, CommodityId, IdempotencyKey), OrderId>,
    /// What was done under a key.
    operations: BTreeMap<OperationKey, NewOperation>,
    commodities: BTreeMap<CommodityId, Listed>,
    payments: BTreeMap<PaymentId, NewPayment>,
    /// Steps of orders, by the place of their events.
    steps: BTreeMap<EventPlace, NewStep>,
    /// What is to be told to others, by the place of its event.
    notices: BTreeMap<EventPlace, NewNotice>,
    is_outbox_wanted: bool,
    /// The claimed epoch and the position, by partition.
    partitions: BTreeMap<PartitionId, (Epoch, Position)>,
    checkpoints: BTreeMap<PartitionId, Kept>,
    is_mixed: bool,
    /// A delta may be missing somewhere: what is read then are the rows.
    has_gaps: bool,
    /// The last batch of a partition that somebody said was confirmed.
    confirmed: BTreeMap<PartitionId, Position>,
    /// What the projection of a partition lacks, as a consumer has noted it.
    gaps: BTreeMap<PartitionId, Gap>,
    /// Epochs of which a loss was accepted.
    losses: BTreeSet<(PartitionId, Epoch)>,
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

    fn known_operations(&self, partition: PartitionId) -> Vec<KnownOperation> {
        let of_it = self.operations.values().filter(|row| row.partition == partition);
        let known = of_it.filter_map(|row| match row.subject {
            Subject::Commodity(commodity) => Some(KnownOperation { operation: row.operation, commodity, at: row.at }),
            Subject::Order(_) => None,
        });
        known.collect()
    }

    fn by_rows(&self, partition: PartitionId, with_live_orders: bool) -> Snapshot {
        let mut rows = FromRows::new(DAWN, with_live_orders, self.known_payments(partition));
        let commodities = self.rows(partition);
        let is_listed = |id: CommodityId| commodities.listed.iter().any(|commodity| commodity.id == id);
        for row in self.orders.values().filter(|row| row.order.id.partition() == partition) {
            if row.order.status == OrderStatus::RefundDue || is_listed(row.order.commodity) {
                rows.row(row.order, row.key.map(|key| (key, row.fingerprint)), row.changed_at);
            }
        }
        for id in rows.owing_ids().collect::<Vec<_>>() {
            if let Some(row) = self.orders.get(&id) {
                rows.owing(row.order, row.key);
            }
        }
        rows.snapshot(commodities)
    }

    fn payments_of(&self, order: OrderId) -> Payments {
        let rows = self.payments.values().filter(|row| row.id.order == order);
        Payments::of(rows.map(|row| (row.id.attempt, row.status, row.pays))).expect("the projection writes down what an engine says")
    }

    /// Those of orders that an engine must know.
    fn known_payments(&self, partition: PartitionId) -> BTreeMap<OrderId, Payments> {
        let orders: BTreeSet<OrderId> = self.payments.keys().map(|id| id.order).filter(|order| order.partition() == partition).collect();
        orders.into_iter().map(|order| (order, self.payments_of(order))).collect()
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
        let row = |id| self.orders.get(&id).map(|row: &Row| KnownOrder { order: row.order, key: row.key, payments: self.payments_of(id) });
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

    /// The last batch of a partition that somebody said was confirmed.
    pub(super) fn confirmed(&self, partition: PartitionId) -> Position {
        self.lock().confirmed.get(&partition).copied().unwrap_or_default()
    }

    pub(super) fn note_confirmed(&self, partition: PartitionId, confirmed: Position) {
        let mut inner = self.lock();
        let known = inner.confirmed.entry(partition).or_default();
        *known = confirmed.max(*known);
    }

    /// What the projection of a partition lacks, if it has not gone on since that was noted.
    pub(super) fn gap(&self, partition: PartitionId) -> Option<Gap> {
        let inner = self.lock();
        inner.gaps.get(&partition).filter(|gap| gap.applied == inner.partitions[&partition].1).copied()
    }

    pub(super) fn note_gap(&self, gap: Gap) {
        self.lock().gaps.insert(gap.partition, gap);
    }

    /// Lets the projection of a partition go on without what it lacks.
    pub(super) fn accept_loss(&self, partition: PartitionId) -> Option<Gap> {
        let gap = self.gap(partition)?;
        let mut inner = self.lock();
        if gap.is_broken && !inner.losses.contains(&(partition, gap.missing.0)) {
            return None;
        }
        inner.losses.insert((partition, gap.missing.0));
        if let Some((_, position)) = inner.partitions.get_mut(&partition) {
            *position = gap.missing;
        }
        let delta = Delta { partition, previous: gap.applied, position: gap.missing, body: Vec::new() };
        inner.checkpoints.entry(partition).or_default().deltas.push(delta);
        inner.gaps.remove(&partition)
    }

    pub(super) fn epochs(&self, partition: PartitionId) -> Epochs {
        let (claimed, (applied, _)) = self.lock().partitions[&partition];
        Epochs { claimed, applied }
    }

    pub(super) fn order(&self, id: OrderId) -> Option<NamedOrder> {
        self.lock().row(id).map(Row::named)
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
        let row = inner.row(id)?;
        let listed = &inner.commodities[&row.order.commodity];
        let over = listed.removed || listed.commodity.closed_at.is_some();
        let commodity = over.then(|| Box::new(listed.commodity.clone()));
        Some(Recalled { order: row.order, key: row.key, payments: inner.payments_of(id), applied, commodity })
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
        user: PrincipalKey,
        key: IdempotencyKey,
    ) -> Option<(OrderId, RequestFingerprint)> {
        let inner = self.lock();
        let id = inner.keys.get(&(user, commodity, key))?;
        Some((*id, inner.row(*id)?.fingerprint))
    }

    /// What an engine starts from: made from the rows, and from checkpoint and deltas, which must come to the same.
    pub(super) fn snapshot(&self, partition: PartitionId, with_live_orders: bool) -> Result<Snapshot, String> {
        let inner = self.lock();
        let snapshot = if with_live_orders { sorted(inner.by_rows(partition, true)) } else { inner.snapshot(partition)? };
        Ok(Snapshot { operations: inner.known_operations(partition), ..snapshot })
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

    /// Whether anybody is to be told of events.
    pub(super) fn set_outbox_wanted(&self, is_wanted: bool) {
        self.lock().is_outbox_wanted = is_wanted;
    }

    /// Every payment: how it stands, and of which commodity it is.
    pub(super) fn payments(&self) -> Vec<(PaymentId, PaymentStatus, CommodityId)> {
        self.lock().payments.values().map(|row| (row.id, row.status, row.commodity)).collect()
    }

    /// What of payments the logs must say too: how each stands, and whether it pays.
    pub(super) fn payment_rows(&self) -> BTreeMap<PaymentId, (PaymentStatus, bool)> {
        self.lock().payments.values().map(|row| (row.id, (row.status, row.pays))).collect()
    }

    /// Whether each step of an order is there, and everything that is to be told is about what is there.
    pub(super) fn check_notices(&self) -> Result<(), String> {
        let inner = self.lock();
        let mut last: BTreeMap<OrderId, OrderStatus> = BTreeMap::new();
        for step in inner.steps.values() {
            last.insert(step.order, step.step.status);
        }
        for row in inner.all_rows().filter(|_| !inner.has_gaps) {
            let first = if row.order.pay_by.is_some() { OrderStatus::Reserved } else { OrderStatus::Confirmed };
            let told = last.get(&row.order.id).copied().unwrap_or(first);
            if told != row.order.status {
                return Err(format!("order {} is {}, and its timeline ends with {}", row.order.id, row.order.status.word(), told.word()));
            }
        }
        let is_there = |notice: &NewNotice| {
            let position = (notice.event.epoch, notice.event.sequence);
            let is_applied = position <= inner.partitions[&notice.event.partition].1;
            is_applied
                && notice.order.is_none_or(|(order, _)| inner.row(order).is_some())
                && inner.commodities.contains_key(&notice.commodity)
        };
        match inner.notices.values().find(|notice| !is_there(notice)) {
            Some(notice) => Err(format!("it is told what never was: {notice:?}")),
            None => Ok(()),
        }
    }

    /// Every order, for the checks.
    pub(super) fn orders(&self) -> Vec<Row> {
        self.lock().all_rows().cloned().collect()
    }

    /// The tables as the history is held against them. With how many units a commodity was listed is the operators' to know.
    pub(super) fn rows(&self, listed: &BTreeMap<CommodityId, i64>) -> Rows {
        let inner = self.lock();
        let order = |row: &Row| OrderRow {
            id: row.order.id,
            commodity: row.order.commodity,
            user: row.buyer(),
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
        Rows { orders: inner.all_rows().map(order).collect(), commodities: inner.commodities.values().map(commodity).collect() }
    }

    /// The equation of the tables; what does not add up, if so. Cheap: it is asked after every transaction.
    pub(super) fn imbalance(&self) -> Option<String> {
        let inner = self.lock();
        let mut claims: BTreeMap<CommodityId, (u64, u64)> = BTreeMap::new();
        for row in inner.all_rows() {
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
        if self.is_away() { Err(away()) } else { Ok(Change::on(self.clone())) }
    }
}

fn away() -> StoreError {
    StoreError::Connect("the database is away".into())
}
