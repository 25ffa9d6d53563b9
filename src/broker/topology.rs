//! Every queue and exchange, declared in this one place, each option with its reason.
//!
//! Nothing here is ever deleted by the program but lock queues; a declaration that does not fit what exists (406) is an
//! error to show, never one to work around.

use lapin::options::{BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};

use super::{BrokerError, Messages, Session};
use crate::domain::{PartitionId, Partitions};

/// The `content_type` of a message that is one event batch.
pub const BATCH_CONTENT_TYPE: &str = "application/vnd.doorbuster.batch";

/// The names. All begin with the configured prefix, so that several systems (or tests) can share a virtual host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    prefix: String,
}

impl Topology {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The direct exchange through which everything is published.
    #[must_use]
    pub fn exchange(&self) -> ShortString {
        self.prefix.as_str().into()
    }

    /// The log of a partition. Its binding key is the same text.
    #[must_use]
    pub fn log(&self, partition: PartitionId) -> ShortString {
        format!("{}.partition.{partition}.log", self.prefix).into()
    }

    /// The exclusive queue whose existence is the ownership of a partition.
    #[must_use]
    pub fn owner(&self, partition: PartitionId) -> ShortString {
        format!("{}.partition.{partition}.owner", self.prefix).into()
    }

    /// Where messages go that cannot be decoded. Its binding key is the same text.
    #[must_use]
    pub fn dead(&self) -> ShortString {
        format!("{}.dead", self.prefix).into()
    }

    /// The lock: a queue that is this connection's alone, and goes when this connection goes, at once and by the broker's hand. It is
    /// consumed, though nobody writes to it: a queue in use never expires, whatever policy it falls under, and if it is deleted the broker says so.
    ///
    /// # Errors
    /// [`BrokerError::Locked`] when another connection has it. After any other error it may be had or not.
    pub async fn lock(&self, session: &Session, channel: &Channel, partition: PartitionId) -> Result<Messages, BrokerError> {
        // Not auto-delete: it is deleted by name. Not durable: no restart of the broker keeps the connection anyway.
        let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
        let mut arguments = FieldTable::default();
        // Said, because a virtual host may have quorum queues as its default, and those are never exclusive.
        arguments.insert("x-queue-type".into(), text("classic".into()));
        session.answer(channel.queue_declare(self.owner(partition), options, arguments)).await?;
        // no_ack: whatever a stranger puts into it is nobody's. Not exclusive: an earlier claim of this connection may still read it.
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let consumer = channel.basic_consume(self.owner(partition), "".into(), options, FieldTable::default());
        session.answer(consumer).await.map(Messages::of)
    }

    /// Asks the lock itself whether it is there and this connection's. It is one queue, one process of the broker's, which answers or is gone:
    /// while it answers, nobody else has had the lock since it was taken. On the channel that took it: if it is gone, so is the channel.
    ///
    /// # Errors
    /// [`BrokerError::Missing`] or [`BrokerError::Locked`] when it is not.
    pub async fn still_locked(&self, channel: &Channel, partition: PartitionId) -> Result<(), BrokerError> {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        channel.queue_declare(self.owner(partition), options, FieldTable::default()).await?;
        Ok(())
    }

    /// Gives a lock back.
    ///
    /// # Errors
    /// [`BrokerError`]; the lock may be gone or not.
    pub async fn unlock(&self, session: &Session, channel: &Channel, partition: PartitionId) -> Result<(), BrokerError> {
        match session.answer(channel.queue_delete(self.owner(partition), QueueDeleteOptions::default())).await {
            // Somebody else's: then it is not ours.
            Ok(_) | Err(BrokerError::Locked) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether a connection other than this one has the lock of a partition. Asking never takes it.
    ///
    /// # Errors
    /// [`BrokerError`] when the broker does not say.
    pub async fn is_locked(&self, session: &Session, partition: PartitionId) -> Result<bool, BrokerError> {
        let channel = session.channel().await?;
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        match session.answer(channel.queue_declare(self.owner(partition), options, FieldTable::default())).await {
            Err(BrokerError::Locked) => Ok(true),
            Err(BrokerError::Missing(_)) => Ok(false),
            Ok(_) => {
                session.close(channel).await;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Declares everything but lock queues. Declaring it again changes nothing.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] when something of that name exists with other options, or the user may not.
    pub async fn declare(&self, session: &Session, partitions: Partitions) -> Result<(), BrokerError> {
        let channel = session.channel().await?;
        session.answer(self.declare_exchange(&channel)).await?;
        session.answer(self.declare_queue(&channel, self.dead(), dead_arguments())).await?;
        for partition in partitions.iter() {
            session.answer(self.declare_queue(&channel, self.log(partition), self.log_arguments())).await?;
        }
        session.close(channel).await;
        Ok(())
    }

    async fn declare_exchange(&self, channel: &Channel) -> lapin::Result<()> {
        // direct: the routing key is the queue's name, one queue a key: nothing is ever routed twice.
        // durable: a broker that restarts still routes.
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        channel.exchange_declare(self.exchange(), ExchangeKind::Direct, options, FieldTable::default()).await
    }

    async fn declare_queue(&self, channel: &Channel, name: ShortString, arguments: FieldTable) -> lapin::Result<()> {
        // durable: quorum queues are nothing else. Not exclusive, not auto-delete: a log outlives everyone.
        channel.queue_declare(name.clone(), QueueDeclareOptions::durable(), arguments).await?;
        channel.queue_bind(name.clone(), self.exchange(), name, QueueBindOptions::default(), FieldTable::default()).await
    }

    fn log_arguments(&self) -> FieldTable {
        let mut arguments = quorum();
        // One consumer at a time gets messages, and the next one takes over by itself: several consumers share the
        // partitions, and a partition's batches are still applied in order.
        arguments.insert("x-single-active-consumer".into(), true.into());
        // RabbitMQ 4 drops a message after 20 deliveries; here that would be a lost sale. -1 (no limit) is refused by
        // 3.x, and a queue made without the argument by 3.x would get the limit of 20 by an upgrade. A number that
        // is never reached means the same on all of them. It has a second effect that is wanted: with a limit, a
        // message that is given back keeps its place; without one, 3.x puts it behind the others.
        arguments.insert("x-delivery-limit".into(), DELIVERY_LIMIT.into());
        // Should an operator's policy set a lower limit all the same, what it takes out is kept for `doorbuster dead`,
        // and the gap it leaves stops the partition.
        arguments.insert("x-dead-letter-exchange".into(), text(self.exchange()));
        arguments.insert("x-dead-letter-routing-key".into(), text(self.dead()));
        // No message leaves the log before the dead-letter queue has confirmed it (the default forgets it first) ...
        arguments.insert("x-dead-letter-strategy".into(), text("at-least-once".into()));
        // ... which the broker allows only together with this. It matters if a policy bounds the queue's length: then a
        // full log refuses new batches (nack: in doubt) instead of throwing away the oldest.
        arguments.insert("x-overflow".into(), text("reject-publish".into()));
        arguments
    }
}

/// Deliveries of one message after which the broker would take it out: 2^31 - 1, a hundred a second for eight months.
const DELIVERY_LIMIT: i32 = i32::MAX;

fn dead_arguments() -> FieldTable {
    let mut arguments = quorum();
    // Looking at a dead letter is a delivery too: it must not make it vanish.
    arguments.insert("x-delivery-limit".into(), DELIVERY_LIMIT.into());
    arguments
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    // Replicated with Raft and written to disk before the confirm: what is confirmed survives any one server.
    arguments.insert("x-queue-type".into(), text("quorum".into()));
    // Spread the leaders over the servers of a cluster instead of leaving them all where the first process connected.
    // `balanced` (3.10 and later) counts the leaders a server has.
    arguments.insert("x-queue-leader-locator".into(), text("balanced".into()));
    arguments
}

fn text(value: ShortString) -> AMQPValue {
    AMQPValue::LongString(value.as_str().into())
}
