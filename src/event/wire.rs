//! Batches to bytes and back: the mark `DB`, one byte of version, and a body of that version.
//!
//! Each version is a module of frozen types that no change of the domain's types can change. A body is in postcard's format
//! (<https://postcard.jamesmunns.com/wire-format>). It never guesses: what a newer release wrote is told apart from what is damaged,
//! because the first is to be kept and the second is not.

use serde::{Deserialize, Serialize};

use super::{Batch, v1, v2, v3, v4, v5};
use crate::domain::Invalid;
use crate::form::FormError;

/// A version of the wire form. A log may hold batches of several; which one is written is settled when a partition is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogVersion {
    /// Of the first release.
    V1 = 1,
    /// Smaller; knows whose order moved and that a commodity is closed.
    V2 = 2,
    /// Names its system, and what a fence knows to be confirmed.
    V3 = 3,
    /// Knows orders of other issuers' accounts.
    V4 = 4,
    /// Knows payments, and who moved an order.
    V5 = 5,
}

impl LogVersion {
    /// The one that every release reads.
    pub const OLDEST: Self = Self::V1;
    /// The newest that this release reads and writes.
    pub const NEWEST: Self = Self::V5;

    /// The version with that number.
    ///
    /// # Errors
    /// [`Invalid`] for a number this release does not know.
    pub const fn new(number: u8) -> Result<Self, Invalid> {
        match number {
            1 => Ok(Self::V1),
            2 => Ok(Self::V2),
            3 => Ok(Self::V3),
            4 => Ok(Self::V4),
            5 => Ok(Self::V5),
            _ => Err(Invalid("a version of the log must be from 1 to 5")),
        }
    }

    /// The number, as it is in the bytes.
    #[must_use]
    pub const fn get(self) -> u8 {
        self as u8
    }
}

impl std::fmt::Display for LogVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

/// Why a batch has no bytes in a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("version {version} of the log cannot hold {what}")]
pub struct Unwritable {
    /// The version.
    pub version: LogVersion,
    /// What it has no room for.
    pub what: &'static str,
}

/// Why bytes are no batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Nothing, or not begun with the two bytes `DB`.
    #[error("not an event batch (it does not begin with the mark)")]
    Foreign,
    /// Written by a newer release: to be kept, not thrown away.
    #[error("event batch of version {version}; this process reads up to {newest}")]
    Newer {
        /// The version of the batch.
        version: u8,
        /// The newest that is read here.
        newest: LogVersion,
    },
    /// Of a version that is known, but with a word in it that is not: to be kept, like what is newer.
    #[error("event batch with {0}, which this release does not know")]
    Unknown(String),
    /// The mark and the version are right and the rest is not.
    #[error("broken event batch: {0}")]
    Broken(String),
}

impl DecodeError {
    /// Whether another release may be able to read the bytes. Then they must stay where they are.
    #[must_use]
    pub const fn is_of_a_newer_release(&self) -> bool {
        match self {
            Self::Newer { .. } | Self::Unknown(_) => true,
            Self::Foreign | Self::Broken(_) => false,
        }
    }
}

impl From<Invalid> for DecodeError {
    fn from(error: Invalid) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<FormError> for DecodeError {
    fn from(error: FormError) -> Self {
        match error {
            FormError::Unknown(what) => Self::Unknown(what),
            FormError::Broken(why) => Self::Broken(why),
        }
    }
}

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
    let mut reader = Reader(body);
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
    match reader.0.len() {
        0 if batch.is_fence() && !batch.events.is_empty() => Err(DecodeError::Broken("a fence with events".to_owned())),
        0 => Ok(batch),
        rest => Err(DecodeError::Broken(format!("{rest} bytes too many"))),
    }
}

/// Appends a frozen value.
pub(super) fn put(out: Vec<u8>, value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, out).expect("a frozen type has nothing that postcard cannot write")
}

/// What is left of a body.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Takes a frozen value from the front.
    pub(super) fn take<T: Deserialize<'a>>(&mut self) -> Result<T, DecodeError> {
        let (value, rest) = postcard::take_from_bytes(self.0).map_err(|error| DecodeError::Broken(error.to_string()))?;
        self.0 = rest;
        Ok(value)
    }

    /// As [`take`](Self::take), of an enum with so many variants: another one is a word of a newer release.
    pub(super) fn take_one_of<T: Deserialize<'a>>(&mut self, variants: u32, what: &str) -> Result<T, DecodeError> {
        match Reader(self.0).take::<u32>()? {
            variant if variant < variants => self.take(),
            variant => Err(DecodeError::Unknown(format!("{what} {variant}"))),
        }
    }
}
