//! The one source of chance: a named generator, so that a seed means the same run on every machine and with every release of
//! the library.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// The dice of one run.
#[derive(Debug)]
pub(super) struct Dice(Xoshiro256PlusPlus);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// A number below `end`, which is at least 1.
    pub(super) fn below(&mut self, end: usize) -> usize {
        // Of a fixed width: what is drawn must not depend on the machine's.
        self.0.random_range(0..end as u64) as usize
    }

    /// A number from `from` to `to`, both included.
    pub(super) fn between(&mut self, from: u64, to: u64) -> u64 {
        self.0.random_range(from..=to)
    }

    /// Whether something happens that happens so often in a hundred times.
    pub(super) fn percent(&mut self, chance: u64) -> bool {
        self.0.random_range(0..100u64) < chance
    }

    /// Whether something happens that happens once in so many times.
    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.0.random_range(0..times) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { Some(&from[self.below(from.len())]) }
    }
}
