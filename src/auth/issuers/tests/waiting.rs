//! Who waits for keys, for how long, and what that costs the issuer. The fetches are the test's.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::auth::issuers::endpoint::Heard;

fn endpoint() -> Endpoint {
    let config = config(&[json!({"jwks_url": "http://127.0.0.1:1/jwks.json"})]);
    Endpoint::new(&config.issuers[0]).expect("nothing is asked yet")
}

/// A fetch that had none of what was asked for.
fn fetch_in_vain(endpoint: &Endpoint) -> usize {
    let ids = endpoint.begin();
    let asked = ids.len();
    endpoint.end(Instant::now(), Some(ids));
    asked
}

#[tokio::test(start_paused = true)]
async fn all_who_ask_are_answered_by_one_fetch_that_began_after_they_asked() {
    let endpoint = endpoint();
    fetch_in_vain(&endpoint);
    let mut early = endpoint.ask(Some("a")).expect("there is room");
    endpoint.begin();
    // The fetch runs: what it brings may be older than this question.
    let mut late = endpoint.ask(Some("b")).expect("there is room");
    endpoint.end(Instant::now(), Some(HashSet::new()));
    assert_eq!(early.hear().await, Heard::Answer(true));
    assert_eq!(late.hear().await, Heard::Earlier);
    assert_eq!(fetch_in_vain(&endpoint), 1);
    assert_eq!(late.hear().await, Heard::Answer(true));
}

#[tokio::test(start_paused = true)]
async fn the_first_fetch_answers_whoever_asks_while_it_runs() {
    let endpoint = endpoint();
    let mut before = endpoint.ask(None).expect("there is room");
    endpoint.begin();
    let mut meanwhile = endpoint.ask(None).expect("there is room");
    endpoint.end(Instant::now(), Some(HashSet::new()));
    assert_eq!((before.hear().await, meanwhile.hear().await), (Heard::Answer(true), Heard::Answer(true)));
}

#[tokio::test(start_paused = true)]
async fn what_an_issuer_does_not_have_is_not_asked_for_again_for_five_seconds() {
    let endpoint = endpoint();
    assert!(endpoint.may_have("a"));
    let waiting = endpoint.ask(Some("a")).expect("there is room");
    fetch_in_vain(&endpoint);
    assert!(!endpoint.may_have("a") && endpoint.may_have("b"));
    drop(waiting);
    tokio::time::advance(Duration::from_secs(5)).await;
    assert!(endpoint.may_have("a"));
    assert!(!endpoint.may_have(&"x".repeat(300)), "no key has such an id");
}

#[tokio::test(start_paused = true)]
async fn who_asks_an_issuer_that_is_away_does_not_wait() {
    let endpoint = endpoint();
    let mut waiting = endpoint.ask(None).expect("there is room");
    endpoint.begin();
    endpoint.end(Instant::now(), None);
    assert_eq!(waiting.hear().await, Heard::Answer(false));
    for id in [None, Some("a")] {
        assert!(endpoint.ask(id).is_err_and(|why| why == Unauthenticated::KeysAway));
    }
    fetch_in_vain(&endpoint);
    assert!(endpoint.ask(Some("a")).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_wait_has_a_bound_and_so_have_those_who_wait() {
    let endpoint = endpoint();
    fetch_in_vain(&endpoint);
    let mut all: Vec<_> = (0..8_192).map(|number| endpoint.ask(Some(&number.to_string())).expect("there is room")).collect();
    assert!(endpoint.ask(Some("one more")).is_err_and(|why| why == Unauthenticated::KeysAway));
    let begun = Instant::now();
    assert_eq!(all[0].hear().await, Heard::Nothing);
    assert!(begun.elapsed() < Duration::from_secs(10));
    drop(all);
    assert!(endpoint.ask(Some("a")).is_err(), "who went away has left the ids behind");
    assert_eq!(fetch_in_vain(&endpoint), 8_192);
    assert!(endpoint.ask(Some("a")).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_fetch_is_due_in_its_turn_or_at_once_for_who_asks_and_that_every_five_seconds() {
    let endpoint = endpoint();
    let begun = Instant::now();
    let turn = begun + endpoint.pause(0);
    assert!(endpoint.due(turn, None).await);
    assert_eq!(begun.elapsed().as_secs(), 60);

    // However lately it was asked in its turn.
    let begun = Instant::now();
    fetch_in_vain(&endpoint);
    let _many: Vec<_> = (0..100).map(|number| endpoint.ask(Some(&number.to_string())).expect("there is room")).collect();
    assert!(!endpoint.due(begun + endpoint.pause(0), None).await);
    assert_eq!(begun.elapsed().as_secs(), 0);
    assert_eq!(fetch_in_vain(&endpoint), 100);

    let _more: Vec<_> = (0..100).map(|number| endpoint.ask(Some(&number.to_string())).expect("there is room")).collect();
    assert!(!endpoint.due(begun + endpoint.pause(0), Some(begun)).await);
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert_eq!(fetch_in_vain(&endpoint), 100);

    let begun = Instant::now();
    assert!(endpoint.due(begun + endpoint.pause(0), Some(begun)).await);
    assert_eq!(begun.elapsed().as_secs(), 60, "they were answered");
}

#[test]
fn pauses_double_up_to_half_a_minute() {
    let endpoint = endpoint();
    let pauses = [0, 1, 2, 3, 4, 5, 6, 7, 40, 70, u32::MAX].map(|failures| endpoint.pause(failures).as_secs());
    assert_eq!(pauses, [60, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30]);
}
