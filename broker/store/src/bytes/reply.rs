//! Replies, which a leader sends to whoever asked.

use super::{BytesError, FORMAT, bytes_of_enum, bytes_of_struct, decode, encode, unknown};
use crate::reply::{AckReply, Claimed, Cleared, ItemReply, Refusal, Reply, RetainReply, Stored, WillState};
use crate::settings::Bound;

impl Reply {
    /// Appends the reply.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(FORMAT, self, out);
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, BytesError> {
        decode(FORMAT, bytes)
    }
}

bytes_of_enum!(Reply, unknown!("reply"), {
    1 => Done,
    2 => Refused(refusal),
    3 => Claimed(claimed),
    4 => Subscribed(outcomes),
    5 => Unsubscribed(outcomes),
    6 => Published { items, expected },
    7 => Acknowledged(outcomes),
    8 => Routed(stored),
    9 => Duplicate,
    10 => Released(was_open),
    11 => Disconnected { ended, will },
    12 => Cleared(cleared),
    13 => Ended { was_there, owner },
    14 => Attached,
});

bytes_of_enum!(Refusal, unknown!("refusal"), {
    1 => NodeGone(node),
    2 => NoSession,
    3 => Epoch { found, current },
    4 => NotOwned { epoch },
    5 => Superseded { epoch },
    6 => OutOfOrder { found, expected },
    7 => NeverSent { found, last },
    8 => NoWill(will),
    9 => Bound(bound),
    10 => OtherUser,
    11 => NoMember,
});

bytes_of_enum!(Bound, unknown!("bound"), {
    1 => Sessions,
    2 => ShardBytes,
    3 => QueueMessages,
    4 => QueueBytes,
    5 => Subscriptions,
    6 => WillBytes,
    7 => ReceivedIds,
    8 => Retained,
    9 => Outbox,
    10 => Nodes,
});

bytes_of_enum!(ItemReply, unknown!("reply to a message"), { 1 => DoneBefore, 2 => Stored(stored), });
bytes_of_enum!(RetainReply, unknown!("reply to a retained message"), {
    1 => Applied,
    2 => Older,
    3 => Refused(bound),
});
bytes_of_enum!(WillState, unknown!("state of a will"), { 1 => None, 2 => DueAt(time), 3 => Pending(will), });
bytes_of_enum!(AckReply, unknown!("reply to an acknowledgement"), {
    1 => Done,
    2 => DoneBefore,
    3 => Unexpected,
    4 => NotSent,
});

bytes_of_struct!(Claimed { epoch, generation, present, took_over, sent_until });
bytes_of_struct!(Stored { queued, ignored, again, dropped, is_expired, refused, retained });
bytes_of_struct!(Cleared { left, ended, wills, messages, retained, tombstones, more });
