//! What buyers are told, field by field.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Backend;
use crate::support::app::TestApp;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accepted_order_is_told_in_full_and_found_again() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(5, json!({"hold_seconds": 600})).await;
    let placed = app.place(42, id, &json!({"quantity": 2, "coupon": null})).await;
    assert_eq!(placed.status.as_u16(), 201);
    let body = placed.body.as_object().expect("an object");
    let mut names: Vec<&str> = body.keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = [
        "amount",
        "commodity_id",
        "coupon",
        "currency",
        "discount",
        "order_id",
        "pay_by",
        "placed_at",
        "quantity",
        "sku",
        "status",
        "unit_price",
        "user_id",
    ];
    assert_eq!(names, expected);
    assert_eq!((&body["commodity_id"], &body["user_id"], &body["quantity"]), (&json!(id), &json!("42"), &json!(2)));
    assert_eq!((&body["unit_price"], &body["amount"], &body["currency"]), (&json!(4_999), &json!(9_998), &json!("EUR")));
    assert_eq!(body["status"], json!("reserved"));
    assert!(body["pay_by"].as_str() > body["placed_at"].as_str(), "{body:?}");
    let path = format!("/v1/orders/{}", body["order_id"].as_str().expect("an id"));
    assert_eq!(placed.headers["location"], path.as_str());
    assert_eq!(app.get_as(&app.buyer(42), &path).await.body, placed.body);
    assert_eq!(app.get_as(&app.buyer(42), "/v1/orders?status=reserved").await.body["items"], json!([placed.body]));
    assert_eq!(app.get_as(&app.buyer(42), "/v1/orders?status=paid").await.body["items"], json!([]));
    assert_eq!(app.get_as(&app.buyer(42), &format!("/v1/orders?commodity_id={}", id + 1)).await.body["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_body_at_all_is_one_unit() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(5, json!({})).await;
    let path = format!("/v1/commodities/{id}/orders");
    let bare = app.request(Method::POST, &path).bearer_auth(app.buyer(1));
    let typed = app.request(Method::POST, &path).bearer_auth(app.buyer(1)).header("content-type", "application/json");
    let empty = app.request(Method::POST, &path).bearer_auth(app.buyer(1)).json(&json!({}));
    for request in [bare, typed, empty] {
        let answer = app.send(request).await;
        assert_eq!((answer.status.as_u16(), &answer.body["quantity"]), (201, &json!(1)), "{:?}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commodity_tells_its_state_and_refuses_accordingly() {
    let app = TestApp::start(Backend::Sqlite).await;
    let later = app.list(5, json!({"starts_at": "2098-01-01T00:00:00Z"})).await;
    let over = app.list(5, json!({"ends_at": "2021-01-01T00:00:00Z"})).await;
    let none = app.list(0, json!({})).await;
    let paused = app.list(5, json!({})).await;
    assert_eq!(app.post_as(&app.operator(), &format!("/admin/v1/commodities/{paused}/pause"), &Value::Null).await.status.as_u16(), 200);
    for (id, state) in [(later, "not_started"), (over, "ended"), (none, "sold_out"), (paused, "paused")] {
        assert_eq!(app.get(&format!("/v1/commodities/{id}")).await.body["state"], json!(state));
        assert_eq!(app.place(1, id, &json!({})).await.refusal(), (409, state));
        // With a key the board is not asked: the engine says the same.
        assert_eq!(app.place_under_key(1, id, "k", &json!({})).await.refusal(), (409, state));
    }
    let list = app.get("/v1/commodities").await.body;
    let first = list["items"][0].as_object().expect("a commodity");
    for field in ["id", "name", "description", "image_url", "price", "currency", "state", "total", "available", "limit_per_user"] {
        assert!(first.contains_key(field), "{field}");
    }
    for field in ["held", "sold", "version"] {
        assert!(!first.contains_key(field), "{field} is for operators");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_finds_its_order_even_when_all_is_sold_out_or_over() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(1, json!({})).await;
    let first = app.place_under_key(1, id, "mine", &json!({})).await;
    assert_eq!(first.status.as_u16(), 201);
    assert_eq!(app.place(2, id, &json!({})).await.refusal(), (409, "sold_out"));
    let replay = app.place_under_key(1, id, "mine", &json!({})).await;
    assert_eq!((replay.status.as_u16(), &replay.body), (200, &first.body));
    assert_eq!(app.post_as(&app.operator(), &format!("/admin/v1/commodities/{id}/end"), &Value::Null).await.status.as_u16(), 200);
    let replay = app.place_under_key(1, id, "mine", &json!({})).await;
    assert_eq!((replay.status.as_u16(), &replay.body), (200, &first.body));
    assert_eq!(app.place_under_key(2, id, "mine", &json!({})).await.refusal(), (409, "ended"), "a key is its user's own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_the_same_with_and_without_quotes() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(2, json!({})).await;
    let first = app.place_under_key(1, id, "\"mine\"", &json!({})).await;
    assert_eq!(first.status.as_u16(), 201);
    let replay = app.place_under_key(1, id, "mine", &json!({})).await;
    assert_eq!((replay.status.as_u16(), &replay.body), (200, &first.body));
    assert_eq!(app.place_under_key(1, id, "\"\"", &json!({})).await.refusal(), (422, "invalid_request"));
}

/// What a buyer without a key is given with the id of an order in doubt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_names_an_order_is_answered_with_it_and_places_one_where_there_is_none() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(5, json!({})).await;
    let placed = app.place(1, id, &json!({"quantity": 2})).await;
    let order = placed.body["order_id"].as_str().expect("an id").to_owned();
    let key = format!("order-{order}");
    let again = app.place_under_key(1, id, &key, &json!({"quantity": 2})).await;
    assert_eq!((again.status.as_u16(), &again.body), (200, &placed.body));
    assert_eq!(app.place_under_key(1, id, &key, &json!({"quantity": 1})).await.refusal(), (422, "idempotency_mismatch"));
    // Another buyer's, and one that never was: new orders, each under a key like any other.
    let never = format!("order-{}{}", &order[..27], "fffffffff");
    for (buyer, key) in [(2, &key), (1, &never)] {
        let first = app.place_under_key(buyer, id, key, &json!({})).await;
        assert_eq!(first.status.as_u16(), 201);
        assert_ne!(first.body["order_id"], placed.body["order_id"]);
        let replay = app.place_under_key(buyer, id, key, &json!({})).await;
        assert_eq!((replay.status.as_u16(), &replay.body), (200, &first.body));
    }
    assert_eq!(app.get_as(&app.buyer(1), &format!("/v1/commodities/{id}")).await.body["available"], json!(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_was_never_given_is_not_found() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(1, json!({})).await;
    let placed = app.place(1, id, &json!({})).await.body["order_id"].as_str().expect("an id").to_owned();
    // The number of an order in its epoch is in the last 36 bits: far beyond what was given.
    let never = format!("{}{}", &placed[..27], "fffffffff");
    assert_eq!(app.get_as(&app.buyer(1), &format!("/v1/orders/{never}")).await.refusal(), (404, "order_not_found"));
    let path = format!("/v1/orders/{never}/cancel");
    assert_eq!(app.post_as(&app.buyer(1), &path, &Value::Null).await.refusal(), (404, "order_not_found"));
}
