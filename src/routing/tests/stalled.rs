//! One partition whose log confirms nothing, and the others that are asked at the same node.

use super::*;

/// Many more than batches may be out.
const ROUNDS: i64 = 200;
const TOTAL: i64 = 1_000;

/// A commodity of another partition than [`home`], and that partition.
fn elsewhere() -> (CommodityId, PartitionId) {
    let lamps = (2..=64).map(|id| lamp(id, 1).id);
    let apart = lamps.map(|id| (id, partition_of(id, PARTITIONS))).find(|(_, partition)| *partition != home());
    apart.expect("64 commodities are in more than one partition")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_confirms_nothing_holds_up_no_other_partitions_requests_on_their_way() {
    let (a, mut b) = pair(TOTAL).await;
    let (commodity, partition) = elsewhere();
    b.run(partition);
    b.claims.stalled.send_replace(Some(home()));
    let mut waiting = Vec::new();
    for user in 1..=ROUNDS {
        let ways = Arc::clone(&a.ways);
        waiting.push(tokio::spawn(async move { ways.command(home(), place(user)).await }));
        let place = Place { commodity, ..a_place(user, Some("k")) };
        let reply = a.ways.command(partition, Command::Place(place)).await;
        assert!(matches!(reply, Reply::Done(Answer::Placed(_))), "order {user} of the other partition: {reply:?}");
    }
    b.claims.stalled.send_replace(None);
    let (mut placed, mut pending) = (0, 0);
    for reply in waiting {
        match reply.await.unwrap() {
            Reply::Done(Answer::Placed(_)) => placed += 1,
            Reply::Pending(_) => pending += 1,
            // It was not packed in time.
            Reply::Busy(Busy::Unavailable) => {}
            reply => panic!("{reply:?}"),
        }
    }
    let sold = TOTAL - i64::from(b.local.board.get(lamp(1, 1).id).unwrap().stock.available.get());
    assert!((placed..=placed + pending).contains(&sold), "{sold} sold, {placed} placed, {pending} pending");
    assert!(placed + pending > 0, "those that travelled were taken up");
}
