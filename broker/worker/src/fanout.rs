//! A message whose receivers on this thread are too many for one turn goes to them in portions.
//!
//! A message of a mebibyte for a thousand receivers would take a gibibyte of output before the first byte of it is sent.
//! So who has not got it when the turn has done enough gets it in the next one, after output was sent. Later messages to
//! the same topic wait until the last one has it (MQTT 5.0, 4.6), and so does whoever sent it. Messages of others go past
//! it, and are written before it: who sends little to few does not wait for who sends much to many.

use crate::receivers::{BULK, Delivery};
use crate::route::Local;
use crate::worker::Worker;
use fulmar_session::{Message, SharedMessage};
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Instant;

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

/// Those that there are, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Fanouts(VecDeque<Fanout>);

impl Fanouts {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.0.len() >= FANOUTS_MAX
    }

    /// Whether some have not got an earlier message to the same topic, which none may overtake.
    #[inline]
    pub(crate) fn are_of(&self, topic: &str) -> bool {
        self.0.iter().any(|fanout| fanout.message.view().topic == topic)
    }

    pub(crate) fn add(&mut self, fanout: Fanout) {
        self.0.push_back(fanout);
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
            || self.put_off.fanouts.is_full()
            || self.has_surplus()
    }

    /// Whether sockets do not take more output than they may all together: until clients were closed, nobody is read.
    #[inline]
    pub(crate) fn has_surplus(&self) -> bool {
        self.connections.unsent_bytes() > self.node.settings.limits.output_bytes_per_thread
    }

    /// Whether so much waits to be sent that who sends to many should wait.
    #[inline]
    pub(crate) fn has_backlog(&self) -> bool {
        self.connections.given_bytes >= self.node.settings.limits.turn_output_bytes || !self.put_off.fanouts.is_empty()
    }

    /// Whether whoever sent the last message has sent more to many than they have got.
    #[inline]
    pub(crate) fn is_ahead(&self) -> bool {
        self.turn.last_receivers > BULK && self.has_backlog()
    }

    /// Goes on with messages that were for too many receivers, oldest first, as far as this turn goes.
    pub(crate) fn fan_out_on(&mut self, now: Instant) {
        let turn_output_bytes = self.node.settings.limits.turn_output_bytes;
        while self.connections.given_bytes < turn_output_bytes
            && !self.has_surplus()
            && let Some(mut fanout) = self.put_off.fanouts.0.pop_front()
        {
            let Delivery { mut receivers, share, buffer, .. } = self.delivery(now);
            let mut shared = SharedMessage::of(fanout.message.clone(), share, buffer);
            let Fanout { message, locals, more_ids, next } = &mut fanout;
            *next = receivers.deliver(locals, more_ids, *next, &message.view(), &mut shared);
            let (message, is_done) = (message.clone(), *next == locals.len());
            if !is_done {
                self.put_off.fanouts.0.push_front(fanout);
            }
            self.hand_on_missed(&message.view(), Some(&message), now);
            if !is_done {
                return;
            }
        }
    }
}
