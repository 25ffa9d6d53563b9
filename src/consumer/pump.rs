//! The loop of one session: gather what is there, one transaction, acknowledge. It never waits for more while there is something
//! to do, and never has two transactions at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backon::BackoffBuilder;
use lapin::message::Delivery;
use lapin::types::AMQPValue;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Consumer;
use super::lane::{Arrival, Lane, Terms};
use super::meters::Meters;
use super::round::{Halt, Round};
use super::traces;
use crate::broker::{BrokerError, DeadLetters, Session};
use crate::domain::{PartitionId, Timestamp};
use crate::event::{self, Batch, LogVersion};
use crate::log::SENT_AT_HEADER;
use crate::projection::{self, Outcome, Report, Stop};

/// Deliveries between the subscriptions and the pump, at most; the rest waits where the prefetch bounds it.
const ARRIVALS_MAX: usize = 1024;
/// The pause before a subscription that ended by itself, or could not be served, is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long one transaction may take before it is given up and done again (which is safe: see the projection).
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Pump<'a> {
    consumer: &'a Consumer,
    session: &'a Session,
    dead: &'a mut DeadLetters,
    terms: Terms,
    arrivals: mpsc::Receiver<Arrival>,
    lanes: BTreeMap<PartitionId, Lane>,
    meters: Meters,
}

impl<'a> Pump<'a> {
    pub(super) fn new(consumer: &'a Consumer, session: &'a Arc<Session>, dead: &'a mut DeadLetters) -> Self {
        let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let partitions = consumer.store.partitions();
        let now = Instant::now();
        Self {
            consumer,
            session,
            dead,
            terms: Terms {
                session: Arc::clone(session),
                topology: consumer.broker.topology().clone(),
                prefetch: consumer.settings.prefetch,
                seed: xxhash_rust::xxh3::xxh3_64(consumer.name.as_bytes()),
                arrivals: sender,
            },
            arrivals,
            lanes: partitions.iter().map(|partition| (partition, Lane::new(partition, now))).collect(),
            meters: Meters::new(partitions),
        }
    }

    /// Consumes until `stop` (`Ok`: what was begun is finished and acknowledged) or until the session ends.
    pub(super) async fn run(mut self, stop: &CancellationToken) -> Result<(), BrokerError> {
        loop {
            self.open_due().await?;
            let next_retry = self.lanes.values().filter_map(|lane| lane.retry_at).min();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                why = self.session.ended() => return Err(why.into()),
                () = until(next_retry) => {}
                Some(arrival) = self.arrivals.recv() => {
                    let round = self.gather(arrival).await;
                    self.settle(round, stop).await?;
                }
            }
        }
        for lane in self.lanes.values_mut() {
            lane.close(self.session, None).await;
        }
        Ok(())
    }

    async fn open_due(&mut self) -> Result<(), BrokerError> {
        let now = Instant::now();
        for lane in self.lanes.values_mut().filter(|lane| lane.retry_at.is_some_and(|at| at <= now)) {
            match lane.open(&self.terms).await {
                Ok(()) => {}
                Err(error @ (BrokerError::Refused(_) | BrokerError::Missing(_) | BrokerError::Locked)) => {
                    // Of this queue alone: somebody deleted it, or took the right to read it.
                    self.consumer.status.stopped(lane.partition, error.to_string());
                    tracing::error!(partition = %lane.partition, %error, "partition {} cannot be consumed: {error}", lane.partition);
                    lane.retry_at = Some(now + self.consumer.stopped_retry());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The first arrival and whatever else is here by now, within the bound of a transaction.
    async fn gather(&mut self, first: Arrival) -> Round {
        let mut round = Round::default();
        let mut arrival = Some(first);
        while let Some(next) = arrival {
            self.take(&mut round, next).await;
            arrival = if round.weight() < self.consumer.settings.transaction_events_max { self.arrivals.try_recv().ok() } else { None };
        }
        round
    }

    async fn take(&mut self, round: &mut Round, arrival: Arrival) {
        let Arrival { partition, generation, what } = arrival;
        let current = self.lanes.get(&partition).is_some_and(|lane| lane.generation == generation);
        match what {
            _ if !current || round.halts.contains_key(&partition) => {}
            Ok(delivery) => match read(partition, &delivery, self.consumer.newest) {
                Ok(batch) => {
                    sent_at(&delivery).into_iter().for_each(|at| round.sent_at(at));
                    traces::begin(&self.consumer.tracer, &delivery, &batch, round);
                    round.batch(partition, generation, delivery.delivery_tag, batch);
                }
                Err(Unreadable::Newer(why)) => drop(round.halts.insert(partition, Halt::Stop(why))),
                Err(Unreadable::Poison(why)) => match self.bury(partition, &delivery, &why).await {
                    Ok(()) => round.buried(partition, generation, delivery.delivery_tag),
                    Err(_) => drop(round.halts.insert(partition, Halt::Pause)),
                },
            },
            Err(why) => {
                tracing::warn!(%partition, why, "the subscription of partition {partition} ended: {why}");
                round.halts.insert(partition, Halt::Pause);
            }
        }
    }

    /// One transaction, then the acknowledgements it allows.
    async fn settle(&mut self, mut round: Round, stop: &CancellationToken) -> Result<(), BrokerError> {
        let started = Instant::now();
        let report = self.apply(&round.batches, stop).await;
        traces::end(&mut round, report.as_ref());
        let Some(report) = report else { return Ok(()) };
        if !round.batches.is_empty() {
            self.meters.transaction(&report, round.events, started.elapsed());
        }
        for ack in round.acknowledgements(&report.outcomes) {
            if let Some(lane) = self.lanes.get(&ack.partition) {
                lane.acknowledge(self.session, ack.generation, ack.tag).await?;
            }
        }
        for (batch, outcome) in round.batches.iter().zip(&report.outcomes) {
            if *outcome == Outcome::Applied {
                self.going_on(batch.partition);
            }
        }
        round.sent_at.into_iter().for_each(|at| self.meters.age(at, (self.consumer.clock)()));
        for stop in report.stops {
            self.fault(stop).await;
        }
        for (partition, halt) in round.halts {
            match halt {
                Halt::Stop(why) => self.stop(partition, why).await,
                Halt::Pause => self.pause(partition).await,
            }
        }
        Ok(())
    }

    /// Applies until it is known what became of the batches; none if it is time to stop or the session ended before that.
    async fn apply(&self, batches: &[Batch], stop: &CancellationToken) -> Option<Report> {
        if batches.is_empty() {
            return Some(Report::default());
        }
        let mut delays = super::database_delays().build();
        loop {
            let why = match timeout(TRANSACTION_TIMEOUT, projection::apply(&self.consumer.store, batches)).await {
                Ok(Ok(report)) => {
                    self.consumer.status.database(None);
                    return Some(report);
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("the database did not finish within {} s", TRANSACTION_TIMEOUT.as_secs()),
            };
            tracing::warn!(batches = batches.len(), why, "nothing can be written, waiting: {why}");
            self.consumer.status.database(Some(why));
            tokio::select! {
                () = sleep(delays.next().unwrap_or(PAUSE)) => {}
                _ = self.session.ended() => return None,
                () = stop.cancelled() => return None,
            }
        }
    }

    /// A batch could not be applied. The first time it may be an order of delivery that a new subscription puts right.
    async fn fault(&mut self, stop: Stop) {
        let partition = stop.partition();
        match self.lanes.get_mut(&partition) {
            Some(lane) if !lane.suspect => {
                lane.suspect = true;
                tracing::warn!(%partition, error = %stop, "subscribing again: {stop}");
                self.meters.resubscribed();
                lane.close(self.session, Some(Instant::now())).await;
            }
            _ => {
                self.note_gap(&stop).await;
                self.stop(partition, stop.to_string()).await;
            }
        }
    }

    /// Tells the tables what is missing, so that owners and operators know. If that fails, the next look does it.
    async fn note_gap(&self, stop: &Stop) {
        let Some(gap) = stop.gap() else { return };
        match timeout(TRANSACTION_TIMEOUT, self.consumer.store.note_gap(gap, (self.consumer.clock)())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(partition = %gap.partition, %error, "the database was not told what is missing: {error}"),
            Err(_) => tracing::warn!(partition = %gap.partition, "the database was not told in time what is missing"),
        }
    }

    /// Stops a partition loudly. Its messages stay in its log, where another consumer (of a newer release, say) may have them;
    /// now and then this one looks whether somebody has put things right.
    async fn stop(&mut self, partition: PartitionId, why: String) {
        self.meters.stopped(partition, true);
        if self.consumer.status.stopped(partition, why.clone()) {
            tracing::error!(%partition, why, "PARTITION {partition} IS STOPPED, its log is kept and the others go on: {why}");
        }
        let retry_at = Instant::now() + self.consumer.stopped_retry();
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.close(self.session, Some(retry_at)).await;
        }
    }

    fn going_on(&mut self, partition: PartitionId) {
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.suspect = false;
        }
        if self.consumer.status.going_on(partition) {
            tracing::info!(%partition, "partition {partition} goes on");
            self.meters.stopped(partition, false);
        }
    }

    async fn pause(&mut self, partition: PartitionId) {
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.close(self.session, Some(Instant::now() + PAUSE)).await;
        }
    }

    /// Puts a message into the dead-letter queue. If that fails the message stays where it is.
    async fn bury(&mut self, partition: PartitionId, delivery: &Delivery, why: &str) -> Result<(), BrokerError> {
        let buried = self.dead.bury(partition, delivery, why, (self.consumer.clock)()).await;
        match &buried {
            Ok(()) => {
                self.meters.buried();
                tracing::error!(%partition, bytes = delivery.data.len(), why, "a message of partition {partition} is in the dead-letter queue: {why}");
            }
            Err(error) => {
                tracing::warn!(%partition, %error, why, "a message of partition {partition} that cannot be read cannot be buried either: {error}");
            }
        }
        buried
    }
}

impl Consumer {
    fn stopped_retry(&self) -> Duration {
        Duration::from_millis(self.settings.stopped_retry_ms)
    }
}

/// Why a message is no batch for this release.
enum Unreadable {
    /// Another release can read it: it must stay where it is.
    Newer(String),
    /// Nobody can.
    Poison(String),
}

fn read(partition: PartitionId, delivery: &Delivery, newest: LogVersion) -> Result<Batch, Unreadable> {
    match event::decode_up_to(&delivery.data, newest) {
        Ok(batch) if batch.partition == partition => Ok(batch),
        Ok(batch) => Err(Unreadable::Poison(format!("a batch of partition {} in the log of partition {partition}", batch.partition))),
        Err(error) if error.is_of_a_newer_release() => Err(Unreadable::Newer(error.to_string())),
        Err(error) => Err(Unreadable::Poison(error.to_string())),
    }
}

fn sent_at(delivery: &Delivery) -> Option<Timestamp> {
    match delivery.properties.headers().as_ref()?.inner().get(SENT_AT_HEADER)? {
        AMQPValue::LongLongInt(millis) => Timestamp::from_millis(*millis).ok(),
        _ => None,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
