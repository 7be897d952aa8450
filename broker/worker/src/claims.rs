//! Which client connected where, between nodes. Which of two connections of one client id stays is decided in
//! `fulmar-cluster`; here it is told, asked and done.

use crate::connect::owner_of;
use crate::ids::SessionId;
use crate::letter::{ForeignClaim, Note};
use crate::node::Node;
use crate::out::Out;
use crate::rights::username;
use crate::sessions::Entry;
use crate::worker::Worker;
use fulmar_cluster::claims::{Claim, Verdict, decide};
use fulmar_cluster::frame::LinkMessage;
use std::time::Instant;

impl Worker {
    /// A client connected here: every peer that has a session of its id finds out whose it is.
    pub(crate) fn announce_claim(&mut self, id: SessionId) {
        if self.has_claims_in_store() {
            return;
        }
        let Some(entry) = self.sessions.get(id) else { return };
        let claim = claim_of(entry, &self.node);
        let claim = LinkMessage::Claim { client_id: entry.session.client_id(), claim };
        for peer in self.lanes.peers() {
            let Some(lane) = self.lanes.to(peer) else { continue };
            if self.lanes.push(lane, &claim).is_none() {
                // It is full, but the peer must not miss this: it is told from here on when there is room.
                let claims = &mut self.lanes.slots[lane as usize].claims;
                *claims = Some(claims.map_or(id.slot, |first| first.min(id.slot)));
            }
        }
    }

    /// A peer is new, was gone or did not keep up: it may hold sessions of clients that have one here too, connected or
    /// absent. Told in parts, as the lane takes them; who connects meanwhile is announced anyway.
    pub(crate) fn send_claims(&mut self, index: u32) {
        let Worker { node, sessions, lanes, .. } = self;
        let slot = &mut lanes.slots[index as usize];
        let Some(first) = slot.claims else { return };
        slot.claims = None;
        if self.following.is_some() && self.desk.is_open() {
            return;
        }
        for (id, entry) in sessions.iter_from(first).filter(|(_, entry)| !entry.is_leaving) {
            let claim = LinkMessage::Claim { client_id: entry.session.client_id(), claim: claim_of(entry, node) };
            if slot.lane.is_full() || slot.lane.push(&claim).is_err() {
                slot.claims = Some(id.slot);
                break;
            }
        }
        if slot.claims.is_none() && slot.lane.push(&LinkMessage::ClaimsDone).is_err() {
            slot.claims = Some(u32::MAX);
        }
        lanes.touch(index);
    }

    /// A peer holds a session: the thread that owns the client id looks at its own.
    pub(crate) fn claim_from_peer(&mut self, client_id: &str, claim: &Claim<'_>, now: Instant, out: &mut impl Out) {
        self.node.clock.observe(claim.version.clock);
        let owner = owner_of(client_id, self.node.settings.threads);
        if owner == self.thread {
            self.claimed_elsewhere(client_id, claim, now, out);
        } else {
            self.outboxes.of(owner).notes.push(Note::Claim(Box::new(ForeignClaim::new(client_id, claim))));
        }
    }

    /// In a durable cluster the store decides, in one order for all.
    fn has_claims_in_store(&self) -> bool {
        self.following.is_some() && self.desk.is_open()
    }

    /// Absent clients' sessions count as those of connected ones: a session belongs to its user until it ends.
    pub(crate) fn claimed_elsewhere(&mut self, client_id: &str, theirs: &Claim<'_>, now: Instant, out: &mut impl Out) {
        let Some(id) = self.sessions.find(client_id) else { return };
        let ours = self.sessions.get(id).map(|entry| claim_of(entry, &self.node));
        match decide(ours.as_ref(), theirs) {
            Verdict::NotOurs => {}
            Verdict::Keep { since } => {
                if let Some(entry) = self.sessions.get_mut(id) {
                    entry.since = since;
                }
                self.announce_claim(id);
            }
            // Until sessions are replicated, the session ends here and starts anew there.
            Verdict::Yield { last_word } => {
                if last_word {
                    self.announce_claim(id);
                }
                self.take_over(id, now, out);
                self.end_session(id, now);
            }
            Verdict::Refuse => self.refuse_late(id, now, out),
        }
    }
}

/// By what right this node holds a session.
fn claim_of<'a>(entry: &'a Entry, node: &Node) -> Claim<'a> {
    let (version, since) = (entry.claim, entry.since);
    Claim { version, since, user: username(&entry.session), takeover: node.settings.auth.takeover }
}
