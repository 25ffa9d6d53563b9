//! Sends a plan over many keep-alive connections and counts what comes back.
//!
//! Closed loop: each connection sends its next request when its last was answered, so a slow server is asked less often
//! and its worst moments are under-sampled (coordinated omission). Open loop: requests are due at an even pace whatever
//! the server does, and latency counts from when a request was due, so time spent waiting for a free connection counts.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use tokio::task::LocalSet;

use crate::answer::Answer;
use crate::client::{Client, Response, Shape, TransportError};
use crate::loopback::Target;
use crate::plan::{Buyer, Pace};
use crate::tally::{Shot, Tally};

/// The longest wait before a retry, whatever `Retry-After` says.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);

/// How many requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// One for each buyer.
    EachBuyerOnce,
    /// As many as fit into that time, going round the buyers. Single shots are not kept.
    For(Duration),
}

/// A plan with everything needed to carry it out.
#[derive(Clone, Debug)]
pub struct Volley {
    /// Servers, among which connections are dealt out in turn. At least one.
    pub targets: Vec<Target>,
    /// Connections in all, at least 1.
    pub connections: usize,
    /// Threads that drive them, at least 1.
    pub threads: usize,
    /// What each buyer sends.
    pub shape: Shape,
    /// Who sends.
    pub buyers: Arc<[Buyer]>,
    /// How many requests.
    pub amount: Amount,
    /// The pace of the open loop; none = closed loop.
    pub pace: Option<Pace>,
    /// How often a request without an answer, or answered 429 or 503, is sent again.
    pub retries_max: u32,
    /// How long one attempt may take.
    pub request_timeout: Duration,
    /// No request is begun later than this after the start.
    pub time_limit: Duration,
}

impl Volley {
    /// No request is begun later than this after the start.
    fn send_limit(&self) -> Duration {
        match self.amount {
            Amount::EachBuyerOnce => self.time_limit,
            Amount::For(duration) => duration.min(self.time_limit),
        }
    }
}

/// One sending of a request and what came of it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The buyer's place in the plan.
    pub buyer: usize,
    /// Which of the volley's targets it went to.
    pub target: usize,
    /// When the request was to be sent for the first time.
    pub due: Instant,
    /// When this attempt was sent.
    pub sent: Instant,
    /// When it ended.
    pub ended: Instant,
    /// The answer, or why there is none.
    pub result: Result<Answer, TransportError>,
}

/// What can be seen of a volley while it is under way.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    accepted: AtomicU64,
    milestone: AtomicU64,
    reached: Notify,
    finished: AtomicBool,
    called_off: AtomicBool,
    witness: Option<Mutex<Vec<Attempt>>>,
}

impl Progress {
    /// A progress that tells when so many requests were answered.
    #[must_use]
    pub fn with_milestone(answers: u64) -> Self {
        Self { milestone: AtomicU64::new(answers), ..Self::default() }
    }

    /// The same, and it keeps every attempt.
    #[must_use]
    pub fn witnessed(self) -> Self {
        Self { witness: Some(Mutex::default()), ..self }
    }

    /// Every attempt so far, in the order they ended, if they are kept. They are kept no longer.
    #[must_use]
    pub fn take_attempts(&self) -> Vec<Attempt> {
        self.witness
            .as_ref()
            .map(|witness| std::mem::take(&mut *witness.lock().unwrap_or_else(PoisonError::into_inner)))
            .unwrap_or_default()
    }

    /// Requests that ended, with an answer or without.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Orders accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Resolves when the milestone is reached, or the volley is over before.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    fn is_called_off(&self) -> bool {
        self.called_off.load(Ordering::Relaxed)
    }

    fn witness(&self, attempt: impl FnOnce() -> Attempt) {
        if let Some(witness) = &self.witness {
            witness.lock().unwrap_or_else(PoisonError::into_inner).push(attempt());
        }
    }

    fn note(&self, shot: &Shot) {
        if shot.is_accepted() {
            self.accepted.fetch_add(1, Ordering::Relaxed);
        }
        if self.done.fetch_add(1, Ordering::Relaxed) + 1 == self.milestone.load(Ordering::Relaxed) {
            self.reached.notify_one();
        }
    }
}

/// A volley that somebody waits for. Dropped, nothing more is sent.
struct Awaited(Arc<Progress>);

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.called_off.store(true, Ordering::Relaxed);
    }
}

/// Fires the volley on threads of its own and waits for all of it. If nobody waits any more, only what is under way is ended.
///
/// # Errors
/// If a thread cannot be made or panics.
pub async fn fire(volley: Volley, progress: Arc<Progress>) -> anyhow::Result<Tally> {
    let _awaited = Awaited(Arc::clone(&progress));
    let field = Arc::new(Field::new(volley, progress));
    let threads = field.volley.threads.clamp(1, field.volley.connections.max(1));
    let barrier = Arc::new(Barrier::new(threads));
    let mut running = Vec::with_capacity(threads);
    for thread in 0..threads {
        let (field, barrier) = (Arc::clone(&field), Arc::clone(&barrier));
        running.push(tokio::task::spawn_blocking(move || field.run_thread(thread, threads, &barrier)));
    }
    let mut tally = Tally::default();
    let pacer = field.volley.pace.map(|pace| {
        let field = Arc::clone(&field);
        tokio::task::spawn_blocking(move || field.open_gate(pace))
    });
    for thread in running {
        tally.merge(thread.await??);
    }
    field.progress.finished.store(true, Ordering::Relaxed);
    field.progress.reached.notify_one();
    if let Some(pacer) = pacer {
        pacer.await?;
    }
    Ok(tally)
}

/// Attempts of one request that were repeated.
#[derive(Default)]
struct Repeats {
    all: u32,
    /// What came of those that were sent.
    failed: Vec<String>,
}

impl Repeats {
    fn note(&mut self, result: &Result<Answer, TransportError>) {
        self.all += 1;
        match result {
            Ok(answer) => self.failed.push(answer.code.clone()),
            Err(TransportError::Connect) => {}
            Err(error @ (TransportError::Broken | TransportError::TimedOut | TransportError::TooLong)) => {
                self.failed.push(error.words().to_owned())
            }
        }
    }
}

/// A connection and where it leads.
struct Line {
    client: Client,
    target: usize,
}

impl Line {
    fn to(target: usize, targets: &[Target]) -> Self {
        Self { client: Client::new(targets[target].clone()), target }
    }
}

/// What all threads of a volley share.
struct Field {
    volley: Volley,
    progress: Arc<Progress>,
    start: OnceLock<Instant>,
    next: AtomicUsize,
    gate: Semaphore,
}

impl Field {
    fn new(volley: Volley, progress: Arc<Progress>) -> Self {
        Self { volley, progress, start: OnceLock::new(), next: AtomicUsize::new(0), gate: Semaphore::new(0) }
    }

    /// Connects this thread's share, waits for the others, and sends until nothing is left.
    fn run_thread(self: &Arc<Self>, thread: usize, threads: usize, barrier: &Barrier) -> anyhow::Result<Tally> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let share = (thread..self.volley.connections).step_by(threads);
        let mut lines: Vec<Line> = share.map(|index| Line::to(index % self.volley.targets.len(), &self.volley.targets)).collect();
        if let Ok(runtime) = &runtime {
            runtime.block_on(async {
                for line in &mut lines {
                    // Who cannot connect now tries again with the first request, and that is counted.
                    let _ = line.client.connect(self.volley.request_timeout).await;
                }
            });
        }
        barrier.wait();
        self.start.get_or_init(Instant::now);
        let tally = Rc::new(RefCell::new(Tally::default()));
        let local = LocalSet::new();
        for line in lines {
            local.spawn_local(Arc::clone(self).run_connection(line, Rc::clone(&tally)));
        }
        runtime?.block_on(local);
        Ok(Rc::into_inner(tally).expect("all connections are done").into_inner())
    }

    async fn run_connection(self: Arc<Self>, mut line: Line, tally: Rc<RefCell<Tally>>) {
        let start = *self.start.get().expect("set before connections run");
        let (send_limit, each_once) = (self.volley.send_limit(), self.volley.amount == Amount::EachBuyerOnce);
        loop {
            if self.volley.pace.is_some() {
                self.gate.acquire().await.expect("the gate is never closed").forget();
            }
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let sent = Instant::now();
            let is_over = (each_once && index >= self.volley.buyers.len()) || sent.duration_since(start) >= send_limit;
            if is_over || self.progress.is_called_off() {
                return;
            }
            let buyer = index % self.volley.buyers.len();
            let since = self.volley.pace.map_or(sent, |pace| pace.due(start, index));
            let (shot, repeats) = self.shoot(&mut line, buyer, since).await;
            self.progress.note(&shot);
            let mut tally = tally.borrow_mut();
            tally.retries += u64::from(repeats.all);
            for why in repeats.failed {
                *tally.failed_attempts.entry(why).or_default() += 1;
            }
            tally.add(shot, since, Instant::now(), each_once);
        }
    }

    async fn shoot(&self, line: &mut Line, buyer: usize, due: Instant) -> (Shot, Repeats) {
        let who = &self.volley.buyers[buyer];
        let (mut in_doubt, mut repeats) = (false, Repeats::default());
        loop {
            let (target, sent) = (line.target, Instant::now());
            let got = line.client.send(&self.volley.shape, Some(&who.authorization), who.key.as_ref(), self.volley.request_timeout).await;
            let ended = Instant::now();
            // As a load balancer does: whoever says that it goes, or does not answer, is left for the next.
            if got.as_ref().map_or(true, Response::asks_to_close) {
                *line = Line::to((target + 1) % self.volley.targets.len(), &self.volley.targets);
            }
            let result = got.map(|response| Answer::to_order(&response));
            self.progress.witness(|| Attempt { buyer, target, due, sent, ended, result: result.clone() });
            in_doubt |= result.as_ref().is_err_and(|error| *error != TransportError::Connect);
            let wait = match &result {
                Ok(answer) if answer.asks_to_come_again() => Duration::from_secs(answer.retry_after_seconds.unwrap_or(1)),
                Ok(_) => return (Shot { buyer, result, in_doubt: false, target, ended }, repeats),
                Err(_) => Duration::from_millis(50 << repeats.all.min(4)),
            };
            if repeats.all == self.volley.retries_max || self.progress.is_called_off() {
                return (Shot { buyer, result, in_doubt, target, ended }, repeats);
            }
            repeats.note(&result);
            tokio::time::sleep_until((Instant::now() + wait.min(RETRY_AFTER_MAX)).into()).await;
        }
    }

    /// Lets requests through as they fall due. A thread of its own, because tokio's timer is a whole millisecond coarse.
    fn open_gate(&self, pace: Pace) {
        const STEP: Duration = Duration::from_micros(200);
        let start = loop {
            match self.start.get() {
                Some(start) => break *start,
                None if self.progress.finished.load(Ordering::Relaxed) => return,
                None => std::thread::park_timeout(STEP),
            }
        };
        let mut let_through = 0;
        // When the last request is through, every connection still needs one permit to see that nothing is left.
        while !self.progress.finished.load(Ordering::Relaxed) {
            let over = start.elapsed() >= self.volley.send_limit() || self.progress.is_called_off();
            let due = pace.due_by(start, Instant::now());
            self.gate.add_permits(due - let_through);
            let_through = due;
            if over || (self.volley.amount == Amount::EachBuyerOnce && due >= self.volley.buyers.len()) {
                self.gate.add_permits(self.volley.connections);
                return;
            }
            std::thread::park_timeout(STEP);
        }
    }
}
