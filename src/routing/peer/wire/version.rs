//! Which version of the peer link two nodes use: the newest that both know. Never guesses: a node that says nothing of itself is of the
//! release that had only version 3.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::form::PeerVersion;

/// What is spoken with one peer, as far as is known: the oldest version, until the process that is there now has said more. The peer
/// may be upgraded or rolled back at any time, so what one process said is forgotten with the connection to it.
#[derive(Debug)]
pub(crate) struct Speech {
    newest: PeerVersion,
    /// The number of a version, or [`UNKNOWN`].
    agreed: AtomicU8,
}

/// No version has this number: the peer has not been heard.
const UNKNOWN: u8 = 0;

impl Speech {
    /// Of a process that speaks versions up to that one.
    pub(crate) fn new(newest: PeerVersion) -> Self {
        Self { newest, agreed: AtomicU8::new(UNKNOWN) }
    }

    /// The newest version this process speaks.
    pub(crate) const fn newest(&self) -> PeerVersion {
        self.newest
    }

    /// What to use now.
    pub(crate) fn version(&self) -> PeerVersion {
        self.agreed().unwrap_or(PeerVersion::OLDEST)
    }

    /// The same, once the process that is there now has been heard: it knows no newer one that we know.
    pub(crate) fn agreed(&self) -> Option<PeerVersion> {
        PeerVersion::new(self.agreed.load(Ordering::Relaxed)).ok()
    }

    /// The peer says that this is the newest version it speaks; nothing, if it is of a release that doesn't say so.
    pub(crate) fn heard(&self, theirs: Option<u8>) {
        let agreed = theirs.and_then(|theirs| self.newest.common(theirs)).unwrap_or(PeerVersion::OLDEST);
        self.agreed.store(agreed.get(), Ordering::Relaxed);
    }

    /// The process that said so may be gone.
    pub(crate) fn forget(&self) {
        self.agreed.store(UNKNOWN, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_use_the_newest_version_that_both_know() {
        let speech = Speech::new(PeerVersion::V7);
        assert_eq!(speech.version(), PeerVersion::V3);
        let [v3, v4, v5, v6, v7] = [PeerVersion::V3, PeerVersion::V4, PeerVersion::V5, PeerVersion::V6, PeerVersion::V7];
        for (theirs, agreed) in [(Some(4), v4), (Some(5), v5), (Some(6), v6), (Some(7), v7), (Some(8), v7), (Some(3), v3), (None, v3)] {
            speech.heard(theirs);
            assert_eq!(speech.version(), agreed, "{theirs:?}");
        }
        speech.heard(Some(4));
        assert_eq!(speech.agreed(), Some(PeerVersion::V4));
        speech.forget();
        assert_eq!((speech.version(), speech.agreed()), (PeerVersion::V3, None));
    }

    #[test]
    fn a_process_held_to_version_3_speaks_nothing_newer() {
        let speech = Speech::new(PeerVersion::V3);
        speech.heard(Some(4));
        assert_eq!(speech.version(), PeerVersion::V3);
    }

    #[test]
    fn with_a_node_that_is_too_old_nothing_is_common() {
        assert_eq!(PeerVersion::V4.common(2), None);
        assert_eq!(PeerVersion::V4.common(0), None);
    }
}
