//! How the board of one node comes to another: what one peer has been told of ours, and what one peer has told of its. Plain rules, for the
//! peer link and the simulator: they send nothing and keep no time.
//!
//! A partition is told as a snapshot, in parts, and then by what changes. A snapshot replaces what is shown when it is whole. Who is told more
//! slowly than the board changes, or does not follow, is told a snapshot again.

use std::collections::{BTreeMap, VecDeque};

use super::wire::{Content, Piece, Served};
use crate::domain::{CommodityId, Epoch, PartitionId, Sequence};
use crate::partition::{Board, Edition, Gap, Listing, News};

/// What a peer has been told of our board.
#[derive(Debug)]
pub(crate) struct Teller {
    /// About how many bytes go into a piece.
    piece_bytes: usize,
    told: BTreeMap<PartitionId, Told>,
    /// What is to be told before anybody rests.
    round: VecDeque<(PartitionId, Epoch)>,
}

/// How much of a partition.
#[derive(Clone, Copy, Debug)]
struct Told {
    edition: Edition,
    progress: Progress,
}

#[derive(Clone, Copy, Debug)]
enum Progress {
    /// The snapshot up to that commodity.
    Part(Option<CommodityId>),
    /// All of it, up to the edition's version.
    Whole,
}

impl Teller {
    /// Of a peer that knows nothing, in pieces of about so many bytes.
    pub(crate) fn new(piece_bytes: usize) -> Self {
        Self { piece_bytes, told: BTreeMap::new(), round: VecDeque::new() }
    }

    /// Looks for what is new in the partitions that are served, which the peer knows to be.
    pub(crate) fn begin_round(&mut self, board: &Board, serving: impl Iterator<Item = (PartitionId, Epoch)>) {
        let serving: BTreeMap<PartitionId, Epoch> = serving.collect();
        self.told.retain(|partition, told| serving.get(partition) == Some(&told.edition.epoch));
        let told = &self.told;
        let is_told = |partition: &PartitionId| {
            let told = told.get(partition).filter(|told| matches!(told.progress, Progress::Whole));
            told.is_some_and(|told| told.edition == board.edition(*partition))
        };
        self.round = serving.into_iter().filter(|(partition, _)| !is_told(partition)).collect();
    }

    /// The next piece; none when all of this round is told. Partitions have their turns.
    pub(crate) fn next(&mut self, board: &Board) -> Option<Piece> {
        while let Some((partition, epoch)) = self.round.pop_front() {
            if let Some((piece, has_more)) = self.tell(board, partition, epoch) {
                if has_more {
                    self.round.push_back((partition, epoch));
                }
                return Some(piece);
            }
        }
        None
    }

    /// A piece of a partition, and whether there is more to tell now.
    fn tell(&mut self, board: &Board, partition: PartitionId, epoch: Epoch) -> Option<(Piece, bool)> {
        let confirmed = board.confirmed(partition).filter(|(of, _)| *of == epoch).map_or(Sequence::FENCE, |(_, sequence)| sequence);
        let of = Served { partition, epoch, confirmed };
        if let Some(Told { edition, progress: Progress::Whole }) = self.told.get(&partition).copied() {
            match board.changes_since(partition, edition, self.piece_bytes) {
                News::Changes(changes) if changes.shown.is_empty() && changes.hidden.is_empty() => return None,
                News::Changes(changes) => {
                    let (since, version) = (edition.version, changes.version);
                    self.note(partition, Edition { version, ..edition }, Progress::Whole);
                    let content = Content::Changes { since, shown: changes.shown, hidden: changes.hidden };
                    return Some((Piece { of, version, content }, changes.is_cut));
                }
                News::Behind => drop(self.told.remove(&partition)),
                News::Over => {
                    self.told.remove(&partition);
                    return None;
                }
            }
        }
        self.tell_part(board, of)
    }

    /// The next part of a snapshot.
    fn tell_part(&mut self, board: &Board, of: Served) -> Option<(Piece, bool)> {
        let begun = self.told.remove(&of.partition);
        let (mut after, mut version) = match begun {
            Some(Told { edition, progress: Progress::Part(after) }) => (after, Some(edition.version)),
            Some(Told { progress: Progress::Whole, .. }) | None => (None, None),
        };
        let (mut shown, mut bytes) = (Vec::new(), 0);
        let is_last = loop {
            let part = board.part(of.partition, of.epoch, after, self.piece_bytes - bytes)?;
            // As of when the first of it was read: what changed since is told afterwards.
            version = version.or(Some(part.version));
            after = part.listings.last().map_or(after, |listing| Some(listing.id));
            bytes += part.bytes;
            shown.extend(part.listings);
            if part.is_last || bytes >= self.piece_bytes {
                break part.is_last;
            }
        };
        let version = version.expect("a part was read");
        let progress = if is_last { Progress::Whole } else { Progress::Part(after) };
        self.note(of.partition, Edition { epoch: of.epoch, version }, progress);
        let content = Content::Part { is_first: begun.is_none(), is_last, shown };
        Some((Piece { of, version, content }, !is_last))
    }

    fn note(&mut self, partition: PartitionId, edition: Edition, progress: Progress) {
        self.told.insert(partition, Told { edition, progress });
    }
}

/// What a peer has told of its board.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    serving: BTreeMap<PartitionId, Epoch>,
    /// Snapshots that are not whole yet.
    arriving: BTreeMap<PartitionId, (Edition, Vec<Listing>)>,
}

impl Heard {
    /// It serves these, and nothing else.
    pub(crate) fn standing(&mut self, board: &Board, serving: &[Served]) {
        let now = serving.iter().map(|served| (served.partition, served.epoch)).collect();
        let before = std::mem::replace(&mut self.serving, now);
        let is_over = |partition: &PartitionId, epoch: Epoch| self.serving.get(partition) != Some(&epoch);
        before.into_iter().filter(|(partition, epoch)| is_over(partition, *epoch)).for_each(|(partition, epoch)| {
            board.withdraw(partition, epoch);
        });
        self.arriving.retain(|partition, (edition, _)| self.serving.get(partition) == Some(&edition.epoch));
        for served in serving {
            board.confirm(served.partition, served.epoch, served.confirmed);
        }
    }

    /// It shows that.
    ///
    /// # Errors
    /// [`Gap`] when something is missing before it: the peer is to begin from the beginning.
    pub(crate) fn piece(&mut self, board: &Board, piece: Piece) -> Result<(), Gap> {
        let Served { partition, epoch, confirmed } = piece.of;
        if self.serving.get(&partition) != Some(&epoch) {
            return Ok(());
        }
        board.confirm(partition, epoch, confirmed);
        let edition = Edition { epoch, version: piece.version };
        match piece.content {
            Content::Changes { .. } if self.arriving.contains_key(&partition) => Err(Gap),
            Content::Changes { since, shown, hidden } => board.catch_up(partition, (since, edition), shown, &hidden),
            Content::Part { is_first, is_last, shown } => {
                if is_first {
                    self.arriving.insert(partition, (edition, Vec::new()));
                }
                let Some((begun, listings)) = self.arriving.get_mut(&partition) else { return Err(Gap) };
                if *begun != edition {
                    return Err(Gap);
                }
                listings.extend(shown);
                if is_last && let Some((edition, listings)) = self.arriving.remove(&partition) {
                    board.turn(partition, edition, listings);
                }
                Ok(())
            }
        }
    }

    /// It is not heard any more.
    pub(crate) fn lost(&mut self, board: &Board) {
        self.standing(board, &[]);
    }
}

#[cfg(test)]
mod tests;
