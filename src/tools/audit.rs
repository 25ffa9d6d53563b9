//! `doorbuster audit`: the equation of every commodity, as a table. Reads one snapshot; afterwards it seals what is over and right, so
//! that its orders are not read again, and changes nothing else.

use std::path::Path;

use comfy_table::{Cell, CellAlignment, Color, Table, presets};

use crate::clock;
use crate::config::Config;
use crate::embedded::{self, StartError};
use crate::store::{Audit, AuditRow, AuditScope};

/// Prints the audit of the configured database; whether every commodity balances that was looked at.
///
/// # Errors
/// [`StartError`] when the database cannot be read.
pub async fn run(config: &Config, data: &Path, scope: AuditScope) -> Result<bool, StartError> {
    let store = embedded::open_existing(config, data).await?;
    let audit = store.audit_of(scope).await?;
    println!("{}", table(&audit.rows));
    println!("{}", verdict(&audit));
    match store.losses(1).await?.first() {
        None => {}
        Some(loss) => println!("losses of the log were accepted, the last at {}: see `doorbuster log losses`", loss.accepted_at),
    }
    match store.seal(&audit, clock::system()).await {
        Ok(0) => {}
        Ok(sealed) => println!("{} over and right: sealed, and not read again", are(sealed, "is", "are")),
        // The verdict stands: only the next audit has more to read.
        Err(error) => eprintln!("doorbuster: nothing could be sealed: {error}"),
    }
    Ok(audit.is_balanced())
}

fn verdict(audit: &Audit) -> String {
    let (count, wrong) = (audit.rows.len() as u64, audit.rows.iter().filter(|row| !row.balanced).count());
    let mut verdict = match wrong {
        0 => format!("{} audited: total = available + held + sold = order rows, for every one", commodities(count)),
        _ => format!("{wrong} of {} DO NOT BALANCE", commodities(count)),
    };
    if audit.sealed > 0 {
        verdict
            .push_str(&format!("\n{} sealed by an audit before, and not read again (--all reads them)", are(audit.sealed, "was", "were")));
    }
    verdict
}

fn commodities(count: u64) -> String {
    if count == 1 { "1 commodity".into() } else { format!("{count} commodities") }
}

fn are(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", commodities(count), if count == 1 { one } else { many })
}

fn table(rows: &[AuditRow]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "commodity",
        "name",
        "total",
        "available",
        "held",
        "sold",
        "held rows",
        "sold rows",
        "orders",
        "refunds due",
        "keys twice",
        "verdict",
    ]);
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
            number(row.refunds_due),
            number(row.keys_used_twice),
            verdict,
        ]);
    }
    table
}
