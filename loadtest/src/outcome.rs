//! A run that came to nothing, told apart from a promise that was broken. Never decides by words: an error carries the mark or not.

use crate::cluster::Unable;

/// The mark of an error that says nothing about the promises: a server that is not there, a program that is not installed,
/// arguments that do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoOutcome;

impl std::fmt::Display for NoOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no outcome")
    }
}

impl NoOutcome {
    /// That error, marked. A mark it has already is enough.
    #[must_use]
    pub fn mark(error: anyhow::Error) -> anyhow::Error {
        if error.is::<Self>() { error } else { error.context(Self) }
    }

    /// Whether nothing was found out, because of the mark or because the system does not allow what was to be done.
    #[must_use]
    pub fn is_of(error: &anyhow::Error) -> bool {
        error.is::<Self>() || error.is::<Unable>()
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_mark_outlasts_what_is_said_around_it_and_is_said_once() {
        let error = NoOutcome::mark(NoOutcome::mark(anyhow!("no broker"))).context("turn 3");
        assert!(NoOutcome::is_of(&error));
        assert_eq!(format!("{error:#}"), "turn 3: no outcome: no broker");
        assert!(!NoOutcome::is_of(&anyhow!("a row is missing").context("turn 3")));
    }
}
