//! What nodes ask of the leaders of shards, and are told by them.

use super::{BytesError, bytes_of_enum, bytes_of_struct, decode, encode, unknown};
use crate::ask::{Answer, Ask, OwnedSession, Owner, Published, Recipients, Told};
use crate::shard::Delivery;

/// The format of questions and of what is told. Folders have another one: they are not rewritten when nodes learn to say
/// more to each other.
const FORMAT: u8 = 2;

impl Ask {
    /// Appends the question.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(FORMAT, self, out);
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, BytesError> {
        decode(FORMAT, bytes)
    }
}

impl Told {
    /// Appends what is told.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(FORMAT, self, out);
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, BytesError> {
        decode(FORMAT, bytes)
    }
}

bytes_of_enum!(Ask, unknown!("question"), {
    1 => Claim { owner, claim },
    2 => Attach { owner, client, epoch, next },
    3 => Subscribe { client, epoch, subscriptions },
    4 => Unsubscribe { client, epoch, filters },
    5 => Publish { shard, published },
    6 => ReceiveQos2 { client, epoch, packet_id, published, destinations },
    7 => Release { client, epoch, packet_id },
    8 => Acknowledge { client, epoch, acks },
    9 => Disconnect { client, epoch, expiry_seconds, will },
    10 => End { client, generation },
    11 => Adopted { shard, number },
    12 => WillDone { shard, will, retain, destinations },
});

bytes_of_enum!(Recipients, unknown!("kind of recipients"), {
    1 => Nobody,
    2 => Matching { publisher },
    3 => One { client, qos, retain, subscription_ids, share },
    4 => Group { group, filter },
});

bytes_of_enum!(Told, unknown!("thing told"), {
    1 => Answer { number, answer },
    2 => Deliver { owner, epoch, deliveries },
    3 => TakenOver { owner, epoch },
    4 => Ended { owner, epoch },
    5 => Orphan { shard, number, share, message },
    6 => Will { shard, id, pending },
});

bytes_of_enum!(Answer, unknown!("answer"), {
    1 => Claimed(session),
    2 => Reply(reply),
    3 => Unavailable,
    4 => NotLeader { leader },
});

bytes_of_struct!(Owner { thread, slot, generation });
bytes_of_struct!(Published { message, retain, to });
bytes_of_struct!(OwnedSession { claimed, subscriptions, received });
bytes_of_struct!(Delivery { sequence, packet_id, qos, retain, subscription_ids, message });
