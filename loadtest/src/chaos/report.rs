//! What the turns met, for people and for files. Never judges: a turn that went wrong is an error, not a line.

use std::collections::BTreeMap;

use crate::compare::median;
use crate::machine::Machine;
use crate::report::{Table, latency, thousands};

use super::Chaos;

/// One turn, audited clean.
#[derive(Clone, Debug, serde::Serialize)]
pub struct TurnReport {
    /// Answers when the damage was done.
    pub answers_before: u64,
    /// Orders accepted under the load, before and after the damage, all of them rows.
    pub accepted: u64,
    /// Requests that ended pending or without an answer and were asked for until they had one.
    pub in_doubt: u64,
    /// Of those, orders.
    pub in_doubt_orders: u64,
    /// Attempts repeated by buyers: no answer, or told to come again.
    pub retries: u64,
    /// Orders accepted while what was hurt was gone and not being started again yet.
    pub accepted_while_gone: u64,
    /// How long that was, in milliseconds.
    pub gone_ms: u64,
    /// From the damage until this commodity was sold again, as a buyer saw it, in microseconds; none where selling goes on.
    pub pause_us: Option<u64>,
    /// The longest any buyer waited for one answer, from when the request was due.
    pub longest_wait_us: u64,
    /// Who owned the partition before the damage and after it, and in which epoch.
    pub owners: [String; 2],
    /// Questions whose answers were held against the rows.
    pub calls: u64,
    /// How long what was gone took to be ready again, in milliseconds.
    pub ready_ms: u64,
    /// What was seen of the damage, by what it is; times end in `, us`, rates in `, a second`.
    pub figures: BTreeMap<&'static str, u64>,
}

impl std::fmt::Display for TurnReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "after {} answers", self.answers_before)?;
        if let Some(pause) = self.pause_us {
            write!(f, ", sells again after {}", latency(pause))?;
        }
        if self.owners[0] != self.owners[1] {
            write!(f, " ({}, then {})", self.owners[0], self.owners[1])?;
        }
        write!(f, "; {} accepted, {} in doubt ({} orders)", self.accepted, self.in_doubt, self.in_doubt_orders)?;
        if self.gone_ms > 0 {
            write!(f, ", {} accepted in the {} ms it was gone", self.accepted_while_gone, self.gone_ms)?;
        }
        for (what, figure) in &self.figures {
            write!(f, ", {what}: {figure}")?;
        }
        write!(f, ", longest wait {}, {} retries", latency(self.longest_wait_us), self.retries)?;
        write!(f, ", ready again in {} ms; {} calls, clean", self.ready_ms, self.calls)
    }
}

/// All turns.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ChaosReport {
    /// Where it ran.
    pub machine: Machine,
    /// What was asked for.
    pub chaos: Chaos,
    /// Each turn, in order.
    pub turns: Vec<TurnReport>,
}

impl ChaosReport {
    /// Median and worst pause in microseconds; none where the owner does not change.
    #[must_use]
    pub fn pauses(&self) -> Option<(u64, u64)> {
        let pauses: Vec<u64> = self.turns.iter().filter_map(|turn| turn.pause_us).collect();
        let worst = *pauses.iter().max()?;
        Some((median(pauses.iter().map(|pause| *pause as f64).collect()) as u64, worst))
    }

    /// What was seen of the damage: the sum over all turns, of times the longest, of rates the lowest.
    fn figures(&self) -> BTreeMap<&'static str, u64> {
        let mut all: BTreeMap<&'static str, u64> = BTreeMap::new();
        for (what, figure) in self.turns.iter().flat_map(|turn| &turn.figures) {
            let together = |so_far: u64| match what {
                what if what.ends_with(", us") => so_far.max(*figure),
                what if what.ends_with(", a second") => so_far.min(*figure),
                _ => so_far + figure,
            };
            let figure = all.get(what).map_or(*figure, |so_far| together(*so_far));
            all.insert(what, figure);
        }
        all
    }

    /// The sum over all turns.
    #[must_use]
    pub fn sum(&self, of: impl Fn(&TurnReport) -> u64) -> u64 {
        self.turns.iter().map(of).sum()
    }
}

impl std::fmt::Display for ChaosReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut table = Table::new(&["", "in all"]);
        let mut line = |name: &str, value: String| table.line(vec![name.to_owned(), value]);
        line("turns, each audited clean", self.turns.len().to_string());
        line("accepted = rows", thousands(self.sum(|turn| turn.accepted)));
        line("oversold, undersold, duplicates", "0".to_owned());
        line("in doubt, all resolved", thousands(self.sum(|turn| turn.in_doubt)));
        line("of them orders", thousands(self.sum(|turn| turn.in_doubt_orders)));
        line("calls held against the rows", thousands(self.sum(|turn| turn.calls)));
        line("attempts repeated", thousands(self.sum(|turn| turn.retries)));
        if let Some((median, worst)) = self.pauses() {
            line("until it sells again, median", latency(median));
            line("until it sells again, worst", latency(worst));
        }
        for (what, figure) in self.figures() {
            line(what, thousands(figure));
        }
        line("longest wait for an answer", latency(self.turns.iter().map(|turn| turn.longest_wait_us).max().unwrap_or(0)));
        write!(f, "{table}\n  {}", self.machine)
    }
}
