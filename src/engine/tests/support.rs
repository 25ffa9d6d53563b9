//! Short ways to say a sale in a test. No rules are written down here.

use crate::domain::{
    CommodityId, Epoch, IdempotencyKey, Order, OrderId, PartitionId, Price, Quantity, RequestFingerprint, Stock, Terms, Timestamp, Units,
    UserId,
};
use crate::engine::{Answer, Command, Engine, Outcome, Place, Refusal, Snapshot};
use crate::event::Event;

pub(super) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

pub(super) fn commodity(id: i64) -> CommodityId {
    CommodityId::new(id).unwrap()
}

pub(super) fn user(id: i64) -> UserId {
    UserId::new(id).unwrap()
}

pub(super) fn quantity(count: i64) -> Quantity {
    Quantity::new(count).unwrap()
}

pub(super) fn units(count: i64) -> Units {
    Units::new(count).unwrap()
}

pub(super) fn partition() -> PartitionId {
    PartitionId::new(3).unwrap()
}

pub(super) fn epoch(value: u32) -> Epoch {
    Epoch::new(value).unwrap()
}

pub(super) fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::from_text(text).unwrap()
}

/// On sale from 1,000 to 9,000 ms, no limit, no hold.
pub(super) fn terms() -> Terms {
    Terms {
        name: "Lamp".into(),
        description: String::new(),
        image_url: None,
        price: Price::new(1_999).unwrap(),
        currency: "EUR".parse().unwrap(),
        limit_per_user: None,
        hold_seconds: None,
        starts_at: at(1_000),
        ends_at: at(9_000),
    }
}

pub(super) fn a_place(user_id: i64, count: i64) -> Place {
    let quantity = quantity(count);
    Place { commodity: commodity(1), user: user(user_id), quantity, key: None, fingerprint: RequestFingerprint::of(quantity, None) }
}

/// An engine, its clock, and all events so far.
pub(super) struct Sale {
    pub(super) engine: Engine,
    pub(super) now: Timestamp,
    pub(super) events: Vec<Event>,
}

impl Sale {
    /// Commodity 1 with these terms and so many units, at 1,000 ms; remembers so many ended orders.
    pub(super) fn of(terms: Terms, total: i64, ended_orders_max: usize) -> Self {
        let engine = Engine::restore(partition(), epoch(5), Snapshot::default(), ended_orders_max).unwrap();
        let mut sale = Self { engine, now: at(1_000), events: Vec::new() };
        sale.run(Command::List { commodity: commodity(1), terms: Box::new(terms), total: units(total) }).unwrap();
        sale.events.clear();
        sale
    }

    pub(super) fn run(&mut self, command: Command) -> Outcome {
        self.engine.apply(self.now, command, &mut self.events)
    }

    pub(super) fn refused(&mut self, command: Command) -> Refusal {
        let before = self.events.len();
        let refusal = self.run(command).unwrap_err();
        assert_eq!(self.events.len(), before, "a refusal has no events");
        refusal
    }

    pub(super) fn placed(&mut self, place: Place) -> Order {
        match self.run(Command::Place(place)).unwrap() {
            Answer::Placed(order) => order,
            other => panic!("not placed: {other:?}"),
        }
    }

    /// The order a command on an order led to.
    pub(super) fn moved(&mut self, command: Command) -> Order {
        match self.run(command).unwrap() {
            Answer::Order(order) => order,
            other => panic!("no order: {other:?}"),
        }
    }

    pub(super) fn cancel(&mut self, order: OrderId) -> Order {
        self.moved(Command::Cancel { order, user: None })
    }

    /// available, held, sold of commodity 1.
    pub(super) fn stock(&self) -> (u32, u32, u32) {
        let Stock { available, held, sold, .. } = self.engine.commodity(commodity(1)).unwrap().stock;
        (available.get(), held.get(), sold.get())
    }
}
