//! One queue's messages on a channel of their own. Giving it up puts everything that is not acknowledged back, behind what was given
//! back before and before what was never sent.
//!
//! It never cancels: while a cancelled consumer still holds messages, the broker gives the ones behind them to the next consumer, who
//! would take it that nothing older is left. A batch that comes after a fence it was written before would be skipped: a sale lost
//! without a word.

use std::mem::ManuallyDrop;

use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};

use super::{BrokerError, Session};

/// A subscription. It ends with its channel: see [`Subscription::close`]. One that is dropped instead stays until its session
/// goes, and its memory is not given back: dropping the library's consumer would cancel it.
pub struct Subscription {
    channel: Channel,
    consumer: ManuallyDrop<Consumer>,
}

/// The messages of a subscription, for whoever reads them. Dropping it stops the reading and nothing else.
pub struct Messages(Consumer);

impl Subscription {
    /// Subscribes to a queue; at most `prefetch` messages are under way; 1 or more.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn open(
        session: &Session,
        channel: Channel,
        queue: ShortString,
        prefetch: u16,
        arguments: FieldTable,
    ) -> Result<(Self, Messages), BrokerError> {
        // The bound on what is under way: the library's own buffers have none.
        session.answer(channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        // No tag: the broker's is unique. Acknowledged by hand, after the commit. Not exclusive: others stand by.
        let consumer = channel.basic_consume(queue, "".into(), BasicConsumeOptions::default(), arguments);
        let consumer = session.answer(consumer).await?;
        Ok((Self { channel, consumer: ManuallyDrop::new(consumer.clone()) }, Messages(consumer)))
    }

    /// Acknowledges that tag, or with `multiple` everything up to it, at once.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn acknowledge(&self, session: &Session, tag: u64, multiple: bool) -> Result<(), BrokerError> {
        session.answer(self.channel.basic_ack(tag, BasicAckOptions { multiple })).await
    }

    /// Whether all that is in the queue is here, and [`Messages`] has it.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn has_all(&self, session: &Session) -> Result<bool, BrokerError> {
        let depth = session.depth(&self.channel, self.consumer.queue()).await?;
        if depth.ready > 0 || depth.readers > 1 {
            return Ok(false);
        }
        // What was on its way to this channel when that was counted comes before a second answer on it.
        session.depth(&self.channel, self.consumer.queue()).await?;
        Ok(true)
    }

    /// Gives it up: the channel first, so that there is nothing left to cancel.
    pub async fn close(self, session: &Session) {
        session.close(self.channel.clone()).await;
        if !self.channel.status().connected() {
            drop(ManuallyDrop::into_inner(self.consumer));
        }
    }
}

impl Messages {
    pub(super) const fn of(consumer: Consumer) -> Self {
        Self(consumer)
    }

    /// The next of those that are here already; none also when there will be no more.
    pub fn ready(&mut self) -> Option<Delivery> {
        self.0.next().now_or_never().flatten().and_then(Result::ok)
    }

    /// The next message, or why there are no more.
    pub async fn next(&mut self) -> Result<Delivery, String> {
        match self.0.next().await {
            Some(Ok(delivery)) => Ok(delivery),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the broker ended the subscription".to_owned()),
        }
    }
}
