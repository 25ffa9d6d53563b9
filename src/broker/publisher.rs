//! What a consumer publishes: dead letters, and markers into logs. Over a connection of its own, which is opened when it is needed: a broker
//! that is blocked stops reading from connections that publish, and acknowledgements must go on then. It never publishes twice.

use std::time::Duration;

use lapin::message::Delivery;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel};

use super::dead::properties_of_buried;
use super::publish::PERSISTENT;
use super::{BATCH_CONTENT_TYPE, Broker, BrokerError, Session};
use crate::domain::{PartitionId, Timestamp};

/// The way to publish.
pub struct Publisher {
    broker: Broker,
    name: String,
    bound: Duration,
    open: Option<(Session, Channel)>,
}

impl Publisher {
    /// Opens nothing yet. `name` tells the connection from others in the broker's own tools.
    #[must_use]
    pub fn new(broker: Broker, name: String) -> Self {
        let bound = broker.answer_timeout;
        Self { broker, name, bound, open: None }
    }

    /// Puts a message into the dead-letter queue and waits for the confirm. After an error it may be there or not: doing it again can at
    /// worst put it there twice.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn bury(&mut self, partition: PartitionId, delivery: &Delivery, why: &str, now: Timestamp) -> Result<(), BrokerError> {
        let topology = self.broker.topology();
        let (dead, properties) = (topology.dead(), properties_of_buried(delivery, topology.log(partition), why, now));
        self.publish(dead, properties, &delivery.data).await
    }

    /// Puts a batch to the end of a log and waits for the confirm. Only for what every consumer skips: it has no lock.
    ///
    /// # Errors
    /// [`BrokerError`]; then it may be there or not.
    pub async fn append(&mut self, partition: PartitionId, body: &[u8]) -> Result<(), BrokerError> {
        let properties = BasicProperties::default().with_content_type(BATCH_CONTENT_TYPE.into()).with_delivery_mode(PERSISTENT);
        self.publish(self.broker.topology().log(partition), properties, body).await
    }

    async fn publish(&mut self, queue: ShortString, properties: BasicProperties, body: &[u8]) -> Result<(), BrokerError> {
        // A connection that the broker blocks can be neither used nor closed: another one would be one more of those.
        if let Some(why) = self.open.as_ref().and_then(|(session, _)| session.blocked()) {
            return Err(BrokerError::Blocked(why));
        }
        let (session, channel) = match self.open.take() {
            Some(open) if open.0.over().is_none() => open,
            _ => {
                let session = self.broker.connect(&self.name).await?;
                let channel = session.confirming_channel().await?;
                (session, channel)
            }
        };
        let exchange = self.broker.topology().exchange();
        let published = session.publish(&channel, (exchange, queue), properties, body, self.bound).await;
        if let Err(error) = &published {
            // Whatever comes of it would be another one's.
            session.end_after(error);
        }
        self.open = Some((session, channel));
        published
    }
}
