//! What is the matter with a partition's task, in words for everybody. Never the details: those are for the log.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use utoipa::ToSchema;

/// Why a partition is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// Its tables hold what cannot be.
    #[error("its tables contradict themselves")]
    TablesContradict,
    /// Its log lacks batches that were confirmed.
    #[error("its log lacks batches that were confirmed")]
    LogIncomplete,
    /// Its task panicked, and is about to begin again.
    #[error("its task panicked")]
    Panicked,
}

/// Where a task notes it, for whoever asks.
#[derive(Debug, Default)]
pub(crate) struct TroubleNote(Mutex<Option<Trouble>>);

impl TroubleNote {
    /// Notes it, or that all is well again.
    pub(super) fn note(&self, trouble: Option<Trouble>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// What was noted last.
    pub(super) fn read(&self) -> Option<Trouble> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
