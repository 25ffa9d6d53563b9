//! Logs as an engine would write them, from a list of choices: whatever the choices, the history is a possible one.

use doorbuster::domain::{
    Cancellation, Commodity, CommodityId, Epoch, IdempotencyKey, Order, OrderId, OrderStatus, PartitionId, Price, Quantity,
    RequestFingerprint, Sequence, Stock, Terms, Timestamp, Units,
};
use doorbuster::event::{Batch, Event};

use super::{at, commodity, principal};

/// The terms of a commodity that sells in the fixed time of the tests.
pub fn terms(name: &str) -> Terms {
    Terms {
        sku: None,
        name: name.into(),
        description: "A lamp 🪔, büro-grade".into(),
        image_url: Some("https://example.com/lamp.png".into()),
        price: Price::new(1999).expect("a price"),
        currency: "EUR".parse().expect("a currency"),
        limit_per_user: Some(5),
        hold_seconds: Some(600),
        grace_seconds: Terms::GRACE_SECONDS,
        cancellation: Cancellation::Unpaid,
        starts_at: at(0),
        ends_at: at(86_400_000),
    }
}

/// Terms of a sale without a beginning, an end, a limit or holds.
pub fn endless_terms() -> Terms {
    Terms {
        sku: None,
        name: "lamp".into(),
        description: String::new(),
        image_url: None,
        price: Price::new(100).expect("in range"),
        currency: "EUR".parse().expect("a currency"),
        limit_per_user: None,
        hold_seconds: None,
        grace_seconds: Terms::GRACE_SECONDS,
        cancellation: Cancellation::Unpaid,
        starts_at: Timestamp::ZERO,
        ends_at: Timestamp::MAX,
    }
}

/// A commodity as it is when it is listed.
pub fn listed(id: CommodityId, total: i64) -> Commodity {
    let stock = Stock::fresh(Units::new(total).expect("units"));
    Commodity { id, terms: terms(&format!("Lamp {id}")), stock, paused: false, ended_at: None, closed_at: None, version: 1 }
}

/// The log of one partition in one epoch, growing.
#[derive(Clone)]
pub struct History {
    partition: PartitionId,
    epoch: Epoch,
    sequence: Sequence,
    now: i64,
    number: u64,
    commodities: Vec<Commodity>,
    orders: Vec<Order>,
    events: Vec<Event>,
    batches: Vec<Batch>,
}

impl History {
    /// Begins with the fence of an epoch.
    pub fn begin(partition: PartitionId, epoch: Epoch) -> Self {
        Self {
            partition,
            epoch,
            sequence: Sequence::FENCE,
            now: 0,
            number: 0,
            commodities: Vec::new(),
            orders: Vec::new(),
            events: Vec::new(),
            batches: vec![Batch::fence(partition, epoch)],
        }
    }

    /// What was cut into batches so far.
    pub fn batches(mut self) -> Vec<Batch> {
        self.cut();
        self.batches
    }

    /// Ends the batch that is being filled. Returns how many there are.
    pub fn batches_so_far(&mut self) -> usize {
        self.cut();
        self.batches.len()
    }

    /// The orders as they stand.
    pub fn orders(&self) -> &[Order] {
        &self.orders
    }

    /// Ends the batch that is being filled.
    pub fn cut(&mut self) {
        if !self.events.is_empty() {
            self.sequence = self.sequence.next();
            let events = std::mem::take(&mut self.events);
            self.batches.push(Batch::new(self.partition, self.epoch, self.sequence, events));
        }
    }

    /// Lists a commodity.
    pub fn list(&mut self, id: i64, total: i64) -> &mut Self {
        let new = listed(commodity(id), total);
        self.commodities.push(new.clone());
        self.events.push(Event::Listed(Box::new(new)));
        self
    }

    /// Places an order of the commodity listed as number `index`, by that [`principal`]; nothing if it is sold out.
    pub fn place(&mut self, index: usize, buyer: i64, quantity: i64, status: OrderStatus, key: Option<&str>) -> Option<OrderId> {
        let (listed, buyer) = (&mut self.commodities[index], principal(buyer));
        let (commodity, quantity) = (listed.id, Quantity::new(quantity).expect("a quantity"));
        listed.stock.available = Units::new(i64::from(listed.stock.available) - i64::from(quantity)).ok()?;
        self.number += 1;
        let order = Order {
            id: OrderId::new(at(self.now), self.partition, self.epoch, self.number),
            commodity,
            user: buyer.key(),
            quantity,
            unit_price: listed.terms.price,
            currency: listed.terms.currency,
            status,
            pay_by: (status == OrderStatus::Reserved).then(|| at(self.now + 600_000)),
            grace_seconds: 0,
            discount: None,
        };
        self.orders.push(order);
        let key = key.map(|key| IdempotencyKey::of(&buyer, key).expect("a key"));
        let (foreign, fingerprint) = (buyer.foreign().cloned(), RequestFingerprint::of(quantity, None));
        self.events.push(Event::Placed { order, foreign, key, fingerprint });
        Some(order.id)
    }

    /// Moves the order placed as number `index`.
    pub fn move_to(&mut self, index: usize, to: OrderStatus) {
        let now = self.now();
        let order = &mut self.orders[index];
        let from = std::mem::replace(&mut order.status, to);
        if from.is_live() && !to.is_live() {
            let stock = &mut self.commodities.iter_mut().find(|c| c.id == order.commodity).expect("it was listed").stock;
            stock.available = Units::new(i64::from(stock.available) + i64::from(order.quantity)).expect("units");
        }
        let Order { id, commodity, user, quantity, .. } = *order;
        self.events.push(Event::Moved {
            order: id,
            commodity,
            buyer: Some(user),
            quantity,
            from,
            to,
            at: now,
            cause: doorbuster::domain::Cause::by(doorbuster::domain::Actor::System),
        });
    }

    /// Closes the commodity listed as number `index`, of which nothing may be held or due.
    pub fn close(&mut self, index: usize) {
        let now = self.now();
        let listed = &mut self.commodities[index];
        listed.version += 2;
        self.events.push(Event::Ended { commodity: listed.id, at: now, version: listed.version - 1 });
        self.events.push(Event::Closed { commodity: listed.id, at: now, version: listed.version });
        self.cut();
    }

    /// Forgets the key of the order placed as number `index`, as older releases do.
    pub fn forget(&mut self, index: usize) {
        self.events.push(Event::KeyForgotten { order: self.orders[index].id });
    }

    /// Makes one thing happen that is possible now.
    pub fn choose(&mut self, choice: u32) {
        let pick = (choice >> 8) as usize;
        self.now += i64::from(choice >> 28);
        match choice & 0xFF {
            _ if self.commodities.is_empty() => drop(self.list(self.commodity_id(0), 10)),
            0..8 => drop(self.list(self.commodity_id(self.commodities.len()), i64::from(choice >> 8 & 0x3F))),
            8..100 => self.choose_place(pick),
            100..180 => self.choose_move(pick),
            180..200 => self.choose_forget(pick),
            200..230 => self.choose_change(pick),
            _ => self.cut(),
        }
    }

    fn commodity_id(&self, index: usize) -> i64 {
        i64::from(self.partition.get()) * 1000 + index as i64 + 1
    }

    fn now(&self) -> Timestamp {
        at(self.now)
    }

    fn choose_place(&mut self, pick: usize) {
        let index = pick % self.commodities.len();
        let status = if pick & 64 == 0 { OrderStatus::Reserved } else { OrderStatus::Confirmed };
        // A key nobody uses twice: the number of the order it goes with.
        let key = (pick & 128 == 0).then(|| format!("key-{}", self.number));
        self.place(index, (pick % 7) as i64 + 1, (pick % 3) as i64 + 1, status, key.as_deref());
    }

    fn choose_move(&mut self, pick: usize) {
        use OrderStatus::{Cancelled, Confirmed, Expired, Paid, RefundDue, Refunded, Reserved};
        if self.orders.is_empty() {
            return;
        }
        let index = pick % self.orders.len();
        let to = match self.orders[index].status {
            Reserved => [Paid, Cancelled, Expired][pick / 7 % 3],
            Confirmed => Cancelled,
            Cancelled | Expired => RefundDue,
            RefundDue => Refunded,
            Paid | Refunded => return,
        };
        self.move_to(index, to);
    }

    fn choose_forget(&mut self, pick: usize) {
        if let Some(order) = self.orders.get(pick % self.orders.len().max(1)).filter(|order| !order.status.is_live()) {
            self.events.push(Event::KeyForgotten { order: order.id });
        }
    }

    fn choose_change(&mut self, pick: usize) {
        let now = self.now();
        let index = pick % self.commodities.len();
        let listed = &mut self.commodities[index];
        listed.version += 1;
        let (commodity, version) = (listed.id, listed.version);
        self.events.push(match pick / 11 % 5 {
            0 => {
                listed.terms.name = format!("Lamp of version {version}");
                Event::Changed { commodity, terms: Box::new(listed.terms.clone()), version }
            }
            1 | 2 => {
                let more = i64::from(pick as u8 % 16) - 4;
                let more = more.max(-i64::from(listed.stock.available));
                listed.stock.available = Units::new(i64::from(listed.stock.available) + more).expect("units");
                listed.stock.total = Units::new(i64::from(listed.stock.total) + more).expect("units");
                Event::Restocked { commodity, total: listed.stock.total, version }
            }
            3 => Event::Paused { commodity, paused: pick & 1 == 0, version },
            _ => Event::Ended { commodity, at: now, version },
        });
    }
}
