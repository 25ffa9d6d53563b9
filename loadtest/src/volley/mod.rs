//! Sends a plan over many keep-alive connections and counts what comes back.
//!
//! Closed loop: each connection sends its next request when its last was answered, so a slow server is asked less often
//! and its worst moments are under-sampled (coordinated omission). Open loop: requests are due at an even pace whatever
//! the server does, and latency counts from when a request was due, so time spent waiting for a free connection counts.

mod field;
mod progress;
mod schedule;

use std::sync::{Arc, Barrier};
use std::time::Duration;

pub use progress::{Attempt, Progress};
pub use schedule::Sparing;

use crate::client::Shape;
use crate::loopback::Target;
use crate::plan::{Buyer, Pace};
use crate::tally::Tally;
use field::Field;

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
    /// The pace until [`Progress::spare_nothing`], where the loop is open and something must not outlast the units.
    pub sparing: Option<Sparing>,
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

/// Fires the volley on threads of its own and waits for all of it. If nobody waits any more, only what is under way is ended.
///
/// # Errors
/// If a thread cannot be made or panics.
pub async fn fire(volley: Volley, progress: Arc<Progress>) -> anyhow::Result<Tally> {
    let _awaited = progress.awaited();
    let threads = volley.threads.clamp(1, volley.connections.max(1));
    let pace = volley.pace;
    let field = Arc::new(Field::new(volley, Arc::clone(&progress)));
    let barrier = Arc::new(Barrier::new(threads));
    let mut running = Vec::with_capacity(threads);
    for thread in 0..threads {
        let (field, barrier) = (Arc::clone(&field), Arc::clone(&barrier));
        running.push(tokio::task::spawn_blocking(move || field.run_thread(thread, threads, &barrier)));
    }
    let mut tally = Tally::default();
    let pacer = pace.map(|pace| {
        let field = Arc::clone(&field);
        tokio::task::spawn_blocking(move || field.open_gate(pace))
    });
    for thread in running {
        tally.merge(thread.await??);
    }
    progress.finish();
    if let Some(pacer) = pacer {
        pacer.await?;
    }
    Ok(tally)
}
