//! The consumer when things go wrong around it: nothing twice, nothing lost, nothing out of order.

use doorbuster::broker::Topology;
use doorbuster::domain::{OrderStatus, Partitions};
use doorbuster::event::Batch;
use doorbuster::projection;
use doorbuster::store::OrderFilter;

use crate::support::cluster::{Cluster, PARTITIONS, eventually, partitions};
use crate::support::history::History;
use crate::support::proxy::Proxy;
use crate::support::{Backend, bytes, partition, position};

const ORDERS: i64 = 60;

/// A log per partition: a fence, a commodity, and one order a batch.
fn logs() -> Vec<Vec<Batch>> {
    let log = |index: u16| {
        let mut history = History::begin(partition(index), position(1, 0).0);
        history.list(i64::from(index) + 1, 1_000).cut();
        for buyer in 1..=ORDERS {
            history.place(0, buyer, 1, OrderStatus::Reserved, None);
            history.cut();
        }
        history.batches()
    };
    (0..PARTITIONS).map(log).collect()
}

async fn declare(cluster: &Cluster) {
    let broker = cluster.broker.broker(&cluster.database);
    let session = broker.connect("test").await.expect("a broker");
    let topology: &Topology = broker.topology();
    let count: Partitions = partitions();
    topology.declare(&session, count).await.expect("declared");
    topology.declare(&session, count).await.expect("declaring again changes nothing");
    session.shut().await;
}

async fn publish(cluster: &Cluster, batches: impl IntoIterator<Item = &Batch>) {
    let raw = cluster.broker.raw().await;
    for batch in batches {
        raw.publish(cluster.broker.log(batch.partition), &bytes(batch)).await;
    }
}

async fn all_applied(cluster: &Cluster) {
    for index in 0..PARTITIONS {
        cluster.applied(partition(index), position(1, ORDERS as u64 + 1)).await;
    }
    let orders = cluster.store.orders(&OrderFilter::default(), None, 10_000).await.unwrap();
    assert_eq!(orders.len(), ORDERS as usize * usize::from(PARTITIONS));
    assert!(cluster.store.audit().await.unwrap().iter().all(|row| row.balanced && row.held == ORDERS));
}

async fn all_acknowledged(cluster: &Cluster) {
    for index in 0..PARTITIONS {
        assert!(cluster.left(partition(index)).await.is_empty());
    }
    assert_eq!(cluster.broker.raw().await.depth(cluster.broker.dead()).await, 0);
}

#[tokio::test]
async fn every_message_delivered_twice_changes_nothing() {
    let cluster = Cluster::new(Backend::Mysql).await;
    declare(&cluster).await;
    for log in logs() {
        // Each twice in a row, then all of it again.
        publish(&cluster, log.iter().flat_map(|batch| [batch, batch]).chain(&log)).await;
    }
    let consumer = cluster.consumer();
    all_applied(&cluster).await;
    eventually("all is acknowledged", async || {
        let raw = cluster.broker.raw().await;
        raw.depth(cluster.broker.log(partition(PARTITIONS - 1))).await == 0
    })
    .await;
    consumer.stop().await;
    all_acknowledged(&cluster).await;
}

#[tokio::test]
async fn what_was_committed_and_not_acknowledged_is_skipped() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    declare(&cluster).await;
    let logs = logs();
    publish(&cluster, logs.iter().flatten()).await;
    // A consumer that died between its commit and its acknowledgement, in the middle of each log.
    for log in &logs {
        projection::apply(&cluster.store, &log[..ORDERS as usize / 2]).await.unwrap();
    }
    let consumer = cluster.consumer();
    all_applied(&cluster).await;
    consumer.stop().await;
    all_acknowledged(&cluster).await;
}

#[tokio::test]
async fn consumers_that_are_killed_again_and_again_lose_nothing_and_store_nothing_twice() {
    let cluster = Cluster::new(Backend::Mysql).await;
    declare(&cluster).await;
    let mut config = cluster.config();
    config.consumer.prefetch = 3;
    config.consumer.transaction_events_max = 4;
    let logs = logs();
    let publishing = async {
        publish(&cluster, logs.iter().flatten()).await;
    };
    let killing = async {
        for step in 1..=8 {
            let consumer = cluster.consumer_with(&config);
            let some = position(1, step * 4);
            eventually("it has begun", async || {
                let rows = cluster.store.partition_rows().await.unwrap();
                rows.iter().any(|row| row.applied >= some)
            })
            .await;
            consumer.kill().await;
        }
    };
    tokio::join!(publishing, killing);
    let consumer = cluster.consumer_with(&config);
    all_applied(&cluster).await;
    consumer.stop().await;
    all_acknowledged(&cluster).await;
}

#[tokio::test]
async fn a_consumer_takes_over_from_one_that_leaves() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let (first, second) = (cluster.consumer(), cluster.consumer());
    first.health("connected", |health| health.ready).await;
    second.health("connected", |health| health.ready).await;
    let logs = logs();
    publish(&cluster, logs.iter().flat_map(|log| &log[..20])).await;
    cluster.applied(partition(0), position(1, 19)).await;
    first.stop().await;
    publish(&cluster, logs.iter().flat_map(|log| &log[20..])).await;
    all_applied(&cluster).await;
    second.stop().await;
    all_acknowledged(&cluster).await;
}

#[tokio::test]
async fn a_consumer_waits_for_a_database_that_is_away_and_goes_on() {
    let mut cluster = Cluster::new(Backend::Mysql).await;
    let proxy = Proxy::to("127.0.0.1:3306".parse().unwrap()).await;
    let url = cluster.database.url().replace("127.0.0.1:3306", &proxy.address());
    let direct = std::mem::replace(&mut cluster.store, crate::support::database::store_at(&url).await);
    let consumer = cluster.consumer();
    cluster.store = direct;
    let logs = logs();
    consumer.health("connected", |health| health.ready).await;
    proxy.cut();
    publish(&cluster, logs.iter().flatten()).await;
    consumer.health("it says that the database is away", |health| health.database.is_some() && !health.ready).await;
    assert_eq!(cluster.store.applied(partition(0)).await.unwrap(), position(0, 0));
    proxy.mend();
    all_applied(&cluster).await;
    consumer.health("it says that all is well", |health| health.ready).await;
    consumer.stop().await;
    all_acknowledged(&cluster).await;
}

#[tokio::test]
async fn a_consumer_whose_connection_is_reset_comes_back() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let proxy = Proxy::to("127.0.0.1:5672".parse().unwrap()).await;
    let mut config = cluster.config();
    config.broker.url = Some(proxy.amqp_url().into());
    config.consumer.prefetch = 2;
    let consumer = cluster.consumer_with(&config);
    consumer.health("connected", |health| health.ready).await;
    let logs = logs();
    let publishing = publish(&cluster, logs.iter().flatten());
    let breaking = async {
        for step in 1..=4 {
            eventually("it goes on", async || {
                cluster.store.partition_rows().await.unwrap().iter().any(|row| row.applied >= position(1, step * 10))
            })
            .await;
            proxy.cut();
            consumer.health("it noticed", |health| health.broker.is_some()).await;
            proxy.mend();
        }
    };
    tokio::join!(publishing, breaking);
    all_applied(&cluster).await;
    consumer.stop().await;
    all_acknowledged(&cluster).await;
}
