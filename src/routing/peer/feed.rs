//! Reading a peer's bulletins, for as long as the peer is wanted: what it serves, what it shows, and whether it lives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::client::{Client, SendError};
use super::credential::Stranger;
use super::dial::DialError;
use super::frames::Frames;
use super::headers::{newest_of, version_of};
use super::older::Hearer;
use super::wire::{Bulletin, Garbage, PeerVersion, Speech, Standing, Together};
use super::{Credential, Peer};
use crate::domain::{Epoch, NodeId, PartitionId, Partitions, Reach};
use crate::partition::{Gap, Trouble};

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
    /// What it is about to serve.
    pub claiming: BTreeSet<PartitionId>,
    /// What is stopped there, and why.
    pub stopped: BTreeMap<PartitionId, Trouble>,
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
            claiming: BTreeSet::new(),
            stopped: BTreeMap::new(),
        }
    }

    /// Takes in what the peer said. Whether the ways have changed.
    pub fn hear(&mut self, standing: &Standing) -> bool {
        let serving: BTreeMap<_, _> = standing.serving.iter().map(|served| (served.partition, served.epoch)).collect();
        let claiming: BTreeSet<_> = standing.claiming.iter().copied().collect();
        let turned = (self.contact, self.leaving, self.broker) != (Contact::Live, standing.leaving, standing.broker)
            || (&self.serving, &self.claiming) != (&serving, &claiming);
        self.stopped = standing.stopped.iter().copied().collect();
        (self.contact, self.leaving, self.broker) = (Contact::Live, standing.leaving, standing.broker);
        (self.serving, self.claiming) = (serving, claiming);
        turned
    }
}

/// What a feed tells.
pub(crate) enum News {
    /// The peer said this. The first thing after anything else is how it stands.
    Heard(Bulletin),
    /// It cannot be heard.
    Lost(Contact),
}

/// Reads bulletins, again and again; ends only by being dropped. Notes what the peer speaks for as long as its process is heard.
/// What is told may not follow what was told before: then the peer is to begin from the beginning.
pub(crate) async fn follow(
    me: NodeId,
    (peer, partitions): (Peer, Partitions),
    credential: Credential,
    speech: Arc<Speech>,
    tell: impl Fn(News) -> Result<(), Gap>,
) {
    let client = Client::new(&me, &peer, &credential, speech.newest());
    let mut pause = FIRST_PAUSE;
    let mut complained = false;
    loop {
        let (heard, why) = read(&client, (&credential, partitions), &speech, &tell).await;
        speech.forget();
        if heard {
            (pause, complained) = (FIRST_PAUSE, false);
        }
        let contact = match &why {
            Why::Refused => Contact::Refused,
            Why::Other(_) => Contact::Silent,
        };
        // Nothing follows that it would have to fit.
        drop(tell(News::Lost(contact)));
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
    client: &Client,
    (credential, partitions): (&Credential, Partitions),
    speech: &Speech,
    tell: &impl Fn(News) -> Result<(), Gap>,
) -> (bool, Why) {
    let other = |error: &dyn std::fmt::Display| Why::Other(error.to_string());
    let silent = || Why::Other(format!("silent for {SILENCE_MAX:?}"));
    let mut changes = credential.changes();
    let mut response = match timeout(SILENCE_MAX, client.get("board")).await {
        Ok(Ok(response)) => response,
        // Somebody else at its address, who proved that they are, is as good as nobody.
        Ok(Err(SendError::NotSent(DialError::Refused | DialError::Stranger(Stranger::Another { .. })))) => return (false, Why::Refused),
        Ok(Err(error)) => return (false, other(&error)),
        Err(_) => return (false, silent()),
    };
    if !response.is_of(client.peer()) {
        return (false, Why::Other("somebody else listens there".into()));
    }
    if !response.status.is_success() {
        return (false, Why::Other(format!("answered {}", response.status)));
    }
    let Some(version) = version_of(&response.headers) else { return (false, Why::Other("it speaks no version we know".into())) };
    speech.heard(newest_of(&response.headers));
    let (mut frames, mut hearer, mut heard) = (Frames::default(), Hearer::new(partitions), false);
    loop {
        let chunk = tokio::select! {
            chunk = timeout(SILENCE_MAX, response.chunk()) => chunk,
            _ = changes.changed() => {
                if !client.is_believed() {
                    return (heard, Why::Other("its certificate is not believed any more".into()));
                }
                continue;
            }
        };
        match chunk {
            Ok(Ok(Some(chunk))) => frames.push(&chunk),
            Ok(Ok(None)) => return (heard, Why::Other("it closed the connection".into())),
            Ok(Err(error)) => return (heard, other(&error)),
            Err(_) => return (heard, silent()),
        }
        loop {
            let said = match frames.next().and_then(|frame| frame.map(|frame| bulletins(version, &frame, &mut hearer)).transpose()) {
                Ok(Some(said)) => said,
                Ok(None) => break,
                Err(garbage) => return (heard, other(&garbage)),
            };
            heard = true;
            for bulletin in said {
                if tell(News::Heard(bulletin)).is_err() {
                    return (heard, Why::Other("what it says does not follow what it said".into()));
                }
            }
        }
    }
}

/// What a frame says.
fn bulletins(version: PeerVersion, frame: &[u8], older: &mut Hearer) -> Result<Vec<Bulletin>, Garbage> {
    match version {
        PeerVersion::V3 | PeerVersion::V4 => Ok(older.read(Together::read(version, frame)?)),
        PeerVersion::V5 | PeerVersion::V6 | PeerVersion::V7 => Ok(vec![Bulletin::read(version, frame)?]),
    }
}
