//! How fast one engine decides with a million distinct buyers, and what it remembers of each. One core, no I/O.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use doorbuster::domain::{
    CommodityId, Epoch, IdempotencyKey, PartitionId, Price, Quantity, RequestFingerprint, Sequence, Terms, Timestamp, Units, UserId,
};
use doorbuster::engine::{Answer, BuyerUnits, Command, Engine, KnownCommodity, Place, Refusal, Snapshot};
use doorbuster::event::{Event, LogVersion};

const BUYERS: i64 = 1_000_000;

/// Commands whose events are gathered into one batch of the log.
const BATCH: usize = 1024;

/// Within the window of the sale.
const NOW: Timestamp = Timestamp::ZERO;

fn commodity() -> CommodityId {
    CommodityId::new(1).unwrap()
}

fn begun(snapshot: Snapshot) -> Engine {
    Engine::restore(PartitionId::new(3).unwrap(), Epoch::new(1).unwrap(), snapshot, LogVersion::NEWEST).unwrap()
}

/// An engine with one commodity on sale, one unit a buyer.
fn engine(total: i64, hold_seconds: Option<u32>) -> Engine {
    let terms = Terms {
        name: "Lamp".into(),
        description: String::new(),
        image_url: None,
        price: Price::new(1_999).unwrap(),
        currency: "EUR".parse().unwrap(),
        limit_per_user: Some(1),
        hold_seconds,
        starts_at: NOW,
        ends_at: Timestamp::MAX,
    };
    let mut engine = begun(Snapshot::default());
    let list = Command::List { commodity: commodity(), terms: Box::new(terms), total: Units::new(total).unwrap() };
    engine.apply(NOW, list, &mut Vec::new()).unwrap();
    engine
}

/// One order of each of a million buyers from `first` on, whose ids lie scattered as those of real buyers do.
fn places(first: i64, keyed: bool) -> Vec<Place> {
    let place = |index: i64| {
        let scattered = (index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 1;
        let user = UserId::new(scattered.max(1) as i64).unwrap().into();
        let key = keyed.then(|| IdempotencyKey::from_text(&format!("order-{index}")).unwrap());
        Place {
            commodity: commodity(),
            user,
            quantity: Quantity::ONE,
            key,
            fingerprint: RequestFingerprint::of(Quantity::ONE, None),
            unit_price: None,
        }
    };
    (first..first + BUYERS).map(place).collect()
}

/// Whether the tables have a batch, and it is forgotten, as soon as it is decided.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tables {
    AtOnce,
    Never,
}

fn place_all(engine: &mut Engine, places: &[Place], tables: Tables, events: &mut Vec<Event>) {
    for (sequence, batch) in (1..).zip(places.chunks(BATCH)) {
        events.clear();
        engine.gather_into(Sequence(sequence));
        for place in batch {
            let outcome = engine.apply(NOW, Command::Place(place.clone()), events);
            assert!(matches!(black_box(outcome), Ok(Answer::Placed(_))));
        }
        if tables == Tables::AtOnce {
            engine.forget(Sequence(sequence), BATCH);
        }
    }
}

fn refuse_all(engine: &mut Engine, places: &[Place], events: &mut Vec<Event>) {
    for place in places {
        let outcome = engine.apply(NOW, Command::Place(place.clone()), events);
        assert_eq!(black_box(outcome), Err(Refusal::SoldOut));
    }
}

fn expire_all(engine: &mut Engine, events: &mut Vec<Event>) {
    while engine.next_expiry().is_some() {
        events.clear();
        engine.apply(Timestamp::MAX, Command::Expire { at_most: BATCH }, events).unwrap();
    }
}

fn sold_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sold_out");
    group.throughput(Throughput::Elements(BUYERS as u64)).sample_size(10).measurement_time(Duration::from_secs(2));
    group.warm_up_time(Duration::from_millis(500));
    for (name, keyed) in [("unkeyed", false), ("keyed", true)] {
        // A million buyers have it all; the next million is refused.
        let mut engine = engine(BUYERS, None);
        let mut events = Vec::new();
        place_all(&mut engine, &places(1, true), Tables::AtOnce, &mut events);
        let late = places(1 + BUYERS, keyed);
        group.bench_function(name, |bencher| bencher.iter(|| refuse_all(&mut engine, &late, &mut events)));
    }
    group.finish();
}

fn placements(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("placements");
    group.throughput(Throughput::Elements(BUYERS as u64)).sample_size(10).measurement_time(Duration::from_secs(5));
    group.warm_up_time(Duration::from_millis(500));
    for (name, keyed, hold_seconds, tables) in [
        ("unkeyed_confirmed", false, None, Tables::Never),
        ("unkeyed_confirmed_and_forgotten", false, None, Tables::AtOnce),
        ("keyed_reserved", true, Some(900), Tables::Never),
    ] {
        let places = places(1, keyed);
        let mut events = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || engine(BUYERS, hold_seconds),
                |engine| place_all(engine, &places, tables, &mut events),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn expiries(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("expiries");
    group.throughput(Throughput::Elements(BUYERS as u64)).sample_size(10).measurement_time(Duration::from_secs(5));
    group.warm_up_time(Duration::from_millis(500));
    let places = places(1, true);
    let mut events = Vec::new();
    let reserved = || {
        let mut engine = engine(BUYERS, Some(900));
        place_all(&mut engine, &places, Tables::Never, &mut Vec::new());
        engine
    };
    group.bench_function("keyed_reserved", |bencher| {
        bencher.iter_batched_ref(reserved, |engine| expire_all(engine, &mut events), BatchSize::PerIteration)
    });
    group.finish();
}

/// A commodity sold to a million buyers, as a claim finds it.
fn sold_to_all() -> Snapshot {
    let mut lister = engine(BUYERS, None);
    place_all(&mut lister, &places(1, false), Tables::AtOnce, &mut Vec::new());
    let commodity = lister.commodity(commodity()).unwrap().clone();
    let buyers = places(1, false).iter().map(|place| BuyerUnits { user: place.user.key(), units: 1 }).collect();
    Snapshot { commodities: vec![KnownCommodity { buyers, ..KnownCommodity::fresh(commodity) }], ..Snapshot::default() }
}

fn restores(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("restores");
    group.throughput(Throughput::Elements(BUYERS as u64)).sample_size(10).measurement_time(Duration::from_secs(2));
    group.warm_up_time(Duration::from_millis(500));
    let snapshot = sold_to_all();
    group.bench_function("sold", |bencher| bencher.iter_batched(|| snapshot.clone(), begun, BatchSize::PerIteration));
    group.finish();
}

/// Prints what an order costs: as the engine counts its own allocations, and as the process grew.
fn memory(_: &mut Criterion) {
    for (name, keyed, hold_seconds, tables) in [
        ("sold and forgotten, without a key", false, None, Tables::AtOnce),
        ("sold and forgotten, with a key", true, None, Tables::AtOnce),
        ("sold and not in the tables, without a key", false, None, Tables::Never),
        ("reserved, with a key", true, Some(900), Tables::AtOnce),
    ] {
        let places = places(1, keyed);
        let mut events = Vec::with_capacity(BATCH);
        let before = resident_bytes();
        let mut engine = engine(BUYERS, hold_seconds);
        place_all(&mut engine, &places, tables, &mut events);
        let counted = engine.memory_bytes() as f64 / BUYERS as f64;
        let grown = resident_bytes().zip(before).map(|(after, before)| (after - before) / BUYERS as f64);
        let grown = grown.map_or_else(|| "unknown".to_owned(), |bytes| format!("{bytes:.0}"));
        println!("bytes per order ({name}; one order a buyer): {counted:.0} allocated, {grown} resident");
    }
}

/// Bytes of this process in memory, where the system tells (Linux).
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kibibytes * 1024.0)
}

criterion_group!(benches, memory, sold_out, placements, expiries, restores);
criterion_main!(benches);
