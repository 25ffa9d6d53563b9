//! What a year of orders costs: lists, exports and the projection with many rows in the table.
//!
//! `cargo bench --bench volume -- lists|projection|indexes [sqlite|mysql] [--rows N] [--buyers N]`, with the servers and files of
//! `--bench projection`. The rows come through the projection, as in a year. Without arguments: everything, at 200,000 rows.
//!
//! `lists` times the first, a middle and the last page of each list, and an export. `projection` projects in turns into a
//! table without a past and into one with it: new orders of new commodities, of hot old ones, and payments for both. `indexes`
//! does so with the indexes of this release, with those of the release before, and without the one that only lists by status use.

use std::time::{Duration, Instant};

use doorbuster::domain::{CommodityId, OrderId, OrderStatus};
use doorbuster::store::{OrderFilter, Store};

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/support/database.rs"]
mod database;

mod year;

use database::{Backend, TestDatabase};
use year::Year;

const PARTS: [&str; 3] = ["lists", "projection", "indexes"];
const ROWS_DEFAULT: usize = 200_000;
const BUYERS_DEFAULT: u64 = 1_000_000;
const PAGE: u64 = 200;
const EXPORT_STEP: u64 = 2_000;

struct Arguments {
    words: Vec<String>,
    rows: usize,
    buyers: u64,
}

fn main() {
    let arguments = arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let said = |word: &str| arguments.words.iter().any(|argument| argument == word);
    let wants = |word: &str, all: &[&str]| said(word) || !all.iter().any(|word| said(word));
    for (name, backend) in [("sqlite", Backend::Sqlite), ("mysql", Backend::Mysql)] {
        if !wants(name, &["sqlite", "mysql"]) {
            continue;
        }
        if wants("lists", &PARTS) {
            runtime.block_on(lists(name, backend, &arguments));
        }
        if wants("projection", &PARTS) {
            runtime.block_on(projection(name, backend, &arguments));
        }
        if wants("indexes", &PARTS) {
            runtime.block_on(indexes(name, backend, &arguments));
        }
    }
}

fn arguments() -> Arguments {
    let mut arguments = Arguments { words: Vec::new(), rows: ROWS_DEFAULT, buyers: BUYERS_DEFAULT };
    let mut given = std::env::args().skip(1);
    let number = |text: Option<String>| text.and_then(|text| text.replace('_', "").parse().ok()).expect("a number follows");
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--rows" => arguments.rows = number(given.next()) as usize,
            "--buyers" => arguments.buyers = number(given.next()),
            // What cargo says to every bench.
            "--bench" => {}
            _ => arguments.words.push(argument),
        }
    }
    arguments
}

async fn filled(backend: Backend, rows: usize, buyers: u64) -> (TestDatabase, Store, Year) {
    fill(TestDatabase::migrated(backend).await, rows, buyers).await
}

async fn fill(database: TestDatabase, rows: usize, buyers: u64) -> (TestDatabase, Store, Year) {
    let store = database.store().await;
    let mut year = Year::new(buyers);
    let start = Instant::now();
    year.open(&store).await;
    year.fill(&store, rows).await;
    if rows > 0 {
        println!("filled {rows} rows in {:.0} s", start.elapsed().as_secs_f64());
    }
    (database, store, year)
}

async fn lists(name: &str, backend: Backend, arguments: &Arguments) {
    let (_database, store, year) = filled(backend, arguments.rows, arguments.buyers).await;
    let all = OrderFilter::default();
    let buyer = Some(year.a_buyer().into());
    let heavy = Some(year::HEAVY_BUYER.into());
    let commodity = Some(CommodityId::new(3).expect("an id"));
    let newest = Some(year.newest_commodity());
    let paid = Some(OrderStatus::Paid);
    let rare = Some(OrderStatus::RefundDue);
    let from = Some(year.id_at(0.4).placed_at());
    let until = Some(year.id_at(0.6).placed_at());
    let filters = [
        ("all", all.clone()),
        ("window", OrderFilter { placed_from: from, placed_until: until, ..all.clone() }),
        ("status", OrderFilter { status: paid, ..all.clone() }),
        ("rare status", OrderFilter { status: rare, ..all.clone() }),
        ("commodity", OrderFilter { commodity, ..all.clone() }),
        ("new commodity", OrderFilter { commodity: newest, ..all.clone() }),
        ("commodity, status", OrderFilter { commodity, status: paid, ..all.clone() }),
        ("commodity, window", OrderFilter { commodity, placed_from: from, placed_until: until, ..all.clone() }),
        ("buyer", OrderFilter { user: buyer, ..all.clone() }),
        ("buyer, status", OrderFilter { user: buyer, status: paid, ..all.clone() }),
        ("buyer, commodity", OrderFilter { user: buyer, commodity, ..all.clone() }),
        ("heavy buyer", OrderFilter { user: heavy, ..all.clone() }),
        ("heavy buyer, status", OrderFilter { user: heavy, status: paid, ..all.clone() }),
        ("heavy buyer, rare status", OrderFilter { user: heavy, status: rare, ..all.clone() }),
        ("heavy buyer, commodity", OrderFilter { user: heavy, commodity, ..all.clone() }),
        ("heavy buyer, commodity, status", OrderFilter { user: heavy, commodity, status: paid, ..all.clone() }),
        ("heavy buyer, window", OrderFilter { user: heavy, placed_from: from, placed_until: until, ..all.clone() }),
    ];
    println!("{name}: pages of {PAGE} at {} rows, median (and longest) of 9 in ms", arguments.rows);
    for (what, filter) in filters {
        let mut line = format!("{what:<32}");
        for at in [1.0, 0.5, 0.0005] {
            let before = (at < 1.0).then(|| year.id_at(at));
            let (median, longest, found) = page(&store, &filter, before).await;
            line += &format!("{:>8.1} ({:>6.1}) {found:>4} rows", median.as_secs_f64() * 1e3, longest.as_secs_f64() * 1e3);
        }
        println!("{line}");
    }
    for (what, filter) in
        [("all", all.clone()), ("one commodity", OrderFilter { commodity, ..all.clone() }), ("paid", OrderFilter { status: paid, ..all })]
    {
        let start = Instant::now();
        let rows = export(&store, &filter).await;
        println!("{name}: export of {what}: {rows} orders in {:.1} s", start.elapsed().as_secs_f64());
    }
    store.close().await.expect("nothing is under way");
}

async fn page(store: &Store, filter: &OrderFilter, before: Option<OrderId>) -> (Duration, Duration, usize) {
    let (mut taken, mut found) = (Vec::new(), 0);
    for _ in 0..9 {
        let start = Instant::now();
        found = store.orders(filter, before, PAGE).await.expect("the database is there").len();
        taken.push(start.elapsed());
    }
    taken.sort();
    (taken[taken.len() / 2], taken[taken.len() - 1], found)
}

async fn export(store: &Store, filter: &OrderFilter) -> usize {
    let (mut before, mut rows) = (None, 0);
    loop {
        let found = store.orders(filter, before, EXPORT_STEP).await.expect("the database is there");
        rows += found.len();
        if (found.len() as u64) < EXPORT_STEP {
            return rows;
        }
        before = found.last().map(|named| named.order.id);
    }
}

async fn projection(name: &str, backend: Backend, arguments: &Arguments) {
    let arms = vec![
        ("without a past", filled(backend, 0, arguments.buyers).await),
        ("with one", filled(backend, arguments.rows, arguments.buyers).await),
    ];
    in_turns(name, arms, arguments).await;
}

/// What the indexes cost, beside those of the release before.
async fn indexes(name: &str, backend: Backend, arguments: &Arguments) {
    const OF_THIS: [&str; 3] = ["ix_orders_run_user", "ix_orders_commodity_status", "ix_orders_status"];
    let dropped = |index: &&str| format!("DROP INDEX {index}{}", if backend == Backend::Mysql { " ON orders" } else { "" });
    let mut before: Vec<String> = OF_THIS.iter().map(dropped).collect();
    before.push("CREATE UNIQUE INDEX uq_orders_user_commodity_key ON orders (user_id, commodity_id, idempotency_key)".into());
    before.push("CREATE INDEX ix_orders_commodity ON orders (commodity_id, id)".into());
    let without_status = vec![dropped(&OF_THIS[2])];
    let mut arms = Vec::new();
    for (what, changes) in [("of the release before", before), ("of this release", vec![]), ("without that of the status", without_status)]
    {
        let database = TestDatabase::migrated(backend).await;
        for sql in changes {
            database.execute(&sql).await;
        }
        arms.push((what, fill(database, arguments.rows, arguments.buyers).await));
    }
    in_turns(name, arms, arguments).await;
}

async fn in_turns(name: &str, mut arms: Vec<(&str, (TestDatabase, Store, Year))>, arguments: &Arguments) {
    const ROUNDS: usize = 6;
    let rows_a_round = (arguments.rows / 100).clamp(20_000, 100_000);
    let count = arms.len();
    let mut rates = vec![Vec::new(); count];
    for round in 0..ROUNDS {
        for arm in (0..count).map(|arm| (arm + round) % count) {
            let (_, (_, store, year)) = &mut arms[arm];
            // Nobody pays for what the one before left in the memory that all share.
            year.project(store, rows_a_round / 5).await;
            rates[arm].push(rows_a_round as f64 / year.project(store, rows_a_round).await.as_secs_f64());
        }
    }
    println!("{name}: {} rows, rounds of {rows_a_round} orders and as many payments", arguments.rows);
    let first = median(rates[0].clone());
    for ((what, (_, store, _)), rates) in arms.iter().zip(rates) {
        let rate = median(rates.clone());
        println!("{name}: {what:<28}{rate:>8.0} orders/s = {:>3.0} %   {rates:.0?}", 100.0 * rate / first);
        store.clone().close().await.expect("nothing is under way");
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
