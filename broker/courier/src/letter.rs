//! What couriers and desks write to each other, and its bytes.

use fulmar_store::{Ask, Node, Number, ShardId, Told};

use crate::bytes::{LetterError, Reader, Writer};

/// The format of letters.
const FORMAT: u8 = 1;

/// The kinds of what a desk writes.
const TOLD: u8 = 1;
const WELCOME: u8 = 2;
const REFUSED: u8 = 3;

/// What is asked of the leader of a shard, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskLetter {
    /// Who asks.
    pub from: Node,
    /// Of which shard.
    pub shard: ShardId,
    /// How often what was not answered has gone again: what comes of an earlier run is late.
    pub run: u64,
    /// For which leadership it is, as the leader's desk has told. None: whoever asks wants to know, and asks nothing.
    pub term: Option<u64>,
    /// What is asked.
    pub asks: Vec<Asking>,
}

/// An ask on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    /// What the courier calls it.
    pub ticket: u64,
    /// Of a publish, its place in the stream from that node to the shard.
    pub number: Option<Number>,
    /// What is asked.
    pub ask: Ask,
}

/// What a node's courier is told, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerLetter {
    /// Whose courier, in which life of it.
    pub to: Node,
    /// Of which shard, and what.
    pub lines: Vec<(ShardId, Written)>,
}

/// What a desk writes about a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// The engine told it.
    Told(Told),
    /// This node leads: what is asked in this run is to be for this term.
    Welcome {
        /// The run.
        run: u64,
        /// The term.
        term: u64,
    },
    /// This node does not lead, or not in the term that a letter was for. Nothing was done of the letter, and nothing
    /// will be of this run.
    Refused {
        /// The run.
        run: u64,
        /// Who leads, if that is known.
        leader: Option<u64>,
    },
}

impl AskLetter {
    /// Appends the letter.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Self { from, shard, run, term, asks } = self;
        let mut out = Writer::new(FORMAT, out);
        out.node(*from);
        out.u16(shard.0);
        out.u64(*run);
        out.optional(*term);
        out.length(asks.len());
        for Asking { ticket, number, ask } in asks {
            out.u64(*ticket);
            out.optional(*number);
            out.part(|out| ask.encode(out));
        }
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, LetterError> {
        let mut reader = Reader::new(FORMAT, bytes)?;
        let (from, shard, run, term) = (reader.node()?, ShardId(reader.u16()?), reader.u64()?, reader.optional()?);
        let asks = reader.list(|reader| {
            let (ticket, number) = (reader.u64()?, reader.optional()?);
            Ok(Asking { ticket, number, ask: Ask::decode(reader.part()?)? })
        })?;
        reader.finish()?;
        Ok(Self { from, shard, run, term, asks })
    }
}

impl AnswerLetter {
    /// Appends the letter.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Self { to, lines } = self;
        let mut out = Writer::new(FORMAT, out);
        out.node(*to);
        out.length(lines.len());
        for (shard, written) in lines {
            out.u16(shard.0);
            match written {
                Written::Told(told) => {
                    out.u8(TOLD);
                    out.part(|out| told.encode(out));
                }
                Written::Welcome { run, term } => {
                    out.u8(WELCOME);
                    out.u64(*run);
                    out.u64(*term);
                }
                Written::Refused { run, leader } => {
                    out.u8(REFUSED);
                    out.u64(*run);
                    out.optional(*leader);
                }
            }
        }
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, LetterError> {
        let mut reader = Reader::new(FORMAT, bytes)?;
        let to = reader.node()?;
        let lines = reader.list(|reader| {
            let shard = ShardId(reader.u16()?);
            let written = match reader.u8()? {
                TOLD => Written::Told(Told::decode(reader.part()?)?),
                WELCOME => Written::Welcome { run: reader.u64()?, term: reader.u64()? },
                REFUSED => Written::Refused { run: reader.u64()?, leader: reader.optional()? },
                found => return Err(LetterError::Unknown { found }),
            };
            Ok((shard, written))
        })?;
        reader.finish()?;
        Ok(Self { to, lines })
    }
}
