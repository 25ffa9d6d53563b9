//! A run that came to nothing, told apart from a promise that was broken. Never decides by words: an error carries the mark or not.
//!
//! The mark is for what comes before anybody is asked to buy, and for a run whose every other check held. Once buyers have asked,
//! whatever fails is taken for a promise that was broken, except a private server or a cable that could not be damaged or mended.

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

/// Why there can be no namespace, in one line.
#[derive(Clone, Debug)]
pub struct Unable(String);

impl Unable {
    pub(crate) fn new(why: String) -> Self {
        Self(why)
    }
}

impl std::fmt::Display for Unable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no network namespace can be made, which takes root and iproute2: {}", self.0)
    }
}

impl std::error::Error for Unable {}

/// What a run ends with in which a promise was broken.
pub const VIOLATION: u8 = 1;
/// What a run ends with that came to nothing.
pub const NOTHING: u8 = 2;

/// What a run that failed ends with: [`NOTHING`] if nothing was found out, and [`VIOLATION`] otherwise. Whoever cannot say that it proves nothing has
/// found something.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if NoOutcome::is_of(error) { NOTHING } else { VIOLATION }
}

/// Why a run proves nothing, kept until everything else was looked at: what is wrong comes first.
#[derive(Debug, Default)]
pub struct Doubt(Option<anyhow::Error>);

impl Doubt {
    /// What was found, if anything: an error with the mark is kept for later.
    ///
    /// # Errors
    /// Any other.
    pub fn unless<T>(&mut self, found: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error) if NoOutcome::is_of(&error) => {
                self.0.get_or_insert(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The first that was kept.
    pub const fn take(&mut self) -> Option<anyhow::Error> {
        self.0.take()
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

    #[test]
    fn only_what_is_marked_ends_with_2() {
        assert_eq!(exit_code(&NoOutcome::mark(anyhow!("no broker")).context("turn 3")), 2);
        assert_eq!(exit_code(&anyhow!("connection refused").context("turn 3")), 1);
    }

    #[test]
    fn what_is_wrong_comes_before_a_doubt_and_the_first_doubt_stays() {
        let mut doubt = Doubt::default();
        assert_eq!(doubt.unless(Ok(7)).unwrap(), Some(7));
        assert!(doubt.take().is_none());
        for why in ["over too early", "nothing in hand"] {
            assert!(doubt.unless::<()>(Err(NoOutcome::mark(anyhow!(why)))).unwrap().is_none());
        }
        assert_eq!(doubt.unless::<()>(Err(anyhow!("a row is missing"))).unwrap_err().to_string(), "a row is missing");
        assert_eq!(format!("{:#}", doubt.take().unwrap()), "no outcome: over too early");
    }
}
