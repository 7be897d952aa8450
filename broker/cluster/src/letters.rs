//! Letters between the stores of nodes: what stands on a connection after its greeting.
//!
//! A connection for letters is written by the side that dialled it, and the other side only reads. Each letter is
//!
//! ```text
//! letter = length (32 bits, of what follows) bytes
//! ```
//! A letter of length 0 is a beat: the writer lives and has nothing to say. The reader writes [`BEAT`]s, which say that
//! it lives and reads, whether it has room for more or not. There is no checksum: TLS has one of its own, without TLS
//! there are those of TCP and of what carries it, as for lanes; what goes to a disk is checksummed by whoever writes it.

use thiserror::Error;

/// A connection for letters carries one kind of them, so that the small ones never wait behind the large ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Leases, votes, replication: small, and somebody waits.
    Control,
    /// Everything else.
    Bulk,
}

impl Channel {
    /// Both.
    pub const ALL: [Self; 2] = [Channel::Control, Channel::Bulk];

    /// A word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Channel::Control => "control",
            Channel::Bulk => "bulk",
        }
    }

    /// Its place in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A letter is never longer: the largest message that MQTT allows (MQTT 5.0, 2.1.4), and what is said about it.
pub const LETTER_BYTES_MAX: usize = (256 << 20) + (64 << 10);

/// What stands before each letter.
pub const HEAD_BYTES: usize = 4;

/// What the reader of letters writes.
pub const BEAT: u8 = 0;

/// Set aside for a letter before any of it has come. Whoever only announces a large one is given no more.
const AHEAD_BYTES_MAX: usize = 1 << 20;

/// A letter that is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("letter of {found} bytes, at most {LETTER_BYTES_MAX} are allowed")]
pub struct LetterTooLong {
    /// How long it is, or is announced to be.
    pub found: usize,
}

/// What stands before a letter of this length.
pub fn head(length: usize) -> Result<[u8; HEAD_BYTES], LetterTooLong> {
    let allowed = u32::try_from(length).ok().filter(|_| length <= LETTER_BYTES_MAX);
    allowed.map(u32::to_be_bytes).ok_or(LetterTooLong { found: length })
}

/// Puts received bytes together to letters.
#[derive(Debug, Default)]
pub struct Assembler {
    head: [u8; HEAD_BYTES],
    /// How much of the head has come.
    head_bytes: usize,
    /// What has come of the letter that the head announces.
    letter: Vec<u8>,
}

impl Assembler {
    /// Takes what has come, and appends the letters that are whole by that to `letters`.
    pub fn take(&mut self, mut bytes: &[u8], letters: &mut Vec<Vec<u8>>) -> Result<(), LetterTooLong> {
        while !bytes.is_empty() {
            if self.head_bytes < HEAD_BYTES {
                let (head, rest) = bytes.split_at(bytes.len().min(HEAD_BYTES - self.head_bytes));
                self.head[self.head_bytes..][..head.len()].copy_from_slice(head);
                self.head_bytes += head.len();
                bytes = rest;
                if self.head_bytes < HEAD_BYTES {
                    return Ok(());
                }
            }
            let length = self.announced();
            if length > LETTER_BYTES_MAX {
                return Err(LetterTooLong { found: length });
            }
            let (part, rest) = bytes.split_at(bytes.len().min(length - self.letter.len()));
            self.make_room(length, part.len());
            self.letter.extend_from_slice(part);
            bytes = rest;
            if self.letter.len() == length {
                self.head_bytes = 0;
                let letter = std::mem::take(&mut self.letter);
                letters.extend(Some(letter).filter(|letter| !letter.is_empty()));
            }
        }
        Ok(())
    }

    /// The length of the letter under way.
    fn announced(&self) -> usize {
        u32::from_be_bytes(self.head) as usize
    }

    /// Never for more than the letter, and for at most as much again as has come.
    fn make_room(&mut self, length: usize, part: usize) {
        let has = self.letter.len();
        if self.letter.capacity() < has + part {
            let more = (length - has).min(AHEAD_BYTES_MAX.max(has)).max(part);
            self.letter.reserve_exact(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(letters: &[Vec<u8>]) -> Vec<u8> {
        letters.iter().flat_map(|letter| [&head(letter.len()).unwrap()[..], letter].concat()).collect()
    }

    proptest! {
        #[test]
        fn letters_come_out_as_they_went_in_however_they_are_cut_and_beats_do_not(
            letters in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20),
            cut in 1_usize..400,
        ) {
            let (mut assembler, mut found) = (Assembler::default(), Vec::new());
            for part in written(&letters).chunks(cut) {
                assembler.take(part, &mut found).unwrap();
            }
            let wanted: Vec<_> = letters.into_iter().filter(|letter| !letter.is_empty()).collect();
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn a_letter_that_is_too_long_is_refused_by_its_head() {
        let found = LETTER_BYTES_MAX + 1;
        assert_eq!(head(found), Err(LetterTooLong { found }));
        assert!(head(LETTER_BYTES_MAX).is_ok());
        let bytes = [&u32::try_from(found).unwrap().to_be_bytes()[..], b"x"].concat();
        let error = Assembler::default().take(&bytes, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "letter of 268500993 bytes, at most 268500992 are allowed");
    }

    #[test]
    fn nobody_is_given_room_for_what_is_only_announced_and_no_letter_more_than_it_needs() {
        let mut assembler = Assembler::default();
        assembler.take(&head(LETTER_BYTES_MAX).unwrap(), &mut Vec::new()).unwrap();
        assembler.take(b"x", &mut Vec::new()).unwrap();
        assert_eq!(assembler.letter.capacity(), AHEAD_BYTES_MAX);

        let (letter, mut found) = (vec![7; 5 << 20], Vec::new());
        let mut assembler = Assembler::default();
        for part in written(std::slice::from_ref(&letter)).chunks(100_000) {
            assembler.take(part, &mut found).unwrap();
            assert!(assembler.letter.capacity() <= (2 * assembler.letter.len()).max(AHEAD_BYTES_MAX) + 100_000);
        }
        assert_eq!((found[0].capacity(), &found), (letter.len(), &vec![letter]));
    }
}
