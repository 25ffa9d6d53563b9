//! Deliberate faults, one for each rule the simulator must be able to find broken. They exist in test builds; in every
//! other build each question here is the constant "no", and nothing can switch one on.

/// A rule to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// R1: answers do not wait for the confirm.
    ConfirmBeforeReply,
    /// R5: the projection also applies what is older than its position.
    OlderIsSkipped,
}

/// Whether that rule is broken on purpose: never.
pub(crate) const fn is_broken(_: Break) -> bool {
    false
}
