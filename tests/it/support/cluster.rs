//! A small cluster in one process: a database, queues, nodes and consumers, as real as they come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use doorbuster::clock;
use doorbuster::config::Config;
use doorbuster::consumer::{Consumer, Status};
use doorbuster::domain::{Epoch, PartitionId, Partitions, Sequence};
use doorbuster::event::{self, Batch, LogVersion};
use doorbuster::ownership::{Claim, ClaimError, ClusterOwnership, Ownership};
use doorbuster::store::Store;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::broker::TestBroker;
use super::database::{self, Backend, TestDatabase};

/// Patience with things that take milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many partitions these clusters have: enough to tell one from the others.
pub const PARTITIONS: u16 = 3;

/// A database and a broker.
pub struct Cluster {
    pub store: Store,
    pub broker: TestBroker,
    pub database: TestDatabase,
}

impl Cluster {
    /// On the shared broker.
    pub async fn new(backend: Backend) -> Self {
        Self::on(TestBroker::new(partitions()), backend).await
    }

    /// On some broker.
    pub async fn on(broker: TestBroker, backend: Backend) -> Self {
        Self::of(broker, TestDatabase::empty(backend).await).await
    }

    /// On some broker and in some database, which is empty.
    pub async fn of(broker: TestBroker, database: TestDatabase) -> Self {
        Store::migrate(database.url(), &database::settings(), broker.partitions()).await.expect("a fresh database can be migrated");
        Self { store: database.store().await, broker, database }
    }

    /// What processes of it are configured with.
    pub fn config(&self) -> Config {
        self.broker.config(&self.database)
    }

    /// A node.
    pub fn node(&self, name: &str) -> Arc<ClusterOwnership> {
        self.node_at(self.broker.url(), name)
    }

    /// A node that reaches the broker at another address.
    pub fn node_at(&self, url: &str, name: &str) -> Arc<ClusterOwnership> {
        let mut config = self.config();
        config.broker.url = Some(url.to_owned().into());
        config.broker.answer_timeout_ms = 3_000;
        config.partition.append_timeout_ms = 2_000;
        config.node.id = name.into();
        Arc::new(ClusterOwnership::start(&config, self.store.clone(), clock::system).expect("a good configuration"))
    }

    /// A consumer that runs.
    pub fn consumer(&self) -> TestConsumer {
        self.consumer_with(&self.config())
    }

    /// A consumer with another configuration.
    pub fn consumer_with(&self, config: &Config) -> TestConsumer {
        let (status, stop) = (Arc::new(Status::default()), CancellationToken::new());
        let consumer = Consumer::new(config, self.store.clone(), clock::system, Arc::clone(&status)).expect("a good configuration");
        TestConsumer { status, task: tokio::spawn(consumer.run(stop.clone())), stop }
    }

    /// Takes what is left in the log of a partition, when its consumers are gone: all but markers.
    pub async fn left(&self, partition: PartitionId) -> Vec<Vec<u8>> {
        let marker = event::encode(&Batch::marker(partition), LogVersion::OLDEST).expect("a form");
        let left = self.broker.raw().await.drain(self.broker.log(partition)).await;
        left.into_iter().filter(|body| *body != marker).collect()
    }

    /// Waits until the projection of a partition has come to that batch.
    pub async fn applied(&self, partition: PartitionId, position: (Epoch, Sequence)) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let applied = self.store.applied(partition).await.expect("the database is there");
            if applied == position {
                return;
            }
            assert!(Instant::now() < deadline, "partition {partition} is at {applied:?} and should come to {position:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// How many partitions, in the program's own type.
pub fn partitions() -> Partitions {
    Partitions::new(PARTITIONS).expect("a count of partitions")
}

/// A consumer and how to stop it.
pub struct TestConsumer {
    pub status: Arc<Status>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl TestConsumer {
    /// As SIGTERM does: it finishes what it began.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("the consumer does not panic");
    }

    /// As `kill -9` does: it finishes nothing.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()), "the consumer did not panic");
    }

    /// Waits until its health is such.
    pub async fn health(&self, what: &str, wanted: impl Fn(&doorbuster::consumer::Health) -> bool) {
        eventually(what, async || wanted(&self.status.health())).await;
    }
}

/// Claims, again and again, as a partition task does.
pub async fn claim(node: &ClusterOwnership, partition: PartitionId) -> Claim {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match node.claim(partition).await {
            Ok(claim) => return claim,
            Err(error) => assert!(Instant::now() < deadline, "partition {partition} cannot be claimed: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The error of a claim that must not succeed.
pub async fn refused(node: &ClusterOwnership, partition: PartitionId) -> ClaimError {
    match node.claim(partition).await {
        Ok(claim) => panic!("partition {partition} was given away in epoch {}", claim.epoch),
        Err(error) => error,
    }
}

/// Waits until something is so.
pub async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The batches of a history that begins with the fence of that epoch, without the fence.
pub fn behind_the_fence(batches: Vec<Batch>) -> Vec<Batch> {
    batches.into_iter().skip(1).collect()
}
