//! Races against the whole of doorbuster, held against the database.

use std::time::{Duration, Instant};

use loadtest::drain::Follower;
use loadtest::ledger::Ledger;
use loadtest::race::{Own, Race, RaceReport, Track, race};
use loadtest::sale::{Desk, Offer};
use loadtest::server::Kind;
use loadtest::tokens::Mint;

use crate::{SECRET, config, launcher};

const RACE: Race = Race {
    buyers: 400,
    stock: 100,
    quantity: 1,
    connections: 32,
    threads: 2,
    rate: None,
    hold_seconds: None,
    seed: 7,
    retries_max: 0,
    time_limit_seconds: 60,
};

async fn held(settings: &Race) -> RaceReport {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = launcher().start(&Kind::Embedded { data: data.clone() }, &folder.path().join("log")).await.unwrap();
    let track = Track {
        targets: vec![server.target().clone()],
        operators: server.target().clone(),
        mint: Mint::with_secret(SECRET).unwrap(),
        config: config(),
        data,
        own: Own::Server(Box::new(server)),
    };
    race(settings, track).await.unwrap()
}

fn count(report: &RaceReport, status: u16, code: &str) -> u64 {
    report.answers.iter().filter(|count| count.status == status && count.code == code).map(|count| count.count).sum()
}

#[tokio::test]
async fn a_race_sells_the_stock_and_refuses_everyone_else() {
    let report = held(&RACE).await;
    assert_eq!(report.violations, Vec::<String>::new(), "{report}");
    assert_eq!((count(&report, 201, "accepted"), count(&report, 409, "sold_out")), (100, 300), "{report}");
    let after_stop = report.audit_after_stop.unwrap();
    assert_eq!((after_stop.rows, after_stop.counters.available, after_stop.counters.sold), (100, 0, 100));
}

#[tokio::test]
async fn a_race_for_several_units_each_leaves_less_than_one_order() {
    let report = held(&Race { quantity: 3, ..RACE }).await;
    assert_eq!(report.violations, Vec::<String>::new(), "{report}");
    assert_eq!((count(&report, 201, "accepted"), report.audit.counters.available), (33, 1), "{report}");
}

#[tokio::test]
async fn a_paced_race_with_holds_and_keys_holds_the_stock() {
    let report = held(&Race { rate: Some(800), hold_seconds: Some(600), retries_max: 3, ..RACE }).await;
    assert_eq!(report.violations, Vec::<String>::new(), "{report}");
    assert_eq!((report.audit.counters.held, report.audit.counters.sold), (100, 0), "{report}");
    assert!(report.elapsed_seconds >= 399.0 / 800.0, "{report}");
}

#[tokio::test]
async fn fewer_buyers_than_units_leave_the_rest() {
    let report = held(&Race { buyers: 40, ..RACE }).await;
    assert_eq!(report.violations, Vec::<String>::new(), "{report}");
    assert_eq!((count(&report, 201, "accepted"), report.audit.counters.available), (40, 60), "{report}");
}

#[tokio::test]
async fn rows_that_never_come_leave_out_the_drain_and_are_for_the_audit() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = launcher().start(&Kind::Embedded { data: data.clone() }, &folder.path().join("log")).await.unwrap();
    let mut desk = Desk::new(server.target().clone(), &Mint::with_secret(SECRET).unwrap()).unwrap();
    let commodity = desk.open_sale(Offer { stock: 1, limit_per_user: None, hold_seconds: None }).await.unwrap();
    let ledger = Ledger::open(&config(), &data).await.unwrap();
    let drain = Follower::of(&ledger, commodity, 1).level(1, Instant::now(), Duration::from_millis(50)).await.unwrap();
    assert_eq!(drain, None);
}
