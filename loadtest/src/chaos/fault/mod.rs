//! The damage itself, each kind in a file of its own. Only to processes of the cluster and to the server it is given.

mod alarm;
mod alternate;
mod brokers;
mod cable;
mod consumers;
mod control;
mod elsewhere;
mod lock;
mod log;
mod members;
mod network;
mod order;
mod processes;
mod purge;
mod put_back;
mod servers;
mod stall;
mod together;
mod transaction;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::ensure;
use doorbuster::domain::{CommodityId, OrderId};
use nix::sys::signal::Signal;
use rand::rngs::StdRng;

use super::Scenario;
use super::brokers::Brokers;
use super::proxy::Proxy;
use super::servers::PrivateServer;
use crate::cluster::Cluster;
use crate::outcome::NoOutcome;
use crate::tokens::Mint;
use crate::volley::Progress;

/// How long each thing that is waited for with [`until`] may take. A claim whose own fence is lost begins anew after a minute.
const BOUND: Duration = Duration::from_secs(150);
/// How often is looked.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What damage may be done to.
pub(super) struct Victims<'a> {
    /// The processes.
    pub(super) cluster: &'a mut Cluster,
    /// The server of the scenario's own.
    pub(super) server: &'a mut Option<PrivateServer>,
    /// The brokers of the scenario's own that are servers of one cluster.
    pub(super) brokers: &'a mut Brokers,
    /// The proxy of the scenario's own.
    pub(super) proxy: Option<&'a Proxy>,
    /// Who can have buyers.
    pub(super) mint: &'a Mint,
    /// How far the sale is.
    pub(super) progress: &'a Progress,
    /// How many units.
    pub(super) stock: u64,
    /// What is on sale.
    pub(super) commodity: CommodityId,
    /// The node it is sold by.
    pub(super) owner: usize,
    /// The seed of the turn.
    pub(super) seed: u64,
    /// Where all other choices come from.
    pub(super) random: &'a mut StdRng,
}

/// What was done and when.
#[derive(Debug)]
pub(super) struct Done {
    /// The moment before it.
    pub(super) at: Instant,
    /// When it was done, and what is gone began to be started again.
    pub(super) gone: (Instant, Instant),
    /// From the start of what was gone to its readiness.
    pub(super) ready: Duration,
    /// What was seen of the damage, by what it is.
    pub(super) figures: BTreeMap<&'static str, u64>,
    /// Orders that were accepted, and lost on purpose: refused by now.
    pub(super) lost: BTreeSet<OrderId>,
    /// Why it proves nothing, if everything else holds.
    pub(super) doubt: Option<anyhow::Error>,
}

impl Done {
    /// Begun `at`, in force from `gone` until it began to be mended at `began`, and all is well again now.
    fn now(at: Instant, gone: Instant, began: Instant) -> Self {
        Self { at, gone: (gone, began), ready: began.elapsed(), figures: BTreeMap::new(), lost: BTreeSet::new(), doubt: None }
    }

    /// With one more figure.
    fn with(mut self, what: &'static str, figure: u64) -> Self {
        self.figures.insert(what, figure);
        self
    }

    /// Done in a way that proves nothing.
    fn in_vain(self, why: anyhow::Error) -> Self {
        Self { doubt: Some(NoOutcome::mark(why)), ..self }
    }
}

/// Waits for a state, within a bound.
async fn until(what: &str, is_so: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let (began, mut pause) = (Instant::now(), tokio::time::interval(LOOK_INTERVAL));
    loop {
        pause.tick().await;
        if is_so().await? {
            return Ok(());
        }
        ensure!(began.elapsed() < BOUND, "waited {} s until {what}", BOUND.as_secs());
    }
}

/// Does the damage and mends it.
pub(super) async fn inflict(scenario: Scenario, victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    match scenario {
        Scenario::SpikeKilled => processes::spike_killed(victims).await,
        Scenario::OwnerKilled => processes::owner_killed(victims).await,
        Scenario::OwnerStopped => processes::owner_stopped(victims).await,
        Scenario::SpikesTogether => together::started(victims).await,
        Scenario::PartitionsMoved => together::moved(victims).await,
        Scenario::OwnerPaused => processes::owner_paused(victims).await,
        Scenario::NetworkCut => cable::cut(victims).await,
        Scenario::NodeJoins => members::node_joins(victims).await,
        Scenario::RollingRestart => members::rolling_restart(victims).await,
        Scenario::ConsumerKilled => consumers::both_killed(victims).await,
        Scenario::ConsumerKilledInTransaction => transaction::consumer_killed(victims).await,
        Scenario::LogShuffled => order::log_shuffled(victims).await,
        Scenario::PrefetchShrinks => alternate::prefetch_shrinks(victims).await,
        Scenario::ConsumersAlternate => alternate::consumers_alternate(victims).await,
        Scenario::PutBackKilled => put_back::killed(victims).await,
        Scenario::LogPurged => purge::purged(victims).await,
        Scenario::BrokerRestarted => servers::restarted(victims, Signal::SIGTERM).await,
        Scenario::BrokerKilled => servers::restarted(victims, Signal::SIGKILL).await,
        Scenario::LockDeleted => lock::deleted(victims).await,
        Scenario::LockExpires => lock::expires(victims).await,
        Scenario::BrokerPaused => servers::broker_paused(victims).await,
        Scenario::BrokerNodeKilled => brokers::one_killed(victims).await,
        Scenario::BrokerNodeCut => brokers::one_cut(victims).await,
        Scenario::BrokerRolling => brokers::rolling(victims).await,
        Scenario::ConnectionReset => network::reset(victims).await,
        Scenario::LogStalled => stall::stalled(victims).await,
        Scenario::MessagesDoubled => Ok(network::doubled()),
        Scenario::BrokerAlarm => alarm::raised(victims).await,
        Scenario::RowLost => control::row_lost(victims).await,
        Scenario::DatabaseAway => servers::database_away(victims, scenario.terms().lasts).await,
    }
}
