//! Which versions of the peer link there are. Never reads or writes one.

use crate::domain::Invalid;

/// A version of everything that travels between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerVersion {
    /// The first.
    V3 = 3,
    /// Knows what is closed.
    V4 = 4,
    /// Of the release before this one.
    V5 = 5,
    /// Knows other issuers' accounts.
    V6 = 6,
    /// Of this release: knows payments.
    V7 = 7,
}

impl PeerVersion {
    /// The oldest that this release speaks: what it begins with.
    pub const OLDEST: Self = Self::V3;
    /// The newest that this release speaks.
    pub const NEWEST: Self = Self::V7;

    /// The version with that number.
    ///
    /// # Errors
    /// [`Invalid`] for a number this release does not know.
    pub const fn new(number: u8) -> Result<Self, Invalid> {
        match number {
            3 => Ok(Self::V3),
            4 => Ok(Self::V4),
            5 => Ok(Self::V5),
            6 => Ok(Self::V6),
            7 => Ok(Self::V7),
            _ => Err(Invalid("a version of the peer link must be 3, 4, 5, 6 or 7")),
        }
    }

    /// The number, as it is in headers.
    #[must_use]
    pub const fn get(self) -> u8 {
        self as u8
    }

    /// What to use with a node whose newest version has that number: ours, theirs, or none if theirs is too old for us.
    #[must_use]
    pub fn common(self, theirs: u8) -> Option<Self> {
        if theirs >= self.get() { Some(self) } else { Self::new(theirs).ok() }
    }
}

impl std::fmt::Display for PeerVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}
