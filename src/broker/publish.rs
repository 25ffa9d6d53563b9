//! One publish and its confirm. Whatever is not a plain confirm is an error; nothing is ever published twice here.

use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};

use super::{BrokerError, Session};

/// `delivery_mode` of a message that is written to disk. Quorum queues write all of them; said all the same, so that a queue of
/// another kind under the same name would not be a silent loss.
pub const PERSISTENT: u8 = 2;

impl Session {
    /// Publishes to a queue through an exchange and waits for the broker's confirm. An error means that the message may be in
    /// the queue or not, except for [`BrokerError::Blocked`] while the broker had said so before: then nothing was sent.
    ///
    /// # Errors
    /// [`BrokerError`]: nacked, returned as unroutable, not confirmed within `bound`, or the session ended.
    pub async fn publish(
        &self,
        channel: &Channel,
        target: (ShortString, ShortString),
        properties: BasicProperties,
        body: &[u8],
        bound: Duration,
    ) -> Result<(), BrokerError> {
        let late = async {
            tokio::time::sleep(bound).await;
            format!("not confirmed within {} ms", bound.as_millis())
        };
        self.publish_until(channel, target, properties, body, late).await
    }

    /// As [`publish`](Self::publish), with the confirm being waited for until somebody says why no longer.
    ///
    /// # Errors
    /// As there.
    pub async fn publish_until(
        &self,
        channel: &Channel,
        (exchange, key): (ShortString, ShortString),
        properties: BasicProperties,
        body: &[u8],
        given_up: impl Future<Output = String>,
    ) -> Result<(), BrokerError> {
        if let Some(why) = self.over() {
            return Err(why.into());
        }
        // mandatory: a message that no queue takes comes back instead of vanishing with a confirm.
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let confirm = async { channel.basic_publish(exchange, key, options, body, properties).await?.await };
        let confirmation = tokio::select! {
            // A confirm that is here counts, even if the session ended in the same instant.
            biased;
            confirmation = confirm => confirmation?,
            why = self.ended() => return Err(why.into()),
            why = given_up => return Err(BrokerError::Away(why)),
        };
        match confirmation {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(returned)) => Err(BrokerError::Refused(format!("no queue took it: {}", returned.reply_text))),
            Confirmation::Nack(_) => Err(BrokerError::Refused("nacked".into())),
            Confirmation::NotRequested => Err(BrokerError::Refused("the channel has no confirms".into())),
        }
    }
}
