//! One message to sessions of this thread: into the output of those that are connected, into the queues of others.
//!
//! Who they are is found in `route.rs`; what becomes of a message that is too much for one turn, in `fanout.rs`.

use crate::connections::Connections;
use crate::counters::Counters;
use crate::fanout::Fanouts;
use crate::letter::Outboxes;
use crate::limits::Limits;
use crate::pressure::Pressure;
use crate::rights::{address, may_deliver};
use crate::route::{Found, Local};
use crate::sessions::{Entry, Sessions};
use crate::turn::Turn;
use crate::worker::Worker;
use fulmar_auth::hooks::Hooks;
use fulmar_codec::QoS;
use fulmar_session::{Deliver, Delivered, Outgoing, QuotaShare, SharedMessage};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

/// More receivers than these are many.
pub(crate) const BULK: usize = 64;

/// The parts of a worker that a delivery needs: those that deliver, and those that say what, to whom, and what becomes of
/// the rest.
pub(crate) struct Delivery<'a> {
    pub(crate) receivers: Receivers<'a>,
    pub(crate) found: &'a mut Found,
    /// Where a message is written that is to be shared.
    pub(crate) buffer: &'a mut Vec<u8>,
    pub(crate) share: &'a Arc<QuotaShare>,
    pub(crate) fanouts: &'a mut Fanouts,
    pub(crate) outboxes: &'a mut Outboxes,
}

impl Worker {
    #[inline]
    pub(crate) fn delivery(&mut self, now: Instant) -> Delivery<'_> {
        let Worker { node, connections, sessions, counters, turn, missed, pressure, .. } = self;
        let Worker { scratch, share, put_off, outboxes, .. } = self;
        let (hooks, limits, pressure) = (&node.hooks, &node.settings.limits, *pressure);
        Delivery {
            receivers: Receivers { hooks, connections, sessions, counters, turn, missed, limits, pressure, now },
            found: &mut scratch.found,
            buffer: &mut scratch.message,
            share,
            fanouts: &mut put_off.fanouts,
            outboxes,
        }
    }
}

/// The sessions of a thread, and what says whether and how they get a message.
pub(crate) struct Receivers<'a> {
    hooks: &'a Hooks,
    connections: &'a mut Connections,
    sessions: &'a mut Sessions,
    counters: &'a mut Counters,
    pub(crate) turn: &'a mut Turn,
    /// Shared subscriptions whose member has ended since it was picked.
    missed: &'a mut Vec<NonZeroU32>,
    /// Above `turn_output_bytes` that wait to be written whoever sends to many waits, and a quarter beyond it their
    /// messages are cut. So there is room for those who send to few until three quarters beyond it, when everyone waits.
    /// Above half of the `output_bytes_per_thread` that sockets do not take, those who are behind get nothing of QoS 0.
    limits: &'a Limits,
    pressure: Pressure,
    now: Instant,
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
            let is_enough = self.turn.effort.is_overspent() || self.connections.given_bytes >= output_max;
            if index > first && is_enough {
                return index;
            }
            self.turn.add_delivered(1, 0);
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
        let Receivers { hooks, connections, sessions, counters, turn, missed, limits, pressure, now } = self;
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
        let qos = how.qos.min(outgoing.qos);
        if qos != QoS::AtMostOnce && entry.is_stored() {
            // It comes by the store.
            return;
        }
        let Entry { session, connection, .. } = entry;
        if hooks.deliver.is_some() && !may_deliver(hooks, session, address(connections, *connection), outgoing) {
            counters.dropped_withheld += 1;
            return;
        }
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
                turn.add_delivered(0, given);
                delivered
            }
            // An absent client has no buffer; its session writes nothing.
            None => session.deliver(&mut Vec::new(), outgoing, how, *now, shared),
        };
        counters.delivery(delivered, qos, outgoing.payload.len());
    }
}
