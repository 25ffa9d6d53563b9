//! What every HTTP worker may read without asking an engine: a hint, never a decision (R4).
//!
//! A shard for each partition: one snapshot of one epoch, which the partition's owner fills, here or at another node. What comes from an
//! older epoch never replaces what is of a newer one, whenever it arrives; within an epoch only a newer version does. When nobody is known
//! to serve a partition its hints are withdrawn: the commodities stay readable, and whoever wants to buy asks the owner.
//!
//! A lock is held for one shard, for a short piece of it; never for all that is on the board.

mod shard;
mod walk;

use std::sync::{Arc, PoisonError};

use tokio::sync::watch;

use super::sync::{AtomicU64, Mutex, Ordering, RwLock, RwLockReadGuard, RwLockWriteGuard};
use crate::breaks::{self, Break};
use crate::domain::{Commodity, CommodityId, CommodityState, Epoch, PartitionId, Partitions, Sequence, Sku, Timestamp};
use crate::engine::Refusal;
use crate::ring::partition_of;
use shard::Shard;
pub(crate) use shard::{Changes, Edition, Gap, Part};
pub use walk::Walk;

/// One commodity as the board shows it.
pub type Listing = Arc<Commodity>;

/// The commodities of the partitions this process knows of.
#[derive(Debug)]
pub struct Board {
    partitions: Partitions,
    slots: Box<[Slot]>,
    /// Grows with every change.
    changes: AtomicU64,
    /// Grows when a partition begins or ends to be fed.
    turns: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Slot {
    shard: RwLock<Shard>,
    /// The newest batch of the partition's log that anybody said is confirmed.
    confirmed: Mutex<Option<(Epoch, Sequence)>>,
}

/// What a board has to tell to somebody who has it as of a version.
#[derive(Debug)]
pub(crate) enum News {
    /// What changed since.
    Changes(Changes),
    /// More than is remembered: the snapshot is to be read anew.
    Behind,
    /// The epoch is another one, or nobody feeds it.
    Over,
}

impl Board {
    /// An empty board of so many partitions.
    #[must_use]
    pub fn new(partitions: Partitions) -> Self {
        let slots = partitions.iter().map(|_| Slot::default()).collect();
        Self { partitions, slots, changes: AtomicU64::new(0), turns: watch::Sender::new(0) }
    }

    /// The commodity as last shown; none if it is not listed as far as this process knows.
    #[must_use]
    pub fn get(&self, id: CommodityId) -> Option<Listing> {
        self.read(partition_of(id, self.partitions)).get(id).cloned()
    }

    /// What state the commodity is in now, without copying it; none if only an engine can tell.
    #[must_use]
    pub fn state(&self, id: CommodityId, now: Timestamp) -> Option<CommodityState> {
        let shard = self.read(partition_of(id, self.partitions));
        if shard.is_fed() { shard.get(id).map(|listing| listing.state(now)) } else { None }
    }

    /// What a placing is refused for without asking the engine; none if only that can tell.
    #[must_use]
    pub fn refusal(&self, id: CommodityId, now: Timestamp) -> Option<Refusal> {
        match self.state(id, now)? {
            CommodityState::Open => None,
            CommodityState::SoldOut => Some(Refusal::SoldOut),
            CommodityState::NotStarted => Some(Refusal::NotStarted),
            CommodityState::Paused => Some(Refusal::Paused),
            CommodityState::Ended | CommodityState::Closed => Some(Refusal::Ended),
        }
    }

    /// The commodities with that article number, by id: as a rule one at most. Costs a look into each partition.
    #[must_use]
    pub fn with_sku(&self, sku: &Sku) -> Vec<Listing> {
        let mut found: Vec<Listing> =
            self.partitions.iter().flat_map(|partition| self.read(partition).with_sku(sku).cloned().collect::<Vec<_>>()).collect();
        found.sort_unstable_by_key(|listing| listing.id);
        found
    }

    /// The commodities behind `after`, by id. Costs what is taken of it; nothing is locked between two of them.
    #[must_use]
    pub fn walk(&self, after: Option<CommodityId>) -> Walk<'_> {
        Walk::new(self, after)
    }

    /// Whether what the board shows of a partition comes from whoever serves it now.
    #[must_use]
    pub fn is_fed(&self, partition: PartitionId) -> bool {
        self.read(partition).is_fed()
    }

    /// The newest batch of a partition's log that anybody said is confirmed, and its epoch: its owner here, or another node in its
    /// bulletins. It is kept when whoever said so is gone.
    #[must_use]
    pub fn confirmed(&self, partition: PartitionId) -> Option<(Epoch, Sequence)> {
        *self.slot(partition).confirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a batch is confirmed. The first of an epoch withdraws the hints of those before it: the partition has an owner, who will
    /// tell.
    pub(crate) fn confirm(&self, partition: PartitionId, epoch: Epoch, sequence: Sequence) {
        let is_first = {
            let mut confirmed = self.slot(partition).confirmed.lock().unwrap_or_else(PoisonError::into_inner);
            let before = *confirmed;
            *confirmed = before.max(Some((epoch, sequence)));
            before.is_none_or(|(of, _)| of < epoch)
        };
        if is_first {
            self.withdraw_if(partition, |of| of < epoch);
        }
    }

    /// Begins to show a partition as its owner has it in that edition: these are all of its commodities. Does nothing if what is shown is
    /// newer. Returns whether it is shown now.
    pub(crate) fn turn(&self, partition: PartitionId, edition: Edition, listings: Vec<Listing>) -> bool {
        let mut next = Shard::of(edition, listings);
        let mut shard = self.write(partition);
        if !shard.gives_way_to(edition) {
            return false;
        }
        // With the lock: whoever is the first to say otherwise withdraws what stands here then.
        if self.is_overtaken(partition, edition.epoch) {
            next.withdraw();
        }
        let before = std::mem::replace(&mut *shard, next);
        drop(shard);
        // A long list takes a while to be freed, and nobody waits for that.
        drop(before);
        self.has_turned();
        true
    }

    /// Withdraws the hints of a partition, if they are of that epoch: its owner serves no more, or is not heard of. The
    /// commodities stay readable.
    pub(crate) fn withdraw(&self, partition: PartitionId, epoch: Epoch) {
        self.withdraw_if(partition, |of| of == epoch);
    }

    /// Whether what is shown of a partition is fed by its owner in that epoch.
    pub(crate) fn is_fed_in(&self, partition: PartitionId, epoch: Epoch) -> bool {
        let shard = self.read(partition);
        shard.is_fed() && shard.edition().epoch == epoch
    }

    /// Shows a commodity as the owner in that epoch has it now.
    pub(crate) fn show(&self, partition: PartitionId, epoch: Epoch, commodity: Commodity) {
        self.change(partition, epoch, commodity.id, Some(Arc::new(commodity)));
    }

    /// Takes a commodity off, by the owner in that epoch.
    pub(crate) fn hide(&self, partition: PartitionId, epoch: Epoch, id: CommodityId) {
        self.change(partition, epoch, id, None);
    }

    /// Shows what the owner in that edition has changed since a version of the same epoch. What is older is passed over.
    ///
    /// # Errors
    /// [`Gap`] when what is shown is not as new as `since`, so that something is missing in between.
    pub(crate) fn catch_up(
        &self,
        partition: PartitionId,
        (since, edition): (u64, Edition),
        shown: Vec<Listing>,
        hidden: &[CommodityId],
    ) -> Result<(), Gap> {
        let has_turned = {
            let mut shard = self.write(partition);
            let has_turned = shard.catch_up((since, edition), shown, hidden)?;
            let is_overtaken = self.is_overtaken(partition, shard.edition().epoch);
            if is_overtaken {
                shard.withdraw();
            }
            has_turned && !is_overtaken
        };
        self.has_changed();
        if has_turned {
            self.has_turned();
        }
        Ok(())
    }

    /// What changed in a partition in that edition's epoch since its version: no more than a piece of it.
    pub(crate) fn changes_since(&self, partition: PartitionId, edition: Edition, bytes_max: usize) -> News {
        let shard = self.read(partition);
        if !shard.is_fed() || shard.edition().epoch != edition.epoch {
            return News::Over;
        }
        shard.changes_since(edition.version, bytes_max).map_or(News::Behind, News::Changes)
    }

    /// A piece of a partition's snapshot: what is behind `after`. None if its epoch is another one, or nobody feeds it.
    pub(crate) fn part(&self, partition: PartitionId, epoch: Epoch, after: Option<CommodityId>, bytes_max: usize) -> Option<Part> {
        let shard = self.read(partition);
        (shard.is_fed() && shard.edition().epoch == epoch).then(|| shard.part(after, bytes_max))
    }

    /// The epoch a partition is shown in, and the version of its last change.
    pub(crate) fn edition(&self, partition: PartitionId) -> Edition {
        self.read(partition).edition()
    }

    /// Tells when a partition begins or ends to be fed.
    pub(crate) fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    /// Grows with every change.
    pub(crate) fn version(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    fn change(&self, partition: PartitionId, epoch: Epoch, id: CommodityId, listing: Option<Listing>) {
        if self.write(partition).change(epoch, id, listing) {
            self.has_changed();
        }
    }

    fn withdraw_if(&self, partition: PartitionId, is_meant: impl Fn(Epoch) -> bool) {
        let mut shard = self.write(partition);
        if !shard.is_fed() || !is_meant(shard.edition().epoch) {
            return;
        }
        shard.withdraw();
        drop(shard);
        self.has_turned();
    }

    fn has_changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether somebody said that a later epoch of the partition has an owner: the hints of an earlier one are not to come back.
    fn is_overtaken(&self, partition: PartitionId, epoch: Epoch) -> bool {
        self.confirmed(partition).is_some_and(|(of, _)| of > epoch) && !breaks::is_broken(Break::OlderBoard)
    }

    fn has_turned(&self) {
        self.has_changed();
        self.turns.send_modify(|turns| *turns += 1);
    }

    fn slot(&self, partition: PartitionId) -> &Slot {
        &self.slots[usize::from(partition.get())]
    }

    fn read(&self, partition: PartitionId) -> RwLockReadGuard<'_, Shard> {
        self.slot(partition).shard.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, partition: PartitionId) -> RwLockWriteGuard<'_, Shard> {
        self.slot(partition).shard.write().unwrap_or_else(PoisonError::into_inner)
    }
}
