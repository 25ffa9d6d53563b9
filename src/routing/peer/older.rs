//! Bulletins of peers that speak version 3 or 4, in the words of version 5, and ours in theirs. Those versions know of no versions of a
//! board, say how a node stands and what is new on its board in one breath, and have no end to a snapshot: a partition is whole with the
//! first bulletin that serves it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::wire::{Bulletin, Content, Piece, Served, Standing, Together};
use crate::domain::{CommodityId, Epoch, PartitionId, Partitions};
use crate::partition::Listing;
use crate::ring::partition_of;

/// Counts the versions for peers that don't: what is heard later is newer, on whichever connection.
static VERSIONS: AtomicU64 = AtomicU64::new(0);

/// What one connection to an older peer has brought.
pub(super) struct Hearer {
    partitions: Partitions,
    /// What it serves, and the version given to its last piece.
    served: BTreeMap<PartitionId, (Epoch, u64)>,
}

impl Hearer {
    pub(super) fn new(partitions: Partitions) -> Self {
        Self { partitions, served: BTreeMap::new() }
    }

    /// What a bulletin says.
    pub(super) fn read(&mut self, bulletin: Together) -> Vec<Bulletin> {
        let Together { standing, shown, hidden } = bulletin;
        let mut new: BTreeMap<PartitionId, (Vec<Listing>, Vec<CommodityId>)> = BTreeMap::new();
        for (partition, listing) in shown {
            new.entry(partition).or_default().0.push(listing);
        }
        for id in hidden {
            new.entry(partition_of(id, self.partitions)).or_default().1.push(id);
        }
        let before = std::mem::take(&mut self.served);
        let mut pieces = Vec::new();
        for served in &standing.serving {
            let since = before.get(&served.partition).filter(|(epoch, _)| *epoch == served.epoch).map(|(_, version)| *version);
            let version = match (since, new.remove(&served.partition)) {
                (Some(since), None) => since,
                (since, news) => {
                    let (version, (shown, hidden)) = (VERSIONS.fetch_add(1, Ordering::Relaxed) + 1, news.unwrap_or_default());
                    let content = match since {
                        Some(since) => Content::Changes { since, shown, hidden },
                        None => Content::Part { is_first: true, is_last: true, shown },
                    };
                    pieces.push(Bulletin::Piece(Piece { of: *served, version, content }));
                    version
                }
            };
            self.served.insert(served.partition, (served.epoch, version));
        }
        std::iter::once(Bulletin::Standing(standing)).chain(pieces).collect()
    }
}

/// What one older peer has been told.
#[derive(Default)]
pub(super) struct Teller {
    standing: Standing,
    /// Of which partitions it has a snapshot, or the first part of one.
    introduced: BTreeMap<PartitionId, Epoch>,
}

impl Teller {
    /// How we stand.
    pub(super) fn standing(&mut self, standing: Standing) -> Together {
        let is_served = |partition: &PartitionId, epoch: Epoch| {
            standing.serving.iter().any(|served| (served.partition, served.epoch) == (*partition, epoch))
        };
        self.introduced.retain(|partition, epoch| is_served(partition, *epoch));
        self.standing = standing;
        self.together()
    }

    /// What our board shows: one bulletin, or two.
    pub(super) fn piece(&mut self, piece: Piece) -> Vec<Together> {
        let Served { partition, epoch, .. } = piece.of;
        let mut said = Vec::new();
        let (shown, hidden) = match piece.content {
            Content::Part { is_first, shown, .. } => {
                // A snapshot that is told again begins with a bulletin that doesn't serve the partition.
                if is_first && self.introduced.remove(&partition).is_some() {
                    said.push(self.together());
                }
                (shown, Vec::new())
            }
            Content::Changes { shown, hidden, .. } => (shown, hidden),
        };
        self.introduced.insert(partition, epoch);
        said.push(Together { shown: shown.into_iter().map(|listing| (partition, listing)).collect(), hidden, ..self.together() });
        said
    }

    /// Without anything of the board. What was not introduced yet is about to be served, and requests for it may come.
    fn together(&self) -> Together {
        let mut standing = self.standing.clone();
        let is_introduced = |served: &Served| self.introduced.get(&served.partition) == Some(&served.epoch);
        let (serving, claiming): (Vec<_>, Vec<_>) = standing.serving.into_iter().partition(is_introduced);
        standing.serving = serving;
        standing.claiming.extend(claiming.iter().map(|served| served.partition));
        Together { standing, shown: Vec::new(), hidden: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Commodity, Sequence};
    use crate::partition::{Board, Edition, samples};
    use crate::routing::peer::feeding::{self, Heard};
    use crate::routing::peer::wire::PeerVersion;

    const PARTITIONS: Partitions = Partitions::DEFAULT;

    fn lamp(id: i64) -> Listing {
        Listing::new(samples::lamp(id, 5, 500))
    }

    /// A board, told in bulletins of an older version that are cut after so many bytes, as another one comes to show it.
    struct Link {
        owner: Board,
        tells: feeding::Teller,
        older: Teller,
        hearer: Hearer,
        heard: Heard,
        peer: Board,
        /// How many bulletins there were.
        said: usize,
    }

    impl Link {
        fn new(piece_bytes: usize) -> Self {
            Self {
                owner: Board::new(PARTITIONS),
                tells: feeding::Teller::new(piece_bytes),
                older: Teller::default(),
                hearer: Hearer::new(PARTITIONS),
                heard: Heard::default(),
                peer: Board::new(PARTITIONS),
                said: 0,
            }
        }

        fn tell(&mut self, epoch: Epoch) {
            let served = |partition| Served { partition, epoch, confirmed: Sequence(9) };
            let standing = Standing { serving: PARTITIONS.iter().map(served).collect(), ..Standing::default() };
            let together = self.older.standing(standing);
            self.hear(together);
            for _ in 0..2 {
                self.tells.begin_round(&self.owner, PARTITIONS.iter().map(|partition| (partition, epoch)));
                while let Some(piece) = self.tells.next(&self.owner) {
                    self.older.piece(piece).into_iter().for_each(|together| self.hear(together));
                }
            }
        }

        fn hear(&mut self, together: Together) {
            self.said += 1;
            let bytes = together.write(PeerVersion::V4, Vec::new());
            for bulletin in self.hearer.read(Together::read(PeerVersion::V4, &bytes).unwrap()) {
                match bulletin {
                    Bulletin::Standing(standing) => self.heard.standing(&self.peer, &standing.serving),
                    Bulletin::Piece(piece) => self.heard.piece(&self.peer, piece).unwrap(),
                }
            }
        }

        fn shows_the_same(&self) -> bool {
            let all = |board: &Board| board.walk(None).collect::<Vec<_>>();
            all(&self.owner) == all(&self.peer) && PARTITIONS.iter().all(|partition| self.peer.is_fed(partition))
        }
    }

    fn turn(board: &Board, epoch: Epoch, ids: std::ops::RangeInclusive<i64>) {
        for partition in PARTITIONS.iter() {
            let here = ids.clone().filter(|id| partition_of(CommodityId::new(*id).unwrap(), PARTITIONS) == partition);
            board.turn(partition, Edition { epoch, version: 0 }, here.map(lamp).collect());
        }
    }

    #[test]
    fn an_older_peer_comes_to_show_the_same_also_when_bulletins_are_cut() {
        for (piece_bytes, said) in [(1 << 20, 17), (1_000, 400)] {
            let mut link = Link::new(piece_bytes);
            let epochs = [1, 2].map(|epoch| Epoch::new(epoch).unwrap());
            turn(&link.owner, epochs[0], 1..=1_000);
            link.tell(epochs[0]);
            assert!(link.shows_the_same() && link.said >= said, "{}", link.said);
            for id in 1..=200 {
                let lamp = lamp(id);
                let partition = partition_of(lamp.id, PARTITIONS);
                if id % 2 == 0 {
                    link.owner.hide(partition, epochs[0], lamp.id);
                } else {
                    link.owner.show(partition, epochs[0], Commodity { paused: true, ..(*lamp).clone() });
                }
            }
            link.tell(epochs[0]);
            assert!(link.shows_the_same());
            turn(&link.owner, epochs[1], 500..=1_200);
            link.tell(epochs[1]);
            assert!(link.shows_the_same());
            let of = link.peer.confirmed(PARTITIONS.iter().next().unwrap());
            assert_eq!(of, Some((epochs[1], Sequence(9))));
        }
    }

    #[test]
    fn a_snapshot_that_is_told_again_drops_what_is_gone() {
        let mut link = Link::new(1 << 20);
        let epoch = Epoch::new(1).unwrap();
        turn(&link.owner, epoch, 1..=100);
        link.tell(epoch);
        // As for a peer that was slower than the board.
        link.tells = feeding::Teller::new(1 << 20);
        let gone = lamp(1).id;
        link.owner.hide(partition_of(gone, PARTITIONS), epoch, gone);
        link.tell(epoch);
        assert!(link.shows_the_same());
    }
}
