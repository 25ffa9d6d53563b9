//! What the projection costs over bare inserts, and what the embedded log confirms.
//!
//! `cargo bench --bench projection [-- sqlite | mysql]` measures on a file in the temporary folder (`TMPDIR`) and on the
//! server at `DOORBUSTER_TEST_MYSQL_URL`. Both arms put the same rows into the same table, in turns, so that they meet the
//! same disk, the same load and the same size of indexes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use doorbuster::config::Config;
use doorbuster::domain::Order;
use doorbuster::event::Batch;
use doorbuster::ownership::Ownership;
use doorbuster::ownership::embedded::EmbeddedOwnership;
use doorbuster::projection;

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/support/database.rs"]
mod database;

mod world;

use database::{Backend, TestDatabase};
use world::{PARTITIONS, World, bare_connection, insert_bare, median, partition};

const ROWS_A_ROUND: usize = 20_000;
const ROUNDS: usize = 9;

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
            let load = doorbuster::store::Load { now: doorbuster::clock::system(), with_live_orders: false };
            let snapshot = store.snapshot(partition, load).await.expect("the database is there");
            loaded += snapshot.commodities.iter().map(|known| known.buyers.len()).sum::<usize>();
        }
        println!("{name}: load of {loaded} buyers at a claim: {:>9.0} buyers/s", loaded as f64 / start.elapsed().as_secs_f64());
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
    let ownership = Arc::new(EmbeddedOwnership::start(store.clone(), "bench".into(), &settings, doorbuster::clock::system));
    let start = Instant::now();
    let tasks: Vec<_> = (0..PARTITIONS)
        .map(|index| {
            let ownership = Arc::clone(&ownership);
            tokio::spawn(async move {
                let partition = partition(index);
                let claim = ownership.claim(partition).await.expect("nobody else is there");
                let mut world = World::of(claim.epoch);
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
