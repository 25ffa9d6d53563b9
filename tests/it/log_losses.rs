//! What the broker loses is noticed: batches that were confirmed and that a log lost stop their partition, and a stranger's are not taken.

use std::sync::Arc;
use std::time::Duration;

use doorbuster::clock;
use doorbuster::config::Config;
use doorbuster::consumer::{Consumer, Status};
use doorbuster::domain::{Order, OrderId, OrderStatus, PartitionId, Sequence, SystemId};
use doorbuster::engine::Answer;
use doorbuster::event::Batch;
use doorbuster::ownership::{Claim, ClaimError, ClusterOwnership, Ownership};
use doorbuster::partition::{Busy, Reply};
use doorbuster::ring::partition_of;
use doorbuster::routing::{OrderLookup, Router};
use doorbuster::store::{Gap, Store};
use doorbuster::tools::log;
use lapin::options::QueuePurgeOptions;
use rstest::rstest;
use tokio_util::sync::CancellationToken;

use crate::spikes::{Spikes, buy};
use crate::support::cluster::{Cluster, TestConsumer, claim, eventually};
use crate::support::history::History;
use crate::support::{Backend, TestDatabase, buyers_in, bytes, commodity, database, partition, position};

const LOSSY: u16 = 0;

/// A commodity and an order in the first batch, and an order in each of the next ones.
fn sold(owner: &Claim, batches: u64) -> Vec<Batch> {
    let mut history = History::begin(partition(LOSSY), owner.epoch);
    history.list(i64::from(owner.epoch.get()), 100);
    for buyer in 1..=batches {
        history.place(0, buyer as i64, 1, OrderStatus::Confirmed, None);
        history.cut();
    }
    history.batches().split_off(1)
}

async fn purge(cluster: &Cluster, of: PartitionId) -> u32 {
    let raw = cluster.broker.raw().await;
    raw.channel.queue_purge(cluster.broker.log(of), QueuePurgeOptions::default()).await.expect("it is purged")
}

/// One batch of that owner is in the tables, and two more were confirmed while no consumer was there, and lost.
async fn lost_two(cluster: &Cluster, owner: &Claim, consumer: TestConsumer) {
    let mut batches = sold(owner, 3).into_iter();
    owner.log.append(batches.next().expect("three")).await.expect("confirmed");
    cluster.applied(partition(LOSSY), (owner.epoch, Sequence(1))).await;
    consumer.stop().await;
    for batch in batches {
        owner.log.append(batch).await.expect("confirmed");
    }
    assert_eq!(purge(cluster, partition(LOSSY)).await, 2);
}

/// Waits until a claim says what is missing.
async fn incomplete(node: &ClusterOwnership) -> String {
    let mut why = None;
    let said = std::sync::Mutex::new(&mut why);
    eventually("somebody notices", async || match node.claim(partition(LOSSY)).await {
        Err(ClaimError::LogIncomplete(why)) => {
            **said.lock().expect("nobody panics") = Some(why);
            true
        }
        Err(_) => false,
        Ok(claim) => panic!("it is served in epoch {}", claim.epoch),
    })
    .await;
    why.expect("it was said")
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn what_a_log_has_lost_stops_its_partition_until_an_operator_accepts_the_loss(#[case] backend: Backend) {
    let cluster = Cluster::new(backend).await;
    let (consumer, node) = (cluster.consumer(), cluster.node("one"));
    let owner = claim(&node, partition(LOSSY)).await;
    lost_two(&cluster, &owner, consumer).await;
    node.stop().await;

    let (consumer, node) = (cluster.consumer(), cluster.node("two"));
    let why = incomplete(&node).await;
    assert!(why.contains("its log lacks batches 1/2 to 1/3") && why.contains("accept-loss"), "{why}");
    let missing = "batches 1/2 to 1/3 of partition 0 were confirmed and are not in the log";
    consumer.health(missing, |health| !health.ready && health.stopped.get(&LOSSY).is_some_and(|why| why.contains(missing))).await;
    let gap = Gap { partition: partition(LOSSY), applied: position(1, 1), missing: position(1, 3), is_broken: false };
    assert_eq!(cluster.store.gap(partition(LOSSY)).await.unwrap(), Some(gap));
    assert_eq!(cluster.store.epochs(partition(LOSSY)).await.unwrap().applied, position(1, 0).0, "nothing is refused");
    // The others go on.
    claim(&node, partition(1)).await;

    let broker = cluster.broker.broker(&cluster.database);
    let accept = |reason| log::accept_loss(&broker, &cluster.store, partition(LOSSY), (reason, "tester"), clock::system());
    assert!(accept("  ").await.unwrap_err().to_string().contains("a reason has 1 to"));
    let said = accept("purged by mistake").await.unwrap();
    assert_eq!(said, "partition 0 goes on without batches 1/2 to 1/3; orders of them are refused");
    assert!(accept("once more").await.unwrap_err().to_string().contains("no consumer has found anything missing"));
    let owner = claim(&node, partition(LOSSY)).await;
    assert_eq!(buyers_in(&owner.snapshot), 1, "what was in the tables is there still");
    owner.log.append(sold(&owner, 1).remove(0)).await.expect("confirmed");
    cluster.applied(partition(LOSSY), (owner.epoch, Sequence(1))).await;
    consumer.health("well", |health| health.ready).await;
    let mut printed = Vec::new();
    log::losses(&cluster.store, &mut printed).await.unwrap();
    let printed = String::from_utf8(printed).unwrap();
    assert!(printed.contains("partition 0: batches 1/2 to 1/3, accepted by tester: purged by mistake"), "{printed}");
    assert!(cluster.store.audit().await.unwrap().iter().all(|row| row.balanced));
    node.stop().await;
    consumer.stop().await;
}

/// The owner is gone without a word: what it had told the tables beside its accepts is known still.
#[tokio::test]
async fn what_an_owner_that_was_killed_had_told_the_tables_is_missed_too() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let (consumer, node) = (cluster.consumer(), cluster.node("one"));
    let owner = claim(&node, partition(LOSSY)).await;
    lost_two(&cluster, &owner, consumer).await;
    eventually("the tables are told", async || cluster.store.confirmed(partition(LOSSY)).await.unwrap() == position(1, 3)).await;
    drop((owner, node));
    let (consumer, node) = (cluster.consumer(), cluster.node("two"));
    assert!(incomplete(&node).await.contains("batches 1/2 to 1/3"));
    node.stop().await;
    consumer.stop().await;
}

/// A batch that slipped behind a fence, or that nobody got confirmed, is nobody's to miss.
#[tokio::test]
async fn what_nobody_got_confirmed_is_not_missed() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let consumer = cluster.consumer();
    for epoch in 1..=3 {
        let node = cluster.node(&format!("node-{epoch}"));
        let owner = claim(&node, partition(LOSSY)).await;
        assert_eq!(owner.epoch, position(epoch, 0).0);
        for batch in sold(&owner, 2) {
            owner.log.append(batch).await.expect("confirmed");
        }
        // It is sent and not awaited.
        drop(owner.log.append(Batch::new(partition(LOSSY), owner.epoch, Sequence(3), Vec::new())));
        drop((owner, node));
    }
    consumer.stop().await;
    assert!(cluster.store.audit().await.unwrap().iter().all(|row| row.balanced));
}

#[tokio::test]
async fn the_loss_of_a_partition_that_somebody_owns_is_not_accepted() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let (consumer, node) = (cluster.consumer(), cluster.node("one"));
    let owner = claim(&node, partition(LOSSY)).await;
    let broker = cluster.broker.broker(&cluster.database);
    let accepted = log::accept_loss(&broker, &cluster.store, partition(LOSSY), ("why", "tester"), clock::system()).await;
    assert!(accepted.unwrap_err().to_string().contains("a node owns partition 0"));
    assert!(!owner.lost.is_cancelled());
    node.stop().await;
    consumer.stop().await;
}

/// A consumer of another database, and how it is stopped.
fn stranger(config: &Config, store: Store) -> (Arc<Status>, CancellationToken) {
    let (status, stop) = (Arc::new(Status::default()), CancellationToken::new());
    let consumer = Consumer::new(config, store, clock::system, Arc::clone(&status)).expect("a good configuration");
    tokio::spawn(consumer.run(stop.clone()));
    (status, stop)
}

/// Two environments on one virtual host with one prefix.
#[tokio::test]
async fn another_systems_consumer_neither_applies_nor_acknowledges_what_is_not_its_own() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let (consumer, node) = (cluster.consumer(), cluster.node("one"));
    let owner = claim(&node, partition(LOSSY)).await;
    consumer.stop().await;
    let other = TestDatabase::empty(Backend::Sqlite).await;
    Store::migrate(other.url(), &database::settings(), cluster.broker.partitions()).await.unwrap();
    let (theirs, ours) = (other.store().await, cluster.store.system());
    assert_ne!(theirs.system(), ours);
    // Its epochs are higher.
    for _ in 0..9 {
        theirs.claim_epoch(partition(LOSSY), "theirs").await.unwrap();
    }
    let (status, stop) = stranger(&cluster.broker.config(&other), theirs.clone());
    for batch in sold(&owner, 2) {
        owner.log.append(batch).await.expect("confirmed");
    }
    let why = format!("belongs to system {ours}");
    eventually("it says whose they are", async || {
        let health = status.health();
        !health.ready && health.stopped.get(&LOSSY).is_some_and(|stopped| stopped.contains(&why))
    })
    .await;
    stop.cancel();
    assert_eq!(theirs.applied(partition(LOSSY)).await.unwrap(), position(0, 0));
    let consumer = cluster.consumer();
    cluster.applied(partition(LOSSY), (owner.epoch, Sequence(2))).await;
    node.stop().await;
    consumer.stop().await;
}

#[tokio::test]
async fn a_strangers_batch_stops_a_partition_until_it_is_taken_out() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let consumer = cluster.consumer();
    consumer.health("well", |health| health.ready).await;
    let raw = cluster.broker.raw().await;
    let theirs = SystemId::from_bytes([9; 16]);
    raw.publish(cluster.broker.log(partition(LOSSY)), &bytes(&Batch::fence(partition(LOSSY), position(7, 0).0).of_system(theirs))).await;
    let why = format!("batch 7/0 belongs to system {theirs}");
    consumer.health(&why, |health| health.stopped.get(&LOSSY).is_some_and(|stopped| stopped.contains(&why))).await;
    consumer.stop().await;
    assert_eq!(cluster.store.applied(partition(LOSSY)).await.unwrap(), position(0, 0));
    raw.take(cluster.broker.log(partition(LOSSY)), 1).await;
    let (consumer, node) = (cluster.consumer(), cluster.node("one"));
    assert_eq!(claim(&node, partition(LOSSY)).await.epoch, position(1, 0).0);
    consumer.health("well", |health| health.ready).await;
    node.stop().await;
    consumer.stop().await;
}

fn accepted(reply: &Reply) -> Option<Order> {
    match reply {
        Reply::Done(Answer::Placed(order)) => Some(*order),
        _ => None,
    }
}

async fn say(router: &Router, orders: &[OrderId], wanted: &OrderLookup) -> bool {
    for order in orders {
        let said = router.order(*order).await;
        if said != *wanted {
            assert_eq!(said, OrderLookup::Pending, "order {order}");
            return false;
        }
    }
    true
}

/// As a buyer has it: four orders are accepted while the consumer is away, the log is purged, the node starts again.
#[tokio::test(flavor = "multi_thread")]
async fn accepted_orders_that_the_log_has_lost_are_pending_and_never_refused_until_the_loss_is_accepted() {
    let mut spikes = Spikes::new().await;
    let node = spikes.start("a").await;
    spikes.list(node.router(), 10).await;
    let of = partition_of(commodity(1), spikes.cluster.broker.partitions());
    eventually("the list is in the tables", async || spikes.cluster.store.commodity(commodity(1)).await.unwrap().is_some()).await;
    spikes.consumer.take().expect("it consumes").stop().await;
    let mut orders = Vec::new();
    for buyer in 1..=4 {
        let reply = buy(node.router(), 1, buyer, &format!("key-{buyer}")).await;
        orders.push(accepted(&reply).unwrap_or_else(|| panic!("{reply:?}")).id);
    }
    assert!(purge(&spikes.cluster, of).await > 0);
    node.stop().await;

    let node = doorbuster::cluster::SpikeNode::start(&impatient(&spikes)).await.expect("the node starts");
    let consumer = spikes.cluster.consumer();
    eventually("buyers are told at once", async || {
        say(node.router(), &orders, &OrderLookup::Pending).await;
        matches!(buy(node.router(), 1, 9, "another").await, Reply::Busy(Busy::Unavailable)) && node.router().trouble_of(of).is_some()
    })
    .await;
    assert!(say(node.router(), &orders, &OrderLookup::Pending).await);
    assert!(!consumer.status.health().ready && !node.router().ready());
    eventually("operators are told why", async || {
        let told = spikes.told("/admin/v1/partitions").await;
        told.iter().any(|partition| partition["id"] == of.get() && partition["trouble"] == "log_incomplete")
    })
    .await;

    let broker = spikes.cluster.broker.broker(&spikes.cluster.database);
    log::accept_loss(&broker, &spikes.cluster.store, of, ("purged", "tester"), clock::system()).await.unwrap();
    eventually("they are refused then", async || say(node.router(), &orders, &OrderLookup::Refused).await).await;
    node.router().served(Duration::from_secs(30)).await.expect("it sells again");
    assert!(accepted(&buy(node.router(), 1, 9, "afterwards").await).is_some());
    node.stop().await;
    spikes.consumer = Some(consumer);
    spikes.audit(1).await;
}

fn impatient(spikes: &Spikes) -> Config {
    let mut config = spikes.config("a");
    config.partition.command_timeout_ms = 2_000;
    config
}
