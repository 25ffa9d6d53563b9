//! The rules once more, as plainly as they can be said: lists that are searched from the front, no index, no packing.
//! Never shares code with the engine it is compared to.

use super::support::partition;
use crate::domain::{Commodity, CommodityId, Epoch, Order, OrderId, OrderStatus, Stock, Timestamp, Units};
use crate::engine::{Answer, Command, KnownOrder, Outcome, Place, Refusal};

pub(super) struct Model {
    pub(super) epoch: Epoch,
    pub(super) next_number: u64,
    pub(super) ended_orders_max: usize,
    pub(super) commodities: Vec<Commodity>,
    pub(super) orders: Vec<KnownOrder>,
}

impl Model {
    pub(super) fn apply(&mut self, now: Timestamp, command: Command) -> Outcome {
        match command {
            Command::List { commodity, terms, total } => {
                if self.commodities.iter().any(|listed| listed.id == commodity) {
                    return Err(Refusal::CommodityExists);
                }
                if !terms.faults().is_empty() {
                    return Err(Refusal::TermsConflict);
                }
                let stock = Stock { total, available: total, held: Units::ZERO, sold: Units::ZERO };
                let listed = Commodity { id: commodity, terms: *terms, stock, paused: false, ended_at: None, version: 1 };
                self.commodities.push(listed.clone());
                Ok(Answer::Commodity(Box::new(listed)))
            }
            Command::Change { commodity, change, expected_version } => {
                let taken = self.units_of(commodity, OrderStatus::is_live);
                let listed = self.commodity(commodity)?;
                if expected_version.is_some_and(|version| version != listed.version) {
                    return Err(Refusal::VersionMismatch);
                }
                let terms = change.onto(&listed.terms);
                if !terms.faults().is_empty() {
                    return Err(Refusal::TermsConflict);
                }
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
            Command::Remove(commodity) => {
                self.commodity(commodity)?;
                let needed = |status: OrderStatus| status.is_live() || status == OrderStatus::RefundDue;
                if self.orders.iter().any(|known| known.order.commodity == commodity && needed(known.order.status)) {
                    return Err(Refusal::HasOrders);
                }
                self.orders.retain(|known| known.order.commodity != commodity);
                self.commodities.retain(|listed| listed.id != commodity);
                Ok(Answer::Removed)
            }
            Command::Place(place) => self.place(now, place),
            Command::ConfirmPayment(id) => {
                let order = self.known(id)?.order;
                match order.status {
                    OrderStatus::Reserved => Ok(self.turn(now, id, OrderStatus::Paid)),
                    OrderStatus::Expired | OrderStatus::Cancelled => Ok(self.turn(now, id, OrderStatus::RefundDue)),
                    OrderStatus::Confirmed => Err(Refusal::NotPayable),
                    _ => Ok(Answer::Order(order)),
                }
            }
            Command::ConfirmRefund(id) => {
                let order = self.known(id)?.order;
                match order.status {
                    OrderStatus::RefundDue => Ok(self.turn(now, id, OrderStatus::Refunded)),
                    OrderStatus::Refunded => Ok(Answer::Order(order)),
                    _ => Err(Refusal::NotRefundable),
                }
            }
            Command::Cancel { order, user } => {
                let known = self.known(order)?.order;
                if user.is_some() && user != Some(known.user) {
                    return Err(Refusal::OrderNotFound);
                }
                if known.status != OrderStatus::Reserved && known.status != OrderStatus::Confirmed {
                    return Err(Refusal::NotCancellable);
                }
                Ok(self.turn(now, order, OrderStatus::Cancelled))
            }
            Command::Expire { at_most } => {
                let mut due: Vec<(Timestamp, OrderId)> =
                    self.holds().filter(|order| order.pay_by.unwrap() <= now).map(|order| (order.pay_by.unwrap(), order.id)).collect();
                due.sort_by_key(|(pay_by, id)| (*pay_by, id.epoch(), id.number()));
                due.truncate(at_most);
                for (_, id) in &due {
                    self.turn(now, *id, OrderStatus::Expired);
                }
                Ok(Answer::Expired(due.len()))
            }
        }
    }

    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.holds().filter_map(|order| order.pay_by).min()
    }

    fn place(&mut self, now: Timestamp, place: Place) -> Outcome {
        let commodity = self.commodity(place.commodity)?.clone();
        let of_buyer = |known: &&KnownOrder| known.order.commodity == place.commodity && known.order.user == place.user;
        let used = self.orders.iter().filter(of_buyer).find(|known| place.key.is_some() && known.key == place.key);
        if let Some(used) = used {
            return if used.fingerprint == place.fingerprint {
                Ok(Answer::Replayed(used.order))
            } else {
                Err(Refusal::IdempotencyMismatch)
            };
        }
        let has: i64 = self.orders.iter().filter(of_buyer).filter(|known| known.order.status.is_live()).map(units_in).sum();
        let wants = i64::from(place.quantity);
        let available = i64::from(commodity.stock.available);
        let terms = &commodity.terms;
        if commodity.ended_at.is_some() || now >= terms.ends_at {
            Err(Refusal::Ended)
        } else if commodity.paused {
            Err(Refusal::Paused)
        } else if now < terms.starts_at {
            Err(Refusal::NotStarted)
        } else if available == 0 {
            Err(Refusal::SoldOut)
        } else if terms.limit_per_user.is_some_and(|limit| has + wants > i64::from(limit)) {
            Err(Refusal::LimitReached)
        } else if available < wants {
            Err(Refusal::SoldOut)
        } else {
            let order = Order {
                id: OrderId::new(now, partition(), self.epoch, self.next_number),
                commodity: place.commodity,
                user: place.user,
                quantity: place.quantity,
                unit_price: terms.price,
                currency: terms.currency,
                status: if terms.hold_seconds.is_some() { OrderStatus::Reserved } else { OrderStatus::Confirmed },
                pay_by: terms.hold_seconds.map(|seconds| Timestamp::from_millis(now.millis() + 1000 * i64::from(seconds)).unwrap()),
            };
            self.next_number += 1;
            self.orders.push(KnownOrder { order, key: place.key, fingerprint: place.fingerprint, changed_at: now });
            self.count_stock(place.commodity);
            Ok(Answer::Placed(order))
        }
    }

    /// Gives an order a status; forgets the ended orders that are too many, at most two.
    fn turn(&mut self, now: Timestamp, id: OrderId, to: OrderStatus) -> Answer {
        let known = self.orders.iter_mut().find(|known| known.order.id == id).unwrap();
        known.order.status = to;
        known.changed_at = now;
        let order = known.order;
        self.count_stock(order.commodity);
        if has_ended(to) {
            for _ in 0..2 {
                let ended = self.orders.iter().filter(|known| has_ended(known.order.status));
                if ended.clone().count() > self.ended_orders_max {
                    let first = ended.min_by_key(|known| (known.changed_at, known.order.id.epoch(), known.order.id.number()));
                    let first = first.unwrap().order.id;
                    self.orders.retain(|known| known.order.id != first);
                }
            }
        }
        Answer::Order(order)
    }

    /// Counts a commodity's stock anew from its orders.
    fn count_stock(&mut self, id: CommodityId) {
        let held = self.units_of(id, |status| status == OrderStatus::Reserved);
        let sold = self.units_of(id, |status| matches!(status, OrderStatus::Confirmed | OrderStatus::Paid));
        let stock = &mut self.commodity(id).unwrap().stock;
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
        self.orders.iter().filter(|known| known.order.commodity == id && counts(known.order.status)).map(units_in).sum()
    }

    fn holds(&self) -> impl Iterator<Item = &Order> {
        self.orders.iter().map(|known| &known.order).filter(|order| order.status == OrderStatus::Reserved)
    }

    fn commodity(&mut self, id: CommodityId) -> Result<&mut Commodity, Refusal> {
        self.commodities.iter_mut().find(|listed| listed.id == id).ok_or(Refusal::CommodityNotFound)
    }

    fn known(&self, id: OrderId) -> Result<&KnownOrder, Refusal> {
        self.orders.iter().find(|known| known.order.id == id).ok_or(Refusal::OrderNotFound)
    }
}

/// Ended, and no money is owed.
pub(super) fn has_ended(status: OrderStatus) -> bool {
    matches!(status, OrderStatus::Cancelled | OrderStatus::Expired | OrderStatus::Refunded)
}

fn units_in(known: &KnownOrder) -> i64 {
    i64::from(known.order.quantity)
}
