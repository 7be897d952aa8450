//! The text of MQTT: UTF-8 without U+0000 (MQTT 5.0, 1.5.4), in topic names without wildcards as well.

use crate::DecodeError;

/// The bytes as text.
pub(crate) fn check_text<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a str, DecodeError> {
    let text = check_utf8(bytes, what)?;
    match bytes.iter().position(|&byte| byte == 0) {
        None => Ok(text),
        Some(at) => Err(DecodeError::NullCharacter { what, at }),
    }
}

/// The bytes as a topic name. Runs once per PUBLISH, so plain ASCII is checked eight bytes at a time.
#[inline]
#[allow(unsafe_code, reason = "checking again what is_plain checked costs as much as all else in reading a PUBLISH")]
pub(crate) fn check_topic_text<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a str, DecodeError> {
    if is_plain(bytes) {
        // SAFETY: every byte is ASCII, and ASCII is UTF-8.
        Ok(unsafe { std::str::from_utf8_unchecked(bytes) })
    } else {
        check_unusual_topic(bytes, what)
    }
}

#[cold]
fn check_unusual_topic<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a str, DecodeError> {
    let text = check_text(bytes, what)?;
    match text.bytes().position(|byte| byte == b'+' || byte == b'#') {
        None => Ok(text),
        Some(at) => Err(DecodeError::WildcardInTopic { what, found: char::from(bytes[at]), at }),
    }
}

fn check_utf8<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|error| DecodeError::NotUtf8 { what, at: error.valid_up_to() })
}

/// Whether every byte is ASCII and none is U+0000, `+` or `#`. The last word overlaps the one before, so that no bytes
/// are left over.
#[inline]
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk::<8>() {
        let (words, _) = bytes.as_chunks::<8>();
        return words
            .iter()
            .fold(unusual(u64::from_ne_bytes(*last)), |found, word| found | unusual(u64::from_ne_bytes(*word)))
            == 0;
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let word = u64::from(u32::from_ne_bytes(*first)) << 32 | u64::from(u32::from_ne_bytes(*last));
        return unusual(word) == 0;
    }
    !bytes.iter().any(|&byte| byte == 0 || byte == b'+' || byte == b'#' || !byte.is_ascii())
}

/// Not 0 if and only if one of the eight bytes is not ASCII, U+0000, `+` or `#`.
#[inline]
const fn unusual(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    // `#` (0x23) and `+` (0x2b) differ in one bit: with that bit set and `+` taken off, both are 0.
    let wildcard = (word | (0x08 * ONES)) ^ (0x2b * ONES);
    // A word less one in every byte borrows into the high bit where a byte was 0.
    (word | word.wrapping_sub(ONES) | wildcard.wrapping_sub(ONES)) & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_of_a_topic_is_judged() {
        for length in 1..=25 {
            for at in 0..length {
                for byte in 0..=0x7f_u8 {
                    let mut topic = vec![b'a'; length];
                    topic[at] = byte;
                    let expected = match byte {
                        0 => Err(DecodeError::NullCharacter { what: "topic", at }),
                        b'+' | b'#' => Err(DecodeError::WildcardInTopic { what: "topic", found: char::from(byte), at }),
                        _ => Ok(str::from_utf8(&topic).unwrap()),
                    };
                    assert_eq!(check_topic_text(&topic, "topic"), expected);
                }
                let mut topic = vec![b'a'; length];
                topic[at] = 0xff;
                assert_eq!(check_topic_text(&topic, "topic"), Err(DecodeError::NotUtf8 { what: "topic", at }));
            }
        }
    }

    #[test]
    fn text_may_be_any_unicode_but_surrogates_and_null() {
        for text in ["", "a", "grüße/温度/🌡", "\u{feff}marked", "\u{fffd}", "control\u{1}", "non\u{fffe}character"]
        {
            assert_eq!(check_text(text.as_bytes(), "text"), Ok(text));
            assert_eq!(check_topic_text(text.as_bytes(), "text"), Ok(text));
        }
        // U+D800 and U+DFFF, an overlong U+0000, and a code point beyond U+10FFFF.
        for bytes in [&b"\xed\xa0\x80"[..], b"\xed\xbf\xbf", b"\xc0\x80", b"\xf4\x90\x80\x80"] {
            assert_eq!(check_text(bytes, "text"), Err(DecodeError::NotUtf8 { what: "text", at: 0 }));
            assert_eq!(check_topic_text(bytes, "text"), Err(DecodeError::NotUtf8 { what: "text", at: 0 }));
        }
    }
}
