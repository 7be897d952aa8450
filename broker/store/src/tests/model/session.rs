//! One session of the model.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use fulmar_codec::{PacketId, QoS};

use crate::*;

/// A message that is kept. Two with the same number are the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tests) struct Kept {
    pub(super) number: u64,
    pub(in crate::tests) message: Message,
    pub(super) expires: Option<Time>,
}

impl Kept {
    pub(super) fn is_expired(&self, now: Time) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

#[derive(Debug, Clone)]
pub(in crate::tests) struct Place {
    pub(in crate::tests) sequence: Sequence,
    pub(in crate::tests) kept: Option<Kept>,
    pub(in crate::tests) qos: QoS,
    pub(in crate::tests) retain: bool,
    pub(in crate::tests) ids: Vec<NonZeroU32>,
    pub(in crate::tests) share: Option<Arc<str>>,
}

#[derive(Debug, Clone)]
pub(in crate::tests) struct Session {
    pub(in crate::tests) user: Option<Arc<str>>,
    pub(in crate::tests) generation: Generation,
    pub(in crate::tests) answer: Claimed,
    pub(in crate::tests) node: Node,
    pub(in crate::tests) claims: Vec<(Node, u64)>,
    pub(in crate::tests) left_at: Option<Time>,
    pub(super) expiry_seconds: u32,
    pub(super) receive_maximum: usize,
    pub(super) will: Option<Will>,
    pub(in crate::tests) subscriptions: BTreeMap<ClientId, Subscription>,
    pub(in crate::tests) queue: Vec<Place>,
    pub(super) next: Sequence,
    pub(in crate::tests) sent_until: Sequence,
    pub(in crate::tests) received: BTreeSet<PacketId>,
}

impl Session {
    pub(super) fn ends(&self) -> Option<Time> {
        let left_at = self.left_at?;
        (self.expiry_seconds != u32::MAX).then(|| left_at + u64::from(self.expiry_seconds) * 1000)
    }

    pub(super) fn will_due(&self) -> Option<Time> {
        let due = self.left_at? + u64::from(self.will.as_ref()?.delay_seconds) * 1000;
        Some(due.min(self.ends().unwrap_or(u64::MAX)))
    }

    pub(in crate::tests) fn in_flight(&self) -> usize {
        self.queue.iter().filter(|place| place.sequence < self.sent_until).count()
    }

    pub(super) fn move_window(&mut self, settings: &Settings) {
        if self.left_at.is_some() {
            return;
        }
        while let Some(place) = self.queue.iter().find(|place| place.sequence >= self.sent_until) {
            if self.in_flight() >= self.receive_maximum.min(settings.in_flight_max.get().into())
                || place.sequence - self.queue[0].sequence >= 65_535
            {
                return;
            }
            self.sent_until = place.sequence + 1;
        }
    }

    pub(in crate::tests) fn queue_bytes(&self) -> u64 {
        self.queue.iter().filter_map(|place| place.kept.as_ref()).map(|kept| kept.message.bytes()).sum()
    }
}

pub(in crate::tests) fn acknowledge(session: &mut Session, sequence: Sequence, ack: Ack) -> AckReply {
    if sequence >= session.sent_until {
        return AckReply::NotSent;
    }
    let Some(at) = session.queue.iter().position(|place| place.sequence == sequence) else {
        return AckReply::DoneBefore;
    };
    let place = &mut session.queue[at];
    match (place.qos, place.kept.is_some(), ack) {
        (QoS::ExactlyOnce, true, Ack::Received) => {
            (place.kept, place.share) = (None, None);
            return AckReply::Done;
        }
        (QoS::ExactlyOnce, false, Ack::Received) => return AckReply::DoneBefore,
        (_, _, Ack::Discard) | (QoS::AtLeastOnce, _, Ack::Ack) | (QoS::ExactlyOnce, false, Ack::Complete) => {}
        _ => return AckReply::Unexpected,
    }
    session.queue.remove(at);
    AckReply::Done
}
