//! How long the log of a cluster takes to reach the database once nobody buys any more. Only reads.

use std::pin::pin;
use std::time::{Duration, Instant};

use doorbuster::domain::CommodityId;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::ledger::Ledger;

/// How often the projection is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How long the projection must stand still to be at its end.
const STILL: Duration = Duration::from_millis(300);

/// What was behind when the last order was accepted, and how fast it was caught up. Known to within 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Drain {
    /// Rows that were accepted and not in the database when the last order was accepted.
    pub rows_behind: u64,
    /// From then until they were, in seconds.
    pub seconds: f64,
    /// Rows a second meanwhile; none if nothing was behind.
    pub rows_per_second: Option<f64>,
}

impl Drain {
    /// From what was seen of the projection: none while it is not level. `last` is when the last of `accepted` was.
    fn of(seen: &[Look], accepted: u64, last: Instant) -> Option<Self> {
        let level = seen.iter().find(|look| look.rows >= accepted)?;
        let rows = seen.iter().take_while(|look| look.at <= last).last().map_or(0, |look| look.rows);
        let rows_behind = accepted.saturating_sub(rows);
        let seconds = if rows_behind == 0 { 0.0 } else { level.at.saturating_duration_since(last).as_secs_f64() };
        Some(Self { rows_behind, seconds, rows_per_second: (seconds > 0.0).then(|| rows_behind as f64 / seconds) })
    }
}

/// How many orders of a sale were in the database at some moment.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    rows: u64,
}

/// Follows the projection of one commodity.
#[derive(Debug)]
pub struct Follower<'a> {
    ledger: &'a Ledger,
    commodity: CommodityId,
    quantity: i64,
    pause: Interval,
    seen: Vec<Look>,
}

impl<'a> Follower<'a> {
    /// Follows a sale of `quantity` units an order.
    #[must_use]
    pub fn of(ledger: &'a Ledger, commodity: CommodityId, quantity: i64) -> Self {
        let mut pause = interval(LOOK_INTERVAL);
        pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ledger, commodity, quantity, pause, seen: Vec::new() }
    }

    /// Does `work`, and looks meanwhile.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>) -> anyhow::Result<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                _ = self.pause.tick() => self.look().await?,
            }
        }
    }

    /// Waits until so many orders are in the database and it stands still. None if it is still behind or moving after the bound: that
    /// is for an audit to judge.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn level(mut self, accepted: u64, last: Instant, bound: Duration) -> anyhow::Result<Option<Drain>> {
        let began = Instant::now();
        loop {
            self.look().await?;
            if let Some(drain) = Drain::of(&self.seen, accepted, last) {
                let stands_still = stands_still(self.ledger, bound.saturating_sub(began.elapsed())).await?;
                return Ok(stands_still.then_some(drain));
            }
            if began.elapsed() >= bound {
                return Ok(None);
            }
            self.pause.tick().await;
        }
    }

    /// Keeps what differs from the last look.
    async fn look(&mut self) -> anyhow::Result<()> {
        let rows = (self.ledger.taken(self.commodity).await? / self.quantity).unsigned_abs();
        if self.seen.last().is_none_or(|last| last.rows != rows) {
            self.seen.push(Look { at: Instant::now(), rows });
        }
        Ok(())
    }
}

/// Whether no partition's position moves for a while, within a bound.
async fn stands_still(ledger: &Ledger, bound: Duration) -> anyhow::Result<bool> {
    let began = Instant::now();
    let mut pause = interval(Duration::from_millis(25));
    let (mut last, mut since) = (ledger.applied().await?, Instant::now());
    while since.elapsed() < STILL {
        if began.elapsed() >= bound.max(2 * STILL) {
            return Ok(false);
        }
        pause.tick().await;
        let now = ledger.applied().await?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_counts_from_the_last_accept_and_not_from_the_last_answer() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let look = |ms, rows| Look { at: at(ms), rows };
        let seen = [look(10, 0), look(40, 60), look(90, 80), look(300, 100)];
        let drain = Drain::of(&seen, 100, at(100)).unwrap();
        assert_eq!((drain.rows_behind, drain.seconds, drain.rows_per_second), (20, 0.2, Some(100.0)));
        assert_eq!(Drain::of(&seen[..3], 100, at(100)), None);
    }

    #[test]
    fn a_projection_that_was_level_already_has_no_rate() {
        let start = Instant::now();
        let seen = [Look { at: start, rows: 100 }];
        let drain = Drain::of(&seen, 100, start + Duration::from_millis(5)).unwrap();
        assert_eq!(drain, Drain { rows_behind: 0, seconds: 0.0, rows_per_second: None });
    }
}
