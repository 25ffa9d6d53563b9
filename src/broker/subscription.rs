//! One queue's messages, in order, on a channel of their own. Giving it up puts everything that is not acknowledged back, in order.
//!
//! It never cancels and never gives back a single message. Both would break the order of a log: while a cancelled consumer still
//! holds messages the broker gives the ones behind them to the next consumer, and what is given back alone may come
//! after others. A batch that comes after a fence it was written before would be skipped: a sale lost without a word.

use std::mem::ManuallyDrop;

use futures_util::StreamExt;
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
    /// Subscribes to a queue; at most `prefetch` messages are under way (0: as many as there are).
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

    /// Acknowledges everything up to that tag.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn acknowledge(&self, session: &Session, tag: u64) -> Result<(), BrokerError> {
        session.answer(self.channel.basic_ack(tag, BasicAckOptions { multiple: true })).await
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

    /// The next message, or why there are no more.
    pub async fn next(&mut self) -> Result<Delivery, String> {
        match self.0.next().await {
            Some(Ok(delivery)) => Ok(delivery),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the broker ended the subscription".to_owned()),
        }
    }
}
