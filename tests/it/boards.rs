//! Boards of several nodes over one real database and one real broker: what an owner says that is one no longer never stays on them.

use std::net::TcpListener;

use doorbuster::clock;
use doorbuster::cluster::SpikeNode;
use doorbuster::domain::{CommodityState, Units};
use doorbuster::engine::{Answer, Command};
use doorbuster::ring::partition_of;
use doorbuster::routing::Reply;
use doorbuster::store::NodeState;

use crate::spikes::{Spikes, buy};
use crate::support::cluster::eventually;
use crate::support::commodity;
use crate::support::proxy::Proxy;

fn state(node: &SpikeNode, id: i64) -> Option<CommodityState> {
    node.router().board().state(commodity(id), clock::system())
}

/// Node `b` sells out, says so, and is told to give up its partitions. What it said is held back until `a` has them, and units of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_bulletin_of_the_owner_before_that_is_let_go_after_the_next_owners_turn_never_wins() {
    let spikes = Spikes::new().await;
    let a = spikes.start("a").await;
    spikes.list(a.router(), 1).await;

    let spare = TcpListener::bind("127.0.0.1:0").expect("a spare port").local_addr().expect("its address");
    let proxy = Proxy::to(spare).await;
    let mut config = spikes.config("b");
    config.node.internal_listen = spare.into();
    config.node.internal_advertise = Some(proxy.address().parse().expect("an address"));
    let b = Spikes::start_with(&config).await;
    let rows = async || spikes.cluster.store.partition_rows().await.expect("the database is there");
    let of = |id| partition_of(commodity(id), spikes.cluster.store.partitions());
    // The epoch in which a node owns the partition of a commodity, when it has begun.
    let owned_by = async |node: &str, id: i64| {
        let rows = rows().await;
        let row = rows.iter().find(|row| row.id == of(id) && row.owner.as_deref() == Some(node) && row.applied.0 == row.epoch);
        row.map(|row| row.epoch)
    };
    eventually("b owns its half", async || rows().await.iter().filter(|row| row.owner.as_deref() == Some("b")).count() == 8).await;
    let mut id = 1;
    while owned_by("b", id).await.is_none() {
        id = id % 8 + 1;
    }
    eventually("a shows what b has", async || state(&a, id) == Some(CommodityState::Open)).await;
    let old_epoch = owned_by("b", id).await;
    let confirmed_in = |node: &SpikeNode| node.router().board().confirmed(of(id)).map(|(epoch, _)| epoch);

    proxy.hold();
    assert!(matches!(buy(b.router(), id, 1, "first").await, Reply::Done(Answer::Placed(_))));
    assert_eq!(state(&b, id), Some(CommodityState::SoldOut));
    eventually("what b says is held back", async || proxy.held() > 0).await;
    let row = spikes.cluster.store.nodes().await.expect("the database is there").into_iter().find(|row| row.id.as_str() == "b");
    let row = row.expect("it is a node");
    let moved = spikes.cluster.store.move_node(&row.id, row.instance, &[NodeState::Joining, NodeState::Active], NodeState::Draining).await;
    assert!(moved.expect("the database is there"));

    eventually("a serves it", async || confirmed_in(&a) > old_epoch && owned_by("a", id).await == confirmed_in(&a)).await;
    // One that goes to b by mistake is refused there, and nobody hears of that.
    let restock = || Command::Restock { commodity: commodity(id), units: Units::new(1).expect("in range") };
    let restocked = async || a.router().about_commodity(commodity(id), restock()).await;
    eventually("a takes a unit in", async || matches!(restocked().await, Reply::Done(Answer::Commodity(_)))).await;
    eventually("a has it, with a unit", async || state(&a, id) == Some(CommodityState::Open)).await;

    proxy.mend();
    eventually("what was held back is let go", async || proxy.held() == 0).await;
    eventually("both show what a has", async || [&a, &b].iter().all(|node| state(node, id) == Some(CommodityState::Open))).await;
    assert!(matches!(buy(a.router(), id, 2, "second").await, Reply::Done(Answer::Placed(_))));
    eventually("everybody shows it", async || [&a, &b].iter().all(|node| state(node, id) == Some(CommodityState::SoldOut))).await;
    let confirmed = |node: &SpikeNode| node.router().board().confirmed(of(id));
    eventually("b knows what is confirmed", async || confirmed(&b) == confirmed(&a)).await;

    b.stop().await;
    a.stop().await;
    spikes.audit(2).await;
}
