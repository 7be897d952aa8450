//! How things stand in the store, for `/metrics`.

use std::sync::{Mutex, PoisonError};

use fulmar_store_raft::{Counts, State};

/// What the store's thread said last.
#[derive(Debug, Default)]
pub(crate) struct Report(Mutex<Option<(Counts, State)>>);

impl Report {
    pub(crate) fn set(&self, counts: Counts, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((counts, state));
    }

    /// None before the store was opened.
    pub(crate) fn get(&self) -> Option<(Counts, State)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
