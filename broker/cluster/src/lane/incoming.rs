//! The receiving half of a lane: every frame once, acknowledged in order.

use std::collections::VecDeque;

use super::{FRAMES_OPEN_MAX, LaneError};

/// The sender holds publishes at `FRAMES_OPEN_MAX` and everything at twice that.
const UNSETTLED_MAX: usize = 2 * FRAMES_OPEN_MAX;

/// See the [module](self). Frames are numbered from 1.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// All frames up to this one are settled.
    settled: u64,
    /// For each frame after `settled` that was received: whether it is settled.
    unsettled: VecDeque<bool>,
    /// What the peer was told.
    acknowledged: u64,
    acknowledge_again: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    New,
    Duplicate,
}

impl Incoming {
    /// The last frame that was received.
    pub(super) fn received(&self) -> u64 {
        self.settled + self.unsettled.len() as u64
    }

    pub(super) fn accept(&mut self, sequence: u64) -> Result<Accepted, LaneError> {
        let wanted = self.received() + 1;
        if sequence < wanted {
            // The peer would not send it again, had it heard of it.
            self.acknowledge_again = true;
            return Ok(Accepted::Duplicate);
        }
        if sequence > wanted {
            return Err(LaneError::Gap { found: sequence, wanted });
        }
        if self.unsettled.len() >= UNSETTLED_MAX {
            return Err(LaneError::TooFarAhead { max: UNSETTLED_MAX });
        }
        self.unsettled.push_back(false);
        Ok(Accepted::New)
    }

    pub(super) fn settle(&mut self, sequence: u64) {
        // A frame of a life that has ended since, or settled twice, is not there any more.
        let Some(index) = sequence.checked_sub(self.settled + 1) else { return };
        if let Some(settled) = usize::try_from(index).ok().and_then(|index| self.unsettled.get_mut(index)) {
            *settled = true;
        }
        while self.unsettled.front() == Some(&true) {
            self.unsettled.pop_front();
            self.settled += 1;
        }
    }

    /// The last acknowledgement may have been lost with its connection.
    pub(super) fn acknowledge_again(&mut self) {
        self.acknowledge_again = self.settled > 0;
    }

    /// What to tell the peer, if there is something new.
    pub(super) fn take_acknowledgement(&mut self) -> Option<u64> {
        let due = self.settled > self.acknowledged || self.acknowledge_again;
        self.acknowledge_again = false;
        self.acknowledged = self.settled;
        due.then_some(self.settled)
    }
}
