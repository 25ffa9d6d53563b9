//! Traces: one of one order from the HTTP request to its row, and nothing of them where they are off.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

use doorbuster::auth::Authenticator;
use doorbuster::clock;
use doorbuster::cluster::SpikeNode;
use doorbuster::config::Config;
use doorbuster::consumer;
use doorbuster::domain::{OrderId, Partitions, Units};
use doorbuster::engine::{Answer, Command};
use doorbuster::process::StartError;
use doorbuster::ring::partition_of;
use doorbuster::routing::Reply;
use doorbuster::store::Role;
use lapin::types::FieldTable;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::app::{SECRET, TestApp};
use crate::support::broker::TestBroker;
use crate::support::cluster::{Cluster, eventually};
use crate::support::history::endless_terms;
use crate::support::otlp::{Collector, Seen};
use crate::support::{Backend, commodity, user};

/// The caller's span in every test.
const CALLERS_SPAN: &str = "00000000000000aa";
/// The kinds of spans, by OTLP's numbers.
const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;

/// Nodes and a consumer, each with its tracer, as their binaries start them.
struct World {
    cluster: Cluster,
    endpoint: Option<String>,
    ratio: f64,
    consumer: Option<(CancellationToken, JoinHandle<Result<(), StartError>>)>,
}

impl World {
    async fn new(endpoint: Option<String>, ratio: f64) -> Self {
        let cluster = Cluster::on(TestBroker::new(Partitions::DEFAULT), Backend::Mysql).await;
        let mut world = Self { cluster, endpoint, ratio, consumer: None };
        let (mut config, stop) = (world.config("consumer"), CancellationToken::new());
        config.consumer.listen = "127.0.0.1:0".parse().expect("an address");
        let port = consumer::listen(&config.consumer).await.expect("a free port");
        let running = tokio::spawn({
            let shutdown = stop.clone().cancelled_owned();
            async move { consumer::run_until(&config, port, shutdown).await }
        });
        world.consumer = Some((stop, running));
        world
    }

    fn config(&self, id: &str) -> Config {
        let mut config = self.cluster.config();
        config.node.id = id.into();
        config.http.listen = "127.0.0.1:0".parse().expect("an address");
        config.node.internal_listen = config.http.listen.clone();
        config.http.workers = 1;
        config.node.heartbeat_interval_ms = 200;
        config.auth.jwt_secret = Some(SECRET.to_owned().into());
        config.auth.internal_secret = Some(SECRET.to_owned().into());
        config.limits.enabled = false;
        (config.telemetry.traces_endpoint, config.telemetry.traces_ratio) = (self.endpoint.clone(), self.ratio);
        config
    }

    async fn start(&self, id: &str) -> SpikeNode {
        let node = SpikeNode::start(&self.config(id)).await.expect("the node starts");
        node.router().served(Duration::from_secs(30)).await.expect("every partition is served");
        node
    }

    /// As SIGTERM does.
    async fn stop_consumer(&mut self) {
        let (stop, running) = self.consumer.take().expect("it runs");
        stop.cancel();
        running.await.expect("it does not panic").expect("it ends well");
    }

    /// Puts a commodity on sale; resolves when it is in the database.
    async fn list(&self, node: &SpikeNode, id: i64) {
        let list =
            Command::List { commodity: commodity(id), terms: Box::new(endless_terms()), total: Units::new(1_000).expect("in range") };
        assert!(matches!(node.router().about_commodity(commodity(id), list).await, Reply::Done(Answer::Commodity(_))));
        eventually("it is listed", async || self.cluster.store.commodity(commodity(id)).await.is_ok_and(|found| found.is_some())).await;
    }

    /// How many partitions each node owns, as the database has it.
    async fn shares(&self) -> Vec<usize> {
        let rows = self.cluster.store.partition_rows().await.expect("the database is there");
        let owners: BTreeSet<_> = rows.iter().filter_map(|row| row.owner.clone()).collect();
        owners.iter().map(|owner| rows.iter().filter(|row| row.owner.as_ref() == Some(owner)).count()).collect()
    }

    /// Waits until an order is in the database.
    async fn written(&self, order: &str) {
        let id: OrderId = order.parse().expect("an order's id");
        eventually("the order is written", async || self.cluster.store.order(id).await.is_ok_and(|row| row.is_some())).await;
    }
}

/// Buys a unit over HTTP, and gives the order's id.
async fn buy(node: &SpikeNode, id: i64, buyer: i64, traceparent: &str) -> String {
    let config = Config::load(None).expect("the defaults are good");
    let authenticator = Authenticator::new(&config.auth, &SECRET.to_owned().into()).expect("a secret");
    let request = reqwest::Client::new()
        .post(format!("http://{}/v1/commodities/{id}/orders", node.address()))
        .bearer_auth(authenticator.mint(user(buyer), Role::Buyer, clock::system()))
        .header("traceparent", traceparent);
    let answer = request.send().await.expect("the node answers");
    assert_eq!(answer.status().as_u16(), 201);
    let body: Value = answer.json().await.expect("JSON");
    body["order_id"].as_str().expect("an id").to_owned()
}

fn traceparent(trace: i64) -> String {
    format!("00-{trace:032x}-{CALLERS_SPAN}-01")
}

/// Where each step was made, and its kind.
fn steps<'a>(way: &[&'a Seen]) -> Vec<(&'a str, &'a str, &'a str, i32)> {
    way.iter().map(|span| (span.service.as_str(), span.instance.as_str(), span.name.as_str(), span.kind)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_order_is_one_trace_from_the_request_to_the_row_through_whichever_nodes() {
    const ROUTE: &str = "POST /v1/commodities/{id}/orders";
    const JUNK: i64 = 8;
    let collector = Collector::start();
    let mut world = World::new(Some(collector.url()), 1.0).await;
    let (a, b) = (world.start("a").await, world.start("b").await);
    eventually("each owns half", async || world.shares().await == [8, 8]).await;
    for node in [&a, &b] {
        node.router().served(Duration::from_secs(30)).await.expect("every partition is served");
    }
    let mut orders = Vec::new();
    for id in 1..=JUNK {
        world.list(&a, id).await;
        let order = buy(&a, id, 7, &if id == JUNK { "00-junk".into() } else { traceparent(id) }).await;
        world.written(&order).await;
        orders.push((id, order));
    }
    a.stop().await;
    b.stop().await;
    world.stop_consumer().await;
    let spans = collector.stop().await;
    let mut forwarded = 0;
    for (id, order) in &orders {
        let append = spans.way_to("append", ("doorbuster.order_id", order));
        let (request, append) = (append[0], append[append.len() - 1]);
        let project: Vec<&Seen> = spans.after(append).collect();
        let way = spans.way_to("project", ("messaging.message.id", &append.notes["messaging.message.id"]));
        assert_eq!(project.len(), 1, "{spans:#?}");
        let entry = ("doorbuster-spike", "a", ROUTE, SERVER);
        let ends = |owner: &'static str| [("doorbuster-spike", owner, "decide", INTERNAL), ("doorbuster-spike", owner, "append", PRODUCER)];
        let row = ("doorbuster-consumer", "consumer", "project", CONSUMER);
        let here = [&[entry][..], &ends("a"), &[row]].concat();
        let there = [&[entry, ("doorbuster-spike", "a", "forward", CLIENT)][..], &ends("b"), &[row]].concat();
        assert!(steps(&way) == here || steps(&way) == there, "{way:#?}");
        forwarded += usize::from(steps(&way) == there);
        assert!(way.iter().all(|span| span.trace == request.trace));
        assert_eq!(request.notes["doorbuster.order_id"], *order);
        assert_eq!(request.notes["http.response.status_code"], "201");
        if *id == JUNK {
            assert_eq!(request.parent, "", "junk names no parent");
        } else {
            assert_eq!((request.trace.as_str(), request.parent.as_str()), (&*format!("{id:032x}"), CALLERS_SPAN));
        }
    }
    assert!((1..orders.len()).contains(&forwarded), "some are decided here and some there: {forwarded}");
}

/// The headers of the message that one order became, under these settings.
async fn headers(endpoint: Option<String>, ratio: f64) -> FieldTable {
    let mut world = World::new(endpoint, ratio).await;
    let node = world.start("a").await;
    world.list(&node, 1).await;
    // From now on what is sent stays in the log.
    world.stop_consumer().await;
    buy(&node, 1, 7, &traceparent(3)).await;
    let log = world.cluster.broker.log(partition_of(commodity(1), Partitions::DEFAULT));
    let message = world.cluster.broker.raw().await.take(log, 1).await.remove(0);
    node.stop().await;
    message.properties.headers().clone().expect("our own headers")
}

fn is_traced(headers: &FieldTable) -> bool {
    headers.inner().keys().any(|name| name.as_str().contains("traceparent"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_the_log_names_traces_only_where_they_are_recorded() {
    let collector = Collector::start();
    assert!(!is_traced(&headers(None, 1.0).await), "off");
    assert!(!is_traced(&headers(Some(collector.url()), 0.0).await), "not one of those that are recorded, whatever the caller says");
    assert!(is_traced(&headers(Some(collector.url()), 1.0).await), "recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_away_loses_no_order_and_keeps_nobody_from_stopping() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let mut world = World::new(Some(format!("http://{nobody}/v1/traces")), 1.0).await;
    let node = world.start("a").await;
    world.list(&node, 1).await;
    for buyer in 1..=50 {
        let order = buy(&node, 1, buyer, &traceparent(buyer)).await;
        world.written(&order).await;
    }
    node.stop().await;
    world.stop_consumer().await;
    let rows = world.cluster.store.audit().await.expect("the database is there");
    assert!(rows.iter().all(|row| row.balanced && row.sold_by_orders == 50), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_one_process_a_trace_ends_with_the_commit() {
    let collector = Collector::start();
    let endpoint = collector.url();
    let change = |config: &mut Config| (config.telemetry.traces_endpoint, config.telemetry.traces_ratio) = (Some(endpoint), 1.0);
    let app = TestApp::start_with(Backend::Sqlite, change).await;
    let id = app.list(10, json!({})).await;
    let answer = app.place(7, id, &json!({"quantity": 2})).await;
    let order = answer.body["order_id"].as_str().expect("an order").to_owned();
    let token = app.buyer(7);
    assert_eq!(app.post_as(&token, &format!("/v1/orders/{order}/cancel"), &json!({})).await.status.as_u16(), 200);
    app.stop().await;
    let spans = collector.stop().await;
    let appends: Vec<&Seen> = spans.0.iter().filter(|span| span.name == "append").collect();
    assert_eq!(appends.iter().filter(|span| span.notes["doorbuster.order_id"] == order).count(), 2, "placed, then cancelled");
    let way = spans.way_to("append", ("doorbuster.order_id", &order));
    let names: Vec<&str> = way.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["POST /v1/orders/{id}/cancel", "decide", "append"]);
    assert!(way.iter().all(|span| span.service == "doorbuster-embedded"));
}
