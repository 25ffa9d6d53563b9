//! One node's way to the broker cut and mended. Everything else of the network stays as it is.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::{Done, Victims};
use crate::ledger::Ledger;

/// How long another node may take to sell the commodity while the cable is cut.
const SOLD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long it goes on selling until the cable is mended.
const SELLS_FOR: Duration = Duration::from_secs(2);

/// The owner's cable to the broker is cut until another node has taken the commodity over and sells it.
pub(super) async fn cut(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let isolation = victims.cluster.isolation()?;
    let at = Instant::now();
    isolation.cut().await?;
    let gone = Instant::now();
    victims.cluster.wait_taken_over(victims.commodity, victims.owner).await.context("while the cable was cut")?;
    let (owner, epoch) = victims.cluster.owner_of(victims.commodity).await?;
    ensure!(owner != victims.owner, "the node that is cut off owns the commodity again");
    let ledger = Ledger::open(&victims.cluster.config()?, Path::new("")).await?;
    let sold = async || anyhow::Ok(ledger.rows(victims.commodity).await?.iter().filter(|row| row.order.epoch() >= epoch).count());
    let mut pause = tokio::time::interval(Duration::from_millis(50));
    while sold().await? == 0 {
        ensure!(gone.elapsed() < SOLD_TIMEOUT, "nothing was sold within {SOLD_TIMEOUT:?} while the cable was cut");
        pause.tick().await;
    }
    // Selling while it is cut is what is looked for: there is nothing to wait for.
    tokio::time::sleep(SELLS_FOR).await;
    let elsewhere = sold().await?;
    ledger.close().await?;
    let began = Instant::now();
    isolation.mend().await?;
    victims.cluster.wait_owned().await?;
    Ok(Done::now(at, gone, began).with("rows of another node's orders before the mend", elsewhere as u64))
}
