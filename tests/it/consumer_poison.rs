//! Messages that cannot be applied: each ends where the documentation says, and nothing else stops.

use doorbuster::broker::{DeadLetter, Why};
use doorbuster::domain::{OrderId, OrderStatus, PartitionId, Sequence};
use doorbuster::event::{self, Batch, Event, LogVersion};
use doorbuster::tools::dead;

use crate::support::cluster::{Cluster, TestConsumer, claim};
use crate::support::history::History;
use crate::support::{Backend, bytes, partition, position};

const BAD: u16 = 1;
const GOOD: u16 = 2;

/// A fence, a commodity, and three orders, one a batch.
fn log(index: u16) -> Vec<Batch> {
    let mut history = History::begin(partition(index), position(1, 0).0);
    history.list(i64::from(index) + 1, 100).cut();
    for buyer in 1..=3 {
        history.place(0, buyer, 1, OrderStatus::Confirmed, None);
        history.cut();
    }
    history.batches()
}

/// A cluster whose consumer has both logs, the bad one as given.
async fn consuming(bad: Vec<Vec<u8>>) -> (Cluster, TestConsumer) {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let consumer = cluster.consumer();
    consumer.health("connected", |health| health.ready).await;
    let raw = cluster.broker.raw().await;
    for body in bad {
        raw.publish(cluster.broker.log(partition(BAD)), &body).await;
    }
    for batch in log(GOOD) {
        raw.publish(cluster.broker.log(partition(GOOD)), &bytes(&batch)).await;
    }
    cluster.applied(partition(GOOD), position(1, 4)).await;
    (cluster, consumer)
}

fn encoded(batches: &[Batch]) -> Vec<Vec<u8>> {
    batches.iter().map(bytes).collect()
}

async fn stopped(consumer: &TestConsumer, index: PartitionId, why: &str) {
    consumer.health(why, |health| health.stopped.get(&index.get()).is_some_and(|reason| reason.contains(why)) && !health.ready).await;
}

async fn left(cluster: &Cluster, index: u16) -> usize {
    cluster.left(partition(index)).await.len()
}

#[tokio::test]
async fn a_foreign_message_goes_to_the_dead_letters_and_its_partition_goes_on() {
    let mut bodies = encoded(&log(BAD));
    bodies.insert(2, b"hello?".to_vec());
    let (cluster, consumer) = consuming(bodies).await;
    cluster.applied(partition(BAD), position(1, 4)).await;
    consumer.health("well", |health| health.ready).await;
    let dead = cluster.broker.raw().await.take(cluster.broker.dead(), 1).await;
    let letter = DeadLetter::read(&dead[0]);
    assert_eq!((letter.body.as_slice(), letter.from.as_deref()), (&b"hello?"[..], Some(&*cluster.broker.log(partition(BAD)).to_string())));
    assert!(matches!(&letter.why, Why::Undecodable(why) if why.contains("not an event batch")), "{letter:?}");
    assert!(letter.at.is_some());
    consumer.stop().await;
    assert_eq!(left(&cluster, BAD).await, 0);
}

#[tokio::test]
async fn a_truncated_batch_goes_to_the_dead_letters_and_what_it_leaves_out_stops_its_partition() {
    let mut bodies = encoded(&log(BAD));
    let half = bodies[3].len() / 2;
    bodies[3].truncate(half);
    let (cluster, consumer) = consuming(bodies).await;
    stopped(&consumer, partition(BAD), "gap in the log: expected batch 1/3, found 1/4").await;
    let dead = cluster.broker.raw().await.take(cluster.broker.dead(), 1).await;
    assert!(matches!(&DeadLetter::read(&dead[0]).why, Why::Undecodable(why) if why.contains("broken event batch")));
    consumer.stop().await;
    assert_eq!(left(&cluster, BAD).await, 1, "the batch behind the gap stays in the log");
    assert_eq!(cluster.store.applied(partition(BAD)).await.unwrap(), position(1, 2));
}

#[tokio::test]
async fn a_message_of_a_newer_version_stays_in_the_log_and_stops_its_partition() {
    let (newest, newer) = (LogVersion::NEWEST.get(), LogVersion::NEWEST.get() + 1);
    let mut bodies = encoded(&log(BAD));
    bodies[3][2] = newer;
    let (cluster, consumer) = consuming(bodies).await;
    stopped(&consumer, partition(BAD), &format!("event batch of version {newer}; this process reads up to {newest}")).await;
    consumer.stop().await;
    assert_eq!(left(&cluster, BAD).await, 2);
    assert_eq!(cluster.store.applied(partition(BAD)).await.unwrap(), position(1, 2));
    assert_eq!(cluster.broker.raw().await.depth(cluster.broker.dead()).await, 0);
}

#[tokio::test]
async fn a_message_with_a_word_of_a_newer_release_stays_in_the_log_and_stops_its_partition() {
    let mut bodies = encoded(&log(BAD));
    // The last batch is one placing, kind 6; its kind is what comes behind all that a batch without events has.
    let last = log(BAD).pop().unwrap();
    let v1 = |batch: &Batch| event::encode(batch, LogVersion::V1).unwrap();
    bodies[4] = v1(&last);
    let kind = v1(&Batch { events: Vec::new(), ..last }).len();
    assert_eq!(bodies[4][kind], 6);
    bodies[4][kind] = 90;
    let (cluster, consumer) = consuming(bodies).await;
    stopped(&consumer, partition(BAD), "an event of kind 90, which this release does not know").await;
    consumer.stop().await;
    assert_eq!(left(&cluster, BAD).await, 1);
    assert_eq!(cluster.store.applied(partition(BAD)).await.unwrap(), position(1, 3));
    assert_eq!(cluster.broker.raw().await.depth(cluster.broker.dead()).await, 0);
}

#[tokio::test]
async fn a_gap_stops_its_partition_until_the_missing_batch_is_there() {
    let mut batches = log(BAD);
    let missing = batches.remove(2);
    let (cluster, consumer) = consuming(encoded(&batches)).await;
    let why = "gap in the log: expected batch 1/2, found 1/3: batch 1/2 is not in the log, of which 3 messages were looked at";
    stopped(&consumer, partition(BAD), why).await;
    // Put right behind the consumer's back: it looks again by itself.
    doorbuster::projection::apply(&cluster.store, &[missing]).await.unwrap();
    cluster.applied(partition(BAD), position(1, 4)).await;
    consumer.health("well", |health| health.ready).await;
    consumer.stop().await;
    assert_eq!(left(&cluster, BAD).await, 0);
}

#[tokio::test]
async fn an_order_of_a_commodity_that_is_not_there_stops_its_partition() {
    let mut history = History::begin(partition(BAD), position(1, 0).0);
    history.list(50, 10);
    history.place(0, 1, 1, OrderStatus::Confirmed, None);
    let mut batches = history.batches();
    batches[1].events.remove(0);
    let (cluster, consumer) = consuming(encoded(&batches)).await;
    stopped(&consumer, partition(BAD), "cannot be applied").await;
    consumer.stop().await;
    assert_eq!(left(&cluster, BAD).await, 1);
    assert_eq!(cluster.store.applied(partition(BAD)).await.unwrap(), position(1, 0));
}

#[tokio::test]
async fn an_order_of_another_epoch_than_its_batch_stops_its_partition() {
    let mut batches = log(BAD);
    let Event::Placed { order, .. } = &mut batches[4].events[0] else { unreachable!("it places") };
    order.id = OrderId::new(order.id.placed_at(), order.id.partition(), position(9, 0).0, 4);
    // Version 2 has no room for it; a program that wrote version 1 may have had that fault.
    let bodies = batches.iter().map(|batch| event::encode(batch, LogVersion::V1).unwrap()).collect();
    let (cluster, consumer) = consuming(bodies).await;
    stopped(&consumer, partition(BAD), "the placing of an order of another epoch").await;
    consumer.stop().await;
    assert_eq!(left(&cluster, BAD).await, 1);
    assert_eq!(cluster.store.applied(partition(BAD)).await.unwrap(), position(1, 3));
}

#[tokio::test]
async fn a_batch_in_the_log_of_another_partition_goes_to_the_dead_letters() {
    let mut bodies = encoded(&log(BAD));
    bodies.insert(1, bytes(&Batch::fence(partition(0), position(9, 0).0)));
    let (cluster, consumer) = consuming(bodies).await;
    cluster.applied(partition(BAD), position(1, 4)).await;
    assert_eq!(cluster.store.applied(partition(0)).await.unwrap(), position(0, 0));
    let dead = cluster.broker.raw().await.take(cluster.broker.dead(), 1).await;
    assert!(matches!(&DeadLetter::read(&dead[0]).why, Why::Undecodable(why) if why.contains("a batch of partition 0")));
    consumer.stop().await;
}

#[tokio::test]
async fn a_batch_that_was_put_back_goes_to_its_place_and_the_partition_goes_on() {
    let mut batches = log(BAD);
    let missing = batches.remove(2);
    let (cluster, consumer) = consuming(encoded(&batches)).await;
    stopped(&consumer, partition(BAD), "gap in the log: expected batch 1/2, found 1/3").await;
    let raw = cluster.broker.raw().await;
    raw.publish(cluster.broker.dead(), b"hello?").await;
    raw.publish(cluster.broker.dead(), &bytes(&missing)).await;
    raw.publish(cluster.broker.dead(), &bytes(&batches[0])).await;
    let broker = cluster.broker.broker(&cluster.database);
    let mut printed = Vec::new();
    dead::list(&broker, &mut printed).await.unwrap();
    dead::show(&broker, "1/1/2", &mut printed).await.unwrap();
    let printed = String::from_utf8(printed).unwrap();
    assert_eq!(printed.lines().filter(|line| line.contains("unknown")).count(), 4, "{printed}");
    assert!(printed.contains("Placed"), "{printed}");
    let foreign = printed.lines().nth(3).unwrap().split_whitespace().next().unwrap();

    for (name, why) in [(foreign, "not an event batch"), ("1/1/0", "the tables are at batch 1/1"), ("1/1/3", "no dead letter 1/1/3")] {
        let error = dead::put_back(&broker, &cluster.store, &[name.to_owned()]).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let placed = dead::put_back(&broker, &cluster.store, &["1/1/2".to_owned()]).await.unwrap();
    let said = "back in the log of partition 1: 1/1/2; of 2 messages 0 were in the tables and 0 were copies; it has 3 now, in order";
    assert_eq!(placed, [said]);
    cluster.applied(partition(BAD), position(1, 4)).await;
    consumer.health("well", |health| health.ready).await;
    consumer.stop().await;
    assert_eq!(left(&cluster, BAD).await, 0);
    assert_eq!(raw.drain(cluster.broker.dead()).await.len(), 2, "what was not put back is still there");
}

#[tokio::test]
async fn nothing_is_put_back_into_the_log_of_a_partition_that_is_owned() {
    let (cluster, consumer) = consuming(encoded(&log(BAD))).await;
    cluster.applied(partition(BAD), position(1, 4)).await;
    let node = cluster.node("one");
    let owner = claim(&node, partition(BAD)).await;
    let late = Batch::new(partition(BAD), owner.epoch, Sequence(9), Vec::new());
    cluster.broker.raw().await.publish(cluster.broker.dead(), &bytes(&late)).await;
    let error = dead::put_back(&cluster.broker.broker(&cluster.database), &cluster.store, &[late.name()]).await.unwrap_err();
    assert!(error.to_string().contains("a node owns partition 1"), "{error}");
    assert!(!owner.lost.is_cancelled());
    node.stop().await;
    consumer.stop().await;
}
