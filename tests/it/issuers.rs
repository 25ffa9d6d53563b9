//! Tokens of other issuers on a running server: whom they let in, how their keys change, and what an issuer that is away costs.

use std::sync::Arc;
use std::time::Duration;

use doorbuster::clock;
use doorbuster::config::{Config, Issuer};
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::Backend;
use crate::support::app::{Answer, TestApp};
use crate::support::issuer::{IssuerEndpoint, Says};
use crate::support::issuer_keys::{IssuerKey, base64url};

const ISSUER: &str = "https://sso.example/realms/shop";
const ROLE: &str = "realm_access.roles";

fn now() -> i64 {
    clock::system().millis() / 1000
}

/// An issuer as the configuration has it, asked every second.
fn issuer(url: &str, more: Value) -> Issuer {
    let mut issuer = json!({"name": "shop", "issuer": ISSUER, "audience": "doorbuster", "jwks_url": url, "refresh_seconds": 1});
    for (setting, value) in more.as_object().expect("an object") {
        issuer[setting] = value.clone();
    }
    serde_json::from_value(issuer).expect("good settings")
}

async fn app(issuers: Vec<Issuer>) -> TestApp {
    TestApp::start_with(Backend::Sqlite, |config| config.auth.issuers = issuers).await
}

fn claims(subject: &str) -> Value {
    json!({"iss": ISSUER, "aud": ["doorbuster", "account"], "sub": subject, "exp": now() + 600, "iat": now(),
        ROLE.split('.').next().expect("a name"): {"roles": ["default-roles-shop"]}})
}

async fn me(app: &TestApp, token: &str) -> Answer {
    app.get_as(token, "/v1/me").await
}

/// Waits until this token is answered so.
async fn told(app: &TestApp, token: &str, status: u16) {
    while me(app, token).await.status.as_u16() != status {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_verified_with_the_keys_that_its_issuer_publishes() {
    let (rsa, ec, ed) = (IssuerKey::rsa("r", 0, "RS256"), IssuerKey::es256("e"), IssuerKey::eddsa("d"));
    let endpoint = IssuerEndpoint::start(&[&rsa, &ec, &ed]).await;
    let app = app(vec![issuer(&endpoint.url(), json!({"role_claim": ROLE, "admin_values": ["shop-admin"]}))]).await;
    for key in [&rsa, &ec, &ed, &IssuerKey::rsa("r", 0, "RS256")] {
        let answer = me(&app, &key.sign(&claims("auth0|5f7c"))).await;
        assert_eq!((answer.status.as_u16(), &answer.body["user_id"]), (200, &json!("shop:auth0|5f7c")), "{:?}", answer.body);
        assert_eq!((&answer.body["role"], &answer.body["username"]), (&json!("buyer"), &Value::Null));
    }
    let mut operator = claims("ops");
    operator["realm_access"]["roles"] = json!(["shop-admin"]);
    let operator = rsa.sign(&operator);
    assert_eq!(me(&app, &operator).await.body["role"], json!("admin"));
    assert_eq!(app.get_as(&operator, "/admin/v1/commodities").await.status.as_u16(), 200);
    for role in [json!("admin"), json!(["admin"])] {
        let mut said = claims("mallory");
        said["role"] = role.clone();
        said["roles"] = role;
        let token = ec.sign(&said);
        assert_eq!(me(&app, &token).await.body["role"], json!("buyer"), "who says of itself that it is admin is nobody");
        assert_eq!(app.get_as(&token, "/admin/v1/commodities").await.refusal(), (403, "forbidden"));
    }
    let mut for_another = claims("alice");
    for_another["aud"] = json!("account");
    let answer = me(&app, &ed.sign(&for_another)).await;
    assert_eq!(answer.refusal(), (401, "unauthenticated"));
    assert!(answer.headers["www-authenticate"].to_str().is_ok_and(|value| value.contains("invalid_token")));
}

async fn order(app: &TestApp, token: &str, commodity: i64, key: &str) -> Answer {
    let request = app.request(Method::POST, &format!("/v1/commodities/{commodity}/orders"));
    app.send(request.bearer_auth(token).header("Idempotency-Key", key).json(&json!({}))).await
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_of_keycloak_auth0_cognito_and_firebase_buy(#[case] backend: Backend) {
    let (rsa, ec, ed) = (IssuerKey::rsa("r", 0, "RS256"), IssuerKey::es256("e"), IssuerKey::eddsa("d"));
    let endpoint = IssuerEndpoint::start(&[&rsa, &ec, &ed]).await;
    let cognito = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Ab12Cd34E";
    let providers = [
        (
            json!({"name": "keycloak", "role_claim": ROLE, "admin_values": ["shop-admin"]}),
            json!({"iss": ISSUER, "aud": ["doorbuster", "account"], "sub": "3b241101-e2bb-4255-8caf-4136c566a962", "typ": "Bearer",
                "realm_access": {"roles": ["default-roles-shop"]}, "resource_access": {"account": {"roles": ["manage-account"]}}}),
        ),
        (
            json!({"name": "auth0", "issuer": "https://shop.eu.auth0.com/", "audience": "https://api.shop.example",
                "role_claim": "https://shop.example/roles", "admin_values": ["operator"]}),
            json!({"iss": "https://shop.eu.auth0.com/", "aud": ["https://api.shop.example", "https://shop.eu.auth0.com/userinfo"],
                "sub": "auth0|5f7c8ec7c33c6c004bbafe82", "https://shop.example/roles": ["reader"], "scope": "openid"}),
        ),
        (
            json!({"name": "cognito", "issuer": cognito, "audience": "6q2aexample", "audience_claim": "client_id",
                "role_claim": "cognito:groups", "admin_values": ["operators"]}),
            json!({"iss": cognito, "client_id": "6q2aexample", "token_use": "access", "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
                "cognito:groups": ["buyers"], "username": "alice"}),
        ),
        (
            json!({"name": "firebase", "issuer": "https://securetoken.google.com/shop-4711", "audience": "shop-4711"}),
            json!({"iss": "https://securetoken.google.com/shop-4711", "aud": "shop-4711", "sub": "tQxJ3Kb2", "user_id": "tQxJ3Kb2",
                "firebase": {"identities": {"email": ["alice@example.org"]}, "sign_in_provider": "password"}}),
        ),
    ];
    let issuers: Vec<Issuer> = providers.iter().map(|(settings, _)| issuer(&endpoint.url(), settings.clone())).collect();
    let app = TestApp::start_with(backend, |config| config.auth.issuers = issuers).await;
    let lamp = app.list(100, json!({"limit_per_user": 3})).await;
    let mut sold = 0;
    for (settings, said) in &providers {
        let mut said = said.clone();
        said["exp"] = json!(now() + 600);
        let id = format!("{}:{}", settings["name"].as_str().expect("a name"), said["sub"].as_str().expect("a subject"));
        for (number, key) in [&rsa, &ec, &ed].into_iter().enumerate() {
            let placed = order(&app, &key.sign(&said), lamp, &format!("k-{number}")).await;
            assert_eq!((placed.status.as_u16(), &placed.body["user_id"]), (201, &json!(id)), "{:?}", placed.body);
            sold += 1;
        }
        assert_eq!(order(&app, &ed.sign(&said), lamp, "k-3").await.refusal(), (409, "limit_reached"));
        let mine = app.get_as(&rsa.sign(&said), "/v1/orders").await;
        assert_eq!(mine.body["items"].as_array().map(Vec::len), Some(3), "{:?}", mine.body);
    }
    assert_eq!(app.books(lamp).await, [100, 100 - sold, 0, sold]);
    app.assert_balanced().await;
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_subjects_of_two_issuers_and_an_account_are_three_people(#[case] backend: Backend) {
    let (one, other) = (IssuerKey::eddsa("k"), IssuerKey::es256("k"));
    let (first, second) = (IssuerEndpoint::start(&[&one]).await, IssuerEndpoint::start(&[&other]).await);
    let issuers = vec![
        issuer(&first.url(), json!({"name": "one", "issuer": "https://one.example"})),
        issuer(&second.url(), json!({"name": "other", "issuer": "https://other.example"})),
    ];
    let app = TestApp::start_with(backend, |config| config.auth.issuers = issuers).await;
    let lamp = app.list(10, json!({"limit_per_user": 1})).await;
    let of = |key: &IssuerKey, issuer: &str| {
        let mut said = claims("42");
        said["iss"] = json!(issuer);
        key.sign(&said)
    };
    let tokens = [app.buyer(42), of(&one, "https://one.example"), of(&other, "https://other.example")];
    let mut orders = Vec::new();
    for token in &tokens {
        let placed = order(&app, token, lamp, "the-same-key").await;
        assert_eq!(placed.status.as_u16(), 201, "a limit and a key of their own: {:?}", placed.body);
        orders.push(placed.body);
    }
    for (who, token) in tokens.iter().enumerate() {
        let list = app.get_as(token, "/v1/orders").await;
        let listed: Vec<&Value> = list.body["items"].as_array().expect("a list").iter().map(|order| &order["order_id"]).collect();
        assert_eq!(listed, [&orders[who]["order_id"]]);
        for (whose, order) in orders.iter().enumerate() {
            let path = format!("/v1/orders/{}", order["order_id"].as_str().expect("an id"));
            let read = app.get_as(token, &path).await.status.as_u16();
            assert_eq!(read, if who == whose { 200 } else { 404 }, "{who} reads the order of {whose}");
            if who != whose {
                let cancelled = app.post_as(token, &format!("{path}/cancel"), &Value::Null).await;
                assert_eq!(cancelled.refusal(), (404, "order_not_found"), "{who} cancels the order of {whose}");
            }
        }
    }
    assert_eq!(app.books(lamp).await, [10, 7, 0, 3]);
    let found = app.get_as(&app.operator(), "/admin/v1/orders?user_id=one:42").await;
    assert_eq!(found.body["items"].as_array().map(Vec::len), Some(1), "{:?}", found.body);
    app.assert_balanced().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_refuses_no_token_while_all_ask() {
    let (old, new) = (Arc::new(IssuerKey::es256("old")), Arc::new(IssuerKey::eddsa("new")));
    let endpoint = IssuerEndpoint::start(&[&old]).await;
    // Asked in its turn only long after this test: the new key is asked for by those who have it.
    let app = Arc::new(app(vec![issuer(&endpoint.url(), json!({"refresh_seconds": 600}))]).await);
    told(&app, &old.sign(&claims("first")), 200).await;
    let ask = |key: &Arc<IssuerKey>, count: usize| {
        let asking = (0..count).map(|number| {
            let (app, token) = (Arc::clone(&app), key.sign(&claims(&format!("buyer-{number}"))));
            tokio::spawn(async move { me(&app, &token).await.status.as_u16() })
        });
        asking.collect::<Vec<_>>()
    };
    let mut asking = ask(&old, 100);
    // From one moment to the next the issuer signs with another key, which nobody has seen.
    endpoint.publish(&[&old, &new]);
    asking.extend(ask(&new, 100));
    asking.extend(ask(&old, 100));
    for answer in asking {
        assert_eq!(answer.await.expect("an answer"), 200);
    }
    assert_eq!(endpoint.fetches(), 2, "one at the start, and one for all who had the new key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawn_key_ends_with_the_next_refresh() {
    let (old, new) = (IssuerKey::rsa("old", 0, "RS256"), IssuerKey::rsa("new", 1, "RS256"));
    let endpoint = IssuerEndpoint::start(&[&old, &new]).await;
    let app = app(vec![issuer(&endpoint.url(), json!({}))]).await;
    let (by_old, by_new) = (old.sign(&claims("alice")), new.sign(&claims("bob")));
    told(&app, &by_old, 200).await;
    endpoint.publish(&[&new]);
    told(&app, &by_old, 401).await;
    assert_eq!(me(&app, &by_new).await.status.as_u16(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_away_changes_nothing_and_is_said_in_readyz() {
    let key = IssuerKey::eddsa("k");
    let mut endpoint = IssuerEndpoint::start(&[&key]).await;
    let app = app(vec![issuer(&endpoint.url(), json!({}))]).await;
    told(&app, &key.sign(&claims("alice")), 200).await;
    assert_eq!(app.get("/readyz").await.body, json!({"status": "ok"}));
    let warned = async || {
        let warnings = app.get("/readyz").await.body["warnings"].clone();
        warnings
            .as_array()
            .is_some_and(|warnings| warnings.iter().any(|warning| warning.as_str().is_some_and(|text| text.contains("issuer shop"))))
    };
    endpoint.go_away().await;
    while !warned().await {
        tokio::task::yield_now().await;
    }
    assert_eq!(app.get("/readyz").await.status.as_u16(), 200, "and it is ready all the same");
    for number in 0..20 {
        assert_eq!(me(&app, &key.sign(&claims(&format!("buyer-{number}")))).await.status.as_u16(), 200);
    }
    let unknown = me(&app, &IssuerKey::eddsa("new").sign(&claims("alice"))).await;
    assert_eq!(unknown.refusal(), (503, "unavailable"), "whether it is good cannot be said");
    assert!(unknown.headers.contains_key("retry-after"));
    endpoint.come_back().await;
    while warned().await {
        tokio::task::yield_now().await;
    }
    // An answer that is no set of keys is none.
    let large = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(300 * 1024));
    for says in [
        Says::Head("500 Internal Server Error\r\n"),
        Says::Head("302 Found\r\nlocation: http://127.0.0.1:1/jwks.json\r\n"),
        Says::Body("<html>".to_owned()),
        Says::Body(large),
        Says::Nothing,
    ] {
        endpoint.say(says.clone());
        while !warned().await {
            tokio::task::yield_now().await;
        }
        assert_eq!(me(&app, &key.sign(&claims("alice"))).await.status.as_u16(), 200, "{says:?}");
        endpoint.publish(&[&key]);
        while warned().await {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_without_its_issuer_and_goes_on_asking() {
    let (key, here) = (IssuerKey::es256("k"), IssuerKey::es256("h"));
    let mut endpoint = IssuerEndpoint::start(&[&key]).await;
    endpoint.go_away().await;
    let other = IssuerEndpoint::start(&[&here]).await;
    let issuers =
        vec![issuer(&endpoint.url(), json!({})), issuer(&other.url(), json!({"name": "other", "issuer": "https://other.example"}))];
    let app = app(issuers).await;
    let token = key.sign(&claims("alice"));
    let answer = me(&app, &token).await;
    assert_eq!(answer.refusal(), (503, "unavailable"));
    assert!(answer.headers.contains_key("retry-after"), "{:?}", answer.headers);
    let mut of_other = claims("bob");
    of_other["iss"] = json!("https://other.example");
    told(&app, &here.sign(&of_other), 200).await;
    assert_eq!(me(&app, &app.buyer(7)).await.status.as_u16(), 200, "nobody else is kept waiting");
    endpoint.come_back().await;
    told(&app, &token, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_unknown_keys_costs_a_fetch_in_five_seconds_and_nobody_elses_time() {
    let key = IssuerKey::eddsa("k");
    let endpoint = IssuerEndpoint::start(&[&key]).await;
    let app = Arc::new(app(vec![issuer(&endpoint.url(), json!({"refresh_seconds": 600}))]).await);
    let good = key.sign(&claims("alice"));
    told(&app, &good, 200).await;
    let begun = tokio::time::Instant::now();
    let stranger = IssuerKey::eddsa("stranger");
    let forged = |number: usize| {
        let header = json!({"alg": "EdDSA", "kid": format!("made-up-{number}")}).to_string();
        stranger.sign_texts(&header, &claims("mallory").to_string())
    };
    let flood: Vec<_> = (0..1_200)
        .map(|number| {
            let (app, token) = (Arc::clone(&app), forged(number));
            tokio::spawn(async move { me(&app, &token).await.status.as_u16() })
        })
        .collect();
    // While they wait, nobody else does.
    for _ in 0..50 {
        assert_eq!(me(&app, &good).await.status.as_u16(), 200);
    }
    let (mut refused, mut put_off) = (0, 0);
    for answer in flood {
        match answer.await.expect("an answer") {
            401 => refused += 1,
            503 => put_off += 1,
            other => panic!("unexpected status {other}"),
        }
    }
    assert!(refused > 0 && refused + put_off == 1_200, "{refused} {put_off}");
    let fetches = endpoint.fetches() as u64;
    let most = 2 + begun.elapsed().as_secs() / 5;
    assert!(fetches <= most, "{fetches} fetches, {most} at most");
    assert_eq!(me(&app, &good).await.status.as_u16(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_leads_to_an_address_that_a_token_names() {
    let (key, attacker) = (IssuerKey::eddsa("k"), IssuerKey::eddsa("k"));
    let endpoint = IssuerEndpoint::start(&[&key]).await;
    let trap = IssuerEndpoint::start(&[&attacker]).await;
    let app = app(vec![issuer(&endpoint.url(), json!({}))]).await;
    told(&app, &key.sign(&claims("alice")), 200).await;
    for member in ["jku", "x5u"] {
        let mut header = attacker.header();
        header[member] = json!(trap.url());
        let token = attacker.sign_texts(&header.to_string(), &claims("alice").to_string());
        assert_eq!(me(&app, &token).await.refusal(), (401, "unauthenticated"), "{member}");
    }
    let mut header = attacker.header();
    header["jwk"] = attacker.jwk();
    let token = attacker.sign_texts(&header.to_string(), &claims("alice").to_string());
    assert_eq!(me(&app, &token).await.refusal(), (401, "unauthenticated"));
    assert_eq!(trap.fetches(), 0);
    let unsigned = format!("{}.{}.", base64url(br#"{"alg":"none","kid":"k"}"#), base64url(claims("alice").to_string().as_bytes()));
    assert_eq!(me(&app, &unsigned).await.refusal(), (401, "unauthenticated"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_keys_and_goes_away_leaves_nothing_behind() {
    let key = IssuerKey::eddsa("k");
    let endpoint = IssuerEndpoint::start(&[&key]).await;
    let app = app(vec![issuer(&endpoint.url(), json!({"refresh_seconds": 600}))]).await;
    told(&app, &key.sign(&claims("alice")), 200).await;
    let new = IssuerKey::es256("new");
    for number in 0..20 {
        let request = app.request(Method::GET, "/v1/me").bearer_auth(new.sign(&claims(&format!("buyer-{number}"))));
        drop(request.timeout(Duration::from_millis(20)).send().await);
    }
    endpoint.publish(&[&key, &new]);
    told(&app, &new.sign(&claims("alice")), 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_with_tls_is_asked_if_its_authority_is_known() {
    let key = IssuerKey::es256("k");
    let endpoint = IssuerEndpoint::start_with_tls(&[&key]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, endpoint.authority()).expect("it is ours");
    let stranger = IssuerEndpoint::start_with_tls(&[&key]).await;
    let issuers = vec![
        issuer(&endpoint.url(), json!({"ca_file": authority})),
        issuer(&stranger.url(), json!({"name": "stranger", "issuer": "https://stranger.example", "ca_file": authority})),
    ];
    let app = app(issuers).await;
    told(&app, &key.sign(&claims("alice")), 200).await;
    let mut of_stranger = claims("bob");
    of_stranger["iss"] = json!("https://stranger.example");
    assert_eq!(me(&app, &key.sign(&of_stranger)).await.refusal(), (503, "unavailable"));
    assert_eq!(stranger.fetches(), 0, "whoever cannot prove who it is is not even asked");
}

#[test]
fn issuers_are_read_from_a_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("doorbuster.toml");
    let text = r#"
[[auth.issuers]]
name = "keycloak"
issuer = "https://sso.example/realms/shop"
audience = ["doorbuster", "shop"]
jwks_url = "https://sso.example/realms/shop/protocol/openid-connect/certs"
role_claim = "realm_access.roles"
admin_values = ["shop-admin", "cn=admins,ou=groups"]

[[auth.issuers]]
name = "partner"
issuer = "https://partner.example"
audience = "doorbuster"
secret_file = "/run/secrets/partner"
algorithms = ["HS256"]
leeway_seconds = 5
"#;
    std::fs::write(&file, text).expect("it is ours");
    let issuers = Config::load(Some(&file)).expect("good settings").auth.issuers;
    let names: Vec<&str> = issuers.iter().map(|issuer| issuer.name.as_str()).collect();
    assert_eq!(names, ["keycloak", "partner"]);
    assert_eq!(issuers[0].admin_values, ["shop-admin", "cn=admins,ou=groups"]);
    assert_eq!((issuers[0].audience.len(), issuers[0].refresh_seconds, issuers[1].leeway_seconds), (2, 60, 5));
}
