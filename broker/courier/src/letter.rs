//! What couriers and desks write to each other, and its bytes.

use fulmar_bytes::{Bytes, BytesError, Reader, bytes_of_struct, decode, encode, put_part};
use fulmar_store::{Ask, Node, Number, ShardId, Told};

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
        encode(FORMAT, self, out);
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, BytesError> {
        decode(FORMAT, bytes)
    }
}

impl AnswerLetter {
    /// Appends the letter.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(FORMAT, self, out);
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, BytesError> {
        decode(FORMAT, bytes)
    }
}

bytes_of_struct!(AskLetter { from, shard, run, term, asks });
bytes_of_struct!(AnswerLetter { to, lines });

/// The ask is a part, with a format of its own.
impl Bytes for Asking {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { ticket, number, ask } = self;
        ticket.put(out);
        number.put(out);
        put_part(out, |out| ask.encode(out));
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        let (ticket, number) = (Bytes::get(reader)?, Bytes::get(reader)?);
        Ok(Self { ticket, number, ask: Ask::decode(reader.part()?)? })
    }
}

/// What is told is a part, with a format of its own.
impl Bytes for Written {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Written::Told(told) => {
                out.push(TOLD);
                put_part(out, |out| told.encode(out));
            }
            Written::Welcome { run, term } => {
                out.push(WELCOME);
                run.put(out);
                term.put(out);
            }
            Written::Refused { run, leader } => {
                out.push(REFUSED);
                run.put(out);
                leader.put(out);
            }
        }
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        Ok(match u8::get(reader)? {
            TOLD => Written::Told(Told::decode(reader.part()?)?),
            WELCOME => Written::Welcome { run: Bytes::get(reader)?, term: Bytes::get(reader)? },
            REFUSED => Written::Refused { run: Bytes::get(reader)?, leader: Bytes::get(reader)? },
            found => return Err(BytesError::Unknown { what: "kind of what a desk writes", found }),
        })
    }
}
