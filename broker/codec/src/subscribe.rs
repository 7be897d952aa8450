//! SUBSCRIBE (MQTT 5.0, 3.8): topic filters with their options.
//!
//! Filters are validated when the packet is decoded, and then read from its bytes one after the other: no list of them
//! is made. Whether a filter obeys the grammar is the matter of [`parse_filter`](crate::parse_filter), because a bad
//! one is answered in SUBACK beside the good ones.

use std::fmt;
use std::num::NonZeroU32;

use crate::forward::UserProperties;
use crate::packet::PacketType;
use crate::property::{Property, PropertyReader};
use crate::reader::Reader;
use crate::write::{PropertyList, put_binary, put_header};
use crate::{DecodeError, PacketId, QoS, RetainHandling, SubscriptionOptions, Version};

/// A client subscribes.
#[derive(Clone, Copy)]
pub struct Subscribe<'a> {
    /// To be repeated in SUBACK.
    pub packet_id: PacketId,
    /// To be sent along with each message that matches one of the filters.
    pub subscription_id: Option<NonZeroU32>,
    /// User properties.
    pub user: UserProperties<'a>,
    version: Version,
    /// Validated filters and options.
    payload: &'a [u8],
    count: usize,
}

/// One subscription of a SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribeFilter<'a> {
    /// Text. For its grammar ask [`parse_filter`](crate::parse_filter).
    pub filter: &'a str,
    /// What the subscriber wants to have of the messages that match.
    pub options: SubscriptionOptions,
}

impl<'a> Subscribe<'a> {
    /// How many filters there are: at least 1.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The filters, in the order in which SUBACK answers them.
    pub fn filters(&self) -> impl Iterator<Item = SubscribeFilter<'a>> + Clone + use<'a> {
        let version = self.version;
        let mut reader = Reader::new(self.payload);
        // The bytes were validated, so the first error is the end.
        std::iter::from_fn(move || SubscribeFilter::decode(&mut reader, version).ok())
    }

    pub(crate) fn decode(version: Version, body: &'a [u8]) -> Result<Self, DecodeError> {
        let packet = PacketType::Subscribe;
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id(packet)?;
        let mut subscription_id = None;
        let mut user = UserProperties::EMPTY;
        if version == Version::V5 {
            let mut properties = PropertyReader::new(&mut reader, packet.name())?;
            while let Some(property) = properties.next()? {
                match property {
                    Property::SubscriptionId(id) => subscription_id = Some(id),
                    Property::User(..) => user = UserProperties::of_block(properties.block()),
                    other => return Err(properties.refuse(&other)),
                }
            }
        }
        let payload = reader.rest();
        let mut count = 0;
        while !reader.is_empty() {
            SubscribeFilter::decode(&mut reader, version)?;
            count += 1;
        }
        match count {
            0 => Err(DecodeError::NoTopicFilter { packet }),
            _ => Ok(Self { packet_id, subscription_id, user, version, payload, count }),
        }
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) {
        write(out, version, self.packet_id, self.subscription_id, self.user, self.filters());
    }
}

impl PartialEq for Subscribe<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.packet_id == other.packet_id
            && self.subscription_id == other.subscription_id
            && self.user == other.user
            && self.filters().eq(other.filters())
    }
}

impl Eq for Subscribe<'_> {}

impl fmt::Debug for Subscribe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribe")
            .field("packet_id", &self.packet_id)
            .field("subscription_id", &self.subscription_id)
            .field("user", &self.user)
            .field("filters", &self.filters().collect::<Vec<_>>())
            .finish()
    }
}

impl<'a> SubscribeFilter<'a> {
    fn decode(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let filter = reader.text("topic filter")?;
        let options = decode_options(reader.byte("subscription options")?, version)?;
        // MQTT 5.0, 3.8.3.1.
        if options.no_local && filter.starts_with("$share/") {
            return Err(DecodeError::NoLocalShared);
        }
        Ok(Self { filter, options })
    }
}

fn decode_options(byte: u8, version: Version) -> Result<SubscriptionOptions, DecodeError> {
    let reserved = match version {
        Version::V311 => 0b1111_1100,
        Version::V5 => 0b1100_0000,
    };
    if byte & reserved != 0 {
        return Err(DecodeError::SubscriptionOptions { found: byte });
    }
    Ok(SubscriptionOptions {
        qos: QoS::new(byte & 3).ok_or(match version {
            Version::V311 => DecodeError::Qos3 { what: "subscription" },
            Version::V5 => DecodeError::SubscriptionQos3,
        })?,
        no_local: byte & 0b0100 != 0,
        retain_as_published: byte & 0b1000 != 0,
        retain_handling: match byte >> 4 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(DecodeError::RetainHandling3),
        },
    })
}

/// Appends a SUBSCRIBE. MQTT 3.1.1 writes filters and quality of service only.
///
/// # Panics
///
/// If a filter is longer than 65,535 bytes.
pub fn encode_subscribe(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: PacketId,
    subscription_id: Option<NonZeroU32>,
    filters: &[SubscribeFilter<'_>],
) {
    write(out, version, packet_id, subscription_id, UserProperties::EMPTY, filters.iter().copied());
}

fn write<'a>(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: PacketId,
    subscription_id: Option<NonZeroU32>,
    user: UserProperties<'a>,
    filters: impl Iterator<Item = SubscribeFilter<'a>> + Clone,
) {
    let properties = PropertyList::new([subscription_id.map(Property::SubscriptionId)], user);
    let payload = filters.clone().map(|filter| 3 + filter.filter.len()).sum::<usize>();
    let length = 2 + if version == Version::V5 { properties.length() } else { 0 } + payload;
    put_header(out, PacketType::Subscribe.first_byte(), length);
    out.extend_from_slice(&packet_id.get().to_be_bytes());
    if version == Version::V5 {
        properties.write_to(out);
    }
    for SubscribeFilter { filter, options } in filters {
        put_binary(out, filter.as_bytes());
        out.push(options.to_byte(version));
    }
}
