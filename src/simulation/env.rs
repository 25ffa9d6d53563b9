//! What nodes, consumers and people meet outside themselves. Never lets them look at true time.

use std::sync::LazyLock;

use super::Trail;
use super::auditor::Auditor;
use super::boards::Boards;
use super::broker::Broker;
use super::dice::Dice;
use super::losses::Losses;
use super::network::Network;
use super::payments::Payments;
use super::tables::Memory;
use super::weather::Weather;
use crate::domain::{NodeId, PartitionId, Partitions};
use crate::ring::Placement;

/// The most nodes and partitions of a world.
const NODES_MAX: usize = 3;
const PARTITIONS_MAX: usize = 3;

/// What nodes, consumers and people meet outside themselves.
pub(super) struct Env {
    /// True time, in milliseconds since the beginning. Nobody in the world can read it.
    pub(super) now: u64,
    pub(super) weather: Weather,
    pub(super) partitions: Partitions,
    pub(super) dice: Dice,
    /// What becomes of the past, which nobody should notice: the other dice fall the same with and without it.
    pub(super) past_dice: Dice,
    pub(super) losses: Losses,
    /// How much the next consumer takes in advance: by dice of their own, too.
    pub(super) log_dice: Dice,
    pub(super) broker: Broker,
    pub(super) tables: Memory,
    pub(super) auditor: Auditor,
    pub(super) network: Network,
    pub(super) boards: Boards,
    pub(super) payments: Payments,
    /// The members as their heartbeats have it, one bit each.
    pub(super) members: usize,
    /// Epochs that were served.
    pub(super) epochs: usize,
    pub(super) trail: Trail,
}

/// Who should own a partition, of the members in that set: as the ring says.
pub(super) fn placed_on(partitions: usize, members: usize, partition: PartitionId) -> Option<usize> {
    static PLACED: LazyLock<Vec<Vec<Vec<Option<usize>>>>> = LazyLock::new(|| (1..=PARTITIONS_MAX).map(of_partitions).collect());
    PLACED[partitions - 1][members][usize::from(partition.get())]
}

/// By set of members and by partition.
fn of_partitions(count: usize) -> Vec<Vec<Option<usize>>> {
    let partitions = Partitions::new(count as u16).expect("a few");
    let name = |node: &usize| format!("node-{node}").parse::<NodeId>().expect("a name");
    let all: Vec<NodeId> = (0..NODES_MAX).map(|node| name(&node)).collect();
    let placed = |members: usize| {
        let placement = Placement::new((0..NODES_MAX).filter(|node| members & 1 << node != 0).map(|node| all[node].clone()), partitions);
        partitions.iter().map(|partition| all.iter().position(|node| placement.node_of(partition) == Some(node))).collect()
    };
    (0..1 << NODES_MAX).map(placed).collect()
}
