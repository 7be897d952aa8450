//! Entries: format, time, commands.

use super::{Bytes, BytesError, LEVEL, Reader, bytes_of_enum, bytes_of_struct, decode, encode, unknown};
use crate::command::{Command, Entry, Purpose, Start, Step};
use crate::names::{ClusterId, Member, ShardId};

impl Entry {
    /// Appends the entry.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(self, out);
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, BytesError> {
        decode(bytes)
    }
}

bytes_of_struct!(Entry { time, commands });

bytes_of_enum!(Command, |found| BytesError::UnknownCommand { found, level: LEVEL }, {
    1 => Bootstrap { cluster, shards, first },
    2 => Lead { leader, term },
    3 => Join { cluster, made_at, start },
    4 => Boot { cluster, start },
    5 => Confirm { member, by },
    6 => Remove { member, term },
    7 => Describe { member, addresses, zone },
    8 => Drain { node, purpose },
    9 => CancelDrain { node },
    10 => Gone { node },
    11 => MoveReplica { shard, step },
});

bytes_of_struct!(Start { member, nonce, name, addresses, zone, level });
bytes_of_struct!(Member { id, incarnation });
bytes_of_enum!(Purpose, unknown!("purpose of a drain"), { 1 => Restart, 2 => Leave, });
bytes_of_enum!(Step, unknown!("step of a replica"), {
    1 => AddLearner { node, replaces },
    2 => CaughtUp(node),
    3 => Promote(node),
    4 => Remove(node),
    5 => Prefer(node),
});

impl Bytes for ClusterId {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        Bytes::get(reader).map(Self)
    }
}

impl Bytes for ShardId {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        Bytes::get(reader).map(Self)
    }
}
