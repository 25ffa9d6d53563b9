//! One task per partition: claim it, begin a term, drain the inbox, append, tell the term what came of it; start over when in
//! doubt (R2). What is answered when is the term's to say.
//!
//! It never appends a batch twice, never has two batches in flight, and never answers what rests on an unconfirmed one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::caller::Answering;
use super::chores::Chores;
use super::inbox::{Inbox, Patience, Request};
use super::metrics::Meters;
use super::pace::Pace;
use super::term::{Bounds, Term};
use super::traces::Traces;
use super::trouble::TroubleNote;
use super::{Board, Busy, Edition, Listing, RecentOrders, Trouble};
use crate::clock::Clock;
use crate::config;
use crate::domain::{CommodityId, Epoch, PartitionId, Timestamp};
use crate::engine::RestoreError;
use crate::event::Batch;
use crate::log::{InDoubt, Log};
use crate::ownership::{Claim, ClaimError, Ownership};

/// The bounds a partition task works within.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Requests waiting in the inbox, at most.
    pub inbox_depth_max: usize,
    /// Requests drained into one batch, at most.
    pub batch_commands_max: usize,
    /// How long after its sale a commodity is closed.
    pub retention: Duration,
    /// How long a confirm may take before it is late: whoever waits for it is told "pending".
    pub append_timeout: Duration,
    /// How long a request may wait in the inbox.
    pub command_timeout: Duration,
    /// The pause before tables that contradict themselves are looked at again.
    pub stopped_retry: Duration,
}

impl From<&config::Partition> for Settings {
    fn from(config: &config::Partition) -> Self {
        Self {
            inbox_depth_max: config.inbox_depth_max,
            batch_commands_max: config.batch_commands_max,
            retention: Duration::from_secs(config.retention_seconds),
            append_timeout: Duration::from_millis(config.append_timeout_ms),
            command_timeout: Duration::from_millis(config.command_timeout_ms),
            stopped_retry: Duration::from_millis(config.stopped_retry_ms),
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
    let recent = Arc::<RecentOrders>::default();
    let (inbox, requests) = Inbox::of_task(settings.inbox_depth_max, patience, Arc::clone(&recent));
    let (serving, trouble) = (inbox.serving_flag(), inbox.trouble_note());
    let meters = Meters::of(partition);
    let task = Task { partition, settings, ownership, board, recent, clock, stop, requests, serving, trouble, meters, under_way: None };
    task.note(None);
    Runner { inbox, task: tokio::spawn(task.run()) }
}

pub(super) struct Task {
    pub(super) partition: PartitionId,
    pub(super) settings: Settings,
    pub(super) ownership: Arc<dyn Ownership>,
    board: Arc<Board>,
    recent: Arc<RecentOrders>,
    clock: Clock,
    pub(super) stop: CancellationToken,
    requests: mpsc::Receiver<Request>,
    serving: Arc<watch::Sender<Option<Epoch>>>,
    trouble: Arc<TroubleNote>,
    pub(super) meters: Meters,
    /// The task's and not the term's: a term that panics leaves it behind, to be seen to its end.
    pub(super) under_way: Option<UnderWay>,
}

/// The append of the batch in flight.
pub(super) struct UnderWay {
    pub(super) append: Append,
    since: Instant,
    /// Whoever waited for it has been answered, and nobody is to wait now.
    is_late: bool,
}

/// Says that an engine serves, and feeds the board, for as long as it lives: also when the task panics.
struct Serving {
    flag: Arc<watch::Sender<Option<Epoch>>>,
    board: Arc<Board>,
    partition: PartitionId,
    epoch: Epoch,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.flag.send_replace(None);
        self.board.withdraw(self.partition, self.epoch);
    }
}

/// Why there is no next term.
pub(super) enum Terms {
    /// We were told to stop.
    Stopped,
    /// The tables hold what cannot be.
    Contradicted(RestoreError),
}

/// Why an engine stopped serving.
enum End {
    /// The batch in flight is in doubt, or the claim is gone: claim again.
    Lost(String),
    /// We were told to stop, and everything is confirmed.
    Stopped,
}

impl Task {
    /// One term after the other.
    pub(super) async fn serve_terms(&mut self) -> Terms {
        while let Some(claim) = self.claim().await {
            let epoch = claim.epoch;
            let (mut office, listings) = match self.begin(claim).await {
                Ok(begun) => begun,
                Err(error) => return Terms::Contradicted(error),
            };
            // After the office, so that it is over before anybody is told that the office is.
            let serving = self.begin_to_serve(&office, listings);
            let end = office.serve(self).await;
            // Only a term that is in doubt leaves one here, and nobody waits for it then.
            self.under_way = None;
            drop(serving);
            drop(office);
            match end {
                End::Stopped => break,
                End::Lost(why) => {
                    self.meters.lost();
                    tracing::warn!(partition = %self.partition, %epoch, why, "starting over: partition {} is in doubt", self.partition);
                }
            }
        }
        Terms::Stopped
    }

    /// Says what is the matter, or that nothing is.
    pub(super) fn note(&self, trouble: Option<Trouble>) {
        self.trouble.note(trouble);
        self.meters.stopped(trouble.is_some());
    }

    /// Builds the engine from what was loaded, and what the board is to show of it: a long piece of work, and not one for a thread that
    /// others wait for.
    fn begin(&self, claim: Claim) -> impl Future<Output = Result<(Office, Vec<Listing>), RestoreError>> + use<> {
        let Claim { epoch, snapshot, log, lost, log_version, applied } = claim;
        let bounds = Bounds { batch_commands_max: self.settings.batch_commands_max, log_version, confirm_is_applied: applied.is_none() };
        let (partition, recent) = (self.partition, Arc::clone(&self.recent));
        let chores = Chores::new(epoch, applied, self.settings.retention);
        let (board, clock) = (Arc::clone(&self.board), self.clock);
        async move {
            let begin = move || {
                let term = Term::begin((partition, epoch), snapshot, bounds, recent)?;
                let listings = term.engine().commodities().cloned().map(Listing::new).collect();
                Ok((term, listings))
            };
            let begun = tokio::task::spawn_blocking(begin).await;
            let (term, listings) = begun.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))?;
            let (closed, traces, pace) = (BTreeSet::new(), Traces::default(), Pace::new());
            let office = Office { partition, term, log, lost, board, clock, chores, closed, traces, pace };
            Ok((office, listings))
        }
    }

    fn begin_to_serve(&self, office: &Office, listings: Vec<Listing>) -> Serving {
        let epoch = office.term.epoch();
        self.note(None);
        self.board.confirm(self.partition, epoch, office.term.sequence());
        self.serving.send_replace(Some(epoch));
        let serving = Serving { flag: Arc::clone(&self.serving), board: Arc::clone(&self.board), partition: self.partition, epoch };
        self.board.turn(self.partition, Edition { epoch, version: 0 }, listings);
        tracing::debug!(partition = %self.partition, %epoch, "serving partition {}", self.partition);
        serving
    }

    /// Claims the partition, for as long as it takes; none when told to stop.
    async fn claim(&mut self) -> Option<Claim> {
        const FIRST_PAUSE: Duration = Duration::from_millis(20);
        const LONGEST_PAUSE: Duration = Duration::from_secs(1);
        /// Whoever holds the lock is leaving or has just died: buyers wait for what follows.
        const LONGEST_PAUSE_FOR_THE_LOCK: Duration = Duration::from_millis(40);
        /// Looking for the broker is not done here: this only asks whether it was found.
        const LONGEST_PAUSE_FOR_THE_LOG: Duration = Duration::from_millis(50);
        let mut pause = FIRST_PAUSE;
        let mut incomplete: Option<String> = None;
        loop {
            let claimed = tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                claimed = self.ownership.claim(self.partition) => claimed,
            };
            let mut told = None;
            if !matches!(claimed, Err(ClaimError::LogIncomplete(_))) && incomplete.take().is_some() {
                self.note(None);
            }
            match claimed {
                Ok(claim) => return Some(claim),
                Err(ClaimError::LogAway(_)) => {
                    pause = pause.min(LONGEST_PAUSE_FOR_THE_LOG);
                    told = Some(Busy::LogAway);
                }
                Err(ClaimError::Taken) => pause = pause.min(LONGEST_PAUSE_FOR_THE_LOCK),
                Err(ClaimError::LogIncomplete(why)) => {
                    if incomplete.as_ref() != Some(&why) {
                        tracing::error!(partition = %self.partition, why, "PARTITION {} IS STOPPED: {why}", self.partition);
                        self.note(Some(Trouble::LogIncomplete));
                    }
                    (incomplete, pause, told) = (Some(why), LONGEST_PAUSE, Some(Busy::Unavailable));
                }
                // Whoever connects says it, once for all partitions.
                Err(ClaimError::Disconnected(_)) => pause = pause.min(LONGEST_PAUSE_FOR_THE_LOG),
                Err(error @ ClaimError::Unavailable(_)) => {
                    tracing::warn!(partition = %self.partition, %error, "cannot claim partition {} yet", self.partition);
                }
            }
            self.rest(Instant::now() + pause, told).await?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Lets the time pass; none when told to stop. Where it is no use to wait whoever asks is `told` so: while there is no log (R9), say.
    pub(super) async fn rest(&mut self, until: Instant, told: Option<Busy>) -> Option<()> {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                () = sleep_until(until) => return Some(()),
                Some(request) = self.requests.recv(), if told.is_some() => request.turn_away(told.expect("checked")),
            }
        }
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        self.term.end();
    }
}

/// How long requests gather in the inbox while a batch is in flight. To be woken for each costs more than to decide it; an order
/// waits for the batch after it anyway, and a refusal so much longer.
const GATHER: Duration = Duration::from_millis(1);

pub(super) type Append = BoxFuture<'static, Result<(), InDoubt>>;

/// What the task woke up for.
enum Wake {
    Confirm(Result<(), InDoubt>),
    Lost,
    Late,
    Requests(usize),
    LookAgain,
    Expiry,
    Chore,
    Stop,
}

/// The shell around a term: its log, its clock and the board. Whoever still waits is answered when it ends, however it does.
struct Office {
    partition: PartitionId,
    term: Term<Answering>,
    log: Arc<dyn Log>,
    lost: CancellationToken,
    board: Arc<Board>,
    clock: Clock,
    chores: Chores,
    /// Commodities that the board shows as closed.
    closed: BTreeSet<CommodityId>,
    /// Of the batch being gathered.
    traces: Traces,
    /// Of holds that are let go.
    pace: Pace,
}

impl Office {
    async fn serve(&mut self, task: &mut Task) -> End {
        let mut drained = Vec::with_capacity(task.settings.batch_commands_max);
        let mut inbox_open = true;
        let mut look_again: Option<Instant> = None;
        loop {
            if let Some(batch) = self.term.next_batch() {
                task.meters.sent(batch.events.len());
                self.pace.sent();
                task.under_way = Some(UnderWay { append: self.append(batch), since: Instant::now(), is_late: false });
            }
            if !inbox_open && task.under_way.is_none() {
                return End::Stopped;
            }
            let is_late = task.under_way.as_ref().is_some_and(|under_way| under_way.is_late);
            if is_late && task.stop.is_cancelled() {
                // Nobody waits for it, and the next owner is not to either.
                return End::Lost("told to stop while a confirm was late".into());
            }
            let room = match (inbox_open, is_late) {
                (false, _) => 0,
                (true, true) => task.settings.batch_commands_max,
                (true, false) => self.term.room(),
            };
            match self.wake(task, (&mut drained, room), look_again).await {
                Wake::Confirm(Ok(())) => {
                    let UnderWay { since, .. } = task.under_way.take().expect("a confirm belongs to an append");
                    task.meters.confirmed(since.elapsed());
                    self.pace.confirmed(since.elapsed());
                    self.term.confirmed();
                    self.board.confirm(self.partition, self.term.epoch(), self.term.sequence());
                    look_again = None;
                    self.take_what_came(task, &mut drained);
                }
                Wake::Confirm(Err(InDoubt(why))) => return End::Lost(why),
                Wake::Lost => return End::Lost("the claim is gone".into()),
                Wake::Late => {
                    let bound_ms = task.settings.append_timeout.as_millis();
                    tracing::debug!(partition = %self.partition, bound_ms, "partition {} has no confirm within {bound_ms} ms", self.partition);
                    task.under_way.as_mut().expect("what is late is under way").is_late = true;
                    task.meters.late();
                    self.term.late();
                }
                Wake::Requests(0) => inbox_open = false,
                // Nobody can accept anything while the broker does not answer, and everyone is told so at once (R9).
                Wake::Requests(_) if is_late => drained.drain(..).for_each(|request| request.turn_away(Busy::LogAway)),
                Wake::Requests(_) => {
                    self.take_all(&mut drained, &task.meters);
                    look_again = task.under_way.is_some().then(|| Instant::now() + GATHER);
                }
                Wake::LookAgain => look_again = None,
                Wake::Expiry => {
                    let first = self.term.gathered().len();
                    self.term.expire((self.clock)(), self.pace.now(task.settings.batch_commands_max));
                    if self.term.gathered().len() > first {
                        self.pace.let_go();
                    }
                    self.publish(first);
                    // Beside what is let go orders have their turn.
                    self.take_what_came(task, &mut drained);
                }
                Wake::Chore if self.chores.is_overtaken() => {
                    tracing::error!(partition = %self.partition, "a later epoch of partition {} is in the tables", self.partition);
                    return End::Lost("a later epoch is in the tables".into());
                }
                Wake::Chore => {
                    let first = self.term.gathered().len();
                    self.chores.work(&mut self.term, (self.clock)());
                    self.publish(first);
                    self.hide_history();
                    // Between two pieces of a long chore orders have their turn.
                    self.take_what_came(task, &mut drained);
                }
                Wake::Stop => task.requests.close(),
            }
        }
    }

    async fn wake(&mut self, task: &mut Task, (drained, room): (&mut Vec<Request>, usize), look_again: Option<Instant>) -> Wake {
        let Task { requests, stop, under_way, settings, .. } = task;
        let is_late = under_way.as_ref().is_some_and(|under_way| under_way.is_late);
        let late_at = under_way.as_ref().filter(|_| !is_late).map(|under_way| under_way.since + settings.append_timeout);
        let may_let_go = self.pace.now(settings.batch_commands_max) > 0;
        let expiry = self.term.engine().next_expiry().filter(|_| may_let_go).map(|at| self.nap_until(at));
        let Self { lost, chores, .. } = self;
        tokio::select! {
            biased;
            result = async { under_way.as_mut().expect("checked").append.as_mut().await }, if under_way.is_some() => Wake::Confirm(result),
            () = lost.cancelled() => Wake::Lost,
            () = async { sleep_until(late_at.expect("checked")).await }, if late_at.is_some() => Wake::Late,
            () = async { sleep_until(expiry.expect("checked")).await }, if expiry.is_some() && room > 0 && !is_late => Wake::Expiry,
            () = chores.due(), if room > 0 && !is_late => Wake::Chore,
            () = stop.cancelled(), if !requests.is_closed() => Wake::Stop,
            () = async { sleep_until(look_again.expect("checked")).await }, if look_again.is_some() => Wake::LookAgain,
            count = requests.recv_many(drained, room), if room > 0 && look_again.is_none() => Wake::Requests(count),
        }
    }

    /// When to look at the holds again: at `at`, but within a second, because the wall clock may jump meanwhile.
    fn nap_until(&self, at: Timestamp) -> Instant {
        let millis = at.millis().saturating_sub((self.clock)().millis()).clamp(0, 1_000);
        Instant::now() + Duration::from_millis(millis as u64)
    }

    fn append(&mut self, batch: Batch) -> Append {
        let log = Arc::clone(&self.log);
        let sent = self.traces.sent(&batch);
        Box::pin(async move {
            let result = log.append_traced(batch, sent.contexts()).await;
            sent.ended(&result);
            result
        })
    }

    fn take_what_came(&mut self, task: &mut Task, drained: &mut Vec<Request>) {
        while drained.len() < self.term.room()
            && let Ok(request) = task.requests.try_recv()
        {
            drained.push(request);
        }
        self.take_all(drained, &task.meters);
    }

    fn take_all(&mut self, drained: &mut Vec<Request>, meters: &Meters) {
        if drained.is_empty() {
            return;
        }
        let first = self.term.gathered().len();
        meters.drained(drained.len());
        drained.drain(..).for_each(|request| self.take_up(request));
        self.publish(first);
    }

    fn take_up(&mut self, request: Request) {
        match request {
            Request::Command(command, span, caller) => {
                if let Some(caller) = caller.take_to_decide() {
                    let first = self.term.gathered().len();
                    self.term.command((self.clock)(), command, caller);
                    if let Some(span) = span {
                        self.traces.decided(span, &self.term.gathered()[first..]);
                    }
                }
            }
            // Asked of links to other nodes alone.
            Request::Lookup(_, caller) => drop(caller.take()),
            Request::OrdersOf(_, caller) => drop(caller.take()),
        }
    }

    /// Shows on the board what the events from `first` on have changed.
    fn publish(&mut self, first: usize) {
        let epoch = self.term.epoch();
        for id in self.term.touched(first) {
            match self.term.engine().shown(id) {
                Some(commodity) => {
                    if commodity.closed_at.is_some() {
                        self.closed.insert(id);
                    }
                    self.board.show(self.partition, epoch, commodity.clone());
                }
                None => self.board.hide(self.partition, epoch, id),
            }
        }
    }

    /// Takes off the board what the tables have as closed.
    fn hide_history(&mut self) {
        let Self { partition, closed, term, board, .. } = self;
        closed.retain(|id| {
            let is_shown = term.engine().shown(*id).is_some();
            if !is_shown {
                board.hide(*partition, term.epoch(), *id);
            }
            is_shown
        });
    }
}

#[cfg(test)]
mod tests;
