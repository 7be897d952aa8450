//! A session as the shard keeps it: who owns it, what it subscribed to, what waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::sync::Arc;

use fulmar_codec::PacketId;

use crate::command::{Subscription, Will};
use crate::ledger::Ledger;
use crate::message::after_seconds;
use crate::names::{ClientId, Epoch, Generation, Node, Time, WillId};
use crate::queue::Queue;
use crate::reply::Claimed;
use crate::settings::{Settings, cost};

/// Nonces of earlier claims that a session remembers, so that one sent again after a later one is recognised.
pub(crate) const EARLIER_CLAIMS: usize = 4;

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// Whose it is: what waits in it is for nobody else.
    pub(crate) user: User,
    pub(crate) generation: Generation,
    pub(crate) claim: LastClaim,
    pub(crate) presence: Presence,
    /// In seconds after the connection; `u32::MAX` is for ever.
    pub(crate) expiry_seconds: u32,
    pub(crate) receive_maximum: NonZeroU16,
    pub(crate) will: Option<Will>,
    pub(crate) subscriptions: BTreeMap<Arc<str>, Subscription>,
    pub(crate) queue: Queue,
    /// QoS 2 packet identifiers of the client that were not released yet.
    pub(crate) received: BTreeSet<PacketId>,
}

/// The claim that counts, with its answer, and those before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastClaim {
    pub(crate) node: Node,
    pub(crate) nonce: u64,
    pub(crate) answer: Claimed,
    /// The latest last; at most [`EARLIER_CLAIMS`].
    pub(crate) earlier: Vec<(Node, u64)>,
}

/// Whether somebody owns a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// The node of the last claim does.
    Owned,
    /// Nobody does.
    Absent {
        /// When the session ends.
        ends: Option<Time>,
        /// When the will is to be published, if there is one: not after the end.
        will_due: Option<Time>,
    },
}

impl Presence {
    pub(crate) fn is_over(self, now: Time) -> bool {
        matches!(self, Self::Absent { ends: Some(ends), .. } if ends <= now)
    }
}

impl Session {
    pub(crate) fn epoch(&self) -> Epoch {
        self.claim.answer.epoch
    }

    pub(crate) fn owner(&self) -> Option<Node> {
        (self.presence == Presence::Owned).then_some(self.claim.node)
    }

    /// Whether it is over, though not cleared up yet.
    pub(crate) fn is_over(&self, now: Time) -> bool {
        self.presence.is_over(now)
    }

    /// When a session that is left at `at` ends, and when its will is due.
    pub(crate) fn absent_from(&self, at: Time) -> Presence {
        let (ends, will_due) = Self::dues(at, self.expiry_seconds, self.will.as_ref());
        Presence::Absent { ends, will_due }
    }

    /// When a session with this expiry and will ends that is left at `at`, and when its will is due.
    pub(crate) fn dues(at: Time, expiry_seconds: u32, will: Option<&Will>) -> (Option<Time>, Option<Time>) {
        let ends = (expiry_seconds != u32::MAX).then(|| after_seconds(at, expiry_seconds));
        let will_due = will.map(|will| {
            let due = after_seconds(at, will.delay_seconds);
            ends.map_or(due, |ends| ends.min(due))
        });
        (ends, will_due)
    }

    /// How many messages may be in flight, if there is an owner to send them.
    pub(crate) fn window(&self, settings: &Settings) -> Option<NonZeroU16> {
        (self.presence == Presence::Owned).then(|| self.receive_maximum.min(settings.in_flight_max))
    }

    /// What its will takes.
    pub(crate) fn will_bytes(&self, client: &ClientId) -> u64 {
        self.will.as_ref().map_or(0, |will| will_bytes(client, &self.user, will))
    }

    /// Moves the window of the queue.
    pub(crate) fn advance(&mut self, client: &ClientId, ledger: &mut Ledger, settings: &Settings) {
        if let Some(window) = self.window(settings) {
            self.queue.advance(client, window, ledger);
        }
    }
}

/// A will whose time has come. It is published whatever its client does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingWill {
    /// Whose.
    pub client: ClientId,
    /// As which user it was left: that user must be allowed to publish it.
    pub user: Option<Arc<str>>,
    /// What is to be published.
    pub will: Will,
}

impl PendingWill {
    pub(crate) fn bytes(&self) -> u64 {
        will_bytes(&self.client, &self.user, &self.will)
    }
}

/// The user of a session; none is anonymous.
pub(crate) type User = Option<Arc<str>>;

fn name_bytes(client: &ClientId, user: &User) -> u64 {
    (client.len() + user.as_ref().map_or(0, |user| user.len())) as u64
}

pub(crate) fn head_bytes(client: &ClientId, user: &User) -> u64 {
    cost::SESSION + name_bytes(client, user)
}

pub(crate) fn subscription_bytes(filter: &Arc<str>) -> u64 {
    cost::SUBSCRIPTION + filter.len() as u64
}

/// With whose it is: a will that is to be published may outlive its session.
pub(crate) fn will_bytes(client: &ClientId, user: &User, will: &Will) -> u64 {
    cost::WILL + name_bytes(client, user) + will.message.bytes()
}

/// What is left of the will of a session that was left or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// The session is there.
    Kept,
    /// The session ended.
    Ended(Option<WillId>),
}
