//! One address that discovery found, and the attempts to dial it.

use std::time::Instant;

use super::Attempt;
use super::letters::Dial;
use crate::clock::NodeId;
use crate::dial::BackOff;
use crate::hello::RefusalReason;
use crate::letters::Channel;

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
    /// The attempts for letters, by channel.
    letters: [Dial; Channel::ALL.len()],
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
        Self {
            progress: Progress::Idle,
            back_off: BackOff::default(),
            node: None,
            last_heard: now,
            refusal: None,
            letters: Default::default(),
        }
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

    pub(super) fn letters(&self, channel: Channel) -> &Dial {
        &self.letters[channel.index()]
    }

    pub(super) fn letters_mut(&mut self, channel: Channel) -> &mut Dial {
        &mut self.letters[channel.index()]
    }

    /// For the lane and for letters.
    pub(super) fn attempts(&self) -> impl Iterator<Item = Attempt> {
        self.attempt().into_iter().chain(self.letters.iter().filter_map(Dial::attempt))
    }

    /// Ends all attempts, which are returned, and all waits.
    pub(super) fn give_up(&mut self) -> impl Iterator<Item = Attempt> {
        let attempt = self.attempt();
        if attempt.is_some() {
            self.progress = Progress::Idle;
        }
        self.back_off.reset();
        attempt.into_iter().chain(self.letters.iter_mut().filter_map(Dial::give_up))
    }

    /// There is news that makes attempts worth while.
    pub(super) fn end_waits(&mut self) {
        self.back_off.reset();
        self.letters.iter_mut().for_each(|dial| dial.back_off.reset());
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
