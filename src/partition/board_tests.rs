//! What the board takes and what it passes over, in whatever order it comes; and what a walk reads.

use proptest::prelude::*;

use super::board::{Board, Edition, Gap, Listing, News};
use super::samples;
use crate::domain::{Commodity, CommodityId, CommodityState, Epoch, PartitionId, Partitions, Sequence, Timestamp};
use crate::engine::Refusal;
use crate::ring::partition_of;

fn id(id: i64) -> CommodityId {
    CommodityId::new(id).unwrap()
}

fn lamp(number: i64, available: i64) -> Commodity {
    samples::lamp(number, available, 0)
}

fn listing(number: i64, available: i64) -> Listing {
    Listing::new(lamp(number, available))
}

fn epoch(number: u32) -> Epoch {
    Epoch::new(number).unwrap()
}

fn edition(number: u32, version: u64) -> Edition {
    Edition { epoch: epoch(number), version }
}

/// A board of one partition.
fn board() -> (Board, PartitionId) {
    (Board::new(Partitions::new(1).unwrap()), PartitionId::new(0).unwrap())
}

fn available(board: &Board, number: i64) -> Option<u32> {
    board.get(id(number)).map(|listing| listing.stock.available.get())
}

#[test]
fn an_older_epoch_never_replaces_a_newer_one() {
    let (board, partition) = board();
    assert!(board.turn(partition, edition(6, 1), vec![listing(1, 7)]));
    // Whatever it says, in whichever way.
    assert!(!board.turn(partition, edition(5, 99), vec![listing(1, 0)]));
    board.show(partition, epoch(5), lamp(1, 0));
    board.hide(partition, epoch(5), id(1));
    assert_eq!(board.catch_up(partition, (0, edition(5, 100)), vec![listing(1, 0)], &[]), Ok(()));
    board.withdraw(partition, epoch(5));
    board.confirm(partition, epoch(6), Sequence::FENCE);
    assert_eq!((board.state(id(1), Timestamp::ZERO), available(&board, 1)), (Some(CommodityState::Open), Some(7)));
    assert_eq!(board.edition(partition), edition(6, 1));
}

#[test]
fn within_an_epoch_only_a_newer_version_counts() {
    let (board, partition) = board();
    board.turn(partition, edition(6, 5), vec![listing(1, 5)]);
    assert!(!board.turn(partition, edition(6, 4), vec![listing(1, 6)]));
    assert_eq!(board.catch_up(partition, (3, edition(6, 4)), vec![listing(1, 6)], &[]), Ok(()));
    assert_eq!(available(&board, 1), Some(5));
    assert_eq!(board.catch_up(partition, (4, edition(6, 7)), vec![listing(1, 3)], &[id(2)]), Ok(()));
    assert_eq!((available(&board, 1), board.edition(partition)), (Some(3), edition(6, 7)));
    assert!(board.turn(partition, edition(6, 7), vec![listing(1, 3)]), "the same once more");
}

#[test]
fn changes_that_do_not_follow_are_a_gap() {
    let (board, partition) = board();
    board.turn(partition, edition(6, 5), vec![listing(1, 5)]);
    assert_eq!(board.catch_up(partition, (6, edition(6, 7)), vec![listing(1, 3)], &[]), Err(Gap));
    assert_eq!(board.catch_up(partition, (0, edition(7, 1)), vec![listing(1, 3)], &[]), Err(Gap), "of an epoch that was never shown");
    assert_eq!(available(&board, 1), Some(5));
}

#[test]
fn withdrawn_hints_are_no_hints_and_can_still_be_read() {
    let (board, partition) = board();
    board.turn(partition, edition(6, 1), vec![listing(1, 0)]);
    assert_eq!(board.refusal(id(1), Timestamp::ZERO), Some(Refusal::SoldOut));
    board.confirm(partition, epoch(7), Sequence::FENCE);
    assert_eq!((board.refusal(id(1), Timestamp::ZERO), available(&board, 1)), (None, Some(0)));
    // Who does not know that it is over goes on showing, and feeds nothing.
    board.show(partition, epoch(6), lamp(1, 1));
    assert!(!board.is_fed(partition));
    // Nor does what comes late of it.
    assert_eq!(board.catch_up(partition, (2, edition(6, 3)), vec![listing(1, 0)], &[]), Ok(()));
    assert!(!board.is_fed(partition) && board.refusal(id(1), Timestamp::ZERO).is_none());
    assert!(board.turn(partition, edition(7, 1), vec![]));
    assert_eq!((board.is_fed(partition), available(&board, 1)), (true, None));
}

#[test]
fn a_change_is_told_once_with_its_last_state() {
    let (board, partition) = board();
    board.turn(partition, edition(6, 1), vec![listing(1, 5), listing(2, 5)]);
    for left in [4, 3, 2] {
        board.show(partition, epoch(6), lamp(1, left));
    }
    board.show(partition, epoch(6), lamp(3, 5));
    board.hide(partition, epoch(6), id(2));
    let News::Changes(changes) = board.changes_since(partition, edition(6, 1), usize::MAX) else { panic!("they are remembered") };
    assert_eq!((changes.version, changes.is_cut), (6, false));
    assert_eq!((changes.shown, changes.hidden), (vec![listing(1, 2), listing(3, 5)], vec![id(2)]));
    let News::Changes(none) = board.changes_since(partition, edition(6, 6), usize::MAX) else { panic!("they are remembered") };
    assert!(none.shown.is_empty() && none.hidden.is_empty());
    assert!(matches!(board.changes_since(partition, edition(6, 0), usize::MAX), News::Behind));
    assert!(matches!(board.changes_since(partition, edition(5, 1), usize::MAX), News::Over));
}

#[test]
fn changes_are_cut_and_the_pieces_come_to_the_same() {
    let (from, partition) = board();
    let (to, _) = board();
    let first: Vec<Listing> = (1..=20).map(|number| listing(number, 5)).collect();
    from.turn(partition, edition(6, 1), first.clone());
    to.turn(partition, edition(6, 1), first);
    (1..=15).for_each(|number| from.show(partition, epoch(6), lamp(number, 3)));
    (4..=6).for_each(|number| from.hide(partition, epoch(6), id(number)));
    let mut pieces = 0;
    loop {
        let at = to.edition(partition);
        let News::Changes(changes) = from.changes_since(partition, at, 200) else { panic!("they are remembered") };
        to.catch_up(partition, (at.version, edition(6, changes.version)), changes.shown, &changes.hidden).unwrap();
        pieces += 1;
        if !changes.is_cut {
            break;
        }
    }
    assert!(pieces > 5, "{pieces}");
    assert_eq!(to.walk(None).collect::<Vec<_>>(), from.walk(None).collect::<Vec<_>>());
    assert_eq!(to.edition(partition), from.edition(partition));
}

#[test]
fn who_is_behind_what_is_remembered_reads_the_snapshot_anew() {
    let (board, partition) = board();
    board.turn(partition, edition(6, 1), vec![]);
    (1..=20_000).for_each(|number| board.show(partition, epoch(6), lamp(number, 3)));
    assert!(matches!(board.changes_since(partition, edition(6, 1), usize::MAX), News::Behind));
    assert!(matches!(board.changes_since(partition, edition(6, 19_000), usize::MAX), News::Changes(_)));
    let (mut after, mut read) = (None, 0);
    loop {
        let part = board.part(partition, epoch(6), after, usize::MAX).unwrap();
        assert!(part.listings.len() <= 1_024);
        read += part.listings.len();
        after = part.listings.last().map(|listing| listing.id);
        if part.is_last {
            break;
        }
    }
    assert_eq!(read, 20_000);
    assert_eq!(board.part(partition, epoch(5), None, 1), None);
}

#[test]
fn what_was_said_to_be_confirmed_is_kept_and_never_goes_back() {
    let (board, partition) = board();
    board.confirm(partition, epoch(6), Sequence(7));
    board.confirm(partition, epoch(6), Sequence(5));
    board.confirm(partition, epoch(5), Sequence(900));
    board.withdraw(partition, epoch(6));
    assert_eq!(board.confirmed(partition), Some((epoch(6), Sequence(7))));
}

#[test]
fn a_walk_gives_every_commodity_once_in_order_from_wherever_it_begins() {
    for partitions in [1, 16, 4096] {
        let partitions = Partitions::new(partitions).unwrap();
        let board = Board::new(partitions);
        for partition in partitions.iter() {
            let here = (1..=500).filter(|number| partition_of(id(*number), partitions) == partition);
            board.turn(partition, edition(1, 1), here.map(|number| listing(number, 5)).collect());
        }
        for after in [None, Some(1), Some(250), Some(499), Some(500), Some(i64::MAX)] {
            let found: Vec<i64> = board.walk(after.map(id)).map(|listing| listing.id.get()).collect();
            assert_eq!(found, (after.unwrap_or(0).min(500) + 1..=500).collect::<Vec<_>>(), "{partitions:?} {after:?}");
        }
    }
}

#[test]
fn a_page_of_a_hundred_thousand_commodities_reads_the_page() {
    const ALL: i64 = 100_000;
    const PAGE: usize = 51;
    let partitions = Partitions::DEFAULT;
    let board = Board::new(partitions);
    let mut all = vec![Vec::new(); usize::from(partitions.get())];
    (1..=ALL).for_each(|number| all[usize::from(partition_of(id(number), partitions).get())].push(listing(number, 5)));
    for (partition, listings) in partitions.iter().zip(all) {
        board.turn(partition, edition(1, 0), listings);
    }
    for after in [0, 1, ALL / 2, ALL - 60] {
        let mut walk = board.walk(id(after.max(1)).into());
        let page: Vec<i64> = walk.by_ref().take(PAGE).map(|listing| listing.id.get()).collect();
        assert_eq!(page, (after.max(1) + 1..).take(PAGE).collect::<Vec<_>>());
        assert!(walk.ahead() <= 128, "{} were read and not asked for", walk.ahead());
    }
}

proptest! {
    /// Owners of three epochs, one after the other, each of which sells on for a while after the next has begun. What they say arrives in
    /// any order, some of it never.
    #[test]
    fn in_whatever_order_it_arrives_the_newest_wins(order in Just((0..30usize).collect::<Vec<_>>()).prop_shuffle(), lost in 0..30usize) {
        let (board, partition) = board();
        let mut newest = Edition::default();
        for said in order.into_iter().skip(lost) {
            let edition = edition(1 + (said / 10) as u32, 1 + (said % 10) as u64);
            board.turn(partition, edition, vec![listing(1, (said % 10) as i64)]);
            newest = newest.max(edition);
            prop_assert_eq!(board.edition(partition), newest);
            prop_assert_eq!(available(&board, 1), Some(newest.version as u32 - 1));
        }
    }
}

fn with_number(number: i64, sku: Option<&str>) -> Commodity {
    let mut lamp = lamp(number, 5);
    lamp.terms.sku = sku.map(|sku| sku.parse().unwrap());
    lamp
}

#[test]
fn a_commodity_is_found_by_the_article_number_it_has_now() {
    let (board, partition) = board();
    let found = |sku: &str| board.with_sku(&sku.parse().unwrap()).iter().map(|listing| listing.id.get()).collect::<Vec<_>>();
    let listings = [(1, Some("a")), (2, Some("b")), (3, None)].map(|(id, sku)| Listing::new(with_number(id, sku)));
    board.turn(partition, edition(1, 0), listings.to_vec());
    assert_eq!((found("a"), found("b"), found("c")), (vec![1], vec![2], vec![]));
    board.show(partition, epoch(1), with_number(1, Some("c")));
    board.show(partition, epoch(1), with_number(3, Some("a")));
    assert_eq!((found("a"), found("b"), found("c")), (vec![3], vec![2], vec![1]));
    board.show(partition, epoch(1), with_number(2, Some("a")));
    assert_eq!((found("a"), found("b")), (vec![2, 3], vec![]), "two for a moment");
    board.show(partition, epoch(1), with_number(3, None));
    board.hide(partition, epoch(1), id(2));
    assert_eq!((found("a"), found("c")), (vec![], vec![1]));
    board.turn(partition, edition(2, 0), vec![Listing::new(with_number(4, Some("b")))]);
    assert_eq!((found("b"), found("c")), (vec![4], vec![]));
}
