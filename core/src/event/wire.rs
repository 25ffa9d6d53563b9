//! Batches to bytes and back: the mark `DB`, one byte of version, and a body of that version.
//!
//! Each version is a module of frozen types that no change of the domain's types can change. A body is in postcard's format
//! (<https://postcard.jamesmunns.com/wire-format>). It never guesses: what a newer release wrote is told apart from what is damaged,
//! because the first is to be kept and the second is not.

use super::codec::{DecodeError, Reader, Unwritable};
use super::version::LogVersion;
use super::{Batch, v1, v2, v3, v4, v5};

/// The wire form of a batch in that version.
///
/// # Errors
/// [`Unwritable`]: that version has no form for something in it.
pub fn encode(batch: &Batch, version: LogVersion) -> Result<Vec<u8>, Unwritable> {
    let header = vec![b'D', b'B', version.get()];
    match version {
        LogVersion::V1 => v1::write(batch, header),
        LogVersion::V2 => v2::write(batch, header),
        LogVersion::V3 => v3::write(batch, header),
        LogVersion::V4 => v4::write(batch, header),
        LogVersion::V5 => v5::write(batch, header),
    }
}

/// Reads the wire form of any version up to [`LogVersion::NEWEST`]. Every value read is in its type's range; what is allocated is
/// bounded by the bytes that are there, whatever lengths they claim.
///
/// # Errors
/// [`DecodeError`], which says whether to keep the bytes for a newer release.
pub fn decode(bytes: &[u8]) -> Result<Batch, DecodeError> {
    decode_up_to(bytes, LogVersion::NEWEST)
}

/// As [`decode`], by a process that is held to an older version.
///
/// # Errors
/// As [`decode`].
pub fn decode_up_to(bytes: &[u8], newest: LogVersion) -> Result<Batch, DecodeError> {
    let [b'D', b'B', version, body @ ..] = bytes else { return Err(DecodeError::Foreign) };
    let mut reader = Reader::new(body);
    let batch = match LogVersion::new(*version) {
        Ok(version) if version > newest => return Err(DecodeError::Newer { version: version.get(), newest }),
        Ok(LogVersion::V1) => v1::read(&mut reader)?,
        Ok(LogVersion::V2) => v2::read(&mut reader)?,
        Ok(LogVersion::V3) => v3::read(&mut reader)?,
        Ok(LogVersion::V4) => v4::read(&mut reader)?,
        Ok(LogVersion::V5) => v5::read(&mut reader)?,
        Err(_) if *version == 0 => return Err(DecodeError::Foreign),
        Err(_) => return Err(DecodeError::Newer { version: *version, newest }),
    };
    match reader.left() {
        0 if batch.is_fence() && !batch.events.is_empty() => Err(DecodeError::Broken("a fence with events".to_owned())),
        0 => Ok(batch),
        rest => Err(DecodeError::Broken(format!("{rest} bytes too many"))),
    }
}
