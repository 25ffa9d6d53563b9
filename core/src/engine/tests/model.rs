//! The rules once more, as plainly as they can be said: lists that are searched from the front, no index, no packing, nothing
//! forgotten, also not of what is closed or removed. Never shares code with the engine it is compared to. What it says of payments is beside
//! it.

mod payments;

use payments::let_go;

use super::projection::Row;
use super::support::partition;
use crate::domain::{
    Cancellation, Commodity, CommodityId, Epoch, Order, OrderId, OrderStatus, PaymentStatus, PrincipalKey, Stock, Terms, Timestamp, Units,
};
use crate::engine::{Answer, Command, Outcome, Place, Refusal};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// A commodity that was listed once.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) commodity: Commodity,
    pub(super) removed: bool,
}

impl Listed {
    pub(super) fn is_over(&self) -> bool {
        self.removed || self.commodity.closed_at.is_some()
    }
}

/// An order, and whether its key was free again when its refund came to be due: the engine may have known it still, or not.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) row: Row,
    was_free: bool,
    pub(super) payments: Vec<Pay>,
}

/// A payment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pay {
    pub(super) status: PaymentStatus,
    /// Whether its order is paid by it, or came too late by it.
    pub(super) pays: bool,
}

/// Whether a key leads to its order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Kept,
    Free,
    Either,
}

pub(super) struct Model {
    pub(super) epoch: Epoch,
    pub(super) next_number: u64,
    pub(super) with_older_releases: bool,
    /// The latest time there was. When a clock goes back, a key may be free that was free then.
    pub(super) latest: Timestamp,
    pub(super) commodities: Vec<Listed>,
    pub(super) orders: Vec<Known>,
}

impl Model {
    /// Carries out a command. Where the rules leave it open whether a key is free, `seen` says what the engine has done.
    pub(super) fn apply(&mut self, now: Timestamp, command: Command, seen: &Outcome) -> Outcome {
        match command {
            Command::List { commodity, terms, total } | Command::ListOnce { commodity, terms, total, .. } => {
                if self.commodities.iter().any(|listed| listed.commodity.id == commodity) {
                    return Err(Refusal::CommodityExists);
                }
                self.check_terms(&terms)?;
                let stock = Stock { total, available: total, held: Units::ZERO, sold: Units::ZERO };
                let new = Commodity { id: commodity, terms: *terms, stock, paused: false, ended_at: None, closed_at: None, version: 1 };
                self.commodities.push(Listed { commodity: new.clone(), removed: false });
                Ok(Answer::Commodity(Box::new(new)))
            }
            Command::Expecting { version, command } => {
                let seen_by_caller = command
                    .commodity()
                    .and_then(|id| self.listed(id))
                    .is_none_or(|listed| listed.removed || listed.commodity.version == version);
                if seen_by_caller { self.apply(now, *command, seen) } else { Err(Refusal::VersionMismatch) }
            }
            Command::Keyed { .. } => panic!("no step is taken under a key"),
            Command::Change { commodity, change } => {
                let taken = self.units_of(commodity, OrderStatus::is_live);
                let before = self.commodity(commodity)?.terms.clone();
                let terms = change.onto(&before);
                if terms != before {
                    self.check_terms(&terms)?;
                }
                let listed = self.commodity(commodity)?;
                let total = i64::from(change.total.unwrap_or(listed.stock.total));
                let available = Units::new(total - taken).map_err(|_| Refusal::TotalTooLow)?;
                let before = listed.clone();
                listed.terms = terms;
                listed.stock.total = Units::new(total).unwrap();
                listed.stock.available = available;
                Self::count_version(listed, &before)
            }
            Command::Restock { commodity, units } => {
                let listed = self.commodity(commodity)?;
                let more = i64::from(units);
                let total = Units::new(i64::from(listed.stock.total) + more).map_err(|_| Refusal::TotalTooHigh)?;
                let before = listed.clone();
                listed.stock.total = total;
                listed.stock.available = Units::new(i64::from(listed.stock.available) + more).unwrap();
                Self::count_version(listed, &before)
            }
            Command::Pause(commodity) | Command::Resume(commodity) => {
                let listed = self.commodity(commodity)?;
                let before = listed.clone();
                listed.paused = matches!(command, Command::Pause(_));
                Self::count_version(listed, &before)
            }
            Command::End(commodity) => {
                let listed = self.commodity(commodity)?;
                let before = listed.clone();
                listed.ended_at = listed.ended_at.or(Some(now));
                Self::count_version(listed, &before)
            }
            Command::Close(commodity) => self.close(now, commodity),
            Command::CloseEnded { .. } => panic!("see close_ended"),
            Command::Remove(commodity) => {
                self.commodity(commodity)?;
                let needed = |status: OrderStatus| status.is_live() || status == OrderStatus::RefundDue;
                if self.has(commodity, needed) || self.has_payments_to_see_to(commodity) {
                    return Err(Refusal::HasOrders);
                }
                self.listed(commodity).unwrap().removed = true;
                Ok(Answer::Removed)
            }
            Command::Place(place) => self.place(now, place, seen),
            Command::StartPayment { order: id, user, .. } => self.start_payment(now, id, user),
            Command::PaymentSucceeded { payment, amount, currency, taken, .. } => {
                self.payment_succeeded(now, payment, (amount, currency), taken)
            }
            Command::PaymentEnded { payment, how, .. } => self.payment_ended(now, payment, how),
            Command::Refund { order: id, restock, .. } => {
                let order = self.known(id)?.row.order;
                if order.status != OrderStatus::Paid {
                    return Err(Refusal::NotRefundable);
                }
                self.with_payments()?;
                self.give_back(id);
                let answer = self.turn(now, id, OrderStatus::RefundDue);
                if !restock {
                    let listed = &mut self.listed(order.commodity).unwrap().commodity;
                    let less = |units: Units| Units::new(i64::from(units) - i64::from(order.quantity)).unwrap();
                    (listed.stock.total, listed.stock.available) = (less(listed.stock.total), less(listed.stock.available));
                    listed.version += 1;
                }
                Ok(answer)
            }
            Command::ConfirmPayment { order: id, .. } => {
                let order = self.known(id)?.row.order;
                match order.status {
                    OrderStatus::Reserved => Ok(self.turn(now, id, OrderStatus::Paid)),
                    OrderStatus::Expired | OrderStatus::Cancelled => Ok(self.turn(now, id, OrderStatus::RefundDue)),
                    OrderStatus::Confirmed => Err(Refusal::NotPayable),
                    _ => Ok(Answer::Order(order)),
                }
            }
            Command::ConfirmRefund { order: id, .. } => {
                let order = self.known(id)?.row.order;
                match order.status {
                    OrderStatus::RefundDue => {
                        self.payments(id).iter_mut().filter(|pay| pay.pays).for_each(|pay| pay.status = PaymentStatus::Refunded);
                        Ok(self.turn(now, id, OrderStatus::Refunded))
                    }
                    OrderStatus::Refunded => Ok(Answer::Order(order)),
                    _ => Err(Refusal::NotRefundable),
                }
            }
            Command::Cancel { order, user, .. } => {
                let known = self.known(order)?.row.order;
                if user.is_some() && user != Some(known.user) {
                    return Err(Refusal::OrderNotFound);
                }
                if self.listed(known.commodity).unwrap().commodity.closed_at.is_some() {
                    return Err(Refusal::Closed);
                }
                let cancellation = self.listed(known.commodity).unwrap().commodity.terms.cancellation;
                let is_allowed = user.is_none() || cancellation != Cancellation::None;
                match known.status {
                    OrderStatus::Reserved | OrderStatus::Confirmed if is_allowed => match self.open_payment(order) {
                        Some(attempt) => Err(Refusal::PaymentOpen(attempt)),
                        None => Ok(self.turn(now, order, OrderStatus::Cancelled)),
                    },
                    OrderStatus::Paid if cancellation == Cancellation::Any => {
                        self.give_back(order);
                        Ok(self.turn(now, order, OrderStatus::RefundDue))
                    }
                    _ => Err(Refusal::NotCancellable),
                }
            }
            Command::Expire { at_most } => {
                let mut due: Vec<(Timestamp, OrderId)> = self.holds().map(|order| (let_go(order), order.id)).collect();
                due.retain(|(at, _)| *at <= now);
                due.sort_by_key(|(at, id)| (*at, id.epoch(), id.number()));
                due.truncate(at_most);
                for (_, id) in &due {
                    self.turn(now, *id, OrderStatus::Expired);
                }
                Ok(Answer::Expired(due.len()))
            }
        }
    }

    /// Beside older releases no terms can be that they have no words for.
    fn check_terms(&self, terms: &Terms) -> Result<(), Refusal> {
        if !terms.faults().is_empty() {
            Err(Refusal::TermsConflict)
        } else if self.with_older_releases
            && (terms.sku.is_some() || terms.cancellation != Cancellation::Unpaid || terms.grace_seconds != 30)
        {
            Err(Refusal::UpgradeUnfinished)
        } else {
            Ok(())
        }
    }

    /// Closes what ended before a time. Which of several is not said: `closed` are those that the engine took.
    pub(super) fn close_ended(&mut self, now: Timestamp, before: Timestamp, at_most: usize, closed: &[CommodityId]) -> Outcome {
        let ended = |commodity: &Commodity| {
            let by_then = commodity.ended_at.is_some_and(|at| at <= before) || commodity.terms.ends_at <= before;
            by_then && (commodity.ended_at.is_some() || commodity.terms.ends_at <= now)
        };
        let mut due: Vec<CommodityId> = Vec::new();
        for listed in self.commodities.iter().filter(|listed| !listed.is_over()) {
            let id = listed.commodity.id;
            if ended(&listed.commodity) && !self.owes(id) && !self.with_older_releases {
                due.push(id);
            }
        }
        assert_eq!(closed.len(), due.len().min(at_most), "of {due:?}");
        for id in closed {
            assert!(due.contains(id), "commodity {id} is closed too early");
            self.close(now, *id).unwrap();
        }
        Ok(Answer::Closed(closed.len()))
    }

    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.holds().map(let_go).min()
    }

    /// Live units of a buyer.
    pub(super) fn units_of_buyer(&self, id: CommodityId, user: PrincipalKey) -> i64 {
        let rows = self.orders.iter().map(|known| &known.row.order);
        rows.filter(|order| order.commodity == id && order.user == user && order.status.is_live()).map(|o| i64::from(o.quantity)).sum()
    }

    pub(super) fn order(&self, id: OrderId) -> Option<Order> {
        self.known(id).ok().map(|known| known.row.order)
    }

    fn place(&mut self, now: Timestamp, place: Place, seen: &Outcome) -> Outcome {
        let commodity = match self.commodity(place.commodity) {
            Err(Refusal::Closed) => self.listed(place.commodity).unwrap().commodity.clone(),
            found => found?.clone(),
        };
        if let Some(used) = self.used(now, &place, seen) {
            return if used.row.fingerprint == place.fingerprint {
                Ok(Answer::Replayed(used.row.order))
            } else {
                Err(Refusal::IdempotencyMismatch)
            };
        }
        let has = self.units_of_buyer(place.commodity, place.user.key());
        let wants = i64::from(place.quantity);
        let available = i64::from(commodity.stock.available);
        let terms = &commodity.terms;
        if commodity.closed_at.is_some() || commodity.ended_at.is_some() || now >= terms.ends_at {
            Err(Refusal::Ended)
        } else if commodity.paused {
            Err(Refusal::Paused)
        } else if now < terms.starts_at {
            Err(Refusal::NotStarted)
        } else if available == 0 {
            Err(Refusal::SoldOut)
        } else if self.with_older_releases && place.user.account().is_none() {
            Err(Refusal::UpgradeUnfinished)
        } else if terms.limit_per_user.is_some_and(|limit| has + wants > i64::from(limit)) {
            Err(Refusal::LimitReached)
        } else if available < wants {
            Err(Refusal::SoldOut)
        } else {
            // What costs nothing needs no payment.
            let hold = if terms.price.minor() > 0 { terms.hold_seconds } else { None };
            let order = Order {
                id: OrderId::new(now, partition(), self.epoch, self.next_number),
                commodity: place.commodity,
                user: place.user.key(),
                quantity: place.quantity,
                unit_price: terms.price,
                currency: terms.currency,
                status: if hold.is_some() { OrderStatus::Reserved } else { OrderStatus::Confirmed },
                pay_by: hold.map(|seconds| Timestamp::from_millis(now.millis() + 1000 * i64::from(seconds)).unwrap()),
                grace_seconds: if hold.is_some() && !self.with_older_releases { terms.grace_seconds } else { 0 },
                discount: None,
            };
            self.next_number += 1;
            let row = Row { order, key: place.key, fingerprint: place.fingerprint, changed_at: now };
            self.orders.push(Known { row, was_free: false, payments: Vec::new() });
            self.count_stock(place.commodity);
            Ok(Answer::Placed(order))
        }
    }

    /// The order that a key leads to.
    fn used(&self, now: Timestamp, place: &Place, seen: &Outcome) -> Option<&Known> {
        let of_key = |known: &&Known| {
            let Row { order, key, .. } = &known.row;
            order.commodity == place.commodity && order.user == place.user.key() && place.key.is_some() && *key == place.key
        };
        // The last that was placed under it counts.
        // Of what is closed the tables have every key there was.
        let is_closed = self.commodities.iter().any(|listed| listed.commodity.id == place.commodity && listed.is_over());
        self.orders.iter().rev().filter(of_key).find(|known| match self.key_of(now, known) {
            Key::Kept => true,
            Key::Free if !is_closed => false,
            Key::Free | Key::Either => match seen {
                Ok(Answer::Replayed(order)) => order.id == known.row.order.id,
                Err(Refusal::IdempotencyMismatch) => known.row.fingerprint != place.fingerprint,
                _ => false,
            },
        })
    }

    /// A key is kept while its order is live or owed money, and for 24 hours after it ended.
    fn key_of(&self, now: Timestamp, known: &Known) -> Key {
        let ended_for = |time: Timestamp| time.millis() - known.row.changed_at.millis();
        match known.row.order.status {
            status if status.is_live() && known.was_free => Key::Either,
            status if status.is_live() => Key::Kept,
            OrderStatus::RefundDue if known.was_free => Key::Either,
            OrderStatus::RefundDue => Key::Kept,
            // Older releases load it however old it is: beside them it may not be used again.
            _ if self.with_older_releases && ended_for(now) > DAY_MS => Key::Either,
            _ if ended_for(now) > DAY_MS => Key::Free,
            _ if known.was_free || ended_for(self.latest) > DAY_MS => Key::Either,
            _ => Key::Kept,
        }
    }

    fn close(&mut self, now: Timestamp, id: CommodityId) -> Outcome {
        let with_older_releases = self.with_older_releases;
        let owes = self.owes(id);
        let listed = match self.commodity(id) {
            Err(Refusal::Closed) => return Ok(Answer::Commodity(Box::new(self.listed(id).unwrap().commodity.clone()))),
            found => found?,
        };
        if with_older_releases {
            return Err(Refusal::UpgradeUnfinished);
        }
        if listed.ended_at.is_none() && now < listed.terms.ends_at {
            return Err(Refusal::NotEnded);
        }
        if owes {
            return Err(Refusal::HasOpenOrders);
        }
        let before = listed.clone();
        listed.closed_at = Some(now);
        Self::count_version(listed, &before)
    }

    fn turn(&mut self, now: Timestamp, id: OrderId, to: OrderStatus) -> Answer {
        let is_kept = self.key_of(now, self.known(id).unwrap()) == Key::Kept;
        let known = self.orders.iter_mut().find(|known| known.row.order.id == id).unwrap();
        known.was_free |= !known.row.order.status.is_live() && (to == OrderStatus::RefundDue || to.is_live()) && !is_kept;
        known.row.order.status = to;
        known.row.changed_at = now;
        let order = known.row.order;
        self.count_stock(order.commodity);
        Answer::Order(order)
    }

    /// Counts a commodity's stock anew from its orders.
    fn count_stock(&mut self, id: CommodityId) {
        let held = self.units_of(id, |status| status == OrderStatus::Reserved);
        let sold = self.units_of(id, |status| matches!(status, OrderStatus::Confirmed | OrderStatus::Paid));
        let stock = &mut self.listed(id).unwrap().commodity.stock;
        stock.held = Units::new(held).unwrap();
        stock.sold = Units::new(sold).unwrap();
        stock.available = Units::new(i64::from(stock.total) - held - sold).unwrap();
    }

    fn count_version(listed: &mut Commodity, before: &Commodity) -> Outcome {
        if listed != before {
            listed.version += 1;
        }
        Ok(Answer::Commodity(Box::new(listed.clone())))
    }

    fn units_of(&self, id: CommodityId, counts: impl Fn(OrderStatus) -> bool) -> i64 {
        let orders = self.orders.iter().map(|known| &known.row.order);
        orders.filter(|order| order.commodity == id && counts(order.status)).map(|order| i64::from(order.quantity)).sum()
    }

    fn has(&self, id: CommodityId, wanted: impl Fn(OrderStatus) -> bool) -> bool {
        self.orders.iter().any(|known| known.row.order.commodity == id && wanted(known.row.order.status))
    }

    fn owes(&self, id: CommodityId) -> bool {
        self.has(id, |status| matches!(status, OrderStatus::Reserved | OrderStatus::RefundDue)) || self.has_payments_to_see_to(id)
    }

    fn has_payments_to_see_to(&self, id: CommodityId) -> bool {
        self.orders.iter().any(|known| known.row.order.commodity == id && known.owes())
    }

    fn holds(&self) -> impl Iterator<Item = &Order> {
        self.orders.iter().map(|known| &known.row.order).filter(|order| order.status == OrderStatus::Reserved)
    }

    pub(super) fn listed(&mut self, id: CommodityId) -> Option<&mut Listed> {
        self.commodities.iter_mut().find(|listed| listed.commodity.id == id)
    }

    fn commodity(&mut self, id: CommodityId) -> Result<&mut Commodity, Refusal> {
        match self.listed(id) {
            None => Err(Refusal::CommodityNotFound),
            Some(listed) if listed.removed => Err(Refusal::CommodityNotFound),
            Some(listed) if listed.commodity.closed_at.is_some() => Err(Refusal::Closed),
            Some(listed) => Ok(&mut listed.commodity),
        }
    }

    fn known(&self, id: OrderId) -> Result<&Known, Refusal> {
        self.orders.iter().find(|known| known.row.order.id == id).ok_or(Refusal::OrderNotFound)
    }
}
