//! Dead letters: messages that cannot be decoded, kept with where they came from and why. Nothing is decided here about
//! what becomes of them, and none is ever thrown away.

use std::time::Duration;

use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{BasicProperties, Channel};

use super::publish::PERSISTENT;
use super::{Broker, BrokerError, Session};
use crate::domain::{PartitionId, Timestamp};

const FROM: &str = "x-doorbuster-from";
const WHY: &str = "x-doorbuster-why";
const AT: &str = "x-doorbuster-dead-at-ms";

/// Why a message is in the dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The consumer could not decode it; the decoder's own words.
    Undecodable(String),
    /// The broker took it out of the log (its reason: `delivery_limit`, `maxlen` ...).
    Broker(String),
    /// It does not say.
    Unknown,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Undecodable(error) => f.write_str(error),
            Self::Broker(reason) => write!(f, "taken out of the log by the broker ({reason})"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// One dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The queue it was in.
    pub from: Option<String>,
    /// Why it is here.
    pub why: Why,
    /// When it came here, if that is known.
    pub at: Option<Timestamp>,
    /// What its writer called it (`partition/epoch/sequence`), if it said.
    pub message_id: Option<String>,
    /// The bytes, as they were.
    pub body: Vec<u8>,
}

impl DeadLetter {
    /// Whether a header of that name was added when the message was buried.
    #[must_use]
    pub fn is_mark(header: &str) -> bool {
        [FROM, WHY, AT].contains(&header)
    }

    /// Reads what a delivery from the dead-letter queue is.
    #[must_use]
    pub fn read(delivery: &Delivery) -> Self {
        let headers = delivery.properties.headers().clone().unwrap_or_default();
        let headers = headers.inner();
        let broker = headers.get("x-first-death-reason").and_then(string);
        let why = match (headers.get(WHY).and_then(string), broker) {
            (Some(error), _) => Why::Undecodable(error),
            (None, Some(reason)) => Why::Broker(reason),
            (None, None) => Why::Unknown,
        };
        let at = match headers.get(AT) {
            Some(AMQPValue::LongLongInt(millis)) => Timestamp::from_millis(*millis).ok(),
            _ => None,
        };
        Self {
            from: headers.get(FROM).or_else(|| headers.get("x-first-death-queue")).and_then(string),
            why,
            at,
            message_id: delivery.properties.message_id().as_ref().map(ToString::to_string),
            body: delivery.data.clone(),
        }
    }
}

fn string(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

/// The way into the dead-letter queue, over a connection of its own that is opened when it is needed: a broker that is
/// blocked stops reading from connections that publish, and the consumer's acknowledgements must go on then.
pub struct DeadLetters {
    broker: Broker,
    name: String,
    bound: Duration,
    open: Option<(Session, Channel)>,
}

impl DeadLetters {
    /// Opens nothing yet. `name` tells the connection from others in the broker's own tools.
    #[must_use]
    pub fn new(broker: Broker, name: String) -> Self {
        let bound = broker.answer_timeout;
        Self { broker, name, bound, open: None }
    }

    /// Puts a message there and waits for the confirm. After an error it may be there or not: doing it again can at worst put it
    /// there twice.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn bury(&mut self, partition: PartitionId, delivery: &Delivery, why: &str, now: Timestamp) -> Result<(), BrokerError> {
        let (session, channel) = match self.open.take() {
            Some(open) if !open.0.lost().is_cancelled() => open,
            _ => {
                let session = self.broker.connect(&self.name).await?;
                let channel = session.confirming_channel().await?;
                (session, channel)
            }
        };
        let topology = self.broker.topology();
        let properties = properties(delivery, topology.log(partition), why, now);
        session.publish(&channel, (topology.exchange(), topology.dead()), properties, &delivery.data, self.bound).await?;
        self.open = Some((session, channel));
        Ok(())
    }
}

fn properties(delivery: &Delivery, from: ShortString, why: &str, now: Timestamp) -> BasicProperties {
    let mut headers: FieldTable = delivery.properties.headers().clone().unwrap_or_default();
    headers.insert(FROM.into(), AMQPValue::LongString(from.as_str().into()));
    headers.insert(WHY.into(), AMQPValue::LongString(LongString::from(why)));
    headers.insert(AT.into(), AMQPValue::LongLongInt(now.millis()));
    delivery.properties.clone().with_delivery_mode(PERSISTENT).with_headers(headers)
}
