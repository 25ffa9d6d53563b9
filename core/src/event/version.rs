//! Which versions of the log's wire form there are. Never reads or writes one.

use crate::domain::Invalid;

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
