//! What many commodities on sale cost beside one: durable orders of one of them, and pages of their list, on two embedded servers in turns.
//! How long a page takes is asked of the server, and measured on one connection. Never asks for a page while orders are placed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use doorbuster::config::Config;
use doorbuster::domain::CommodityId;
use hyper::StatusCode;
use serde::Deserialize;

use super::spread::{Spread, ratio};
use super::{Fill, Filled, fill_folder};
use crate::client::{Client, Shape};
use crate::compare::{self, Contender, Round, Settings};
use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::plan::{self, Buyer};
use crate::report::{Table, latency, rate, thousands};
use crate::sale::order_shape;
use crate::server::{Kind, Launcher, ServerProcess};
use crate::tokens::Mint;

/// The list of commodities, as the server's metrics call it.
const ROUTE: &str = "/v1/commodities";
/// Commodities of a page.
const LIMIT: usize = 50;
/// Buyers that orders are signed for; the commodities have no limit per user.
const BUYERS: usize = 10_000;
/// How long each server is asked before it is measured, at most.
const WARM_UP_MAX: Duration = Duration::from_secs(1);
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What is measured.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Boards {
    /// Commodities on sale at the one server; the other has one.
    pub commodities: u32,
    /// Rounds on each, at least 1.
    pub rounds: usize,
    /// Seconds in which orders are placed, in each.
    pub seconds: u64,
    /// How often the first page is asked for in each, and how many pages behind it.
    pub pages: usize,
    /// Connections that place orders.
    pub connections: usize,
    /// Threads that drive them.
    pub threads: usize,
}

/// Pages of one kind in one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Pages {
    /// The mean of what the server says that each took it, in nanoseconds.
    pub server_ns: u64,
    /// How long they took as they were asked for, in microseconds.
    pub took_us: Spread,
}

/// One server over all rounds.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Side {
    /// Commodities on sale.
    pub commodities: u32,
    /// Every round of orders.
    pub rounds: Vec<Round>,
    /// The first page, in each round.
    pub first: Vec<Pages>,
    /// Pages behind it, in each round.
    pub behind: Vec<Pages>,
    /// Orders a second.
    pub per_second: Option<Spread>,
    /// Processor time of the server for one order, in nanoseconds.
    pub order_ns: Option<Spread>,
    /// The server's time for a first page, in nanoseconds.
    pub first_ns: Option<Spread>,
    /// The server's time for one behind it.
    pub behind_ns: Option<Spread>,
}

/// What was measured.
#[derive(Clone, Debug, serde::Serialize)]
pub struct BoardsReport {
    /// Where.
    pub machine: Machine,
    /// What was asked for.
    pub boards: Boards,
    /// With one commodity.
    pub one: Side,
    /// With many.
    pub many: Side,
    /// Of each round, the rate of orders with many commodities divided by that with one, in hundredths of a percent.
    pub ratio_basis_points: Option<Spread>,
}

/// A server on a data folder.
struct Ground<'a> {
    name: &'static str,
    settings: &'a Settings,
    data: PathBuf,
    filled: Filled,
    server: ServerProcess,
    /// Orders that it has accepted.
    accepted: u64,
}

/// One who reads pages.
struct Reader<'a> {
    server: &'a ServerProcess,
    client: Client,
    /// Commodities on a page.
    full: usize,
}

#[derive(Deserialize)]
struct Body {
    items: Vec<Item>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    id: CommodityId,
}

/// Measures, with folders of its own in `folder`. `say` gets a line a round.
///
/// # Errors
/// If a server does not start, gives any answer but the expected one, or has sold another number of units at the end.
pub async fn boards(
    boards: &Boards,
    launcher: &Launcher,
    mint: &Mint,
    folder: &Path,
    say: impl Fn(String),
) -> anyhow::Result<BoardsReport> {
    let buyers: Arc<[Buyer]> = plan::buyers(mint, BUYERS, 1, false)?;
    let settings = Settings {
        connections: boards.connections,
        threads: boards.threads,
        round: Duration::from_secs(boards.seconds),
        rounds: boards.rounds,
        buyers,
    };
    let mut one = Ground::new("one", 1, &settings, launcher, folder).await?;
    let mut many = Ground::new("many", boards.commodities, &settings, launcher, folder).await?;
    let mut sides = [Side::new(&one), Side::new(&many)];
    for round in 1..=boards.rounds {
        // Neither always has the machine as the other leaves it.
        let order = if round % 2 == 1 { [0, 1] } else { [1, 0] };
        for side in order {
            let ground = if side == 0 { &mut one } else { &mut many };
            let orders = ground.orders(round).await?;
            let [first, behind] = ground.pages(boards.pages).await.with_context(|| format!("round {round}, {}", ground.name))?;
            let [of_first, of_behind] = [first, behind].map(|pages| nanos(pages.server_ns));
            say(format!("{}  first page {of_first}  behind it {of_behind}", orders.to_string().trim_start()));
            let side = &mut sides[side];
            side.rounds.push(orders);
            side.first.push(first);
            side.behind.push(behind);
        }
    }
    one.end().await?;
    many.end().await?;
    let [one, many] = sides.map(Side::summed_up);
    let ratios = one.rounds.iter().zip(&many.rounds).map(|(one, many)| (many.per_second / one.per_second * 1e4).round() as u64);
    let ratio_basis_points = Spread::of(ratios);
    Ok(BoardsReport { machine: Machine::here(), boards: boards.clone(), one, many, ratio_basis_points })
}

impl<'a> Ground<'a> {
    async fn new(name: &'static str, commodities: u32, settings: &'a Settings, launcher: &Launcher, folder: &Path) -> anyhow::Result<Self> {
        let fill = Fill {
            live: 0,
            commodities,
            over: 0,
            over_commodities: 1,
            partition: None,
            keyed_percent: 0,
            cancelled_percent: 0,
            regular: 0,
        };
        let data = folder.join(name);
        let filled = fill_folder(&data, fill).await?;
        let server = launcher.start(&Kind::Embedded { data: data.clone() }, &folder.join(format!("{name}.log"))).await?;
        Ok(Self { name, settings, data, filled, server, accepted: 0 })
    }

    /// One round of orders of the first commodity.
    async fn orders(&mut self, round: usize) -> anyhow::Result<Round> {
        let shape = order_shape(self.filled.on_sale()[0].id, 1);
        let contender = Contender { name: self.name, server: &self.server, shape, code: "accepted", against: self.name };
        let warm_up = compare::one_round(0, &contender, self.settings, self.settings.round.min(WARM_UP_MAX)).await?;
        let measured = compare::one_round(round, &contender, self.settings, self.settings.round).await?;
        self.accepted += warm_up.latency.count + measured.latency.count;
        Ok(measured)
    }

    /// The first page, and then those behind it.
    async fn pages(&self, count: usize) -> anyhow::Result<[Pages; 2]> {
        let full = LIMIT.min(self.filled.on_sale().len());
        let mut reader = Reader { server: &self.server, client: Client::new(self.server.target().clone()), full };
        Ok([reader.pages(count, false).await?, reader.pages(count, true).await?])
    }

    /// Stops the server: what was accepted is in the file, and nothing else.
    async fn end(self) -> anyhow::Result<()> {
        self.server.stop().await?;
        let mut config = Config::load(None)?;
        config.database.url = None;
        let ledger = Ledger::open(&config, &self.data).await?;
        let sold = ledger.taken(self.filled.on_sale()[0].id).await?.unsigned_abs();
        ledger.close().await?;
        ensure!(sold == self.accepted, "{} orders were accepted, and {sold} units are sold in the file ({})", self.accepted, self.name);
        Ok(())
    }
}

impl Reader<'_> {
    /// Asks for so many pages, one at a time: always the first, or each time the next, and the first again behind the last.
    async fn pages(&mut self, count: usize, is_behind: bool) -> anyhow::Result<Pages> {
        let before = Served::of(self.server).await?;
        let (mut took_us, mut cursor, mut last) = (Vec::with_capacity(count), None, None);
        for _ in 0..count {
            let from = cursor.take().map(|cursor: String| format!("&cursor={cursor}")).unwrap_or_default();
            let sent = Instant::now();
            let body = self.page(&format!("{ROUTE}?limit={LIMIT}{from}")).await?;
            took_us.push(sent.elapsed().as_micros().max(1) as u64);
            ensure!(from.is_empty() || body.items.first().map(|item| item.id) > last, "a page does not begin behind the one before");
            last = body.items.last().map(|item| item.id);
            ensure!(body.items.len() == self.full || body.next_cursor.is_none() && !from.is_empty(), "a page of {}", body.items.len());
            cursor = body.next_cursor.filter(|_| is_behind);
        }
        let server_ns = Served::of(self.server).await?.mean_ns_since(before).context("the server counted no pages")?;
        Ok(Pages { server_ns, took_us: Spread::of(took_us).context("no pages")? })
    }

    async fn page(&mut self, path: &str) -> anyhow::Result<Body> {
        let answer = self.client.send(&Shape::get(path), None, None, ANSWER_TIMEOUT).await;
        let answer = answer.map_err(|error| anyhow::anyhow!("{path}: {}", error.words()))?;
        ensure!(answer.status == StatusCode::OK, "{path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        Ok(serde_json::from_slice(&answer.body)?)
    }
}

/// Pages that a server has served so far, as its metrics say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Served {
    count: f64,
    seconds: f64,
}

impl Served {
    async fn of(server: &ServerProcess) -> anyhow::Result<Self> {
        let answer = Client::new(server.target().clone()).send(&Shape::get("/metrics"), None, None, ANSWER_TIMEOUT).await;
        let answer = answer.map_err(|error| anyhow::anyhow!("/metrics: {}", error.words()))?;
        Ok(Self::read(std::str::from_utf8(&answer.body)?))
    }

    fn read(metrics: &str) -> Self {
        let value = |of: &str| {
            let name = format!("doorbuster_http_request_duration_seconds_{of}{{route=\"{ROUTE}\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or_default()
        };
        Self { count: value("count"), seconds: value("sum") }
    }

    /// What each took in the mean that was served since; none if there are none.
    fn mean_ns_since(self, before: Self) -> Option<u64> {
        let (count, seconds) = (self.count - before.count, self.seconds - before.seconds);
        (count > 0.0).then(|| (seconds / count * 1e9).round() as u64)
    }
}

impl Side {
    fn new(ground: &Ground<'_>) -> Self {
        let commodities = ground.filled.fill().commodities;
        let (rounds, first, behind) = (Vec::new(), Vec::new(), Vec::new());
        Self { commodities, rounds, first, behind, per_second: None, order_ns: None, first_ns: None, behind_ns: None }
    }

    fn summed_up(self) -> Self {
        let of_pages = |pages: &[Pages]| Spread::of(pages.iter().map(|pages| pages.server_ns));
        let per_second = Spread::of(self.rounds.iter().map(|round| round.per_second.round() as u64));
        let order_ns = self.rounds.iter().filter_map(|round| Some((round.server_us_per_answer? * 1e3).round() as u64));
        let (order_ns, first_ns, behind_ns) = (Spread::of(order_ns), of_pages(&self.first), of_pages(&self.behind));
        Self { per_second, order_ns, first_ns, behind_ns, ..self }
    }
}

fn nanos(nanos: u64) -> String {
    format!("{:.1} µs", nanos as f64 / 1e3)
}

impl std::fmt::Display for BoardsReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headings = [
            "medians of the rounds",
            "commodities",
            "orders a second",
            "least",
            "most",
            "server, an order",
            "server, first page",
            "most",
            "server, behind it",
            "most",
        ];
        let mut table = Table::new(&headings);
        for (name, side) in [("one", &self.one), ("many", &self.many)] {
            let mut line = vec![name.to_owned(), thousands(side.commodities.into())];
            line.extend(Spread::cells(side.per_second, |figure| rate(figure as f64)));
            line.push(Spread::cells(side.order_ns, nanos)[0].clone());
            for spread in [side.first_ns, side.behind_ns] {
                let [median, _, most] = Spread::cells(spread, nanos);
                line.extend([median, most]);
            }
            table.line(line);
        }
        let mut line = vec!["many / one".to_owned(), String::new()];
        line.extend(Spread::cells(self.ratio_basis_points, |points| format!("{:.1} %", points as f64 / 100.0)));
        let of_pages = [(self.many.first_ns, self.one.first_ns), (self.many.behind_ns, self.one.behind_ns)];
        line.push(ratio(self.many.order_ns, self.one.order_ns));
        for (many, one) in of_pages {
            line.extend([ratio(many, one), String::new()]);
        }
        table.line(line);
        let slowest = [&self.one, &self.many].map(|side| side.first.iter().map(|pages| pages.took_us.median).max().unwrap_or_default());
        writeln!(f, "{table}")?;
        writeln!(
            f,
            "  first page as asked for on one connection, the slowest round's median: {} and {}",
            latency(slowest[0]),
            latency(slowest[1])
        )?;
        write!(f, "  {}", self.machine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_those_of_the_list_of_commodities_and_of_this_round() {
        let metrics = "# TYPE doorbuster_http_request_duration_seconds histogram\n\
            doorbuster_http_request_duration_seconds_sum{route=\"/v1/commodities/{id}\"} 7\n\
            doorbuster_http_request_duration_seconds_sum{route=\"/v1/commodities\"} 0.5\n\
            doorbuster_http_request_duration_seconds_count{route=\"/v1/commodities\"} 1000\n";
        let after = Served::read(metrics);
        assert_eq!(after, Served { count: 1_000.0, seconds: 0.5 });
        assert_eq!(after.mean_ns_since(Served { count: 500.0, seconds: 0.25 }), Some(500_000));
        assert_eq!(after.mean_ns_since(after), None);
    }
}
