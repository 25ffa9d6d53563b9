//! The task that says that this process lives, reads who else does, and keeps the view. While the database is away the last
//! known view holds, corrected by what the nodes hear of each other.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::aside::Aside;
use super::roster::Roster;
use super::{Me, Pace};
use crate::clock::Clock;
use crate::domain::{NodeId, Partitions, Reach};
use crate::event::LogVersion;
use crate::ring::Placement;
use crate::routing::Neighbours;
use crate::routing::peer::{Contact, Local, Peer};
use crate::store::{NodeRow, NodeState, Store, StoreError};

/// How long the database may take for a heartbeat or a look.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two looks, at least.
const LOOK_GAP: Duration = Duration::from_millis(50);

/// The cluster as this process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Every node there ever was, as last read.
    pub nodes: Vec<NodeRow>,
    /// Who should own what.
    pub placement: Placement,
    /// This process's own state: what the database last said.
    pub state: NodeState,
    /// The newest form that this process may write the log in, as last read.
    pub log_version: LogVersion,
}

/// Why the membership of this process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// Another process stands under this id.
    #[error("another process has taken this node's id: it was taken for dead")]
    Replaced,
}

/// Keeps the view.
pub struct Membership {
    store: Store,
    me: Me,
    local: Arc<Local>,
    neighbours: Arc<Neighbours>,
    clock: Clock,
    pace: Pace,
    roster: Roster,
    aside: Aside,
    partitions: Partitions,
    view: watch::Sender<Arc<View>>,
    log_version: LogVersion,
    away: bool,
}

impl Membership {
    /// A process that has joined, or one without an address that only looks.
    #[must_use]
    pub fn new(store: Store, me: Me, local: Arc<Local>, neighbours: Arc<Neighbours>, clock: Clock, pace: Pace) -> Self {
        let partitions = store.partitions();
        let view = View {
            nodes: Vec::new(),
            placement: Placement::new([], partitions),
            state: NodeState::Joining,
            log_version: LogVersion::OLDEST,
        };
        let view = watch::Sender::new(Arc::new(view));
        Self {
            store,
            me,
            local,
            neighbours,
            clock,
            pace,
            roster: Roster::default(),
            aside: Aside::new(pace.hold),
            partitions,
            view,
            log_version: LogVersion::OLDEST,
            away: false,
        }
    }

    /// The view, now and whenever it changes.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Beats and looks, until this process is replaced.
    pub async fn run(mut self) -> Ended {
        let mut beats = interval(self.pace.interval);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut turns, mut reaches) = (self.neighbours.turns(), self.local.reaches());
        let (local, neighbours) = (Arc::clone(&self.local), Arc::clone(&self.neighbours));
        loop {
            tokio::select! {
                _ = beats.tick() => {
                    if !self.beat().await {
                        return Ended::Replaced;
                    }
                    self.look().await;
                }
                () = local.knocked.notified() => self.look_soon().await,
                () = neighbours.misled() => self.look_soon().await,
                _ = turns.changed() => {}
                _ = reaches.changed() => {}
            }
            self.conclude();
        }
    }

    /// Whether this process still stands under its id, as far as is known.
    async fn beat(&mut self) -> bool {
        if self.me.address.is_none() {
            return true;
        }
        let beat = self.store.beat(&self.me.id, self.me.instance, (self.clock)(), self.local.reach());
        self.answered(bounded(beat).await).unwrap_or(true)
    }

    /// Somebody said something that our view does not explain. Several may say so at once.
    async fn look_soon(&mut self) {
        sleep(LOOK_GAP).await;
        self.look().await;
    }

    async fn look(&mut self) {
        // The version before the nodes: whoever may own something has read it.
        let version = bounded(self.store.log_version()).await;
        let version = self.answered(version);
        self.log_version = version.map_or(self.log_version, |version| version.min(self.me.log_version));
        let nodes = bounded(self.store.nodes()).await;
        if let Some(nodes) = self.answered(nodes) {
            self.roster.read(nodes, Instant::now());
        }
    }

    fn answered<T>(&mut self, answer: Result<T, String>) -> Option<T> {
        match answer {
            Ok(answer) => {
                self.away = false;
                Some(answer)
            }
            Err(why) => {
                if !std::mem::replace(&mut self.away, true) {
                    tracing::warn!(why, "the database is away: the last known view of the cluster holds");
                }
                None
            }
        }
    }

    /// How another member reaches the broker, as far as is known: by its own word, or by what it wrote with its heartbeat, which is
    /// known before it is first heard and while it is silent. "Down" may be older than "away", and comes from "up" only.
    fn reach(&self, row: &NodeRow) -> Option<Reach> {
        match self.neighbours.reach(&row.id) {
            None | Some(Reach::Down) if row.broker == Reach::Away => Some(Reach::Away),
            told => told,
        }
    }

    /// Who of the members should own what; who stands aside gets nothing.
    fn place(&mut self, members: Vec<(NodeId, Option<Reach>)>, now: Instant) -> Placement {
        if self.aside.heed(&members, now) {
            let aside: Vec<&str> = self.aside.members().iter().map(NodeId::as_str).collect();
            match aside.len() {
                0 => tracing::info!("nobody stands aside any more"),
                count => {
                    tracing::warn!(aside = aside.join(","), "{count} without a broker, their partitions go to others: {}", aside.join(", "))
                }
            }
        }
        let chosen = members.into_iter().map(|(id, _)| id).filter(|id| !self.aside.members().contains(id));
        Placement::new(chosen, self.partitions)
    }

    /// Works out the view from what is known now.
    fn conclude(&mut self) {
        let now = Instant::now();
        let others = || self.roster.rows().iter().filter(|row| row.id != self.me.id);
        // Those that stopped in order are nobody's peers, and neither is one that has not been heard for long.
        let worth = |row: &&NodeRow| {
            row.state != NodeState::Gone
                && (self.neighbours.contact(&row.id).0 == Contact::Live || self.roster.beats(&row.id, now, self.pace.stale * 12))
        };
        let peers: Vec<Peer> = others().filter(worth).map(|row| Peer { id: row.id.clone(), address: row.address }).collect();
        self.neighbours.set_peers(&peers);
        let mine = self.roster.rows().iter().find(|row| row.id == self.me.id && row.instance == self.me.instance);
        let state = if self.local.is_leaving() { NodeState::Draining } else { mine.map_or(NodeState::Joining, |row| row.state) };
        let mut members: Vec<_> = others()
            .filter(|row| {
                let (contact, leaving) = self.neighbours.contact(&row.id);
                self.roster.may_own(row, contact, leaving, now, self.pace.stale)
            })
            .map(|row| (row.id.clone(), self.reach(row)))
            .collect();
        if state == NodeState::Active {
            members.push((self.me.id.clone(), Some(self.local.reach())));
        }
        let placement = self.place(members, now);
        let view = View { nodes: self.roster.rows().to_vec(), placement, state, log_version: self.log_version };
        self.view.send_if_modified(|current| {
            if **current == view {
                return false;
            }
            if current.placement.members() != view.placement.members() {
                let members: Vec<&str> = view.placement.members().iter().map(|id| id.as_str()).collect();
                tracing::info!(members = members.join(","), "the ring has {} members: {}", members.len(), members.join(", "));
            }
            *current = Arc::new(view);
            true
        });
    }
}

async fn bounded<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, String> {
    match timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {ANSWER_TIMEOUT:?}")),
    }
}
