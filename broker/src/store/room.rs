//! Whether the disk has room, as a human hears of it: once when it has none any more, and once when it has again.

use fulmar_store_raft::State;
use tracing::{error, info};

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Room {
    is_full: bool,
}

impl Room {
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Looks at the engine. Tells what is missing for this node to keep what it is given.
    pub(super) fn look(&mut self, state: State) -> Option<String> {
        let wanted = match state {
            State::Full { wanted } => Some(wanted),
            State::Works | State::Failed => None,
        };
        match (self.is_full, wanted) {
            (false, Some(wanted_bytes)) => {
                error!(wanted_bytes, "the disk is full: nothing is taken that must be kept");
            }
            (true, None) => info!("the disk has room again"),
            _ => {}
        }
        self.is_full = wanted.is_some();
        wanted.map(|_| "the disk is full".to_owned())
    }
}
