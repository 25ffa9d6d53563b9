//! The life of an order, from outside and in the tables of both families: held, paid, late, given back, and what is told of it.

use doorbuster::domain::{
    Actor, Attempt, Cause, OrderId, OrderStatus, PaymentEnd, PaymentFact, PaymentId, PaymentStatus, Payments, Taken, Timestamp,
};
use doorbuster::engine::{Answer, Command, KnownOrder, Refusal};
use doorbuster::event::{Batch, Event};
use doorbuster::projection::{self, Outcome};
use doorbuster::routing::Reply;
use doorbuster::store::{Load, Store};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::history::History;
use crate::support::{Backend, TestDatabase, at, load, partition, position, sorted};

fn attempt(number: u8) -> Attempt {
    Attempt::new(number).expect("a number")
}

async fn apply(store: &Store, batches: &[Batch]) {
    let report = projection::apply(store, batches).await.expect("the database is there");
    assert_eq!((report.stops.len(), report.count(Outcome::Applied)), (0, batches.len()), "{report:?}");
}

/// Two held orders and one sold; payments of the first two, in as many batches as there are steps.
fn life() -> (Vec<Batch>, [OrderId; 3]) {
    let mut history = History::begin(partition(3), position(1, 0).0);
    history.list(1, 10).cut();
    let held = |history: &mut History, buyer| history.place(0, buyer, 1, OrderStatus::Reserved, Some("k")).expect("a unit is there");
    let (first, second) = (held(&mut history, 1), held(&mut history, 2));
    let sold = history.place(0, 4, 1, OrderStatus::Confirmed, None).expect("a unit is there");
    let orders = history.orders().to_vec();
    let mut batches = history.batches();
    let commodity = orders[0].commodity;
    let started = |order: OrderId, number| Event::PaymentStarted {
        payment: PaymentId { order, attempt: attempt(number) },
        commodity,
        amount: orders[0].amount(),
        currency: orders[0].currency,
        expires_at: at(600_000),
        at: at(1_000),
    };
    let changed = |order: OrderId, number, status| Event::PaymentChanged {
        payment: PaymentId { order, attempt: attempt(number) },
        commodity,
        status,
        at: at(2_000),
    };
    let moved = |index: usize, from, to, number, status| Event::Moved {
        order: orders[index].id,
        commodity,
        buyer: Some(orders[index].user),
        quantity: orders[index].quantity,
        from,
        to,
        at: at(3_000),
        cause: Cause {
            by: Actor::Provider,
            reason: "so it is".parse().ok(),
            payment: Some(PaymentFact { attempt: attempt(number), status }),
        },
    };
    let steps = vec![
        vec![started(first, 1), started(second, 1), changed(second, 1, PaymentStatus::Failed)],
        vec![started(second, 2), moved(1, OrderStatus::Reserved, OrderStatus::Paid, 2, PaymentStatus::Authorized)],
        // The one that had failed had not.
        vec![changed(second, 1, PaymentStatus::RefundDue)],
    ];
    for (sequence, events) in (batches.len() as u64..).zip(steps) {
        let (epoch, sequence) = position(1, sequence);
        batches.push(Batch::new(partition(3), epoch, sequence, events));
    }
    (batches, [first, second, sold])
}

fn known(snapshot: &doorbuster::engine::Snapshot, order: OrderId) -> Option<KnownOrder> {
    snapshot.commodities.iter().flat_map(|known| &known.orders).find(|known| known.order.id == order).copied()
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn payments_and_steps_are_in_the_tables_and_a_claim_loads_what_is_owed(
    #[case] backend: Backend,
    #[values(false, true)] together: bool,
) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    let (batches, [first, second, sold]) = life();
    if together {
        apply(&store, &batches).await;
    } else {
        for batch in &batches {
            apply(&store, std::slice::from_ref(batch)).await;
        }
    }
    let rows = store.payments(second).await.expect("the database answers");
    let gist: Vec<_> = rows.iter().map(|row| (row.id.attempt.get(), row.status, row.pays, row.due_at)).collect();
    let due = |millis| Some(at(millis));
    assert_eq!(gist, [(1, PaymentStatus::RefundDue, false, due(2_000)), (2, PaymentStatus::Authorized, true, due(3_000))]);
    let open = store.payments(first).await.expect("the database answers");
    assert_eq!((open[0].status, open[0].due_at, open[0].amount), (PaymentStatus::Open, due(16_000), 1_999));
    let steps = store.timeline(second).await.expect("the database answers");
    assert_eq!(
        steps.iter().map(|step| (step.at, step.status, step.by)).collect::<Vec<_>>(),
        [(at(3_000), OrderStatus::Paid, Actor::Provider)]
    );
    assert_eq!(steps[0].reason.as_ref().map(|reason| reason.as_str()), Some("so it is"));
    assert!(store.timeline(sold).await.expect("the database answers").is_empty(), "what never changed has no row");

    // By the rows, by deltas alone, and by a checkpoint: all the same.
    let by_deltas = sorted(store.snapshot(partition(3), load()).await.expect("it is loaded"));
    store.write_checkpoint(partition(3), at(100_000)).await.expect("it is written");
    let by_checkpoint = sorted(store.snapshot(partition(3), load()).await.expect("it is loaded"));
    database.execute("DELETE FROM checkpoint_parts").await;
    let by_rows = sorted(store.snapshot(partition(3), load()).await.expect("it is loaded"));
    assert_eq!(by_deltas, by_rows);
    assert_eq!(by_checkpoint, by_rows);
    let told = [(attempt(1), PaymentStatus::RefundDue, false), (attempt(2), PaymentStatus::Authorized, true)];
    assert_eq!(known(&by_rows, second).expect("it is owed").payments, Payments::of(told).expect("it can be"));
    assert_eq!(known(&by_rows, first).expect("it is held").payments.open(), Some(attempt(1)));
    assert_eq!(known(&by_rows, sold), None);
    let recalled = store.recalled(second).await.expect("the database answers").expect("it is there");
    assert_eq!(recalled.payments, Payments::of(told).expect("it can be"));
    let with_live = Load { with_live_orders: true, ..load() };
    assert!(store.snapshot(partition(3), with_live).await.is_ok());
}

/// What only stands in the outbox while somebody listens, under ids that are those of the events.
#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn what_is_to_be_told_is_written_down_while_somebody_listens(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    let (batches, _) = life();
    let (before, after) = batches.split_at(3);
    apply(&store, before).await;
    database.execute("UPDATE meta SET outbox_wanted = 1").await;
    apply(&store, after).await;
    let rows = database.number("SELECT CAST(COUNT(*) * 100 + MIN(sequence) * 10 + MIN(place) AS SIGNED) FROM outbox").await;
    assert_eq!(rows, 141, "one order was moved, by the second event of batch 4");
}

async fn told(app: &TestApp, path: &str, token: &str) -> Vec<(String, String, Value)> {
    let answer = app.get_as(token, path).await;
    assert_eq!(answer.status.as_u16(), 200, "{:?}", answer.body);
    let items = answer.body["items"].as_array().expect("a list").clone();
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    items.iter().map(|step| (word(&step["status"]), word(&step["by"]), step["reason"].clone())).collect()
}

fn step(status: &str, by: &str, reason: Value) -> (String, String, Value) {
    (status.to_owned(), by.to_owned(), reason)
}

async fn asked(app: &TestApp, order: OrderId, command: Command) -> Answer {
    match app.router().about_order(order, command).await {
        Reply::Done(answer) => answer,
        other => panic!("not done: {other:?}"),
    }
}

/// An order that is paid as a worker tells the engine.
async fn paid(app: &TestApp, commodity: i64, buyer: i64) -> OrderId {
    let placed = app.place(buyer, commodity, &json!({})).await;
    assert_eq!((placed.status.as_u16(), &placed.body["status"]), (201, &json!("reserved")));
    let order: OrderId = placed.body["order_id"].as_str().expect("an id").parse().expect("an id");
    let Answer::Payment { order: started, attempt, is_new: true } =
        asked(app, order, Command::StartPayment { order, user: None, row: None }).await
    else {
        panic!("it is new")
    };
    let payment = PaymentId { order, attempt };
    let (amount, currency) = (started.amount(), started.currency);
    let command = Command::PaymentSucceeded { payment, amount, currency, taken: Taken::Captured, row: None };
    let Answer::Order(order) = asked(app, order, command).await else { panic!("an order") };
    assert_eq!(order.status, OrderStatus::Paid);
    order.id
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_gives_money_back_once_and_the_timeline_says_who_and_why(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    let lamp = app.list(5, json!({"hold_seconds": 600, "grace_seconds": 0})).await;
    let order = paid(&app, lamp, 7).await;
    let path = format!("/admin/v1/orders/{order}");
    let give_back = async |body: Value| app.post_as(&app.operator(), &format!("{path}/refund"), &body).await;
    assert_eq!(give_back(json!({"restock": 1})).await.refusal(), (422, "invalid_request"));
    assert_eq!(give_back(json!({"reason": ""})).await.refusal(), (422, "invalid_request"));
    assert_eq!(app.books(lamp).await, [5, 4, 0, 1]);
    let body = json!({"reason": "broken in transit", "restock": false});
    let refunded = give_back(body.clone()).await;
    assert_eq!((refunded.status.as_u16(), &refunded.body["status"]), (200, &json!("refund_due")));
    assert_eq!(give_back(body).await.refusal(), (409, "not_refundable"));
    assert_eq!(app.books(lamp).await, [4, 4, 0, 0], "it is written off");
    let payment = PaymentId { order, attempt: Attempt::FIRST };
    for _ in 0..2 {
        asked(&app, order, Command::PaymentEnded { payment, how: PaymentEnd::Refunded, row: None }).await;
    }
    let expected = [
        step("reserved", "buyer", Value::Null),
        step("paid", "provider", Value::Null),
        step("refund_due", "operator", json!("broken in transit")),
        step("refunded", "provider", Value::Null),
    ];
    assert_eq!(told(&app, &format!("/v1/orders/{order}/timeline"), &app.buyer(7)).await, expected);
    assert_eq!(told(&app, &format!("{path}/timeline"), &app.operator()).await, expected);
    assert_eq!(app.get_as(&app.buyer(8), &format!("/v1/orders/{order}/timeline")).await.refusal(), (404, "order_not_found"));
    app.assert_balanced().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_and_a_cancellation_under_a_key_are_done_once_and_told_again() {
    let app = TestApp::start(Backend::Sqlite).await;
    let lamp = app.list(5, json!({"hold_seconds": 600, "cancellation": "any"})).await;
    let (first, second) = (paid(&app, lamp, 7).await, paid(&app, lamp, 8).await);
    let post = async |path: String, key: &'static str, body: Value| {
        let request = app.request(reqwest::Method::POST, &path).bearer_auth(app.operator()).header("Idempotency-Key", key);
        app.send(request.json(&body)).await
    };
    for _ in 0..2 {
        let answer = post(format!("/admin/v1/orders/{first}/refund"), "a", json!({"reason": "late"})).await;
        assert_eq!((answer.status.as_u16(), &answer.body["status"]), (200, &json!("refund_due")));
        let answer = post(format!("/admin/v1/orders/{second}/cancel"), "a", json!({"reason": "late"})).await;
        assert_eq!((answer.status.as_u16(), &answer.body["status"]), (200, &json!("refund_due")));
    }
    let other = post(format!("/admin/v1/orders/{first}/refund"), "a", json!({"reason": "other"})).await;
    assert_eq!(other.refusal(), (422, "idempotency_mismatch"));
    assert_eq!(app.books(lamp).await, [5, 5, 0, 0]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_is_being_paid_is_not_cancelled_and_a_confirmed_one_has_one_step() {
    let app = TestApp::start(Backend::Sqlite).await;
    let lamp = app.list(5, json!({"hold_seconds": 600})).await;
    let placed = app.place(7, lamp, &json!({})).await;
    let order: OrderId = placed.body["order_id"].as_str().expect("an id").parse().expect("an id");
    asked(&app, order, Command::StartPayment { order, user: None, row: None }).await;
    let open = app.router().about_order(order, Command::Cancel { order, user: None, reason: None, row: None }).await;
    assert_eq!(open, Reply::Refused(Refusal::PaymentOpen(Attempt::FIRST)));
    // Whoever is asked over HTTP calls the payment off first.
    let cancelled = app.post_as(&app.buyer(7), &format!("/v1/orders/{order}/cancel"), &Value::Null).await;
    assert_eq!((cancelled.status.as_u16(), &cancelled.body["status"]), (200, &json!("cancelled")));
    let free = app.list(5, json!({})).await;
    let placed = app.place(7, free, &json!({})).await;
    let path = format!("/v1/orders/{}/timeline", placed.body["order_id"].as_str().expect("an id"));
    assert_eq!(told(&app, &path, &app.buyer(7)).await, [step("confirmed", "buyer", Value::Null)]);
    let at: Timestamp = app.get_as(&app.buyer(7), &path).await.body["items"][0]["at"].as_str().expect("a time").parse().expect("a time");
    assert_eq!(at.to_string(), placed.body["placed_at"].as_str().expect("a time"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_grace_of_a_commodity_is_told_changed_and_bounded() {
    let app = TestApp::start(Backend::Sqlite).await;
    let lamp = app.list(5, json!({"hold_seconds": 600})).await;
    let path = format!("/admin/v1/commodities/{lamp}");
    assert_eq!(app.get_as(&app.operator(), &path).await.body["grace_seconds"], json!(30));
    let changed = app.patch_as(&app.operator(), &path, &json!({"grace_seconds": 0})).await;
    assert_eq!((changed.status.as_u16(), &changed.body["grace_seconds"], &changed.body["version"]), (200, &json!(0), &json!(2)));
    for wrong in [json!(-1), json!(604_801), json!(null), json!("x")] {
        assert_eq!(app.patch_as(&app.operator(), &path, &json!({"grace_seconds": wrong})).await.refusal(), (422, "invalid_request"));
    }
    assert_eq!(app.get(&format!("/v1/commodities/{lamp}")).await.body["grace_seconds"], json!(0));
    app.stop().await;
}
