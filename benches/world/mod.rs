//! What the benches of the tables share: orders as an engine would place them, and bare inserts of the same rows.

use doorbuster::domain::{
    Cancellation, Commodity, CommodityId, Epoch, IdempotencyKey, Order, OrderId, OrderStatus, PartitionId, Price, Quantity,
    RequestFingerprint, Sequence, Stock, Terms, Timestamp, Units, UserId,
};
use doorbuster::event::{Batch, Event};
use doorbuster::projection;
use doorbuster::store::Store;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement, TransactionTrait, Value};

use crate::database::{Backend, TestDatabase};

pub const PARTITIONS: u16 = 16;
pub const ORDERS_A_BATCH: usize = 100;
pub const ROWS_A_STATEMENT: usize = 500;
const START: i64 = 1_795_600_000_000;

/// What there is so far: numbers of orders and batches go on from it.
pub struct World {
    epoch: Epoch,
    number: u64,
    sequences: Vec<u64>,
    dice: u64,
}

impl Default for World {
    fn default() -> Self {
        Self { epoch: Epoch::new(1).expect("an epoch"), number: 0, sequences: vec![0; PARTITIONS.into()], dice: 0x9E37_79B9_7F4A_7C15 }
    }
}

impl World {
    /// The beginning of an epoch.
    pub fn of(epoch: Epoch) -> Self {
        Self { epoch, ..Self::default() }
    }

    /// Fences and one commodity for each partition.
    pub async fn open(&mut self, store: &Store) {
        let mut batches = Vec::new();
        for index in 0..PARTITIONS {
            batches.push(Batch::fence(partition(index), self.epoch));
            let listing = self.listing(index);
            batches.push(self.batch(index, vec![listing]));
        }
        projection::apply(store, &batches).await.expect("the database is there");
    }

    /// So many placed orders, as batches over all partitions.
    pub fn batches(&mut self, rows: usize) -> Vec<Batch> {
        (0..rows / ORDERS_A_BATCH)
            .map(|number| {
                let index = (number % usize::from(PARTITIONS)) as u16;
                let events = self.events(index, ORDERS_A_BATCH);
                self.batch(index, events)
            })
            .collect()
    }

    pub fn batch(&mut self, index: u16, events: Vec<Event>) -> Batch {
        let sequence = &mut self.sequences[usize::from(index)];
        *sequence += 1;
        Batch::new(partition(index), self.epoch, Sequence(*sequence), events)
    }

    pub fn events(&mut self, index: u16, count: usize) -> Vec<Event> {
        (0..count)
            .map(|_| {
                let order = self.order(index, self.epoch);
                Event::Placed { order, foreign: None, key: Some(key(&order)), fingerprint: RequestFingerprint(order.id.number() as i64) }
            })
            .collect()
    }

    pub fn orders(&mut self, rows: usize, epoch: u32) -> Vec<Order> {
        let epoch = Epoch::new(epoch).expect("an epoch");
        (0..rows).map(|number| self.order((number / ORDERS_A_BATCH % usize::from(PARTITIONS)) as u16, epoch)).collect()
    }

    fn order(&mut self, index: u16, epoch: Epoch) -> Order {
        self.number += 1;
        // Marsaglia's xorshift: any buyer of a million.
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        // A hundred orders a millisecond.
        let at = Timestamp::from_millis(START + self.number as i64 / 100).expect("a time");
        Order {
            id: OrderId::new(at, partition(index), epoch, self.number),
            commodity: commodity(index),
            user: UserId::new((self.dice % 1_000_000) as i64 + 1).expect("an id").into(),
            quantity: Quantity::ONE,
            unit_price: Price::new(1999).expect("a price"),
            currency: "EUR".parse().expect("a currency"),
            status: OrderStatus::Reserved,
            pay_by: Some(at.plus_millis(600_000)),
            grace_seconds: 0,
            discount: None,
        }
    }

    pub fn listing(&self, index: u16) -> Event {
        let terms = Terms {
            sku: None,
            name: "Lamp".into(),
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
        let stock = Stock::fresh(Units::MAX);
        Event::Listed(Box::new(Commodity {
            id: commodity(index),
            terms,
            stock,
            paused: false,
            ended_at: None,
            closed_at: None,
            version: 1,
        }))
    }
}

pub fn partition(index: u16) -> PartitionId {
    PartitionId::new(index).expect("a partition")
}

fn commodity(index: u16) -> CommodityId {
    CommodityId::new(i64::from(index) + 1).expect("an id")
}

fn key(order: &Order) -> IdempotencyKey {
    let mut bytes = order.id.uuid().into_bytes();
    // Keys are hashes: no order in them.
    bytes.reverse();
    IdempotencyKey::from_bytes(bytes)
}

/// A connection of its own, set like the store's.
pub async fn bare_connection(database: &TestDatabase, backend: Backend) -> DatabaseConnection {
    let mut options = sea_orm::ConnectOptions::new(database.url());
    options.max_connections(1).sqlx_logging(false);
    let connection = Database::connect(options).await.expect("the database is there");
    if backend == Backend::Sqlite {
        for pragma in ["journal_mode = WAL", "synchronous = FULL", "cache_size = -32768"] {
            connection.execute_unprepared(&format!("PRAGMA {pragma}")).await.expect("SQLite knows it");
        }
    }
    connection
}

pub async fn insert_bare(connection: &DatabaseConnection, orders: &[Order]) {
    let transaction = connection.begin().await.expect("the database is there");
    for chunk in orders.chunks(ROWS_A_STATEMENT) {
        let statement = insert(connection.get_database_backend(), chunk);
        transaction.execute_raw(statement).await.expect("the rows are good");
    }
    transaction.commit().await.expect("it can commit");
}

fn insert(backend: DbBackend, orders: &[Order]) -> Statement {
    let columns = "id, commodity_id, user_id, quantity, unit_price, currency, status, pay_by, idempotency_key, fingerprint, changed_at";
    let rows = vec!["(?,?,?,?,?,?,?,?,?,?,?)"; orders.len()].join(",");
    let values = orders.iter().flat_map(|order| {
        [
            Value::from(order.id.uuid()),
            order.commodity.get().into(),
            order.user.halves().1.into(),
            (order.quantity.get() as i32).into(),
            order.unit_price.minor().into(),
            order.currency.code().into(),
            order.status.code().into(),
            order.pay_by.map(Timestamp::millis).into(),
            uuid::Uuid::from_bytes(key(order).to_bytes()).into(),
            order.user.halves().1.into(),
            order.id.placed_at().millis().into(),
        ]
    });
    Statement::from_sql_and_values(backend, format!("INSERT INTO orders ({columns}) VALUES {rows}"), values)
}

pub fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
