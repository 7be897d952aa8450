//! What stores of different nodes say to each other, and its bytes: which part it is for, and what that part wrote.

use fulmar_bytes::BytesError;
use fulmar_courier::{AnswerLetter, AskLetter};
use fulmar_member::MemberMessage;
use fulmar_store_raft::Letter;
use thiserror::Error;

/// On which connection something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// What must not wait: leases, votes, entries.
    Control,
    /// What may be much: questions, messages, snapshots.
    Bulk,
}

/// See the [module](self).
#[derive(Debug, Clone, PartialEq)]
pub enum Envelope {
    /// For the engine.
    Engine(Letter),
    /// For the desk: questions of the other node's data threads.
    Ask(AskLetter),
    /// For the courier: what became of this node's questions, and messages for sessions that it serves.
    Answer(AnswerLetter),
    /// For the membership.
    Member(MemberMessage),
}

/// Why bytes are no letter.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EnvelopeError {
    /// There is nothing.
    #[error("a letter without bytes")]
    Empty,
    /// A later version has more parts.
    #[error("a letter for part {found}, wanted 1 to 4")]
    Part {
        /// What it says.
        found: u8,
    },
    /// One that the engine does not understand.
    #[error("for the engine: {0}")]
    Engine(#[from] fulmar_store_raft::LetterError),
    /// One that courier and desk do not understand.
    #[error("questions or answers: {0}")]
    Courier(#[source] BytesError),
    /// One that the membership does not understand.
    #[error("for the membership: {0}")]
    Member(#[source] BytesError),
}

const ENGINE: u8 = 1;
const ASK: u8 = 2;
const ANSWER: u8 = 3;
const MEMBER: u8 = 4;

impl Envelope {
    /// Where it goes.
    pub fn channel(&self) -> Channel {
        match self {
            Envelope::Engine(letter) if letter.is_bulk() => Channel::Bulk,
            Envelope::Engine(_) | Envelope::Member(_) => Channel::Control,
            Envelope::Ask(_) | Envelope::Answer(_) => Channel::Bulk,
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Envelope::Engine(letter) => {
                bytes.push(ENGINE);
                letter.append_to(&mut bytes);
            }
            Envelope::Ask(letter) => {
                bytes.push(ASK);
                letter.encode(&mut bytes);
            }
            Envelope::Answer(letter) => {
                bytes.push(ANSWER);
                letter.encode(&mut bytes);
            }
            Envelope::Member(message) => {
                bytes.push(MEMBER);
                message.encode(&mut bytes);
            }
        }
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let (part, rest) = bytes.split_first().ok_or(EnvelopeError::Empty)?;
        match *part {
            ENGINE => Ok(Envelope::Engine(Letter::decode(rest)?)),
            ASK => AskLetter::decode(rest).map(Envelope::Ask).map_err(EnvelopeError::Courier),
            ANSWER => AnswerLetter::decode(rest).map(Envelope::Answer).map_err(EnvelopeError::Courier),
            MEMBER => MemberMessage::decode(rest).map(Envelope::Member).map_err(EnvelopeError::Member),
            found => Err(EnvelopeError::Part { found }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_letter_is_told_by_what_is_wrong() {
        assert_eq!(Envelope::decode(&[]), Err(EnvelopeError::Empty));
        assert_eq!(Envelope::decode(&[9]), Err(EnvelopeError::Part { found: 9 }));
        assert!(matches!(Envelope::decode(&[ENGINE]), Err(EnvelopeError::Engine(_))));
        assert!(matches!(Envelope::decode(&[ASK]), Err(EnvelopeError::Courier(_))));
        assert!(matches!(Envelope::decode(&[MEMBER]), Err(EnvelopeError::Member(_))));
    }

    #[test]
    fn a_letter_is_read_as_it_was_written() {
        let letter = Envelope::Member(MemberMessage::Look);
        assert_eq!(Envelope::decode(&letter.encode()), Ok(letter.clone()));
        assert_eq!(letter.channel(), Channel::Control);
    }
}
