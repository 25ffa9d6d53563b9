//! `doorbuster log`: looks after the logs of partitions. What of a log is in the wrong order is written again; what is lost is lost, and an
//! operator lets its partition go on. It never works on the log of a partition that a node owns.

mod losses;
mod order;
mod repair;
mod whole;

use std::time::Duration;

pub use losses::{accept_loss, losses};
pub use order::Rewritten;
pub use repair::repair;

use crate::broker::BrokerError;
use crate::store::StoreError;
pub(super) use repair::rewrite;

/// How long the broker may take to confirm one message.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);

/// Why nothing was done to a log or a dead letter, in one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The broker did not do its part.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The database did not do its part.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing could be printed.
    #[error("cannot write: {0}")]
    Write(#[from] std::io::Error),
    /// There is none of that name.
    #[error("there is no dead letter {0}: see `doorbuster dead list`")]
    NoSuchLetter(String),
    /// It would change nothing, or cannot be done now; the reason.
    #[error("not done: {0}")]
    Refused(String),
}
