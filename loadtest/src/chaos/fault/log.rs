//! The log of a partition, as anybody finds it who has a connection to the broker: how long it is, what is in it, and how it is emptied.
//! Only for a log that nobody consumes.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use doorbuster::domain::{PartitionId, Partitions};
use doorbuster::event::{self, Batch};
use doorbuster::ring::partition_of;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, BasicNackOptions, BasicQosOptions, QueueDeclareOptions, QueuePurgeOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, Consumer};

use super::{Victims, until};

/// How long messages may take to come into a log, or to come back into it.
const MESSAGES_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long a reader may wait for one message.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// The log of the commodity's partition.
pub(super) struct RawLog {
    url: String,
    name: String,
    connection: Connection,
    channel: Channel,
}

/// Somebody who has taken messages and acknowledged none.
pub(super) struct Reader {
    connection: Connection,
    channel: Channel,
    _queue: Consumer,
    taken: Vec<Delivery>,
}

/// Which partition is hurt.
pub(super) fn partition(victims: &Victims<'_>) -> PartitionId {
    partition_of(victims.commodity, Partitions::DEFAULT)
}

impl RawLog {
    pub(super) async fn of(victims: &Victims<'_>) -> anyhow::Result<Self> {
        let url = victims.cluster.broker_url().to_owned();
        let name = format!("{}.partition.{}.log", victims.cluster.prefix(), partition(victims));
        let connection = connected(&url).await?;
        let channel = connection.create_channel().await?;
        Ok(Self { url, name, connection, channel })
    }

    /// Messages that nobody holds.
    pub(super) async fn depth(&self) -> anyhow::Result<u32> {
        self.depth_of(&self.name).await
    }

    /// The same of another queue.
    pub(super) async fn depth_of(&self, queue: &str) -> anyhow::Result<u32> {
        let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
        Ok(self.channel.queue_declare(queue.into(), options, FieldTable::default()).await?.message_count())
    }

    /// Waits until so many messages wait in it, and says how many.
    pub(super) async fn until_deep(&self, least: u32) -> anyhow::Result<u16> {
        let (began, mut pause) = (Instant::now(), tokio::time::interval(LOOK_INTERVAL));
        loop {
            pause.tick().await;
            let depth = self.depth().await?;
            if depth >= least {
                return Ok(u16::try_from(depth).unwrap_or(u16::MAX));
            }
            let seconds = MESSAGES_TIMEOUT.as_secs();
            ensure!(began.elapsed() < MESSAGES_TIMEOUT, "{depth} messages waited after {seconds} s, and not {least}");
        }
    }

    /// Waits until somebody has taken all but so many.
    pub(super) async fn until_left(&self, left: u32) -> anyhow::Result<()> {
        until("the log is taken", async || Ok(self.depth().await? == left)).await
    }

    /// Somebody who takes so many messages, on a connection of their own.
    pub(super) async fn reader(&self, take: u16) -> anyhow::Result<Reader> {
        let connection = connected(&self.url).await?;
        let channel = connection.create_channel().await?;
        channel.basic_qos(take, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        let mut queue = channel.basic_consume(self.name.as_str().into(), "".into(), options, FieldTable::default()).await?;
        let mut taken = Vec::new();
        for _ in 0..take {
            let message = tokio::time::timeout(MESSAGE_TIMEOUT, queue.next()).await.context("a reader was sent nothing")?;
            taken.push(message.context("a reader's subscription ended")??);
        }
        Ok(Reader { connection, channel, _queue: queue, taken })
    }

    /// Takes so many messages and gives them back.
    pub(super) async fn read(&self, take: u16) -> anyhow::Result<()> {
        self.reader(take).await?.leave().await
    }

    /// Everything that is in it, while nobody appends. It is there again then.
    pub(super) async fn batches(&self) -> anyhow::Result<Vec<Batch>> {
        let depth = self.until_deep(1).await?;
        let reader = self.reader(depth).await?;
        let batches = reader.taken.iter().map(|message| event::decode(&message.data)).collect::<Result<Vec<_>, _>>()?;
        reader.leave().await?;
        self.until_deep(depth.into()).await?;
        Ok(batches)
    }

    /// Takes so many messages, and so many of the last of them out: they become dead letters of these names.
    pub(super) async fn bury(&self, take: u16, count: usize) -> anyhow::Result<Vec<String>> {
        let reader = self.reader(take).await?;
        let mut names = Vec::new();
        for message in reader.taken.iter().rev().take(count) {
            names.push(event::decode(&message.data)?.name());
            let options = BasicNackOptions { multiple: false, requeue: false };
            reader.channel.basic_nack(message.delivery_tag, options).await?;
        }
        reader.leave().await?;
        Ok(names)
    }

    /// Empties it; how many messages are gone.
    pub(super) async fn purge(&self) -> anyhow::Result<u32> {
        Ok(self.channel.queue_purge(self.name.as_str().into(), QueuePurgeOptions::default()).await?)
    }

    pub(super) async fn close(self) -> anyhow::Result<()> {
        Ok(self.connection.close(200, "done".into()).await?)
    }
}

impl Reader {
    /// What was taken goes back, behind what went back before.
    pub(super) async fn leave(self) -> anyhow::Result<()> {
        Ok(self.connection.close(200, "done".into()).await?)
    }
}

async fn connected(url: &str) -> anyhow::Result<Connection> {
    Connection::connect(url, ConnectionProperties::default()).await.context("no connection to the broker")
}
