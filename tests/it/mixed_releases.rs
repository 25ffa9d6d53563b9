//! A cluster whose processes are of two releases: each role is upgraded and rolled back while it sells, in both orders. A process of the
//! release before is one of this release that is held to its versions; `script/mixed-releases` does the same with that release's binaries.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doorbuster::auth::Authenticator;
use doorbuster::clock;
use doorbuster::cluster::{AdminNode, SpikeNode};
use doorbuster::config::{Config, Release};
use doorbuster::domain::{CommodityId, NamedOrder, Order, OrderStatus, PartitionId};
use doorbuster::engine::{Answer, Command, Refusal};
use doorbuster::ring::partition_of;
use doorbuster::routing::{Busy, OrderLookup, Reply, Router};
use doorbuster::store::Role;
use doorbuster::tools::upgrade;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::spikes::{SECRET, Spikes, buy, place};
use crate::support::cluster::{TestConsumer, eventually};
use crate::support::{commodity, user};

const BEFORE: Release = Release { log_version_max: 1, peer_version_max: 3, peer_plain: true };
const NOW: Release = Release { log_version_max: 5, peer_version_max: 7, peer_plain: true };

/// What buyers buy; the next one is the operator's.
const BOUGHT: i64 = 7;
const OPERATED: i64 = 8;

/// Where buyers come in: whoever holds one is inside.
struct Entrance(Arc<Router>);

type Entrances = Arc<Mutex<Vec<Arc<Entrance>>>>;

/// What is upgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Spikes,
    Consumers,
    Admin,
}

/// Two of each role, and an operators' process.
struct Shop {
    spikes: Spikes,
    nodes: [Option<SpikeNode>; 2],
    consumers: [Option<TestConsumer>; 2],
    admin: Option<AdminNode>,
    entrances: Entrances,
}

impl Shop {
    /// All of it of the release before, on a database that was that release's.
    async fn open() -> Self {
        let mut spikes = Spikes::new().await;
        spikes.consumer.take().expect("it consumes").stop().await;
        spikes.cluster.database.execute("UPDATE meta SET log_version = 1").await;
        let mut shop = Self { spikes, nodes: [None, None], consumers: [None, None], admin: None, entrances: Entrances::default() };
        shop.change(What::Consumers, BEFORE).await;
        shop.change(What::Spikes, BEFORE).await;
        shop.spikes.list(&shop.entrance().0, 1_000_000).await;
        shop.change(What::Admin, BEFORE).await;
        shop
    }

    fn config(&self, id: &str, release: Release) -> Config {
        let mut config = self.spikes.config(id);
        config.admin.listen = config.http.listen.clone();
        config.release = release;
        config
    }

    fn entrance(&self) -> Arc<Entrance> {
        Arc::clone(&self.entrances.lock().unwrap()[0])
    }

    /// Replaces every process of a role by one of that release, one after the other.
    async fn change(&mut self, what: What, release: Release) {
        match what {
            What::Spikes => {
                self.change_node(0, release).await;
                self.change_node(1, release).await;
            }
            What::Consumers => {
                for index in 0..2 {
                    if let Some(consumer) = self.consumers[index].take() {
                        consumer.stop().await;
                    }
                    let consumer = self.spikes.cluster.consumer_with(&self.config("consumer", release));
                    consumer.health("it consumes", |health| health.ready).await;
                    self.consumers[index] = Some(consumer);
                }
            }
            What::Admin => {
                if let Some(admin) = self.admin.take() {
                    admin.stop().await;
                }
                self.admin = Some(AdminNode::start(&self.config("admin", release)).await.expect("the admin process starts"));
                // What it says, owners of both releases understand.
                eventually("the operator is heard", async || self.operate("pause").await["state"] == "paused").await;
                assert_eq!(self.operate("resume").await["state"], "open");
            }
        }
    }

    async fn change_node(&mut self, index: usize, release: Release) {
        if let Some(node) = self.nodes[index].take() {
            let place = |entrances: &[Arc<Entrance>]| entrances.iter().position(|entrance| Arc::ptr_eq(&entrance.0, node.router()));
            let entrance = {
                let mut entrances = self.entrances.lock().unwrap();
                let place = place(&entrances).expect("it has an entrance");
                entrances.remove(place)
            };
            // Its callers here are no connections that a node that leaves could see: they are let out first.
            eventually("nobody is inside", async || Arc::strong_count(&entrance) == 1).await;
            node.stop().await;
        }
        let node = Spikes::start_with(&self.config(["a", "b"][index], release)).await;
        self.entrances.lock().unwrap().push(Arc::new(Entrance(Arc::clone(node.router()))));
        self.nodes[index] = Some(node);
    }

    /// What an operator does to the commodity that nobody buys.
    async fn operate(&self, what: &str) -> Value {
        let admin = self.admin.as_ref().expect("it runs");
        let authenticator = Authenticator::new(&self.config("admin", NOW).auth, &SECRET.to_owned().into()).expect("a secret");
        let url = format!("http://{}/admin/v1/commodities/{OPERATED}/{what}", admin.address());
        let request = reqwest::Client::builder().no_proxy().build().expect("a client").post(url);
        let request = request.bearer_auth(authenticator.mint(user(1), Role::Admin, clock::system()));
        request.send().await.expect("an answer").json().await.expect("JSON")
    }

    /// Makes that commodity history, by way of a node that need not own it.
    async fn close(&self) -> Reply {
        let entrance = self.entrance();
        entrance.0.about_commodity(commodity(OPERATED), Command::Close(commodity(OPERATED))).await
    }

    /// Buys as an account of another issuer, by way of a node that need not own the commodity.
    async fn buy_as_foreign(&self, id: i64) -> Reply {
        let buyer = "auth0:auth0|5f7c8e".parse().expect("a principal");
        self.entrance().0.about_commodity(commodity(id), place(id, buyer, "k")).await
    }

    /// Ends everything, and holds the rows against what was answered.
    async fn audit(mut self, bought: Bought) {
        self.entrances.lock().unwrap().clear();
        for node in self.nodes.into_iter().flatten() {
            node.stop().await;
        }
        self.admin.take().expect("it runs").stop().await;
        for consumer in self.consumers.into_iter().flatten() {
            consumer.stop().await;
        }
        let (store, raw) = (&self.spikes.cluster.store, self.spikes.cluster.broker.raw().await);
        let left =
            futures_util::future::join_all(store.partitions().iter().map(|partition| raw.depth(self.spikes.cluster.broker.log(partition))));
        assert_eq!(
            left.await.into_iter().sum::<u32>() + raw.depth(self.spikes.cluster.broker.dead()).await,
            0,
            "all of it is in the tables"
        );
        let rows = store.audit().await.expect("the database is there");
        assert!(rows.iter().all(|row| row.balanced), "{rows:?}");
        let sold = rows.iter().map(|row| row.sold_by_orders).sum::<i64>();
        assert_eq!(sold, bought.placed - bought.cancelled, "{} were placed and {} cancelled", bought.placed, bought.cancelled);
        let orders = self.spikes.cluster.database.number("SELECT COUNT(*) FROM orders").await;
        assert_eq!(orders, bought.placed);
    }
}

/// How much was bought.
#[derive(Clone, Copy, Debug)]
struct Bought {
    placed: i64,
    cancelled: i64,
}

/// Buyers that never stop, through all nodes in turn; every request of theirs comes to what it is to come to.
struct Crowd {
    stop: Arc<AtomicBool>,
    placed: Arc<AtomicI64>,
    buyers: Vec<JoinHandle<Bought>>,
}

impl Crowd {
    fn begin(entrances: &Entrances) -> Self {
        let (stop, placed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
        let buyers = (1..=12).map(|buyer| tokio::spawn(shop(buyer, Arc::clone(entrances), Arc::clone(&stop), Arc::clone(&placed))));
        Self { stop: Arc::clone(&stop), placed: Arc::clone(&placed), buyers: buyers.collect() }
    }

    /// Waits until some more were served.
    async fn served(&self) {
        let enough = self.placed.load(Ordering::SeqCst) + 200;
        eventually("the crowd is served", async || self.placed.load(Ordering::SeqCst) >= enough).await;
    }

    async fn end(self) -> Bought {
        self.stop.store(true, Ordering::SeqCst);
        let mut bought = Bought { placed: 0, cancelled: 0 };
        for buyer in self.buyers {
            let mine = buyer.await.expect("every buyer was served");
            (bought.placed, bought.cancelled) = (bought.placed + mine.placed, bought.cancelled + mine.cancelled);
        }
        bought
    }
}

/// A buyer, who comes in through whatever node comes next. On a machine that is very busy a confirm may be late: then they ask again, under
/// the same key.
struct Buyer {
    id: i64,
    entrances: Entrances,
    turn: usize,
}

impl Buyer {
    fn enter(&mut self) -> Arc<Entrance> {
        let entrances = self.entrances.lock().unwrap();
        self.turn += 1;
        Arc::clone(&entrances[self.turn % entrances.len()])
    }

    /// Places an order, or finds the one that was placed.
    async fn place(&mut self, commodity_id: i64, key: &str) -> Order {
        let mut tries = Tries::new();
        loop {
            match buy(&self.enter().0, commodity_id, self.id, key).await {
                Reply::Done(Answer::Placed(order) | Answer::Replayed(order)) => return order,
                Reply::Pending(_) | Reply::Busy(_) => tries.another().await,
                reply => panic!("{reply:?}"),
            }
        }
    }

    /// Looks the order up until it stands so.
    async fn find(&mut self, order: Order) {
        let mut tries = Tries::new();
        loop {
            match self.enter().0.order(order.id).await {
                OrderLookup::Pending | OrderLookup::Unavailable => tries.another().await,
                found => return assert_eq!(found, OrderLookup::Known(NamedOrder { order, foreign: None })),
            }
        }
    }

    /// Calls the order off.
    async fn cancel(&mut self, order: Order) {
        let cancelled = Order { status: OrderStatus::Cancelled, ..order };
        let mut tries = Tries::new();
        loop {
            let cancel = Command::Cancel { order: order.id, user: Some(order.user), reason: None, row: None };
            match self.enter().0.about_order(order.id, cancel).await {
                Reply::Pending(_) | Reply::Busy(_) => tries.another().await,
                // It was, by a try whose answer did not come.
                Reply::Refused(Refusal::NotCancellable) => return self.find(cancelled).await,
                reply => return assert_eq!(reply, Reply::Done(Answer::Order(cancelled))),
            }
        }
    }
}

/// How often something was asked in vain.
struct Tries(u32);

impl Tries {
    const fn new() -> Self {
        Self(0)
    }

    /// Waits as a client does that was told to come back.
    async fn another(&mut self) {
        self.0 += 1;
        assert!(self.0 < 2_000, "nobody is ever told");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// Places, asks for it, and now and then calls it off.
async fn shop(id: i64, entrances: Entrances, stop: Arc<AtomicBool>, placed: Arc<AtomicI64>) -> Bought {
    let (mut bought, mut buyer) = (Bought { placed: 0, cancelled: 0 }, Buyer { id, entrances, turn: id as usize });
    while !stop.load(Ordering::SeqCst) {
        let (key, commodity_id) = (format!("{id}-{}", bought.placed), 1 + bought.placed % BOUGHT);
        let order = buyer.place(commodity_id, &key).await;
        bought.placed += 1;
        placed.fetch_add(1, Ordering::SeqCst);
        match bought.placed % 4 {
            0 => buyer.find(order).await,
            1 => {
                buyer.cancel(order).await;
                bought.cancelled += 1;
            }
            2 => assert_eq!(buyer.place(commodity_id, &key).await, order),
            _ => {}
        }
    }
    bought
}

/// From the release before to this one, back, and to this one for good.
async fn upgrade_in_order(order: [What; 3]) {
    let mut shop = Shop::open().await;
    let crowd = Crowd::begin(&shop.entrances);
    crowd.served().await;
    for (release, roles) in [(NOW, order), (BEFORE, [order[2], order[1], order[0]]), (NOW, order)] {
        for what in roles {
            println!("{what:?}: {release:?}");
            if (what, release) == (What::Spikes, NOW) {
                // One node of each release: that is no time to write what one of them cannot read.
                shop.change_node(0, release).await;
                let refused = upgrade::finish(&shop.config("tool", NOW), ".".as_ref()).await.unwrap_err().to_string();
                assert_eq!(refused, "not finished: nodes still run an older release: b; upgrade them, then run this again");
                let refused = shop.buy_as_foreign(BOUGHT).await;
                assert!(matches!(refused, Reply::Refused(Refusal::UpgradeUnfinished) | Reply::Busy(Busy::Unavailable)), "{refused:?}");
                crowd.served().await;
                shop.change_node(1, release).await;
            } else {
                shop.change(what, release).await;
            }
            crowd.served().await;
        }
    }
    // All are of this release, and nothing is written yet that the one before could not read.
    assert_eq!(shop.close().await, Reply::Refused(Refusal::UpgradeUnfinished));
    assert_eq!(shop.buy_as_foreign(BOUGHT).await, Reply::Refused(Refusal::UpgradeUnfinished));
    let before = epochs(&shop).await;
    let finished = upgrade::finish(&shop.config("tool", NOW), ".".as_ref()).await.expect("all of them are of this release");
    assert!(finished.starts_with("the log is written in version 5"), "{finished}");
    eventually("every partition is claimed again", async || epochs(&shop).await.iter().zip(&before).all(|(now, before)| now > before))
        .await;
    crowd.served().await;
    assert_eq!(shop.operate("end").await["state"], "ended");
    assert!(matches!(shop.close().await, Reply::Done(Answer::Commodity(closed)) if closed.closed_at.is_some()));
    let Reply::Done(Answer::Placed(order)) = shop.buy_as_foreign(BOUGHT).await else { panic!("every process knows what that is") };
    assert_eq!(shop.buy_as_foreign(BOUGHT).await, Reply::Done(Answer::Replayed(order)));
    let mut bought = crowd.end().await;
    bought.placed += 1;
    shop.audit(bought).await;
}

/// The applied epoch of every partition.
async fn epochs(shop: &Shop) -> Vec<u32> {
    let rows = shop.spikes.cluster.store.partition_rows().await.expect("the database is there");
    rows.iter().map(|row| row.applied.0.get()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_goes_on_while_nodes_are_upgraded_before_consumers() {
    upgrade_in_order([What::Spikes, What::Consumers, What::Admin]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_goes_on_while_consumers_are_upgraded_before_nodes() {
    upgrade_in_order([What::Consumers, What::Spikes, What::Admin]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_of_the_release_before_leaves_what_it_cannot_read_to_one_of_this() {
    let mut spikes = Spikes::new().await;
    let node = Spikes::start_with(&spikes.config("a")).await;
    spikes.list(node.router(), 1_000).await;
    spikes.consumer.take().expect("it consumes").stop().await;
    let mut config = spikes.config("consumer");
    config.release = BEFORE;
    let consumer = spikes.cluster.consumer_with(&config);
    consumer.health("it is there", |health| health.ready).await;
    for buyer in 1..=20 {
        for id in 1..=BOUGHT {
            let entrances = Arc::new(Mutex::new(vec![Arc::new(Entrance(Arc::clone(node.router())))]));
            Buyer { id: buyer, entrances, turn: 0 }.place(id, "k").await;
        }
    }
    let sold_from: BTreeSet<PartitionId> = (1..=BOUGHT).map(|id| home(commodity(id), &spikes)).collect();
    let why = "event batch of version 5; this process reads up to 1";
    let has_stopped = |health: &doorbuster::consumer::Health| {
        sold_from.iter().all(|partition| health.stopped.get(&partition.get()).is_some_and(|reason| reason.contains(why))) && !health.ready
    };
    consumer.health(why, has_stopped).await;
    consumer.stop().await;
    let raw = spikes.cluster.broker.raw().await;
    assert_eq!(raw.depth(spikes.cluster.broker.dead()).await, 0, "nothing is buried");
    assert_eq!(spikes.cluster.database.number("SELECT COUNT(*) FROM orders").await, 0);
    spikes.consumer = Some(spikes.cluster.consumer());
    node.stop().await;
    eventually("all of it is in the tables", async || spikes.cluster.database.number("SELECT COUNT(*) FROM orders").await == 20 * BOUGHT)
        .await;
    spikes.audit(20 * BOUGHT).await;
}

fn home(commodity: CommodityId, spikes: &Spikes) -> PartitionId {
    partition_of(commodity, spikes.cluster.store.partitions())
}
