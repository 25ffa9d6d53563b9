//! Events to row changes: everything that happened in one transaction's batches, as the rows it comes to. Pure.
//!
//! An order that was placed, paid and refunded in these batches is one new row in its last status; a commodity sold a
//! thousand times is one difference. What contradicts itself is reported and never smoothed over.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::domain::{
    CommodityId, OrderId, OrderStatus, PartitionId, PaymentFact, PaymentId, PaymentStatus, Quantity, Stock, StockColumn, Timestamp, Units,
};
use crate::event::{Batch, Event};
use crate::store::{
    CommodityUpdate, EventPlace, Move, NewCommodity, NewNotice, NewOperation, NewOrder, NewPayment, NewStep, PaymentChange, TimelineStep,
};

/// What to write.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) listed: Vec<NewCommodity>,
    pub(super) updates: BTreeMap<CommodityId, CommodityUpdate>,
    /// By rising id: rows go into the table in its order.
    pub(super) placed: Vec<NewOrder>,
    pub(super) moves: Vec<Move>,
    pub(super) forgotten: Vec<OrderId>,
    pub(super) unsealed: BTreeSet<CommodityId>,
    /// In the order they were made.
    pub(super) operations: Vec<NewOperation>,
    pub(super) payments: Vec<NewPayment>,
    pub(super) payment_changes: Vec<PaymentChange>,
    /// Orders that may lie in the archive, and of which a payment is owed from now on.
    pub(super) owing: BTreeSet<OrderId>,
    pub(super) steps: Vec<NewStep>,
    pub(super) notices: Vec<NewNotice>,
}

/// What has come together so far.
#[derive(Debug, Default)]
pub(super) struct Fold {
    listed: BTreeMap<CommodityId, NewCommodity>,
    updates: BTreeMap<CommodityId, CommodityUpdate>,
    placed: Vec<NewOrder>,
    placed_at: HashMap<OrderId, usize>,
    moved: HashMap<OrderId, (OrderStatus, OrderStatus, Timestamp)>,
    forgotten: Vec<OrderId>,
    /// Commodities of which money came to be owed, or went back: nothing else changes of one that is over.
    unsealed: BTreeSet<CommodityId>,
    operations: Vec<NewOperation>,
    payments: BTreeMap<PaymentId, NewPayment>,
    payment_changes: BTreeMap<PaymentId, (PaymentStatus, bool, Timestamp)>,
    owing: BTreeSet<OrderId>,
    steps: Vec<NewStep>,
    notices: Vec<NewNotice>,
    /// Whether anybody is to be told of events.
    is_outbox_wanted: bool,
}

impl Fold {
    /// With rows for whoever is to be told of events, or without.
    pub(super) fn new(is_outbox_wanted: bool) -> Self {
        Self { is_outbox_wanted, ..Self::default() }
    }

    /// Takes in a batch that counts.
    ///
    /// # Errors
    /// What in it contradicts itself or an earlier batch.
    pub(super) fn batch(&mut self, batch: &Batch) -> Result<(), String> {
        if batch.is_fence() && !batch.events.is_empty() {
            return Err("a fence with events".into());
        }
        let Batch { partition, epoch, sequence, .. } = *batch;
        (0..).zip(&batch.events).try_for_each(|(place, event)| self.event(EventPlace { partition, epoch, sequence, place }, event))
    }

    /// The rows all of it comes to.
    ///
    /// # Errors
    /// A commodity whose units do not add up.
    pub(super) fn finish(mut self) -> Result<Changes, String> {
        for (id, new) in &mut self.listed {
            if let Some(update) = self.updates.remove(id) {
                merge(new, update)?;
            }
        }
        self.placed.sort_unstable_by_key(|new| new.order.id);
        let mut moves: BTreeMap<_, Vec<OrderId>> = BTreeMap::new();
        for (order, (from, to, at)) in self.moved {
            moves.entry((from.code(), to.code(), at)).or_insert_with(Vec::new).push(order);
        }
        let status = |code| OrderStatus::from_code(code).expect("the code of a status");
        let moves = moves.into_iter().map(|((from, to, at), mut orders)| {
            orders.sort_unstable();
            Move { from: status(from), to: status(to), at, orders }
        });
        let mut payment_changes: BTreeMap<_, Vec<OrderId>> = BTreeMap::new();
        for (PaymentId { order, attempt }, (status, pays, at)) in self.payment_changes {
            payment_changes.entry((attempt, status.code(), pays, at)).or_insert_with(Vec::new).push(order);
        }
        let payment_status = |code| PaymentStatus::from_code(code).expect("the code of a status");
        let payment_changes = payment_changes.into_iter().map(|((attempt, status, pays, at), orders)| {
            let status = payment_status(status);
            PaymentChange { attempt, status, pays, at, orders }
        });
        Ok(Changes {
            listed: self.listed.into_values().collect(),
            updates: self.updates,
            placed: self.placed,
            moves: moves.collect(),
            forgotten: self.forgotten,
            unsealed: self.unsealed,
            operations: self.operations,
            payments: self.payments.into_values().collect(),
            payment_changes: payment_changes.collect(),
            owing: self.owing,
            steps: self.steps,
            notices: self.notices,
        })
    }

    fn event(&mut self, place: EventPlace, event: &Event) -> Result<(), String> {
        if self.is_outbox_wanted {
            self.notices.extend(notice(place, event));
        }
        let partition = place.partition;
        match event {
            Event::Listed(commodity) => {
                let new = NewCommodity { commodity: (**commodity).clone(), partition, removed_at: None };
                match self.listed.insert(commodity.id, new) {
                    Some(_) => return Err(format!("commodity {} is listed twice", commodity.id)),
                    None => return Ok(()),
                }
            }
            Event::Changed { commodity, terms, version } => {
                let update = self.update(*commodity);
                (update.terms, update.version) = (Some(terms.clone()), Some(*version));
            }
            Event::Restocked { commodity, total, version } => {
                let update = self.update(*commodity);
                (update.total, update.version) = (Some(*total), Some(*version));
            }
            Event::Paused { commodity, paused, version } => {
                let update = self.update(*commodity);
                (update.paused, update.version) = (Some(*paused), Some(*version));
            }
            Event::Ended { commodity, at, version } => {
                let update = self.update(*commodity);
                (update.ended_at, update.version) = (Some(*at), Some(*version));
            }
            Event::Closed { commodity, at, version } => {
                let update = self.update(*commodity);
                (update.closed_at, update.version) = (Some(*at), Some(*version));
            }
            Event::Removed { commodity, at } => self.update(*commodity).removed_at = Some(*at),
            Event::Placed { order, foreign, key, fingerprint } => {
                let changed_at = order.id.placed_at();
                let new = NewOrder { order: *order, foreign: foreign.clone(), key: *key, fingerprint: *fingerprint, changed_at };
                return self.placed(partition, new);
            }
            Event::Moved { order, commodity, buyer: _, quantity, from, to, at, cause } => {
                self.moved(*order, *from, *to, *at)?;
                // Nothing else changes of a commodity that is over.
                if !from.is_live() || *to == OrderStatus::RefundDue {
                    self.unsealed.insert(*commodity);
                }
                self.units(*commodity, *quantity, StockColumn::of(*from), StockColumn::of(*to));
                if let Some(PaymentFact { attempt, status }) = cause.payment {
                    self.payment_changed(PaymentId { order: *order, attempt }, status, true, *at);
                }
                let step = TimelineStep { at: *at, status: *to, by: cause.by, reason: cause.reason.clone() };
                self.steps.push(NewStep { order: *order, event: place, step });
            }
            Event::PaymentStarted { payment, commodity, amount, currency, expires_at, at } => {
                let new = NewPayment {
                    id: *payment,
                    partition,
                    commodity: *commodity,
                    amount: *amount,
                    currency: *currency,
                    status: PaymentStatus::Open,
                    pays: false,
                    started_at: *at,
                    expires_at: *expires_at,
                    changed_at: *at,
                };
                if self.payments.insert(*payment, new).is_some() {
                    return Err(format!("payment {payment} is started twice"));
                }
            }
            Event::PaymentChanged { payment, commodity, status, at } => {
                self.payment_changed(*payment, *status, false, *at);
                if *status == PaymentStatus::RefundDue {
                    self.unsealed.insert(*commodity);
                    if !self.placed_at.contains_key(&payment.order) {
                        self.owing.insert(payment.order);
                    }
                }
            }
            Event::Operated { operation, subject, at } => {
                self.operations.push(NewOperation { partition, operation: *operation, subject: *subject, at: *at });
            }
            Event::KeyForgotten { order } => match self.placed_at.get(order) {
                Some(index) => self.placed[*index].key = None,
                None => self.forgotten.push(*order),
            },
        }
        Ok(())
    }

    fn placed(&mut self, partition: PartitionId, new: NewOrder) -> Result<(), String> {
        let order = &new.order;
        if new.foreign.as_ref().map_or(order.user.account().is_none(), |foreign| foreign.key() != order.user) {
            return Err(format!("order {} is of {}, and does not say who that is", order.id, order.user));
        }
        if order.id.partition() != partition {
            return Err(format!("order {} is of partition {}", order.id, order.id.partition()));
        }
        match self.placed_at.entry(order.id) {
            Entry::Occupied(_) => return Err(format!("order {} is placed twice", order.id)),
            Entry::Vacant(entry) => drop(entry.insert(self.placed.len())),
        }
        self.units(order.commodity, order.quantity, StockColumn::Available, StockColumn::of(order.status));
        self.placed.push(new);
        Ok(())
    }

    fn moved(&mut self, id: OrderId, from: OrderStatus, to: OrderStatus, at: Timestamp) -> Result<(), String> {
        let status = match self.placed_at.get(&id) {
            Some(index) => {
                let new = &mut self.placed[*index];
                new.changed_at = at;
                std::mem::replace(&mut new.order.status, to)
            }
            None => match self.moved.entry(id) {
                Entry::Occupied(mut entry) => {
                    let before = entry.get().1;
                    let first = entry.get().0;
                    entry.insert((first, to, at));
                    before
                }
                Entry::Vacant(entry) => {
                    entry.insert((from, to, at));
                    from
                }
            },
        };
        if status == from { Ok(()) } else { Err(format!("order {id} was to leave the status {}, it is {}", from.word(), status.word())) }
    }

    fn payment_changed(&mut self, id: PaymentId, status: PaymentStatus, pays: bool, at: Timestamp) {
        match self.payments.get_mut(&id) {
            Some(new) => (new.status, new.pays, new.changed_at) = (status, new.pays || pays, at),
            None => {
                let change = self.payment_changes.entry(id).or_insert((status, pays, at));
                *change = (status, change.1 || pays, at);
            }
        }
    }

    fn units(&mut self, commodity: CommodityId, quantity: Quantity, from: StockColumn, to: StockColumn) {
        if from == to {
            return;
        }
        let update = self.update(commodity);
        let units = i64::from(quantity);
        for (place, units) in [(from, -units), (to, units)] {
            match place {
                StockColumn::Available => update.available += units,
                StockColumn::Held => update.held += units,
                StockColumn::Sold => update.sold += units,
            }
        }
    }

    fn update(&mut self, commodity: CommodityId) -> &mut CommodityUpdate {
        self.updates.entry(commodity).or_default()
    }
}

/// What is to be told to others of an event.
fn notice(event: EventPlace, fact: &Event) -> Option<NewNotice> {
    let (commodity, order, at) = match fact {
        Event::Placed { order, .. } => (order.commodity, Some((order.id, order.status)), order.id.placed_at()),
        Event::Moved { order, commodity, to, at, .. } => (*commodity, Some((*order, *to)), *at),
        Event::Listed(commodity) => (commodity.id, None, Timestamp::ZERO),
        Event::Changed { commodity, .. } | Event::Restocked { commodity, .. } | Event::Paused { commodity, .. } => {
            (*commodity, None, Timestamp::ZERO)
        }
        Event::Ended { commodity, at, .. } | Event::Closed { commodity, at, .. } | Event::Removed { commodity, at } => {
            (*commodity, None, *at)
        }
        Event::PaymentStarted { .. } | Event::PaymentChanged { .. } | Event::KeyForgotten { .. } | Event::Operated { .. } => return None,
    };
    Some(NewNotice { event, at, commodity, order })
}

/// A commodity that was listed in these batches, as it is after what happened to it in them.
fn merge(new: &mut NewCommodity, update: CommodityUpdate) -> Result<(), String> {
    let commodity = &mut new.commodity;
    let stock = commodity.stock;
    let total = update.total.unwrap_or(stock.total);
    let sum = |now: Units, change: i64| {
        Units::new(i64::from(now) + change)
            .map_err(|_| format!("commodity {} would have {} units somewhere", commodity.id, i64::from(now) + change))
    };
    commodity.stock = Stock {
        total,
        available: sum(stock.available, update.available + i64::from(total) - i64::from(stock.total))?,
        held: sum(stock.held, update.held)?,
        sold: sum(stock.sold, update.sold)?,
    };
    if let Some(terms) = update.terms {
        commodity.terms = *terms;
    }
    commodity.paused = update.paused.unwrap_or(commodity.paused);
    commodity.ended_at = update.ended_at.or(commodity.ended_at);
    commodity.closed_at = update.closed_at.or(commodity.closed_at);
    commodity.version = update.version.unwrap_or(commodity.version);
    new.removed_at = update.removed_at;
    Ok(())
}

#[cfg(test)]
mod tests;
