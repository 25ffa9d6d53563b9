//! Fills a database through the projection, as a consumer does, so that whatever the projection keeps beside the rows is there too.
//! Claims an epoch of each partition it writes to: never to be done while a node owns one of them.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use doorbuster::domain::{CommodityId, Epoch, PartitionId, Sequence};
use doorbuster::event::{Batch, Event};
use doorbuster::projection::{self, Outcome};
use doorbuster::ring::partition_of;
use doorbuster::store::{NodeState, Store};

use super::filled::Place;
use super::{Fill, Filled};
use crate::tokens::now;

/// Who claims the epochs.
const OWNER: &str = "loadtest";
/// Orders, or commodities, of one transaction.
const ORDERS_A_COMMIT: usize = 20_000;
/// Commodity ids that are asked for at once.
const IDS_AT_ONCE: usize = 1_000;
/// Events of one batch at most.
const EVENTS_A_BATCH: usize = 2_000;

/// The logs that are written, as far as they are.
struct Logs(BTreeMap<PartitionId, (Epoch, Sequence)>);

impl Logs {
    /// Begins an epoch of each of these partitions.
    async fn claim(store: &Store, partitions: &[PartitionId]) -> anyhow::Result<Self> {
        let mut logs = BTreeMap::new();
        for partition in partitions {
            if !logs.contains_key(partition) {
                logs.insert(*partition, (store.claim_epoch(*partition, OWNER).await?, Sequence::FENCE));
            }
        }
        Ok(Self(logs))
    }

    fn fences(&self) -> Vec<Batch> {
        self.0.iter().map(|(partition, (epoch, _))| Batch::fence(*partition, *epoch)).collect()
    }

    /// The next batches with these events.
    fn batches(&mut self, mut events: BTreeMap<PartitionId, Vec<Event>>) -> Vec<Batch> {
        let mut batches = Vec::new();
        for (partition, events) in &mut events {
            let (epoch, sequence) = self.0.get_mut(partition).expect("claimed");
            while !events.is_empty() {
                *sequence = sequence.next();
                let rest = events.split_off(events.len().min(EVENTS_A_BATCH));
                let events = std::mem::replace(events, rest);
                batches.push(Batch::new(*partition, *epoch, *sequence, events));
            }
        }
        batches
    }
}

/// Fills a database. `note` is told how many orders are in it so far.
///
/// # Errors
/// If a node may own a partition, or the database does not take all of it.
pub async fn seed(store: &Store, fill: Fill, mut note: impl FnMut(u64)) -> anyhow::Result<Filled> {
    nobody_sells(store).await?;
    let partitions = fill.partitions(store.partitions());
    let known = partitions.iter().all(|partition| partition.get() < store.partitions().get());
    ensure!(known, "the database has {} partitions", store.partitions().get());
    let ids = commodity_ids(store, &partitions).await?;
    let mut logs = Logs::claim(store, &partitions).await?;
    let place = |(id, partition): (CommodityId, PartitionId)| Place { id, partition, epoch: logs.0[&partition].0 };
    let places = ids.into_iter().zip(partitions.iter().copied()).map(place).collect();
    let filled = Filled::new(fill, places, now()?);

    apply(store, logs.fences()).await?;
    let mut events: BTreeMap<PartitionId, Vec<Event>> = BTreeMap::new();
    let (mut gathered, mut done) = (0, 0);
    for (place, listing) in filled.listings() {
        events.entry(place.partition).or_default().push(listing);
        gathered += 1;
        if gathered == ORDERS_A_COMMIT {
            apply(store, logs.batches(std::mem::take(&mut events))).await?;
            gathered = 0;
        }
    }
    gathered = 0;
    for made in filled.orders() {
        events.entry(made.order.id.partition()).or_default().extend(made.events());
        gathered += 1;
        if gathered == ORDERS_A_COMMIT {
            apply(store, logs.batches(std::mem::take(&mut events))).await?;
            done += std::mem::take(&mut gathered) as u64;
            note(done);
        }
    }
    apply(store, logs.batches(events)).await?;
    // As the process would have done meanwhile that applies the log: nobody sells a million orders without one.
    for partition in logs.0.keys() {
        store.write_checkpoint(*partition, filled.now()).await?;
    }
    note(done + gathered as u64);
    Ok(filled)
}

/// An owner whose epoch is taken away sells on until it notices, and nothing of that counts.
async fn nobody_sells(store: &Store) -> anyhow::Result<()> {
    let alive = store.nodes().await?.into_iter().find(|node| node.state != NodeState::Gone);
    match alive {
        Some(node) => bail!("node {} may own partitions of this database: it is {}, as far as is known", node.id, node.state.word()),
        None => Ok(()),
    }
}

/// Ids of commodities that belong to these partitions, each given by the database's sequence.
async fn commodity_ids(store: &Store, partitions: &[PartitionId]) -> anyhow::Result<Vec<CommodityId>> {
    let mut wanted: BTreeMap<PartitionId, Vec<usize>> = BTreeMap::new();
    for (index, partition) in partitions.iter().enumerate().rev() {
        wanted.entry(*partition).or_default().push(index);
    }
    let mut ids: Vec<Option<CommodityId>> = vec![None; partitions.len()];
    let mut missing = partitions.len();
    while missing > 0 {
        let count = missing.min(IDS_AT_ONCE) as u32;
        let first = store.next_commodity_ids(count).await?.get();
        for id in first..first + i64::from(count) {
            let id = CommodityId::new(id)?;
            if let Some(index) = wanted.get_mut(&partition_of(id, store.partitions())).and_then(Vec::pop) {
                ids[index] = Some(id);
                missing -= 1;
            }
        }
    }
    ids.into_iter().collect::<Option<_>>().context("a commodity has no id")
}

async fn apply(store: &Store, batches: Vec<Batch>) -> anyhow::Result<()> {
    let report = projection::apply(store, &batches).await?;
    ensure!(report.count(Outcome::Applied) == batches.len(), "not every batch was applied: {:?}", report.stops);
    Ok(())
}
