//! The commodities of all partitions by id: the shards are merged, and each is read a few commodities at a time. Never holds a lock
//! between two of them, and never reads what nobody takes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::{Board, Listing};
use crate::domain::{CommodityId, PartitionId};

/// Commodities that are read of all shards together before the first is given.
const READ_AHEAD: usize = 128;
/// Commodities that are read of a shard at a time, at most.
const RUN_MAX: usize = 8;

/// Commodities by id.
#[derive(Debug)]
pub struct Walk<'a> {
    board: &'a Board,
    run: usize,
    /// The next commodity of each shard that has one.
    heads: BinaryHeap<Reverse<(CommodityId, PartitionId)>>,
    /// By partition: what was read and not given yet.
    runs: Vec<VecDeque<Listing>>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(board: &'a Board, after: Option<CommodityId>) -> Self {
        let partitions = usize::from(board.partitions.get());
        let run = (READ_AHEAD / partitions).clamp(1, RUN_MAX);
        let runs = (0..partitions).map(|_| VecDeque::new()).collect();
        let mut walk = Self { board, run, heads: BinaryHeap::with_capacity(partitions), runs };
        board.partitions.iter().for_each(|partition| walk.read(partition, after));
        walk
    }

    /// How much was read and not given.
    #[cfg(test)]
    pub(crate) fn ahead(&self) -> usize {
        self.runs.iter().map(VecDeque::len).sum()
    }

    fn read(&mut self, partition: PartitionId, after: Option<CommodityId>) {
        let run = &mut self.runs[usize::from(partition.get())];
        run.extend(self.board.read(partition).run(after, self.run).cloned());
        self.heads.extend(run.front().map(|listing| Reverse((listing.id, partition))));
    }
}

impl Iterator for Walk<'_> {
    type Item = Listing;

    fn next(&mut self) -> Option<Listing> {
        let Reverse((id, partition)) = self.heads.pop()?;
        let run = &mut self.runs[usize::from(partition.get())];
        let listing = run.pop_front().expect("a shard with a next commodity has it");
        match run.front() {
            Some(next) => self.heads.push(Reverse((next.id, partition))),
            None => self.read(partition, Some(id)),
        }
        Some(listing)
    }
}
