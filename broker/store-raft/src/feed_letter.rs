//! What the leader of a shard tells other nodes of its filters, and what they say they know: as bytes, too.

use std::sync::Arc;

use fulmar_bytes::{BytesError, Reader};
use fulmar_raft::Term;
use fulmar_store::{Index, ShardId};

use crate::bytes::{LittleEndian, put_text};

/// What a node knows of a shard's filters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Known {
    /// Nothing.
    #[default]
    Nothing,
    /// Those up to one of them, from when this entry was applied or later.
    Part {
        /// The entry.
        at: Index,
        /// The last of them.
        until: Arc<str>,
    },
    /// All, as this entry left them.
    Until(Index),
}

/// What there is to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// What changed.
    Changes {
        /// Behind this entry.
        since: Index,
        /// Up to this one.
        until: Index,
        /// A filter, and whether it began or ended, in their order.
        changes: Vec<(Arc<str>, bool)>,
    },
    /// What there is: a portion of it. What changed while it was told comes as changes.
    All {
        /// The entry that was applied when this began.
        at: Index,
        /// The filters that come after this one in the order of their bytes.
        after: Option<Arc<str>>,
        /// These, in their order.
        filters: Vec<Arc<str>>,
        /// There are no more behind these.
        is_last: bool,
    },
}

/// From the leader of a shard to a life of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    /// Of which shard.
    pub shard: ShardId,
    /// In which term it leads.
    pub term: Term,
    /// To which life.
    pub incarnation: u64,
    /// The last question of that life for all filters that this answers: what comes with it was so after the question.
    pub round: u64,
    /// What it tells.
    pub news: News,
}

/// To the leader of a shard, from a life of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirm {
    /// Of which shard.
    pub shard: ShardId,
    /// Which life.
    pub incarnation: u64,
    /// Its last question that was answered.
    pub round: u64,
    /// What it knows now.
    pub known: Known,
}

impl Feed {
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) {
        let Self { shard, term, incarnation, round, news } = self;
        out.extend(shard.0.to_le_bytes());
        [*term, *incarnation, *round].iter().for_each(|number| out.extend(number.to_le_bytes()));
        match news {
            News::Changes { since, until, changes } => {
                out.push(1);
                out.extend(since.to_le_bytes());
                out.extend(until.to_le_bytes());
                for (filter, begins) in changes {
                    out.push(u8::from(*begins));
                    put_text(filter, out);
                }
            }
            News::All { at, after, filters, is_last } => {
                out.push(if *is_last { 3 } else { 2 });
                out.extend(at.to_le_bytes());
                out.push(u8::from(after.is_some()));
                after.iter().chain(filters).for_each(|filter| put_text(filter, out));
            }
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        let shard = ShardId(reader.u16()?);
        let (term, incarnation, round) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let news = match reader.u8()? {
            1 => {
                let (since, until, mut changes) = (reader.u64()?, reader.u64()?, Vec::new());
                while !reader.is_empty() {
                    let begins = reader.flag()?;
                    changes.push((reader.text()?, begins));
                }
                News::Changes { since, until, changes }
            }
            kind @ (2 | 3) => {
                let at = reader.u64()?;
                let after = if reader.flag()? { Some(reader.text()?) } else { None };
                let mut filters = Vec::new();
                while !reader.is_empty() {
                    filters.push(reader.text()?);
                }
                News::All { at, after, filters, is_last: kind == 3 }
            }
            found => return Err(BytesError::Unknown { what: "kind of news", found }),
        };
        Ok(Self { shard, term, incarnation, round, news })
    }
}

impl Confirm {
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) {
        let Self { shard, incarnation, round, known } = self;
        out.extend(shard.0.to_le_bytes());
        out.extend(incarnation.to_le_bytes());
        out.extend(round.to_le_bytes());
        match known {
            Known::Nothing => out.push(1),
            Known::Part { at, until } => {
                out.push(2);
                out.extend(at.to_le_bytes());
                put_text(until, out);
            }
            Known::Until(index) => {
                out.push(3);
                out.extend(index.to_le_bytes());
            }
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        let shard = ShardId(reader.u16()?);
        let (incarnation, round) = (reader.u64()?, reader.u64()?);
        let known = match reader.u8()? {
            1 => Known::Nothing,
            2 => Known::Part { at: reader.u64()?, until: reader.text()? },
            3 => Known::Until(reader.u64()?),
            found => return Err(BytesError::Unknown { what: "kind of knowledge", found }),
        };
        Ok(Self { shard, incarnation, round, known })
    }
}
