//! What couriers and desks write to each other, and its bytes.

use fulmar_store::{Ask, Node, Number, ShardId, Told};

use crate::bytes::{LetterError, Reader, Writer};

/// The format of letters.
const FORMAT: u8 = 1;

/// What is asked of the leader of a shard, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskLetter {
    /// Who asks.
    pub from: Node,
    /// Of which shard.
    pub shard: ShardId,
    /// How often what was not answered has gone again: what comes of an earlier run is late.
    pub run: u64,
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
    pub tolds: Vec<(ShardId, Told)>,
}

impl AskLetter {
    /// Appends the letter.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Self { from, shard, run, asks } = self;
        let mut out = Writer::new(FORMAT, out);
        out.node(*from);
        out.u16(shard.0);
        out.u64(*run);
        out.length(asks.len());
        for Asking { ticket, number, ask } in asks {
            out.u64(*ticket);
            // The first number is 1.
            out.u64(number.unwrap_or(0));
            out.part(|out| ask.encode(out));
        }
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, LetterError> {
        let mut reader = Reader::new(FORMAT, bytes)?;
        let (from, shard, run) = (reader.node()?, ShardId(reader.u16()?), reader.u64()?);
        let asks = reader.list(|reader| {
            let (ticket, number) = (reader.u64()?, Some(reader.u64()?).filter(|number| *number > 0));
            Ok(Asking { ticket, number, ask: Ask::decode(reader.part()?)? })
        })?;
        reader.finish()?;
        Ok(Self { from, shard, run, asks })
    }
}

impl AnswerLetter {
    /// Appends the letter.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Self { to, tolds } = self;
        let mut out = Writer::new(FORMAT, out);
        out.node(*to);
        out.length(tolds.len());
        for (shard, told) in tolds {
            out.u16(shard.0);
            out.part(|out| told.encode(out));
        }
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, LetterError> {
        let mut reader = Reader::new(FORMAT, bytes)?;
        let to = reader.node()?;
        let tolds = reader.list(|reader| Ok((ShardId(reader.u16()?), Told::decode(reader.part()?)?)))?;
        reader.finish()?;
        Ok(Self { to, tolds })
    }
}
