//! The simulator: a second shell around the real engine, partition term, ownership protocol, projection, ring and order lookup, in a
//! world that one seed decides. It never reads a clock, never waits and never touches a network, a disk or another thread.
//!
//! What it simulates and what it does not, and how to read a failing seed: `docs/simulation.md`.

mod auditor;
mod boards;
mod broker;
mod bulletins;
mod call;
mod consumer;
mod crowd;
mod delivery;
mod dice;
mod env;
#[cfg(test)]
mod exhaustive;
mod finish;
mod log_faults;
mod losses;
mod network;
mod node;
mod payments;
mod seat;
mod tables;
#[cfg(test)]
mod tests;
mod trail;
mod weather;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::history::Told;
use crate::panics;
use trail::Trail;
use world::World;

/// Steps of a run, unless somebody says otherwise.
pub const STEPS: u32 = 5_000;

/// What happened in a run that went well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Orders that were accepted.
    pub accepted: usize,
    /// Placings that were refused.
    pub refused: usize,
    /// Calls that were told "pending", or nothing.
    pub uncertain: usize,
    /// Answers that were over when they were asked for.
    pub stale: usize,
    /// Epochs that were served.
    pub epochs: usize,
    /// Batches in the logs.
    pub batches: usize,
    /// Orders that lay in the archive at the end.
    pub archived: usize,
    /// Losses of a log that operators accepted.
    pub losses: usize,
}

impl Report {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            refused: self.refused + other.refused,
            uncertain: self.uncertain + other.uncertain,
            stale: self.stale + other.stale,
            epochs: self.epochs + other.epochs,
            batches: self.batches + other.batches,
            archived: self.archived + other.archived,
            losses: self.losses + other.losses,
        }
    }
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, step {step}: {what}")]
pub struct Failure {
    /// The seed: the same one fails the same way again.
    pub seed: u64,
    /// The step it failed in, counted from 0; the number of steps asked for, if it failed while the world healed.
    pub step: u32,
    /// Which promise.
    pub what: String,
    /// What happened before, oldest first; only if it was asked for.
    pub trail: Vec<String>,
}

/// Runs the world of a seed for so many steps, lets it heal, and holds it to every promise. With `trail`, a failure says what
/// led to it.
///
/// # Errors
/// [`Failure`].
pub fn run(seed: u64, steps: u32, trail: bool) -> Result<Report, Failure> {
    let mut world = World::new(seed, Trail::new(trail));
    let mut step = 0;
    // An assertion of the code under test fails the seed like any other broken promise.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        while step < steps {
            world.step()?;
            step += 1;
        }
        finish::finish(&mut world)
    }));
    let what = match outcome {
        Ok(Ok(stale)) => return Ok(report(&world, stale)),
        Ok(Err(what)) => what,
        Err(panic) => panics::text_of(&*panic),
    };
    Err(Failure { seed, step, what, trail: world.env.trail.lines() })
}

fn report(world: &World, stale: usize) -> Report {
    let calls = &world.env.network.history.calls;
    let count = |wanted: fn(&Told) -> bool| calls.iter().filter(|call| wanted(&call.told)).count();
    Report {
        accepted: count(|told| matches!(told, Told::Accepted { .. })),
        refused: count(|told| matches!(told, Told::Refused)),
        uncertain: count(|told| matches!(told, Told::Pending(_) | Told::Nothing)),
        stale,
        epochs: world.env.epochs,
        batches: world.env.auditor.batches,
        archived: world.env.tables.archived(),
        losses: world.env.losses.accepted,
    }
}
