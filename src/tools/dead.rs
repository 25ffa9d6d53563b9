//! `doorbuster dead`: looks at the dead-letter queue, and puts a batch back into the log it is missing from.
//!
//! Looking changes nothing. Putting back never puts a batch behind others of its log, where the projection would have
//! to refuse it: the rest of the log is written again behind it, in order, and only then are the old copies taken out.
//! Cut short at any point, that leaves at worst copies which the projection skips; it can be done again.

use std::io::Write;
use std::time::Duration;

use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel};

use crate::broker::{BATCH_CONTENT_TYPE, Broker, BrokerError, DeadLetter, PERSISTENT, Session, Subscription};
use crate::domain::{Epoch, Sequence};
use crate::event::{self, Batch};
use crate::store::{Store, StoreError};

/// Letters that are looked at, at most: the oldest.
const LETTERS_MAX: usize = 1_000;
/// Messages of a log that are written again, at most: all of them are in memory meanwhile.
const LOG_MAX: u32 = 100_000;
/// How long the messages of a log may take to come.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the broker may take to confirm one of them.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a body that are shown, at most.
const SHOWN_BYTES: usize = 256;

/// Why a dead letter could not be shown or put back, in one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DeadError {
    /// The broker did not do its part.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The database did not do its part.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing could be printed.
    #[error("cannot write: {0}")]
    Write(#[from] std::io::Error),
    /// There are fewer letters.
    #[error("there is no dead letter {0}: see `doorbuster dead list`")]
    NoSuchLetter(usize),
    /// Putting it back would change nothing or cannot be done now; the reason.
    #[error("not put back: {0}")]
    Refused(String),
}

/// Prints one line for each dead letter, the oldest first, with the number the other commands take.
///
/// # Errors
/// [`DeadError`].
pub async fn list(broker: &Broker, out: &mut impl Write) -> Result<(), DeadError> {
    let session = broker.connect("doorbuster dead list").await?;
    let (letters, _held) = letters(broker, &session).await?;
    writeln!(out, "{:>4}  {:<24}  {:>9}  {:<16}  from, why", "no", "since", "bytes", "batch")?;
    for (index, delivery) in letters.iter().enumerate() {
        let letter = DeadLetter::read(delivery);
        let since = letter.at.map_or_else(|| "?".to_owned(), |at| at.to_string());
        let (from, id) = (letter.from.as_deref().unwrap_or("?"), letter.message_id.as_deref().unwrap_or("?"));
        writeln!(out, "{:>4}  {since:<24}  {:>9}  {id:<16}  {from}: {}", index + 1, letter.body.len(), letter.why)?;
    }
    if letters.len() == LETTERS_MAX {
        writeln!(out, "(the oldest {LETTERS_MAX}; there may be more)")?;
    }
    session.shut().await;
    Ok(())
}

/// Prints all that is known of one dead letter.
///
/// # Errors
/// [`DeadError`].
pub async fn show(broker: &Broker, number: usize, out: &mut impl Write) -> Result<(), DeadError> {
    let session = broker.connect("doorbuster dead show").await?;
    let (letters, _held) = letters(broker, &session).await?;
    let letter = DeadLetter::read(pick(&letters, number)?);
    writeln!(out, "from   {}", letter.from.as_deref().unwrap_or("?"))?;
    writeln!(out, "why    {}", letter.why)?;
    writeln!(out, "since  {}", letter.at.map_or_else(|| "?".to_owned(), |at| at.to_string()))?;
    writeln!(out, "batch  {}", letter.message_id.as_deref().unwrap_or("?"))?;
    match event::decode(&letter.body) {
        Ok(batch) => writeln!(out, "{batch:#?}")?,
        Err(error) => {
            let shown = &letter.body[..letter.body.len().min(SHOWN_BYTES)];
            writeln!(out, "{error}; {} bytes, the first {}:\n{}", letter.body.len(), shown.len(), shown.escape_ascii())?;
        }
    }
    session.shut().await;
    Ok(())
}

/// Puts one dead letter back to its place in the log of its partition; says where that was.
///
/// # Errors
/// [`DeadError::Refused`] when this release cannot read it, when the tables are past it, while a node owns the partition, and
/// while a consumer is busy with its log.
pub async fn put_back(broker: &Broker, store: &Store, number: usize) -> Result<String, DeadError> {
    let session = broker.connect("doorbuster dead put-back").await?;
    let outcome = put_back_over(&session, broker, store, number).await;
    // Whatever is held goes back to where it was: letters, messages of the log, the lock.
    session.shut().await;
    outcome
}

async fn put_back_over(session: &Session, broker: &Broker, store: &Store, number: usize) -> Result<String, DeadError> {
    let refused = |why: String| DeadError::Refused(why);
    let topology = broker.topology();
    let (letters, dead) = letters(broker, session).await?;
    let letter = pick(&letters, number)?;
    let batch = event::decode(&letter.data).map_err(|error| refused(format!("{error}")))?;
    let partition = batch.partition;
    if !store.partitions().iter().any(|known| known == partition) {
        return Err(refused(format!("there is no partition {partition}")));
    }
    let applied = store.applied(partition).await?;
    if position(&batch) <= applied {
        let (epoch, sequence) = applied;
        return Err(refused(format!("the tables are at batch {epoch}/{sequence} of partition {partition} already, it would be skipped")));
    }
    let channel = session.confirming_channel().await?;
    let _lock = match topology.lock(session, &channel, partition).await {
        Ok(lock) => lock,
        Err(BrokerError::Locked) => {
            return Err(refused(format!("a node owns partition {partition}: stop it first, or it would append in between")));
        }
        Err(error) => return Err(error.into()),
    };
    let (held, log) = whole_log(session, topology.log(partition)).await?;
    let place = log.iter().position(|(_, other)| other.as_ref().is_some_and(|other| position(other) > position(&batch)));
    let place = place.unwrap_or(log.len());
    let before = log[..place].iter().map(|(delivery, _)| delivery);
    let behind = log[place..].iter().map(|(delivery, _)| delivery);
    for delivery in before.chain([letter]).chain(behind) {
        let target = (topology.exchange(), topology.log(partition));
        session.publish(&channel, target, properties(delivery), &delivery.data, CONFIRM_TIMEOUT).await?;
    }
    if let Some((last, _)) = log.last() {
        held.acknowledge(session, last.delivery_tag).await?;
    }
    held.close(session).await;
    session.answer(dead.basic_ack(letter.delivery_tag, BasicAckOptions::default())).await?;
    session.close(dead).await;
    Ok(format!(
        "batch {}/{} is back in the log of partition {partition}, before {} of its {} messages",
        batch.epoch,
        batch.sequence,
        log.len() - place,
        log.len()
    ))
}

/// The oldest letters. They are held until the channel is closed, and then go back in order.
async fn letters(broker: &Broker, session: &Session) -> Result<(Vec<Delivery>, Channel), DeadError> {
    let channel = session.channel().await?;
    let mut letters = Vec::new();
    while letters.len() < LETTERS_MAX {
        match session.answer(channel.basic_get(broker.topology().dead(), BasicGetOptions::default())).await? {
            Some(message) => letters.push(message.delivery),
            None => break,
        }
    }
    Ok((letters, channel))
}

fn pick(letters: &[Delivery], number: usize) -> Result<&Delivery, DeadError> {
    number.checked_sub(1).and_then(|index| letters.get(index)).ok_or(DeadError::NoSuchLetter(number))
}

/// Everything in a log, unacknowledged, in order.
async fn whole_log(session: &Session, log: ShortString) -> Result<(Subscription, Vec<(Delivery, Option<Batch>)>), DeadError> {
    let channel = session.channel().await?;
    let passive = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
    let depth = session.answer(channel.queue_declare(log.clone(), passive, FieldTable::default())).await?.message_count();
    if depth > LOG_MAX {
        return Err(DeadError::Refused(format!("the log has {depth} messages, more than the {LOG_MAX} this can write again")));
    }
    // No prefetch: all of it. The queue gives it to one consumer at a time, so nobody else reads it meanwhile.
    let (held, mut queue) = Subscription::open(session, channel, log, 0, FieldTable::default()).await?;
    let mut messages = Vec::new();
    while messages.len() < depth as usize {
        let delivery = match tokio::time::timeout(DELIVERY_TIMEOUT, queue.next()).await {
            Ok(delivery) => delivery.map_err(BrokerError::Away)?,
            Err(_) => return Err(DeadError::Refused("a consumer is busy with this log: its partition is not stopped".into())),
        };
        let batch = event::decode(&delivery.data).ok();
        messages.push((delivery, batch));
    }
    Ok((held, messages))
}

fn position(batch: &Batch) -> (Epoch, Sequence) {
    (batch.epoch, batch.sequence)
}

/// As its writer sent it, without what made it a dead letter.
fn properties(delivery: &Delivery) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in delivery.properties.headers().iter().flat_map(|headers| headers.inner()) {
        let of_the_broker =
            ["x-death", "x-first-death", "x-last-death", "x-delivery-count"].iter().any(|mark| name.as_str().starts_with(mark));
        if !of_the_broker && !DeadLetter::is_mark(name.as_str()) {
            headers.insert(name.clone(), value.clone());
        }
    }
    let properties = delivery.properties.clone().with_delivery_mode(PERSISTENT).with_headers(headers);
    if properties.content_type().is_some() { properties } else { properties.with_content_type(BATCH_CONTENT_TYPE.into()) }
}
