//! Which deliveries of one subscription are not acknowledged yet. Pure; it never names a tag for acknowledgement that is not done with.

use std::collections::BTreeSet;

/// The tags that are out.
#[derive(Debug, Default)]
pub(super) struct Tags(BTreeSet<u64>);

/// What the broker is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acknowledgement {
    pub(super) tag: u64,
    /// With all tags before it.
    pub(super) multiple: bool,
}

impl Tags {
    pub(super) fn came(&mut self, tag: u64) {
        self.0.insert(tag);
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// These are done with: one acknowledgement of all that come before those that are not, and one for each that doesn't.
    pub(super) fn settle(&mut self, done: &[u64]) -> Vec<Acknowledgement> {
        let mut done: Vec<u64> = done.iter().copied().filter(|tag| self.0.remove(tag)).collect();
        done.sort_unstable();
        let before = self.0.first().map_or(done.len(), |first| done.partition_point(|tag| tag < first));
        let together = done[..before].last().map(|tag| Acknowledgement { tag: *tag, multiple: true });
        let apart = done[before..].iter().map(|tag| Acknowledgement { tag: *tag, multiple: false });
        together.into_iter().chain(apart).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tags: &mut Tags, done: &[u64]) -> Vec<(u64, bool)> {
        tags.settle(done).into_iter().map(|acknowledgement| (acknowledgement.tag, acknowledgement.multiple)).collect()
    }

    #[test]
    fn what_is_done_in_order_is_acknowledged_together() {
        let mut tags = Tags::default();
        (1..=5).for_each(|tag| tags.came(tag));
        assert_eq!(told(&mut tags, &[2, 1, 3]), [(3, true)]);
        assert_eq!(told(&mut tags, &[4, 5]), [(5, true)]);
        assert_eq!((told(&mut tags, &[5]), tags.count()), (vec![], 0));
    }

    #[test]
    fn nothing_is_acknowledged_along_with_what_is_not_done() {
        let mut tags = Tags::default();
        (1..=6).for_each(|tag| tags.came(tag));
        assert_eq!(told(&mut tags, &[6, 1, 4]), [(1, true), (4, false), (6, false)]);
        assert_eq!(told(&mut tags, &[2, 3]), [(3, true)]);
        assert_eq!(told(&mut tags, &[5]), [(5, true)]);
    }
}
