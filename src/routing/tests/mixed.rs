//! Nodes of two releases: what each says, the other understands, whichever of them is asked.

use super::*;

const VERSIONS: [PeerVersion; 5] = [PeerVersion::V3, PeerVersion::V4, PeerVersion::V5, PeerVersion::V6, PeerVersion::V7];

/// Two nodes that speak versions up to these; the second has the partition.
async fn mixed_pair(speaks: [PeerVersion; 2]) -> (Node, Node) {
    let locks = Arc::new(Locks::default());
    let start = |name, speaks| Node::start_speaking((name, &locks, 3), speaks, credential(name, SECRET, true));
    introduce(start("a", speaks[0]), start("b", speaks[1])).await
}

/// A link to a node, and what is spoken over it.
fn link(to: &Node, spoken: Option<u8>) -> (peer::PeerLink, Arc<Speech>) {
    let speech = speech();
    speech.heard(spoken);
    let waiting = (Arc::clone(&speech), Arc::default());
    (peer::PeerLink::open(&"c".parse().unwrap(), &to.peer, &credential("c", SECRET, false), SETTINGS, waiting), speech)
}

/// Asks as the release does that had only version 3.
async fn ask_as_before(node: &Node, what: &str, version: &str) -> reqwest::Response {
    let proof = credential("c", SECRET, true).proof().unwrap().of(&"c".parse().unwrap(), &node.peer.id);
    let request = reqwest::Client::builder().no_proxy().build().unwrap().get(format!("http://{}/internal/v1/{what}", node.peer.address));
    let request = request.header("x-doorbuster-from", "c").header("x-doorbuster-to", node.peer.id.as_str());
    request.header("x-doorbuster-proof", proof).header("x-doorbuster-wire", version).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_two_releases_sell_together() {
    for (asks, owns) in VERSIONS.into_iter().flat_map(|asks| VERSIONS.map(|owns| (asks, owns))) {
        let (a, b) = mixed_pair([asks, owns]).await;
        let Reply::Done(Answer::Placed(order)) = a.buy(1).await else { panic!("a unit is there") };
        assert_eq!(a.buy(1).await, Reply::Done(Answer::Replayed(order)));
        assert_eq!(a.ways.lookup(order.id).await, Ok(Sighting::Known(NamedOrder { order, foreign: None })));
        assert!(matches!(b.buy(2).await, Reply::Done(Answer::Placed(_))));
        assert!(matches!(b.buy(3).await, Reply::Done(Answer::Placed(_))));
        a.shows(Some(CommodityState::SoldOut)).await;
        let greeting = greet(&a.local.id, &b.peer, &credential("a", SECRET, false), asks).await;
        assert_eq!(greeting, Ok(Greeting::Friend { instance: 7, partitions: PARTITIONS }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_of_the_release_before_has_no_words_for_is_not_sent_to_it() {
    for (asks, owns) in VERSIONS.into_iter().flat_map(|asks| VERSIONS.map(|owns| (asks, owns))) {
        let (a, b) = mixed_pair([asks, owns]).await;
        let Reply::Done(Answer::Placed(order)) = a.buy(1).await else { panic!("a unit is there") };
        let orders = a.ways.orders_of(home(), order.user, Duration::from_millis(500)).await;
        let close = a.ways.command(home(), Command::Close(order.commodity)).await;
        if asks.min(owns) == PeerVersion::V3 {
            assert_eq!((orders, close), (Err(Busy::Unavailable), Reply::Busy(Busy::Unavailable)));
        } else {
            assert_eq!((orders, close), (Ok(vec![order]), Reply::Refused(Refusal::NotEnded)));
        }
        assert_eq!(b.ways.orders_of(home(), order.user, Duration::from_millis(500)).await, Ok(vec![order]));
    }
}

/// Equal subjects of two issuers are two buyers, and a node that could not tell them apart is not asked.
#[tokio::test(flavor = "multi_thread")]
async fn another_issuers_account_buys_where_both_nodes_know_what_that_is() {
    let place = |principal: &str| Command::Place(Place { user: principal.parse().unwrap(), ..a_place(1, Some("k")) });
    for (asks, owns) in VERSIONS.into_iter().flat_map(|asks| VERSIONS.map(|owns| (asks, owns))) {
        let (a, b) = mixed_pair([asks, owns]).await;
        let [first, second] = ["a:1", "b:1"].map(|principal| a.ways.command(home(), place(principal)));
        match asks.min(owns) {
            PeerVersion::V3 | PeerVersion::V4 | PeerVersion::V5 => assert_eq!(first.await, Reply::Refused(Refusal::UpgradeUnfinished)),
            PeerVersion::V6 | PeerVersion::V7 => {
                let (Reply::Done(Answer::Placed(first)), Reply::Done(Answer::Placed(second))) = (first.await, second.await) else {
                    panic!("units are there")
                };
                assert_eq!(a.ways.command(home(), place("a:1")).await, Reply::Done(Answer::Replayed(first)));
                let (known, foreign) = (a.ways.lookup(second.id).await, Some("b:1".parse().unwrap()));
                assert_eq!(known, Ok(Sighting::Known(NamedOrder { order: second, foreign })));
                let orders = |key| a.ways.orders_of(home(), key, Duration::from_secs(5));
                assert_eq!((orders(first.user).await, orders(second.user).await), (Ok(vec![first]), Ok(vec![second])));
                let cancel = |user| Command::Cancel { order: first.id, user: Some(user), reason: None, row: None };
                assert_eq!(a.ways.command(home(), cancel(second.user)).await, Reply::Refused(Refusal::OrderNotFound));
                assert!(matches!(a.ways.command(home(), cancel(first.user)).await, Reply::Done(Answer::Order(_))));
            }
        }
        assert!(matches!(b.buy(2).await, Reply::Done(Answer::Placed(_))), "accounts of our own buy as before");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_the_release_before_is_answered_in_version_3() {
    let (_a, b) = mixed_pair([PeerVersion::V6, PeerVersion::V6]).await;
    for what in ["hello", "board"] {
        let response = ask_as_before(&b, what, "3").await;
        assert_eq!((response.status().as_u16(), response.headers()["x-doorbuster-wire"].as_bytes()), (200, &b"3"[..]), "{what}");
    }
    for version in ["2", "8", "3.0", ""] {
        assert_eq!(ask_as_before(&b, "hello", version).await.status().as_u16(), 426, "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_rolled_back_is_spoken_to_in_its_version_after_one_refusal() {
    let (_a, b) = mixed_pair([PeerVersion::V3, PeerVersion::V3]).await;
    let (link, speech) = link(&b, Some(4));
    // It took nothing up: the way to it is tried again.
    assert_eq!(link.inbox.command(place(1)).await, Reply::Busy(Busy::Unavailable));
    assert_eq!(speech.agreed().unwrap_or(PeerVersion::OLDEST), PeerVersion::V3);
    assert!(matches!(link.inbox.command(place(1)).await, Reply::Done(Answer::Placed(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_spoke_is_forgotten_with_it() {
    let (a, b) = mixed_pair([PeerVersion::V7, PeerVersion::V7]).await;
    let (me, speech) = (a.local.id.clone(), speech());
    let (sender, mut news) = tokio::sync::mpsc::unbounded_channel();
    let tell = move |told| {
        drop(sender.send(told));
        Ok(())
    };
    let feed = peer::follow(me, (b.peer.clone(), PARTITIONS), credential("a", SECRET, false), Arc::clone(&speech), tell);
    let feed = tokio::spawn(feed);
    assert!(matches!(news.recv().await, Some(peer::News::Heard(_))));
    assert_eq!(speech.agreed().unwrap_or(PeerVersion::OLDEST), PeerVersion::V7);
    b.local.closed.cancel();
    b.server.stop().await;
    while !matches!(news.recv().await, Some(peer::News::Lost(_))) {}
    assert_eq!(speech.agreed().unwrap_or(PeerVersion::OLDEST), PeerVersion::V3);
    feed.abort();
}

/// What the release before has at its address: it knows no TLS, and passes on what else comes to the node.
async fn without_tls(node: &Node) -> Peer {
    use tokio::io::AsyncWriteExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (front, behind) = (Peer { address: listener.local_addr().unwrap(), ..node.peer.clone() }, node.peer.address);
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut first = [0];
                from.peek(&mut first).await?;
                if first[0] == 0x16 {
                    return from.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
                }
                let mut to = tokio::net::TcpStream::connect(behind).await?;
                tokio::io::copy_bidirectional(&mut from, &mut to).await.map(drop)
            });
        }
    });
    front
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_tls_is_spoken_to_only_while_a_setting_says_so() {
    let (a, b) = mixed_pair([PeerVersion::V5, PeerVersion::V3]).await;
    let before = without_tls(&b).await;
    let open = |plain| {
        let waiting = (speech(), Arc::default());
        peer::PeerLink::open(&a.local.id, &before, &credential("a", SECRET, plain), SETTINGS, waiting)
    };
    assert_eq!(open(false).inbox.command(place(1)).await, Reply::Busy(Busy::Unavailable));
    assert!(matches!(open(true).inbox.command(place(1)).await, Reply::Done(Answer::Placed(_))));
    let greeting = async |plain| greet(&a.local.id, &before, &credential("a", SECRET, plain), PeerVersion::NEWEST).await;
    assert_eq!(greeting(false).await, Err(HelloError::Plain(b.peer.id.clone())));
    assert_eq!(greeting(true).await, Ok(Greeting::Friend { instance: 7, partitions: PARTITIONS }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_knows_no_tls_is_not_let_in_without_the_setting() {
    let (_a, b) = pair(3).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(format!("http://{}/internal/v1/hello", b.peer.address)).send().await;
    assert!(answer.is_err(), "{answer:?}");
    let (_a, b) = plain_pair(3).await;
    let answer = client.get(format!("http://{}/internal/v1/hello", b.peer.address)).header("x-doorbuster-wire", "3").send().await;
    assert_eq!(answer.unwrap().status().as_u16(), 421, "whom is it for?");
}
