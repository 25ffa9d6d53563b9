//! What this node is and runs, as its peers may know it. Never says anything by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::Credential;
use super::wire::PeerVersion;
use crate::domain::{NodeId, PartitionId, Partitions, Reach};
use crate::partition::{Board, Inbox};
use crate::trace::Tracer;

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
