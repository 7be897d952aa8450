//! How a process stops when it is told to, in the order of `broker/src/run.rs`.

use std::time::Duration;

use super::process::Process;
use crate::Time;

/// However slow everything is, the process ends after so long.
const GRACE: Duration = Duration::from_secs(20);
/// However busy the store is, a node waits no longer for it to give away what it leads.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// What waits for room on a full disk is waited for so long.
const FULL_DISK_PATIENCE: Duration = Duration::from_secs(2);

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    since: Time,
    /// Since when there has been no room on the disk.
    full_since: Option<Time>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Leaves,
    TellsClients,
    TellsPeers,
    ClosesStore,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopStage {
    Wait,
    TellClients,
    TellPeers,
    CloseStore,
}

impl Stop {
    pub(crate) fn new(now: Time) -> Stop {
        Stop { since: now, full_since: None, stage: Stage::Leaves }
    }

    pub(crate) fn next(&mut self, process: &mut Process, now: Time) -> StopStage {
        self.full_since = self.full_since.or(Some(now)).filter(|_| process.store.is_full);
        let is_late = now.since(self.since) >= GRACE
            || self.full_since.is_some_and(|since| now.since(since) >= FULL_DISK_PATIENCE);
        let mut are_quiet = || process.threads.iter_mut().all(|thread| thread.is_stopping && thread.is_quiet());
        match self.stage {
            Stage::Leaves if process.store.has_left || now.since(self.since) >= LEAVE_MAX => {
                self.stage = Stage::TellsClients;
                StopStage::TellClients
            }
            Stage::TellsClients if are_quiet() => {
                self.stage = Stage::TellsPeers;
                StopStage::TellPeers
            }
            Stage::TellsPeers if are_quiet() && process.threads.iter().all(|it| it.is_closing_lanes) => {
                self.stage = Stage::ClosesStore;
                StopStage::CloseStore
            }
            Stage::Leaves | Stage::TellsClients | Stage::TellsPeers if is_late => {
                self.stage = Stage::ClosesStore;
                StopStage::CloseStore
            }
            _ => StopStage::Wait,
        }
    }
}
