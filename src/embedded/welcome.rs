//! What the embedded mode prints when it is up. Never prints a secret: tokens and passwords stay in files.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use super::demo::{self, Demo};
use crate::partition::{Board, Listing};

/// The page of text: where to look, and one line that buys.
pub(super) fn banner(address: SocketAddr, data: &Path, (demo, has_sandbox): (Demo, bool), board: &Board) -> String {
    let data = data.display();
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        let _ = writeln!(text, "  {what:<12} {value}");
    };
    line("API", format!("http://{address}/v1/commodities"));
    line("docs", format!("http://{address}/docs"));
    line("metrics", format!("http://{address}/metrics"));
    if has_sandbox {
        line("payments", format!("http://{address}/sandbox (a sandbox: no real money; docs/payments.md says how to set up a provider)"));
    }
    line("data", format!("{data}"));
    if demo.has_accounts {
        line("accounts", format!("{data}/{} (demo-admin, demo-buyer)", demo::ACCOUNTS_FILE));
    }
    let mut commodities = board.walk(None);
    let first: Vec<Listing> = commodities.by_ref().take(5).collect();
    for listing in &first {
        let stock = listing.stock;
        line("on sale", format!("{} · {} · {} of {} available", listing.id, listing.terms.name, stock.available.get(), stock.total.get()));
    }
    let more = commodities.count();
    if more > 0 {
        line("", format!("... and {more} more"));
    }
    let title = if demo.made_now { "Doorbuster is up, with a demo sale" } else { "Doorbuster is up" };
    let buy = match (demo.has_accounts, first.first()) {
        (true, Some(listing)) => buy_line(address, Path::new(&data.to_string()), listing),
        _ => String::new(),
    };
    format!("\n{title}\n\n{text}{buy}\nStop with Ctrl-C: what was accepted is on disk.\n")
}

fn buy_line(address: SocketAddr, data: &Path, listing: &Listing) -> String {
    let token = demo::token_file(data, "demo-buyer");
    format!(
        "\nBuy one:\n\n  curl -sS -X POST http://{address}/v1/commodities/{}/orders -H \"Authorization: Bearer $(cat {})\"\n",
        listing.id,
        token.display()
    )
}
