//! What nodes show on their boards and tell each other of them. The rules of telling are the real ones; never touches an engine.

use std::collections::BTreeMap;

use super::boards::{Boards, Feed, OfNode, STALL_MAX, UNDER_WAY_MAX};
use super::node::Node;
use crate::domain::{Commodity, CommodityId, Epoch, PartitionId, Partitions, Sequence};
use crate::partition::{Edition, Listing};
use crate::ring::partition_of;
use crate::routing::peer::{Bulletin, Served, Standing};

impl Boards {
    /// A node has done something: its board shows what its engines have.
    pub(super) fn publish(&mut self, node: &Node) {
        for partition in self.partitions.iter() {
            self.nodes[node.index].publish(partition, node);
        }
    }

    /// Something happens on one connection.
    pub(super) fn work(&mut self, nodes: &[Node], is_calm: bool) {
        if self.feeds.is_empty() {
            return;
        }
        let which = self.dice.below(self.feeds.len());
        let (feed, drawn) = (&mut self.feeds[which], self.dice.below(100));
        let runs = |node: usize| nodes[node].up && !nodes[node].paused;
        if is_calm {
            feed.stalled = 0;
        } else if feed.stalled == 0 && self.dice.percent(self.stalls_percent) {
            feed.stalled = self.dice.below(STALL_MAX);
        }
        match drawn {
            0..3 if !is_calm && runs(feed.to) => feed.lose(&mut self.nodes),
            0..50 if runs(feed.from) => feed.tell(&self.nodes[feed.from], &nodes[feed.from], self.partitions),
            _ if feed.stalled > 0 => feed.stalled -= 1,
            _ if runs(feed.to) => feed.hear(&mut self.nodes),
            _ => {}
        }
    }

    /// Whether everything was told.
    pub(super) fn are_quiet(&self, nodes: &[Node]) -> bool {
        self.feeds.iter().all(|feed| {
            let serving = serving(&self.nodes[feed.from], &nodes[feed.from], self.partitions);
            let is_alike =
                |partition: &PartitionId| self.nodes[feed.from].board.edition(*partition) == self.nodes[feed.to].board.edition(*partition);
            feed.under_way.is_empty() && !feed.is_over && serving.keys().all(is_alike) && feed.said.as_ref() == Some(&serving)
        })
    }

    /// Every board shows every commodity as its owner has it.
    pub(super) fn compare(&self, nodes: &[Node]) -> Result<(), String> {
        for partition in self.partitions.iter() {
            let Some(owner) = nodes.iter().find_map(|node| node.term(partition)) else { continue };
            for (index, OfNode { board, .. }) in self.nodes.iter().enumerate() {
                if !board.is_fed_in(partition, owner.epoch()) {
                    return Err(format!("the board of node {index} is not fed by the owner of partition {partition}"));
                }
                let here = |listing: &Listing| partition_of(listing.id, self.partitions) == partition;
                let shown: Vec<Listing> = board.walk(None).filter(here).collect();
                for commodity in owner.engine().commodities() {
                    let found = shown.iter().find(|listing| listing.id == commodity.id);
                    if found.map(|listing| &**listing) != Some(commodity) {
                        return Err(format!("node {index} shows {found:?}, and its owner has {commodity:?}"));
                    }
                }
                if let Some(gone) = shown.iter().find(|listing| owner.engine().shown(listing.id).is_none()) {
                    return Err(format!("node {index} shows {gone:?}, which its owner does not know"));
                }
            }
        }
        Ok(())
    }
}

impl OfNode {
    /// As the partition's task does.
    fn publish(&mut self, partition: PartitionId, node: &Node) {
        let Some(term) = node.term(partition) else {
            if let Some((epoch, _)) = self.shown.remove(&partition) {
                self.board.withdraw(partition, epoch);
            }
            return;
        };
        let (epoch, engine) = (term.epoch(), term.engine());
        if self.shown.get(&partition).is_none_or(|(shown, _)| *shown != epoch) {
            let all: BTreeMap<CommodityId, Commodity> = engine.commodities().map(|commodity| (commodity.id, commodity.clone())).collect();
            let edition = Edition { epoch, version: 0 };
            self.board.turn(partition, edition, all.values().cloned().map(Listing::new).collect());
            all.values().for_each(|commodity| self.note(edition, commodity));
            self.shown.insert(partition, (epoch, all));
        }
        let (_, mut shown) = self.shown.remove(&partition).expect("it was just shown");
        let mut ids: Vec<CommodityId> = shown.keys().copied().chain(engine.commodities().map(|commodity| commodity.id)).collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            match engine.shown(id) {
                Some(commodity) if shown.get(&id) == Some(commodity) => {}
                Some(commodity) => {
                    self.board.show(partition, epoch, commodity.clone());
                    shown.insert(id, commodity.clone());
                    // Within an epoch the order is the owner's.
                    let version = self.newest.get(&id).filter(|(of, _)| of.epoch == epoch).map_or(0, |(of, _)| of.version + 1);
                    self.note(Edition { epoch, version }, commodity);
                }
                None => {
                    self.board.hide(partition, epoch, id);
                    shown.remove(&id);
                }
            }
        }
        self.board.confirm(partition, epoch, Sequence::FENCE);
        self.shown.insert(partition, (epoch, shown));
    }
}

impl Feed {
    fn tell(&mut self, of_node: &OfNode, node: &Node, partitions: Partitions) {
        if self.is_over || self.under_way.len() >= UNDER_WAY_MAX {
            return;
        }
        let serving = serving(of_node, node, partitions);
        if self.said.as_ref() != Some(&serving) {
            let confirmed = Sequence::FENCE;
            let served = serving.iter().map(|(partition, epoch)| Served { partition: *partition, epoch: *epoch, confirmed }).collect();
            let standing = Standing { serving: served, ..Standing::default() };
            self.under_way.push_back(Bulletin::Standing(standing));
            self.said = Some(serving.clone());
            // What is not served any more is to be told again, should it be served again.
            self.teller.begin_round(&of_node.board, serving.into_iter());
            return;
        }
        match self.teller.next(&of_node.board) {
            Some(piece) => self.under_way.push_back(Bulletin::Piece(piece)),
            None => self.teller.begin_round(&of_node.board, serving.into_iter()),
        }
    }
}

/// What a node says that it serves.
fn serving(of_node: &OfNode, node: &Node, partitions: Partitions) -> BTreeMap<PartitionId, Epoch> {
    let served = |partition| {
        let epoch = node.term(partition)?.epoch();
        of_node.board.is_fed_in(partition, epoch).then_some((partition, epoch))
    };
    partitions.iter().filter_map(served).collect()
}
