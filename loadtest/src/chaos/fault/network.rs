//! The network between a node and its broker hurt, by a proxy of our own.

use std::time::Instant;

use anyhow::Context;
use rand::RngExt;

use super::{Done, Victims};
use crate::chaos::proxy::{Reset, Step};

/// At most so many publishes go through before the one that is hit: each may be of as many orders as there are connections.
const SKIPPED_MAX: u32 = 2;

/// The owner's connection is reset at a step of a publish that the seed decides. The node connects again by itself.
pub(super) async fn reset(victims: &mut Victims<'_>) -> anyhow::Result<Done> {
    let proxy = victims.proxy.context("no proxy of our own")?;
    let random = &mut victims.random;
    let step = Step::of(victims.seed);
    let at = proxy.reset(Reset { step, skip: random.random_range(0..=SKIPPED_MAX), share: random.random() }).await?;
    Ok(Done::now(at, at, at).with(step.words(), 1))
}

/// Everything is published twice all the time: nothing more is to be done in the middle of a sale.
pub(super) fn doubled() -> Done {
    let at = Instant::now();
    Done::now(at, at, at)
}
