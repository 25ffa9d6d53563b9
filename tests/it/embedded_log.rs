//! The embedded log and ownership: the suite for all logs, and what is special about this one.

use std::sync::Arc;
use std::time::Duration;

use doorbuster::clock;
use doorbuster::config::Config;
use doorbuster::domain::{Epoch, OrderStatus, PartitionId, Sequence};
use doorbuster::event::{Batch, Event};
use doorbuster::ownership::embedded::EmbeddedOwnership;
use doorbuster::ownership::{Claim, Ownership};
use doorbuster::store::Store;
use sea_orm::{ConnectionTrait, Database};

use crate::log_conformance::{Fixture, conformance};
use crate::support::history::{History, listed};
use crate::support::{Backend, TestDatabase, commodity, partition, sorted};

struct Embedded {
    store: Store,
    ownership: Arc<dyn Ownership>,
    /// The same, with its way to stop.
    process: Arc<EmbeddedOwnership>,
    database: TestDatabase,
}

impl Embedded {
    async fn on(backend: Backend) -> Self {
        Self::with_timeout(backend, Duration::from_secs(30)).await
    }

    async fn with_timeout(backend: Backend, append_timeout: Duration) -> Self {
        let database = TestDatabase::migrated(backend).await;
        let store = database.store().await;
        let mut partition = Config::load(None).expect("the defaults are good").partition;
        partition.append_timeout_ms = append_timeout.as_millis() as u64;
        let process = Arc::new(EmbeddedOwnership::start(store.clone(), "node-1".into(), &partition, clock::system));
        Self { store, ownership: process.clone(), process, database }
    }

    async fn claim(&self, index: u16) -> Claim {
        self.ownership.claim(partition(index)).await.expect("the process owns every partition")
    }
}

impl Fixture for Embedded {
    fn store(&self) -> &Store {
        &self.store
    }

    fn ownership(&self) -> &Arc<dyn Ownership> {
        &self.ownership
    }

    async fn take_over(&self, partition: PartitionId) -> Claim {
        self.ownership.claim(partition).await.expect("a process may claim again what it owns")
    }

    async fn settled(&self, partition: PartitionId, position: (Epoch, Sequence)) {
        let applied = self.store.applied(partition).await.expect("the database is there");
        assert_eq!(applied, position, "a confirm is a commit: there is nothing to wait for");
    }

    async fn stop(self) {
        self.process.stop().await;
    }
}

conformance!(sqlite, Embedded::on(Backend::Sqlite));
conformance!(mysql, Embedded::on(Backend::Mysql));

fn batch(claim: &Claim, index: u16, sequence: u64, events: Vec<Event>) -> Batch {
    Batch::new(partition(index), claim.epoch, Sequence(sequence), events)
}

fn listing(id: i64) -> Vec<Event> {
    vec![Event::Listed(Box::new(listed(commodity(id), 5)))]
}

#[tokio::test]
async fn only_the_partition_at_fault_is_in_doubt() {
    let embedded = Embedded::on(Backend::Sqlite).await;
    let (good, bad) = (embedded.claim(3).await, embedded.claim(4).await);
    let nothing_listed = vec![Event::Paused { commodity: commodity(99), paused: true, version: 2 }];
    // Polled one after the other before the writer runs: both are in one transaction.
    let (confirmed, in_doubt) =
        tokio::join!(good.log.append(batch(&good, 3, 1, listing(1))), bad.log.append(batch(&bad, 4, 1, nothing_listed)));
    assert_eq!(confirmed, Ok(()));
    assert!(in_doubt.unwrap_err().to_string().contains("there is no commodity 99"));
    assert!(bad.lost.is_cancelled() && !good.lost.is_cancelled());
    assert_eq!(good.log.append(batch(&good, 3, 2, listing(2))).await, Ok(()));
    assert_eq!(embedded.claim(4).await.epoch.get(), 2, "the partition goes on in a new epoch");
    embedded.stop().await;
}

#[tokio::test]
async fn a_batch_out_of_sequence_is_not_confirmed() {
    let embedded = Embedded::on(Backend::Sqlite).await;
    let claim = embedded.claim(3).await;
    let doubt = claim.log.append(batch(&claim, 3, 2, listing(1))).await.unwrap_err();
    assert!(doubt.to_string().contains("gap"), "{doubt}");
    embedded.stop().await;
}

#[tokio::test]
async fn what_waits_when_the_writer_is_told_to_stop_is_written_and_answered() {
    let embedded = Embedded::on(Backend::Sqlite).await;
    let mut claims = Vec::new();
    for index in 0..16 {
        claims.push((index, embedded.claim(index).await));
    }
    let appends = claims.iter().map(|(index, claim)| claim.log.append(batch(claim, *index, 1, listing(i64::from(*index) + 1))));
    let Embedded { store, process, database, .. } = embedded;
    // Joined in this order: every append is in the channel before the writer is told.
    let (answers, ()) = tokio::join!(futures_util::future::join_all(appends), process.stop());
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(store.commodities(None, 100, false).await.unwrap().len(), 16);
    assert!(claims.iter().all(|(_, claim)| claim.lost.is_cancelled()));
    drop(database);
}

#[tokio::test]
async fn a_commit_that_takes_too_long_is_in_doubt_and_the_next_claim_settles_it() {
    let embedded = Embedded::with_timeout(Backend::Sqlite, Duration::from_millis(200)).await;
    let claim = embedded.claim(3).await;
    let mut options = sea_orm::ConnectOptions::new(embedded.database.url());
    options.max_connections(1);
    let lock = Database::connect(options).await.unwrap();
    lock.execute_unprepared("BEGIN IMMEDIATE").await.unwrap();
    let doubt = claim.log.append(batch(&claim, 3, 1, listing(1))).await.unwrap_err();
    assert!(doubt.to_string().contains("200 ms"), "{doubt}");
    assert!(claim.lost.is_cancelled());
    lock.execute_unprepared("ROLLBACK").await.unwrap();

    let next = embedded.claim(3).await;
    assert_eq!(next.epoch.get(), 2);
    assert!(next.snapshot.commodities.is_empty(), "it was not committed, and now it never will be");
    assert_eq!(next.log.append(batch(&next, 3, 1, listing(1))).await, Ok(()));
    embedded.stop().await;
}

#[tokio::test]
async fn a_caller_that_gives_up_ends_its_claim() {
    let embedded = Embedded::on(Backend::Sqlite).await;
    let claim = embedded.claim(3).await;
    {
        let append = claim.log.append(batch(&claim, 3, 1, listing(1)));
        tokio::pin!(append);
        assert!(futures_util::poll!(append).is_pending());
    }
    assert!(claim.lost.is_cancelled(), "the next batch would stand behind one nobody knows of");
    embedded.stop().await;
}

#[tokio::test]
async fn a_history_of_appends_is_the_history_of_the_tables() {
    let embedded = Embedded::on(Backend::Sqlite).await;
    let claim = embedded.claim(3).await;
    let mut history = History::begin(partition(3), claim.epoch);
    history.list(1, 500);
    for number in 0..300 {
        history.place(0, number % 40 + 1, 1, OrderStatus::Reserved, Some(&format!("key-{number}")));
        if number % 50 == 49 {
            history.move_to(number as usize - 3, OrderStatus::Paid);
            history.cut();
        }
    }
    let orders = history.orders().to_vec();
    for batch in history.batches().split_off(1) {
        claim.log.append(batch).await.unwrap();
    }
    let snapshot = sorted(embedded.claim(3).await.snapshot);
    let known = &snapshot.commodities[0];
    let held: Vec<_> = orders.iter().filter(|order| order.status == OrderStatus::Reserved).copied().collect();
    assert_eq!(known.orders.iter().map(|known| known.order).collect::<Vec<_>>(), held);
    assert_eq!(known.buyers.iter().map(|buyer| buyer.units).sum::<u32>(), 300);
    assert_eq!(known.keys.iter().map(|key| key.order).collect::<Vec<_>>(), orders.iter().map(|order| order.id).collect::<Vec<_>>());
    embedded.stop().await;
}
