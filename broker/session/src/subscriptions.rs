//! What a session subscribed to: the list by which its subscriptions are found again when it ends. The router holds
//! them for matching; this list decides what is new, what is too many and what is against the protocol.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Bound;

use fulmar_codec::{ParsedFilter, QoS, ReasonCode, RetainHandling, SubscribeFilter, SubscriptionOptions};

use crate::limit::{Excess, Limit};
use crate::limits::Limits;

/// One subscription of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// The topic filter as the client wrote it, `$share/NAME/` included.
    pub filter: &'a str,
    /// What the client wants to have of the messages that match.
    pub options: SubscriptionOptions,
    /// To be sent along with each of them.
    pub subscription_id: Option<NonZeroU32>,
}

/// What one filter of a SUBSCRIBE came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscribeAction {
    /// Tell the router, and grant this in SUBACK.
    Subscribe {
        /// The quality of service that we grant.
        granted: QoS,
        /// The session had a subscription to the same filter, which this one replaces.
        existed: bool,
        /// Retained messages that match are to be sent.
        send_retained: bool,
    },
    /// Answer this in SUBACK; nothing changed.
    Refuse(Excess),
    /// The client broke the protocol.
    Close(ReasonCode),
}

/// With more subscriptions than these, a search tree finds them.
const FEW_MAX: usize = 8;

#[derive(Debug)]
pub(crate) enum Subscriptions {
    Few(Vec<(Box<str>, Held)>),
    Many(BTreeMap<Box<str>, Held>),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    options: SubscriptionOptions,
    subscription_id: Option<NonZeroU32>,
}

impl Subscriptions {
    pub(crate) const fn new() -> Self {
        Self::Few(Vec::new())
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    pub(crate) fn subscribe(
        &mut self,
        requested: &SubscribeFilter<'_>,
        parsed: &ParsedFilter<'_>,
        subscription_id: Option<NonZeroU32>,
        limits: &Limits,
    ) -> SubscribeAction {
        let SubscribeFilter { filter, options } = *requested;
        // It is a protocol error to set no local on a shared subscription (MQTT 5.0, 3.8.3.1).
        if options.no_local && parsed.share.is_some() {
            return SubscribeAction::Close(ReasonCode::PROTOCOL_ERROR);
        }
        let held = Held { options, subscription_id };
        let count = self.len();
        let existing = self.get_mut(filter);
        let existed = existing.is_some();
        match existing {
            Some(existing) => *existing = held,
            None if count >= limits.subscriptions_max => {
                return SubscribeAction::Refuse(Excess::of_quota(Limit::SubscriptionsPerClient));
            }
            None => self.insert(filter, held),
        }
        let send_retained = match options.retain_handling {
            // A shared subscription gets no retained messages when it begins (MQTT 5.0, 4.8.2).
            _ if parsed.share.is_some() => false,
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => !existed,
            RetainHandling::DoNotSend => false,
        };
        SubscribeAction::Subscribe { granted: options.qos, existed, send_retained }
    }

    /// Says whether there was such a subscription.
    pub(crate) fn unsubscribe(&mut self, filter: &str) -> bool {
        match self {
            Self::Few(few) => match few.iter().position(|(held, _)| **held == *filter) {
                Some(at) => {
                    few.swap_remove(at);
                    true
                }
                None => false,
            },
            Self::Many(many) => {
                let existed = many.remove(filter).is_some();
                if many.is_empty() {
                    *self = Self::new();
                }
                existed
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Subscription<'_>> {
        let (few, many) = match self {
            Self::Few(few) => (Some(few.iter().map(|(filter, held)| (filter, held))), None),
            Self::Many(many) => (None, Some(many.iter())),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten()).map(|(filter, held)| {
            let Held { options, subscription_id } = *held;
            Subscription { filter, options, subscription_id }
        })
    }

    pub(crate) fn contains(&self, filter: &str) -> bool {
        match self {
            Self::Few(few) => few.iter().any(|(held, _)| **held == *filter),
            Self::Many(many) => many.contains_key(filter),
        }
    }

    /// The lowest filter above this one.
    pub(crate) fn filter_after(&self, filter: &str) -> Option<&str> {
        match self {
            Self::Few(few) => few.iter().map(|(held, _)| &**held).filter(|held| *held > filter).min(),
            Self::Many(many) => {
                let above = (Bound::Excluded(filter), Bound::Unbounded);
                many.range::<str, _>(above).next().map(|(held, _)| &**held)
            }
        }
    }

    fn get_mut(&mut self, filter: &str) -> Option<&mut Held> {
        match self {
            Self::Few(few) => few.iter_mut().find(|(held, _)| **held == *filter).map(|(_, held)| held),
            Self::Many(many) => many.get_mut(filter),
        }
    }

    fn insert(&mut self, filter: &str, held: Held) {
        match self {
            Self::Few(few) if few.len() < FEW_MAX => {
                // Most sessions have one or two, and there are many sessions.
                few.reserve_exact(1);
                few.push((filter.into(), held));
            }
            Self::Few(few) => {
                let mut many: BTreeMap<_, _> = few.drain(..).collect();
                many.insert(filter.into(), held);
                *self = Self::Many(many);
            }
            Self::Many(many) => {
                many.insert(filter.into(), held);
            }
        }
    }
}
