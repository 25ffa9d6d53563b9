//! Requests on their way to one other node: what gathered while the last batches were out travels together.
//!
//! To its callers a link is an inbox like a local one: bounded, with a deadline, and a request can be taken back until it
//! is packed. From then on it counts as possibly delivered, unless the peer provably never took it up. A partition that answers slowly, or
//! not at all, holds up no other partition's requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::backlog::{Backlog, OF_PARTITION_MAX, Place, Places};
use super::breaker::Breaker;
use super::client::{Client, Response, SendError};
use super::frames::Frames;
use super::headers::newest_of;
use super::meters::Meters;
use super::wire::{Answers, Ask, BATCH_BYTES, BATCH_ITEMS_MAX, Garbage, Item, PeerVersion, Speech, Told, read_answers};
use super::{Credential, Peer};
use crate::domain::{NodeId, Order, PartitionId, Partitions};
use crate::engine::{Command, Refusal};
use crate::partition::{Busy, Inbox, Patience, Reply, Request, Sighting};
use crate::trace::{Context, Span, Step};

/// Batches that may be out before the first of them began to be answered.
const LANES: usize = 2;
/// Batches that may be out at all: each partition has its places in them. Never fewer than the first of these, nor more than the second:
/// each is a connection.
const BATCHES_OUT_MAX: (usize, usize) = (64, 512);
/// A peer sends at least an empty frame twice in this time; one that does not is stuck, paused or no peer.
const SILENCE_MAX: Duration = Duration::from_millis(1_500);

/// The bounds of a link.
#[derive(Clone, Copy, Debug)]
pub struct LinkSettings {
    /// The schema's partitions.
    pub partitions: Partitions,
    /// Requests waiting for the peer, at most, and as many for each partition that has its share of batches out.
    pub depth_max: usize,
    /// How long a request may wait before it is taken up at its owner.
    pub command_timeout: Duration,
    /// How long an answer may take after that: the owner's confirm.
    pub answer_timeout: Duration,
}

/// The way to one peer. Dropping it lets what is out end and takes no more.
#[derive(Debug)]
pub struct PeerLink {
    /// The way in.
    pub inbox: Inbox,
    _stop: DropGuard,
}

impl PeerLink {
    /// Opens the way to a peer; connects when the first request comes. `look_again` is told when the peer does not
    /// know a partition or is not there: somebody's view is out of date. What is said to it is of the version in `speech`.
    #[must_use]
    pub(crate) fn open(
        me: &NodeId,
        peer: &Peer,
        credential: &Credential,
        settings: LinkSettings,
        (speech, look_again): (Arc<Speech>, Arc<Notify>),
    ) -> Self {
        let patience =
            Patience { in_inbox: settings.command_timeout, in_task: settings.command_timeout + settings.answer_timeout + SILENCE_MAX };
        let (inbox, requests) = Inbox::new(settings.depth_max, patience);
        let link = Arc::new(Link {
            client: Client::new(me, peer, credential, speech.newest()),
            speech,
            peer: peer.id.clone(),
            answer_timeout: settings.answer_timeout,
            breaker: Mutex::new(Breaker::default()),
            lanes: Arc::new(Semaphore::new(LANES)),
            out: Arc::new(Semaphore::new(batches_out_max(settings.partitions))),
            places: Places::of(settings.partitions),
            look_again,
            meters: Meters::of(&peer.id),
        });
        let backlog = Backlog::new(settings.partitions, settings.depth_max);
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(run(link, backlog, requests)));
        Self { inbox, _stop: stop.drop_guard() }
    }
}

fn batches_out_max(partitions: Partitions) -> usize {
    let (least, most) = BATCHES_OUT_MAX;
    (usize::from(partitions.get()) * OF_PARTITION_MAX).clamp(least, most)
}

struct Link {
    peer: NodeId,
    speech: Arc<Speech>,
    client: Client,
    answer_timeout: Duration,
    breaker: Mutex<Breaker>,
    lanes: Arc<Semaphore>,
    out: Arc<Semaphore>,
    places: Places,
    look_again: Arc<Notify>,
    meters: Meters,
}

/// Why a batch was not answered as a whole.
enum Failure {
    /// The peer took up nothing of it, and never will.
    Undelivered(String),
    /// It may have.
    InDoubt(String),
}

impl From<Garbage> for Failure {
    fn from(garbage: Garbage) -> Self {
        Self::InDoubt(garbage.to_string())
    }
}

async fn run(link: Arc<Link>, mut backlog: Backlog, mut requests: mpsc::Receiver<Request>) {
    let mut gathered = Vec::with_capacity(BATCH_ITEMS_MAX);
    loop {
        let Ok(out) = Arc::clone(&link.out).acquire_owned().await else { return };
        let Ok(lane) = Arc::clone(&link.lanes).acquire_owned().await else { return };
        while !backlog.may_travel(&link.places) {
            tokio::select! {
                count = requests.recv_many(&mut gathered, BATCH_ITEMS_MAX) => {
                    if count == 0 {
                        return;
                    }
                    backlog.extend(gathered.drain(..));
                }
                () = link.places.freed() => {}
            }
        }
        while backlog.len() < BATCH_ITEMS_MAX
            && let Ok(request) = requests.try_recv()
        {
            backlog.extend([request]);
        }
        if !link.breaker().admits(Instant::now()) {
            backlog.turn_away();
            continue;
        }
        let batch = Batch::pack(&mut backlog, &link.places, &link.speech);
        if !batch.waiting.is_empty() {
            link.meters.sent(batch.waiting.len());
            tokio::spawn(Arc::clone(&link).exchange(batch, lane, out));
        }
    }
}

impl Link {
    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(self: Arc<Self>, mut batch: Batch, lane: OwnedSemaphorePermit, _out: OwnedSemaphorePermit) {
        let (began, bound) = (Instant::now(), batch.longest_budget + self.answer_timeout + SILENCE_MAX);
        let conversed = match timeout(bound, self.converse(&mut batch, lane)).await {
            Ok(conversed) => conversed,
            Err(_) => Err(Failure::InDoubt(format!("no answer within {bound:?}"))),
        };
        let waiting = batch.waiting.into_iter().flatten().map(|(waiting, _)| waiting);
        let why = match conversed {
            Ok(()) => {
                self.breaker().succeeded();
                self.meters.answered(began.elapsed());
                return;
            }
            Err(Failure::Undelivered(why)) => {
                waiting.for_each(Waiting::busy);
                self.meters.undelivered();
                why
            }
            Err(Failure::InDoubt(why)) => {
                waiting.for_each(Waiting::in_doubt);
                self.meters.in_doubt();
                why
            }
        };
        self.look_again.notify_one();
        if self.breaker().failed(Instant::now()) {
            self.meters.opened();
            tracing::warn!(peer = %self.peer, why, "leaving node {} alone for a while", self.peer);
        }
    }

    /// Sends the batch and hands out the answers as they arrive.
    async fn converse(&self, batch: &mut Batch, lane: OwnedSemaphorePermit) -> Result<(), Failure> {
        let mut lane = Some(lane);
        let bytes = std::mem::take(&mut batch.bytes);
        let mut response = match timeout(SILENCE_MAX, self.client.post("commands", batch.version, bytes)).await {
            Ok(Ok(response)) => response,
            Ok(Err(SendError::NotSent(why))) => return Err(Failure::Undelivered(why.to_string())),
            Ok(Err(SendError::InDoubt(why))) => return Err(Failure::InDoubt(why)),
            Err(_) => return Err(Failure::InDoubt(format!("silent for {SILENCE_MAX:?}"))),
        };
        self.check(&response)?;
        let mut frames = Frames::default();
        while batch.unanswered > 0 {
            let chunk = timeout(SILENCE_MAX, response.chunk()).await;
            let chunk = chunk.map_err(|_| Failure::InDoubt(format!("silent for {SILENCE_MAX:?}")))?;
            let Some(chunk) = chunk.map_err(Failure::InDoubt)? else {
                return Err(Failure::InDoubt("the answer ends too early".into()));
            };
            lane.take();
            frames.push(&chunk);
            while let Some(frame) = frames.next()? {
                self.hand_out(read_answers(batch.version, &frame)?, batch)?;
            }
        }
        // To its end, so that the connection is kept.
        let _ = timeout(SILENCE_MAX, response.chunk()).await;
        Ok(())
    }

    /// Reads the head of an answer: the peer refuses a batch only before it takes up any of it.
    fn check(&self, response: &Response) -> Result<(), Failure> {
        if !response.is_of(&self.peer) {
            return Err(Failure::InDoubt(Garbage.to_string()));
        }
        match response.status {
            StatusCode::OK => Ok(()),
            StatusCode::UPGRADE_REQUIRED => {
                // Another process is there now, of an older release. What it says it speaks is what is spoken next.
                self.speech.heard(newest_of(&response.headers));
                Err(Failure::Undelivered("it does not know the version that was spoken".into()))
            }
            status => Err(Failure::Undelivered(format!("answered {status}"))),
        }
    }

    fn hand_out(&self, answers: Answers, batch: &mut Batch) -> Result<(), Failure> {
        for (index, told) in answers {
            let waiting = batch.answered(index)?;
            match (waiting, told) {
                (Waiting::Command(sender, _span), Told::Reply(reply)) => drop(sender.send(reply)),
                (Waiting::Lookup(sender), Told::Sighting(sighting)) => drop(sender.send(sighting)),
                (Waiting::OrdersOf(sender), Told::Orders(orders)) => drop(sender.send(orders)),
                (waiting, Told::Misdirected) => {
                    self.look_again.notify_one();
                    self.meters.misdirected();
                    waiting.busy();
                }
                (waiting, _) => {
                    waiting.in_doubt();
                    return Err(Garbage.into());
                }
            }
        }
        Ok(())
    }
}

/// Somebody whose request was packed.
enum Waiting {
    /// The span ends with the answer.
    Command(oneshot::Sender<Reply>, Option<Span>),
    Lookup(oneshot::Sender<Result<Sighting, Busy>>),
    OrdersOf(oneshot::Sender<Result<Vec<Order>, Busy>>),
}

impl Waiting {
    /// Commits to a request: its caller can not take it back any more. None for the caller if they have.
    fn take(request: Request) -> (Ask, Option<Self>) {
        match request {
            Request::Command(command, mut span, caller) => {
                span.iter_mut().for_each(|span| span.is(Step::Forward));
                (Ask::Command(command), caller.take().map(|sender| Self::Command(sender, span)))
            }
            Request::Lookup(order, caller) => (Ask::Lookup(order), caller.take().map(Self::Lookup)),
            Request::OrdersOf((partition, user), caller) => (Ask::OrdersOf(partition, user), caller.take().map(Self::OrdersOf)),
        }
    }

    /// The trace it belongs to, as the peer is told of it.
    fn context(&self) -> Option<Context> {
        match self {
            Self::Command(_, span) => span.as_ref().map(Span::context),
            Self::Lookup(_) | Self::OrdersOf(_) => None,
        }
    }

    /// The request was certainly not taken up.
    fn busy(self) {
        match self {
            Self::Command(sender, _) => drop(sender.send(Reply::Busy(Busy::Unavailable))),
            Self::Lookup(sender) => drop(sender.send(Err(Busy::Unavailable))),
            Self::OrdersOf(sender) => drop(sender.send(Err(Busy::Unavailable))),
        }
    }

    /// The owner is of an older release, which knows nothing of such a buyer.
    fn too_new(self) {
        match self {
            Self::Command(sender, _) => drop(sender.send(Reply::Refused(Refusal::UpgradeUnfinished))),
            waiting @ (Self::Lookup(_) | Self::OrdersOf(_)) => waiting.busy(),
        }
    }

    /// Nobody here knows. A question changes nothing: it can be asked again.
    fn in_doubt(self) {
        match self {
            Self::Command(sender, _) => drop(sender.send(Reply::Pending(None))),
            Self::Lookup(sender) => drop(sender.send(Err(Busy::Unavailable))),
            Self::OrdersOf(sender) => drop(sender.send(Err(Busy::Unavailable))),
        }
    }
}

/// Requests that travel together.
struct Batch {
    version: PeerVersion,
    bytes: Vec<u8>,
    /// By place in the batch: who waits, and for which partition; none = answered.
    waiting: Vec<Option<(Waiting, PartitionId)>>,
    unanswered: usize,
    /// The partitions that somebody waits for, and how many do.
    places: BTreeMap<PartitionId, (Place, usize)>,
    longest_budget: Duration,
}

impl Batch {
    /// Packs what may travel until the batch is large enough.
    fn pack(backlog: &mut Backlog, places: &Places, speech: &Speech) -> Self {
        let (agreed, version) = (speech.agreed(), speech.version());
        let (waiting, taken) = (Vec::new(), BTreeMap::new());
        let mut batch = Self { version, bytes: Vec::new(), waiting, unanswered: 0, places: taken, longest_budget: Duration::ZERO };
        while batch.unanswered < BATCH_ITEMS_MAX && batch.bytes.len() < BATCH_BYTES {
            let Some((partition, request)) = backlog.next(|partition| batch.has_place(partition, places)) else { break };
            let budget = request.deadline().saturating_duration_since(tokio::time::Instant::now());
            let (ask, Some(waiting)) = Waiting::take(request) else { continue };
            let item = Item { budget_ms: budget.as_millis().try_into().unwrap_or(u32::MAX), ask, trace: waiting.context() };
            let is_written =
                item.write(version, &mut batch.bytes).is_ok() || agreed.is_some() && item.write_older(version, &mut batch.bytes);
            if !is_written {
                // Its release has no word for it: it would take up nothing of it.
                match item.ask {
                    // Unless nothing has been heard of it yet.
                    Ask::Command(Command::Place(_) | Command::Keyed { .. }) if agreed.is_some() => waiting.too_new(),
                    Ask::Command(_) | Ask::Lookup(_) | Ask::OrdersOf(..) => waiting.busy(),
                }
                continue;
            }
            batch.waiting.push(Some((waiting, partition)));
            batch.unanswered += 1;
            batch.places.entry(partition).and_modify(|(_, count)| *count += 1);
            batch.longest_budget = batch.longest_budget.max(budget);
        }
        batch.places.retain(|_, (_, count)| *count > 0);
        batch
    }

    fn has_place(&mut self, partition: PartitionId, places: &Places) -> bool {
        if self.places.contains_key(&partition) {
            return true;
        }
        let place = places.take(partition);
        self.places.extend(place.map(|place| (partition, (place, 0))));
        self.places.contains_key(&partition)
    }

    /// Whoever waits for that one is answered. The partition's place is free with its last.
    fn answered(&mut self, index: u16) -> Result<Waiting, Garbage> {
        let (waiting, partition) = self.waiting.get_mut(usize::from(index)).and_then(Option::take).ok_or(Garbage)?;
        self.unanswered -= 1;
        if let Some((_, count)) = self.places.get_mut(&partition) {
            *count -= 1;
            if *count == 0 {
                self.places.remove(&partition);
            }
        }
        Ok(waiting)
    }
}
