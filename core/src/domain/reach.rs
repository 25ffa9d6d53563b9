//! Whether a node can reach the broker, as it tells others. Never says who owns a partition: the lock does.

use serde::{Deserialize, Serialize};

/// A node's way to the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// It has a session.
    Up,
    /// It has none right now: a reconnect, or an alarm of the broker, through which it keeps its locks.
    #[default]
    Down,
    /// It has had none for longer than a reconnect takes.
    Away,
}

impl Reach {
    /// Every one, in the order of their codes.
    pub const ALL: [Self; 3] = [Self::Up, Self::Down, Self::Away];

    /// The word used in JSON and in lists.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Away => "away",
        }
    }
}
