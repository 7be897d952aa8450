//! Entries: format, time, commands.

use super::{Bytes, BytesError, FORMAT, LEVEL, Reader, bytes_of_enum, bytes_of_struct, decode, encode, unknown};
use crate::command::{
    Ack, Claim, Command, Destination, Entry, Item, Onward, Routed, Subscription, Takeover, Target, Wants, Will,
    WillFate,
};
use crate::message::Message;
use crate::names::{Node, Party, ShardId, Version};
use crate::settings::{QueuePolicy, Settings};

impl Entry {
    /// Appends the entry.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(FORMAT, self, out);
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, BytesError> {
        decode(FORMAT, bytes)
    }
}

bytes_of_struct!(Entry { time, commands });

bytes_of_enum!(Command, |found| BytesError::UnknownCommand { found, level: LEVEL }, {
    1 => Settings(settings),
    2 => Claim(claim),
    3 => Subscribe { client, epoch, subscriptions },
    4 => Unsubscribe { client, epoch, filters },
    5 => Publish { source, first, items, goes_on },
    6 => Acknowledge { client, epoch, acks },
    7 => ReceiveQos2 { client, epoch, packet_id, routed },
    8 => Release { client, epoch, packet_id },
    9 => Disconnect { client, epoch, expiry_seconds, will },
    10 => NodeGone(node),
    11 => PublishWill { will, retain, targets, destinations },
    12 => OutboxDone { destination, until },
    13 => Expire,
    14 => End { client, generation },
    15 => RouteAgain { number, to },
});

bytes_of_struct!(Claim { client, user, takeover, node, nonce, clean, expiry_seconds, receive_maximum, will });
bytes_of_struct!(Will { message, delay_seconds });
bytes_of_struct!(Subscription { options, id });
bytes_of_struct!(Item { message, retain, targets });
bytes_of_struct!(Target { client, generation, qos, retain, subscription_ids, share });
bytes_of_struct!(Routed { item, destinations });
bytes_of_struct!(Destination { party, wants });
bytes_of_enum!(Wants, unknown!("kind of destination"), { 1 => Subscribers, 2 => Group(share), 3 => Retained(version), });
bytes_of_struct!(Node { id, incarnation });
bytes_of_struct!(Version { clock, node });
bytes_of_struct!(Settings {
    sessions_max,
    shard_bytes_max,
    queue_messages_max,
    queue_bytes_max,
    queue_policy,
    in_flight_max,
    subscriptions_max,
    will_bytes_max,
    received_ids_max,
    retained_max,
    tombstone_seconds,
    tombstones_max,
    tombstone_bytes_max,
    outbox_messages_max,
    nodes_max,
    portion,
});

bytes_of_enum!(Ack, unknown!("acknowledgement"), { 1 => Ack, 2 => Received, 3 => Complete, 4 => Discard, });
bytes_of_enum!(Takeover, unknown!("rule for taking over"), { 1 => SameUser, 2 => AnyUser, });
bytes_of_enum!(WillFate, unknown!("fate of a will"), { 1 => Keep, 2 => Delete, 3 => Fire, });
bytes_of_enum!(QueuePolicy, unknown!("queue policy"), { 1 => DropOldest, 2 => Refuse, });
bytes_of_enum!(Onward, unknown!("way onward"), { 1 => Member(target), 2 => Destination(party), 3 => Nobody, });
bytes_of_enum!(Party, unknown!("party"), { 1 => Node(node), 2 => Shard(shard), });

impl Bytes for ShardId {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        Bytes::get(reader).map(Self)
    }
}

impl Message {
    /// Appends the message, with its head.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.put(out);
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, BytesError> {
        let mut reader = Reader::new(bytes);
        let message = Self::get(&mut reader)?;
        reader.finish()?;
        Ok(message)
    }
}

/// Head, lengths of topic, properties and payload, and these together.
impl Bytes for Message {
    fn put(&self, out: &mut Vec<u8>) {
        self.qos.put(out);
        self.retain.put(out);
        self.lifetime_seconds.put(out);
        for part in [self.topic().as_bytes(), self.properties(), self.payload()] {
            u32::try_from(part.len()).expect("a packet of MQTT has at most 256 MB").put(out);
        }
        out.extend_from_slice(self.topic().as_bytes());
        out.extend_from_slice(self.properties());
        out.extend_from_slice(self.payload());
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        let qos = Bytes::get(reader)?;
        let retain = Bytes::get(reader)?;
        let lifetime_seconds = Bytes::get(reader)?;
        let [topic, properties, payload] = [u32::get(reader)?, u32::get(reader)?, u32::get(reader)?];
        if topic > u16::MAX.into() {
            return Err(BytesError::Value { what: "length of a topic", found: topic.into() });
        }
        let topic = reader.utf8(topic as usize)?;
        let properties = reader.take(properties as usize)?;
        let payload = reader.take(payload as usize)?;
        let message = Message::new(topic, qos, properties, payload);
        Ok(message.with_retain(retain).with_lifetime(lifetime_seconds))
    }
}
