//! Nodes on loopback, each with its listener, its feeds and its links, over logs in memory that confirm at once. Never a
//! proof of durability or of ownership: those have real servers.

mod mixed;
mod stalled;
mod strangers;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::peer::{Credential, Greeting, HelloError, LinkSettings, Local, Peer, PeerServer, PeerVersion, Sources, Speech, greet, serve};
use super::*;
use crate::domain::UserId;
use crate::domain::{
    Cancellation, Commodity, CommodityState, Epoch, IdempotencyKey, NodeId, PartitionId, Quantity, RequestFingerprint, Sequence, Stock,
    Terms, Timestamp, Units,
};
use crate::engine::{Answer, KnownCommodity, Place, Snapshot};
use crate::event::{Batch, LogVersion};
use crate::log::{InDoubt, Log};
use crate::ownership::{Claim, ClaimError, Ownership};
use crate::partition::{Runner, Settings, Sighting, Trouble, spawn};

const SECRET: &str = "an internal secret of 32 bytes or more";
const PARTITIONS: Partitions = Partitions::DEFAULT;
const SETTINGS: LinkSettings = LinkSettings {
    partitions: PARTITIONS,
    depth_max: 1_024,
    command_timeout: Duration::from_secs(2),
    answer_timeout: Duration::from_secs(1),
};

/// Who has each partition's lock, and its epoch.
#[derive(Default)]
struct Locks(Mutex<BTreeMap<PartitionId, (Option<NodeId>, u32)>>);

struct Claims {
    me: NodeId,
    locks: Arc<Locks>,
    total: i64,
    /// Whether the tables contradict themselves.
    is_broken: AtomicBool,
    /// The partition whose log confirms nothing while there is one.
    stalled: tokio::sync::watch::Sender<Option<PartitionId>>,
}

/// Confirms nothing while it is the one that is stalled.
struct StallingLog(PartitionId, tokio::sync::watch::Receiver<Option<PartitionId>>);

impl Log for StallingLog {
    fn append(&self, _: Batch) -> BoxFuture<'_, Result<(), InDoubt>> {
        let mut stalled = self.1.clone();
        Box::pin(async move {
            let freed = stalled.wait_for(|stalled| *stalled != Some(self.0)).await;
            freed.map(drop).map_err(|over| InDoubt(over.to_string()))
        })
    }
}

impl Ownership for Claims {
    fn claim(&self, partition: PartitionId) -> BoxFuture<'_, Result<Claim, ClaimError>> {
        let mut locks = self.locks.0.lock().unwrap();
        let (owner, epoch) = locks.entry(partition).or_default();
        if owner.as_ref().is_some_and(|owner| *owner != self.me) {
            return Box::pin(async { Err(ClaimError::Taken) });
        }
        (*owner, *epoch) = (Some(self.me.clone()), *epoch + 1);
        let twice = self.is_broken.load(Ordering::SeqCst).then(|| lamp(1, self.total));
        let lamps = (1..=64).map(|id| lamp(id, self.total)).chain(twice);
        let commodities = lamps.filter(|c| partition_of(c.id, PARTITIONS) == partition).map(KnownCommodity::fresh).collect();
        // The tables here never have anything: what is confirmed stays known to its owner.
        let applied = tokio::sync::watch::Sender::new((Epoch::default(), Sequence::FENCE));
        let claim = Claim {
            epoch: Epoch::new(*epoch).unwrap(),
            snapshot: Snapshot { commodities, ..Snapshot::default() },
            log: Arc::new(StallingLog(partition, self.stalled.subscribe())),
            lost: CancellationToken::new(),
            log_version: LogVersion::NEWEST,
            applied: Some(applied.subscribe()),
        };
        Box::pin(async move { Ok(claim) })
    }

    fn release(&self, partition: PartitionId) -> BoxFuture<'_, ()> {
        let mut locks = self.locks.0.lock().unwrap();
        if let Some((owner, _)) = locks.get_mut(&partition).filter(|(owner, _)| owner.as_ref() == Some(&self.me)) {
            *owner = None;
        }
        Box::pin(async {})
    }
}

struct Node {
    local: Arc<Local>,
    ways: Arc<Ways>,
    neighbours: Arc<Neighbours>,
    claims: Arc<Claims>,
    peer: Peer,
    server: PeerServer,
    runners: BTreeMap<PartitionId, (Runner, CancellationToken)>,
}

fn noon() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000).unwrap()
}

const ANOTHER_SECRET: &str = "another secret that is long enough to be one";

/// Of a node that knows that secret; without TLS too, if it is so.
fn credential(name: &str, secret: &str, plain: bool) -> Credential {
    Credential::new(&name.parse().unwrap(), Sources { secret: Some(secret.to_owned().into()), plain, ..Sources::default() }).unwrap()
}

fn lamp(id: i64, total: i64) -> Commodity {
    Commodity {
        id: CommodityId::new(id).unwrap(),
        terms: Terms {
            sku: None,
            name: "lamp".into(),
            description: String::new(),
            image_url: None,
            price: crate::domain::Price::new(100).unwrap(),
            currency: "EUR".parse().unwrap(),
            limit_per_user: None,
            hold_seconds: None,
            grace_seconds: Terms::GRACE_SECONDS,
            cancellation: Cancellation::Unpaid,
            starts_at: Timestamp::ZERO,
            ends_at: Timestamp::MAX,
        },
        stock: Stock::fresh(Units::new(total).unwrap()),
        paused: false,
        ended_at: None,
        closed_at: None,
        version: 1,
    }
}

impl Node {
    fn start(name: &str, locks: &Arc<Locks>, total: i64) -> Self {
        Self::start_speaking((name, locks, total), PeerVersion::NEWEST, credential(name, SECRET, false))
    }

    /// One that speaks versions of the peer link up to that one, and is known by that.
    fn start_speaking((name, locks, total): (&str, &Arc<Locks>, i64), speaks: PeerVersion, credential: Credential) -> Self {
        let board = Arc::new(Board::new(PARTITIONS));
        let id: NodeId = name.parse().unwrap();
        let mut local = Local::new(id.clone(), 7, PARTITIONS, credential, board);
        local.speaks = speaks;
        let local = Arc::new(local);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = serve(listener, Arc::clone(&local)).unwrap();
        let peer = Peer { id: id.clone(), address: server.address() };
        let roads = Arc::new(Roads::none(PARTITIONS));
        let neighbours = Neighbours::new(Arc::clone(&local), Arc::clone(&roads), SETTINGS);
        tokio::spawn(watch_tasks(Arc::clone(&neighbours)));
        let ways = Arc::new(Ways::Shifting { roads, patience: SETTINGS.command_timeout });
        let stalled = tokio::sync::watch::Sender::new(None);
        let claims = Arc::new(Claims { me: id, locks: Arc::clone(locks), total, is_broken: AtomicBool::default(), stalled });
        Self { local, ways, neighbours, claims, peer, server, runners: BTreeMap::new() }
    }

    fn run(&mut self, partition: PartitionId) {
        let settings = Settings {
            inbox_depth_max: 1_024,
            batch_commands_max: 256,
            retention: Duration::from_secs(60),
            // Longer than any test: a log that confirms nothing does so until it is told otherwise.
            append_timeout: Duration::from_secs(600),
            command_timeout: SETTINGS.command_timeout,
            stopped_retry: Duration::from_secs(60),
        };
        let stop = CancellationToken::new();
        let runner = spawn(partition, settings, self.claims.clone(), Arc::clone(&self.local.board), noon, stop.clone());
        self.local.set_inbox(partition, Some(runner.inbox.clone()));
        self.runners.insert(partition, (runner, stop));
    }

    async fn give_up(&mut self, partition: PartitionId) {
        self.local.set_inbox(partition, None);
        let (runner, stop) = self.runners.remove(&partition).unwrap();
        stop.cancel();
        runner.stopped().await;
    }

    async fn buy(&self, user: i64) -> Reply {
        self.ways.command(home(), place(user)).await
    }

    fn state(&self) -> Option<CommodityState> {
        self.local.board.state(lamp(1, 1).id, noon())
    }

    /// Waits until the board shows that state; how long it took.
    async fn shows(&self, state: Option<CommodityState>) -> Duration {
        let since = Instant::now();
        while self.state() != state {
            assert!(since.elapsed() < Duration::from_secs(10), "the board shows {:?} and not {state:?}", self.state());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        since.elapsed()
    }
}

/// The partition of the commodity that is bought here.
fn home() -> PartitionId {
    partition_of(lamp(1, 1).id, PARTITIONS)
}

fn place(user: i64) -> Command {
    with_key(user, Some("k"))
}

fn with_key(user: i64, key: Option<&str>) -> Command {
    Command::Place(a_place(user, key))
}

fn a_place(user: i64, key: Option<&str>) -> Place {
    Place {
        commodity: lamp(1, 1).id,
        user: UserId::new(user).unwrap().into(),
        quantity: Quantity::ONE,
        key: key.map(|text| IdempotencyKey::from_text(text).unwrap()),
        fingerprint: RequestFingerprint::of(Quantity::ONE, None),
        unit_price: None,
    }
}

/// Two nodes that know each other; the second has the partition.
async fn pair(total: i64) -> (Node, Node) {
    let locks = Arc::new(Locks::default());
    introduce(Node::start("a", &locks, total), Node::start("b", &locks, total)).await
}

/// The same, with nodes that know the release before.
async fn plain_pair(total: i64) -> (Node, Node) {
    let locks = Arc::new(Locks::default());
    let start = |name| Node::start_speaking((name, &locks, total), PeerVersion::NEWEST, credential(name, SECRET, true));
    introduce(start("a"), start("b")).await
}

/// The two know each other from now on; the second has the partition.
async fn introduce(a: Node, mut b: Node) -> (Node, Node) {
    a.neighbours.set_peers(std::slice::from_ref(&b.peer));
    b.neighbours.set_peers(std::slice::from_ref(&a.peer));
    b.run(home());
    a.shows(Some(CommodityState::Open)).await;
    (a, b)
}

/// The way of one request to whatever listens at an address, under the name `b`.
async fn ask(address: SocketAddr, secret: &str) -> (Reply, Duration) {
    let peer = Peer { id: "b".parse().unwrap(), address };
    let look_again = Arc::new(tokio::sync::Notify::new());
    let link = peer::PeerLink::open(&"a".parse().unwrap(), &peer, &credential("a", secret, false), SETTINGS, (speech(), look_again));
    let since = Instant::now();
    (link.inbox.command(place(1)).await, since.elapsed())
}

fn speech() -> Arc<Speech> {
    Arc::new(Speech::new(PeerVersion::NEWEST))
}

/// A listener that reads a little, answers every connection with these bytes, and closes it; or never answers.
async fn stub(answer: Option<&'static str>) -> SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            let _ = connection.read(&mut [0; 4096]).await;
            match answer {
                Some(answer) => drop(connection.write_all(answer.as_bytes()).await),
                None => kept.push(connection),
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_for_another_node_is_carried_out_there_once_and_answered_here() {
    let (a, b) = pair(3).await;
    let Reply::Done(Answer::Placed(order)) = a.buy(1).await else { panic!("a unit is there") };
    assert_eq!(a.buy(1).await, Reply::Done(Answer::Replayed(order)));
    assert_eq!(a.ways.lookup(order.id).await, Ok(Sighting::Known(NamedOrder { order, foreign: None })));
    assert_eq!(b.ways.lookup(order.id).await, Ok(Sighting::Known(NamedOrder { order, foreign: None })));
    assert_eq!(b.local.board.get(order.commodity).unwrap().stock.available.get(), 2);
}

/// The owner may die before it says which order it was: then the key is all that the buyer has.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_without_a_key_is_placed_under_its_retry_key_where_another_node_decides() {
    let (a, b) = pair(3).await;
    let keyed = |user, key: &str| with_key(user, Some(key));
    let spare = SpareKey::new(7);
    let keyless = |user| Traced { retry_key: Some(spare.clone()), ..with_key(user, None).into() };
    let Reply::Done(Answer::Placed(order)) = a.ways.command(home(), keyless(1)).await else { panic!("a unit is there") };
    assert_eq!(a.ways.command(home(), keyed(1, &spare.text())).await, Reply::Done(Answer::Replayed(order)));
    // Where it is decided here its id is told, and nothing is kept of a key that nobody needs.
    assert!(matches!(b.ways.command(home(), keyless(2)).await, Reply::Done(Answer::Placed(_))));
    assert!(matches!(b.ways.command(home(), keyed(2, &spare.text())).await, Reply::Done(Answer::Placed(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_sell_exactly_the_stock() {
    let (a, _b) = pair(100).await;
    let buyers = (1..=500).map(|user| {
        let ways = Arc::clone(&a.ways);
        tokio::spawn(async move { ways.command(home(), place(user)).await })
    });
    let replies = futures_util::future::join_all(buyers.collect::<Vec<_>>()).await;
    let placed = replies.iter().filter(|reply| matches!(reply, Ok(Reply::Done(Answer::Placed(_))))).count();
    let refused = replies.iter().filter(|reply| matches!(reply, Ok(Reply::Refused(Refusal::SoldOut)))).count();
    assert_eq!((placed, refused), (100, 400));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_answers_misdirected_and_never_forwards() {
    let (a, b) = pair(3).await;
    // The node with the way to the owner is asked as if it were the owner.
    let (reply, took) = ask_as(&a.peer).await;
    assert_eq!(reply, Reply::Busy(Busy::Unavailable));
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(b.local.board.get(lamp(1, 1).id).unwrap().stock.available.get(), 3);
}

/// The way of one request to a node under its own name.
async fn ask_as(peer: &Peer) -> (Reply, Duration) {
    let look_again = Arc::new(tokio::sync::Notify::new());
    let link =
        peer::PeerLink::open(&"c".parse().unwrap(), peer, &credential("c", SECRET, false), SETTINGS, (speech(), Arc::clone(&look_again)));
    let since = Instant::now();
    let reply = link.inbox.command(place(1)).await;
    look_again.notified().await;
    (reply, since.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_not_there_or_has_another_secret_certainly_did_nothing() {
    let (_a, b) = pair(3).await;
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (address, secret) in [(gone, SECRET), (b.peer.address, ANOTHER_SECRET)] {
        let (reply, took) = ask(address, secret).await;
        assert_eq!(reply, Reply::Busy(Busy::Unavailable));
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    assert_eq!(b.local.board.get(lamp(1, 1).id).unwrap().stock.available.get(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_or_no_batch_is_refused() {
    let (_a, b) = plain_pair(3).await;
    let post = |bytes: Vec<u8>, proven: bool| {
        let proof = credential("a", SECRET, true).proof().unwrap().of(&"a".parse().unwrap(), &b.peer.id);
        let proof = if proven { proof } else { "00".into() };
        let request =
            reqwest::Client::builder().no_proxy().build().unwrap().post(format!("http://{}/internal/v1/commands", b.peer.address));
        let request = request.header("x-doorbuster-from", "a").header("x-doorbuster-to", "b").header("x-doorbuster-wire", "3");
        async move { request.header("x-doorbuster-proof", proof).body(bytes).send().await.unwrap().status().as_u16() }
    };
    assert_eq!(post(vec![0xFF; 1_000], false).await, 401);
    assert_eq!(post(vec![0xFF; 1_000], true).await, 400);
    assert_eq!(post(vec![0; 1_000_000], true).await, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_tells_a_friend_from_nobody_and_from_one_with_another_secret() {
    let (a, b) = pair(1).await;
    let friend = Greeting::Friend { instance: 7, partitions: PARTITIONS };
    let credential = |secret| credential("a", secret, false);
    let greeting = async |peer: &Peer, secret| greet(&a.local.id, peer, &credential(secret), PeerVersion::NEWEST).await;
    assert_eq!(greeting(&b.peer, SECRET).await, Ok(friend));
    let wrong = greeting(&b.peer, ANOTHER_SECRET).await;
    assert!(matches!(&wrong, Err(HelloError::Doubtful(node, ..)) if *node == b.peer.id), "{wrong:?}");
    let renamed = Peer { id: "c".parse().unwrap(), ..b.peer.clone() };
    assert_eq!(greeting(&renamed, SECRET).await, Ok(Greeting::Nobody));
    let gone = Peer { address: TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(), ..b.peer.clone() };
    assert_eq!(greeting(&gone, SECRET).await, Ok(Greeting::Nobody));
    let silent = Peer { address: stub(None).await, ..b.peer.clone() };
    assert_eq!(greeting(&silent, SECRET).await, Ok(Greeting::Silent));
    let another = Peer { address: stub(Some("SSH-2.0-OpenSSH_9.2\r\n")).await, ..b.peer.clone() };
    assert_eq!(greeting(&another, SECRET).await, Ok(Greeting::Nobody));
}

#[tokio::test(flavor = "multi_thread")]
async fn sold_out_is_known_everywhere_within_a_second_and_withdrawn_within_a_second() {
    let (a, b) = pair(1).await;
    assert!(matches!(b.buy(1).await, Reply::Done(Answer::Placed(_))));
    assert!(a.shows(Some(CommodityState::SoldOut)).await < Duration::from_secs(1));
    let restock = Command::Restock { commodity: lamp(1, 1).id, units: Units::new(1).unwrap() };
    assert!(matches!(a.ways.command(home(), restock).await, Reply::Done(Answer::Commodity(_))));
    assert!(a.shows(Some(CommodityState::Open)).await < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_owner_hints_are_withdrawn_and_listings_stay() {
    let (a, mut b) = pair(1).await;
    assert!(matches!(b.buy(1).await, Reply::Done(Answer::Placed(_))));
    a.shows(Some(CommodityState::SoldOut)).await;
    b.give_up(home()).await;
    assert!(a.shows(None).await < Duration::from_secs(1));
    assert!(a.local.board.get(lamp(1, 1).id).is_some());
    let since = Instant::now();
    assert_eq!(a.buy(2).await, Reply::Busy(Busy::Unavailable));
    assert!(since.elapsed() < SETTINGS.command_timeout + Duration::from_millis(500));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_is_known_to_be_gone_at_once() {
    let (a, b) = pair(1).await;
    assert_eq!(a.neighbours.contact(&b.peer.id).0, peer::Contact::Live);
    b.local.closed.cancel();
    b.server.stop().await;
    a.shows(None).await;
    let since = Instant::now();
    while a.neighbours.contact(&b.peer.id).0 != peer::Contact::Refused {
        assert!(since.elapsed() < Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_arrive_while_a_partition_moves_wait_and_do_not_fail() {
    let (mut a, mut b) = pair(1_000).await;
    let busy = (1..=50).map(|user| {
        let ways = [Arc::clone(&a.ways), Arc::clone(&b.ways)];
        tokio::spawn(async move {
            for round in 0..20 {
                let reply = ways[round % 2].command(home(), place(user)).await;
                assert!(matches!(reply, Reply::Done(Answer::Placed(_) | Answer::Replayed(_))), "{reply:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    });
    let busy: Vec<_> = busy.collect();
    a.run(home());
    tokio::time::sleep(Duration::from_millis(60)).await;
    b.give_up(home()).await;
    for buyer in busy {
        buyer.await.unwrap();
    }
    assert!(a.local.inbox(home()).unwrap().is_serving());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_stopped_at_one_node_is_known_to_be_at_the_others_until_it_is_not() {
    let (a, mut b) = pair(5).await;
    b.give_up(home()).await;
    b.claims.is_broken.store(true, Ordering::SeqCst);
    b.run(home());
    let known = async |troubles: &[(PartitionId, Trouble)]| {
        let (since, troubles) = (Instant::now(), troubles.iter().copied().collect::<BTreeMap<_, _>>());
        while a.neighbours.troubles() != troubles {
            assert!(since.elapsed() < Duration::from_secs(10), "{:?} and not {troubles:?}", a.neighbours.troubles());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    known(&[(home(), Trouble::TablesContradict)]).await;
    b.give_up(home()).await;
    b.claims.is_broken.store(false, Ordering::SeqCst);
    b.run(home());
    known(&[]).await;
    a.shows(Some(CommodityState::Open)).await;
}
