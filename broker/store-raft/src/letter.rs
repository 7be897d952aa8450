//! What engines of different nodes say to each other, and its bytes: a kind, and what belongs to it.
//!
//! Letters may be lost and late. Whoever needs an answer asks again.

use fulmar_raft::Message as RaftMessage;
use fulmar_store::{Number, OutboxMessage, ShardId};
use thiserror::Error;

use crate::bytes::{Reader, Wrong};
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
    /// The same of other kinds.
    #[error("a letter of a shard: {0}")]
    Shard(#[from] Wrong),
}

const RAFT: u8 = 1;
const FEED: u8 = 16;
const CONFIRM: u8 = 17;
const ASK_FOR_FEEDS: u8 = 18;
const OUTBOX: u8 = 19;
const OUTBOX_CAME: u8 = 20;

impl Letter {
    /// Writes it.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            Letter::Raft { group, message } => {
                out.push(RAFT);
                out.extend(group.to_le_bytes());
                message.append_to(out);
            }
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
        match bytes.split_first().ok_or_else(|| short(1))? {
            (&RAFT, rest) => {
                let (group, rest) = rest.split_first_chunk().ok_or_else(|| short(3))?;
                Ok(Letter::Raft { group: u16::from_le_bytes(*group), message: RaftMessage::decode(rest)? })
            }
            (&FEED, rest) => Ok(Letter::Feed(Feed::decode(&mut Reader(rest))?)),
            (&CONFIRM, rest) => Ok(Letter::Confirm(Confirm::decode(&mut Reader(rest))?)),
            (&ASK_FOR_FEEDS, rest) => {
                let mut reader = Reader(rest);
                let (incarnation, round) = (reader.u64()?, reader.u64()?);
                reader.finish()?;
                Ok(Letter::AskForFeeds { incarnation, round })
            }
            (&OUTBOX, rest) => {
                let mut reader = Reader(rest);
                let (of, to) = (ShardId(reader.u16()?), ShardId(reader.u16()?));
                let messages = OutboxMessage::decode_all(reader.0).map_err(Wrong::from)?;
                Ok(Letter::Outbox { of, to, messages })
            }
            (&OUTBOX_CAME, rest) => {
                let mut reader = Reader(rest);
                let (of, to, until) = (ShardId(reader.u16()?), ShardId(reader.u16()?), reader.u64()?);
                reader.finish()?;
                Ok(Letter::OutboxCame { of, to, until })
            }
            (&found, _) => Err(LetterError::Kind { found }),
        }
    }
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
        assert_eq!(Letter::decode(&[9, 0]), Err(LetterError::Kind { found: 9 }));
        assert!(matches!(Letter::decode(&[RAFT, 0, 0]), Err(LetterError::Raft(_))));
        let long = [&[ASK_FOR_FEEDS][..], &[0; 17]].concat();
        assert_eq!(Letter::decode(&long), Err(LetterError::Shard(Wrong::Long { found: 1 })));
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
}
