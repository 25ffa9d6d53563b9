//! Where requests for each partition go now, in a process whose partitions come and go. Swapped without locks; never
//! decides who owns one.

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::domain::PartitionId;
use crate::partition::Inbox;

/// By partition: the inbox of its task here, or of the link to the node that has it; none while nobody is known to.
#[derive(Debug)]
pub struct Roads {
    inboxes: ArcSwap<Vec<Option<Inbox>>>,
    news: watch::Sender<u64>,
}

impl Roads {
    /// No way to any of so many partitions.
    #[must_use]
    pub fn none(partitions: crate::domain::Partitions) -> Self {
        let inboxes = vec![None; usize::from(partitions.get())];
        Self { inboxes: ArcSwap::from_pointee(inboxes), news: watch::Sender::new(0) }
    }

    /// The way to a partition now.
    #[must_use]
    pub fn to(&self, partition: PartitionId) -> Option<Inbox> {
        self.inboxes.load().get(usize::from(partition.get()))?.clone()
    }

    /// Takes other ways from now on.
    pub fn change(&self, inboxes: Vec<Option<Inbox>>) {
        self.inboxes.store(inboxes.into());
        self.news.send_modify(|news| *news += 1);
    }

    /// Tells when ways have changed.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }
}
