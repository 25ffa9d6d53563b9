//! A changed password or role ends the tokens that an account was given before, on every process of a database, and no others.

use doorbuster::auth::Authenticator;
use doorbuster::clock;
use doorbuster::domain::UserId;
use doorbuster::store::Role;
use jsonwebtoken::{EncodingKey, Header};
use rstest::rstest;
use serde_json::{Value, json};

use crate::spikes::Spikes;
use crate::support::Backend;
use crate::support::accounts::{Admins, Door, PASSWORD, token_of};
use crate::support::app::{SECRET, TestApp};
use crate::support::cluster::eventually;
use crate::support::proxy::Proxy;

const NEW: &str = "a new horse, just as good";

/// How a token is answered.
async fn judged(door: &Door, token: &str) -> (u16, String) {
    let answer = door.get_as(token, "/v1/me").await;
    (answer.status.as_u16(), answer.body["detail"].as_str().unwrap_or_default().to_owned())
}

async fn is_good(door: &Door, token: &str) -> bool {
    judged(door, token).await.0 == 200
}

/// A token that another program signed with the secret, or a release that knew of no generations.
fn signed(claims: &Value) -> String {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("signing works")
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_password_ends_the_tokens_before_it_at_once_where_it_was_changed(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    let door = Door::of(&app);
    door.register("alice").await;
    door.register("bob").await;
    let (one, other, bobs) = (door.token("alice", PASSWORD).await, door.token("alice", PASSWORD).await, door.token("bob", PASSWORD).await);
    let changed = door.change_password(&one, PASSWORD, NEW).await;
    for token in [&one, &other] {
        let (status, detail) = judged(&door, token).await;
        assert_eq!((status, detail.contains("changed")), (401, true), "{detail}");
    }
    // In the same second as the change.
    assert!(is_good(&door, &token_of(&changed)).await && is_good(&door, &door.token("alice", NEW).await).await);
    assert!(is_good(&door, &bobs).await, "another account's");

    // Also after a start, which reads what was changed before it.
    let (fresh, app) = (door.token("alice", NEW).await, app.restart().await);
    let door = Door::of(&app);
    assert!(!is_good(&door, &one).await && is_good(&door, &fresh).await && is_good(&door, &bobs).await);
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_role_ends_the_tokens_before_it_and_the_same_role_again_none(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    let door = Door::of(&app);
    let (id, admin) = (door.register("alice").await, app.mint(999, Role::Admin));
    let buyers = door.token("alice", PASSWORD).await;
    assert_eq!(door.give_role(&admin, id, "buyer").await.status.as_u16(), 200);
    assert!(is_good(&door, &buyers).await, "nothing was changed");
    assert_eq!(door.give_role(&admin, id, "admin").await.body["role"], json!("admin"));
    assert!(!is_good(&door, &buyers).await);
    let admins = door.token("alice", PASSWORD).await;
    assert_eq!(door.get_as(&admins, "/admin/v1/users").await.status.as_u16(), 200);
    // What an admin lost is lost at once, not when the token expires.
    assert_eq!(door.give_role(&admin, id, "buyer").await.body["role"], json!("buyer"));
    assert_eq!(door.get_as(&admins, "/admin/v1/users").await.refusal(), (401, "unauthenticated"));
    assert_eq!(door.get_as(&door.token("alice", PASSWORD).await, "/admin/v1/users").await.refusal(), (403, "forbidden"));
    assert!(is_good(&door, &admin).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_process_of_a_cluster_hears_of_a_change() {
    let admins = Admins::start(2, |_| {}).await;
    let (here, there) = (admins.door(0), admins.door(1));
    let (id, operator) = (admins.account("alice").await, minted(999, Role::Admin));
    let token = here.token("alice", PASSWORD).await;
    assert!(is_good(&there, &token).await);
    let renewed = token_of(&here.change_password(&token, PASSWORD, NEW).await);
    assert!(is_good(&there, &renewed).await, "good everywhere at once, also where the change is not heard of yet");
    eventually("the other process ends the token", async || !is_good(&there, &token).await).await;
    assert!(is_good(&there, &renewed).await);
    assert_eq!(there.give_role(&operator, id, "operator").await.body["role"], json!("operator"));
    eventually("the first process ends it too", async || !is_good(&here, &renewed).await).await;
    admins.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_tool_has_minted_goes_on_and_what_says_nothing_counts_by_its_time() {
    let app = TestApp::start(Backend::Sqlite).await;
    let door = Door::of(&app);
    let id = door.register("alice").await;
    let now = clock::system().millis() / 1_000;
    let of = |iat: Value| signed(&json!({"sub": id.to_string(), "exp": now + 3_600, "iat": iat}));
    let (before, undated, after, another) = (of(json!(now - 60)), of(Value::Null), of(json!(now + 60)), app.buyer(id + 1));
    let tools = app.buyer(id);
    for token in [&before, &undated, &after, &tools] {
        assert!(is_good(&door, token).await);
    }
    door.change_password(&door.token("alice", PASSWORD).await, PASSWORD, NEW).await;
    assert!(!is_good(&door, &before).await && !is_good(&door, &undated).await, "given before, by a release that knew of no generations");
    assert!(is_good(&door, &after).await && is_good(&door, &another).await);
    assert!(is_good(&door, &tools).await, "it is no account's: whoever has the secret can mint another");
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_brought_back_from_a_copy_is_heard_from_its_beginning(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    let door = Door::of(&app);
    door.register("alice").await;
    door.register("bob").await;
    let (alices, bobs) = (door.token("alice", PASSWORD).await, door.token("bob", PASSWORD).await);
    door.change_password(&alices, PASSWORD, NEW).await;
    door.change_password(&bobs, PASSWORD, NEW).await;
    eventually("the sequence is heard of", async || app.store().await.last_account_change().await.is_ok_and(|last| last == 2)).await;
    assert!(!is_good(&door, &alices).await && !is_good(&door, &bobs).await);
    // As it was before Bob's change.
    app.execute("UPDATE users SET generation = 0, change_number = 0, changed_at = 0 WHERE username = 'bob'").await;
    app.execute("UPDATE meta SET account_changes = 1").await;
    eventually("Bob's change never was", async || is_good(&door, &bobs).await).await;
    assert!(!is_good(&door, &alices).await);
    let changed = door.change_password(&door.token("alice", NEW).await, NEW, PASSWORD).await;
    assert!(is_good(&door, &token_of(&changed)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_database_tokens_go_on_and_it_is_told() {
    let spikes = Spikes::new().await;
    let url = spikes.cluster.database.url().to_owned();
    let address = url.split(['@', '/']).nth(3).expect("a host").to_owned();
    let server = tokio::net::lookup_host(&address).await.expect("it is found").next().expect("an address");
    let proxy = Proxy::to(server).await;
    let mut config = spikes.config("a");
    config.database.url = Some(url.replace(&address, &proxy.address()).into());
    let node = Spikes::start_with(&config).await;
    spikes.list(node.router(), 10).await;
    let door = Door::at(node.address());
    door.register("alice").await;
    let token = door.token("alice", PASSWORD).await;
    let renewed = token_of(&door.change_password(&token, PASSWORD, NEW).await);
    proxy.cut();
    eventually("it is told for how long nothing was heard", async || {
        let ready = door.send(door.request(reqwest::Method::GET, "/readyz")).await;
        ready.status.as_u16() == 200 && ready.body["warnings"].to_string().contains("changed passwords and roles were last heard of")
    })
    .await;
    let order = async |token: &str| door.post_as(token, "/v1/commodities/1/orders", &json!({})).await.status.as_u16();
    assert_eq!((order(&renewed).await, order(&token).await), (201, 401), "what was ended before stays so");
    proxy.mend();
    eventually("it is heard again", async || door.send(door.request(reqwest::Method::GET, "/readyz")).await.body["warnings"].is_null())
        .await;
    node.stop().await;
    spikes.audit(1).await;
}

fn minted(user: i64, role: Role) -> String {
    let config = crate::support::app::config("sqlite:none");
    let authenticator = Authenticator::new(&config.auth, &SECRET.to_owned().into()).expect("the secret is long enough");
    authenticator.mint(UserId::new(user).expect("a positive id"), role, clock::system())
}
