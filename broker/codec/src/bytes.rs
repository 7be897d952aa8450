//! Values of MQTT as entries, snapshots and letters have them. Packets are written by their own files.

use fulmar_bytes::{Bytes, BytesError, Reader};

use crate::{PacketId, QoS, RetainHandling, SubscriptionOptions, Version};

impl Bytes for QoS {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.level());
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        let found = u8::get(reader)?;
        Self::new(found).ok_or(BytesError::Value { what: "quality of service", found: found.into() })
    }
}

impl Bytes for PacketId {
    fn put(&self, out: &mut Vec<u8>) {
        self.get().put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        Self::new(u16::get(reader)?).ok_or(BytesError::Value { what: "packet identifier", found: 0 })
    }
}

/// The byte of SUBSCRIBE in MQTT 5.0 (3.8.3.1).
impl Bytes for SubscriptionOptions {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.to_byte(Version::V5));
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        let byte = u8::get(reader)?;
        let wrong = BytesError::Value { what: "subscription options", found: byte.into() };
        let qos = QoS::new(byte & 0b11).ok_or(wrong)?;
        let retain_handling = match byte >> 4 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(wrong),
        };
        Ok(Self { qos, no_local: byte & 0b100 != 0, retain_as_published: byte & 0b1000 != 0, retain_handling })
    }
}
