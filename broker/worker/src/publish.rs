//! From a publish of this node to everyone who gets it.

use crate::desk::Waits;
use crate::ids::{ConnId, SessionId};
use crate::lanes::OnItsWay;
use crate::out::Out;
use crate::pending::{Wait, WaitId};
use crate::sabotage::sabotaged;
use crate::sessions::subscriber;
use crate::worker::Worker;
use fulmar_cluster::Version;
use fulmar_cluster::frame::LinkPublish;
use fulmar_codec::{PacketId, QoS, ReasonCode, Version as ProtocolVersion};
use fulmar_router::NodeIndex;
use fulmar_session::{AckToken, Outgoing};
use fulmar_store::{Ask, ShardId, WillId};
use std::time::Instant;

/// Where a publish comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// A client of this thread; with a token it wants an acknowledgement.
    Client { session: SessionId, conn: ConnId, token: Option<AckToken>, packet_id: Option<PacketId> },
    /// A will of a session of this thread.
    Will,
    /// A will that the store has kept.
    StoredWill { shard: ShardId, will: WillId },
}

/// What became of a publish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Routed {
    /// Nodes that have to answer before the acknowledgement.
    pub(crate) parties: u32,
    /// A link has taken more than it should hold: its publishers wait.
    pub(crate) link_full: bool,
    /// What to answer the publisher.
    pub(crate) reason: ReasonCode,
}

impl Worker {
    /// Brings a publish of this node to all its receivers, here and on other nodes.
    pub(crate) fn publish_from(&mut self, outgoing: &Outgoing<'_>, source: Source, now: Instant) -> Routed {
        let publisher = match source {
            Source::Client { session, .. } => Some(subscriber(self.thread, session)),
            Source::Will | Source::StoredWill { .. } => None,
        };
        let mut routed = Routed { parties: 0, link_full: false, reason: ReasonCode::SUCCESS };
        // Stored before it is matched: whoever subscribes from now on reads it there.
        let is_refused = outgoing.retain && self.refuses_to_retain(outgoing, now);
        if is_refused {
            self.counters.overload_retained_refused += 1;
            routed.reason = ReasonCode::QUOTA_EXCEEDED;
        }
        let retain_as = (outgoing.retain && !is_refused).then(|| self.node.tick(now));
        // The store keeps it and tells of it when it is committed, which is later.
        let is_late = sabotaged!(self.node, MatchBeforeRetained) && self.desk.is_open();
        let is_retained = retain_as.is_some_and(|version| is_late || self.retain(outgoing, version, now));
        if retain_as.is_some() && !is_retained {
            routed.reason = ReasonCode::QUOTA_EXCEEDED;
        }
        self.scratch.found.shards_first = self.following.is_some() && outgoing.qos != QoS::AtMostOnce;
        self.find(outgoing.topic, publisher, false);
        self.scratch.found.shards_first = false;
        let asks = match self.desk.is_open() {
            true => self.asks_for(outgoing, retain_as.filter(|_| is_retained), source, now),
            false => Vec::new(),
        };
        if self.scratch.found.is_empty() && asks.is_empty() {
            self.counters.publishes_unmatched += 1;
        } else {
            self.deliver_found(outgoing, None, now);
        }
        if !asks.is_empty() || self.lanes.has_others {
            self.send_on(outgoing, retain_as.filter(|_| !is_late), source, asks, now, &mut routed);
        }
        routed
    }

    /// What goes beyond the sessions of this node.
    fn send_on(
        &mut self,
        outgoing: &Outgoing<'_>,
        retain_as: Option<Version>,
        source: Source,
        asks: Vec<Ask>,
        now: Instant,
        routed: &mut Routed,
    ) {
        let mut sent = std::mem::take(&mut self.lanes.ways);
        sent.clear();
        self.lanes.unreached.clear();
        self.send_to_nodes(outgoing, retain_as, &mut sent, now, routed);
        self.await_all(source, &sent, asks, routed);
        self.lanes.ways = sent;
    }

    /// ONE copy for each node: those with a subscriber, those asked to pick a member, all of them if it is retained.
    fn send_to_nodes(
        &mut self,
        outgoing: &Outgoing<'_>,
        retain_as: Option<Version>,
        sent: &mut Vec<OnItsWay>,
        now: Instant,
        routed: &mut Routed,
    ) {
        if retain_as.is_none() && self.scratch.found.nodes.is_empty() && self.scratch.found.picks.is_empty() {
            return;
        }
        if self.following.is_some() {
            return self.send_to_members(outgoing, retain_as, sent, now, routed);
        }
        for peer in self.lanes.peers() {
            let Some(lane) = self.lanes.to(peer) else { continue };
            let live = self.scratch.found.nodes.contains(&peer);
            let wanted = live || self.scratch.found.picks.iter().any(|pick| pick.node == peer);
            if wanted || retain_as.is_some() {
                match self.send_to_node(lane, peer, outgoing, live, retain_as, now) {
                    Some(way) => sent.push(way),
                    None if outgoing.qos == QoS::AtMostOnce => self.counters.dropped_link_full += 1,
                    None => routed.reason = ReasonCode::QUOTA_EXCEEDED,
                }
                routed.link_full |= self.is_held(lane);
            }
        }
    }

    /// The publisher waits for the nodes that its publish is on its way to, for the store, and for room on the links.
    fn await_all(&mut self, source: Source, sent: &[OnItsWay], asks: Vec<Ask>, routed: &mut Routed) {
        let Source::Client { conn, session, token: Some(token), .. } = source else {
            if let (true, Source::Client { conn, .. }) = (routed.link_full, source) {
                self.lanes.held.push(conn);
            }
            return asks.into_iter().for_each(|ask| match ask {
                // It is told of once.
                Ask::WillDone { .. } => self.do_in_store(ask),
                _ => self.desk.ask(ask, Waits::Nobody),
            });
        };
        if routed.link_full {
            self.lanes.held.push(conn);
        }
        routed.parties = (sent.len() + self.lanes.unreached.len() + asks.len()) as u32;
        if routed.parties > 0 {
            let received = asks.iter().find_map(|ask| match ask {
                Ask::ReceiveQos2 { packet_id, .. } => Some(*packet_id),
                _ => None,
            });
            let wait = self.pending.insert(session, token, routed.parties, routed.reason, received);
            sent.iter().for_each(|way| self.lanes.wait(*way, wait));
            while let Some(member) = self.lanes.unreached.pop() {
                self.strand(member, wait);
            }
            let others = routed.parties - 1;
            for ask in asks {
                // It says that the message is where it belongs: a retry is not routed again. So that is to be so before,
                // also if this node does not live to bring it there (MQTT 5.0, 4.3.3).
                let is_last = matches!(ask, Ask::ReceiveQos2 { .. });
                if is_last && (others > 0 || self.pending.has_put_off(session)) {
                    self.pending.put_off(session, wait, ask);
                } else {
                    self.desk.ask(ask, Waits::Publish(wait));
                }
            }
        }
    }

    /// A node has a publish that was sent to it, or is gone, or the store has done its part.
    pub(crate) fn party_answered(&mut self, id: WaitId, now: Instant, out: &mut impl Out) {
        let Some(session) = self.pending.session_of(id) else { return };
        if let Some(wait) = self.pending.answered(id) {
            self.wait_over(wait, now, out);
        }
        self.ask_what_was_put_off(session);
    }

    /// Asks the store what was put off until now, for the connection that the session has by now: if that is at another node,
    /// the store refuses, and what comes there is no retry.
    pub(crate) fn ask_what_was_put_off(&mut self, session: SessionId) {
        while let Some((id, ask)) = self.pending.take_put_off(session) {
            self.ask_put_off(session, id, ask);
        }
    }

    /// Asks the store for all that the session has put off: its client goes, and may send it again at another node before
    /// the last member here has answered. This node lives and brings it there.
    pub(crate) fn ask_all_put_off(&mut self, session: SessionId) {
        for (id, ask) in self.pending.take_all_put_off(session) {
            self.ask_put_off(session, id, ask);
        }
    }

    fn ask_put_off(&mut self, session: SessionId, id: WaitId, mut ask: Ask) {
        let stored = self.sessions.get(session).and_then(|entry| entry.queue());
        if let (Ask::ReceiveQos2 { epoch, .. }, Some(stored)) = (&mut ask, stored) {
            *epoch = stored.epoch;
        }
        self.desk.ask(ask, Waits::Publish(id));
    }

    pub(crate) fn send_to_node(
        &mut self,
        lane: u32,
        peer: NodeIndex,
        outgoing: &Outgoing<'_>,
        live: bool,
        retain_as: Option<Version>,
        now: Instant,
    ) -> Option<OnItsWay> {
        let found = &self.scratch.found;
        let mut shared = std::mem::take(&mut self.lanes.shared);
        shared.clear();
        for pick in found.picks.iter().filter(|pick| pick.node == peer) {
            let (group, filter) = pick.group_and_filter(&found.names);
            // More groups than a list holds: no member gets the message, as if the queue were full.
            if !shared.push(group, filter) {
                self.counters.dropped_no_member += 1;
            }
        }
        let publish = link_publish(outgoing, live, retain_as, shared.list(), 0, now);
        let sent = self.lanes.push_publish(lane, &publish);
        self.lanes.shared = shared;
        sent
    }

    /// Every node has a client's publish, or is gone: the client is acknowledged.
    pub(crate) fn wait_over(&mut self, wait: Wait, now: Instant, out: &mut impl Out) {
        let Wait { session: id, token, reason, received, .. } = wait;
        let Some(entry) = self.sessions.get_mut(id) else { return };
        if let Some(packet_id) =
            received.filter(|_| reason.is_error() && entry.session.version() == ProtocolVersion::V5)
            && let Some(stored) = entry.queue()
        {
            let ask = Ask::Release { client: stored.client.clone(), epoch: stored.epoch, packet_id };
            return self.desk.ask(ask, Waits::Refusal(wait.without_received()));
        }
        match entry.connection.and_then(|conn| Some((conn, self.connections.output(conn)?))) {
            Some((conn, buffer)) => {
                let before = buffer.len();
                entry.session.handle_routed(token, reason, now, buffer);
                self.counters.wrote(&buffer[before..]);
                self.resume(conn, id, now, out);
            }
            None => entry.session.handle_routed(token, reason, now, &mut Vec::new()),
        }
    }
}

/// A publish as it goes to another node.
pub(crate) fn link_publish<'a>(
    outgoing: &Outgoing<'a>,
    live: bool,
    retain_as: Option<Version>,
    shared: fulmar_cluster::frame::SharedList<'a>,
    hops: u8,
    now: Instant,
) -> LinkPublish<'a> {
    LinkPublish {
        qos: outgoing.qos,
        retain: outgoing.retain,
        live,
        retain_as,
        shared,
        hops,
        topic: outgoing.topic,
        expiry: outgoing.expiry_seconds_left(now),
        forward: outgoing.forward,
        payload: outgoing.payload,
    }
}
