//! What is over and right is checked once; what changes of it all the same is checked again.

use doorbuster::clock;
use doorbuster::domain::OrderId;
use doorbuster::engine::Command;
use doorbuster::routing::Reply;
use doorbuster::store::AuditScope;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::{Backend, past};

async fn audit(app: &TestApp, query: &str) -> Value {
    let answer = app.get_as(&app.operator(), &format!("/admin/v1/audit{query}")).await;
    assert_eq!(answer.status.as_u16(), 200, "{:?}", answer.body);
    answer.body
}

/// Whether all balances, how many were passed over, and which commodities were looked at.
fn gist(audit: &Value) -> (bool, u64, Vec<i64>) {
    let items = audit["items"].as_array().expect("a list");
    let ids = items.iter().filter_map(|item| item["commodity_id"].as_i64()).collect();
    (audit["balanced"].as_bool().expect("a word"), audit["sealed"].as_u64().expect("a count"), ids)
}

async fn operate(app: &TestApp, id: i64, action: &str) {
    let answer = app.post_as(&app.operator(), &format!("/admin/v1/commodities/{id}/{action}"), &Value::Null).await;
    assert_eq!(answer.status.as_u16(), 200, "{:?}", answer.body);
}

/// A commodity with one sold unit, and one whose hold was called off; closed. Returns it, and the order that was called off.
async fn closed(app: &TestApp) -> (i64, OrderId) {
    let id = app.list(5, json!({})).await;
    assert_eq!(app.place(1, id, &json!({})).await.status.as_u16(), 201);
    let answer = app.patch_as(&app.operator(), &format!("/admin/v1/commodities/{id}"), &json!({"hold_seconds": 600})).await;
    assert_eq!(answer.status.as_u16(), 200);
    let order = app.place(2, id, &json!({})).await.body["order_id"].as_str().expect("an id").to_owned();
    assert_eq!(app.post_as(&app.buyer(2), &format!("/v1/orders/{order}/cancel"), &Value::Null).await.status.as_u16(), 200);
    operate(app, id, "end").await;
    operate(app, id, "close").await;
    (id, order.parse().expect("an order id"))
}

async fn money(app: &TestApp, command: Command) {
    let (Command::ConfirmPayment { order, .. } | Command::ConfirmRefund { order, .. }) = command else { panic!("about money") };
    assert!(matches!(app.router().about_order(order, command).await, Reply::Done(_)));
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_commodity_is_checked_once_until_somebody_pays_late(#[case] backend: Backend, #[values(false, true)] is_archived: bool) {
    let app = TestApp::start(backend).await;
    let open = app.list(5, json!({})).await;
    let (id, order) = closed(&app).await;
    assert_eq!(gist(&audit(&app, "").await), (true, 0, vec![open, id]));
    assert_eq!(gist(&audit(&app, "").await), (true, 1, vec![open]), "it is sealed now");
    let all = audit(&app, "?all=true").await;
    assert_eq!(gist(&all), (true, 0, vec![open, id]));
    if is_archived {
        let store = app.store().await;
        assert_eq!(past::archive(&store, 10).await, 2);
        store.close().await.expect("nothing is under way");
        assert_eq!(audit(&app, "?all=true").await, all, "it says the same of them wherever they lie");
    }
    assert_eq!(gist(&audit(&app, "?all=false").await), (true, 1, vec![open]));
    let wrong = app.get_as(&app.operator(), "/admin/v1/audit?all=yes").await;
    assert_eq!((wrong.refusal(), &wrong.body["errors"][0]["field"]), ((422, "invalid_request"), &json!("all")));

    money(&app, Command::ConfirmPayment { order, row: None }).await;
    for _ in 0..2 {
        let found = audit(&app, "").await;
        assert_eq!(gist(&found), (true, 0, vec![open, id]), "it is not sealed again while money is owed");
        assert_eq!(found["items"][1]["refunds_due"], json!(1));
    }
    money(&app, Command::ConfirmRefund { order, row: None }).await;
    assert_eq!(gist(&audit(&app, "").await), (true, 0, vec![open, id]));
    assert_eq!(gist(&audit(&app, "").await), (true, 1, vec![open]));
    app.stop().await;
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_between_an_audit_and_its_seal_is_not_sealed(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    let ((changed, order), (id, _)) = (closed(&app).await, closed(&app).await);
    let store = app.store().await;
    let found = store.audit_of(AuditScope::Unsealed).await.expect("the database is there");
    assert!(found.is_balanced() && found.rows.len() == 2);
    money(&app, Command::ConfirmPayment { order, row: None }).await;
    assert_eq!(store.seal(&found, clock::system()).await.expect("the database is there"), 1);
    assert_eq!(gist(&audit(&app, "").await), (true, 1, vec![changed]));
    assert_eq!(store.seal(&found, clock::system()).await.expect("the database is there"), 0, "what is sealed is sealed once");
    assert_eq!(gist(&audit(&app, "?all=true").await), (true, 0, vec![changed, id]));
    store.close().await.expect("nothing is under way");
    app.stop().await;
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_never_sealed_and_a_seal_that_is_wrong_is_broken(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    let ((wrong, _), (right, _)) = (closed(&app).await, closed(&app).await);
    app.execute(&format!("UPDATE orders SET quantity = 2 WHERE commodity_id = {wrong} AND status = 1")).await;
    for _ in 0..2 {
        let found = audit(&app, "").await;
        assert_eq!((&found["balanced"], &found["items"][0]["balanced"]), (&json!(false), &json!(false)));
    }
    assert_eq!(gist(&audit(&app, "").await), (false, 1, vec![wrong]));
    app.execute(&format!("UPDATE orders SET quantity = 1 WHERE commodity_id = {wrong} AND status = 1")).await;
    assert_eq!(gist(&audit(&app, "").await), (true, 1, vec![wrong]));

    // Behind the seal nobody looks unless asked to; who does breaks it.
    app.execute(&format!("UPDATE orders SET quantity = 2 WHERE commodity_id = {right} AND status = 1")).await;
    assert_eq!(gist(&audit(&app, "").await), (true, 2, vec![]));
    assert_eq!(gist(&audit(&app, "?all=true").await), (false, 0, vec![wrong, right]));
    assert_eq!(gist(&audit(&app, "").await), (false, 1, vec![right]));
    app.stop().await;
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_commodity_is_sealed_too_and_orders_of_none_are_found_with_all(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    let id = app.list(5, json!({"hold_seconds": 600})).await;
    let order = app.place(1, id, &json!({})).await.body["order_id"].as_str().expect("an id").to_owned();
    assert_eq!(app.post_as(&app.buyer(1), &format!("/v1/orders/{order}/cancel"), &Value::Null).await.status.as_u16(), 200);
    assert_eq!(app.delete_as(&app.operator(), &format!("/admin/v1/commodities/{id}")).await.status.as_u16(), 204);
    assert_eq!(gist(&audit(&app, "").await), (true, 0, vec![id]));
    assert_eq!(gist(&audit(&app, "").await), (true, 1, vec![]));
    app.execute(&format!("UPDATE orders SET commodity_id = 999 WHERE commodity_id = {id}")).await;
    assert_eq!(gist(&audit(&app, "?all=true").await), (false, 0, vec![id, 999]));
    app.stop().await;
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_live_orders_of_a_buyer_under_one_key_are_found(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    let (id, other) = (app.list(9, json!({})).await, app.list(9, json!({})).await);
    for (user, commodity, key) in [(1, id, "a"), (1, id, "b"), (1, id, "c"), (2, id, "a"), (1, other, "a")] {
        assert_eq!(app.place_under_key(user, commodity, key, &json!({})).await.status.as_u16(), 201);
    }
    assert_eq!(gist(&audit(&app, "").await), (true, 0, vec![id, other]));
    let key = "(SELECT k FROM (SELECT MIN(idempotency_key) AS k FROM orders WHERE user_id = 1) AS first)";
    app.execute(&format!("UPDATE orders SET idempotency_key = {key} WHERE user_id = 1 AND commodity_id = {id}")).await;
    // Wherever they lie: in one table, in both, in the other one.
    for moved in ["1 = 0", "id = (SELECT MIN(id) FROM orders WHERE user_id = 1)", "1 = 1", "1 = 0"] {
        app.execute(&format!("INSERT INTO archived_orders SELECT * FROM orders WHERE commodity_id = {id} AND {moved}")).await;
        app.execute("DELETE FROM orders WHERE id IN (SELECT id FROM archived_orders)").await;
        let found = audit(&app, "").await;
        assert_eq!((&found["items"][0]["keys_used_twice"], &found["items"][0]["balanced"]), (&json!(2), &json!(false)));
        assert_eq!((&found["items"][1]["keys_used_twice"], &found["items"][1]["balanced"]), (&json!(0), &json!(true)));
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_says_what_it_sealed_and_what_it_passed_over() {
    let app = TestApp::start(Backend::Sqlite).await;
    app.list(5, json!({"name": "an open lamp"})).await;
    closed(&app).await;
    let run = async |arguments: &[&str]| {
        let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_doorbuster"));
        let output = program.args(arguments).env("DATABASE_URL", app.database_url()).output().await.expect("the program runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let first = run(&["audit"]).await;
    assert!(first.contains("2 commodities audited") && first.contains("1 commodity is over and right: sealed"), "{first}");
    let second = run(&["audit"]).await;
    assert!(second.contains("1 commodity audited") && second.contains("1 commodity was sealed by an audit before"), "{second}");
    assert!(second.contains("an open lamp") && !second.contains("over and right"), "{second}");
    let all = run(&["audit", "--all"]).await;
    assert!(all.contains("2 commodities audited") && !all.contains("sealed by"), "{all}");
    app.stop().await;
}
