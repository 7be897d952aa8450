//! A cursor over the bytes of one packet, and the data types of MQTT 5.0, 1.5.
//!
//! Nothing is copied and nothing is read beyond the end: what is too short is an error that names the field.

use crate::text::check_text;
use crate::{DecodeError, PacketId, PacketType};

/// The largest value of a variable byte integer, and so the longest body of a packet (MQTT 5.0, 1.5.5).
pub(crate) const VARIABLE_INTEGER_MAX: usize = 268_435_455;

/// What is left to read of a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(crate) fn bytes(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(length) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(DecodeError::Truncated { what, wanted: length, found: self.rest.len() }),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk() {
            Some((array, rest)) => {
                self.rest = rest;
                Ok(*array)
            }
            None => Err(DecodeError::Truncated { what, wanted: N, found: self.rest.len() }),
        }
    }

    #[inline]
    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array(what).map(u8::from_be_bytes)
    }

    #[inline]
    pub(crate) fn two_bytes(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.array(what).map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn four_bytes(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn packet_id(&mut self, packet: PacketType) -> Result<PacketId, DecodeError> {
        PacketId::new(self.two_bytes("packet identifier")?).ok_or(DecodeError::PacketIdZero { packet })
    }

    #[inline]
    pub(crate) fn variable_integer(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        match variable_integer(self.rest, what)? {
            Some((value, length)) => {
                self.rest = &self.rest[length..];
                Ok(value)
            }
            None => Err(DecodeError::Truncated { what, wanted: self.rest.len() + 1, found: self.rest.len() }),
        }
    }

    #[inline]
    pub(crate) fn binary(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.two_bytes(what)?;
        self.bytes(length.into(), what)
    }

    #[inline]
    pub(crate) fn text(&mut self, what: &'static str) -> Result<&'a str, DecodeError> {
        check_text(self.binary(what)?, what)
    }

    /// The packet ends here, or is malformed.
    #[inline]
    pub(crate) fn finish(self, packet: PacketType) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(DecodeError::TrailingBytes { packet, extra }),
        }
    }
}

/// The variable byte integer at the beginning of `bytes` and its length; nothing while its end is not there yet.
#[inline]
pub(crate) fn variable_integer(bytes: &[u8], what: &'static str) -> Result<Option<(u32, usize)>, DecodeError> {
    match bytes.first() {
        Some(&byte) if byte < 0x80 => Ok(Some((byte.into(), 1))),
        Some(_) => long_variable_integer(bytes, what),
        None => Ok(None),
    }
}

fn long_variable_integer(bytes: &[u8], what: &'static str) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            // A last byte of 0 adds nothing. MQTT 5.0 forbids it (1.5.5); 3.1.1 gives each length a range of its own (2.2.3).
            return match byte {
                0 => Err(DecodeError::VariableIntegerNotShortest { what }),
                _ => Ok(Some((value, index + 1))),
            };
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(DecodeError::VariableIntegerTooLong { what }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_integer_has_the_lengths_of_the_specification() {
        // MQTT 5.0, table 1-1.
        for (bytes, value) in [
            (&[0x00][..], 0),
            (&[0x7f], 127),
            (&[0x80, 0x01], 128),
            (&[0xff, 0x7f], 16_383),
            (&[0x80, 0x80, 0x01], 16_384),
            (&[0xff, 0xff, 0x7f], 2_097_151),
            (&[0x80, 0x80, 0x80, 0x01], 2_097_152),
            (&[0xff, 0xff, 0xff, 0x7f], 268_435_455),
        ] {
            assert_eq!(variable_integer(bytes, "length"), Ok(Some((value, bytes.len()))));
            for end in 0..bytes.len() {
                assert_eq!(variable_integer(&bytes[..end], "length"), Ok(None));
            }
        }
    }

    #[test]
    fn a_variable_integer_is_refused_when_too_long_or_padded() {
        let too_long = DecodeError::VariableIntegerTooLong { what: "length" };
        assert_eq!(variable_integer(&[0xff, 0xff, 0xff, 0xff], "length"), Err(too_long));
        assert_eq!(variable_integer(&[0x80, 0x80, 0x80, 0x80, 0x01], "length"), Err(too_long));
        let padded = DecodeError::VariableIntegerNotShortest { what: "length" };
        assert_eq!(variable_integer(&[0x80, 0x00], "length"), Err(padded));
        assert_eq!(variable_integer(&[0xff, 0x80, 0x00], "length"), Err(padded));
        assert_eq!(variable_integer(&[0xff, 0xff, 0xff, 0x00], "length"), Err(padded));
    }
}
