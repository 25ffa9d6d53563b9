//! What is known of the other nodes from their own words, put together with what runs here: the ways to partitions, and
//! what the board shows of those that others serve. Never decides who owns a partition: whoever says that it serves one in
//! the highest epoch is asked, and the lock has the last word.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::peer::{Bulletin, Contact, LinkSettings, Local, News, Peer, PeerLink, Sight, Speech, follow};
use super::roads::Roads;
use crate::domain::{Epoch, NodeId, PartitionId, Reach, Sequence};
use crate::partition::{Inbox, Trouble};

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
    /// By partition: which node's listings the board shows, in which epoch.
    feeding: BTreeMap<PartitionId, (NodeId, Epoch)>,
}

struct Neighbour {
    peer: Peer,
    link: PeerLink,
    sight: Sight,
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
        known.nodes.retain(|_, neighbour| peers.contains(&neighbour.peer));
        for peer in peers {
            if !known.nodes.contains_key(&peer.id) {
                known.nodes.insert(peer.id.clone(), self.meet(peer));
            }
        }
        self.settle(&mut known);
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
        self.known().feeding.clone()
    }

    /// The last batch of each of those partitions that was confirmed, and its epoch.
    #[must_use]
    pub fn confirmed(&self) -> BTreeMap<PartitionId, (Epoch, Sequence)> {
        let known = self.known();
        let of = |(partition, (node, epoch)): (&PartitionId, &(NodeId, Epoch))| {
            Some((*partition, (*epoch, *known.nodes.get(node)?.sight.confirmed.get(partition)?)))
        };
        known.feeding.iter().filter_map(of).collect()
    }

    /// What other nodes say is the matter with partitions that they ought to serve.
    #[must_use]
    pub fn troubles(&self) -> BTreeMap<PartitionId, Trouble> {
        self.known().nodes.values().flat_map(|neighbour| neighbour.sight.stopped.clone()).collect()
    }

    /// Looks again at what runs here and who says what.
    pub fn review(&self) {
        self.settle(&mut self.known());
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
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meet(self: &Arc<Self>, peer: &Peer) -> Neighbour {
        let (me, credential) = (&self.local.id, &self.local.credential);
        let speech = Arc::new(Speech::new(self.local.speaks));
        let link = PeerLink::open(me, peer, credential, self.settings, (Arc::clone(&speech), Arc::clone(&self.look_again)));
        let stop = CancellationToken::new();
        let (listener, of) = (Arc::downgrade(self), peer.clone());
        let tell = move |news| {
            if let Some(neighbours) = listener.upgrade() {
                neighbours.hear(&of, news);
            }
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(follow(me.clone(), peer.clone(), credential.clone(), speech, tell)));
        Neighbour { peer: peer.clone(), link, sight: Sight::unknown(), _follow: stop.drop_guard() }
    }

    fn hear(&self, peer: &Peer, news: News) {
        let mut known = self.known();
        // What a feed tells that is being dropped is not for its successor.
        let Some(neighbour) = known.nodes.get_mut(&peer.id).filter(|neighbour| neighbour.peer == *peer) else { return };
        match news {
            News::Heard(bulletin) if neighbour.sight.hear(&bulletin) => self.settle(&mut known),
            News::Heard(bulletin) => self.show(&known, &peer.id, bulletin),
            News::Lost(contact) if neighbour.sight.contact == contact => {}
            News::Lost(contact) => {
                // One that said it was leaving has left.
                neighbour.sight = Sight { contact, leaving: neighbour.sight.leaving, ..Sight::unknown() };
                tracing::info!(peer = %peer.id, ?contact, "node {} is not heard any more", peer.id);
                self.settle(&mut known);
            }
        }
    }

    /// Brings the changes of listings onto the board.
    fn show(&self, known: &Known, peer: &NodeId, bulletin: Bulletin) {
        let board = &self.local.board;
        let shows = |partition: &PartitionId| {
            known.feeding.get(partition).is_some_and(|(node, epoch)| node == peer && board.is_fed_in(*partition, *epoch))
        };
        for (partition, commodity) in bulletin.shown {
            if shows(&partition) {
                board.show(partition, commodity);
            }
        }
        let partition_of = |commodity| crate::ring::partition_of(commodity, self.local.partitions);
        bulletin.hidden.into_iter().filter(|commodity| shows(&partition_of(*commodity))).for_each(|commodity| board.hide(commodity));
    }

    /// Works out the ways anew, and who feeds the board.
    fn settle(&self, known: &mut Known) {
        let mut inboxes = Vec::with_capacity(self.local.partitions.get().into());
        for partition in self.local.partitions.iter() {
            let here = self.local.inbox(partition);
            let served_here = here.as_ref().and_then(Inbox::epoch);
            let elsewhere = known.best(partition).filter(|(_, epoch)| served_here.is_none_or(|here| here < *epoch));
            let elsewhere = elsewhere.map(|(node, epoch)| (node.clone(), epoch));
            self.feed(known, partition, elsewhere.clone());
            inboxes.push(match elsewhere {
                Some((node, _)) => known.nodes.get(&node).map(|neighbour| neighbour.link.inbox.clone()),
                None => here.or_else(|| known.claiming(partition)),
            });
        }
        self.roads.change(inboxes);
        self.turns.send_modify(|turns| *turns += 1);
    }

    fn feed(&self, known: &mut Known, partition: PartitionId, from: Option<(NodeId, Epoch)>) {
        if known.feeding.get(&partition) == from.as_ref() {
            return;
        }
        if let Some((_, epoch)) = known.feeding.remove(&partition) {
            self.local.board.withdraw(partition, epoch);
        }
        if let Some((node, epoch)) = from {
            let listings = known.nodes[&node].sight.listings.values();
            let commodities = listings.filter(|(of, _)| *of == partition).map(|(_, commodity)| commodity.clone());
            self.local.board.turn(partition, epoch, commodities);
            known.feeding.insert(partition, (node, epoch));
        }
    }
}

impl Known {
    /// Who says that they serve the partition in the highest epoch.
    fn best(&self, partition: PartitionId) -> Option<(&NodeId, Epoch)> {
        let said = self.nodes.iter().filter_map(|(id, neighbour)| Some((id, *neighbour.sight.serving.get(&partition)?)));
        said.max_by_key(|(_, epoch)| *epoch)
    }

    /// The way to somebody who is about to serve the partition.
    fn claiming(&self, partition: PartitionId) -> Option<Inbox> {
        let claiming = self.nodes.values().find(|neighbour| neighbour.sight.claiming.contains(&partition));
        claiming.map(|neighbour| neighbour.link.inbox.clone())
    }
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
