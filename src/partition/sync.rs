//! The locks and counters that the board and the inbox are made of: the standard library's. `shuttled` has those of a checker instead.

pub(super) use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
pub(super) use std::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
