//! When the requests of an open loop are due, one after the other. Knows no clock: it is told what time it is.

use std::time::{Duration, Instant};

use crate::plan::Pace;

/// From so large a share of the units on, requests come more slowly.
const SPARED: f64 = 0.3;
/// The longest pause between two requests.
const GAP_MAX: Duration = Duration::from_secs(3_600);

/// A pace for as long as something lasts that must not outlast the units: the fewer are left, the slower, and the last one is never asked
/// for.
#[derive(Clone, Copy, Debug)]
pub struct Sparing {
    /// As long as there are plenty.
    pub pace: Pace,
    /// Units, of which each request takes one.
    pub units: usize,
}

impl Sparing {
    /// How long after the one before it request number `index` is due; none if there would be nothing left after it.
    fn gap(&self, index: usize) -> Option<Duration> {
        let left = self.units.saturating_sub(index);
        match (index, left) {
            // Whoever waits for the first answer gets it, even if there is only one unit.
            (0, _) => Some(Duration::ZERO),
            (_, 0 | 1) => None,
            _ => {
                let share = (left as f64 / (self.units as f64 * SPARED)).min(1.0);
                let gap = self.pace.gap().as_secs_f64() / share.powi(3);
                Some(Duration::from_secs_f64(gap.min(GAP_MAX.as_secs_f64())))
            }
        }
    }
}

/// A request and when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) index: usize,
    pub(super) at: Instant,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Schedule {
    pace: Pace,
    sparing: Option<Sparing>,
    /// From when and which request on the pace is even.
    even: (Instant, usize),
    next: usize,
    last: Instant,
}

impl Schedule {
    pub(super) const fn new(start: Instant, pace: Pace, sparing: Option<Sparing>) -> Self {
        Self { pace, sparing, even: (start, 0), next: 0, last: start }
    }

    /// How many fell due so far.
    pub(super) const fn passed(&self) -> usize {
        self.next
    }

    /// The next request, if it is due by now. Once nothing need be spared any more, the even pace begins.
    pub(super) fn due(&mut self, now: Instant, is_spared: bool) -> Option<Due> {
        if self.sparing.is_some() && !is_spared {
            self.sparing = None;
            // What was kept back does not come all at once.
            self.even = (now.max(self.last), self.next);
        }
        let at = match &self.sparing {
            Some(sparing) => self.last + sparing.gap(self.next)?,
            None => self.pace.due(self.even.0, self.next - self.even.1),
        };
        (at <= now).then_some(Due { index: self.next, at })
    }

    /// That one passed.
    pub(super) const fn pass(&mut self, due: Due) {
        (self.next, self.last) = (due.index + 1, due.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: usize = 300;

    fn all_by(schedule: &mut Schedule, now: Instant, is_spared: bool) -> Vec<Due> {
        let next = || {
            let due = schedule.due(now, is_spared)?;
            schedule.pass(due);
            Some(due)
        };
        std::iter::from_fn(next).collect()
    }

    fn sparing(start: Instant) -> Schedule {
        let pace = Pace::new(300);
        Schedule::new(start, pace, Some(Sparing { pace, units: UNITS }))
    }

    #[test]
    fn an_even_pace_is_even_from_the_start() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, Pace::new(1_000), None);
        assert_eq!(all_by(&mut schedule, start, true), [Due { index: 0, at: start }]);
        let dues = all_by(&mut schedule, start + Duration::from_micros(500_500), true);
        assert_eq!((dues.len(), dues[499]), (500, Due { index: 500, at: start + Duration::from_millis(500) }));
    }

    #[test]
    fn as_long_as_something_lasts_requests_come_and_units_are_left() {
        let start = Instant::now();
        let mut schedule = sparing(start);
        let mut sent = all_by(&mut schedule, start + Duration::from_millis(600), true).len();
        assert_eq!(sent, 181, "at first the pace is even");
        for seconds in [2, 10, 60, 600] {
            let more = all_by(&mut schedule, start + Duration::from_secs(seconds), true).len();
            sent += more;
            assert!(more > 0 && sent < UNITS, "{more} by {seconds} s, {sent} in all");
        }
    }

    #[test]
    fn once_it_is_over_the_rest_comes_at_the_even_pace() {
        let (start, over) = (Instant::now(), Duration::from_secs(30));
        let mut schedule = sparing(start);
        let spared = all_by(&mut schedule, start + over, true).len();
        assert_eq!(all_by(&mut schedule, start + over, false), [Due { index: spared, at: start + over }]);
        let rest = all_by(&mut schedule, start + over + Duration::from_secs(1), false);
        assert_eq!((rest.len(), rest[299].index), (300, spared + 300));
    }

    #[test]
    fn of_one_unit_one_request_comes_and_the_next_when_it_is_over() {
        let (start, pace) = (Instant::now(), Pace::new(1));
        let mut schedule = Schedule::new(start, pace, Some(Sparing { pace, units: 1 }));
        assert_eq!(all_by(&mut schedule, start + GAP_MAX, true).len(), 1);
        assert_eq!(schedule.due(start + GAP_MAX, false).map(|due| due.index), Some(1));
    }
}
