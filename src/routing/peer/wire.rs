//! What travels between nodes, in postcard's format. Never a token and never a secret.
//!
//! Both ends say [`WIRE_VERSION`] in a header, and a node that speaks another one refuses: nothing is ever guessed.

use serde::{Deserialize, Serialize};

use crate::domain::{Commodity, CommodityId, Epoch, OrderId, PartitionId, Partitions, Reach, Sequence};
use crate::engine::Command;
use crate::partition::{Busy, Reply, Sighting, Trouble};
use crate::ring::partition_of;
use crate::trace::Context;

/// The version of everything in this file. It grows with any change of it or of the types in it.
pub(super) const WIRE_VERSION: &str = "3";

/// Requests in one batch, at most.
pub(super) const BATCH_ITEMS_MAX: usize = 1_024;

/// Bytes of one batch after which no more requests join it.
pub(super) const BATCH_BYTES: usize = 512 * 1_024;

/// The largest batch a node reads. One request may have 100 KiB (a description of 10,000 characters).
pub(super) const BATCH_BYTES_MAX: usize = BATCH_BYTES + 256 * 1_024;

/// The largest frame a node reads: a bulletin with 200,000 commodities of usual size.
pub(super) const FRAME_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// One request in a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Item {
    /// How long it may still wait in the owner's inbox, in milliseconds.
    pub(super) budget_ms: u32,
    /// What is asked.
    pub(super) ask: Ask,
    /// The trace it belongs to, if that is recorded.
    pub(super) trace: Option<Context>,
}

/// A question to an owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Something for the engine to decide.
    Command(Command),
    /// What is known of an order.
    Lookup(OrderId),
}

impl Ask {
    /// The partition it is for; none for what is no other node's to send.
    pub(super) fn partition(&self, partitions: Partitions) -> Option<PartitionId> {
        let of = |commodity: CommodityId| partition_of(commodity, partitions);
        match self {
            Self::Lookup(order) => Some(order.partition()),
            Self::Command(command) => match command {
                Command::List { commodity, .. } | Command::Change { commodity, .. } | Command::Restock { commodity, .. } => {
                    Some(of(*commodity))
                }
                Command::Pause(commodity)
                | Command::Resume(commodity)
                | Command::End(commodity)
                | Command::Close(commodity)
                | Command::Remove(commodity) => Some(of(*commodity)),
                Command::Place(place) => Some(of(place.commodity)),
                Command::ConfirmPayment { order, .. } | Command::ConfirmRefund { order, .. } | Command::Cancel { order, .. } => {
                    Some(order.partition())
                }
                Command::Expire { .. } | Command::CloseEnded { .. } => None,
            },
        }
    }
}

/// What became of one request of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Told {
    /// Of a command.
    Reply(Reply),
    /// Of a lookup.
    Sighting(Result<Sighting, Busy>),
    /// This node runs no task of that partition: the request was not taken up.
    Misdirected,
}

/// Some answers of a batch, each with the request's place in it. Each request is answered in exactly one frame.
pub(super) type Answers = Vec<(u16, Told)>;

/// What a node says of itself, again and again. Each bulletin is whole but for its listings, which are those that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bulletin {
    /// Whether it is about to give up its partitions.
    pub leaving: bool,
    /// How it reaches the broker.
    pub broker: Reach,
    /// The partitions it serves, each in its epoch.
    pub serving: Vec<(PartitionId, Epoch)>,
    /// The last batch it got confirmed of each of those.
    pub confirmed: Vec<(PartitionId, Sequence)>,
    /// The partitions it is about to serve: requests for them may wait there.
    pub claiming: Vec<PartitionId>,
    /// Of those, the ones that are stopped, and why.
    pub stopped: Vec<(PartitionId, Trouble)>,
    /// Listings of served partitions that are new or have changed. All of a partition that was not served in the last
    /// bulletin.
    pub shown: Vec<(PartitionId, Commodity)>,
    /// Listings that are no more.
    pub hidden: Vec<CommodityId>,
}

/// What a node says of itself when it is greeted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Introduction {
    /// Its process: another one under the same id has another number.
    pub(super) instance: u64,
    /// Its schema's partitions.
    pub(super) partitions: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other bytes are another version.
    #[test]
    fn a_bulletin_is_these_bytes() {
        let (partition, epoch) = (PartitionId::new(3).unwrap(), Epoch::new(200).unwrap());
        let bulletin = |broker| Bulletin {
            leaving: true,
            broker,
            serving: vec![(partition, epoch)],
            confirmed: vec![(partition, Sequence(300))],
            claiming: vec![partition],
            stopped: vec![(partition, Trouble::Panicked)],
            ..Bulletin::default()
        };
        for (broker, byte) in Reach::ALL.into_iter().zip(0..) {
            let bytes = [1, byte, 1, 3, 0xC8, 1, 1, 3, 0xAC, 2, 1, 3, 1, 3, 1, 0, 0];
            assert_eq!((WIRE_VERSION, postcard::to_stdvec(&bulletin(broker)).unwrap()), ("3", bytes.to_vec()));
            assert_eq!(postcard::from_bytes(&bytes), Ok(bulletin(broker)));
        }
    }
}
