//! The life of the lanes: connected, heard, broken, resumed, gone; and what their messages mean to this thread.
//!
//! Interest and retained copies travel on lane 0, which thread 0 holds on every node; what they do is in `interest.rs` and
//! `retained_copy.rs`.

use crate::admission::Refused;
use crate::connections::Role;
use crate::ids::ConnId;
use crate::lanes::{LaneSlot, LaneSocket, Speaker};
use crate::letter::Note;
use crate::out::{Event, LaneEnd, Origin, Out};
use crate::worker::{Consumed, Worker};
use fulmar_cluster::NodeId;
use fulmar_cluster::frame::{self, CloseReason, FRAME_BYTES_MAX, LinkMessage, Split};
use fulmar_cluster::interest::PeerInterest;
use fulmar_cluster::lane::{Connected, Gone, Lane, Received, Tick};
use fulmar_router::{Cursor, NodeIndex};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

/// Bytes of a lane that the socket has not taken; the rest waits in the lane.
const LANE_OUTPUT_BYTES: usize = 256 << 10;

impl Worker {
    /// The control side has a connection for a lane of this thread.
    ///
    /// # Errors
    /// When the connection belongs to a life of the link that has ended, or the lane to another thread.
    pub fn lane_up(&mut self, socket: &LaneSocket, now: Instant, out: &mut impl Out) -> Result<ConnId, Refused> {
        let LaneSocket { peer: identity, lane: number, epoch } = socket;
        if number % self.node.settings.threads != self.thread {
            return Err(Refused::UnknownLane);
        }
        let own_threads = self.node.settings.threads;
        // What belongs to a life of this node that is over goes first.
        self.keep_up(now, out);
        let peer = self.node.peers_mut().index_of(identity, own_threads, now).ok_or(Refused::UnknownLane)?;
        let lane = Lane::new(self.node.lane_settings(), now);
        let before = self.lanes.member_at(peer, *number);
        let index = self.lanes.slot_of(peer, identity, *number, lane);
        let connected =
            self.lanes.slots[index as usize].lane.connected(*epoch, now).map_err(|_| Refused::UnknownLane)?;
        if *number == self.thread {
            self.lanes.send_on(peer, index);
        }
        if let Some(old) = self.lanes.slots[index as usize].conn.take() {
            self.lane_disconnected(peer, now);
            if let Some(connection) = self.connections.remove(old) {
                out.close(old, connection.out);
            }
        }
        let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let conn = self.connections.insert(Origin { listener: u16::MAX, address: nobody, trace: 0 }, Role::Lane(index));
        self.lanes.slots[index as usize].conn = Some(conn);
        self.node.peers_mut().set_lane_up(peer, true, now);
        self.lanes.touch(index);
        if let Some(before) = before.filter(|_| connected == Connected::BeganAnew) {
            self.strand_waits(index, before, now, out);
        }
        if connected != Connected::Resumed {
            self.life_began(index);
        }
        if self.thread == 0 {
            self.confirm_interest(peer);
        } else {
            self.outboxes.of(0).notes.push(Note::LaneUp { node: identity.node_id });
        }
        out.event(Event::LinkUp { peer: &identity.name, lane: *number });
        Ok(conn)
    }

    /// A new life of a lane: tell the peer what it must know before messages make sense.
    fn life_began(&mut self, index: u32) {
        let LaneSlot { peer, number, identity, .. } = &self.lanes.slots[index as usize];
        let (peer, number, node, member) = (*peer, *number, NodeId(identity.node_id), identity.member());
        if number == 0 {
            let place = self.begin_place(peer, member);
            self.turn.trie_mut(&self.node).remote_clear(place);
            let mut interest = self.node.interest();
            interest.barrier.peer_linked(node);
            let speaker = Speaker {
                place,
                feed: interest.local.new_feed(),
                interest: PeerInterest::new(),
                copy: None,
                behind: false,
                fell_behind: None,
            };
            drop(interest);
            self.lanes.slots[index as usize].speaker = Some(Box::new(speaker));
            self.announce_interest();
            self.lanes.push(index, &LinkMessage::RetainedRequest);
        }
        if number == self.thread {
            self.lanes.slots[index as usize].claims = Some(0);
            self.send_claims(index);
        }
    }

    /// Bytes of a lane.
    pub(crate) fn lane_bytes(
        &mut self,
        conn: ConnId,
        index: u32,
        bytes: &[u8],
        now: Instant,
        out: &mut impl Out,
    ) -> Consumed {
        self.lanes.slots[index as usize].lane.heard(now);
        let mut used = 0;
        // The lane may end while its bytes are handled.
        while self.lanes.slots[index as usize].conn == Some(conn) {
            if self.is_sated() && used < bytes.len() {
                self.read_next_turn(conn, out);
                self.lanes.touch(index);
                return Consumed { bytes: used, paused: true };
            }
            match frame::split(&bytes[used..], FRAME_BYTES_MAX) {
                Ok(Split::Incomplete { .. }) => break,
                Ok(Split::Whole { frame, used: length }) => {
                    used += length;
                    match self.lanes.slots[index as usize].lane.handle_frame(frame) {
                        Ok(received) => self.lane_received(index, received, now, out),
                        Err(error) => self.lane_broken(index, error.reason(), &error.to_string(), now, out),
                    }
                }
                Err(error) => {
                    self.lane_broken(index, CloseReason::ProtocolError, &error.to_string(), now, out);
                }
            }
        }
        self.lanes.touch(index);
        Consumed { bytes: used, paused: false }
    }

    /// A lane that was put off is read on.
    pub(crate) fn resume_lane(&mut self, conn: ConnId, out: &mut impl Out) {
        if let Some(connection) = self.connections.get_mut(conn)
            && std::mem::take(&mut connection.paused)
        {
            out.pause_reading(conn, false);
        }
    }

    fn lane_received(&mut self, index: u32, received: Received<'_>, now: Instant, out: &mut impl Out) {
        match received {
            Received::Nothing => {}
            Received::Acknowledged { sequence } => {
                self.release_waits(index, sequence, now, out);
                self.lane_has_room(index, now, out);
            }
            Received::Messages { sequence, messages } => {
                for message in messages {
                    let handled = match message {
                        Ok(message) => self.handle_message(index, message, now, out),
                        Err(error) => Err((CloseReason::ProtocolError, error.to_string())),
                    };
                    if let Err((reason, error)) = handled {
                        return self.lane_broken(index, reason, &error, now, out);
                    }
                }
                self.lanes.slots[index as usize].lane.settle(sequence);
            }
            Received::Closed(reason) => {
                let error = format!("closed by the peer: {reason}");
                let slot = &self.lanes.slots[index as usize];
                let (name, node, epoch) = (slot.identity.name.clone(), slot.identity.node_id, slot.lane.epoch());
                if reason != CloseReason::Shutdown {
                    out.event(Event::LinkError { peer: &name, error });
                }
                self.node_gone(node, epoch, now, out);
            }
        }
    }

    /// The peer breaks the rules: the life of the link ends and a new one begins from nothing.
    fn lane_broken(&mut self, index: u32, reason: CloseReason, error: &str, now: Instant, out: &mut impl Out) {
        let slot = &mut self.lanes.slots[index as usize];
        slot.lane.end(reason);
        let (name, node, epoch) = (slot.identity.name.clone(), slot.identity.node_id, slot.lane.epoch());
        out.event(Event::LinkError { peer: &name, error: error.to_owned() });
        self.node_gone(node, epoch, now, out);
    }

    fn handle_message(
        &mut self,
        index: u32,
        message: LinkMessage<'_>,
        now: Instant,
        out: &mut impl Out,
    ) -> Result<(), (CloseReason, String)> {
        let out_of_step = |error: &dyn std::fmt::Display| (CloseReason::OutOfStep, error.to_string());
        match message {
            LinkMessage::Publish(publish) => {
                self.lanes.slots[index as usize].publishes_received += 1;
                self.publish_from_peer(&publish, now);
            }
            LinkMessage::Claim { client_id, claim } => self.claim_from_peer(client_id, &claim, now, out),
            LinkMessage::ClaimsDone => {}
            LinkMessage::InterestConfirm { version } => {
                let member = self.lanes.slots[index as usize].identity.member();
                self.node.interest().confirmed(member, version);
                self.outboxes.note_all_but(self.thread, &Note::InterestConfirmed);
                self.interest_confirmed(now, out);
            }
            LinkMessage::InterestSnapshotBegin { version } => {
                let interest = &mut self.speaker(index)?.interest;
                interest.handle_snapshot_begin(version).map_err(|error| out_of_step(&error))?;
            }
            LinkMessage::Interest(delta) => {
                let interest = &mut self.speaker(index)?.interest;
                interest.handle_delta(&delta).map_err(|error| out_of_step(&error))?;
                self.apply_interest(index, &delta);
            }
            LinkMessage::InterestSnapshotEnd => {
                let interest = &mut self.speaker(index)?.interest;
                interest.handle_snapshot_end().map_err(|error| out_of_step(&error))?;
                let place = self.speaker(index)?.place;
                let slot = &self.lanes.slots[index as usize];
                let (peer, member) = (slot.peer, slot.identity.member());
                self.complete_place(place, member);
                if let Some(status) = self.node.peers_mut().get_mut(peer) {
                    status.linked = true;
                }
            }
            LinkMessage::RetainedRequest => {
                self.speaker(index)?.copy = Some(Cursor::default());
                self.copy_retained(index, now);
            }
            LinkMessage::RetainedEntry(entry) => self.retained_from_peer(&entry, now),
            LinkMessage::RetainedDone => {
                let peer = self.lanes.slots[index as usize].peer;
                if let Some(status) = self.node.peers_mut().get_mut(peer) {
                    status.retained_copied = true;
                }
            }
        }
        Ok(())
    }

    fn speaker(&mut self, index: u32) -> Result<&mut Speaker, (CloseReason, String)> {
        let slot = &mut self.lanes.slots[index as usize];
        let number = slot.number;
        let misplaced =
            || (CloseReason::ProtocolError, format!("interest or retained copy on lane {number}, wanted 0"));
        slot.speaker.as_deref_mut().ok_or_else(misplaced)
    }

    /// Senders whose messages the peer has (up to a frame) are acknowledged.
    pub(crate) fn release_waits(&mut self, index: u32, sequence: u64, now: Instant, out: &mut impl Out) {
        while let Some(id) = self.lanes.take_wait(index, sequence) {
            self.party_answered(id, now, out);
        }
    }

    /// The lane takes more: clients that were held, and copies in bulk, go on.
    fn lane_has_room(&mut self, index: u32, now: Instant, out: &mut impl Out) {
        self.send_claims(index);
        self.copy_retained(index, now);
        if self.lanes.slots[index as usize].speaker.as_ref().is_some_and(|speaker| speaker.behind) {
            self.announce_interest();
        }
        if !self.holds_publishes && !self.is_held(index) {
            self.resume_held(now, out);
        }
    }

    /// Clients that were held are read on. One that must be held yet is held again.
    pub(crate) fn resume_held(&mut self, now: Instant, out: &mut impl Out) {
        for conn in std::mem::take(&mut self.lanes.held) {
            let Some(connection) = self.connections.get_mut(conn) else { continue };
            connection.held = false;
            if let Role::Client(id) = connection.role {
                self.resume(conn, id, now, out);
            }
        }
    }

    /// Whether publishers that need this lane are held: at half of what the lane takes at most.
    pub(crate) fn is_held(&self, index: u32) -> bool {
        self.lanes.slots[index as usize].lane.buffered_bytes() >= self.node.settings.limits.link_buffer_bytes
    }

    /// The connection of a lane ended; the lane waits for another.
    pub(crate) fn lane_lost(&mut self, index: u32, conn: ConnId, now: Instant, out: &mut impl Out) {
        self.connections.remove(conn);
        let slot = &mut self.lanes.slots[index as usize];
        if slot.conn != Some(conn) {
            return;
        }
        slot.conn = None;
        slot.lane.lost(now);
        let (peer, number, epoch, identity) = (slot.peer, slot.number, slot.lane.epoch(), slot.identity.clone());
        self.lane_disconnected(peer, now);
        out.event(Event::LinkLost { peer: &identity.name, lane: number });
        out.lane_closed(identity.node_id, number, epoch, LaneEnd::Lost);
    }

    fn lane_disconnected(&mut self, peer: NodeIndex, now: Instant) {
        self.node.peers_mut().set_lane_up(peer, false, now);
    }

    /// Heartbeats, and lanes whose time is up.
    pub(crate) fn lanes_due(&mut self, now: Instant, out: &mut impl Out) {
        for index in 0..self.lanes.slots.len() {
            let slot = &mut self.lanes.slots[index];
            if let Tick::Gone(Gone::Silent | Gone::NotResumed) = slot.lane.tick(now) {
                let (node, epoch) = (slot.identity.node_id, slot.lane.epoch());
                self.node_gone(node, epoch, now, out);
            }
            if let Some(error) = self.lanes.slots[index].speaker.as_mut().and_then(|it| it.fell_behind.take()) {
                self.lane_broken(index as u32, CloseReason::OutOfStep, &error, now, out);
            }
            self.lanes.touch(index as u32);
        }
    }

    /// A peer counts as gone: every thread drops its lanes, nobody waits for it, its interest is forgotten.
    pub(crate) fn node_gone(&mut self, node: u64, epoch: u64, now: Instant, out: &mut impl Out) {
        self.outboxes.note_all_but(self.thread, &Note::NodeGone { node, epoch });
        self.node_gone_here(node, epoch, now, out);
    }

    /// Ends this thread's lanes of that life of the link, or an earlier one; a newer life is not touched.
    pub(crate) fn node_gone_here(&mut self, node: u64, epoch: u64, now: Instant, out: &mut impl Out) {
        for index in 0..self.lanes.slots.len() as u32 {
            let slot = &mut self.lanes.slots[index as usize];
            if slot.identity.node_id != node || slot.lane.epoch() > epoch {
                continue;
            }
            let (peer, number, name) = (slot.peer, slot.number, slot.identity.name.clone());
            let member = slot.identity.member();
            self.close_lane(index, CloseReason::Gone, now, out);
            self.strand_waits(index, member, now, out);
            self.lanes.slots[index as usize].claims = None;
            // Several may tell of the same end.
            if self.lanes.slots[index as usize].speaker.take().is_some() {
                self.forget_interest(peer, node, now, out);
                out.event(Event::NodeGone { peer: &name });
            }
            self.lane_has_room(index, now, out);
            out.lane_closed(node, number, epoch, LaneEnd::Gone);
        }
    }

    /// Tells the peer, as far as there is a connection, and closes it.
    pub(crate) fn close_lane(&mut self, index: u32, reason: CloseReason, now: Instant, out: &mut impl Out) {
        self.lanes.slots[index as usize].lane.end(reason);
        self.flush_lane(index);
        let LaneSlot { peer, conn, .. } = &mut self.lanes.slots[index as usize];
        let (peer, conn) = (*peer, conn.take());
        if let Some(conn) = conn {
            self.lane_disconnected(peer, now);
            if let Some(connection) = self.connections.remove(conn) {
                out.close(conn, connection.out);
            }
        }
    }

    /// The node stops and everything was said: peers are told, so that they do not wait for this node to come back.
    pub fn close_lanes(&mut self, now: Instant, out: &mut impl Out) {
        for index in 0..self.lanes.slots.len() as u32 {
            self.close_lane(index, CloseReason::Shutdown, now, out);
        }
    }

    fn forget_interest(&mut self, peer: NodeIndex, node: u64, now: Instant, out: &mut impl Out) {
        if self.following.is_some() {
            self.tidy_places(peer);
        } else {
            self.turn.trie_mut(&self.node).remote_clear(peer);
        }
        self.unlink(peer, node);
        self.outboxes.note_all_but(self.thread, &Note::InterestConfirmed);
        self.interest_confirmed(now, out);
    }

    /// A peer takes no part any more.
    pub(crate) fn unlink(&mut self, peer: NodeIndex, node: u64) {
        self.node.interest().barrier.peer_gone(NodeId(node));
        if let Some(status) = self.node.peers_mut().get_mut(peer) {
            status.linked = false;
            status.retained_copied = false;
        }
    }

    /// End of the turn: what the lanes have to say goes into their connections' buffers.
    pub(crate) fn flush_lanes(&mut self) {
        while let Some(index) = self.lanes.next_touched() {
            self.confirm_interest_of(index);
            self.lanes.flushed(index);
            self.flush_lane(index);
        }
    }

    /// Moves what fits; more follows when the socket has taken it.
    pub(crate) fn flush_lane(&mut self, index: u32) {
        let slot = &mut self.lanes.slots[index as usize];
        let Some(conn) = slot.conn else { return };
        slot.lane.flush();
        loop {
            let unsent = slot.lane.unsent();
            if unsent.is_empty() {
                return;
            }
            let Some(buffer) = self.connections.output(conn) else { return };
            let bytes = unsent.len().min(LANE_OUTPUT_BYTES.saturating_sub(buffer.len()));
            if bytes == 0 {
                return;
            }
            buffer.extend_from_slice(&unsent[..bytes]);
            slot.lane.sent(bytes);
        }
    }
}
