//! Where requests for each partition go now, in a process whose partitions come and go. Swapped without locks; never
//! decides who owns one.

use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::domain::PartitionId;
use crate::partition::Inbox;

/// By partition: the inbox of its task here, or of the link to the node that has it; none while nobody is known to.
#[derive(Debug)]
pub struct Roads {
    inboxes: ArcSwap<Vec<Option<Inbox>>>,
    news: watch::Sender<u64>,
    /// Whether there was a time when every partition was served.
    was_whole: AtomicBool,
    closing: AtomicBool,
}

impl Roads {
    /// No way to any of so many partitions.
    #[must_use]
    pub fn none(partitions: crate::domain::Partitions) -> Self {
        let inboxes = vec![None; usize::from(partitions.get())];
        Self {
            inboxes: ArcSwap::from_pointee(inboxes),
            news: watch::Sender::new(0),
            was_whole: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        }
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

    /// New requests had better go to another process: this one is about to stop.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Whether requests had better come here, when so many of the partitions are served by somebody. A partition that moves
    /// makes no process unfit: its requests wait.
    pub(super) fn is_fit(&self, served: usize, partitions: usize) -> bool {
        if served == partitions {
            self.was_whole.store(true, Ordering::Release);
        }
        served > 0 && self.was_whole.load(Ordering::Acquire) && !self.closing.load(Ordering::Acquire)
    }

    /// Tells when ways have changed.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }
}
