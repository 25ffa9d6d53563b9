//! One partition's connection to the broker that stands still, while buyers ask for what is on sale in all others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
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
/// Connections that ask for one commodity.
const CONNECTIONS: usize = 4;
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// What share of their rate the other partitions must keep, in hundredths: below it, the machine may be to blame.
const KEPT_PERCENT: u64 = 90;

/// The connection of the commodity's partition stands still for a while; before and meanwhile, orders are placed in all others.
pub(super) async fn stalled(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let proxy = victims.proxy.context("no proxy of our own")?;
    let partition = partition_of(victims.commodity, Partitions::DEFAULT);
    let mut others = one_in_each_partition(victims).await?;
    others.retain(|other| partition_of(*other, Partitions::DEFAULT) != partition);
    let before = placed(victims, &others).await?;
    let store = victims.cluster.store().await?;
    let rows_before = store.partition_rows().await?;
    let at = Instant::now();
    proxy.stall(Some(format!("{}.partition.{partition}.owner", victims.cluster.prefix())));
    let meanwhile = placed(victims, &others).await?;
    let began = Instant::now();
    proxy.stall(None);
    victims.cluster.wait_owned().await?;
    for (before, after) in rows_before.iter().zip(store.partition_rows().await?).filter(|(before, _)| before.id != partition) {
        ensure!(before.epoch == after.epoch, "partition {} went from epoch {} to {}", before.id, before.epoch, after.epoch);
    }
    store.close().await?;
    let done =
        Done::now(at, at, began).with("orders elsewhere before, a second", before).with("orders elsewhere meanwhile, a second", meanwhile);
    let is_kept = meanwhile * 100 >= before * KEPT_PERCENT;
    let why = format!("the other partitions took {meanwhile} orders a second while one stood still, and {before} before");
    Ok(if is_kept { done } else { done.in_vain(anyhow::anyhow!(why)) })
}

/// How many orders a second are accepted in all of them together.
async fn placed(victims: &Victims<'_>, commodities: &[CommodityId]) -> anyhow::Result<u64> {
    let buyers = plan::buyers(victims.mint, 1_000, victims.seed, false)?;
    let volleys = commodities.iter().map(|commodity| Volley {
        targets: victims.cluster.targets(),
        connections: CONNECTIONS,
        threads: 1,
        shape: order_shape(*commodity, 1),
        buyers: Arc::clone(&buyers),
        amount: Amount::For(STALLED),
        pace: None,
        sparing: None,
        retries_max: 0,
        request_timeout: REQUEST_TIMEOUT,
        time_limit: STALLED,
    });
    let began = Instant::now();
    let tallies = try_join_all(volleys.map(|volley| fire(volley, Arc::new(Progress::default())))).await?;
    let accepted: u64 = tallies.iter().map(|tally| tally.with_code("accepted")).sum();
    Ok((accepted as f64 / began.elapsed().as_secs_f64()) as u64)
}
