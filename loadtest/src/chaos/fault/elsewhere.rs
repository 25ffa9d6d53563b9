//! Commodities beside the one that buyers race for: one in each partition, with more units than anybody asks for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use doorbuster::domain::{CommodityId, PartitionId, Partitions};
use doorbuster::ring::partition_of;
use futures_util::future::try_join_all;
use tokio::time::MissedTickBehavior;

use super::Victims;
use crate::answer::{Answer, Verdict};
use crate::client::Client;
use crate::loopback::Target;
use crate::plan::{self, Buyer};
use crate::sale::{Desk, Offer, order_shape};

/// How many commodities are put on sale until each partition has one: a partition in a thousand tries gets none.
const OFFERS_MAX: u32 = 1_000;
/// More units than are asked for.
const PLENTY: u32 = 100_000_000;

/// How long one answer may take, and all of them until one is a yes.
const BOUND: Duration = Duration::from_secs(60);

/// How long a buyer waits between an answer and the next request.
const PAUSE: Duration = Duration::from_millis(5);

/// Puts commodities on sale until each partition has one of them.
pub(super) async fn one_in_each_partition(victims: &Victims<'_>) -> anyhow::Result<Vec<CommodityId>> {
    let (operators, buyers) = (victims.cluster.admin.target().clone(), victims.cluster.targets()[0].clone());
    let mut desk = Desk::of(operators, buyers, victims.mint)?;
    let mut found: BTreeMap<PartitionId, CommodityId> = BTreeMap::new();
    for _ in 0..OFFERS_MAX {
        let offer = Offer { stock: PLENTY, limit_per_user: None, hold_seconds: None };
        let commodity = desk.open_sale(offer).await.context("a sale beside")?;
        found.entry(partition_of(commodity, Partitions::DEFAULT)).or_insert(commodity);
        if found.len() == usize::from(Partitions::DEFAULT.get()) {
            return Ok(found.into_values().collect());
        }
    }
    bail!("{OFFERS_MAX} commodities are in {} partitions only", found.len())
}

/// Buys one unit of each, all at the same time, and again and again until each is accepted.
pub(super) async fn sold_in_each(victims: &Victims<'_>, commodities: &[CommodityId]) -> anyhow::Result<()> {
    let buyer = plan::buyers(victims.mint, 1, victims.seed, false)?[0].clone();
    let target = victims.cluster.spikes[victims.owner].target();
    try_join_all(commodities.iter().map(|commodity| bought(target, *commodity, &buyer))).await?;
    Ok(())
}

async fn bought(target: &Target, commodity: CommodityId, buyer: &Buyer) -> anyhow::Result<()> {
    let (shape, began) = (order_shape(commodity, 1), Instant::now());
    let mut client = Client::new(target.clone());
    let mut pause = tokio::time::interval(PAUSE);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pause.tick().await;
        ensure!(began.elapsed() < BOUND, "commodity {commodity} is not sold within {} s", BOUND.as_secs());
        let response = client.send(&shape, Some(&buyer.authorization), None, BOUND).await;
        let response = response.map_err(|error| anyhow::anyhow!("an order of commodity {commodity}: {}", error.words()))?;
        if matches!(Answer::to_order(&response).verdict, Verdict::Accepted(_)) {
            return Ok(());
        }
    }
}
