//! An issuer of tokens with its key endpoint, on a loopback port of its own. Never has a token signed with a key that is not published.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

const ISSUER: &str = "https://issuer.example/";
const AUDIENCE: &str = "loadtest";

/// Every so many tokens one is of the last key, while there is one.
const OF_THE_LAST_KEY: usize = 4;

/// The issuer.
pub(super) struct Issuer {
    address: SocketAddr,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Shared {
    keys: Mutex<Keys>,
    fetches: AtomicUsize,
}

#[derive(Default)]
struct Keys {
    made: usize,
    now: Option<Arc<Key>>,
    /// The one before, while it is published.
    last: Option<Arc<Key>>,
    /// Whether it signs still.
    last_signs: bool,
}

struct Key {
    id: String,
    signs: EncodingKey,
    jwk: Jwk,
}

impl Key {
    fn new(number: usize) -> anyhow::Result<Self> {
        let signs = EncodingKey::from_ec_pem(rcgen::KeyPair::generate()?.serialize_pem().as_bytes())?;
        let mut jwk = Jwk::from_encoding_key(&signs, Algorithm::ES256)?;
        let id = format!("key-{number}");
        jwk.common.key_id = Some(id.clone());
        Ok(Self { id, signs, jwk })
    }
}

impl Issuer {
    /// Listens, and has one key.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let shared = Arc::<Shared>::default();
        shared.keys().rotate(Key::new(1)?);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, _serving: AbortOnDropHandle::new(serving) })
    }

    /// How a server is to know it.
    pub(super) fn settings(&self) -> String {
        format!(
            "[[auth.issuers]]\nname = \"loadtest\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks_url = \"http://{}/jwks.json\"\n",
            self.address
        )
    }

    /// A token of one of many users.
    pub(super) fn token(&self, user: usize) -> anyhow::Result<String> {
        let key = self.shared.keys().signing(user);
        let key = key.ok_or_else(|| anyhow::anyhow!("there is no key"))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": format!("buyer-{user}"), "iat": now, "exp": now + 600});
        let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::ES256) };
        Ok(jsonwebtoken::encode(&header, &claims, &key.signs)?)
    }

    /// Another key signs, and is published: the last one is so for now.
    pub(super) fn rotate(&self) {
        let number = self.shared.keys().made + 1;
        // To make one takes a moment, in which nobody should wait for the others.
        if let Ok(key) = Key::new(number) {
            self.shared.keys().rotate(key);
        }
    }

    /// The last key signs nothing more.
    pub(super) fn end_the_last_tokens(&self) {
        self.shared.keys().last_signs = false;
    }

    /// The last key is not published any more.
    pub(super) fn withdraw(&self) {
        self.shared.keys().last = None;
    }

    /// How often it was asked for its keys.
    pub(super) fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::Relaxed)
    }
}

impl Keys {
    fn rotate(&mut self, key: Key) {
        self.made += 1;
        self.last = self.now.replace(Arc::new(key));
        self.last_signs = true;
    }

    fn signing(&self, user: usize) -> Option<Arc<Key>> {
        let last = self.last.as_ref().filter(|_| self.last_signs && user.is_multiple_of(OF_THE_LAST_KEY));
        last.or(self.now.as_ref()).cloned()
    }
}

impl Shared {
    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn jwks(&self) -> String {
        let keys = self.keys();
        json!({"keys": keys.now.iter().chain(&keys.last).map(|key| &key.jwk).collect::<Vec<_>>()}).to_string()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // Who asked may have gone away.
            drop(answer(stream, &shared).await);
        });
    }
}

async fn answer(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    let body = shared.jwks();
    shared.fetches.fetch_add(1, Ordering::Relaxed);
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
