//! Reads along in the logs and holds every event to the rules of the sale, with a ledger of its own that shares no code with the
//! engine or the projection. It is not part of the system: nothing in the world can see it.

use std::collections::{BTreeMap, BTreeSet};

use super::tables::Memory;
use crate::domain::{CommodityId, Epoch, IdempotencyKey, Order, OrderId, OrderStatus, PartitionId, Sequence, Terms, Timestamp, UserId};
use crate::event::{Batch, Event};

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
    pub(super) batches: usize,
}

impl Auditor {
    /// A batch entered a log.
    pub(super) fn enqueued(&mut self, batch: &Batch) -> Result<(), String> {
        self.batches += 1;
        if self.counts(batch) { self.count(batch) } else { Ok(()) }
    }

    /// A batch is in the tables. One that was never confirmed to anybody, and came behind the next fence, may have been put before it:
    /// nobody has begun with less.
    pub(super) fn applied(&mut self, batch: &Batch) -> Result<(), String> {
        if self.counted.contains(&(batch.partition, batch.epoch, batch.sequence)) { Ok(()) } else { self.count(batch) }
    }

    fn count(&mut self, batch: &Batch) -> Result<(), String> {
        self.counted.insert((batch.partition, batch.epoch, batch.sequence));
        let at = || format!("batch {}/{} of partition {}", batch.epoch, batch.sequence, batch.partition);
        batch.events.iter().try_for_each(|event| self.event(event).map_err(|what| format!("{}: {what}", at())))
    }

    /// A node has taken a confirm for the truth.
    pub(super) fn believed(&mut self, node: usize, batch: (PartitionId, Epoch, Sequence)) -> Result<(), String> {
        let (partition, epoch, sequence) = batch;
        let at = format!("batch {epoch}/{sequence} of partition {partition}");
        if !self.counted.contains(&batch) {
            return Err(format!("{at} is confirmed to node {node} and will be skipped"));
        }
        let owner = *self.confirmed.entry((partition, epoch)).or_insert(node);
        if owner != node {
            return Err(format!("{at} is confirmed to node {node}, and earlier ones of that epoch to node {owner}"));
        }
        Ok(())
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
            Event::Placed { order, key, .. } => return self.placed(order, *key),
            Event::Moved { order, from, to, at, .. } => return self.moved(*order, *from, *to, *at),
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
            return Err(format!("order {id}: user {user} had {has} units, {} more are over the limit", quantity.get()));
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
            (Reserved, Paid | Cancelled | Expired) | (Confirmed, Cancelled) | (Cancelled | Expired, RefundDue) | (RefundDue, Refunded)
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

    fn units_of(&self, commodity: CommodityId, user: UserId) -> i64 {
        let live = self.orders.values().filter(|(order, _)| (order.commodity, order.user) == (commodity, user) && order.status.is_live());
        live.map(|(order, _)| i64::from(order.quantity)).sum()
    }
}
