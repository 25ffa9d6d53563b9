//! A partition task whose term ends as none should: by a panic, or with tables that contradict themselves. On a real log and
//! real tables: only the panic is made.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use doorbuster::clock::{self, Clock};
use doorbuster::config::Config;
use doorbuster::domain::{CommodityId, IdempotencyKey, NamedOrder, OrderId, Partitions, Quantity, RequestFingerprint, Timestamp, Units};
use doorbuster::engine::{Answer, Command, Place};
use doorbuster::event::Batch;
use doorbuster::log::{InDoubt, Log};
use doorbuster::ownership::embedded::EmbeddedOwnership;
use doorbuster::ownership::{Claim, ClaimError, ClusterOwnership, Ownership};
use doorbuster::partition::{Board, Busy, Inbox, Reply, Runner, Settings, Sighting, Traced, Trouble, spawn};
use doorbuster::ring::partition_of;
use doorbuster::store::Store;
use doorbuster::trace::Tracer;
use futures_util::future::BoxFuture;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use crate::support::cluster::{Cluster, eventually};
use crate::support::history::endless_terms;
use crate::support::otlp::Collector;
use crate::support::proxy::Proxy;
use crate::support::{Backend, TestDatabase, at, commodity, partition, user};

/// When the next append panics.
const NEVER: u8 = 0;
const BEFORE_IT_IS_DONE: u8 = 1;
const AFTER_IT_IS_DONE: u8 = 2;

/// The embedded ownership, with a log that can be made to panic once, and to wait.
struct Trapped {
    inner: EmbeddedOwnership,
    trap: Arc<AtomicU8>,
    /// Appends wait while a test holds it.
    gate: Arc<RwLock<()>>,
}

struct TrappedLog {
    inner: Arc<dyn Log>,
    trap: Arc<AtomicU8>,
    gate: Arc<RwLock<()>>,
}

impl Log for TrappedLog {
    fn append(&self, batch: Batch) -> BoxFuture<'_, Result<(), InDoubt>> {
        Box::pin(async move {
            let trap = self.trap.swap(NEVER, Ordering::SeqCst);
            assert_ne!(trap, BEFORE_IT_IS_DONE, "a deliberate panic");
            let _open = self.gate.read().await;
            let confirmed = self.inner.append(batch).await;
            assert_ne!(trap, AFTER_IT_IS_DONE, "a deliberate panic");
            confirmed
        })
    }
}

impl Ownership for Trapped {
    fn claim(&self, partition: doorbuster::domain::PartitionId) -> BoxFuture<'_, Result<Claim, ClaimError>> {
        Box::pin(async move {
            let claim = self.inner.claim(partition).await?;
            let (trap, gate) = (Arc::clone(&self.trap), Arc::clone(&self.gate));
            Ok(Claim { log: Arc::new(TrappedLog { inner: claim.log, trap, gate }), ..claim })
        })
    }

    fn release(&self, partition: doorbuster::domain::PartitionId) -> BoxFuture<'_, ()> {
        self.inner.release(partition)
    }
}

struct Office {
    database: TestDatabase,
    store: Store,
    ownership: Arc<Trapped>,
    board: Arc<Board>,
    runner: Runner,
    stop: CancellationToken,
}

fn now() -> Timestamp {
    at(1_000)
}

thread_local! {
    /// Whether the clock of this test panics when it is read next: what it is asked for by is the task's own code.
    static CLOCK_TRAP: Cell<bool> = const { Cell::new(false) };
}

fn trapped_now() -> Timestamp {
    assert!(!CLOCK_TRAP.replace(false), "a deliberate panic");
    now()
}

/// Puts a lamp on sale.
async fn list(inbox: &Inbox, id: CommodityId) {
    let list = Command::List { commodity: id, terms: Box::new(endless_terms()), total: Units::new(5).unwrap() };
    assert!(matches!(inbox.command(list).await, Reply::Done(Answer::Commodity(_))));
}

fn placing(commodity: CommodityId, key: &str) -> Command {
    let fingerprint = RequestFingerprint::of(Quantity::ONE, None);
    Command::Place(Place {
        commodity,
        user: user(9).into(),
        quantity: Quantity::ONE,
        key: IdempotencyKey::from_text(key).ok(),
        fingerprint,
        unit_price: None,
    })
}

/// Orders one.
async fn place(inbox: Inbox, commodity: CommodityId, key: &str) -> Reply {
    inbox.command(placing(commodity, key)).await
}

/// Waits until the first lamp of five is in a batch.
async fn in_flight(board: &Board, commodity: CommodityId) {
    eventually("the first is in flight", async || board.get(commodity).is_some_and(|listing| listing.stock.available.get() == 4)).await;
}

/// Orders one, and makes the task panic at the next order, while the batch with the first is in flight. Gives the first order's id,
/// as its buyer hears it.
async fn panic_behind_an_order(inbox: &Inbox, board: &Board, commodity: CommodityId) -> OrderId {
    let first = tokio::spawn(place(inbox.clone(), commodity, "first"));
    in_flight(board, commodity).await;
    CLOCK_TRAP.set(true);
    // Its task ended before it was decided: it was placed nowhere.
    assert_eq!(place(inbox.clone(), commodity, "second").await, Reply::Busy(Busy::Unavailable));
    match first.await.expect("no panic in here") {
        Reply::Pending(Some(order)) => order,
        other => panic!("what is in flight is pending, with the order's id, and not {other:?}"),
    }
}

impl Office {
    async fn open() -> Self {
        let database = TestDatabase::migrated(Backend::Sqlite).await;
        let store = database.store().await;
        let mut config = Config::load(None).expect("the defaults are good").partition;
        config.stopped_retry_ms = 50;
        config.append_timeout_ms = 60_000;
        let inner = EmbeddedOwnership::start(store.clone(), "node-1".into(), &config, clock::system);
        let ownership = Arc::new(Trapped { inner, trap: Arc::default(), gate: Arc::default() });
        let (settings, board, stop) = (Settings::from(&config), Arc::new(Board::new(Partitions::DEFAULT)), CancellationToken::new());
        let runner = spawn(partition(3), settings, ownership.clone(), Arc::clone(&board), trapped_now, stop.clone());
        let office = Self { database, store, ownership, board, runner, stop };
        list(office.inbox(), commodity(1)).await;
        office
    }

    fn inbox(&self) -> &Inbox {
        &self.runner.inbox
    }

    fn trap(&self, when: u8) {
        self.ownership.trap.store(when, Ordering::SeqCst);
    }

    async fn place(&self, key: &str) -> Reply {
        place(self.inbox().clone(), commodity(1), key).await
    }

    /// A placing whose batch meets the trap.
    async fn place_into_the_trap(&self, when: u8) -> OrderId {
        self.trap(when);
        match self.place("trapped").await {
            Reply::Pending(Some(order)) => order,
            other => panic!("what is in doubt is pending, with the order's id, and not {other:?}"),
        }
    }

    async fn close(self) {
        self.stop.cancel();
        self.runner.stopped().await;
        self.ownership.inner.stop().await;
        assert!(self.store.audit().await.unwrap().iter().all(|row| row.balanced));
    }
}

#[tokio::test]
async fn an_order_whose_task_panicked_behind_the_confirm_is_there_when_the_task_is_back() {
    let office = Office::open().await;
    let Reply::Done(Answer::Placed(before)) = office.place("before").await else { panic!("nothing is wrong yet") };
    let trapped = office.place_into_the_trap(AFTER_IT_IS_DONE).await;
    assert_eq!(office.place("trapped").await, Reply::Done(Answer::PlacedBefore(trapped)), "it was confirmed");
    assert!(matches!(office.inbox().lookup(before.id).await, Ok(Sighting::Unknown { in_tables: true, .. })));
    assert_eq!(
        office.store.order(before.id).await.unwrap(),
        Some(NamedOrder { order: before, foreign: None }),
        "what was confirmed is never doubted"
    );
    assert_eq!(office.inbox().epoch().map(|epoch| epoch.get()), Some(2));
    assert_eq!(office.inbox().trouble(), None);
    office.close().await;
}

#[tokio::test]
async fn an_order_whose_task_panicked_before_the_append_never_was() {
    let office = Office::open().await;
    let trapped = office.place_into_the_trap(BEFORE_IT_IS_DONE).await;
    let Reply::Done(Answer::Placed(order)) = office.place("trapped").await else { panic!("nothing was placed under that key") };
    assert_ne!(order.id, trapped);
    assert!(matches!(office.inbox().lookup(trapped).await, Ok(Sighting::Unknown { epoch, .. }) if epoch > trapped.epoch()));
    assert_eq!(office.store.order(trapped).await.unwrap(), None);
    office.close().await;
}

#[tokio::test]
async fn tables_that_contradict_themselves_stop_a_partition_until_they_do_not() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let is_stopped = |value: u8| metrics.render().contains(&format!("doorbuster_partition_stopped{{partition=\"3\"}} {value}"));
    let office = Office::open().await;
    assert!(is_stopped(0));
    office.database.execute("UPDATE commodities SET available = available - 1, held = held + 1").await;
    office.place_into_the_trap(BEFORE_IT_IS_DONE).await;
    eventually("somebody says why", async || office.inbox().trouble() == Some(Trouble::TablesContradict)).await;
    assert!(!office.inbox().is_serving() && is_stopped(1));
    office.database.execute("UPDATE commodities SET available = available + 1, held = held - 1").await;
    eventually("it is looked at again", async || office.inbox().is_serving()).await;
    assert!(office.inbox().trouble().is_none() && is_stopped(0));
    assert!(matches!(office.place("after").await, Reply::Done(Answer::Placed(_))));
    office.close().await;
}

#[tokio::test]
async fn a_batch_in_flight_when_its_task_panics_is_written_before_the_partition_starts_over() {
    let office = Office::open().await;
    let shut = Arc::clone(&office.ownership.gate).write_owned().await;
    let first = panic_behind_an_order(office.inbox(), &office.board, commodity(1)).await;
    drop(shut);
    assert_eq!(office.place("first").await, Reply::Done(Answer::PlacedBefore(first)), "its append was not given up");
    assert_eq!(office.inbox().epoch().map(|epoch| epoch.get()), Some(2));
    office.close().await;
}

#[tokio::test]
async fn a_panic_with_a_batch_in_flight_to_the_broker_starts_its_own_partition_over_and_no_other() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let (consumer, proxy) = (cluster.consumer(), Proxy::to("127.0.0.1:5672".parse().unwrap()).await);
    let mut config = cluster.config();
    config.broker.url = Some(proxy.amqp_url().into());
    (config.broker.answer_timeout_ms, config.partition.append_timeout_ms, config.partition.command_timeout_ms) = (60_000, 60_000, 60_000);
    let node = Arc::new(ClusterOwnership::start(&config, cluster.store.clone(), clock::system).unwrap());
    let partitions = cluster.store.partitions();
    let of = |id| partition_of(commodity(id), partitions);
    let elsewhere = (2..).find(|id| of(*id) != of(1)).expect("there is more than one partition");
    let (board, stop, settings) = (Arc::new(Board::new(partitions)), CancellationToken::new(), Settings::from(&config.partition));
    let run = |partition, clock: Clock| spawn(partition, settings, node.clone(), Arc::clone(&board), clock, stop.clone());
    let (one, other) = (run(of(1), trapped_now), run(of(elsewhere), now));
    list(&one.inbox, commodity(1)).await;
    list(&other.inbox, commodity(elsewhere)).await;

    proxy.hold();
    let first = panic_behind_an_order(&one.inbox, &board, commodity(1)).await;
    proxy.mend();

    let again = place(one.inbox.clone(), commodity(1), "first").await;
    assert_eq!(again, Reply::Done(Answer::PlacedBefore(first)), "it was confirmed");
    let epochs = [&one, &other].map(|runner| runner.inbox.epoch().map(|epoch| epoch.get()));
    assert_eq!(epochs, [Some(2), Some(1)], "the partition that did not panic serves on in its epoch");
    assert!(matches!(place(other.inbox.clone(), commodity(elsewhere), "other").await, Reply::Done(Answer::Placed(_))));

    stop.cancel();
    one.stopped().await;
    other.stopped().await;
    node.stop().await;
    consumer.stop().await;
    assert!(cluster.store.audit().await.unwrap().iter().all(|row| row.balanced));
}

#[tokio::test]
async fn an_append_that_is_given_up_is_an_error_in_its_trace() {
    let (office, collector) = (Office::open().await, Collector::start());
    let mut settings = Config::load(None).expect("the defaults are good").telemetry;
    (settings.traces_endpoint, settings.traces_ratio) = (Some(collector.url()), 1.0);
    let tracer = Tracer::start(&settings, "test", "one").unwrap();
    let shut = Arc::clone(&office.ownership.gate).write_owned().await;
    let request = tracer.request(|| None).expect("every request is traced");
    let (inbox, traced) =
        (office.inbox().clone(), Traced { command: placing(commodity(1), "k"), trace: Some(request.trace()), retry_key: None });
    let reply = tokio::spawn(async move { inbox.command(traced).await });
    in_flight(&office.board, commodity(1)).await;
    office.ownership.release(partition(3)).await;
    assert!(matches!(reply.await.unwrap(), Reply::Pending(Some(_))));
    drop((shut, request));
    tracer.shut().await;
    let spans = collector.stop().await;
    let append = spans.0.iter().find(|span| span.name == "append").expect("its span was sent");
    assert_eq!(append.failed.as_deref(), Some("nobody waited for the confirm"));
    office.close().await;
}
