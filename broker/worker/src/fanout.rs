//! One message to all its receivers on this thread: at once, or in portions if there are too many for one turn.
//!
//! A message of a mebibyte for a thousand receivers would take a gibibyte of output before the first byte of it is sent.
//! So who has not got it when the turn has done enough gets it in the next one, after output was sent. Later messages to
//! the same topic wait until the last one has it (MQTT 5.0, 4.6), and so does whoever sent it. Messages of others go past
//! it, and are written before it: who sends little to few does not wait for who sends much to many.

use crate::connections::Connections;
use crate::counters::Counters;
use crate::effort::{Effort, cost};
use crate::limits::Limits;
use crate::pressure::Pressure;
use crate::rights::{address, may_deliver};
use crate::route::{Local, count};
use crate::sessions::{Entry, Sessions};
use crate::worker::Worker;
use fulmar_auth::hooks::Hooks;
use fulmar_codec::QoS;
use fulmar_session::{Deliver, Delivered, Message, Outgoing, SharedMessage};
use std::num::NonZeroU32;
use std::time::Instant;

/// More receivers than these are many.
const BULK: usize = 64;
/// Messages that some of their receivers have not got, before nobody is read any more.
const FANOUTS_MAX: usize = 16;

/// A message that some of its receivers have not got.
#[derive(Debug)]
pub(crate) struct Fanout {
    pub(crate) message: Message,
    pub(crate) locals: Vec<Local>,
    /// Subscription ids beyond the first of a receiver: index into `locals`, id; in order.
    pub(crate) more_ids: Vec<(u32, NonZeroU32)>,
    /// The first who has not got it.
    pub(crate) next: usize,
}

/// The parts of a worker that deliver.
pub(crate) struct Receivers<'a> {
    pub(crate) hooks: &'a Hooks,
    pub(crate) connections: &'a mut Connections,
    pub(crate) sessions: &'a mut Sessions,
    pub(crate) counters: &'a mut Counters,
    pub(crate) effort: &'a mut Effort,
    /// Shared subscriptions whose member has ended since it was picked.
    pub(crate) missed: &'a mut Vec<NonZeroU32>,
    /// Above `turn_output_bytes` that wait to be written whoever sends to many waits, and a quarter beyond it their
    /// messages are cut. So there is room for those who send to few until three quarters beyond it, when everyone waits.
    /// Above half of the `output_bytes_per_thread` that sockets do not take, those who are behind get nothing of QoS 0.
    pub(crate) limits: &'a Limits,
    pub(crate) pressure: Pressure,
    pub(crate) now: Instant,
}

impl Receivers<'_> {
    /// Delivers to receivers from the `first` on, to one at least, until the turn has done enough. Gives the first who
    /// has not got it.
    #[inline]
    pub(crate) fn deliver(
        &mut self,
        locals: &[Local],
        more_ids: &[(u32, NonZeroU32)],
        first: usize,
        outgoing: &Outgoing<'_>,
        shared: &mut SharedMessage<'_>,
    ) -> usize {
        let is_bulk = locals.len() > BULK;
        let turn_output = self.limits.turn_output_bytes;
        let output_max = if is_bulk { turn_output / 4 * 5 } else { turn_output * 2 };
        let mut more_ids = &more_ids[more_ids.partition_point(|(at, _)| (*at as usize) < first)..];
        for (index, local) in locals.iter().enumerate().skip(first) {
            let is_enough = self.effort.is_overspent() || self.connections.given_bytes >= output_max;
            if index > first && is_enough {
                return index;
            }
            self.effort.add(1, cost::DELIVERY);
            let id = local.options.subscription_id();
            if more_ids.is_empty() {
                let id = id.map_or(0, NonZeroU32::get);
                let ids = if id == 0 { &[][..] } else { &[id][..] };
                self.deliver_to(local, ids, outgoing, is_bulk, shared);
            } else {
                let (mine, others) = more_ids.split_at(more_ids.partition_point(|(at, _)| *at as usize <= index));
                more_ids = others;
                let ids: Vec<u32> = id.into_iter().chain(mine.iter().map(|(_, id)| *id)).map(NonZeroU32::get).collect();
                self.deliver_to(local, &ids, outgoing, is_bulk, shared);
            }
        }
        locals.len()
    }

    /// One message to one session of this thread.
    #[inline]
    fn deliver_to(
        &mut self,
        local: &Local,
        subscription_ids: &[u32],
        outgoing: &Outgoing<'_>,
        is_bulk: bool,
        shared: &mut SharedMessage<'_>,
    ) {
        let Receivers { hooks, connections, sessions, counters, effort, missed, limits, pressure, now } = self;
        let Some(entry) = sessions.by_subscriber_mut(local.id).filter(|entry| !entry.is_leaving) else {
            missed.extend(local.share);
            return;
        };
        let how = Deliver {
            qos: local.options.qos(),
            retain: outgoing.retain && local.options.retain_as_published(),
            subscription_ids,
            share: local.share,
        };
        let Entry { session, connection, .. } = entry;
        if hooks.deliver.is_some() && !may_deliver(hooks, session, address(connections, *connection), outgoing) {
            counters.dropped_withheld += 1;
            return;
        }
        let qos = how.qos.min(outgoing.qos);
        // What nobody was promised is not kept for those who do not read, when memory is short or what all of them hold
        // comes near to what they may.
        let is_much_unsent = connections.unsent_bytes() > limits.output_bytes_per_thread / 2;
        if (*pressure == Pressure::Critical || is_much_unsent)
            && qos == QoS::AtMostOnce
            && connection.is_some_and(|conn| connections.is_behind(conn))
        {
            match is_much_unsent {
                true => counters.dropped_slow_consumer += 1,
                false => counters.dropped_memory_short += 1,
            }
            return;
        }
        let delivered = match connection.and_then(|conn| connections.receiver(conn, is_bulk)) {
            Some(receiver) => {
                let before = receiver.out.len();
                let delivered = session.deliver(&mut receiver.out, outgoing, how, *now, shared);
                let given = receiver.out.len() - before;
                if matches!(delivered, Delivered::Queued { .. }) {
                    match session.is_output_full(&receiver.out) {
                        true => counters.limit_hits_output_buffer_bytes += 1,
                        false => counters.limit_hits_outbound_inflight += 1,
                    }
                }
                receiver.given += given;
                connections.given_bytes += given;
                effort.add(given / 1024, cost::KIBIBYTE);
                delivered
            }
            // An absent client has no buffer; its session writes nothing.
            None => session.deliver(&mut Vec::new(), outgoing, how, *now, shared),
        };
        count(counters, delivered, qos, outgoing.payload.len());
    }
}

impl Worker {
    /// Whether messages of other threads may come.
    #[inline]
    pub fn takes_letters(&self) -> bool {
        !self.is_full()
    }

    /// Whether so much waits to be sent that nothing more may be delivered to anyone.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        let limits = &self.node.settings.limits;
        self.connections.given_bytes >= limits.turn_output_bytes / 4 * 7
            || self.fanouts.len() >= FANOUTS_MAX
            || self.connections.unsent_bytes() > limits.output_bytes_per_thread
    }

    /// Whether so much waits to be sent that who sends to many should wait.
    #[inline]
    pub(crate) fn has_backlog(&self) -> bool {
        self.connections.given_bytes >= self.node.settings.limits.turn_output_bytes || !self.fanouts.is_empty()
    }

    /// Whether whoever sent the last message has sent more to many than they have got.
    #[inline]
    pub(crate) fn is_ahead(&self) -> bool {
        self.last_receivers > BULK && self.has_backlog()
    }

    /// Goes on with messages that were for too many receivers, oldest first, as far as this turn goes.
    pub(crate) fn fan_out_on(&mut self, now: Instant) {
        let Limits { turn_output_bytes, output_bytes_per_thread, .. } = self.node.settings.limits;
        while self.connections.given_bytes < turn_output_bytes
            && self.connections.unsent_bytes() <= output_bytes_per_thread
            && let Some(mut fanout) = self.fanouts.pop_front()
        {
            let Worker { node, connections, sessions, scratch, counters, share, effort, pressure, missed, .. } = self;
            let mut shared = SharedMessage::of(fanout.message.clone(), share, &mut scratch.message);
            let mut receivers = Receivers {
                hooks: &node.hooks,
                connections,
                sessions,
                counters,
                effort,
                missed,
                limits: &node.settings.limits,
                pressure: *pressure,
                now,
            };
            let Fanout { message, locals, more_ids, next } = &mut fanout;
            *next = receivers.deliver(locals, more_ids, *next, &message.view(), &mut shared);
            let (message, is_done) = (message.clone(), *next == locals.len());
            if !is_done {
                self.fanouts.push_front(fanout);
            }
            self.hand_on_missed(&message.view(), Some(&message), now);
            if !is_done {
                return;
            }
        }
    }
}
