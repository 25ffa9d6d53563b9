//! Two or more servers under the same load, in turns within one run: what the machine does meanwhile hits all of them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;

use crate::client::Shape;
use crate::machine::Machine;
use crate::plan::Buyer;
use crate::report::{self, Table};
use crate::server::ServerProcess;
use crate::tally::{Percentiles, Tally};
use crate::volley::{Amount, Progress, Volley, fire};

/// One side of the comparison.
#[derive(Clone, Debug)]
pub struct Contender<'a> {
    /// What to call it.
    pub name: &'static str,
    /// Where it is.
    pub server: &'a ServerProcess,
    /// What is sent to it.
    pub shape: Shape,
    /// The only code its answers may have.
    pub code: &'static str,
}

/// How to compare.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Connections of each round.
    pub connections: usize,
    /// Threads that drive them.
    pub threads: usize,
    /// How long a round lasts.
    pub round: Duration,
    /// Rounds for each contender, at least 1.
    pub rounds: usize,
    /// Who sends.
    pub buyers: Arc<[Buyer]>,
}

/// One round of one contender.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Round {
    /// 1, 2, 3 ...
    pub round: usize,
    /// Whose.
    pub contender: &'static str,
    /// Answers a second.
    pub per_second: f64,
    /// Processor time of the server for one answer, in microseconds; none where the system does not say.
    pub server_us_per_answer: Option<f64>,
    /// Their latencies.
    pub latency: Percentiles,
}

/// A contender over all rounds.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Summary {
    /// Whose.
    pub contender: &'static str,
    /// Median of the rounds' rates.
    pub median_per_second: f64,
    /// Median over the rounds of this contender's rate divided by the first contender's in the same round.
    pub median_ratio: f64,
}

/// All of a comparison.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Comparison {
    /// Where it was measured.
    pub machine: Machine,
    /// Connections of each round.
    pub connections: usize,
    /// Seconds of each round.
    pub round_seconds: f64,
    /// Every round, in the order they ran.
    pub rounds: Vec<Round>,
    /// The contenders, the first being what the others are measured against.
    pub summary: Vec<Summary>,
}

/// Runs one short round each to warm up, then the rounds in turns. Prints a line a round.
///
/// # Errors
/// If a contender gives any answer but the expected one, or none.
pub async fn compare(contenders: &[Contender<'_>], settings: &Settings) -> anyhow::Result<Comparison> {
    for contender in contenders {
        one_round(0, contender, settings, settings.round.min(Duration::from_secs(1))).await?;
    }
    let mut rounds = Vec::new();
    for round in 1..=settings.rounds {
        for contender in contenders {
            let measured = one_round(round, contender, settings, settings.round).await?;
            println!("{measured}");
            rounds.push(measured);
        }
    }
    let summary = contenders.iter().map(|contender| summarize(contender.name, contenders[0].name, &rounds)).collect();
    Ok(Comparison {
        machine: Machine::here(),
        connections: settings.connections,
        round_seconds: settings.round.as_secs_f64(),
        rounds,
        summary,
    })
}

async fn one_round(round: usize, contender: &Contender<'_>, settings: &Settings, duration: Duration) -> anyhow::Result<Round> {
    let server_before = contender.server.processor_time();
    let volley = Volley {
        targets: vec![contender.server.target().clone()],
        connections: settings.connections,
        threads: settings.threads,
        shape: contender.shape.clone(),
        buyers: Arc::clone(&settings.buyers),
        amount: Amount::For(duration),
        pace: None,
        retries_max: 0,
        request_timeout: Duration::from_secs(10),
        time_limit: duration,
    };
    let tally: Tally = fire(volley, Arc::new(Progress::default())).await?;
    ensure!(
        tally.unanswered() == 0 && tally.malformed.is_empty() && tally.with_code(contender.code) == tally.answered(),
        "{}: not every answer was {}:\n{}",
        contender.name,
        contender.code,
        report::answers(&tally)
    );
    let latencies = if contender.code == "accepted" { &tally.accepted } else { &tally.refused };
    let latency = latencies.percentiles().ok_or_else(|| anyhow::anyhow!("{}: no answers at all", contender.name))?;
    let server_time = contender.server.processor_time().zip(server_before).map(|(after, before)| after.saturating_sub(before));
    Ok(Round {
        round,
        contender: contender.name,
        per_second: tally.per_second(tally.answered()),
        server_us_per_answer: server_time.map(|time| time.as_secs_f64() * 1e6 / tally.answered() as f64),
        latency,
    })
}

fn summarize(name: &'static str, base: &'static str, rounds: &[Round]) -> Summary {
    let of = |name: &str| rounds.iter().filter(|round| round.contender == name).map(|round| round.per_second).collect::<Vec<_>>();
    let (mine, theirs) = (of(name), of(base));
    let ratios = mine.iter().zip(&theirs).map(|(mine, theirs)| mine / theirs).collect();
    Summary { contender: name, median_per_second: median(mine), median_ratio: median(ratios) }
}

/// The middle value, or the mean of the two middle ones.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

impl std::fmt::Display for Round {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99, p999] = [self.latency.p50_us, self.latency.p99_us, self.latency.p999_us].map(report::latency);
        let server = self.server_us_per_answer.map_or_else(|| "?".to_owned(), |micros| format!("{micros:.0} µs"));
        let rate = report::rate(self.per_second);
        write!(f, "  round {}  {:<17} {rate:>9}", self.round, self.contender)?;
        write!(f, "  p50 {p50:>8}  p99 {p99:>8}  p99.9 {p999:>8}  server {server:>6} an answer")
    }
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut table = Table::new(&["median", "rate", "of the first"]);
        for summary in &self.summary {
            let ratio = format!("{:.1} %", summary.median_ratio * 100.0);
            table.line(vec![summary.contender.to_owned(), report::rate(summary.median_per_second), ratio]);
        }
        write!(f, "{table}\n  {}\n", self.machine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ratio_pairs_rounds_of_the_same_turn() {
        let latency = Percentiles { count: 1, p50_us: 1, p90_us: 1, p99_us: 1, p999_us: 1, max_us: 1 };
        let round = |round, contender, per_second| Round { round, contender, per_second, server_us_per_answer: None, latency };
        // The machine was half as fast in the second turn, for both.
        let rounds = [
            round(1, "bare", 100.0),
            round(1, "durable", 40.0),
            round(2, "bare", 50.0),
            round(2, "durable", 20.0),
            round(3, "bare", 90.0),
            round(3, "durable", 45.0),
        ];
        let summary = summarize("durable", "bare", &rounds);
        assert!((summary.median_ratio - 0.4).abs() < 1e-9 && (summary.median_per_second - 40.0).abs() < 1e-9, "{summary:?}");
    }

    #[test]
    fn the_median_of_an_even_count_is_the_mean_of_the_middle() {
        assert!((median(vec![4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
    }
}
