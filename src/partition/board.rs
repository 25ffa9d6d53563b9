//! What every HTTP worker may read without asking an engine: a hint, never a decision (R4).
//!
//! A partition's listings are fed by the task that serves it, here or at another node. When nobody is known to serve it,
//! its hints are withdrawn: the listings stay readable, and whoever wants to buy asks the owner.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use tokio::sync::watch;

use crate::domain::{Commodity, CommodityId, CommodityState, Epoch, PartitionId, Timestamp};

/// One commodity as the board shows it.
pub type Listing = Arc<Commodity>;

/// Partitions there can be.
const PARTITIONS_MAX: usize = 4096;

/// The commodities of the partitions this process knows of.
#[derive(Debug)]
pub struct Board {
    listings: DashMap<CommodityId, Entry>,
    /// By partition: twice the epoch its listings are of, and one more while they are fed.
    feeds: Box<[AtomicU64]>,
    /// One partition turns at a time.
    turning: Mutex<()>,
    /// Grows with every change of a listing.
    version: AtomicU64,
    /// Grows when a partition begins or ends to be fed.
    turns: watch::Sender<u64>,
}

#[derive(Debug)]
struct Entry {
    listing: Listing,
    partition: PartitionId,
    version: u64,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            listings: DashMap::new(),
            feeds: (0..PARTITIONS_MAX).map(|_| AtomicU64::new(0)).collect(),
            turning: Mutex::new(()),
            version: AtomicU64::new(0),
            turns: watch::Sender::new(0),
        }
    }
}

impl Board {
    /// The commodity as last shown; none if it is not listed as far as this process knows.
    #[must_use]
    pub fn get(&self, id: CommodityId) -> Option<Listing> {
        self.listings.get(&id).map(|entry| Arc::clone(&entry.listing))
    }

    /// What state the commodity is in now, without copying it; none if only an engine can tell.
    #[must_use]
    pub fn state(&self, id: CommodityId, now: Timestamp) -> Option<CommodityState> {
        self.listings.get(&id).filter(|entry| self.is_fed(entry.partition)).map(|entry| entry.listing.state(now))
    }

    /// All commodities, by id.
    #[must_use]
    pub fn all(&self) -> Vec<Listing> {
        let mut all: Vec<Listing> = self.listings.iter().map(|entry| Arc::clone(&entry.listing)).collect();
        all.sort_unstable_by_key(|listing| listing.id);
        all
    }

    /// Whether what the board shows of a partition comes from whoever serves it now.
    #[must_use]
    pub fn is_fed(&self, partition: PartitionId) -> bool {
        self.feed(partition).load(Ordering::Acquire) & 1 == 1
    }

    /// Begins to show a partition as its owner in that epoch has it: these are all of its commodities. Does nothing if a later
    /// epoch was shown already.
    pub fn turn(&self, partition: PartitionId, epoch: Epoch, commodities: impl IntoIterator<Item = Commodity>) {
        let _turning = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        if self.feed(partition).load(Ordering::Acquire) >> 1 > u64::from(epoch.get()) {
            return;
        }
        let before = self.version();
        for commodity in commodities {
            self.show(partition, commodity);
        }
        self.listings.retain(|_, entry| entry.partition != partition || entry.version > before);
        self.feed(partition).store(fed(epoch), Ordering::Release);
        self.turns.send_modify(|turns| *turns += 1);
    }

    /// Withdraws the hints of a partition, if they are of that epoch: its owner serves no more, or is not heard of. The
    /// listings stay readable.
    pub fn withdraw(&self, partition: PartitionId, epoch: Epoch) {
        let _turning = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.feed(partition).compare_exchange(fed(epoch), fed(epoch) - 1, Ordering::AcqRel, Ordering::Relaxed);
        self.turns.send_modify(|turns| *turns += 1);
    }

    /// Whether the listings of a partition are fed by its owner in that epoch.
    pub(crate) fn is_fed_in(&self, partition: PartitionId, epoch: Epoch) -> bool {
        self.feed(partition).load(Ordering::Acquire) == fed(epoch)
    }

    /// Shows a commodity as it stands now.
    pub fn show(&self, partition: PartitionId, commodity: Commodity) {
        let version = self.next_version();
        self.listings.insert(commodity.id, Entry { listing: Arc::new(commodity), partition, version });
        // Again, now that it can be seen: whoever read the version and the listings in between has to look once more.
        self.next_version();
    }

    /// Takes a commodity off.
    pub fn hide(&self, id: CommodityId) {
        self.listings.remove(&id);
        self.next_version();
    }

    /// Grows with every change of a listing.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Tells when a partition begins or ends to be fed.
    pub(crate) fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    /// Every listing of the partitions that `wanted` says yes to, with the version of its last change.
    pub(crate) fn of_partitions(&self, wanted: impl Fn(PartitionId) -> bool) -> Vec<(PartitionId, u64, Listing)> {
        let entries = self.listings.iter().filter(|entry| wanted(entry.partition));
        entries.map(|entry| (entry.partition, entry.version, Arc::clone(&entry.listing))).collect()
    }

    fn next_version(&self) -> u64 {
        self.version.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn feed(&self, partition: PartitionId) -> &AtomicU64 {
        &self.feeds[usize::from(partition.get())]
    }
}

fn fed(epoch: Epoch) -> u64 {
    u64::from(epoch.get()) << 1 | 1
}
