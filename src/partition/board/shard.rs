//! What the board has of one partition: a snapshot of one epoch, and which of it changed when. Plain rules without a lock; it never takes
//! what is older than what it has.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::Listing;
use crate::breaks::{self, Break};
use crate::domain::{CommodityId, Epoch, Sku};

/// Commodities that are remembered as changed, at most. Whoever is further behind reads the snapshot anew.
const CHANGES_MAX: usize = 16_384;

/// Commodities read in one piece, at most: so long is a shard locked.
const ITEMS_MAX: usize = 1_024;

/// How new something is: first the epoch, then the version in it, which the epoch's owner counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edition {
    pub(crate) epoch: Epoch,
    pub(crate) version: u64,
}

/// Changes that do not follow what is there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gap;

/// Some changes of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changes {
    /// The version that they lead to.
    pub(crate) version: u64,
    /// Whether there are more.
    pub(crate) is_cut: bool,
    pub(crate) shown: Vec<Listing>,
    pub(crate) hidden: Vec<CommodityId>,
}

/// Some commodities of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The version they were read in.
    pub(crate) version: u64,
    /// Whether there are no more.
    pub(crate) is_last: bool,
    pub(crate) listings: Vec<Listing>,
    /// About how long they are.
    pub(crate) bytes: usize,
}

/// One partition.
#[derive(Debug, Default)]
pub(super) struct Shard {
    edition: Edition,
    is_fed: bool,
    /// Changes are remembered that are newer than this version.
    remembered_from: u64,
    listed: BTreeMap<CommodityId, Listed>,
    /// Those with an article number, by it. Two have the same for a moment, where it went from one to the other.
    by_sku: BTreeSet<(Sku, CommodityId)>,
    /// Commodities that were taken off, and in which version, as long as that is remembered.
    gone: BTreeMap<CommodityId, u64>,
    /// The last change of each commodity that changed.
    changes: BTreeSet<(u64, CommodityId)>,
}

#[derive(Debug)]
struct Listed {
    version: u64,
    listing: Listing,
}

impl Shard {
    /// That and nothing else, fed.
    pub(super) fn of(edition: Edition, mut listings: Vec<Listing>) -> Self {
        listings.sort_unstable_by_key(|listing| listing.id);
        let by_sku = listings.iter().filter_map(sku_of).collect();
        let listed = |listing: Listing| (listing.id, Listed { version: edition.version, listing });
        let listed = listings.into_iter().map(listed).collect();
        Self { edition, is_fed: true, remembered_from: edition.version, listed, by_sku, ..Self::default() }
    }

    pub(super) const fn edition(&self) -> Edition {
        self.edition
    }

    pub(super) const fn is_fed(&self) -> bool {
        self.is_fed
    }

    pub(super) const fn withdraw(&mut self) {
        self.is_fed = false;
    }

    pub(super) fn get(&self, id: CommodityId) -> Option<&Listing> {
        self.listed.get(&id).map(|listed| &listed.listing)
    }

    /// Those with that article number, by id.
    pub(super) fn with_sku(&self, sku: &Sku) -> impl Iterator<Item = &Listing> {
        let from = (sku.clone(), FIRST);
        self.by_sku.range(from..).take_while(move |(of, _)| of == sku).filter_map(move |(_, id)| self.get(*id))
    }

    /// The first so many behind `after`.
    pub(super) fn run(&self, after: Option<CommodityId>, at_most: usize) -> impl Iterator<Item = &Listing> {
        self.behind(after).take(at_most)
    }

    /// Whether a snapshot of that edition may take its place.
    pub(super) fn gives_way_to(&self, edition: Edition) -> bool {
        edition >= self.edition || edition.epoch < self.edition.epoch && takes_older()
    }

    /// A commodity as the owner in that epoch has it now; none if it is gone. Whether anything changed.
    pub(super) fn change(&mut self, epoch: Epoch, id: CommodityId, listing: Option<Listing>) -> bool {
        if epoch != self.edition.epoch && !(epoch < self.edition.epoch && takes_older()) {
            return false;
        }
        self.edition.version += 1;
        self.put(id, listing);
        true
    }

    /// What the owner in that edition changed since a version. Whether it is fed from now on, and was not.
    pub(super) fn catch_up(&mut self, (since, edition): (u64, Edition), shown: Vec<Listing>, hidden: &[CommodityId]) -> Result<bool, Gap> {
        let is_older = edition.epoch < self.edition.epoch;
        if is_older && !takes_older() || edition.epoch == self.edition.epoch && edition.version < self.edition.version {
            return Ok(false);
        }
        if edition.epoch > self.edition.epoch || !is_older && since > self.edition.version {
            return Err(Gap);
        }
        if !is_older {
            self.edition = edition;
        }
        shown.into_iter().for_each(|listing| self.put(listing.id, Some(listing)));
        hidden.iter().for_each(|id| self.put(*id, None));
        Ok(!std::mem::replace(&mut self.is_fed, true))
    }

    /// What changed since a version, up to about so many bytes, and at least one change if there is one; none if that is not remembered.
    pub(super) fn changes_since(&self, since: u64, bytes_max: usize) -> Option<Changes> {
        if since < self.remembered_from {
            return None;
        }
        let mut changes = Changes { version: since, is_cut: false, shown: Vec::new(), hidden: Vec::new() };
        let (mut bytes, mut items) = (0, 0);
        for (version, id) in self.changes.range((since + 1, FIRST)..) {
            // All of a version, or nothing.
            if *version > changes.version && items > 0 && (bytes >= bytes_max || items >= ITEMS_MAX) {
                changes.is_cut = true;
                return Some(changes);
            }
            match self.get(*id) {
                Some(listing) => {
                    bytes += weight(listing);
                    changes.shown.push(listing.clone());
                }
                None => changes.hidden.push(*id),
            }
            items += 1;
            changes.version = *version;
        }
        changes.version = self.edition.version;
        Some(changes)
    }

    /// The commodities behind `after`, up to about so many bytes, and at least one if there is one.
    pub(super) fn part(&self, after: Option<CommodityId>, bytes_max: usize) -> Part {
        let mut part = Part { version: self.edition.version, is_last: true, listings: Vec::new(), bytes: 0 };
        for listing in self.behind(after) {
            if part.bytes >= bytes_max || part.listings.len() >= ITEMS_MAX {
                part.is_last = false;
                break;
            }
            part.bytes += weight(listing);
            part.listings.push(listing.clone());
        }
        part
    }

    fn behind(&self, after: Option<CommodityId>) -> impl Iterator<Item = &Listing> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.listed.range((from, Bound::Unbounded)).map(|(_, listed)| &listed.listing)
    }

    /// Puts it there as the change of the present version.
    fn put(&mut self, id: CommodityId, listing: Option<Listing>) {
        let version = self.edition.version;
        let sku = listing.as_ref().and_then(sku_of);
        let (listed, gone) = match listing {
            Some(listing) => (self.listed.insert(id, Listed { version, listing }), self.gone.remove(&id)),
            None => (self.listed.remove(&id), self.gone.insert(id, version)),
        };
        let sku_before = listed.as_ref().and_then(|listed| sku_of(&listed.listing));
        if sku_before != sku {
            if let Some(before) = sku_before {
                self.by_sku.remove(&before);
            }
            self.by_sku.extend(sku);
        }
        let before = listed.map(|listed| listed.version).or(gone);
        if let Some(before) = before {
            self.changes.remove(&(before, id));
        }
        self.changes.insert((version, id));
        if self.changes.len() > CHANGES_MAX
            && let Some((version, id)) = self.changes.pop_first()
        {
            self.remembered_from = self.remembered_from.max(version);
            if self.gone.get(&id) == Some(&version) {
                self.gone.remove(&id);
            }
        }
    }
}

/// The lowest id there can be.
const FIRST: CommodityId = match CommodityId::new(1) {
    Ok(first) => first,
    Err(_) => panic!("one is an id"),
};

/// What it is found by, if it has an article number.
fn sku_of(listing: &Listing) -> Option<(Sku, CommodityId)> {
    listing.terms.sku.clone().map(|sku| (sku, listing.id))
}

/// About how many bytes it takes on the way to another node.
fn weight(listing: &Listing) -> usize {
    const NUMBERS: usize = 100;
    let terms = &listing.terms;
    let sku = terms.sku.as_ref().map_or(0, |sku| sku.as_str().len());
    NUMBERS + sku + terms.name.len() + terms.description.len() + terms.image_url.as_ref().map_or(0, String::len)
}

/// Whether what is of an older epoch is taken: never, unless that rule is broken on purpose.
fn takes_older() -> bool {
    breaks::is_broken(Break::OlderBoard)
}
