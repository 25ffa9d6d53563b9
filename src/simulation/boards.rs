//! The boards of the nodes, and the bulletins between them: late by any time, overtaken by those of other nodes, lost with their
//! connection. The board and the rules of telling are the real ones. Beside them is written down what each node was told, and by whom: a
//! buyer who is refused as sold out, where the newest that this node was told has units left, is a violation.

use std::collections::{BTreeMap, VecDeque};

use super::dice::Dice;
use super::node::Node;
use crate::domain::{Commodity, CommodityId, Epoch, PartitionId, Partitions, Sequence, Timestamp};
use crate::engine::{Place, Refusal};
use crate::partition::{Board, Edition, Listing};
use crate::ring::partition_of;
use crate::routing::feeding::{Heard, Teller};
use crate::routing::peer::{Bulletin, Content, Piece, Served, Standing};

/// Bulletins under way on one connection, at most.
const UNDER_WAY_MAX: usize = 8;

/// How often nothing arrives on a connection that stands still, at most: long enough for a partition to have its next owner.
const STALL_MAX: usize = 400;

/// The boards of all nodes.
pub(super) struct Boards {
    partitions: Partitions,
    nodes: Vec<OfNode>,
    feeds: Vec<Feed>,
    /// Their own: all else happens as it would without boards, as far as nobody asks them.
    dice: Dice,
    /// Whether buyers in this world are refused by boards.
    are_asked: bool,
    /// How often in a hundred times a connection stands still for long.
    stalls_percent: u64,
    pub(super) violation: Option<String>,
}

struct OfNode {
    board: Board,
    /// By partition: the epoch that is served here, and what its engine had shown.
    shown: BTreeMap<PartitionId, (Epoch, BTreeMap<CommodityId, Commodity>)>,
    /// The newest that this node was told of a commodity, or has decided: whether units are left.
    newest: BTreeMap<CommodityId, (Edition, bool)>,
}

/// A connection from one node to another.
struct Feed {
    from: usize,
    to: usize,
    piece_bytes: usize,
    teller: Teller,
    /// What was said to be served; none on a connection that is new.
    said: Option<BTreeMap<PartitionId, Epoch>>,
    under_way: VecDeque<Bulletin>,
    heard: Heard,
    /// Of snapshots that are not whole yet.
    arriving: BTreeMap<PartitionId, Vec<Listing>>,
    /// How often nothing of it arrives from now on.
    stalled: usize,
    /// Whoever tells is gone: what is under way may still arrive.
    is_over: bool,
}

impl Boards {
    pub(super) fn new(seed: u64, nodes: usize, partitions: Partitions) -> Self {
        let mut dice = Dice::new(seed.rotate_left(32));
        let piece_bytes = *dice.pick(&[1, 300, 1 << 20]).unwrap_or(&1);
        let are_asked = dice.percent(40);
        let stalls_percent = *dice.pick(&[0, 2, 10]).unwrap_or(&2);
        let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to))).filter(|(from, to)| from != to);
        let feeds = pairs.map(|(from, to)| Feed::new(from, to, piece_bytes)).collect();
        Self {
            partitions,
            nodes: (0..nodes).map(|_| OfNode::new(partitions)).collect(),
            feeds,
            dice,
            are_asked,
            stalls_percent,
            violation: None,
        }
    }

    /// What a placing is refused for at that node, by its board. One with a key goes on all the same, and so does each in a world where
    /// nobody is refused so.
    pub(super) fn refusal(&mut self, node: usize, place: &Place, clock: Timestamp) -> Option<Refusal> {
        let (of_node, id) = (&self.nodes[node], place.commodity);
        let refusal = of_node.board.refusal(id, clock)?;
        if refusal == Refusal::SoldOut
            && let Some((edition, true)) = of_node.newest.get(&id)
        {
            let shown = of_node.board.edition(partition_of(id, self.partitions));
            self.violation =
                Some(format!("node {node} refuses commodity {id} as sold out, by {shown:?}, and was told of units in {edition:?}"));
        }
        (self.are_asked && place.key.is_none()).then_some(refusal)
    }

    /// A node has done something: its board shows what its engines have.
    pub(super) fn publish(&mut self, node: &Node) {
        for partition in self.partitions.iter() {
            self.nodes[node.index].publish(partition, node);
        }
    }

    /// A process is gone, and with it its board.
    pub(super) fn forget(&mut self, node: usize) {
        self.nodes[node] = OfNode::new(self.partitions);
        for feed in &mut self.feeds {
            if feed.from == node {
                feed.is_over |= feed.said.is_some();
                feed.begin_anew();
            } else if feed.to == node {
                feed.begin_anew();
                (feed.heard, feed.is_over) = (Heard::default(), false);
                feed.under_way.clear();
                feed.arriving.clear();
            }
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
    fn new(partitions: Partitions) -> Self {
        Self { board: Board::new(partitions), shown: BTreeMap::new(), newest: BTreeMap::new() }
    }

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

    fn note(&mut self, edition: Edition, commodity: &Commodity) {
        let newest = self.newest.entry(commodity.id).or_default();
        if edition >= newest.0 {
            *newest = (edition, i64::from(commodity.stock.available) > 0);
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

impl Feed {
    fn new(from: usize, to: usize, piece_bytes: usize) -> Self {
        Self {
            from,
            to,
            piece_bytes,
            teller: Teller::new(piece_bytes),
            said: None,
            under_way: VecDeque::new(),
            heard: Heard::default(),
            arriving: BTreeMap::new(),
            stalled: 0,
            is_over: false,
        }
    }

    /// Whoever tells has told nothing yet.
    fn begin_anew(&mut self) {
        self.teller = Teller::new(self.piece_bytes);
        self.said = None;
    }

    /// The connection is gone, with everything on it.
    fn lose(&mut self, nodes: &mut [OfNode]) {
        self.under_way.clear();
        self.arriving.clear();
        self.begin_anew();
        self.is_over = false;
        self.heard.lost(&nodes[self.to].board);
    }

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

    fn hear(&mut self, nodes: &mut [OfNode]) {
        match self.under_way.pop_front() {
            Some(Bulletin::Standing(standing)) => {
                self.heard.standing(&nodes[self.to].board, &standing.serving);
                self.arriving.retain(|partition, _| standing.serving.iter().any(|served| served.partition == *partition));
            }
            Some(Bulletin::Piece(piece)) => {
                self.note(&mut nodes[self.to], &piece);
                if self.heard.piece(&nodes[self.to].board, piece).is_err() {
                    self.lose(nodes);
                }
            }
            None if self.is_over => self.lose(nodes),
            None => {}
        }
    }

    /// Writes down what is told, apart from the board.
    fn note(&mut self, of_node: &mut OfNode, piece: &Piece) {
        let edition = Edition { epoch: piece.of.epoch, version: piece.version };
        match &piece.content {
            Content::Changes { shown, .. } => shown.iter().for_each(|listing| of_node.note(edition, listing)),
            Content::Part { is_first, is_last, shown } => {
                let arriving = self.arriving.entry(piece.of.partition).or_default();
                if *is_first {
                    arriving.clear();
                }
                arriving.extend(shown.iter().cloned());
                if *is_last {
                    let whole = self.arriving.remove(&piece.of.partition).unwrap_or_default();
                    whole.iter().for_each(|listing| of_node.note(edition, listing));
                }
            }
        }
    }
}
