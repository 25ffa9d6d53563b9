//! A sale from the first order to the last, over HTTP, on every database.

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::Backend;
use crate::support::app::TestApp;

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_sells_exactly_its_stock_and_survives_a_restart(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    let lamp = app.list(3, json!({"limit_per_user": 2})).await;

    let first = app.place_under_key(10, lamp, "k-1", &json!({"quantity": 2})).await;
    assert_eq!((first.status.as_u16(), &first.body["status"], &first.body["amount"]), (201, &json!("confirmed"), &json!(9_998)));
    let replay = app.place_under_key(10, lamp, "k-1", &json!({"quantity": 2})).await;
    assert_eq!((replay.status.as_u16(), &replay.body), (200, &first.body));
    assert_eq!(app.place_under_key(10, lamp, "k-1", &json!({})).await.refusal(), (422, "idempotency_mismatch"));
    assert_eq!(app.place(10, lamp, &json!({})).await.refusal(), (409, "limit_reached"));
    assert_eq!(app.place(11, lamp, &json!({"quantity": 2})).await.refusal(), (409, "sold_out"));
    assert_eq!(app.place(11, lamp, &json!({})).await.status.as_u16(), 201);
    assert_eq!(app.place(12, lamp, &json!({})).await.refusal(), (409, "sold_out"));
    assert_eq!(app.books(lamp).await, [3, 0, 0, 3]);

    let app = app.restart().await;
    assert_eq!(app.books(lamp).await, [3, 0, 0, 3]);
    let replay = app.place_under_key(10, lamp, "k-1", &json!({"quantity": 2})).await;
    assert_eq!((replay.status.as_u16(), &replay.body), (200, &first.body));
    assert_eq!(app.place(10, lamp, &json!({})).await.refusal(), (409, "sold_out"));

    let path = format!("/v1/orders/{}/cancel", first.body["order_id"].as_str().expect("an id"));
    let cancelled = app.post_as(&app.buyer(10), &path, &Value::Null).await;
    assert_eq!((cancelled.status.as_u16(), &cancelled.body["status"]), (200, &json!("cancelled")));
    assert_eq!(app.post_as(&app.buyer(10), &path, &Value::Null).await.refusal(), (409, "not_cancellable"));
    assert_eq!(app.books(lamp).await, [3, 2, 0, 1]);
    assert_eq!(app.place(12, lamp, &json!({"quantity": 2})).await.status.as_u16(), 201);
    assert_eq!(app.books(lamp).await, [3, 0, 0, 3]);
    app.assert_balanced().await;
    app.stop().await;
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_nobody_pays_ends_and_its_units_are_sold_to_another(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    let lamp = app.list(1, json!({"hold_seconds": 1, "grace_seconds": 0})).await;
    let held = app.place(20, lamp, &json!({})).await;
    assert_eq!((held.status.as_u16(), &held.body["status"]), (201, &json!("reserved")));
    assert_eq!(app.books(lamp).await, [1, 0, 1, 0]);
    assert_eq!(app.place(21, lamp, &json!({})).await.refusal(), (409, "sold_out"));

    let order = format!("/v1/orders/{}", held.body["order_id"].as_str().expect("an id"));
    while app.get_as(&app.buyer(20), &order).await.body["status"] == json!("reserved") {
        tokio::task::yield_now().await;
    }
    assert_eq!(app.get_as(&app.buyer(20), &order).await.body["status"], json!("expired"));
    assert_eq!(app.place(21, lamp, &json!({})).await.status.as_u16(), 201);
    app.assert_balanced().await;
    app.stop().await;
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_buyers_at_once_get_exactly_the_stock(#[case] backend: Backend) {
    let app = std::sync::Arc::new(TestApp::start(backend).await);
    let lamp = app.list(50, json!({"limit_per_user": 1})).await;
    let buyers: Vec<_> = (1..=200)
        .map(|user| {
            let app = std::sync::Arc::clone(&app);
            tokio::spawn(async move { app.place(user, lamp, &json!({})).await.status.as_u16() })
        })
        .collect();
    let mut accepted = 0;
    for buyer in buyers {
        match buyer.await.expect("a buyer gets an answer") {
            201 => accepted += 1,
            409 => {}
            other => panic!("unexpected status {other}"),
        }
    }
    assert_eq!((accepted, app.books(lamp).await), (50, [50, 0, 0, 50]));
    app.assert_balanced().await;
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_was_superseded_sells_nothing(#[case] backend: Backend) {
    let older = TestApp::start(backend).await;
    let lamp = older.list(1, json!({})).await;
    let younger = older.another_process().await;
    assert_eq!(younger.place(1, lamp, &json!({})).await.status.as_u16(), 201);

    let doubtful = older.place(2, lamp, &json!({})).await;
    assert_eq!((doubtful.status.as_u16(), &doubtful.body["status"]), (202, &json!("pending")));
    let order = format!("/v1/orders/{}", doubtful.body["order_id"].as_str().expect("an id"));
    while older.get_as(&older.buyer(2), &order).await.body["status"] == json!("pending") {
        tokio::task::yield_now().await;
    }
    assert_eq!(older.get_as(&older.buyer(2), &order).await.body["status"], json!("refused"));
    assert_eq!(older.place(2, lamp, &json!({})).await.refusal(), (409, "sold_out"));
    older.assert_balanced().await;
}
