//! The greeting a node sends before it joins: does the other one live, is it of our kind, does it believe us?

use std::net::SocketAddr;
use std::time::Duration;

use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::{Client, SendError};
use super::credential::Stranger;
use super::dial::DialError;
use super::headers::{NODE, version_of};
use super::wire::{Introduction, PeerVersion};
use super::{Credential, Peer};
use crate::domain::{NodeId, Partitions};

/// How long a greeted node may take.
const GREETING_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest introduction that is read.
const INTRODUCTION_BYTES_MAX: usize = 1024;

/// What a greeted node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// A node of our kind.
    Friend {
        /// Its process.
        instance: u64,
        /// Its schema's partitions.
        partitions: Partitions,
    },
    /// Nobody listens there, or somebody else does.
    Nobody,
    /// No answer in time: it may live, paused or cut off.
    Silent,
}

/// Why two nodes cannot work together: one line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// What says that it is the node cannot be believed: it has another secret, or a certificate of another authority.
    #[error(
        "what answers as node {0} at {1} cannot be believed ({2}): set DOORBUSTER__AUTH__INTERNAL_SECRET to the same text on all nodes, or give all the same authorities in DOORBUSTER__PEER__TLS__CA_FILE"
    )]
    Doubtful(NodeId, SocketAddr, String),
    /// The other node does not believe us.
    #[error(
        "node {0} does not believe us ({1}): set DOORBUSTER__AUTH__INTERNAL_SECRET to the same text on all nodes, or give all the same authorities in DOORBUSTER__PEER__TLS__CA_FILE"
    )]
    NotAccepted(NodeId, String),
    /// The other node is of the release before.
    #[error(
        "node {0} knows no TLS, as the release before: set DOORBUSTER__RELEASE__PEER_PLAIN=true until all nodes are of this release, see docs/upgrading.md"
    )]
    Plain(NodeId),
    /// The other node is of a release that has no version in common with this one.
    #[error("node {0} speaks no version of the peer link that this one speaks: upgrade one release at a time, see docs/upgrading.md")]
    Version(NodeId),
}

/// Greets a node, as one that speaks versions up to that one.
///
/// # Errors
/// [`HelloError`] when the node lives and does not want us.
pub async fn greet(me: &NodeId, peer: &Peer, credential: &Credential, newest: PeerVersion) -> Result<Greeting, HelloError> {
    let client = Client::new(me, peer, credential, newest);
    let mut response = match timeout(GREETING_TIMEOUT, client.get("hello")).await {
        Ok(Ok(response)) => response,
        Ok(Err(SendError::NotSent(error))) => return refused(peer, error).await,
        Ok(Err(SendError::InDoubt(_))) | Err(_) => return Ok(Greeting::Silent),
    };
    if !response.is_of(&peer.id) {
        return Ok(Greeting::Nobody);
    }
    match response.status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED => return Err(HelloError::NotAccepted(peer.id.clone(), "it answers 401".into())),
        StatusCode::UPGRADE_REQUIRED => return Err(HelloError::Version(peer.id.clone())),
        _ => return Ok(Greeting::Nobody),
    }
    let Some(version) = version_of(&response.headers) else { return Err(HelloError::Version(peer.id.clone())) };
    let Ok(Ok(body)) = timeout(GREETING_TIMEOUT, response.bytes(INTRODUCTION_BYTES_MAX)).await else { return Ok(Greeting::Silent) };
    let Some(introduction) = body.and_then(|body| Introduction::read(version, &body).ok()) else { return Ok(Greeting::Nobody) };
    match Partitions::new(introduction.partitions) {
        Ok(partitions) => Ok(Greeting::Friend { instance: introduction.instance, partitions }),
        Err(_) => Ok(Greeting::Nobody),
    }
}

/// What to make of a node that there is no connection to.
async fn refused(peer: &Peer, error: DialError) -> Result<Greeting, HelloError> {
    match error {
        DialError::Refused | DialError::Stranger(Stranger::Another { .. }) => Ok(Greeting::Nobody),
        DialError::Stranger(Stranger::Doubtful { why, .. }) => Err(HelloError::Doubtful(peer.id.clone(), peer.address, why)),
        DialError::NotAccepted(why) => Err(HelloError::NotAccepted(peer.id.clone(), why)),
        DialError::NotTls if is_of_the_release_before(peer).await => Err(HelloError::Plain(peer.id.clone())),
        DialError::NotTls => Ok(Greeting::Nobody),
        DialError::Silent | DialError::Other(_) => Ok(Greeting::Silent),
    }
}

/// Whether what listens there and knows no TLS says that it is the node: it is asked for nothing and told nothing.
async fn is_of_the_release_before(peer: &Peer) -> bool {
    const HEAD_BYTES_MAX: u64 = 1024;
    let ask = async {
        let mut stream = TcpStream::connect(peer.address).await?;
        stream.write_all(b"GET /internal/v1/hello HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").await?;
        let mut head = Vec::new();
        stream.take(HEAD_BYTES_MAX).read_to_end(&mut head).await?;
        Ok::<_, std::io::Error>(head)
    };
    let Ok(Ok(head)) = timeout(GREETING_TIMEOUT, ask).await else { return false };
    let head = String::from_utf8_lossy(&head);
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    headers.any(|(name, value)| name.eq_ignore_ascii_case(NODE.as_str()) && value.trim() == peer.id.as_str())
}
