//! How long a commodity with many sold orders, or among many others, is not sold after its owner was killed: on a cluster of that past, beside a
//! cluster of none, in turns. Never asks the one that is killed: what counts is the first order through a node that is left.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use doorbuster::domain::{CommodityId, Epoch, PartitionId};
use futures_util::future::select_all;

use super::close::{Closing, close, forgotten};
use super::spread::{Spread, ratio};
use super::{Fill, Filled, seed_with_bar};
use crate::answer::{Answer, Verdict};
use crate::client::{Client, Shape};
use crate::cluster::{Cluster, Layout, Services, Special};
use crate::loopback::Target;
use crate::machine::Machine;
use crate::plan::{self, Buyer};
use crate::report::{Table, latency, thousands};
use crate::sale::{Desk, order_shape};
use crate::server::Launcher;
use crate::tokens::Mint;

/// Buyers who ask at the same time, one request at a time each.
const LANES: usize = 4;
/// How long each of them waits between an answer and the next request: what is measured is known to within it.
const PAUSE: Duration = Duration::from_millis(5);
/// How long the owner sells under their eyes before it is killed.
const LEAD: Duration = Duration::from_millis(200);
/// How long the commodity may be not sold.
const AGAIN_TIMEOUT: Duration = Duration::from_secs(180);
/// How long one answer may take: longer than requests wait for the next owner.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The partition that is filled if none is named.
const PARTITION: PartitionId = match PartitionId::new(0) {
    Ok(partition) => partition,
    Err(_) => unreachable!(),
};

/// What is measured.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Failover {
    /// What the database is filled with. Without one order, the other cluster has one commodity.
    pub fill: Fill,
    /// Whether that is spread over all partitions, and not all in one.
    pub is_spread: bool,
    /// Nodes that sell in each cluster, at least 2.
    pub nodes: usize,
    /// Kills on each cluster, at least 1.
    pub turns: u32,
}

/// One cluster over all turns.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Side {
    /// Commodities on sale.
    pub commodities: u32,
    /// Orders before the first turn.
    pub orders: u64,
    /// From the start of all processes until each is ready and every partition is sold from, in microseconds.
    pub start_us: u64,
    /// From just before each kill to the first order accepted in a later epoch, as its buyer saw it, in microseconds.
    pub pauses_us: Vec<u64>,
    /// Over all turns.
    pub pause_us: Option<Spread>,
}

/// What was measured.
#[derive(Clone, Debug, serde::Serialize)]
pub struct FailoverReport {
    /// Where.
    pub machine: Machine,
    /// What was asked for.
    pub failover: Failover,
    /// What came of closing the sales that are over; none if there are none.
    pub closing: Option<Closing>,
    /// Without orders.
    pub empty: Side,
    /// With them.
    pub filled: Side,
}

/// A cluster with that past.
struct Ground {
    cluster: Cluster,
    filled: Filled,
    start_us: u64,
    buyers: std::sync::Arc<[Buyer]>,
}

/// Measures on two clusters of its own, whose logs go into `folder`. `say` gets a line a turn.
///
/// # Errors
/// If a server is missing, or a commodity is not sold again in time.
pub async fn failover(
    failover: &Failover,
    launcher: &Launcher,
    mint: &Mint,
    folder: &Path,
    say: impl Fn(String),
) -> anyhow::Result<FailoverReport> {
    let partition = if failover.is_spread { None } else { failover.fill.partition.or(Some(PARTITION)) };
    let fill = Fill { partition, ..failover.fill };
    // Two clusters of the same would show nothing.
    let commodities = if fill.orders() == 0 { 1 } else { fill.commodities };
    let mut filled = Ground::new((fill, failover.nodes), launcher, mint, &folder.join("filled")).await?;
    let emptied = Fill { commodities, ..fill.emptied() };
    let mut empty = Ground::new((emptied, failover.nodes), launcher, mint, &folder.join("empty")).await?;
    for (ground, name) in [(&empty, "empty"), (&filled, "filled")] {
        say(format!("start    {name:<6}  ready after {}", latency(ground.start_us)));
    }
    let closing = filled.close(mint).await?;
    if let Some(closing) = closing {
        say(closing.to_string());
    }
    let mut pauses_us = [Vec::new(), Vec::new()];
    for turn in 1..=failover.turns {
        for (side, (ground, name)) in [(&mut empty, "empty"), (&mut filled, "filled")].into_iter().enumerate() {
            let pause = ground.turn(launcher).await.with_context(|| format!("turn {turn}, {name}"))?;
            say(format!("turn {turn:>2}  {name:<6}  sells again after {}", latency(pause)));
            pauses_us[side].push(pause);
        }
    }
    empty.cluster.stop().await?;
    filled.cluster.stop().await?;
    let [of_empty, of_filled] = pauses_us;
    Ok(FailoverReport {
        machine: Machine::here(),
        failover: Failover { fill, ..failover.clone() },
        closing,
        empty: Side::of(&empty, of_empty),
        filled: Side::of(&filled, of_filled),
    })
}

impl Ground {
    async fn new((fill, nodes): (Fill, usize), launcher: &Launcher, mint: &Mint, folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let (layout, services) = (Layout { spikes: nodes, consumers: 1 }, Services::from_environment());
        let mut cluster = Cluster::prepare(layout, &services, launcher, folder, Special::default()).await?;
        let store = cluster.store().await?;
        let filled = seed_with_bar(&store, fill).await?;
        store.close().await?;
        let began = Instant::now();
        cluster.run().await?;
        let start_us = began.elapsed().as_micros() as u64;
        Ok(Self { cluster, filled, start_us, buyers: plan::buyers(mint, LANES, 1, false)? })
    }

    async fn close(&self, mint: &Mint) -> anyhow::Result<Option<Closing>> {
        if self.filled.over().is_empty() {
            return Ok(None);
        }
        let mut desk = Desk::of(self.cluster.admin.target().clone(), self.cluster.targets()[0].clone(), mint)?;
        let since = doorbuster::clock::system();
        let closing = close(&mut desk, self.filled.over().iter().map(|place| place.id)).await?;
        if closing != Closing::Unable {
            let store = self.cluster.store().await?;
            forgotten(&store, since).await?;
            store.close().await?;
        }
        Ok(Some(closing))
    }

    fn commodity(&self) -> CommodityId {
        self.filled.on_sale()[0].id
    }

    /// Kills the owner and starts it again. How long the commodity was not sold, in microseconds.
    async fn turn(&mut self, launcher: &Launcher) -> anyhow::Result<u64> {
        self.cluster.wait_owned().await?;
        let (owner, epoch) = self.cluster.owner_of(self.commodity()).await?;
        let left = self.cluster.targets()[(owner + 1) % self.cluster.spikes.len()].clone();
        // The owner's row is there before the owner is done.
        self.accepted(&left, epoch).await.context("before the kill")?;
        let victim = &mut self.cluster.spikes[owner];
        let asking = accepted(&left, self.filled.on_sale()[0].id, &self.buyers, next(epoch)?);
        let kill = async {
            // Some requests come and go, so that every way is open when the owner goes.
            tokio::time::sleep_until((Instant::now() + LEAD).into()).await;
            let before = Instant::now();
            victim.kill().await?;
            anyhow::Ok(before)
        };
        let (again, killed) = tokio::try_join!(asking, kill)?;
        self.cluster.spikes[owner].start(launcher).await?;
        Ok(again.saturating_duration_since(killed).as_micros() as u64)
    }

    async fn accepted(&self, target: &Target, at_least: Epoch) -> anyhow::Result<Instant> {
        accepted(target, self.commodity(), &self.buyers, at_least).await
    }
}

fn next(epoch: Epoch) -> anyhow::Result<Epoch> {
    Ok(Epoch::new(epoch.get() + 1)?)
}

/// Asks until an order of that epoch or a later one is accepted. When it was.
async fn accepted(target: &Target, commodity: CommodityId, buyers: &[Buyer], at_least: Epoch) -> anyhow::Result<Instant> {
    let shape = order_shape(commodity, 1);
    let lanes = buyers.iter().map(|buyer| Box::pin(lane(target, &shape, buyer, at_least)));
    let first = tokio::time::timeout(AGAIN_TIMEOUT, select_all(lanes)).await;
    let (accepted, _, _) = first.map_err(|_| anyhow!("no order was accepted through {target} within {} s", AGAIN_TIMEOUT.as_secs()))?;
    Ok(accepted)
}

/// One buyer, who asks again whatever the answer.
async fn lane(target: &Target, shape: &Shape, buyer: &Buyer, at_least: Epoch) -> Instant {
    let mut client = Client::new(target.clone());
    let mut pause = tokio::time::interval(PAUSE);
    pause.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pause.tick().await;
        let Ok(response) = client.send(shape, Some(&buyer.authorization), None, ANSWER_TIMEOUT).await else { continue };
        match Answer::to_order(&response).verdict {
            Verdict::Accepted(acceptance) if acceptance.order.epoch() >= at_least => return Instant::now(),
            Verdict::Accepted(_) | Verdict::Pending(_) | Verdict::Refused | Verdict::Malformed(_) => {}
        }
    }
}

impl Side {
    fn of(ground: &Ground, pauses_us: Vec<u64>) -> Self {
        let (fill, pause_us) = (ground.filled.fill(), Spread::of(pauses_us.iter().copied()));
        Self { commodities: fill.commodities, orders: fill.orders(), start_us: ground.start_us, pauses_us, pause_us }
    }
}

impl std::fmt::Display for FailoverReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headings = ["owner killed", "commodities", "orders", "ready after", "turns", "sells again, median", "least", "most"];
        let mut table = Table::new(&headings);
        for (name, side) in [("empty", &self.empty), ("filled", &self.filled)] {
            let mut line = vec![name.to_owned(), thousands(side.commodities.into()), thousands(side.orders), latency(side.start_us)];
            line.push(side.pauses_us.len().to_string());
            line.extend(Spread::cells(side.pause_us, latency));
            table.line(line);
        }
        let ratio = ratio(self.filled.pause_us, self.empty.pause_us);
        let start = format!("{:.2}", self.filled.start_us as f64 / self.empty.start_us.max(1) as f64);
        let gap = String::new;
        table.line(vec!["filled / empty".to_owned(), gap(), gap(), start, gap(), ratio]);
        if let Some(closing) = &self.closing {
            writeln!(f, "  {closing}\n")?;
        }
        write!(f, "{table}\n  {}", self.machine)
    }
}
