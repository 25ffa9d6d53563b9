//! How long the log of a cluster takes to reach the database once nobody buys any more. Only reads.

use std::time::{Duration, Instant};

use anyhow::ensure;
use doorbuster::domain::CommodityId;

use crate::ledger::Ledger;

/// How long the projection must stand still to be at its end.
const STILL: Duration = Duration::from_millis(300);

/// What was behind when the last order was accepted, and how fast it was caught up.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Drain {
    /// Rows that were accepted and not in the database.
    pub rows_behind: u64,
    /// Until they were, in seconds.
    pub seconds: f64,
    /// Rows a second meanwhile; none if nothing was behind.
    pub rows_per_second: Option<f64>,
}

impl Drain {
    /// Waits until so many orders, of `quantity` units each, are in the database and it stands still. Begin it right after
    /// the last answer.
    ///
    /// # Errors
    /// If the database does not answer, or is still behind after the bound.
    pub async fn watch(ledger: &Ledger, commodity: CommodityId, accepted: u64, quantity: i64, bound: Duration) -> anyhow::Result<Self> {
        let began = Instant::now();
        let mut pause = tokio::time::interval(Duration::from_millis(10));
        let mut behind_at_first = None;
        loop {
            pause.tick().await;
            let counters = ledger.counters(commodity).await?;
            let rows = ((counters.held + counters.sold) / quantity).unsigned_abs();
            let behind = accepted.saturating_sub(rows);
            let rows_behind = *behind_at_first.get_or_insert(behind);
            if behind == 0 {
                let seconds = began.elapsed().as_secs_f64();
                stands_still(ledger, bound.saturating_sub(began.elapsed())).await?;
                return Ok(Self { rows_behind, seconds, rows_per_second: (rows_behind > 0).then(|| rows_behind as f64 / seconds) });
            }
            ensure!(began.elapsed() < bound, "{behind} of {accepted} accepted orders are not in the database after {bound:?}");
        }
    }
}

/// Resolves when no partition's position has moved for a while.
async fn stands_still(ledger: &Ledger, bound: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut pause = tokio::time::interval(Duration::from_millis(25));
    let (mut last, mut since) = (ledger.applied().await?, Instant::now());
    while since.elapsed() < STILL {
        pause.tick().await;
        let now = ledger.applied().await?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
        ensure!(began.elapsed() < bound.max(2 * STILL), "the projection is still moving");
    }
    Ok(())
}
