//! What came back: counts by status and code, latencies, and each single shot where it is kept. Never judges.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::answer::{Answer, Verdict};
use crate::client::TransportError;

/// The longest latency told apart from longer ones, in microseconds: ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;

/// One buyer's request and what came of its last attempt.
#[derive(Clone, Debug)]
pub struct Shot {
    /// The buyer's place in the plan.
    pub buyer: usize,
    /// The last attempt's answer, or why there is none.
    pub result: Result<Answer, TransportError>,
    /// Whether any attempt may have reached the server without an answer.
    pub in_doubt: bool,
    /// Which of the volley's targets the last attempt went to.
    pub target: usize,
    /// When the last attempt ended.
    pub ended: Instant,
}

impl Shot {
    /// Whether its order was accepted.
    #[must_use]
    pub const fn is_accepted(&self) -> bool {
        matches!(&self.result, Ok(Answer { verdict: Verdict::Accepted(_), .. }))
    }
}

/// Latencies in microseconds, three significant digits.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are sound"))
    }
}

/// The figures of one histogram, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Percentiles {
    /// How many latencies.
    pub count: u64,
    /// Half took at most this.
    pub p50_us: u64,
    /// Nine in ten.
    pub p90_us: u64,
    /// Ninety-nine in a hundred.
    pub p99_us: u64,
    /// 999 in a thousand.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl Latencies {
    /// Adds one.
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    /// The figures; none if nothing was recorded.
    #[must_use]
    pub fn percentiles(&self) -> Option<Percentiles> {
        let at = |quantile| self.0.value_at_quantile(quantile);
        (!self.0.is_empty()).then(|| Percentiles {
            count: self.0.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.0.max(),
        })
    }

    fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }
}

/// How many answers had one status and code.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Count {
    /// The HTTP status.
    pub status: u16,
    /// The code.
    pub code: String,
    /// How many.
    pub count: u64,
}

/// Everything that came back from a volley.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Final answers by status and code, sorted.
    pub answers: Vec<Count>,
    /// Requests that ended without an answer.
    pub transport: BTreeMap<TransportError, u64>,
    /// Attempts repeated, whatever for.
    pub retries: u64,
    /// Of those, attempts that were sent and came to nothing, by what came in place of an answer.
    pub failed_attempts: BTreeMap<String, u64>,
    /// Latencies of accepted orders.
    pub accepted: Latencies,
    /// Latencies of refusals.
    pub refused: Latencies,
    /// The first malformed answers, at most [`Tally::MALFORMED_MAX`].
    pub malformed: Vec<String>,
    /// Each request, where the volley keeps them.
    pub shots: Vec<Shot>,
    /// When the first request was (to be) sent.
    pub began: Option<Instant>,
    /// When the last answer was there.
    pub ended: Option<Instant>,
}

impl Tally {
    /// How many malformed answers are kept word by word.
    pub const MALFORMED_MAX: usize = 10;

    /// Counts the end of one request. `latency` counts from the intended send time where there is one.
    pub fn add(&mut self, shot: Shot, since: Instant, now: Instant, keep: bool) {
        self.began = Some(self.began.map_or(since, |began| began.min(since)));
        self.ended = Some(self.ended.map_or(now, |ended| ended.max(now)));
        match &shot.result {
            Ok(answer) => {
                self.count(answer.status, &answer.code, 1);
                match &answer.verdict {
                    Verdict::Accepted(_) => self.accepted.record(now.duration_since(since)),
                    Verdict::Refused => self.refused.record(now.duration_since(since)),
                    Verdict::Pending(_) => {}
                    Verdict::Malformed(why) => self.note_malformed(why),
                }
            }
            Err(error) => *self.transport.entry(*error).or_default() += 1,
        }
        if keep {
            self.shots.push(shot);
        }
    }

    /// Adds what another thread counted.
    pub fn merge(&mut self, other: Self) {
        for count in other.answers {
            self.count(count.status, &count.code, count.count);
        }
        for (error, count) in other.transport {
            *self.transport.entry(error).or_default() += count;
        }
        for why in &other.malformed {
            self.note_malformed(why);
        }
        self.retries += other.retries;
        for (why, count) in other.failed_attempts {
            *self.failed_attempts.entry(why).or_default() += count;
        }
        self.accepted.merge(&other.accepted);
        self.refused.merge(&other.refused);
        self.shots.extend(other.shots);
        self.began = [self.began, other.began].into_iter().flatten().min();
        self.ended = [self.ended, other.ended].into_iter().flatten().max();
        self.answers.sort_unstable();
    }

    /// How many requests got an answer.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answers.iter().map(|count| count.count).sum()
    }

    /// How many requests ended without one.
    #[must_use]
    pub fn unanswered(&self) -> u64 {
        self.transport.values().sum()
    }

    /// How many answers had a code.
    #[must_use]
    pub fn with_code(&self, code: &str) -> u64 {
        self.answers.iter().filter(|count| count.code == code).map(|count| count.count).sum()
    }

    /// How many answers had a status.
    #[must_use]
    pub fn with_status(&self, status: u16) -> u64 {
        self.answers.iter().filter(|count| count.status == status).map(|count| count.count).sum()
    }

    /// How many answers blame the server.
    #[must_use]
    pub fn server_errors(&self) -> u64 {
        self.answers.iter().filter(|count| count.status >= 500).map(|count| count.count).sum()
    }

    /// From the first request to the last answer.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        match (self.began, self.ended) {
            (Some(began), Some(ended)) => ended.duration_since(began),
            _ => Duration::ZERO,
        }
    }

    /// When the last accepted order was answered, where shots are kept.
    #[must_use]
    pub fn last_accept(&self) -> Option<Instant> {
        self.shots.iter().filter(|shot| shot.is_accepted()).map(|shot| shot.ended).max()
    }

    /// How many requests ended without a definite answer, where shots are kept: each may be an order all the same.
    #[must_use]
    pub fn undecided(&self) -> u64 {
        let is_pending = |shot: &&Shot| shot.in_doubt || matches!(&shot.result, Ok(Answer { verdict: Verdict::Pending(_), .. }));
        self.shots.iter().filter(is_pending).count() as u64
    }

    /// So many a second of the elapsed time.
    #[must_use]
    pub fn per_second(&self, count: u64) -> f64 {
        let seconds = self.elapsed().as_secs_f64();
        if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
    }

    fn count(&mut self, status: u16, code: &str, more: u64) {
        match self.answers.iter_mut().find(|count| count.status == status && count.code == code) {
            Some(count) => count.count += more,
            None => self.answers.push(Count { status, code: code.to_owned(), count: more }),
        }
    }

    fn note_malformed(&mut self, why: &str) {
        if self.malformed.len() < Self::MALFORMED_MAX {
            self.malformed.push(why.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str) -> Shot {
        let answer = Answer { status, code: code.into(), verdict: Verdict::Refused, retry_key: None, retry_after_seconds: None };
        Shot { buyer: 0, result: Ok(answer), in_doubt: false, target: 0, ended: Instant::now() }
    }

    #[test]
    fn tallies_of_threads_add_up() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (mut one, mut two) = (Tally::default(), Tally::default());
        one.add(refusal(409, "sold_out"), at(0), at(10), true);
        two.add(refusal(409, "sold_out"), at(5), at(25), true);
        two.add(refusal(500, "internal"), at(5), at(20), true);
        two.add(Shot { buyer: 1, in_doubt: true, result: Err(TransportError::Broken), ..refusal(500, "") }, at(5), at(20), true);
        one.merge(two);
        assert_eq!((one.answered(), one.unanswered(), one.with_code("sold_out"), one.server_errors()), (3, 1, 2, 1));
        assert_eq!((one.elapsed(), one.shots.len()), (Duration::from_millis(25), 4));
        assert_eq!(one.undecided(), 1);
        let pending =
            Answer { status: 202, code: "pending".into(), verdict: Verdict::Pending(None), retry_key: None, retry_after_seconds: None };
        one.add(Shot { result: Ok(pending), ..refusal(202, "") }, at(5), at(20), true);
        assert_eq!(one.undecided(), 2);
        let figures = one.refused.percentiles().unwrap();
        assert_eq!(figures.count, 3);
        assert!((19_900..=20_100).contains(&figures.max_us), "{figures:?}");
    }
}
