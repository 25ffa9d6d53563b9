//! The letters in the dead-letter queue, each under a name that stays the same however often one looks. Looking changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use lapin::message::Delivery;
use lapin::types::FieldTable;
use tokio::time::{Instant, sleep};

use super::log::LogError;
use crate::broker::{DeadLetter, Session, Subscription, Topology};
use crate::event::{self, Batch, DecodeError};
use crate::projection::position_of;

/// Letters that are looked at, at most: as many as a subscription can hold.
pub(super) const LETTERS_MAX: u16 = u16::MAX;
/// How long somebody else may be busy with the letters.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);
/// How long one look waits for them before it steps back for whoever else is looking.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A letter, with all copies of it.
pub(super) struct Letter {
    /// `partition/epoch/sequence` of its batch, or a hash of what is no batch; with a hash behind it where two different ones would have
    /// that name.
    pub(super) name: String,
    pub(super) batch: Result<Batch, DecodeError>,
    pub(super) about: DeadLetter,
    /// One of the copies.
    pub(super) delivery: Delivery,
    tags: Vec<u64>,
}

impl Letter {
    pub(super) fn copies(&self) -> usize {
        self.tags.len()
    }
}

/// All letters, held until their session goes.
pub(super) struct Letters {
    pub(super) letters: Vec<Letter>,
    subscription: Subscription,
}

impl Letters {
    /// Takes all of them, by the order of their names: also those that another reader, who is about to go, still holds.
    pub(super) async fn take(session: &Session, topology: &Topology) -> Result<Self, LogError> {
        let deadline = Instant::now() + BUSY_TIMEOUT;
        while Instant::now() < deadline {
            let channel = session.channel().await?;
            let dead = (topology.dead(), FieldTable::default());
            let (subscription, mut messages) = Subscription::open(session, channel, dead.0, LETTERS_MAX, dead.1).await?;
            let mut deliveries = Vec::new();
            let until = Instant::now() + LOOK_TIMEOUT;
            while Instant::now() < until {
                let has_all = subscription.has_all(session).await?;
                deliveries.extend(std::iter::from_fn(|| messages.ready()));
                if has_all || deliveries.len() >= usize::from(LETTERS_MAX) {
                    return Ok(Self { letters: named(deliveries), subscription });
                }
                sleep(LOOK_INTERVAL).await;
            }
            // Two who look at once hold each other's letters: one of them comes first after a pause by chance.
            subscription.close(session).await;
            sleep(LOOK_TIMEOUT.mul_f64(rand::random())).await;
        }
        Err(LogError::Refused("somebody else is reading the dead letters".into()))
    }

    /// The one of that name.
    pub(super) fn find(&self, name: &str) -> Option<&Letter> {
        self.letters.iter().find(|letter| letter.name == name)
    }

    /// Takes a letter and its copies out of the queue.
    pub(super) async fn remove(&self, session: &Session, letter: &Letter) -> Result<(), LogError> {
        for tag in &letter.tags {
            self.subscription.acknowledge(session, *tag, false).await?;
        }
        Ok(())
    }

    /// Gives the others back. What was removed is removed when this returns.
    pub(super) async fn close(self, session: &Session) {
        self.subscription.close(session).await;
    }
}

/// Batches by position, then what is none.
fn named(deliveries: Vec<Delivery>) -> Vec<Letter> {
    let mut letters: BTreeMap<_, Letter> = BTreeMap::new();
    for delivery in deliveries {
        let (batch, hash) = (event::decode(&delivery.data), xxhash_rust::xxh3::xxh3_64(&delivery.data));
        let (name, place) = match &batch {
            Ok(batch) => (batch.name(), Some((batch.partition, position_of(batch)))),
            Err(_) => (format!("{hash:016x}"), None),
        };
        let (tag, about) = (delivery.delivery_tag, DeadLetter::read(&delivery));
        let letter =
            letters.entry((place.is_none(), place, hash)).or_insert_with(|| Letter { name, batch, about, delivery, tags: Vec::new() });
        letter.tags.push(tag);
    }
    let mut letters: Vec<Letter> = letters.into_values().collect();
    let is_ambiguous: Vec<bool> =
        letters.iter().map(|letter| letters.iter().filter(|other| other.name == letter.name).count() > 1).collect();
    for (letter, _) in letters.iter_mut().zip(is_ambiguous).filter(|(_, is_ambiguous)| *is_ambiguous) {
        letter.name = format!("{}~{:08x}", letter.name, xxhash_rust::xxh3::xxh3_64(&letter.delivery.data) as u32);
    }
    letters
}
