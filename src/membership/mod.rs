//! Who belongs to the cluster: heartbeats in the database, and what the nodes hear of each other. The ring is built from
//! it. A wrong view costs a hop or a wait, never correctness: the lock decides who owns a partition.

mod aside;
mod join;
mod roster;
mod watch;

pub use join::{JoinError, join};
pub use watch::{Ended, Membership, View};

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Config;
use crate::domain::NodeId;
use crate::event::LogVersion;

/// This process as a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Me {
    /// Its id.
    pub id: NodeId,
    /// Drawn at the start: two processes under one id are told apart by it.
    pub instance: u64,
    /// Where other nodes find it. None: it owns nothing and is nobody's peer (an admin process).
    pub address: Option<SocketAddr>,
    /// The newest form of the log that it reads and writes.
    pub log_version: LogVersion,
}

/// How often members are heard, and how long they are believed and waited for.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two heartbeats.
    pub interval: Duration,
    /// How long a heartbeat may stand still.
    pub stale: Duration,
    /// How long one whose broker came back must have kept it to count as having one.
    pub hold: Duration,
}

impl From<&Config> for Pace {
    fn from(config: &Config) -> Self {
        Self {
            interval: Duration::from_millis(config.node.heartbeat_interval_ms),
            stale: Duration::from_millis(config.node.heartbeat_stale_ms),
            // A connect that hung when the broker went is given up just before.
            hold: Duration::from_millis(config.broker.answer_timeout_ms) + Duration::from_secs(1),
        }
    }
}
