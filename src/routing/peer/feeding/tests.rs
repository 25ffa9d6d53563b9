//! What one board shows comes to the other, in whatever pieces, and never anything that is over.

use proptest::prelude::*;

use super::*;
use crate::domain::{Commodity, CommodityState, Partitions, Timestamp};
use crate::partition::samples;

const PARTITIONS: Partitions = match Partitions::new(1) {
    Ok(partitions) => partitions,
    Err(_) => panic!("one is a number of partitions"),
};

fn partition() -> PartitionId {
    PartitionId::new(0).unwrap()
}

fn epoch(number: u32) -> Epoch {
    Epoch::new(number).unwrap()
}

fn lamp(id: i64, available: i64) -> Commodity {
    samples::lamp(id, available, id as usize % 7 * 100)
}

/// An owner's board, what a peer is told of it, and that peer's board.
struct Pair {
    owner: Board,
    teller: Teller,
    heard: Heard,
    peer: Board,
}

impl Pair {
    fn new(piece_bytes: usize) -> Self {
        let (owner, peer) = (Board::new(PARTITIONS), Board::new(PARTITIONS));
        Self { owner, teller: Teller::new(piece_bytes), heard: Heard::default(), peer }
    }

    fn turn(&self, number: u32, ids: impl Iterator<Item = i64>, available: i64) {
        let listings = ids.map(|id| Listing::new(lamp(id, available))).collect();
        self.owner.turn(partition(), Edition { epoch: epoch(number), version: 0 }, listings);
    }

    /// The owner says that it serves that epoch.
    fn serve(&mut self, number: u32) {
        let served = Served { partition: partition(), epoch: epoch(number), confirmed: Sequence(u64::from(number)) };
        self.heard.standing(&self.peer, &[served]);
        self.teller.begin_round(&self.owner, [(partition(), epoch(number))].into_iter());
    }

    fn next(&mut self) -> Option<Piece> {
        self.teller.next(&self.owner)
    }

    /// Everything that is to be told in a round is heard; how many pieces that were.
    fn tell(&mut self, number: u32) -> usize {
        self.teller.begin_round(&self.owner, [(partition(), epoch(number))].into_iter());
        let mut pieces = 0;
        while let Some(piece) = self.next() {
            self.heard.piece(&self.peer, piece).unwrap();
            pieces += 1;
        }
        pieces
    }

    fn shows_the_same(&self) -> bool {
        let all = |board: &Board| board.walk(None).collect::<Vec<_>>();
        all(&self.owner) == all(&self.peer) && self.owner.edition(partition()) == self.peer.edition(partition())
    }

    fn state(&self, id: i64) -> Option<CommodityState> {
        self.peer.state(CommodityId::new(id).unwrap(), Timestamp::ZERO)
    }
}

#[test]
fn a_snapshot_comes_in_parts_and_is_shown_when_it_is_whole() {
    let mut pair = Pair::new(1_000);
    pair.turn(1, 1..=100, 5);
    pair.serve(1);
    let first = pair.next().unwrap();
    assert!(matches!(first.content, Content::Part { is_first: true, is_last: false, .. }));
    pair.heard.piece(&pair.peer, first).unwrap();
    assert_eq!((pair.peer.is_fed(partition()), pair.peer.walk(None).count()), (false, 0));
    assert!(pair.tell(1) > 20);
    assert!(pair.peer.is_fed(partition()) && pair.shows_the_same());
    assert_eq!(pair.tell(1), 0, "nothing is told twice");
    pair.owner.show(partition(), epoch(1), lamp(7, 0));
    assert_eq!((pair.tell(1), pair.state(7)), (1, Some(CommodityState::SoldOut)));
}

#[test]
fn what_changes_while_a_snapshot_is_read_comes_after_it() {
    let mut pair = Pair::new(1_000);
    pair.turn(1, 1..=100, 5);
    pair.serve(1);
    let first = pair.next().unwrap();
    pair.heard.piece(&pair.peer, first).unwrap();
    pair.owner.show(partition(), epoch(1), lamp(1, 0));
    pair.owner.hide(partition(), epoch(1), CommodityId::new(2).unwrap());
    pair.owner.show(partition(), epoch(1), lamp(99, 0));
    pair.owner.show(partition(), epoch(1), lamp(101, 3));
    pair.tell(1);
    pair.tell(1);
    assert!(pair.shows_the_same());
}

#[test]
fn a_snapshot_whose_epoch_is_over_is_never_shown() {
    let mut pair = Pair::new(1_000);
    pair.turn(1, 1..=100, 0);
    pair.serve(1);
    let mut held_back: Vec<Piece> = std::iter::from_fn(|| pair.next()).collect();
    let last = held_back.pop().unwrap();
    held_back.into_iter().for_each(|piece| pair.heard.piece(&pair.peer, piece).unwrap());
    pair.turn(2, 1..=3, 5);
    pair.serve(2);
    pair.tell(2);
    assert_eq!(pair.heard.piece(&pair.peer, last), Ok(()), "it is of a partition that is not served so");
    assert!(pair.shows_the_same());
    assert_eq!(pair.state(1), Some(CommodityState::Open));
}

/// The next owner is another node: what the first one said is still on its way.
#[test]
fn a_bulletin_of_the_owner_before_that_is_late_changes_nothing() {
    let (mut before, mut after) = (Pair::new(1 << 20), Pair::new(1 << 20));
    after.peer = Board::new(PARTITIONS);
    before.turn(5, 1..=3, 1);
    before.serve(5);
    before.tell(5);
    before.owner.show(partition(), epoch(5), lamp(1, 0));
    before.teller.begin_round(&before.owner, [(partition(), epoch(5))].into_iter());
    let held_back = before.next().unwrap();

    // One board hears both.
    after.turn(6, 1..=3, 1);
    std::mem::swap(&mut before.peer, &mut after.peer);
    after.serve(6);
    assert_eq!(after.state(1), None, "whoever served before is no hint any more");
    after.tell(6);
    assert_eq!(before.heard.piece(&after.peer, held_back), Ok(()));
    assert_eq!(after.state(1), Some(CommodityState::Open));
    before.heard.lost(&after.peer);
    assert!(after.peer.is_fed(partition()) && after.shows_the_same());
    assert_eq!(after.peer.confirmed(partition()), Some((epoch(6), Sequence(6))));
}

#[test]
fn what_does_not_follow_is_a_gap_and_a_new_beginning_mends_it() {
    let mut pair = Pair::new(1 << 20);
    pair.turn(1, 1..=3, 5);
    pair.serve(1);
    pair.tell(1);
    for left in [4, 3] {
        pair.owner.show(partition(), epoch(1), lamp(1, left));
        pair.teller.begin_round(&pair.owner, [(partition(), epoch(1))].into_iter());
        let piece = pair.next().unwrap();
        if left == 3 {
            assert_eq!(pair.heard.piece(&pair.peer, piece), Err(Gap), "the one before was lost");
        }
    }
    pair.heard.lost(&pair.peer);
    assert!(!pair.peer.is_fed(partition()));
    pair.teller = Teller::new(1 << 20);
    pair.serve(1);
    pair.tell(1);
    assert!(pair.peer.is_fed(partition()) && pair.shows_the_same());
}

#[test]
fn a_peer_that_is_slower_than_the_board_is_told_a_snapshot_again() {
    let mut pair = Pair::new(1 << 20);
    pair.turn(1, 1..=3, 5);
    pair.serve(1);
    pair.tell(1);
    (1..=20_000).for_each(|id| pair.owner.show(partition(), epoch(1), lamp(id, 2)));
    pair.teller.begin_round(&pair.owner, [(partition(), epoch(1))].into_iter());
    let first = pair.next().unwrap();
    assert!(matches!(first.content, Content::Part { is_first: true, is_last: false, .. }));
    pair.heard.piece(&pair.peer, first).unwrap();
    assert_eq!(pair.state(1), Some(CommodityState::Open), "what was whole is shown meanwhile");
    pair.tell(1);
    assert!(pair.shows_the_same());
}

proptest! {
    /// Whatever an owner does between two pieces, and wherever a connection breaks, the peer comes to show the same.
    #[test]
    fn boards_come_to_be_alike(
        piece_bytes in 1usize..2_000,
        steps in prop::collection::vec((0u8..10, 1i64..40, 0i64..10), 1..200),
    ) {
        let mut pair = Pair::new(piece_bytes);
        let mut number = 1;
        pair.turn(1, 1..=10, 5);
        pair.serve(1);
        for (what, id, available) in steps {
            match what {
                0 => {
                    number += 1;
                    pair.turn(number, 1..=id, available);
                    pair.serve(number);
                }
                1 => {
                    pair.heard.lost(&pair.peer);
                    pair.teller = Teller::new(piece_bytes);
                    pair.serve(number);
                }
                2 => pair.owner.hide(partition(), epoch(number), CommodityId::new(id).unwrap()),
                3..6 => pair.owner.show(partition(), epoch(number), lamp(id, available)),
                _ => match pair.next() {
                    Some(piece) => prop_assert_eq!(pair.heard.piece(&pair.peer, piece), Ok(())),
                    None => pair.teller.begin_round(&pair.owner, [(partition(), epoch(number))].into_iter()),
                },
            }
        }
        pair.tell(number);
        pair.tell(number);
        prop_assert!(pair.peer.is_fed(partition()) && pair.shows_the_same());
    }
}
