//! The connections of one node that own something: one for each partition it owns or is about to, so that what ends one of them costs one
//! partition. A few are kept open in advance, because a partition that changes its owner should not wait for a handshake.
//!
//! It never lends one to two claims at a time, never lends one that may still hold a lock, and opens none while nobody knows whether
//! the broker is there: so many partitions must not all look for it.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ClaimError;
use super::complaints::Complaints;
use crate::broker::{Broker, BrokerError, Ended, Health, Session};

/// Connections that are open in advance.
const SPARES: usize = 2;

/// Handshakes at a time: a node that has lost all its connections needs as many as it has partitions.
const HANDSHAKES_MAX: usize = 4;

/// The pause before a connection that could not be opened in advance is tried again.
const SPARE_PAUSE: Duration = Duration::from_secs(1);

/// What a claim can count on right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// The first attempt is under way.
    Opening,
    /// Connected, and the topology is there.
    Up,
    /// The broker takes no messages; why.
    Blocked(String),
    /// The connection went; whether there is another is not known yet.
    Lost(String),
    /// There is no connection to be had; why.
    Away(String),
}

/// How a node stands with the broker.
#[derive(Debug)]
pub(super) struct Standing {
    link: Link,
    /// Connections that the broker blocks, and why.
    blocked: BTreeMap<u64, String>,
}

impl Standing {
    /// What claims can count on. An alarm is the whole broker's, whichever connection was told of it.
    pub(super) fn link(&self) -> Link {
        match self.blocked.values().next() {
            Some(why) => Link::Blocked(why.clone()),
            None => self.link.clone(),
        }
    }
}

pub(super) struct Connections {
    broker: Broker,
    name: String,
    health: Health,
    standing: Arc<watch::Sender<Standing>>,
    spares: Mutex<Vec<Arc<Session>>>,
    /// There may be a spare less than there was.
    wanted: Arc<Notify>,
    handshakes: Semaphore,
    complaints: Mutex<Complaints>,
    /// Everything that must have ended before this node can say that it holds nothing.
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Connections {
    pub(super) fn new(broker: Broker, name: String, health: Health, stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            broker,
            name,
            health,
            standing: Arc::new(watch::Sender::new(Standing { link: Link::Opening, blocked: BTreeMap::new() })),
            spares: Mutex::default(),
            wanted: Arc::default(),
            handshakes: Semaphore::new(HANDSHAKES_MAX),
            complaints: Mutex::default(),
            tasks: TaskTracker::new(),
            stop,
        })
    }

    /// How the node stands with the broker, now and whenever that changes.
    pub(super) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    pub(super) fn set_link(&self, link: Link) {
        self.standing.send_modify(|standing| standing.link = link);
    }

    /// Runs something that ends when this node stops.
    pub(super) fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Whether a claim can be tried: waits for the first attempt to connect, and for nothing else.
    pub(super) async fn up(&self) -> Result<(), ClaimError> {
        let mut standing = self.standing();
        // The keeper leaves `Opening` within the bounds of its first attempt, and never comes back to it.
        let link = standing.wait_for(|standing| standing.link() != Link::Opening).await.map(|standing| standing.link());
        match link {
            _ if self.stop.is_cancelled() => Err(ClaimError::Unavailable("the node is stopping".into())),
            Ok(Link::Up) => Ok(()),
            Ok(Link::Blocked(why)) => Err(BrokerError::Blocked(why).into()),
            Ok(Link::Lost(why)) => Err(ClaimError::Disconnected(why)),
            Ok(Link::Away(why)) => Err(ClaimError::LogAway(why)),
            Ok(Link::Opening) | Err(_) => Err(ClaimError::Unavailable("nobody connects".into())),
        }
    }

    /// A connection that is nobody else's and holds nothing.
    pub(super) async fn take(&self) -> Result<Lent, ClaimError> {
        while let Some(spare) = self.take_spare() {
            self.wanted.notify_one();
            if spare.over().is_none() {
                return Ok(Lent::of(spare));
            }
        }
        Ok(Lent::of(self.open().await?))
    }

    /// Ends what is open in advance: the way to the broker is gone, and nobody knows which connections with it.
    pub(super) fn forget_spares(&self) {
        self.spares().drain(..).for_each(|spare| spare.end("the way to the broker is gone"));
    }

    /// Takes a connection back that holds nothing any more.
    pub(super) fn give_back(&self, session: Arc<Session>) {
        let mut spares = self.spares();
        if spares.len() < SPARES && !self.stop.is_cancelled() && session.over().is_none() {
            spares.push(session);
        } else {
            drop(spares);
            session.end("it is not needed any more");
        }
    }

    /// Closes a connection without keeping anybody waiting.
    pub(super) fn close_later(&self, session: Session) {
        self.run(async move { session.shut().await });
    }

    /// Says what is the matter if the broker is there and still gives no connection (it may have a limit): at most now and then, however
    /// many partitions want one.
    pub(super) fn complain(&self, why: &str) {
        self.health.ask();
        let is_up = self.standing.borrow().link == Link::Up;
        if is_up && self.complaints.lock().unwrap_or_else(PoisonError::into_inner).is_due(why, Instant::now()) {
            tracing::warn!(broker = %self.broker, why, "no further connection to the broker at {}: {why}", self.broker);
        }
    }

    /// Keeps some connections open in advance, until told to stop.
    pub(super) async fn stock(self: Arc<Self>) {
        let mut standing = self.standing();
        loop {
            if standing.wait_for(|standing| standing.link() == Link::Up).await.is_err() {
                return;
            }
            self.spares().retain(|spare| spare.over().is_none());
            if self.spares().len() >= SPARES {
                self.wanted.notified().await;
                continue;
            }
            match self.open().await {
                Ok(session) => self.give_back(session),
                Err(_) => tokio::time::sleep(SPARE_PAUSE).await,
            }
        }
    }

    /// Waits until every connection is closed. Whoever calls this has cancelled the token given to [`Connections::new`].
    pub(super) async fn closed(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn open(&self) -> Result<Arc<Session>, ClaimError> {
        // It is never closed.
        let _handshake = self.handshakes.acquire().await;
        // Whoever waited for a handshake that came to nothing need not find out the same.
        self.up().await?;
        let session = match self.broker.connect(&self.name).await {
            Ok(session) => Arc::new(session),
            Err(error) => {
                let why = error.to_string();
                self.complain(&why);
                return Err(ClaimError::Disconnected(why));
            }
        };
        let (standing, wanted) = (Arc::clone(&self.standing), Arc::clone(&self.wanted));
        self.run(see_to_its_end(Arc::clone(&session), standing, wanted, self.stop.clone()));
        Ok(session)
    }

    fn take_spare(&self) -> Option<Arc<Session>> {
        self.spares().pop()
    }

    fn spares(&self) -> MutexGuard<'_, Vec<Arc<Session>>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is lent. Dropped, it ends: whoever had it may have begun something on it.
pub(super) struct Lent(Option<Arc<Session>>);

impl Lent {
    /// Of a connection that its holder has done with.
    pub(super) const fn of(session: Arc<Session>) -> Self {
        Self(Some(session))
    }

    /// From now on its holder sees to it that it ends or is given back.
    pub(super) fn keep(mut self) -> Arc<Session> {
        self.0.take().expect("it is kept once")
    }
}

impl Deref for Lent {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.0.as_ref().expect("it is not kept yet")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(session) = &self.0 {
            session.end("nobody wanted it any more");
        }
    }
}

/// Waits until a session ends, whoever has it, and closes its connection: what it holds is free then.
async fn see_to_its_end(session: Arc<Session>, standing: Arc<watch::Sender<Standing>>, wanted: Arc<Notify>, stop: CancellationToken) {
    let ended = tokio::select! {
        ended = session.ended() => ended,
        () = stop.cancelled() => Ended::Gone("the node is stopping".into()),
    };
    tracing::debug!(why = %ended, "a connection of a partition ended: {ended}");
    if let Ended::Blocked(why) = ended {
        // A blocked broker does not read from this connection: it can be neither closed nor replaced (its lock stays) until the alarm
        // is over.
        let number = session.number();
        let mut is_first = false;
        standing.send_modify(|standing| {
            is_first = standing.blocked.is_empty();
            standing.blocked.insert(number, why.clone());
        });
        if is_first {
            tracing::warn!(why, "the broker is blocked: {why}");
        }
        tokio::select! {
            () = session.unblocked() => (),
            () = stop.cancelled() => (),
        }
        let mut is_last = false;
        standing.send_modify(|standing| {
            standing.blocked.remove(&number);
            is_last = standing.blocked.is_empty();
        });
        if is_last {
            tracing::info!("the broker takes messages again");
        }
    }
    session.shut().await;
    wanted.notify_one();
}
