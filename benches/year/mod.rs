//! A past of any length: many sales one after the other, each of a commodity in every partition, with buyers who are anybody.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use doorbuster::domain::{
    Cancellation, Commodity, CommodityId, Epoch, IdempotencyKey, Order, OrderId, OrderStatus, PartitionId, Price, Quantity,
    RequestFingerprint, Sequence, Stock, Terms, Timestamp, Units, UserId,
};
use doorbuster::event::{Batch, Event};
use doorbuster::projection;
use doorbuster::store::Store;

const PARTITIONS: u16 = 16;
const ORDERS_A_BATCH: usize = 100;
/// Batches one transaction applies.
const BATCHES_A_CALL: usize = 64;
/// Orders of one sale.
const ORDERS_A_SALE: u64 = 500_000;
const START: i64 = 1_795_600_000_000;
/// How many orders later an order is paid.
const PAID_AFTER: usize = 20_000;
/// A shop that buys a tenth of everything.
pub const HEAVY_BUYER: UserId = match UserId::new(7) {
    Ok(user) => user,
    Err(_) => unreachable!(),
};

/// What there is so far.
pub struct Year {
    buyers: u64,
    number: u64,
    dice: u64,
    sales: i64,
    sequences: Vec<u64>,
    unpaid: VecDeque<Order>,
}

impl Year {
    pub fn new(buyers: u64) -> Self {
        let sequences = vec![0; PARTITIONS.into()];
        Self { buyers, number: 0, dice: 0x9E37_79B9_7F4A_7C15, sales: 0, sequences, unpaid: VecDeque::new() }
    }

    /// Fences, and the first sale.
    pub async fn open(&mut self, store: &Store) {
        let fences: Vec<Batch> = (0..PARTITIONS).map(|index| Batch::fence(partition(index), epoch())).collect();
        apply(store, &fences).await;
        self.begin_sale(store).await;
    }

    /// So many orders of one sale after the other, most of them paid at once.
    pub async fn fill(&mut self, store: &Store, rows: usize) {
        let mut done = 0;
        while done < rows {
            if self.number >= self.sales as u64 * ORDERS_A_SALE {
                self.begin_sale(store).await;
            }
            let sale = self.sales;
            let batches: Vec<Batch> = (0..BATCHES_A_CALL).map(|number| self.batch_of_past(number, sale)).collect();
            apply(store, &batches).await;
            done += BATCHES_A_CALL * ORDERS_A_BATCH;
        }
    }

    /// So many orders, half of the newest sale and half of the first, which has become hot again; and as many payments for those
    /// before them. Returns how long that took.
    pub async fn project(&mut self, store: &Store, rows: usize) -> Duration {
        self.begin_sale(store).await;
        let mut taken = Duration::ZERO;
        for _ in 0..rows.div_ceil(BATCHES_A_CALL * ORDERS_A_BATCH) {
            let mut batches: Vec<Batch> = (0..BATCHES_A_CALL).map(|number| self.batch_of_now(number)).collect();
            batches.extend(self.payments());
            let start = Instant::now();
            apply(store, &batches).await;
            taken += start.elapsed();
        }
        taken
    }

    /// Somebody who has bought something.
    pub fn a_buyer(&self) -> UserId {
        UserId::new((mixed(self.number / 2) % self.buyers) as i64 + 8).expect("an id")
    }

    pub fn newest_commodity(&self) -> CommodityId {
        commodity(self.sales, 5)
    }

    /// An id at that part of the past, from 0 to 1.
    pub fn id_at(&self, part: f64) -> OrderId {
        let number = (self.number as f64 * part) as u64;
        OrderId::new(placed_at(number), partition(0), Epoch::default(), 0)
    }

    async fn begin_sale(&mut self, store: &Store) {
        self.sales += 1;
        let sale = self.sales;
        let batches: Vec<Batch> = (0..PARTITIONS).map(|index| self.batch(index, vec![listing(commodity(sale, index))])).collect();
        apply(store, &batches).await;
    }

    fn batch_of_past(&mut self, number: usize, sale: i64) -> Batch {
        let index = (number % usize::from(PARTITIONS)) as u16;
        let mut events = Vec::new();
        for _ in 0..ORDERS_A_BATCH {
            let order = self.order(index, commodity(sale, index));
            events.push(placed(order));
            let at = order.pay_by.expect("it is held");
            let to = match self.dice % 100 {
                0..70 => OrderStatus::Paid,
                70..85 => OrderStatus::Expired,
                _ => OrderStatus::Cancelled,
            };
            events.push(moved(&order, OrderStatus::Reserved, to, at));
            if to == OrderStatus::Expired && (self.dice / 100).is_multiple_of(1_000) {
                events.push(moved(&order, to, OrderStatus::RefundDue, at));
            }
        }
        self.batch(index, events)
    }

    fn batch_of_now(&mut self, number: usize) -> Batch {
        let index = (number % usize::from(PARTITIONS)) as u16;
        let sale = if (number / usize::from(PARTITIONS)).is_multiple_of(2) { self.sales } else { 1 };
        let orders: Vec<Order> = (0..ORDERS_A_BATCH).map(|_| self.order(index, commodity(sale, index))).collect();
        self.unpaid.extend(&orders);
        self.batch(index, orders.into_iter().map(placed).collect())
    }

    fn payments(&mut self) -> Vec<Batch> {
        let mut events: Vec<Vec<Event>> = vec![Vec::new(); PARTITIONS.into()];
        while self.unpaid.len() > PAID_AFTER {
            let Some(order) = self.unpaid.pop_front() else { break };
            let index = usize::from(order.id.partition().get());
            events[index].push(moved(&order, OrderStatus::Reserved, OrderStatus::Paid, placed_at(self.number)));
        }
        let paid = (0..PARTITIONS).zip(events).filter(|(_, events)| !events.is_empty());
        paid.map(|(index, events)| self.batch(index, events)).collect()
    }

    fn batch(&mut self, index: u16, events: Vec<Event>) -> Batch {
        let sequence = &mut self.sequences[usize::from(index)];
        *sequence += 1;
        Batch::new(partition(index), epoch(), Sequence(*sequence), events)
    }

    fn order(&mut self, index: u16, commodity: CommodityId) -> Order {
        self.number += 1;
        self.dice = mixed(self.number);
        let user =
            if self.number.is_multiple_of(10) { HEAVY_BUYER } else { UserId::new((self.dice % self.buyers) as i64 + 8).expect("an id") };
        let at = placed_at(self.number);
        Order {
            id: OrderId::new(at, partition(index), epoch(), self.number),
            commodity,
            user: user.into(),
            quantity: Quantity::ONE,
            unit_price: Price::new(1999).expect("a price"),
            currency: "EUR".parse().expect("a currency"),
            status: OrderStatus::Reserved,
            pay_by: Some(at.plus_millis(600_000)),
            grace_seconds: 0,
            discount: None,
        }
    }
}

async fn apply(store: &Store, batches: &[Batch]) {
    let report = projection::apply(store, batches).await.expect("the database is there");
    assert_eq!(report.count(projection::Outcome::Applied), batches.len(), "{:?}", report.stops);
}

/// A hundred orders a millisecond.
fn placed_at(number: u64) -> Timestamp {
    Timestamp::from_millis(START + number as i64 / 100).expect("a time")
}

fn placed(order: Order) -> Event {
    let key = IdempotencyKey::from_bytes((u128::from(mixed(order.id.number())) << 64).to_be_bytes());
    Event::Placed { order, foreign: None, key: Some(key), fingerprint: RequestFingerprint(order.user.halves().1) }
}

fn moved(order: &Order, from: OrderStatus, to: OrderStatus, at: Timestamp) -> Event {
    Event::Moved {
        order: order.id,
        commodity: order.commodity,
        buyer: Some(order.user),
        quantity: order.quantity,
        from,
        to,
        at,
        cause: doorbuster::domain::Cause::by(doorbuster::domain::Actor::System),
    }
}

fn listing(id: CommodityId) -> Event {
    let terms = Terms {
        sku: None,
        name: format!("Lamp {id}"),
        description: String::new(),
        image_url: None,
        price: Price::new(1999).expect("a price"),
        currency: "EUR".parse().expect("a currency"),
        limit_per_user: None,
        hold_seconds: Some(600),
        grace_seconds: Terms::GRACE_SECONDS,
        cancellation: Cancellation::Unpaid,
        starts_at: Timestamp::ZERO,
        ends_at: Timestamp::MAX,
    };
    Event::Listed(Box::new(Commodity {
        id,
        terms,
        stock: Stock::fresh(Units::MAX),
        paused: false,
        ended_at: None,
        closed_at: None,
        version: 1,
    }))
}

fn partition(index: u16) -> PartitionId {
    PartitionId::new(index).expect("a partition")
}

fn epoch() -> Epoch {
    Epoch::new(1).expect("an epoch")
}

fn commodity(sale: i64, index: u16) -> CommodityId {
    CommodityId::new((sale - 1) * i64::from(PARTITIONS) + i64::from(index) + 1).expect("an id")
}

/// Steele, Lea and Flood's splitmix: any number leads to any other.
fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ bits >> 31
}
