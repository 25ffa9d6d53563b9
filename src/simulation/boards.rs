//! The boards of the nodes, and the bulletins between them: late by any time, overtaken by those of other nodes, lost with their
//! connection. The board and the rules of telling are the real ones. Beside them is written down what each node was told, and by whom: a
//! buyer who is refused as sold out, where the newest that this node was told has units left, is a violation.

use std::collections::{BTreeMap, VecDeque};

use super::dice::Dice;
use crate::domain::{Commodity, CommodityId, Epoch, PartitionId, Partitions, Timestamp};
use crate::engine::{Place, Refusal};
use crate::partition::{Board, Edition, Listing};
use crate::ring::partition_of;
use crate::routing::peer::feeding::{Heard, Teller};
use crate::routing::peer::{Bulletin, Content, Piece};

/// Bulletins under way on one connection, at most.
pub(super) const UNDER_WAY_MAX: usize = 8;

/// How often nothing arrives on a connection that stands still, at most: long enough for a partition to have its next owner.
pub(super) const STALL_MAX: usize = 400;

/// The boards of all nodes.
pub(super) struct Boards {
    pub(super) partitions: Partitions,
    pub(super) nodes: Vec<OfNode>,
    pub(super) feeds: Vec<Feed>,
    /// Their own: all else happens as it would without boards, as far as nobody asks them.
    pub(super) dice: Dice,
    /// Whether buyers in this world are refused by boards.
    are_asked: bool,
    /// How often in a hundred times a connection stands still for long.
    pub(super) stalls_percent: u64,
    pub(super) violation: Option<String>,
}

pub(super) struct OfNode {
    pub(super) board: Board,
    /// By partition: the epoch that is served here, and what its engine had shown.
    pub(super) shown: BTreeMap<PartitionId, (Epoch, BTreeMap<CommodityId, Commodity>)>,
    /// The newest that this node was told of a commodity, or has decided: whether units are left.
    pub(super) newest: BTreeMap<CommodityId, (Edition, bool)>,
}

/// A connection from one node to another.
pub(super) struct Feed {
    pub(super) from: usize,
    pub(super) to: usize,
    piece_bytes: usize,
    pub(super) teller: Teller,
    /// What was said to be served; none on a connection that is new.
    pub(super) said: Option<BTreeMap<PartitionId, Epoch>>,
    pub(super) under_way: VecDeque<Bulletin>,
    heard: Heard,
    /// Of snapshots that are not whole yet.
    arriving: BTreeMap<PartitionId, Vec<Listing>>,
    /// How often nothing of it arrives from now on.
    pub(super) stalled: usize,
    /// Whoever tells is gone: what is under way may still arrive.
    pub(super) is_over: bool,
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
}

impl OfNode {
    fn new(partitions: Partitions) -> Self {
        Self { board: Board::new(partitions), shown: BTreeMap::new(), newest: BTreeMap::new() }
    }

    pub(super) fn note(&mut self, edition: Edition, commodity: &Commodity) {
        let newest = self.newest.entry(commodity.id).or_default();
        if edition >= newest.0 {
            *newest = (edition, i64::from(commodity.stock.available) > 0);
        }
    }
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
    pub(super) fn lose(&mut self, nodes: &mut [OfNode]) {
        self.under_way.clear();
        self.arriving.clear();
        self.begin_anew();
        self.is_over = false;
        self.heard.lost(&nodes[self.to].board);
    }

    pub(super) fn hear(&mut self, nodes: &mut [OfNode]) {
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
