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
use super::lane::{Arrival, Lane, Need, Taken, Terms};
use super::meters::Meters;
use super::round::{Halt, Round};
use super::search::{STANDS_BY, turn};
use super::traces;
use crate::broker::{BrokerError, Publisher, Session};
use crate::domain::{PartitionId, Timestamp};
use crate::event::{self, Batch, LogVersion, Unwritable};
use crate::log::SENT_AT_HEADER;
use crate::projection::{self, Missing, Outcome, Position, Report, Stop};
use crate::store::StoreError;

/// Deliveries between the subscriptions and the pump, at most; the rest waits where the prefetch bounds it.
const ARRIVALS_MAX: usize = 1024;
/// The pause before a subscription that ended by itself, or could not be served, is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long one transaction may take before it is given up and done again (which is safe: see the projection).
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the database may take to say how far a partition is that is stopped. Nothing is applied meanwhile.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Pump<'a> {
    consumer: &'a Consumer,
    session: &'a Session,
    publisher: &'a mut Publisher,
    terms: Terms,
    arrivals: mpsc::Receiver<Arrival>,
    lanes: BTreeMap<PartitionId, Lane>,
    /// Somebody waits for their turn to look through a log: when to ask again.
    turn_at: Option<Instant>,
    meters: Meters,
}

impl<'a> Pump<'a> {
    pub(super) fn new(consumer: &'a Consumer, session: &'a Arc<Session>, publisher: &'a mut Publisher) -> Self {
        let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let partitions = consumer.store.partitions();
        let now = Instant::now();
        Self {
            consumer,
            session,
            publisher,
            terms: Terms {
                session: Arc::clone(session),
                topology: consumer.broker.topology().clone(),
                seed: xxhash_rust::xxh3::xxh3_64(consumer.name.as_bytes()),
                arrivals: sender,
            },
            arrivals,
            lanes: partitions.iter().map(|partition| (partition, Lane::new(partition, consumer.settings.prefetch, now))).collect(),
            turn_at: None,
            meters: Meters::new(partitions),
        }
    }

    /// Consumes until `stop` (`Ok`: what was begun is finished and acknowledged) or until the session ends.
    pub(super) async fn run(mut self, stop: &CancellationToken) -> Result<(), BrokerError> {
        loop {
            self.open_due().await?;
            self.look_again().await;
            let due = self.lanes.values().filter_map(Lane::due).chain(self.turn_at).min();
            let is_ready = self.lanes.values().any(Lane::is_ready);
            let arrival = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                why = self.session.ended() => return Err(why.into()),
                () = until(due) => None,
                Some(arrival) = self.arrivals.recv() => Some(arrival),
                () = std::future::ready(()), if is_ready => None,
            };
            // What is due may be that something did not come, and it may have come meanwhile.
            let arrival = arrival.or_else(|| self.arrivals.try_recv().ok());
            let round = self.gather(arrival, stop).await;
            self.settle(round, stop).await?;
            if !stop.is_cancelled() {
                self.see_to().await;
            }
        }
        for lane in self.lanes.values_mut() {
            lane.close(self.session, None).await;
        }
        Ok(())
    }

    async fn open_due(&mut self) -> Result<(), BrokerError> {
        let (now, mut readable) = (Instant::now(), Vec::new());
        for lane in self.lanes.values_mut().filter(|lane| lane.retry_at.is_some_and(|at| at <= now)) {
            match lane.open(&self.terms).await {
                Ok(()) if self.consumer.status.was_refused(lane.partition) => readable.push(lane.partition),
                // It may be another consumer that reads it now, and puts right what was the matter.
                Ok(()) if self.consumer.status.is_stopped(lane.partition) => lane.look_at = Some(now),
                Ok(()) => {}
                Err(error @ (BrokerError::Refused(_) | BrokerError::Missing(_) | BrokerError::Locked)) => {
                    // Of this queue alone: somebody deleted it, or took the right to read it.
                    self.consumer.status.refused(lane.partition, error.to_string());
                    tracing::error!(partition = %lane.partition, %error, "partition {} cannot be consumed: {error}", lane.partition);
                    lane.retry_at = Some(now + self.consumer.stopped_retry());
                }
                Err(error) => return Err(error),
            }
        }
        readable.into_iter().for_each(|partition| self.going_on(partition));
        Ok(())
    }

    /// What is left of earlier rounds, and whatever is here by now, within the bound of a transaction.
    async fn gather(&mut self, first: Option<Arrival>, stop: &CancellationToken) -> Round {
        let mut round = Round::default();
        let partitions: Vec<PartitionId> = self.lanes.values().filter(|lane| lane.is_ready()).map(|lane| lane.partition).collect();
        partitions.into_iter().for_each(|partition| self.fill(&mut round, partition));
        let mut arrival = first;
        while let Some(next) = arrival {
            let partition = next.partition;
            self.take(&mut round, next, stop).await;
            self.fill(&mut round, partition);
            arrival = if self.is_full(&round) { None } else { self.arrivals.try_recv().ok() };
        }
        round
    }

    fn is_full(&self, round: &Round) -> bool {
        round.weight() >= self.consumer.settings.transaction_events_max
    }

    /// Brings what is next of a partition into the round.
    fn fill(&mut self, round: &mut Round, partition: PartitionId) {
        while !self.is_full(round) {
            let Some(lane) = self.lanes.get_mut(&partition) else { return };
            let Some(Taken { tag, batch, sent_at, traces }) = lane.pop() else { return };
            sent_at.into_iter().for_each(|at| round.sent_at(at));
            traces::begin(&self.consumer.tracer, &traces, &batch, round);
            round.batch((partition, lane.generation), tag, batch);
        }
    }

    async fn take(&mut self, round: &mut Round, arrival: Arrival, stop: &CancellationToken) {
        let Arrival { partition, generation, what } = arrival;
        let Some(lane) = self.lanes.get(&partition).filter(|lane| lane.generation == generation) else { return };
        if round.halts.contains_key(&partition) {
            return;
        }
        let has_begun = lane.has_begun();
        let delivery = match what {
            Ok(delivery) => delivery,
            Err(why) => {
                tracing::warn!(%partition, why, "the subscription of partition {partition} ended: {why}");
                round.halts.insert(partition, Halt::Pause);
                return;
            }
        };
        // Only now: while this consumer stood by, another one moved it.
        let position = if has_begun { None } else { self.position(partition, stop).await };
        let Some(lane) = self.lanes.get_mut(&partition).filter(|_| has_begun || position.is_some()) else { return };
        position.into_iter().for_each(|position| lane.begin(position));
        lane.came(&delivery, Instant::now());
        match read(partition, &delivery, self.consumer.newest) {
            Ok(batch) => {
                let traces = traces::contexts(&self.consumer.tracer, &delivery);
                lane.take(Taken { tag: delivery.delivery_tag, batch, sent_at: sent_at(&delivery), traces }, delivery.redelivered);
            }
            Err(Unreadable::Newer(why)) => drop(round.halts.insert(partition, Halt::Stop(why))),
            Err(Unreadable::Poison(why)) => match self.bury(partition, &delivery, &why).await {
                Ok(()) => round.buried((partition, generation), delivery.delivery_tag),
                Err(_) => drop(round.halts.insert(partition, Halt::Pause)),
            },
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
        for ((partition, generation), done) in round.done(&report.outcomes) {
            if let Some(lane) = self.lanes.get_mut(&partition) {
                lane.acknowledge(self.session, generation, &done).await?;
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

    /// Gives each partition what it needs to go on.
    async fn see_to(&mut self) {
        let now = Instant::now();
        let configured = self.consumer.settings.prefetch;
        let needs = self.lanes.values_mut().map(|lane| (lane.partition, lane.need(configured, now)));
        self.turn_at = None;
        let mut wanted = Vec::new();
        for (partition, need) in needs.filter(|(_, need)| *need != Need::Nothing).collect::<Vec<_>>() {
            match need {
                Need::Nothing => {}
                Need::Prefetch(prefetch) if prefetch > configured => wanted.push((partition, prefetch)),
                Need::Prefetch(prefetch) => self.subscribe_with(partition, prefetch).await,
                Need::Marker => self.mark(partition).await,
                // It may be among what came while others were seen to.
                Need::Again(_) if !self.arrivals.is_empty() => {}
                Need::Again(why) => self.again(partition, why).await,
                Need::Stop(why) => self.stop(partition, why).await,
            }
        }
        // Last: who waits for their turn waits for one that has just had it, and nothing else may come that they are asked after.
        for (partition, prefetch) in wanted {
            self.widen(partition, prefetch).await;
        }
    }

    /// Looks whether partitions that are stopped here have been put right elsewhere.
    async fn look_again(&mut self) {
        let now = Instant::now();
        let due = self.lanes.values().filter(|lane| lane.look_at.is_some_and(|at| at <= now));
        for partition in due.map(|lane| lane.partition).collect::<Vec<_>>() {
            let is_well = self.has_moved(partition).await;
            if let Some(lane) = self.lanes.get_mut(&partition) {
                lane.look_at = Some(Instant::now() + self.consumer.stopped_retry());
            }
            if is_well {
                self.going_on(partition);
            }
        }
    }

    /// Whether the tables are further than they were when a partition stopped; notes where they are, if that is not known.
    async fn has_moved(&self, partition: PartitionId) -> bool {
        match timeout(LOOK_TIMEOUT, self.consumer.store.applied(partition)).await {
            Ok(Ok((epoch, sequence))) => self.consumer.status.has_moved(partition, Position { epoch, sequence }),
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Another subscription, with a larger prefetch if no other partition has one: what all of them hold together is bounded.
    async fn widen(&mut self, partition: PartitionId, prefetch: u16) {
        let configured = self.consumer.settings.prefetch;
        let now = Instant::now();
        let others = self.lanes.values().filter(|lane| lane.partition != partition).map(|lane| (lane.partition, lane.share(now)));
        let Some(standing_by) = turn(configured, others) else {
            // It takes nothing more until then.
            self.turn_at = Some(now + STANDS_BY);
            return;
        };
        for other in standing_by {
            self.subscribe_with(other, configured).await;
        }
        self.subscribe_with(partition, prefetch).await;
    }

    async fn subscribe_with(&mut self, partition: PartitionId, prefetch: u16) {
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        tracing::info!(%partition, prefetch, "partition {partition} is subscribed to with a prefetch of {prefetch}");
        lane.set_prefetch(prefetch);
        self.meters.resubscribed();
        lane.close(self.session, Some(Instant::now())).await;
    }

    /// Nothing comes any more. The first time a new subscription may put that right.
    async fn again(&mut self, partition: PartitionId, why: String) {
        match self.lanes.get_mut(&partition) {
            Some(lane) if !lane.suspect => {
                lane.suspect = true;
                tracing::warn!(%partition, why, "subscribing again: {why}");
                self.pause(partition).await;
            }
            Some(_) | None => self.stop(partition, why).await,
        }
    }

    /// Writes a marker to the end of a log.
    async fn mark(&mut self, partition: PartitionId) {
        let marked = match marker(partition) {
            Ok(marker) => self.publisher.append(partition, &marker).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match marked {
            Ok(()) => self.lanes.get_mut(&partition).into_iter().for_each(|lane| lane.marked(Instant::now())),
            Err(why) => {
                let why = format!("what is missing in the log of partition {partition} cannot be looked for: {why}");
                self.stop_until(partition, why, Instant::now() + PAUSE).await;
            }
        }
    }

    /// Applies until it is known what became of the batches; none if it is time to stop or the session ended before that.
    async fn apply(&self, batches: &[Batch], stop: &CancellationToken) -> Option<Report> {
        if batches.is_empty() {
            return Some(Report::default());
        }
        self.insist(|| projection::apply(&self.consumer.store, batches), stop).await
    }

    /// Where the projection of a partition is; none as above.
    async fn position(&self, partition: PartitionId, stop: &CancellationToken) -> Option<Position> {
        let (epoch, sequence) = self.insist(|| self.consumer.store.applied(partition), stop).await?;
        Some(Position { epoch, sequence })
    }

    async fn insist<T, F: Future<Output = Result<T, StoreError>>>(&self, ask: impl Fn() -> F, stop: &CancellationToken) -> Option<T> {
        let mut delays = super::database_delays().build();
        loop {
            let why = match timeout(TRANSACTION_TIMEOUT, ask()).await {
                Ok(Ok(answer)) => {
                    self.consumer.status.database(None);
                    return Some(answer);
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("the database did not finish within {} s", TRANSACTION_TIMEOUT.as_secs()),
            };
            tracing::warn!(why, "nothing can be written, waiting: {why}");
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
            Some(lane) => {
                let why = reason(&stop, lane.looked_at());
                self.note_gap(&stop).await;
                self.stop(partition, why).await;
            }
            None => self.stop(partition, stop.to_string()).await,
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
        let retry_at = Instant::now() + self.consumer.stopped_retry();
        self.stop_until(partition, why, retry_at).await;
    }

    async fn stop_until(&mut self, partition: PartitionId, why: String, retry_at: Instant) {
        self.meters.stopped(partition, true);
        if self.consumer.status.stopped(partition, why.clone()) {
            tracing::error!(%partition, why, "PARTITION {partition} IS STOPPED, its log is kept and the others go on: {why}");
        }
        // Where it stands is noted while nobody else reads the log.
        self.has_moved(partition).await;
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.set_prefetch(self.consumer.settings.prefetch);
            lane.close(self.session, Some(retry_at)).await;
        }
    }

    fn going_on(&mut self, partition: PartitionId) {
        if let Some(lane) = self.lanes.get_mut(&partition) {
            (lane.suspect, lane.look_at) = (false, None);
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
        let buried = self.publisher.bury(partition, delivery, why, (self.consumer.clock)()).await;
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

/// In the oldest form: releases side by side skip it alike.
fn marker(partition: PartitionId) -> Result<Vec<u8>, Unwritable> {
    event::encode(&Batch::marker(partition), LogVersion::OLDEST)
}

/// Why a partition stopped, when that many messages of its log had been looked at.
fn reason(stop: &Stop, looked_at: u64) -> String {
    match stop {
        Stop::Gap { expected, found, .. } => {
            let missing = Missing { expected: *expected, found: *found };
            format!("{stop}: {missing} is not in the log, of which {looked_at} messages were looked at")
        }
        Stop::Lost { .. } => format!("{stop}, of which {looked_at} messages were looked at"),
        Stop::Stranger { .. } | Stop::Unknown { .. } | Stop::Broken { .. } => stop.to_string(),
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
