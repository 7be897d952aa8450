//! What engines of different nodes say to each other, and its bytes: a kind, and what belongs to it.
//!
//! Letters may be lost and late. Whoever needs an answer asks again.

use fulmar_raft::Message as RaftMessage;
use thiserror::Error;

/// See the [module](self).
#[derive(Debug, Clone, PartialEq)]
pub enum Letter {
    /// A message of a Raft group.
    Raft {
        /// The group: 0 is that of the cluster, others have shards.
        group: u16,
        /// What it says.
        message: RaftMessage,
    },
}

/// Why bytes are no letter.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LetterError {
    /// It ends too early.
    #[error("a letter of {found} bytes, wanted at least {wanted}")]
    Short {
        /// How many there are.
        found: usize,
        /// How many there must be.
        wanted: usize,
    },
    /// A later version has more kinds.
    #[error("a letter of kind {found}, wanted 1")]
    Kind {
        /// The kind that it says it is.
        found: u8,
    },
    /// What belongs to it is damaged.
    #[error("a letter of a Raft group: {0}")]
    Raft(#[from] fulmar_raft::WireError),
}

const RAFT: u8 = 1;

impl Letter {
    /// Writes it.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            Letter::Raft { group, message } => {
                out.push(RAFT);
                out.extend(group.to_le_bytes());
                message.append_to(out);
            }
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, LetterError> {
        let short = |wanted| LetterError::Short { found: bytes.len(), wanted };
        match bytes.split_first().ok_or_else(|| short(1))? {
            (&RAFT, rest) => {
                let (group, rest) = rest.split_first_chunk().ok_or_else(|| short(3))?;
                Ok(Letter::Raft { group: u16::from_le_bytes(*group), message: RaftMessage::decode(rest)? })
            }
            (&found, _) => Err(LetterError::Kind { found }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_letter_is_told_by_what_is_wrong() {
        assert_eq!(Letter::decode(&[]), Err(LetterError::Short { found: 0, wanted: 1 }));
        assert_eq!(Letter::decode(&[RAFT, 0]), Err(LetterError::Short { found: 2, wanted: 3 }));
        assert_eq!(Letter::decode(&[9, 0]), Err(LetterError::Kind { found: 9 }));
        assert!(matches!(Letter::decode(&[RAFT, 0, 0]), Err(LetterError::Raft(_))));
    }
}
