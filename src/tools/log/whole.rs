//! All of a log, held and not acknowledged. How it is known to be all: a marker that was written last, and that was never sent to
//! anybody else, has come. What was given back is sent before what was never sent, so whoever held messages before has given them back.

use std::time::Duration;

use lapin::message::Delivery;
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};
use tokio::time::{Instant, timeout_at};

use super::{CONFIRM_TIMEOUT, LogError};
use crate::broker::{BATCH_CONTENT_TYPE, BrokerError, PERSISTENT, Session, Subscription, Topology};
use crate::domain::PartitionId;
use crate::event::{self, Batch, LogVersion};

/// Messages that are taken, at most: as many as a subscription can hold.
const MESSAGES_MAX: u16 = u16::MAX;
/// Bytes of them, at most: all are in memory meanwhile.
const BYTES_MAX: usize = 1 << 30;
/// How long a consumer may be busy with the log.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait for a marker before another is written: somebody else may have been sent the last one.
const MARKER_INTERVAL: Duration = Duration::from_secs(2);
/// Before all consumers, where the broker goes by priority (RabbitMQ 4).
const PRIORITY: i32 = 1_000_000;

pub(super) struct WholeLog {
    subscription: Subscription,
    messages: Vec<Delivery>,
    last_tag: u64,
}

impl WholeLog {
    /// Takes everything in a log. The partition's lock is held meanwhile, so that nobody appends.
    pub(super) async fn take(session: &Session, topology: &Topology, channel: &Channel, partition: PartitionId) -> Result<Self, LogError> {
        let reading = session.channel().await?;
        let log = topology.log(partition);
        let ready = session.depth(&reading, log.clone()).await?.ready;
        if ready >= u32::from(MESSAGES_MAX) {
            return Err(too_long(format!("{ready} messages")));
        }
        let mut arguments = FieldTable::default();
        arguments.insert("x-priority".into(), PRIORITY.into());
        let (subscription, mut queue) = Subscription::open(session, reading, log.clone(), MESSAGES_MAX, arguments).await?;
        let marker = Marker::new(partition)?;
        let (mut messages, mut bytes, mut next_marker) = (Vec::new(), 0, Instant::now());
        let deadline = next_marker + BUSY_TIMEOUT;
        loop {
            if Instant::now() >= next_marker {
                if next_marker >= deadline {
                    return Err(LogError::Refused("a consumer is busy with this log: its partition is not stopped".into()));
                }
                let target = (topology.exchange(), log.clone());
                session.publish(channel, target, marker.properties(), &marker.body, CONFIRM_TIMEOUT).await?;
                next_marker = Instant::now() + MARKER_INTERVAL;
            }
            let Ok(delivery) = timeout_at(next_marker, queue.next()).await else { continue };
            let delivery = delivery.map_err(BrokerError::Away)?;
            if marker.is(&delivery) {
                if !delivery.redelivered {
                    return Ok(Self { subscription, messages, last_tag: delivery.delivery_tag });
                }
                continue;
            }
            bytes += delivery.data.len();
            messages.push(delivery);
            if messages.len() >= usize::from(MESSAGES_MAX) - 1 || bytes > BYTES_MAX {
                return Err(too_long(format!("{} messages or more, {} MiB of which were read", messages.len(), bytes >> 20)));
            }
        }
    }

    /// In the order in which they stand.
    pub(super) fn messages(&self) -> &[Delivery] {
        &self.messages
    }

    /// Takes all of it out of the log, with the markers: in one frame, so all or nothing. It is done when this returns.
    pub(super) async fn remove(self, session: &Session) -> Result<(), LogError> {
        self.subscription.acknowledge(session, self.last_tag, true).await?;
        self.subscription.close(session).await;
        Ok(())
    }
}

fn too_long(what: String) -> LogError {
    let seconds = "start a consumer first: it puts in order by itself what it can hold";
    LogError::Refused(format!("the log has {what}, more than this can hold ({MESSAGES_MAX} messages, {} MiB): {seconds}", BYTES_MAX >> 20))
}

/// What is written last. Every consumer skips it.
struct Marker {
    id: String,
    body: Vec<u8>,
}

impl Marker {
    fn new(partition: PartitionId) -> Result<Self, LogError> {
        let body = event::encode(&Batch::marker(partition), LogVersion::OLDEST).map_err(|error| LogError::Refused(error.to_string()))?;
        Ok(Self { id: format!("marker {:032x}", rand::random::<u128>()), body })
    }

    fn properties(&self) -> BasicProperties {
        let properties = BasicProperties::default().with_content_type(BATCH_CONTENT_TYPE.into());
        properties.with_delivery_mode(PERSISTENT).with_message_id(self.id.as_str().into())
    }

    fn is(&self, delivery: &Delivery) -> bool {
        delivery.properties.message_id().as_ref().is_some_and(|id| id.as_str() == self.id)
    }
}
