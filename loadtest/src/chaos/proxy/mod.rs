//! A TCP proxy of our own between nodes and their broker that knows where publishes and confirms begin and end: it can reset a
//! connection at a chosen byte of one, let one stand still, or have every message published twice. Never changes what a message says.

mod doubling;
mod frames;
mod reset;
mod stalling;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lapin::uri::{AMQPScheme, AMQPUri};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use doubling::Doubling;
use frames::Frame;
pub(super) use reset::{Reset, Step};
use reset::{Resetting, Trigger};
use stalling::{Stall, Stalling};

/// How long a reset may wait for the publish it is for.
const RESET_TIMEOUT: Duration = Duration::from_secs(60);

/// What a proxy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Every message is published twice.
    Doubling,
    /// Connections are reset when told to.
    Resetting,
    /// Connections stand still when told to.
    Stalling,
}

/// What is done with the frames of one connection. It touches no socket.
trait Tamper: Send {
    /// What goes on to the broker in place of a frame of the node's.
    fn asked(&mut self, frame: Frame) -> Onward;
    /// What goes on to the node in place of a frame of the broker's.
    fn answered(&mut self, frame: Frame) -> Onward;
}

/// What goes on in place of a frame.
#[derive(Debug, PartialEq, Eq)]
enum Onward {
    Bytes(Vec<u8>),
    ThenReset(Vec<u8>),
    /// Only when connections may go on.
    Later(Vec<u8>),
}

/// A proxy that listens. Dropped, it takes no more connections.
pub(super) struct Proxy {
    url: String,
    trigger: Arc<Trigger>,
    stall: Arc<Stall>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    /// In front of that broker.
    pub(super) async fn before(broker: &str, manner: Manner) -> anyhow::Result<Self> {
        let uri: AMQPUri = broker.parse().map_err(|error| anyhow::anyhow!("no URL of a broker: {error}"))?;
        ensure!(uri.scheme == AMQPScheme::AMQP, "a proxy cannot look into TLS: give an amqp:// URL");
        let server = (uri.authority.host, uri.authority.port);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = at(broker, &listener.local_addr()?.to_string())?;
        let trigger = Arc::new(Trigger::default());
        let stall = Arc::new(Stall::default());
        let (armed, stalled) = (Arc::clone(&trigger), Arc::clone(&stall));
        let accepting = tokio::spawn(async move {
            while let Ok((node, _)) = listener.accept().await {
                let tamper: Box<dyn Tamper> = match manner {
                    Manner::Doubling => Box::new(Doubling::default()),
                    Manner::Resetting => Box::new(Resetting::new(Arc::clone(&armed))),
                    Manner::Stalling => Box::new(Stalling::new(&stalled)),
                };
                // How it ends is seen at both of its ends.
                tokio::spawn(carry(node, server.clone(), tamper, stalled.receiver()));
            }
        });
        Ok(Self { url, trigger, stall, _accepting: AbortOnDropHandle::new(accepting) })
    }

    /// What the broker's URL is for those who are to come through here.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Lets the connection on which a queue was declared stand still, or everything go on.
    pub(super) fn stall(&self, queue: Option<String>) {
        self.stall.set(queue);
    }

    /// Resets the connection of one of the next publishes, and says when.
    pub(super) async fn reset(&self, reset: Reset) -> anyhow::Result<Instant> {
        let done = tokio::time::timeout(RESET_TIMEOUT, self.trigger.arm(reset)).await.context("no publish came to be reset")?;
        done.context("the connection ended before it could be reset")
    }
}

/// The same URL with another address.
fn at(url: &str, address: &str) -> anyhow::Result<String> {
    let (scheme, rest) = url.split_once("://").context("no URL")?;
    let (authority, path) = rest.split_once('/').map_or((rest, String::new()), |(authority, path)| (authority, format!("/{path}")));
    let user = authority.rsplit_once('@').map_or(String::new(), |(user, _)| format!("{user}@"));
    Ok(format!("{scheme}://{user}{address}{path}"))
}

async fn carry(
    node: TcpStream,
    server: (String, u16),
    tamper: Box<dyn Tamper>,
    stall: watch::Receiver<Option<String>>,
) -> std::io::Result<()> {
    let broker = TcpStream::connect(server).await?;
    for socket in [&node, &broker] {
        // Closed with this, a socket sends RST instead of FIN.
        socket.set_zero_linger()?;
        socket.set_nodelay(true)?;
    }
    let (from_node, to_node) = node.into_split();
    let (from_broker, mut to_broker) = broker.into_split();
    let tamper = Mutex::new(tamper);
    let lock = || tamper.lock().unwrap_or_else(PoisonError::into_inner);
    let asking = async {
        let mut from_node = BufReader::new(from_node);
        // "AMQP" and the version, the only bytes that are no frame.
        let mut greeting = [0; 8];
        from_node.read_exact(&mut greeting).await?;
        to_broker.write_all(&greeting).await?;
        pump(from_node, to_broker, stall.clone(), |frame| lock().asked(frame)).await
    };
    let answering = pump(BufReader::new(from_broker), to_node, stall.clone(), |frame| lock().answered(frame));
    // The end of one way is the end of both, and what is dropped here is reset.
    tokio::select! {
        ended = asking => ended,
        ended = answering => ended,
    }
}

async fn pump(
    mut from: BufReader<OwnedReadHalf>,
    mut to: OwnedWriteHalf,
    mut stall: watch::Receiver<Option<String>>,
    mut tamper: impl FnMut(Frame) -> Onward,
) -> std::io::Result<()> {
    loop {
        match tamper(Frame::read(&mut from).await?) {
            Onward::Bytes(bytes) => to.write_all(&bytes).await?,
            Onward::ThenReset(bytes) => return to.write_all(&bytes).await,
            Onward::Later(bytes) => {
                // Its end is the proxy's.
                stall.wait_for(Option::is_none).await.map_err(std::io::Error::other)?;
                to.write_all(&bytes).await?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_all_but_its_address() {
        let found = at("amqp://guest:a%40b@broker.example:5672/%2f?heartbeat=5", "127.0.0.1:7").unwrap();
        assert_eq!(found, "amqp://guest:a%40b@127.0.0.1:7/%2f?heartbeat=5");
        assert_eq!(at("amqp://broker", "127.0.0.1:7").unwrap(), "amqp://127.0.0.1:7");
    }
}
