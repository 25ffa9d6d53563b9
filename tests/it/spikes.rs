//! Several nodes that sell, over one real database and one real broker: who owns what, how partitions move, who may not join.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use doorbuster::auth::Authenticator;
use doorbuster::clock;
use doorbuster::cluster::{AdminNode, SpikeNode, StartError};
use doorbuster::config::Config;
use doorbuster::domain::{IdempotencyKey, PartitionId, Partitions, Principal, Quantity, Reach, RequestFingerprint, Units};
use doorbuster::engine::{Answer, Command, Place, Refusal};
use doorbuster::membership::JoinError;
use doorbuster::routing::{Reply, Router};
use doorbuster::store::{NodeState, Role};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::support::broker::{PrivateBroker, TestBroker};
use crate::support::cluster::{Cluster, TestConsumer, eventually};
use crate::support::history::endless_terms;
use crate::support::proxy::Proxy;
use crate::support::{Backend, commodity, user};

pub const SECRET: &str = "a secret for tests that is long enough";

/// Nodes that come and go, with a consumer behind them.
pub struct Spikes {
    pub cluster: Cluster,
    pub consumer: Option<TestConsumer>,
}

impl Spikes {
    pub async fn new() -> Self {
        Self::on(TestBroker::new(Partitions::DEFAULT)).await
    }

    async fn on(broker: TestBroker) -> Self {
        Self::of(Cluster::on(broker, Backend::Mysql).await)
    }

    pub fn of(cluster: Cluster) -> Self {
        let consumer = Some(cluster.consumer());
        Self { cluster, consumer }
    }

    pub fn config(&self, id: &str) -> Config {
        let mut config = self.cluster.config();
        config.node.id = id.into();
        config.http.listen = "127.0.0.1:0".parse().expect("an address");
        config.node.internal_listen = config.http.listen.clone();
        config.http.workers = 1;
        config.node.heartbeat_interval_ms = 200;
        // These tests look for lost requests, not for the speed of the machine.
        config.partition.command_timeout_ms = 30_000;
        config.auth.jwt_secret = Some(SECRET.to_owned().into());
        config.auth.internal_secret = Some(SECRET.to_owned().into());
        config.limits.enabled = false;
        config
    }

    pub async fn start(&self, id: &str) -> SpikeNode {
        Self::start_with(&self.config(id)).await
    }

    pub async fn start_with(config: &Config) -> SpikeNode {
        let node = SpikeNode::start(config).await.expect("the node starts");
        node.router().served(Duration::from_secs(30)).await.expect("every partition is served");
        node
    }

    /// Puts commodities 1 to 8 on sale, with so many units each.
    pub async fn list(&self, router: &Router, total: i64) {
        for id in 1..=8 {
            let list =
                Command::List { commodity: commodity(id), terms: Box::new(endless_terms()), total: Units::new(total).expect("in range") };
            assert!(matches!(router.about_commodity(commodity(id), list).await, Reply::Done(Answer::Commodity(_))));
        }
    }

    /// Which nodes own partitions, as the database has it.
    pub async fn owners(&self) -> BTreeSet<String> {
        self.cluster.store.partition_rows().await.expect("the database is there").into_iter().filter_map(|row| row.owner).collect()
    }

    /// The partitions that a node owns, as the database has it.
    async fn owned_by(&self, node: &str) -> BTreeSet<PartitionId> {
        let rows = self.cluster.store.partition_rows().await.expect("the database is there");
        rows.into_iter().filter(|row| row.owner.as_deref() == Some(node)).map(|row| row.id).collect()
    }

    /// Waits until every node says in the database that it reaches the broker like this.
    async fn reach(&self, what: &str, all: &[Reach]) {
        eventually(what, async || {
            let rows = self.cluster.store.nodes().await.expect("the database is there");
            rows.iter().map(|row| row.broker).collect::<Vec<_>>() == all
        })
        .await;
    }

    /// What an admin process tells operators.
    pub async fn told(&self, path: &str) -> Vec<Value> {
        let mut config = self.config("admin");
        config.admin.listen = config.http.listen.clone();
        let admin = AdminNode::start(&config).await.expect("the admin process starts");
        let authenticator = Authenticator::new(&config.auth, &SECRET.to_owned().into()).expect("the secret is long enough");
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let request = client.get(format!("http://{}{path}", admin.address()));
        let request = request.bearer_auth(authenticator.mint(user(1), Role::Admin, clock::system()));
        let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        admin.stop().await;
        answer["items"].as_array().expect("a list").clone()
    }

    /// How the nodes reach the broker, as operators are told.
    async fn shown_reach(&self) -> Vec<Value> {
        self.told("/admin/v1/nodes").await.iter().map(|node| node["broker"].clone()).collect()
    }

    /// The batches that wait in the logs, as operators are told; none while an owner of any is not heard.
    async fn shown_lag(&self) -> Option<u64> {
        self.told("/admin/v1/partitions").await.iter().map(|partition| partition["log_lag"].as_u64()).sum()
    }

    /// When everything has stopped: the rows agree with what was answered.
    pub async fn audit(self, accepted: i64) {
        self.consumer.expect("it consumes").stop().await;
        let rows = self.cluster.store.audit().await.expect("the database is there");
        assert!(rows.iter().all(|row| row.balanced), "{rows:?}");
        assert_eq!(rows.iter().map(|row| row.sold_by_orders).sum::<i64>(), accepted);
    }
}

pub async fn buy(router: &Router, id: i64, buyer: i64, key: &str) -> Reply {
    router.about_commodity(commodity(id), place(id, user(buyer).into(), key)).await
}

/// A claim for one unit.
pub fn place(id: i64, user: Principal, key: &str) -> Command {
    let key = Some(IdempotencyKey::of(&user, key).expect("a key"));
    let fingerprint = RequestFingerprint::of(Quantity::ONE, None);
    Command::Place(Place { commodity: commodity(id), user, quantity: Quantity::ONE, key, fingerprint, unit_price: None })
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
                    assert!(
                        everywhere.iter().all(|found| *found
                            == doorbuster::routing::OrderLookup::Known(doorbuster::domain::NamedOrder { order, foreign: None })),
                        "{everywhere:?}"
                    );
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

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_how_many_confirmed_batches_are_not_in_the_tables_yet() {
    let mut spikes = Spikes::new().await;
    let (a, b) = (spikes.start("a").await, spikes.start("b").await);
    spikes.list(a.router(), 1_000_000).await;
    eventually("every node owns something", async || spikes.owners().await.len() == 2).await;
    eventually("nothing waits", async || spikes.shown_lag().await == Some(0)).await;
    spikes.consumer.take().expect("it consumes").stop().await;
    for buyer in 1..=5 {
        // One after the other: each is a batch of its own.
        for id in 1..=8 {
            let reply = buy(a.router(), id, buyer, &format!("waits-{buyer}-{id}")).await;
            assert!(matches!(reply, Reply::Done(Answer::Placed(_))), "{reply:?}");
        }
    }
    eventually("all of them wait", async || spikes.shown_lag().await == Some(40)).await;
    spikes.consumer = Some(spikes.cluster.consumer());
    eventually("nothing waits any more", async || spikes.shown_lag().await == Some(0)).await;
    for node in [a, b] {
        node.stop().await;
    }
    spikes.audit(40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_cut_off_from_the_broker_alone_hands_its_partitions_to_others_until_it_is_back_and_its_buyers_are_sold_to() {
    let spikes = Spikes::new().await;
    let proxy = Proxy::to("127.0.0.1:5672".parse().expect("an address")).await;
    let mut config = spikes.config("a");
    config.broker.url = Some(proxy.amqp_url().into());
    let (a, b, c) = (Spikes::start_with(&config).await, spikes.start("b").await, spikes.start("c").await);
    spikes.list(b.router(), 1_000_000).await;
    eventually("every node owns something", async || spikes.owners().await.len() == 3).await;
    let share = |node: &SpikeNode| node.view().borrow().placement.partitions_of(&"a".parse().expect("an id")).collect::<BTreeSet<_>>();
    let own = share(&b);
    eventually("it owns its share", async || spikes.owned_by("a").await == own).await;
    proxy.cut();
    eventually("the others own everything", async || !spikes.owners().await.contains("a")).await;
    spikes.reach("the node says that it is without", &[Reach::Away, Reach::Up, Reach::Up]).await;
    eventually("every node has the same view", async || [&a, &b, &c].iter().all(|node| share(node).is_empty())).await;
    // From here on nothing may fail, through whichever node.
    let load = Load::begin(&[&a, &b, &c].map(|node| Arc::clone(node.router())));
    for id in 1..=8 {
        let reply = buy(a.router(), id, 99, "while-it-is-cut-off").await;
        assert!(matches!(reply, Reply::Done(Answer::Placed(_))), "{reply:?}");
    }
    assert_eq!(spikes.shown_reach().await, [json!("away"), json!("up"), json!("up")]);
    let metrics = doorbuster::telemetry::install_metrics().expect("they are installed once for all").render();
    assert!(metrics.contains("doorbuster_broker_up "), "{metrics}");
    assert!(spikes.owned_by("a").await.is_empty() && share(&b).is_empty(), "it is still cut off");
    // Whoever joins now sees what the others see: nothing waits for a node that cannot take it.
    let d = spikes.start("d").await;
    let mut view = d.view();
    let with_a =
        tokio::spawn(async move { view.wait_for(|view| view.placement.members().iter().any(|id| id.as_str() == "a")).await.is_ok() });
    eventually("the one that joins owns something", async || !spikes.owned_by("d").await.is_empty()).await;
    assert!(!with_a.is_finished(), "the one that joins means partitions for a node without a broker");
    d.stop().await;
    assert!(!with_a.await.expect("no panic"));
    proxy.mend();
    eventually("it owns its share again", async || spikes.owned_by("a").await == own).await;
    let (accepted, longest) = load.end().await;
    println!("{accepted} accepted, the longest wait was {longest:?}");
    for node in [a, b, c] {
        node.stop().await;
    }
    spikes.audit(accepted + 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_without_a_broker_is_given_nothing_by_those_that_have_one_until_it_has() {
    let spikes = Spikes::new().await;
    let proxy = Proxy::to("127.0.0.1:5672".parse().expect("an address")).await;
    let mut config = spikes.config("b");
    config.broker.url = Some(proxy.amqp_url().into());
    let a = spikes.start("a").await;
    // That the one has been seen with a broker for long enough can be told by the other's standing aside.
    let b = Spikes::start_with(&config).await;
    let members = || a.view().borrow().placement.members().len();
    eventually("both are members", async || members() == 2).await;
    proxy.cut();
    eventually("b stands aside", async || members() == 1).await;
    b.stop().await;
    // Not refused, which is known at once: nothing is answered.
    proxy.mute();
    config.broker.answer_timeout_ms = 1_500;
    let mut view = a.view();
    let with_b = tokio::spawn(async move { view.wait_for(|view| view.placement.members().len() > 1).await.is_ok() });
    let b = Spikes::start_with(&config).await;
    spikes.reach("it says that it is without", &[Reach::Up, Reach::Away]).await;
    eventually("it is an active member", async || a.view().borrow().nodes.iter().all(|row| row.state == NodeState::Active)).await;
    assert!(!with_b.is_finished(), "it was given something");
    proxy.mend();
    eventually("it owns something", async || !spikes.owned_by("b").await.is_empty()).await;
    assert!(with_b.await.expect("no panic"));
    a.stop().await;
    b.stop().await;
    spikes.audit(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_and_comes_back_for_all_moves_no_partition() {
    let private = PrivateBroker::start().await;
    let spikes = Spikes::on(TestBroker::at(private.url(), Partitions::DEFAULT)).await;
    let nodes = [spikes.start("a").await, spikes.start("b").await];
    let share =
        |node: &SpikeNode, of: &str| -> BTreeSet<_> { node.view().borrow().placement.partitions_of(&of.parse().expect("an id")).collect() };
    eventually("each owns its share, as both see it", async || {
        let owned = [spikes.owned_by("a").await, spikes.owned_by("b").await];
        nodes.iter().all(|node| [share(node, "a"), share(node, "b")] == owned)
    })
    .await;
    let (owned, view) = (spikes.owned_by("a").await, nodes[0].view().borrow().placement.clone());
    let stop = CancellationToken::new();
    let watching = nodes.each_ref().map(|node| {
        let (mut changes, first, stop) = (node.view(), view.clone(), stop.clone());
        tokio::spawn(async move {
            // Also what holds for a moment only is seen.
            let other = changes.wait_for(|view| view.placement != first);
            stop.run_until_cancelled(other).await.is_none()
        })
    });
    private.control(&["stop_app"]).await;
    spikes.reach("both are without", &[Reach::Away; 2]).await;
    private.control(&["start_app"]).await;
    spikes.reach("both have it again", &[Reach::Up; 2]).await;
    nodes[0].router().served(Duration::from_secs(30)).await.expect("every partition is served");
    assert_eq!(spikes.owned_by("a").await, owned);
    stop.cancel();
    for watching in watching {
        assert!(watching.await.expect("no panic"), "the placement changed meanwhile");
    }
    futures_util::future::join_all(nodes.map(SpikeNode::stop)).await;
    spikes.audit(0).await;
}

/// Asks `/readyz` over an open connection: the answer.
async fn ready(connection: &mut TcpStream) -> String {
    connection.write_all(b"GET /readyz HTTP/1.1\r\nHost: node\r\n\r\n").await.expect("the connection is open");
    let mut answer = Vec::new();
    // A body in JSON ends with its brace, and has none before that.
    while answer.last() != Some(&b'}') {
        assert!(connection.read_buf(&mut answer).await.expect("the connection is open") > 0, "closed instead of an answer");
    }
    String::from_utf8(answer).expect("it is text").to_ascii_lowercase()
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
    assert!(last.contains("this node is leaving") && last.contains("\"code\":\"unavailable\""), "{last}");
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
    config.node.internal_listen = config.http.listen.clone();
    config.database.url = None;
    config.broker.url = None;
    config.auth.jwt_secret = None;
    let error = SpikeNode::start(&config).await.err().expect("nothing is configured").to_string();
    let named: Vec<bool> = ["DATABASE_URL", "AMQP_URL", "JWT_SECRET", "INTERNAL_SECRET"].map(|name| error.contains(name)).into();
    assert_eq!((named, error.lines().count()), (vec![true; 4], 4), "{error}");
}
