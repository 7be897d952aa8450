//! The lanes of this thread, and which of them leads to whom.
//!
//! A thread sends on the lane with its own number and receives on every lane it holds. The lane's own state machine
//! (numbers, resending, heartbeats) is in `fulmar-cluster`; what happens to a lane, and what its messages mean, is in
//! `link.rs`.

use crate::counters::LinkCounters;
use crate::ids::ConnId;
use crate::peers::PeerIdentity;
use crate::pending::WaitId;
use fulmar_cluster::frame::{LinkMessage, LinkPublish, SharedTargets};
use fulmar_cluster::interest::{InterestFeed, PeerInterest};
use fulmar_cluster::lane::Lane;
use fulmar_meta::Member;
use fulmar_router::{Cursor, NodeIndex};
use std::collections::VecDeque;

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
    /// Where the peer's filters stand in the trie.
    pub(crate) place: NodeIndex,
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
    /// Members that a publish waits for without being on its way there.
    pub(crate) unreached: Vec<Member>,
    /// A publish may be for other nodes: there is, or was, a lane, or there is a view.
    pub(crate) has_others: bool,
}

/// A publish is on its way to a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnItsWay {
    pub(crate) lane: u32,
    pub(crate) sequence: u64,
}

impl Lanes {
    /// No lanes yet. `has_others`: there is a view, which may have members without one.
    pub(crate) fn new(has_others: bool) -> Lanes {
        Lanes { has_others, ..Lanes::default() }
    }

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

    /// This thread sends to the peer on this lane.
    pub(crate) fn send_on(&mut self, peer: NodeIndex, index: u32) {
        let at = usize::from(peer.0);
        if self.sending.len() <= at {
            self.sending.resize(at + 1, None);
        }
        self.sending[at] = Some(index);
    }

    /// A lane that has something to flush; [`Self::flushed`] is to follow.
    pub(crate) fn next_touched(&mut self) -> Option<u32> {
        self.touched.pop()
    }

    pub(crate) fn flushed(&mut self, index: u32) {
        self.slots[index as usize].touched = false;
    }

    /// The next publish that waits for a frame up to `sequence` of a lane.
    pub(crate) fn take_wait(&mut self, index: u32, sequence: u64) -> Option<WaitId> {
        let waits = &mut self.slots[index as usize].waits;
        waits.pop_front_if(|(number, _)| *number <= sequence).map(|(_, wait)| wait)
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

    /// Whose lane of that number to a peer this is.
    pub(crate) fn member_at(&self, peer: NodeIndex, number: u16) -> Option<Member> {
        let slot = self.slots.iter().find(|slot| slot.peer == peer && slot.number == number);
        slot.map(|slot| slot.identity.member())
    }

    /// The lane of that number to a peer: the one there is, or `lane`.
    pub(crate) fn slot_of(&mut self, peer: NodeIndex, identity: &PeerIdentity, number: u16, lane: Lane) -> u32 {
        if let Some(index) = self.slots.iter().position(|slot| slot.peer == peer && slot.number == number) {
            self.slots[index].identity = identity.clone();
            return index as u32;
        }
        self.has_others = true;
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
