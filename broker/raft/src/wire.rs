//! The bytes of messages between nodes, and of what a node keeps of a group on disk.
//!
//! ```text
//! message  = version (8 bits) kind (8 bits) term body
//!   AskPreVote = position                         PreVote  = flag
//!   AskVote    = position flag                    Vote     = flag
//!   Append     = position committed count (32 bits) (term payload)*      entries follow the position without gaps
//!   Stored     = index                            Refused  = index position
//!   Heartbeat  = index round                      Beat     = round index index
//!   TermOver, TakeOver = nothing
//! payload  = kind (8 bits) ; Empty 0: nothing; Command 1: length (32 bits) bytes; Membership 2: membership
//! membership = count (16 bits) node* count (16 bits) node*                voters, then learners, each ascending
//! state    = version (8 bits) term flag [node] position membership        hard state, then where the log starts
//! position = term index ; term, index, round, node = 64 bits ; flag = 0 or 1
//! ```
//! Integers are big-endian. Reading is strict: what it accepts is written the same way again. Nothing is allocated
//! for a length before the bytes are there.

use std::sync::Arc;

use fulmar_bytes::{Bytes, BytesError, Reader, put_length, put_part};
use thiserror::Error;

use crate::membership::{Membership, MembershipError};
use crate::message::{Body, Message};
use crate::types::{Entry, HardState, Index, NodeId, Payload, Position, Snapshot};

/// No term, index or round is greater, so that counting on never overflows.
pub const NUMBER_MAX: u64 = u64::MAX >> 1;

const VERSION: u8 = 1;

const ASK_PRE_VOTE: u8 = 1;
const PRE_VOTE: u8 = 2;
const ASK_VOTE: u8 = 3;
const VOTE: u8 = 4;
const APPEND: u8 = 5;
const STORED: u8 = 6;
const REFUSED: u8 = 7;
const HEARTBEAT: u8 = 8;
const BEAT: u8 = 9;
const TERM_OVER: u8 = 10;
const TAKE_OVER: u8 = 11;

const EMPTY: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// What a node keeps of a group beside its log: to be written anew whenever a part of it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Term and vote.
    pub hard_state: HardState,
    /// Where the log starts.
    pub start: Snapshot,
}

/// What is wrong with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WireError {
    /// They can't be read.
    #[error(transparent)]
    Bytes(#[from] BytesError),
    /// A membership that can't be.
    #[error(transparent)]
    Membership(#[from] MembershipError),
}

impl Message {
    /// Appends the message's bytes.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        let Message { term, body } = self;
        let kind = match body {
            Body::AskPreVote { .. } => ASK_PRE_VOTE,
            Body::PreVote { .. } => PRE_VOTE,
            Body::AskVote { .. } => ASK_VOTE,
            Body::Vote { .. } => VOTE,
            Body::Append { .. } => APPEND,
            Body::Stored { .. } => STORED,
            Body::Refused { .. } => REFUSED,
            Body::Heartbeat { .. } => HEARTBEAT,
            Body::Beat { .. } => BEAT,
            Body::TermOver => TERM_OVER,
            Body::TakeOver => TAKE_OVER,
        };
        out.extend([VERSION, kind]);
        term.put(out);
        match body {
            Body::AskPreVote { last } => last.put(out),
            Body::PreVote { granted } | Body::Vote { granted } => granted.put(out),
            Body::AskVote { last, transfer } => {
                last.put(out);
                transfer.put(out);
            }
            Body::Append { previous, entries, committed } => {
                previous.put(out);
                committed.put(out);
                put_length(entries.len(), out);
                for Entry { term, index: _, payload } in entries {
                    term.put(out);
                    payload.append_to(out);
                }
            }
            Body::Stored { matched } => matched.put(out),
            Body::Refused { previous, shareable } => {
                previous.put(out);
                shareable.put(out);
            }
            Body::Heartbeat { committed, round } => {
                committed.put(out);
                round.put(out);
            }
            Body::Beat { round, received, matched } => {
                [round, received, matched].into_iter().for_each(|it| it.put(out));
            }
            Body::TermOver | Body::TakeOver => {}
        }
    }

    /// Reads a message that takes all of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::of_format(VERSION, bytes)?;
        let kind = u8::get(&mut reader)?;
        let term = number(&mut reader, "term")?;
        let body = match kind {
            ASK_PRE_VOTE => Body::AskPreVote { last: Bytes::get(&mut reader)? },
            PRE_VOTE => Body::PreVote { granted: Bytes::get(&mut reader)? },
            ASK_VOTE => Body::AskVote { last: Bytes::get(&mut reader)?, transfer: Bytes::get(&mut reader)? },
            VOTE => Body::Vote { granted: Bytes::get(&mut reader)? },
            APPEND => {
                let previous = Position::get(&mut reader)?;
                let committed = index(&mut reader)?;
                Body::Append { previous, entries: entries(&mut reader, previous.index)?, committed }
            }
            STORED => Body::Stored { matched: index(&mut reader)? },
            REFUSED => Body::Refused { previous: index(&mut reader)?, shareable: Bytes::get(&mut reader)? },
            HEARTBEAT => Body::Heartbeat { committed: index(&mut reader)?, round: number(&mut reader, "round")? },
            BEAT => Body::Beat {
                round: number(&mut reader, "round")?,
                received: index(&mut reader)?,
                matched: index(&mut reader)?,
            },
            TERM_OVER => Body::TermOver,
            TAKE_OVER => Body::TakeOver,
            found => return Err(BytesError::Unknown { what: "message kind", found }.into()),
        };
        reader.finish()?;
        Ok(Message { term, body })
    }
}

impl Payload {
    /// Appends the payload's bytes, as they are in messages and may be in the log.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            Payload::Empty => out.push(EMPTY),
            Payload::Command(command) => {
                out.push(COMMAND);
                put_part(out, |out| out.extend_from_slice(command));
            }
            Payload::Membership(membership) => {
                out.push(MEMBERSHIP);
                put_membership(out, membership);
            }
        }
    }

    /// Reads a payload that takes all of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let payload = payload(&mut reader)?;
        reader.finish()?;
        Ok(payload)
    }
}

impl State {
    /// Appends the state's bytes.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        let State { hard_state: HardState { term, vote }, start: Snapshot { position, membership } } = self;
        out.push(VERSION);
        term.put(out);
        vote.put(out);
        position.put(out);
        put_membership(out, membership);
    }

    /// Reads a state that takes all of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::of_format(VERSION, bytes)?;
        let term = number(&mut reader, "term")?;
        let vote = Bytes::get(&mut reader)?;
        let start = Snapshot { position: Bytes::get(&mut reader)?, membership: membership(&mut reader)? };
        reader.finish()?;
        Ok(State { hard_state: HardState { term, vote }, start })
    }
}

impl Bytes for Position {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { term, index } = self;
        term.put(out);
        index.put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, BytesError> {
        Ok(Self { term: number(reader, "term")?, index: index(reader)? })
    }
}

fn put_membership(out: &mut Vec<u8>, membership: &Membership) {
    for nodes in [membership.voters(), membership.learners()] {
        u16::try_from(nodes.len()).expect("a membership is bounded").put(out);
        nodes.iter().for_each(|node| node.put(out));
    }
}

fn number(reader: &mut Reader<'_>, what: &'static str) -> Result<u64, BytesError> {
    match u64::get(reader)? {
        found if found > NUMBER_MAX => Err(BytesError::TooLarge { what, found, most: NUMBER_MAX }),
        found => Ok(found),
    }
}

fn index(reader: &mut Reader<'_>) -> Result<Index, BytesError> {
    number(reader, "index")
}

fn entries(reader: &mut Reader<'_>, previous: Index) -> Result<Vec<Entry>, WireError> {
    let count = reader.length()?;
    let mut entries = Vec::new();
    for index in (previous + 1..).take(count) {
        let term = number(reader, "term")?;
        entries.push(Entry { term, index, payload: payload(reader)? });
    }
    Ok(entries)
}

fn payload(reader: &mut Reader<'_>) -> Result<Payload, WireError> {
    match u8::get(reader)? {
        EMPTY => Ok(Payload::Empty),
        COMMAND => Ok(Payload::Command(Arc::from(reader.part()?))),
        MEMBERSHIP => membership(reader).map(Payload::Membership),
        found => Err(BytesError::Unknown { what: "payload kind", found }.into()),
    }
}

fn nodes(reader: &mut Reader<'_>) -> Result<Vec<NodeId>, BytesError> {
    let count = u16::get(reader)?;
    let nodes: Vec<_> = (0..count).map(|_| u64::get(reader)).collect::<Result<_, _>>()?;
    if nodes.is_sorted() { Ok(nodes) } else { Err(BytesError::Disorder { what: "nodes of a membership" }) }
}

fn membership(reader: &mut Reader<'_>) -> Result<Membership, WireError> {
    let (voters, learners) = (nodes(reader)?, nodes(reader)?);
    Ok(Membership::new(voters, learners)?)
}
