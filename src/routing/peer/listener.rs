//! The internal listener: answers peers, and nobody else. Never forwards, never takes up what this node does not run.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::dev::{Payload, Server};
use actix_web::http::StatusCode;
use actix_web::{App, FromRequest, HttpRequest, HttpResponse, HttpResponseBuilder, HttpServer, web};
use arc_swap::ArcSwapOption;
use futures_util::StreamExt;
use futures_util::future::{Ready, ready};
use reqwest::header::HeaderName;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::wire::{BATCH_BYTES_MAX, BATCH_ITEMS_MAX, Introduction, Item, PeerVersion};
use super::{Credential, answer, bulletin, hello};
use crate::domain::{NodeId, PartitionId, Partitions, Reach};
use crate::partition::{Board, Inbox};
use crate::trace::Tracer;

/// How long a peer may take to send a batch.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// What this node is and runs, as its peers may know it.
#[derive(Debug)]
pub struct Local {
    /// This node.
    pub id: NodeId,
    /// This process.
    pub instance: u64,
    /// The schema's partitions.
    pub partitions: Partitions,
    /// What lets peers in.
    pub credential: Credential,
    /// What the tasks here show.
    pub board: Arc<Board>,
    /// Cancelled when peers are told nothing more.
    pub closed: CancellationToken,
    /// Told when a peer comes: perhaps one we have not heard of.
    pub knocked: Notify,
    /// What goes on with the traces of peers.
    pub tracer: Tracer,
    /// The newest version of the peer link that this process speaks.
    pub speaks: PeerVersion,
    inboxes: Vec<ArcSwapOption<Inbox>>,
    leaving: AtomicBool,
    reach: watch::Sender<Reach>,
    changed: watch::Sender<u64>,
}

impl Local {
    /// A node that runs nothing yet.
    #[must_use]
    pub fn new(id: NodeId, instance: u64, partitions: Partitions, credential: Credential, board: Arc<Board>) -> Self {
        let inboxes = partitions.iter().map(|_| ArcSwapOption::empty()).collect();
        let (leaving, reach, changed) = (AtomicBool::new(false), watch::Sender::default(), watch::Sender::new(0));
        Self {
            id,
            instance,
            partitions,
            credential,
            board,
            closed: CancellationToken::new(),
            knocked: Notify::new(),
            tracer: Tracer::off(),
            speaks: PeerVersion::NEWEST,
            inboxes,
            leaving,
            reach,
            changed,
        }
    }

    /// The way to the task of a partition, if one runs here and is meant to.
    #[must_use]
    pub fn inbox(&self, partition: PartitionId) -> Option<Inbox> {
        self.inboxes.get(usize::from(partition.get()))?.load().as_deref().cloned()
    }

    /// A task runs here from now on, or is about to stop.
    pub fn set_inbox(&self, partition: PartitionId, inbox: Option<Inbox>) {
        self.inboxes[usize::from(partition.get())].store(inbox.map(Arc::new));
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// This node is about to give up all it has.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Whether this node is about to give up all it has.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// The broker is reached in this way from now on.
    pub fn set_reach(&self, reach: Reach) {
        self.reach.send_replace(reach);
    }

    /// How this node reaches the broker.
    #[must_use]
    pub fn reach(&self) -> Reach {
        *self.reach.borrow()
    }

    /// Tells when the broker is reached in another way.
    #[must_use]
    pub fn reaches(&self) -> watch::Receiver<Reach> {
        self.reach.subscribe()
    }

    /// Tells when tasks begin or stop here, or the node is leaving.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// The server on the internal address. It is stopped from outside, by its handle.
///
/// # Errors
/// What the operating system says about the listener.
pub fn serve(listener: TcpListener, local: Arc<Local>) -> std::io::Result<Server> {
    const CONNECTIONS_MAX: usize = 1_024;
    let state = web::Data::from(local);
    let factory = move || {
        App::new()
            .app_data(state.clone())
            .route("/internal/v1/commands", web::post().to(commands))
            .route("/internal/v1/board", web::get().to(board))
            .route("/internal/v1/hello", web::get().to(introduce))
    };
    let server = HttpServer::new(factory)
        // What is done here is decoding: the work is the partition tasks'.
        .workers(1)
        // An answer goes out in pieces: without this each would wait for the peer's delayed acknowledgement of the one before.
        .tcp_nodelay(true)
        .max_connections(CONNECTIONS_MAX)
        .keep_alive(Duration::from_secs(75))
        .client_request_timeout(BODY_TIMEOUT)
        .shutdown_timeout(1)
        .disable_signals()
        .listen(listener)?;
    Ok(server.run())
}

/// A request of a peer that proved that it is one. Every refusal comes before anything is taken up.
struct FromPeer {
    /// What its body is of.
    body: PeerVersion,
    /// The newest version that both know.
    common: PeerVersion,
}

impl FromRequest for FromPeer {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let local = request.app_data::<web::Data<Local>>().expect("the state is part of every app");
        ready(admit(request, local).map_err(|status| {
            let response = answer_as(local, status).finish();
            actix_web::error::InternalError::from_response("", response).into()
        }))
    }
}

fn admit(request: &HttpRequest, local: &Local) -> Result<FromPeer, StatusCode> {
    let header = |name: &HeaderName| request.headers().get(name.as_str()).and_then(|value| value.to_str().ok());
    let number = |name: &HeaderName| header(name).and_then(|number| number.parse().ok());
    let known = |body: &PeerVersion| *body <= local.speaks;
    let Some(body) = number(&hello::WIRE).and_then(|body| PeerVersion::new(body).ok()).filter(known) else {
        return Err(StatusCode::UPGRADE_REQUIRED);
    };
    let common = number(&hello::NEWEST).and_then(|newest| local.speaks.common(newest)).unwrap_or(body);
    if header(&hello::TO) != Some(local.id.as_str()) {
        return Err(StatusCode::MISDIRECTED_REQUEST);
    }
    let from = header(&hello::FROM).and_then(|from| from.parse().ok());
    match (from, header(&hello::PROOF)) {
        (Some(from), Some(proof)) if local.credential.accepts(&from, &local.id, proof) => Ok(FromPeer { body, common }),
        _ => Err(StatusCode::UNAUTHORIZED),
    }
}

fn answer_as(local: &Local, status: StatusCode) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.insert_header((hello::NODE.as_str(), local.id.as_str()));
    response.insert_header((hello::NEWEST.as_str(), local.speaks.get().to_string()));
    response
}

fn answer_in(local: &Local, version: PeerVersion) -> HttpResponseBuilder {
    let mut response = answer_as(local, StatusCode::OK);
    response.insert_header((hello::WIRE.as_str(), version.get().to_string()));
    response
}

async fn introduce(peer: FromPeer, local: web::Data<Local>) -> HttpResponse {
    let introduction = Introduction { instance: local.instance, partitions: local.partitions.get() };
    local.knocked.notify_one();
    answer_in(&local, peer.common).body(introduction.write(peer.common))
}

async fn board(peer: FromPeer, local: web::Data<Local>) -> HttpResponse {
    local.knocked.notify_one();
    answer_in(&local, peer.common).streaming(bulletin::stream(local.into_inner(), peer.common))
}

async fn commands(peer: FromPeer, local: web::Data<Local>, payload: web::Payload) -> HttpResponse {
    let items = match tokio::time::timeout(BODY_TIMEOUT, read(payload, peer.body)).await {
        Ok(Ok(items)) => items,
        Ok(Err(status)) => return answer_as(&local, status).finish(),
        Err(_) => return answer_as(&local, StatusCode::REQUEST_TIMEOUT).finish(),
    };
    let Some(asked) = answer::direct(&local, items) else { return answer_as(&local, StatusCode::BAD_REQUEST).finish() };
    if asked.iter().all(|(_, inbox)| inbox.is_none()) {
        return answer_as(&local, StatusCode::MISDIRECTED_REQUEST).finish();
    }
    answer_in(&local, peer.body).streaming(answer::stream(asked, peer.body, &local.tracer))
}

/// Reads a batch, no further than a batch may be long.
async fn read(mut payload: web::Payload, version: PeerVersion) -> Result<Vec<Item>, StatusCode> {
    let mut bytes = web::BytesMut::new();
    while let Some(piece) = payload.next().await {
        bytes.extend_from_slice(&piece.map_err(|_| StatusCode::BAD_REQUEST)?);
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
