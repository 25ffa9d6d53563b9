//! `Idempotency-Key` beside that of placings: whatever is asked for again under its key is done once and gets the same outcome. And
//! `unit_price`: nobody pays what they did not see.

use doorbuster::domain::{Operation, OperationKey, RequestFingerprint};
use doorbuster::store::Drawn;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Backend;
use crate::support::app::{Answer, TestApp, commodity_body};

async fn post(app: &TestApp, token: &str, path: &str, key: &str, body: &Value) -> Answer {
    let request = app.request(Method::POST, path).bearer_auth(token).header("Idempotency-Key", key);
    app.send(if body.is_null() { request } else { request.json(body) }).await
}

async fn operate(app: &TestApp, id: i64, action: &str, key: &str, body: &Value) -> Answer {
    post(app, &app.operator(), &format!("/admin/v1/commodities/{id}/{action}"), key, body).await
}

/// Case 7, and on a real server too.
async fn a_restock_is_done_once(backend: Backend) {
    let app = TestApp::start(backend).await;
    let id = app.list(5, json!({})).await;
    let first = operate(&app, id, "restock", "mine", &json!({"units": 10})).await;
    assert_eq!((first.status.as_u16(), &first.body["total"], &first.headers["etag"]), (200, &json!(15), &"\"2\"".parse().unwrap()));
    for key in ["mine", "\"mine\""] {
        let again = operate(&app, id, "restock", key, &json!({"units": 10})).await;
        assert_eq!((again.status.as_u16(), &again.body["total"], &again.headers["etag"]), (200, &json!(15), &"\"2\"".parse().unwrap()));
    }
    assert_eq!(operate(&app, id, "restock", "mine", &json!({"units": 11})).await.refusal(), (422, "idempotency_mismatch"));
    // Another path, another operator and another key are each another request.
    let other = app.list(5, json!({})).await;
    assert_eq!(operate(&app, other, "restock", "mine", &json!({"units": 10})).await.body["total"], json!(15));
    assert_eq!(operate(&app, id, "pause", "mine", &Value::Null).await.status.as_u16(), 200);
    assert_eq!(operate(&app, id, "restock", "another", &json!({"units": 1})).await.body["total"], json!(16));
    // It is answered as it stands now.
    let again = operate(&app, id, "restock", "mine", &json!({"units": 10})).await;
    assert_eq!((again.status.as_u16(), &again.body["total"], &again.body["paused"]), (200, &json!(16), &json!(true)));
    let app = app.restart().await;
    let again = operate(&app, id, "restock", "mine", &json!({"units": 10})).await;
    assert_eq!((again.status.as_u16(), &again.body["total"], &again.headers["etag"]), (200, &json!(16), &"\"4\"".parse().unwrap()));
    assert_eq!(operate(&app, id, "restock", "mine", &json!({"units": 11})).await.refusal(), (422, "idempotency_mismatch"));
    app.assert_balanced().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restock_repeated_under_its_key_is_done_once() {
    a_restock_is_done_once(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restock_repeated_under_its_key_is_done_once_on_mysql() {
    a_restock_is_done_once(Backend::Mysql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_other_change_repeated_under_its_key_is_the_one_that_was() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(5, json!({})).await;
    let paused = async || app.get_as(&app.operator(), &format!("/admin/v1/commodities/{id}")).await.body["paused"].clone();
    assert_eq!(operate(&app, id, "pause", "a", &Value::Null).await.status.as_u16(), 200);
    assert_eq!(operate(&app, id, "resume", "a", &Value::Null).await.status.as_u16(), 200, "another path");
    assert_eq!(operate(&app, id, "pause", "a", &Value::Null).await.status.as_u16(), 200);
    assert_eq!(paused().await, json!(false), "it was paused once");
    assert_eq!(operate(&app, id, "pause", "b", &Value::Null).await.status.as_u16(), 200);
    assert_eq!(operate(&app, id, "resume", "a", &Value::Null).await.status.as_u16(), 200);
    assert_eq!(paused().await, json!(true), "it was resumed once");
    // Refused, that it was refused is not kept.
    assert_eq!(operate(&app, id, "close", "a", &Value::Null).await.refusal(), (409, "not_ended"));
    for action in ["end", "close"] {
        for _ in 0..2 {
            assert_eq!(operate(&app, id, action, "a", &Value::Null).await.status.as_u16(), 200, "{action}");
        }
    }
    // It is history by then, and what was done to it before is still known.
    let app = app.restart().await;
    for action in ["pause", "resume", "end", "close"] {
        let again = operate(&app, id, action, "a", &Value::Null).await;
        assert_eq!((again.status.as_u16(), &again.body["state"]), (200, &json!("closed")), "{action}");
    }
    assert_eq!(operate(&app, id, "pause", "c", &Value::Null).await.refusal(), (409, "closed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_what_was_removed_since_is_the_one_that_was_and_no_other_is_made() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(5, json!({"sku": "KB-75"})).await;
    let (more, tag) = (json!({"units": 10}), "\"3\"".parse::<reqwest::header::HeaderValue>().expect("a tag"));
    assert_eq!(operate(&app, id, "restock", "a", &more).await.body["total"], json!(15));
    assert_eq!(operate(&app, id, "pause", "a", &Value::Null).await.status.as_u16(), 200);
    let removed = app.delete_as(&app.operator(), &format!("/admin/v1/commodities/{id}")).await;
    assert_eq!(removed.status.as_u16(), 204);
    let repeated = async |app: &TestApp| {
        let again = operate(app, id, "restock", "a", &more).await;
        assert_eq!((again.status.as_u16(), &again.body["total"], &again.headers["etag"]), (200, &json!(15), &tag), "{:?}", again.body);
        assert_eq!(operate(app, id, "pause", "a", &Value::Null).await.body["paused"], json!(true));
        assert_eq!(operate(app, id, "restock", "a", &json!({"units": 11})).await.refusal(), (422, "idempotency_mismatch"));
        assert_eq!(operate(app, id, "restock", "b", &more).await.refusal(), (404, "commodity_not_found"), "it was never asked for");
        assert_eq!(operate(app, id, "resume", "a", &Value::Null).await.refusal(), (404, "commodity_not_found"));
    };
    // While its engine knows it still, and when it does not.
    repeated(&app).await;
    let app = app.restart().await;
    repeated(&app).await;
    assert_eq!(app.get(&format!("/v1/commodities/{id}")).await.refusal(), (404, "commodity_not_found"));
    app.assert_balanced().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_repeated_under_its_key_gets_its_outcome_whatever_the_version_is_by_now() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(5, json!({})).await;
    let restock = async |key: &str, tag: &str| {
        let request = app.request(Method::POST, &format!("/admin/v1/commodities/{id}/restock")).bearer_auth(app.operator());
        app.send(request.header("Idempotency-Key", key).header("If-Match", tag).json(&json!({"units": 1}))).await
    };
    assert_eq!(restock("a", "\"9\", \"1\"").await.body["version"], json!(2));
    for tag in ["\"9\", \"1\"", "\"1\"", "\"2\"", "W/\"1\"", "*"] {
        let again = restock("a", tag).await;
        assert_eq!((again.status.as_u16(), &again.body["total"]), (200, &json!(6)), "{tag}");
    }
    for tag in ["\"1\"", "W/\"2\""] {
        assert_eq!(restock("b", tag).await.refusal(), (412, "version_mismatch"), "{tag}");
    }
    assert_eq!(restock("b", "\"2\"").await.body["total"], json!(7), "a refusal is not kept");
}

/// Case 7.
async fn a_commodity_is_created_once(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (path, body) = ("/admin/v1/commodities", commodity_body(5, json!({})));
    let operator = app.operator();
    let all = futures_util::future::join_all((0..6).map(|_| post(&app, &operator, path, "mine", &body))).await;
    let first = all.iter().find(|answer| answer.status.as_u16() == 201).expect("one is new");
    assert_eq!(all.iter().filter(|answer| answer.status.as_u16() == 200).count(), 5, "{all:?}");
    assert!(all.iter().all(|answer| answer.body["id"] == first.body["id"]));
    let again = post(&app, &app.operator(), path, "mine", &body).await;
    assert_eq!((again.status.as_u16(), &again.body["id"], &again.body["total"]), (200, &first.body["id"], &json!(5)));
    let spelled_out = commodity_body(5, json!({"starts_at": "2020-01-01T00:00:00Z"}));
    assert_eq!(post(&app, &app.operator(), path, "mine", &spelled_out).await.status.as_u16(), 200, "the same in other letters");
    let other = commodity_body(6, json!({}));
    assert_eq!(post(&app, &app.operator(), path, "mine", &other).await.refusal(), (422, "idempotency_mismatch"));
    assert_eq!(app.get("/v1/commodities").await.body["items"].as_array().map(Vec::len), Some(1));
    // Taken off the list, it is not put there again.
    let id = first.body["id"].as_i64().expect("an id");
    assert_eq!(app.delete_as(&app.operator(), &format!("{path}/{id}")).await.status.as_u16(), 204);
    let app = app.restart().await;
    let again = post(&app, &app.operator(), path, "mine", &body).await;
    assert_eq!((again.status.as_u16(), &again.body["id"]), (200, &json!(id)));
    assert_eq!(app.get("/v1/commodities").await.body["items"], json!([]));
    assert_eq!(post(&app, &app.operator(), path, "another", &body).await.status.as_u16(), 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commodity_created_under_one_key_many_times_and_at_once_is_one() {
    a_commodity_is_created_once(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commodity_created_under_one_key_many_times_and_at_once_is_one_on_mysql() {
    a_commodity_is_created_once(Backend::Mysql).await;
}

/// Whoever drew it died before anything was made with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_was_drawn_for_a_key_is_what_its_request_goes_on_with() {
    for backend in [Backend::Sqlite, Backend::Mysql] {
        let app = TestApp::start(backend).await;
        let (store, now) = (app.store().await, doorbuster::clock::system());
        let operation = |key: &str, fingerprint| Operation {
            key: OperationKey::of("1", "/admin/v1/commodities", key),
            fingerprint: RequestFingerprint(fingerprint),
        };
        let drawn = store.commodity_ids_under_key(operation("a", 1), 1, now).await.expect("it is drawn");
        let Drawn::New(id) = drawn else { panic!("{drawn:?}") };
        assert_eq!(store.commodity_ids_under_key(operation("a", 1), 1, now).await.expect("it was drawn"), Drawn::Before(id));
        assert_eq!(store.commodity_ids_under_key(operation("a", 2), 1, now).await.expect("it was drawn"), Drawn::Mismatch);
        let another = store.commodity_ids_under_key(operation("b", 1), 1, now).await.expect("it is drawn");
        assert!(matches!(another, Drawn::New(other) if other != id), "{another:?}");
        let (hour, body) = (3_600_000, commodity_body(5, json!({})));
        let day = doorbuster::domain::Timestamp::from_millis(now.millis() + 25 * hour).expect("a time");
        let free = store.commodity_ids_under_key(operation("a", 1), 1, day).await.expect("it is drawn");
        assert!(matches!(free, Drawn::New(other) if other != id), "it is free again");
        // What the endpoint asks for it takes up where it was left.
        let first = post(&app, &app.operator(), "/admin/v1/commodities", "c", &body).await;
        assert_eq!(first.status.as_u16(), 201);
        let later = doorbuster::domain::Timestamp::from_millis(now.millis() + 60 * hour).expect("a time");
        store.drop_old_keys(later).await.expect("they are dropped");
        store.drop_old_keys(later).await.expect("there is nothing left to drop");
        let fresh = store.commodity_ids_under_key(operation("b", 2), 1, now).await.expect("it is drawn");
        assert!(matches!(fresh, Drawn::New(_)), "it was dropped");
        store.close().await.expect("nothing is under way");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_repeated_under_its_key_is_done_and_without_one_refused() {
    for backend in [Backend::Sqlite, Backend::Mysql] {
        let app = TestApp::start(backend).await;
        let id = app.list(5, json!({})).await;
        let order = async |body: Value| app.place(7, id, &body).await.body["order_id"].as_str().expect("an id").to_owned();
        let (mine, theirs) = (order(json!({"quantity": 2})).await, order(json!({})).await);
        let cancels = [(app.buyer(7), format!("/v1/orders/{mine}/cancel")), (app.operator(), format!("/admin/v1/orders/{theirs}/cancel"))];
        for (token, path) in &cancels {
            // At once and one after the other.
            let all = futures_util::future::join_all((0..4).map(|_| post(&app, token, path, "k", &Value::Null))).await;
            for answer in &all {
                assert_eq!((answer.status.as_u16(), &answer.body["status"]), (200, &json!("cancelled")), "{path}: {:?}", answer.body);
            }
            assert_eq!(post(&app, token, path, "other", &Value::Null).await.refusal(), (409, "not_cancellable"));
            assert_eq!(app.post_as(token, path, &Value::Null).await.refusal(), (409, "not_cancellable"));
        }
        assert_eq!(app.books(id).await, [5, 5, 0, 0]);
        // Its engine has forgotten both, and the next one never knew them.
        let app = app.restart().await;
        for (token, path) in &cancels {
            assert_eq!(post(&app, token, path, "\"k\"", &Value::Null).await.body["status"], json!("cancelled"), "{path}");
            assert_eq!(app.post_as(token, path, &Value::Null).await.refusal(), (409, "not_cancellable"));
        }
        // To another buyer there is no such order, whatever key they guess.
        let (_, path) = &cancels[0];
        assert_eq!(post(&app, &app.buyer(8), path, "k", &Value::Null).await.refusal(), (404, "order_not_found"));
        app.assert_balanced().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_none_is_a_fault_of_every_post() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(5, json!({})).await;
    let order = app.place(1, id, &json!({})).await.body["order_id"].as_str().expect("an id").to_owned();
    for (token, path, body) in [
        (app.operator(), "/admin/v1/commodities".to_owned(), commodity_body(5, json!({}))),
        (app.operator(), format!("/admin/v1/commodities/{id}/restock"), json!({"units": 1})),
        (app.operator(), format!("/admin/v1/commodities/{id}/pause"), Value::Null),
        (app.operator(), format!("/admin/v1/orders/{order}/cancel"), Value::Null),
        (app.buyer(1), format!("/v1/orders/{order}/cancel"), Value::Null),
        (app.buyer(1), format!("/v1/commodities/{id}/orders"), json!({})),
    ] {
        for key in ["", "a b", &"a".repeat(256)] {
            let answer = post(&app, &token, &path, key, &body).await;
            assert_eq!(
                (answer.refusal(), &answer.body["errors"][0]["field"]),
                ((422, "invalid_request"), &json!("Idempotency-Key")),
                "{path}"
            );
        }
    }
    assert_eq!(app.books(id).await, [5, 4, 0, 1]);
}

/// Case 24.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_at_another_price_than_its_buyer_saw_is_refused() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(5, json!({"price": 100})).await;
    let seen = json!({"unit_price": 100});
    let first = app.place_under_key(1, id, "a", &seen).await;
    assert_eq!((first.status.as_u16(), &first.body["unit_price"]), (201, &json!(100)));
    let raised = app.patch_as(&app.operator(), &format!("/admin/v1/commodities/{id}"), &json!({"price": 99_900})).await;
    assert_eq!(raised.status.as_u16(), 200);
    assert_eq!(app.place(1, id, &seen).await.refusal(), (409, "price_changed"));
    assert_eq!(app.place_under_key(2, id, "a", &seen).await.refusal(), (409, "price_changed"));
    let again = app.place_under_key(1, id, "a", &seen).await;
    assert_eq!((again.status.as_u16(), &again.body), (200, &first.body), "whoever asks again gets what they got");
    for other in [json!({"unit_price": 99_900}), json!({})] {
        assert_eq!(app.place_under_key(1, id, "a", &other).await.refusal(), (422, "idempotency_mismatch"), "{other}");
    }
    let named = format!("order-{}", first.body["order_id"].as_str().expect("an id"));
    assert_eq!(app.place_under_key(1, id, &named, &seen).await.status.as_u16(), 200);
    assert_eq!(app.place_under_key(1, id, &named, &json!({"unit_price": 99_900})).await.refusal(), (422, "idempotency_mismatch"));
    for body in [json!({}), json!({"unit_price": null}), json!({"unit_price": 99_900})] {
        assert_eq!(app.place(3, id, &body).await.body["unit_price"], json!(99_900), "{body}");
    }
    for wrong in [json!({"unit_price": -1}), json!({"unit_price": "100"}), json!({"unit_price": 1.5})] {
        assert_eq!(app.place(3, id, &wrong).await.refusal(), (422, "invalid_request"), "{wrong}");
    }
    assert_eq!(app.books(id).await, [5, 1, 0, 4]);
}
