//! What is known of the other nodes from their own words, put together with what runs here: the ways to partitions, and
//! what the board shows of those that others serve. Never decides who owns a partition: whoever says that it serves one in
//! the highest epoch is asked, and the lock has the last word.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::peer::feeding::Heard;
use super::peer::{Bulletin, Contact, LinkSettings, Local, News, Peer, PeerLink, Sight, Speech, follow};
use super::roads::Roads;
use crate::domain::{Epoch, NodeId, PartitionId, Reach};
use crate::partition::{Gap, Inbox, Trouble};

/// The other nodes.
pub struct Neighbours {
    local: Arc<Local>,
    roads: Arc<Roads>,
    settings: LinkSettings,
    known: Mutex<Known>,
    turns: watch::Sender<u64>,
    /// Told when somebody's view may be out of date.
    look_again: Arc<Notify>,
}

#[derive(Default)]
struct Known {
    nodes: BTreeMap<NodeId, Neighbour>,
}

struct Neighbour {
    peer: Peer,
    link: PeerLink,
    sight: Sight,
    /// With a lock of its own: a long list takes a while to be put up, and the others are not to wait for it. Taken behind [`Known`]'s, or
    /// without it.
    heard: Arc<Mutex<Heard>>,
    _follow: DropGuard,
}

impl Neighbours {
    /// Nobody yet.
    #[must_use]
    pub fn new(local: Arc<Local>, roads: Arc<Roads>, settings: LinkSettings) -> Arc<Self> {
        let (known, turns, look_again) = (Mutex::default(), watch::Sender::new(0), Arc::new(Notify::new()));
        Arc::new(Self { local, roads, settings, known, turns, look_again })
    }

    /// Talks to these peers from now on, and to no others.
    pub fn set_peers(self: &Arc<Self>, peers: &[Peer]) {
        let mut known = self.known();
        if known.nodes.len() == peers.len() && peers.iter().all(|peer| known.nodes.get(&peer.id).is_some_and(|known| known.peer == *peer)) {
            return;
        }
        let gone = known.nodes.extract_if(.., |_, neighbour| !peers.contains(&neighbour.peer));
        gone.for_each(|(_, neighbour)| locked(&neighbour.heard).lost(&self.local.board));
        for peer in peers {
            if !known.nodes.contains_key(&peer.id) {
                known.nodes.insert(peer.id.clone(), self.meet(peer));
            }
        }
        self.settle(&known);
    }

    /// How it stands with a peer, and whether it is leaving.
    #[must_use]
    pub fn contact(&self, peer: &NodeId) -> (Contact, bool) {
        self.known().nodes.get(peer).map_or((Contact::Unknown, false), |neighbour| (neighbour.sight.contact, neighbour.sight.leaving))
    }

    /// How a peer says that it reaches the broker; none while it is not heard.
    #[must_use]
    pub fn reach(&self, peer: &NodeId) -> Option<Reach> {
        let known = self.known();
        let sight = &known.nodes.get(peer)?.sight;
        (sight.contact == Contact::Live).then_some(sight.broker)
    }

    /// Which of the other nodes serves each partition now, by their own words.
    #[must_use]
    pub fn serving(&self) -> BTreeMap<PartitionId, (NodeId, Epoch)> {
        let known = self.known();
        let of = |partition| known.elsewhere(&self.local, partition).map(|(node, epoch)| (partition, (node.clone(), epoch)));
        self.local.partitions.iter().filter_map(of).collect()
    }

    /// What other nodes say is the matter with partitions that they ought to serve.
    #[must_use]
    pub fn troubles(&self) -> BTreeMap<PartitionId, Trouble> {
        self.known().nodes.values().flat_map(|neighbour| neighbour.sight.stopped.clone()).collect()
    }

    /// Looks again at what runs here and who says what.
    pub fn review(&self) {
        self.settle(&self.known());
    }

    /// Tells when a peer comes, goes, begins or ends to serve something, or reaches the broker in another way.
    #[must_use]
    pub fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    /// Waits until a peer did not know what it was asked for, or was not there.
    pub async fn misled(&self) {
        self.look_again.notified().await;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        locked(&self.known)
    }

    fn meet(self: &Arc<Self>, peer: &Peer) -> Neighbour {
        let (me, credential) = (&self.local.id, &self.local.credential);
        let speech = Arc::new(Speech::new(self.local.speaks));
        let link = PeerLink::open(me, peer, credential, self.settings, (Arc::clone(&speech), Arc::clone(&self.look_again)));
        let stop = CancellationToken::new();
        let (listener, of) = (Arc::downgrade(self), peer.clone());
        let tell = move |news| {
            // Without anybody who hears there is nothing to fit.
            listener.upgrade().map_or(Ok(()), |neighbours| neighbours.hear(&of, news))
        };
        let whom = (peer.clone(), self.local.partitions);
        tokio::spawn(stop.clone().run_until_cancelled_owned(follow(me.clone(), whom, credential.clone(), speech, tell)));
        Neighbour { peer: peer.clone(), link, sight: Sight::unknown(), heard: Arc::default(), _follow: stop.drop_guard() }
    }

    fn hear(&self, peer: &Peer, news: News) -> Result<(), Gap> {
        let mut known = self.known();
        // What a feed tells that is being dropped is not for its successor.
        let Some(neighbour) = known.nodes.get_mut(&peer.id).filter(|neighbour| neighbour.peer == *peer) else { return Ok(()) };
        let board = &self.local.board;
        match news {
            News::Heard(Bulletin::Piece(piece)) => {
                let heard = Arc::clone(&neighbour.heard);
                drop(known);
                // If it has been dropped meanwhile, it serves nothing any more.
                return locked(&heard).piece(board, piece);
            }
            News::Heard(Bulletin::Standing(standing)) => {
                locked(&neighbour.heard).standing(board, &standing.serving);
                if neighbour.sight.hear(&standing) {
                    self.settle(&known);
                }
            }
            News::Lost(contact) if neighbour.sight.contact == contact => {}
            News::Lost(contact) => {
                locked(&neighbour.heard).lost(board);
                // One that said it was leaving has left.
                neighbour.sight = Sight { contact, leaving: neighbour.sight.leaving, ..Sight::unknown() };
                tracing::info!(peer = %peer.id, ?contact, "node {} is not heard any more", peer.id);
                self.settle(&known);
            }
        }
        Ok(())
    }

    /// Works out the ways anew.
    fn settle(&self, known: &Known) {
        let way = |partition| match known.elsewhere(&self.local, partition) {
            Some((node, _)) => known.nodes.get(node).map(|neighbour| neighbour.link.inbox.clone()),
            None => self.local.inbox(partition).or_else(|| known.claiming(partition)),
        };
        self.roads.change(self.local.partitions.iter().map(way).collect());
        self.turns.send_modify(|turns| *turns += 1);
    }
}

impl Known {
    /// Who says that they serve the partition in the highest epoch.
    fn best(&self, partition: PartitionId) -> Option<(&NodeId, Epoch)> {
        let said = self.nodes.iter().filter_map(|(id, neighbour)| Some((id, *neighbour.sight.serving.get(&partition)?)));
        said.max_by_key(|(_, epoch)| *epoch)
    }

    /// The same, unless it is served here in a later epoch.
    fn elsewhere(&self, local: &Local, partition: PartitionId) -> Option<(&NodeId, Epoch)> {
        let here = local.inbox(partition).as_ref().and_then(Inbox::epoch);
        self.best(partition).filter(|(_, epoch)| here.is_none_or(|here| here < *epoch))
    }

    /// The way to somebody who is about to serve the partition.
    fn claiming(&self, partition: PartitionId) -> Option<Inbox> {
        let claiming = self.nodes.values().find(|neighbour| neighbour.sight.claiming.contains(&partition));
        claiming.map(|neighbour| neighbour.link.inbox.clone())
    }
}

fn locked<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reviews the ways whenever something begins or ends to be served here; ends only by being dropped.
pub async fn watch_tasks(neighbours: Arc<Neighbours>) {
    let (mut turns, mut changes) = (neighbours.local.board.turns(), neighbours.local.changes());
    loop {
        let _ = tokio::select! {
            turned = turns.changed() => turned,
            changed = changes.changed() => changed,
        };
        neighbours.review();
    }
}

impl std::fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Neighbours").field("local", &self.local.id).finish_non_exhaustive()
    }
}
