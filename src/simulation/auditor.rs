//! Reads along in the logs and holds every event to the rules of the sale, with a ledger of its own that shares no code with the
//! engine or the projection. It is not part of the system: nothing in the world can see it.

use std::collections::{BTreeMap, BTreeSet};

use super::tables::Memory;
use crate::domain::{
    CommodityId, Epoch, IdempotencyKey, OperationKey, Order, OrderId, OrderStatus, PartitionId, PrincipalKey, Sequence, Subject, Terms,
    Timestamp,
};
use crate::event::{Batch, Event};
use crate::projection::{Outcome, verdict};
use crate::store::{Gap, Position};

#[derive(Debug)]
struct Ledger {
    terms: Terms,
    total: i64,
    paused: bool,
    ended: bool,
    closed: bool,
    removed: bool,
}

/// What the logs say.
#[derive(Debug, Default)]
pub(super) struct Auditor {
    /// By partition: the epoch of the last fence that counted, and the last sequence behind it.
    position: BTreeMap<PartitionId, (Epoch, Sequence)>,
    /// What counts of what is in the logs.
    counted: BTreeSet<(PartitionId, Epoch, Sequence)>,
    /// Who got a confirm in an epoch.
    confirmed: BTreeMap<(PartitionId, Epoch), usize>,
    commodities: BTreeMap<CommodityId, Ledger>,
    orders: BTreeMap<OrderId, (Order, Option<IdempotencyKey>)>,
    /// Keys under which a commodity was changed.
    operations: BTreeSet<OperationKey>,
    pub(super) batches: usize,
    /// Everything that counts, in the order it came, to be read again without what was lost.
    kept: Vec<Batch>,
    /// Partitions whose log has lost something.
    lossy: BTreeSet<PartitionId>,
    /// What of the counted batches is in the tables.
    applied: BTreeSet<(PartitionId, Epoch, Sequence)>,
    /// What whoever fenced an epoch could know to be confirmed.
    knew: BTreeMap<(PartitionId, Epoch), Position>,
    /// Epochs of which something is gone: what their owners went on to decide rests on it.
    holed: BTreeSet<(PartitionId, Epoch)>,
    /// Commodities of which something is gone.
    pub(super) touched: BTreeSet<CommodityId>,
    /// Batches that are gone for good, whoever still hears that they are confirmed.
    gave_up: BTreeSet<(PartitionId, Epoch, Sequence)>,
    /// Orders that were placed in what is gone, and since when that is settled.
    pub(super) given_up: BTreeMap<OrderId, u64>,
}

impl Auditor {
    /// A batch entered a log.
    pub(super) fn enqueued(&mut self, batch: &Batch) -> Result<(), String> {
        self.batches += 1;
        if self.counts(batch) { self.count(batch) } else { Ok(()) }
    }

    fn count(&mut self, batch: &Batch) -> Result<(), String> {
        self.counted.insert((batch.partition, batch.epoch, batch.sequence));
        self.kept.push(batch.clone());
        if self.holed.contains(&(batch.partition, batch.epoch)) {
            batch.events.iter().for_each(|event| self.take(event));
            return Ok(());
        }
        let at = || format!("batch {}/{} of partition {}", batch.epoch, batch.sequence, batch.partition);
        batch.events.iter().try_for_each(|event| self.event(event).map_err(|what| format!("{}: {what}", at())))
    }

    /// A node has taken a confirm for the truth.
    pub(super) fn believed(&mut self, node: usize, batch: (PartitionId, Epoch, Sequence)) -> Result<(), String> {
        let (partition, epoch, sequence) = batch;
        let at = format!("batch {epoch}/{sequence} of partition {partition}");
        // The broker had said so before it lost it, and it is heard now: nobody could know.
        if self.gave_up.contains(&batch) {
            return Ok(());
        }
        if !self.counted.contains(&batch) {
            return Err(format!("{at} is confirmed to node {node} and will be skipped"));
        }
        let owner = *self.confirmed.entry((partition, epoch)).or_insert(node);
        if owner != node {
            return Err(format!("{at} is confirmed to node {node}, and earlier ones of that epoch to node {owner}"));
        }
        Ok(())
    }

    /// A log has lost so many messages.
    pub(super) fn lost(&mut self, partition: PartitionId, count: usize) {
        if count > 0 {
            self.lossy.insert(partition);
        }
    }

    /// Whether a log has lost anything.
    pub(super) fn has_lost(&self, partition: PartitionId) -> bool {
        self.lossy.contains(&partition)
    }

    /// Whether something that counts comes behind that position.
    pub(super) fn lacks(&self, partition: PartitionId, position: Position) -> bool {
        let (first, last) = ((partition, position.0, position.1.next()), (partition, Epoch::MAX, Sequence(u64::MAX)));
        self.has_lost(partition) && self.counted.range(first..=last).next().is_some()
    }

    /// Whoever is about to fence an epoch can know that this batch is confirmed.
    pub(super) fn could_know(&mut self, partition: PartitionId, epoch: Epoch, known: Position) {
        self.knew.insert((partition, epoch), known);
    }

    /// The projection of a partition was given these batches, and went from one position to another.
    pub(super) fn projected(&mut self, now: u64, batches: &[Batch], from: Position, to: Position) -> Result<(), String> {
        let mut at = from;
        for batch in batches {
            let stands = crate::projection::Position { epoch: at.0, sequence: at.1 };
            if at == to || verdict(stands, batch) != Ok(Outcome::Applied) {
                continue;
            }
            if batch.is_fence() {
                self.fenced(now, batch, at)?;
            }
            at = (batch.epoch, batch.sequence);
            if !self.counted.contains(&(batch.partition, at.0, at.1)) {
                // Never confirmed to anybody, and come behind the next fence: it may be put before it, because nobody has begun with less.
                self.count(batch)?;
            }
            self.applied.insert((batch.partition, at.0, at.1));
        }
        Ok(())
    }

    /// A fence is in the tables: what came before it and is not there is gone, and nobody may have known of it.
    fn fenced(&mut self, now: u64, fence: &Batch, at: Position) -> Result<(), String> {
        let gone = self.gone(fence.partition, at, (fence.epoch, fence.sequence), false);
        let knew = self.knew.get(&(fence.partition, fence.epoch)).copied().unwrap_or_default();
        if let Some((_, epoch, sequence)) = gone.iter().find(|(_, epoch, sequence)| (*epoch, *sequence) <= knew) {
            let (partition, fence) = (fence.partition, fence.epoch);
            return Err(format!(
                "batch {epoch}/{sequence} of partition {partition} was known to be confirmed, is lost, and epoch {fence} goes on as if it never was: its orders are refused"
            ));
        }
        self.give_up(now, &gone);
        Ok(())
    }

    /// An operator has accepted a loss.
    pub(super) fn accepted(&mut self, now: u64, gap: &Gap) {
        let gone = self.gone(gap.partition, gap.applied, gap.missing, true);
        self.holed.insert((gap.partition, gap.missing.0));
        self.give_up(now, &gone);
    }

    /// What counts behind one position up to another and is not in the tables.
    fn gone(&self, partition: PartitionId, from: Position, to: Position, inclusive: bool) -> BTreeSet<(PartitionId, Epoch, Sequence)> {
        let first = (partition, from.0, from.1.next());
        let behind = self.counted.range(first..=(partition, to.0, to.1));
        behind.filter(|batch| !self.applied.contains(batch) && (inclusive || (batch.1, batch.2) != to)).copied().collect()
    }

    /// These batches are gone for good: reads the rest again as if they had never been.
    fn give_up(&mut self, now: u64, gone: &BTreeSet<(PartitionId, Epoch, Sequence)>) {
        if gone.is_empty() {
            return;
        }
        let kept = std::mem::take(&mut self.kept);
        let (gone, kept): (Vec<Batch>, Vec<Batch>) =
            kept.into_iter().partition(|batch| gone.contains(&(batch.partition, batch.epoch, batch.sequence)));
        for event in gone.iter().flat_map(|batch| &batch.events) {
            self.touched.extend(self.commodity_of(event));
            if let Event::Placed { order, .. } = event {
                self.given_up.insert(order.id, now);
            }
        }
        for batch in &gone {
            let batch = (batch.partition, batch.epoch, batch.sequence);
            self.counted.remove(&batch);
            self.gave_up.insert(batch);
        }
        self.commodities.clear();
        self.orders.clear();
        self.operations.clear();
        kept.iter().flat_map(|batch| &batch.events).for_each(|event| self.take(event));
        self.kept = kept;
    }

    fn commodity_of(&self, event: &Event) -> Option<CommodityId> {
        match event {
            Event::Listed(commodity) => Some(commodity.id),
            Event::Changed { commodity, .. }
            | Event::Restocked { commodity, .. }
            | Event::Paused { commodity, .. }
            | Event::Ended { commodity, .. }
            | Event::Closed { commodity, .. }
            | Event::Removed { commodity, .. }
            | Event::Moved { commodity, .. } => Some(*commodity),
            Event::Placed { order, .. } => Some(order.commodity),
            Event::Operated { subject: Subject::Commodity(commodity), .. } => Some(*commodity),
            Event::KeyForgotten { order } | Event::Operated { subject: Subject::Order(order), .. } => {
                self.orders.get(order).map(|(order, _)| order.commodity)
            }
        }
    }

    /// Takes an event in without holding it to any rule: it was, or it rests on what is gone.
    fn take(&mut self, event: &Event) {
        let ledger = self.commodity_of(event).and_then(|commodity| self.commodities.get_mut(&commodity));
        match (event, ledger) {
            (Event::Listed(listed), _) => {
                let (terms, total) = (listed.terms.clone(), i64::from(listed.stock.total));
                let ledger = Ledger { terms, total, paused: false, ended: false, closed: false, removed: false };
                self.commodities.insert(listed.id, ledger);
            }
            (Event::Changed { terms, .. }, Some(ledger)) => ledger.terms = (**terms).clone(),
            (Event::Restocked { total, .. }, Some(ledger)) => ledger.total = i64::from(*total),
            (Event::Paused { paused, .. }, Some(ledger)) => ledger.paused = *paused,
            (Event::Ended { .. }, Some(ledger)) => ledger.ended = true,
            (Event::Closed { .. }, Some(ledger)) => ledger.closed = true,
            (Event::Removed { .. }, Some(ledger)) => ledger.removed = true,
            (Event::Placed { order, key, .. }, Some(_)) => drop(self.orders.insert(order.id, (*order, *key))),
            (Event::Moved { order, to, .. }, _) => {
                if let Some((order, _)) = self.orders.get_mut(order) {
                    order.status = *to;
                }
            }
            (Event::Operated { operation, .. }, _) => drop(self.operations.insert(operation.key)),
            (Event::KeyForgotten { order }, _) => {
                if let Some((_, key)) = self.orders.get_mut(order) {
                    *key = None;
                }
            }
            (_, None) => {}
        }
    }

    /// Somebody set the projection's position without a fence.
    pub(super) fn forced(&mut self, partition: PartitionId, epoch: Epoch) {
        self.position.insert(partition, (epoch, Sequence::FENCE));
    }

    /// Holds the tables against the logs, when everything has arrived.
    pub(super) fn compare(&self, tables: &Memory) -> Result<(), String> {
        let rows = tables.orders();
        let missing = self.orders.keys().find(|id| !rows.iter().any(|row| row.order.id == **id));
        if let Some(id) = missing {
            return Err(format!("order {id} is in the log and not in the tables"));
        }
        for row in rows {
            match self.orders.get(&row.order.id) {
                Some((order, key)) if *order == row.order && *key == row.key => {}
                other => return Err(format!("the tables have {:?}, and the log {other:?}", row.order)),
            }
        }
        for row in tables.commodities() {
            let id = row.commodity.id;
            let stock = row.commodity.stock;
            let expected = self.commodities.get(&id).map(|ledger| (ledger.total, ledger.total - self.claimed(id), ledger.removed));
            if expected != Some((i64::from(stock.total), i64::from(stock.available), row.removed)) {
                return Err(format!("the tables have commodity {id} with {stock:?}, and the log says {expected:?}"));
            }
        }
        Ok(())
    }

    fn counts(&mut self, batch: &Batch) -> bool {
        let (epoch, sequence) = self.position.entry(batch.partition).or_default();
        let counts = if batch.is_fence() { batch.epoch > *epoch } else { (batch.epoch, batch.sequence) == (*epoch, sequence.next()) };
        if counts {
            (*epoch, *sequence) = (batch.epoch, batch.sequence);
        }
        counts
    }

    fn event(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Listed(listed) => {
                let (terms, total) = (listed.terms.clone(), i64::from(listed.stock.total));
                let ledger = Ledger { terms, total, paused: false, ended: false, closed: false, removed: false };
                return match self.commodities.insert(listed.id, ledger) {
                    Some(_) => Err(format!("commodity {} is listed twice", listed.id)),
                    None => Ok(()),
                };
            }
            Event::Changed { commodity, terms, .. } => self.ledger(*commodity)?.terms = (**terms).clone(),
            Event::Restocked { commodity, total, .. } => {
                self.ledger(*commodity)?.total = i64::from(*total);
                self.not_oversold(*commodity)?;
            }
            Event::Paused { commodity, paused, .. } => self.ledger(*commodity)?.paused = *paused,
            Event::Ended { commodity, .. } => self.ledger(*commodity)?.ended = true,
            Event::Closed { commodity, at, .. } => {
                let owed =
                    |order: &Order| order.commodity == *commodity && matches!(order.status, OrderStatus::Reserved | OrderStatus::RefundDue);
                if let Some((order, _)) = self.orders.values().find(|(order, _)| owed(order)) {
                    return Err(format!("commodity {commodity} is closed, and order {} is {:?}", order.id, order.status));
                }
                let ledger = self.ledger(*commodity)?;
                if ledger.closed || ledger.removed || !ledger.ended && *at < ledger.terms.ends_at {
                    return Err(format!("commodity {commodity} is closed at {at}: {ledger:?}"));
                }
                ledger.closed = true;
            }
            Event::Removed { commodity, .. } => {
                let claimed = self.claimed(*commodity);
                self.ledger(*commodity)?.removed = true;
                if claimed > 0 {
                    return Err(format!("commodity {commodity} is removed with {claimed} units held or sold"));
                }
            }
            Event::Placed { order, foreign, key, .. } => {
                if foreign.as_ref().map_or(order.user.account().is_none(), |foreign| foreign.key() != order.user) {
                    return Err(format!("order {} is of {}, and was placed by {foreign:?}", order.id, order.user));
                }
                return self.placed(order, *key);
            }
            Event::Moved { order, from, to, at, .. } => return self.moved(*order, *from, *to, *at),
            Event::Operated { operation, subject, .. } => {
                if !self.operations.insert(operation.key) {
                    return Err(format!("what was asked for under one key is done twice, to {subject:?}"));
                }
            }
            Event::KeyForgotten { order } => {
                let (order, key) = self.orders.get_mut(order).ok_or("the key of an unknown order is forgotten")?;
                if order.status.is_live() {
                    return Err(format!("the key of order {} is forgotten while it lives", order.id));
                }
                *key = None;
            }
        }
        Ok(())
    }

    fn placed(&mut self, order: &Order, key: Option<IdempotencyKey>) -> Result<(), String> {
        let Order { id, commodity, user, quantity, status, pay_by, .. } = *order;
        let has = self.units_of(commodity, user);
        let same_key =
            key.and_then(|_| self.orders.values().find(|(other, k)| *k == key && (other.user, other.commodity) == (user, commodity)));
        if let Some((other, _)) = same_key {
            return Err(format!("order {id} has the key of order {}", other.id));
        }
        let ledger = self.ledger(commodity)?;
        let at = id.placed_at();
        let hold = ledger.terms.hold_seconds;
        if at < ledger.terms.starts_at || at >= ledger.terms.ends_at || ledger.paused || ledger.ended || ledger.closed || ledger.removed {
            return Err(format!("order {id} was placed at {at}, when commodity {commodity} was not on sale: {ledger:?}"));
        }
        if ledger.terms.limit_per_user.is_some_and(|limit| has + i64::from(quantity) > i64::from(limit)) {
            return Err(format!("order {id}: {user} had {has} units, {} more are over the limit", quantity.get()));
        }
        let expected = if hold.is_some() { OrderStatus::Reserved } else { OrderStatus::Confirmed };
        if status != expected || pay_by != hold.map(|seconds| at.plus_millis(u64::from(seconds) * 1000)) {
            return Err(format!("order {id} is {status:?} until {pay_by:?}, with a hold of {hold:?} seconds"));
        }
        if self.orders.insert(id, (*order, key)).is_some() {
            return Err(format!("order {id} is placed twice"));
        }
        self.not_oversold(commodity)
    }

    fn moved(&mut self, id: OrderId, from: OrderStatus, to: OrderStatus, at: Timestamp) -> Result<(), String> {
        use OrderStatus::{Cancelled, Confirmed, Expired, Paid, RefundDue, Refunded, Reserved};
        let (order, _) = self.orders.get_mut(&id).ok_or(format!("order {id} is moved and was never placed"))?;
        let allowed = matches!(
            (from, to),
            (Reserved, Paid | Cancelled | Expired)
                | (Confirmed, Cancelled)
                | (Paid | Cancelled | Expired, RefundDue)
                | (RefundDue, Refunded)
        );
        let early = to == Expired && order.pay_by.is_none_or(|pay_by| at < pay_by);
        if order.status != from || !allowed || early {
            return Err(format!("order {id} is {:?} and moves from {from:?} to {to:?} at {at}", order.status));
        }
        order.status = to;
        let commodity = order.commodity;
        match self.ledger(commodity)? {
            ledger if ledger.closed && from.is_live() => {
                Err(format!("order {id} of commodity {commodity}, which is closed, moves from {from:?}"))
            }
            _ => Ok(()),
        }
    }

    fn not_oversold(&mut self, commodity: CommodityId) -> Result<(), String> {
        let claimed = self.claimed(commodity);
        let total = self.ledger(commodity)?.total;
        if claimed > total { Err(format!("commodity {commodity} is oversold: {claimed} of {total} units")) } else { Ok(()) }
    }

    fn ledger(&mut self, commodity: CommodityId) -> Result<&mut Ledger, String> {
        self.commodities.get_mut(&commodity).ok_or(format!("commodity {commodity} was never listed"))
    }

    /// Units held and sold.
    fn claimed(&self, commodity: CommodityId) -> i64 {
        let live = self.orders.values().filter(|(order, _)| order.commodity == commodity && order.status.is_live());
        live.map(|(order, _)| i64::from(order.quantity)).sum()
    }

    fn units_of(&self, commodity: CommodityId, user: PrincipalKey) -> i64 {
        let live = self.orders.values().filter(|(order, _)| (order.commodity, order.user) == (commodity, user) && order.status.is_live());
        live.map(|(order, _)| i64::from(order.quantity)).sum()
    }
}
