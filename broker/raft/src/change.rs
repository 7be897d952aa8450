//! Changes of the membership: one at a time, and only by a leader that has committed an entry of its own.

use std::time::Instant;

use crate::errors::{ChangeError, ProposeError};
use crate::group::{Group, Role};
use crate::membership::Change;
use crate::sabotage::Sabotage;
use crate::types::{Index, NodeId, Payload};

impl Group {
    /// Proposes a change of the membership. It counts from now on, and is done when the entry at the returned index
    /// is committed in the current [`Group::term`].
    ///
    /// A leader neither removes nor demotes itself: it transfers its leadership first.
    pub fn change(&mut self, change: Change, now: Instant) -> Result<Index, ChangeError> {
        self.now = self.now.max(now);
        self.may_propose(1, 0)?;
        let Role::Leader(leading) = &self.role else {
            return Err(ProposeError::NotLeader { leader: self.leader }.into());
        };
        // Two leaders' changes that both build on the same membership could have majorities without a common node, if
        // the later leader did not first commit something and so rule out the earlier change.
        if self.commit < leading.first {
            return Err(ChangeError::NotReady { index: leading.first });
        }
        let under_way = self.memberships.current_index();
        if under_way > self.commit && !self.settings.sabotages(Sabotage::TwoChangesAtOnce) {
            return Err(ChangeError::UnderWay { index: under_way });
        }
        if let Change::Demote(node) | Change::Remove(node) = change
            && node == self.me
        {
            return Err(ChangeError::Leader { node });
        }
        let membership = self.memberships.current().after(change)?;
        if let Change::Promote(node) = change {
            self.check_caught_up(node)?;
        }
        let index = self.append_own(Payload::Membership(membership));
        self.meet_members(index);
        Ok(index)
    }

    fn check_caught_up(&self, node: NodeId) -> Result<(), ChangeError> {
        let Role::Leader(leading) = &self.role else { return Ok(()) };
        let matched = leading.peers.get(&node).map_or(0, |progress| progress.matched);
        let (found, max) = (self.log.last().index - matched, self.settings.promotion_lag_entries_max);
        if found > max { Err(ChangeError::Behind { node, found, max }) } else { Ok(()) }
    }
}
