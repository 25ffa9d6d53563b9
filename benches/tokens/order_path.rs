//! Orders of a whole server, in turns with tokens of our own and of another issuer, both signed with HS256 and seen for the first time. The
//! client is as little as there can be: it writes texts and reads to the end of an answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use doorbuster::auth::Authenticator;
use doorbuster::clock;
use doorbuster::config::Config;
use doorbuster::domain::UserId;
use doorbuster::embedded::App;
use doorbuster::store::Role;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{SECRET, SHARED, claims, issuer};

/// Connections that orders come over.
const CONNECTIONS: usize = 32;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Orders of one turn.
    orders: usize,
    /// Turns of each kind of token.
    turns: usize,
}

impl Extent {
    /// Enough for a figure.
    pub const FULL: Self = Self { orders: 4_000, turns: 31 };
    /// Enough to see that it works.
    pub const ONCE: Self = Self { orders: 100, turns: 1 };
}

/// What was measured: the least time of an order, and how much more another issuer's token takes, in percent.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    pub orders: usize,
    pub turns: usize,
    pub minted_us: f64,
    pub own_us: f64,
    pub foreign_us: f64,
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

/// Asks a server of its own.
pub fn measure(extent: Extent) -> Figures {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    runtime.block_on(measured(extent))
}

async fn measured(Extent { orders, turns }: Extent) -> Figures {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut config = Config::load(None).expect("the defaults are a configuration");
    config.http.listen = "127.0.0.1:0".parse().expect("an address");
    config.limits.enabled = false;
    config.database.url = None;
    config.auth.jwt_secret = Some(SECRET.to_owned().into());
    config.auth.issuers = vec![serde_json::from_value(issuer(json!({"secret": SHARED}))).expect("good settings")];
    let app = App::start(&config, folder.path()).await.expect("the server starts");
    let authenticator = Authenticator::new(&config.auth, &SECRET.to_owned().into()).expect("good keys");
    let mint = |user: usize, role| authenticator.mint(UserId::new(user as i64 + 1).expect("a positive id"), role, clock::system());
    let lamp = listed(app.address(), &mint(0, Role::Admin), 3 * turns * orders).await;

    let (secret, shared) = (EncodingKey::from_secret(SECRET.as_bytes()), EncodingKey::from_secret(SHARED.as_bytes()));
    let signed = |claims: &serde_json::Value, key| jsonwebtoken::encode(&Header::default(), claims, key).expect("signing");
    let minted = |user: usize| mint(user, Role::Buyer);
    let own = |user: usize| {
        let mut said = claims(user);
        said["sub"] = json!((user + 1).to_string());
        said["iss"] = json!("https://shop.example");
        signed(&said, &secret)
    };
    let foreign = |user: usize| signed(&claims(user), &shared);
    let kinds: [&dyn Fn(usize) -> String; 3] = [&minted, &own, &foreign];

    let mut taken = [const { Vec::new() }; 3];
    let mut users = 0..;
    for turn in 0..turns {
        for index in 0..kinds.len() {
            // Each is first as often as the others.
            let kind = (index + turn) % kinds.len();
            let tokens: Vec<String> = users.by_ref().take(orders).map(kinds[kind]).collect();
            taken[kind].push(ordered(app.address(), lamp, tokens).await.as_secs_f64() * 1e6 / orders as f64);
        }
    }
    app.stop().await;
    let [minted, own, foreign] = taken;
    let mut more: Vec<f64> = own.iter().zip(&foreign).map(|(own, foreign)| (foreign / own - 1.0) * 100.0).collect();
    more.sort_unstable_by(f64::total_cmp);
    let least = |all: &[f64]| all.iter().copied().fold(f64::MAX, f64::min);
    let at = |quarter: usize| more[(more.len() - 1) * quarter / 4];
    Figures {
        orders,
        turns,
        minted_us: least(&minted),
        own_us: least(&own),
        foreign_us: least(&foreign),
        low: at(1),
        median: at(2),
        high: at(3),
    }
}

/// A commodity of so many units.
async fn listed(address: SocketAddr, token: &str, total: usize) -> u64 {
    let body = json!({"name": "lamp", "price": 4_999, "currency": "EUR", "total": total,
        "starts_at": "2020-01-01T00:00:00Z", "ends_at": "2099-01-01T00:00:00Z"});
    let mut connection = Connection::open(address).await;
    let (status, answer) = connection.post("/admin/v1/commodities", token, &body.to_string()).await;
    assert_eq!(status, 201, "{answer}");
    serde_json::from_str::<serde_json::Value>(&answer).expect("JSON")["id"].as_u64().expect("an id")
}

/// How long an order with each of these tokens takes, over all connections.
async fn ordered(address: SocketAddr, commodity: u64, tokens: Vec<String>) -> Duration {
    let (tokens, next) = (Arc::new(tokens), Arc::new(AtomicUsize::new(0)));
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(address).await);
    }
    let begun = Instant::now();
    let buying = connections.into_iter().map(|mut connection| {
        let (tokens, next) = (Arc::clone(&tokens), Arc::clone(&next));
        tokio::spawn(async move {
            while let Some(token) = tokens.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (status, answer) = connection.post(&format!("/v1/commodities/{commodity}/orders"), token, "{}").await;
                assert_eq!(status, 201, "{answer}");
            }
        })
    });
    for bought in buying.collect::<Vec<_>>() {
        bought.await.expect("every order is accepted");
    }
    begun.elapsed()
}

/// A connection that is kept.
struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("it listens");
        stream.set_nodelay(true).expect("it is a socket");
        Self { stream, read: Vec::with_capacity(4_096) }
    }

    async fn post(&mut self, path: &str, token: &str, body: &str) -> (u16, String) {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await.expect("it reads");
        self.read.clear();
        loop {
            if let Some(answer) = whole(&self.read) {
                return answer;
            }
            let read = self.stream.read_buf(&mut self.read).await.expect("it answers");
            assert!(read > 0, "it closed the connection");
        }
    }
}

/// Status and body, if all of the answer is there.
fn whole(read: &[u8]) -> Option<(u16, String)> {
    let text = std::str::from_utf8(read).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    })?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    (body.len() >= length).then(|| (status, body[..length].to_owned()))
}
