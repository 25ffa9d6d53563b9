//! Tables for people. Never computes a figure.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use crate::audit::Audit;
use crate::drain::Drain;
use crate::meters::Confirms;
use crate::shares::Share;
use crate::tally::{Percentiles, Tally};

/// Lines of cells, the first column left-aligned and the rest right-aligned.
#[derive(Clone, Debug)]
pub struct Table {
    lines: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    #[must_use]
    pub fn new(headings: &[&str]) -> Self {
        Self { lines: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    /// Adds a line.
    pub fn line(&mut self, cells: Vec<String>) {
        self.lines.push(cells);
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.lines.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |line: &'_ Vec<String>, column: usize| line.get(column).cloned().unwrap_or_default();
        let widths: Vec<usize> =
            (0..columns).map(|column| self.lines.iter().map(|line| cell(line, column).chars().count()).max().unwrap_or(0)).collect();
        for (number, line) in self.lines.iter().enumerate() {
            let mut text = String::from(" ");
            for (column, width) in widths.iter().enumerate() {
                let cell = cell(line, column);
                if column == 0 { write!(text, " {cell:<width$}")? } else { write!(text, "  {cell:>width$}")? }
            }
            writeln!(f, "{}", text.trim_end())?;
            if number == 0 {
                writeln!(f, "  {}", "─".repeat(widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1)))?;
            }
        }
        Ok(())
    }
}

/// A number with a comma at every thousand.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate, as a whole number.
#[must_use]
pub fn rate(per_second: f64) -> String {
    format!("{}/s", thousands(per_second.round() as u64))
}

/// A latency with a unit a person would choose.
#[must_use]
pub fn latency(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..100_000 => format!("{:.2} ms", micros as f64 / 1e3),
        100_000..10_000_000 => format!("{:.0} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// A duration in seconds.
#[must_use]
pub fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}

/// The latencies of a tally.
#[must_use]
pub fn latencies(tally: &Tally) -> Table {
    let mut table = Table::new(&["latency", "count", "p50", "p90", "p99", "p99.9", "max"]);
    for (name, latencies) in [("accepted", &tally.accepted), ("refused", &tally.refused)] {
        if let Some(figures) = latencies.percentiles() {
            table.line(latency_cells(name, &figures));
        }
    }
    table
}

/// How long batches took to be confirmed, in a line.
#[must_use]
pub fn confirms(confirms: &Confirms) -> String {
    let at_most = |edge: Option<u64>| edge.map_or_else(|| "beyond all buckets".to_owned(), |micros| format!("within {}", latency(micros)));
    format!(
        "{} batches, publish until confirm: mean {}, p50 {}, p90 {}, p99 {}, all {}",
        thousands(confirms.batches),
        latency(confirms.mean_us),
        at_most(confirms.p50_us_max),
        at_most(confirms.p90_us_max),
        at_most(confirms.p99_us_max),
        at_most(confirms.all_us_max),
    )
}

/// How fast the log reached the database, in a line.
#[must_use]
pub fn drain(drain: &Drain) -> String {
    match drain.rows_per_second {
        None => "no row was behind when the last order was accepted".to_owned(),
        Some(per_second) => format!(
            "{} rows were behind when the last order was accepted, in the database {:.3} s later: {}",
            thousands(drain.rows_behind),
            drain.seconds,
            rate(per_second)
        ),
    }
}

/// The answers of a tally, by status and code.
#[must_use]
pub fn answers(tally: &Tally) -> Table {
    let mut table = Table::new(&["answer", "status", "count"]);
    for count in &tally.answers {
        let code = if count.code.is_empty() { "(no code)" } else { &count.code };
        table.line(vec![code.to_owned(), count.status.to_string(), thousands(count.count)]);
    }
    for (error, count) in &tally.transport {
        table.line(vec![error.words().to_owned(), "-".to_owned(), thousands(*count)]);
    }
    table
}

/// What each node of a cluster did, and how much of it was passed on to the owner.
#[must_use]
pub fn shares(shares: &[Share]) -> Table {
    let all: u64 = shares.iter().map(|share| share.accepted).sum();
    let percent = |count: u64| if all == 0 { "-".to_owned() } else { format!("{:.1} %", count as f64 * 100.0 / all as f64) };
    let mut table = Table::new(&["node", "accepted", "share", ""]);
    for share in shares {
        let role = match share.owner {
            Some(true) => "the owner",
            Some(false) => "passed on",
            None => "",
        };
        table.line(vec![share.node.clone(), thousands(share.accepted), percent(share.accepted), role.to_owned()]);
    }
    if shares.iter().all(|share| share.owner.is_some()) {
        let passed_on = shares.iter().filter(|share| share.owner == Some(false)).map(|share| share.accepted).sum();
        table.line(vec!["passed on in all".to_owned(), thousands(passed_on), percent(passed_on)]);
    }
    table
}

/// What the audit found, while the server ran and after it had stopped.
#[must_use]
pub fn audits(live: &Audit, after_stop: Option<&Audit>) -> Table {
    let all: Vec<&Audit> = std::iter::once(live).chain(after_stop).collect();
    let headings = ["audit", "live", "after the stop"];
    let mut table = Table::new(&headings[..=all.len()]);
    let mut line = |name: &str, value: &dyn Fn(&Audit) -> String| {
        table.line(std::iter::once(name.to_owned()).chain(all.iter().map(|audit| value(audit))).collect());
    };
    line("accepted by HTTP", &|audit| thousands(audit.accepted));
    line("live order rows", &|audit| thousands(audit.rows));
    line("of buyers without an answer", &|audit| thousands(audit.rows_in_doubt));
    line("accepted, no row", &|audit| thousands(audit.missing));
    line("duplicates", &|audit| thousands(audit.duplicates));
    line("oversold units", &|audit| audit.oversold.to_string());
    line("undersold units", &|audit| audit.undersold.to_string());
    line("available", &|audit| audit.counters.available.to_string());
    line("held + sold", &|audit| format!("{} + {}", audit.counters.held, audit.counters.sold));
    table
}

fn latency_cells(name: &str, figures: &Percentiles) -> Vec<String> {
    let mut cells = vec![name.to_owned(), thousands(figures.count)];
    cells.extend([figures.p50_us, figures.p90_us, figures.p99_us, figures.p999_us, figures.max_us].map(latency));
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["name", "µs"]);
        table.line(vec!["a".into(), "1,000".into()]);
        assert_eq!(table.to_string(), "  name     µs\n  ───────────\n  a     1,000\n");
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([7, 1_500, 250_000, 12_000_000].map(latency), ["7 µs", "1.50 ms", "250 ms", "12.0 s"]);
    }
}
