//! The engines that a process runs: those of all partitions, or those that the ring gives it. Never decides who owns one.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::peers::{Peers, reach_teller};
use super::steward::Steward;
use super::{Base, StartError};
use crate::clock;
use crate::config::Config;
use crate::event::LogVersion;
use crate::ownership::ClusterOwnership;
use crate::ownership::embedded::EmbeddedOwnership;
use crate::partition::{self, Board, Inbox, Runner, Settings};
use crate::projection;

/// Whose engines a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engines {
    /// Nobody's.
    None,
    /// All of them, for as long as it lives: the log is its database, and the projection is here.
    All,
    /// Those of the partitions that the ring gives it, while it has their locks at the broker.
    Placed,
}

/// Engines that run.
pub(super) enum Running {
    None,
    All { ownership: Arc<EmbeddedOwnership>, runners: Vec<Runner>, stop: CancellationToken },
    Placed { ownership: Arc<ClusterOwnership>, steward: Option<JoinHandle<()>>, stop: CancellationToken },
}

impl Engines {
    /// Begins to run them.
    pub(super) fn start(self, config: &Config, base: &Base, board: &Arc<Board>, peers: Option<&Peers>) -> Result<Running, StartError> {
        let (store, stop) = (&base.store, base.stop.child_token());
        let settings = Settings::from(&config.partition);
        match (self, peers) {
            (Self::None, _) | (Self::Placed, None) => Ok(Running::None),
            (Self::All, _) => {
                let owner = config.node.id.clone();
                let ownership = Arc::new(EmbeddedOwnership::start(store.clone(), owner, &config.partition, clock::system));
                let spawn = |id| partition::spawn(id, settings, ownership.clone(), Arc::clone(board), clock::system, stop.clone());
                let runners = store.partitions().iter().map(spawn).collect();
                tokio::spawn(projection::keep_checkpoints((store.clone(), LogVersion::NEWEST), clock::system, base.stop.clone()));
                Ok(Running::All { ownership, runners, stop })
            }
            (Self::Placed, Some(peers)) => {
                let ownership = Arc::new(ClusterOwnership::start(config, store.clone(), clock::system)?);
                let board = Arc::clone(board);
                ownership.confirmed().ask_too(move |partition| board.confirmed(partition));
                tokio::spawn(base.stop.clone().run_until_cancelled_owned(ownership.tell_reach(reach_teller(&peers.local))));
                let steward = Steward { local: Arc::clone(&peers.local), ownership: ownership.clone(), settings, clock: clock::system };
                let steward = tokio::spawn(steward.run(peers.view.clone(), stop.clone()));
                Ok(Running::Placed { ownership, steward: Some(steward), stop })
            }
        }
    }
}

impl Running {
    /// The ways to all engines, where all are here.
    pub(super) fn inboxes(&self) -> Option<Vec<Inbox>> {
        match self {
            Self::All { runners, .. } => Some(runners.iter().map(|runner| runner.inbox.clone()).collect()),
            Self::None | Self::Placed { .. } => None,
        }
    }

    /// Gives up every partition after its last confirm. Nothing is left to do when it is done again.
    pub(super) async fn give_up(&mut self) {
        match self {
            Self::None => {}
            Self::All { runners, stop, .. } => {
                stop.cancel();
                for runner in runners.drain(..) {
                    runner.stopped().await;
                }
            }
            Self::Placed { steward, stop, .. } => {
                stop.cancel();
                if let Some(steward) = steward.take()
                    && let Err(error) = steward.await
                {
                    tracing::error!(%error, "the steward of the partitions ended abnormally");
                }
            }
        }
    }

    /// Closes what was needed to own them.
    pub(super) async fn stop(self) {
        match self {
            Self::None => {}
            Self::All { ownership, .. } => ownership.stop().await,
            Self::Placed { ownership, .. } => ownership.stop().await,
        }
    }
}
