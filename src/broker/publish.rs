//! Publishing, and the confirms. Whatever is not a plain confirm is an error; nothing is ever published twice here.

use std::collections::VecDeque;
use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};

use super::{BrokerError, Session};

/// `delivery_mode` of a message that is written to disk. Quorum queues write all of them; said all the same, so that a queue of
/// another kind under the same name would not be a silent loss.
pub const PERSISTENT: u8 = 2;

/// Messages of one call that are sent and not confirmed, at most.
const UNCONFIRMED_MAX: usize = 256;

/// mandatory: a message that no queue takes comes back instead of vanishing with a confirm.
const OPTIONS: BasicPublishOptions = BasicPublishOptions { mandatory: true, immediate: false };

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
        let confirm = async { channel.basic_publish(exchange, key, OPTIONS, body, properties).await?.await };
        let confirmation = tokio::select! {
            // A confirm that is here counts, even if the session ended in the same instant.
            biased;
            confirmation = confirm => confirmation?,
            why = self.ended() => return Err(why.into()),
            why = given_up => return Err(BrokerError::Late(why)),
        };
        plain(confirmation)
    }

    /// Publishes many messages to a queue, in their order, some of them at a time; `confirmed` is called for each that is. After an error any
    /// of them may be in the queue or not.
    ///
    /// # Errors
    /// As there; `bound` is for each confirm.
    pub async fn publish_all<'a>(
        &self,
        channel: &Channel,
        (exchange, key): (ShortString, ShortString),
        messages: impl Iterator<Item = (BasicProperties, &'a [u8])>,
        bound: Duration,
        mut confirmed: impl FnMut(),
    ) -> Result<(), BrokerError> {
        let mut messages = messages.fuse();
        let mut sent = VecDeque::new();
        loop {
            if sent.len() < UNCONFIRMED_MAX
                && let Some((properties, body)) = messages.next()
            {
                sent.push_back(self.answer(channel.basic_publish(exchange.clone(), key.clone(), OPTIONS, body, properties)).await?);
                continue;
            }
            let Some(first) = sent.pop_front() else { return Ok(()) };
            let confirmation = tokio::select! {
                biased;
                confirmation = first => confirmation?,
                why = self.ended() => return Err(why.into()),
                () = tokio::time::sleep(bound) => return Err(BrokerError::Late(format!("not confirmed within {} ms", bound.as_millis()))),
            };
            plain(confirmation)?;
            confirmed();
        }
    }
}

fn plain(confirmation: Confirmation) -> Result<(), BrokerError> {
    match confirmation {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(returned)) => Err(BrokerError::Refused(format!("no queue took it: {}", returned.reply_text))),
        Confirmation::Nack(_) => Err(BrokerError::Refused("nacked".into())),
        Confirmation::NotRequested => Err(BrokerError::Refused("the channel has no confirms".into())),
    }
}
