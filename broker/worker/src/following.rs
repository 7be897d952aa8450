//! A data thread of a node of a durable cluster follows the view: whom its publishes wait for, and what ends that.
//!
//! A publish of QoS 1 or 2 waits for each member of the view that wants it until that member has it, or until a newer view
//! is followed that is without it. A lost link ends no wait: who is behind it may go on serving its clients. What was on
//! its way then may be lost, so that such a publish is not acknowledged while the member stays, and its client is closed
//! when it has waited for long enough, as every client that waits is. While the filters of a member are not known here, no
//! publish of QoS 1 or 2 is taken at all.
//!
//! Whether what was decided may be told yet is asked of the reactor ([`Out::may_acknowledge`]), which has the clock.

use crate::ids::ConnId;
use crate::lanes::OnItsWay;
use crate::out::{LaneEnd, Out};
use crate::pending::WaitId;
use crate::publish::Routed;
use crate::sabotage::sabotaged;
use crate::turn::{LEAST_PER_TURN, Portion};
use crate::views::Orders;
use crate::worker::Worker;
use fulmar_cluster::Version;
use fulmar_cluster::frame::CloseReason;
use fulmar_codec::{QoS, ReasonCode};
use fulmar_meta::{Incarnation, Member, View};
use fulmar_router::NodeIndex;
use fulmar_session::Outgoing;
use std::sync::Arc;
use std::time::Instant;

/// What a data thread follows.
#[derive(Debug)]
pub(crate) struct Following {
    /// The last change that it has looked at.
    seen: u64,
    life: Incarnation,
    pub(crate) view: Arc<View>,
    pub(crate) is_serving: bool,
    is_draining: bool,
    /// The session after the one that was sent away last.
    next_farewell: u32,
    dismissals: u64,
    /// The life that publishes wait for, by the peer's number.
    awaited: Vec<Option<Member>>,
    /// Publishes that wait for a member without anything on its way there.
    stranded: Stranded,
}

/// See [`Following::stranded`].
#[derive(Debug, Default)]
struct Stranded {
    waits: Vec<(Member, WaitId)>,
    /// When there are so many, those that nobody waits for any more are taken out.
    tidied_at: usize,
}

/// So few are not looked at.
const STRANDED_MIN: usize = 1024;

impl Following {
    pub(crate) fn new(life: Incarnation) -> Following {
        Following {
            seen: 0,
            life,
            view: Arc::default(),
            is_serving: false,
            is_draining: false,
            next_farewell: 0,
            dismissals: 0,
            awaited: Vec::new(),
            stranded: Stranded::default(),
        }
    }
}

impl Worker {
    /// Whether there is something to follow that this thread has not looked at: then it does not sleep.
    pub fn has_news(&self) -> bool {
        let seen = self.following.as_ref().map(|following| following.seen);
        self.node.views.as_ref().zip(seen).is_some_and(|(views, seen)| views.has_news(seen))
    }

    /// Does what follows from a new view and the other things that the control side says.
    #[inline]
    pub(crate) fn keep_up(&mut self, now: Instant, out: &mut impl Out) {
        if self.following.is_some() {
            self.look_at_views(now, out);
        }
    }

    fn look_at_views(&mut self, now: Instant, out: &mut impl Out) {
        let node = Arc::clone(&self.node);
        let (Some(views), Some(following)) = (&node.views, &mut self.following) else { return };
        let Some(orders) = views.news(node.settings.node_id, &mut following.seen) else { return };
        let Orders { life, ref view, is_serving, is_draining, dismissals, has_unknown } = orders;
        (following.is_serving, following.is_draining) = (is_serving, is_draining);
        if std::mem::replace(&mut following.dismissals, dismissals) != dismissals {
            self.put_off.dismissal = Some(0);
        }
        if std::mem::replace(&mut following.life, life) != life {
            self.begin_life(now, out);
        }
        self.follow(view, now, out);
        if std::mem::replace(&mut self.holds_publishes, has_unknown) && !has_unknown {
            self.resume_held(now, out);
        }
        views.done(self.thread, &orders);
    }

    fn follow(&mut self, view: &Arc<View>, now: Instant, out: &mut impl Out) {
        let Some(following) = &mut self.following else { return };
        if view.number <= following.view.number {
            return;
        }
        following.view = Arc::clone(view);
        following.awaited.clear();
        let is_over = |(member, _): &(Member, WaitId)| !view.contains(*member);
        let over: Vec<_> = following.stranded.waits.extract_if(.., |wait| is_over(wait)).collect();
        for index in 0..self.lanes.slots.len() as u32 {
            if !view.contains(self.lanes.slots[index as usize].identity.member()) {
                self.release_waits(index, u64::MAX, now, out);
            }
        }
        for (_, wait) in over {
            self.party_answered(wait, now, out);
        }
        if self.thread == 0 {
            (0..self.places.nodes()).for_each(|node| self.tidy_places(NodeIndex(node)));
        }
        self.interest_confirmed(now, out);
    }

    /// Thread 0: what is not of use any more of a peer's filters goes.
    pub(crate) fn tidy_places(&mut self, node: NodeIndex) {
        let (Some(following), Some(views)) = (&self.following, &self.node.views) else { return };
        let linked = self.lanes.slots.iter().find(|slot| slot.peer == node && slot.speaker.is_some());
        let linked = linked.map(|slot| slot.identity.member());
        for (place, member) in self.places.forget(node, linked, &following.view) {
            views.set_known(member, self.places.has_all_of(node, member));
            self.turn.trie_mut(&self.node).remote_clear(place);
        }
    }

    /// Thread 0: a peer begins to list its filters. Gives where they go.
    pub(crate) fn begin_place(&mut self, node: NodeIndex, member: Member) -> NodeIndex {
        let (Some(following), Some(views)) = (&self.following, &self.node.views) else { return node };
        let (place, before) = self.places.begin(node, member, &following.view);
        if let Some(before) = before {
            views.set_known(before, self.places.has_all_of(node, before));
        }
        place
    }

    /// Thread 0: the list of a peer is whole.
    pub(crate) fn complete_place(&mut self, place: NodeIndex, member: Member) {
        let (Some(following), Some(views)) = (&self.following, &self.node.views) else { return };
        if let Some(old) = self.places.complete(place, &following.view) {
            self.turn.trie_mut(&self.node).remote_clear(old);
        }
        views.set_known(member, true);
    }

    /// This node's next life has begun: nobody waits for anything of the last one, and peers are strangers.
    fn begin_life(&mut self, now: Instant, out: &mut impl Out) {
        for index in 0..self.lanes.slots.len() as u32 {
            let slot = &self.lanes.slots[index as usize];
            let (node, number, epoch) = (slot.identity.node_id, slot.number, slot.lane.epoch());
            self.close_lane(index, CloseReason::Gone, now, out);
            while let Some(wait) = self.lanes.take_wait(index, u64::MAX) {
                self.pending.remove(wait);
            }
            let slot = &mut self.lanes.slots[index as usize];
            slot.claims = None;
            if slot.speaker.take().is_some() {
                let peer = slot.peer;
                self.unlink(peer, node);
            }
            out.lane_closed(node, number, epoch, LaneEnd::Gone);
        }
        for place in self.places.take_all() {
            self.turn.trie_mut(&self.node).remote_clear(place);
        }
        let Some(following) = &mut self.following else { return };
        for (_, wait) in following.stranded.waits.drain(..) {
            self.pending.remove(wait);
        }
        self.pending.forget_all_put_off();
        self.resume_held(now, out);
    }

    /// The life of a lane has ended. What waited for that peer goes on waiting if the view has it.
    pub(crate) fn strand_waits(&mut self, index: u32, peer: Member, now: Instant, out: &mut impl Out) {
        let is_kept = !sabotaged!(self.node, WaitDroppedWithLink);
        let following = self.following.as_mut().filter(|following| is_kept && following.view.contains(peer));
        let Some(following) = following else {
            return self.release_waits(index, u64::MAX, now, out);
        };
        while let Some(wait) = self.lanes.take_wait(index, u64::MAX) {
            following.stranded.waits.push((peer, wait));
        }
    }

    /// A publish waits for a member that nothing is on its way to.
    pub(crate) fn strand(&mut self, member: Member, wait: WaitId) {
        let Worker { following: Some(following), pending, sessions, .. } = self else { return };
        let Stranded { waits, tidied_at } = &mut following.stranded;
        waits.push((member, wait));
        if waits.len() >= (*tidied_at).max(STRANDED_MIN) {
            // Sessions that have ended wait for nothing: without them there are as many as clients may have open.
            waits.retain(|(_, wait)| {
                let session = pending.session_of(*wait);
                let is_there = session.is_some_and(|id| sessions.get(id).is_some());
                if !is_there {
                    pending.remove(*wait);
                    session.into_iter().for_each(|id| pending.forget_put_off(id));
                }
                is_there
            });
            *tidied_at = 2 * waits.len();
        }
    }

    /// The life of a peer that publishes wait for; none: it is not in the view.
    fn awaited(&mut self, peer: NodeIndex) -> Option<Member> {
        let following = self.following.as_mut()?;
        if following.awaited.len() <= usize::from(peer.0) {
            let peers = self.node.peers_read();
            let member = |identity: &crate::peers::PeerIdentity| following.view.member(identity.node_id);
            following.awaited = peers.iter().map(|(_, peer)| member(&peer.identity)).collect();
        }
        following.awaited.get(usize::from(peer.0)).copied().flatten()
    }

    /// ONE copy for each node that wants a publish, as far as there are lanes; and who is waited for without one.
    pub(crate) fn send_to_members(
        &mut self,
        outgoing: &Outgoing<'_>,
        retain_as: Option<Version>,
        sent: &mut Vec<OnItsWay>,
        now: Instant,
        routed: &mut Routed,
    ) {
        let waits = outgoing.qos != QoS::AtMostOnce;
        let peers = self.node.peers_read().len();
        for peer in (0..peers).map(NodeIndex) {
            let live = self.scratch.found.nodes.contains(&peer);
            let is_picked = self.scratch.found.picks.iter().any(|pick| pick.node == peer);
            if !live && !is_picked && retain_as.is_none() {
                continue;
            }
            let lane = self.lanes.to(peer);
            let way = lane.and_then(|lane| self.send_to_node(lane, peer, outgoing, live, retain_as, now));
            routed.link_full |= lane.is_some_and(|lane| self.is_held(lane));
            let linked = lane.map(|lane| self.lanes.slots[lane as usize].identity.member());
            match (self.awaited(peer).filter(|_| waits), way) {
                (Some(member), Some(way)) if linked == Some(member) => sent.push(way),
                (Some(_), _) if sabotaged!(self.node, WaitDroppedWithLink) => {}
                (Some(member), _) => self.lanes.unreached.push(member),
                (None, None) if lane.is_some() => self.counters.dropped_link_full += 1,
                (None, _) => {}
            }
        }
    }

    /// Why clients that connect are turned away. One that drains sends them to any other node, without saying which: it
    /// does not know by which names they reach them (MQTT 5.0, 4.11).
    pub(crate) fn is_closed_to_clients(&self) -> Option<ReasonCode> {
        let following = self.following.as_ref()?;
        if !following.is_serving || self.put_off.dismissal.is_some() {
            return Some(ReasonCode::SERVER_UNAVAILABLE);
        }
        following.is_draining.then_some(ReasonCode::USE_ANOTHER_SERVER)
    }

    /// Sends as many clients to other nodes as this thread is allowed to now. Their wills are the store's.
    pub(crate) fn send_away_some(&mut self, now: Instant, out: &mut impl Out) {
        let Some(following) = self.following.as_ref().filter(|following| following.is_draining) else { return };
        let mut next = following.next_farewell;
        let node = Arc::clone(&self.node);
        let farewells = node.views.as_ref().map_or(0, |views| views.take_farewells(self.sessions.connected));
        let mut portion = Portion::of_at_least(LEAST_PER_TURN);
        for _ in 0..farewells {
            if !portion.goes_on(self.turn.effort.is_spent()) {
                break;
            }
            let connected = |from| {
                let all = self.sessions.iter_from(from);
                all.filter_map(|(id, entry)| Some((id, entry.connection?))).next()
            };
            let Some((id, conn)) = connected(next).or_else(|| connected(0)) else { break };
            next = id.slot + 1;
            self.counters.clients_sent_away += 1;
            self.close_client(conn, id, ReasonCode::USE_ANOTHER_SERVER, now, out);
        }
        if let Some(following) = &mut self.following {
            following.next_farewell = next;
        }
    }

    /// Goes on with closing all clients, as far as this turn goes. Their wills are the store's.
    pub(crate) fn dismiss_some(&mut self, now: Instant, out: &mut impl Out) {
        let Some(mut next) = self.put_off.dismissal.take() else { return };
        let mut portion = Portion::of_at_least(LEAST_PER_TURN);
        while portion.goes_on(self.turn.effort.is_spent()) {
            let Some((id, conn)) = self.sessions.iter_from(next).next().map(|(id, entry)| (id, entry.connection))
            else {
                return;
            };
            next = id.slot + 1;
            if let Some(conn) = conn {
                self.close_client(conn, id, ReasonCode::SERVER_BUSY, now, out);
            }
        }
        self.put_off.dismissal = Some(next);
    }

    /// What a client has not been told may not be told any more when the lease is over. Whether the connection can take
    /// another packet: not if its socket has taken a part of one.
    pub(crate) fn take_back_unsaid(&mut self, conn: ConnId, out: &mut impl Out) -> bool {
        if self.following.is_none() || out.may_acknowledge() {
            return true;
        }
        let is_whole = !self.connections.is_behind(conn);
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.out.clear();
        }
        is_whole
    }

    /// Does not read a client until the filters of all members are known.
    pub(crate) fn hold_for_members(&mut self, conn: ConnId, out: &mut impl Out) {
        if let Some(connection) = self.connections.get_mut(conn)
            && !std::mem::replace(&mut connection.held, true)
        {
            self.counters.view_holds += 1;
            self.lanes.held.push(conn);
        }
        self.pause(conn, out);
    }
}
