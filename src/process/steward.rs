//! Runs the tasks of the partitions that the ring gives this node, and no others. Never takes a partition by force: a task
//! claims, and the lock decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::PartitionId;
use crate::event::LogVersion;
use crate::membership::View;
use crate::ownership::Ownership;
use crate::partition::{self, Runner, Settings};
use crate::routing::peer::Local;
use crate::store::NodeState;

/// The tasks of this node.
pub(super) struct Steward {
    pub(super) local: Arc<Local>,
    pub(super) ownership: Arc<dyn Ownership>,
    pub(super) settings: Settings,
    pub(super) clock: Clock,
}

struct Running {
    runner: Runner,
    stop: CancellationToken,
    /// In which version it may write its log at least: its claim read it later.
    log_version: LogVersion,
}

impl Steward {
    /// Follows the view until `stop`; then gives up everything, in parallel, and ends when all of it is given up.
    pub(super) async fn run(self, mut view: watch::Receiver<Arc<View>>, stop: CancellationToken) {
        let mut running: BTreeMap<PartitionId, Running> = BTreeMap::new();
        let mut stopping: JoinSet<PartitionId> = JoinSet::new();
        let mut leaving: Vec<PartitionId> = Vec::new();
        loop {
            let (mut wanted, mut log_version) = (Vec::new(), LogVersion::OLDEST);
            if !stop.is_cancelled() {
                let view = view.borrow_and_update();
                (wanted, log_version) = (self.wanted(&view), view.log_version);
            }
            let mut unwanted: Vec<PartitionId> = running.keys().filter(|partition| !wanted.contains(partition)).copied().collect();
            // An upgrade was finished: what is written is settled at a claim. One at a time, so that the others sell meanwhile.
            let behind = running.iter().find(|(partition, running)| running.log_version < log_version && wanted.contains(partition));
            let behind = behind.map(|(partition, _)| *partition).filter(|_| leaving.is_empty());
            let all_serve = running.values().filter(|running| running.is_well()).all(|running| running.runner.inbox.is_serving());
            unwanted.extend(behind.filter(|_| all_serve));
            for partition in unwanted {
                let Running { runner, stop, .. } = running.remove(&partition).expect("it was just found");
                // First the way, then the task: what comes from now on looks for the next owner and waits for it there.
                self.local.set_inbox(partition, None);
                stop.cancel();
                leaving.push(partition);
                stopping.spawn(async move {
                    runner.stopped().await;
                    partition
                });
            }
            for partition in wanted {
                // One task at a time: a partition that comes back waits for its old task to end.
                if !running.contains_key(&partition) && !leaving.contains(&partition) {
                    running.insert(partition, self.begin(partition, log_version));
                }
            }
            if stop.is_cancelled() && stopping.is_empty() {
                return;
            }
            tokio::select! {
                Some(stopped) = stopping.join_next() => match stopped {
                    Ok(partition) => leaving.retain(|leaving| *leaving != partition),
                    Err(error) => tracing::error!(%error, "the wait for a partition task ended abnormally"),
                },
                changed = view.changed() => if changed.is_err() {
                    // Nobody keeps the view any more: the process is ending.
                    stop.cancelled().await;
                },
                () = serving(&running), if behind.is_some() && !all_serve => {}
                () = stop.cancelled(), if !stop.is_cancelled() => {}
            }
        }
    }

    fn wanted(&self, view: &View) -> Vec<PartitionId> {
        match view.state {
            NodeState::Active => view.placement.partitions_of(&self.local.id).collect(),
            NodeState::Joining | NodeState::Draining | NodeState::Gone => Vec::new(),
        }
    }

    fn begin(&self, partition: PartitionId, log_version: LogVersion) -> Running {
        let stop = CancellationToken::new();
        let (ownership, board) = (Arc::clone(&self.ownership), Arc::clone(&self.local.board));
        let runner = partition::spawn(partition, self.settings, ownership, board, self.clock, stop.clone());
        self.local.set_inbox(partition, Some(runner.inbox.clone()));
        Running { runner, stop, log_version }
    }
}

impl Running {
    /// Whether it serves or will: what is stopped for a reason may be so for long.
    fn is_well(&self) -> bool {
        self.runner.inbox.trouble().is_none()
    }
}

/// Waits until all of these tasks serve that are going to.
async fn serving(running: &BTreeMap<PartitionId, Running>) {
    for running in running.values().filter(|running| running.is_well()) {
        running.runner.inbox.served().await;
    }
}
