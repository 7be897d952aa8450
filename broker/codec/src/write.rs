//! Writing the data types of MQTT 5.0, 1.5, and what packets have in common when they are written.
//!
//! Lengths are computed before the first byte is written, so a packet goes into its buffer in one pass.

use crate::forward::UserProperties;
use crate::property::Property;
use crate::reader::VARIABLE_INTEGER_MAX;

/// How many bytes a variable byte integer takes.
#[inline]
pub(crate) const fn variable_integer_length(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

#[inline]
pub(crate) fn put_variable_integer(out: &mut Vec<u8>, value: usize) {
    if value < 0x80 {
        out.push(value as u8);
    } else {
        put_long_variable_integer(out, value);
    }
}

fn put_long_variable_integer(out: &mut Vec<u8>, mut value: usize) {
    assert!(value <= VARIABLE_INTEGER_MAX, "length {value} is beyond the {VARIABLE_INTEGER_MAX} of MQTT");
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Text and binary data look the same on the wire: a length of two bytes before them.
#[inline]
pub(crate) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&two_byte_length(bytes));
    out.extend_from_slice(bytes);
}

/// The two bytes of length before text or binary data.
#[inline]
pub(crate) fn two_byte_length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).expect("text and binary data of MQTT have at most 65,535 bytes").to_be_bytes()
}

/// The length of a whole packet, fixed header included.
#[inline]
pub(crate) const fn packet_length(body_length: usize) -> usize {
    1 + variable_integer_length(body_length) + body_length
}

/// Writes the fixed header, having made room for the whole packet.
#[inline]
pub(crate) fn put_header(out: &mut Vec<u8>, first: u8, body_length: usize) {
    out.reserve(5 + body_length);
    out.push(first);
    put_variable_integer(out, body_length);
}

/// The properties that a packet is about to write: those it knows, then the user properties.
pub(crate) struct PropertyList<'a, const N: usize> {
    known: [Option<Property<'a>>; N],
    user: UserProperties<'a>,
    length: usize,
}

impl<'a, const N: usize> PropertyList<'a, N> {
    pub(crate) fn new(known: [Option<Property<'a>>; N], user: UserProperties<'a>) -> Self {
        let length = known.iter().flatten().map(Property::length).sum::<usize>() + user.length();
        Self { known, user, length }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// With the length in front.
    pub(crate) const fn length(&self) -> usize {
        variable_integer_length(self.length) + self.length
    }

    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        put_variable_integer(out, self.length);
        for property in self.known.iter().flatten() {
            property.write_to(out);
        }
        self.user.write_to(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::variable_integer;

    #[test]
    fn every_variable_integer_at_the_edges_reads_back() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, VARIABLE_INTEGER_MAX] {
            let mut out = Vec::new();
            put_variable_integer(&mut out, value);
            assert_eq!(out.len(), variable_integer_length(value));
            assert_eq!(variable_integer(&out, "length"), Ok(Some((value as u32, out.len()))));
        }
    }

    #[test]
    #[should_panic(expected = "length 268435456 is beyond")]
    fn a_length_beyond_the_largest_is_never_written() {
        put_variable_integer(&mut Vec::new(), VARIABLE_INTEGER_MAX + 1);
    }
}
