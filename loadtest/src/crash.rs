//! `kill -9` in the middle of a race, again and again on the same data folder, with the proof that nothing was lost.
//!
//! Each turn opens a sale, lets keyed buyers race for it, kills the server at a moment the seed decides, starts it again and
//! checks: every order that was answered `201` is there for its buyer and in the database; all commodities balance; a
//! request that was in flight leads to one order when it is repeated, the same one however often; the sale can be
//! finished to exactly zero available. At the end all sales are held against the database once more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use doorbuster::config::Config;
use doorbuster::domain::{CommodityId, UserId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::answer::{Acceptance, Verdict};
use crate::audit::{Sale, Told};
use crate::client::TransportError;
use crate::ledger::Ledger;
use crate::loopback::Target;
use crate::outcome::NoOutcome;
use crate::plan::{self, Buyer};
use crate::sale::{Desk, Known, Offer, order_shape};
use crate::server::{Kind, Launcher, ServerProcess};
use crate::tally::{Shot, Tally};
use crate::tokens::Mint;
use crate::volley::{Amount, Progress, Volley, fire};

/// How the crashes are made.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Crash {
    /// How many.
    pub times: u32,
    /// Decides when, and in which order buyers ask.
    pub seed: u64,
    /// Units of each sale.
    pub stock: u32,
    /// Buyers of each sale; more than `stock`.
    pub buyers: usize,
    /// Keep-alive connections.
    pub connections: usize,
}

/// What the crashes met: a run in which no request was ever in flight proves little.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct CrashReport {
    /// Servers killed.
    pub killed: u32,
    /// Orders answered `201` or `200` before a kill, all of them found again.
    pub accepted_before: u64,
    /// Requests a kill left without an answer.
    pub in_flight: u64,
    /// Of those, requests whose order was on stable storage when the server died.
    pub in_flight_durable: u64,
    /// Of those, requests that are orders since they were repeated, those that had been included.
    pub in_flight_became_orders: u64,
    /// The longest time from the start of a server on a crashed folder to its readiness, in milliseconds.
    pub recovery_max_ms: u64,
}

impl std::fmt::Display for CrashReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "  {} kills; {} accepted orders, all found again", self.killed, self.accepted_before)?;
        write!(f, "  {} requests in flight, of them {} had become orders", self.in_flight, self.in_flight_durable)?;
        writeln!(f, " and {} were orders when repeated", self.in_flight_became_orders)?;
        write!(f, "  ready again within {} ms; clean", self.recovery_max_ms)
    }
}

/// A finished sale, to be looked at again at the end.
struct Finished {
    commodity: CommodityId,
    told: Told,
}

/// What stays the same over all turns.
struct Scene<'a> {
    crash: &'a Crash,
    launcher: &'a Launcher,
    kind: Kind,
    log: PathBuf,
    mint: Mint,
    config: Config,
    data: PathBuf,
    sale: Sale,
}

/// Crashes a server of its own in `folder` and checks. `say` gets a line a turn.
///
/// # Errors
/// The first violation, or whatever else failed once the server was to start; marked with [`NoOutcome`], what is wrong before that.
/// The seed is part of it.
pub async fn crash(crash: &Crash, launcher: &Launcher, mint: Mint, folder: &Path, say: impl Fn(String)) -> anyhow::Result<CrashReport> {
    run(crash, launcher, mint, folder, say).await.with_context(|| format!("seed {}", crash.seed))
}

async fn run(crash: &Crash, launcher: &Launcher, mint: Mint, folder: &Path, say: impl Fn(String)) -> anyhow::Result<CrashReport> {
    if crash.buyers <= crash.stock as usize {
        return Err(NoOutcome::mark(anyhow!("there must be more buyers than units")));
    }
    let mut config = Config::load(None).map_err(|error| NoOutcome::mark(error.into()))?;
    config.database.url = None;
    let data = folder.join("data");
    let scene = Scene {
        crash,
        launcher,
        kind: Kind::Embedded { data: data.clone() },
        log: folder.join("server.log"),
        mint,
        config,
        data,
        sale: Sale { stock: i64::from(crash.stock), quantity: 1 },
    };
    let mut random = StdRng::seed_from_u64(crash.seed);
    let mut report = CrashReport::default();
    let mut finished = Vec::new();
    let mut server = launcher.start(&scene.kind, &scene.log).await?;
    for turn in 1..=crash.times {
        let (next, sale, line) = scene.turn(server, &mut random, &mut report).await.with_context(|| format!("turn {turn}"))?;
        say(format!("turn {turn:>2}: {line}"));
        server = next;
        finished.push(sale);
    }
    server.stop().await?;
    let ledger = Ledger::open(&scene.config, &scene.data).await?;
    for sale in &finished {
        let audit = ledger.audit(sale.commodity, scene.sale, &sale.told, Duration::ZERO).await?;
        ensure!(audit.is_clean() && audit.rows_in_doubt == 0, "the sale of {} after the end: {audit:?}", sale.commodity);
    }
    ledger.close().await?;
    Ok(report)
}

impl Scene<'_> {
    /// One sale, killed in the middle and finished after the restart.
    async fn turn(
        &self,
        server: ServerProcess,
        random: &mut StdRng,
        report: &mut CrashReport,
    ) -> anyhow::Result<(ServerProcess, Finished, String)> {
        let offer = Offer { stock: self.crash.stock, limit_per_user: Some(1), hold_seconds: None };
        let commodity = Desk::new(server.target().clone(), &self.mint)?.open_sale(offer).await?;
        let buyers = plan::buyers(&self.mint, self.crash.buyers, random.random(), true)?;
        let before = self.race_and_kill(server, commodity, &buyers, random).await?;
        report.killed += 1;

        let began = Instant::now();
        let server = self.launcher.start(&self.kind, &self.log).await.context("the restart")?;
        let recovery_ms = began.elapsed().as_millis() as u64;
        let told = Told::by(&before.shots, &buyers);
        let durable = self.nothing_was_lost(&server, commodity, &told, &buyers).await?;
        let in_flight = self.repeat_in_flight(server.target(), commodity, &before.shots, &buyers, &told).await?;
        let became_orders = in_flight.accepted.len() as u64;
        let told = self.finish(server.target(), commodity, &before.shots, &buyers, told, in_flight).await?;

        let line = format!(
            "killed after {} answers, {} accepted, {} in flight ({durable} of them orders, {became_orders} when repeated), ready again in {recovery_ms} ms",
            before.answered(),
            before.with_code("accepted"),
            unanswered(&before.shots).count(),
        );
        report.accepted_before += before.with_code("accepted");
        report.in_flight += unanswered(&before.shots).count() as u64;
        report.in_flight_durable += durable;
        report.in_flight_became_orders += became_orders;
        report.recovery_max_ms = report.recovery_max_ms.max(recovery_ms);
        Ok((server, Finished { commodity, told }, line))
    }

    /// Fires all buyers and kills the server after a number of answers, and some microseconds, that the seed decides.
    async fn race_and_kill(
        &self,
        server: ServerProcess,
        commodity: CommodityId,
        buyers: &Arc<[Buyer]>,
        random: &mut StdRng,
    ) -> anyhow::Result<Tally> {
        let progress = Arc::new(Progress::with_milestone(random.random_range(1..=u64::from(self.crash.stock))));
        let jitter = Duration::from_micros(random.random_range(0..3_000));
        let target = server.target().clone();
        let kill = async {
            progress.reached().await;
            // The moment itself is what is sought: between two answers, at a time nothing announces.
            tokio::time::sleep_until((Instant::now() + jitter).into()).await;
            server.kill().await
        };
        let (tally, ()) = tokio::try_join!(fire(self.volley(&target, commodity, Arc::clone(buyers)), Arc::clone(&progress)), kill)?;
        Ok(tally)
    }

    /// Every accepted order is there for its buyer and in the database, and all commodities balance. How many buyers have an
    /// order without having been told.
    async fn nothing_was_lost(&self, server: &ServerProcess, commodity: CommodityId, told: &Told, buyers: &[Buyer]) -> anyhow::Result<u64> {
        let mut desk = Desk::new(server.target().clone(), &self.mint)?;
        for acceptance in &told.accepted {
            let buyer = buyers.iter().find(|buyer| buyer.user == acceptance.user).context("an order of nobody")?;
            let known = desk.order(acceptance.order, buyer).await?;
            ensure!(known == Known::Order(*acceptance), "order {} was answered 201 and is {known:?} after the restart", acceptance.order);
        }
        let ledger = Ledger::open(&self.config, &self.data).await?;
        ledger.all_balance().await?;
        // Refusals are not durable: "sold out" was true of units whose orders the crash undid before anybody was told.
        let told = Told { sold_out: 0, ..told.clone() };
        let audit = ledger.audit(commodity, self.sale, &told, Duration::ZERO).await?;
        ledger.close().await?;
        ensure!(audit.is_clean(), "after the restart: {audit:?}");
        Ok(audit.rows_in_doubt)
    }

    /// Repeats what was in flight, twice, and what was accepted, once: the same order each time.
    async fn repeat_in_flight(
        &self,
        target: &Target,
        commodity: CommodityId,
        shots: &[Shot],
        buyers: &[Buyer],
        told: &Told,
    ) -> anyhow::Result<Told> {
        let in_flight: Arc<[Buyer]> = unanswered(shots).map(|shot| buyers[shot.buyer].clone()).collect();
        let first = self.answered_by_all(target, commodity, Arc::clone(&in_flight)).await?;
        let second = self.answered_by_all(target, commodity, in_flight).await?;
        ensure!(orders(&first) == orders(&second), "repeated requests gave different orders: {first:?} then {second:?}");
        let users: BTreeSet<UserId> = told.accepted.iter().map(|acceptance| acceptance.user).collect();
        let accepted: Arc<[Buyer]> = buyers.iter().filter(|buyer| users.contains(&buyer.user)).cloned().collect();
        let replayed = self.answered_by_all(target, commodity, accepted).await?;
        ensure!(orders(&replayed) == orders(told), "repeated requests that were accepted before gave {replayed:?}");
        Ok(first)
    }

    /// Lets the buyers who were not served race for the rest, then holds everything against the database: nothing is left.
    async fn finish(
        &self,
        target: &Target,
        commodity: CommodityId,
        shots: &[Shot],
        buyers: &[Buyer],
        before: Told,
        in_flight: Told,
    ) -> anyhow::Result<Told> {
        let has_order: BTreeSet<UserId> = before.accepted.iter().chain(&in_flight.accepted).map(|acceptance| acceptance.user).collect();
        let rest = shots.iter().map(|shot| &buyers[shot.buyer]).filter(|buyer| !has_order.contains(&buyer.user)).cloned().collect();
        let last = self.answered_by_all(target, commodity, rest).await?;
        let accepted = [before.accepted, in_flight.accepted, last.accepted].concat();
        let told = Told { accepted, sold_out: last.sold_out, ..Told::default() };
        let ledger = Ledger::open(&self.config, &self.data).await?;
        let audit = ledger.audit(commodity, self.sale, &told, Duration::from_secs(5)).await?;
        ledger.close().await?;
        ensure!(audit.is_clean() && audit.counters.available == 0, "after the sale was finished: {audit:?}");
        Ok(told)
    }

    /// What these buyers are told when each asks once. All must be answered, with an order or with `sold_out`.
    async fn answered_by_all(&self, target: &Target, commodity: CommodityId, buyers: Arc<[Buyer]>) -> anyhow::Result<Told> {
        if buyers.is_empty() {
            return Ok(Told::default());
        }
        let tally = fire(self.volley(target, commodity, Arc::clone(&buyers)), Arc::default()).await?;
        let told = Told::by(&tally.shots, &buyers);
        let served = told.accepted.len() as u64 + told.sold_out;
        ensure!(served == buyers.len() as u64 && tally.malformed.is_empty(), "not an order or sold_out: {:?}", tally.answers);
        Ok(told)
    }

    fn volley(&self, target: &Target, commodity: CommodityId, buyers: Arc<[Buyer]>) -> Volley {
        Volley {
            targets: vec![target.clone()],
            connections: self.crash.connections.min(buyers.len()),
            threads: 1,
            shape: order_shape(commodity, 1),
            buyers,
            amount: Amount::EachBuyerOnce,
            pace: None,
            sparing: None,
            retries_max: 0,
            request_timeout: Duration::from_secs(10),
            time_limit: Duration::from_secs(60),
        }
    }
}

/// Requests that were sent and whose outcome their buyers do not know.
fn unanswered(shots: &[Shot]) -> impl Iterator<Item = &Shot> {
    shots.iter().filter(|shot| match &shot.result {
        Ok(answer) => matches!(answer.verdict, Verdict::Pending(_)),
        Err(error) => *error != TransportError::Connect,
    })
}

/// Orders by buyer.
fn orders(told: &Told) -> Vec<(UserId, doorbuster::domain::OrderId)> {
    let mut orders: Vec<_> = told.accepted.iter().map(|Acceptance { user, order, .. }| (*user, *order)).collect();
    orders.sort_unstable();
    orders
}
