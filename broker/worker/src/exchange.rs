//! What nodes exchange besides frames: publishes for each other's subscribers, who is interested in what, which client
//! connected where, and what is retained.

use crate::connect::owner_of;
use crate::ids::SessionId;
use crate::letter::{ForeignClaim, Note};
use crate::node::Node;
use crate::out::Out;
use crate::publish::link_publish;
use crate::rights::username;
use crate::route::{pick_absent, pick_present};
use crate::sessions::Entry;
use crate::worker::Worker;
use fulmar_cluster::claims::{Claim, Verdict, decide};
use fulmar_cluster::frame::{InterestChange, InterestDelta, LinkMessage, LinkPublish, RetainedEntry, RetainedMessage};
use fulmar_cluster::interest::Fed;
use fulmar_router::{NodeIndex, SharedRef};
use fulmar_session::Outgoing;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// A message for a shared group is passed on this often at most when members are gone meanwhile.
const HOPS_MAX: u8 = 2;
/// Interest messages for one peer in one turn.
const INTEREST_MESSAGES_MAX: usize = 4096;
/// Retained messages looked at before others have their turn.
const RETAINED_STEPS_MAX: usize = 1024;
/// A copy of the retained messages uses this much of a lane, so that publishes pass.
const RETAINED_COPY_BYTES: usize = 1 << 20;

impl Worker {
    /// A publish of a client of another node: to our subscribers, never on to other nodes, except that a shared group
    /// without a member here is passed on.
    pub(crate) fn publish_from_peer(&mut self, publish: &LinkPublish<'_>, now: Instant) {
        let outgoing = Outgoing {
            topic: publish.topic,
            qos: publish.qos,
            retain: publish.retain,
            forward: publish.forward,
            payload: publish.payload,
            expires: publish.expiry.map(|seconds| now + Duration::from_secs(seconds.into())),
        };
        if let Some(version) = publish.retain_as {
            self.node.clock.observe(version.clock);
            self.retain(&outgoing, version, now);
        }
        // Whoever is here although the sender knew of nobody has subscribed meanwhile. Its SUBACK may have come by another
        // lane, faster than this, and then it did not find this among what is retained.
        if publish.live || publish.retain_as.is_some() {
            self.find(publish.topic, None, true);
        } else {
            self.scratch.found.clear();
        }
        for (group, filter) in publish.shared.iter() {
            self.pick_for_peer(group, filter, publish.hops);
        }
        if !self.scratch.found.is_empty() {
            self.deliver_found(&outgoing, None, now);
            self.pass_on(&outgoing, publish.hops, now);
        }
    }

    /// A peer asks for one member of a shared group.
    fn pick_for_peer(&mut self, group: &str, filter: &str, hops: u8) {
        let Worker { node, sessions, scratch, thread, counters, .. } = self;
        let trie = node.trie();
        let shared = trie.shared_group(group, filter);
        let member = shared.and_then(|shared| {
            pick_present(&shared, *thread, sessions).or_else(|| pick_absent(&shared, *thread, sessions))
        });
        match shared.zip(member) {
            Some((shared, member)) => scratch.found.add_shared(&shared, member, *thread),
            None => match shared.and_then(|shared| next_node(&shared, hops)) {
                Some(node) => scratch.found.add_pick(node, group, filter),
                None => counters.dropped_no_member += 1,
            },
        }
    }

    /// Shared groups whose members have left this node in the meantime.
    pub(crate) fn pass_on(&mut self, outgoing: &Outgoing<'_>, hops: u8, now: Instant) {
        for at in 0..self.scratch.found.picks.len() {
            let pick = self.scratch.found.picks[at];
            let mut shared = std::mem::take(&mut self.lanes.shared);
            shared.clear();
            let (group, filter) = pick.group_and_filter(&self.scratch.found.names);
            let sent = shared.push(group, filter)
                && self.lanes.to(pick.node).is_some_and(|lane| {
                    let publish = link_publish(outgoing, false, None, shared.list(), hops + 1, now);
                    self.lanes.push_publish(lane, &publish).is_some()
                });
            self.lanes.shared = shared;
            if !sent {
                self.counters.dropped_no_member += 1;
            }
        }
    }

    /// Thread 0: tells every peer what it has not been told of our interest.
    pub(crate) fn announce_interest(&mut self) {
        let Worker { node, lanes, .. } = self;
        let mut touched = Vec::new();
        for (index, slot) in lanes.slots.iter_mut().enumerate() {
            let Some(speaker) = slot.speaker.as_deref_mut() else { continue };
            let lane = &mut slot.lane;
            let interest = node.interest();
            let fed = interest.local.feed(&mut speaker.feed, INTEREST_MESSAGES_MAX, |message| {
                !lane.is_full() && lane.push(message).is_ok()
            });
            touched.push(index as u32);
            match fed {
                Ok(Fed::All) => speaker.behind = false,
                Ok(Fed::More) => speaker.behind = true,
                // Ended with the next look at the lanes, from nothing: a moment ago there was more room than it needs.
                Err(error) => speaker.fell_behind = Some(error.to_string()),
            }
        }
        touched.into_iter().for_each(|index| self.lanes.touch(index));
    }

    /// A peer's filter goes into the trie, or leaves it.
    pub(crate) fn apply_interest(&mut self, index: u32, delta: &InterestDelta<'_>) {
        let peer = self.lanes.slots[index as usize].peer;
        let mut trie = self.node.trie_mut();
        match (delta.change, delta.group) {
            (InterestChange::Add, None) => trie.remote_add(delta.filter, peer),
            (InterestChange::Remove, None) => trie.remote_remove(delta.filter, peer),
            (InterestChange::Add, Some(group)) => trie.remote_shared_add(group, delta.filter, peer),
            (InterestChange::Remove, Some(group)) => trie.remote_shared_remove(group, delta.filter, peer),
        };
    }

    /// Thread 0: another lane of a peer is connected.
    pub(crate) fn confirm_interest_to(&mut self, node_id: u64) {
        let peer = self.node.peers_read().find(node_id);
        if let Some(peer) = peer {
            self.confirm_interest(peer);
        }
    }

    pub(crate) fn confirm_interest(&mut self, peer: NodeIndex) {
        let lane = self.lanes.slots.iter().position(|slot| slot.peer == peer && slot.speaker.is_some());
        if let Some(index) = lane {
            self.confirm_interest_of(index as u32);
        }
    }

    /// Confirms a peer's interest once it is in the trie and every thread can send: all lanes must be connected, or a
    /// publish that matches could still miss the peer.
    pub(crate) fn confirm_interest_of(&mut self, index: u32) {
        let slot = &mut self.lanes.slots[index as usize];
        let Some(speaker) = slot.speaker.as_deref_mut() else { return };
        let all_up = self.node.peers_read().get(slot.peer).is_some_and(|peer| peer.lanes_up >= peer.lanes);
        if !all_up {
            return;
        }
        if let Some(version) = speaker.interest.take_confirmation() {
            self.lanes.push(index, &LinkMessage::InterestConfirm { version });
        }
    }

    /// A client connected here: every peer that has a session of its id finds out whose it is.
    pub(crate) fn announce_claim(&mut self, id: SessionId) {
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

    /// A peer is new, was gone or did not keep up: it may hold clients that are here too. Told in parts, as the lane
    /// takes them; who connects meanwhile is announced anyway.
    pub(crate) fn send_claims(&mut self, index: u32) {
        let Worker { node, sessions, lanes, .. } = self;
        let slot = &mut lanes.slots[index as usize];
        let Some(first) = slot.claims else { return };
        slot.claims = None;
        for (id, entry) in sessions.iter_from(first).filter(|(_, entry)| entry.connection.is_some()) {
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

    /// Goes on with a peer's copy of our retained messages, as far as the lane takes it.
    pub(crate) fn copy_retained(&mut self, index: u32, now: Instant) {
        let Worker { node, lanes, .. } = self;
        let slot = &mut lanes.slots[index as usize];
        let Some(speaker) = slot.speaker.as_deref_mut() else { return };
        let Some(cursor) = &mut speaker.copy else { return };
        if slot.lane.buffered_bytes() >= RETAINED_COPY_BYTES {
            return;
        }
        let lane = &mut slot.lane;
        let done = node.copy_retained(cursor, RETAINED_STEPS_MAX, now, |topic, message, version| {
            let message = message.map(|message| {
                let view = message.view();
                let expiry = view.expiry_seconds_left(now);
                RetainedMessage { qos: view.qos, expiry, forward: view.forward, payload: view.payload }
            });
            // The lane takes twice what stops this copy, so there is room for one more.
            let taken = lane.push(&LinkMessage::RetainedEntry(RetainedEntry { topic, version, message }));
            if taken.is_ok() && lane.buffered_bytes() < RETAINED_COPY_BYTES {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        if done && lane.push(&LinkMessage::RetainedDone).is_ok() {
            speaker.copy = None;
        }
        lanes.touch(index);
    }

    /// One of a peer's retained messages.
    pub(crate) fn retained_from_peer(&mut self, entry: &RetainedEntry<'_>, now: Instant) {
        let RetainedEntry { topic, version, message } = entry;
        self.node.clock.observe(version.clock);
        match message {
            Some(RetainedMessage { qos, expiry, forward, payload }) => {
                let expires = expiry.map(|seconds| now + Duration::from_secs(seconds.into()));
                let (qos, forward) = (*qos, *forward);
                self.retain(&Outgoing { topic, qos, retain: true, forward, payload, expires }, *version, now);
            }
            // A deletion is never refused.
            None => {
                // A deletion needs no room.
                let _ = self.node.retain(topic, None, *version, now);
            }
        }
    }
}

/// By what right this node holds a session.
fn claim_of<'a>(entry: &'a Entry, node: &Node) -> Claim<'a> {
    let (version, since) = (entry.claim, entry.since);
    Claim { version, since, user: username(&entry.session), takeover: node.settings.auth.takeover }
}

fn next_node(shared: &SharedRef<'_>, hops: u8) -> Option<NodeIndex> {
    if hops + 1 < HOPS_MAX { shared.nodes_in_turn().next() } else { None }
}
