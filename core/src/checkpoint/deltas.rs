//! A checkpoint, and the deltas on top of it, as they come to what a claim needs.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use super::form::{self, Unreadable};
use super::{CommodityRows, Known, KnownByCommodity, Position, is_kept, keys_since};
use crate::breaks::{self, Break};
use crate::domain::{
    Attempt, CommodityId, Order, OrderId, OrderStatus, PaymentFact, PaymentId, PaymentStatus, Payments, PrincipalKey, RequestFingerprint,
    SystemId, Timestamp,
};
use crate::engine::{BuyerUnits, KnownCommodity, KnownKey, KnownOrder, Snapshot};
use crate::event::{self, Batch, Event, LogVersion, Unwritable};
use crate::form::says_all_of_order;

/// What of these batches a claim needs, as it lies in the tables: each behind its length, in version 2 of the log's form, which older
/// releases read too; with orders of other issuers' accounts in version 4; with payments, or a hold that has a grace, in version 5.
///
/// # Errors
/// [`Unwritable`] for what an older form could hold and no engine writes: an order of another partition, the placing of one in another
/// epoch than its own.
pub fn delta_of<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> Result<Vec<u8>, Unwritable> {
    let mut delta = Vec::new();
    for batch in batches {
        let events: Vec<Event> = batch.events.iter().filter(|event| is_needed(event)).cloned().collect();
        if events.is_empty() {
            continue;
        }
        let version = events.iter().map(version_for).max().unwrap_or(LogVersion::V2);
        // Versions from 4 on name a system, and here it is that of the tables.
        let system = batch.system.unwrap_or(SystemId::from_bytes([0; 16]));
        let bytes = event::encode(&Batch::new(batch.partition, batch.epoch, batch.sequence, events).of_system(system), version)?;
        let length = u32::try_from(bytes.len()).expect("a batch is bounded");
        delta.extend_from_slice(&length.to_le_bytes());
        delta.extend_from_slice(&bytes);
    }
    Ok(delta)
}

/// The first version that says what a claim needs of an event.
fn version_for(event: &Event) -> LogVersion {
    let by_buyer = |is_foreign| if is_foreign { LogVersion::V4 } else { LogVersion::V2 };
    match event {
        Event::PaymentStarted { .. } | Event::PaymentChanged { .. } => LogVersion::V5,
        Event::Placed { order, .. } if !says_all_of_order(order) => LogVersion::V5,
        Event::Moved { cause, .. } if cause.payment.is_some() => LogVersion::V5,
        Event::Placed { order, .. } => by_buyer(order.user.account().is_none()),
        Event::Moved { buyer, .. } => by_buyer(buyer.is_some_and(|buyer| buyer.account().is_none())),
        Event::Listed(_)
        | Event::Changed { .. }
        | Event::Restocked { .. }
        | Event::Operated { .. }
        | Event::Paused { .. }
        | Event::Ended { .. }
        | Event::Closed { .. }
        | Event::Removed { .. }
        | Event::KeyForgotten { .. } => LogVersion::V2,
    }
}

/// Terms and stock are read from the commodities' own rows.
const fn is_needed(event: &Event) -> bool {
    match event {
        Event::Placed { .. }
        | Event::Moved { .. }
        | Event::PaymentStarted { .. }
        | Event::PaymentChanged { .. }
        | Event::KeyForgotten { .. }
        | Event::Closed { .. }
        | Event::Removed { .. } => true,
        Event::Listed(_) | Event::Changed { .. } | Event::Restocked { .. } | Event::Paused { .. } | Event::Ended { .. } => false,
        // It has a row of its own.
        Event::Operated { .. } => false,
    }
}

/// What was known at a position, and what came after.
#[derive(Debug, Default)]
pub struct Checkpoint {
    position: Position,
    known: KnownByCommodity,
    since: BTreeMap<CommodityId, Since>,
}

/// What has happened to one commodity's orders since the checkpoint.
#[derive(Debug, Default)]
struct Since {
    /// Closed or removed.
    is_over: bool,
    units: HashMap<PrincipalKey, i64>,
    keys: Vec<KnownKey>,
    orders: Vec<KnownOrder>,
    /// Where orders went, by their ids: the last status, and when.
    moved: HashMap<OrderId, (OrderStatus, Timestamp)>,
    /// What became of payments, by their orders, in order.
    payments: HashMap<OrderId, Vec<PaymentStep>>,
    /// Orders of which money came to be due though they had ended, or were paid: only their rows say what they were.
    recalled: Vec<OrderId>,
}

/// What became of a payment.
#[derive(Clone, Copy, Debug)]
enum PaymentStep {
    Started(Attempt),
    Pays(Attempt),
    Changed(PaymentFact),
}

impl PaymentStep {
    const fn onto(self, payments: Payments) -> Payments {
        match self {
            Self::Started(attempt) => payments.with_started(attempt),
            Self::Pays(attempt) => payments.with_paid_by(attempt),
            Self::Changed(fact) => payments.with(fact),
        }
    }
}

impl Checkpoint {
    /// Begins at the position of a checkpoint: (0, 0) for none, before everything.
    #[must_use]
    pub fn at(position: Position) -> Self {
        Self { position, ..Self::default() }
    }

    /// Takes in a part of the checkpoint.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn part(&mut self, bytes: &[u8]) -> Result<(), Unreadable> {
        form::decode(bytes, &mut self.known)
    }

    /// Takes in the delta of a transaction that found the projection at `previous` and left it at `position`.
    ///
    /// # Errors
    /// [`Unreadable`], also if it does not follow: an older release has applied batches in between, and wrote no delta.
    pub fn delta(&mut self, previous: Position, position: Position, bytes: &[u8]) -> Result<(), Unreadable> {
        if previous != self.position && !breaks::is_broken(Break::DeltaChain) {
            return Err(Unreadable(format!("a delta is missing between {:?} and {previous:?}", self.position)));
        }
        let mut rest = bytes;
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            let (batch, after) = after.split_at_checked(length).ok_or_else(|| Unreadable("a delta that is cut short".into()))?;
            let batch = event::decode(batch).map_err(|error| Unreadable(error.to_string()))?;
            batch.events.into_iter().try_for_each(|event| self.event(event))?;
            rest = after;
        }
        self.position = position;
        Ok(())
    }

    /// The position it stands at.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Commodities that may owe a refund or a unit though they are over: their rows are needed, if they are.
    pub fn owing(&self) -> impl Iterator<Item = CommodityId> {
        let before = self.known.iter().filter(|(_, known)| !known.orders.is_empty()).map(|(id, _)| *id);
        before.chain(self.since.iter().filter(|(_, since)| !since.recalled.is_empty()).map(|(id, _)| *id))
    }

    /// Orders whose rows are needed: pass them to [`snapshot`](Self::snapshot).
    pub fn recalled(&self) -> impl Iterator<Item = OrderId> {
        self.since.values().flat_map(|since| since.recalled.iter().copied())
    }

    /// What a claim begins with, together with the rows of the commodities, as they are at the same position.
    ///
    /// # Errors
    /// [`Unreadable`] if it does not fit them.
    pub fn snapshot(self, rows: CommodityRows, recalled: &[KnownOrder], now: Timestamp) -> Result<Snapshot, Unreadable> {
        let over = rows.over.iter().map(|(commodity, _)| commodity.id).collect();
        let mut known = self.settle(recalled, &over, now)?;
        let mut commodities = Vec::with_capacity(rows.listed.len());
        let listed = rows.listed.into_iter().map(|commodity| (commodity, None));
        let over = rows.over.into_iter().map(|(commodity, removed)| (commodity, Some(removed)));
        for (commodity, over) in listed.chain(over) {
            let Known { buyers, keys, orders } = known.remove(&commodity.id).unwrap_or_default();
            match over {
                None => commodities.push(KnownCommodity { commodity, removed: false, buyers, keys, orders }),
                Some(_) if orders.is_empty() => {}
                Some(removed) => commodities.push(KnownCommodity { orders, removed, ..KnownCommodity::fresh(commodity) }),
            }
        }
        match known.into_iter().find(|(_, known)| !known.orders.is_empty() || !known.buyers.is_empty()) {
            Some((commodity, _)) => Err(Unreadable(format!("orders of commodity {commodity}, which has no row here"))),
            None => Ok(Snapshot { commodities, ..Snapshot::default() }),
        }
    }

    fn event(&mut self, event: Event) -> Result<(), Unreadable> {
        match event {
            Event::Placed { order, foreign: _, key, fingerprint } => self.placed(order, key.map(|key| (key, fingerprint))),
            Event::Moved { order, commodity, buyer, quantity, from, to, at, cause } => {
                let Some(buyer) = buyer else {
                    return Err(Unreadable("a change of an order without its buyer, as older versions have it".into()));
                };
                let since = self.since(commodity);
                let units = i64::from(quantity);
                match (from.is_live(), to.is_live()) {
                    (true, false) => *since.units.entry(buyer).or_default() -= units,
                    (false, true) => *since.units.entry(buyer).or_default() += units,
                    (true, true) | (false, false) => {}
                }
                since.moved.insert(order, (to, at));
                if let Some(PaymentFact { attempt, status }) = cause.payment
                    && matches!(status, PaymentStatus::Authorized | PaymentStatus::Captured | PaymentStatus::RefundDue)
                {
                    since.payments.entry(order).or_default().push(PaymentStep::Pays(attempt));
                }
                if to == OrderStatus::RefundDue && from != OrderStatus::Reserved {
                    since.recalled.push(order);
                }
            }
            Event::PaymentStarted { payment: PaymentId { order, attempt }, commodity, .. } => {
                self.since(commodity).payments.entry(order).or_default().push(PaymentStep::Started(attempt));
            }
            Event::PaymentChanged { payment: PaymentId { order, attempt }, commodity, status, .. } => {
                let since = self.since(commodity);
                since.payments.entry(order).or_default().push(PaymentStep::Changed(PaymentFact { attempt, status }));
                if status == PaymentStatus::RefundDue {
                    since.recalled.push(order);
                }
            }
            // Only older releases write it, and it does not say whose order it is.
            Event::KeyForgotten { order } => {
                return Err(Unreadable(format!("the key of order {order} was forgotten, as version 1 has it")));
            }
            Event::Closed { commodity, .. } | Event::Removed { commodity, .. } => {
                // Nothing was held or due of it then.
                self.since.insert(commodity, Since { is_over: true, ..Since::default() });
            }
            Event::Listed(_) | Event::Changed { .. } | Event::Restocked { .. } | Event::Paused { .. } | Event::Ended { .. } => {}
            Event::Operated { .. } => {}
        }
        Ok(())
    }

    fn placed(&mut self, order: Order, key: Option<(crate::domain::IdempotencyKey, RequestFingerprint)>) {
        let since = self.since(order.commodity);
        *since.units.entry(order.user).or_default() += i64::from(order.quantity);
        if let Some((key, fingerprint)) = key {
            since.keys.push(KnownKey { user: order.user, key, fingerprint, order: order.id, ended_at: None });
        }
        if order.status == OrderStatus::Reserved {
            since.orders.push(KnownOrder { order, key: key.map(|(key, _)| key), payments: Payments::default() });
        }
    }

    fn since(&mut self, commodity: CommodityId) -> &mut Since {
        self.since.entry(commodity).or_default()
    }

    /// What is known now.
    fn settle(mut self, recalled: &[KnownOrder], over: &BTreeSet<CommodityId>, now: Timestamp) -> Result<KnownByCommodity, Unreadable> {
        for (commodity, mut since) in std::mem::take(&mut self.since) {
            let known = self.known.entry(commodity).or_default();
            // Who has how much of it nobody knows any more.
            if since.is_over || over.contains(&commodity) {
                since.units.clear();
            }
            since.onto(known, recalled)?;
        }
        let since = keys_since(now);
        for known in self.known.values_mut() {
            known.keys.retain(|key| is_kept(key, since));
        }
        self.known.retain(|_, known| *known != Known::default());
        Ok(self.known)
    }
}

impl Since {
    fn onto(mut self, known: &mut Known, recalled: &[KnownOrder]) -> Result<(), Unreadable> {
        if self.is_over {
            // Nothing was held or due of it then; what has come to be due since is recalled.
            *known = Known::default();
        }
        known.buyers.retain_mut(|buyer| match self.units.remove(&buyer.user) {
            None => true,
            Some(change) => {
                buyer.units = u32::try_from(i64::from(buyer.units) + change).unwrap_or(u32::MAX);
                buyer.units > 0
            }
        });
        for (user, units) in std::mem::take(&mut self.units).into_iter().filter(|(_, units)| *units != 0) {
            let units = u32::try_from(units).map_err(|_| Unreadable(format!("{user} gave back units it never had")))?;
            known.buyers.push(BuyerUnits { user, units });
        }
        known.keys.append(&mut self.keys);
        if !self.moved.is_empty() {
            for key in &mut known.keys {
                if let Some((to, at)) = self.moved.get(&key.order) {
                    key.ended_at = (!to.is_live() && *to != OrderStatus::RefundDue).then_some(*at);
                }
            }
            for known in known.orders.iter_mut().chain(&mut self.orders) {
                if let Some((to, _)) = self.moved.get(&known.order.id) {
                    known.order.status = *to;
                }
            }
        }
        keep_later(&mut known.keys);
        known.orders.append(&mut self.orders);
        if !self.payments.is_empty() {
            for known in &mut known.orders {
                let steps = self.payments.get(&known.order.id).into_iter().flatten();
                known.payments = steps.fold(known.payments, |payments, step| step.onto(payments));
            }
        }
        for id in &self.recalled {
            if known.orders.iter().any(|known| known.order.id == *id) {
                continue;
            }
            match recalled.iter().find(|row| row.order.id == *id) {
                Some(row) => known.orders.push(*row),
                // What is done is not needed, and its row may be in the archive.
                None if self.is_due(*id) => return Err(Unreadable(format!("order {id} has no row"))),
                None => {}
            }
        }
        known.orders.retain(|known| matches!(known.order.status, OrderStatus::Reserved | OrderStatus::RefundDue) || known.payments.owe());
        Ok(())
    }

    /// Whether money of an order that came to be due is so still.
    fn is_due(&self, id: OrderId) -> bool {
        let steps = self.payments.get(&id).into_iter().flatten();
        let payments = steps.fold(Payments::default(), |payments, step| step.onto(payments));
        payments.owe() || self.moved.get(&id).is_some_and(|(to, _)| *to == OrderStatus::RefundDue)
    }
}

/// Of two orders under one key the later counts: the key was free again when it was placed.
pub(super) fn keep_later(keys: &mut Vec<KnownKey>) {
    let place = |key: &KnownKey| (key.order.epoch(), key.order.number());
    let mut latest = HashMap::with_capacity(keys.len());
    for key in keys.iter() {
        let found = latest.entry((key.user, key.key)).or_insert(place(key));
        *found = place(key).max(*found);
    }
    if latest.len() < keys.len() {
        keys.retain(|key| latest[&(key.user, key.key)] == place(key));
    }
}
