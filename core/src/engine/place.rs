//! Placing an order: the one step in which window, stock and limit are checked and units are taken (R4).

use super::orders::{NONE, Record};
use super::{Answer, Engine, Outcome, Place, Refusal};
use crate::domain::{CommodityState, Order, OrderId, OrderStatus, Principal, PrincipalKey, Timestamp};
use crate::event::{Event, LogVersion};

impl Engine {
    /// Claims units for a buyer. The order of the checks is part of the contract: a retry under a known key gets its
    /// order whatever has happened to the sale since.
    pub(super) fn place(&mut self, now: Timestamp, place: Place, events: &mut Vec<Event>) -> Outcome {
        let commodity = self.commodities.find(place.commodity).ok_or(Refusal::CommodityNotFound)?;
        let user = place.user.key();
        if let Some(replay) = self.replay(now, commodity, &place, user) {
            return replay;
        }
        self.check(now, commodity, &place, user)?;
        let order = self.accept(now, commodity, &place, user);
        let Place { user, key, fingerprint, .. } = place;
        let foreign = match user {
            Principal::Own(_) => None,
            Principal::Foreign(foreign) => Some(foreign),
        };
        events.push(Event::Placed { order, foreign, key, fingerprint });
        Ok(Answer::Placed(order))
    }

    /// What a key that was used before answers; none for a new one.
    fn replay(&self, now: Timestamp, commodity: u32, place: &Place, user: PrincipalKey) -> Option<Outcome> {
        let keys = &self.commodities.listing(commodity).keys;
        let keyed = keys.find(user, place.key?, self.time_for_keys(now))?;
        if keys.fingerprint(keyed) != place.fingerprint {
            return Some(Err(Refusal::IdempotencyMismatch));
        }
        Some(Ok(match self.orders.find(keys.number(keyed)) {
            Some(order) => Answer::Replayed(self.unpack(order)),
            None => Answer::PlacedBefore(keys.order(keyed, self.partition)),
        }))
    }

    fn check(&self, now: Timestamp, slot: u32, place: &Place, user: PrincipalKey) -> Result<(), Refusal> {
        let listing = self.commodities.listing(slot);
        if listing.removed {
            return Err(Refusal::CommodityNotFound);
        }
        let commodity = &listing.commodity;
        match commodity.state(now) {
            CommodityState::Ended => return Err(Refusal::Ended),
            CommodityState::Closed => return Err(Refusal::Closed),
            CommodityState::Paused => return Err(Refusal::Paused),
            CommodityState::NotStarted => return Err(Refusal::NotStarted),
            CommodityState::SoldOut => return Err(Refusal::SoldOut),
            CommodityState::Open => {}
        }
        if place.user.foreign().is_some() && self.log_version < LogVersion::V4 {
            return Err(Refusal::UpgradeUnfinished);
        }
        if let Some(limit) = commodity.terms.limit_per_user {
            let has = listing.buyers.units(user);
            if u64::from(has) + u64::from(place.quantity.get()) > u64::from(limit) {
                return Err(Refusal::LimitReached);
            }
        }
        if commodity.stock.available.get() < place.quantity.get() {
            return Err(Refusal::SoldOut);
        }
        if place.unit_price.is_some_and(|seen| seen != commodity.terms.price) {
            return Err(Refusal::PriceChanged);
        }
        if self.next_number > OrderId::NUMBER_MAX {
            return Err(Refusal::EpochExhausted);
        }
        Ok(())
    }

    /// Takes the units and writes the order down. Everything was checked.
    fn accept(&mut self, now: Timestamp, slot: u32, place: &Place, user: PrincipalKey) -> Order {
        let terms = &self.commodities.get(slot).terms;
        // What costs nothing needs no payment.
        let hold = terms.hold_seconds.filter(|_| terms.price.times(place.quantity) > 0);
        let has_grace = hold.is_some() && self.log_version >= LogVersion::V5;
        let order = Order {
            id: OrderId::new(now, self.partition, self.epoch, self.next_number),
            commodity: place.commodity,
            user,
            quantity: place.quantity,
            unit_price: terms.price,
            currency: terms.currency,
            status: if hold.is_some() { OrderStatus::Reserved } else { OrderStatus::Confirmed },
            pay_by: hold.map(|seconds| now.plus_millis(u64::from(seconds) * 1000)),
            grace_seconds: if has_grace { terms.grace_seconds } else { 0 },
            discount: None,
        };
        self.next_number += 1;
        self.commodities.take(slot, order.status, order.quantity);
        let listing = self.commodities.listing_mut(slot);
        listing.buyers.add(user, order.quantity.get()).expect("one buyer has at most all units of a commodity");
        let keyed = place.key.map_or(NONE, |key| listing.keys.store(user, key, place.fingerprint, order.id));
        let record = self.insert(&order, slot, keyed);
        self.unsettled.push_back((self.gathering, record));
        if hold.is_some() {
            self.holds.push(record, &mut self.orders);
        }
        self.free_old_keys(now);
        order
    }

    /// Makes an order one that this engine knows.
    pub(super) fn insert(&mut self, order: &Order, commodity: u32, keyed: u32) -> u32 {
        self.commodities.count_order(commodity);
        let slot = self.orders.insert(Record::pack(order, commodity, keyed, self.gathering), order.user);
        if order.discount.is_some() {
            self.orders.set_discount(slot, order.discount);
        }
        slot
    }
}
