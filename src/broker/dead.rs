//! Dead letters: messages that cannot be decoded, kept with where they came from and why. Nothing is decided here about
//! what becomes of them, and none is ever thrown away.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

use super::publish::PERSISTENT;
use crate::domain::Timestamp;

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

/// The properties of a message that is buried: its own, with where it was, why it is dead, and since when.
pub(super) fn properties_of_buried(delivery: &Delivery, from: ShortString, why: &str, now: Timestamp) -> BasicProperties {
    let mut headers: FieldTable = delivery.properties.headers().clone().unwrap_or_default();
    headers.insert(FROM.into(), AMQPValue::LongString(from.as_str().into()));
    headers.insert(WHY.into(), AMQPValue::LongString(LongString::from(why)));
    headers.insert(AT.into(), AMQPValue::LongLongInt(now.millis()));
    delivery.properties.clone().with_delivery_mode(PERSISTENT).with_headers(headers)
}
