//! Version 3 of the wire form, frozen. A batch names the system it belongs to, and a fence says what was known to be confirmed before it.
//!
//! Its events are those of version 2, byte for byte: what is frozen there is frozen here. No type of the domain is in here.

use serde::{Deserialize, Serialize};

use super::codec::{DecodeError, Reader, Unwritable, put};
use super::version::LogVersion;
use super::{Batch, v2};
use crate::domain::{Epoch, PartitionId, Sequence, SystemId};

#[derive(Serialize, Deserialize)]
struct Head {
    partition: u16,
    epoch: u32,
    sequence: u64,
    system: [u8; 16],
    /// Of a fence alone.
    known: Option<Known>,
    /// What the times in it count from, in Unix milliseconds.
    at: i64,
    events: u64,
}

/// A batch of an earlier epoch.
#[derive(Serialize, Deserialize)]
struct Known {
    epoch: u32,
    sequence: u64,
}

/// Appends the body of a batch.
pub(super) fn write(batch: &Batch, out: Vec<u8>) -> Result<Vec<u8>, Unwritable> {
    let system = batch.system.ok_or(Unwritable { version: LogVersion::V3, what: "a batch of no system" })?;
    if batch.known.is_some_and(|(before, _)| !batch.is_fence() || before >= batch.epoch) {
        return Err(Unwritable { version: LogVersion::V3, what: "a batch that knows of one that is not before it" });
    }
    let known = batch.known.map(|(epoch, sequence)| Known { epoch: epoch.get(), sequence: sequence.0 });
    let at = v2::counted_from(&batch.events);
    let head = Head {
        partition: batch.partition.get(),
        epoch: batch.epoch.get(),
        sequence: batch.sequence.0,
        system: system.to_bytes(),
        known,
        at,
        events: batch.events.len() as u64,
    };
    v2::write_events(batch, at, put(out, &head)).map_err(|error| Unwritable { version: LogVersion::V3, ..error })
}

/// Reads the body of a batch.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<Batch, DecodeError> {
    let head: Head = reader.take()?;
    let (partition, epoch) = (PartitionId::new(head.partition)?, Epoch::new(head.epoch)?);
    let known = match head.known {
        Some(known) => Some((Epoch::new(known.epoch)?, Sequence(known.sequence))),
        None => None,
    };
    let events = v2::read_events(reader, (partition, epoch, head.at), head.events)?;
    let batch = Batch::new(partition, epoch, Sequence(head.sequence), events).of_system(SystemId::from_bytes(head.system));
    if known.is_some_and(|(before, _)| !batch.is_fence() || before >= epoch) {
        return Err(DecodeError::Broken("a batch that knows of one that is not before it".to_owned()));
    }
    Ok(batch.knowing(known))
}
