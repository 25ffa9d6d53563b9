//! The link between real nodes, and whoever is no node: somebody on the line, and somebody whose address stands in the table.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use doorbuster::auth::Authenticator;
use doorbuster::clock;
use doorbuster::cluster::{AdminNode, SpikeNode};
use doorbuster::config::Config;
use doorbuster::domain::{PartitionId, Reach};
use doorbuster::engine::{Answer, Refusal};
use doorbuster::event::LogVersion;
use doorbuster::ring::partition_of;
use doorbuster::routing::Reply;
use doorbuster::store::{NodeRow, NodeState, Role};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::spikes::{SECRET, Spikes, buy};
use crate::support::cluster::eventually;
use crate::support::recorder::{Meddling, Recorder, replay, spare_address};
use crate::support::tls::Certificates;
use crate::support::{commodity, user};

/// What the nodes of a test know each other by.
enum KnownBy {
    Secret,
    Certificates(Box<Certificates>),
}

impl KnownBy {
    fn config(&self, spikes: &Spikes, id: &str) -> Config {
        let mut config = spikes.config(id);
        if let Self::Certificates(certificates) = self {
            config.auth.internal_secret = None;
            config.peer.tls = certificates.node(id);
        }
        config
    }
}

/// A commodity whose partition a node owns, once it owns it.
async fn owned_by(spikes: &Spikes, node: &str) -> i64 {
    let found = Mutex::new(None);
    eventually("the node owns the partition of a commodity", async || {
        let rows = spikes.cluster.store.partition_rows().await.expect("the database is there");
        let owned: Vec<PartitionId> =
            rows.iter().filter(|row| row.owner.as_deref() == Some(node) && row.applied.0 == row.epoch).map(|row| row.id).collect();
        let partitions = spikes.cluster.store.partitions();
        let id = (1..=8).find(|id| owned.contains(&partition_of(commodity(*id), partitions)));
        *found.lock().expect("nobody panicked") = id;
        id.is_some()
    })
    .await;
    found.into_inner().expect("nobody panicked").expect("it was found")
}

/// Asks until it is answered for good: what is in doubt is asked for again under the same key.
async fn ask_until_answered(node: &SpikeNode, id: i64, buyer: i64, key: &str) -> Answer {
    let since = Instant::now();
    loop {
        match buy(node.router(), id, buyer, key).await {
            Reply::Done(answer) => return answer,
            Reply::Pending(_) | Reply::Busy(_) => {}
            other => panic!("{other:?}"),
        }
        assert!(since.elapsed() < Duration::from_secs(60), "not answered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Two nodes with somebody on the line from the first to the second.
async fn with_recorder(known_by: &KnownBy, spikes: &Spikes) -> (SpikeNode, SpikeNode, SocketAddr, Recorder) {
    let a = Spikes::start_with(&known_by.config(spikes, "a")).await;
    spikes.list(a.router(), 1_000).await;
    let behind = spare_address();
    let recorder = Recorder::before(behind).await;
    let mut config = known_by.config(spikes, "b");
    config.node.internal_listen = behind.into();
    config.node.internal_advertise = Some(recorder.address().into());
    let b = Spikes::start_with(&config).await;
    (a, b, behind, recorder)
}

async fn nothing_comes_of_a_recorder(known_by: KnownBy) {
    let spikes = Spikes::new().await;
    let (a, b, behind, recorder) = with_recorder(&known_by, &spikes).await;
    let id = owned_by(&spikes, "b").await;
    let mut accepted = 0;
    for buyer in 1..=20 {
        assert!(matches!(ask_until_answered(&a, id, buyer, "passed-on").await, Answer::Placed(_) | Answer::Replayed(_)));
        accepted += 1;
    }
    // What was said is of no use: neither to read, nor to say again, whole or in part.
    let said = recorder.said();
    assert!(said.iter().any(|said| said.len() > 1_000), "the orders went this way");
    assert!(said.len() < 10, "{} handshakes: one for each connection, and not for each request", said.len());
    for said in &said {
        for clear in [&b"doorbuster"[..], b"HTTP", b"internal", SECRET.as_bytes()] {
            assert!(!said.windows(clear.len()).any(|window| window == clear), "{clear:?} can be read");
        }
        let answer = replay(behind, said).await;
        assert!(!answer.windows(4).any(|window| window == b"HTTP"), "it is answered");
    }
    assert!(replay(behind, &said.concat()).await.len() < 4_096, "a handshake at most");
    // What is changed on its way is not heard, and what became of it is told right in the end.
    for least in [1, 200] {
        recorder.meddle(Meddling::Flip(least));
        let during = buy(a.router(), id, 100 + least as i64, "changed").await;
        assert!(matches!(during, Reply::Busy(_) | Reply::Pending(_)), "{during:?}");
        recorder.meddle(Meddling::None);
        ask_until_answered(&a, id, 100 + least as i64, "changed").await;
        accepted += 1;
    }
    // What is held up is answered in time, and is what it is called afterwards.
    recorder.meddle(Meddling::Hold);
    let since = Instant::now();
    let during = tokio::time::timeout(Duration::from_secs(40), buy(a.router(), id, 200, "held-up")).await.expect("in time");
    assert!(matches!(during, Reply::Busy(_) | Reply::Pending(_)), "{during:?} after {:?}", since.elapsed());
    recorder.meddle(Meddling::None);
    ask_until_answered(&a, id, 200, "held-up").await;
    accepted += 1;
    for node in [a, b] {
        node.stop().await;
    }
    spikes.audit(accepted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_of_a_recorder_between_nodes_that_share_a_secret() {
    nothing_comes_of_a_recorder(KnownBy::Secret).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_of_a_recorder_between_nodes_with_certificates() {
    nothing_comes_of_a_recorder(KnownBy::Certificates(Box::new(Certificates::new()))).await;
}

/// A command that somebody keeps back for longer than the link waits for anything is never carried out.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_back_for_long_is_not_carried_out() {
    let spikes = Spikes::new().await;
    let (a, b, _, recorder) = with_recorder(&KnownBy::Secret, &spikes).await;
    let id = owned_by(&spikes, "b").await;
    ask_until_answered(&a, id, 1, "a-connection").await;
    recorder.meddle(Meddling::Hold);
    let said = recorder.said().iter().map(Vec::len).sum::<usize>();
    let during = buy(a.router(), id, 2, "kept-back").await;
    assert!(matches!(during, Reply::Busy(_) | Reply::Pending(_)), "{during:?}");
    assert!(recorder.said().iter().map(Vec::len).sum::<usize>() > said, "something was kept back");
    // Longer than a connection may be idle.
    tokio::time::sleep(Duration::from_secs(8)).await;
    recorder.meddle(Meddling::None);
    ask_until_answered(&a, id, 3, "the-line-is-free").await;
    let available = |node: &SpikeNode| node.router().board().get(commodity(id)).expect("it is listed").stock.available.get();
    assert_eq!(available(&b), 998, "two were sold");
    assert!(matches!(ask_until_answered(&a, id, 2, "kept-back").await, Answer::Placed(_)), "it was never placed");
    for node in [a, b] {
        node.stop().await;
    }
    spikes.audit(3).await;
}

/// Somebody who listens, takes what comes and says something.
async fn stranger(says: &'static [u8]) -> (SocketAddr, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a spare port");
    let (address, heard) = (listener.local_addr().expect("its address"), Arc::<Mutex<Vec<Vec<u8>>>>::default());
    let record = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut said = vec![0; 16 * 1024];
            let length = stream.read(&mut said).await.unwrap_or(0);
            drop(stream.write_all(says).await);
            let more = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut said[length..])).await;
            said.truncate(length + more.map_or(0, |read| read.unwrap_or(0)));
            record.lock().expect("nobody panicked").push(said);
        }
    });
    (address, heard)
}

async fn a_stranger_in_the_table_is_told_nothing(known_by: KnownBy) {
    let spikes = Spikes::new().await;
    let a = Spikes::start_with(&known_by.config(&spikes, "a")).await;
    spikes.list(a.router(), 1_000).await;
    let friendly = b"HTTP/1.1 200 OK\r\nx-doorbuster-node: ghost\r\nx-doorbuster-wire: 3\r\ncontent-length: 2\r\n\r\n\x01\x10";
    let (address, heard) = stranger(friendly).await;
    let row = NodeRow {
        id: "ghost".parse().expect("an id"),
        instance: 1,
        address,
        state: NodeState::Active,
        started_at: clock::system(),
        heartbeat_at: clock::system(),
        broker: Reach::Up,
        log_version: LogVersion::NEWEST,
    };
    assert!(spikes.cluster.store.enter_node(&row, None).await.expect("the database is there"));
    eventually("the node has tried to talk to it", async || heard.lock().expect("nobody panicked").len() > 3).await;
    for said in heard.lock().expect("nobody panicked").iter() {
        assert_eq!(said.first(), Some(&0x16), "a handshake and nothing else");
        for clear in [&b"doorbuster"[..], b"HTTP", b"ghost", SECRET.as_bytes()] {
            assert!(!said.windows(clear.len()).any(|window| window == clear), "{clear:?} is told");
        }
    }
    eventually("its heart has stopped, and everything is sold here", async || {
        let bought = async |id| matches!(buy(a.router(), id, 1, "k").await, Reply::Done(Answer::Placed(_) | Answer::Replayed(_)));
        futures_util::future::join_all((1..=8).map(bought)).await.into_iter().all(|bought| bought)
    })
    .await;
    a.stop().await;
    spikes.audit(8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_in_the_table_is_told_nothing_by_nodes_that_share_a_secret() {
    a_stranger_in_the_table_is_told_nothing(KnownBy::Secret).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_in_the_table_is_told_nothing_by_nodes_with_certificates() {
    a_stranger_in_the_table_is_told_nothing(KnownBy::Certificates(Box::new(Certificates::new()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_certificates_sell_exactly_the_stock_and_the_operator_is_heard() {
    let (spikes, known_by) = (Spikes::new().await, KnownBy::Certificates(Box::new(Certificates::new())));
    let mut nodes = Vec::new();
    for id in ["a", "b"] {
        nodes.push(Spikes::start_with(&known_by.config(&spikes, id)).await);
    }
    eventually("both own something", async || spikes.owners().await.len() == 2).await;
    spikes.list(nodes[0].router(), 10).await;
    let mut accepted = 0;
    for buyer in 1..=12 {
        for id in 1..=8 {
            match buy(nodes[(buyer % 2) as usize].router(), id, buyer, "k").await {
                Reply::Done(Answer::Placed(_)) => accepted += 1,
                Reply::Refused(Refusal::SoldOut) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(accepted, 80);
    let mut config = known_by.config(&spikes, "admin");
    config.admin.listen = config.http.listen.clone();
    let admin = AdminNode::start(&config).await.expect("the admin process starts");
    let token = Authenticator::new(&config.auth, &SECRET.to_owned().into()).expect("a secret").mint(user(1), Role::Admin, clock::system());
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    for id in 1..=8 {
        eventually("the owner hears the operator", async || {
            let url = format!("http://{}/admin/v1/commodities/{id}/pause", admin.address());
            let answer = client.post(url).bearer_auth(&token).send().await.expect("an answer");
            let body: Value = answer.json().await.expect("JSON");
            body["state"] == "paused" || body["state"] == "sold_out"
        })
        .await;
    }
    admin.stop().await;
    let mut another = spikes.config("c");
    let elsewhere = Certificates::new();
    another.peer.tls = elsewhere.node("c");
    another.auth.internal_secret = None;
    let refusal = SpikeNode::start(&another).await.err().expect("its authority is another").to_string();
    assert!(refusal.contains("cannot be believed") && !refusal.contains('\n'), "{refusal}");
    for node in nodes {
        node.stop().await;
    }
    spikes.audit(accepted).await;
}
