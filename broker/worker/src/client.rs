//! Packets of a connected client: each goes to its session, and what the session decides is done here.

use crate::connections::{Connection, Role};
use crate::ids::{ConnId, SessionId};
use crate::out::{Departure, Event, Out};
use crate::publish::Source;
use crate::worker::{Consumed, Worker};
use fulmar_codec::{
    AckKind, DecodeError, Framed, Packet, PacketId, Publish, QoS, ReasonCode, decode, encode_pingresp, split_frame,
};
use fulmar_session::{AckAction, AckToken, DisconnectAction, Excess, Limit, Outgoing, PublishAction, TopicSource};
use std::time::{Duration, Instant};

/// Whether the next packet of the same connection may be taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flow {
    Go,
    /// The rest waits until the connection is resumed.
    Pause,
    /// The connection is closed.
    Closed,
}

impl Worker {
    pub(crate) fn client_bytes(
        &mut self,
        conn: ConnId,
        id: SessionId,
        bytes: &[u8],
        now: Instant,
        out: &mut impl Out,
    ) -> Consumed {
        let packet_bytes_max = self.node.settings.limits.packet_bytes;
        let is_metered = self.is_metered();
        let Some(entry) = self.sessions.get_mut(id) else { return Consumed { bytes: bytes.len(), paused: false } };
        entry.session.seen(now);
        let version = entry.session.version();
        let mut used = 0;
        loop {
            if self.is_sated() && used < bytes.len() {
                self.read_next_turn(conn, out);
                self.counters.bytes_received += used as u64;
                return Consumed { bytes: used, paused: true };
            }
            let (first, body, length) = match split_frame(&bytes[used..], packet_bytes_max) {
                Ok(Framed::Whole { first, body, length }) => (first, body, length),
                Ok(Framed::Incomplete { .. }) => break,
                Err(error) => {
                    self.bad_bytes(conn, id, &error, now, out);
                    break;
                }
            };
            if self.holds_publishes && is_acknowledged_publish(first) {
                self.hold_for_members(conn, out);
                self.counters.bytes_received += used as u64;
                return Consumed { bytes: used, paused: true };
            }
            used += length;
            self.counters.packets_received += 1;
            self.turn.begin_packet();
            let flow = match decode(version, first, body) {
                Ok(Packet::Publish(publish)) => {
                    let flow = self.publish(conn, id, &publish, now, out);
                    match is_metered {
                        true => self.meter(conn, id, length, now, out).unwrap_or(flow),
                        false => flow,
                    }
                }
                Ok(packet) => self.packet(conn, id, &packet, now, out),
                Err(error) => {
                    self.bad_bytes(conn, id, &error, now, out);
                    Flow::Closed
                }
            };
            match flow {
                Flow::Go if self.is_ahead() => {
                    self.read_after_fanouts(conn, out);
                    self.counters.bytes_received += used as u64;
                    return Consumed { bytes: used, paused: true };
                }
                Flow::Go if self.must_wait(conn, id) => {
                    self.count_wait(id);
                    self.pause(conn, out);
                    self.counters.bytes_received += used as u64;
                    return Consumed { bytes: used, paused: true };
                }
                // Whoever called this sees to the rest.
                Flow::Go if self.turn.is_much() => break,
                Flow::Go => {}
                Flow::Pause => {
                    self.counters.bytes_received += used as u64;
                    return Consumed { bytes: used, paused: true };
                }
                Flow::Closed => break,
            }
        }
        self.counters.bytes_received += used as u64;
        Consumed { bytes: used, paused: false }
    }

    fn bad_bytes(&mut self, conn: ConnId, id: SessionId, error: &DecodeError, now: Instant, out: &mut impl Out) {
        match error {
            DecodeError::PacketTooLarge { .. } => self.counters.beyond(Limit::PacketBytes),
            _ => self.counters.protocol_errors += 1,
        }
        if let Some((client_id, connection)) = self.client_of(conn) {
            out.event(Event::BadBytes { client_id, origin: connection.origin, error: error.to_string() });
        }
        self.close_client(conn, id, error.reason(), now, out);
    }

    /// The hot path: a borrowed publish goes from the read buffer into each receiver's output buffer.
    fn publish(
        &mut self,
        conn: ConnId,
        id: SessionId,
        publish: &Publish<'_>,
        now: Instant,
        out: &mut impl Out,
    ) -> Flow {
        self.counters.payload_bytes_received += publish.payload.len() as u64;
        match publish.qos {
            QoS::AtMostOnce => self.counters.publishes_received_qos0 += 1,
            QoS::AtLeastOnce => self.counters.publishes_received_qos1 += 1,
            QoS::ExactlyOnce => self.counters.publishes_received_qos2 += 1,
        }
        let (Some(entry), Some(connection)) = (self.sessions.get_mut(id), self.connections.get_mut(conn)) else {
            return Flow::Closed;
        };
        let mut alias = std::mem::take(&mut self.scratch.topic);
        let before = connection.out.len();
        let action = entry.session.handle_publish(publish, &mut alias, &self.session_share, now, &mut connection.out);
        let flow = match action {
            PublishAction::Route { token, topic } => {
                let topic = match topic {
                    TopicSource::InPacket => publish.topic,
                    TopicSource::Alias => alias.as_str(),
                };
                match self.judge_publish(id, publish, topic) {
                    Ok(()) => {
                        let outgoing = Outgoing::of_publish(publish, topic, now);
                        self.routed(conn, id, &outgoing, token, publish.packet_id, now, out)
                    }
                    Err(reason) => {
                        self.deny_publish(conn, id, topic, reason, token, now, out);
                        Flow::Go
                    }
                }
            }
            PublishAction::Done => {
                if let Some(buffer) = self.connections.output(conn) {
                    self.counters.wrote(&buffer[before..]);
                }
                Flow::Go
            }
            PublishAction::Close(reason) => {
                self.counters.protocol_errors += 1;
                self.close_client(conn, id, reason, now, out);
                Flow::Closed
            }
            PublishAction::Beyond(excess) => {
                self.close_beyond(conn, id, excess, now, out);
                Flow::Closed
            }
        };
        self.scratch.topic = alias;
        flow
    }

    #[expect(clippy::too_many_arguments, reason = "a publish, whose it is, and what it is answered by")]
    /// Routes a publish of a client and acknowledges it, at once or when other nodes have it.
    fn routed(
        &mut self,
        conn: ConnId,
        id: SessionId,
        outgoing: &Outgoing<'_>,
        token: Option<AckToken>,
        packet_id: Option<PacketId>,
        now: Instant,
        out: &mut impl Out,
    ) -> Flow {
        let source = Source::Client { session: id, conn, token, packet_id };
        let routed = self.publish_from(outgoing, source, now);
        let held = if routed.link_full { self.hold(conn, out) } else { Flow::Go };
        // QoS 0 has no acknowledgement to hold back: a full link holds the reading itself.
        let Some(token) = token else { return held };
        if routed.parties == 0 {
            self.acknowledge(conn, id, token, routed.reason, now);
            return held;
        }
        let patience: Duration = self.node.settings.limits.acknowledgement_timeout;
        self.remind(conn, now + patience);
        held
    }

    /// Answers a publish of a client that is done with.
    #[inline]
    pub(crate) fn acknowledge(
        &mut self,
        conn: ConnId,
        id: SessionId,
        token: AckToken,
        reason: ReasonCode,
        now: Instant,
    ) {
        if let (Some(entry), Some(buffer)) = (self.sessions.get_mut(id), self.connections.output(conn)) {
            let before = buffer.len();
            entry.session.handle_routed(token, reason, now, buffer);
            self.counters.wrote(&buffer[before..]);
        }
    }

    /// Whether a client has to wait before its next packet: receive maximum publishes of it are unanswered, or it does
    /// not read what it is told.
    #[inline]
    pub(crate) fn must_wait(&self, conn: ConnId, id: SessionId) -> bool {
        let output_bytes_max = self.node.settings.limits.output_buffer_bytes;
        self.sessions.get(id).is_some_and(|entry| entry.session.reading_paused())
            || self.connections.get(conn).is_some_and(|connection| connection.out.len() >= output_bytes_max)
    }

    /// Why a client has to wait is counted.
    #[cold]
    fn count_wait(&mut self, id: SessionId) {
        match self.sessions.get(id).is_some_and(|entry| entry.session.reading_paused()) {
            true => self.counters.beyond(Limit::Inflight),
            false => self.counters.limit_hits_output_buffer_bytes += 1,
        }
    }

    /// Stops reading a client until the lanes have room.
    fn hold(&mut self, conn: ConnId, out: &mut impl Out) -> Flow {
        if let Some(connection) = self.connections.get_mut(conn) {
            self.counters.limit_hits_link_buffer_bytes += u64::from(!connection.held);
            connection.held = true;
        }
        self.pause(conn, out)
    }

    pub(crate) fn pause(&mut self, conn: ConnId, out: &mut impl Out) -> Flow {
        if let Some(connection) = self.connections.get_mut(conn)
            && !connection.paused
        {
            connection.paused = true;
            out.pause_reading(conn, true);
        }
        Flow::Pause
    }

    /// Goes on reading a client that was held back, if nothing holds it any more.
    pub(crate) fn resume(&mut self, conn: ConnId, id: SessionId, now: Instant, out: &mut impl Out) {
        if self.must_wait(conn, id) {
            return;
        }
        let Some(entry) = self.sessions.get_mut(id) else { return };
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if connection.paused && !connection.is_unheard() && !connection.awaits_subacks {
            connection.paused = false;
            // While it was not read the client could not show that it lives.
            entry.session.seen(now);
            if let Some(at) = entry.session.keep_alive_deadline() {
                self.remind(conn, at);
            }
            out.pause_reading(conn, false);
        }
    }

    /// Whether nobody listens to a client for a reason that is not its own.
    pub(crate) fn is_unheard(&self, conn: ConnId, id: SessionId) -> bool {
        self.connections.get(conn).is_some_and(Connection::is_unheard)
            || self.sessions.get(id).is_some_and(|entry| entry.session.reading_paused())
    }

    /// The client went beyond a bound: it is closed, and told why in MQTT 5.
    #[cold]
    pub(crate) fn close_beyond(
        &mut self,
        conn: ConnId,
        id: SessionId,
        excess: Excess,
        now: Instant,
        out: &mut impl Out,
    ) {
        self.tell_beyond(conn, excess.limit, out);
        self.close_client(conn, id, excess.reason, now, out);
    }

    /// The client went beyond a bound: that is counted and logged.
    #[cold]
    pub(crate) fn tell_beyond(&mut self, conn: ConnId, limit: Limit, out: &mut impl Out) {
        self.counters.beyond(limit);
        if let Some((client_id, connection)) = self.client_of(conn) {
            out.event(Event::ClientBeyondLimit { client_id, origin: connection.origin, limit: limit.name() });
        }
    }

    /// Who the client of a connection is, and where.
    pub(crate) fn client_of(&self, conn: ConnId) -> Option<(&str, &Connection)> {
        let connection = self.connections.get(conn)?;
        let Role::Client(id) = connection.role else { return None };
        Some((self.sessions.get(id)?.session.client_id(), connection))
    }

    /// Every packet but PUBLISH.
    fn packet(&mut self, conn: ConnId, id: SessionId, packet: &Packet<'_>, now: Instant, out: &mut impl Out) -> Flow {
        if packet.user_properties().exceed(self.node.settings.limits.user_properties) {
            let excess = Excess { limit: Limit::UserProperties, reason: ReasonCode::QUOTA_EXCEEDED };
            self.close_beyond(conn, id, excess, now, out);
            return Flow::Closed;
        }
        match packet {
            Packet::PubAck(ack) => self.acknowledged(conn, id, AckKind::PubAck, ack, now, out),
            Packet::PubRec(ack) => self.acknowledged(conn, id, AckKind::PubRec, ack, now, out),
            Packet::PubRel(ack) => self.acknowledged(conn, id, AckKind::PubRel, ack, now, out),
            Packet::PubComp(ack) => self.acknowledged(conn, id, AckKind::PubComp, ack, now, out),
            Packet::Subscribe(subscribe) => self.subscribe(conn, id, subscribe, now, out),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(conn, id, unsubscribe, now, out),
            Packet::PingReq => {
                if let Some(buffer) = self.connections.output(conn) {
                    encode_pingresp(buffer);
                    self.counters.packets_sent += 1;
                }
                Flow::Go
            }
            Packet::Disconnect(disconnect) => {
                let Some(entry) = self.sessions.get_mut(id) else { return Flow::Closed };
                match entry.session.handle_disconnect(disconnect) {
                    DisconnectAction::Close => {
                        self.close_quietly(conn, id, Departure::Asked(disconnect.reason), now, out);
                    }
                    DisconnectAction::Refuse(reason) => self.protocol_error(conn, id, reason, now, out),
                }
                Flow::Closed
            }
            Packet::Auth(auth) => self.authenticate_again(conn, id, auth, now, out),
            // `decode` lets nothing else through: it refuses a second CONNECT (MQTT 5.0, 3.1.0-2) and what only a server
            // sends.
            _ => {
                self.protocol_error(conn, id, ReasonCode::PROTOCOL_ERROR, now, out);
                Flow::Closed
            }
        }
    }

    pub(crate) fn protocol_error(
        &mut self,
        conn: ConnId,
        id: SessionId,
        reason: ReasonCode,
        now: Instant,
        out: &mut impl Out,
    ) {
        self.counters.protocol_errors += 1;
        self.close_client(conn, id, reason, now, out);
    }

    fn acknowledged(
        &mut self,
        conn: ConnId,
        id: SessionId,
        kind: AckKind,
        ack: &fulmar_codec::Ack<'_>,
        now: Instant,
        out: &mut impl Out,
    ) -> Flow {
        let action = match self.acknowledged_stored(conn, id, kind, ack) {
            Some(action) => action,
            None => {
                let (Some(entry), Some(buffer)) = (self.sessions.get_mut(id), self.connections.output(conn)) else {
                    return Flow::Closed;
                };
                let before = buffer.len();
                let action = entry.session.handle_ack(kind, ack, buffer);
                self.counters.wrote(&buffer[before..]);
                action
            }
        };
        match action {
            AckAction::Nothing => Flow::Go,
            AckAction::Completed => {
                self.pump(id, now);
                Flow::Go
            }
            AckAction::Close(reason) => {
                self.protocol_error(conn, id, reason, now, out);
                Flow::Closed
            }
        }
    }
}

/// Whether this is the first byte of a PUBLISH of QoS 1 or 2 (MQTT 5.0, 3.3.1).
fn is_acknowledged_publish(first: u8) -> bool {
    first >> 4 == 3 && first & 0b110 != 0
}
