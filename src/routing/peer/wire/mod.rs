//! What travels between nodes, and its bytes in every version that this release speaks. Never a token and never a secret.
//!
//! Each version is a module of frozen types in postcard's format; which one two nodes use, they tell each other in headers (see
//! [`PeerVersion`]). What is read is checked like everything from outside: what is no message is [`Garbage`].

mod bulletin;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
mod v3;
mod v4;
mod v5;
mod v6;
mod v7;
mod version;

use serde::{Deserialize, Serialize};

pub(super) use bulletin::Together;
pub use bulletin::{Bulletin, Content, Piece, Served, Standing};
pub(crate) use version::Speech;

use crate::domain::{CommodityId, Invalid, Order, OrderId, PartitionId, Partitions, PrincipalKey};
use crate::engine::Command;
use crate::form::FormError;
pub use crate::form::PeerVersion;
use crate::partition::{Busy, Reply, Sighting};
use crate::ring::partition_of;
use crate::trace::Context;

/// Requests in one batch, at most.
pub(super) const BATCH_ITEMS_MAX: usize = 1_024;

/// Bytes of one batch after which no more requests join it.
pub(super) const BATCH_BYTES: usize = 512 * 1_024;

/// The largest batch a node reads. One request may have 100 KiB (a description of 10,000 characters).
pub(super) const BATCH_BYTES_MAX: usize = BATCH_BYTES + 256 * 1_024;

/// The largest frame a node reads. What it says itself it cuts to far smaller ones.
pub(super) const FRAME_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// About how long a frame may be in which a node says what is on its board: the last commodity in it may have 100 KiB more.
pub(super) const fn piece_bytes(version: PeerVersion) -> usize {
    match version {
        // A partition ought to come in one of them: what comes in several is shown in part meanwhile.
        PeerVersion::V3 | PeerVersion::V4 => 16 * 1_024 * 1_024,
        PeerVersion::V5 | PeerVersion::V6 | PeerVersion::V7 => 256 * 1_024,
    }
}

/// One request in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// How long it may still wait in the owner's inbox, in milliseconds.
    pub(super) budget_ms: u32,
    /// What is asked.
    pub(super) ask: Ask,
    /// The trace it belongs to, if that is recorded.
    pub(super) trace: Option<Context>,
}

/// A question to an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Something for the engine to decide.
    Command(Command),
    /// What is known of an order.
    Lookup(OrderId),
    /// Which orders of a buyer in a partition the tables may not have yet.
    OrdersOf(PartitionId, PrincipalKey),
}

impl Ask {
    /// The partition it is for; none for what is no other node's to send.
    pub(super) fn partition(&self, partitions: Partitions) -> Option<PartitionId> {
        let of = |commodity: CommodityId| partition_of(commodity, partitions);
        match self {
            Self::Lookup(order) => Some(order.partition()),
            Self::OrdersOf(partition, _) => Some(*partition),
            Self::Command(command) => command.order().map(OrderId::partition).or_else(|| command.commodity().map(of)),
        }
    }
}

/// What became of one request of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Of a command.
    Reply(Reply),
    /// Of a lookup.
    Sighting(Result<Sighting, Busy>),
    /// Of a question about a buyer's orders.
    Orders(Result<Vec<Order>, Busy>),
    /// This node runs no task of that partition: the request was not taken up.
    Misdirected,
}

/// Some answers of a batch, each with the request's place in it. Each request is answered in exactly one frame.
pub(super) type Answers = Vec<(u16, Told)>;

/// What a node says of itself when it is greeted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Introduction {
    /// Its process: another one under the same id has another number.
    pub(super) instance: u64,
    /// Its schema's partitions.
    pub(super) partitions: u16,
}

/// The other end sent what no node sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer answers garbage")]
pub(super) struct Garbage;

impl From<Invalid> for Garbage {
    fn from(_: Invalid) -> Self {
        Self
    }
}

impl From<FormError> for Garbage {
    fn from(_: FormError) -> Self {
        Self
    }
}

/// A version has no words for a request: whoever speaks it could not carry it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not known to nodes that speak this version")]
pub(super) struct Unsayable;

impl Item {
    /// Appends a request; nothing of one that the version has no words for.
    pub(super) fn write(&self, version: PeerVersion, out: &mut Vec<u8>) -> Result<(), Unsayable> {
        *out = match version {
            PeerVersion::V3 => v3::Item::try_from(self).map(|item| put(std::mem::take(out), &item))?,
            PeerVersion::V4 => v4::Item::try_from(self).map(|item| put(std::mem::take(out), &item))?,
            PeerVersion::V5 => v5::Item::try_from(self).map(|item| put(std::mem::take(out), &item))?,
            PeerVersion::V6 => v6::Item::try_from(self).map(|item| put(std::mem::take(out), &item))?,
            PeerVersion::V7 => v7::Item::try_from(self).map(|item| put(std::mem::take(out), &item))?,
        };
        Ok(())
    }

    /// The same of a request that a peer that knows no newer version can carry out in part, and without harm: it does not keep the key of a
    /// cancellation, and an order is cancelled once all the same. Returns whether it is such a one.
    pub(super) fn write_older(&self, version: PeerVersion, out: &mut Vec<u8>) -> bool {
        match &self.ask {
            Ask::Command(Command::Keyed { command, .. }) if matches!(**command, Command::Cancel { .. }) => {
                Self { ask: Ask::Command((**command).clone()), ..*self }.write(version, out).is_ok()
            }
            Ask::Command(_) | Ask::Lookup(_) | Ask::OrdersOf(..) => false,
        }
    }

    /// Takes a request from the front.
    pub(super) fn read(version: PeerVersion, bytes: &mut &[u8]) -> Result<Self, Garbage> {
        match version {
            PeerVersion::V3 => take::<v3::Item<'_>>(bytes)?.try_into(),
            PeerVersion::V4 => take::<v4::Item<'_>>(bytes)?.try_into(),
            PeerVersion::V5 => take::<v5::Item<'_>>(bytes)?.try_into(),
            PeerVersion::V6 => take::<v6::Item<'_>>(bytes)?.try_into(),
            PeerVersion::V7 => take::<v7::Item<'_>>(bytes)?.try_into(),
        }
    }
}

/// Appends answers.
pub(super) fn write_answers(answers: &Answers, version: PeerVersion, out: Vec<u8>) -> Vec<u8> {
    let out = put(out, &answers.len());
    answers.iter().fold(out, |out, (index, told)| match version {
        PeerVersion::V3 => put(out, &(index, v3::Told::from(told))),
        PeerVersion::V4 | PeerVersion::V5 => put(out, &(index, v4::Told::from(told))),
        PeerVersion::V6 => put(out, &(index, v6::Told::from(told))),
        PeerVersion::V7 => put(out, &(index, v7::Told::from(told))),
    })
}

/// Reads answers.
pub(super) fn read_answers(version: PeerVersion, mut bytes: &[u8]) -> Result<Answers, Garbage> {
    let count: usize = take(&mut bytes)?;
    let mut answers = Answers::new();
    for _ in 0..count {
        answers.push(match version {
            PeerVersion::V3 => take::<(u16, v3::Told<'_>)>(&mut bytes).and_then(|(index, told)| Ok((index, told.try_into()?)))?,
            PeerVersion::V4 | PeerVersion::V5 => {
                take::<(u16, v4::Told<'_>)>(&mut bytes).and_then(|(index, told)| Ok((index, told.try_into()?)))?
            }
            PeerVersion::V6 => take::<(u16, v6::Told<'_>)>(&mut bytes).and_then(|(index, told)| Ok((index, told.try_into()?)))?,
            PeerVersion::V7 => take::<(u16, v7::Told<'_>)>(&mut bytes).and_then(|(index, told)| Ok((index, told.try_into()?)))?,
        });
    }
    if bytes.is_empty() { Ok(answers) } else { Err(Garbage) }
}

impl Bulletin {
    /// Appends a bulletin; of versions before 5 those of [`Together`] are to be had.
    pub(super) fn write(&self, version: PeerVersion, out: Vec<u8>) -> Vec<u8> {
        match version {
            PeerVersion::V3 | PeerVersion::V4 | PeerVersion::V5 => put(out, &v5::Bulletin::from(self)),
            PeerVersion::V6 => put(out, &v6::Bulletin::from(self)),
            PeerVersion::V7 => put(out, &v7::Bulletin::from(self)),
        }
    }

    /// Reads a bulletin.
    pub(super) fn read(version: PeerVersion, bytes: &[u8]) -> Result<Self, Garbage> {
        match version {
            PeerVersion::V3 | PeerVersion::V4 | PeerVersion::V5 => whole::<v5::Bulletin<'_>>(bytes)?.try_into(),
            PeerVersion::V6 => whole::<v6::Bulletin<'_>>(bytes)?.try_into(),
            PeerVersion::V7 => whole::<v7::Bulletin<'_>>(bytes)?.try_into(),
        }
    }
}

impl Together {
    /// Appends a bulletin of an older version.
    pub(super) fn write(&self, version: PeerVersion, out: Vec<u8>) -> Vec<u8> {
        match version {
            PeerVersion::V3 => put(out, &v3::Bulletin::from(self)),
            PeerVersion::V4 | PeerVersion::V5 | PeerVersion::V6 | PeerVersion::V7 => put(out, &v4::Bulletin::from(self)),
        }
    }

    /// Reads a bulletin of an older version.
    pub(super) fn read(version: PeerVersion, bytes: &[u8]) -> Result<Self, Garbage> {
        match version {
            PeerVersion::V3 => whole::<v3::Bulletin<'_>>(bytes)?.try_into(),
            PeerVersion::V4 | PeerVersion::V5 | PeerVersion::V6 | PeerVersion::V7 => whole::<v4::Bulletin<'_>>(bytes)?.try_into(),
        }
    }
}

impl Introduction {
    /// The bytes of an introduction: the same in all versions there are.
    pub(super) fn write(self, version: PeerVersion) -> Vec<u8> {
        match version {
            PeerVersion::V3 | PeerVersion::V4 | PeerVersion::V5 | PeerVersion::V6 | PeerVersion::V7 => {
                put(Vec::new(), &v3::Introduction::from(self))
            }
        }
    }

    /// Reads an introduction.
    pub(super) fn read(version: PeerVersion, bytes: &[u8]) -> Result<Self, Garbage> {
        match version {
            PeerVersion::V3 | PeerVersion::V4 | PeerVersion::V5 | PeerVersion::V6 | PeerVersion::V7 => {
                Ok(whole::<v3::Introduction>(bytes)?.into())
            }
        }
    }
}

fn put(out: Vec<u8>, value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, out).expect("a frozen type has nothing that postcard cannot write")
}

fn take<'a, T: Deserialize<'a>>(bytes: &mut &'a [u8]) -> Result<T, Garbage> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(|_| Garbage)?;
    *bytes = rest;
    Ok(value)
}

fn whole<'a, T: Deserialize<'a>>(mut bytes: &'a [u8]) -> Result<T, Garbage> {
    let value = take(&mut bytes)?;
    if bytes.is_empty() { Ok(value) } else { Err(Garbage) }
}

fn all<T, U>(from: Vec<T>, read: impl Fn(T) -> Result<U, Garbage>) -> Result<Vec<U>, Garbage> {
    from.into_iter().map(read).collect()
}
