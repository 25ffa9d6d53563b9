//! N buyers, each with one request, for a stock that is too small. Ends with the audit.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use doorbuster::config::Config;
use doorbuster::domain::CommodityId;
use indicatif::{ProgressBar, ProgressStyle};

use crate::answer::Verdict;
use crate::audit::{Audit, Sale, Told};
use crate::cluster::Cluster;
use crate::drain::{Drain, Follower};
use crate::ledger::Ledger;
use crate::loopback::Target;
use crate::machine::Machine;
use crate::meters::{Confirms, Reading};
use crate::outcome::NoOutcome;
use crate::plan::{self, Buyer, Pace};
use crate::report;
use crate::sale::{Desk, Known, Offer, order_shape};
use crate::server::ServerProcess;
use crate::shares::Share;
use crate::tally::{Count, Percentiles, Shot, Tally};
use crate::tokens::Mint;
use crate::volley::{Amount, Progress, Volley, fire};

/// How long pending orders and a projection that is behind may take to settle.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a cluster's log may take to reach the database.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(120);
/// How long one attempt may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What is raced for, and how.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Race {
    /// Buyers, each with one request.
    pub buyers: usize,
    /// Units on sale.
    pub stock: u32,
    /// Units of one order.
    pub quantity: u32,
    /// Keep-alive connections.
    pub connections: usize,
    /// Threads that drive them.
    pub threads: usize,
    /// Requests a second in the open loop; none = closed loop.
    pub rate: Option<u32>,
    /// Seconds to pay; none = no payment needed.
    pub hold_seconds: Option<u32>,
    /// Decides the order of the buyers.
    pub seed: u64,
    /// How often a request is repeated, under its idempotency key, after no answer, 429 or 503.
    pub retries_max: u32,
    /// No request is begun later than this after the start, in seconds.
    pub time_limit_seconds: u64,
}

/// Where the race takes place.
#[derive(Debug)]
pub struct Track {
    /// The servers buyers ask.
    pub targets: Vec<Target>,
    /// The server operators ask.
    pub operators: Target,
    /// What signs tokens they accept.
    pub mint: Mint,
    /// The configuration they have.
    pub config: Config,
    /// The data folder they have.
    pub data: PathBuf,
    /// What of it is our own: it is stopped before the last audit.
    pub own: Own,
}

/// What of a track is our own.
#[derive(Debug)]
pub enum Own {
    /// Nothing: a server that runs already.
    Nothing,
    /// Nothing, of a cluster that runs already.
    NothingOfCluster,
    /// The one server.
    Server(Box<ServerProcess>),
    /// The whole cluster.
    Cluster(Box<Cluster>),
}

/// All that came of a race.
#[derive(Clone, Debug, serde::Serialize)]
pub struct RaceReport {
    /// Where it was measured.
    pub machine: Machine,
    /// What was asked for.
    pub race: Race,
    /// From the first request to the last answer.
    pub elapsed_seconds: f64,
    /// Answers a second.
    pub requests_per_second: f64,
    /// Accepted orders a second.
    pub accepts_per_second: f64,
    /// Answers by status and code.
    pub answers: Vec<Count>,
    /// Requests that ended without an answer.
    pub unanswered: u64,
    /// Attempts that were repeated.
    pub retries: u64,
    /// Latency of accepted orders.
    pub accepted_latency: Option<Percentiles>,
    /// Latency of refusals.
    pub refused_latency: Option<Percentiles>,
    /// How long batches of orders took to be confirmed, as the servers measured it.
    pub confirm_latency: Option<Confirms>,
    /// What each node did, where there are several.
    pub shares: Vec<Share>,
    /// How fast the log reached the database, in a cluster in which no request ended pending or without an answer.
    pub drain: Option<Drain>,
    /// The database while the server ran.
    pub audit: Audit,
    /// The database after the server had stopped, where it is our own.
    pub audit_after_stop: Option<Audit>,
    /// Everything that must not be; empty = the race was clean.
    pub violations: Vec<String>,
    /// What looks wrong and is not.
    pub remarks: Vec<String>,
    /// What tables are made of.
    #[serde(skip)]
    pub tally: Tally,
}

/// Runs a race and audits it.
///
/// # Errors
/// If the race could not be held or judged to its end; marked with [`NoOutcome`] if that is because of a server that is not our own, and
/// was not there when it was to begin. What went wrong in it otherwise is in the report.
pub async fn race(race: &Race, track: Track) -> anyhow::Result<RaceReport> {
    let Start { mut desk, commodity, ledger, before } = match (start(race, &track).await, &track.own) {
        (Err(error), Own::Nothing | Own::NothingOfCluster) => return Err(NoOutcome::mark(error)),
        (start, _) => start?,
    };
    let buyers = plan::buyers(&track.mint, race.buyers, race.seed, race.retries_max > 0)?;
    let volley = Volley {
        targets: track.targets.clone(),
        connections: race.connections,
        threads: race.threads,
        shape: order_shape(commodity, race.quantity),
        buyers: Arc::clone(&buyers),
        amount: Amount::EachBuyerOnce,
        pace: race.rate.map(Pace::new),
        retries_max: race.retries_max,
        request_timeout: REQUEST_TIMEOUT,
        time_limit: Duration::from_secs(race.time_limit_seconds),
    };
    let sale = Sale { stock: i64::from(race.stock), quantity: i64::from(race.quantity) };
    let (mut tally, drain) = match track.own {
        Own::Cluster(_) | Own::NothingOfCluster => drained(&ledger, commodity, sale.quantity, volley).await?,
        Own::Nothing | Own::Server(_) => (fire_with_bar(volley).await?, None),
    };
    let after = Reading::of_all(&track.targets).await?;
    // Before what was pending is asked for: a node has not accepted what it could not say.
    let shares = Share::of_all(&track.targets, &after, ledger.owner(commodity).await?.as_deref(), &tally.shots);
    let unsettled = settle(&mut tally.shots, &buyers, &mut desk).await?;
    let told = Told::by(&tally.shots, &buyers);
    let audit = ledger.audit(commodity, sale, &told, SETTLE_TIMEOUT).await?;
    ledger.close().await?;
    let after_stop = async || {
        let ledger = Ledger::open(&track.config, &track.data).await?;
        let audit = ledger.audit(commodity, sale, &told, Duration::ZERO).await?;
        ledger.close().await?;
        anyhow::Ok(Some(audit))
    };
    let audit_after_stop = match track.own {
        Own::Nothing | Own::NothingOfCluster => None,
        Own::Server(server) => {
            server.stop().await?;
            after_stop().await?
        }
        Own::Cluster(mut cluster) => {
            cluster.stop().await?;
            after_stop().await?
        }
    };
    let confirm_latency = Confirms::between(&before, &after);
    let mut report = RaceReport { shares, drain, confirm_latency, ..RaceReport::of(race, tally, told.undone, audit, audit_after_stop) };
    report.violations.extend(unsettled);
    Ok(report)
}

/// All that there is before anybody buys.
struct Start {
    desk: Desk,
    commodity: CommodityId,
    ledger: Ledger,
    before: Vec<Reading>,
}

async fn start(race: &Race, track: &Track) -> anyhow::Result<Start> {
    let mut desk = Desk::of(track.operators.clone(), track.targets[0].clone(), &track.mint)?;
    let offer = Offer { stock: race.stock, limit_per_user: Some(race.quantity), hold_seconds: race.hold_seconds };
    let commodity = desk.open_sale(offer).await?;
    let ledger = Ledger::open(&track.config, &track.data).await?;
    Ok(Start { desk, commodity, ledger, before: Reading::of_all(&track.targets).await? })
}

/// Fires the volley and follows the projection until what was accepted is in it. No figure of that where orders may be pending.
async fn drained(ledger: &Ledger, commodity: CommodityId, quantity: i64, volley: Volley) -> anyhow::Result<(Tally, Option<Drain>)> {
    let mut follower = Follower::of(ledger, commodity, quantity);
    let tally = follower.during(fire_with_bar(volley)).await??;
    let Some(last) = tally.last_accept() else { return Ok((tally, None)) };
    let accepted = tally.with_code("accepted") + tally.with_code("replayed");
    // Rows that never come are the audit's to find.
    let drain = follower.level(accepted, last, DRAIN_TIMEOUT).await?;
    // Rows are counted, and one of an order that is pending counts like any other: then nobody knows how many were behind.
    let drain = drain.filter(|_| tally.undecided() == 0);
    Ok((tally, drain))
}

impl RaceReport {
    fn of(race: &Race, tally: Tally, undone: u64, audit: Audit, audit_after_stop: Option<Audit>) -> Self {
        let available = audit.counters.available;
        let mut violations = faults(race, &tally, undone, available);
        violations.extend(audit.faults.iter().cloned());
        let after_stop = audit_after_stop.iter().flat_map(|audit| &audit.faults);
        violations.extend(after_stop.map(|fault| format!("after the stop: {fault}")));
        Self {
            machine: Machine::here(),
            race: race.clone(),
            elapsed_seconds: tally.elapsed().as_secs_f64(),
            requests_per_second: tally.per_second(tally.answered()),
            accepts_per_second: tally.per_second(tally.with_code("accepted")),
            answers: tally.answers.clone(),
            unanswered: tally.unanswered(),
            retries: tally.retries,
            accepted_latency: tally.accepted.percentiles(),
            refused_latency: tally.refused.percentiles(),
            confirm_latency: None,
            shares: Vec::new(),
            drain: None,
            audit,
            audit_after_stop,
            violations,
            remarks: remark(race, undone, available).into_iter().collect(),
            tally,
        }
    }
}

impl std::fmt::Display for RaceReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", report::answers(&self.tally))?;
        writeln!(f, "{}", report::latencies(&self.tally))?;
        writeln!(
            f,
            "  {} answers in {}: {}, of them {} accepted; {} retries",
            report::thousands(self.tally.answered()),
            report::seconds(self.tally.elapsed()),
            report::rate(self.requests_per_second),
            report::rate(self.accepts_per_second),
            self.retries,
        )?;
        if let Some(confirms) = &self.confirm_latency {
            writeln!(f, "  {}", report::confirms(confirms))?;
        }
        if let Some(drain) = &self.drain {
            writeln!(f, "  {}", report::drain(drain))?;
        }
        writeln!(f, "  {}\n", self.machine)?;
        if !self.shares.is_empty() {
            writeln!(f, "{}", report::shares(&self.shares))?;
        }
        writeln!(f, "{}", report::audits(&self.audit, self.audit_after_stop.as_ref()))?;
        for remark in &self.remarks {
            writeln!(f, "  {remark}")?;
        }
        for violation in &self.violations {
            writeln!(f, "  VIOLATION  {violation}")?;
        }
        if self.violations.is_empty() { write!(f, "  clean: no violation") } else { write!(f, "  NOT CLEAN (seed {})", self.race.seed) }
    }
}

/// Units that are left because requests which had been pending came to be refused, when nobody asked any more.
fn remark(race: &Race, undone: u64, available: i64) -> Option<String> {
    let quantity = i64::from(race.quantity);
    (undone > 0 && available >= quantity).then(|| {
        format!("{available} units are left, no violation: {undone} requests for {quantity} each had been pending and came to be refused")
    })
}

/// What must not be, as far as answers and the units left on sale show it. Units of requests that were undone may be left.
fn faults(race: &Race, tally: &Tally, undone: u64, available: i64) -> Vec<String> {
    let mut faults = tally.malformed.clone();
    let mut check = |holds: bool, fault: String| {
        if !holds {
            faults.push(fault)
        }
    };
    check(tally.server_errors() == 0, format!("{} answers of status 5xx", tally.server_errors()));
    check(tally.unanswered() == 0, format!("{} requests ended without an answer", tally.unanswered()));
    let limited = tally.with_status(429);
    check(limited == 0, format!("{limited} requests were turned away by a rate limit"));
    let not_sent = race.buyers as u64 - tally.answered() - tally.unanswered();
    check(not_sent == 0, format!("{not_sent} buyers did not get their turn within {} s", race.time_limit_seconds));
    // Who had no turn bought nothing: what is left then says nothing about the server.
    let enough_asked = not_sent == 0 && race.buyers as u64 * u64::from(race.quantity) >= u64::from(race.stock);
    let may_be_left = i64::from(race.quantity) * (undone as i64 + 1);
    check(!enough_asked || available < may_be_left, format!("{available} units are left, and buyers asked for all of them"));
    faults
}

/// Fires the volley and shows a bar meanwhile, if standard error is a terminal.
async fn fire_with_bar(volley: Volley) -> anyhow::Result<Tally> {
    let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} buyers, {per_sec}, {msg}")?;
    let bar = ProgressBar::new(volley.buyers.len() as u64).with_style(style);
    let progress = Arc::new(Progress::default());
    let mut firing = std::pin::pin!(fire(volley, Arc::clone(&progress)));
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            tally = &mut firing => {
                bar.finish_and_clear();
                return tally;
            }
            _ = tick.tick() => {
                bar.set_position(progress.done());
                bar.set_message(format!("{} accepted", report::thousands(progress.accepted())));
            }
        }
    }
}

/// Asks for every pending order until it is known, within a bound. What is broken: orders that stay pending, and ids that were given to
/// their buyers and that nobody knows.
async fn settle(shots: &mut [Shot], buyers: &[Buyer], desk: &mut Desk) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    let began = Instant::now();
    let mut pause = tokio::time::interval(Duration::from_millis(100));
    for shot in shots {
        let Ok(answer) = &mut shot.result else { continue };
        while let Verdict::Pending(Some(id)) = answer.verdict {
            if began.elapsed() >= SETTLE_TIMEOUT {
                broken.push(format!("order {id} is still pending after {SETTLE_TIMEOUT:?}"));
                break;
            }
            match desk.order(id, &buyers[shot.buyer]).await? {
                Known::Order(acceptance) => answer.verdict = Verdict::Accepted(acceptance),
                Known::Refused => answer.verdict = Verdict::Refused,
                Known::Nothing => {
                    broken.push(format!("order {id} was given to its buyer, and the server knows no such id"));
                    answer.verdict = Verdict::Refused;
                }
                Known::Pending => drop(pause.tick().await),
            }
        }
    }
    Ok(broken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;
    use crate::client::TransportError;

    const RACE: Race = Race {
        buyers: 2,
        stock: 3,
        quantity: 2,
        connections: 1,
        threads: 1,
        rate: None,
        hold_seconds: None,
        seed: 1,
        retries_max: 0,
        time_limit_seconds: 60,
    };

    fn ended(results: &[Result<(u16, &str), TransportError>]) -> Tally {
        let mut tally = Tally::default();
        for result in results.iter().copied() {
            let answer = |(status, code): (u16, &str)| Answer {
                status,
                code: code.into(),
                verdict: Verdict::Refused,
                retry_key: None,
                retry_after_seconds: None,
            };
            let now = Instant::now();
            tally.add(Shot { buyer: 0, result: result.map(answer), in_doubt: false, target: 0, ended: now }, now, now, false);
        }
        tally
    }

    #[test]
    fn units_that_are_left_are_a_fault_unless_too_few_could_ask() {
        let all = ended(&[Ok((409, "sold_out")); 2]);
        assert_eq!(faults(&RACE, &all, 0, 1), Vec::<String>::new(), "less than an order");
        assert_eq!(faults(&RACE, &all, 0, 2), ["2 units are left, and buyers asked for all of them"]);
        assert_eq!(faults(&RACE, &all, 1, 3), Vec::<String>::new(), "two of them came back");
        assert_eq!(faults(&RACE, &all, 1, 4), ["4 units are left, and buyers asked for all of them"]);
        assert!(remark(&RACE, 1, 3).is_some() && remark(&RACE, 0, 3).is_none() && remark(&RACE, 1, 1).is_none());
        assert_eq!(faults(&Race { stock: 5, ..RACE }, &all, 0, 3), Vec::<String>::new(), "fewer buyers than units");
        assert_eq!(faults(&RACE, &ended(&[Ok((409, "sold_out"))]), 0, 2), ["1 buyers did not get their turn within 60 s"]);
    }

    #[test]
    fn requests_that_were_not_decided_are_a_fault() {
        let undecided = ended(&[Err(TransportError::TimedOut), Ok((429, "rate_limited"))]);
        assert_eq!(faults(&RACE, &undecided, 0, 0), ["1 requests ended without an answer", "1 requests were turned away by a rate limit"]);
    }
}
