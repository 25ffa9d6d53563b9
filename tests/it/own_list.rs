//! A buyer's own list where the tables are late: every order that was answered is in it, as it stands, at whichever node they ask.

use std::time::Duration;

use doorbuster::auth::Authenticator;
use doorbuster::clock;
use doorbuster::domain::{Order, OrderId};
use doorbuster::engine::{Answer, Command, Refusal};
use doorbuster::routing::Reply;
use doorbuster::store::Role;
use serde_json::{Value, json};

use crate::spikes::{Spikes, buy};
use crate::support::cluster::eventually;
use crate::support::user;

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_in_its_buyers_list_at_once_at_every_node_while_the_consumer_is_away() {
    let mut spikes = Spikes::new().await;
    let (a, b) = (spikes.start("a").await, spikes.start("b").await);
    spikes.list(a.router(), 10).await;
    eventually("each owns its half", async || {
        let rows = spikes.cluster.store.partition_rows().await.expect("the database is there");
        let of_b = rows.iter().filter(|row| row.owner.as_deref() == Some("b")).count();
        2 * of_b == rows.len() && rows.iter().all(|row| row.applied.0 == row.epoch)
    })
    .await;
    for node in [&a, &b] {
        node.router().served(Duration::from_secs(30)).await.expect("every partition is served");
    }
    let config = spikes.config("a");
    let secret = config.auth.jwt_secret.as_ref().expect("it is configured");
    let token = Authenticator::new(&config.auth, secret).expect("the secret is long enough").mint(user(7), Role::Buyer, clock::system());
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let list = async |address, query: &str| {
        let answer = client.get(format!("http://{address}/v1/orders{query}")).bearer_auth(&token).send().await.expect("an answer");
        answer.json::<Value>().await.expect("JSON")
    };
    eventually("every owner tells what it has", async || {
        list(a.address(), "").await["complete"] == json!(true) && list(b.address(), "").await["complete"] == json!(true)
    })
    .await;
    // From here on nothing comes to the tables.
    spikes.consumer.take().expect("it consumes").stop().await;
    let mut orders: Vec<Order> = Vec::new();
    for id in 1..=6 {
        match buy(a.router(), id, 7, "mine").await {
            Reply::Done(Answer::Placed(order)) => orders.push(order),
            other => panic!("not placed: {other:?}"),
        }
    }
    // To a stranger there is no such order, as if it were in the tables or had never been.
    let unknown = OrderId::new(orders[0].id.placed_at(), orders[0].id.partition(), orders[0].id.epoch(), 4_711);
    let (stranger, mut told) = (Some(user(8).into()), Vec::new());
    for node in [&a, &b] {
        for id in orders.iter().map(|order| order.id).chain([unknown]) {
            told.push(node.router().about_order(id, Command::Cancel { order: id, user: stranger, reason: None, row: None }).await);
        }
    }
    assert_eq!(told, vec![Reply::Refused(Refusal::OrderNotFound); 14]);
    let cancel = Command::Cancel { order: orders[2].id, user: Some(user(7).into()), reason: None, row: None };
    assert!(matches!(b.router().about_order(orders[2].id, cancel).await, Reply::Done(Answer::Order(_))));
    let mut ids: Vec<String> = orders.iter().map(|order| order.id.to_string()).collect();
    ids.sort_unstable();
    ids.reverse();
    for node in [&a, &b] {
        let all = list(node.address(), "").await;
        let items = all["items"].as_array().expect("a list");
        assert_eq!(items.iter().map(|item| item["order_id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>(), ids);
        assert_eq!(all["complete"], json!(true));
        let cancelled = list(node.address(), "?status=cancelled").await;
        assert_eq!(cancelled["items"].as_array().map(Vec::len), Some(1), "{cancelled}");
        assert_eq!(cancelled["items"][0]["order_id"], json!(orders[2].id.to_string()));
        let first = list(node.address(), "?limit=4").await;
        let rest = list(node.address(), &format!("?limit=4&cursor={}", first["next_cursor"].as_str().expect("a next page"))).await;
        assert_eq!((first["items"].as_array().map(Vec::len), rest["items"].as_array().map(Vec::len)), (Some(4), Some(2)));
    }
    spikes.consumer = Some(spikes.cluster.consumer());
    a.stop().await;
    b.stop().await;
    spikes.audit(5).await;
}
