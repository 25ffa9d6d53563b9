//! What there is: two nodes with their connections, a log, tables. And what must hold of it, in any order of events.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::domain::{Epoch, PartitionId, Sequence};
use crate::event::Batch;
use crate::ownership::protocol::Protocol;
use crate::projection::Position;

pub(super) const NODES: usize = 2;

pub(super) const PARTITION: PartitionId = match PartitionId::new(0) {
    Ok(partition) => partition,
    Err(_) => unreachable!(),
};

/// How far it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bound {
    /// Epochs that are claimed.
    pub(super) epochs: u32,
    /// Batches that are written, beside fences.
    pub(super) batches: u64,
    /// Things that go wrong: a connection, a process, a lock queue, an acknowledgement, a log.
    pub(super) faults: u8,
}

/// A batch on its way, or in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) at: Place,
    /// Of a fence: what it knows to be confirmed.
    pub(super) known: Option<Place>,
}

/// Epoch and sequence of a batch.
pub(super) type Place = (u32, u64);

/// From a node to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Frame {
    Publish(Entry),
    /// Is the lock still this connection's?
    AskLock,
}

/// From the broker to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Notice {
    Confirmed(Place),
    StillLocked(bool),
    Closed,
}

/// A connection as both ends have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Connection {
    /// The broker has not ended it.
    pub(super) open: bool,
    /// The broker gives it the lock.
    pub(super) locks: bool,
    pub(super) frames: VecDeque<Frame>,
    pub(super) notices: VecDeque<Notice>,
}

/// What a claim does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Todo {
    TakeEpoch,
    /// Whether the lock is still there, before the fence.
    AwaitLock,
    AwaitFence(Place),
    /// Whether the lock was still there when the fence was confirmed.
    AwaitFenceLock(Place),
    ReadApplied,
    Load,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    Idle,
    Claiming { protocol: Protocol, todo: Todo, loaded: BTreeSet<Place> },
    Serving { epoch: u32, confirmed: u64, in_flight: Option<Flight> },
}

/// How far the append under way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flight {
    Sent(u64),
    /// Confirmed, if the lock was there.
    Asked(u64),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    /// The last batch that it knows to be confirmed: for as long as its process lives.
    pub(super) known: Place,
    pub(super) stage: Stage,
    pub(super) connection: Option<Connection>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) bound: Bound,
    pub(super) faults: u8,
    pub(super) nodes: [Node; NODES],
    /// Connections that their nodes use no longer; the broker has not ended them yet.
    pub(super) left: Vec<Connection>,
    /// What was read from connections that are gone, each in its order.
    pub(super) late: Vec<VecDeque<Entry>>,
    /// What is in the log and not acknowledged.
    pub(super) log: VecDeque<Entry>,
    pub(super) claimed: u32,
    pub(super) written: u64,
    pub(super) applied: Place,
    pub(super) rows: BTreeSet<Place>,
    pub(super) stopped: bool,
    /// What the log has lost, fences too.
    pub(super) lost: BTreeSet<Place>,
    /// What the tables were told is confirmed.
    pub(super) told: Place,
    /// What whoever fenced an epoch could know to be confirmed.
    pub(super) knew: BTreeMap<u32, Place>,
    /// What buyers were told is accepted.
    pub(super) accepted: BTreeSet<Place>,
    /// What each epoch's owner began with.
    pub(super) began_with: BTreeMap<u32, BTreeSet<Place>>,
}

impl World {
    pub(super) fn new(bound: Bound) -> Self {
        let node = Node { known: (0, 0), stage: Stage::Idle, connection: None };
        Self {
            bound,
            faults: bound.faults,
            nodes: [node.clone(), node],
            left: Vec::new(),
            late: Vec::new(),
            log: VecDeque::new(),
            claimed: 0,
            written: 0,
            applied: (0, 0),
            rows: BTreeSet::new(),
            stopped: false,
            lost: BTreeSet::new(),
            told: (0, 0),
            knew: BTreeMap::new(),
            accepted: BTreeSet::new(),
            began_with: BTreeMap::new(),
        }
    }

    /// An order of an epoch that is over is refused unless it is in the tables: so whatever was accepted must be there by then.
    pub(super) fn accepted_is_sold(&self) -> bool {
        self.accepted.iter().all(|place| place.0 >= self.applied.0 || self.rows.contains(place) || self.is_excused(place))
    }

    /// Whether the log has lost a batch, and nobody knew of it who fenced an epoch behind it.
    fn is_excused(&self, place: &Place) -> bool {
        let mut fences = self.knew.range(place.0 + 1..);
        self.lost.contains(place) && fences.any(|(epoch, knew)| *epoch <= self.applied.0 && knew < place)
    }

    /// Otherwise units are sold twice: the owner does not know of them.
    pub(super) fn what_is_over_is_over(&self) -> bool {
        self.began_with.iter().all(|(epoch, known)| self.rows.iter().filter(|place| place.0 < *epoch).all(|place| known.contains(place)))
    }

    /// Otherwise it answers for orders that it never heard of.
    pub(super) fn owners_begin_with_the_past(&self) -> bool {
        self.began_with.iter().all(|(epoch, known)| known.iter().all(|place| place.0 < *epoch))
    }

    pub(super) fn owners_know_what_was_accepted(&self) -> bool {
        self.accepted.iter().all(|later| {
            let began_with = self.began_with.get(&later.0);
            let mut earlier = self.accepted.iter().filter(|place| place.0 < later.0);
            earlier.all(|place| self.is_excused(place) || began_with.is_some_and(|known| known.contains(place)))
        })
    }

    pub(super) fn is_sold_out(&self) -> bool {
        self.claimed == self.bound.epochs && self.accepted.len() as u64 == self.bound.batches && self.accepted.is_subset(&self.rows)
    }
}

pub(super) fn epoch(number: u32) -> Epoch {
    Epoch::new(number).expect("it is a small one")
}

pub(super) fn position((number, sequence): Place) -> Position {
    Position { epoch: epoch(number), sequence: Sequence(sequence) }
}

pub(super) fn batch(entry: Entry) -> Batch {
    let (number, sequence) = entry.at;
    let known = entry.known.map(|(number, sequence)| (epoch(number), Sequence(sequence)));
    Batch::new(PARTITION, epoch(number), Sequence(sequence), Vec::new()).knowing(known)
}
