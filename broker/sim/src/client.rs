//! One MQTT client on one connection at a time, as a value: it writes and reads packets, keeps what a client must keep,
//! and writes down what it did and saw. What it does when is up to its [`Player`](crate::actor::player::Player).

mod incoming;
mod memory;
mod outgoing;

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;
use std::sync::Arc;

use fulmar_codec::{
    Ack, AckKind, Connect, Disconnect, ForwardProperties, Framed, Packet, PacketId, QoS, ReasonCode, SubscribeFilter,
    SubscriptionOptions, Version, Will, decode_from_server, encode_ack, encode_connect, encode_disconnect,
    encode_pingreq, encode_subscribe, encode_unsubscribe, split_frame,
};

use crate::history::{ActorId, Event, MessageId, Profile, WillGiven};
use crate::{History, Time};
pub(crate) use memory::{Memory, Shared};
pub(crate) use outgoing::Outgoing;

/// What a client takes at most. It never asks for so much.
const PACKET_BYTES_MAX: usize = 1 << 20;

/// Who a client is, and what it says of itself with each CONNECT.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) id: ActorId,
    pub(crate) name: String,
    pub(crate) client_id: Arc<str>,
    pub(crate) version: Version,
    /// For how long its session outlives a connection; 0: it does not. None: for longer than any run.
    pub(crate) expiry_seconds: Option<u32>,
    pub(crate) receive_maximum: u16,
}

impl Identity {
    pub(crate) fn profile(&self) -> Profile {
        Profile { name: self.name.clone(), client_id: self.client_id.clone(), version: self.version }
    }

    /// Whether its session outlives a connection, but not for so long that it never ends.
    fn expires(&self) -> bool {
        self.expiry_seconds.is_some_and(|seconds| seconds > 0)
    }

    /// Whether its session outlives a connection.
    pub(crate) fn is_durable(&self) -> bool {
        self.expiry_seconds != Some(0)
    }
}

/// What a client is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Offline,
    /// A connection was asked for.
    Opening,
    AwaitConnAck,
    Online,
}

/// What comes of what a server sent, beside what is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// The client was let in.
    LetIn,
    /// The client is to close: it was not let in, or was told to go, or cannot read what it gets.
    Over,
}

/// Something that was asked of the server and not answered yet.
#[derive(Debug)]
enum Asked {
    Subscribe(Arc<str>),
    Unsubscribe(Arc<str>),
}

/// A message that was received on this connection and not acknowledged yet.
#[derive(Debug)]
struct Held {
    packet_id: PacketId,
    qos: QoS,
    message: Option<MessageId>,
    topic: Arc<str>,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) identity: Identity,
    memory: Shared,
    pub(crate) state: State,
    pub(crate) connection: u32,
    /// How often somebody was let in with the client identifier before CONNECT was sent.
    let_ins_before: u64,
    inbox: Vec<u8>,
    /// What goes out with the next answer.
    pub(crate) out: Vec<u8>,
    held: VecDeque<Held>,
    asked: BTreeMap<u16, Asked>,
    /// Identifiers of messages of QoS 1 and 2 that the server has sent on this connection and that are not done.
    open: BTreeMap<u16, QoS>,
    /// As many messages the server takes at a time. 3.1.1 does not say.
    server_maximum: u16,
    /// A CONNECT was not answered with success since the client was let in last: it may have begun a session.
    is_unsure: bool,
    /// The next CONNECT is for a session that begins anew.
    begins_anew: bool,
    /// Whether somebody else has the session, as far as was written down.
    is_superseded: bool,
    pub(crate) last_heard: Time,
}

/// Writes down what happens on one connection.
pub(crate) struct Log<'a> {
    pub(crate) now: Time,
    pub(crate) history: &'a mut History,
}

impl Client {
    pub(crate) fn new(identity: Identity, memory: Shared) -> Client {
        Client {
            identity,
            memory,
            state: State::Offline,
            connection: 0,
            let_ins_before: 0,
            inbox: Vec::new(),
            out: Vec::new(),
            held: VecDeque::new(),
            asked: BTreeMap::new(),
            open: BTreeMap::new(),
            server_maximum: u16::MAX,
            is_unsure: false,
            begins_anew: false,
            is_superseded: false,
            last_heard: Time::default(),
        }
    }

    pub(crate) fn memory<T>(&self, look: impl FnOnce(&mut Memory) -> T) -> T {
        look(&mut self.memory.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub(crate) fn record(&self, log: &mut Log<'_>, event: Event) {
        log.history.record(log.now, self.identity.id, self.connection, event);
    }

    /// The server did what it may not do.
    fn wrong(&self, log: &mut Log<'_>, what: String) {
        self.record(log, Event::Wrong(what));
    }

    /// There is a connection: CONNECT.
    pub(crate) fn connect(&mut self, node: usize, clean_start: bool, will: Option<WillGiven>, log: &mut Log<'_>) {
        let Identity { client_id, version, expiry_seconds, receive_maximum, .. } = &self.identity;
        let payload = will.as_ref().map(|will| will.message.to_string());
        let mut connect = Connect::new(*version, client_id);
        // In 3.1.1 one flag says both that the session begins anew and that it ends with the connection.
        let is_brief = *version == Version::V311 && !self.identity.is_durable();
        connect.clean_start = clean_start || is_brief || self.begins_anew;
        connect.keep_alive = 60;
        if *version == Version::V5 {
            connect.session_expiry = expiry_seconds.unwrap_or(7 * 24 * 3600);
            connect.receive_maximum = NonZeroU16::new(*receive_maximum).unwrap_or(NonZeroU16::MIN);
        }
        connect.will = will.as_ref().zip(payload.as_ref()).map(|(will, payload)| Will {
            qos: will.qos,
            delay: will.delay_seconds,
            ..Will::new(&will.topic, payload.as_bytes())
        });
        encode_connect(&mut self.out, &connect);
        let clean_start = connect.clean_start;
        self.let_ins_before = self.memory(|memory| memory.let_ins);
        self.state = State::AwaitConnAck;
        self.last_heard = log.now;
        let (expiry_seconds, receive_maximum) = (*expiry_seconds, *receive_maximum);
        self.record(log, Event::Connected { node });
        self.record(log, Event::ConnectSent { clean_start, expiry_seconds, receive_maximum, will });
    }

    /// The connection is over, and another one may be asked for.
    pub(crate) fn end(&mut self, event: Event, log: &mut Log<'_>) {
        if matches!(self.state, State::AwaitConnAck | State::Online) {
            self.record(log, event);
        }
        self.is_unsure |= self.state == State::AwaitConnAck;
        self.state = State::Offline;
        self.inbox.clear();
        self.out.clear();
        self.asked.clear();
        self.open.clear();
        self.held.clear();
        self.is_superseded = false;
    }

    /// The next connection is asked for.
    pub(crate) fn open(&mut self) {
        self.state = State::Opening;
        self.connection += 1;
    }

    /// DISCONNECT. What is done about the connection is up to the caller.
    pub(crate) fn say_goodbye(&mut self, keeps_will: bool, log: &mut Log<'_>) {
        let keeps_will = keeps_will && self.identity.version == Version::V5;
        let reason = if keeps_will { ReasonCode::DISCONNECT_WITH_WILL } else { ReasonCode::NORMAL_DISCONNECTION };
        encode_disconnect(&mut self.out, self.identity.version, &Disconnect::new(reason));
        self.record(log, Event::DisconnectSent { keeps_will });
    }

    pub(crate) fn ping(&mut self) {
        encode_pingreq(&mut self.out);
    }

    pub(crate) fn subscribe(&mut self, filter: &Arc<str>, qos: QoS, log: &mut Log<'_>) {
        let packet_id = self.free_id();
        self.asked.insert(packet_id.get(), Asked::Subscribe(filter.clone()));
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        encode_subscribe(&mut self.out, self.identity.version, packet_id, None, &[SubscribeFilter { filter, options }]);
        self.record(log, Event::SubscribeSent { filter: filter.clone(), qos });
    }

    pub(crate) fn unsubscribe(&mut self, filter: &Arc<str>, log: &mut Log<'_>) {
        let packet_id = self.free_id();
        self.asked.insert(packet_id.get(), Asked::Unsubscribe(filter.clone()));
        self.memory(|memory| memory.subscriptions.remove(filter));
        encode_unsubscribe(&mut self.out, self.identity.version, packet_id, &[filter]);
        self.record(log, Event::UnsubscribeSent { filter: filter.clone() });
    }

    /// An identifier that stands for nothing else.
    fn free_id(&self) -> PacketId {
        self.memory(|memory| memory.free_id(|id| self.asked.contains_key(&id)))
    }

    /// Whether it is told of everything that it asked.
    pub(crate) fn is_asking(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether what it did and got on this connection is finished.
    pub(crate) fn is_settled(&self) -> bool {
        let is_done = self.memory(|memory| memory.pending.is_empty());
        self.state == State::Online && is_done && self.asked.is_empty() && self.held.is_empty() && self.open.is_empty()
    }

    /// Whether another connection of the client identifier was let in. It is written down the first time.
    pub(crate) fn look_at_session(&mut self, log: &mut Log<'_>) -> bool {
        let holder = self.memory(|memory| memory.holder);
        let is_superseded = self.state == State::Online && holder != Some(self.identity.id);
        if is_superseded && !std::mem::replace(&mut self.is_superseded, true) {
            self.record(log, Event::Superseded);
        }
        is_superseded
    }

    /// Reads what came.
    pub(crate) fn take(&mut self, bytes: &[u8], log: &mut Log<'_>) -> Vec<News> {
        self.last_heard = log.now;
        self.look_at_session(log);
        self.inbox.extend_from_slice(bytes);
        let inbox = std::mem::take(&mut self.inbox);
        let (mut news, mut at) = (Vec::new(), 0);
        loop {
            let (first, body, length) = match split_frame(&inbox[at..], PACKET_BYTES_MAX) {
                Ok(Framed::Whole { first, body, length }) => (first, body, length),
                Ok(Framed::Incomplete { .. }) => break,
                Err(error) => {
                    self.wrong(log, format!("unreadable bytes: {error}"));
                    news.push(News::Over);
                    return news;
                }
            };
            at += length;
            match decode_from_server(self.identity.version, first, body) {
                Ok(packet) => news.extend(self.packet(&packet, log)),
                Err(error) => {
                    self.wrong(log, format!("an unreadable packet: {error}"));
                    news.push(News::Over);
                }
            }
            if news.contains(&News::Over) {
                return news;
            }
        }
        self.inbox = inbox[at..].to_vec();
        news
    }

    fn packet(&mut self, packet: &Packet<'_>, log: &mut Log<'_>) -> Option<News> {
        match (self.state, packet) {
            (State::AwaitConnAck, Packet::ConnAck(connack)) => {
                self.server_maximum = connack.properties.receive_maximum.get();
                return Some(self.connack(connack.session_present, connack.reason, log));
            }
            (State::AwaitConnAck, Packet::Disconnect(disconnect)) | (State::Online, Packet::Disconnect(disconnect)) => {
                self.record(log, Event::DisconnectReceived { reason: disconnect.reason });
                return Some(News::Over);
            }
            (State::Online, Packet::SubAck(suback)) => {
                let granted = suback.codes.iter().next().and_then(|code| QoS::new(code.value()));
                match self.asked.remove(&suback.packet_id.get()) {
                    Some(Asked::Subscribe(filter)) => {
                        if granted.is_some() {
                            self.memory(|memory| memory.subscriptions.insert(filter.clone()));
                        }
                        self.record(log, Event::Subscribed { filter, granted });
                    }
                    _ => self.wrong(log, format!("SUBACK {} answers nothing", suback.packet_id)),
                }
            }
            (State::Online, Packet::UnsubAck(unsuback)) => match self.asked.remove(&unsuback.packet_id.get()) {
                Some(Asked::Unsubscribe(filter)) => self.record(log, Event::Unsubscribed { filter }),
                _ => self.wrong(log, format!("UNSUBACK {} answers nothing", unsuback.packet_id)),
            },
            (State::Online, Packet::PingResp) => {}
            // Somebody else has the session: what still comes here is for nobody.
            (State::Online, _) if self.is_superseded => {}
            (State::Online, Packet::Publish(publish)) => self.publish_received(publish, log),
            (State::Online, Packet::PubRel(ack)) => self.released(ack.packet_id, log),
            (State::Online, Packet::PubAck(ack)) => self.acknowledged(QoS::AtLeastOnce, ack, log),
            (State::Online, Packet::PubRec(ack)) => self.acknowledged(QoS::ExactlyOnce, ack, log),
            (State::Online, Packet::PubComp(ack)) => self.completed(ack, log),
            (_, packet) => self.wrong(log, format!("{packet:?} while the client is {:?}", self.state)),
        }
        None
    }

    fn connack(&mut self, session_present: bool, reason: ReasonCode, log: &mut Log<'_>) -> News {
        if !reason.is_error() && self.memory(|memory| memory.let_ins) != self.let_ins_before {
            // Another one was let in while this CONNECT was on its way. Answers of two nodes come in any order, so
            // that nobody here can know which of the two has the session: this one goes.
            self.record(log, Event::Superseded);
            return News::Over;
        }
        self.record(log, Event::ConnAck { session_present, reason });
        if reason.is_error() {
            return News::Over;
        }
        let is_unsure = std::mem::take(&mut self.is_unsure);
        self.begins_anew = session_present && is_unsure && self.identity.expires();
        if self.begins_anew {
            // The one that it knows may have expired, and this be one that a CONNECT began to which it got no answer:
            // with a session that it knows nothing of it does not go on (MQTT 5.0, 3.2.2.1.1).
            return News::Over;
        }
        self.state = State::Online;
        let id = self.identity.id;
        let given_up = self.memory(|memory| memory.let_in(id, session_present));
        for message in given_up {
            self.record(log, Event::GivenUp { message });
        }
        self.resend(log);
        News::LetIn
    }

    fn acknowledge_with(&mut self, kind: AckKind, packet_id: PacketId, reason: ReasonCode) {
        encode_ack(&mut self.out, self.identity.version, kind, &Ack::new(packet_id, reason));
    }
}

/// What goes with a message that nobody asks about.
const NO_PROPERTIES: ForwardProperties<'static> = ForwardProperties::EMPTY;
