//! Faults in the middle of sales, again and again on one cluster of our own, with an audit after each.
//!
//! Each turn opens a sale, lets keyed buyers ask for it at an even pace, does the damage at a moment the seed decides, and
//! then checks: what was pending has one answer, the same from every node, that agrees with the rows; a repeated request
//! gives the same order; the sale can be finished to exactly zero available; accepted = rows, nothing oversold or
//! undersold, nothing twice. Never touches servers or processes that are not its own.

mod brokers;
mod demands;
mod duplicates;
mod epmd;
mod fault;
mod group;
mod keyless;
mod lan;
mod operator;
mod place;
mod programs;
mod proxy;
pub mod record;
mod report;
mod scenario;
mod servers;
mod settle;
mod transactions;
mod turn;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use doorbuster::domain::Partitions;
use nix::sys::signal::Signal;

pub use report::{ChaosReport, TurnReport};
pub use scenario::Scenario;

use crate::cluster::{Cluster, Isolation, Services, Special};
use crate::files::writable;
use crate::outcome::{Doubt, NoOutcome};
use crate::plan::Pace;
use crate::server::Launcher;
use crate::tokens::Mint;
use crate::volley::Sparing;
use crate::volume::{Fill, seed_with_bar};
use brokers::Brokers;
use lan::Lan;
use place::Place;
use proxy::{Manner, Proxy};
use record::Clock;
use servers::{Kind, PrivateServer};
use turn::Scene;

/// How long what is pending may stay so, and a projection be behind, once everything runs again.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How the damage is done.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Chaos {
    /// What.
    pub scenario: Scenario,
    /// How often.
    pub times: u32,
    /// Decides when, and in which order buyers ask. Turn `n` alone is repeated by `times` 1 and this seed plus `n` - 1.
    pub seed: u64,
    /// Units of each sale.
    pub stock: u32,
    /// Buyers of each sale; more than `stock`.
    pub buyers: usize,
    /// Requests a second; fewer until the damage is over, where it lasts so long that the units would not.
    pub rate: u32,
    /// Keep-alive connections.
    pub connections: usize,
    /// How long requests may wait for the next owner (`partition.command_timeout_ms`), in milliseconds.
    pub patience_ms: u32,
    /// Whether buyers have no key, and ask nodes that are not the owner: what is pending is asked for under its `retry_key`.
    pub keyless: bool,
    /// Orders of commodities on sale that the database is filled with before the cluster starts, spread evenly over the partitions.
    pub live: u64,
    /// Where what everybody was told, and the rows, are written as JSON lines.
    #[serde(skip)]
    pub history: Option<PathBuf>,
}

impl Chaos {
    /// The damage comes before more than one in so many units is sold.
    fn damage_within(&self) -> u32 {
        let terms = self.scenario.terms();
        // Early, where it takes its time or waits for a publish: units must be left after it.
        if terms.lasts.max(terms.takes).is_zero() && terms.proxy != Some(Manner::Resetting) { 2 } else { 10 }
    }

    /// A pace until the damage is over, at which units are left then, however long it takes on this machine.
    fn sparing(&self) -> Sparing {
        let terms = self.scenario.terms();
        let lasts = terms.lasts.max(terms.takes).as_secs_f64();
        let left = f64::from(self.stock) * 0.7;
        let pace = Pace::new(if lasts > 0.0 { self.rate.min((left / lasts) as u32) } else { self.rate });
        Sparing { pace, units: self.stock as usize }
    }
}

/// Does it on a cluster of its own, whose logs go into `folder`. `say` gets a line a turn.
///
/// # Errors
/// The first violation, with the seed that repeats it, or whatever failed once the cluster was to start; or, marked with
/// [`NoOutcome`], what was missing before, and why a run proves nothing in which all else held.
pub async fn chaos(chaos: &Chaos, launcher: &Launcher, mint: Mint, folder: &Path, say: impl Fn(String)) -> anyhow::Result<ChaosReport> {
    let surroundings = surroundings(chaos, folder).await.map_err(NoOutcome::mark)?;
    let services = surroundings.services.clone();
    let mut scene = set(chaos, surroundings, launcher, mint, folder).await?;
    let turns = turns(&mut scene, say).await;
    let written = chaos.history.as_ref().map_or(Ok(()), |file| record::write(file, &scene.records));
    let turns = turns.and_then(|turns| keyless::met(chaos, turns));
    let turns = match turns {
        Err(error) if scene.server.is_none() && scene.brokers.servers.is_empty() => Err(with_what_is_away(error, &services).await),
        turns => turns,
    }?;
    written.map_err(NoOutcome::mark)?;
    Ok(ChaosReport { machine: crate::machine::Machine::here(), chaos: chaos.clone(), turns })
}

/// What the cluster is to be in: nothing of it is the project's own.
struct Surroundings {
    services: Services,
    isolation: Option<Isolation>,
    proxy: Option<Proxy>,
    server: Option<PrivateServer>,
    brokers: Brokers,
}

async fn surroundings(chaos: &Chaos, folder: &Path) -> anyhow::Result<Surroundings> {
    ensure!(chaos.buyers > chaos.stock as usize, "there must be more buyers than units");
    ensure!(
        !chaos.keyless || matches!(chaos.scenario, Scenario::OwnerKilled | Scenario::OwnerPaused),
        "buyers without keys need nodes that pass their orders on and are not hurt themselves: owner-killed or owner-paused"
    );
    // Better known now than when there is something to write.
    chaos.history.as_deref().map_or(Ok(()), writable)?;
    let mut services = Services::from_environment();
    let terms = chaos.scenario.terms();
    let server = match terms.server {
        Some(kind) => Some(PrivateServer::start(kind, folder).await?),
        None => None,
    };
    if let Some(server) = &server {
        match server.kind() {
            Kind::Broker => (services.amqp, services.amqp_is_ours) = (server.url(), true),
            Kind::Database => (services.mysql, services.mysql_is_ours) = (server.url(), true),
        }
    }
    let lan = match chaos.scenario {
        Scenario::BrokerNodeCut => Some(Lan::new(terms.brokers).await?),
        _ => None,
    };
    let place = |index| lan.as_ref().map_or(Place::HERE, |lan| Place::within(lan, index));
    let brokers = match terms.brokers {
        0 => Vec::new(),
        count => PrivateServer::start_brokers((0..count).map(place).collect(), folder).await?,
    };
    if let Some(first) = brokers.first() {
        (services.amqp, services.amqp_is_ours) = (first.url(), true);
        services.brokers_amqp = Some(servers::url_of_all(&brokers));
    }
    services.reach().await?;
    let proxy = match terms.proxy {
        Some(manner) => Some(Proxy::before(&services.amqp, manner).await?),
        None => None,
    };
    services.spikes_amqp = proxy.as_ref().map(|proxy| proxy.url().to_owned());
    let isolation = match chaos.scenario {
        Scenario::NetworkCut => Some(Isolation::new(&services.mysql, &services.amqp).await?),
        _ => None,
    };
    Ok(Surroundings { services, isolation, proxy, server, brokers: Brokers { servers: brokers, lan } })
}

/// All that the turns need, running.
async fn set<'a>(
    chaos: &'a Chaos,
    surroundings: Surroundings,
    launcher: &Launcher,
    mint: Mint,
    folder: &Path,
) -> anyhow::Result<Scene<'a>> {
    let Surroundings { services, isolation, proxy, mut server, brokers } = surroundings;
    let terms = chaos.scenario.terms();
    let patience = ("DOORBUSTER__PARTITION__COMMAND_TIMEOUT_MS", chaos.patience_ms.to_string());
    let own = terms.environment.iter().map(|(name, value)| (*name, (*value).to_owned()));
    let special = Special { isolation, environment: own.chain([patience]).collect() };
    let mut cluster = Cluster::prepare(terms.layout, &services, launcher, folder, special).await?;
    fill(&cluster, chaos.live).await?;
    cluster.run().await.context("the cluster does not start")?;
    if let (Scenario::BrokerKilled, Some(server)) = (chaos.scenario, &mut server) {
        // RabbitMQ 3.10 may forget queues that were declared some seconds before a kill. An orderly stop writes them down.
        server.end(Signal::SIGTERM).await?;
        server.restart().await?;
    }
    let nodes = (1..=cluster.spikes.len() + 1).map(|number| format!("spike-{number}")).collect();
    let clock = Clock { start: Instant::now(), nodes };
    // As above: what was declared just now is not to be lost to damage that comes too soon for it.
    brokers.can_each_be_spared().await?;
    Ok(Scene {
        chaos,
        cluster,
        server,
        brokers,
        proxy,
        mint,
        finished: Vec::new(),
        clock,
        records: Vec::new(),
        doubt: Doubt::default(),
        operator: None,
    })
}

/// Fills the cluster's database with so many orders.
async fn fill(cluster: &Cluster, live: u64) -> anyhow::Result<()> {
    if live == 0 {
        return Ok(());
    }
    let commodities = Partitions::DEFAULT.get().into();
    let fill =
        Fill { live, commodities, over: 0, over_commodities: 1, partition: None, keyed_percent: 50, cancelled_percent: 0, regular: 0 };
    let store = cluster.store().await?;
    seed_with_bar(&store, fill).await?;
    Ok(store.close().await?)
}

/// An error of a turn, and what may be the reason: a server that is not ours and has gone away meanwhile. It stays what it is: of
/// what was promised before, nobody can say any more that it held.
async fn with_what_is_away(error: anyhow::Error, services: &Services) -> anyhow::Error {
    match services.reach().await {
        Ok(()) => error,
        Err(away) => error.context(format!("{away:#}")),
    }
}

async fn turns(scene: &mut Scene<'_>, say: impl Fn(String)) -> anyhow::Result<Vec<TurnReport>> {
    let chaos = scene.chaos;
    let mut turns = Vec::new();
    for turn in 1..=chaos.times {
        let seed = chaos.seed.wrapping_add(u64::from(turn - 1));
        let done = scene.turn(seed).await.with_context(|| format!("turn {turn}: seed {seed} repeats it"))?;
        if let Some(doubt) = scene.doubt.take() {
            // Nothing was wrong in this turn. Before that is all that is said, all turns are looked at once more.
            scene.end().await.with_context(|| format!("after the end, seed {}", chaos.seed))?;
            return Err(doubt.context(format!("turn {turn}: seed {seed} repeats it")));
        }
        say(format!("turn {turn:>2}: {done}"));
        turns.push(done);
    }
    scene.end().await.with_context(|| format!("after the end, seed {}", chaos.seed))?;
    Ok(turns)
}
