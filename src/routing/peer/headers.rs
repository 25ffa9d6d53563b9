//! The headers in what nodes say to each other. Never believes one.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::Credential;
use super::wire::PeerVersion;
use crate::domain::NodeId;

/// Who sends.
pub(super) const FROM: HeaderName = HeaderName::from_static("x-doorbuster-from");
/// Whom it is for: an address may have been given to another node.
pub(super) const TO: HeaderName = HeaderName::from_static("x-doorbuster-to");
/// That the sender may, to and from nodes of the release before: those that speak TLS have their certificates.
pub(super) const PROOF: HeaderName = HeaderName::from_static("x-doorbuster-proof");
/// The version of what is in the body. What asks and has no body is understood in all of them: it says the oldest.
pub(super) const WIRE: HeaderName = HeaderName::from_static("x-doorbuster-wire");
/// The newest version its sender speaks. The release that had only version 3 does not say it.
pub(super) const NEWEST: HeaderName = HeaderName::from_static("x-doorbuster-wire-newest");
/// In every answer: who answers.
pub(super) const NODE: HeaderName = HeaderName::from_static("x-doorbuster-node");

/// What every request to a peer carries. One with a body says in [`WIRE`] what that is of.
pub(super) fn headers(me: &NodeId, peer: &NodeId, credential: &Credential, newest: PeerVersion) -> HeaderMap {
    let value = |text: &str| HeaderValue::from_str(text).expect("ids and proofs are visible ASCII");
    let headers = [(FROM, value(me.as_str())), (TO, value(peer.as_str())), (WIRE, number(PeerVersion::OLDEST)), (NEWEST, number(newest))];
    let mut headers: HeaderMap = headers.into_iter().collect();
    if let Some(proof) = credential.proof() {
        let mut proof = value(&proof.of(me, peer));
        proof.set_sensitive(true);
        headers.insert(PROOF, proof);
    }
    headers
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
