//! A client and what its connection's data thread does for it. It keeps its state of QoS 2 whatever happens to nodes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fulmar_codec::{PacketId, QoS};
use fulmar_store::{Ack, AckReply, Delivery, Epoch, Generation, OwnedSession, Reply, Sequence};

use super::Violation;

/// A connection that has its session.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) node: usize,
    pub(super) slot: u32,
    pub(super) epoch: Epoch,
    /// What was sent last.
    last: Option<Sequence>,
    /// Packet identifiers of messages that are on their way.
    open: BTreeMap<PacketId, Sequence>,
    /// What the client has done with messages and nobody was asked to keep yet.
    pub(super) acks: Vec<(Sequence, Ack)>,
}

/// What a client knows of one of its subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subscribed {
    /// It was answered.
    Surely(QoS),
    /// It was asked for, or to be no more, and this question is not answered.
    Perhaps(u64),
}

/// How far a message of a client has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    ToAsk,
    /// Answers that are missing, and whether one was bad.
    Asked {
        missing: BTreeSet<u64>,
        failed: bool,
    },
    /// Of QoS 2: PUBREC came.
    ToRelease,
    Releasing,
}

/// A message that a client publishes. Its number is its payload, and unlike all others.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) number: u64,
    pub(super) qos: QoS,
    pub(super) progress: Progress,
    /// Clients that subscribed surely when it was first asked.
    pub(super) wanted_by: BTreeSet<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) name: String,
    /// Its slot and whether it wants a new session.
    pub(super) claiming: Option<(u32, bool)>,
    pub(super) connection: Option<Connection>,
    pub(super) last_epoch: Epoch,
    /// Which session it had last.
    pub(super) generation: Option<Generation>,
    /// It asked for a new session, and does not know whether it has one.
    pub(super) is_unsure: bool,
    pub(super) subscriptions: BTreeMap<String, Subscribed>,
    pub(super) outgoing: VecDeque<Outgoing>,
    /// Messages of QoS 2 that it has and that were not released to it.
    incoming: BTreeSet<PacketId>,
    /// Messages that must come.
    pub(super) awaited: BTreeSet<u64>,
    /// How often each message came, by whether it came with QoS 2.
    pub(super) came: BTreeMap<(u64, bool), u32>,
    /// The last new message of each publisher and quality of service.
    newest: BTreeMap<(String, QoS), u64>,
}

impl Client {
    pub(super) fn new(name: String) -> Self {
        Self { name, ..Self::default() }
    }

    /// The claim was answered.
    pub(super) fn claimed(&mut self, session: &OwnedSession, node: usize, is_alone: bool) -> Result<(), Violation> {
        let name = self.name.clone();
        let (slot, is_clean) = self.claiming.take().ok_or(format!("{name} was given a session it did not ask for"))?;
        // Another node may hear of it later.
        if self.connection.take().is_some() && is_alone {
            return Err(format!("{name} has another owner, and the old one was not told before"));
        }
        let claimed = session.claimed;
        if claimed.epoch <= self.last_epoch {
            return Err(format!("{name} has epoch {} after {}", claimed.epoch, self.last_epoch));
        }
        let is_new = self.generation != Some(claimed.generation);
        let is_lost = self.generation.is_some() && is_new && !self.is_unsure && !is_clean;
        if is_lost || (is_clean && (claimed.present || !is_new)) {
            return Err(format!("{name}: clean {is_clean}, had {:?} and now {claimed:?}", self.generation));
        }
        if is_new {
            self.forget();
        }
        let was_unsure = std::mem::take(&mut self.is_unsure);
        (self.last_epoch, self.generation) = (claimed.epoch, Some(claimed.generation));
        let found: BTreeMap<&str, QoS> =
            session.subscriptions.iter().map(|(filter, it)| (&**filter, it.options.qos)).collect();
        for (filter, state) in &self.subscriptions {
            // What ends in the same entry has nothing any more.
            if let Subscribed::Surely(qos) = state
                && !was_unsure
                && found.get(&**filter) != Some(qos)
            {
                return Err(format!("{name} has lost its subscription to {filter}: {found:?}"));
            }
        }
        if let Some(other) = found.keys().find(|filter| !self.subscriptions.contains_key(**filter)) {
            return Err(format!("{name} is subscribed to {other}, which it does not want"));
        }
        self.connection =
            Some(Connection { node, slot, epoch: claimed.epoch, last: None, open: BTreeMap::new(), acks: Vec::new() });
        Ok(())
    }

    /// A new session has nothing of the old one.
    pub(super) fn forget(&mut self) {
        self.subscriptions.clear();
        self.incoming.clear();
        self.awaited.clear();
        self.newest.clear();
        // A message of QoS 2 whose packet identifier nobody knows any more is not sent again.
        self.outgoing.retain(|it| it.qos != QoS::ExactlyOnce);
    }

    /// Messages came.
    pub(super) fn receive(&mut self, deliveries: &[Delivery]) -> Result<(), Violation> {
        let name = self.name.clone();
        for Delivery { sequence, packet_id, qos, message, .. } in deliveries {
            let Some(connection) = &mut self.connection else { return Err(format!("{name} has left")) };
            if connection.last.is_some_and(|last| last >= *sequence) {
                return Err(format!("{name} is sent {sequence} after {:?}", connection.last));
            }
            connection.last = Some(*sequence);
            if let Some(other) = connection.open.insert(*packet_id, *sequence) {
                return Err(format!("{name} is sent {sequence} as {packet_id:?} before it has acknowledged {other}"));
            }
            match (qos, message) {
                (QoS::AtLeastOnce, Some(message)) => {
                    connection.acks.push((*sequence, Ack::Ack));
                    self.note(message)?;
                }
                (QoS::ExactlyOnce, Some(message)) => {
                    connection.acks.push((*sequence, Ack::Received));
                    if self.incoming.insert(*packet_id) {
                        self.note(message)?;
                    }
                }
                (QoS::ExactlyOnce, None) => {
                    connection.acks.push((*sequence, Ack::Complete));
                    self.incoming.remove(packet_id);
                }
                _ => return Err(format!("{name} is sent {sequence} with {qos:?} and {message:?}")),
            }
            if let (QoS::ExactlyOnce, Some(message)) = (qos, message)
                && self.came.get(&(number(message), true)).is_some_and(|count| *count > 1)
            {
                return Err(format!("{name} got {message:?} twice"));
            }
        }
        Ok(())
    }

    /// A message came that the client does not know to be a repetition.
    fn note(&mut self, message: &fulmar_store::Message) -> Result<(), Violation> {
        let (number, publisher) = (number(message), message.topic().to_owned());
        self.awaited.remove(&number);
        let is_qos2 = message.qos == QoS::ExactlyOnce;
        let count = self.came.entry((number, is_qos2)).or_default();
        *count += 1;
        if *count > 1 {
            return Ok(());
        }
        let newest = self.newest.entry((publisher, message.qos)).or_default();
        if *newest >= number {
            return Err(format!("{} got message {number} of {} after {newest}", self.name, message.topic()));
        }
        *newest = number;
        Ok(())
    }

    /// What became of acknowledgements.
    pub(super) fn acknowledged(
        &mut self,
        epoch: Epoch,
        acks: &[(Sequence, Ack)],
        reply: &Reply,
        is_alone: bool,
    ) -> Result<(), Violation> {
        let Some(connection) = self.connection.as_mut().filter(|it| it.epoch == epoch) else { return Ok(()) };
        let replies = match reply {
            Reply::Acknowledged(replies) => replies,
            // A claim of which nobody knew what became of it was committed after all.
            Reply::Refused(_) if !is_alone => {
                self.connection = None;
                return Ok(());
            }
            other => return Err(format!("{} owns its session, but is answered {other:?}", self.name)),
        };
        for ((sequence, ack), reply) in acks.iter().zip(replies) {
            // Who is asked again by another leader may have done it before.
            if *reply != AckReply::Done && (is_alone || *reply != AckReply::DoneBefore) {
                return Err(format!("{} said {ack:?} of {sequence} and is answered {reply:?}", self.name));
            }
            let id = connection.open.iter().find(|(_, it)| *it == sequence).map(|(id, _)| *id);
            let id = id.ok_or_else(|| format!("{} acknowledged {sequence}, which it did not have", self.name))?;
            if *ack == Ack::Received {
                // Now PUBREL is sent.
                self.incoming.remove(&id);
                connection.acks.push((*sequence, Ack::Complete));
            } else {
                connection.open.remove(&id);
            }
        }
        Ok(())
    }
}

fn number(message: &fulmar_store::Message) -> u64 {
    let text = str::from_utf8(message.payload()).expect("payloads are numbers");
    text.split('.').next().and_then(|it| it.parse().ok()).expect("payloads begin with numbers")
}
