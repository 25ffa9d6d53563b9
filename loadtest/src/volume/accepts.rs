//! How many durable orders a second the embedded server accepts on a file with many orders, beside one with none, in turns. The
//! empty file is a new one in each round: what one round sells is not in the way of the next.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use doorbuster::config::Config;

use super::close::{Closing, close};
use super::spread::{Spread, ratio};
use super::{Fill, Filled, fill_folder};
use crate::compare::{self, Contender, Round, Settings};
use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::plan::{self, Buyer};
use crate::report::{Table, rate, thousands};
use crate::sale::{Desk, order_shape};
use crate::server::{Kind, Launcher, ServerProcess};
use crate::tokens::Mint;

/// Buyers that orders are signed for; the commodities have no limit per user.
const BUYERS: usize = 10_000;
/// How long each server is asked before it is measured, at most.
const WARM_UP_MAX: Duration = Duration::from_secs(1);

/// What is measured.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Accepts {
    /// What the file is filled with.
    pub fill: Fill,
    /// Rounds on each file, at least 1.
    pub rounds: usize,
    /// Seconds of each.
    pub seconds: u64,
    /// Connections of each.
    pub connections: usize,
    /// Threads that drive them.
    pub threads: usize,
}

/// What was measured.
#[derive(Clone, Debug, serde::Serialize)]
pub struct AcceptsReport {
    /// Where.
    pub machine: Machine,
    /// What was asked for.
    pub accepts: Accepts,
    /// What came of closing the sales that are over; none if there are none.
    pub closing: Option<Closing>,
    /// Every round, in the order they ran.
    pub rounds: Vec<Round>,
    /// Orders a second without a past.
    pub empty: Option<Spread>,
    /// Orders a second with it.
    pub filled: Option<Spread>,
    /// Processor time of the server for one answer without a past, in nanoseconds: what else the machine does is not in it.
    pub empty_server_ns: Option<Spread>,
    /// The same with it.
    pub filled_server_ns: Option<Spread>,
    /// Median over the rounds of the rate with a past divided by the rate without, in hundredths of a percent.
    pub ratio_basis_points: Option<Spread>,
}

/// What stays the same over all rounds.
struct Scene<'a> {
    accepts: &'a Accepts,
    launcher: &'a Launcher,
    mint: &'a Mint,
    folder: &'a Path,
    config: Config,
    buyers: Arc<[Buyer]>,
}

/// A server on a data folder, and how many orders it has accepted.
struct Ground {
    data: PathBuf,
    filled: Filled,
    server: ServerProcess,
    accepted: u64,
}

/// Measures, with folders of its own in `folder`. `say` gets a line a round.
///
/// # Errors
/// If a server does not start, gives any answer but an accepted order, or has sold another number of units at the end.
pub async fn accepts(
    accepts: &Accepts,
    launcher: &Launcher,
    mint: &Mint,
    folder: &Path,
    say: impl Fn(String),
) -> anyhow::Result<AcceptsReport> {
    let mut config = Config::load(None)?;
    config.database.url = None;
    let buyers = plan::buyers(mint, BUYERS, 1, false)?;
    let scene = Scene { accepts, launcher, mint, folder, config, buyers };
    let mut filled = scene.ground("filled", accepts.fill).await?;
    let closing = scene.close(&filled).await?;
    if let Some(closing) = closing {
        say(closing.to_string());
    }
    let mut rounds = Vec::new();
    for round in 1..=accepts.rounds {
        let mut empty = scene.ground("empty", accepts.fill.emptied()).await?;
        // Neither always has the machine as the other leaves it.
        let mut turns = [("empty", &mut empty), ("filled", &mut filled)];
        if round % 2 == 0 {
            turns.reverse();
        }
        for (name, ground) in turns {
            let measured = scene.round(round, name, ground).await?;
            say(measured.to_string().trim_start().to_owned());
            rounds.push(measured);
        }
        let data = empty.data.clone();
        scene.end(empty).await.context("the empty file")?;
        std::fs::remove_dir_all(data)?;
    }
    scene.end(filled).await.context("the filled file")?;
    Ok(AcceptsReport::of(accepts, closing, rounds))
}

impl Scene<'_> {
    async fn ground(&self, name: &str, fill: Fill) -> anyhow::Result<Ground> {
        let data = self.folder.join(name);
        let filled = fill_folder(&data, fill).await?;
        let server = self.launcher.start(&Kind::Embedded { data: data.clone() }, &self.folder.join(format!("{name}.log"))).await?;
        Ok(Ground { data, filled, server, accepted: 0 })
    }

    async fn close(&self, ground: &Ground) -> anyhow::Result<Option<Closing>> {
        if ground.filled.over().is_empty() {
            return Ok(None);
        }
        let mut desk = Desk::new(ground.server.target().clone(), self.mint)?;
        Ok(Some(close(&mut desk, ground.filled.over().iter().map(|place| place.id)).await?))
    }

    async fn round(&self, round: usize, name: &'static str, ground: &mut Ground) -> anyhow::Result<Round> {
        let shape = order_shape(ground.filled.on_sale()[0].id, 1);
        let contender = Contender { name, server: &ground.server, shape, code: "accepted", against: name };
        let duration = Duration::from_secs(self.accepts.seconds);
        let settings = Settings {
            connections: self.accepts.connections,
            threads: self.accepts.threads,
            round: duration,
            rounds: self.accepts.rounds,
            buyers: Arc::clone(&self.buyers),
        };
        let warm_up = compare::one_round(0, &contender, &settings, duration.min(WARM_UP_MAX)).await?;
        let measured = compare::one_round(round, &contender, &settings, duration).await?;
        ground.accepted += warm_up.latency.count + measured.latency.count;
        Ok(measured)
    }

    /// Stops the server: what was accepted is in the file, and nothing else.
    async fn end(&self, ground: Ground) -> anyhow::Result<()> {
        ground.server.stop().await?;
        let first = ground.filled.on_sale()[0].id;
        let is_sold = |made: &super::Made| made.order.commodity == first && made.order.status.is_live();
        let expected = ground.filled.orders().filter(is_sold).count() as u64 + ground.accepted;
        let ledger = Ledger::open(&self.config, &ground.data).await?;
        let sold = ledger.taken(first).await?.unsigned_abs();
        ledger.close().await?;
        ensure!(sold == expected, "{expected} orders should be in the file, and {sold} units are sold in it");
        Ok(())
    }
}

impl AcceptsReport {
    fn of(accepts: &Accepts, closing: Option<Closing>, rounds: Vec<Round>) -> Self {
        let of = |name: &'static str| rounds.iter().filter(move |round| round.contender == name);
        let rates = |name| Spread::of(of(name).map(|round| round.per_second.round() as u64));
        let (empty, filled) = (rates("empty"), rates("filled"));
        let server_ns = |name| Spread::of(of(name).filter_map(|round| Some((round.server_us_per_answer? * 1e3).round() as u64)));
        let (empty_server_ns, filled_server_ns) = (server_ns("empty"), server_ns("filled"));
        let pairs = of("empty").filter_map(|empty| Some((empty.per_second, of("filled").find(|filled| filled.round == empty.round)?)));
        let ratio_basis_points = Spread::of(pairs.map(|(empty, filled)| (filled.per_second / empty * 1e4).round() as u64));
        Self {
            machine: Machine::here(),
            accepts: accepts.clone(),
            closing,
            empty,
            filled,
            empty_server_ns,
            filled_server_ns,
            ratio_basis_points,
            rounds,
        }
    }
}

impl std::fmt::Display for AcceptsReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut table = Table::new(&["accepted a second", "orders before", "rounds", "median", "least", "most", "server, an answer"]);
        let (per_second, percent) = (|figure| rate(figure as f64), |points: u64| format!("{:.1} %", points as f64 / 100.0));
        let nanos =
            |spread: Option<Spread>| spread.map_or_else(|| "-".to_owned(), |spread| format!("{:.1} µs", spread.median as f64 / 1e3));
        let sides =
            [("empty", 0, self.empty, self.empty_server_ns), ("filled", self.accepts.fill.orders(), self.filled, self.filled_server_ns)];
        for (name, orders, spread, server_ns) in sides {
            let mut line = vec![name.to_owned(), thousands(orders), self.accepts.rounds.to_string()];
            line.extend(Spread::cells(spread, per_second));
            line.push(nanos(server_ns));
            table.line(line);
        }
        let mut line = vec!["filled / empty".to_owned(), String::new(), String::new()];
        line.extend(Spread::cells(self.ratio_basis_points, percent));
        line.push(ratio(self.filled_server_ns, self.empty_server_ns));
        table.line(line);
        if let Some(closing) = &self.closing {
            writeln!(f, "  {closing}\n")?;
        }
        write!(f, "{table}\n  {}", self.machine)
    }
}
