//! Reads along in the logs and holds every event to the rules of the sale, with a ledger of its own that shares no code with the
//! engine or the projection. It is not part of the system: nothing in the world can see it.

use std::collections::{BTreeMap, BTreeSet};

use super::tables::Memory;
use crate::domain::{
    CommodityId, Epoch, IdempotencyKey, OperationKey, Order, OrderId, OrderStatus, PartitionId, PaymentFact, PaymentId, PaymentStatus,
    PrincipalKey, Sequence, Subject, Terms, Timestamp,
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
    /// How each payment stands, and whether it pays.
    payments: BTreeMap<PaymentId, (PaymentStatus, bool)>,
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
        self.payments.clear();
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
            | Event::PaymentStarted { commodity, .. }
            | Event::PaymentChanged { commodity, .. }
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
            (Event::Moved { order, to, cause, .. }, _) => {
                if let Some((order, _)) = self.orders.get_mut(order) {
                    order.status = *to;
                }
                self.pays(*order, cause.payment);
            }
            (Event::PaymentStarted { payment, .. }, _) => drop(self.payments.insert(*payment, (PaymentStatus::Open, false))),
            (Event::PaymentChanged { payment, status, .. }, _) => {
                self.payments.entry(*payment).or_insert((*status, false)).0 = *status;
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
        let rows = tables.payment_rows();
        if let Some((id, found)) = self.payments.iter().find(|(id, found)| rows.get(id) != Some(found)) {
            return Err(format!("the tables have payment {id} as {:?}, and the log says {found:?}", rows.get(id)));
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
                let open = |(id, (status, _)): &(&PaymentId, &(PaymentStatus, bool))| {
                    let is_of_it = self.orders.get(&id.order).is_some_and(|(order, _)| order.commodity == *commodity);
                    is_of_it && matches!(status, PaymentStatus::Open | PaymentStatus::RefundDue)
                };
                if let Some((id, _)) = self.payments.iter().find(open) {
                    return Err(format!("commodity {commodity} is closed, and payment {id} is open or must go back"));
                }
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
            Event::Moved { order, from, to, at, cause, .. } => {
                self.moved(*order, *from, *to, *at)?;
                return self.paid(*order, *to, cause.payment);
            }
            Event::PaymentStarted { payment, amount, at, .. } => return self.started(*payment, *amount, *at),
            Event::PaymentChanged { payment, status, .. } => return self.changed(*payment, *status),
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
                | (Expired, Paid)
                | (RefundDue, Refunded)
        );
        let grace_ms = u64::from(order.grace_seconds) * 1_000;
        let early = to == Expired && order.pay_by.is_none_or(|pay_by| at < pay_by.plus_millis(grace_ms));
        if order.status != from || !allowed || early {
            return Err(format!("order {id} is {:?} and moves from {from:?} to {to:?} at {at}", order.status));
        }
        order.status = to;
        let (commodity, user) = (order.commodity, order.user);
        let has = self.units_of(commodity, user);
        match self.ledger(commodity)? {
            ledger if ledger.closed && from.is_live() && to != RefundDue => {
                Err(format!("order {id} of commodity {commodity}, which is closed, moves from {from:?}"))
            }
            ledger if to == Paid && from == Expired && ledger.terms.limit_per_user.is_some_and(|limit| has > i64::from(limit)) => {
                Err(format!("order {id} is paid late, and {user} has {has} units, more than the limit"))
            }
            _ => self.not_oversold(commodity),
        }
    }

    fn started(&mut self, id: PaymentId, amount: i64, at: Timestamp) -> Result<(), String> {
        let (order, _) = self.orders.get(&id.order).ok_or(format!("payment {id} is of no order"))?;
        let of_it = self.payments.iter().filter(|(other, _)| other.order == id.order);
        let (count, is_open) =
            of_it.fold((0, false), |(count, open), (_, (status, _))| (count + 1, open || *status == PaymentStatus::Open));
        let is_right = order.status == OrderStatus::Reserved && order.pay_by.is_some_and(|pay_by| at < pay_by) && amount == order.amount();
        if is_open || !is_right || id.attempt.get() != count + 1 {
            return Err(format!("payment {id} of {amount} is started at {at}, beside {count} others, of {order:?}"));
        }
        self.payments.insert(id, (PaymentStatus::Open, false));
        Ok(())
    }

    /// A payment of an order that is moved stands so then.
    fn paid(&mut self, id: OrderId, to: OrderStatus, fact: Option<PaymentFact>) -> Result<(), String> {
        let Some(PaymentFact { attempt, status }) = fact else { return Ok(()) };
        let payment = PaymentId { order: id, attempt };
        let fits = match to {
            OrderStatus::Paid => matches!(status, PaymentStatus::Authorized | PaymentStatus::Captured),
            OrderStatus::RefundDue => status == PaymentStatus::RefundDue,
            OrderStatus::Refunded => matches!(status, PaymentStatus::Failed | PaymentStatus::Cancelled | PaymentStatus::Refunded),
            OrderStatus::Reserved | OrderStatus::Confirmed | OrderStatus::Cancelled | OrderStatus::Expired => false,
        };
        let other = self.payments.iter().find(|(other, (_, pays))| other.order == id && **other != payment && *pays);
        if !fits || other.is_some() || !self.payments.contains_key(&payment) {
            return Err(format!("order {id} is {to:?} by payment {payment}, which is {status:?}, beside {other:?}"));
        }
        self.pays(id, fact);
        Ok(())
    }

    fn pays(&mut self, order: OrderId, fact: Option<PaymentFact>) {
        if let Some(PaymentFact { attempt, status }) = fact {
            self.payments.insert(PaymentId { order, attempt }, (status, true));
        }
    }

    /// A payment that pays nothing stands so then.
    fn changed(&mut self, id: PaymentId, status: PaymentStatus) -> Result<(), String> {
        let Some((before, pays)) = self.payments.get_mut(&id) else { return Err(format!("payment {id} was never started")) };
        let fits = match status {
            PaymentStatus::RefundDue => *before != PaymentStatus::RefundDue,
            PaymentStatus::Failed | PaymentStatus::Cancelled | PaymentStatus::Refunded => {
                matches!(before, PaymentStatus::Open | PaymentStatus::RefundDue)
            }
            PaymentStatus::Open | PaymentStatus::Processing | PaymentStatus::Authorized | PaymentStatus::Captured => false,
        };
        if *pays || !fits {
            return Err(format!("payment {id} is {before:?}, pays: {pays}, and comes to be {status:?}"));
        }
        *before = status;
        Ok(())
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
