//! `doorbuster audit`: the equation of every commodity, as a table. Reads one snapshot; changes nothing.

use std::path::Path;

use comfy_table::{Cell, CellAlignment, Color, Table, presets};

use crate::config::Config;
use crate::embedded::{self, StartError};
use crate::store::AuditRow;

/// Prints the audit of the configured database; whether every commodity balances.
///
/// # Errors
/// [`StartError`] when the database cannot be read.
pub async fn run(config: &Config, data: &Path) -> Result<bool, StartError> {
    let store = embedded::open_existing(config, data).await?;
    let rows = store.audit().await?;
    println!("{}", table(&rows));
    let wrong = rows.iter().filter(|row| !row.balanced).count();
    if wrong == 0 {
        println!("{} audited: total = available + held + sold = order rows, for every one", commodities(rows.len()));
    } else {
        println!("{wrong} of {} DO NOT BALANCE", commodities(rows.len()));
    }
    Ok(wrong == 0)
}

fn commodities(count: usize) -> String {
    if count == 1 { "1 commodity".into() } else { format!("{count} commodities") }
}

fn table(rows: &[AuditRow]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header(["commodity", "name", "total", "available", "held", "sold", "held rows", "sold rows", "orders", "verdict"]);
    for row in rows {
        let number = |value: i64| Cell::new(value).set_alignment(CellAlignment::Right);
        let verdict = if row.balanced { Cell::new("ok").fg(Color::Green) } else { Cell::new("MISMATCH").fg(Color::Red) };
        table.add_row([
            number(row.commodity_id.get()),
            Cell::new(row.name.chars().take(40).collect::<String>()),
            number(row.total),
            number(row.available),
            number(row.held),
            number(row.sold),
            number(row.held_by_orders),
            number(row.sold_by_orders),
            number(row.live_orders),
            verdict,
        ]);
    }
    table
}
