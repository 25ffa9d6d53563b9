//! The OWASP API Security Top 10 of 2023: for each, what is tried and the answer it gets.

use doorbuster::store::Role;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::roles::{operators_calls, status_of};
use crate::support::Backend;
use crate::support::accounts::{Admins, Door, PASSWORD, number};
use crate::support::app::{TestApp, commodity_body};

/// API1, broken object level authorization: another's order, by its id, for every call that takes one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api1_anothers_order_is_answered_like_one_that_never_was() {
    let app = TestApp::start(Backend::Sqlite).await;
    let lamp = app.list(5, json!({})).await;
    let placed = app.place(7, lamp, &json!({})).await;
    let theirs = placed.body["order_id"].as_str().expect("an id").to_owned();
    let nobodys = "01234567-89ab-8abc-9555-555123456789";
    let told = async |method: Method, path: String| {
        let mut answer = app.send(app.request(method, &path).bearer_auth(app.buyer(8)).json(&Value::Null)).await;
        answer.body["request_id"] = Value::Null;
        (answer.status.as_u16(), answer.body)
    };
    for (method, path) in [(Method::GET, "/v1/orders/{id}"), (Method::POST, "/v1/orders/{id}/cancel")] {
        let (answer, unknown) =
            (told(method.clone(), path.replace("{id}", &theirs)).await, told(method, path.replace("{id}", nobodys)).await);
        assert_eq!((answer.0, &answer.1["code"]), (404, &json!("order_not_found")), "{path}");
        assert_eq!(answer, unknown, "{path}");
    }
    assert_eq!(app.get_as(&app.buyer(8), "/v1/orders").await.body["items"], json!([]));
    assert_eq!(app.get_as(&app.buyer(8), "/v1/orders?user_id=7").await.refusal(), (422, "invalid_request"));
    // A key is its buyer's own.
    assert_eq!(app.place_under_key(7, lamp, "key", &json!({})).await.status.as_u16(), 201);
    let under_the_same = app.place_under_key(8, lamp, "key", &json!({})).await;
    assert_eq!((under_the_same.status.as_u16(), number(&under_the_same.body["user_id"])), (201, 8));
    assert_eq!(app.books(lamp).await, [5, 2, 0, 3]);
}

/// API2, broken authentication: beside tokens and guessing, which have tables of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api2_a_password_is_not_changed_and_a_role_not_taken_without_proof() {
    let app = TestApp::start(Backend::Sqlite).await;
    let door = Door::of(&app);
    let id = door.register("alice").await;
    let token = door.token("alice", PASSWORD).await;
    assert_eq!(door.change_password(&token, "not her password", "a new password").await.refusal(), (401, "invalid_credentials"));
    assert_eq!(door.change_password(&app.buyer(id + 1), PASSWORD, "a new password").await.refusal(), (404, "user_not_found"));
    assert_eq!(door.give_role(&token, id, "admin").await.refusal(), (403, "forbidden"));
    for short in ["", "1234567", "       "] {
        assert_eq!(door.change_password(&token, PASSWORD, short).await.refusal(), (422, "invalid_request"));
    }
    // Nothing of it is kept by a cache on the way.
    assert_eq!(door.login("alice", PASSWORD).await.headers["cache-control"], "no-store");
}

/// API3, broken object property level authorization: fields that are not the caller's to set, and such as are not theirs to see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api3_fields_that_are_not_the_callers_are_refused_and_secrets_are_not_shown() {
    let app = TestApp::start(Backend::Sqlite).await;
    let lamp = app.list(5, json!({})).await;
    let admin = app.mint(999, Role::Admin);
    let account = |field: &str| json!({"username": "alice", "password": PASSWORD, field: "admin"});
    for field in ["role", "id", "user_id", "is_admin", "generation", "password_hash"] {
        let answer = app.send(app.request(Method::POST, "/v1/auth/register").json(&account(field))).await;
        assert_eq!((answer.refusal(), &answer.body["errors"][0]["field"]), ((422, "invalid_request"), &json!(field)));
    }
    for field in ["user_id", "price", "status", "amount", "pay_by", "order_id", "commodity_id"] {
        assert_eq!(app.place(7, lamp, &json!({field: 1})).await.refusal(), (422, "invalid_request"), "{field}");
    }
    for field in ["id", "available", "held", "sold", "version", "closed_at", "state"] {
        let answer = app.patch_as(&admin, &format!("/admin/v1/commodities/{lamp}"), &json!({field: 1})).await;
        assert_eq!(answer.refusal(), (422, "invalid_request"), "{field}");
    }
    let body = r#"{"quantity":1,"quantity":5}"#;
    let twice = app.request(Method::POST, &format!("/v1/commodities/{lamp}/orders")).bearer_auth(app.buyer(7));
    assert_eq!(app.send(twice.header("Content-Type", "application/json").body(body)).await.refusal(), (422, "invalid_request"));
    Door::of(&app).register("alice").await;
    let shown = app.get_as(&admin, "/admin/v1/users").await.body.to_string();
    assert!(shown.contains("alice") && !shown.contains("argon2") && !shown.contains("password"), "{shown}");
    assert_eq!(app.books(lamp).await, [5, 5, 0, 0]);
}

/// API4, unrestricted resource consumption: bodies, pages, headers, passwords without end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api4_whatever_is_too_much_is_refused() {
    let app = TestApp::start(Backend::Sqlite).await;
    let lamp = app.list(5, json!({})).await;
    let order = format!("/v1/commodities/{lamp}/orders");
    let raw =
        |body: String| app.request(Method::POST, &order).bearer_auth(app.buyer(7)).header("Content-Type", "application/json").body(body);
    assert_eq!(app.send(raw(format!("{{\"x\":\"{}\"}}", "x".repeat(70_000)))).await.refusal(), (413, "body_too_large"));
    assert_eq!(app.send(raw("[".repeat(60_000))).await.refusal(), (422, "invalid_request"));
    assert_eq!(app.send(raw(format!("{{\"quantity\":1{}}}", "0".repeat(60_000)))).await.refusal(), (422, "invalid_request"));
    for quantity in [json!(1_000_001), json!(-1), json!(0), json!(1e300), json!(u64::MAX)] {
        assert_eq!(app.place(7, lamp, &json!({"quantity": quantity})).await.refusal(), (422, "invalid_request"), "{quantity}");
    }
    for limit in ["0", "201", "-1", "99999999999999999999", "all"] {
        assert_eq!(app.get(&format!("/v1/commodities?limit={limit}")).await.refusal(), (422, "invalid_request"), "{limit}");
    }
    let long = json!({"username": "alice", "password": "x".repeat(60_000)});
    assert_eq!(app.send(app.request(Method::POST, "/v1/auth/register").json(&long)).await.refusal(), (422, "invalid_request"));
    let key = app.request(Method::POST, &order).bearer_auth(app.buyer(7)).header("Idempotency-Key", "k".repeat(256));
    assert_eq!(app.send(key.json(&json!({}))).await.refusal(), (422, "invalid_request"));
    // Over a connection of its own, which may be reset.
    let apart = reqwest::Client::new().get(format!("{}/v1/commodities", app.url()));
    let headers = (0..200).fold(apart, |request, number| request.header(format!("X-Header-{number}"), "x".repeat(2_000)));
    // The framework closes such a connection, with an answer or without one.
    assert!(headers.send().await.map_or(true, |answer| answer.status().is_client_error()));
    assert_eq!(app.books(lamp).await, [5, 5, 0, 0]);
}

/// API5, broken function level authorization: every call of the operators, by whoever is none ([`crate::roles`] has the whole table).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api5_no_call_of_the_operators_is_anybody_elses_however_it_is_written() {
    let app = TestApp::start(Backend::Sqlite).await;
    let door = Door::of(&app);
    for call in operators_calls(&door).await {
        assert_eq!(status_of(&door, &call, Some(&app.buyer(7))).await, 403, "{call}");
    }
    let lamp = app.list(5, json!({})).await;
    for (method, path) in [
        (Method::GET, "//admin/v1/users".to_owned()),
        (Method::GET, "/ADMIN/v1/users".to_owned()),
        (Method::GET, "/admin/v1/users/".to_owned()),
        (Method::GET, "/admin/v1/%75sers".to_owned()),
        (Method::GET, "/v1/commodities/..%2f..%2fadmin/v1/users".to_owned()),
        (Method::DELETE, format!("/v1/commodities/{lamp}")),
        (Method::PUT, format!("/admin/v1/commodities/{lamp}")),
        (Method::PATCH, format!("/v1/commodities/{lamp}")),
    ] {
        let answer = app.send(app.request(method.clone(), &path).bearer_auth(app.buyer(7)).json(&json!({"price": 1}))).await;
        assert!([403, 404, 405].contains(&answer.status.as_u16()), "{method} {path}: {:?}", answer.status);
    }
    for header in ["X-HTTP-Method-Override", "X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix"] {
        let request = app.request(Method::GET, "/v1/commodities").bearer_auth(app.buyer(7)).header(header, "/admin/v1/users");
        let answer = app.send(request).await;
        assert_eq!(answer.body["items"][0]["id"], json!(lamp), "{header}: {:?}", answer.body);
    }
}

/// API6, unrestricted access to sensitive business flows: one buyer who takes everything, in many ways at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api6_one_buyer_does_not_get_more_than_one_may_have() {
    let app = TestApp::start(Backend::Sqlite).await;
    let lamp = app.list(100, json!({"limit_per_user": 2})).await;
    let keyed = futures_util::future::join_all((0..20).map(|number| {
        let key = format!("key-{number}");
        let app = &app;
        async move { app.place_under_key(7, lamp, &key, &json!({})).await.status.as_u16() }
    }));
    let bare = futures_util::future::join_all((0..20).map(|_| async { app.place(7, lamp, &json!({})).await.status.as_u16() }));
    let three = json!({"quantity": 3});
    let large = app.place(7, lamp, &three);
    let (keyed, bare, large) = tokio::join!(keyed, bare, large);
    assert_eq!(large.refusal(), (409, "limit_reached"));
    assert_eq!(keyed.iter().chain(&bare).filter(|status| **status == 201).count(), 2);
    assert_eq!(app.books(lamp).await, [100, 98, 0, 2]);

    let app = TestApp::start_with(Backend::Sqlite, |config| config.limits.enabled = true).await;
    let lamp = app.list(1_000, json!({})).await;
    let body = json!({});
    let rush = futures_util::future::join_all((0..60).map(|_| app.place(7, lamp, &body))).await;
    assert!(rush.iter().filter(|answer| answer.refusal() == (429, "rate_limited")).count() >= 10, "a user is limited");
}

/// API7, server side request forgery: no address that anybody gives is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api7_no_address_that_is_given_is_asked() {
    let app = TestApp::start(Backend::Sqlite).await;
    let trap = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/latest/meta-data", trap.local_addr().expect("an address"));
    let lamp = app.list(5, json!({"image_url": url, "description": url})).await;
    assert_eq!(app.get(&format!("/v1/commodities/{lamp}")).await.body["image_url"], json!(url), "it is shown, and nothing else");
    for wrong in ["file:///etc/passwd", "gopher://127.0.0.1", "javascript:alert(1)", "http://a b", "//127.0.0.1/"] {
        let body = commodity_body(5, json!({"image_url": wrong}));
        assert_eq!(app.post_as(&app.operator(), "/admin/v1/commodities", &body).await.refusal(), (422, "invalid_request"), "{wrong}");
    }
    let mut request = app.request(Method::GET, "/v1/commodities").header("Host", trap.local_addr().expect("an address").to_string());
    for header in ["X-Forwarded-Host", "Forwarded", "X-Forwarded-Proto", "Referer", "traceparent"] {
        request = request.header(header, &url);
    }
    assert_eq!(app.send(request).await.status.as_u16(), 200);
    assert_eq!(app.place(7, lamp, &json!({})).await.status.as_u16(), 201);
    // Whoever came before this one would be accepted first.
    let last = TcpStream::connect(trap.local_addr().expect("an address")).await.expect("it listens");
    let (_, first) = trap.accept().await.expect("somebody is there");
    assert_eq!(first, last.local_addr().expect("an address"), "somebody else came");
}

/// API8, security misconfiguration: what answers say of the server, and methods and origins nobody asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api8_answers_say_nothing_of_the_server_and_open_nothing() {
    let app = TestApp::start(Backend::Sqlite).await;
    for path in ["/v1/commodities", "/no/such/path", "/v1/orders", "/healthz", "/docs/problems"] {
        let answer = app.get(path).await;
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        assert!(answer.headers.contains_key("content-security-policy") && answer.headers.contains_key("cache-control"), "{path}");
        for header in ["server", "x-powered-by", "access-control-allow-origin", "set-cookie"] {
            assert!(!answer.headers.contains_key(header), "{path}: {header}");
        }
    }
    for method in ["TRACE", "PROPFIND", "BREW"] {
        let answer = app.send(app.request(method.parse().expect("a method"), "/v1/commodities")).await;
        assert!([404, 405].contains(&answer.status.as_u16()), "{method}: {:?}", answer.status);
    }
    let foreign = app.request(Method::GET, "/v1/commodities").header("Origin", "https://evil.example");
    assert!(!app.send(foreign).await.headers.contains_key("access-control-allow-origin"));
    // A fault of ours is told without its cause.
    Door::of(&app).register("alice").await;
    app.execute("UPDATE users SET password_hash = 'no hash' WHERE username = 'alice'").await;
    let fault = Door::of(&app).login("alice", PASSWORD).await;
    assert_eq!(fault.refusal(), (500, "internal"));
    assert!(!fault.body.to_string().contains("hash"), "{:?}", fault.body);
}

/// API9, improper inventory management: what is served is what is documented, and the operators' process serves no buyers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api9_nothing_is_served_that_is_not_documented() {
    let app = TestApp::start(Backend::Sqlite).await;
    for path in [
        "/v2/commodities",
        "/v0/commodities",
        "/api/v1/commodities",
        "/v1/users",
        "/v1/admin",
        "/admin",
        "/debug/pprof",
        "/actuator/env",
        "/.git/config",
        "/.env",
        "/server-status",
        "/graphql",
        "/openapi.yaml",
        "/internal",
        "/v1/auth/token",
        "/v1/auth/reset",
    ] {
        assert_eq!(app.get_as(&app.operator(), path).await.refusal(), (404, "not_found"), "{path}");
    }
    let admins = Admins::start(1, |_| {}).await;
    let (door, buyer) = (admins.door(0), app.buyer(7));
    for path in ["/v1/commodities", "/v1/orders", "/v1/commodities/1/orders", "/v1/auth/register"] {
        assert_eq!(door.post_as(&buyer, path, &json!({})).await.refusal(), (404, "not_found"), "{path}");
    }
    admins.stop().await;
}

/// API10, unsafe consumption of other systems: what proxies, clients and spreadsheets are told or tell is not believed as it comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api10_what_others_say_is_not_believed_as_it_comes() {
    let app = TestApp::start_with(Backend::Sqlite, |config| {
        config.limits.enabled = true;
        config.limits.logins_per_minute = 2;
    })
    .await;
    // An address that a stranger claims.
    let door = Door::of(&app);
    let mut limited = 0;
    for number in 0..6 {
        limited += u32::from(door.login_from(&format!("203.0.113.{number}"), "alice", PASSWORD).await.refusal() == (429, "rate_limited"));
    }
    assert!(limited >= 3, "{limited}");
    // A name for the request that would be a line of the log, or no name at all.
    for id in ["a\tb", "x".repeat(65).as_str(), "<script>", "../../etc/passwd"] {
        let answer = app.send(app.request(Method::GET, "/v1/commodities").header("X-Request-Id", id)).await;
        assert_ne!(answer.headers["x-request-id"], id);
    }
    let answer = app.send(app.request(Method::GET, "/v1/commodities").header("traceparent", "00-zz-zz-zz")).await;
    assert_eq!(answer.status.as_u16(), 200);
    // A name that a spreadsheet would run.
    let lamp = app.list(5, json!({"name": "=HYPERLINK(\"http://evil.example\")"})).await;
    assert_eq!(app.place(7, lamp, &json!({})).await.status.as_u16(), 201);
    let csv = app.request(Method::GET, "/admin/v1/orders.csv").bearer_auth(app.operator()).send().await.expect("an answer");
    assert!(csv.text().await.expect("text").contains("'=HYPERLINK"));
}
