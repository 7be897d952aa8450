//! UNSUBSCRIBE (MQTT 5.0, 3.10): topic filters that the client subscribed to, letter by letter.

use std::fmt;

use crate::forward::UserProperties;
use crate::packet::PacketType;
use crate::property::{Property, PropertyReader};
use crate::reader::Reader;
use crate::write::{PropertyList, put_binary, put_header};
use crate::{DecodeError, PacketId, Version};

/// A client unsubscribes. Like [`Subscribe`](crate::Subscribe), it reads its filters from the validated bytes.
#[derive(Clone, Copy)]
pub struct Unsubscribe<'a> {
    /// To be repeated in UNSUBACK.
    pub packet_id: PacketId,
    /// User properties.
    pub user: UserProperties<'a>,
    /// Validated filters.
    payload: &'a [u8],
    count: usize,
}

impl<'a> Unsubscribe<'a> {
    /// How many filters there are: at least 1.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The filters, in the order in which UNSUBACK answers them.
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        let mut reader = Reader::new(self.payload);
        // The bytes were validated, so the first error is the end.
        std::iter::from_fn(move || reader.text("topic filter").ok())
    }

    pub(crate) fn decode(version: Version, body: &'a [u8]) -> Result<Self, DecodeError> {
        let packet = PacketType::Unsubscribe;
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id(packet)?;
        let mut user = UserProperties::EMPTY;
        if version == Version::V5 {
            let mut properties = PropertyReader::new(&mut reader, packet.name())?;
            while let Some(property) = properties.next()? {
                match property {
                    Property::User(..) => user = UserProperties::of_block(properties.block()),
                    other => return Err(properties.refuse(&other)),
                }
            }
        }
        let payload = reader.rest();
        let mut count = 0;
        while !reader.is_empty() {
            reader.text("topic filter")?;
            count += 1;
        }
        match count {
            0 => Err(DecodeError::NoTopicFilter { packet }),
            _ => Ok(Self { packet_id, user, payload, count }),
        }
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) {
        write(out, version, self.packet_id, self.user, self.filters());
    }
}

impl PartialEq for Unsubscribe<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.packet_id == other.packet_id && self.user == other.user && self.filters().eq(other.filters())
    }
}

impl Eq for Unsubscribe<'_> {}

impl fmt::Debug for Unsubscribe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsubscribe")
            .field("packet_id", &self.packet_id)
            .field("user", &self.user)
            .field("filters", &self.filters().collect::<Vec<_>>())
            .finish()
    }
}

/// Appends an UNSUBSCRIBE.
///
/// # Panics
///
/// If a filter is longer than 65,535 bytes.
pub fn encode_unsubscribe(out: &mut Vec<u8>, version: Version, packet_id: PacketId, filters: &[&str]) {
    write(out, version, packet_id, UserProperties::EMPTY, filters.iter().copied());
}

fn write<'a>(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: PacketId,
    user: UserProperties<'a>,
    filters: impl Iterator<Item = &'a str> + Clone,
) {
    let properties = PropertyList::new([], user);
    let payload = filters.clone().map(|filter| 2 + filter.len()).sum::<usize>();
    let length = 2 + if version == Version::V5 { properties.length() } else { 0 } + payload;
    put_header(out, PacketType::Unsubscribe.first_byte(), length);
    out.extend_from_slice(&packet_id.get().to_be_bytes());
    if version == Version::V5 {
        properties.write_to(out);
    }
    for filter in filters {
        put_binary(out, filter.as_bytes());
    }
}
