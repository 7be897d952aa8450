//! One address that discovery found, and the attempts to dial it.

use std::time::Instant;

use super::Attempt;
use crate::clock::NodeId;
use crate::dial::BackOff;
use crate::hello::RefusalReason;

#[derive(Debug)]
pub(super) struct Target {
    pub(super) progress: Progress,
    pub(super) back_off: BackOff,
    /// Who answered there last.
    pub(super) node: Option<NodeId>,
    /// When it was found, or answered, or was lost, whatever came last.
    pub(super) last_heard: Instant,
    /// Why it did not accept us, if that is for people to mend.
    pub(super) refusal: Option<RefusalReason>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Idle,
    AwaitConnection {
        attempt: Attempt,
        lane: u16,
    },
    AwaitAnswer {
        attempt: Attempt,
        lane: u16,
    },
    /// This node's own address.
    Itself,
}

impl Target {
    pub(super) fn new(now: Instant) -> Self {
        Self { progress: Progress::Idle, back_off: BackOff::default(), node: None, last_heard: now, refusal: None }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.progress == Progress::Idle
    }

    pub(super) fn attempt(&self) -> Option<Attempt> {
        match self.progress {
            Progress::AwaitConnection { attempt, .. } | Progress::AwaitAnswer { attempt, .. } => Some(attempt),
            Progress::Idle | Progress::Itself => None,
        }
    }

    pub(super) fn lane(&self) -> Option<u16> {
        match self.progress {
            Progress::AwaitConnection { lane, .. } | Progress::AwaitAnswer { lane, .. } => Some(lane),
            Progress::Idle | Progress::Itself => None,
        }
    }

    pub(super) fn dials(&self, node: NodeId, lane: u16) -> bool {
        self.node == Some(node) && self.lane() == Some(lane)
    }

    /// Whether our greeting for this lane is on its way to that node.
    pub(super) fn awaits_answer(&self, node: NodeId, lane: u16) -> bool {
        self.dials(node, lane) && matches!(self.progress, Progress::AwaitAnswer { .. })
    }
}
