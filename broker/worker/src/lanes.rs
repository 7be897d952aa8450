//! The lanes of this thread: what goes to other nodes and what comes from them.
//!
//! A thread sends on the lane with its own number and receives on every lane it holds. The lane's own state machine
//! (numbers, resending, heartbeats) is in `fulmar-cluster`; here its messages meet sessions, trie and retained store.
//! Interest and retained copies travel on lane 0, which thread 0 holds on every node.

use crate::connections::Role;
use crate::counters::LinkCounters;
use crate::ids::ConnId;
use crate::letter::Note;
use crate::out::{Event, LaneEnd, Origin, Out};
use crate::peers::PeerIdentity;
use crate::pending::WaitId;
use crate::worker::{Consumed, Refused, Worker};
use fulmar_cluster::NodeId;
use fulmar_cluster::frame::{self, CloseReason, FRAME_BYTES_MAX, LinkMessage, LinkPublish, SharedTargets, Split};
use fulmar_cluster::interest::{InterestFeed, PeerInterest};
use fulmar_cluster::lane::{Connected, Gone, Lane, Received, Tick};
use fulmar_router::{Cursor, NodeIndex};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

/// Bytes of a lane that the socket has not taken; the rest waits in the lane.
const LANE_OUTPUT_BYTES: usize = 256 << 10;

/// A lane's socket, handed over by the control side after the greeting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LaneSocket {
    /// Who is at the other end.
    pub peer: PeerIdentity,
    /// The lane's number.
    pub lane: u16,
    /// The life of the link, agreed in the greeting.
    pub epoch: u64,
}

/// One lane of this thread.
#[derive(Debug)]
pub(crate) struct LaneSlot {
    pub(crate) peer: NodeIndex,
    pub(crate) identity: PeerIdentity,
    pub(crate) number: u16,
    pub(crate) lane: Lane,
    pub(crate) conn: Option<ConnId>,
    /// Publishes whose senders wait for this peer, by the number of their frame.
    waits: VecDeque<(u64, WaitId)>,
    pub(crate) publishes_sent: u64,
    pub(crate) publishes_received: u64,
    /// There is something to flush at the end of the turn.
    touched: bool,
    /// The slot of the first session whose claim the peer has not been told; none: it knows all.
    pub(crate) claims: Option<u32>,
    /// Lane 0 only.
    pub(crate) speaker: Option<Box<Speaker>>,
}

/// What lane 0 does besides carrying publishes.
#[derive(Debug)]
pub(crate) struct Speaker {
    /// How far the peer has been told our interest.
    pub(crate) feed: InterestFeed,
    /// What the peer has told us.
    pub(crate) interest: PeerInterest,
    /// How far the peer has copied our retained messages; none: it has not asked, or has them all.
    pub(crate) copy: Option<Cursor>,
    /// The peer has not been told everything for lack of room.
    pub(crate) behind: bool,
    /// What the peer was not told is no longer known: the life of the link has to end.
    pub(crate) fell_behind: Option<String>,
}

/// All lanes of a thread.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    pub(crate) slots: Vec<LaneSlot>,
    /// By the peer's number: the lane that this thread sends on.
    sending: Vec<Option<u32>>,
    touched: Vec<u32>,
    /// Clients that are not read because a lane is full.
    pub(crate) held: Vec<ConnId>,
    /// Buffer for the shared groups of a publish.
    pub(crate) shared: SharedTargets,
    /// Buffer for the ways of a publish.
    pub(crate) ways: Vec<OnItsWay>,
}

/// A publish is on its way to a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnItsWay {
    pub(crate) lane: u32,
    pub(crate) sequence: u64,
}

impl Lanes {
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(crate) fn counters(&self) -> Vec<LinkCounters> {
        let of = |slot: &LaneSlot| LinkCounters {
            peer: slot.identity.name.clone(),
            node_id: slot.identity.node_id,
            publishes_sent: slot.publishes_sent,
            publishes_received: slot.publishes_received,
            unacknowledged_bytes: slot.lane.buffered_bytes() as u64,
            connected: slot.lane.is_connected(),
        };
        self.slots.iter().map(of).collect()
    }

    /// The lane to send to a peer on, if it is linked.
    pub(crate) fn to(&self, peer: NodeIndex) -> Option<u32> {
        let index = (*self.sending.get(usize::from(peer.0))?)?;
        self.slots[index as usize].lane.is_linked().then_some(index)
    }

    /// Every peer that this thread ever had a lane to, for a walk that changes lanes on its way; [`Self::to`] tells
    /// which of them are linked.
    pub(crate) fn peers(&self) -> impl Iterator<Item = NodeIndex> + use<> {
        (0..self.sending.len() as u16).map(NodeIndex)
    }

    pub(crate) fn touch(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if !slot.touched {
            slot.touched = true;
            self.touched.push(index);
        }
    }

    /// Adds a message for a peer. Publishes are counted by the caller.
    pub(crate) fn push(&mut self, index: u32, message: &LinkMessage<'_>) -> Option<OnItsWay> {
        let sequence = self.slots[index as usize].lane.push(message).ok()?;
        self.touch(index);
        Some(OnItsWay { lane: index, sequence })
    }

    pub(crate) fn push_publish(&mut self, index: u32, publish: &LinkPublish<'_>) -> Option<OnItsWay> {
        let sent = self.push(index, &LinkMessage::Publish(*publish))?;
        self.slots[index as usize].publishes_sent += 1;
        Some(sent)
    }

    pub(crate) fn wait(&mut self, sent: OnItsWay, wait: WaitId) {
        self.slots[sent.lane as usize].waits.push_back((sent.sequence, wait));
    }

    fn slot_of(&mut self, peer: NodeIndex, identity: &PeerIdentity, number: u16, lane: Lane) -> u32 {
        if let Some(index) = self.slots.iter().position(|slot| slot.peer == peer && slot.number == number) {
            self.slots[index].identity = identity.clone();
            return index as u32;
        }
        self.slots.push(LaneSlot {
            peer,
            identity: identity.clone(),
            number,
            lane,
            conn: None,
            waits: VecDeque::new(),
            publishes_sent: 0,
            publishes_received: 0,
            touched: false,
            claims: None,
            speaker: None,
        });
        (self.slots.len() - 1) as u32
    }
}

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
        let peer = self.node.peers_mut().index_of(identity, own_threads).ok_or(Refused::UnknownLane)?;
        let lane = Lane::new(self.node.lane_settings(), now);
        let index = self.lanes.slot_of(peer, identity, *number, lane);
        let connected =
            self.lanes.slots[index as usize].lane.connected(*epoch, now).map_err(|_| Refused::UnknownLane)?;
        if *number == self.thread {
            let at = usize::from(peer.0);
            if self.lanes.sending.len() <= at {
                self.lanes.sending.resize(at + 1, None);
            }
            self.lanes.sending[at] = Some(index);
        }
        if let Some(old) = self.lanes.slots[index as usize].conn.take() {
            self.lane_disconnected(peer);
            if let Some(connection) = self.connections.remove(old) {
                out.close(old, connection.out);
            }
        }
        let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let conn = self.connections.insert(Origin { listener: u16::MAX, address: nobody, trace: 0 }, Role::Lane(index));
        self.lanes.slots[index as usize].conn = Some(conn);
        if let Some(status) = self.node.peers_mut().get_mut(peer) {
            status.lanes_up += 1;
        }
        self.lanes.touch(index);
        if connected == Connected::BeganAnew {
            self.release_waits(index, u64::MAX, now, out);
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
        let (peer, number, node) = (*peer, *number, NodeId(identity.node_id));
        if number == 0 {
            self.node.trie_mut().remote_clear(peer);
            let mut interest = self.node.interest();
            interest.barrier.peer_linked(node);
            let speaker = Speaker {
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
                self.put_off(conn, out);
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
            LinkMessage::Claim { client_id, version } => self.claim_from_peer(client_id, version, now, out),
            LinkMessage::ClaimsDone => {}
            LinkMessage::InterestConfirm { version } => {
                let node = NodeId(self.lanes.slots[index as usize].identity.node_id);
                self.node.interest().barrier.confirmed(node, version);
                self.outboxes.note_all_but(self.thread, &Note::InterestConfirmed);
                self.interest_confirmed(now);
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
                let peer = self.lanes.slots[index as usize].peer;
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
    fn release_waits(&mut self, index: u32, sequence: u64, now: Instant, out: &mut impl Out) {
        loop {
            let waits = &mut self.lanes.slots[index as usize].waits;
            let Some((_, id)) = waits.pop_front_if(|(number, _)| *number <= sequence) else { return };
            if let Some(wait) = self.pending.answered(id) {
                self.wait_over(wait, now, out);
            }
        }
    }

    /// The lane takes more: clients that were held, and copies in bulk, go on.
    fn lane_has_room(&mut self, index: u32, now: Instant, out: &mut impl Out) {
        self.send_claims(index);
        self.copy_retained(index, now);
        if self.lanes.slots[index as usize].speaker.as_ref().is_some_and(|speaker| speaker.behind) {
            self.announce_interest();
        }
        if self.lanes.held.is_empty() || self.is_held(index) {
            return;
        }
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
        self.lane_disconnected(peer);
        out.event(Event::LinkLost { peer: &identity.name, lane: number });
        out.lane_closed(identity.node_id, number, epoch, LaneEnd::Lost);
    }

    fn lane_disconnected(&mut self, peer: NodeIndex) {
        if let Some(status) = self.node.peers_mut().get_mut(peer) {
            status.lanes_up = status.lanes_up.saturating_sub(1);
        }
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
            self.close_lane(index, CloseReason::Gone, out);
            self.release_waits(index, u64::MAX, now, out);
            self.lanes.slots[index as usize].claims = None;
            // Several may tell of the same end.
            if self.lanes.slots[index as usize].speaker.take().is_some() {
                self.forget_interest(peer, node, now);
                out.event(Event::NodeGone { peer: &name });
            }
            self.lane_has_room(index, now, out);
            out.lane_closed(node, number, epoch, LaneEnd::Gone);
        }
    }

    /// Tells the peer, as far as there is a connection, and closes it.
    fn close_lane(&mut self, index: u32, reason: CloseReason, out: &mut impl Out) {
        self.lanes.slots[index as usize].lane.end(reason);
        self.flush_lane(index);
        let LaneSlot { peer, conn, .. } = &mut self.lanes.slots[index as usize];
        let (peer, conn) = (*peer, conn.take());
        if let Some(conn) = conn {
            self.lane_disconnected(peer);
            if let Some(connection) = self.connections.remove(conn) {
                out.close(conn, connection.out);
            }
        }
    }

    /// The node stops and everything was said: peers are told, so that they do not wait for this node to come back.
    pub fn close_lanes(&mut self, out: &mut impl Out) {
        for index in 0..self.lanes.slots.len() as u32 {
            self.close_lane(index, CloseReason::Shutdown, out);
        }
    }

    fn forget_interest(&mut self, peer: NodeIndex, node: u64, now: Instant) {
        self.node.trie_mut().remote_clear(peer);
        self.node.interest().barrier.peer_gone(NodeId(node));
        if let Some(status) = self.node.peers_mut().get_mut(peer) {
            status.linked = false;
            status.retained_copied = false;
        }
        self.outboxes.note_all_but(self.thread, &Note::InterestConfirmed);
        self.interest_confirmed(now);
    }

    /// End of the turn: what the lanes have to say goes into their connections' buffers.
    pub(crate) fn flush_lanes(&mut self) {
        while let Some(index) = self.lanes.touched.pop() {
            self.confirm_interest_of(index);
            self.lanes.slots[index as usize].touched = false;
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
