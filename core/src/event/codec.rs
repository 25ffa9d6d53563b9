//! What the versions of the wire form are read and written with, and why that fails. Knows no version's types.

use serde::{Deserialize, Serialize};

use super::version::LogVersion;
use crate::domain::Invalid;
use crate::form::FormError;

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

/// Appends a frozen value.
pub(super) fn put(out: Vec<u8>, value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, out).expect("a frozen type has nothing that postcard cannot write")
}

/// What is left of a body.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Of that body, from its begin.
    pub(super) const fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    /// How many bytes are left.
    pub(super) const fn left(&self) -> usize {
        self.0.len()
    }

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
