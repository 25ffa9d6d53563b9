//! Where a request is: whoever moves it on first, the task that takes it up or the caller who gives up, decides whether it is carried out.

use super::sync::{AtomicU8, Ordering};

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const ABANDONED: u8 = 2;

/// Of one request. It begins as waiting.
#[derive(Debug)]
pub(super) struct Stage(AtomicU8);

impl Default for Stage {
    fn default() -> Self {
        Self(AtomicU8::new(WAITING))
    }
}

impl Stage {
    /// Takes it up; false if the caller gave up before.
    pub(super) fn take(&self) -> bool {
        self.advance(TAKEN)
    }

    /// Gives up; false if it was taken up before.
    pub(super) fn abandon(&self) -> bool {
        self.advance(ABANDONED)
    }

    fn advance(&self, to: u8) -> bool {
        self.0.compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
