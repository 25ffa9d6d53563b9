//! The way of a request to its partition: fixed in one process, shifting in a cluster. Never repeats a request that may
//! have been carried out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Busy, Reply, Roads};
use crate::domain::{Order, OrderId, PartitionId, Partitions, PrincipalKey};
use crate::partition::{Board, Inbox, Sighting, Traced, Trouble};

/// How long a request that nobody took up waits before it tries again, if no news comes meanwhile.
const PAUSE: Duration = Duration::from_millis(25);

/// Where requests go.
#[derive(Debug)]
pub(super) enum Ways {
    /// Every partition is served by this process, for as long as it runs.
    Fixed(Vec<Inbox>),
    /// Partitions come and go.
    Shifting {
        /// The ways now.
        roads: Arc<Roads>,
        /// How long a request may look for a way.
        patience: Duration,
    },
}

impl Ways {
    pub(super) async fn command(&self, partition: PartitionId, command: impl Into<Traced>) -> Reply {
        let command = command.into();
        match self {
            Self::Fixed(inboxes) => inboxes[usize::from(partition.get())].command(command).await,
            Self::Shifting { roads, patience } => {
                let mut search = Search::begin(roads, partition, *patience);
                loop {
                    let Some(inbox) = search.way().await else { return Reply::Busy(Busy::Unavailable) };
                    match inbox.command_by(search.deadline, command.clone()).await {
                        // Certainly not carried out: its task stopped before it took the command up, or the peer has
                        // no such task. Somebody else will have.
                        Reply::Busy(Busy::Unavailable) => {}
                        reply => return reply,
                    }
                }
            }
        }
    }

    pub(super) async fn lookup(&self, order: OrderId) -> Result<Sighting, Busy> {
        match self {
            Self::Fixed(inboxes) => inboxes[usize::from(order.partition().get())].lookup(order).await,
            Self::Shifting { roads, patience } => {
                let mut search = Search::begin(roads, order.partition(), *patience);
                loop {
                    let Some(inbox) = search.way().await else { return Err(Busy::Unavailable) };
                    match inbox.lookup_by(search.deadline, order).await {
                        Err(Busy::Unavailable) => {}
                        answer => return answer,
                    }
                }
            }
        }
    }

    /// The patience of one question, for whoever asks it more than once.
    pub(super) fn search(&self, partition: PartitionId) -> Patient<'_> {
        match self {
            Self::Fixed(_) => Patient(None),
            Self::Shifting { roads, patience } => Patient(Some(Search::begin(roads, partition, *patience))),
        }
    }

    /// Which orders of a buyer in a partition the tables may not have yet, by its owner's word.
    pub(super) async fn orders_of(&self, partition: PartitionId, user: PrincipalKey, patience: Duration) -> Result<Vec<Order>, Busy> {
        match self {
            Self::Fixed(inboxes) => inboxes[usize::from(partition.get())].orders_of_by(Instant::now() + patience, partition, user).await,
            Self::Shifting { roads, .. } => {
                let mut search = Search::begin(roads, partition, patience);
                loop {
                    let Some(inbox) = search.way().await else { return Err(Busy::Unavailable) };
                    match inbox.orders_of_by(search.deadline, partition, user).await {
                        Err(Busy::Unavailable) => {}
                        answer => return answer,
                    }
                }
            }
        }
    }

    /// Requests waiting on the way to a partition; none = there is no way now.
    pub(super) fn depth(&self, partition: PartitionId) -> Option<usize> {
        match self {
            Self::Fixed(inboxes) => inboxes.get(usize::from(partition.get())).map(Inbox::depth),
            Self::Shifting { roads, .. } => roads.to(partition).as_ref().map(Inbox::depth),
        }
    }

    /// What is the matter with the task of a partition; none if nothing is known to be.
    pub(super) fn trouble(&self, partition: PartitionId) -> Option<Trouble> {
        match self {
            Self::Fixed(inboxes) => inboxes.get(usize::from(partition.get()))?.trouble(),
            Self::Shifting { roads, .. } => roads.to(partition)?.trouble(),
        }
    }

    /// Whether requests can be served. Where partitions come and go, one that is moving is no reason to say no.
    pub(super) fn are_ready(&self, partitions: Partitions, board: &Board) -> bool {
        match self {
            Self::Fixed(inboxes) => inboxes.iter().all(Inbox::is_serving),
            Self::Shifting { roads, .. } => roads.is_fit(served(partitions, board), partitions.get().into()),
        }
    }

    /// Waits until every partition is served by somebody.
    pub(super) async fn served(&self, partitions: Partitions, board: &Board) {
        match self {
            Self::Fixed(inboxes) => {
                for inbox in inboxes {
                    inbox.served().await;
                }
            }
            Self::Shifting { .. } => {
                let mut turns = board.turns();
                while served(partitions, board) < usize::from(partitions.get()) && turns.changed().await.is_ok() {}
            }
        }
    }
}

fn served(partitions: Partitions, board: &Board) -> usize {
    partitions.iter().filter(|partition| board.is_fed(*partition)).count()
}

/// How long a question may be asked again.
pub(super) struct Patient<'a>(Option<Search<'a>>);

impl Patient<'_> {
    /// Waits for news of the ways, or a moment; false when the time is over, or when the ways never change.
    pub(super) async fn again(&mut self) -> bool {
        match &mut self.0 {
            Some(search) => search.pause().await.is_some(),
            None => false,
        }
    }
}

/// One request's search for somebody who takes it up.
struct Search<'a> {
    roads: &'a Roads,
    partition: PartitionId,
    news: watch::Receiver<u64>,
    deadline: Instant,
    tried: bool,
}

impl<'a> Search<'a> {
    fn begin(roads: &'a Roads, partition: PartitionId, patience: Duration) -> Self {
        Self { roads, partition, news: roads.news(), deadline: Instant::now() + patience, tried: false }
    }

    /// Where to try next; none when there is no time left.
    async fn way(&mut self) -> Option<Inbox> {
        if std::mem::replace(&mut self.tried, true) {
            self.pause().await?;
        }
        loop {
            self.news.mark_unchanged();
            if let Some(inbox) = self.roads.to(self.partition) {
                return Some(inbox);
            }
            self.pause().await?;
        }
    }

    async fn pause(&mut self) -> Option<()> {
        let until = (Instant::now() + PAUSE).min(self.deadline);
        tokio::select! {
            _ = self.news.changed() => {}
            () = sleep_until(until) => {}
        }
        (Instant::now() < self.deadline).then_some(())
    }
}
