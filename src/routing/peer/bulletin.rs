//! What this node tells its peers of itself: which partitions it serves, how it reaches the broker, and what has changed on the
//! board since it said so last. What is on the board is told no more often than every 50 ms; how the node stands, no less than four times a
//! second, also in the middle of a long snapshot.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::feeding::Teller;
use super::frames::frame;
use super::local::Local;
use super::older;
use super::wire::{Bulletin, PeerVersion, Served, Standing, piece_bytes};
use crate::domain::Sequence;

/// Changes of listings gather for this long.
const GATHER: Duration = Duration::from_millis(50);
/// How often a node says that it is there, when nothing else is to say.
const ALIVE: Duration = Duration::from_millis(250);

/// Bulletins of that version, for as long as the peer reads them.
pub(super) fn stream(local: Arc<Local>, version: PeerVersion) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    unfold(Reporter::new(local, version), move |mut reporter| async move {
        let closed = reporter.local.closed.clone();
        let bytes = closed.run_until_cancelled(reporter.next()).await?;
        Some((Ok(bytes), reporter))
    })
}

/// What one peer has been told.
struct Reporter {
    local: Arc<Local>,
    version: PeerVersion,
    turns: watch::Receiver<u64>,
    changes: watch::Receiver<u64>,
    told: Standing,
    told_at: Option<Instant>,
    teller: Teller,
    /// The same, for a peer of an older version.
    older: older::Teller,
    /// Of the board, when it was looked at last.
    seen: u64,
    /// Frames that are to be sent.
    frames: VecDeque<Bytes>,
}

impl Reporter {
    fn new(local: Arc<Local>, version: PeerVersion) -> Self {
        let (turns, changes) = (local.board.turns(), local.changes());
        Self {
            local,
            version,
            turns,
            changes,
            told: Standing::default(),
            told_at: None,
            teller: Teller::new(piece_bytes(version)),
            older: older::Teller::default(),
            seen: 0,
            frames: VecDeque::new(),
        }
    }

    async fn next(&mut self) -> Bytes {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return frame;
            }
            if self.report() {
                continue;
            }
            tokio::select! {
                _ = self.turns.changed() => {}
                _ = self.changes.changed() => {}
                () = sleep(GATHER) => {}
            }
            // The version first: what changes after it is looked at again next time.
            let seen = self.local.board.version();
            if std::mem::replace(&mut self.seen, seen) != seen {
                self.begin_round();
            }
        }
    }

    /// Says how we stand, if that is to be said, and else the next piece of the board. Whether there was something to say.
    fn report(&mut self) -> bool {
        let standing = self.standing();
        let is_news = self.told_at.is_none() || !is_like(&standing, &self.told);
        if is_news || self.told_at.is_none_or(|told_at| told_at.elapsed() >= ALIVE) {
            self.told_at = Some(Instant::now());
            self.told = standing.clone();
            self.say(Bulletin::Standing(standing));
            if is_news {
                self.begin_round();
            }
            return true;
        }
        let piece = self.teller.next(&self.local.board);
        let is_one = piece.is_some();
        piece.into_iter().for_each(|piece| self.say(Bulletin::Piece(piece)));
        is_one
    }

    /// Looks for what is new on the board.
    fn begin_round(&mut self) {
        self.teller.begin_round(&self.local.board, self.told.serving.iter().map(|served| (served.partition, served.epoch)));
    }

    fn say(&mut self, bulletin: Bulletin) {
        match (self.version, bulletin) {
            (version @ (PeerVersion::V5 | PeerVersion::V6 | PeerVersion::V7), bulletin) => {
                self.frames.push_back(frame(|out| bulletin.write(version, out)))
            }
            (version, Bulletin::Standing(standing)) => {
                let together = self.older.standing(standing);
                self.frames.push_back(frame(|out| together.write(version, out)));
            }
            (version, Bulletin::Piece(piece)) => {
                let said = self.older.piece(piece);
                self.frames.extend(said.iter().map(|together| frame(|out| together.write(version, out))));
            }
        }
    }

    /// What holds now.
    fn standing(&self) -> Standing {
        let Local { board, partitions, .. } = &*self.local;
        let mut standing = Standing { leaving: self.local.is_leaving(), broker: self.local.reach(), ..Standing::default() };
        for partition in partitions.iter() {
            let Some(inbox) = self.local.inbox(partition) else { continue };
            standing.stopped.extend(inbox.trouble().map(|trouble| (partition, trouble)));
            match inbox.epoch() {
                Some(epoch) if board.is_fed_in(partition, epoch) => {
                    let confirmed = board.confirmed(partition).filter(|(of, _)| *of == epoch);
                    let confirmed = confirmed.map_or(Sequence::FENCE, |(_, sequence)| sequence);
                    standing.serving.push(Served { partition, epoch, confirmed });
                }
                _ => standing.claiming.push(partition),
            }
        }
        standing
    }
}

/// Whether there is no difference that cannot wait until the next sign of life.
fn is_like(one: &Standing, other: &Standing) -> bool {
    let of = |standing: &Standing| standing.serving.iter().map(|served| (served.partition, served.epoch)).collect::<Vec<_>>();
    (one.leaving, one.broker, &one.claiming, &one.stopped) == (other.leaving, other.broker, &other.claiming, &other.stopped)
        && of(one) == of(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Epoch, PartitionId, Partitions};
    use crate::partition::{Board, Edition, Listing, samples};
    use crate::routing::peer::wire::{FRAME_BYTES_MAX, Together};

    const EPOCH: Epoch = Epoch::MAX;

    fn lamp(id: i64) -> Listing {
        Listing::new(samples::lamp(id, 5, 4_000))
    }

    /// A partition that is longer than the longest frame.
    #[test]
    fn no_number_of_commodities_makes_a_frame_too_long() {
        const ALL: i64 = 18_000;
        let (board, partition) = (Board::new(Partitions::new(1).unwrap()), PartitionId::new(0).unwrap());
        board.turn(partition, Edition { epoch: EPOCH, version: 0 }, (1..=ALL).map(lamp).collect());
        for version in [PeerVersion::V4, PeerVersion::V5, PeerVersion::V6] {
            let mut teller = Teller::new(piece_bytes(version));
            let mut older = older::Teller::default();
            let confirmed = Sequence::FENCE;
            let standing = Standing { serving: vec![Served { partition, epoch: EPOCH, confirmed }], ..Standing::default() };
            older.standing(standing);
            teller.begin_round(&board, [(partition, EPOCH)].into_iter());
            let (mut frames, mut longest, mut sum) = (0, 0, 0);
            while let Some(piece) = teller.next(&board) {
                let bytes = match version {
                    PeerVersion::V5 | PeerVersion::V6 | PeerVersion::V7 => Bulletin::Piece(piece).write(version, Vec::new()),
                    version => older.piece(piece).iter().flat_map(|said: &Together| said.write(version, Vec::new())).collect(),
                };
                (frames, longest, sum) = (frames + 1, bytes.len().max(longest), sum + bytes.len());
            }
            assert!(
                sum > FRAME_BYTES_MAX && longest < piece_bytes(version) + 100 * 1_024,
                "{version}: {frames} frames, up to {longest} bytes"
            );
        }
    }
}
