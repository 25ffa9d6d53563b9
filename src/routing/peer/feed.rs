//! Reading a peer's bulletins, for as long as the peer is wanted: what it serves, what it shows, and whether it lives.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use tokio::time::timeout;

use super::frames::Frames;
use super::hello::{NODE, headers, newest_of, version_of};
use super::wire::{Bulletin, Speech};
use super::{Credential, Peer, is_refused};
use crate::domain::{Commodity, CommodityId, Epoch, NodeId, PartitionId, Reach, Sequence};
use crate::partition::Trouble;

/// A node says something four times a second. One that has not in this time is not heard of.
const SILENCE_MAX: Duration = Duration::from_millis(1_000);
/// Between two attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Between two attempts to connect, at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How it stands with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// Not tried yet.
    Unknown,
    /// Its bulletins come.
    Live,
    /// It does not answer, or not what a peer answers. It may live.
    Silent,
    /// Nobody listens at its address: the process is gone.
    Refused,
}

/// What is known of a peer from its own words.
#[derive(Clone, Debug)]
pub struct Sight {
    /// How it stands.
    pub contact: Contact,
    /// Whether it is about to give up what it has.
    pub leaving: bool,
    /// How it reaches the broker.
    pub broker: Reach,
    /// What it serves.
    pub serving: BTreeMap<PartitionId, Epoch>,
    /// The last batch it got confirmed of each of those.
    pub confirmed: BTreeMap<PartitionId, Sequence>,
    /// What it is about to serve.
    pub claiming: BTreeSet<PartitionId>,
    /// What is stopped there, and why.
    pub stopped: BTreeMap<PartitionId, Trouble>,
    /// What it shows.
    pub listings: HashMap<CommodityId, (PartitionId, Commodity)>,
}

impl Sight {
    /// A peer nobody has heard of.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            contact: Contact::Unknown,
            leaving: false,
            broker: Reach::default(),
            serving: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            claiming: BTreeSet::new(),
            stopped: BTreeMap::new(),
            listings: HashMap::new(),
        }
    }

    /// Takes in what the peer said. Whether the ways have changed.
    pub fn hear(&mut self, bulletin: &Bulletin) -> bool {
        let serving: BTreeMap<_, _> = bulletin.serving.iter().copied().collect();
        let claiming: BTreeSet<_> = bulletin.claiming.iter().copied().collect();
        let turned = (self.contact, self.leaving, self.broker) != (Contact::Live, bulletin.leaving, bulletin.broker)
            || (&self.serving, &self.claiming) != (&serving, &claiming);
        self.listings.retain(|_, (partition, _)| serving.contains_key(partition) && serving.get(partition) == self.serving.get(partition));
        bulletin.hidden.iter().for_each(|id| drop(self.listings.remove(id)));
        self.listings.extend(bulletin.shown.iter().map(|(partition, commodity)| (commodity.id, (*partition, commodity.clone()))));
        self.confirmed = bulletin.confirmed.iter().copied().collect();
        self.stopped = bulletin.stopped.iter().copied().collect();
        (self.contact, self.leaving, self.broker) = (Contact::Live, bulletin.leaving, bulletin.broker);
        (self.serving, self.claiming) = (serving, claiming);
        turned
    }
}

/// What a feed tells.
pub(crate) enum News {
    /// The peer said this. The first one after anything else is whole.
    Heard(Bulletin),
    /// It cannot be heard.
    Lost(Contact),
}

/// Reads bulletins, again and again; ends only by being dropped. Notes what the peer speaks for as long as its process is heard.
pub(crate) async fn follow(me: NodeId, peer: Peer, credential: Credential, speech: Arc<Speech>, tell: impl Fn(News)) {
    let client = super::client();
    let url = format!("http://{}/internal/v1/board", peer.address);
    let headers = headers(&me, &peer.id, &credential, speech.newest());
    let mut pause = FIRST_PAUSE;
    let mut complained = false;
    loop {
        let (heard, why) = read((&client, &url, &headers), &peer, &speech, &tell).await;
        speech.forget();
        if heard {
            (pause, complained) = (FIRST_PAUSE, false);
        }
        let contact = match &why {
            Why::Refused => Contact::Refused,
            Why::Other(_) => Contact::Silent,
        };
        tell(News::Lost(contact));
        if let (Why::Other(why), false) = (&why, complained) {
            tracing::warn!(peer = %peer.id, why, "cannot hear node {}", peer.id);
            complained = true;
        }
        // A peer that has just stopped talking is asked again at once: is somebody there?
        if !heard {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Why a feed ended.
enum Why {
    Refused,
    Other(String),
}

/// One connection: whether anything was heard, and why it ended.
async fn read(
    (client, url, headers): (&reqwest::Client, &str, &HeaderMap),
    peer: &Peer,
    speech: &Speech,
    tell: &impl Fn(News),
) -> (bool, Why) {
    let other = |error: &dyn std::fmt::Display| Why::Other(error.to_string());
    let silent = || Why::Other(format!("silent for {SILENCE_MAX:?}"));
    let mut response = match timeout(SILENCE_MAX, client.get(url).headers(headers.clone()).send()).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) if is_refused(&error) => return (false, Why::Refused),
        Ok(Err(error)) => return (false, other(&error)),
        Err(_) => return (false, silent()),
    };
    if response.headers().get(NODE).map(HeaderValue::as_bytes) != Some(peer.id.as_str().as_bytes()) {
        return (false, Why::Other("somebody else listens there".into()));
    }
    if !response.status().is_success() {
        return (false, Why::Other(format!("answered {}", response.status())));
    }
    let Some(version) = version_of(response.headers()) else { return (false, Why::Other("it speaks no version we know".into())) };
    speech.heard(newest_of(response.headers()));
    let (mut frames, mut heard) = (Frames::default(), false);
    loop {
        match timeout(SILENCE_MAX, response.chunk()).await {
            Ok(Ok(Some(chunk))) => frames.push(&chunk),
            Ok(Ok(None)) => return (heard, Why::Other("it closed the connection".into())),
            Ok(Err(error)) => return (heard, other(&error)),
            Err(_) => return (heard, silent()),
        }
        loop {
            match frames.next().and_then(|frame| frame.map(|frame| Bulletin::read(version, &frame)).transpose()) {
                Ok(Some(bulletin)) => {
                    heard = true;
                    tell(News::Heard(bulletin));
                }
                Ok(None) => break,
                Err(garbage) => return (heard, other(&garbage)),
            }
        }
    }
}
