//! The log on RabbitMQ: the suite for all logs, and what is special about this one: fences, lost confirms, doubt.

use std::sync::Arc;

use doorbuster::domain::{Epoch, OrderStatus, PartitionId, Partitions, Sequence};
use doorbuster::event::Batch;
use doorbuster::ownership::{Claim, ClusterOwnership, Ownership};
use doorbuster::store::{OrderFilter, Store};
use lapin::options::QueueDeleteOptions;

use crate::log_conformance::{Fixture, conformance};
use crate::support::broker::TestBroker;
use crate::support::cluster::{Cluster, TestConsumer, behind_the_fence, claim};
use crate::support::history::History;
use crate::support::{Backend, buyers_in, bytes, partition, position};

struct Rabbit {
    cluster: Cluster,
    consumer: TestConsumer,
    ownership: Arc<dyn Ownership>,
    /// The same, with its way to stop.
    node: Arc<ClusterOwnership>,
}

impl Rabbit {
    async fn on(backend: Backend) -> Self {
        let cluster = Cluster::on(TestBroker::new(Partitions::DEFAULT), backend).await;
        let (consumer, node) = (cluster.consumer(), cluster.node("one"));
        Self { cluster, consumer, ownership: node.clone(), node }
    }
}

impl Fixture for Rabbit {
    fn store(&self) -> &Store {
        &self.cluster.store
    }

    fn ownership(&self) -> &Arc<dyn Ownership> {
        &self.ownership
    }

    async fn take_over(&self, partition: PartitionId) -> Claim {
        self.ownership.claim(partition).await.expect("a node may claim again what it owns")
    }

    async fn settled(&self, partition: PartitionId, position: (Epoch, Sequence)) {
        self.cluster.applied(partition, position).await;
    }

    async fn stop(self) {
        self.node.stop().await;
        self.consumer.stop().await;
    }
}

conformance!(sqlite, Rabbit::on(Backend::Sqlite));
conformance!(mysql, Rabbit::on(Backend::Mysql));

/// One commodity and that many batches of one order each, in an epoch.
fn sale(index: u16, epoch: u32, orders: i64) -> Vec<Batch> {
    let mut history = History::begin(partition(index), position(epoch, 0).0);
    history.list(i64::from(index) * 1000 + i64::from(epoch), 1_000).cut();
    for buyer in 1..=orders {
        history.place(0, buyer, 1, OrderStatus::Confirmed, None);
        history.cut();
    }
    history.batches()
}

#[tokio::test]
async fn what_is_confirmed_is_read_back_once_and_in_order() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let (consumer, node) = (cluster.consumer(), cluster.node("one"));
    let owner = claim(&node, partition(0)).await;
    assert_eq!(owner.epoch, position(1, 0).0);
    for batch in behind_the_fence(sale(0, 1, 200)) {
        owner.log.append(batch).await.expect("confirmed");
    }
    cluster.applied(partition(0), position(1, 201)).await;
    let orders = cluster.store.orders(&OrderFilter::default(), None, 1_000).await.unwrap();
    assert_eq!(orders.len(), 200);
    assert!(cluster.store.audit().await.unwrap().iter().all(|row| row.balanced && row.sold == 200));
    node.stop().await;
    consumer.stop().await;
    assert_eq!(cluster.broker.raw().await.depth(cluster.broker.log(partition(0))).await, 0, "everything was acknowledged");
}

#[tokio::test]
async fn what_an_older_epoch_writes_behind_a_newer_fence_does_not_count() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let (consumer, node, other) = (cluster.consumer(), cluster.node("one"), cluster.node("two"));
    let owner = claim(&node, partition(1)).await;
    let history = behind_the_fence(sale(1, 1, 3));
    for batch in &history[..2] {
        owner.log.append(batch.clone()).await.expect("confirmed");
    }
    node.release(partition(1)).await;
    let next = claim(&other, partition(1)).await;
    assert_eq!(buyers_in(&next.snapshot), 1);
    // What was under way when the first owner lost its lock comes late.
    let raw = cluster.broker.raw().await;
    for batch in &history[2..] {
        raw.publish(cluster.broker.log(partition(1)), &bytes(batch)).await;
    }
    let mut own = History::begin(partition(1), next.epoch);
    own.list(7, 10).cut();
    next.log.append(own.batches().remove(1)).await.expect("confirmed");
    cluster.applied(partition(1), position(2, 1)).await;
    assert_eq!(cluster.store.orders(&OrderFilter::default(), None, 10).await.unwrap().len(), 1);
    node.stop().await;
    other.stop().await;
    consumer.stop().await;
}

#[tokio::test]
async fn a_released_claim_refuses_appends_and_publishes_nothing() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let (consumer, node) = (cluster.consumer(), cluster.node("one"));
    let owner = claim(&node, partition(0)).await;
    node.release(partition(0)).await;
    assert!(owner.lost.is_cancelled());
    let batch = behind_the_fence(sale(0, 1, 1)).remove(0);
    owner.log.append(batch).await.expect_err("the claim is over");
    consumer.stop().await;
    assert_eq!(cluster.broker.raw().await.depth(cluster.broker.log(partition(0))).await, 0);
    node.stop().await;
}

#[tokio::test]
async fn a_batch_that_no_queue_takes_is_in_doubt_and_ends_its_own_claim_and_no_other() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let (consumer, node) = (cluster.consumer(), cluster.node("one"));
    let (owner, neighbour) = (claim(&node, partition(0)).await, claim(&node, partition(1)).await);
    let raw = cluster.broker.raw().await;
    raw.channel.queue_delete(cluster.broker.log(partition(0)), QueueDeleteOptions::default()).await.unwrap();
    let doubt = owner.log.append(behind_the_fence(sale(0, 1, 1)).remove(0)).await.expect_err("nobody has it");
    assert!(doubt.to_string().contains("no queue took it"), "{doubt}");
    assert!(owner.lost.is_cancelled());
    neighbour.log.append(behind_the_fence(sale(1, 1, 1)).remove(0)).await.expect("the other partition's connection is its own");
    assert!(!neighbour.lost.is_cancelled());
    node.stop().await;
    consumer.stop().await;
}

#[tokio::test]
async fn a_caller_that_stops_waiting_for_a_confirm_leaves_the_claim_lost() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let (consumer, node) = (cluster.consumer(), cluster.node("one"));
    let owner = claim(&node, partition(0)).await;
    let mut append = owner.log.append(behind_the_fence(sale(0, 1, 1)).remove(0));
    assert!(futures_util::poll!(&mut append).is_pending());
    drop(append);
    assert!(owner.lost.is_cancelled());
    node.stop().await;
    consumer.stop().await;
}
