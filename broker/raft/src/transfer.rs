//! Leadership handed to another voter (dissertation, 3.10): the leader takes no proposals until the other one has all
//! its entries, and asks it to take over. If that does not happen in time, it goes on itself.

use std::time::Instant;

use crate::errors::TransferError;
use crate::group::{Group, Role};
use crate::message::Body;
use crate::types::NodeId;

#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) to: NodeId,
    /// When the leader gives up on it.
    pub(crate) until: Instant,
    /// When the other one was asked last.
    asked: Option<Instant>,
}

impl Group {
    /// Hands leadership over. Proposals are refused until it is done, or for at most an election's time; the role in
    /// [`Outputs::role`](crate::Outputs::role) tells.
    pub fn transfer(&mut self, to: NodeId, now: Instant) -> Result<(), TransferError> {
        self.now = self.now.max(now);
        let Role::Leader(leading) = &mut self.role else {
            return Err(TransferError::NotLeader { leader: self.leader });
        };
        if to == self.me {
            return Err(TransferError::Already { node: to });
        }
        if !self.memberships.current().is_voter(to) {
            return Err(TransferError::NotVoter { node: to });
        }
        leading.transfer = Some(Transfer { to, until: self.now + self.settings.election_timeout, asked: None });
        Ok(())
    }

    /// A node that was elected without a vote of its own, to spread the entry that took it, leads no longer than that.
    fn leave_office(&mut self) {
        let Role::Leader(leading) = &mut self.role else { return };
        let voters = self.memberships.current().voters();
        if self.commit < leading.first || leading.transfer.is_some() || voters.contains(&self.me) {
            return;
        }
        let matched = |node: &&NodeId| leading.peers.get(*node).map(|progress| progress.matched);
        if let Some(to) = voters.iter().max_by_key(matched).copied() {
            leading.transfer = Some(Transfer { to, until: self.now + self.settings.election_timeout, asked: None });
        }
    }

    /// Asks the other one to take over when it has everything.
    pub(crate) fn hand_over(&mut self) {
        self.leave_office();
        let last = self.log.last().index;
        let Role::Leader(leading) = &mut self.role else { return };
        let Some(transfer) = &mut leading.transfer else { return };
        let is_asked = transfer.asked.is_some_and(|asked| self.now < asked + self.settings.heartbeat_interval);
        let to = transfer.to;
        if !is_asked && leading.peers.get(&to).is_some_and(|progress| progress.matched == last) {
            transfer.asked = Some(self.now);
            self.send(to, Body::TakeOver);
        }
    }

    pub(crate) fn tick_transfer(&mut self) {
        let Role::Leader(leading) = &mut self.role else { return };
        leading.transfer.take_if(|transfer| self.now >= transfer.until);
    }

    /// The leader wants this node to lead.
    pub(crate) fn handle_take_over(&mut self, from: NodeId) {
        if self.leader == Some(from) && !self.is_leader() && self.memberships.current().is_voter(self.me) {
            self.ask_for_votes(true);
        }
    }
}
