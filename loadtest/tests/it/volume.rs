//! Filled databases are what a node would have left, and every measurement on them runs and writes its figures.

use std::path::Path;
use std::process::{Command, Output};

use doorbuster::domain::PartitionId;
use doorbuster::embedded;
use doorbuster::ring::partition_of;
use doorbuster::store::OrderFilter;
use loadtest::ledger::Ledger;
use loadtest::sale::{Desk, Offer};
use loadtest::server::Kind;
use loadtest::tokens::Mint;
use loadtest::volume::{Closing, Fill, Filled, close_listed, fill_folder};
use serde_json::Value;

use crate::{PROGRAM, SECRET, config, launcher};

const FILL: Fill = Fill {
    live: 200,
    commodities: 3,
    over: 60,
    over_commodities: 2,
    partition: None,
    keyed_percent: 50,
    cancelled_percent: 10,
    regular: 20,
};

fn volume(arguments: &[&str]) -> Output {
    let output = Command::new(PROGRAM).arg("volume").args(arguments).output().unwrap();
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {said}{complaint}");
    output
}

/// What a measurement writes about a few orders.
fn figures(what: &str, arguments: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("figures.json");
    volume(&[&[what, "--json", json.to_str().unwrap()], arguments].concat());
    serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap()
}

fn is_spread(spread: &Value, count: u64) -> bool {
    let [median, min, max] = ["median", "min", "max"].map(|field| spread[field].as_u64().unwrap());
    spread["count"] == count && 0 < min && min <= median && median <= max
}

#[tokio::test]
async fn a_filled_file_balances_and_holds_the_orders_that_were_made() {
    let folder = tempfile::tempdir().unwrap();
    let filled = fill_folder(folder.path(), FILL).await.unwrap();
    let ledger = Ledger::open(&config(), folder.path()).await.unwrap();
    ledger.all_balance().await.unwrap();
    ledger.close().await.unwrap();
    let store = embedded::open_existing(&config(), folder.path()).await.unwrap();
    let mut made: Vec<_> = filled.orders().map(|made| made.order).collect();
    made.sort_unstable_by_key(|order| std::cmp::Reverse(order.id));
    let listed = store.orders(&OrderFilter::default(), None, 1_000).await.unwrap();
    assert_eq!(listed.into_iter().map(|named| named.order).collect::<Vec<_>>(), made);
    let regular = OrderFilter { user: Some(Filled::regular().into()), ..OrderFilter::default() };
    assert_eq!((made.len(), store.orders(&regular, None, 1_000).await.unwrap().len()), (260, 20));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_file_is_filled_again_behind_what_is_in_it_and_in_one_partition_if_wanted() {
    let folder = tempfile::tempdir().unwrap();
    fill_folder(folder.path(), FILL).await.unwrap();
    let partition = PartitionId::new(5).unwrap();
    let filled = fill_folder(folder.path(), Fill { partition: Some(partition), ..FILL }).await.unwrap();
    let store = embedded::open_existing(&config(), folder.path()).await.unwrap();
    for place in filled.on_sale().iter().chain(filled.over()) {
        assert_eq!((place.partition, partition_of(place.id, store.partitions())), (partition, partition));
    }
    assert_eq!(store.orders(&OrderFilter::default(), None, 1_000).await.unwrap().len(), 520);
    assert!(store.audit().await.unwrap().iter().all(|row| row.balanced));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_partition_that_is_not_there_and_a_folder_in_use_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let beyond = Fill { partition: Some(PartitionId::new(16).unwrap()), ..FILL };
    assert_eq!(fill_folder(folder.path(), beyond).await.unwrap_err().to_string(), "the database has 16 partitions");
    let kind = Kind::Embedded { data: folder.path().to_owned() };
    let server = launcher().start(&kind, &folder.path().join("log")).await.unwrap();
    assert!(fill_folder(folder.path(), FILL).await.unwrap_err().to_string().contains("in use by process"));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_over_is_closed_by_a_release_that_can_and_what_is_on_sale_sells() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let filled = fill_folder(&data, FILL).await.unwrap();
    let server = launcher().start(&Kind::Embedded { data }, &folder.path().join("log")).await.unwrap();
    let mint = Mint::with_secret(SECRET).unwrap();
    let mut desk = Desk::new(server.target().clone(), &mint).unwrap();
    let closing = close_listed(&mut desk).await.unwrap();
    assert!(matches!(closing, Closing::Closed(2) | Closing::Unable), "{closing:?}");
    let buyers = loadtest::plan::buyers(&mint, 1, 1, false).unwrap();
    desk.buy(filled.on_sale()[0].id, &buyers[0]).await.unwrap();
    desk.open_sale(Offer { stock: 1, limit_per_user: None, hold_seconds: None }).await.unwrap();
    server.stop().await.unwrap();
}

#[test]
fn a_folder_is_filled_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let output = volume(&["seed", "--data", data.to_str().unwrap(), "--live", "200", "--over", "60", "--commodities", "3"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("200 orders of commodities on sale: ") && said.contains("60 orders of commodities whose sale is over"), "{said}");
    assert!(Path::new(&data).join("doorbuster.sqlite").is_file());
}

#[test]
fn a_database_elsewhere_is_not_filled() {
    let output = Command::new(PROGRAM).args(["volume", "seed", "--database", "mysql://root@192.0.2.1/shop"]).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && complaint.contains("loopback"), "{complaint}");
}

#[test]
fn restarts_are_measured_beside_those_of_an_empty_file() {
    let figures = figures("restart", &["--live", "200", "--over", "60", "--rounds", "2", "--sale", "50"]);
    for (side, orders) in [("empty", 0), ("filled", 260)] {
        let side = &figures[side];
        assert!(side["orders"] == orders && is_spread(&side["ready_us"], 2) && is_spread(&side["resident_kib"], 2), "{figures}");
        assert!(side["after_sale"]["peak_kib"].as_u64() > Some(0), "{figures}");
    }
}

#[test]
fn failovers_are_measured_beside_those_of_an_empty_cluster() {
    let figures = figures("failover", &["--live", "200", "--over", "60", "--turns", "1"]);
    for (side, orders) in [("empty", 0), ("filled", 260)] {
        assert!(figures[side]["orders"] == orders && is_spread(&figures[side]["pause_us"], 1), "{figures}");
    }
}

#[test]
fn failovers_are_measured_with_many_commodities_beside_one() {
    let spread = ["--nodes", "3", "--spread", "--commodities", "2500", "--live", "0", "--turns", "1"];
    let figures = figures("failover", &spread);
    for (side, commodities) in [("empty", 1), ("filled", 2_500)] {
        let side = &figures[side];
        assert!(side["commodities"] == commodities && side["start_us"].as_u64() > Some(0) && is_spread(&side["pause_us"], 1), "{figures}");
    }
}

#[test]
fn many_commodities_are_measured_beside_one() {
    let few = ["--commodities", "2500", "--pages", "60", "--rounds", "2", "--seconds", "1", "--connections", "8"];
    let figures = figures("boards", &few);
    for (side, commodities) in [("one", 1), ("many", 2_500)] {
        let side = &figures[side];
        let is_measured = ["per_second", "first_ns", "behind_ns"].iter().all(|what| is_spread(&side[*what], 2));
        assert!(side["commodities"] == commodities && is_measured, "{figures}");
    }
    assert!(is_spread(&figures["ratio_basis_points"], 2), "{figures}");
}

#[test]
fn accepts_are_measured_beside_those_of_an_empty_file() {
    let figures = figures("accepts", &["--live", "200", "--over", "60", "--rounds", "1", "--seconds", "1", "--connections", "8"]);
    for spread in ["empty", "filled", "empty_server_ns", "filled_server_ns", "ratio_basis_points"] {
        assert!(is_spread(&figures[spread], 1), "{figures}");
    }
    assert_eq!(figures["rounds"].as_array().unwrap().len(), 2, "{figures}");
}

fn lists_are_measured(on: &str) {
    let fill = ["--live", "400", "--over", "60", "--commodities", "2", "--own", "130", "--cancelled", "20"];
    let figures = figures("lists", &[&["--on", on, "--repeats", "2"], &fill[..]].concat());
    let pages = figures["pages"].as_array().unwrap();
    for listed in pages {
        assert!(["first_us", "middle_us", "last_us"].iter().all(|page| is_spread(&listed[*page], 2)), "{listed}");
    }
    let orders = |list: &str| pages.iter().find(|listed| listed["list"] == list).map(|listed| listed["orders"].as_u64().unwrap());
    assert_eq!(
        (pages.len(), orders("operators: all"), orders("operators: buyer"), orders("own: all")),
        (40, Some(460), Some(130), Some(130))
    );
    let exports: Vec<_> =
        figures["exports"].as_array().unwrap().iter().map(|export| (export["orders"].as_u64(), &export["is_whole"])).collect();
    assert_eq!(exports, [(Some(460), &true.into()), (Some(200), &true.into())], "{figures}");
}

#[test]
fn lists_are_measured_on_sqlite() {
    lists_are_measured("sqlite");
}

#[test]
fn lists_are_measured_on_mysql() {
    lists_are_measured("mysql");
}
