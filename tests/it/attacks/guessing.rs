//! Guessing passwords: by one address over many accounts, by many addresses on one account, and what is learned of names.

use reqwest::Method;
use serde_json::json;

use crate::support::Backend;
use crate::support::accounts::{Door, PASSWORD};
use crate::support::app::TestApp;

const OWNER: &str = "192.0.2.1";

/// The limits as they are when nobody sets them, behind a proxy that names clients.
async fn app() -> TestApp {
    TestApp::start_with(Backend::Sqlite, |config| {
        config.limits.enabled = true;
        config.http.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    })
    .await
}

/// How many of these guesses were held against a password.
async fn tried(door: &Door, guesses: impl Iterator<Item = (String, String, String)>) -> usize {
    let mut tried = 0;
    for (address, name, password) in guesses {
        match door.login_from(&address, &name, &password).await.refusal() {
            (401, "invalid_credentials") => tried += 1,
            (429, "rate_limited") => {}
            other => panic!("{address} {name}: {other:?}"),
        }
    }
    tried
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_over_many_accounts_is_stopped_and_the_owners_are_not() {
    let app = app().await;
    let door = Door::of(&app);
    door.register("alice").await;
    let guesses = (0..60).map(|number| ("203.0.113.1".to_owned(), format!("user-{number}"), "123456789".to_owned()));
    let tried = tried(&door, guesses).await;
    // Ten at once, and one every six seconds.
    assert!((10..30).contains(&tried), "{tried} of 60 guesses were tried");
    assert_eq!(door.login_from("203.0.113.1", "alice", PASSWORD).await.refusal(), (429, "rate_limited"));
    assert_eq!(door.login_from(OWNER, "alice", PASSWORD).await.status.as_u16(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_addresses_on_one_account_are_stopped_and_its_owner_is_not() {
    let app = app().await;
    let door = Door::of(&app);
    door.register("alice").await;
    assert_eq!(door.login_from(OWNER, "alice", PASSWORD).await.status.as_u16(), 200);
    let guesses = (0..100).map(|number| (format!("203.0.113.{number}"), "Alice".to_owned(), format!("password-{number}")));
    let tried = tried(&door, guesses).await;
    // Twenty at once, one of them the owner's, and one every three seconds.
    assert!((19..60).contains(&tried), "{tried} of 100 guesses were tried");
    for _ in 0..3 {
        assert_eq!(door.login_from(OWNER, "alice", PASSWORD).await.status.as_u16(), 200);
    }
}

/// Each is hashed, and there is no end of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ever_new_names_from_ever_new_addresses_do_not_keep_an_owner_out() {
    let app = TestApp::start_with(Backend::Sqlite, |config| {
        config.limits.enabled = true;
        config.http.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        config.auth.hashing_concurrency_max = 1;
    })
    .await;
    let door = Door::of(&app);
    door.register("alice").await;
    assert_eq!(door.login_from(OWNER, "alice", PASSWORD).await.status.as_u16(), 200);
    let (mut tried, mut put_off, mut wave) = (0, 0, 0);
    let mut owner = std::pin::pin!(async {
        for _ in 0..5 {
            assert_eq!(door.login_from(OWNER, "alice", PASSWORD).await.status.as_u16(), 200);
        }
    });
    loop {
        wave += 1;
        let guesses = (0..100).map(|number| (format!("203.{wave}.113.{number}"), format!("user-{wave}-{number}")));
        let flood = guesses.map(|(address, name)| {
            let door = &door;
            async move { door.login_from(&address, &name, "123456789").await.refusal().0 }
        });
        let mut flood = std::pin::pin!(futures_util::future::join_all(flood));
        // The next wave comes when nobody of this one waits any more, until the owner is in.
        let (answers, is_in) = tokio::select! {
            answers = &mut flood => (answers, false),
            () = &mut owner => (flood.await, true),
        };
        for answer in answers {
            match answer {
                401 => tried += 1,
                503 => put_off += 1,
                other => panic!("{other}"),
            }
        }
        if is_in {
            break;
        }
    }
    assert!(tried > 0 && put_off > 0, "{tried} were tried, {put_off} found the line full");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_of_one_ipv6_customer_and_forged_headers_are_one_address() {
    let app = app().await;
    let door = Door::of(&app);
    let one_network = (0..40).map(|number| (format!("2001:db8:1:1::{number:x}"), format!("user-{number}"), "123456789".to_owned()));
    let tried_by_network = tried(&door, one_network).await;
    assert!((10..30).contains(&tried_by_network), "{tried_by_network}");
    // What a client writes before the proxy adds the address it heard from.
    let forged = (0..40).map(|number| (format!("198.51.100.{number}, 203.0.113.7"), format!("user-{number}"), "123456789".to_owned()));
    let tried_by_forging = tried(&door, forged).await;
    assert!((10..30).contains(&tried_by_forging), "{tried_by_forging}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_not_learned_by_logging_in() {
    let app = TestApp::start(Backend::Sqlite).await;
    let door = Door::of(&app);
    door.register("alice").await;
    let told = async |name: &str| {
        let answer = door.login(name, "not the password").await;
        let mut headers: Vec<_> = answer.headers.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        headers.retain(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()));
        headers.sort_by_key(|(name, _)| name.clone());
        (answer.status, answer.body["code"].clone(), answer.body["detail"].clone(), headers)
    };
    assert_eq!(told("alice").await, told("nobody").await);
    // Accounts can be read by admins alone.
    assert_eq!(app.get_as(&app.buyer(7), "/admin/v1/users/1").await.refusal(), (403, "forbidden"));
    let me = app.send(app.request(Method::GET, "/v1/me").bearer_auth(app.buyer(7))).await;
    assert_eq!(me.body["username"], json!(null), "a token shows its own account, and 7 has none");
}
