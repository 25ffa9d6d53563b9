//! How far a subscription looks for a batch that is missing where it should be, and which of several may. Pure: clock and counts are arguments.

use std::time::Duration;

use tokio::time::Instant;

/// Messages of one log that are looked through for a batch, at most, where the configured prefetch isn't more: all of them are held
/// meanwhile. Of messages that were given back more are taken, as many as a subscription can have: nobody can have given back more.
const MESSAGES_MAX: u16 = 16_384;
/// About how many bytes of them, at most: in all logs together, because one is looked through at a time.
const BYTES_MAX: u64 = 256 << 20;
/// After how long a subscription that was sent nothing stands by.
pub(super) const STANDS_BY: Duration = Duration::from_secs(1);
/// By how much the prefetch grows at a step.
const GROWTH: u16 = 4;
/// How long what is missing may be on its way before a marker is written behind it.
const MARKER_DELAY: Duration = Duration::from_millis(5);
/// How long a log may send nothing before its marker comes.
const MARKER_TIMEOUT: Duration = Duration::from_secs(5);

/// A wait for something that is missing.
#[derive(Debug)]
pub(super) struct Search {
    until: Instant,
    is_marked: bool,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: what comes will tell, or `until` will.
    Wait,
    /// A marker is to be written to the log's end: when it comes, all before it has come.
    Mark,
    /// The marker hasn't come: somebody else is sent what is in this log, or holds it.
    GiveUp,
}

impl Search {
    pub(super) fn begin(now: Instant) -> Self {
        Self { until: now + MARKER_DELAY, is_marked: false }
    }

    /// When to ask for the next step, if nothing comes before.
    pub(super) const fn until(&self) -> Instant {
        self.until
    }

    pub(super) fn step(&self, now: Instant) -> Step {
        match self.is_marked {
            _ if now < self.until => Step::Wait,
            false => Step::Mark,
            true => Step::GiveUp,
        }
    }

    /// The marker is written.
    pub(super) fn marked(&mut self, now: Instant) {
        (self.is_marked, self.until) = (true, now + MARKER_TIMEOUT);
    }

    /// Something came.
    pub(super) fn came(&mut self, now: Instant) {
        if self.is_marked {
            self.until = now + MARKER_TIMEOUT;
        }
    }
}

/// The prefetch after that one, for messages of that size; none if it is as large as it may be.
pub(super) fn wider(prefetch: u16, configured: u16, message_bytes: u64, all_given_back: bool) -> Option<u16> {
    let by_bytes = u16::try_from(BYTES_MAX / message_bytes.max(1)).unwrap_or(u16::MAX);
    let most = if all_given_back { u16::MAX } else { MESSAGES_MAX.max(configured) };
    let next = prefetch.saturating_mul(GROWTH).min(most).min(by_bytes);
    (next > prefetch).then_some(next)
}

/// One of the subscriptions that look through their logs, or might.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) prefetch: u16,
    /// Whether it has been sent nothing for a while: it stands by while another consumer reads the log, for as long as that takes.
    pub(super) stands_by: bool,
}

impl Share {
    fn is_wide(&self, configured: u16) -> bool {
        self.prefetch > configured
    }
}

/// Whether one more may be widened, beside these others: which of them are to go back to the configured prefetch first, or none if it has to
/// wait. It waits for one that is sent messages and waits for nobody, so all have their turn.
pub(super) fn turn<T>(configured: u16, others: impl Iterator<Item = (T, Share)>) -> Option<Vec<T>> {
    others.filter(|(_, share)| share.is_wide(configured)).map(|(which, share)| share.stands_by.then_some(which)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_log_is_looked_through_at_a_time_and_who_only_stands_by_makes_way() {
        let share = |prefetch, stands_by| Share { prefetch, stands_by };
        let turn = |others: &[Share]| turn(128, others.iter().copied().enumerate());
        assert_eq!(turn(&[share(128, false), share(128, true)]), Some(vec![]));
        assert_eq!(turn(&[share(128, false), share(512, true), share(16_384, true)]), Some(vec![1, 2]));
        assert_eq!(turn(&[share(512, true), share(512, false)]), None);
    }

    #[test]
    fn the_prefetch_grows_up_to_a_number_of_messages_or_of_bytes() {
        let next = |from, bytes, all_given_back| move |prefetch: &u16| wider(*prefetch, from, bytes, all_given_back);
        let steps = |from, bytes| std::iter::successors(Some(from), next(from, bytes, false)).collect::<Vec<_>>();
        assert_eq!(steps(128, 1_000), [128, 512, 2_048, 8_192, 16_384]);
        assert_eq!(steps(1, 100_000), [1, 4, 16, 64, 256, 1_024, 2_684]);
        assert_eq!(steps(60_000, 0), [60_000]);
        assert_eq!(steps(128, u64::MAX), [128]);
        assert_eq!(wider(16_384, 128, 1_000, true), Some(65_535));
    }

    #[test]
    fn a_marker_is_written_once_and_what_comes_gives_it_time() {
        let begun = Instant::now();
        let mut search = Search::begin(begun);
        assert_eq!(search.step(begun), Step::Wait);
        search.came(begun + MARKER_DELAY);
        assert_eq!(search.step(search.until()), Step::Mark);
        search.marked(begun);
        let late = begun + MARKER_TIMEOUT;
        search.came(begun + MARKER_DELAY);
        assert_eq!((search.step(late), search.step(late + MARKER_DELAY)), (Step::Wait, Step::GiveUp));
    }
}
