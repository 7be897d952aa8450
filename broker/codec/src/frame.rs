//! Framing: where a packet ends in a stream of bytes (MQTT 5.0, 2.1).

use crate::DecodeError;
use crate::reader::{VARIABLE_INTEGER_MAX, variable_integer};

/// The longest packet there can be: five bytes of fixed header and the longest body.
pub const PACKET_BYTES_MAX: usize = 5 + VARIABLE_INTEGER_MAX;

/// What the bytes at hand hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framed<'a> {
    /// The beginning of a packet.
    Incomplete {
        /// The length of the whole packet, once its fixed header is there.
        needed: Option<usize>,
    },
    /// A packet, and perhaps bytes of the next one.
    Whole {
        /// Packet type and flags.
        first: u8,
        /// All after the fixed header.
        body: &'a [u8],
        /// The length of fixed header and body together: where the next packet begins.
        length: usize,
    },
}

/// Finds the first packet in `bytes`. A packet of more than `packet_bytes_max` bytes is refused as soon as its length
/// is known, so that nobody waits for it or makes room for it.
#[inline]
pub fn split_frame(bytes: &[u8], packet_bytes_max: usize) -> Result<Framed<'_>, DecodeError> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(Framed::Incomplete { needed: None }) };
    let Some((body_length, length_bytes)) = variable_integer(rest, "remaining length")? else {
        return Ok(Framed::Incomplete { needed: None });
    };
    let header = 1 + length_bytes;
    let length = header + body_length as usize;
    if length > packet_bytes_max {
        return Err(DecodeError::PacketTooLarge { found: length, max: packet_bytes_max });
    }
    match bytes.get(header..length) {
        Some(body) => Ok(Framed::Whole { first, body, length }),
        None => Ok(Framed::Incomplete { needed: Some(length) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_found_when_its_last_byte_is_there() {
        let bytes = [0x30, 3, 0, 1, b'a', 0xc0, 0];
        assert_eq!(split_frame(&bytes, 5), Ok(Framed::Whole { first: 0x30, body: &[0, 1, b'a'], length: 5 }));
        assert_eq!(split_frame(&bytes[5..], 5), Ok(Framed::Whole { first: 0xc0, body: &[], length: 2 }));
        for end in 2..5 {
            assert_eq!(split_frame(&bytes[..end], 5), Ok(Framed::Incomplete { needed: Some(5) }));
        }
        assert_eq!(split_frame(&bytes[..1], 5), Ok(Framed::Incomplete { needed: None }));
        assert_eq!(split_frame(&[], 5), Ok(Framed::Incomplete { needed: None }));
    }

    #[test]
    fn the_limit_counts_the_whole_packet_and_is_applied_to_the_announced_length() {
        assert_eq!(split_frame(&[0x30, 3], 5), Ok(Framed::Incomplete { needed: Some(5) }));
        assert_eq!(split_frame(&[0x30, 4], 5), Err(DecodeError::PacketTooLarge { found: 6, max: 5 }));
        let longest = [0x30, 0xff, 0xff, 0xff, 0x7f];
        let found = PACKET_BYTES_MAX;
        assert_eq!(split_frame(&longest, 1 << 20), Err(DecodeError::PacketTooLarge { found, max: 1 << 20 }));
        assert_eq!(split_frame(&longest, PACKET_BYTES_MAX), Ok(Framed::Incomplete { needed: Some(found) }));
    }

    #[test]
    fn a_length_of_five_bytes_or_with_padding_is_malformed() {
        let what = "remaining length";
        let too_long = Err(DecodeError::VariableIntegerTooLong { what });
        assert_eq!(split_frame(&[0x30, 0x80, 0x80, 0x80, 0x80], 100), too_long);
        assert_eq!(split_frame(&[0x30, 0x80, 0x80, 0x80, 0x80, 0x01], 100), too_long);
        assert_eq!(split_frame(&[0x30, 0x82, 0x00], 100), Err(DecodeError::VariableIntegerNotShortest { what }));
    }
}
