//! Connections and nodes that end, and what is cleared up in portions: no entry takes much longer than its portion,
//! however many sessions a node had and however many messages expire at once. Only the outbox of a node that is gone,
//! which is bounded, goes at once.

use super::{Gone, Shard};
use crate::command::WillFate;
use crate::ledger::Due;
use crate::names::{ClientId, Epoch, Node, Party, Time};
use crate::reply::{Cleared, Refusal, Reply, WillState};
use crate::session::Left;

impl Shard {
    pub(super) fn disconnect(
        &mut self,
        client: &ClientId,
        epoch: Epoch,
        expiry_seconds: Option<u32>,
        fate: WillFate,
    ) -> Result<Reply, Refusal> {
        let (session, _) = self.owned_session_mut(client, epoch)?;
        session.expiry_seconds = expiry_seconds.unwrap_or(session.expiry_seconds);
        let fired = match fate {
            WillFate::Keep => None,
            WillFate::Delete => {
                self.delete_will(client);
                None
            }
            WillFate::Fire => self.fire_will(client),
        };
        let before = self.last_will;
        let (ended, at_end) = match self.leave(client, self.time) {
            Left::Kept => (false, (self.last_will > before).then_some(self.last_will)),
            Left::Ended(will) => (true, will),
        };
        let will = match fired.or(at_end) {
            Some(will) => WillState::Pending(will),
            None if ended => WillState::None,
            None => self.will_state(client),
        };
        Ok(Reply::Disconnected { ended, will })
    }

    /// From here on the node's commands are refused and its sessions count as left. They are dealt with in portions.
    pub(super) fn node_gone(&mut self, node: Node) -> Reply {
        if !self.is_gone(node) {
            let Node { id, incarnation } = node;
            self.gone.insert(id, Gone { incarnation, since: self.time, index: self.applied });
            let lives = Party::Node(Node { id, incarnation: 0 })..=Party::Node(node);
            while let Some((&source, _)) = self.sources.range(lives.clone()).next() {
                self.sources.remove(&source);
            }
            while let Some((&destination, _)) = self.outbox.range(lives.clone()).next() {
                let mut outbox = self.outbox.remove(&destination).expect("it was there just now");
                outbox.from(0).for_each(|(_, waiting)| self.move_on_of_gone(waiting));
                outbox.done(outbox.last(), &mut self.ledger);
            }
        }
        let cleared = self.clear();
        self.forget_oldest_gone();
        Reply::Cleared(cleared)
    }

    /// Does a portion of what is due.
    pub(super) fn clear(&mut self) -> Cleared {
        let mut cleared = Cleared::default();
        let mut effort = self.settings.portion.max(1) as usize;
        while effort > 0 && self.clear_next(&mut cleared, &mut effort) {}
        cleared.more = self.next_gone_session().is_some() || self.is_due(self.time);
        cleared
    }

    fn clear_next(&mut self, cleared: &mut Cleared, effort: &mut usize) -> bool {
        if let Some((client, since)) = self.next_gone_session() {
            *effort = effort.saturating_sub(1 + self.effort_to_end(&client));
            let before = self.last_will;
            match self.leave(&client, since) {
                Left::Kept => cleared.left += 1,
                Left::Ended(_) => cleared.ended += 1,
            }
            cleared.wills += u32::from(self.last_will > before);
            return true;
        }
        let Some((at, what)) = self.ledger.next_due().cloned() else { return false };
        if at > self.time {
            return false;
        }
        *effort -= 1;
        match what {
            Due::Will(client) => cleared.wills += u32::from(self.fire_will(&client).is_some()),
            Due::Session(client) => {
                *effort = effort.saturating_sub(self.effort_to_end(&client));
                cleared.wills += u32::from(self.end(&client).is_some());
                cleared.ended += 1;
            }
            Due::Queued(client, sequence) => {
                let session = self.sessions.get_mut(&client).expect("what waits, waits for a session that is there");
                session.queue.remove(&client, sequence, &mut self.ledger);
                self.ledger.totals.expired += 1;
                cleared.messages += 1;
            }
            Due::Retained(topic) => {
                self.expire_retained(&topic);
                cleared.retained += 1;
            }
            Due::Tombstone(topic) => {
                self.remove_tombstone(&topic);
                cleared.tombstones += 1;
            }
        }
        true
    }

    fn effort_to_end(&self, client: &ClientId) -> usize {
        let session = &self.sessions[client];
        session.queue.len() + session.subscriptions.len()
    }

    /// A session whose owner is gone and that was not dealt with, and since when. Few nodes own sessions, so this is
    /// quick however many are gone.
    fn next_gone_session(&self) -> Option<(ClientId, Time)> {
        let (node, clients) = self.owned.iter().find(|(node, _)| self.is_gone(**node))?;
        let client = clients.first().expect("a node without sessions is not listed");
        Some((client.clone(), self.gone[&node.id].since))
    }

    /// Nodes are remembered as gone up to a bound, but no shorter than they have sessions here.
    fn forget_oldest_gone(&mut self) {
        while self.gone.len() > self.settings.nodes_max as usize {
            let is_settled = |(id, gone): &(&u64, &Gone)| {
                let lives = Node { id: **id, incarnation: 0 }..=Node { id: **id, incarnation: gone.incarnation };
                self.owned.range(lives).next().is_none()
            };
            let oldest = self.gone.iter().filter(is_settled).min_by_key(|(id, gone)| (gone.index, **id));
            let Some((&oldest, _)) = oldest else { return };
            self.gone.remove(&oldest);
        }
    }
}
