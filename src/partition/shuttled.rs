//! Board and stage once more, over locks and counters that let a checker (`shuttle`) choose who goes next at each of them. Each test runs
//! thousands of orders; one that fails is printed and can be run again.

mod sync {
    pub(super) use shuttle::sync::atomic::{AtomicU8, AtomicU64, Ordering};
    pub(super) use shuttle::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
}

#[path = "board/mod.rs"]
#[expect(dead_code, clippy::duplicate_mod, reason = "the same code over other locks; the tests here use a part of it")]
mod board;
#[path = "stage.rs"]
#[expect(clippy::duplicate_mod, reason = "as above")]
mod stage;

use std::sync::Arc;

use board::{Board, Edition, Listing, News};
use shuttle::thread;
use stage::Stage;

use super::samples;
use crate::domain::{Commodity, CommodityId, Epoch, PartitionId, Partitions, Sequence};

/// Orders that are tried of each test, half of them by chance, half with few changes of who goes on.
const ORDERS: usize = 2_000;

fn check(what: impl Fn() + Copy + Send + Sync + 'static) {
    shuttle::check_random(what, ORDERS);
    shuttle::check_pct(what, ORDERS, 3);
}

fn id(id: i64) -> CommodityId {
    CommodityId::new(id).unwrap()
}

fn partition() -> PartitionId {
    PartitionId::new(0).unwrap()
}

fn epoch(number: u32) -> Epoch {
    Epoch::new(number).unwrap()
}

fn edition(number: u32, version: u64) -> Edition {
    Edition { epoch: epoch(number), version }
}

fn lamp(number: i64, available: i64) -> Commodity {
    samples::lamp(number, available, 0)
}

fn listing(number: i64, available: i64) -> Listing {
    Listing::new(lamp(number, available))
}

fn board() -> Arc<Board> {
    Arc::new(Board::new(Partitions::new(1).unwrap()))
}

fn all(board: &Board) -> Vec<Listing> {
    board.walk(None).collect()
}

/// An owner that is one no longer, the next one, and a bulletin of each: nobody who reads sees an epoch go back.
#[test]
fn an_older_epoch_never_comes_back() {
    check(|| {
        let board = board();
        let old = thread::spawn({
            let board = Arc::clone(&board);
            move || {
                board.turn(partition(), edition(5, 0), vec![listing(1, 3)]);
                board.show(partition(), epoch(5), lamp(1, 0));
                let _ = board.catch_up(partition(), (0, edition(5, 9)), vec![listing(1, 0)], &[]);
                board.withdraw(partition(), epoch(5));
            }
        });
        let new = thread::spawn({
            let board = Arc::clone(&board);
            move || {
                board.confirm(partition(), epoch(6), Sequence::FENCE);
                board.turn(partition(), edition(6, 0), vec![listing(1, 2)]);
                board.show(partition(), epoch(6), lamp(1, 1));
            }
        });
        let seen = [board.edition(partition()), board.edition(partition()), board.edition(partition())];
        assert!(seen.is_sorted(), "{seen:?}");
        old.join().unwrap();
        new.join().unwrap();
        assert!(board.is_fed_in(partition(), epoch(6)));
        assert_eq!((board.edition(partition()), all(&board)), (edition(6, 1), vec![listing(1, 1)]));
    });
}

/// Whoever reads the board's version first, and then what is new, misses nothing: what it has not read has changed the version since.
#[test]
fn who_has_read_the_newest_version_has_everything() {
    check(|| {
        let (board, mine) = (board(), board());
        board.turn(partition(), edition(1, 0), vec![listing(1, 5), listing(2, 5)]);
        let owner = thread::spawn({
            let board = Arc::clone(&board);
            move || {
                board.show(partition(), epoch(1), lamp(1, 4));
                board.hide(partition(), epoch(1), id(2));
                board.show(partition(), epoch(1), lamp(3, 5));
            }
        });
        // The snapshot in parts, while it changes, and then the changes.
        let (mut after, mut version, mut listings) = (None, None, Vec::new());
        let mut seen = board.version();
        loop {
            let part = board.part(partition(), epoch(1), after, 1).unwrap();
            version = version.or(Some(part.version));
            after = part.listings.last().map(|listing| listing.id);
            listings.extend(part.listings);
            if part.is_last {
                break;
            }
        }
        mine.turn(partition(), edition(1, version.unwrap()), listings);
        let mut owner = Some(owner);
        loop {
            let at = mine.edition(partition());
            let News::Changes(changes) = board.changes_since(partition(), at, 1) else { panic!("they are remembered") };
            mine.catch_up(partition(), (at.version, edition(1, changes.version)), changes.shown, &changes.hidden).unwrap();
            if changes.is_cut {
                continue;
            }
            if board.version() == seen {
                match owner.take() {
                    Some(owner) => owner.join().unwrap(),
                    None => break,
                }
            }
            seen = board.version();
        }
        assert_eq!(all(&mine), all(&board));
        assert_eq!(mine.edition(partition()), board.edition(partition()));
    });
}

/// A list that is read while the partition has its next owner is in order and has nothing twice.
#[test]
fn a_walk_is_in_order_whatever_happens_meanwhile() {
    check(|| {
        let board = board();
        board.turn(partition(), edition(1, 0), (1..=20).map(|number| listing(number, 5)).collect());
        let owners = thread::spawn({
            let board = Arc::clone(&board);
            move || {
                board.hide(partition(), epoch(1), id(10));
                board.turn(partition(), edition(2, 0), (5..=25).map(|number| listing(number, 5)).collect());
            }
        });
        let found: Vec<CommodityId> = board.walk(None).map(|listing| listing.id).collect();
        assert!(found.is_sorted_by(|one, next| one < next), "{found:?}");
        assert!((5..=20).filter(|number| *number != 10).all(|number| found.contains(&id(number))), "{found:?}");
        owners.join().unwrap();
    });
}

/// A request that its caller gives up is not carried out, and one that is carried out is waited for.
#[test]
fn a_request_is_taken_up_or_given_up() {
    check(|| {
        let stage = Arc::<Stage>::default();
        let task = thread::spawn({
            let stage = Arc::clone(&stage);
            move || stage.take()
        });
        let abandoned = stage.abandon();
        assert_ne!(task.join().unwrap(), abandoned);
        assert!(!stage.take() && !stage.abandon());
    });
}
