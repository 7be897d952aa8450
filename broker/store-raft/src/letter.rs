//! What engines of different nodes say to each other, and its bytes: a kind, and what belongs to it.
//!
//! Letters may be lost and late. Whoever needs an answer asks again.

use fulmar_bytes::{BytesError, Reader};
use fulmar_raft::{Index, Message as RaftMessage, NodeId, Term};
use fulmar_store::{Number, OutboxMessage, ShardId};
use thiserror::Error;

use crate::bytes::LittleEndian;
use crate::feed_letter::{Confirm, Feed};

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
    /// A part of a group's snapshot, for a node that needs it.
    Portion {
        /// Of which snapshot.
        of: Transfer,
        /// How many bytes it has.
        total: u64,
        /// Where this part begins.
        offset: u64,
        /// The part.
        bytes: Vec<u8>,
    },
    /// What has become of a part.
    Taken {
        /// Of which snapshot.
        of: Transfer,
        /// Up to where the receiver has it; none: it does not want it.
        until: Option<u64>,
    },
    /// The leader of a group says up to where it is committed.
    Committed {
        /// The group.
        group: u16,
        /// The entry.
        index: u64,
    },
    /// A node has a shard that the map says it has not, and asks whether the shard's group agrees.
    MayLeave {
        /// The group.
        group: u16,
        /// Which question: only the answer to the last one counts.
        question: u64,
    },
    /// The leader's answer: the group has committed that the node is not in it.
    Left {
        /// The group.
        group: u16,
        /// The question.
        question: u64,
    },
    /// The leader of a shard says to that of group 0 that a learner has all that it has.
    CaughtUp {
        /// The shard's group.
        group: u16,
        /// The learner.
        node: NodeId,
    },
    /// What a leader tells of the filters of its shard.
    Feed(Feed),
    /// What a node knows of the filters of a shard.
    Confirm(Confirm),
    /// A node asks all leaders for all filters that there are from now on.
    AskForFeeds {
        /// Which life of it.
        incarnation: u64,
        /// Which time it is.
        round: u64,
    },
    /// What the outbox of a shard has for another one, from its leader to the other's.
    Outbox {
        /// Of this shard.
        of: ShardId,
        /// For this one.
        to: ShardId,
        /// The oldest that have not come.
        messages: Vec<OutboxMessage>,
    },
    /// The answer: they have come and are committed up to a number.
    OutboxCame {
        /// Of this shard.
        of: ShardId,
        /// To this one.
        to: ShardId,
        /// The number.
        until: Number,
    },
}

/// A snapshot on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// The group.
    pub group: u16,
    /// The term of the leader that sends it.
    pub term: Term,
    /// The last entry that it holds.
    pub index: Index,
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
    #[error("a letter of kind {found}, which is unknown")]
    Kind {
        /// The kind that it says it is.
        found: u8,
    },
    /// What belongs to it is damaged.
    #[error("a letter of a Raft group: {0}")]
    Raft(#[from] fulmar_raft::WireError),
    /// What belongs to it was damaged on its way.
    #[error("a part of a snapshot with checksum {found:08x}, wanted {wanted:08x}")]
    Checksum {
        /// That of the bytes.
        found: u32,
        /// What the letter says.
        wanted: u32,
    },
    /// What belongs to it can't be read.
    #[error("a letter: {0}")]
    Bytes(#[from] BytesError),
}

const RAFT: u8 = 1;
const PORTION: u8 = 2;
const TAKEN: u8 = 3;
const COMMITTED: u8 = 4;
const MAY_LEAVE: u8 = 5;
const LEFT: u8 = 6;
const CAUGHT_UP: u8 = 7;
const FEED: u8 = 16;
const CONFIRM: u8 = 17;
const ASK_FOR_FEEDS: u8 = 18;
const OUTBOX: u8 = 19;
const OUTBOX_CAME: u8 = 20;

/// Stands for no offset.
const NOWHERE: u64 = u64::MAX;

impl Letter {
    /// Whether it belongs to the replication of a shard: a vote, an entry, a part of a snapshot, who is in the group.
    pub fn is_of_shard(&self) -> bool {
        match self {
            Letter::Raft { group, .. }
            | Letter::Committed { group, .. }
            | Letter::MayLeave { group, .. }
            | Letter::Left { group, .. }
            | Letter::CaughtUp { group, .. }
            | Letter::Portion { of: Transfer { group, .. }, .. }
            | Letter::Taken { of: Transfer { group, .. }, .. } => *group != 0,
            Letter::Feed(_)
            | Letter::Confirm(_)
            | Letter::AskForFeeds { .. }
            | Letter::Outbox { .. }
            | Letter::OutboxCame { .. } => false,
        }
    }

    /// Whether it may be much, so that votes and entries should not wait for it.
    pub fn is_bulk(&self) -> bool {
        !matches!(
            self,
            Letter::Raft { .. }
                | Letter::Committed { .. }
                | Letter::MayLeave { .. }
                | Letter::Left { .. }
                | Letter::CaughtUp { .. }
        )
    }

    /// Writes it.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            Letter::Raft { group, message } => {
                out.push(RAFT);
                out.extend(group.to_le_bytes());
                message.append_to(out);
            }
            Letter::Portion { of, total, offset, bytes } => {
                out.push(PORTION);
                of.append_to(out);
                out.extend(total.to_le_bytes());
                out.extend(offset.to_le_bytes());
                out.extend(crc32c::crc32c(bytes).to_le_bytes());
                out.extend_from_slice(bytes);
            }
            Letter::Taken { of, until } => {
                out.push(TAKEN);
                of.append_to(out);
                out.extend(until.unwrap_or(NOWHERE).to_le_bytes());
            }
            Letter::Committed { group, index } => put(out, COMMITTED, *group, *index),
            Letter::MayLeave { group, question } => put(out, MAY_LEAVE, *group, *question),
            Letter::Left { group, question } => put(out, LEFT, *group, *question),
            Letter::CaughtUp { group, node } => put(out, CAUGHT_UP, *group, *node),
            Letter::Feed(feed) => {
                out.push(FEED);
                feed.append_to(out);
            }
            Letter::Confirm(confirm) => {
                out.push(CONFIRM);
                confirm.append_to(out);
            }
            Letter::AskForFeeds { incarnation, round } => {
                out.push(ASK_FOR_FEEDS);
                out.extend(incarnation.to_le_bytes());
                out.extend(round.to_le_bytes());
            }
            Letter::Outbox { of, to, messages } => {
                out.push(OUTBOX);
                [of, to].iter().for_each(|shard| out.extend(shard.0.to_le_bytes()));
                OutboxMessage::encode_all(messages, out);
            }
            Letter::OutboxCame { of, to, until } => {
                out.push(OUTBOX_CAME);
                [of, to].iter().for_each(|shard| out.extend(shard.0.to_le_bytes()));
                out.extend(until.to_le_bytes());
            }
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, LetterError> {
        let short = |wanted| LetterError::Short { found: bytes.len(), wanted };
        let (&kind, rest) = bytes.split_first().ok_or_else(|| short(1))?;
        if kind == RAFT {
            let (group, rest) = rest.split_first_chunk().ok_or_else(|| short(3))?;
            return Ok(Letter::Raft { group: u16::from_le_bytes(*group), message: RaftMessage::decode(rest)? });
        }
        let mut reader = Reader::new(rest);
        let letter = match kind {
            PORTION => {
                let (of, total, offset) = (Transfer::read(&mut reader)?, reader.u64()?, reader.u64()?);
                let wanted = reader.u32()?;
                let bytes = reader.rest().to_vec();
                let found = crc32c::crc32c(&bytes);
                if found != wanted {
                    return Err(LetterError::Checksum { found, wanted });
                }
                Letter::Portion { of, total, offset, bytes }
            }
            TAKEN => {
                let of = Transfer::read(&mut reader)?;
                Letter::Taken { of, until: Some(reader.u64()?).filter(|until| *until != NOWHERE) }
            }
            COMMITTED => Letter::Committed { group: reader.u16()?, index: reader.u64()? },
            MAY_LEAVE => Letter::MayLeave { group: reader.u16()?, question: reader.u64()? },
            LEFT => Letter::Left { group: reader.u16()?, question: reader.u64()? },
            CAUGHT_UP => Letter::CaughtUp { group: reader.u16()?, node: reader.u64()? },
            FEED => Letter::Feed(Feed::decode(&mut reader)?),
            CONFIRM => Letter::Confirm(Confirm::decode(&mut reader)?),
            ASK_FOR_FEEDS => Letter::AskForFeeds { incarnation: reader.u64()?, round: reader.u64()? },
            OUTBOX => {
                let (of, to) = (ShardId(reader.u16()?), ShardId(reader.u16()?));
                let messages = OutboxMessage::decode_all(reader.rest())?;
                Letter::Outbox { of, to, messages }
            }
            OUTBOX_CAME => {
                let (of, to) = (ShardId(reader.u16()?), ShardId(reader.u16()?));
                Letter::OutboxCame { of, to, until: reader.u64()? }
            }
            found => return Err(LetterError::Kind { found }),
        };
        reader.finish()?;
        Ok(letter)
    }
}

impl Transfer {
    fn read(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        Ok(Self { group: reader.u16()?, term: reader.u64()?, index: reader.u64()? })
    }

    fn append_to(self, out: &mut Vec<u8>) {
        let Self { group, term, index } = self;
        out.extend(group.to_le_bytes());
        out.extend(term.to_le_bytes());
        out.extend(index.to_le_bytes());
    }
}

fn put(out: &mut Vec<u8>, kind: u8, group: u16, number: u64) {
    out.push(kind);
    out.extend(group.to_le_bytes());
    out.extend(number.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use fulmar_codec::QoS;
    use fulmar_store::{Addressee, Message};

    use super::*;
    use crate::feed_letter::{Known, News};

    #[test]
    fn what_is_no_letter_is_told_by_what_is_wrong() {
        assert_eq!(Letter::decode(&[]), Err(LetterError::Short { found: 0, wanted: 1 }));
        assert_eq!(Letter::decode(&[RAFT, 0]), Err(LetterError::Short { found: 2, wanted: 3 }));
        assert_eq!(Letter::decode(&[99, 0, 0]), Err(LetterError::Kind { found: 99 }));
        let truncated = BytesError::Truncated { at: 2, wanted: 8, found: 1 };
        assert_eq!(Letter::decode(&[LEFT, 0, 0, 1]), Err(LetterError::Bytes(truncated)));
        assert!(matches!(Letter::decode(&[RAFT, 0, 0]), Err(LetterError::Raft(_))));
        let long = [&[ASK_FOR_FEEDS][..], &[0; 17]].concat();
        assert_eq!(Letter::decode(&long), Err(LetterError::Bytes(BytesError::Trailing { found: 1 })));
    }

    #[test]
    fn a_letter_comes_out_as_it_went_in_and_not_if_it_was_cut() {
        let changes = vec![("a/#".into(), true), ("$share/g/\u{fc}".into(), false)];
        let feed = |news| Letter::Feed(Feed { shard: ShardId(3), term: 4, incarnation: 5, round: 6, news });
        let confirm = |known| Letter::Confirm(Confirm { shard: ShardId(3), incarnation: 5, round: 6, known });
        let message = Message::new("t", QoS::ExactlyOnce, &[], b"x");
        let messages = vec![OutboxMessage { number: 9, message, to: Addressee::Group("$share/g/t".into()) }];
        let letters = [
            feed(News::Changes { since: 7, until: 8, changes }),
            feed(News::All { at: 7, after: None, filters: vec!["a".into(), "b".into()], is_last: false }),
            feed(News::All { at: 7, after: Some("b".into()), filters: vec![], is_last: true }),
            confirm(Known::Nothing),
            confirm(Known::Part { at: 7, until: "b".into() }),
            confirm(Known::Until(9)),
            Letter::AskForFeeds { incarnation: 5, round: 6 },
            Letter::Outbox { of: ShardId(3), to: ShardId(4), messages },
            Letter::OutboxCame { of: ShardId(3), to: ShardId(4), until: 9 },
        ];
        for letter in letters {
            let mut bytes = Vec::new();
            letter.append_to(&mut bytes);
            assert_eq!(Letter::decode(&bytes).as_ref(), Ok(&letter));
            let shorter = Letter::decode(&bytes[..bytes.len() - 1]);
            assert!(shorter.as_ref() != Ok(&letter), "{shorter:?}");
        }
    }

    #[test]
    fn letters_are_read_as_they_were_written_and_not_when_a_bit_is_missing() {
        let of = Transfer { group: 3, term: 4, index: 5 };
        let message = RaftMessage { term: 7, body: fulmar_raft::Body::TakeOver };
        let letters = [
            Letter::Raft { group: 2, message },
            Letter::Portion { of, total: 9, offset: 6, bytes: vec![1, 2, 3] },
            Letter::Taken { of, until: Some(9) },
            Letter::Taken { of, until: None },
            Letter::Committed { group: 0, index: 8 },
            Letter::MayLeave { group: 1, question: 2 },
            Letter::Left { group: 1, question: 2 },
            Letter::CaughtUp { group: 4, node: 5 },
        ];
        for letter in letters {
            let mut bytes = Vec::new();
            letter.append_to(&mut bytes);
            assert_eq!(Letter::decode(&bytes), Ok(letter.clone()));
            for length in 0..bytes.len() {
                assert!(Letter::decode(&bytes[..length]).is_err(), "{length} bytes of {letter:?}");
            }
            bytes.push(0);
            assert!(Letter::decode(&bytes).is_err(), "{letter:?} and a byte");
        }
    }
}
