//! What is retained, on its way to a new subscription: read from the store piece by piece, as the client takes it.
//!
//! Once SUBACK is sent, these messages are pending (MQTT 5.0, 3.3.1.3), and pending messages of QoS 1 and 2 belong to
//! the session (4.1). A session that waits for its client keeps the place where reading goes on, and what was read
//! already goes into its queue; so however much is retained, an absent client holds little of it.

use crate::counters::Counters;
use crate::desk::{Desk, Waits, stored_message};
use crate::effort::cost;
use crate::ids::{ConnId, SessionId};
use crate::rights::{address, may_deliver};
use crate::sessions::Entry;
use crate::stored::Stored;
use crate::turn::{LEAST_PER_TURN, Portion};
use crate::worker::Worker;
use fulmar_auth::hooks::Hooks;
use fulmar_codec::QoS;
use fulmar_router::Cursor;
use fulmar_session::{Deliver, Message, QuotaShare, Session, SharedMessage};
use fulmar_store::ClientId;
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

/// Retained messages taken from the store at once, so that its lock is held briefly.
const RETAINED_CHUNK: usize = 64;

/// Retained messages that a new subscription still has to get.
#[derive(Debug)]
pub(crate) struct RetainedRead {
    filter: Box<str>,
    qos: QoS,
    subscription_id: Option<NonZeroU32>,
    cursor: Cursor,
    /// Read from the store, not yet taken by the session.
    chunk: VecDeque<Message>,
    finished: bool,
}

impl RetainedRead {
    pub(crate) fn new(filter: &str, qos: QoS, subscription_id: Option<NonZeroU32>) -> RetainedRead {
        let filter = filter.into();
        RetainedRead {
            filter,
            qos,
            subscription_id,
            cursor: Cursor::default(),
            chunk: VecDeque::new(),
            finished: false,
        }
    }

    pub(crate) fn filter(&self) -> &str {
        &self.filter
    }

    /// What it takes before anything is read.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<RetainedRead>() + self.filter.len()
    }
}

/// A client may subscribe again and again while it takes nothing: beyond two for each subscription and these, only the
/// newest of each filter remains.
const SPARE_READS_MAX: usize = 16;

/// New subscriptions of a session have been answered.
pub(crate) fn add_reads(entry: &mut Entry, reads: Vec<RetainedRead>) {
    let all = entry.reads.get_or_insert_default();
    all.extend(reads);
    if all.len() > 2 * entry.session.subscription_count() + SPARE_READS_MAX {
        let mut seen = BTreeSet::new();
        let mut newest: VecDeque<RetainedRead> = VecDeque::new();
        for read in std::mem::take(all).into_iter().rev() {
            if seen.insert(read.filter.clone()) {
                newest.push_front(read);
            }
        }
        *all = newest;
    }
}

/// One message for the session that reads, at once or into its queue.
#[expect(clippy::too_many_arguments, reason = "the parts of a worker, borrowed one by one")]
fn deliver_retained(
    hooks: &Hooks,
    client_address: IpAddr,
    session: &mut Session,
    buffer: &mut Vec<u8>,
    read: &RetainedRead,
    message: &Message,
    now: Instant,
    share: &Arc<QuotaShare>,
    scratch: &mut Vec<u8>,
    counters: &mut Counters,
) {
    let ids = read.subscription_id.map(NonZeroU32::get);
    let how = Deliver { qos: read.qos, retain: true, subscription_ids: ids.as_slice(), share: None };
    let outgoing = message.view();
    if !may_deliver(hooks, session, client_address, &outgoing) {
        counters.dropped_withheld += 1;
        return;
    }
    let mut shared = SharedMessage::of(message.clone(), share, scratch);
    let delivered = session.deliver(buffer, &outgoing, how, now, &mut shared);
    counters.delivery(delivered, how.qos.min(outgoing.qos), outgoing.payload.len());
}

impl Desk {
    /// One message for a session that the store keeps.
    fn ask_retained(
        &mut self,
        conn: ConnId,
        client: &ClientId,
        read: &RetainedRead,
        message: &Message,
        scratch: &mut Vec<u8>,
        now: Instant,
    ) {
        let outgoing = message.view();
        let qos = read.qos.min(outgoing.qos);
        let message = stored_message(&outgoing, scratch, now);
        let ids = read.subscription_id.into_iter().collect();
        if let Some(ask) = self.for_one(client.clone(), message, (qos, true), ids, None) {
            self.ask(ask, Waits::Retained { conn });
        }
    }
}

impl Worker {
    /// Subscriptions have ended: nothing more is read for them. Once for all of them, because there may be many reads.
    pub(crate) fn forget_reads(&mut self, id: SessionId) {
        let Some(entry) = self.sessions.get_mut(id) else { return };
        if let Some(reads) = &mut entry.reads {
            self.turn.effort.add(reads.len(), cost::MATCH);
            reads.retain(|read| entry.session.has_subscription(&read.filter));
        }
    }

    /// The client of a session has gone, and the session waits for it: what was read for it is queued.
    pub(crate) fn suspend_reads(&mut self, id: SessionId, now: Instant) {
        let Worker { node, sessions, counters, scratch, share, .. } = self;
        let Some(entry) = sessions.get_mut(id) else { return };
        let (hooks, gone) = (&node.hooks, Ipv6Addr::UNSPECIFIED.into());
        let Some(reads) = &mut entry.reads else { return };
        // A queue for QoS 0 is not promised (MQTT 5.0, 4.1).
        reads.retain(|read| read.qos != QoS::AtMostOnce);
        for read in reads.iter_mut() {
            for message in std::mem::take(&mut read.chunk) {
                let nowhere = &mut Vec::new();
                let scratch = &mut scratch.message;
                let session = &mut entry.session;
                deliver_retained(hooks, gone, session, nowhere, read, &message, now, share, scratch, counters);
            }
        }
        reads.retain(|read| !read.finished);
        if reads.is_empty() {
            entry.reads = None;
        }
    }

    /// Sends what a session has waiting, as far as its window and its socket take it: the queue first, then retained
    /// messages.
    pub(crate) fn pump(&mut self, id: SessionId, now: Instant) {
        self.pump_some(id, Portion::of_at_least(0), now);
    }

    /// Goes on with retained messages where a turn had done enough, in the order in which they were put off.
    pub(crate) fn pump_put_off(&mut self, now: Instant) {
        let mut portion = Portion::of_at_least(LEAST_PER_TURN);
        for _ in 0..self.put_off.reading_on.len() {
            if !portion.goes_on(self.turn.effort.is_spent()) {
                return;
            }
            let Some(id) = self.put_off.reading_on.pop_front() else { return };
            if let Some(entry) = self.sessions.get_mut(id) {
                entry.is_reading_on = false;
                self.pump_some(id, Portion::of_at_least(1), now);
            }
        }
    }

    /// The looks at the store are as many as the portion allows.
    fn pump_some(&mut self, id: SessionId, mut looks: Portion, now: Instant) {
        let output_bytes_max = self.node.settings.limits.output_buffer_bytes;
        let Worker { node, sessions, connections, counters, scratch, share, turn, put_off, desk, rules, .. } = self;
        let Some(entry) = sessions.get_mut(id) else { return };
        let from = address(connections, entry.connection);
        let Some((connection_id, buffer)) = entry.connection.and_then(|conn| Some((conn, connections.output(conn)?)))
        else {
            return;
        };
        let before = buffer.len();
        let drained = entry.session.drain(now, buffer);
        counters.drained(drained, &buffer[before..]);
        let Entry { session, stored, reads, is_reading_on, .. } = entry;
        let mut stored = stored.as_deref_mut().and_then(Stored::if_queue);
        if let Some(stored) = &mut stored
            && stored.drain((node, rules), session, from, buffer, now, turn, counters)
        {
            desk.acknowledging.push(id);
        }
        let Some(waiting) = reads else { return };
        while let Some(read) = waiting.front_mut() {
            if read.chunk.is_empty() && !read.finished {
                // However few of them match: a look at the whole store takes several turns.
                if !looks.goes_on(turn.effort.is_spent()) {
                    put_off.read_on(id, is_reading_on);
                    return;
                }
                let (is_done, topics) =
                    node.read_retained(&read.filter, &mut read.cursor, RETAINED_CHUNK, now, &mut read.chunk);
                read.finished = is_done;
                // A look at a store with nothing in it is a look.
                turn.effort.add(1 + topics, cost::TOPIC);
            }
            let Some(message) = read.chunk.front() else {
                if read.finished {
                    waiting.pop_front();
                }
                continue;
            };
            // One that has to wait is enough: the rest stays in the store until the queue is empty.
            if buffer.len() >= output_bytes_max || session.queued_messages() > 0 {
                return;
            }
            if let Some(stored) = &mut stored
                && read.qos.min(message.view().qos) != QoS::AtMostOnce
            {
                // It waits in the client's queue like every message of its.
                if desk.is_full() {
                    put_off.read_on(id, is_reading_on);
                    return;
                }
                if !stored.takes_retained(session) {
                    return;
                }
                stored.retained_asked += 1;
                desk.ask_retained(connection_id, &stored.client, read, message, &mut scratch.message, now);
                turn.effort.add(1, cost::DELIVERY);
                read.chunk.pop_front();
                continue;
            }
            let scratch = &mut scratch.message;
            deliver_retained(&node.hooks, from, session, buffer, read, message, now, share, scratch, counters);
            turn.effort.add(1, cost::DELIVERY);
            read.chunk.pop_front();
        }
        *reads = None;
    }
}
