//! What a client keeps from one connection to the next (MQTT 5.0, 4.1). Two actors with one client identifier have it
//! together.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use fulmar_codec::{PacketId, QoS};

use crate::Time;
use crate::history::{ActorId, MessageId};

/// One for all that have the client identifier.
pub(crate) type Shared = Arc<Mutex<Memory>>;

/// A message on its way to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) packet_id: PacketId,
    pub(crate) message: MessageId,
    pub(crate) topic: Arc<str>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) is_empty: bool,
    /// Bytes behind the name of the message.
    pub(crate) padding: usize,
    /// It may have been sent before.
    pub(crate) is_repeated: bool,
    /// PUBREC has come: PUBREL is sent, and PUBCOMP awaited.
    pub(crate) is_received: bool,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Who was let in last.
    pub(crate) holder: Option<ActorId>,
    /// How often somebody was.
    pub(crate) let_ins: u64,
    /// Who is about to connect, and since when.
    pub(crate) intends: Option<(ActorId, Time)>,
    /// In the order of their sending.
    pub(crate) pending: VecDeque<Pending>,
    /// Identifiers of messages of QoS 2 that were received and not released, with their messages (MQTT 5.0, 4.3.3).
    pub(crate) received: BTreeMap<u16, Option<MessageId>>,
    /// What was received with QoS 1 on a connection that ended before it was acknowledged.
    pub(crate) unacknowledged: BTreeMap<u16, Option<MessageId>>,
    /// What SUBACK was received for.
    pub(crate) subscriptions: BTreeSet<Arc<str>>,
    last_id: u16,
}

impl Memory {
    pub(crate) fn shared() -> Shared {
        Arc::default()
    }

    /// The server has a session or not. Gives what is given up because it has not.
    pub(crate) fn let_in(&mut self, who: ActorId, session_present: bool) -> Vec<MessageId> {
        (self.holder, self.intends) = (Some(who), None);
        self.let_ins += 1;
        if session_present {
            return Vec::new();
        }
        self.received.clear();
        self.unacknowledged.clear();
        self.subscriptions.clear();
        // At least once is what QoS 1 promises, so that it may go again as new. Nobody knows of QoS 2.
        let is_lost = |pending: &Pending| pending.qos == QoS::ExactlyOnce;
        let given_up = self.pending.iter().filter(|pending| is_lost(pending)).map(|it| it.message).collect();
        self.pending.retain(|pending| !is_lost(pending));
        self.pending.iter_mut().for_each(|pending| pending.is_repeated = false);
        given_up
    }

    /// An identifier that nothing has.
    pub(crate) fn free_id(&mut self, is_taken: impl Fn(u16) -> bool) -> PacketId {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            let is_free = !self.pending.iter().any(|pending| pending.packet_id.get() == self.last_id);
            if let Some(id) = PacketId::new(self.last_id).filter(|id| is_free && !is_taken(id.get())) {
                return id;
            }
        }
    }
}
