//! What the log was told last of a broker that is away: it is asked several times a second, and for many partitions.

use std::time::{Duration, Instant};

/// The least time between two lines about the same.
const INTERVAL: Duration = Duration::from_secs(10);

/// The last line.
#[derive(Debug, Default)]
pub(super) struct Complaints(Option<(String, Instant)>);

impl Complaints {
    /// Whether this is to be told: another reason at once, the same one now and then.
    pub(super) fn is_due(&mut self, why: &str, now: Instant) -> bool {
        let is_known = self.0.as_ref().is_some_and(|(told, at)| told == why && now.duration_since(*at) < INTERVAL);
        if !is_known {
            self.0 = Some((why.to_owned(), now));
        }
        !is_known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_when_its_reason_changes_and_then_now_and_then() {
        let (begin, mut complaints) = (Instant::now(), Complaints::default());
        let mut is_due = |why, millis| complaints.is_due(why, begin + Duration::from_millis(millis));
        assert!(is_due("refused", 0));
        assert!((1..40).all(|attempt| !is_due("refused", attempt * 250)));
        assert!(is_due("refused", 10_000));
        assert!(!is_due("refused", 10_250));
        assert!(is_due("no answer", 10_500));
        assert!(is_due("refused", 10_750));
    }
}
