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
    /// The contender its rate is divided by.
    pub against: &'static str,
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
    /// The contender it is divided by.
    pub against: &'static str,
    /// Median over the rounds of this contender's rate divided by that contender's in the same round.
    pub median_ratio: f64,
    /// Medians of the rounds' percentiles, in microseconds.
    pub median_p50_us: f64,
    /// As above.
    pub median_p99_us: f64,
    /// As above.
    pub median_p999_us: f64,
    /// The code of its answers.
    pub code: &'static str,
    /// Answers of all rounds, the warm-up included.
    pub answers: u64,
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
    /// The contenders.
    pub summary: Vec<Summary>,
}

/// Runs one short round each to warm up, then the rounds in turns. Prints a line a round.
///
/// # Errors
/// If a contender gives any answer but the expected one, or none.
pub async fn compare(contenders: &[Contender<'_>], settings: &Settings) -> anyhow::Result<Comparison> {
    let mut rounds = Vec::new();
    for contender in contenders {
        rounds.push(one_round(0, contender, settings, settings.round.min(Duration::from_secs(1))).await?);
    }
    for round in 1..=settings.rounds {
        for contender in contenders {
            let measured = one_round(round, contender, settings, settings.round).await?;
            println!("{measured}");
            rounds.push(measured);
        }
    }
    let summary = contenders.iter().map(|contender| summarize((contender.name, contender.code), contender.against, &rounds)).collect();
    rounds.retain(|round| round.round > 0);
    Ok(Comparison {
        machine: Machine::here(),
        connections: settings.connections,
        round_seconds: settings.round.as_secs_f64(),
        rounds,
        summary,
    })
}

/// One round of one contender; all of its answers must have the contender's code.
pub(crate) async fn one_round(round: usize, contender: &Contender<'_>, settings: &Settings, duration: Duration) -> anyhow::Result<Round> {
    let server_before = contender.server.processor_time();
    let volley = Volley {
        targets: vec![contender.server.target().clone()],
        connections: settings.connections,
        threads: settings.threads,
        shape: contender.shape.clone(),
        buyers: Arc::clone(&settings.buyers),
        amount: Amount::For(duration),
        pace: None,
        sparing: None,
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

fn summarize((name, code): (&'static str, &'static str), against: &'static str, rounds: &[Round]) -> Summary {
    let all = rounds.iter().filter(|round| round.contender == name);
    let answers = all.clone().map(|round| round.latency.count).sum();
    let measured: Vec<&Round> = all.filter(|round| round.round > 0).collect();
    let theirs = rounds.iter().filter(|round| round.round > 0 && round.contender == against);
    let ratios = measured.iter().zip(theirs).map(|(mine, theirs)| mine.per_second / theirs.per_second).collect();
    let middle = |value: fn(&Round) -> f64| median(measured.iter().map(|round| value(round)).collect());
    Summary {
        contender: name,
        median_per_second: middle(|round| round.per_second),
        against,
        median_ratio: median(ratios),
        median_p50_us: middle(|round| round.latency.p50_us as f64),
        median_p99_us: middle(|round| round.latency.p99_us as f64),
        median_p999_us: middle(|round| round.latency.p999_us as f64),
        code,
        answers,
    }
}

/// The middle value, or the mean of the two middle ones.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
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
        write!(f, "  round {}  {:<22} {rate:>9}", self.round, self.contender)?;
        write!(f, "  p50 {p50:>8}  p99 {p99:>8}  p99.9 {p999:>8}  server {server:>6} an answer")
    }
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut table = Table::new(&["median of the rounds", "rate", "p50", "p99", "p99.9", "ratio", "to"]);
        for summary in &self.summary {
            let [p50, p99, p999] = [summary.median_p50_us, summary.median_p99_us, summary.median_p999_us];
            let [p50, p99, p999] = [p50, p99, p999].map(|micros| report::latency(micros as u64));
            let ratio = format!("{:.1} %", summary.median_ratio * 100.0);
            let (name, rate) = (summary.contender.to_owned(), report::rate(summary.median_per_second));
            table.line(vec![name, rate, p50, p99, p999, ratio, summary.against.to_owned()]);
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
            round(0, "bare", 1.0),
            round(0, "durable", 1.0),
            round(1, "bare", 100.0),
            round(1, "durable", 40.0),
            round(2, "bare", 50.0),
            round(2, "durable", 20.0),
            round(3, "bare", 90.0),
            round(3, "durable", 45.0),
        ];
        let summary = summarize(("durable", "accepted"), "bare", &rounds);
        assert!((summary.median_ratio - 0.4).abs() < 1e-9 && (summary.median_per_second - 40.0).abs() < 1e-9, "{summary:?}");
        assert_eq!((summary.answers, summary.median_p50_us), (4, 1.0), "the warm-up counts as answers and in nothing else");
    }

    #[test]
    fn the_median_of_an_even_count_is_the_mean_of_the_middle() {
        assert!((median(vec![4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
    }
}
