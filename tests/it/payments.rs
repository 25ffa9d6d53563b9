//! Paying an order, from the button to the books: the real app with the sandbox that it has by itself.

use std::time::Duration;

use doorbuster::clock;
use doorbuster::payments::webhook::sign_standard;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::Backend;
use crate::support::app::{Answer, TestApp};
use crate::support::sandbox::SandboxProgram;

/// How long something may take that happens by itself.
const PATIENCE: Duration = Duration::from_secs(40);

async fn reserve(app: &TestApp, user: i64, commodity: i64) -> String {
    let placed = app.place(user, commodity, &json!({})).await;
    assert_eq!((placed.status, &placed.body["status"]), (StatusCode::CREATED, &json!("reserved")), "{:?}", placed.body);
    placed.body["order_id"].as_str().unwrap().to_owned()
}

async fn start(app: &TestApp, user: i64, order: &str) -> Answer {
    app.post_as(&app.buyer(user), &format!("/v1/orders/{order}/payments"), &json!({})).await
}

/// What a buyer does at the page.
async fn at_page(app: &TestApp, payment: &Value, what: &str) -> Answer {
    let url = format!("{}/{what}", payment["checkout_url"].as_str().expect("it can be paid"));
    app.send(reqwest::Client::builder().no_proxy().build().unwrap().post(url)).await
}

async fn order(app: &TestApp, user: i64, id: &str) -> Value {
    app.get_as(&app.buyer(user), &format!("/v1/orders/{id}")).await.body
}

async fn payments(app: &TestApp, user: i64, order: &str) -> Vec<Value> {
    app.get_as(&app.buyer(user), &format!("/v1/orders/{order}/payments")).await.body["items"].as_array().unwrap().clone()
}

/// Waits until an order and its newest payment stand so.
async fn until(app: &TestApp, user: i64, id: &str, wanted: (&str, &str)) -> Value {
    let mut pause = tokio::time::interval(Duration::from_millis(50));
    let mut last = (Value::Null, Value::Null);
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let found = (order(app, user, id).await, payments(app, user, id).await.into_iter().next().unwrap_or_default());
            if (found.0["status"].as_str(), found.1["status"].as_str()) == (Some(wanted.0), Some(wanted.1)) {
                break found.1;
            }
            last = found;
            pause.tick().await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{wanted:?} was to come of it, and it is {last:?}"))
}

/// The sandbox's own books of a payment.
async fn books(app: &TestApp, payment: &Value) -> Value {
    app.get(&format!("/sandbox/payments/{}", payment["payment_id"].as_str().unwrap())).await.body
}

#[rstest]
#[tokio::test]
async fn an_order_is_paid_at_the_page_and_its_money_is_taken_once(#[values(Backend::Sqlite, Backend::Mysql)] backend: Backend) {
    let app = TestApp::start(backend).await;
    let commodity = app.list(3, json!({"hold_seconds": 600, "price": 4_999})).await;
    let id = reserve(&app, 7, commodity).await;
    let started = start(&app, 7, &id).await;
    assert_eq!(started.status, StatusCode::CREATED, "{:?}", started.body);
    let payment = &started.body;
    assert_eq!((payment["amount"].as_i64(), &payment["currency"], &payment["status"]), (Some(4_999), &json!("EUR"), &json!("open")));
    assert_eq!((&payment["order_id"], &payment["provider"]), (&json!(id), &json!("sandbox")));
    assert_eq!(payment["expires_at"], order(&app, 7, &id).await["pay_by"]);
    let again = start(&app, 7, &id).await;
    assert_eq!((again.status, &again.body), (StatusCode::OK, payment));

    assert_eq!(at_page(&app, payment, "pay").await.status, StatusCode::OK);
    let captured = until(&app, 7, &id, ("paid", "captured")).await;
    assert_eq!(captured["checkout_url"], Value::Null);
    let known = books(&app, payment).await;
    assert_eq!((known["authorized"].as_i64(), known["captured"].as_i64(), known["refunded"].as_i64()), (Some(4_999), Some(4_999), Some(0)));
    assert_eq!(app.books(commodity).await, [3, 2, 0, 1]);
    let late = start(&app, 7, &id).await;
    assert_eq!(late.refusal(), (409, "not_payable"));
    let listed = app.get_as(&app.operator(), "/admin/v1/payments?status=captured").await;
    assert_eq!(listed.body["items"][0]["payment_id"], payment["payment_id"], "{:?}", listed.body);
    assert_eq!(listed.body["items"][0]["failures"], 0);
    assert_eq!(app.get_as(&app.operator(), "/admin/v1/payments?status=refund_due").await.body["items"], json!([]));
    assert_eq!(app.get_as(&app.operator(), "/admin/v1/payments?status=lost").await.refusal(), (422, "invalid_request"));
    app.assert_balanced().await;
    app.stop().await;
}

#[tokio::test]
async fn whoever_is_declined_may_try_again_and_whoever_calls_off_is_not_charged() {
    let app = TestApp::start(Backend::Sqlite).await;
    let commodity = app.list(2, json!({"hold_seconds": 600})).await;
    let id = reserve(&app, 7, commodity).await;
    let first = start(&app, 7, &id).await.body;
    assert_eq!(at_page(&app, &first, "decline").await.status, StatusCode::OK);
    // Also before the sandbox's message is here.
    let second = start(&app, 7, &id).await;
    assert_eq!(second.status, StatusCode::CREATED, "{:?}", second.body);
    assert_ne!(second.body["payment_id"], first["payment_id"]);
    assert_eq!(payments(&app, 7, &id).await.iter().map(|payment| payment["status"].clone()).collect::<Vec<_>>(), ["open", "failed"]);

    let cancelled = app.post_as(&app.buyer(7), &format!("/v1/orders/{id}/cancel"), &json!({})).await;
    assert_eq!((cancelled.status, &cancelled.body["status"]), (StatusCode::OK, &json!("cancelled")), "{:?}", cancelled.body);
    assert_eq!(at_page(&app, &second.body, "pay").await.status, StatusCode::CONFLICT, "the provider knows it is called off");
    assert_eq!(books(&app, &second.body).await["state"], "cancelled");
    assert_eq!(app.books(commodity).await, [2, 2, 0, 0]);
    app.assert_balanced().await;
}

#[tokio::test]
async fn a_payment_on_its_way_keeps_its_order_from_being_called_off() {
    let app = TestApp::start(Backend::Sqlite).await;
    let commodity = app.list(2, json!({"hold_seconds": 600})).await;
    let id = reserve(&app, 7, commodity).await;
    let payment = start(&app, 7, &id).await.body;
    assert_eq!(at_page(&app, &payment, "later?seconds=2").await.status, StatusCode::OK);
    let refused = app.post_as(&app.buyer(7), &format!("/v1/orders/{id}/cancel"), &json!({})).await;
    assert_eq!(refused.refusal(), (409, "not_cancellable"));
    until(&app, 7, &id, ("paid", "captured")).await;
    app.assert_balanced().await;
}

#[tokio::test]
async fn a_payment_is_its_buyers_and_its_amount_is_ours() {
    let app = TestApp::start(Backend::Sqlite).await;
    let commodity = app.list(2, json!({"hold_seconds": 600})).await;
    let id = reserve(&app, 7, commodity).await;
    assert_eq!(start(&app, 8, &id).await.refusal(), (404, "order_not_found"));
    let path = format!("/v1/orders/{id}/payments");
    assert_eq!(app.get_as(&app.buyer(8), &path).await.refusal(), (404, "order_not_found"));
    assert_eq!(app.post_as(&app.buyer(7), &path, &json!({"amount": 1})).await.refusal(), (422, "invalid_request"));
    assert_eq!(app.post_as(&app.buyer(7), &path, &json!({"return_url": "javascript:alert(1)"})).await.refusal(), (422, "invalid_request"));
    assert_eq!(app.send(app.request(Method::POST, &path)).await.refusal(), (401, "unauthenticated"));
    let free = app.list(2, json!({})).await;
    let confirmed = app.place(7, free, &json!({})).await.body["order_id"].as_str().unwrap().to_owned();
    assert_eq!(start(&app, 7, &confirmed).await.refusal(), (409, "not_payable"));
    assert_eq!(payments(&app, 7, &confirmed).await, Vec::<Value>::new());
}

#[tokio::test]
async fn the_same_request_under_one_key_is_one_payment_whatever_became_of_it() {
    let app = TestApp::start(Backend::Sqlite).await;
    let commodity = app.list(2, json!({"hold_seconds": 600})).await;
    let id = reserve(&app, 7, commodity).await;
    let under = async |key: &str, body: Value| {
        let request = app.request(Method::POST, &format!("/v1/orders/{id}/payments"));
        app.send(request.bearer_auth(app.buyer(7)).header("Idempotency-Key", key).json(&body)).await
    };
    let first = under("k", json!({})).await;
    assert_eq!(first.status, StatusCode::CREATED);
    at_page(&app, &first.body, "decline").await;
    until(&app, 7, &id, ("reserved", "failed")).await;
    let again = under("k", json!({})).await;
    assert_eq!(
        (again.status, &again.body["payment_id"], &again.body["status"]),
        (StatusCode::OK, &first.body["payment_id"], &json!("failed"))
    );
    assert_eq!(under("k", json!({"return_url": "https://a.example/"})).await.refusal(), (422, "idempotency_mismatch"));
    assert_eq!(under("another", json!({})).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn what_no_message_told_is_found_out_and_what_is_told_twice_or_late_changes_nothing() {
    let app = TestApp::start(Backend::Sqlite).await;
    let commodity = app.list(20, json!({"hold_seconds": 600, "limit_per_user": null})).await;
    let faults = app.request(Method::PUT, "/sandbox/faults");
    assert_eq!(
        app.send(faults.body(json!({"lose": 0.5, "double": 0.5, "delay_ms": 500, "fail": 0.2}).to_string())).await.status,
        StatusCode::OK
    );
    let mut orders = Vec::new();
    for user in 1..=10 {
        let id = reserve(&app, user, commodity).await;
        let payment = loop {
            let started = start(&app, user, &id).await;
            match started.status {
                StatusCode::CREATED | StatusCode::OK => break started.body,
                StatusCode::SERVICE_UNAVAILABLE => assert_eq!(started.body["code"], "provider_unavailable"),
                other => panic!("{other}: {:?}", started.body),
            }
        };
        assert_eq!(at_page(&app, &payment, "pay").await.status, StatusCode::OK);
        orders.push((user, id, payment));
    }
    for (user, id, payment) in &orders {
        until(&app, *user, id, ("paid", "captured")).await;
        let known = books(&app, payment).await;
        assert_eq!((&known["captured"], &known["refunded"]), (&known["amount"], &json!(0)));
    }
    assert_eq!(app.books(commodity).await, [20, 10, 0, 10]);
    app.assert_balanced().await;
}

#[tokio::test]
async fn what_a_process_has_begun_the_next_one_ends() {
    let app = TestApp::start(Backend::Sqlite).await;
    let commodity = app.list(3, json!({"hold_seconds": 600})).await;
    let mut orders = Vec::new();
    for (user, what) in [(1, "pay"), (2, "later?seconds=1"), (3, "decline")] {
        let id = reserve(&app, user, commodity).await;
        let payment = start(&app, user, &id).await.body;
        // Nobody is told of what happens at the page.
        let faults = app.request(Method::PUT, "/sandbox/faults");
        app.send(faults.body(json!({"lose": 1.0}).to_string())).await;
        assert_eq!(at_page(&app, &payment, what).await.status, StatusCode::OK);
        orders.push((user, id));
    }
    let app = app.restart().await;
    for ((user, id), wanted) in orders.iter().zip([("paid", "captured"), ("paid", "captured"), ("reserved", "failed")]) {
        until(&app, *user, id, wanted).await;
    }
    assert_eq!(app.books(commodity).await, [3, 0, 1, 2]);
    app.assert_balanced().await;
}

#[tokio::test]
async fn money_that_comes_when_nothing_is_left_is_not_kept() {
    let app = TestApp::start(Backend::Sqlite).await;
    let commodity = app.list(1, json!({"hold_seconds": 3, "grace_seconds": 0})).await;
    let id = reserve(&app, 7, commodity).await;
    let payment = start(&app, 7, &id).await.body;
    assert_eq!(at_page(&app, &payment, "later?seconds=8").await.status, StatusCode::OK);
    // The hold is over, and somebody else has the unit, and pays it.
    let mut pause = tokio::time::interval(Duration::from_millis(100));
    loop {
        let placed = app.place(8, commodity, &json!({})).await;
        if placed.status == StatusCode::CREATED {
            let other = placed.body["order_id"].as_str().unwrap().to_owned();
            let payment = start(&app, 8, &other).await.body;
            assert_eq!(at_page(&app, &payment, "pay").await.status, StatusCode::OK);
            until(&app, 8, &other, ("paid", "captured")).await;
            break;
        }
        assert_eq!(placed.refusal(), (409, "sold_out"));
        pause.tick().await;
    }
    until(&app, 7, &id, ("refunded", "cancelled")).await;
    let known = books(&app, &payment).await;
    assert_eq!((&known["state"], &known["captured"]), (&json!("cancelled"), &json!(0)), "set aside, and let go");
    assert_eq!(app.books(commodity).await, [1, 0, 0, 1]);
    app.assert_balanced().await;
}

#[tokio::test]
async fn a_message_that_is_not_the_providers_is_not_heard() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let folder = tempfile::tempdir().unwrap();
    let sandbox = SandboxProgram::start(folder.path(), &[("DOORBUSTER__SANDBOX__WEBHOOK_URL", "none")]);
    let app = with_provider(&format!("{}/sandbox", sandbox.url()), &sandbox.secret(), secret).await;
    let body = json!({"type": "payment.captured", "data": {"id": "pay_1", "reference": "nobody", "amount": 1}}).to_string();
    let send = async |path: &str, at: i64, signature: Option<&str>, body: &str| {
        let time = clock::system().plus_millis(0);
        let time = if at < 0 { time.minus_millis(at.unsigned_abs() * 1_000) } else { time.plus_millis(at.unsigned_abs() * 1_000) };
        let good = sign_standard(secret, "msg_1", time, body.as_bytes()).unwrap();
        let request = app.request(Method::POST, path).header("webhook-id", "msg_1").body(body.to_owned());
        let request = request.header("webhook-timestamp", (time.millis() / 1_000).to_string());
        app.send(request.header("webhook-signature", signature.unwrap_or(&good))).await
    };
    let path = "/v1/payments/webhooks/acme";
    for _ in 0..2 {
        assert_eq!(send(path, 0, None, &body).await.status, StatusCode::OK, "also when it was heard before");
    }
    assert_eq!(send(path, -290, None, &body).await.status, StatusCode::OK);
    for (at, signature) in [(-310, None), (310, None), (0, Some("v1,AAAA")), (0, Some(""))] {
        let refused = send(path, at, signature, &body).await;
        assert_eq!(refused.refusal(), (401, "bad_signature"), "{at} {signature:?}");
    }
    assert_eq!(send("/v1/payments/webhooks/nobody", 0, None, &body).await.refusal(), (404, "not_found"));
    assert_eq!(send(path, 0, None, &" ".repeat(70_000)).await.refusal(), (413, "body_too_large"));
    assert_eq!(app.get(path).await.refusal(), (405, "method_not_allowed"));
    assert_eq!(app.get("/sandbox/events").await.refusal(), (404, "not_found"), "there is another provider");
}

#[tokio::test]
async fn a_provider_that_is_away_costs_nobody_anything_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = SandboxProgram::start(folder.path(), &[("DOORBUSTER__SANDBOX__WEBHOOK_URL", "none")]);
    let (url, secret, address) =
        (format!("{}/sandbox", sandbox.url()), sandbox.secret(), sandbox.url().trim_start_matches("http://").to_owned());
    let app = with_provider(&url, &secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").await;
    let commodity = app.list(2, json!({"hold_seconds": 600})).await;
    let id = reserve(&app, 7, commodity).await;
    sandbox.kill();
    let refused = start(&app, 7, &id).await;
    assert_eq!(refused.refusal(), (503, "provider_unavailable"));
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(order(&app, 7, &id).await["status"], "reserved");

    let sandbox =
        SandboxProgram::start(folder.path(), &[("DOORBUSTER__SANDBOX__WEBHOOK_URL", "none"), ("DOORBUSTER__SANDBOX__LISTEN", &address)]);
    let started = start(&app, 7, &id).await;
    assert_eq!((started.status, &started.body["provider"]), (StatusCode::OK, &json!("acme")), "{:?}", started.body);
    at_page(&app, &started.body, "pay").await;
    // Nobody tells: it is found in the provider's list of events, or by looking.
    until(&app, 7, &id, ("paid", "captured")).await;
    drop(sandbox);
    app.assert_balanced().await;
}

/// An app that sells with the provider at that URL.
async fn with_provider(url: &str, secret: &str, webhook_secret: &str) -> TestApp {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    let text = format!(
        "[payments]\nprovider = \"acme\"\n[payments.providers.acme]\nscheme = \"standard\"\nurl = \"{url}\"\nsecret = \"{secret}\"\n\
         webhook_secrets = [\"{webhook_secret}\"]\n"
    );
    std::fs::write(file.path(), text).unwrap();
    let payments = doorbuster::config::Config::load(Some(file.path())).unwrap().payments;
    TestApp::start_with(Backend::Sqlite, |config| config.payments = payments).await
}
