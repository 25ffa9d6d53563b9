//! A commodity that is closed is history: it is read as before and nothing of it changes, whether its engine still knows it or not.

use doorbuster::clock;
use doorbuster::domain::{OrderId, OrderStatus};
use doorbuster::engine::{Answer as EngineAnswer, Command};
use doorbuster::routing::Reply;
use doorbuster::store::Load;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::app::{Answer, TestApp};
use crate::support::cluster::eventually;
use crate::support::{Backend, buyers_in, past};

async fn act(app: &TestApp, id: i64, action: &str) -> Answer {
    let body = if action == "restock" { json!({"units": 1}) } else { Value::Null };
    app.post_as(&app.operator(), &format!("/admin/v1/commodities/{id}/{action}"), &body).await
}

/// Ends a sale and closes it.
async fn close(app: &TestApp, id: i64) -> Answer {
    assert_eq!(act(app, id, "end").await.status.as_u16(), 200);
    let closed = act(app, id, "close").await;
    assert_eq!((closed.status.as_u16(), &closed.body["state"]), (200, &json!("closed")), "{:?}", closed.body);
    closed
}

fn ids(list: &Answer) -> Vec<i64> {
    list.body["items"].as_array().expect("a list").iter().filter_map(|item| item["id"].as_i64()).collect()
}

/// The same but for the server's clock.
fn without_time(answer: &Answer) -> Value {
    let mut body = answer.body.clone();
    body["server_time"] = Value::Null;
    body
}

/// A closed sale with an order, as it was answered then.
struct Closed {
    id: i64,
    answer: Answer,
    order: Answer,
}

impl Closed {
    /// Everything that is promised of it.
    async fn is_history(&self, app: &TestApp) {
        self.is_read(app).await;
        self.is_not_changed(app).await;
        self.is_not_sold(app).await;
    }

    async fn is_read(&self, app: &TestApp) {
        let (id, operator) = (self.id, app.operator());
        let shown = app.get(&format!("/v1/commodities/{id}")).await;
        assert_eq!((shown.status.as_u16(), &shown.body["state"], &shown.body["available"]), (200, &json!("closed"), &json!(1)));
        let tag = shown.headers["etag"].to_str().expect("a tag");
        let again = app.send(app.request(Method::GET, &format!("/v1/commodities/{id}")).header("If-None-Match", tag)).await;
        assert_eq!(again.status.as_u16(), 304);
        let operators = app.get_as(&operator, &format!("/admin/v1/commodities/{id}")).await;
        assert_eq!(without_time(&operators), without_time(&self.answer));
        assert_eq!(operators.headers["etag"], self.answer.headers["etag"]);

        for list in [app.get("/v1/commodities").await, app.get_as(&operator, "/admin/v1/commodities").await] {
            assert!(!ids(&list).contains(&id), "{:?}", list.body);
        }
        for list in [app.get("/v1/commodities?state=closed").await, app.get_as(&operator, "/admin/v1/commodities?state=closed").await] {
            assert!(ids(&list).contains(&id), "{:?}", list.body);
        }

        let order = format!("orders/{}", self.order.body["order_id"].as_str().expect("an id"));
        assert_eq!(app.get_as(&app.buyer(10), &format!("/v1/{order}")).await.body, self.order.body);
        assert_eq!(app.get_as(&operator, &format!("/admin/v1/{order}")).await.body, self.order.body);
        let of_it = format!("orders?commodity_id={id}");
        assert_eq!(app.get_as(&app.buyer(10), &format!("/v1/{of_it}")).await.body["items"], json!([self.order.body]));
        assert_eq!(app.get_as(&operator, &format!("/admin/v1/{of_it}")).await.body["items"], json!([self.order.body]));
        let export = app.request(Method::GET, &format!("/admin/v1/orders.csv?commodity_id={id}")).bearer_auth(&operator);
        let text = export.send().await.expect("an answer").text().await.expect("text");
        assert_eq!(text.split_terminator("\r\n").count(), 2, "{text}");
    }

    async fn is_not_changed(&self, app: &TestApp) {
        let (id, operator) = (self.id, app.operator());
        for action in ["restock", "pause", "resume", "end"] {
            assert_eq!(act(app, id, action).await.refusal(), (409, "closed"), "{action}");
        }
        let path = format!("/admin/v1/commodities/{id}");
        assert_eq!(app.patch_as(&operator, &path, &json!({"total": 9})).await.refusal(), (409, "closed"));
        assert_eq!(app.delete_as(&operator, &path).await.refusal(), (409, "closed"));
        assert_eq!(without_time(&act(app, id, "close").await), without_time(&self.answer), "closing it again changes nothing");
        let order = format!("orders/{}/cancel", self.order.body["order_id"].as_str().expect("an id"));
        assert_eq!(app.post_as(&app.buyer(10), &format!("/v1/{order}"), &Value::Null).await.refusal(), (409, "closed"));
        assert_eq!(app.post_as(&app.buyer(11), &format!("/v1/{order}"), &Value::Null).await.refusal(), (404, "order_not_found"));
        assert_eq!(app.post_as(&operator, &format!("/admin/v1/{order}"), &Value::Null).await.refusal(), (409, "closed"));
    }

    async fn is_not_sold(&self, app: &TestApp) {
        let (id, two) = (self.id, json!({"quantity": 2}));
        assert_eq!(app.place(10, id, &json!({})).await.refusal(), (409, "ended"));
        let replay = app.place_under_key(10, id, "k-1", &two).await;
        assert_eq!((replay.status.as_u16(), &replay.body), (200, &self.order.body));
        assert_eq!(app.place_under_key(10, id, "k-1", &json!({})).await.refusal(), (422, "idempotency_mismatch"));
        assert_eq!(app.place_under_key(10, id, "k-2", &two).await.refusal(), (409, "ended"));
        assert_eq!(app.place_under_key(11, id, "k-1", &two).await.refusal(), (409, "ended"), "a key is its user's own");
        assert_eq!(app.books(id).await, [3, 1, 0, 2]);
    }
}

/// Waits until nothing on sale is known to any engine: what is closed is forgotten a moment after the tables have it.
async fn forgotten(app: &TestApp, id: i64) {
    let id = crate::support::commodity(id);
    eventually("it is on no board", async || app.router().board().get(id).is_none()).await;
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_closed_is_read_as_before_and_nothing_of_it_changes(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    let id = app.list(3, json!({})).await;
    let order = app.place_under_key(10, id, "k-1", &json!({"quantity": 2})).await;
    assert_eq!(order.status.as_u16(), 201);
    assert_eq!(act(&app, id, "close").await.refusal(), (409, "not_ended"));
    let answer = close(&app, id).await;
    assert_eq!((&answer.body["version"], &answer.body["sold"]), (&json!(3), &json!(2)), "{:?}", answer.body);
    assert!(answer.body["closed_at"].is_string() && answer.body["ended_at"].is_string(), "{:?}", answer.body);
    let closed = Closed { id, answer, order };

    // While its engine still knows it, when it has forgotten it, and after a restart, in which it never knew it.
    closed.is_history(&app).await;
    forgotten(&app, id).await;
    closed.is_history(&app).await;
    let app = app.restart().await;
    closed.is_history(&app).await;
    app.assert_balanced().await;

    // Where its orders lie makes no difference.
    let store = app.store().await;
    assert_eq!(past::archive(&store, 1).await, 1);
    closed.is_history(&app).await;
    let app = app.restart().await;
    closed.is_history(&app).await;
    app.assert_balanced().await;

    let load = Load { now: clock::system(), with_live_orders: false };
    for partition in store.partitions().iter() {
        assert!(store.snapshot(partition, load).await.expect("it can be loaded").commodities.is_empty(), "nothing of it is loaded");
    }
    store.close().await.expect("nothing is under way");
    assert_eq!(act(&app, id + 1, "close").await.refusal(), (404, "commodity_not_found"));
    app.stop().await;
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_unit_is_held_or_a_refund_is_due_nothing_is_closed(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    let id = app.list(3, json!({"hold_seconds": 600})).await;
    let held = app.place(10, id, &json!({})).await;
    assert_eq!(act(&app, id, "end").await.status.as_u16(), 200);
    assert_eq!(act(&app, id, "close").await.refusal(), (409, "has_open_orders"));
    let order: OrderId = held.body["order_id"].as_str().expect("an id").parse().expect("an order id");
    let cancelled = app.post_as(&app.buyer(10), &format!("/v1/orders/{order}/cancel"), &Value::Null).await;
    assert_eq!(cancelled.status.as_u16(), 200);
    let paid = app.router().about_order(order, Command::ConfirmPayment { order, row: None }).await;
    assert!(matches!(paid, Reply::Done(EngineAnswer::Order(order)) if order.status == OrderStatus::RefundDue), "{paid:?}");
    assert_eq!(act(&app, id, "close").await.refusal(), (409, "has_open_orders"));
    let refunded = app.router().about_order(order, Command::ConfirmRefund { order, row: None }).await;
    assert!(matches!(refunded, Reply::Done(_)), "{refunded:?}");
    assert_eq!(act(&app, id, "close").await.body["state"], json!("closed"));
    app.stop().await;
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_for_long_enough_is_closed_by_itself_and_what_is_held_of_it_first_ends(#[case] backend: Backend) {
    let app = TestApp::start_with(backend, |config| config.partition.retention_seconds = 1).await;
    let over = app.list(3, json!({"ends_at": "2021-01-01T00:00:00Z"})).await;
    let held = app.list(3, json!({"hold_seconds": 2})).await;
    let open = app.list(3, json!({})).await;
    let order = app.place(10, held, &json!({})).await;
    assert_eq!((order.status.as_u16(), act(&app, held, "end").await.status.as_u16()), (201, 200));
    let order = format!("/v1/orders/{}", order.body["order_id"].as_str().expect("an id"));
    for id in [over, held] {
        eventually("it is closed", async || app.get(&format!("/v1/commodities/{id}")).await.body["state"] == json!("closed")).await;
    }
    assert_eq!(app.get_as(&app.buyer(10), &order).await.body["status"], json!("expired"));
    assert_eq!(ids(&app.get("/v1/commodities").await), [open]);
    assert_eq!(ids(&app.get("/v1/commodities?state=closed").await), [over, held]);
    app.assert_balanced().await;
    app.stop().await;
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_sifted_by_state_and_closed_ones_come_page_by_page(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    let mut all = Vec::new();
    for number in 0..6 {
        all.push(app.list(1, json!({"name": format!("lamp {number}")})).await);
    }
    let (open, sold_out, ended) = (all[1], all[2], all[4]);
    assert_eq!(app.place(1, sold_out, &json!({})).await.status.as_u16(), 201);
    assert_eq!(act(&app, ended, "end").await.status.as_u16(), 200);
    let closed = [all[0], all[3], all[5]];
    for id in closed {
        close(&app, id).await;
    }
    for (word, wanted) in [("open", vec![open]), ("sold_out", vec![sold_out]), ("ended", vec![ended]), ("paused", vec![])] {
        assert_eq!(ids(&app.get(&format!("/v1/commodities?state={word}")).await), wanted, "{word}");
        assert_eq!(ids(&app.get_as(&app.operator(), &format!("/admin/v1/commodities?state={word}")).await), wanted, "{word}");
    }
    assert_eq!(ids(&app.get("/v1/commodities").await), [open, sold_out, ended]);
    for path in ["/v1/commodities", "/admin/v1/commodities"] {
        let first = app.get_as(&app.operator(), &format!("{path}?state=closed&limit=2")).await;
        assert_eq!(ids(&first), closed[..2]);
        let cursor = first.body["next_cursor"].as_str().expect("there is a page more");
        let last = app.get_as(&app.operator(), &format!("{path}?state=closed&limit=2&cursor={cursor}")).await;
        assert_eq!((ids(&last), &last.body["next_cursor"]), (closed[2..].to_vec(), &Value::Null));
        let unknown = app.get_as(&app.operator(), &format!("{path}?state=over")).await;
        assert_eq!((unknown.refusal(), &unknown.body["errors"][0]["field"]), ((422, "invalid_request"), &json!("state")));
    }
    app.stop().await;
}

/// The engine has forgotten both the order and its commodity: the row brings them back, for as long as money is owed.
#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_comes_after_the_closing_is_given_back(#[case] backend: Backend, #[values(false, true)] is_archived: bool) {
    let app = TestApp::start(backend).await;
    let id = app.list(3, json!({"hold_seconds": 600})).await;
    let held = app.place(10, id, &json!({})).await;
    let order: OrderId = held.body["order_id"].as_str().expect("an id").parse().expect("an order id");
    let path = format!("/v1/orders/{order}");
    assert_eq!(app.post_as(&app.buyer(10), &format!("{path}/cancel"), &Value::Null).await.status.as_u16(), 200);
    close(&app, id).await;
    forgotten(&app, id).await;
    let app = app.restart().await;
    archive(&app, is_archived).await;

    let pay = Command::ConfirmPayment { order, row: None };
    assert!(matches!(app.router().about_order(order, pay.clone()).await, Reply::Done(EngineAnswer::Order(_))));
    assert_eq!(app.get_as(&app.buyer(10), &path).await.body["status"], json!("refund_due"));
    assert_eq!(app.get(&format!("/v1/commodities/{id}")).await.body["state"], json!("closed"));
    assert!(!ids(&app.get("/v1/commodities").await).contains(&id));

    // What is owed is loaded again, and nothing else of it.
    let app = app.restart().await;
    let store = app.store().await;
    let load = Load { now: clock::system(), with_live_orders: false };
    let (mut orders, mut buyers) = (0, 0);
    for partition in store.partitions().iter() {
        let snapshot = store.snapshot(partition, load).await.expect("it can be loaded");
        orders += snapshot.commodities.iter().map(|known| known.orders.len()).sum::<usize>();
        buyers += buyers_in(&snapshot);
    }
    assert_eq!((orders, buyers), (1, 0));
    assert_eq!((past::seal(&store).await, past::archive(&store, 10).await), (0, 0), "what is owed is not archived");
    store.close().await.expect("nothing is under way");
    assert_eq!(app.place(10, id, &json!({})).await.refusal(), (409, "ended"));
    assert_eq!(act(&app, id, "restock").await.refusal(), (409, "closed"));
    assert_eq!(act(&app, id, "close").await.body["state"], json!("closed"));
    assert!(matches!(app.router().about_order(order, pay).await, Reply::Done(EngineAnswer::Order(_))), "it is due once");
    assert!(matches!(app.router().about_order(order, Command::ConfirmRefund { order, row: None }).await, Reply::Done(_)));
    assert_eq!(app.get_as(&app.buyer(10), &path).await.body["status"], json!("refunded"));
    app.assert_balanced().await;
    archive(&app, is_archived).await;
    assert_eq!(app.get_as(&app.buyer(10), &path).await.body["status"], json!("refunded"));
    app.assert_balanced().await;
    app.stop().await;
}

/// Seals and archives the one order there is, if that is wanted.
async fn archive(app: &TestApp, is_wanted: bool) {
    if is_wanted {
        let store = app.store().await;
        past::seal(&store).await;
        assert_eq!(past::archive(&store, 10).await, 1);
        store.close().await.expect("nothing is under way");
    }
}
