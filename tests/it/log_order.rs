//! Logs that stand in another order than they were written in, in all the ways in which a broker and those who read from it bring that
//! about. Everything comes into the tables without a hand laid on it, or by one command.

use doorbuster::domain::OrderStatus;
use doorbuster::event::Batch;
use doorbuster::store::{OrderFilter, Store};
use doorbuster::tools::{dead, log};
use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use rstest::rstest;
use sea_orm::{ConnectionTrait, Database, TransactionTrait};

use crate::support::cluster::{Cluster, TestConsumer, eventually};
use crate::support::history::History;
use crate::support::{Backend, bytes, partition, polled, position};

const P: u16 = 1;

/// The batches of three owners, one after the other, so many orders each, one a batch.
fn owners(orders: i64) -> Vec<Batch> {
    owners_of(P, orders)
}

fn owners_of(index: u16, orders: i64) -> Vec<Batch> {
    let mut batches = Vec::new();
    for epoch in 1..=3 {
        let mut history = History::begin(partition(index), position(epoch, 0).0);
        history.list(i64::from(index) * 100 + i64::from(epoch), orders).cut();
        for buyer in 1..=orders {
            history.place(0, buyer, 1, OrderStatus::Confirmed, None);
            history.cut();
        }
        batches.extend(history.batches());
    }
    batches
}

async fn declare(cluster: &Cluster) {
    let broker = cluster.broker.broker(&cluster.database);
    let session = broker.connect("test").await.expect("a broker");
    broker.topology().declare(&session, cluster.store.partitions()).await.expect("declared");
    session.shut().await;
}

/// A cluster whose log has these batches, and that nobody consumes.
async fn with_log(backend: Backend, batches: &[Batch]) -> Cluster {
    let cluster = Cluster::new(backend).await;
    declare(&cluster).await;
    cluster.broker.raw().await.publish_all(cluster.broker.log(partition(P)), batches.iter().map(bytes)).await;
    cluster
}

/// Waits until so many messages wait as are meant. A consumer may take more than it begins with, and write markers.
async fn ready(cluster: &Cluster, what: &str, is_meant: impl Fn(usize) -> bool) {
    let log = cluster.broker.log(partition(P));
    let raw = cluster.broker.raw().await;
    eventually(what, async || is_meant(raw.depth(log.clone()).await as usize)).await;
}

/// Somebody's AMQP client reads so many messages, acknowledges none, and leaves.
async fn stranger(cluster: &Cluster, prefetch: u16) {
    stranger_at(cluster, P, prefetch).await;
}

async fn stranger_at(cluster: &Cluster, index: u16, prefetch: u16) {
    let connection = Connection::connect(cluster.broker.url(), ConnectionProperties::default()).await.expect("a broker");
    let channel = connection.create_channel().await.expect("a channel");
    channel.basic_qos(prefetch, BasicQosOptions::default()).await.expect("a prefetch");
    let (log, options) = (cluster.broker.log(partition(index)), BasicConsumeOptions::default());
    let mut consumer = channel.basic_consume(log, "".into(), options, FieldTable::default()).await.expect("a consumer");
    for _ in 0..prefetch {
        consumer.next().await.expect("it is served").expect("a delivery");
    }
    connection.close(200, "".into()).await.expect("closed");
}

fn consumer(cluster: &Cluster, prefetch: u16) -> TestConsumer {
    let mut config = cluster.config();
    config.consumer.prefetch = prefetch;
    cluster.consumer_with(&config)
}

/// All that three owners wrote is in the tables, once, and acknowledged.
async fn all_is_there(cluster: &Cluster, consumer: TestConsumer, orders: i64) {
    cluster.applied(partition(P), position(3, orders as u64 + 1)).await;
    consumer.health("well", |health| health.ready).await;
    consumer.stop().await;
    assert_eq!(rows(&cluster.store).await, 3 * orders as usize);
    assert!(cluster.store.audit().await.unwrap().iter().all(|row| row.balanced));
    assert!(cluster.left(partition(P)).await.is_empty());
}

async fn rows(store: &Store) -> usize {
    store.orders(&OrderFilter::default(), None, 100_000).await.unwrap().len()
}

/// The database takes nothing; one consumer after another is killed with less in its hands than came back.
#[tokio::test]
async fn consumers_that_are_killed_with_less_and_less_in_their_hands_lose_nothing() {
    let batches = owners(66);
    let cluster = with_log(Backend::Mysql, &batches).await;
    let connection = Database::connect(cluster.database.url()).await.unwrap();
    let held = connection.begin().await.unwrap();
    held.execute_unprepared("SELECT id FROM partitions FOR UPDATE").await.unwrap();
    for prefetch in [128, 32] {
        let killed = consumer(&cluster, prefetch);
        ready(&cluster, "it has what it takes", |waiting| waiting <= batches.len() - usize::from(prefetch)).await;
        killed.kill().await;
        ready(&cluster, "all came back", |waiting| waiting >= batches.len()).await;
    }
    stranger(&cluster, 1).await;
    held.rollback().await.unwrap();
    all_is_there(&cluster, consumer(&cluster, 128), 66).await;
}

#[rstest]
#[case::fewer_and_fewer(&[128, 32, 1], 128)]
#[case::one_message(&[128, 1], 1)]
#[case::in_turns(&[100, 7, 128, 3, 64, 64, 1, 90, 2, 33], 16)]
#[case::more_than_the_log_has_epochs(&[180, 140, 61, 60, 59, 10], 4)]
#[tokio::test]
async fn readers_who_come_and_leave_change_no_order(#[case] readers: &[u16], #[case] prefetch: u16) {
    let cluster = with_log(Backend::Sqlite, &owners(60)).await;
    for reader in readers {
        stranger(&cluster, *reader).await;
    }
    all_is_there(&cluster, consumer(&cluster, prefetch), 60).await;
}

/// One log is looked through at a time: the others have their turns.
#[tokio::test]
async fn several_logs_that_were_shuffled_come_in_one_after_the_other() {
    let all = [P, 0, 2];
    let cluster = with_log(Backend::Sqlite, &[]).await;
    for index in all {
        cluster.broker.raw().await.publish_all(cluster.broker.log(partition(index)), owners_of(index, 60).iter().map(bytes)).await;
        for reader in [170, 100, 40, 7] {
            stranger_at(&cluster, index, reader).await;
        }
    }
    let consumer = consumer(&cluster, 4);
    for index in all {
        cluster.applied(partition(index), position(3, 61)).await;
    }
    consumer.health("well", |health| health.ready).await;
    consumer.stop().await;
    assert_eq!(rows(&cluster.store).await, 3 * 3 * 60);
}

/// Whoever of them reads the log when what is missing comes: the other has not had it, and may never be sent anything again.
#[tokio::test]
async fn a_partition_that_another_consumer_put_right_is_well_at_both() {
    let mut batches = owners(5);
    let missing = batches.remove(3);
    let cluster = with_log(Backend::Sqlite, &batches).await;
    let mut config = cluster.config();
    config.consumer.stopped_retry_ms = 200;
    let consumers = [cluster.consumer_with(&config), cluster.consumer_with(&config)];
    for consumer in &consumers {
        consumer.health("it stops", |health| health.stopped.contains_key(&P)).await;
    }
    cluster.broker.raw().await.publish_all(cluster.broker.log(partition(P)), [bytes(&missing)]).await;
    cluster.applied(partition(P), position(3, 6)).await;
    for consumer in consumers {
        consumer.health("well", |health| health.ready).await;
        consumer.stop().await;
    }
}

/// What is killed has applied some, and not acknowledged some of that.
#[tokio::test]
async fn consumers_of_different_sizes_that_are_killed_in_turns_lose_nothing() {
    let cluster = with_log(Backend::Mysql, &owners(100)).await;
    for (step, prefetch) in [128, 32, 1, 64, 3, 128].into_iter().enumerate() {
        let (killed, some) = (consumer(&cluster, prefetch), position(1, step as u64 * 10));
        eventually("it has begun", async || cluster.store.applied(partition(P)).await.unwrap() >= some).await;
        killed.kill().await;
    }
    all_is_there(&cluster, consumer(&cluster, 32), 100).await;
}

/// A fence that comes back before what was written before it.
#[tokio::test]
async fn a_fence_that_came_back_first_overtakes_nothing() {
    let batches = owners(20);
    // Of the first owner nothing but its last batch is missing from the tables; behind it there is a fence, and no more.
    let end = batches.iter().position(|batch| batch.epoch == position(2, 0).0).unwrap();
    let cluster = with_log(Backend::Sqlite, &batches[end - 1..=end]).await;
    doorbuster::projection::apply(&cluster.store, &batches[..end - 1]).await.unwrap();
    stranger(&cluster, 2).await;
    stranger(&cluster, 1).await;
    let consumer = consumer(&cluster, 1);
    cluster.applied(partition(P), position(2, 0)).await;
    consumer.stop().await;
    assert_eq!(rows(&cluster.store).await, 20);
}

fn names(letters: &[Batch]) -> Vec<String> {
    letters.iter().map(Batch::name).collect()
}

#[tokio::test]
async fn the_name_of_a_letter_holds_however_often_one_looks() {
    let batches = owners(18);
    let cluster = with_log(Backend::Sqlite, &[]).await;
    let letters = batches.iter().rev().take(20).map(bytes).chain([bytes(&batches[30]), b"no batch".to_vec(), b"none either".to_vec()]);
    cluster.broker.raw().await.publish_all(cluster.broker.dead(), letters).await;
    let broker = cluster.broker.broker(&cluster.database);
    let mut lists = Vec::new();
    for _ in 0..3 {
        let mut list = Vec::new();
        dead::list(&broker, &mut list).await.unwrap();
        lists.push(String::from_utf8(list).unwrap());
    }
    assert!(lists.iter().all(|list| *list == lists[0]), "{lists:?}");
    let listed: Vec<&str> = lists[0].lines().skip(1).map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(listed.len(), 23, "{}", lists[0]);
    for batch in &batches[batches.len() - 20..] {
        assert!(listed.contains(&batch.name().as_str()));
        let mut shown = Vec::new();
        dead::show(&broker, &batch.name(), &mut shown).await.unwrap();
        let shown = String::from_utf8(shown).unwrap();
        assert!(batch.events.is_empty() || shown.contains(&format!("{:?}", batch.sequence.0)), "{shown}");
    }
}

/// Each try goes a few steps further than the last, and what it leaves is what the next one finds.
#[tokio::test]
async fn a_putting_back_that_is_cut_short_at_any_step_leaves_a_log_that_is_whole() {
    let mut batches = owners(30);
    let (missing, other) = (batches.remove(40), batches.remove(3));
    let cluster = with_log(Backend::Sqlite, &batches).await;
    let consumer = self::consumer(&cluster, 16);
    consumer.health("it stops", |health| health.stopped.contains_key(&P)).await;
    let letters = [missing, other];
    cluster.broker.raw().await.publish_all(cluster.broker.dead(), letters.iter().map(bytes)).await;
    let broker = cluster.broker.broker(&cluster.database);
    for polls in (1..).step_by(9) {
        // The consumer is quick to apply what a try that was cut short has put back.
        let applied = cluster.store.applied(partition(P)).await.unwrap();
        let left: Vec<Batch> = letters.iter().filter(|batch| (batch.epoch, batch.sequence) > applied).cloned().collect();
        match polled(polls, dead::put_back(&broker, &cluster.store, &names(&left))).await {
            _ if left.is_empty() => break,
            None => {}
            Some(Ok(_)) => break,
            // The last try's connection is not quite gone, with the lock or the letters, or the consumer was quicker still.
            Some(Err(error)) => {
                let expected = ["a node owns", "the tables are at", "there is no dead letter"];
                assert!(expected.iter().any(|why| error.to_string().contains(why)), "{error}");
            }
        }
    }
    all_is_there(&cluster, consumer, 30).await;
}

/// The broker itself takes messages out of a log: they have a time to live.
#[tokio::test]
async fn what_the_broker_took_out_of_a_log_can_be_put_back() {
    let batches = owners(5);
    let cluster = with_log(Backend::Sqlite, &[]).await;
    let raw = cluster.broker.raw().await;
    for batch in &batches[..4] {
        let properties = BasicProperties::default().with_delivery_mode(2).with_expiration("1".into());
        let (log, body) = (cluster.broker.log(partition(P)), bytes(batch));
        let confirm = raw.channel.basic_publish("".into(), log, BasicPublishOptions::default(), &body, properties).await;
        confirm.unwrap().await.unwrap();
    }
    raw.publish_all(cluster.broker.log(partition(P)), batches[4..].iter().map(bytes)).await;
    eventually("they are dead letters", async || raw.depth(cluster.broker.dead()).await == 4).await;
    let broker = cluster.broker.broker(&cluster.database);
    let mut list = Vec::new();
    dead::list(&broker, &mut list).await.unwrap();
    assert_eq!(String::from_utf8(list).unwrap().matches("taken out of the log by the broker (expired)").count(), 4);
    dead::put_back(&broker, &cluster.store, &names(&batches[..4])).await.unwrap();
    all_is_there(&cluster, consumer(&cluster, 16), 5).await;
    assert!(raw.drain(cluster.broker.dead()).await.is_empty());
}

/// Behind more messages than a consumer looks through.
#[tokio::test]
async fn a_log_that_is_shuffled_beyond_what_a_consumer_looks_through_is_repaired() {
    let orders = 5_700;
    let mut batches = owners(orders);
    let early = batches.remove(2);
    batches.push(early.clone());
    batches.push(early);
    let cluster = with_log(Backend::Sqlite, &batches).await;
    let broker = cluster.broker.broker(&cluster.database);
    let mut config = cluster.config();
    config.consumer.stopped_retry_ms = 600_000;
    let consumer = cluster.consumer_with(&config);
    let why = "batch 1/2 may lie further back in the log than the 16384 messages that were looked at: stop its node and run `doorbuster log \
               repair 1`";
    consumer.health(why, |health| health.stopped.get(&P).is_some_and(|reason| reason.contains(why))).await;
    consumer.stop().await;
    let repaired = log::repair(&broker, &cluster.store, partition(P)).await.unwrap();
    // A fence and a commodity are in the tables.
    assert_eq!((repaired.copies, repaired.now, repaired.is_changed), (1, batches.len() - 3, true), "{repaired}");
    all_is_there(&cluster, cluster.consumer(), orders).await;
    assert!(!log::repair(&broker, &cluster.store, partition(P)).await.unwrap().is_changed, "an empty log is in order");
}
