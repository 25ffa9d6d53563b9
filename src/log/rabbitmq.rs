//! The log on RabbitMQ: one message a batch, published through the connection that holds the partition's lock.
//!
//! It never publishes a batch twice and never believes anything but a confirm: whatever else happens ends the whole session,
//! and with it the claims of every partition of this node (R2). Among others because a message that is still under way
//! on the connection must not be confirmed to nobody while the owner goes on.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel};
use tokio_util::sync::CancellationToken;

use super::{InDoubt, Log, traceparents};
use crate::broker::{BATCH_CONTENT_TYPE, PERSISTENT, Session, Topology};
use crate::clock::Clock;
use crate::domain::{Epoch, PartitionId};
use crate::event::{self, Batch, LogVersion};
use crate::trace::Context;

/// The header that says which version of the wire form the body is, for people and their tools: the body says so too.
const VERSION_HEADER: &str = "x-doorbuster-version";
/// The header that says when the batch was sent, in Unix milliseconds: what the age of the projection is measured by.
pub(crate) const SENT_AT_HEADER: &str = "x-doorbuster-sent-at-ms";

/// One claim's way to append to its partition's log.
pub struct RabbitLog {
    session: Arc<Session>,
    channel: Channel,
    partition: PartitionId,
    epoch: Epoch,
    version: LogVersion,
    exchange: ShortString,
    key: ShortString,
    lost: CancellationToken,
    confirm_timeout: Duration,
    clock: Clock,
}

impl RabbitLog {
    /// Takes a channel with confirms on the session that holds the lock. `lost` is the end of the claim: nothing is published
    /// after it. All it publishes is of one version.
    #[must_use]
    pub fn new(
        session: Arc<Session>,
        channel: Channel,
        topology: &Topology,
        (partition, epoch, version): (PartitionId, Epoch, LogVersion),
        lost: CancellationToken,
        confirm_timeout: Duration,
        clock: Clock,
    ) -> Self {
        let (exchange, key) = (topology.exchange(), topology.log(partition));
        Self { session, channel, partition, epoch, version, exchange, key, lost, confirm_timeout, clock }
    }

    async fn publish(&self, batch: Batch, traces: Vec<Context>) -> Result<(), InDoubt> {
        if self.lost.is_cancelled() {
            let why = self.session.over().map_or_else(|| "the claim is over".to_owned(), |ended| ended.to_string());
            return Err(InDoubt(why));
        }
        if (batch.partition, batch.epoch) != (self.partition, self.epoch) {
            // Our bug. Nothing was sent, but whoever mixes up logs must start over.
            self.lost.cancel();
            return Err(InDoubt(format!("a batch of partition {} in epoch {} is not this claim's", batch.partition, batch.epoch)));
        }
        let body = event::encode(&batch, self.version).map_err(|error| {
            // Our bug too: what the version cannot hold must not be decided under it.
            self.lost.cancel();
            InDoubt(error.to_string())
        })?;
        let in_flight = InFlight { session: &self.session, armed: true };
        let target = (self.exchange.clone(), self.key.clone());
        match self.session.publish(&self.channel, target, self.properties(&batch, &traces), &body, self.confirm_timeout).await {
            Ok(()) => {
                in_flight.landed();
                Ok(())
            }
            Err(error) => {
                let error = error.to_string();
                // The session first: whoever hears of the doubt must not find the claim alive.
                self.session.end(&error);
                in_flight.landed();
                Err(InDoubt(error))
            }
        }
    }

    fn properties(&self, batch: &Batch, traces: &[Context]) -> BasicProperties {
        let mut headers = FieldTable::default();
        headers.insert(VERSION_HEADER.into(), i32::from(self.version.get()).into());
        headers.insert(SENT_AT_HEADER.into(), (self.clock)().millis().into());
        traceparents::write(&mut headers, traces);
        BasicProperties::default()
            .with_content_type(BATCH_CONTENT_TYPE.into())
            .with_delivery_mode(PERSISTENT)
            .with_message_id(batch.name().into())
            .with_headers(headers)
    }
}

impl Log for RabbitLog {
    fn append(&self, batch: Batch) -> BoxFuture<'_, Result<(), InDoubt>> {
        self.append_traced(batch, Vec::new())
    }

    fn append_traced(&self, batch: Batch, traces: Vec<Context>) -> BoxFuture<'_, Result<(), InDoubt>> {
        Box::pin(self.publish(batch, traces))
    }
}

/// A batch that is on its way. A caller that gives up waiting leaves it in doubt just as the broker can.
struct InFlight<'a> {
    session: &'a Session,
    armed: bool,
}

impl InFlight<'_> {
    fn landed(mut self) {
        self.armed = false;
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.session.end("nobody waited for the confirm of a batch");
        }
    }
}
