//! `Idempotency-Key` in a cluster: what was done under one is known to the next owner, at every node, and to an admin process.

use std::collections::BTreeSet;

use doorbuster::auth::Authenticator;
use doorbuster::clock;
use doorbuster::cluster::{AdminNode, SpikeNode};
use doorbuster::config::Config;
use doorbuster::store::Role;
use serde_json::{Value, json};

use crate::spikes::{SECRET, Spikes};
use crate::support::app::commodity_body;
use crate::support::cluster::eventually;
use crate::support::user;

/// Somebody who asks processes of the cluster for changes, each under a key.
struct Client {
    http: reqwest::Client,
    config: Config,
}

impl Client {
    fn new(config: Config) -> Self {
        Self { http: reqwest::Client::builder().no_proxy().build().expect("a client"), config }
    }

    async fn post(&self, (of, role): (i64, Role), at: std::net::SocketAddr, path: &str, key: &str, body: &Value) -> (u16, Value) {
        let authenticator = Authenticator::new(&self.config.auth, &SECRET.to_owned().into()).expect("the secret is long enough");
        let request = self.http.post(format!("http://{at}{path}")).bearer_auth(authenticator.mint(user(of), role, clock::system()));
        let answer = request.header("Idempotency-Key", key).json(body).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    async fn operate(&self, admin: &AdminNode, path: &str, key: &str, body: &Value) -> (u16, Value) {
        self.post((1, Role::Admin), admin.address(), &format!("/admin/v1/{path}"), key, body).await
    }
}

async fn admin(spikes: &Spikes) -> AdminNode {
    let mut config = spikes.config("admin");
    config.admin.listen = config.http.listen.clone();
    AdminNode::start(&config).await.expect("the admin process starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_under_a_key_is_known_to_every_later_owner_and_at_every_node() {
    let spikes = Spikes::new().await;
    let (a, admin_node) = (spikes.start("a").await, admin(&spikes).await);
    let client = Client::new(spikes.config("client"));
    let (lamps, body) = ("commodities", commodity_body(5, json!({})));
    let (status, made) = client.operate(&admin_node, lamps, "create", &body).await;
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_i64().expect("an id");
    let (restock, more) = (format!("{lamps}/{id}/restock"), json!({"units": 10}));
    assert_eq!(client.operate(&admin_node, &restock, "more", &more).await.1["total"], json!(15));
    let buyer = (7, Role::Buyer);
    let (status, order) = client.post(buyer, a.address(), &format!("/v1/commodities/{id}/orders"), "mine", &json!({})).await;
    assert_eq!(status, 201, "{order}");
    let cancel = format!("/v1/orders/{}/cancel", order["order_id"].as_str().expect("an id"));
    assert_eq!(client.post(buyer, a.address(), &cancel, "no", &Value::Null).await.0, 200);
    // Whoever decided all that stops.
    let b = spikes.start("b").await;
    a.stop().await;
    eventually("another owns everything", async || spikes.owners().await == BTreeSet::from(["b".to_owned()])).await;
    admin_node.stop().await;
    let admin_node = admin(&spikes).await;
    let (status, again) = client.operate(&admin_node, lamps, "create", &body).await;
    assert_eq!((status, &again["id"], &again["total"]), (200, &json!(id), &json!(15)));
    assert_eq!(client.operate(&admin_node, lamps, "create", &commodity_body(6, json!({}))).await.0, 422);
    let (status, again) = client.operate(&admin_node, &restock, "more", &more).await;
    assert_eq!((status, &again["total"]), (200, &json!(15)));
    assert_eq!(client.operate(&admin_node, &restock, "more", &json!({"units": 11})).await.1["code"], json!("idempotency_mismatch"));
    let (status, again) = client.post(buyer, b.address(), &cancel, "no", &Value::Null).await;
    assert_eq!((status, &again["status"]), (200, &json!("cancelled")));
    assert_eq!(client.post(buyer, b.address(), &cancel, "other", &Value::Null).await.1["code"], json!("not_cancellable"));
    admin_node.stop().await;
    b.stop().await;
    spikes.audit(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_asked_to_drain_under_a_key_is_not_asked_again_when_it_has_been_started_since() {
    let spikes = Spikes::new().await;
    let (a, b, admin_node) = (spikes.start("a").await, spikes.start("b").await, admin(&spikes).await);
    let client = Client::new(spikes.config("client"));
    let drain = async || client.operate(&admin_node, "nodes/a/drain", "k", &Value::Null).await;
    assert_eq!(drain().await.1["state"], json!("draining"));
    eventually("the other owns everything", async || spikes.owners().await == BTreeSet::from(["b".to_owned()])).await;
    a.stop().await;
    let (status, gone) = drain().await;
    assert_eq!((status, &gone["state"]), (200, &json!("gone")), "it was done");
    assert_eq!(client.operate(&admin_node, "nodes/a/drain", "other", &Value::Null).await.1["code"], json!("node_gone"));
    let a = spikes.start("a").await;
    eventually("it owns something again", async || spikes.owners().await.len() == 2).await;
    let (status, again) = drain().await;
    assert_eq!((status, &again["state"]), (200, &json!("active")), "it means the process that was");
    admin_node.stop().await;
    for node in [a, b] {
        SpikeNode::stop(node).await;
    }
    spikes.audit(0).await;
}
