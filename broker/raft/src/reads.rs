//! Reads that see everything committed before they were asked for (dissertation, 6.4): the leader remembers what is
//! committed, makes sure by a round of heartbeats that it still leads, and says from which entry on the state machine
//! may answer. No clock is trusted.

use std::collections::VecDeque;
use std::time::Instant;

use crate::errors::ReadError;
use crate::group::{Group, Role};
use crate::outputs::{ReadId, ReadOutcome};
use crate::sabotage::Sabotage;
use crate::types::Index;

#[derive(Debug)]
pub(crate) struct PendingRead {
    id: ReadId,
    /// Holds everything that was committed when the read was asked for.
    at: Index,
    /// The first round of heartbeats sent after that.
    round: u64,
}

impl Group {
    /// Asks from which entry on a read is current. The answer is one of [`Outputs::reads`](crate::Outputs::reads).
    pub fn read(&mut self, id: ReadId, now: Instant) -> Result<(), ReadError> {
        self.now = self.now.max(now);
        let Role::Leader(leading) = &mut self.role else { return Err(ReadError::NotLeader { leader: self.leader }) };
        let max = self.settings.reads_max;
        if leading.reads.len() >= max {
            return Err(ReadError::Full { max });
        }
        // Earlier leaders' committed entries come before this leader's first one, whether it knows of them or not.
        let at = self.commit.max(leading.first);
        leading.reads.push_back(PendingRead { id, at, round: leading.round + 1 });
        Ok(())
    }

    /// All reads since the last round are confirmed by one round.
    pub(crate) fn start_read_round(&mut self) {
        if let Role::Leader(leading) = &mut self.role
            && leading.reads.back().is_some_and(|read| read.round > leading.round)
        {
            leading.round += 1;
            self.send_heartbeats();
        }
    }

    /// Answers the reads whose round a majority has answered, once their entry is committed.
    pub(crate) fn answer_reads(&mut self) {
        let Role::Leader(leading) = &mut self.role else { return };
        let round =
            |node| if node == self.me { leading.round } else { leading.peers.get(&node).map_or(0, |it| it.round) };
        let mut confirmed = self.memberships.current().majority(round);
        if self.settings.sabotages(Sabotage::UnconfirmedRead) {
            confirmed = leading.round;
        }
        while let Some(read) = leading.reads.pop_front_if(|read| read.round <= confirmed && read.at <= self.commit) {
            self.outputs.reads.push((read.id, ReadOutcome::At(read.at)));
        }
    }

    pub(crate) fn refuse_reads(&mut self, reads: VecDeque<PendingRead>) {
        self.outputs.reads.extend(reads.into_iter().map(|read| (read.id, ReadOutcome::NotLeader)));
    }
}
