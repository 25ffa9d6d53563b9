//! What this node tells its peers of itself: which partitions it serves, how it reaches the broker, and what has changed on the
//! board since it said so last. Never more often than every 50 ms, never less than four times a second.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::frames::frame;
use super::listener::Local;
use super::wire::{Bulletin, PeerVersion};
use crate::domain::{CommodityId, PartitionId};

/// Changes of listings gather for this long.
const GATHER: Duration = Duration::from_millis(50);
/// How often a node says that it is there, when nothing else is to say.
const ALIVE: Duration = Duration::from_millis(250);

/// Bulletins of that version, for as long as the peer reads them.
pub(super) fn stream(local: Arc<Local>, version: PeerVersion) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    unfold(Reporter::new(local), move |mut reporter| async move {
        let closed = reporter.local.closed.clone();
        let bulletin = closed.run_until_cancelled(reporter.next()).await?;
        Some((Ok(frame(|out| bulletin.write(version, out))), reporter))
    })
}

/// What one peer has been told.
struct Reporter {
    local: Arc<Local>,
    turns: watch::Receiver<u64>,
    changes: watch::Receiver<u64>,
    told: Bulletin,
    /// The listings the peer has, with the version it has of each.
    listed: HashMap<CommodityId, (PartitionId, u64)>,
    version: u64,
    told_at: Option<Instant>,
}

impl Reporter {
    fn new(local: Arc<Local>) -> Self {
        let (turns, changes) = (local.board.turns(), local.changes());
        Self { local, turns, changes, told: Bulletin::default(), listed: HashMap::new(), version: 0, told_at: None }
    }

    async fn next(&mut self) -> Bulletin {
        loop {
            if let Some(told_at) = self.told_at {
                tokio::select! {
                    _ = self.turns.changed() => {}
                    _ = self.changes.changed() => {}
                    () = sleep(GATHER) => {}
                }
                if self.is_all_told() && told_at.elapsed() < ALIVE {
                    continue;
                }
            }
            self.told_at = Some(Instant::now());
            return self.report();
        }
    }

    /// Whether nothing is to say that cannot wait until the next sign of life.
    fn is_all_told(&self) -> bool {
        let pressing = |bulletin| Bulletin { confirmed: Vec::new(), shown: Vec::new(), hidden: Vec::new(), ..bulletin };
        self.local.board.version() == self.version && pressing(self.standing()) == pressing(self.told.clone())
    }

    /// What holds now, without listings.
    fn standing(&self) -> Bulletin {
        let mut standing = Bulletin { leaving: self.local.is_leaving(), broker: self.local.reach(), ..Bulletin::default() };
        for partition in self.local.partitions.iter() {
            let Some(inbox) = self.local.inbox(partition) else { continue };
            standing.stopped.extend(inbox.trouble().map(|trouble| (partition, trouble)));
            match inbox.epoch() {
                Some(epoch) if self.local.board.is_fed_in(partition, epoch) => {
                    standing.serving.push((partition, epoch));
                    standing.confirmed.extend(inbox.confirmed().map(|(_, sequence)| (partition, sequence)));
                }
                _ => standing.claiming.push(partition),
            }
        }
        standing
    }

    fn report(&mut self) -> Bulletin {
        // The version first: what changes after it is looked at again next time.
        self.version = self.local.board.version();
        let mut bulletin = self.standing();
        let before = &self.told.serving;
        // A partition that is served anew is told as a whole.
        self.listed.retain(|_, (partition, _)| bulletin.serving.iter().any(|served| served.0 == *partition && before.contains(served)));
        let serving: Vec<PartitionId> = bulletin.serving.iter().map(|served| served.0).collect();
        let listings = self.local.board.of_partitions(|partition| serving.contains(&partition));
        let mut found = HashMap::with_capacity(listings.len());
        for (partition, version, listing) in listings {
            if self.listed.get(&listing.id).is_none_or(|(_, told)| *told != version) {
                bulletin.shown.push((partition, (*listing).clone()));
            }
            found.insert(listing.id, (partition, version));
        }
        bulletin.hidden = self.listed.keys().filter(|id| !found.contains_key(id)).copied().collect();
        self.listed = found;
        self.told = Bulletin { shown: Vec::new(), hidden: Vec::new(), ..bulletin.clone() };
        bulletin
    }
}
