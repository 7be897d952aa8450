//! Messages of an outbox, which the leader of one shard sends to that of another.

use std::sync::Arc;

use super::{Bytes, BytesError, FORMAT, Reader, bytes_of_enum, bytes_of_struct, unknown};
use crate::outbox::Addressee;
use crate::shard::OutboxMessage;

impl OutboxMessage {
    /// Appends messages.
    pub fn encode_all(messages: &[Self], out: &mut Vec<u8>) {
        FORMAT.put(out);
        messages.iter().for_each(|message| message.put(out));
    }

    /// Reads what [`encode_all`](Self::encode_all) wrote, and nothing else.
    pub fn decode_all(bytes: &[u8]) -> Result<Vec<Self>, BytesError> {
        let mut reader = Reader::of_format(FORMAT, bytes)?;
        let mut messages = Vec::new();
        while !reader.is_empty() {
            messages.push(Bytes::get(&mut reader)?);
        }
        Ok(messages)
    }
}

bytes_of_struct!(OutboxMessage { number, message, to });
bytes_of_enum!(Addressee<Arc<str>>, unknown!("addressee"), { 1 => Subscribers { publisher }, 2 => Group(share), 3 => Retained(version), });
