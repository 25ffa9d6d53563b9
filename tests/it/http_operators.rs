//! What operators can do over HTTP, and what it does to a sale.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Backend;
use crate::support::app::{Answer, TestApp, commodity_body};

async fn act(app: &TestApp, id: i64, action: &str, body: &Value) -> Answer {
    app.post_as(&app.operator(), &format!("/admin/v1/commodities/{id}/{action}"), body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commodity_lives_from_listing_to_removal() {
    let app = TestApp::start(Backend::Sqlite).await;
    let created = app.post_as(&app.operator(), "/admin/v1/commodities", &commodity_body(2, json!({"limit_per_user": 5}))).await;
    assert_eq!((created.status.as_u16(), &created.body["state"], &created.body["version"]), (201, &json!("open"), &json!(1)));
    assert_eq!(created.headers["etag"], "\"1\"");
    let id = created.body["id"].as_i64().expect("an id");
    let path = format!("/admin/v1/commodities/{id}");
    assert_eq!(created.headers["location"], path.as_str());

    let restocked = act(&app, id, "restock", &json!({"units": 3})).await;
    assert_eq!((restocked.status.as_u16(), &restocked.body["total"], &restocked.body["available"]), (200, &json!(5), &json!(5)));
    assert_eq!(act(&app, id, "pause", &Value::Null).await.body["state"], json!("paused"));
    assert_eq!(act(&app, id, "pause", &Value::Null).await.body["paused"], json!(true), "pausing twice is no fault");
    assert_eq!(act(&app, id, "resume", &Value::Null).await.body["state"], json!("open"));

    let placed = app.place(9, id, &json!({"quantity": 2})).await;
    assert_eq!(placed.status.as_u16(), 201);
    assert_eq!(app.delete_as(&app.operator(), &path).await.refusal(), (409, "has_orders"));
    assert_eq!(app.patch_as(&app.operator(), &path, &json!({"total": 1})).await.refusal(), (409, "total_too_low"));
    let lowered = app.patch_as(&app.operator(), &path, &json!({"total": 2})).await;
    assert_eq!((lowered.status.as_u16(), &lowered.body["available"], &lowered.body["sold"]), (200, &json!(0), &json!(2)));

    let order = format!("/admin/v1/orders/{}", placed.body["order_id"].as_str().expect("an id"));
    let cancelled = app.post_as(&app.operator(), &format!("{order}/cancel"), &Value::Null).await;
    assert_eq!((cancelled.status.as_u16(), &cancelled.body["status"]), (200, &json!("cancelled")));
    assert_eq!(app.post_as(&app.operator(), &format!("{order}/cancel"), &Value::Null).await.refusal(), (409, "not_cancellable"));
    assert_eq!(app.get_as(&app.operator(), &order).await.body["status"], json!("cancelled"));

    assert_eq!(act(&app, id, "end", &Value::Null).await.body["state"], json!("ended"));
    assert_eq!(app.place(9, id, &json!({})).await.refusal(), (409, "ended"));
    assert_eq!(app.delete_as(&app.operator(), &path).await.status.as_u16(), 204);
    assert_eq!(app.delete_as(&app.operator(), &path).await.refusal(), (404, "commodity_not_found"));
    assert_eq!(app.get(&format!("/v1/commodities/{id}")).await.refusal(), (404, "commodity_not_found"));
    app.assert_balanced().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_changes_what_is_sent_and_only_the_version_that_was_seen() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(5, json!({"limit_per_user": 2, "hold_seconds": 60})).await;
    let path = format!("/admin/v1/commodities/{id}");
    let change = |tag: &'static str, body: Value| {
        let request = app.request(Method::PATCH, &path).bearer_auth(app.operator()).header("If-Match", tag).json(&body);
        app.send(request)
    };
    let changed = change("\"1\"", json!({"price": 1, "limit_per_user": null})).await;
    assert_eq!((changed.status.as_u16(), &changed.body["price"], &changed.body["limit_per_user"]), (200, &json!(1), &Value::Null));
    assert_eq!((&changed.body["hold_seconds"], changed.headers["etag"].to_str().ok()), (&json!(60), Some("\"2\"")));
    assert_eq!(change("\"1\"", json!({"price": 2})).await.refusal(), (412, "version_mismatch"));
    assert_eq!(change("W/\"2\"", json!({"price": 2})).await.refusal(), (412, "version_mismatch"));
    assert_eq!(change("2", json!({"price": 2})).await.refusal(), (422, "invalid_request"));
    assert_eq!(change("*", json!({"price": 3})).await.body["price"], json!(3));
    assert_eq!(app.get(&format!("/v1/commodities/{id}")).await.body["price"], json!(3), "buyers see it at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_filtered_and_exported() {
    let app = TestApp::start(Backend::Sqlite).await;
    let (one, other) = (app.list(10, json!({"name": "=1+1, \"cheap\""})).await, app.list(10, json!({})).await);
    for (user, commodity) in [(1, one), (2, one), (1, other)] {
        assert_eq!(app.place(user, commodity, &json!({})).await.status.as_u16(), 201);
    }
    let operator = app.operator();
    let count =
        async |query: &str| app.get_as(&operator, &format!("/admin/v1/orders?{query}")).await.body["items"].as_array().map(Vec::len);
    assert_eq!(count("").await, Some(3));
    assert_eq!(count(&format!("commodity_id={one}")).await, Some(2));
    assert_eq!(count("user_id=1").await, Some(2));
    assert_eq!(count(&format!("user_id=1&commodity_id={one}&status=confirmed")).await, Some(1));
    assert_eq!(count("status=cancelled").await, Some(0));
    assert_eq!(count("placed_from=2000-01-01T00:00:00Z&placed_until=2090-01-01T00:00:00Z").await, Some(3));
    assert_eq!(count("placed_from=2090-01-01T00:00:00Z").await, Some(0));

    let request = app.request(Method::GET, &format!("/admin/v1/orders.csv?commodity_id={one}")).bearer_auth(&operator);
    let response = request.send().await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "text/csv; charset=utf-8");
    assert_eq!(response.headers()["content-disposition"], "attachment; filename=\"orders.csv\"");
    let text = response.text().await.expect("text");
    let lines: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("\u{feff}order_id,commodity_id,commodity_name,user_id,quantity,"), "{text}");
    assert!(lines[1].contains(&format!(",{one},\"'=1+1, \"\"cheap\"\"\",2,1,4999,4999,EUR,confirmed,")), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_are_changed_but_never_ones_own() {
    let app = TestApp::start(Backend::Sqlite).await;
    let credentials = json!({"username": "alice", "password": "correct horse battery"});
    let registered = app.send(app.request(Method::POST, "/v1/auth/register").json(&credentials)).await;
    assert_eq!(registered.status.as_u16(), 201, "{:?}", registered.body);
    let id = registered.body["user_id"].as_str().expect("an id").to_owned();
    let (operator, path) = (app.operator(), format!("/admin/v1/users/{id}"));
    let listed = app.get_as(&operator, "/admin/v1/users").await;
    assert_eq!(listed.body["items"], json!([registered.body]));
    assert!(!listed.body.to_string().contains("argon2"), "{:?}", listed.body);
    assert_eq!(app.patch_as(&operator, &path, &json!({"role": "root"})).await.refusal(), (422, "invalid_request"));
    assert_eq!(app.patch_as(&operator, "/admin/v1/users/999999", &json!({"role": "admin"})).await.refusal(), (404, "user_not_found"));
    assert_eq!(app.get_as(&operator, "/admin/v1/users/999999").await.refusal(), (404, "user_not_found"));
    assert_eq!(app.get_as(&operator, &path).await.body["role"], json!("buyer"));

    let changed = app.patch_as(&operator, &path, &json!({"role": "admin"})).await;
    assert_eq!((changed.status.as_u16(), &changed.body["role"]), (200, &json!("admin")));
    let session = app.send(app.request(Method::POST, "/v1/auth/login").json(&credentials)).await;
    let token = session.body["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(app.patch_as(&token, &path, &json!({"role": "buyer"})).await.refusal(), (409, "own_role"));
    assert_eq!(app.get_as(&token, &path).await.body["role"], json!("admin"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_tells_the_equation_of_every_commodity() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.list(5, json!({"hold_seconds": 600})).await;
    assert_eq!(app.place(1, id, &json!({"quantity": 2})).await.status.as_u16(), 201);
    let audit = app.get_as(&app.operator(), "/admin/v1/audit").await.body;
    let row = &audit["items"][0];
    assert_eq!((&audit["balanced"], &row["commodity_id"], &row["balanced"]), (&json!(true), &json!(id), &json!(true)));
    let figures = ["total", "available", "held", "sold", "held_by_orders", "sold_by_orders", "live_orders"].map(|name| row[name].as_i64());
    assert_eq!(figures, [5, 3, 2, 0, 2, 0, 1].map(Some));
}
