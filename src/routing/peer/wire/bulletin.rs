//! What a node says of itself, again and again, and of its board. Never says how it is written: each version has its own forms.

use std::collections::BTreeMap;

use super::Garbage;
use crate::domain::{CommodityId, Epoch, PartitionId, Reach, Sequence};
use crate::partition::{Listing, Trouble};

/// One thing that a node says without being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bulletin {
    /// How it stands. Whole, each time.
    Standing(Standing),
    /// A piece of what its board shows of a partition that it serves.
    Piece(Piece),
}

/// How a node stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is about to give up its partitions.
    pub leaving: bool,
    /// How it reaches the broker.
    pub broker: Reach,
    /// The partitions it serves.
    pub serving: Vec<Served>,
    /// The partitions it is about to serve: requests for them may wait there.
    pub claiming: Vec<PartitionId>,
    /// Of those, the ones that are stopped, and why.
    pub stopped: Vec<(PartitionId, Trouble)>,
}

/// A partition that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Which one.
    pub partition: PartitionId,
    /// Since which epoch.
    pub epoch: Epoch,
    /// The last batch of that epoch that its owner got confirmed; the fence, if it got no other.
    pub confirmed: Sequence,
}

/// A piece of what a board shows of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Of what.
    pub of: Served,
    /// The version that it leads to, which the owner counts in each epoch.
    pub version: u64,
    /// What is in it.
    pub content: Content,
}

/// What is in a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A part of the whole snapshot. It counts when the last one is there.
    Part {
        /// Whether another snapshot begins.
        is_first: bool,
        /// Whether it is whole now.
        is_last: bool,
        /// Commodities, by id.
        shown: Vec<Listing>,
    },
    /// What changed.
    Changes {
        /// After which version.
        since: u64,
        /// Commodities that are new or have changed.
        shown: Vec<Listing>,
        /// Commodities that are gone.
        hidden: Vec<CommodityId>,
    },
}

/// The bulletin of versions 3 and 4: how a node stands, and in the same breath what is new on its board.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::routing::peer) struct Together {
    pub(in crate::routing::peer) standing: Standing,
    /// Commodities of served partitions that are new or have changed. All of a partition that was not served in the bulletin before.
    pub(in crate::routing::peer) shown: Vec<(PartitionId, Listing)>,
    /// Commodities that are gone.
    pub(in crate::routing::peer) hidden: Vec<CommodityId>,
}

/// What is served, from two lists of versions 3 and 4.
pub(super) fn served(serving: Vec<(u16, u32)>, confirmed: Vec<(u16, u64)>) -> Result<Vec<Served>, Garbage> {
    let confirmed: BTreeMap<u16, u64> = confirmed.into_iter().collect();
    let served = |(index, epoch)| {
        let confirmed = confirmed.get(&index).map_or(Sequence::FENCE, |sequence| Sequence(*sequence));
        Ok(Served { partition: PartitionId::new(index)?, epoch: Epoch::new(epoch)?, confirmed })
    };
    serving.into_iter().map(served).collect()
}
