//! The log on RabbitMQ: one message a batch, published through the connection that holds the partition's lock.
//!
//! It never publishes a batch twice and never believes anything but a confirm, and that only when the lock was still this owner's after it: whatever else happens ends the session, which is this
//! partition's own (R2, R13). Among others because a message that is still under way on the connection must not be confirmed to nobody
//! while the owner goes on. A confirm that is late is waited for as long as the broker answers nobody: see [`Patience`].

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{InDoubt, Log, traceparents};
use crate::broker::{BATCH_CONTENT_TYPE, BrokerError, Health, PERSISTENT, Session, Topology};
use crate::clock::Clock;
use crate::domain::{Epoch, PartitionId, SystemId};
use crate::event::{self, Batch, LogVersion};
use crate::trace::Context;

/// The header that says which version of the wire form the body is, for people and their tools: the body says so too.
const VERSION_HEADER: &str = "x-doorbuster-version";
/// The header that says when the batch was sent, in Unix milliseconds: what the age of the projection is measured by.
pub(crate) const SENT_AT_HEADER: &str = "x-doorbuster-sent-at-ms";

/// How long a broker that stood still may take to work off what waited, before what is not confirmed then is in doubt.
const CATCH_UP: Duration = Duration::from_secs(1);

/// How long a confirm is waited for.
///
/// While the broker answers nobody nothing is proved by its silence, and nothing is gained by a new connection, which would be answered as
/// little: the batch stays in flight, so that a broker that stood still costs no partition its engine. Once the broker answers others and
/// not this batch, it is this connection or this queue that has failed.
#[derive(Clone, Debug)]
pub struct Patience {
    /// After this it is late: whoever waits is told "pending" by the caller, and the broker is asked whether it is there.
    pub late: Duration,
    /// Whether the broker answers.
    pub health: Health,
}

impl Patience {
    /// How often `late` is the bound, whatever the broker does.
    const TIMES_MAX: u32 = 3;

    /// Waits until there is no more reason to, and says why.
    async fn end(&self) -> String {
        sleep(self.late).await;
        let rest = self.late * (Self::TIMES_MAX - 1);
        match timeout(rest, self.health.answers()).await {
            Ok(()) => {
                sleep(CATCH_UP).await;
                format!("not confirmed within {} ms, and the broker answers others", self.late.as_millis())
            }
            Err(_) => format!("not confirmed within {} ms, and the broker answers nobody", (self.late + rest).as_millis()),
        }
    }
}

/// What one claim writes, and how.
#[derive(Clone, Copy, Debug)]
pub struct Writing {
    /// The system that its batches belong to.
    pub system: SystemId,
    /// The partition whose log it is.
    pub partition: PartitionId,
    /// The epoch of the claim.
    pub epoch: Epoch,
    /// The version of the wire form.
    pub version: LogVersion,
}

/// One claim's way to append to its partition's log.
pub struct RabbitLog {
    session: Arc<Session>,
    channel: Channel,
    writing: Writing,
    topology: Topology,
    lost: CancellationToken,
    patience: Patience,
    clock: Clock,
}

impl RabbitLog {
    /// Takes a channel with confirms on the session that holds the lock. `lost` is the end of the claim: nothing is published
    /// after it.
    #[must_use]
    pub fn new(
        session: Arc<Session>,
        channel: Channel,
        topology: &Topology,
        writing: Writing,
        lost: CancellationToken,
        patience: Patience,
        clock: Clock,
    ) -> Self {
        Self { session, channel, writing, topology: topology.clone(), lost, patience, clock }
    }

    async fn publish(&self, batch: Batch, traces: Vec<Context>) -> Result<(), InDoubt> {
        if self.lost.is_cancelled() {
            let why = self.session.over().map_or_else(|| "the claim is over".to_owned(), |ended| ended.to_string());
            return Err(InDoubt(why));
        }
        let Writing { system, partition, epoch, version } = self.writing;
        if (batch.partition, batch.epoch) != (partition, epoch) {
            // Our bug. Nothing was sent, but whoever mixes up logs must start over.
            self.lost.cancel();
            return Err(InDoubt(format!("a batch of partition {} in epoch {} is not this claim's", batch.partition, batch.epoch)));
        }
        let batch = batch.of_system(system);
        let body = event::encode(&batch, version).map_err(|error| {
            // Our bug too: what the version cannot hold must not be decided under it.
            self.lost.cancel();
            InDoubt(error.to_string())
        })?;
        let in_flight = InFlight { session: &self.session, armed: true };
        let why = match self.confirmed(self.properties(&batch, &traces), &body).await {
            Ok(()) if !self.lost.is_cancelled() => {
                in_flight.landed();
                return Ok(());
            }
            // Somebody gave the lock up while it was under way.
            Ok(()) => {
                let why = "the claim ended before the confirm came";
                self.session.end(why);
                why.to_owned()
            }
            Err(error) => {
                // The session first: whoever hears of the doubt must not find the claim alive.
                self.session.end_after(&error);
                error.to_string()
            }
        };
        in_flight.landed();
        Err(InDoubt(why))
    }

    /// Publishes, and believes the confirm if the lock was this owner's until then: it may be lost while the connection lives (deleted by
    /// hand, say), and then the message may stand behind the fence of another.
    async fn confirmed(&self, properties: BasicProperties, body: &[u8]) -> Result<(), BrokerError> {
        let Self { session, channel, topology, writing: Writing { partition, .. }, .. } = self;
        let target = (topology.exchange(), topology.log(*partition));
        let mut given_up = pin!(self.patience.end());
        session.publish_until(channel, target, properties, body, given_up.as_mut()).await?;
        self.still_locked(given_up).await
    }

    async fn still_locked(&self, given_up: impl Future<Output = String>) -> Result<(), BrokerError> {
        let Self { session, channel, topology, writing: Writing { partition, .. }, .. } = self;
        session.answer_until(topology.still_locked(channel, *partition), given_up).await.map_err(|error| match error {
            BrokerError::Missing(_) | BrokerError::Locked => {
                tracing::error!(%partition, "the lock of partition {partition} is gone, and nobody here gave it up");
                BrokerError::Refused("the lock is gone, and the connection lives".into())
            }
            error => error,
        })
    }

    fn properties(&self, batch: &Batch, traces: &[Context]) -> BasicProperties {
        let mut headers = FieldTable::default();
        headers.insert(VERSION_HEADER.into(), i32::from(self.writing.version.get()).into());
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
    fn check_lock(&self) -> BoxFuture<'_, Result<(), InDoubt>> {
        Box::pin(async {
            self.still_locked(self.patience.end()).await.map_err(|error| {
                self.session.end_after(&error);
                InDoubt(error.to_string())
            })
        })
    }

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
