//! Deliberate faults, one for each rule the simulator must be able to find broken. They exist in builds for tests (the feature
//! `breaks`); in every other build each question here is the constant "no", and nothing can switch one on.

/// A rule to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// R1: answers do not wait for the confirm.
    ConfirmBeforeReply,
    /// R2: an owner in doubt keeps its engine instead of loading a new one.
    StartOver,
    /// R4: the window is held against the time a request arrived, not the time it is decided.
    WindowWithDecrement,
    /// R5: the projection also applies what is older than its position.
    OlderIsSkipped,
    /// R5: batches are applied in the order of their places in the log.
    OrderOfNumbers,
    /// A fence that came back is applied before it is known that nothing older is left in the log.
    FenceWaits,
    /// The projection's position is set by the new owner instead of by a fence in the log.
    Fence,
    /// A new owner loads without waiting for the projection.
    Drain,
    /// A new owner serves what it loaded without looking whether it was overtaken meanwhile.
    LookBack,
    /// A refused lock is taken for a granted one.
    Lock,
    /// A confirm counts whether or not the lock was there until it came.
    LockAtConfirm,
    /// A fence is sent without a look whether the lock is still there.
    LockAtFence,
    /// A fence does not say what is known to be confirmed before it.
    KnownAtFence,
    /// An owner appends over another connection than the one that has its lock.
    ConnectionOfTheLock,
    /// An operator's command is carried out whatever version it expects.
    ExpectedVersion,
    /// Subjects of all other issuers are taken for those of one.
    IssuerOfSubject,
    /// What was changed under a key is not loaded with the partition.
    KeysThroughClaim,
    /// A row that came along with a command is taken for one that was read just now.
    StaleRow,
    /// A checkpoint's delta is taken whether or not it follows the one before.
    DeltaChain,
    /// An order that was archived is not brought back when it changes.
    BringBack,
    /// Orders are archived without a look at the seal of their commodity.
    ArchiveUnsealed,
    /// A board takes what is of an older epoch than what it shows.
    OlderBoard,
    /// Money is given back without a look whether it went back before.
    RefundLookedUp,
    /// An order that gives its units back does so twice.
    UnitsOnce,
    /// An order that is paid expires all the same.
    PaidOrExpired,
    /// What is to be told to others is written apart from the rows that it is about.
    NoticeWithRows,
}

/// Whether that rule is broken on this thread.
#[cfg(not(any(test, feature = "breaks")))]
#[must_use]
pub const fn is_broken(_: Break) -> bool {
    false
}

#[cfg(any(test, feature = "breaks"))]
pub use switch::{is_broken, with};

#[cfg(any(test, feature = "breaks"))]
mod switch {
    use std::cell::Cell;

    use super::Break;

    thread_local! {
        static BROKEN: Cell<Option<Break>> = const { Cell::new(None) };
    }

    /// Whether that rule is broken on this thread.
    #[must_use]
    pub fn is_broken(rule: Break) -> bool {
        BROKEN.get() == Some(rule)
    }

    /// Runs something with that rule broken on this thread.
    pub fn with<T>(rule: Break, run: impl FnOnce() -> T) -> T {
        BROKEN.set(Some(rule));
        let result = run();
        BROKEN.set(None);
        result
    }
}
