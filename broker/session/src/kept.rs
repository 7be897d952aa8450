//! Messages that sessions keep, and what they take of the node's memory while they do.
//!
//! A publish is kept once for all sessions of a data thread: its bytes count once, however many of them wait for it,
//! and the place in each session's queue counts for itself. All of it is given back when the last of them is done.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use fulmar_codec::{PublishHead, QoS};

use crate::message::{Message, Outgoing};
use crate::quota::{Purpose, QuotaShare, Short};

/// What the allocator and the counters of an [`Arc`] add to a message and its [`Kept`].
const ALLOCATION_BYTES: usize = 64;

/// A message, with its bytes reserved.
#[derive(Debug)]
struct Kept {
    message: Message,
    share: Arc<QuotaShare>,
}

impl Kept {
    const fn bytes_of(message_bytes: usize) -> usize {
        message_bytes + size_of::<Self>() + ALLOCATION_BYTES
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.share.release(Self::bytes_of(self.message.bytes()));
    }
}

/// The one message of a publish, made when the first receiver has to keep it.
#[derive(Debug)]
pub struct SharedMessage<'a> {
    message: Option<Message>,
    kept: Option<Arc<Kept>>,
    share: &'a Arc<QuotaShare>,
    scratch: &'a mut Vec<u8>,
}

impl<'a> SharedMessage<'a> {
    /// Of a message that nobody keeps yet. `share` is that of the thread whose sessions may keep it.
    #[inline]
    pub fn new(share: &'a Arc<QuotaShare>, scratch: &'a mut Vec<u8>) -> Self {
        Self { message: None, kept: None, share, scratch }
    }

    /// Of a message that is kept elsewhere already.
    #[inline]
    pub fn of(message: Message, share: &'a Arc<QuotaShare>, scratch: &'a mut Vec<u8>) -> Self {
        Self { message: Some(message), kept: None, share, scratch }
    }

    /// The message; `outgoing` is the same at each call.
    pub fn get(&mut self, outgoing: &Outgoing<'_>) -> &Message {
        let Self { message, scratch, .. } = self;
        message.get_or_insert_with(|| Message::new(outgoing, scratch))
    }

    /// Reserves `place_bytes` and, the first time, the bytes of the message.
    fn keep(&mut self, outgoing: &Outgoing<'_>, place_bytes: usize, purpose: Purpose) -> Result<Arc<Kept>, Short> {
        if let Some(kept) = &self.kept {
            self.share.reserve(place_bytes, purpose)?;
            return Ok(Arc::clone(kept));
        }
        self.share.reserve(place_bytes + Kept::bytes_of(outgoing.bytes()), purpose)?;
        let kept = Arc::new(Kept { message: self.get(outgoing).clone(), share: Arc::clone(self.share) });
        self.kept = Some(Arc::clone(&kept));
        Ok(kept)
    }
}

/// A message for one receiver, kept: it waits in the mailbox, or its body is held until it is acknowledged.
#[derive(Debug)]
pub(crate) struct Delivery {
    kept: Arc<Kept>,
    subscription_ids: SubscriptionIds,
    /// That of the publisher, or that of the subscription if it is lower.
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// The shared subscription that it is for: another member may get it.
    pub(crate) share: Option<NonZeroU32>,
}

/// What a delivery takes in a queue, which may be half empty after it grew.
const PLACE_BYTES: usize = 2 * size_of::<Delivery>();

impl Delivery {
    /// Keeps the message of a publish for one more receiver, if the node has room for it.
    pub(crate) fn new(
        outgoing: &Outgoing<'_>,
        (qos, retain, share): (QoS, bool, Option<NonZeroU32>),
        subscription_ids: &[u32],
        message: &mut SharedMessage<'_>,
        purpose: Purpose,
    ) -> Result<Self, Short> {
        let subscription_ids = SubscriptionIds::new(subscription_ids);
        let kept = message.keep(outgoing, PLACE_BYTES + subscription_ids.heap_bytes(), purpose)?;
        Ok(Self { kept, subscription_ids, qos, retain, share })
    }

    /// What a delivery counts for its client: there each counts in full, whoever else waits for the same message.
    pub(crate) fn bytes_of(outgoing: &Outgoing<'_>, subscription_ids: &[u32]) -> usize {
        let heap_bytes = if subscription_ids.len() > 1 { size_of_val(subscription_ids) } else { 0 };
        PLACE_BYTES + outgoing.bytes() + heap_bytes
    }

    /// See [`Self::bytes_of`].
    pub(crate) fn bytes(&self) -> usize {
        self.place_bytes() + self.message().bytes()
    }

    /// What the node has again when this delivery is gone.
    pub(crate) fn bytes_freed(&self) -> usize {
        let is_last = Arc::strong_count(&self.kept) == 1;
        self.place_bytes() + if is_last { Kept::bytes_of(self.message().bytes()) } else { 0 }
    }

    fn place_bytes(&self) -> usize {
        PLACE_BYTES + self.subscription_ids.heap_bytes()
    }

    pub(crate) fn message(&self) -> &Message {
        &self.kept.message
    }

    /// What to write for this receiver, but for the packet id.
    pub(crate) fn head(&self, outgoing: &Outgoing<'_>, now: Instant) -> PublishHead<'_> {
        PublishHead {
            qos: self.qos,
            retain: self.retain,
            message_expiry: outgoing.expiry_seconds_left(now),
            subscription_ids: self.subscription_ids.as_slice(),
            ..PublishHead::default()
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.kept.share.release(self.place_bytes());
    }
}

/// Subscription identifiers of a delivery: rarely any, hardly ever two.
#[derive(Debug)]
enum SubscriptionIds {
    None,
    One([u32; 1]),
    Many(Box<[u32]>),
}

impl SubscriptionIds {
    fn new(ids: &[u32]) -> Self {
        match *ids {
            [] => Self::None,
            [id] => Self::One([id]),
            _ => Self::Many(ids.into()),
        }
    }

    fn as_slice(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(id) => id,
            Self::Many(ids) => ids,
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::None | Self::One(_) => 0,
            Self::Many(ids) => size_of_val::<[u32]>(ids),
        }
    }
}

#[cfg(test)]
mod tests {
    use fulmar_codec::ForwardProperties;

    use super::*;
    use crate::quota::Quota;

    const OUTGOING: Outgoing<'_> = Outgoing {
        topic: "t",
        qos: QoS::AtLeastOnce,
        retain: false,
        forward: ForwardProperties::EMPTY,
        payload: &[7; 1000],
        expires: None,
    };

    fn keep(shared: &mut SharedMessage<'_>, ids: &[u32]) -> Delivery {
        Delivery::new(&OUTGOING, (QoS::AtLeastOnce, false, None), ids, shared, Purpose::Waiting).unwrap()
    }

    #[test]
    fn the_message_is_made_once_for_all_receivers() {
        let share = QuotaShare::new(Quota::new(usize::MAX));
        let mut scratch = Vec::new();
        let mut shared = SharedMessage::new(&share, &mut scratch);
        let [one, two] = [(); 2].map(|()| keep(&mut shared, &[]));
        assert!(one.message().shares_bytes(two.message()) && one.message().shares_bytes(shared.get(&OUTGOING)));
    }

    #[test]
    fn a_message_counts_once_and_each_place_for_itself_until_the_last_is_gone() {
        let share = QuotaShare::new(Quota::new(usize::MAX));
        let mut scratch = Vec::new();
        let mut shared = SharedMessage::new(&share, &mut scratch);
        let body = Kept::bytes_of(OUTGOING.bytes());
        let one = keep(&mut shared, &[]);
        let two = keep(&mut shared, &[1, 2, 3]);
        drop(shared);
        assert_eq!(share.used(), body + PLACE_BYTES + PLACE_BYTES + 12);
        assert_eq!((one.bytes_freed(), two.bytes_freed()), (PLACE_BYTES, PLACE_BYTES + 12));
        drop(one);
        assert_eq!(share.used(), body + PLACE_BYTES + 12);
        assert_eq!(two.bytes_freed(), share.used());
        drop(two);
        assert_eq!(share.used(), 0);
    }

    #[test]
    fn what_the_node_has_no_room_for_is_not_copied() {
        let share = QuotaShare::new(Quota::new(1000));
        let mut scratch = Vec::new();
        let mut shared = SharedMessage::new(&share, &mut scratch);
        let refused = Delivery::new(&OUTGOING, (QoS::AtLeastOnce, false, None), &[], &mut shared, Purpose::Waiting);
        assert!(refused.is_err() && shared.message.is_none());
        assert_eq!(share.used(), 0);
    }
}
