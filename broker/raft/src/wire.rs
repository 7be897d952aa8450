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

use thiserror::Error;

use crate::membership::{Membership, MembershipError};
use crate::message::{Body, Message};
use crate::types::{Entry, HardState, Index, NodeId, Payload, Position, Snapshot, Term};

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
    /// Written by another version.
    #[error("version {found}, only version {VERSION} can be read")]
    Version {
        /// Which one.
        found: u8,
    },
    /// Something that nobody defined.
    #[error("unknown {what} {found}")]
    Unknown {
        /// Of what.
        what: &'static str,
        /// Which one.
        found: u8,
    },
    /// A field reaches beyond the end.
    #[error("{what} needs {wanted} bytes, found {found}")]
    Truncated {
        /// The field.
        what: &'static str,
        /// Its length.
        wanted: usize,
        /// What is left.
        found: usize,
    },
    /// Something follows the end.
    #[error("{found} bytes follow the {what}")]
    Trailing {
        /// What has ended.
        what: &'static str,
        /// How many bytes.
        found: usize,
    },
    /// A number that nobody counts to.
    #[error("{what} {found}, at most {NUMBER_MAX} is allowed")]
    TooLarge {
        /// Which number.
        what: &'static str,
        /// What was found.
        found: u64,
    },
    /// A membership that can't be.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The nodes of a membership are not in order.
    #[error("nodes of a membership are not in ascending order")]
    Unsorted,
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
        put(out, *term);
        match body {
            Body::AskPreVote { last } => put_position(out, *last),
            Body::PreVote { granted } | Body::Vote { granted } => out.push(u8::from(*granted)),
            Body::AskVote { last, transfer } => {
                put_position(out, *last);
                out.push(u8::from(*transfer));
            }
            Body::Append { previous, entries, committed } => {
                put_position(out, *previous);
                put(out, *committed);
                put_length(out, entries.len());
                for Entry { term, index: _, payload } in entries {
                    put(out, *term);
                    payload.append_to(out);
                }
            }
            Body::Stored { matched } => put(out, *matched),
            Body::Refused { previous, shareable } => {
                put(out, *previous);
                put_position(out, *shareable);
            }
            Body::Heartbeat { committed, round } => {
                put(out, *committed);
                put(out, *round);
            }
            Body::Beat { round, received, matched } => {
                [round, received, matched].into_iter().for_each(|it| put(out, *it));
            }
            Body::TermOver | Body::TakeOver => {}
        }
    }

    /// Reads a message that takes all of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader { bytes };
        reader.version()?;
        let kind = reader.u8("message kind")?;
        let term = reader.number("term")?;
        let body = match kind {
            ASK_PRE_VOTE => Body::AskPreVote { last: reader.position()? },
            PRE_VOTE => Body::PreVote { granted: reader.flag()? },
            ASK_VOTE => Body::AskVote { last: reader.position()?, transfer: reader.flag()? },
            VOTE => Body::Vote { granted: reader.flag()? },
            APPEND => {
                let previous = reader.position()?;
                let committed = reader.number("index")?;
                Body::Append { previous, entries: reader.entries(previous.index)?, committed }
            }
            STORED => Body::Stored { matched: reader.number("index")? },
            REFUSED => Body::Refused { previous: reader.number("index")?, shareable: reader.position()? },
            HEARTBEAT => Body::Heartbeat { committed: reader.number("index")?, round: reader.number("round")? },
            BEAT => Body::Beat {
                round: reader.number("round")?,
                received: reader.number("index")?,
                matched: reader.number("index")?,
            },
            TERM_OVER => Body::TermOver,
            TAKE_OVER => Body::TakeOver,
            found => return Err(WireError::Unknown { what: "message kind", found }),
        };
        reader.finish("message")?;
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
                put_length(out, command.len());
                out.extend_from_slice(command);
            }
            Payload::Membership(membership) => {
                out.push(MEMBERSHIP);
                put_membership(out, membership);
            }
        }
    }

    /// Reads a payload that takes all of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader { bytes };
        let payload = reader.payload()?;
        reader.finish("payload")?;
        Ok(payload)
    }
}

impl State {
    /// Appends the state's bytes.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        let State { hard_state: HardState { term, vote }, start: Snapshot { position, membership } } = self;
        out.push(VERSION);
        put(out, *term);
        out.push(u8::from(vote.is_some()));
        if let Some(node) = vote {
            put(out, *node);
        }
        put_position(out, *position);
        put_membership(out, membership);
    }

    /// Reads a state that takes all of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader { bytes };
        reader.version()?;
        let term = reader.number("term")?;
        let vote = if reader.flag()? { Some(reader.u64("node")?) } else { None };
        let start = Snapshot { position: reader.position()?, membership: reader.membership()? };
        reader.finish("state")?;
        Ok(State { hard_state: HardState { term, vote }, start })
    }
}

fn put(out: &mut Vec<u8>, number: u64) {
    out.extend(number.to_be_bytes());
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend(u32::try_from(length).expect("limits of appends and commands are far below 4 GB").to_be_bytes());
}

fn put_position(out: &mut Vec<u8>, Position { term, index }: Position) {
    put(out, term);
    put(out, index);
}

fn put_membership(out: &mut Vec<u8>, membership: &Membership) {
    for nodes in [membership.voters(), membership.learners()] {
        out.extend(u16::try_from(nodes.len()).expect("a membership is bounded").to_be_bytes());
        nodes.iter().for_each(|node| put(out, *node));
    }
}

/// Reads values from the front of borrowed bytes.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let Some((taken, rest)) = self.bytes.split_at_checked(length) else {
            return Err(WireError::Truncated { what, wanted: length, found: self.bytes.len() });
        };
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let Some((taken, rest)) = self.bytes.split_first_chunk::<N>() else {
            return Err(WireError::Truncated { what, wanted: N, found: self.bytes.len() });
        };
        self.bytes = rest;
        Ok(*taken)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, WireError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, WireError> {
        self.array(what).map(u64::from_be_bytes)
    }

    fn number(&mut self, what: &'static str) -> Result<u64, WireError> {
        let found = self.u64(what)?;
        if found > NUMBER_MAX { Err(WireError::TooLarge { what, found }) } else { Ok(found) }
    }

    fn flag(&mut self) -> Result<bool, WireError> {
        match self.u8("flag")? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(WireError::Unknown { what: "flag", found }),
        }
    }

    fn version(&mut self) -> Result<(), WireError> {
        match self.u8("version")? {
            VERSION => Ok(()),
            found => Err(WireError::Version { found }),
        }
    }

    fn position(&mut self) -> Result<Position, WireError> {
        Ok(Position { term: self.number("term")?, index: self.number("index")? })
    }

    fn length(&mut self, what: &'static str) -> Result<usize, WireError> {
        self.array(what).map(|bytes| u32::from_be_bytes(bytes) as usize)
    }

    fn entries(&mut self, previous: Index) -> Result<Vec<Entry>, WireError> {
        let count = self.length("count of entries")?;
        let mut entries = Vec::new();
        for index in (previous + 1..).take(count) {
            let term: Term = self.number("term")?;
            entries.push(Entry { term, index, payload: self.payload()? });
        }
        Ok(entries)
    }

    fn payload(&mut self) -> Result<Payload, WireError> {
        match self.u8("payload kind")? {
            EMPTY => Ok(Payload::Empty),
            COMMAND => {
                let length = self.length("command length")?;
                Ok(Payload::Command(Arc::from(self.take(length, "command")?)))
            }
            MEMBERSHIP => self.membership().map(Payload::Membership),
            found => Err(WireError::Unknown { what: "payload kind", found }),
        }
    }

    fn nodes(&mut self) -> Result<Vec<NodeId>, WireError> {
        let count = self.array("count of nodes").map(u16::from_be_bytes)?;
        let nodes = (0..count).map(|_| self.u64("node")).collect::<Result<Vec<_>, _>>()?;
        if nodes.is_sorted() { Ok(nodes) } else { Err(WireError::Unsorted) }
    }

    fn membership(&mut self) -> Result<Membership, WireError> {
        let (voters, learners) = (self.nodes()?, self.nodes()?);
        Ok(Membership::new(voters, learners)?)
    }

    fn finish(self, what: &'static str) -> Result<(), WireError> {
        match self.bytes.len() {
            0 => Ok(()),
            found => Err(WireError::Trailing { what, found }),
        }
    }
}
