//! Consumers killed with orders in hand: accepted, in the log, and not in the database yet.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use rand::RngExt;
use tokio::time::MissedTickBehavior;

use super::{Done, Victims};
use crate::ledger::Ledger;

/// How often it is tried to kill them with something in hand: between a look and the kill they may finish what was seen.
const ATTEMPTS: u64 = 10;
/// How long they may take to have something in hand.
const BEHIND_TIMEOUT: Duration = Duration::from_secs(30);

/// Both consumers are killed, one shortly after the other, the second when orders that were accepted are not in the database.
pub(super) async fn both_killed(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let launcher = victims.cluster.launcher().clone();
    let ledger = Ledger::open(&victims.cluster.config()?, Path::new("")).await?;
    let at = Instant::now();
    let mut gone = at;
    for attempt in 1..=ATTEMPTS {
        let (first, second) = if victims.random.random() { (0, 1) } else { (1, 0) };
        let between = Duration::from_millis(victims.random.random_range(0..300));
        victims.cluster.consumers[first].kill().await?;
        // Long enough for the other to have taken over, or not: that is what is looked for.
        tokio::time::sleep(between).await;
        if !until_behind(victims, &ledger).await? {
            victims.cluster.consumers[first].start(&launcher).await?;
            let why = "everything was sold and in the database before both consumers were dead: give more units or a lower rate";
            return Ok(Done::now(at, gone, gone).in_vain(anyhow!(why)));
        }
        let accepted = victims.progress.accepted();
        victims.cluster.consumers[second].kill().await?;
        gone = Instant::now();
        // Nobody is there any more to bring anything into the database.
        let in_hand = accepted.saturating_sub(rows(victims, &ledger).await?);
        for consumer in &mut victims.cluster.consumers {
            consumer.start(&launcher).await?;
        }
        if in_hand > 0 {
            ledger.close().await?;
            let done = Done::now(at, gone, gone).with("accepted and not in the database when both were dead", in_hand);
            return Ok(done.with("attempts until they had something in hand", attempt));
        }
    }
    let why = anyhow!("killed {ATTEMPTS} times, the consumers never had anything in hand: give a higher rate");
    Ok(Done::now(at, gone, gone).in_vain(why))
}

/// Waits until orders were accepted that are not in the database; false if there will be none, because everything is sold.
async fn until_behind(victims: &Victims<'_>, ledger: &Ledger) -> anyhow::Result<bool> {
    let began = Instant::now();
    let mut look = tokio::time::interval(Duration::from_millis(1));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let rows = rows(victims, ledger).await?;
        let accepted = victims.progress.accepted();
        match Hand::of(accepted, rows, victims.stock) {
            Hand::Full => return Ok(true),
            Hand::EmptyForGood => return Ok(false),
            Hand::Empty => {}
        }
        // As long as there are units somebody asks for them, so this may be because nothing is sold any more.
        let (waited, seconds) = (began.elapsed(), BEHIND_TIMEOUT.as_secs());
        ensure!(waited < BEHIND_TIMEOUT, "nothing was in hand for {seconds} s, and {accepted} of {} units are sold", victims.stock);
    }
}

/// What consumers have yet to bring into the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hand {
    Full,
    Empty,
    /// And nothing more comes.
    EmptyForGood,
}

impl Hand {
    const fn of(accepted: u64, rows: u64, stock: u64) -> Self {
        if rows < accepted {
            Self::Full
        } else if accepted >= stock {
            Self::EmptyForGood
        } else {
            Self::Empty
        }
    }
}

/// The orders of the commodity in the database: of one unit each.
async fn rows(victims: &Victims<'_>, ledger: &Ledger) -> anyhow::Result<u64> {
    Ok(ledger.taken(victims.commodity).await?.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sale_that_is_over_keeps_hands_empty_for_good() {
        assert_eq!(Hand::of(3, 2, 9), Hand::Full);
        assert_eq!(Hand::of(9, 8, 9), Hand::Full);
        assert_eq!(Hand::of(3, 3, 9), Hand::Empty);
        assert_eq!(Hand::of(9, 9, 9), Hand::EmptyForGood);
    }
}
