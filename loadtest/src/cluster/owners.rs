//! Who owns the partitions of a cluster, waited for. A row may still name a node that is gone: only nodes that run are believed.

use std::time::Duration;

use anyhow::Context;
use doorbuster::domain::{CommodityId, Partitions};
use doorbuster::ring::partition_of;
use doorbuster::store::PartitionRow;

use super::{Cluster, Member};

/// How long partitions may take to get an owner, all together or one after its owner is gone.
const OWNED_TIMEOUT: Duration = Duration::from_secs(60);

impl Cluster {
    /// Waits until all partitions are sold from, by nodes that run and share them: a node is ready with its first.
    ///
    /// # Errors
    /// If that takes longer than a minute.
    pub async fn wait_owned(&self) -> anyhow::Result<()> {
        let nodes = self.running();
        self.wait_for("not every partition got an owner in time", |rows| are_shared(rows, &nodes)).await
    }

    /// Waits until a commodity's partition has another owner than that one of [`Cluster::spikes`], which runs.
    ///
    /// # Errors
    /// If that takes longer than a minute.
    pub async fn wait_taken_over(&self, commodity: CommodityId, from: usize) -> anyhow::Result<()> {
        let from = self.spikes[from].name();
        let others: Vec<&str> = self.running().into_iter().filter(|node| *node != from).collect();
        let is_taken = |rows: &[PartitionRow]| {
            let partition = partition_of(commodity, Partitions::DEFAULT);
            rows.iter().any(|row| row.id == partition && has_owner(row, &others))
        };
        self.wait_for(&format!("nobody took the partition of commodity {commodity} over from {from} in time"), is_taken).await
    }

    /// The nodes that sell now.
    fn running(&self) -> Vec<&str> {
        self.spikes.iter().filter(|spike| spike.process().is_ok()).map(Member::name).collect()
    }

    async fn wait_for(&self, otherwise: &str, is_so: impl Fn(&[PartitionRow]) -> bool) -> anyhow::Result<()> {
        let store = self.store().await?;
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        let so = tokio::time::timeout(OWNED_TIMEOUT, async {
            while !is_so(&store.partition_rows().await?) {
                pause.tick().await;
            }
            anyhow::Ok(())
        });
        so.await.with_context(|| otherwise.to_owned())??;
        Ok(store.close().await?)
    }
}

fn has_owner(row: &PartitionRow, nodes: &[&str]) -> bool {
    row.owner.as_deref().is_some_and(|owner| nodes.contains(&owner))
}

/// Whether each partition is sold from by one of these nodes, and none of them has more than its share.
fn are_shared(rows: &[PartitionRow], nodes: &[&str]) -> bool {
    let most = rows.len().div_ceil(nodes.len().max(1));
    let share = |node: &&str| rows.iter().filter(|row| row.owner.as_deref() == Some(*node)).count();
    nodes.iter().all(|node| share(node) <= most) && rows.iter().all(|row| has_owner(row, nodes) && row.applied.0 == row.epoch)
}

#[cfg(test)]
mod tests {
    use doorbuster::domain::{Epoch, PartitionId, Sequence};
    use doorbuster::store::CheckpointRow;

    use super::*;

    fn row(id: u16, owner: Option<&str>, epoch: u32, applied: u32) -> PartitionRow {
        let epoch_of = |epoch| Epoch::new(epoch).unwrap();
        let applied = (epoch_of(applied), Sequence::default());
        PartitionRow {
            id: PartitionId::new(id).unwrap(),
            owner: owner.map(ToOwned::to_owned),
            epoch: epoch_of(epoch),
            applied,
            checkpoint: CheckpointRow::default(),
        }
    }

    #[test]
    fn a_partition_whose_row_names_a_node_that_is_gone_has_no_owner() {
        let rows = |second: Option<&str>| [row(0, Some("spike-1"), 2, 2), row(1, second, 1, 1)];
        let nodes = ["spike-1", "spike-2"];
        assert!(are_shared(&rows(Some("spike-2")), &nodes));
        assert!(!are_shared(&rows(Some("spike-3")), &nodes), "gone");
        assert!(!are_shared(&rows(None), &nodes), "nobody");
        assert!(!are_shared(&rows(Some("spike-1")), &nodes), "more than a share");
        assert!(!are_shared(&[row(0, Some("spike-1"), 2, 1), row(1, Some("spike-2"), 1, 1)], &nodes), "not there yet");
        assert!(!are_shared(&rows(Some("spike-2")), &[]), "nobody runs");
    }
}
