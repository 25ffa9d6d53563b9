//! Whatever is done to a cluster in the middle of a sale: accepted means sold, and nothing is left over.

use loadtest::chaos::{Chaos, ChaosReport, Scenario, TurnReport, chaos};
use loadtest::tokens::Mint;

use crate::{SECRET, launcher};

async fn survived(scenario: Scenario, times: u32) -> ChaosReport {
    inflicted(scenario, times).await.unwrap()
}

async fn inflicted(scenario: Scenario, times: u32) -> anyhow::Result<ChaosReport> {
    // A new seed each time looks at new moments; a seed that fails is printed and can be given again.
    let seed = std::env::var("DOORBUSTER_TEST_SEED").map_or_else(|_| rand::random::<u32>().into(), |seed| seed.parse().unwrap());
    println!("seed {seed} (DOORBUSTER_TEST_SEED={seed} repeats it)");
    let plan = Chaos { scenario, times, seed, stock: 300, buyers: 400, rate: 300, connections: 32 };
    let folder = tempfile::tempdir().unwrap();
    let mint = Mint::with_secret(SECRET).unwrap();
    chaos(&plan, &launcher(), mint, folder.path(), |line| println!("{line}")).await
}

#[tokio::test]
async fn the_only_spike_is_killed_and_what_it_accepted_is_sold_exactly_once() {
    let report = survived(Scenario::SpikeKilled, 3).await;
    // Kills nobody noticed would have proved nothing.
    assert!(report.turns.len() == 3 && report.sum(|turn| turn.retries + turn.in_doubt) > 0, "{report}");
}

#[tokio::test]
async fn the_owner_is_killed_and_its_commodity_sells_again_from_another_node() {
    let report = survived(Scenario::OwnerKilled, 3).await;
    assert!(report.turns.len() == 3 && report.turns.iter().all(|turn| turn.pause_us.is_some_and(|pause| pause > 0)), "{report}");
}

#[tokio::test]
async fn the_consumers_are_killed_and_no_buyer_notices() {
    let report = survived(Scenario::ConsumerKilled, 3).await;
    assert_eq!((report.turns.len(), report.sum(|turn| turn.retries)), (3, 0), "{report}");
}

#[tokio::test]
async fn a_consumer_is_killed_inside_its_transaction_and_another_applies_it_once() {
    let report = survived(Scenario::ConsumerKilledInTransaction, 2).await;
    let written = |turn: &TurnReport| turn.figures["rows written in the open transaction"] > 0;
    assert!(report.turns.len() == 2 && report.turns.iter().all(written), "{report}");
}

#[tokio::test]
async fn the_broker_is_restarted_and_what_it_confirmed_is_sold_exactly_once() {
    let report = survived(Scenario::BrokerRestarted, 1).await;
    assert!(report.sum(|turn| turn.retries + turn.in_doubt) > 0, "{report}");
}

#[tokio::test]
async fn the_broker_is_killed_and_what_it_confirmed_is_sold_exactly_once() {
    let report = survived(Scenario::BrokerKilled, 1).await;
    assert!(report.sum(|turn| turn.retries + turn.in_doubt) > 0, "{report}");
}

#[tokio::test]
async fn the_database_is_away_for_twenty_seconds_and_selling_goes_on() {
    let report = survived(Scenario::DatabaseAway, 1).await;
    let turn = &report.turns[0];
    assert!(turn.gone_ms >= 20_000 && turn.accepted_while_gone > 0 && turn.retries == 0, "{report}");
}

#[tokio::test]
async fn the_connection_to_the_broker_is_reset_at_every_step_of_a_publish() {
    let report = survived(Scenario::ConnectionReset, 6).await;
    for step in ["before a publish", "inside a publish", "after a publish", "before its confirm", "inside its confirm", "after its confirm"]
    {
        let step = format!("resets {step}");
        assert_eq!(report.sum(|turn| turn.figures.get(step.as_str()).copied().unwrap_or(0)), 1, "{step}: {report}");
    }
    // A batch whose confirm was kept back is in the log: whoever was told "pending" has bought.
    let kept_back = report.turns.iter().filter(|turn| turn.figures.contains_key("resets before its confirm"));
    assert!(kept_back.map(|turn| turn.in_doubt_orders).sum::<u64>() > 0, "{report}");
}

#[tokio::test]
async fn every_message_comes_twice_and_counts_once() {
    let report = survived(Scenario::MessagesDoubled, 1).await;
    let turn = &report.turns[0];
    assert!(turn.figures["batches that came again, skipped"] >= turn.figures["batches applied"], "{report}");
}

#[tokio::test]
async fn the_broker_raises_an_alarm_and_everyone_is_refused_until_it_is_over() {
    let report = survived(Scenario::BrokerAlarm, 1).await;
    assert!(report.turns[0].figures["refused with 503 while the alarm lasted, of one buyer"] > 0, "{report}");
}

#[tokio::test]
async fn a_row_that_is_lost_is_found_missing() {
    let error = inflicted(Scenario::RowLost, 1).await.unwrap_err();
    let words = format!("{error:#}");
    assert!(words.contains("missing: 1") && words.contains("repeats it"), "{words}");
}
