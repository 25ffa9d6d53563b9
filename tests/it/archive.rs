//! Orders of what is over are moved out of the way: whoever reads sees no difference, whoever changes one finds it, and whatever is
//! killed, an order lies in one table.

use std::process::{ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorbuster::domain::{IdempotencyKey, NamedOrder, OrderId, OrderStatus};
use doorbuster::event::Batch;
use doorbuster::projection::{self, Outcome};
use doorbuster::store::{AuditRow, AuditScope, OrderFilter, Store};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rstest::rstest;
use serde_json::json;

use crate::support::app::TestApp;
use crate::support::cluster::eventually;
use crate::support::history::History;
use crate::support::past::{archive, seal};
use crate::support::{Backend, TestDatabase, commodity, partition, position, user};

async fn apply(store: &Store, batches: &[Batch]) {
    for batches in batches.chunks(50) {
        let report = projection::apply(store, batches).await.expect("the database is there");
        assert_eq!(report.count(Outcome::Applied), batches.len(), "{report:?}");
    }
}

/// Two sales of any orders that are over, and what happens after that, a batch each: money that comes late and goes back, keys that
/// older releases forget.
fn over(choices: &[u32], late: &[u32]) -> (Vec<Batch>, Vec<Batch>) {
    use OrderStatus::{Cancelled, Expired, RefundDue, Refunded, Reserved};
    let mut history = History::begin(partition(3), position(1, 0).0);
    history.list(1, 10_000).list(2, 10_000);
    for choice in choices {
        // Neither lists nor changes anything.
        history.choose(choice & !0xFF | (8 + (choice & 0xFF) % 172));
    }
    for index in 0..history.orders().len() {
        match history.orders()[index].status {
            Reserved => history.move_to(index, Expired),
            RefundDue => history.move_to(index, Refunded),
            _ => {}
        }
    }
    history.close(0);
    history.close(1);
    let closed = history.batches_so_far();
    for choice in late {
        let Some(index) = (*choice as usize).checked_rem(history.orders().len()) else { break };
        match history.orders()[index].status {
            _ if choice >> 30 == 0 => history.forget(index),
            Cancelled | Expired => history.move_to(index, RefundDue),
            RefundDue => history.move_to(index, Refunded),
            _ => {}
        }
        history.cut();
    }
    let mut batches = history.batches();
    let late = batches.split_off(closed);
    (batches, late)
}

/// All that can be read of orders.
#[derive(Debug, PartialEq)]
struct Seen {
    all: Vec<NamedOrder>,
    lists: Vec<Vec<NamedOrder>>,
    each: Vec<Option<NamedOrder>>,
    recalled: Vec<bool>,
    keys: Vec<(OrderId, IdempotencyKey)>,
    under_keys: Vec<Option<OrderId>>,
    audit: Vec<AuditRow>,
}

impl Seen {
    async fn of(store: &Store) -> Self {
        let all = store.orders(&OrderFilter::default(), None, 10_000).await.unwrap();
        let (mut lists, mut each, mut recalled, mut keys, mut under_keys) = (vec![], vec![], vec![], vec![], vec![]);
        for status in OrderStatus::ALL.map(Some).into_iter().chain([None]) {
            for (of, by) in [(None, None), (Some(1), None), (Some(2), None), (None, Some(1)), (None, Some(5)), (Some(1), Some(3))] {
                let filter =
                    OrderFilter { commodity: of.map(commodity), user: by.map(|by| user(by).into()), status, ..OrderFilter::default() };
                lists.push(store.orders(&filter, None, 10_000).await.unwrap());
            }
        }
        for id in [1, 2] {
            keys.extend(store.keys_of(commodity(id)).await.unwrap());
        }
        keys.sort_unstable_by_key(|(id, _)| *id);
        for NamedOrder { order, .. } in &all {
            each.push(store.order(order.id).await.unwrap());
            let row = store.recalled(order.id).await.unwrap().expect("it is there");
            recalled.push(row.order == *order && row.key == keys.iter().find(|(id, _)| *id == order.id).map(|(_, key)| *key));
        }
        for (id, key) in &keys {
            let order = all.iter().map(|named| named.order).find(|order| order.id == *id).expect("it is there");
            under_keys.push(store.order_under_key(order.commodity, order.user, *key).await.unwrap().map(|(id, _)| id));
        }
        let audit = store.audit_of(AuditScope::All).await.unwrap().rows;
        Self { all, lists, each, recalled, keys, under_keys, audit }
    }

    /// Whether it is what it should be by itself.
    fn is_sound(&self) -> bool {
        self.audit.iter().all(|row| row.balanced)
            && self.recalled.iter().all(|whole| *whole)
            && self.each.iter().zip(&self.all).all(|(read, listed)| read.as_ref() == Some(listed))
            && self.under_keys.iter().zip(&self.keys).all(|(found, (id, _))| found == &Some(*id))
    }
}

#[rstest]
#[case(Backend::Sqlite, 16)]
#[case(Backend::Mysql, 8)]
fn whenever_orders_are_archived_everything_is_read_as_if_they_were_not(#[case] backend: Backend, #[case] cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() });
    let choices = || proptest::collection::vec(any::<u32>(), 1..100);
    let outcome = runner.run(&(choices(), proptest::collection::vec(any::<u32>(), 0..12)), |(choices, late)| {
        runtime.block_on(async {
            let (databases, (closed, late)) =
                ([TestDatabase::migrated(backend).await, TestDatabase::migrated(backend).await], over(&choices, &late));
            let (moved, left) = (databases[0].store().await, databases[1].store().await);
            for store in [&moved, &left] {
                apply(store, &closed).await;
            }
            let orders = databases[0].number("SELECT COUNT(*) FROM orders").await;
            prop_assert_eq!(seal(&moved).await, 2);
            prop_assert_eq!(archive(&moved, 1 + u64::from(choices[0] % 7)).await as i64, orders, "nothing is owed of any");
            prop_assert_eq!(databases[0].number("SELECT COUNT(*) FROM orders").await, 0);
            for (number, batch) in late.iter().enumerate() {
                for store in [&moved, &left] {
                    apply(store, std::slice::from_ref(batch)).await;
                }
                if number % 3 == 0 {
                    seal(&moved).await;
                    archive(&moved, 2).await;
                }
            }
            let (moved, left) = (Seen::of(&moved).await, Seen::of(&left).await);
            prop_assert!(left.is_sound(), "{:?}", left);
            prop_assert_eq!(moved, left);
            Ok(())
        })
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

/// So many closed orders, each of which called off: money may come late for any.
fn called_off(orders: usize) -> (Vec<Batch>, Vec<Batch>) {
    let mut history = History::begin(partition(3), position(1, 0).0);
    history.list(1, 10_000);
    for number in 0..orders {
        history.place(0, number as i64 % 50 + 1, 1, OrderStatus::Reserved, Some(&format!("key-{number}")));
        history.move_to(number, OrderStatus::Cancelled);
        if number % 200 == 199 {
            history.cut();
        }
    }
    history.close(0);
    let closed = history.batches_so_far();
    for number in 0..orders {
        history.move_to(number, OrderStatus::RefundDue);
        history.cut();
        history.move_to(number, OrderStatus::Refunded);
        history.cut();
    }
    let mut batches = history.batches();
    let late = batches.split_off(closed);
    (batches, late)
}

/// A late payment finds its order wherever it lies, also while it is being moved.
#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_change_while_they_are_archived_and_none_is_missed(#[case] backend: Backend) {
    const ORDERS: usize = 120;
    let database = TestDatabase::migrated(backend).await;
    let (store, others) = (database.store().await, database.store().await);
    let (closed, late) = called_off(ORDERS);
    apply(&store, &closed).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let archiver = tokio::spawn({
        let is_over = Arc::clone(&is_over);
        async move {
            let mut moved = 0;
            while !is_over.load(Ordering::Relaxed) {
                seal(&others).await;
                moved += archive(&others, 3).await;
            }
            moved
        }
    });
    eventually("it has begun", async || database.number("SELECT COUNT(*) FROM archived_orders").await > 0).await;
    for batch in &late {
        apply(&store, std::slice::from_ref(batch)).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let moved = archiver.await.expect("it does not fail");
    assert!(moved > 0);
    let orders = store.orders(&OrderFilter::default(), None, 1_000).await.unwrap();
    assert_eq!(orders.len(), ORDERS);
    assert!(orders.iter().all(|named| named.order.status == OrderStatus::Refunded));
    assert!(store.audit().await.unwrap().iter().all(|row| row.balanced && row.refunds_due == 0));
    assert_eq!(store.keys_of(commodity(1)).await.unwrap().len(), ORDERS);
}

/// Readers are told of each order once, while all of them are moved.
#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_archive_at_once_and_every_list_is_whole_meanwhile(#[case] backend: Backend) {
    const ORDERS: usize = 600;
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    apply(&store, &called_off(ORDERS).0).await;
    let before = Seen::of(&store).await;
    assert_eq!(seal(&store).await, 1);
    let archivers: Vec<_> = [5, 7].into_iter().map(|rows| (database.url().to_owned(), rows)).collect();
    let archivers = archivers.into_iter().map(|(url, rows)| {
        tokio::spawn(async move {
            let store = crate::support::database::store_at(&url).await;
            archive(&store, rows).await
        })
    });
    let archivers: Vec<_> = archivers.collect();
    let all = OrderFilter::default();
    let buyer = OrderFilter { user: Some(user(7).into()), ..all.clone() };
    let of_commodity = OrderFilter { commodity: Some(commodity(1)), ..all.clone() };
    while !archivers.iter().all(tokio::task::JoinHandle::is_finished) {
        assert_eq!(store.orders(&all, None, 1_000).await.unwrap(), before.all);
        let of_buyer: Vec<NamedOrder> = before.all.iter().filter(|named| named.order.user == user(7).into()).cloned().collect();
        assert_eq!(store.orders(&buyer, None, 1_000).await.unwrap(), of_buyer);
        assert_eq!(store.orders(&of_commodity, None, 1_000).await.unwrap(), before.all);
        assert!(store.order(before.all[ORDERS / 2].order.id).await.unwrap().is_some());
    }
    let mut moved = 0;
    for archiver in archivers {
        moved += archiver.await.expect("it does not fail");
    }
    assert_eq!(moved, ORDERS as u64, "each is moved once");
    assert_eq!(Seen::of(&store).await, before);
}

/// Whoever asks goes away: the slice is whole or was none, and its connection is good.
#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn a_slice_that_nobody_waits_for_any_more_leaves_nothing_behind(#[case] backend: Backend) {
    const ORDERS: usize = 400;
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    apply(&store, &called_off(ORDERS).0).await;
    let before = Seen::of(&store).await;
    assert_eq!(seal(&store).await, 1);
    for polls in 0..40 {
        let mut slice = Box::pin(store.archive_slice(commodity(1), 5));
        for _ in 0..polls {
            if futures_util::poll!(&mut slice).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(slice);
    }
    assert_eq!(Seen::of(&store).await, before);
    archive(&store, 50).await;
    assert_eq!(database.number("SELECT COUNT(*) FROM orders").await, 0);
    assert_eq!(Seen::of(&store).await, before);
    store.close().await.expect("nothing is under way");
}

async fn run(database: &TestDatabase, arguments: &[&str]) -> Output {
    command(database, arguments).output().await.expect("the program runs")
}

fn command(database: &TestDatabase, arguments: &[&str]) -> tokio::process::Command {
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_doorbuster"));
    program.args(arguments).env("DATABASE_URL", database.url()).env("DOORBUSTER__NODE__HEARTBEAT_INTERVAL_MS", "500").kill_on_drop(true);
    program
}

fn said(output: &Output) -> (ExitStatus, String) {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    (output.status, String::from_utf8(text).expect("text"))
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_killed_is_gone_on_with_by_the_next(#[case] backend: Backend) {
    const ORDERS: i64 = 8_000;
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    apply(&store, &called_off(ORDERS as usize).0).await;
    assert_eq!(seal(&store).await, 1);
    let archived = async || database.number("SELECT COUNT(*) FROM archived_orders").await;
    // It rests for most of the time or for hardly any, and is killed in whatever it does then.
    for share in ["1", "1", "90"] {
        let before = archived().await;
        let arguments = ["archive", "--closed-before", "2999-01-01", "--share", share];
        let mut killed = command(&database, &arguments).stdout(Stdio::null()).spawn().expect("the program runs");
        eventually("it has moved some", async || archived().await > before).await;
        killed.kill().await.expect("it runs");
        // A server may be about to do the last that it was told.
        let everything = async || database.number("SELECT (SELECT COUNT(*) FROM orders) + (SELECT COUNT(*) FROM archived_orders)").await;
        assert_eq!(everything().await, ORDERS);
        assert_eq!(database.number("SELECT COUNT(*) FROM orders o JOIN archived_orders a ON a.id = o.id").await, 0);
    }
    let (status, text) = said(&run(&database, &["archive", "--closed-before", "2999-01-01", "--share", "100"]).await);
    assert!(status.success() && text.contains("moved"), "{text}");
    assert_eq!((archived().await, database.number("SELECT COUNT(*) FROM orders").await), (ORDERS, 0));
    let (status, text) = said(&run(&database, &["archive", "--closed-before", "2999-01-01"]).await);
    assert!(status.success() && text.contains("0 orders of 0 commodities moved"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_says_what_it_would_do_and_leaves_alone_what_is_younger_or_not_sealed() {
    let database = TestDatabase::migrated(Backend::Sqlite).await;
    let store = database.store().await;
    apply(&store, &called_off(30).0).await;
    let dry = ["archive", "--closed-before", "2999-01-01", "--dry-run"];
    let (status, text) = said(&run(&database, &dry).await);
    assert!(status.success() && text.contains("0 orders of 0 commodities"), "{text}");
    assert!(text.contains("not sealed and so left alone: 1 commodity;") && text.contains("run `doorbuster audit`"), "{text}");
    assert_eq!(seal(&store).await, 1);
    let (_, text) = said(&run(&database, &dry).await);
    assert!(
        text.contains("30 orders of 1 commodity") && text.contains("30 of commodity 1 (Lamp 1)") && !text.contains("not sealed"),
        "{text}"
    );
    for age in ["40000d", "2001-01-01"] {
        let (status, text) = said(&run(&database, &["archive", "--closed-before", age]).await);
        assert!(status.success() && text.contains("0 orders of 0 commodities moved"), "{text}");
    }
    assert_eq!(database.number("SELECT COUNT(*) FROM archived_orders").await, 0);
    let (status, text) = said(&run(&database, &["archive", "--closed-before", "yesterday"]).await);
    assert!(!status.success() && text.contains("a number of days"), "{text}");
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_process_of_the_release_before_may_run_nothing_is_archived(#[case] backend: Backend) {
    let database = TestDatabase::migrated(backend).await;
    let store = database.store().await;
    apply(&store, &called_off(3).0).await;
    assert_eq!(seal(&store).await, 1);
    let command = ["archive", "--closed-before", "2999-01-01"];
    database.execute("UPDATE meta SET log_version = 1").await;
    let (status, text) = said(&run(&database, &command).await);
    let refusals = text.lines().filter(|line| line.starts_with("doorbuster: ")).count();
    assert_eq!((status.code(), refusals), (Some(2), 1), "{text}");
    assert!(text.contains("not archived: processes of an older release may still run") && text.contains("--finish"), "{text}");

    database.execute("UPDATE meta SET log_version = 5").await;
    let columns = "id, instance, internal_address, state, started_at, heartbeat_at, broker";
    database.execute(&format!("INSERT INTO nodes ({columns}) VALUES ('old', 1, '127.0.0.1:1', 1, 1, 1, 0)")).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let beats = async {
        for beat in 2.. {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            database.execute(&format!("UPDATE nodes SET heartbeat_at = {beat}")).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let refused = async {
        let refused = said(&run(&database, &command).await);
        is_over.store(true, Ordering::Relaxed);
        refused
    };
    let ((), (status, text)) = tokio::join!(beats, refused);
    assert!(status.code() == Some(2) && text.contains("not archived: nodes still run an older release") && text.contains("old"), "{text}");
    assert_eq!(database.number("SELECT COUNT(*) FROM archived_orders").await, 0);

    // One that was killed long ago keeps nobody.
    let (status, text) = said(&run(&database, &command).await);
    assert!(status.success() && text.contains("3 orders of 1 commodity moved"), "{text}");
}

/// The embedded server has its file open, and sells.
#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_works_beside_a_server_that_sells(#[case] backend: Backend) {
    let app = TestApp::start(backend).await;
    let (over, open) = (app.list(500, json!({})).await, app.list(10_000, json!({})).await);
    for user in 1..=300 {
        assert_eq!(app.place(user, over, &json!({})).await.status.as_u16(), 201);
    }
    for action in ["end", "close"] {
        let answer = app.post_as(&app.operator(), &format!("/admin/v1/commodities/{over}/{action}"), &json!(null)).await;
        assert_eq!(answer.status.as_u16(), 200, "{:?}", answer.body);
    }
    app.assert_balanced().await;
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_doorbuster"));
    program.args(["archive", "--closed-before", "2999-01-01", "--share", "100"]).env("DATABASE_URL", app.database_url());
    let archived = tokio::spawn(async move { program.output().await.expect("the program runs") });
    let mut sold = 0;
    while !archived.is_finished() || sold < 50 {
        sold += 1;
        let answer = app.place(sold, open, &json!({})).await;
        assert_eq!(answer.status.as_u16(), 201, "{:?}", answer.body);
    }
    let (status, text) = said(&archived.await.expect("it does not panic"));
    assert!(status.success() && text.contains("300 orders of 1 commodity moved"), "{text}");
    assert_eq!((app.books(over).await, app.books(open).await), ([500, 200, 0, 300], [10_000, 10_000 - sold, 0, sold]));
    let list = app.get_as(&app.operator(), &format!("/admin/v1/orders?commodity_id={over}&limit=200")).await;
    assert_eq!(list.body["items"].as_array().map(Vec::len), Some(200));
    let of_buyer = app.get_as(&app.buyer(7), "/v1/orders").await;
    assert_eq!(of_buyer.body["items"].as_array().map(Vec::len), Some(2));
    app.assert_balanced().await;
    app.stop().await;
}
