//! The headers both ends know each other by, and the greeting a node sends before it joins: does the other one live, is it
//! of our kind, does it know our secret?

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::timeout;

use super::wire::{Introduction, WIRE_VERSION};
use super::{Credential, Peer};
use crate::domain::{NodeId, Partitions};

/// Who sends.
pub(super) const FROM: HeaderName = HeaderName::from_static("x-doorbuster-from");
/// Whom it is for: an address may have been given to another node.
pub(super) const TO: HeaderName = HeaderName::from_static("x-doorbuster-to");
/// That the sender may.
pub(super) const PROOF: HeaderName = HeaderName::from_static("x-doorbuster-proof");
/// What it speaks.
pub(super) const WIRE: HeaderName = HeaderName::from_static("x-doorbuster-wire");
/// In every answer: who answers.
pub(super) const NODE: HeaderName = HeaderName::from_static("x-doorbuster-node");

/// How long a greeted node may take.
const GREETING_TIMEOUT: Duration = Duration::from_secs(1);

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
    /// The other node has another secret.
    #[error("node {0} does not accept our internal secret: set DOORBUSTER__AUTH__INTERNAL_SECRET to the same text on all nodes")]
    Secret(NodeId),
    /// The other node is of another release.
    #[error("node {0} speaks another version of the peer link: run nodes of one release")]
    Version(NodeId),
}

/// Greets a node.
///
/// # Errors
/// [`HelloError`] when the node lives and does not want us.
pub async fn greet(me: &NodeId, peer: &Peer, credential: &Credential) -> Result<Greeting, HelloError> {
    let request = super::client().get(format!("http://{}/internal/v1/hello", peer.address)).headers(headers(me, &peer.id, credential));
    let response = match timeout(GREETING_TIMEOUT, request.send()).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) if super::is_refused(&error) => return Ok(Greeting::Nobody),
        Ok(Err(_)) | Err(_) => return Ok(Greeting::Silent),
    };
    if response.headers().get(NODE).map(HeaderValue::as_bytes) != Some(peer.id.as_str().as_bytes()) {
        return Ok(Greeting::Nobody);
    }
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED => return Err(HelloError::Secret(peer.id.clone())),
        StatusCode::UPGRADE_REQUIRED => return Err(HelloError::Version(peer.id.clone())),
        _ => return Ok(Greeting::Nobody),
    }
    let Ok(Ok(body)) = timeout(GREETING_TIMEOUT, response.bytes()).await else { return Ok(Greeting::Silent) };
    let Ok(introduction) = postcard::from_bytes::<Introduction>(&body) else { return Ok(Greeting::Nobody) };
    match Partitions::new(introduction.partitions) {
        Ok(partitions) => Ok(Greeting::Friend { instance: introduction.instance, partitions }),
        Err(_) => Ok(Greeting::Nobody),
    }
}

/// What every request to a peer carries.
pub(super) fn headers(me: &NodeId, peer: &NodeId, credential: &Credential) -> HeaderMap {
    let value = |text: &str| HeaderValue::from_str(text).expect("ids and proofs are visible ASCII");
    let mut proof = value(&credential.proof(me, peer));
    proof.set_sensitive(true);
    [(FROM, value(me.as_str())), (TO, value(peer.as_str())), (WIRE, value(WIRE_VERSION)), (PROOF, proof)].into_iter().collect()
}
