//! A partition task whose term ends as none should: by a panic, or with tables that contradict themselves. On a real log and
//! real tables: only the panic is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use doorbuster::config::Config;
use doorbuster::domain::{IdempotencyKey, OrderId, Quantity, RequestFingerprint, Timestamp, Units};
use doorbuster::engine::{Answer, Command, Place};
use doorbuster::event::Batch;
use doorbuster::log::{InDoubt, Log};
use doorbuster::ownership::embedded::EmbeddedOwnership;
use doorbuster::ownership::{Claim, ClaimError, Ownership};
use doorbuster::partition::{Board, Inbox, Reply, Runner, Settings, Sighting, spawn};
use doorbuster::store::Store;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::support::cluster::eventually;
use crate::support::history::terms;
use crate::support::{Backend, TestDatabase, at, commodity, partition, user};

/// When the next append panics.
const NEVER: u8 = 0;
const BEFORE_IT_IS_DONE: u8 = 1;
const AFTER_IT_IS_DONE: u8 = 2;

/// The embedded ownership, with a log that can be made to panic once.
struct Trapped {
    inner: EmbeddedOwnership,
    trap: Arc<AtomicU8>,
}

struct TrappedLog {
    inner: Arc<dyn Log>,
    trap: Arc<AtomicU8>,
}

impl Log for TrappedLog {
    fn append(&self, batch: Batch) -> BoxFuture<'_, Result<(), InDoubt>> {
        Box::pin(async move {
            let trap = self.trap.swap(NEVER, Ordering::SeqCst);
            assert_ne!(trap, BEFORE_IT_IS_DONE, "a deliberate panic");
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
            Ok(Claim { log: Arc::new(TrappedLog { inner: claim.log, trap: Arc::clone(&self.trap) }), ..claim })
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
    runner: Runner,
    stop: CancellationToken,
}

fn now() -> Timestamp {
    at(1_000)
}

impl Office {
    async fn open() -> Self {
        let database = TestDatabase::migrated(Backend::Sqlite).await;
        let store = database.store().await;
        let mut config = Config::load(None).expect("the defaults are good").partition;
        config.stopped_retry_ms = 50;
        let inner = EmbeddedOwnership::start(store.clone(), "node-1".into(), &config);
        let ownership = Arc::new(Trapped { inner, trap: Arc::default() });
        let (settings, board, stop) = (Settings::from(&config), Arc::new(Board::default()), CancellationToken::new());
        let runner = spawn(partition(3), settings, ownership.clone(), board, now, stop.clone());
        let office = Self { database, store, ownership, runner, stop };
        let list = Command::List { commodity: commodity(1), terms: Box::new(terms("Lamp")), total: Units::new(5).unwrap() };
        assert!(matches!(office.inbox().command(list).await, Reply::Done(Answer::Commodity(_))));
        office
    }

    fn inbox(&self) -> &Inbox {
        &self.runner.inbox
    }

    fn trap(&self, when: u8) {
        self.ownership.trap.store(when, Ordering::SeqCst);
    }

    async fn place(&self, key: &str) -> Reply {
        let place = Place {
            commodity: commodity(1),
            user: user(9),
            quantity: Quantity::ONE,
            key: IdempotencyKey::from_text(key).ok(),
            fingerprint: RequestFingerprint::of(Quantity::ONE, None),
        };
        self.inbox().command(Command::Place(place)).await
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
    let Reply::Done(Answer::Replayed(order)) = office.place("trapped").await else { panic!("it was confirmed") };
    assert_eq!(order.id, trapped);
    assert_eq!(office.inbox().lookup(before.id).await, Ok(Sighting::Known(before)), "what was confirmed is never doubted");
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
    let office = Office::open().await;
    office.database.execute("UPDATE commodities SET available = available - 1, held = held + 1").await;
    office.place_into_the_trap(BEFORE_IT_IS_DONE).await;
    eventually("somebody says why", async || {
        office.inbox().trouble().is_some_and(|why| why.starts_with("its tables contradict themselves"))
    })
    .await;
    assert!(!office.inbox().is_serving());
    office.database.execute("UPDATE commodities SET available = available + 1, held = held - 1").await;
    eventually("it is looked at again", async || office.inbox().is_serving()).await;
    assert_eq!(office.inbox().trouble(), None);
    assert!(matches!(office.place("after").await, Reply::Done(Answer::Placed(_))));
    office.close().await;
}
