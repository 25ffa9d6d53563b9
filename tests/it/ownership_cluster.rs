//! The ownership protocol on a real broker: one owner at a time, and after every loss the truth.

use std::time::{Duration, Instant};

use doorbuster::domain::{OrderStatus, Reach};
use doorbuster::event::Batch;
use doorbuster::ownership::{Claim, ClaimError, ClusterOwnership, Ownership};
use lapin::options::QueueDeleteOptions;
use rstest::rstest;
use tokio::sync::watch;

use crate::support::broker::{PrivateBroker, TestBroker};
use crate::support::cluster::{Cluster, claim, eventually, partitions, refused};
use crate::support::history::History;
use crate::support::proxy::Proxy;
use crate::support::{Backend, buyers_in, partition, position};

/// The first batch of an epoch: a commodity and one order of it.
fn first(index: u16, epoch: u32) -> Batch {
    let mut history = History::begin(partition(index), position(epoch, 0).0);
    history.list(i64::from(index) * 1000 + i64::from(epoch), 10);
    history.place(0, 1, 1, OrderStatus::Confirmed, None);
    history.batches().remove(1)
}

/// How a node reaches the broker, as it tells others; until the node is dropped.
fn reaches(node: &ClusterOwnership) -> watch::Receiver<Reach> {
    let (reach, reaches) = watch::channel(Reach::Down);
    tokio::spawn(node.tell_reach(move |told| _ = reach.send_replace(told)));
    reaches
}

#[rstest]
#[case(Backend::Sqlite)]
#[case(Backend::Mysql)]
#[tokio::test]
async fn an_owner_finds_what_the_owners_before_it_had_confirmed(#[case] backend: Backend) {
    let cluster = Cluster::new(backend).await;
    let consumer = cluster.consumer();
    for epoch in 1..=4 {
        let node = cluster.node(&format!("node-{epoch}"));
        let owner = claim(&node, partition(2)).await;
        assert_eq!(owner.epoch, position(epoch, 0).0);
        assert_eq!((buyers_in(&owner.snapshot), owner.snapshot.commodities.len()), (epoch as usize - 1, epoch as usize - 1));
        owner.log.append(first(2, epoch)).await.expect("confirmed");
        // Every second one leaves without a word.
        if epoch % 2 == 0 { node.stop().await } else { drop(node) }
    }
    consumer.stop().await;
    assert!(cluster.store.audit().await.unwrap().iter().all(|row| row.balanced));
}

#[tokio::test]
async fn of_two_nodes_that_want_a_partition_exactly_one_gets_it() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let consumer = cluster.consumer();
    let (one, two) = (cluster.node("one"), cluster.node("two"));
    for _ in 0..5 {
        let (first, second) = tokio::join!(one.claim(partition(0)), two.claim(partition(0)));
        let (owner, other) = match (first, second) {
            (Ok(_), Err(ClaimError::Taken)) => (&one, &two),
            (Err(ClaimError::Taken), Ok(_)) => (&two, &one),
            (first, second) => panic!("{:?} and {:?}", first.map(|c| c.epoch), second.map(|c| c.epoch)),
        };
        assert_eq!(refused(other, partition(0)).await, ClaimError::Taken);
        owner.release(partition(0)).await;
        assert!(other.claim(partition(0)).await.is_ok(), "what was released is free at once");
        other.release(partition(0)).await;
    }
    one.stop().await;
    two.stop().await;
    consumer.stop().await;
}

#[tokio::test]
async fn a_node_that_asks_for_a_taken_partition_for_hours_can_still_have_it() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let consumer = cluster.consumer();
    let (one, two) = (cluster.node("one"), cluster.node("two"));
    let owner = claim(&one, partition(0)).await;
    let other = claim(&two, partition(1)).await;
    for _ in 0..2_500 {
        match two.claim(partition(0)).await {
            Err(ClaimError::Taken | ClaimError::Disconnected(_)) => {}
            Ok(_) | Err(ClaimError::LogAway(_) | ClaimError::LogIncomplete(_) | ClaimError::Unavailable(_)) => {
                panic!("it is taken, and the broker is there")
            }
        }
    }
    assert!(!owner.lost.is_cancelled() && !other.lost.is_cancelled(), "asking costs nobody anything");
    one.release(partition(0)).await;
    assert!(claim(&two, partition(0)).await.epoch > owner.epoch);
    one.stop().await;
    two.stop().await;
    consumer.stop().await;
}

#[tokio::test]
async fn a_node_claims_all_partitions_at_once() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let (consumer, node) = (cluster.consumer(), cluster.node("one"));
    let claims = futures_util::future::join_all(partitions().iter().map(|index| claim(&node, index))).await;
    assert!(claims.iter().all(|claim| claim.epoch == position(1, 0).0 && !claim.lost.is_cancelled()));
    node.stop().await;
    assert!(claims.iter().all(|claim| claim.lost.is_cancelled()));
    consumer.stop().await;
}

#[tokio::test]
async fn a_claim_waits_for_the_consumer_and_ends_when_it_has_caught_up() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let node = cluster.node("one");
    let waiting = tokio::spawn({
        let node = std::sync::Arc::clone(&node);
        async move { claim(&node, partition(0)).await.epoch }
    });
    eventually("the fence is in the log", async || {
        cluster.store.partition_rows().await.unwrap()[0].epoch == position(1, 0).0
            && cluster.broker.raw().await.depth(cluster.broker.log(partition(0))).await == 1
    })
    .await;
    assert!(!waiting.is_finished());
    let consumer = cluster.consumer();
    assert_eq!(waiting.await.unwrap(), position(1, 0).0);
    node.stop().await;
    consumer.stop().await;
}

#[tokio::test]
async fn a_reset_connection_loses_every_claim_at_once_and_the_node_claims_again_by_itself() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let consumer = cluster.consumer();
    let proxy = Proxy::to("127.0.0.1:5672".parse().unwrap()).await;
    let node = cluster.node_at(&proxy.amqp_url(), "one");
    let claims = [claim(&node, partition(0)).await, claim(&node, partition(1)).await];
    proxy.cut();
    for claim in &claims {
        tokio::time::timeout(Duration::from_secs(5), claim.lost.cancelled()).await.expect("noticed without being asked");
    }
    let doubt = claims[0].log.append(first(0, 1)).await.expect_err("nothing is published");
    assert!(!doubt.to_string().is_empty());
    assert!(matches!(refused(&node, partition(0)).await, ClaimError::Disconnected(_) | ClaimError::LogAway(_)));
    proxy.mend();
    assert_eq!(claim(&node, partition(0)).await.epoch, position(2, 0).0);
    node.stop().await;
    consumer.stop().await;
}

#[tokio::test]
async fn a_batch_whose_confirm_was_swallowed_is_in_doubt_and_in_what_the_next_owner_loads() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let consumer = cluster.consumer();
    let proxy = Proxy::to("127.0.0.1:5672".parse().unwrap()).await;
    let node = cluster.node_at(&proxy.amqp_url(), "one");
    let owner = claim(&node, partition(0)).await;
    proxy.mute();
    let doubt = owner.log.append(first(0, 1)).await.expect_err("the confirm never came");
    assert!(doubt.to_string().contains("not confirmed within 6000 ms, and the broker answers nobody"), "{doubt}");
    assert!(owner.lost.is_cancelled());
    // The broker has the batch: it must count, although nobody was told so.
    proxy.cut();
    proxy.mend();
    let next = claim(&node, partition(0)).await;
    assert_eq!((next.epoch, buyers_in(&next.snapshot)), (position(2, 0).0, 1));
    node.stop().await;
    consumer.stop().await;
}

#[tokio::test]
async fn a_late_confirm_costs_its_own_partition_and_no_other() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let consumer = cluster.consumer();
    let proxy = Proxy::to("127.0.0.1:5672".parse().unwrap()).await;
    let node = cluster.node_at(&proxy.amqp_url(), "one");
    let (owner, neighbour) = (claim(&node, partition(0)).await, claim(&node, partition(1)).await);
    proxy.mute_whoever_says(cluster.broker.log(partition(0)).as_str());
    let doubt = owner.log.append(first(0, 1)).await.expect_err("the confirm never came");
    proxy.mute_nobody_else();
    assert!(doubt.to_string().contains("not confirmed within 2000 ms, and the broker answers others"), "{doubt}");
    assert!(owner.lost.is_cancelled() && !neighbour.lost.is_cancelled());
    neighbour.log.append(first(1, 1)).await.expect("confirmed");
    let next = claim(&node, partition(0)).await;
    assert_eq!((next.epoch, buyers_in(&next.snapshot)), (position(2, 0).0, 1), "what was not confirmed is there and counts");
    assert!(!neighbour.lost.is_cancelled());
    node.stop().await;
    consumer.stop().await;
}

#[tokio::test]
async fn a_broker_that_stands_still_for_longer_than_a_confirm_may_take_costs_no_claim() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let consumer = cluster.consumer();
    let proxy = Proxy::to("127.0.0.1:5672".parse().unwrap()).await;
    let node = cluster.node_at(&proxy.amqp_url(), "one");
    let owners = futures_util::future::join_all(partitions().iter().map(|index| claim(&node, index))).await;
    let mut reaches = reaches(&node);
    reaches.wait_for(|reach| *reach == Reach::Up).await.expect("it is told");
    proxy.hold();
    let appends = futures_util::future::join_all(owners.iter().enumerate().map(|(index, owner)| owner.log.append(first(index as u16, 1))));
    let late = async {
        // A confirm is late, and the broker was asked and did not answer.
        reaches.wait_for(|reach| *reach == Reach::Down).await.expect("it is told");
        assert!(owners.iter().all(|owner| !owner.lost.is_cancelled()));
        proxy.mend();
    };
    let (confirmed, ()) = tokio::join!(appends, late);
    assert!(confirmed.iter().all(Result::is_ok), "{confirmed:?}");
    assert!(owners.iter().all(|owner| !owner.lost.is_cancelled()));
    reaches.wait_for(|reach| *reach == Reach::Up).await.expect("it is told");
    node.stop().await;
    consumer.stop().await;
}

#[tokio::test]
async fn claims_that_wait_for_a_connect_that_stalls_share_it_and_what_comes_of_it() {
    /// One that watches and two in advance.
    const IDLE: usize = 3;
    let cluster = Cluster::new(Backend::Sqlite).await;
    let consumer = cluster.consumer();
    let proxy = Proxy::to("127.0.0.1:5672".parse().unwrap()).await;
    let node = cluster.node_at(&proxy.amqp_url(), "one");
    reaches(&node).wait_for(|reach| *reach == Reach::Up).await.expect("it is told");
    eventually("connections are open in advance", async || proxy.accepted() == IDLE).await;
    proxy.hold();
    let errors = futures_util::future::join_all(partitions().iter().map(|index| refused(&node, index))).await;
    assert!(errors.iter().all(|error| matches!(error, ClaimError::Disconnected(_)) && *error == errors[0]), "{errors:?}");
    proxy.mend();
    // A failed attempt is not the last one.
    let claims = futures_util::future::join_all(partitions().iter().map(|index| claim(&node, index))).await;
    assert!(claims.iter().all(|claim| !claim.lost.is_cancelled()));
    node.stop().await;
    consumer.stop().await;
}

#[tokio::test]
async fn of_several_hosts_those_that_are_there_are_used_and_an_error_names_each() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let consumer = cluster.consumer();
    let here: reqwest::Url = cluster.broker.url().parse().expect("a URL");
    let (gone, other) = (refusing_port(), refusing_port());
    let at = |port| format!("amqp://guest:guest@127.0.0.1:{gone},{}:{port}/%2f", here.host_str().unwrap());
    let node = cluster.node_at(&at(here.port().unwrap_or(5672)), "one");
    let claims = futures_util::future::join_all(partitions().iter().map(|index| claim(&node, index))).await;
    assert!(claims.iter().all(|claim| !claim.lost.is_cancelled()));
    node.stop().await;
    let lost = cluster.node_at(&at(other), "two");
    match refused(&lost, partition(0)).await {
        ClaimError::LogAway(why) => assert!([gone, other].iter().all(|port| why.contains(&format!("{port}: "))), "{why}"),
        error => panic!("{error:?}"),
    }
    lost.stop().await;
    consumer.stop().await;
}

/// One that nobody listens on.
fn refusing_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a spare port").port()
}

#[tokio::test]
async fn a_fence_that_no_queue_takes_is_no_lost_connection_and_says_why() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let (consumer, node) = (cluster.consumer(), cluster.node("one"));
    // Connected: whatever comes now is not the first connect.
    drop(claim(&node, partition(1)).await);
    let raw = cluster.broker.raw().await;
    raw.channel.queue_delete(cluster.broker.log(partition(0)), QueueDeleteOptions::default()).await.unwrap();
    for _ in 0..2 {
        let error = refused(&node, partition(0)).await;
        assert!(matches!(&error, ClaimError::Unavailable(why) if why.contains("no queue took it")), "{error:?}");
    }
    node.stop().await;
    consumer.stop().await;
}

#[tokio::test]
async fn a_claim_whose_connection_goes_while_it_drains_fails() {
    let cluster = Cluster::new(Backend::Sqlite).await;
    let proxy = Proxy::to("127.0.0.1:5672".parse().unwrap()).await;
    let node = cluster.node_at(&proxy.amqp_url(), "one");
    // No consumer: it drains for ever.
    let waiting = tokio::spawn({
        let node = std::sync::Arc::clone(&node);
        async move { refused(&node, partition(0)).await }
    });
    eventually("it drains", async || cluster.store.partition_rows().await.unwrap()[0].epoch == position(1, 0).0).await;
    proxy.cut();
    assert!(matches!(waiting.await.unwrap(), ClaimError::Disconnected(_)));
    // What it left behind does not keep the next one out.
    let consumer = cluster.consumer();
    let other = cluster.node("two");
    assert!(claim(&other, partition(0)).await.epoch > position(1, 0).0);
    node.stop().await;
    other.stop().await;
    consumer.stop().await;
}

#[tokio::test]
async fn a_memory_alarm_is_told_at_once_and_passes_by_itself() {
    let private = PrivateBroker::start().await;
    let cluster = Cluster::on(TestBroker::at(private.url(), partitions()), Backend::Sqlite).await;
    let (consumer, node) = (cluster.consumer(), cluster.node("one"));
    let owner = claim(&node, partition(0)).await;
    private.control(&["set_vm_memory_high_watermark", "0.00001"]).await;
    let begun = Instant::now();
    let mut sequence = 0;
    // The broker says that it is blocked when it is published to.
    eventually("the alarm is noticed", async || owner.log.append(first(0, 1)).await.is_err()).await;
    assert!(owner.lost.is_cancelled());
    assert!(begun.elapsed() < Duration::from_secs(5), "told after {:?}", begun.elapsed());
    for _ in 0..3 {
        let begun = Instant::now();
        let error = refused(&node, partition(sequence)).await;
        assert!(matches!(&error, ClaimError::LogAway(why) if why.contains("broker is blocked")), "{error:?}");
        assert!(begun.elapsed() < Duration::from_millis(500));
        sequence = (sequence + 1) % 3;
    }
    private.control(&["set_vm_memory_high_watermark", "0.4"]).await;
    let next = claim(&node, partition(0)).await;
    assert!(next.epoch > owner.epoch);
    node.stop().await;
    consumer.stop().await;
}

#[tokio::test]
async fn what_was_confirmed_survives_a_broker_that_restarts_and_one_that_is_killed() {
    let mut private = PrivateBroker::start().await;
    let cluster = Cluster::on(TestBroker::at(private.url(), partitions()), Backend::Sqlite).await;
    let (consumer, node) = (cluster.consumer(), cluster.node("one"));
    let before = claim(&node, partition(0)).await;
    // 3.10 forgets a queue that was declared less than some three seconds before a kill; an orderly stop writes it down.
    private.control(&["stop_app"]).await;
    before.lost.cancelled().await;
    private.control(&["start_app"]).await;
    let owner = claim(&node, partition(0)).await;
    consumer.stop().await;
    owner.log.append(first(0, owner.epoch.get())).await.expect("confirmed");
    private.kill();
    tokio::time::timeout(Duration::from_secs(5), owner.lost.cancelled()).await.expect("noticed");
    assert!(matches!(refused(&node, partition(0)).await, ClaimError::Disconnected(_) | ClaimError::LogAway(_)));
    private.restart().await;
    let consumer = cluster.consumer();
    let next = claim(&node, partition(0)).await;
    assert!(next.epoch > owner.epoch);
    assert_eq!(buyers_in(&next.snapshot), 1);
    node.stop().await;
    consumer.stop().await;
}

/// Appends one order of one buyer in each batch until one is not confirmed; how many were.
async fn append_until_in_doubt(owner: Claim) -> usize {
    let epoch = i64::from(owner.epoch.get());
    let mut history = History::begin(partition(0), owner.epoch);
    history.list(epoch, 1_000_000).cut();
    for buyer in 1..=50_000 {
        history.place(0, epoch * 100_000 + buyer, 1, OrderStatus::Confirmed, None);
        history.cut();
    }
    let batches = history.batches();
    for (confirmed, batch) in batches.into_iter().skip(1).enumerate() {
        if owner.log.append(batch).await.is_err() {
            assert!(owner.lost.is_cancelled());
            // The first one has no order.
            return confirmed.saturating_sub(1);
        }
    }
    panic!("all was confirmed, and the lock was still there")
}

#[tokio::test]
async fn a_lock_that_is_deleted_by_hand_under_load_loses_nothing_that_was_confirmed() {
    let private = PrivateBroker::start().await;
    let cluster = Cluster::on(TestBroker::at(private.url(), partitions()), Backend::Sqlite).await;
    let (consumer, one, two) = (cluster.consumer(), cluster.node("one"), cluster.node("two"));
    let neighbour = claim(&one, partition(1)).await;
    for _ in 0..3 {
        let owner = claim(&one, partition(0)).await;
        let before = buyers_in(&owner.snapshot);
        let appending = tokio::spawn(append_until_in_doubt(owner));
        let next = tokio::spawn({
            let two = std::sync::Arc::clone(&two);
            async move { claim(&two, partition(0)).await }
        });
        private.control(&["delete_queue", cluster.broker.lock(partition(0)).as_str()]).await;
        let confirmed = appending.await.unwrap();
        let next = next.await.unwrap();
        let known = buyers_in(&next.snapshot) - before;
        assert!(known == confirmed || known == confirmed + 1, "{confirmed} confirmed, {known} known: only the last may be in doubt");
        two.release(partition(0)).await;
    }
    assert!(!neighbour.lost.is_cancelled(), "the others have locks of their own");
    one.stop().await;
    two.stop().await;
    consumer.stop().await;
}

#[tokio::test]
async fn an_idle_owner_whose_lock_is_deleted_by_hand_is_told() {
    let private = PrivateBroker::start().await;
    let cluster = Cluster::on(TestBroker::at(private.url(), partitions()), Backend::Sqlite).await;
    let (consumer, node) = (cluster.consumer(), cluster.node("one"));
    let owner = claim(&node, partition(0)).await;
    private.control(&["delete_queue", cluster.broker.lock(partition(0)).as_str()]).await;
    tokio::time::timeout(Duration::from_secs(5), owner.lost.cancelled()).await.expect("the broker says so");
    assert!(claim(&node, partition(0)).await.epoch > owner.epoch);
    node.stop().await;
    consumer.stop().await;
}

#[tokio::test]
async fn a_policy_that_expires_queues_leaves_a_lock_alone() {
    let private = PrivateBroker::start().await;
    let cluster = Cluster::on(TestBroker::at(private.url(), partitions()), Backend::Sqlite).await;
    let (consumer, node) = (cluster.consumer(), cluster.node("one"));
    let owner = claim(&node, partition(0)).await;
    private.control(&["set_policy", "tidy", r"\.owner$", r#"{"expires":500}"#, "--apply-to", "queues"]).await;
    // One that nobody uses, declared behind the policy: when it is gone, the lock had its time too.
    let raw = cluster.broker.raw().await;
    let unused = format!("{}.partition.99.owner", cluster.broker.log(partition(0)));
    raw.declare(&unused).await;
    // Listed, not asked for: a queue that is asked for is in use.
    eventually("what is not used expires", async || !private.control(&["list_queues", "name"]).await.contains(&unused)).await;
    assert!(!owner.lost.is_cancelled());
    owner.log.append(first(0, 1)).await.expect("confirmed");
    node.stop().await;
    consumer.stop().await;
}
