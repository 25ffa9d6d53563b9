//! What the projection costs over bare inserts, and what the embedded log confirms.
//!
//! `cargo bench --bench projection [-- sqlite | mysql]` measures on a file in the temporary folder (`TMPDIR`) and on the
//! server at `DOORBUSTER_TEST_MYSQL_URL`. Both arms put the same rows into the same table, in turns, so that they meet the
//! same disk, the same load and the same size of indexes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use doorbuster::config::Config;
use doorbuster::domain::{
    Commodity, CommodityId, Epoch, IdempotencyKey, Order, OrderId, OrderStatus, PartitionId, Price, Quantity, RequestFingerprint, Sequence,
    Stock, Terms, Timestamp, Units, UserId,
};
use doorbuster::event::{Batch, Event};
use doorbuster::ownership::Ownership;
use doorbuster::ownership::embedded::EmbeddedOwnership;
use doorbuster::projection;
use doorbuster::store::Store;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement, TransactionTrait, Value};

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/support/database.rs"]
mod database;

use database::{Backend, TestDatabase};

const PARTITIONS: u16 = 16;
const ORDERS_A_BATCH: usize = 100;
const ROWS_A_ROUND: usize = 20_000;
const ROUNDS: usize = 9;
const ROWS_A_STATEMENT: usize = 500;
const START: i64 = 1_795_600_000_000;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for (name, backend) in [("sqlite", Backend::Sqlite), ("mysql", Backend::Mysql)] {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            runtime.block_on(measure(name, backend));
        }
    }
}

async fn measure(name: &str, backend: Backend) {
    for rows_a_commit in [500, 5_000] {
        let database = TestDatabase::migrated(backend).await;
        let store = database.store().await;
        let bare = bare_connection(&database, backend).await;
        let mut world = World::default();
        world.open(&store).await;
        let (mut bare_rates, mut projection_rates) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            for arm in [round % 2, (round + 1) % 2] {
                let commits = ROWS_A_ROUND / rows_a_commit;
                let taken = if arm == 0 {
                    let rows: Vec<Vec<Order>> = (0..commits).map(|_| world.orders(rows_a_commit, 2)).collect();
                    let start = Instant::now();
                    for rows in &rows {
                        insert_bare(&bare, rows).await;
                    }
                    start.elapsed()
                } else {
                    let calls: Vec<Vec<Batch>> = (0..commits).map(|_| world.batches(rows_a_commit)).collect();
                    let start = Instant::now();
                    for batches in &calls {
                        let report = projection::apply(&store, batches).await.expect("the database is there");
                        assert_eq!(report.count(projection::Outcome::Applied), batches.len());
                    }
                    start.elapsed()
                };
                let rates = if arm == 0 { &mut bare_rates } else { &mut projection_rates };
                rates.push(ROWS_A_ROUND as f64 / taken.as_secs_f64());
            }
        }
        let (bare, projected) = (median(bare_rates), median(projection_rates));
        println!(
            "{name}: {rows_a_commit:>5} rows a commit: bare inserts {bare:>9.0} rows/s, projection {projected:>9.0} rows/s = {:.0} %",
            100.0 * projected / bare
        );
        let start = Instant::now();
        let mut loaded = 0;
        for partition in store.partitions().iter() {
            loaded += store.snapshot(partition).await.expect("the database is there").orders.len();
        }
        println!("{name}: load of {loaded} orders at a claim: {:>9.0} orders/s", loaded as f64 / start.elapsed().as_secs_f64());
        store.close().await.expect("nothing is under way");
    }
    for orders_a_batch in [1, 16, 256] {
        let rate = confirm(backend, orders_a_batch).await;
        println!("{name}: embedded log, {PARTITIONS} partitions, {orders_a_batch:>3} orders a batch: {rate:>9.0} confirmed orders/s");
    }
}

/// Every partition appends one batch after the other for a while; returns confirmed orders a second.
async fn confirm(backend: Backend, orders_a_batch: usize) -> f64 {
    const FOR: Duration = Duration::from_secs(3);
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    let settings = Config::load(None).expect("the defaults are good").partition;
    let ownership = Arc::new(EmbeddedOwnership::start(store.clone(), "bench".into(), &settings));
    let start = Instant::now();
    let tasks: Vec<_> = (0..PARTITIONS)
        .map(|index| {
            let ownership = Arc::clone(&ownership);
            tokio::spawn(async move {
                let partition = partition(index);
                let claim = ownership.claim(partition).await.expect("nobody else is there");
                let mut world = World { epoch: claim.epoch, ..World::default() };
                let listing = world.listing(index);
                claim.log.append(world.batch(index, vec![listing])).await.expect("it can commit");
                let mut confirmed = 0;
                while start.elapsed() < FOR {
                    let events = world.events(index, orders_a_batch);
                    claim.log.append(world.batch(index, events)).await.expect("it can commit");
                    confirmed += orders_a_batch;
                }
                confirmed
            })
        })
        .collect();
    let mut confirmed = 0;
    for task in tasks {
        confirmed += task.await.expect("the task ends");
    }
    let rate = confirmed as f64 / start.elapsed().as_secs_f64();
    ownership.stop().await;
    store.close().await.expect("nothing is under way");
    rate
}

/// What there is so far: numbers of orders and batches go on from it.
struct World {
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
    /// Fences and one commodity for each partition.
    async fn open(&mut self, store: &Store) {
        let mut batches = Vec::new();
        for index in 0..PARTITIONS {
            batches.push(Batch::fence(partition(index), self.epoch));
            let listing = self.listing(index);
            batches.push(self.batch(index, vec![listing]));
        }
        projection::apply(store, &batches).await.expect("the database is there");
    }

    /// So many placed orders, as batches over all partitions.
    fn batches(&mut self, rows: usize) -> Vec<Batch> {
        (0..rows / ORDERS_A_BATCH)
            .map(|number| {
                let index = (number % usize::from(PARTITIONS)) as u16;
                let events = self.events(index, ORDERS_A_BATCH);
                self.batch(index, events)
            })
            .collect()
    }

    fn batch(&mut self, index: u16, events: Vec<Event>) -> Batch {
        let sequence = &mut self.sequences[usize::from(index)];
        *sequence += 1;
        Batch { partition: partition(index), epoch: self.epoch, sequence: Sequence(*sequence), events }
    }

    fn events(&mut self, index: u16, count: usize) -> Vec<Event> {
        (0..count)
            .map(|_| {
                let order = self.order(index, self.epoch);
                Event::Placed { order, key: Some(key(&order)), fingerprint: RequestFingerprint(order.user.get()) }
            })
            .collect()
    }

    fn orders(&mut self, rows: usize, epoch: u32) -> Vec<Order> {
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
            user: UserId::new((self.dice % 1_000_000) as i64 + 1).expect("an id"),
            quantity: Quantity::ONE,
            unit_price: Price::new(1999).expect("a price"),
            currency: "EUR".parse().expect("a currency"),
            status: OrderStatus::Reserved,
            pay_by: Some(at.plus_millis(600_000)),
        }
    }

    fn listing(&self, index: u16) -> Event {
        let terms = Terms {
            name: "Lamp".into(),
            description: String::new(),
            image_url: None,
            price: Price::new(1999).expect("a price"),
            currency: "EUR".parse().expect("a currency"),
            limit_per_user: None,
            hold_seconds: Some(600),
            starts_at: Timestamp::ZERO,
            ends_at: Timestamp::MAX,
        };
        let stock = Stock::fresh(Units::MAX);
        Event::Listed(Box::new(Commodity { id: commodity(index), terms, stock, paused: false, ended_at: None, version: 1 }))
    }
}

fn partition(index: u16) -> PartitionId {
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
async fn bare_connection(database: &TestDatabase, backend: Backend) -> DatabaseConnection {
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

async fn insert_bare(connection: &DatabaseConnection, orders: &[Order]) {
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
            order.user.get().into(),
            (order.quantity.get() as i32).into(),
            order.unit_price.minor().into(),
            order.currency.code().into(),
            order.status.code().into(),
            order.pay_by.map(Timestamp::millis).into(),
            uuid::Uuid::from_bytes(key(order).to_bytes()).into(),
            order.user.get().into(),
            order.id.placed_at().millis().into(),
        ]
    });
    Statement::from_sql_and_values(backend, format!("INSERT INTO orders ({columns}) VALUES {rows}"), values)
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
