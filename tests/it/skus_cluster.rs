//! Article numbers and files where several nodes sell, several processes serve operators, and the tables may be late.

use std::time::Duration;

use doorbuster::auth::Authenticator;
use doorbuster::clock;
use doorbuster::cluster::AdminNode;
use doorbuster::domain::UserId;
use doorbuster::store::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::spikes::{SECRET, Spikes};
use crate::support::app::commodity_body;
use crate::support::cluster::eventually;

struct Client {
    client: reqwest::Client,
    operator: String,
}

impl Client {
    fn of(spikes: &Spikes) -> Self {
        let authenticator = Authenticator::new(&spikes.config("any").auth, &SECRET.to_owned().into()).expect("the secret is long enough");
        let operator = authenticator.mint(UserId::new(1).expect("an id"), Role::Admin, clock::system());
        Self { client: reqwest::Client::builder().no_proxy().build().expect("a client"), operator }
    }

    async fn send(&self, method: Method, at: std::net::SocketAddr, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.request(method, format!("http://{at}{path}")).bearer_auth(&self.operator);
        let request = if body.is_null() { request } else { request.json(body) };
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.expect("a body")).unwrap_or_default())
    }

    async fn create(&self, at: std::net::SocketAddr, sku: &str) -> (u16, Value) {
        self.send(Method::POST, at, "/admin/v1/commodities", &commodity_body(5, json!({"sku": sku}))).await
    }

    async fn listed(&self, at: std::net::SocketAddr, sku: &str) -> Vec<i64> {
        let (status, list) = self.send(Method::GET, at, &format!("/v1/commodities?sku={sku}"), &Value::Null).await;
        assert_eq!(status, 200, "{list:?}");
        list["items"].as_array().expect("a list").iter().filter_map(|item| item["id"].as_i64()).collect()
    }
}

async fn admin(spikes: &Spikes, id: &str) -> AdminNode {
    let mut config = spikes.config(id);
    config.admin.listen = config.http.listen.clone();
    AdminNode::start(&config).await.expect("the admin process starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_one_commoditys_whichever_process_is_asked_and_however_late_the_tables_are() {
    let mut spikes = Spikes::new().await;
    let (a, b) = (spikes.start("a").await, spikes.start("b").await);
    let (one, other) = (admin(&spikes, "one").await, admin(&spikes, "other").await);
    let client = Client::of(&spikes);
    eventually("each owns its half", async || spikes.owners().await.len() == 2).await;
    let (status, created) = client.create(one.address(), "KB-75").await;
    assert_eq!((status, &created["sku"]), (201, &json!("KB-75")), "{created:?}");
    let id = created["id"].as_i64().expect("an id");
    assert_eq!(client.create(other.address(), "KB-75").await.1["code"], json!("sku_taken"));
    for node in [&a, &b] {
        eventually("it is found", async || client.listed(node.address(), "KB-75").await == [id]).await;
        let placed = client.send(Method::POST, node.address(), &format!("/v1/commodities/{id}/orders"), &json!({})).await;
        assert_eq!((placed.0, &placed.1["sku"]), (201, &json!("KB-75")), "{:?}", placed.1);
    }

    // From here on nobody writes to the tables.
    spikes.consumer.take().expect("it consumes").stop().await;
    let path = format!("/admin/v1/commodities/{id}");
    assert_eq!(client.send(Method::PATCH, one.address(), &path, &json!({"sku": "KB-80"})).await.1["sku"], json!("KB-80"));
    let (status, next) = client.create(other.address(), "KB-75").await;
    assert_eq!(status, 201, "{next:?}");
    assert_eq!(client.create(one.address(), "KB-75").await.1["code"], json!("sku_taken"));
    let path = format!("/admin/v1/commodities/{}", next["id"]);
    assert_eq!(client.send(Method::DELETE, one.address(), &path, &Value::Null).await.0, 204);
    let (status, last) = client.create(one.address(), "KB-75").await;
    assert_eq!(status, 201, "{last:?}");
    // Created under a key, removed, and asked for again, before the tables have either.
    let (path, body) = ("/admin/v1/commodities", commodity_body(5, json!({"sku": "keyed"})));
    let keyed = async |at: std::net::SocketAddr| {
        let request = client.client.post(format!("http://{at}{path}")).bearer_auth(&client.operator).header("Idempotency-Key", "k");
        let response = request.json(&body).send().await.expect("an answer");
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON"))
    };
    let (status, made) = keyed(one.address()).await;
    assert_eq!(status, 201, "{made:?}");
    assert_eq!(client.send(Method::DELETE, one.address(), &format!("{path}/{}", made["id"]), &Value::Null).await.0, 204);
    let (status, again) = keyed(other.address()).await;
    assert_eq!(status, 202, "nobody can say yet how it was: {again:?}");
    spikes.consumer = Some(spikes.cluster.consumer());
    eventually("it is told as it was", async || {
        let (status, again) = keyed(other.address()).await;
        (status, &again["id"], &again["sku"]) == (200, &made["id"], &json!("keyed"))
    })
    .await;
    assert_eq!(client.create(one.address(), "keyed").await.0, 201, "and nobody has its number");
    one.stop().await;
    other.stop().await;
    a.stop().await;
    b.stop().await;
    spikes.audit(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_process_was_killed_over_is_listed_by_another_one() {
    const ALL: usize = 1_000;
    let spikes = Spikes::new().await;
    let (a, b) = (spikes.start("a").await, spikes.start("b").await);
    let client = Client::of(&spikes);
    let lines: String =
        (0..ALL).map(|number| format!("sku-{number},lamp,4999,EUR,5,2020-01-01T00:00:00Z,2099-01-01T00:00:00Z\n")).collect();
    let file = format!("sku,name,price,currency,total,starts_at,ends_at\n{lines}");
    let one = admin(&spikes, "one").await;
    let request = client.client.post(format!("http://{}/admin/v1/commodities/import", one.address())).bearer_auth(&client.operator);
    let request = request.header("Content-Type", "text/csv").body(file);
    let asked = tokio::spawn(request.send());
    let path = "/admin/v1/commodities/imports/1";
    // As soon as it is taken its owners go away, and then whoever took it.
    eventually("it is taken", async || client.send(Method::GET, one.address(), path, &Value::Null).await.0 == 200).await;
    asked.abort();
    a.stop().await;
    one.stop().await;
    let other = admin(&spikes, "other").await;
    eventually("all are listed", async || {
        client.send(Method::GET, other.address(), path, &Value::Null).await.1["status"] == json!("listed")
    })
    .await;
    let on_sale = || b.router().board().walk(None).count();
    eventually("all are on sale", async || on_sale() == ALL).await;
    assert_eq!(client.listed(b.address(), "sku-7").await, [8]);
    tokio::time::timeout(Duration::from_secs(60), other.stop()).await.expect("it stops");
    b.stop().await;
    spikes.audit(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_taken_however_many_wait_for_an_owner_that_is_away() {
    const FILES: usize = 12;
    let spikes = Spikes::new().await;
    let (a, node) = (spikes.start("a").await, admin(&spikes, "one").await);
    let client = Client::of(&spikes);
    a.stop().await;
    // As many as may wait do, and whoever comes then hears at once that all will be listed.
    let mut waiting = Vec::new();
    for number in 1..=FILES {
        let file = format!(
            "sku,name,price,currency,total,starts_at,ends_at\nsku-{number},lamp,4999,EUR,5,2020-01-01T00:00:00Z,2099-01-01T00:00:00Z\n"
        );
        let request = client.client.post(format!("http://{}/admin/v1/commodities/import", node.address())).bearer_auth(&client.operator);
        waiting.push(tokio::spawn(request.header("Content-Type", "text/csv").body(file).send()));
        let path = format!("/admin/v1/commodities/imports/{number}");
        eventually("it is taken", async || client.send(Method::GET, node.address(), &path, &Value::Null).await.0 == 200).await;
    }
    for asked in waiting.drain(FILES - 2..) {
        let answer = asked.await.expect("it does not panic").expect("an answer");
        assert_eq!(answer.status().as_u16(), 202);
    }
    let b = spikes.start("b").await;
    for asked in waiting {
        let answer = asked.await.expect("it does not panic").expect("an answer");
        assert!(matches!(answer.status().as_u16(), 201 | 202), "{answer:?}");
    }
    let path = |number: usize| format!("/admin/v1/commodities/imports/{number}");
    for number in 1..=FILES {
        eventually("it is listed", async || {
            client.send(Method::GET, node.address(), &path(number), &Value::Null).await.1["status"] == json!("listed")
        })
        .await;
    }
    eventually("all are on sale", async || b.router().board().walk(None).count() == FILES).await;
    node.stop().await;
    b.stop().await;
    spikes.audit(0).await;
}
