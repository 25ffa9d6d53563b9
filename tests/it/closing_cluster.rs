//! Closing where several nodes sell and the tables may be late: what one was told stays true through any node.

use std::time::Duration;

use doorbuster::auth::Authenticator;
use doorbuster::clock;
use doorbuster::cluster::AdminNode;
use doorbuster::domain::{CommodityState, IdempotencyKey, Order, Quantity, RequestFingerprint};
use doorbuster::engine::{Answer, Command, Place, Refusal};
use doorbuster::routing::{Reply, Router};
use doorbuster::store::{Load, Role};
use serde_json::{Value, json};

use crate::spikes::{Spikes, buy};
use crate::support::cluster::eventually;
use crate::support::{commodity, user};

fn placed(reply: Reply) -> Order {
    match reply {
        Reply::Done(Answer::Placed(order)) => order,
        other => panic!("not placed: {other:?}"),
    }
}

async fn buy_without_key(router: &Router, id: i64) -> Reply {
    let (quantity, fingerprint) = (Quantity::ONE, RequestFingerprint::of(Quantity::ONE, None));
    let place = Place { commodity: commodity(id), user: user(99).into(), quantity, key: None, fingerprint, unit_price: None };
    router.about_commodity(commodity(id), Command::Place(place)).await
}

async fn buy_two(router: &Router, id: i64, buyer: i64, key: &str) -> Reply {
    let quantity = Quantity::new(2).expect("two");
    let key = Some(IdempotencyKey::from_text(key).expect("a key"));
    let (user, fingerprint) = (user(buyer).into(), RequestFingerprint::of(quantity, None));
    let place = Place { commodity: commodity(id), user, quantity, key, fingerprint, unit_price: None };
    router.about_commodity(commodity(id), Command::Place(place)).await
}

async fn operate(router: &Router, id: i64, command: Command) -> Reply {
    router.about_commodity(commodity(id), command).await
}

/// What is promised of a closed commodity with an order of user 7 under a key.
async fn is_history(router: &Router, id: i64, order: Order) {
    assert_eq!(buy(router, id, 7, "mine").await, Reply::Done(Answer::Replayed(order)));
    assert_eq!(buy_two(router, id, 7, "mine").await, Reply::Refused(Refusal::IdempotencyMismatch));
    assert_eq!(buy(router, id, 8, "mine").await, Reply::Refused(Refusal::Ended));
    assert_eq!(buy_without_key(router, id).await, Reply::Refused(Refusal::Ended));
    assert_eq!(operate(router, id, Command::Resume(commodity(id))).await, Reply::Refused(Refusal::Closed));
    let again = operate(router, id, Command::Close(commodity(id))).await;
    assert!(matches!(&again, Reply::Done(Answer::Commodity(closed)) if closed.closed_at.is_some()), "{again:?}");
    let cancel = Command::Cancel { order: order.id, user: Some(user(7).into()), reason: None, row: None };
    assert_eq!(router.about_order(order.id, cancel).await, Reply::Refused(Refusal::Closed));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_closed_is_history_through_every_node_whether_the_tables_have_it_or_not() {
    let mut spikes = Spikes::new().await;
    let (a, b) = (spikes.start("a").await, spikes.start("b").await);
    spikes.list(a.router(), 10).await;
    eventually("each owns its half", async || {
        let rows = spikes.cluster.store.partition_rows().await.expect("the database is there");
        let of_b = rows.iter().filter(|row| row.owner.as_deref() == Some("b")).count();
        2 * of_b == rows.len() && rows.iter().all(|row| row.applied.0 == row.epoch)
    })
    .await;
    b.router().served(Duration::from_secs(30)).await.expect("every partition is served");
    // From here on nothing comes to the tables.
    spikes.consumer.take().expect("it consumes").stop().await;
    let mut orders = Vec::new();
    for id in 1..=4 {
        orders.push((id, placed(buy(a.router(), id, 7, "mine").await)));
        assert_eq!(operate(b.router(), id, Command::Close(commodity(id))).await, Reply::Refused(Refusal::NotEnded));
        for command in [Command::End(commodity(id)), Command::Close(commodity(id))] {
            assert!(matches!(operate(b.router(), id, command).await, Reply::Done(Answer::Commodity(_))));
        }
    }
    for node in [&a, &b] {
        for (id, order) in &orders {
            is_history(node.router(), *id, *order).await;
            let state = async || node.router().board().state(commodity(*id), clock::system());
            eventually("it is seen to be closed", async || state().await == Some(CommodityState::Closed)).await;
        }
    }

    spikes.consumer = Some(spikes.cluster.consumer());
    eventually("the tables have it, the owners forget it, and no board shows it", async || {
        [&a, &b].iter().all(|node| orders.iter().all(|(id, _)| node.router().board().get(commodity(*id)).is_none()))
    })
    .await;
    for node in [&a, &b] {
        for (id, order) in &orders {
            is_history(node.router(), *id, *order).await;
        }
    }

    // The next owner never knew it.
    a.stop().await;
    for (id, order) in &orders {
        is_history(b.router(), *id, *order).await;
    }
    let load = Load { now: clock::system(), with_live_orders: false };
    for partition in spikes.cluster.store.partitions().iter() {
        let snapshot = spikes.cluster.store.snapshot(partition, load).await.expect("it can be loaded");
        assert!(snapshot.commodities.iter().all(|known| known.commodity.id.get() > 4), "{snapshot:?}");
    }
    placed(buy(b.router(), 5, 7, "mine").await);
    b.stop().await;
    spikes.audit(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_and_buyers_read_what_is_closed_at_whichever_process_they_ask() {
    let spikes = Spikes::new().await;
    let a = spikes.start("a").await;
    spikes.list(a.router(), 10).await;
    placed(buy(a.router(), 1, 7, "mine").await);
    let mut config = spikes.config("admin");
    config.admin.listen = config.http.listen.clone();
    let admin = AdminNode::start(&config).await.expect("the admin process starts");
    let secret = config.auth.jwt_secret.as_ref().expect("it is configured");
    let token = Authenticator::new(&config.auth, secret).expect("the secret is long enough").mint(user(1), Role::Admin, clock::system());
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let operators = format!("http://{}/admin/v1/commodities", admin.address());
    let send = async |request: reqwest::RequestBuilder| {
        let answer = request.bearer_auth(&token).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON"))
    };
    eventually("the admin process has a way to the owners", async || send(client.post(format!("{operators}/1/end"))).await.0 == 200).await;
    let (status, closed) = send(client.post(format!("{operators}/1/close"))).await;
    assert_eq!((status, &closed["state"]), (200, &json!("closed")));
    for path in [format!("{operators}/1"), format!("http://{}/v1/commodities/1", a.address())] {
        eventually("it is read as closed", async || send(client.get(&path)).await.1["state"] == json!("closed")).await;
    }
    eventually("no board shows it", async || a.router().board().get(commodity(1)).is_none()).await;
    for path in [format!("{operators}/1"), format!("http://{}/v1/commodities/1", a.address())] {
        assert_eq!(send(client.get(&path)).await.1["state"], json!("closed"));
    }
    let (_, list) = send(client.get(format!("{operators}?state=closed"))).await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list:?}");
    assert_eq!(send(client.post(format!("{operators}/1/pause"))).await.1["code"], json!("closed"));
    admin.stop().await;
    a.stop().await;
    spikes.audit(1).await;
}
