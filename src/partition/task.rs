//! One task per partition: claim it, restore its engine, drain the inbox, append, answer; start over when in doubt (R2).
//!
//! It never appends a batch twice, never has two batches in flight, and never answers what rests on an unconfirmed one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::batch::{Gathered, Waiter};
use super::inbox::{Caller, Inbox, Patience, Request};
use super::metrics::Meters;
use super::{Board, Reply, Sighting};
use crate::clock::Clock;
use crate::config;
use crate::domain::{CommodityId, Epoch, PartitionId, Sequence, Timestamp};
use crate::engine::{Answer, Command, Engine, Refusal, RestoreError};
use crate::event::{Batch, Event};
use crate::log::{InDoubt, Log};
use crate::ownership::{Claim, ClaimError, Ownership};

/// The bounds a partition task works within.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Requests waiting in the inbox, at most.
    pub inbox_depth_max: usize,
    /// Requests drained into one batch, at most.
    pub batch_commands_max: usize,
    /// Ended orders the engine remembers, at most.
    pub ended_orders_max: usize,
    /// How long a confirm may take before the batch is in doubt.
    pub append_timeout: Duration,
    /// How long a request may wait in the inbox.
    pub command_timeout: Duration,
}

impl From<&config::Partition> for Settings {
    fn from(config: &config::Partition) -> Self {
        Self {
            inbox_depth_max: config.inbox_depth_max,
            batch_commands_max: config.batch_commands_max,
            ended_orders_max: config.ended_orders_max,
            append_timeout: Duration::from_millis(config.append_timeout_ms),
            command_timeout: Duration::from_millis(config.command_timeout_ms),
        }
    }
}

/// A running partition task.
#[derive(Debug)]
pub struct Runner {
    /// The way in.
    pub inbox: Inbox,
    task: JoinHandle<()>,
}

impl Runner {
    /// Waits until the task has flushed, been confirmed and released its partition. Whoever calls this has cancelled
    /// the token given to [`spawn`].
    pub async fn stopped(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "a partition task ended abnormally");
        }
    }
}

/// Starts the task of a partition; it runs until `stop` is cancelled.
pub fn spawn(
    partition: PartitionId,
    settings: Settings,
    ownership: Arc<dyn Ownership>,
    board: Arc<Board>,
    clock: Clock,
    stop: CancellationToken,
) -> Runner {
    let patience = Patience { in_inbox: settings.command_timeout, in_task: settings.append_timeout * 3 };
    let (inbox, requests) = Inbox::new(settings.inbox_depth_max, patience);
    let serving = inbox.serving_flag();
    let task = Task { partition, settings, ownership, board, clock, stop, requests, serving, meters: Meters::of(partition) };
    Runner { inbox, task: tokio::spawn(task.run()) }
}

struct Task {
    partition: PartitionId,
    settings: Settings,
    ownership: Arc<dyn Ownership>,
    board: Arc<Board>,
    clock: Clock,
    stop: CancellationToken,
    requests: mpsc::Receiver<Request>,
    serving: Arc<watch::Sender<Option<Epoch>>>,
    meters: Meters,
}

/// Says that an engine serves, for as long as it lives: also when the task panics.
struct Serving(Arc<watch::Sender<Option<Epoch>>>);

impl Serving {
    fn begin(flag: &Arc<watch::Sender<Option<Epoch>>>, epoch: Epoch) -> Self {
        flag.send_replace(Some(epoch));
        Self(Arc::clone(flag))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}

/// Why an engine stopped serving.
enum End {
    /// The batch in flight is in doubt, or the claim is gone: claim again.
    Lost(String),
    /// We were told to stop, and everything is confirmed.
    Stopped,
}

impl Task {
    async fn run(mut self) {
        while let Some(claim) = self.claim().await {
            let epoch = claim.epoch;
            let mut term = match Term::begin(self.partition, claim, &self.settings, &self.board, self.clock) {
                Ok(term) => term,
                Err(error) => {
                    tracing::error!(partition = %self.partition, %epoch, %error, "the partition is stopped: its tables contradict themselves");
                    break;
                }
            };
            let serving = Serving::begin(&self.serving, epoch);
            self.board.turn(self.partition, epoch, term.engine.commodities().cloned());
            tracing::debug!(partition = %self.partition, %epoch, "serving partition {}", self.partition);
            let end = term.serve(&mut self.requests, &self.stop, &self.settings, &self.meters).await;
            drop(serving);
            self.board.withdraw(self.partition, epoch);
            term.end();
            match end {
                End::Stopped => break,
                End::Lost(why) => {
                    self.meters.lost();
                    tracing::warn!(partition = %self.partition, %epoch, why, "starting over: partition {} is in doubt", self.partition);
                }
            }
        }
        self.ownership.release(self.partition).await;
    }

    /// Claims the partition, for as long as it takes; none when told to stop.
    async fn claim(&self) -> Option<Claim> {
        const FIRST_PAUSE: Duration = Duration::from_millis(20);
        const LONGEST_PAUSE: Duration = Duration::from_secs(1);
        /// Whoever holds the lock is leaving or has just died: buyers wait for what follows.
        const LONGEST_PAUSE_FOR_THE_LOCK: Duration = Duration::from_millis(40);
        let mut pause = FIRST_PAUSE;
        loop {
            let claimed = tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                claimed = self.ownership.claim(self.partition) => claimed,
            };
            match claimed {
                Ok(claim) => return Some(claim),
                Err(ClaimError::Taken) => pause = pause.min(LONGEST_PAUSE_FOR_THE_LOCK),
                Err(error @ ClaimError::Unavailable(_)) => {
                    tracing::warn!(partition = %self.partition, %error, "cannot claim partition {} yet", self.partition);
                }
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                () = sleep_until(Instant::now() + pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

type Append = BoxFuture<'static, Result<(), InDoubt>>;

/// One epoch of one owner: the engine, the batch being gathered and the one in flight.
struct Term {
    partition: PartitionId,
    epoch: Epoch,
    engine: Engine,
    log: Arc<dyn Log>,
    lost: CancellationToken,
    board: Arc<Board>,
    clock: Clock,
    sequence: Sequence,
    gathered: Gathered,
    /// Who waits for the batch in flight; none = nothing is in flight.
    in_flight: Option<Vec<Waiter>>,
}

/// What the task woke up for.
enum Wake {
    Confirm(Result<(), InDoubt>),
    Lost,
    Requests(usize),
    Expiry,
    Stop,
}

impl Term {
    fn begin(partition: PartitionId, claim: Claim, settings: &Settings, board: &Arc<Board>, clock: Clock) -> Result<Self, RestoreError> {
        let engine = Engine::restore(partition, claim.epoch, claim.snapshot, settings.ended_orders_max)?;
        Ok(Self {
            partition,
            epoch: claim.epoch,
            engine,
            log: claim.log,
            lost: claim.lost,
            board: Arc::clone(board),
            clock,
            sequence: Sequence::FENCE,
            gathered: Gathered::default(),
            in_flight: None,
        })
    }

    async fn serve(
        &mut self,
        requests: &mut mpsc::Receiver<Request>,
        stop: &CancellationToken,
        settings: &Settings,
        meters: &Meters,
    ) -> End {
        let mut drained = Vec::with_capacity(settings.batch_commands_max);
        let mut append: Option<(Append, Instant)> = None;
        let mut inbox_open = true;
        loop {
            if append.is_none() && !self.gathered.events.is_empty() {
                append = Some((self.send(settings.append_timeout, meters), Instant::now()));
            }
            if !inbox_open && append.is_none() {
                return End::Stopped;
            }
            let room = if inbox_open { self.room(settings.batch_commands_max) } else { 0 };
            match self.wake(requests, stop, &mut append, &mut drained, room).await {
                Wake::Confirm(Ok(())) => {
                    let (_, sent) = append.take().expect("a confirm belongs to an append");
                    meters.confirmed(sent.elapsed());
                    self.in_flight.take().into_iter().flatten().for_each(Waiter::confirmed);
                }
                Wake::Confirm(Err(InDoubt(why))) => return End::Lost(why),
                Wake::Lost => return End::Lost("the claim is gone".into()),
                Wake::Requests(0) => inbox_open = false,
                Wake::Requests(_) => {
                    let first = self.gathered.events.len();
                    meters.drained(drained.len(), requests.len());
                    drained.drain(..).for_each(|request| self.take_up(request));
                    self.publish(first);
                }
                Wake::Expiry => self.expire(settings.batch_commands_max),
                Wake::Stop => requests.close(),
            }
        }
    }

    /// How many more requests may be taken up before a batch is confirmed.
    fn room(&self, batch_commands_max: usize) -> usize {
        let gathered = self.gathered.waiting.len().max(self.gathered.events.len());
        let behind = self.in_flight.as_ref().map_or(0, Vec::len).saturating_sub(batch_commands_max);
        batch_commands_max.saturating_sub(gathered.max(behind))
    }

    async fn wake(
        &self,
        requests: &mut mpsc::Receiver<Request>,
        stop: &CancellationToken,
        append: &mut Option<(Append, Instant)>,
        drained: &mut Vec<Request>,
        room: usize,
    ) -> Wake {
        let expiry = self.engine.next_expiry().map(|at| self.nap_until(at));
        tokio::select! {
            biased;
            result = async { append.as_mut().expect("checked").0.as_mut().await }, if append.is_some() => Wake::Confirm(result),
            () = self.lost.cancelled() => Wake::Lost,
            () = async { sleep_until(expiry.expect("checked")).await }, if expiry.is_some() && room > 0 => Wake::Expiry,
            () = stop.cancelled(), if !requests.is_closed() => Wake::Stop,
            count = requests.recv_many(drained, room), if room > 0 => Wake::Requests(count),
        }
    }

    /// When to look at the holds again: at `at`, but within a second, because the wall clock may jump meanwhile.
    fn nap_until(&self, at: Timestamp) -> Instant {
        let millis = at.millis().saturating_sub((self.clock)().millis()).clamp(0, 1_000);
        Instant::now() + Duration::from_millis(millis as u64)
    }

    /// Makes the gathered events the batch in flight.
    fn send(&mut self, bound: Duration, meters: &Meters) -> Append {
        let gathered = std::mem::take(&mut self.gathered);
        self.sequence = self.sequence.next();
        self.in_flight = Some(gathered.waiting);
        meters.sent(gathered.events.len());
        let batch = Batch { partition: self.partition, epoch: self.epoch, sequence: self.sequence, events: gathered.events };
        let log = Arc::clone(&self.log);
        Box::pin(
            async move { timeout(bound, log.append(batch)).await.unwrap_or_else(|_| Err(InDoubt(format!("no confirm within {bound:?}")))) },
        )
    }

    fn take_up(&mut self, request: Request) {
        match request {
            Request::Command(command, caller) => self.decide(command, caller),
            Request::Lookup(order, caller) => {
                let Some(sender) = caller.take() else { return };
                let sighting = match self.engine.order(order) {
                    Some(order) => Sighting::Known(order),
                    None => Sighting::Unknown { epoch: self.epoch, next_number: self.engine.next_number() },
                };
                self.answer_when_true(Waiter::Lookup(sender, sighting));
            }
        }
    }

    fn decide(&mut self, command: Command, caller: Caller<Reply>) {
        let Some(sender) = caller.take() else { return };
        let placing = matches!(command, Command::Place(_));
        match self.engine.apply((self.clock)(), command, &mut self.gathered.events) {
            // What a buyer was refused for may rest on orders in flight; the refusal of this request stays true anyway.
            Err(refusal) if placing && refusal != Refusal::IdempotencyMismatch => drop(sender.send(Reply::Refused(refusal))),
            Err(refusal) => self.answer_when_true(Waiter::Command(sender, Reply::Refused(refusal))),
            Ok(answer) => self.answer_when_true(Waiter::Command(sender, Reply::Done(answer))),
        }
    }

    /// Lets an answer wait for the newest batch that is not confirmed yet; answers now if there is none (R1).
    fn answer_when_true(&mut self, waiter: Waiter) {
        if !self.gathered.events.is_empty() {
            self.gathered.waiting.push(waiter);
        } else if let Some(in_flight) = &mut self.in_flight {
            in_flight.push(waiter);
        } else {
            waiter.confirmed();
        }
    }

    fn expire(&mut self, at_most: usize) {
        let first = self.gathered.events.len();
        let expired = self.engine.apply((self.clock)(), Command::Expire { at_most }, &mut self.gathered.events);
        debug_assert!(matches!(expired, Ok(Answer::Expired(_))));
        self.publish(first);
    }

    /// Shows on the board what the events from `first` on have changed.
    fn publish(&self, first: usize) {
        let mut touched: Vec<CommodityId> = self.gathered.events[first..].iter().filter_map(Event::commodity).collect();
        touched.sort_unstable();
        touched.dedup();
        for commodity in touched {
            match self.engine.commodity(commodity) {
                Some(commodity) => self.board.show(self.partition, commodity.clone()),
                None => self.board.hide(commodity),
            }
        }
    }

    /// Answers everyone who still waits, when this term will confirm nothing more.
    fn end(self) {
        self.in_flight.into_iter().flatten().for_each(Waiter::in_doubt);
        self.gathered.waiting.into_iter().for_each(Waiter::never_sent);
    }
}

impl Event {
    /// The commodity whose state the event changed.
    fn commodity(&self) -> Option<CommodityId> {
        match self {
            Self::Listed(commodity) => Some(commodity.id),
            Self::Changed { commodity, .. }
            | Self::Restocked { commodity, .. }
            | Self::Paused { commodity, .. }
            | Self::Ended { commodity, .. }
            | Self::Removed { commodity, .. }
            | Self::Moved { commodity, .. } => Some(*commodity),
            Self::Placed { order, .. } => Some(order.commodity),
            Self::KeyForgotten { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
