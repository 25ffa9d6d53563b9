//! How long the embedded server takes from its start to its first yes, and how much memory it has then: on a file with many
//! orders, beside one with none, in turns. Never measures a server that was not stopped in order.

use doorbuster::config::Config;
use doorbuster::embedded;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::close::{Closing, close, forgotten};
use super::spread::{Spread, ratio};
use super::{Fill, Filled, fill_folder};
use crate::machine::Machine;
use crate::plan;
use crate::report::{Table, latency, thousands};
use crate::sale::{Desk, order_shape};
use crate::server::{Kind, Launcher, Memory, ServerProcess};
use crate::tokens::Mint;
use crate::volley::{Amount, Volley, fire};

/// How many buyers ask at once in the sale at the end.
const CONNECTIONS: usize = 64;
/// How long that sale may take.
const SALE_TIMEOUT: Duration = Duration::from_secs(120);

/// What is measured.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Restart {
    /// What the file is filled with.
    pub fill: Fill,
    /// Starts on each file, at least 1.
    pub rounds: u32,
    /// Orders placed after the last start, before memory is looked at once more.
    pub sale: u32,
}

/// One start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Start {
    /// From the start of the process to its first `200` on `/readyz`, in microseconds.
    pub ready_us: u64,
    /// The processor time it had used then, in all of its threads: what else the machine does is not in it. None where the system does
    /// not say.
    pub processor_ms: Option<u64>,
    /// Its memory then; none where the system does not say.
    pub memory: Option<Memory>,
}

/// All starts on one file.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Side {
    /// Orders in the file before the first of them.
    pub orders: u64,
    /// Each, in order.
    pub starts: Vec<Start>,
    /// Over all of them.
    pub ready_us: Option<Spread>,
    /// Over all of them, when ready.
    pub processor_ms: Option<Spread>,
    /// Over all of them, when ready.
    pub resident_kib: Option<Spread>,
    /// After the sale that followed the last.
    pub after_sale: Option<Memory>,
}

/// What was measured.
#[derive(Clone, Debug, serde::Serialize)]
pub struct RestartReport {
    /// Where.
    pub machine: Machine,
    /// What was asked for.
    pub restart: Restart,
    /// What came of closing the sales that are over; none if there are none.
    pub closing: Option<Closing>,
    /// Without orders.
    pub empty: Side,
    /// With them.
    pub filled: Side,
}

/// A data folder that servers are started on, one at a time.
struct Ground<'a> {
    launcher: &'a Launcher,
    mint: &'a Mint,
    data: PathBuf,
    log: PathBuf,
    filled: Filled,
}

/// Measures, with folders of its own in `folder`. `say` gets a line a start.
///
/// # Errors
/// If a server is not ready within a minute, or does not sell.
pub async fn restart(
    restart: &Restart,
    launcher: &Launcher,
    mint: &Mint,
    folder: &Path,
    say: impl Fn(String),
) -> anyhow::Result<RestartReport> {
    let empty = Ground::new("empty", restart.fill.emptied(), launcher, mint, folder).await?;
    let filled = Ground::new("filled", restart.fill, launcher, mint, folder).await?;
    let closing = filled.close().await?;
    if let Some(closing) = closing {
        say(closing.to_string());
    }
    let sides = [(&empty, "empty"), (&filled, "filled")];
    let mut starts = [Vec::new(), Vec::new()];
    let mut after = [None, None];
    for round in 1..=restart.rounds {
        // Neither always has the machine as the other leaves it.
        let order = if round % 2 == 1 { [0, 1] } else { [1, 0] };
        for side in order {
            let (ground, name) = sides[side];
            let (start, server) = ground.start().await.with_context(|| format!("round {round}, {name}"))?;
            say(format!("round {round}  {name:<6}  ready after {}  {}", latency(start.ready_us), words(start.memory)));
            starts[side].push(start);
            if round == restart.rounds {
                ground.sell(&server, restart.sale).await?;
                after[side] = server.memory();
            }
            server.stop().await?;
        }
    }
    let [of_empty, of_filled] = starts;
    Ok(RestartReport {
        machine: Machine::here(),
        restart: restart.clone(),
        closing,
        empty: Side::of(0, of_empty, after[0]),
        filled: Side::of(restart.fill.orders(), of_filled, after[1]),
    })
}

impl<'a> Ground<'a> {
    async fn new(name: &str, fill: Fill, launcher: &'a Launcher, mint: &'a Mint, folder: &Path) -> anyhow::Result<Self> {
        let data = folder.join(name);
        let filled = fill_folder(&data, fill).await?;
        Ok(Self { launcher, mint, data, log: folder.join(format!("{name}.log")), filled })
    }

    async fn start(&self) -> anyhow::Result<(Start, ServerProcess)> {
        let began = Instant::now();
        let server = self.launcher.start(&Kind::Embedded { data: self.data.clone() }, &self.log).await?;
        let ready_us = began.elapsed().as_micros() as u64;
        let processor_ms = server.processor_time().map(|time| time.as_millis() as u64);
        Ok((Start { ready_us, processor_ms, memory: server.memory() }, server))
    }

    async fn close(&self) -> anyhow::Result<Option<Closing>> {
        if self.filled.over().is_empty() {
            return Ok(None);
        }
        let (_, server) = self.start().await?;
        let mut desk = Desk::new(server.target().clone(), self.mint)?;
        let since = doorbuster::clock::system();
        let closing = close(&mut desk, self.filled.over().iter().map(|place| place.id)).await?;
        if closing != Closing::Unable {
            let mut config = Config::load(None)?;
            config.database.url = None;
            let store = embedded::open_existing(&config, &self.data).await?;
            forgotten(&store, since).await?;
            store.close().await?;
        }
        server.stop().await?;
        Ok(Some(closing))
    }

    async fn sell(&self, server: &ServerProcess, orders: u32) -> anyhow::Result<()> {
        if orders == 0 {
            return Ok(());
        }
        let volley = Volley {
            targets: vec![server.target().clone()],
            connections: CONNECTIONS.min(orders as usize),
            threads: 1,
            shape: order_shape(self.filled.on_sale()[0].id, 1),
            buyers: plan::buyers(self.mint, orders as usize, 1, false)?,
            amount: Amount::EachBuyerOnce,
            pace: None,
            sparing: None,
            retries_max: 0,
            request_timeout: Duration::from_secs(10),
            time_limit: SALE_TIMEOUT,
        };
        let tally = fire(volley, std::sync::Arc::default()).await?;
        let accepted = tally.with_code("accepted");
        ensure!(accepted == u64::from(orders), "of {orders} orders, {accepted} were accepted: {:?} {:?}", tally.answers, tally.transport);
        Ok(())
    }
}

impl Side {
    fn of(orders: u64, starts: Vec<Start>, after_sale: Option<Memory>) -> Self {
        let ready_us = Spread::of(starts.iter().map(|start| start.ready_us));
        let resident_kib = Spread::of(starts.iter().filter_map(|start| start.memory).map(|memory| memory.resident_kib));
        let processor_ms = Spread::of(starts.iter().filter_map(|start| start.processor_ms));
        Self { orders, starts, ready_us, processor_ms, resident_kib, after_sale }
    }

    fn peak_kib(&self) -> Option<u64> {
        self.starts.iter().filter_map(|start| start.memory).map(|memory| memory.peak_kib).max()
    }
}

fn mebibytes(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1_024.0)
}

fn words(memory: Option<Memory>) -> String {
    memory.map_or_else(
        || "memory unknown".to_owned(),
        |memory| format!("resident {}, at most {}", mebibytes(memory.resident_kib), mebibytes(memory.peak_kib)),
    )
}

impl std::fmt::Display for RestartReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = |kib: Option<u64>| kib.map_or_else(|| "-".to_owned(), mebibytes);
        let headings = ["embedded server", "orders", "ready, median", "least", "most", "processor", "resident", "peak", "after a sale"];
        let mut table = Table::new(&headings);
        for (name, side) in [("empty", &self.empty), ("filled", &self.filled)] {
            let mut line = vec![name.to_owned(), thousands(side.orders)];
            line.extend(Spread::cells(side.ready_us, latency));
            line.push(side.processor_ms.map_or_else(|| "-".to_owned(), |spread| latency(spread.median * 1_000)));
            let resident = side.resident_kib.map(|spread| spread.median);
            line.extend([resident, side.peak_kib(), side.after_sale.map(|memory| memory.resident_kib)].map(of));
            table.line(line);
        }
        let ready = ratio(self.filled.ready_us, self.empty.ready_us);
        let resident = ratio(self.filled.resident_kib, self.empty.resident_kib);
        let gap = String::new;
        let processor = ratio(self.filled.processor_ms, self.empty.processor_ms);
        table.line(vec!["filled / empty".to_owned(), gap(), ready, gap(), gap(), processor, resident]);
        if let Some(closing) = &self.closing {
            writeln!(f, "  {closing}\n")?;
        }
        write!(f, "{table}\n  {}", self.machine)
    }
}
