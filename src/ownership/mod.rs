//! Who runs a partition's engine: claim, serve, release. Never uses a clock or a time-out to decide who owns (promise 4).

mod applied;
mod climb;
mod cluster;
mod complaints;
mod confirmed;
mod connections;
pub mod embedded;
mod keeper;
pub(crate) mod protocol;
mod reach;
mod scout;

pub(crate) use applied::Applied;
pub use cluster::ClusterOwnership;
pub use confirmed::Confirmed;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::domain::{Epoch, PartitionId};
use crate::engine::Snapshot;
use crate::event::LogVersion;
use crate::log::Log;

/// How a process becomes and stops being the owner of partitions.
pub trait Ownership: Send + Sync {
    /// Takes a partition: lock, epoch, a look at the lock, what is known, fence, drain, load, look back. Resolves when the engine may serve.
    fn claim(&self, partition: PartitionId) -> BoxFuture<'_, Result<Claim, ClaimError>>;

    /// Gives a partition up after the last confirm. Safe to call for what is not owned.
    fn release(&self, partition: PartitionId) -> BoxFuture<'_, ()>;
}

/// What an owner holds.
pub struct Claim {
    /// The epoch that began with this claim's fence.
    pub epoch: Epoch,
    /// The state all earlier epochs left.
    pub snapshot: Snapshot,
    /// Where to append: tied to this claim, refuses once it is lost.
    pub log: Arc<dyn Log>,
    /// Cancelled when the claim is lost: nothing more will be confirmed.
    pub lost: CancellationToken,
    /// The version in which the log is written. Where it is not the newest, releases may take part that know nothing of what came with
    /// that.
    pub log_version: LogVersion,
    /// Where the projection is, whenever that changes; none where a confirm says that the batch is in the tables.
    pub applied: Option<Applied>,
}

/// Why a partition could not be taken now. The caller tries again later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// Somebody else lives and owns it.
    #[error("owned by another node")]
    Taken,
    /// The broker or the database did not do its part.
    #[error("{0}")]
    Unavailable(String),
    /// Its log lacks batches that were confirmed, or holds what contradicts the tables: an operator is needed.
    #[error("{0}")]
    LogIncomplete(String),
    /// There is no connection to the broker at this moment: whoever connects is at it, and says in the log what comes of it.
    #[error("{0}")]
    Disconnected(String),
    /// There is nothing to write to: the broker cannot be reached, or takes no messages; the file of an embedded server is gone.
    #[error("{0}")]
    LogAway(String),
}
