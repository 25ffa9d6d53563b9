//! `doorbuster migrate --finish`: the last step of an upgrade, when every process is of this release. Reads the database; asks no node.
//!
//! It only allows: what the release before cannot read is written from the next claim of each partition on. Nothing is lost if it was too
//! early: a process that cannot read a batch leaves it where it is.

use std::path::Path;
use std::time::Duration;

use crate::config::Config;
use crate::embedded::{self, StartError};
use crate::event::LogVersion;
use crate::store::{NodeRow, NodeState, Store, StoreError};

/// Why an upgrade is not finished: one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// There is no database, or its schema is of another release.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The database did not do its part.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nodes of an older release live.
    #[error("not finished: nodes still run an older release: {0}; upgrade them, then run this again")]
    OlderNodes(String),
}

/// Lets the log be written in the newest form of this release. What was done, in one line.
///
/// # Errors
/// [`UpgradeError::OlderNodes`] while a node of an older release is known to live, after which nothing is changed.
pub async fn finish(config: &Config, data: &Path) -> Result<String, UpgradeError> {
    let store = embedded::open_existing(config, data).await?;
    let older = living(&store, Duration::from_millis(config.node.heartbeat_interval_ms)).await?;
    if !older.is_empty() {
        return Err(UpgradeError::OlderNodes(older.join(", ")));
    }
    let newest = LogVersion::NEWEST;
    Ok(if store.raise_log_version().await? {
        format!("the log is written in version {newest} from now on, which the release before cannot read")
    } else {
        format!("the log was written in version {newest} before")
    })
}

/// The nodes of older releases whose heartbeat changes. Clocks differ: that it changes is all that means anything.
pub(super) async fn living(store: &Store, interval: Duration) -> Result<Vec<String>, StoreError> {
    let older = async || -> Result<Vec<NodeRow>, StoreError> {
        let mut nodes = store.nodes().await?;
        nodes.retain(|node| node.state != NodeState::Gone && node.log_version < LogVersion::NEWEST);
        Ok(nodes)
    };
    let before = older().await?;
    if before.is_empty() {
        return Ok(Vec::new());
    }
    tokio::time::sleep(interval * 4).await;
    let has_beaten = |now: &NodeRow| before.iter().all(|before| (&before.id, before.heartbeat_at) != (&now.id, now.heartbeat_at));
    Ok(older().await?.into_iter().filter(has_beaten).map(|node| node.id.to_string()).collect())
}
