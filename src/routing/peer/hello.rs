//! The headers both ends know each other by, and the greeting a node sends before it joins: does the other one live, is it
//! of our kind, does it know our secret?

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::timeout;

use super::wire::{Introduction, PeerVersion};
use super::{Credential, Peer};
use crate::domain::{NodeId, Partitions};

/// Who sends.
pub(super) const FROM: HeaderName = HeaderName::from_static("x-doorbuster-from");
/// Whom it is for: an address may have been given to another node.
pub(super) const TO: HeaderName = HeaderName::from_static("x-doorbuster-to");
/// That the sender may.
pub(super) const PROOF: HeaderName = HeaderName::from_static("x-doorbuster-proof");
/// The version of what is in the body. What asks and has no body is understood in all of them: it says the oldest.
pub(super) const WIRE: HeaderName = HeaderName::from_static("x-doorbuster-wire");
/// The newest version its sender speaks. The release that had only version 3 does not say it.
pub(super) const NEWEST: HeaderName = HeaderName::from_static("x-doorbuster-wire-newest");
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
    /// The other node is of a release that has no version in common with this one.
    #[error("node {0} speaks no version of the peer link that this one speaks: upgrade one release at a time, see docs/upgrading.md")]
    Version(NodeId),
}

/// Greets a node, as one that speaks versions up to that one.
///
/// # Errors
/// [`HelloError`] when the node lives and does not want us.
pub async fn greet(me: &NodeId, peer: &Peer, credential: &Credential, newest: PeerVersion) -> Result<Greeting, HelloError> {
    let headers = headers(me, &peer.id, credential, newest);
    let request = super::client().get(format!("http://{}/internal/v1/hello", peer.address)).headers(headers);
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
    let Some(version) = version_of(response.headers()) else { return Err(HelloError::Version(peer.id.clone())) };
    let Ok(Ok(body)) = timeout(GREETING_TIMEOUT, response.bytes()).await else { return Ok(Greeting::Silent) };
    let Ok(introduction) = Introduction::read(version, &body) else { return Ok(Greeting::Nobody) };
    match Partitions::new(introduction.partitions) {
        Ok(partitions) => Ok(Greeting::Friend { instance: introduction.instance, partitions }),
        Err(_) => Ok(Greeting::Nobody),
    }
}

/// What every request to a peer carries. One with a body says in [`WIRE`] what that is of.
pub(super) fn headers(me: &NodeId, peer: &NodeId, credential: &Credential, newest: PeerVersion) -> HeaderMap {
    let value = |text: &str| HeaderValue::from_str(text).expect("ids and proofs are visible ASCII");
    let mut proof = value(&credential.proof(me, peer));
    proof.set_sensitive(true);
    let headers = [
        (FROM, value(me.as_str())),
        (TO, value(peer.as_str())),
        (WIRE, number(PeerVersion::OLDEST)),
        (NEWEST, number(newest)),
        (PROOF, proof),
    ];
    headers.into_iter().collect()
}

/// A version in a header.
pub(super) fn number(version: PeerVersion) -> HeaderValue {
    HeaderValue::from(u16::from(version.get()))
}

/// The newest version that an answer says its sender speaks.
pub(super) fn newest_of(headers: &HeaderMap) -> Option<u8> {
    headers.get(NEWEST)?.to_str().ok()?.parse().ok()
}

/// What an answer's body is of, if we know that version. The release that had only version 3 does not say it.
pub(super) fn version_of(headers: &HeaderMap) -> Option<PeerVersion> {
    match headers.get(WIRE) {
        Some(number) => PeerVersion::new(number.to_str().ok()?.parse().ok()?).ok(),
        None => Some(PeerVersion::V3),
    }
}
