//! Placing an order: the one step in which window, stock and limit are checked and units are taken (R4).

use super::orders::{NONE, Record};
use super::{Answer, Engine, Held, Outcome, Place, Refusal};
use crate::domain::{CommodityState, Order, OrderId, OrderStatus, Timestamp};
use crate::event::Event;

impl Engine {
    /// Claims units for a buyer. The order of the checks is part of the contract: a retry under a known key gets its
    /// order whatever has happened to the sale since.
    pub(super) fn place(&mut self, now: Timestamp, place: Place, events: &mut Vec<Event>) -> Outcome {
        let commodity = self.commodities.find(place.commodity).ok_or(Refusal::CommodityNotFound)?;
        if let Some(replay) = self.replay(commodity, &place) {
            return replay;
        }
        self.check(now, commodity, &place)?;
        let order = self.accept(now, commodity, &place);
        events.push(Event::Placed { order, key: place.key, fingerprint: place.fingerprint });
        Ok(Answer::Placed(order))
    }

    /// What a key that was used before answers; none for a new one.
    fn replay(&self, commodity: u32, place: &Place) -> Option<Outcome> {
        let buyer = place.key.and_then(|_| self.buyers.find(commodity, place.user))?;
        let order = self.keys.find(buyer, place.key?, &self.orders)?;
        if self.keys.fingerprint(order, &self.orders) != place.fingerprint {
            return Some(Err(Refusal::IdempotencyMismatch));
        }
        Some(Ok(Answer::Replayed(self.unpack(order))))
    }

    fn check(&self, now: Timestamp, slot: u32, place: &Place) -> Result<(), Refusal> {
        let commodity = self.commodities.get(slot);
        match commodity.state(now) {
            CommodityState::Ended => return Err(Refusal::Ended),
            CommodityState::Paused => return Err(Refusal::Paused),
            CommodityState::NotStarted => return Err(Refusal::NotStarted),
            CommodityState::SoldOut => return Err(Refusal::SoldOut),
            CommodityState::Open => {}
        }
        if let Some(limit) = commodity.terms.limit_per_user {
            let has = self.buyers.find(slot, place.user).map_or(0, |buyer| self.buyers.units(buyer));
            if u64::from(has) + u64::from(place.quantity.get()) > u64::from(limit) {
                return Err(Refusal::LimitReached);
            }
        }
        if commodity.stock.available.get() < place.quantity.get() {
            return Err(Refusal::SoldOut);
        }
        if self.next_number > OrderId::NUMBER_MAX {
            return Err(Refusal::EpochExhausted);
        }
        Ok(())
    }

    /// Takes the units and writes the order down. Everything was checked.
    fn accept(&mut self, now: Timestamp, slot: u32, place: &Place) -> Order {
        let terms = &self.commodities.get(slot).terms;
        let hold = terms.hold_seconds;
        let order = Order {
            id: OrderId::new(now, self.partition, self.epoch, self.next_number),
            commodity: place.commodity,
            user: place.user,
            quantity: place.quantity,
            unit_price: terms.price,
            currency: terms.currency,
            status: if hold.is_some() { OrderStatus::Reserved } else { OrderStatus::Confirmed },
            pay_by: hold.map(|seconds| now.plus_millis(u64::from(seconds) * 1000)),
        };
        self.next_number += 1;
        self.commodities.take(slot, order.status, order.quantity);
        let buyer = self.buyers.join(slot, place.user);
        self.buyers.add_units(buyer, order.quantity.get());
        let keyed = place.key.map_or(NONE, |key| self.keys.store(key, place.fingerprint));
        let record = self.orders.insert(Record::pack(&order, buyer, keyed));
        if place.key.is_some() {
            self.keys.index(record, &self.orders);
        }
        if hold.is_some() {
            self.holds.push(Held(record), &mut self.orders);
        }
        order
    }
}
