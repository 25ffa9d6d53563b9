//! The threads of a volley and their connections: each sends, counts and sends again what may be repeated. Decides nothing about
//! what is sent, nor how much.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::LocalSet;

use super::schedule::{Due, Schedule};
use super::{Amount, Attempt, Progress, Volley};
use crate::answer::Answer;
use crate::client::{Client, Response, TransportError};
use crate::loopback::Target;
use crate::plan::Pace;
use crate::tally::{Shot, Tally};

/// The longest wait before a retry, whatever `Retry-After` says.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);

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
pub(super) struct Field {
    volley: Volley,
    progress: Arc<Progress>,
    start: OnceLock<Instant>,
    /// The next request of the closed loop.
    next: AtomicUsize,
    /// A permit for each request of the open loop that fell due, and in the end one for each connection.
    gate: Semaphore,
    due: Mutex<VecDeque<Due>>,
}

impl Field {
    pub(super) fn new(volley: Volley, progress: Arc<Progress>) -> Self {
        let (start, due) = (OnceLock::new(), Mutex::default());
        Self { volley, progress, start, next: AtomicUsize::new(0), gate: Semaphore::new(0), due }
    }

    /// Connects this thread's share, waits for the others, and sends until nothing is left.
    pub(super) fn run_thread(self: &Arc<Self>, thread: usize, threads: usize, barrier: &Barrier) -> anyhow::Result<Tally> {
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
        while let Some(Due { index, at: since }) = self.next().await {
            let is_over = (each_once && index >= self.volley.buyers.len()) || start.elapsed() >= send_limit;
            if is_over || self.progress.is_called_off() {
                return;
            }
            let buyer = index % self.volley.buyers.len();
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

    /// The next request, once it is due; none if no more will be.
    async fn next(&self) -> Option<Due> {
        if self.volley.pace.is_none() {
            return Some(Due { index: self.next.fetch_add(1, Ordering::Relaxed), at: Instant::now() });
        }
        self.gate.acquire().await.expect("the gate is never closed").forget();
        self.due().pop_front()
    }

    fn due(&self) -> MutexGuard<'_, VecDeque<Due>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
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
    pub(super) fn open_gate(&self, pace: Pace) {
        const STEP: Duration = Duration::from_micros(200);
        let start = loop {
            match self.start.get() {
                Some(start) => break *start,
                None if self.progress.is_finished() => return,
                None => std::thread::park_timeout(STEP),
            }
        };
        let requests = if self.volley.amount == Amount::EachBuyerOnce { self.volley.buyers.len() } else { usize::MAX };
        let mut schedule = Schedule::new(start, pace, self.volley.sparing);
        // When the last request is through, every connection still needs one permit to see that nothing is left.
        while !self.progress.is_finished() {
            let over = start.elapsed() >= self.volley.send_limit() || self.progress.is_called_off();
            let (now, is_spared) = (Instant::now(), !self.progress.spares_nothing());
            while schedule.passed() < requests
                && let Some(due) = schedule.due(now, is_spared)
                && self.progress.gate().pass()
            {
                schedule.pass(due);
                self.due().push_back(due);
                self.gate.add_permits(1);
            }
            if over || schedule.passed() >= requests {
                self.gate.add_permits(self.volley.connections);
                return;
            }
            std::thread::park_timeout(STEP);
        }
    }
}
