//! Volleys against the bare endpoint: every request is sent once, counted once, and ends within a bound.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use loadtest::client::{Shape, TransportError};
use loadtest::loopback::Target;
use loadtest::plan::{self, Pace};
use loadtest::server::Kind;
use loadtest::tally::Tally;
use loadtest::tokens::Mint;
use loadtest::volley::{Amount, Progress, Volley, fire};

use crate::{SECRET, launcher};

fn volley(target: Target, buyers: usize) -> Volley {
    Volley {
        targets: vec![target],
        connections: 8,
        threads: 2,
        shape: Shape::post("/v1/commodities/1/orders", Bytes::from_static(br#"{"quantity":1}"#)),
        buyers: plan::buyers(&Mint::with_secret(SECRET).unwrap(), buyers, 1, false).unwrap(),
        amount: Amount::EachBuyerOnce,
        pace: None,
        sparing: None,
        retries_max: 0,
        request_timeout: Duration::from_secs(10),
        time_limit: Duration::from_secs(30),
    }
}

async fn fired(volley: Volley) -> Tally {
    fire(volley, Arc::new(Progress::default())).await.unwrap()
}

#[tokio::test]
async fn each_buyer_asks_once_and_is_answered_in_their_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let server = launcher().start(&Kind::Bare, &folder.path().join("log")).await.unwrap();
    let volley = volley(server.target().clone(), 200);
    let buyers = Arc::clone(&volley.buyers);
    let tally = fired(volley).await;
    assert_eq!((tally.with_code("accepted"), tally.answered(), tally.unanswered()), (200, 200, 0));
    let mut asked: Vec<usize> = tally.shots.iter().map(|shot| shot.buyer).collect();
    asked.sort_unstable();
    assert_eq!(asked, (0..200).collect::<Vec<_>>());
    let told = loadtest::audit::Told::by(&tally.shots, &buyers);
    assert_eq!((told.accepted.len(), told.misdirected.len()), (200, 0));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_open_loop_keeps_its_pace() {
    let folder = tempfile::tempdir().unwrap();
    let server = launcher().start(&Kind::Bare, &folder.path().join("log")).await.unwrap();
    let paced = Volley { pace: Some(Pace::new(500)), ..volley(server.target().clone(), 250) };
    let tally = fired(paced).await;
    assert_eq!(tally.with_code("accepted"), 250);
    assert!(tally.elapsed() >= Duration::from_millis(498), "250 requests at 500/s took only {:?}", tally.elapsed());
}

#[tokio::test]
async fn a_buyer_with_a_token_of_another_key_is_not_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let server = launcher().start(&Kind::Bare, &folder.path().join("log")).await.unwrap();
    let mut volley = volley(server.target().clone(), 3);
    volley.buyers = plan::buyers(&Mint::with_secret("another key, as long as the right one").unwrap(), 3, 1, false).unwrap();
    let tally = fired(volley).await;
    assert_eq!((tally.with_code("accepted"), tally.answered()), (0, 3));
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_is_given_up_within_the_bound() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::new(silent.local_addr().unwrap()).unwrap();
    let impatient = Volley { request_timeout: Duration::from_millis(200), connections: 4, ..volley(target, 4) };
    let began = Instant::now();
    let tally = fired(impatient).await;
    assert_eq!(tally.transport.get(&TransportError::TimedOut), Some(&4));
    assert!(tally.shots.iter().all(|shot| shot.in_doubt));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_server_that_is_not_there_leaves_no_doubt() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let tally = fired(Volley { retries_max: 1, ..volley(Target::new(gone).unwrap(), 4) }).await;
    assert_eq!((tally.transport.get(&TransportError::Connect), tally.retries), (Some(&4), 4));
    assert!(tally.shots.iter().all(|shot| !shot.in_doubt));
}

#[tokio::test]
async fn a_volley_that_nobody_waits_for_sends_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let server = launcher().start(&Kind::Bare, &folder.path().join("log")).await.unwrap();
    // Closed and open loop: either would go on for hours.
    for pace in [None, Some(Pace::new(50))] {
        let progress = Arc::new(Progress::with_milestone(5));
        let endless = Amount::For(Duration::from_secs(36_000));
        let time_limit = Duration::from_secs(36_000);
        let volley = Volley { pace, amount: endless, time_limit, ..volley(server.target().clone(), 200) };
        tokio::select! {
            tally = fire(volley, Arc::clone(&progress)) => panic!("over: {tally:?}"),
            () = progress.reached() => {}
        }
        // Its threads hold the progress for as long as they send.
        let mut pause = tokio::time::interval(Duration::from_millis(10));
        while Arc::strong_count(&progress) > 1 {
            pause.tick().await;
        }
    }
    server.stop().await.unwrap();
}
