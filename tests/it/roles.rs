//! Who may do what: each call of the operators' API for each role, from the document that the server serves, so that none is forgotten.

use doorbuster::store::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Backend;
use crate::support::accounts::{Admins, Door, PASSWORD};
use crate::support::app::TestApp;

/// What admins alone may do; everything else under `/admin/` operators may do too.
const FOR_ADMINS: [&str; 3] = ["get /admin/v1/users", "get /admin/v1/users/{id}", "patch /admin/v1/users/{id}"];

/// Every call of the operators' API, as `method path`.
pub async fn operators_calls(door: &Door) -> Vec<String> {
    let document = door.send(door.request(Method::GET, "/openapi.json")).await.body;
    let paths = document["paths"].as_object().expect("paths").iter().filter(|(path, _)| path.starts_with("/admin/"));
    let calls =
        paths.flat_map(|(path, methods)| methods.as_object().into_iter().flatten().map(move |(method, _)| format!("{method} {path}")));
    calls.collect()
}

/// The status of a call with a body that nothing comes of.
pub async fn status_of(door: &Door, call: &str, token: Option<&str>) -> u16 {
    let (method, path) = call.split_once(' ').expect("a method and a path");
    let method: Method = method.to_uppercase().parse().expect("a method");
    let is_write = method != Method::GET;
    let mut request = door.request(method, &path.replace("{id}", "9"));
    if is_write {
        request = request.json(&json!({"no such field": 1}));
    }
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    door.send(request).await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_of_the_operators_is_for_their_roles_alone() {
    let app = TestApp::start(Backend::Sqlite).await;
    let door = Door::of(&app);
    let calls = operators_calls(&door).await;
    assert!(calls.len() >= 20 && FOR_ADMINS.iter().all(|call| calls.iter().any(|known| known == call)), "{calls:?}");
    let [buyer, admin, operator, service] = Role::ALL.map(|role| app.mint(999, role));
    for call in &calls {
        assert_eq!(status_of(&door, call, None).await, 401, "{call}");
        assert_eq!(status_of(&door, call, Some(&buyer)).await, 403, "{call}");
        assert_eq!(status_of(&door, call, Some(&service)).await, 403, "{call}");
        let is_for_admins = FOR_ADMINS.contains(&call.as_str());
        assert_eq!(status_of(&door, call, Some(&operator)).await == 403, is_for_admins, "{call}");
        assert!(![401, 403].contains(&status_of(&door, call, Some(&admin)).await), "{call}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_runs_a_sale_and_a_service_neither_runs_one_nor_buys() {
    let app = TestApp::start(Backend::Sqlite).await;
    let [buyer, _, operator, service] = Role::ALL.map(|role| app.mint(999, role));
    let body = crate::support::app::commodity_body(5, json!({}));
    let made = app.post_as(&operator, "/admin/v1/commodities", &body).await;
    assert_eq!(made.status.as_u16(), 201, "{:?}", made.body);
    let lamp = made.body["id"].as_i64().expect("an id");
    let order = format!("/v1/commodities/{lamp}/orders");
    assert_eq!(app.post_as(&service, &order, &json!({})).await.refusal(), (403, "forbidden"));
    let placed = app.post_as(&buyer, &order, &json!({})).await;
    assert_eq!(placed.status.as_u16(), 201);
    assert_eq!(app.post_as(&operator, &order, &json!({})).await.status.as_u16(), 201, "operators are people");
    let cancel = format!("/v1/orders/{}/cancel", placed.body["order_id"].as_str().expect("an id"));
    assert_eq!(app.post_as(&service, &cancel, &Value::Null).await.refusal(), (403, "forbidden"));
    assert_eq!(app.get_as(&service, "/v1/me").await.body["role"], json!("service"));
    assert_eq!(app.post_as(&operator, &format!("/admin/v1/commodities/{lamp}/end"), &Value::Null).await.body["state"], json!("ended"));
    assert_eq!(app.get_as(&operator, "/admin/v1/audit").await.body["balanced"], json!(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_have_the_roles_they_are_given_and_an_unknown_one_is_nobodys() {
    let app = TestApp::start(Backend::Sqlite).await;
    let door = Door::of(&app);
    let (id, admin) = (door.register("alice").await, app.mint(999, Role::Admin));
    for role in ["operator", "service", "admin", "buyer"] {
        let given = door.give_role(&admin, id, role).await;
        assert_eq!((given.status.as_u16(), &given.body["role"]), (200, &json!(role)));
        let session = door.login("alice", PASSWORD).await;
        let token = session.body["access_token"].as_str().expect("a token");
        assert_eq!((&session.body["role"], &door.get_as(token, "/v1/me").await.body["role"]), (&json!(role), &json!(role)));
    }
    assert_eq!(door.give_role(&admin, id, "root").await.refusal(), (422, "invalid_request"));
    // As a release that comes after this one might write.
    app.execute("UPDATE users SET role = 9 WHERE username = 'alice'").await;
    assert_eq!(door.login("alice", PASSWORD).await.refusal(), (500, "internal"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_that_the_release_before_does_not_know_are_given_when_the_upgrade_is_finished() {
    let admins = Admins::start(1, |_| {}).await;
    let (door, id) = (admins.door(0), admins.account("alice").await);
    let admin = {
        let secret = crate::support::app::SECRET.to_owned().into();
        let authenticator = doorbuster::auth::Authenticator::new(&admins.config.auth, &secret).expect("the secret is long enough");
        authenticator.mint(crate::support::user(999), Role::Admin, doorbuster::clock::system())
    };
    admins.database.execute("UPDATE meta SET log_version = 1").await;
    for role in ["operator", "service"] {
        assert_eq!(door.give_role(&admin, id, role).await.refusal(), (503, "upgrade_unfinished"));
    }
    assert_eq!(door.give_role(&admin, id, "admin").await.status.as_u16(), 200);
    let store = admins.database.store().await;
    store.raise_log_version().await.expect("the database answers");
    store.close().await.expect("nothing is under way");
    assert_eq!(door.give_role(&admin, id, "operator").await.body["role"], json!("operator"));
    admins.stop().await;
}
