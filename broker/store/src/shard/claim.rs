//! A node claims a session for a client that connected to it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Shard, remove_owned};
use crate::command::{Claim, Takeover};
use crate::ledger::sabotaged;
use crate::names::{ClientId, Node};
use crate::queue::Queue;
use crate::reply::{Claimed, Refusal};
use crate::session::{EARLIER_CLAIMS, LastClaim, Presence, Session, User, head_bytes, will_bytes};
use crate::settings::Bound;

impl Shard {
    pub(super) fn claim(&mut self, claim: &Claim) -> Result<Claimed, Refusal> {
        let Claim { client, user, takeover, node, nonce, clean, expiry_seconds, receive_maximum, will } = claim;
        if self.is_gone(*node) {
            return Err(Refusal::NodeGone(*node));
        }
        if let Some(answer) = self.answered_before(client, *node, *nonce)? {
            return Ok(answer);
        }
        let is_other_users = self.is_other_users(client, user);
        if is_other_users && *takeover == Takeover::SameUser {
            return Err(Refusal::OtherUser);
        }
        self.check_room(claim)?;

        let earlier = self.claims_with_last(client);
        self.leave_if_gone(client);
        let took_over = self.sessions.get(client).and_then(Session::owner);
        let is_wanted = !*clean && !is_other_users;
        let goes_on = self.sessions.get(client).is_some_and(|session| is_wanted && !session.is_over(self.time));
        if goes_on {
            self.settle_will_of_resumed(client);
        } else if self.sessions.contains_key(client) {
            self.end(client);
        }
        if let Some(owner) = took_over {
            remove_owned(&mut self.owned, owner, client);
        }

        self.last_epoch += 1;
        let epoch = self.last_epoch;
        let kept = if goes_on { self.sessions.remove(client) } else { None };
        let (generation, subscriptions, queue, received) = match kept {
            Some(session) => (session.generation, session.subscriptions, session.queue, session.received),
            None => {
                self.ledger.take(head_bytes(client, user));
                (epoch, BTreeMap::new(), Queue::default(), BTreeSet::new())
            }
        };
        let sent_until = queue.window_end();
        let answer = Claimed { epoch, generation, present: goes_on, took_over, sent_until };
        let mut session = Session {
            user: user.clone(),
            generation,
            claim: LastClaim { node: *node, nonce: *nonce, answer, earlier },
            presence: Presence::Owned,
            expiry_seconds: *expiry_seconds,
            receive_maximum: *receive_maximum,
            will: will.clone(),
            subscriptions,
            queue,
            received,
        };
        self.ledger.take(session.will_bytes(client));
        session.advance(client, &mut self.ledger, &self.settings);
        self.sessions.insert(client.clone(), session);
        self.owned.entry(*node).or_default().insert(client.clone());
        Ok(answer)
    }

    /// The answer that this very claim got, when it is sent again because the first answer was lost. Who gave the
    /// session up since has had it, and owns nothing.
    fn answered_before(&self, client: &ClientId, node: Node, nonce: u64) -> Result<Option<Claimed>, Refusal> {
        let Some(session) = self.sessions.get(client) else { return Ok(None) };
        let (last, epoch) = (&session.claim, session.epoch());
        if sabotaged!(self.ledger, ClaimRepeated) {
            return Ok(None);
        }
        if last.earlier.contains(&(node, nonce)) {
            return Err(Refusal::Superseded { epoch });
        }
        match (last.node, last.nonce) == (node, nonce) {
            false => Ok(None),
            true if session.owner().is_some() => Ok(Some(last.answer)),
            true => Err(Refusal::NotOwned { epoch }),
        }
    }

    /// Whether the session is another user's. One that is over is nobody's, though it may not have been cleared up.
    fn is_other_users(&self, client: &ClientId, user: &User) -> bool {
        let Some(session) = self.sessions.get(client) else { return false };
        let left = session.owner().filter(|owner| self.is_gone(*owner)).map(|owner| self.gone[&owner.id].since);
        let is_over = match left {
            Some(since) => session.absent_from(since).is_over(self.time),
            None => session.is_over(self.time),
        };
        session.user != *user && !is_over && !sabotaged!(self.ledger, InheritedByAnotherUser)
    }

    /// Who resumes a session without a will takes nothing: a full shard can be emptied by those it is for.
    fn check_room(&self, claim: &Claim) -> Result<(), Bound> {
        let Claim { client, user, will, .. } = claim;
        let will_takes = will.as_ref().map_or(0, |will| will_bytes(client, user, will));
        if will.as_ref().is_some_and(|will| will.message.bytes() > self.settings.will_bytes_max.into()) {
            return Err(Bound::WillBytes);
        }
        let head_takes = match self.sessions.get(client) {
            Some(session) => head_bytes(client, user).saturating_sub(head_bytes(client, &session.user)),
            None if self.sessions.len() >= self.settings.sessions_max as usize => return Err(Bound::Sessions),
            None => head_bytes(client, user),
        };
        match head_takes + will_takes {
            0 => Ok(()),
            takes => self.ledger.has_room(takes, self.settings.shard_bytes_max),
        }
    }

    /// An owner that is gone is no owner, though its sessions may not all have been dealt with.
    fn leave_if_gone(&mut self, client: &ClientId) {
        let Some(owner) = self.sessions.get(client).and_then(Session::owner) else { return };
        if self.is_gone(owner) {
            let since = self.gone[&owner.id].since;
            self.leave(client, since);
        }
    }

    fn claims_with_last(&self, client: &ClientId) -> Vec<(Node, u64)> {
        let Some(Session { claim: last, .. }) = self.sessions.get(client) else { return Vec::new() };
        let all = last.earlier.iter().copied().chain([(last.node, last.nonce)]);
        all.skip((last.earlier.len() + 1).saturating_sub(EARLIER_CLAIMS)).collect()
    }

    /// A client that comes back before its will's delay is over cancels it (MQTT 5.0, 3.1.3.2.2). One that was to be
    /// published without delay is published: the connection that it was for is closed by this claim.
    fn settle_will_of_resumed(&mut self, client: &ClientId) {
        let session = &self.sessions[client];
        let is_late = match session.presence {
            Presence::Owned => session.will.as_ref().is_some_and(|will| will.delay_seconds == 0),
            Presence::Absent { will_due, .. } => will_due.is_some_and(|due| due <= self.time),
        };
        if is_late {
            self.fire_will(client);
        } else {
            self.delete_will(client);
        }
        self.remove_due_of(client);
    }
}
