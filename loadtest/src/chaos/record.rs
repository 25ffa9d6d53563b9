//! What the buyers of a turn asked and were told, and the rows at its end: what the independent checker takes, and lines of a
//! file. Never judges by itself: [`doorbuster::history::check`] does.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use doorbuster::domain::{CommodityId, IdempotencyKey, OrderId, Quantity};
use doorbuster::history::{Asked, Call, CommodityRow, History, OrderRow, Rows, Told, check};
use serde::{Deserialize, Serialize};

use super::Scenario;
use crate::answer::{Answer, Verdict};
use crate::client::TransportError;
use crate::plan::Buyer;
use crate::sale::Known;
use crate::volley::Attempt;

/// How many violations are put into words.
const VIOLATIONS_MAX: usize = 10;

/// A turn. Times are microseconds from the start of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which turn.
    pub head: Head,
    /// Every call, in the order they were asked.
    pub calls: Vec<Noted>,
    /// From when on all had come to rest; what was asked since then must have a definite answer.
    pub rest_us: u64,
    /// Orders that were lost on purpose. What was said of them is looked at by whoever did that, and is nothing that could be true any more.
    pub lost: BTreeSet<OrderId>,
    /// The rows at the end.
    pub rows: Rows,
}

/// Which turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// What was done in it.
    pub scenario: Scenario,
    /// What repeats it.
    pub seed: u64,
}

/// A call, with what only people want to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// When it should have been asked; none if nobody was waiting for a turn.
    pub due_us: Option<u64>,
    /// Who was asked.
    pub node: String,
    /// Status and code, or why there was no answer.
    pub answer: String,
    /// The call.
    pub call: Call,
}

/// A line of the file. A turn begins with its head.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Turn(Head),
    Call(Noted),
    RestUs(u64),
    Lost(OrderId),
    Order(OrderRow),
    Commodity(CommodityRow),
}

impl Record {
    pub(super) const fn new(head: Head) -> Self {
        let rows = Rows { orders: Vec::new(), commodities: Vec::new() };
        Self { head, calls: Vec::new(), rest_us: u64::MAX, lost: BTreeSet::new(), rows }
    }

    /// Notes what a volley for one unit each came to.
    pub(super) fn note(&mut self, clock: &Clock, attempts: &[Attempt], commodity: CommodityId, buyers: &[Buyer]) -> anyhow::Result<()> {
        for attempt in attempts {
            let buyer = &buyers[attempt.buyer];
            // Where nothing but its key is known of an order, that is what it was placed under.
            let made = attempt.result.as_ref().ok().and_then(|answer| answer.retry_key.as_deref());
            let own = buyer.key.as_ref().map(|key| key.to_str()).transpose()?;
            let key = own.or(made).map(|key| IdempotencyKey::from_text(key).context("a key")).transpose()?;
            let asked = Asked::Place { commodity, user: buyer.user.into(), quantity: Quantity::ONE, key };
            let (answer, told) = match &attempt.result {
                Ok(answer) => (format!("{} {}", answer.status, answer.code), told(answer)),
                // Nobody was there to hear it.
                Err(error @ TransportError::Connect) => (error.words().to_owned(), Told::Busy),
                Err(error) => (error.words().to_owned(), Told::Nothing),
            };
            let due_us = Some(clock.micros(attempt.due));
            let (asked_at, told_at, via) = (clock.micros(attempt.sent), clock.micros(attempt.ended), attempt.target as u32);
            let call = Call { asked_at, told_at, via, asked, told };
            self.calls.push(Noted { due_us, node: clock.node(attempt.target), answer, call });
        }
        Ok(())
    }

    /// Notes a question about an order, asked at `since` and answered now.
    pub(super) fn note_look(&mut self, clock: &Clock, via: usize, order: OrderId, since: Instant, known: &Known) {
        let told = match known {
            Known::Order(acceptance) => Told::Order { order: acceptance.order, status: acceptance.status },
            Known::Pending => Told::Pending(Some(order)),
            Known::Refused => Told::Refused,
            Known::Nothing => Told::NotFound,
        };
        let (asked_at, told_at) = (clock.micros(since), clock.micros(Instant::now()));
        let call = Call { asked_at, told_at, via: via as u32, asked: Asked::Look(order), told };
        self.calls.push(Noted { due_us: None, node: clock.node(via), answer: format!("{known:?}"), call });
    }

    /// Holds what was told against the rows.
    ///
    /// # Errors
    /// The first violations.
    pub fn check(&self) -> anyhow::Result<()> {
        let violations = self.violations();
        let told: Vec<String> = violations.iter().take(VIOLATIONS_MAX).map(ToString::to_string).collect();
        ensure!(violations.is_empty(), "the history and the rows, {} violations: {}", violations.len(), told.join("; "));
        Ok(())
    }

    /// Everything that cannot be true.
    #[must_use]
    pub fn violations(&self) -> Vec<doorbuster::history::Violation> {
        let is_of_lost = |call: &&Call| about(call).is_some_and(|order| self.lost.contains(&order));
        let mut calls: Vec<Call> = self.calls.iter().map(|noted| &noted.call).filter(|call| !is_of_lost(call)).cloned().collect();
        calls.sort_by_key(|call| call.asked_at);
        check(&History { calls }, &self.rows, self.rest_us).violations
    }
}

/// Since when times are counted, and who is asked.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    pub(super) start: Instant,
    pub(super) nodes: Vec<String>,
}

impl Clock {
    pub(super) fn micros(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.start).as_micros() as u64
    }

    fn node(&self, index: usize) -> String {
        self.nodes.get(index).cloned().unwrap_or_default()
    }
}

/// The order that was asked for or told of.
fn about(call: &Call) -> Option<OrderId> {
    match (&call.asked, call.told) {
        (Asked::Look(order), _) => Some(*order),
        (_, Told::Accepted { order, .. } | Told::Order { order, .. } | Told::Pending(Some(order))) => Some(order),
        _ => None,
    }
}

fn told(answer: &Answer) -> Told {
    match &answer.verdict {
        Verdict::Accepted(acceptance) if answer.status == 201 => Told::Accepted { order: acceptance.order, status: acceptance.status },
        Verdict::Accepted(acceptance) => Told::Order { order: acceptance.order, status: acceptance.status },
        Verdict::Pending(id) => Told::Pending(*id),
        Verdict::Refused if answer.asks_to_come_again() => Told::Busy,
        Verdict::Refused if answer.status < 500 => Told::Refused,
        // Who cannot say what happened has said nothing.
        Verdict::Refused | Verdict::Malformed(_) => Told::Nothing,
    }
}

/// Writes records as JSON lines.
///
/// # Errors
/// If the file cannot be written.
pub fn write(file: &Path, records: &[Record]) -> anyhow::Result<()> {
    let wrong = || format!("cannot write {}", file.display());
    let mut out = BufWriter::new(std::fs::File::create(file).with_context(wrong)?);
    for record in records {
        let Rows { orders, commodities } = &record.rows;
        let lines = std::iter::once(Line::Turn(record.head.clone()))
            .chain(record.calls.iter().cloned().map(Line::Call))
            .chain([Line::RestUs(record.rest_us)])
            .chain(record.lost.iter().copied().map(Line::Lost))
            .chain(orders.iter().cloned().map(Line::Order))
            .chain(commodities.iter().cloned().map(Line::Commodity));
        for line in lines {
            serde_json::to_writer(&mut out, &line)?;
            out.write_all(b"\n").with_context(wrong)?;
        }
    }
    out.flush().with_context(wrong)
}

/// Reads what [`write()`] wrote.
///
/// # Errors
/// If the file is not there or not such a file.
pub fn read(file: &Path) -> anyhow::Result<Vec<Record>> {
    let mut records: Vec<Record> = Vec::new();
    for line in BufReader::new(std::fs::File::open(file).with_context(|| file.display().to_string())?).lines() {
        match (serde_json::from_str(&line?)?, records.last_mut()) {
            (Line::Turn(head), _) => records.push(Record::new(head)),
            (Line::Call(call), Some(record)) => record.calls.push(call),
            (Line::RestUs(rest), Some(record)) => record.rest_us = rest,
            (Line::Lost(order), Some(record)) => drop(record.lost.insert(order)),
            (Line::Order(row), Some(record)) => record.rows.orders.push(row),
            (Line::Commodity(row), Some(record)) => record.rows.commodities.push(row),
            (_, None) => bail!("a history begins with a turn"),
        }
    }
    Ok(records)
}
