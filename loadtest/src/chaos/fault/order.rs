//! A log that is shuffled: its consumer is killed, and readers come who take fewer messages than came back, acknowledge none, and leave.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use doorbuster::domain::Partitions;
use doorbuster::ring::partition_of;
use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use rand::RngExt;

use super::{Done, Victims};

/// Messages that must wait in the log before it is read: fewer are hardly ever shuffled.
const MESSAGES_MIN: u32 = 12;
/// How long they may take to come.
const MESSAGES_TIMEOUT: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Readers who come and leave.
const READERS: usize = 8;
/// How long a reader may wait for one message.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// The only consumer is killed; when some messages wait, readers shuffle the log of the commodity's partition, and it is started again.
pub(super) async fn log_shuffled(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let launcher = victims.cluster.launcher().clone();
    let partition = partition_of(victims.commodity, Partitions::DEFAULT);
    let log = format!("{}.partition.{partition}.log", victims.cluster.prefix());
    let url = victims.cluster.broker_url().to_owned();
    let at = Instant::now();
    victims.cluster.consumers[0].kill().await?;
    let gone = Instant::now();
    let most = until_deep(&url, &log).await?;
    let mut takes = vec![most];
    takes.extend((1..READERS).map(|_| victims.random.random_range(1..=most)));
    for take in takes {
        read(&url, &log, take).await?;
    }
    let began = Instant::now();
    victims.cluster.consumers[0].start(&launcher).await?;
    Ok(Done::now(at, gone, began).with("messages that the first reader took", most.into()))
}

/// Waits until messages wait in the log, and says how many.
async fn until_deep(url: &str, log: &str) -> anyhow::Result<u16> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.context("no connection")?;
    let channel = connection.create_channel().await?;
    let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
    let (began, mut pause) = (Instant::now(), tokio::time::interval(LOOK_INTERVAL));
    loop {
        pause.tick().await;
        let depth = channel.queue_declare(log.into(), options, FieldTable::default()).await?.message_count();
        if depth >= MESSAGES_MIN {
            connection.close(200, "done".into()).await?;
            return Ok(u16::try_from(depth).unwrap_or(u16::MAX));
        }
        let seconds = MESSAGES_TIMEOUT.as_secs();
        ensure!(began.elapsed() < MESSAGES_TIMEOUT, "{depth} messages waited after {seconds} s: give more units or a higher rate");
    }
}

/// Takes so many messages and leaves.
async fn read(url: &str, log: &str, take: u16) -> anyhow::Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.context("no connection")?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(take, BasicQosOptions::default()).await?;
    let mut reader = channel.basic_consume(log.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default()).await?;
    for _ in 0..take {
        let message = tokio::time::timeout(MESSAGE_TIMEOUT, reader.next()).await.context("a reader was sent nothing")?;
        message.context("a reader's subscription ended")??;
    }
    Ok(connection.close(200, "done".into()).await?)
}
