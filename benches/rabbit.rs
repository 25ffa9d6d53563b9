//! What RabbitMQ confirms, and how fast a consumer brings a full log into the tables compared with bare inserts.
//!
//! `cargo bench --bench rabbit [-- append | drain]` uses the broker at `AMQP_URL` and the server at `DOORBUSTER_TEST_MYSQL_URL`. The two arms of
//! the second part put the same rows into the same table, in turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use doorbuster::clock;
use doorbuster::config::Config;
use doorbuster::consumer::{Consumer, Status};
use doorbuster::domain::{Epoch, Order, Sequence};
use doorbuster::ownership::{Claim, ClusterOwnership, Ownership};
use doorbuster::store::Store;
use futures_util::future::join_all;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/support/database.rs"]
mod database;
#[expect(dead_code, reason = "the other bench uses more of it")]
mod world;

use database::{Backend, TestDatabase};
use world::{ORDERS_A_BATCH, PARTITIONS, World, bare_connection, insert_bare, median, partition};

const APPEND_FOR: Duration = Duration::from_secs(4);
const ROWS_A_ROUND: usize = 96_000;
const ROWS_A_COMMIT: usize = 5_000;
const ROUNDS: usize = 5;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
        let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|word| word == part);
        if is_wanted("append") {
            let bench = Bench::start("append").await;
            bench.appends().await;
            bench.clean().await;
        }
        if is_wanted("drain") {
            let bench = Bench::start("drain").await;
            bench.drains().await;
            bench.clean().await;
        }
    });
}

struct Bench {
    database: TestDatabase,
    store: Store,
    config: Config,
}

/// A consumer that runs, and how to stop it.
struct Running {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("the consumer ends");
    }
}

impl Bench {
    async fn start(part: &str) -> Self {
        let database = TestDatabase::migrated(Backend::Mysql).await;
        let mut config = Config::load(None).expect("the defaults are good");
        let url = std::env::var("AMQP_URL").unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".into());
        config.broker.url = Some(url.into());
        config.broker.prefix = format!("doorbuster-bench-{part}-{}", std::process::id());
        Self { store: database.store().await, database, config }
    }

    fn consumer(&self) -> Running {
        let stop = CancellationToken::new();
        let consumer = Consumer::new(&self.config, self.store.clone(), clock::system, Arc::new(Status::default())).expect("a URL");
        Running { task: tokio::spawn(consumer.run(stop.clone())), stop }
    }

    /// A node that owns every partition and has listed one commodity in each.
    async fn node(&self, worlds: &mut [World]) -> (ClusterOwnership, Vec<Claim>) {
        let node = ClusterOwnership::start(&self.config, self.store.clone(), clock::system).expect("a URL");
        let claims = join_all((0..PARTITIONS).map(|index| node.claim(partition(index)))).await;
        let claims: Vec<Claim> = claims.into_iter().map(|claim| claim.expect("nobody else is there")).collect();
        for (index, (claim, world)) in (0..PARTITIONS).zip(claims.iter().zip(worlds.iter_mut())) {
            *world = World::of(claim.epoch);
            if claim.epoch.get() == 1 {
                let listing = world.listing(index);
                claim.log.append(world.batch(index, vec![listing])).await.expect("confirmed");
            }
        }
        (node, claims)
    }

    async fn appends(&self) {
        let mut worlds: Vec<World> = (0..PARTITIONS).map(|_| World::default()).collect();
        let consumer = self.consumer();
        let (node, claims) = self.node(&mut worlds).await;
        consumer.stop().await;
        for partitions in [1, usize::from(PARTITIONS)] {
            for orders in [1, 100, 1000] {
                let begun = Instant::now();
                let appending = claims.iter().zip(worlds.iter_mut()).enumerate().take(partitions).map(async |(index, (claim, world))| {
                    let mut waits = Vec::new();
                    while begun.elapsed() < APPEND_FOR {
                        let events = world.events(index as u16, orders);
                        let batch = world.batch(index as u16, events);
                        let sent = Instant::now();
                        claim.log.append(batch).await.expect("confirmed");
                        waits.push(sent.elapsed().as_secs_f64());
                    }
                    waits
                });
                let mut waits: Vec<f64> = join_all(appending).await.concat();
                waits.sort_by(f64::total_cmp);
                let (rate, at) =
                    (waits.len() as f64 / begun.elapsed().as_secs_f64(), |q: f64| waits[(waits.len() as f64 * q) as usize] * 1e3);
                println!(
                    "append: {partitions:>2} partitions, {orders:>4} orders a batch: {rate:>7.0} batches/s, {:>9.0} orders/s confirmed; confirm p50 {:.2} ms, p99 {:.2} ms",
                    rate * orders as f64,
                    at(0.5),
                    at(0.99)
                );
            }
        }
        node.stop().await;
    }

    /// Runs a consumer until each partition is where its log ends; says how long that took from the first commit on.
    async fn drained(&self, ends: &[(Epoch, Sequence)]) -> Duration {
        let rows = async || self.store.partition_rows().await.expect("the database is there");
        let before = rows().await;
        // So seldom that looking takes nothing from what is looked at, and so often that a drain of a second is known to a hundredth.
        let mut look = tokio::time::interval(Duration::from_millis(10));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let consumer = self.consumer();
        while rows().await == before {
            look.tick().await;
        }
        let begun = Instant::now();
        while !rows().await.iter().zip(ends).all(|(row, end)| row.applied == *end) {
            look.tick().await;
        }
        let took = begun.elapsed();
        consumer.stop().await;
        took
    }

    async fn drains(&self) {
        let bare = bare_connection(&self.database, Backend::Mysql).await;
        let mut spare = World::default();
        let (mut bare_rates, mut drain_rates) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            for arm in [round % 2, (round + 1) % 2] {
                if arm == 0 {
                    let rows: Vec<Vec<Order>> = (0..ROWS_A_ROUND / ROWS_A_COMMIT).map(|_| spare.orders(ROWS_A_COMMIT, 1_000)).collect();
                    let begun = Instant::now();
                    for rows in &rows {
                        insert_bare(&bare, rows).await;
                    }
                    bare_rates.push(rows.len() as f64 * ROWS_A_COMMIT as f64 / begun.elapsed().as_secs_f64());
                } else {
                    let mut worlds: Vec<World> = (0..PARTITIONS).map(|_| World::default()).collect();
                    let consumer = self.consumer();
                    let (node, claims) = self.node(&mut worlds).await;
                    consumer.stop().await;
                    let batches = ROWS_A_ROUND / ORDERS_A_BATCH / usize::from(PARTITIONS);
                    let ends = join_all(claims.iter().zip(worlds.iter_mut()).enumerate().map(async |(index, (claim, world))| {
                        let mut end = Sequence::FENCE;
                        for _ in 0..batches {
                            let events = world.events(index as u16, ORDERS_A_BATCH);
                            let batch = world.batch(index as u16, events);
                            end = batch.sequence;
                            claim.log.append(batch).await.expect("confirmed");
                        }
                        (claim.epoch, end)
                    }))
                    .await;
                    node.stop().await;
                    drain_rates.push(ROWS_A_ROUND as f64 / self.drained(&ends).await.as_secs_f64());
                }
            }
        }
        let (bare, drain) = (median(bare_rates), median(drain_rates));
        println!("drain: bare inserts {bare:.0} rows/s, consumer {drain:.0} rows/s = {:.0} %", 100.0 * drain / bare);
        assert!(
            self.store.audit().await.expect("the database is there").iter().all(|row| row.total == row.available + row.held + row.sold)
        );
    }

    async fn clean(self) {
        use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
        use secrecy::ExposeSecret;
        let url = self.config.broker.url.as_ref().expect("it was set").expose_secret().to_owned();
        let connection = lapin::Connection::connect(&url, lapin::ConnectionProperties::default()).await.expect("the broker is there");
        let channel = connection.create_channel().await.expect("a channel");
        let prefix = &self.config.broker.prefix;
        let logs = (0..PARTITIONS).map(|index| format!("{prefix}.partition.{index}.log"));
        for queue in logs.chain([format!("{prefix}.dead")]) {
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.expect("it is deleted");
        }
        channel.exchange_delete(prefix.as_str().into(), ExchangeDeleteOptions::default()).await.expect("it is deleted");
        self.store.close().await.expect("nothing is under way");
    }
}
