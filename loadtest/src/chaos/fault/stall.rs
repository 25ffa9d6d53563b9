//! One partition's connection to the broker that stands still, while buyers ask for what is on sale in all others.
//!
//! Each of the others has buyers of its own, on connections and a thread of its own: whoever waits for the partition that stands still keeps
//! nobody from asking for another. They ask all the time, and what they are sold is counted before, meanwhile and after, for as long each.
//! What it is held against is the mean of before and after: a rate that only changes with time (tables and books grow, processors warm up)
//! changes it too.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use doorbuster::domain::{CommodityId, Partitions};
use doorbuster::ring::partition_of;
use futures_util::future::try_join_all;

use super::elsewhere::one_in_each_partition;
use super::{Done, Victims};
use crate::plan;
use crate::sale::order_shape;
use crate::volley::{Amount, Progress, Volley, fire};

/// How long it stands still: longer than a confirm may take.
const STALLED: Duration = Duration::from_secs(8);
/// How long the others are asked for before anything is counted.
const BEGUN: Duration = Duration::from_secs(2);
/// Longer than all of it takes.
const ASKED: Duration = Duration::from_secs(600);
/// Connections that ask for one commodity.
const CONNECTIONS: usize = 4;
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// What share of their rate the other partitions must keep, in hundredths: below it, the machine may be to blame.
const KEPT_PERCENT: u64 = 90;

/// The connection of the commodity's partition stands still for a while; before, meanwhile and after, orders are placed in all others.
pub(super) async fn stalled(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let partition = partition_of(victims.commodity, Partitions::DEFAULT);
    let mut others = one_in_each_partition(victims).await?;
    others.retain(|other| partition_of(*other, Partitions::DEFAULT) != partition);
    let buyers = plan::buyers(victims.mint, 1_000, victims.seed, false)?;
    let volley = |commodity: &CommodityId| Volley {
        targets: victims.cluster.targets(),
        connections: CONNECTIONS,
        threads: 1,
        shape: order_shape(*commodity, 1),
        buyers: Arc::clone(&buyers),
        amount: Amount::For(ASKED),
        pace: None,
        sparing: None,
        retries_max: 0,
        request_timeout: REQUEST_TIMEOUT,
        time_limit: ASKED,
    };
    let sold: Vec<Arc<Progress>> = others.iter().map(|_| Arc::default()).collect();
    let asked = others.iter().map(volley).zip(&sold).map(|(volley, progress)| fire(volley, Arc::clone(progress)));
    let mut asked = pin!(try_join_all(asked.collect::<Vec<_>>()));
    let mut measured = pin!(measured(victims, &sold));
    tokio::select! {
        // Nobody waits for the others' buyers any more: they end with the request that is under way.
        done = measured.as_mut() => done,
        ended = asked.as_mut() => {
            ended?;
            bail!("what is on sale elsewhere was asked for no longer than {} s", ASKED.as_secs())
        }
    }
}

async fn measured(victims: &Victims<'_>, sold: &[Arc<Progress>]) -> anyhow::Result<Done> {
    let proxy = victims.proxy.context("no proxy of our own")?;
    let partition = partition_of(victims.commodity, Partitions::DEFAULT);
    let store = victims.cluster.store().await?;
    // Whoever is asked for the first time has connections to make.
    tokio::time::sleep(BEGUN).await;
    let before = sold_meanwhile(sold).await;
    let rows_before = store.partition_rows().await?;
    let at = Instant::now();
    proxy.stall(Some(format!("{}.partition.{partition}.owner", victims.cluster.prefix())));
    let meanwhile = sold_meanwhile(sold).await;
    let began = Instant::now();
    proxy.stall(None);
    victims.cluster.wait_owned().await?;
    let done = Done::now(at, at, began);
    let after = sold_meanwhile(sold).await;
    for (before, after) in rows_before.iter().zip(store.partition_rows().await?).filter(|(before, _)| before.id != partition) {
        ensure!(before.epoch == after.epoch, "partition {} went from epoch {} to {}", before.id, before.epoch, after.epoch);
    }
    store.close().await?;
    let kept = Kept { before, meanwhile, after };
    let done = done.with("orders elsewhere before, a second", before).with("orders elsewhere meanwhile, a second", meanwhile);
    let done = done.with("orders elsewhere after, a second", after).with("their rate meanwhile, % of before and after", kept.percent());
    let why = format!("the other partitions took {meanwhile} orders a second while one stood still, {before} before and {after} after");
    Ok(if kept.percent() >= KEPT_PERCENT { done } else { done.in_vain(anyhow::anyhow!(why)) })
}

/// Orders a second of all other partitions together.
#[derive(Clone, Copy, Debug)]
struct Kept {
    before: u64,
    meanwhile: u64,
    after: u64,
}

impl Kept {
    /// What share of their rate they kept, in hundredths.
    fn percent(self) -> u64 {
        self.meanwhile * 200 / (self.before + self.after).max(1)
    }
}

/// How many orders a second are accepted in all of them together, from now on and for as long as the one stands still.
async fn sold_meanwhile(sold: &[Arc<Progress>]) -> u64 {
    let accepted = || sold.iter().map(|progress| progress.accepted()).sum::<u64>();
    let (before, began) = (accepted(), Instant::now());
    tokio::time::sleep(STALLED).await;
    ((accepted() - before) as f64 / began.elapsed().as_secs_f64()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_changes_with_time_is_not_held_against_the_partition_that_stood_still() {
        let kept = |before, meanwhile, after| Kept { before, meanwhile, after }.percent();
        assert_eq!(kept(1_000, 900, 800), 100);
        assert_eq!(kept(1_000, 810, 800), 90);
        assert_eq!(kept(1_000, 800, 1_000), 80);
        assert_eq!(kept(0, 0, 0), 0);
    }
}
