//! The one place that reads the wall clock. Never used by `engine`, `event` or `ring`: they are told the time.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::Timestamp;

/// Where a shell takes its time from: the system's clock, or a test's.
pub type Clock = fn() -> Timestamp;

/// The system's wall clock, in whole milliseconds.
#[must_use]
pub fn system() -> Timestamp {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX)).unwrap_or(Timestamp::MAX)
}
