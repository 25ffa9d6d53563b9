//! Accounts, tokens and rate limits over HTTP.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::Backend;
use crate::support::app::{Answer, SECRET, TestApp};

const PASSWORD: &str = "correct horse battery";

async fn register(app: &TestApp, username: &str, password: &str) -> Answer {
    app.send(app.request(Method::POST, "/v1/auth/register").json(&json!({"username": username, "password": password}))).await
}

async fn login(app: &TestApp, username: &str, password: &str) -> Answer {
    app.send(app.request(Method::POST, "/v1/auth/login").json(&json!({"username": username, "password": password}))).await
}

/// A token with these claims under that key.
fn token(algorithm: Algorithm, claims: &Value, secret: &str) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).expect("signing works")
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_registers_can_log_in_and_buy(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    let registered = register(&app, "Alice", PASSWORD).await;
    assert_eq!((registered.status.as_u16(), &registered.body["username"]), (201, &json!("Alice")), "{:?}", registered.body);
    assert_eq!(registered.body["role"], json!("buyer"));

    let session = login(&app, "alice", PASSWORD).await;
    assert_eq!(session.status.as_u16(), 200, "names that differ only in case are the same: {:?}", session.body);
    assert_eq!((&session.body["token_type"], &session.body["expires_in"]), (&json!("Bearer"), &json!(86_400)));
    assert_eq!(session.headers["cache-control"], "no-store");
    let token = session.body["access_token"].as_str().expect("a token");

    let me = app.get_as(token, "/v1/me").await;
    assert_eq!(me.body, registered.body);
    let lamp = app.list(1, json!({})).await;
    let order = app.post_as(token, &format!("/v1/commodities/{lamp}/orders"), &json!({})).await;
    assert_eq!((order.status.as_u16(), &order.body["user_id"]), (201, &registered.body["user_id"]));
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_given_once_whatever_its_case(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    assert_eq!(register(&app, "bob", PASSWORD).await.status.as_u16(), 201);
    assert_eq!(register(&app, "BOB", PASSWORD).await.refusal(), (409, "username_taken"));
    // Two at once both find the name free: the database decides.
    let (one, other) = tokio::join!(register(&app, "carol", PASSWORD), register(&app, "Carol", PASSWORD));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
}

async fn under_key(app: &TestApp, path: &str, key: &str, token: Option<&str>, body: Value) -> Answer {
    let request = app.request(Method::POST, path).header("Idempotency-Key", key).json(&body);
    app.send(token.into_iter().fold(request, |request, token| request.bearer_auth(token))).await
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_an_account_again_under_its_key_gets_its_outcome(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    let sign_up = async |key: &str, username: &str, password: &str| {
        under_key(&app, "/v1/auth/register", key, None, json!({"username": username, "password": password})).await
    };
    let all = futures_util::future::join_all((0..3).map(|_| sign_up("k", "gina", PASSWORD))).await;
    let mut statuses: Vec<u16> = all.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 201]);
    let again = sign_up("\"k\"", "GINA", PASSWORD).await;
    assert_eq!((again.status.as_u16(), &again.body), (200, &all[0].body));
    assert_eq!(sign_up("k", "gina", "another password").await.refusal(), (422, "idempotency_mismatch"));
    assert_eq!(sign_up("other", "gina", PASSWORD).await.refusal(), (409, "username_taken"));
    assert_eq!(sign_up("k", "hugo", PASSWORD).await.status.as_u16(), 201, "a name's keys are its own");

    let token = login(&app, "gina", PASSWORD).await.body["access_token"].as_str().expect("a token").to_owned();
    let (new, newer) = ("a new horse, as good", "a newer horse, as good");
    let change = async |key: &str, current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        under_key(&app, "/v1/auth/password", key, Some(&token), body).await
    };
    for _ in 0..2 {
        assert_eq!(change("p", PASSWORD, new).await.status.as_u16(), 200);
    }
    assert_eq!(change("p", PASSWORD, newer).await.refusal(), (422, "idempotency_mismatch"));
    assert_eq!(change("q", PASSWORD, new).await.refusal(), (401, "invalid_credentials"));
    assert_eq!(change("q", new, newer).await.status.as_u16(), 200);
    assert_eq!(login(&app, "gina", newer).await.status.as_u16(), 200);
    for key in ["l", "l"] {
        let body = json!({"username": "gina", "password": newer});
        assert_eq!(under_key(&app, "/v1/auth/login", key, None, body).await.status.as_u16(), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_and_a_password_are_the_same_on_every_keyboard() {
    let app = TestApp::start(Backend::Sqlite).await;
    assert_eq!(register(&app, "erin", "caf\u{e9}-password").await.status.as_u16(), 201);
    assert_eq!(login(&app, "erin", "cafe\u{301}-password").await.status.as_u16(), 200);
    assert_eq!(login(&app, "ｅｒｉｎ", "caf\u{e9}-password").await.status.as_u16(), 200);
    assert_eq!(login(&app, "erin", "cafe-password").await.refusal(), (401, "invalid_credentials"));
    assert_eq!(register(&app, "ＥＲＩＮ", "another password").await.refusal(), (409, "username_taken"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_and_an_unknown_name_look_the_same() {
    let app = TestApp::start(Backend::Sqlite).await;
    assert_eq!(register(&app, "dave", PASSWORD).await.status.as_u16(), 201);
    let without_request_id = |mut answer: Answer| {
        assert_eq!(answer.refusal(), (401, "invalid_credentials"));
        answer.body["request_id"] = Value::Null;
        answer.body
    };
    let wrong = without_request_id(login(&app, "dave", "correct horse stapler").await);
    let unknown = without_request_id(login(&app, "erin", PASSWORD).await);
    assert_eq!(wrong, unknown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_credentials_are_refused_field_by_field() {
    let app = TestApp::start(Backend::Sqlite).await;
    let long = "a".repeat(129);
    let table = [
        (json!({}), vec!["username", "password"]),
        (json!({"username": "al", "password": PASSWORD}), vec!["username"]),
        (json!({"username": "a b c", "password": "short"}), vec!["username", "password"]),
        (json!({"username": "alice", "password": long}), vec!["password"]),
        (json!({"username": 7, "password": null}), vec!["username", "password"]),
        (json!({"username": "alice", "password": PASSWORD, "role": "admin"}), vec!["role"]),
        (json!([]), vec!["body"]),
    ];
    for path in ["/v1/auth/register", "/v1/auth/login"] {
        for (body, fields) in &table {
            let answer = app.send(app.request(Method::POST, path).json(body)).await;
            assert_eq!(answer.refusal(), (422, "invalid_request"), "{path} {body}");
            let errors = answer.body["errors"].as_array().expect("a list");
            let found: Vec<&str> = errors.iter().filter_map(|error| error["field"].as_str()).collect();
            assert_eq!(&found, fields, "{path} {body}");
            assert!(!answer.body.to_string().contains(PASSWORD), "an answer never repeats a password");
        }
    }
    assert_eq!(app.get_as(&app.operator(), "/admin/v1/users").await.body["items"], json!([]), "nothing was made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_without_an_account_is_known_by_its_number() {
    let app = TestApp::start(Backend::Sqlite).await;
    let me = app.get_as(&app.buyer(987_654), "/v1/me").await;
    assert_eq!(me.body, json!({"user_id": "987654", "username": null, "role": "buyer", "created_at": null}));
    let me = app.get_as(&app.operator(), "/v1/me").await;
    assert_eq!(me.body["role"], json!("admin"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_does_not_convince_buys_nothing() {
    let app = TestApp::start(Backend::Sqlite).await;
    let lamp = app.list(1, json!({})).await;
    let path = format!("/v1/commodities/{lamp}/orders");
    let now = doorbuster::clock::system().millis() / 1000;
    let good = json!({"sub": "42", "exp": now + 60});
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let bad = [
        ("alg none", format!("{}.{}.", encoded(&json!({"alg": "none"})), encoded(&good))),
        ("another key", token(Algorithm::HS256, &good, "another secret for tests, long enough too")),
        ("another algorithm", token(Algorithm::HS512, &good, SECRET)),
        ("expired a second ago", token(Algorithm::HS256, &json!({"sub": "42", "exp": now - 1}), SECRET)),
        ("no exp", token(Algorithm::HS256, &json!({"sub": "42"}), SECRET)),
        ("not yet", token(Algorithm::HS256, &json!({"sub": "42", "exp": now + 60, "nbf": now + 30}), SECRET)),
        ("user 0", token(Algorithm::HS256, &json!({"sub": "0", "exp": now + 60}), SECRET)),
        ("user in words", token(Algorithm::HS256, &json!({"sub": "alice", "exp": now + 60}), SECRET)),
        ("too long", token(Algorithm::HS256, &json!({"sub": "42", "exp": now + 60, "x": "x".repeat(8192)}), SECRET)),
        ("no token", "words".to_owned()),
    ];
    for (what, token) in &bad {
        let answer = app.post_as(token, &path, &json!({})).await;
        assert_eq!(answer.refusal(), (401, "unauthenticated"), "{what}");
        assert!(answer.headers["www-authenticate"].to_str().is_ok_and(|value| value.contains("invalid_token")), "{what}");
        assert!(!answer.body.to_string().contains(token.as_str()) || token == "words", "an answer never repeats a token: {what}");
    }
    assert_eq!(app.books(lamp).await, [1, 1, 0, 0]);
    assert_eq!(app.post_as(&token(Algorithm::HS256, &good, SECRET), &path, &json!({})).await.status.as_u16(), 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_of_one_address_are_limited_before_a_password_is_hashed() {
    let app = TestApp::start_with(Backend::Sqlite, |config| {
        config.limits.enabled = true;
        config.limits.logins_per_minute = 3;
    })
    .await;
    for _ in 0..3 {
        assert_eq!(login(&app, "nobody", PASSWORD).await.refusal(), (401, "invalid_credentials"));
    }
    for answer in [login(&app, "nobody", PASSWORD).await, register(&app, "frank", PASSWORD).await] {
        assert_eq!(answer.refusal(), (429, "rate_limited"));
        let after: u64 = answer.headers["retry-after"].to_str().expect("text").parse().expect("whole seconds");
        assert!((1..=20).contains(&after), "three a minute is one in twenty seconds: {after}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_not_guessed_at_from_many_addresses() {
    let app = TestApp::start_with(Backend::Sqlite, |config| {
        config.limits.enabled = true;
        config.limits.logins_per_account_per_minute = 3;
        config.http.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    })
    .await;
    assert_eq!(register(&app, "grace", PASSWORD).await.status.as_u16(), 201);
    let from = async |number: u8, username: &str, password: &str| {
        let request = app.request(Method::POST, "/v1/auth/login").header("X-Forwarded-For", format!("203.0.113.{number}"));
        app.send(request.json(&json!({"username": username, "password": password}))).await
    };
    for number in 0..3 {
        assert_eq!(from(number, "Grace", "a wrong password").await.refusal(), (401, "invalid_credentials"));
    }
    for (number, name) in [(4, "grace"), (5, "GRACE")] {
        assert_eq!(from(number, name, PASSWORD).await.refusal(), (429, "rate_limited"));
    }
    assert_eq!(from(6, "nobody", PASSWORD).await.refusal(), (401, "invalid_credentials"), "other accounts are let in");
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_changed_by_whoever_knows_it(#[case] backend: Backend) {
    const NEW: &str = "a new horse, just as good";
    let app = TestApp::start(backend).await;
    assert_eq!(register(&app, "heidi", PASSWORD).await.status.as_u16(), 201);
    let token = login(&app, "heidi", PASSWORD).await.body["access_token"].as_str().expect("a token").to_owned();
    let change = async |token: &str, body: &Value| app.post_as(token, "/v1/auth/password", body).await;
    let of = |current: &str, new: &str| json!({"current_password": current, "new_password": new});
    for (body, fields) in [
        (json!({}), vec!["current_password", "new_password"]),
        (of(PASSWORD, "short"), vec!["new_password"]),
        (json!({"current_password": PASSWORD, "new_password": NEW, "username": "heidi"}), vec!["username"]),
    ] {
        let answer = change(&token, &body).await;
        assert_eq!(answer.refusal(), (422, "invalid_request"), "{body}");
        let errors = answer.body["errors"].as_array().expect("a list");
        assert_eq!(errors.iter().filter_map(|error| error["field"].as_str()).collect::<Vec<_>>(), fields, "{body}");
    }
    assert_eq!(change(&token, &of("not her password", NEW)).await.refusal(), (401, "invalid_credentials"));
    assert_eq!(change(&app.buyer(987_654), &of(PASSWORD, NEW)).await.refusal(), (404, "user_not_found"));
    assert_eq!(change("words", &of(PASSWORD, NEW)).await.refusal(), (401, "unauthenticated"));

    let changed = change(&token, &of(PASSWORD, NEW)).await;
    assert_eq!(
        (changed.status.as_u16(), &changed.headers["cache-control"]),
        (200, &"no-store".parse().expect("a header")),
        "{:?}",
        changed.body
    );
    assert!(app.get_as(changed.body["access_token"].as_str().expect("a token"), "/v1/me").await.body["username"] == json!("heidi"));
    assert_eq!(login(&app, "heidi", PASSWORD).await.refusal(), (401, "invalid_credentials"));
    assert_eq!(login(&app, "heidi", NEW).await.status.as_u16(), 200);
    // Of two changes at once one holds.
    assert_eq!(change(&token, &of(NEW, PASSWORD)).await.refusal(), (401, "unauthenticated"), "the first change has ended this token");
    let token = changed.body["access_token"].as_str().expect("a token");
    let (one, two) = (of(NEW, "the first of two"), of(NEW, "the second of two"));
    let (first, second) = tokio::join!(change(token, &one), change(token, &two));
    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_switched_off_is_not_there() {
    let app = TestApp::start_with(Backend::Sqlite, |config| {
        config.accounts.registration = false;
        config.accounts.login = false;
    })
    .await;
    for answer in [register(&app, "ivan", PASSWORD).await, login(&app, "ivan", PASSWORD).await] {
        assert_eq!(answer.refusal(), (404, "not_found"));
    }
    let body = json!({"current_password": PASSWORD, "new_password": PASSWORD});
    assert_eq!(app.post_as(&app.buyer(1), "/v1/auth/password", &body).await.refusal(), (404, "not_found"));
    assert_eq!(app.get_as(&app.buyer(7), "/v1/me").await.body["user_id"], json!("7"), "tokens are good as before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_limited_and_others_are_not() {
    let app = TestApp::start_with(Backend::Sqlite, |config| {
        config.limits.enabled = true;
        config.limits.per_user_per_second = 1;
        config.limits.per_user_burst = 2;
    })
    .await;
    let lamp = app.list(10, json!({})).await;
    let body = json!({});
    let answers = futures_util::future::join_all([(); 3].map(|()| app.place(7, lamp, &body))).await;
    assert_eq!(answers.iter().filter(|answer| answer.refusal() == (429, "rate_limited")).count(), 1);
    let refused = answers.iter().find(|answer| answer.status.as_u16() == 429).expect("there is one");
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(app.place(8, lamp, &json!({})).await.status.as_u16(), 201);
    assert_eq!(app.books(lamp).await, [10, 7, 0, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_limited_and_a_forged_header_does_not_help() {
    let app = TestApp::start_with(Backend::Sqlite, |config| {
        config.limits.enabled = true;
        config.limits.per_address_per_second = 1;
        config.limits.per_address_burst = 5;
    })
    .await;
    let mut limited = 0;
    for number in 0..20 {
        let request = app.request(Method::GET, "/v1/commodities").header("X-Forwarded-For", format!("192.0.2.{number}"));
        let answer = app.send(request.timeout(Duration::from_secs(10))).await;
        if answer.status.as_u16() == 429 {
            limited += 1;
            assert_eq!(answer.refusal(), (429, "rate_limited"));
            assert_eq!(answer.headers["retry-after"], "1");
        }
    }
    assert!(limited >= 10, "only {limited} of 20 were limited");
}
