//! What travels to an owner, and what comes back. Never where it is: that is the network's.

use crate::domain::OrderId;
use crate::engine::Command;
use crate::partition::{Busy, Reply, Sighting};

/// The index of a call.
pub(super) type CallId = usize;

/// What travels to the owner.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Command(Command),
    Lookup(OrderId),
}

/// What comes back from it.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Reply(Reply),
    Sighting(Result<Sighting, Busy>),
}
