//! Consumers killed with orders in hand: accepted, in the log, and not in the database yet.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use rand::RngExt;

use super::{Done, Victims};
use crate::ledger::Ledger;
use crate::outcome::NoOutcome;

/// How often it is tried to kill them with something in hand: between a look and the kill they may finish what was seen.
const ATTEMPTS: u64 = 10;
/// How long they may take to have something in hand.
const BEHIND_TIMEOUT: Duration = Duration::from_secs(30);

/// Both consumers are killed, one shortly after the other, the second when orders that were accepted are not in the database.
pub(super) async fn both_killed(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let launcher = victims.cluster.launcher().clone();
    let ledger = Ledger::open(&victims.cluster.config()?, Path::new("")).await?;
    let at = Instant::now();
    for attempt in 1..=ATTEMPTS {
        let (first, second) = if victims.random.random() { (0, 1) } else { (1, 0) };
        let between = Duration::from_millis(victims.random.random_range(0..300));
        victims.cluster.consumers[first].kill().await?;
        // Long enough for the other to have taken over, or not: that is what is looked for.
        tokio::time::sleep(between).await;
        until_behind(victims, &ledger).await?;
        let accepted = victims.progress.accepted();
        victims.cluster.consumers[second].kill().await?;
        let gone = Instant::now();
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
    Err(NoOutcome::mark(anyhow!("killed {ATTEMPTS} times, the consumers never had anything in hand: give a higher rate")))
}

/// Waits until orders were accepted that are not in the database.
async fn until_behind(victims: &Victims<'_>, ledger: &Ledger) -> anyhow::Result<()> {
    let began = Instant::now();
    while rows(victims, ledger).await? >= victims.progress.accepted() {
        if began.elapsed() > BEHIND_TIMEOUT {
            let seconds = BEHIND_TIMEOUT.as_secs();
            return Err(NoOutcome::mark(anyhow!("the consumers had nothing in hand for {seconds} s: give more units or a higher rate")));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// The orders of the commodity in the database: of one unit each.
async fn rows(victims: &Victims<'_>, ledger: &Ledger) -> anyhow::Result<u64> {
    Ok(ledger.taken(victims.commodity).await?.unsigned_abs())
}
