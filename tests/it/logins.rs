//! How often passwords may be tried: budgets that hold over nodes and under load, and never keep an owner out.

use std::collections::BTreeMap;

use doorbuster::store::Budget;
use rstest::rstest;

use crate::support::accounts::{Admins, Door, PASSWORD};
use crate::support::app::TestApp;
use crate::support::{Backend, TestDatabase, at};

const WRONG: &str = "not her password";
const HOME: &str = "192.0.2.1";

async fn app(logins: u32, strangers: u32, pair: u32) -> TestApp {
    TestApp::start_with(Backend::Sqlite, |config| {
        config.limits.enabled = true;
        config.limits.logins_per_minute = logins;
        config.limits.logins_per_account_per_minute = strangers;
        config.limits.logins_per_account_and_address_per_minute = pair;
        config.http.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_guesses_from_everywhere_does_not_keep_the_owner_out() {
    let app = app(100, 2, 4).await;
    let door = Door::of(&app);
    door.register("alice").await;
    assert_eq!(door.login_from(HOME, "alice", PASSWORD).await.status.as_u16(), 200);
    let mut answers = BTreeMap::<u16, u32>::new();
    for number in 0..30 {
        *answers.entry(door.login_from(&format!("203.0.113.{number}"), "alice", WRONG).await.status.as_u16()).or_default() += 1;
    }
    // One of the strangers' two was the owner's, when the address was strange. (One comes back every half a minute.)
    assert!(answers[&401] <= 3 && answers[&429] >= 27, "{answers:?}");
    assert_eq!(door.login_from("203.0.113.200", "alice", PASSWORD).await.refusal(), (429, "rate_limited"));
    for _ in 0..2 {
        assert_eq!(door.login_from(HOME, "alice", PASSWORD).await.status.as_u16(), 200, "the owner's address has a budget of its own");
    }
    // It is a budget: whoever shares the address with the owner does not guess for ever either.
    let mut guesses = 0;
    while door.login_from(HOME, "alice", WRONG).await.refusal() == (401, "invalid_credentials") {
        guesses += 1;
        assert!(guesses < 20, "nobody stops this");
    }
    assert_eq!(door.login_from(HOME, "alice", PASSWORD).await.refusal(), (429, "rate_limited"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_uses_up_its_own_budget_and_nobody_elses() {
    let app = app(100, 10, 2).await;
    let door = Door::of(&app);
    door.register("alice").await;
    for attempt in 0..5 {
        let expected = if attempt < 2 { (401, "invalid_credentials") } else { (429, "rate_limited") };
        assert_eq!(door.login_from("203.0.113.1", "alice", WRONG).await.refusal(), expected);
    }
    assert_eq!(door.login_from("203.0.113.2", "alice", PASSWORD).await.status.as_u16(), 200, "the owner at an address that is new");
    assert_eq!(door.login_from("203.0.113.1", "bob", PASSWORD).await.refusal(), (401, "invalid_credentials"), "another account");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_nobody_has_is_answered_and_limited_like_others() {
    let app = app(100, 3, 100).await;
    let door = Door::of(&app);
    door.register("alice").await;
    let answers = async |name: &str| {
        let mut answers = Vec::new();
        for number in 0..6 {
            let answer = door.login_from(&format!("203.0.113.{number}"), name, WRONG).await;
            answers.push((answer.status.as_u16(), answer.body["detail"].clone(), answer.headers.get("retry-after").is_some()));
        }
        answers
    };
    assert_eq!(answers("alice").await, answers("nobody").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stolen_token_does_not_help_to_guess_the_password() {
    let app = app(100, 3, 2).await;
    let door = Door::of(&app);
    door.register("alice").await;
    let token = door.token("alice", PASSWORD).await;
    assert_eq!(door.change_password(&token, WRONG, "a new password").await.refusal(), (401, "invalid_credentials"));
    assert_eq!(door.change_password(&token, WRONG, "a new password").await.refusal(), (429, "rate_limited"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budgets_do_not_grow_with_the_number_of_nodes() {
    let admins = Admins::start(3, |config| {
        config.limits.enabled = true;
        config.limits.logins_per_minute = 50;
        config.limits.logins_per_account_per_minute = 2;
        config.limits.logins_per_account_and_address_per_minute = 2;
        config.http.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    })
    .await;
    admins.account("alice").await;
    let doors = [0, 1, 2].map(|index| admins.door(index));
    let mut let_in = BTreeMap::<u8, u32>::new();
    for attempt in 0..36_u8 {
        let (address, door) = (attempt / 9, &doors[usize::from(attempt % 3)]);
        let answer = door.login_from(&format!("203.0.113.{address}"), "alice", WRONG).await;
        *let_in.entry(address).or_default() += u32::from(answer.refusal() == (401, "invalid_credentials"));
        assert!([401, 429].contains(&answer.status.as_u16()), "{:?}", answer.body);
    }
    // Two of all strangers. (One comes back every half a minute.)
    assert!(let_in.values().all(|attempts| *attempts <= 2) && (2..=3).contains(&let_in.values().sum::<u32>()), "{let_in:?}");
    assert_eq!(doors[2].login_from("198.51.100.1", "bob", WRONG).await.refusal(), (401, "invalid_credentials"));
    // One that is known at one node is known at the others.
    admins.account("carol").await;
    assert_eq!(doors[0].login_from(HOME, "carol", PASSWORD).await.status.as_u16(), 200);
    for number in 0..9 {
        doors[number % 3].login_from(&format!("203.0.113.{}", 100 + number), "carol", WRONG).await;
    }
    assert_eq!(doors[1].login_from("203.0.113.200", "carol", PASSWORD).await.refusal(), (429, "rate_limited"));
    assert_eq!(doors[1].login_from(HOME, "carol", PASSWORD).await.status.as_u16(), 200);
    let mut more = 0;
    while doors[2].login_from(HOME, "carol", PASSWORD).await.status.as_u16() == 200 {
        more += 1;
        assert!(more < 10, "what this address has is not shared");
    }
    admins.stop().await;
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn of_attempts_at_once_as_many_pass_as_the_budget_has(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    // So slow that nothing is added while the test runs.
    let budget = Budget { burst: 5, step_ms: 600_000 };
    let outcomes = futures_util::future::join_all((0..20).map(|_| store.take_attempt(u64::MAX, budget))).await;
    let waits: Vec<u64> = outcomes.into_iter().filter_map(|outcome| outcome.expect("the database answers")).collect();
    assert_eq!(waits.len(), 15);
    assert!(waits.iter().all(|wait| (1..=600_000).contains(wait)), "{waits:?}");
    assert_eq!(store.take_attempt(7, budget).await.expect("the database answers"), None, "another budget");
    // One that fills up at once passes always, and is forgotten when it is full.
    let quick = Budget { burst: 1, step_ms: 1 };
    assert_eq!(store.take_attempt(8, quick).await.expect("the database answers"), None);
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    store.forget_logins(at(0)).await.expect("the database answers");
    assert_eq!(database.number("SELECT COUNT(*) FROM login_budgets").await, 2);
    // However many there are.
    for from in (1_000..6_000).step_by(500) {
        let rows: Vec<String> = (from..from + 500).map(|id| format!("({id}, {id})")).collect();
        database.execute(&format!("INSERT INTO login_budgets (id, full_at) VALUES {}", rows.join(", "))).await;
    }
    store.forget_logins(at(0)).await.expect("the database answers");
    assert_eq!(database.number("SELECT COUNT(*) FROM login_budgets").await, 2);
    store.close().await.expect("nothing is under way");
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn of_one_name_the_last_addresses_are_remembered_for_a_while(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    for address in 1..=20 {
        store.note_login(7, address, at(address as i64)).await.expect("the database answers");
    }
    store.note_login(8, 1, at(1)).await.expect("the database answers");
    store.note_login(7, 20, at(50)).await.expect("the database answers");
    assert_eq!(store.login_seen_at(7, 20).await.expect("the database answers"), Some(at(50).millis()));
    assert_eq!(store.login_seen_at(7, 5).await.expect("the database answers"), Some(at(5).millis()));
    assert_eq!(store.login_seen_at(7, 4).await.expect("the database answers"), None, "the seventeenth");
    assert_eq!(store.login_seen_at(8, 1).await.expect("the database answers"), Some(at(1).millis()), "another name's");
    store.forget_logins(at(10)).await.expect("the database answers");
    assert_eq!(database.number("SELECT COUNT(*) FROM login_addresses").await, 11);
    store.close().await.expect("nothing is under way");
}
