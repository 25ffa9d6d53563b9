//! Which messages of a log are kept, and in which order. Pure.

use std::collections::BTreeMap;

use lapin::message::Delivery;

use super::LogError;
use crate::domain::{Epoch, PartitionId, Sequence, SystemId};
use crate::event::{self, Batch};
use crate::projection::{Position, position_of};

/// What became of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// Messages that were in it.
    pub before: usize,
    /// Those among them that the tables have.
    pub applied: usize,
    /// Those that were there twice.
    pub copies: usize,
    /// Messages that are in it now.
    pub now: usize,
    /// Whether it had to be written again.
    pub is_changed: bool,
    /// The last batch that is missing in front of the first that is there; none if that follows what the tables have.
    pub missing: Option<Position>,
}

impl std::fmt::Display for Rewritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { before, applied, copies, now, is_changed, missing } = self;
        if *is_changed {
            write!(f, "of {before} messages {applied} were in the tables and {copies} were copies; it has {now} now, in order")?;
        } else {
            write!(f, "its {before} messages are in order, nothing was changed")?;
        }
        match missing {
            Some(last) => write!(f, "; what comes before them, up to batch {last}, is not in it: see `doorbuster log accept-loss`"),
            None => Ok(()),
        }
    }
}

/// A log as it should be.
pub(super) struct Ordered<'a> {
    pub(super) messages: Vec<&'a Delivery>,
    pub(super) rewritten: Rewritten,
}

/// Puts a log, and more messages that belong into it, in order. What has no place that could be read comes last, as it stood.
///
/// # Errors
/// [`LogError::Refused`] when two different batches have one name: then it is not known which counts.
pub(super) fn ordered<'a>(
    (system, partition): (SystemId, PartitionId),
    applied: Position,
    log: &'a [Delivery],
    more: &[&'a Delivery],
) -> Result<Ordered<'a>, LogError> {
    let placed_in = |delivery: &'a Delivery| place((system, partition), delivery).map(|place| (delivery, place));
    let stood: Vec<(&Delivery, Place)> = log.iter().filter_map(placed_in).collect();
    let mut rewritten = Rewritten { before: stood.len(), applied: 0, copies: 0, now: 0, is_changed: false, missing: None };
    let (mut kept, mut others) = (BTreeMap::<Position, &Delivery>::new(), Vec::new());
    for (delivery, place) in stood.iter().copied().chain(more.iter().copied().filter_map(placed_in)) {
        match place {
            Place::Batch(at) if at <= applied => rewritten.applied += 1,
            Place::Batch(at) | Place::Called(at) => match kept.get(&at) {
                None => drop(kept.insert(at, delivery)),
                Some(known) if known.data == delivery.data => rewritten.copies += 1,
                Some(_) => return Err(LogError::Refused(format!("two different batches are called {partition}/{at}"))),
            },
            Place::Unknown => others.push(delivery),
        }
    }
    let expected = Position { sequence: applied.sequence.next(), ..applied };
    // A fence may follow anything: what it knows to be missing the projection finds.
    let first = kept.keys().next().filter(|first| first.sequence != Sequence::FENCE && **first != expected);
    rewritten.missing = first.map(|first| Position { sequence: first.sequence.previous(), ..*first });
    let messages: Vec<&Delivery> = kept.into_values().chain(others).collect();
    rewritten.now = messages.len();
    rewritten.is_changed = messages.len() != stood.len() || messages.iter().zip(&stood).any(|(kept, (stood, _))| kept.data != stood.data);
    Ok(Ordered { messages, rewritten })
}

#[derive(Clone, Copy)]
enum Place {
    /// That batch.
    Batch(Position),
    /// Its writer says that it is that batch; it can't be read here.
    Called(Position),
    Unknown,
}

/// Where a message belongs; none for a marker, which nobody needs any more.
fn place((system, partition): (SystemId, PartitionId), delivery: &Delivery) -> Option<Place> {
    match event::decode(&delivery.data) {
        Ok(batch) if batch == Batch::marker(partition) => None,
        // Another system's is not ours to drop.
        Ok(batch) if batch.partition == partition && batch.system.is_none_or(|theirs| theirs == system) => {
            Some(Place::Batch(position_of(&batch)))
        }
        Ok(_) => Some(Place::Unknown),
        Err(_) => {
            let id = delivery.properties.message_id().as_ref();
            Some(id.and_then(|id| called(partition, id.as_str())).map_or(Place::Unknown, Place::Called))
        }
    }
}

/// The position in `partition/epoch/sequence`.
fn called(partition: PartitionId, name: &str) -> Option<Position> {
    let (of, position) = name.split_once('/')?;
    let (epoch, sequence) = position.split_once('/')?;
    if of.parse::<u16>().ok()? != partition.get() {
        return None;
    }
    Some(Position { epoch: Epoch::new(epoch.parse().ok()?).ok()?, sequence: Sequence(sequence.parse().ok()?) })
}
