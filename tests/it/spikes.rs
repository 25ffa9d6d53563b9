//! Several nodes that sell, over one real database and one real broker: who owns what, how partitions move, who may not join.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use doorbuster::cluster::{SpikeNode, StartError};
use doorbuster::config::Config;
use doorbuster::domain::{IdempotencyKey, Quantity, RequestFingerprint, Units};
use doorbuster::engine::{Answer, Command, Place, Refusal};
use doorbuster::membership::JoinError;
use doorbuster::routing::{Reply, Router};
use doorbuster::store::NodeState;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::broker::TestBroker;
use crate::support::cluster::{Cluster, TestConsumer, eventually};
use crate::support::history::endless_terms;
use crate::support::{Backend, commodity, user};

const SECRET: &str = "a secret for tests that is long enough";

/// Nodes that come and go, with a consumer behind them.
struct Spikes {
    cluster: Cluster,
    consumer: TestConsumer,
}

impl Spikes {
    async fn new() -> Self {
        let cluster = Cluster::on(TestBroker::new(doorbuster::domain::Partitions::DEFAULT), Backend::Mysql).await;
        let consumer = cluster.consumer();
        Self { cluster, consumer }
    }

    fn config(&self, id: &str) -> Config {
        let mut config = self.cluster.config();
        config.node.id = id.into();
        config.http.listen = "127.0.0.1:0".parse().expect("an address");
        config.node.internal_listen = config.http.listen;
        config.http.workers = 1;
        config.node.heartbeat_interval_ms = 200;
        // These tests look for lost requests, not for the speed of the machine.
        config.partition.command_timeout_ms = 30_000;
        config.auth.jwt_secret = Some(SECRET.to_owned().into());
        config.auth.internal_secret = Some(SECRET.to_owned().into());
        config.limits.enabled = false;
        config
    }

    async fn start(&self, id: &str) -> SpikeNode {
        let node = SpikeNode::start(&self.config(id)).await.expect("the node starts");
        node.router().served(Duration::from_secs(30)).await.expect("every partition is served");
        node
    }

    /// Puts commodities 1 to 8 on sale, with so many units each.
    async fn list(&self, router: &Router, total: i64) {
        for id in 1..=8 {
            let list =
                Command::List { commodity: commodity(id), terms: Box::new(endless_terms()), total: Units::new(total).expect("in range") };
            assert!(matches!(router.about_commodity(commodity(id), list).await, Reply::Done(Answer::Commodity(_))));
        }
    }

    /// Which nodes own partitions, as the database has it.
    async fn owners(&self) -> BTreeSet<String> {
        self.cluster.store.partition_rows().await.expect("the database is there").into_iter().filter_map(|row| row.owner).collect()
    }

    /// When everything has stopped: the rows agree with what was answered.
    async fn audit(self, accepted: i64) {
        self.consumer.stop().await;
        let rows = self.cluster.store.audit().await.expect("the database is there");
        assert!(rows.iter().all(|row| row.balanced), "{rows:?}");
        assert_eq!(rows.iter().map(|row| row.sold_by_orders).sum::<i64>(), accepted);
    }
}

async fn buy(router: &Router, id: i64, buyer: i64, key: &str) -> Reply {
    let place = Place {
        commodity: commodity(id),
        user: user(buyer),
        quantity: Quantity::ONE,
        key: Some(IdempotencyKey::from_text(key).expect("a key")),
        fingerprint: RequestFingerprint::of(Quantity::ONE, None),
    };
    router.about_commodity(commodity(id), Command::Place(place)).await
}

/// Buyers that never stop, at all nodes in turn. Every answer must be an order.
struct Load {
    stop: Arc<AtomicBool>,
    buyers: Vec<tokio::task::JoinHandle<(i64, Duration)>>,
}

impl Load {
    fn begin(routers: &[Arc<Router>]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let buyer = |buyer| {
            let (stop, routers) = (Arc::clone(&stop), routers.to_vec());
            tokio::spawn(async move {
                let (mut accepted, mut longest) = (0, Duration::ZERO);
                while !stop.load(Ordering::Relaxed) {
                    let (since, round) = (Instant::now(), accepted as usize);
                    let reply = buy(&routers[round % routers.len()], 1 + accepted % 8, buyer, &format!("{buyer}-{accepted}")).await;
                    assert!(matches!(reply, Reply::Done(Answer::Placed(_))), "{reply:?} after {:?}", since.elapsed());
                    longest = longest.max(since.elapsed());
                    accepted += 1;
                }
                (accepted, longest)
            })
        };
        let buyers = (1..=16).map(buyer).collect();
        Self { stop, buyers }
    }

    /// How many were accepted, and the longest anybody waited.
    async fn end(self) -> (i64, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut accepted, mut longest) = (0, Duration::ZERO);
        for buyer in self.buyers {
            let (mine, waited) = buyer.await.expect("no request failed");
            (accepted, longest) = (accepted + mine, longest.max(waited));
        }
        (accepted, longest)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_share_the_partitions_and_sell_exactly_the_stock_through_any() {
    let spikes = Spikes::new().await;
    let nodes = [spikes.start("a").await, spikes.start("b").await, spikes.start("c").await];
    eventually("every node owns something", async || spikes.owners().await.len() == 3).await;
    spikes.list(nodes[0].router(), 10).await;
    let mut accepted = 0;
    for buyer in 0..12 {
        for id in 1..=8 {
            match buy(nodes[buyer % 3].router(), id, buyer as i64 + 1, "k").await {
                Reply::Done(Answer::Placed(order)) => {
                    accepted += 1;
                    let everywhere = futures_util::future::join_all(nodes.iter().map(|node| node.router().order(order.id))).await;
                    assert!(everywhere.iter().all(|found| *found == doorbuster::routing::OrderLookup::Known(order)), "{everywhere:?}");
                }
                Reply::Refused(Refusal::SoldOut) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(accepted, 80);
    let metrics = doorbuster::telemetry::install_metrics().expect("they are installed once for all").render();
    assert!(
        metrics.contains("doorbuster_peer_requests_total{peer=\"") && metrics.contains("doorbuster_peer_answer_seconds_count"),
        "{metrics}"
    );
    futures_util::future::join_all(nodes.map(SpikeNode::stop)).await;
    spikes.audit(80).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_or_leaves_under_load_fails_no_request() {
    let spikes = Spikes::new().await;
    let (a, b) = (spikes.start("a").await, spikes.start("b").await);
    spikes.list(a.router(), 1_000_000).await;
    let load = Load::begin(&[Arc::clone(a.router())]);
    let c = spikes.start("c").await;
    eventually("the new node owns something", async || spikes.owners().await.contains("c")).await;
    let since = Instant::now();
    b.stop().await;
    println!("leaving took {:?}", since.elapsed());
    eventually("the others own everything", async || !spikes.owners().await.contains("b")).await;
    let (accepted, longest) = load.end().await;
    println!("{accepted} accepted, the longest wait was {longest:?}");
    a.stop().await;
    c.stop().await;
    spikes.audit(accepted).await;
}

/// Asks `/readyz` over an open connection: the head of the answer.
async fn ready(connection: &mut TcpStream) -> String {
    connection.write_all(b"GET /readyz HTTP/1.1\r\nHost: node\r\n\r\n").await.expect("the connection is open");
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        assert!(connection.read_buf(&mut answer).await.expect("the connection is open") > 0, "closed instead of an answer");
    }
    String::from_utf8(answer).expect("a head is text").to_ascii_lowercase()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_answers_on_open_and_new_connections_and_asks_to_close_them() {
    let spikes = Spikes::new().await;
    let (a, b) = (spikes.start("a").await, spikes.start("b").await);
    let address = b.address();
    let mut kept = TcpStream::connect(address).await.expect("the node listens");
    let first = ready(&mut kept).await;
    assert!(first.starts_with("http/1.1 200") && !first.contains("connection: close"), "{first}");
    let stopping = tokio::spawn(b.stop());
    eventually("new connections are told that it leaves", async || {
        let answer = ready(&mut TcpStream::connect(address).await.expect("the node listens")).await;
        answer.starts_with("http/1.1 503") && answer.contains("connection: close")
    })
    .await;
    let last = ready(&mut kept).await;
    assert!(last.starts_with("http/1.1 503") && last.contains("connection: close"), "{last}");
    stopping.await.expect("the node stops");
    TcpStream::connect(address).await.expect_err("nobody listens any more");
    a.stop().await;
    spikes.audit(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_gives_up_its_partitions_and_still_answers_buyers() {
    let spikes = Spikes::new().await;
    let (a, b) = (spikes.start("a").await, spikes.start("b").await);
    spikes.list(a.router(), 1_000_000).await;
    eventually("both own something", async || spikes.owners().await.len() == 2).await;
    let load = Load::begin(&[Arc::clone(a.router()), Arc::clone(b.router())]);
    let row = spikes.cluster.store.nodes().await.expect("the database is there").remove(0);
    assert_eq!(row.id.as_str(), "a");
    assert!(
        spikes.cluster.store.move_node(&row.id, row.instance, &[NodeState::Active], NodeState::Draining).await.expect("it can be told")
    );
    eventually("the other owns everything", async || spikes.owners().await == BTreeSet::from(["b".to_owned()])).await;
    let (accepted, longest) = load.end().await;
    println!("{accepted} accepted, the longest wait was {longest:?}");
    a.stop().await;
    b.stop().await;
    spikes.audit(accepted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_with_the_same_id_or_another_secret_is_refused_and_told_why() {
    let spikes = Spikes::new().await;
    let a = spikes.start("a").await;
    let same = SpikeNode::start(&spikes.config("a")).await.err().expect("the id is in use");
    assert!(matches!(same, StartError::Join(JoinError::IdInUse(..))), "{same}");
    assert!(same.to_string().contains("DOORBUSTER__NODE__ID"), "{same}");
    let mut config = spikes.config("b");
    config.auth.internal_secret = Some("another secret that is long enough to be one".to_owned().into());
    let other = SpikeNode::start(&config).await.err().expect("the secret differs");
    assert!(other.to_string().contains("DOORBUSTER__AUTH__INTERNAL_SECRET"), "{other}");
    let mut config = spikes.config("b");
    config.partition.count = 8;
    let count = SpikeNode::start(&config).await.err().expect("the count differs");
    assert!(count.to_string().contains("DOORBUSTER__PARTITION__COUNT=16"), "{count}");
    a.router().served(Duration::from_secs(1)).await.expect("the first one sells on");
    a.stop().await;
    let again = spikes.start("a").await;
    again.stop().await;
    spikes.audit(0).await;
}

#[tokio::test]
async fn a_node_without_its_secrets_says_all_that_is_missing() {
    let mut config = Config::load(None).expect("the defaults are good");
    config.http.listen = "127.0.0.1:0".parse().expect("an address");
    config.node.internal_listen = config.http.listen;
    config.database.url = None;
    config.broker.url = None;
    config.auth.jwt_secret = None;
    let error = SpikeNode::start(&config).await.err().expect("nothing is configured").to_string();
    let named: Vec<bool> = ["DATABASE_URL", "AMQP_URL", "JWT_SECRET", "INTERNAL_SECRET"].map(|name| error.contains(name)).into();
    assert_eq!((named, error.lines().count()), (vec![true; 4], 4), "{error}");
}
