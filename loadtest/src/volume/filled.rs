//! What is in a filled database: every order follows from its number, so nobody has to look one up. The only place that makes
//! commodities, orders and events. Never writes a row.

use doorbuster::domain::{
    Cancellation, Commodity, CommodityId, Epoch, IdempotencyKey, Order, OrderId, OrderStatus, PartitionId, Price, Quantity,
    RequestFingerprint, Stock, Terms, Timestamp, Units, UserId,
};
use doorbuster::event::Event;

use super::Fill;

/// An hour, in milliseconds.
const HOUR_MS: i64 = 3_600_000;
/// Units of a commodity on sale beyond those that are sold: more than any measurement sells.
const SPARE_UNITS: u64 = 100_000_000;
/// The buyer of [`Fill::regular`] orders.
const REGULAR: i64 = 1_999_999_999;
/// The first of all other buyers, above those of volleys.
const FIRST_BUYER: i64 = 2_000_000_000;

/// A commodity of a filled database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its id.
    pub id: CommodityId,
    /// Where it belongs.
    pub partition: PartitionId,
    /// The epoch of its orders.
    pub epoch: Epoch,
}

/// A filled database.
#[derive(Clone, Debug)]
pub struct Filled {
    fill: Fill,
    /// Those on sale first.
    places: Vec<Place>,
    now: Timestamp,
}

/// An order of it.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// As it stands.
    pub order: Order,
    key: Option<IdempotencyKey>,
}

/// A kind of commodities: when they are on sale, and when their orders were placed, in hours from now.
struct Era {
    sale: [i64; 2],
    placed: [i64; 2],
    orders: fn(&Fill) -> u64,
}

/// A sale that goes on for a year.
const LIVE: Era = Era { sale: [-48, 365 * 24], placed: [-25, -1], orders: |fill| fill.live };
/// A sale that ended yesterday: too late for anything that is done with sales after days of rest.
const OVER: Era = Era { sale: [-96, -26], placed: [-72, -48], orders: |fill| fill.over };

impl Filled {
    /// `places` has the commodities on sale first; `now` is between the sales that are over and the end of the others.
    /// The time that everything in it is before or after.
    pub(super) const fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) const fn new(fill: Fill, places: Vec<Place>, now: Timestamp) -> Self {
        Self { fill, places, now }
    }

    /// What it was filled with.
    #[must_use]
    pub const fn fill(&self) -> &Fill {
        &self.fill
    }

    /// The commodities that are on sale.
    #[must_use]
    pub fn on_sale(&self) -> &[Place] {
        &self.places[..self.fill.commodities as usize]
    }

    /// The commodities whose sale is over.
    #[must_use]
    pub fn over(&self) -> &[Place] {
        &self.places[self.fill.commodities as usize..]
    }

    /// The buyer of [`Fill::regular`] orders.
    #[must_use]
    pub fn regular() -> UserId {
        UserId::new(REGULAR).expect("a positive number")
    }

    /// Every order: those of sales that are over, then the others, each kind by time.
    pub fn orders(&self) -> impl Iterator<Item = Made> + '_ {
        let over = (0..self.fill.over).map(|index| self.order(index, index + 1, self.over(), &OVER));
        let live = (0..self.fill.live).map(|index| (index, self.order(index, self.fill.over + index + 1, self.on_sale(), &LIVE)));
        over.chain(live.map(|(index, made)| self.of_regular(index, made)))
    }

    /// Every commodity as it is listed: nothing of it is sold.
    pub(super) fn listings(&self) -> impl Iterator<Item = (Place, Event)> + '_ {
        let live = self.on_sale().iter().map(|place| (*place, &LIVE, share(self.fill.live, self.fill.commodities) + SPARE_UNITS));
        let over = self.over().iter().map(|place| (*place, &OVER, share(self.fill.over, self.fill.over_commodities)));
        live.chain(over).map(|(place, era, units)| (place, self.listing(place.id, era, units)))
    }

    fn at(&self, hours: i64) -> i64 {
        self.now.millis() + hours * HOUR_MS
    }

    fn listing(&self, id: CommodityId, era: &Era, units: u64) -> Event {
        let [starts_at, ends_at] = era.sale.map(|hours| Timestamp::from_millis(self.at(hours)).expect("days from now"));
        let terms = Terms {
            sku: None,
            name: format!("Lamp {id}"),
            description: String::new(),
            image_url: None,
            price: Price::new(1_999).expect("a price"),
            currency: "EUR".parse().expect("a currency"),
            limit_per_user: None,
            hold_seconds: None,
            grace_seconds: Terms::GRACE_SECONDS,
            cancellation: Cancellation::Unpaid,
            starts_at,
            ends_at,
        };
        let total = i64::try_from(units).ok().and_then(|units| Units::new(units).ok()).unwrap_or(Units::MAX);
        Event::Listed(Box::new(Commodity {
            id,
            terms,
            stock: Stock::fresh(total),
            paused: false,
            ended_at: None,
            closed_at: None,
            version: 1,
        }))
    }

    /// Order `index` of an era; its number is its own among all.
    fn order(&self, index: u64, number: u64, places: &[Place], era: &Era) -> Made {
        let count = (era.orders)(&self.fill);
        let place = places[(index % places.len() as u64) as usize];
        let [from, until] = era.placed.map(|hours| self.at(hours));
        let millis = from + (i128::from(until - from) * i128::from(index) / i128::from(count)) as i64;
        let dice = dice(number);
        let id = OrderId::new(Timestamp::from_millis(millis).expect("days from now"), place.partition, place.epoch, number);
        let is_cancelled = dice % 100 < self.fill.cancelled_percent.into();
        let order = Order {
            id,
            commodity: place.id,
            user: UserId::new(FIRST_BUYER + (dice / 100 / 100 % count) as i64).expect("a positive number").into(),
            quantity: Quantity::ONE,
            unit_price: Price::new(1_999).expect("a price"),
            currency: "EUR".parse().expect("a currency"),
            status: if is_cancelled { OrderStatus::Cancelled } else { OrderStatus::Confirmed },
            pay_by: None,
            grace_seconds: 0,
            discount: None,
        };
        Made { order, key: (dice / 100 % 100 < self.fill.keyed_percent.into()).then(|| key(id)) }
    }

    /// The order of another buyer, or of the regular one: theirs are spread evenly over the others.
    fn of_regular(&self, index: u64, mut made: Made) -> Made {
        let every = (self.fill.live / self.fill.regular.max(1)).max(1);
        if index.is_multiple_of(every) && index / every < self.fill.regular {
            made.order.user = Self::regular().into();
        }
        made
    }
}

impl Made {
    /// What led to it.
    pub(super) fn events(&self) -> impl Iterator<Item = Event> {
        let Order { id, commodity, quantity, .. } = self.order;
        let placed = Order { status: OrderStatus::Confirmed, ..self.order };
        let placed = Event::Placed { order: placed, foreign: None, key: self.key, fingerprint: RequestFingerprint::of(quantity, None) };
        let moved = (self.order.status != OrderStatus::Confirmed).then(|| Event::Moved {
            order: id,
            commodity,
            buyer: Some(self.order.user),
            quantity,
            from: OrderStatus::Confirmed,
            to: self.order.status,
            at: id.placed_at(),
            cause: doorbuster::domain::Cause::by(doorbuster::domain::Actor::System),
        });
        std::iter::once(placed).chain(moved)
    }
}

/// Orders of one commodity at most.
fn share(orders: u64, commodities: u32) -> u64 {
    orders.div_ceil(commodities.max(1).into())
}

/// Keys are hashes: no order is in them.
fn key(id: OrderId) -> IdempotencyKey {
    let mut bytes = id.uuid().into_bytes();
    bytes.reverse();
    IdempotencyKey::from_bytes(bytes)
}

/// A number that only looks random: Vigna's splitmix64.
fn dice(index: u64) -> u64 {
    let mut mixed = index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const FILL: Fill = Fill {
        live: 1_000,
        commodities: 2,
        over: 500,
        over_commodities: 1,
        partition: None,
        keyed_percent: 50,
        cancelled_percent: 10,
        regular: 100,
    };

    fn filled(fill: Fill) -> Filled {
        let place = |id: i64| Place {
            id: CommodityId::new(id).unwrap(),
            partition: PartitionId::new(id as u16).unwrap(),
            epoch: Epoch::new(1).unwrap(),
        };
        Filled::new(fill, (1..=3).map(place).collect(), Timestamp::from_millis(1_795_600_000_000).unwrap())
    }

    #[test]
    fn ids_rise_and_no_number_is_given_twice() {
        let filled = filled(FILL);
        let ids: Vec<OrderId> = filled.orders().map(|made| made.order.id).collect();
        let numbers: BTreeSet<u64> = ids.iter().map(|id| id.number()).collect();
        assert!(ids.is_sorted() && numbers.len() == 1_500);
    }

    #[test]
    fn shares_are_about_what_was_asked_for() {
        let filled = filled(FILL);
        let count = |is: fn(&Made) -> bool| filled.orders().filter(is).count();
        assert!((600..900).contains(&count(|made| made.key.is_some())));
        assert!((100..200).contains(&count(|made| made.order.status == OrderStatus::Cancelled)));
        assert_eq!(count(|made| made.order.user == Filled::regular().into()), 100);
        assert_eq!(count(|made| made.order.commodity.get() == 3), 500);
    }

    #[test]
    fn a_sale_that_is_over_was_sold_out_but_for_what_was_cancelled() {
        let filled = filled(FILL);
        let totals: Vec<i64> = filled
            .listings()
            .map(|(_, event)| match event {
                Event::Listed(commodity) => i64::from(commodity.stock.total),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(totals, [100_000_500, 100_000_500, 500]);
    }
}
