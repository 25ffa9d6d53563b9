//! What peers are answered, and nobody else. Never forwards, never takes up what this node does not run.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::local::Local;
use super::wire::{BATCH_BYTES_MAX, BATCH_ITEMS_MAX, Introduction, Item, PeerVersion};
use super::{answer as answers, bulletin, headers};
use crate::domain::NodeId;

/// How long a peer may take to send a batch.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// Who asks, as far as the connection tells.
#[derive(Debug)]
pub(super) enum Caller {
    /// Whoever has the certificate of these nodes: mostly one.
    Nodes(Vec<NodeId>),
    /// A stranger, until it has shown the proof of the release before.
    Plain,
}

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Answers one request.
pub(super) async fn answer(request: Request<Incoming>, caller: &Caller, local: Arc<Local>) -> Response<Body> {
    let peer = match admit(request.headers(), caller, &local) {
        Ok(peer) => peer,
        Err(status) => return empty(&local, status),
    };
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/internal/v1/hello") => introduce(&peer, &local),
        (&Method::GET, "/internal/v1/board") => board(&peer, local),
        (&Method::POST, "/internal/v1/commands") => commands(&peer, &local, request.into_body()).await,
        _ => empty(&local, StatusCode::NOT_FOUND),
    }
}

/// A request of a peer that proved that it is one. Every refusal comes before anything is taken up.
struct FromPeer {
    /// What its body is of.
    body: PeerVersion,
    /// The newest version that both know.
    common: PeerVersion,
}

fn admit(headers: &HeaderMap, caller: &Caller, local: &Local) -> Result<FromPeer, StatusCode> {
    let header = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let number = |name: &HeaderName| header(name).and_then(|number| number.parse().ok());
    let known = |body: &PeerVersion| *body <= local.speaks;
    let Some(body) = number(&headers::WIRE).and_then(|body| PeerVersion::new(body).ok()).filter(known) else {
        return Err(StatusCode::UPGRADE_REQUIRED);
    };
    let common = number(&headers::NEWEST).and_then(|newest| local.speaks.common(newest)).unwrap_or(body);
    if header(&headers::TO) != Some(local.id.as_str()) {
        return Err(StatusCode::MISDIRECTED_REQUEST);
    }
    let from: Option<NodeId> = header(&headers::FROM).and_then(|from| from.parse().ok());
    let is_proven = match (caller, from, local.credential.proof()) {
        (Caller::Nodes(nodes), Some(from), _) => nodes.contains(&from),
        (Caller::Plain, Some(from), Some(proof)) => header(&headers::PROOF).is_some_and(|shown| proof.accepts(&from, &local.id, shown)),
        (Caller::Plain, Some(_), None) | (_, None, _) => false,
    };
    if is_proven { Ok(FromPeer { body, common }) } else { Err(StatusCode::UNAUTHORIZED) }
}

/// An answer without a body: who answers, and what it speaks.
fn empty(local: &Local, status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::default().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    let name = HeaderValue::from_str(local.id.as_str()).expect("ids are visible ASCII");
    response.headers_mut().extend([(headers::NODE, name), (headers::NEWEST, headers::number(local.speaks))]);
    response
}

fn in_version(local: &Local, version: PeerVersion, body: Body) -> Response<Body> {
    let mut response = empty(local, StatusCode::OK);
    response.headers_mut().insert(headers::WIRE, headers::number(version));
    *response.body_mut() = body;
    response
}

fn streamed(pieces: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

fn introduce(peer: &FromPeer, local: &Local) -> Response<Body> {
    let introduction = Introduction { instance: local.instance, partitions: local.partitions.get() };
    local.knocked.notify_one();
    let body = Full::from(introduction.write(peer.common)).map_err(|never| match never {});
    in_version(local, peer.common, body.boxed_unsync())
}

fn board(peer: &FromPeer, local: Arc<Local>) -> Response<Body> {
    local.knocked.notify_one();
    let pieces = streamed(bulletin::stream(Arc::clone(&local), peer.common));
    in_version(&local, peer.common, pieces)
}

async fn commands(peer: &FromPeer, local: &Local, body: Incoming) -> Response<Body> {
    let items = match tokio::time::timeout(BODY_TIMEOUT, read(body, peer.body)).await {
        Ok(Ok(items)) => items,
        Ok(Err(status)) => return empty(local, status),
        Err(_) => return empty(local, StatusCode::REQUEST_TIMEOUT),
    };
    let Some(asked) = answers::direct(local, items) else { return empty(local, StatusCode::BAD_REQUEST) };
    if asked.iter().all(|(_, inbox)| inbox.is_none()) {
        return empty(local, StatusCode::MISDIRECTED_REQUEST);
    }
    in_version(local, peer.body, streamed(answers::stream(asked, peer.body, &local.tracer)))
}

/// Reads a batch, no further than a batch may be long.
async fn read(mut body: Incoming, version: PeerVersion) -> Result<Vec<Item>, StatusCode> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        // What is no data is of no use here.
        let Ok(data) = frame.into_data() else { continue };
        bytes.extend_from_slice(&data);
        if bytes.len() > BATCH_BYTES_MAX {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
    }
    let (mut items, mut rest) = (Vec::new(), &bytes[..]);
    while !rest.is_empty() {
        items.push(Item::read(version, &mut rest).map_err(|_| StatusCode::BAD_REQUEST)?);
        if items.len() > BATCH_ITEMS_MAX {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
    }
    Ok(items)
}
