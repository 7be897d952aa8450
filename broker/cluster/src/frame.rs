//! The bytes of a lane after the greeting: frames, each with its length before it.
//!
//! ```text
//! frame   = length (32 bits, of what follows) kind (8 bits) body
//! Data    = sequence (64 bits) message+        Ack   = sequence (64 bits)      Resume = epoch, received (64 bits each)
//! Close   = reason (8 bits)                    Ping, Pong = nothing
//! ```
//! Integers are big-endian. Reading is strict and borrows: [`split`] finds a whole frame, [`Messages`] reads what is
//! in it, one by one. What the messages are is in [`message`] and [`publish`]; which protocol version two nodes
//! speak is settled before, in the greeting.

pub mod message;
pub mod publish;

use std::fmt;

use thiserror::Error;

pub use message::{InterestChange, InterestDelta, LinkMessage, Messages};
pub use publish::{LinkPublish, RetainedEntry, RetainedMessage, SharedList, SharedTargets};

use crate::wire::{Reader, put_u32, put_u64};

/// A frame of data is sealed at this length: whole messages up to it, or exactly one that is larger.
pub const DATA_FRAME_BYTES: usize = 64 * 1024;

/// What surrounds the messages of a frame of data: length, kind and sequence.
pub const DATA_HEAD_BYTES: usize = LENGTH_BYTES + 1 + 8;

/// No frame is longer: the largest packet of MQTT (MQTT 5.0, 1.5.5), the longest list of shared groups, and some. How
/// large a publish a node takes from its clients is a limit of its listeners; a peer may be configured differently.
pub const FRAME_BYTES_MAX: usize = 268_435_455 + 512 * 1024;

const LENGTH_BYTES: usize = 4;

const DATA: u8 = 1;
const ACK: u8 = 2;
const RESUME: u8 = 3;
const PING: u8 = 4;
const PONG: u8 = 5;
const CLOSE: u8 = 6;

/// One frame, borrowed from the bytes that were received.
#[derive(Debug, Clone, Copy)]
pub enum Frame<'a> {
    /// Messages, numbered from 1 in each life of a link.
    Data {
        /// One more than that of the frame of data before.
        sequence: u64,
        /// What it carries.
        messages: Messages<'a>,
    },
    /// Every message up to this frame is in its subscribers' queues, or was dropped by a policy that counts.
    Ack {
        /// The last such frame.
        sequence: u64,
    },
    /// The first frame on each connection: where to go on.
    Resume(Resume),
    /// Asks for a sign of life.
    Ping,
    /// Answers a ping.
    Pong,
    /// The sender gives this life of the link up.
    Close(CloseReason),
}

/// Where a node wants to go on after a connection was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// The life of the link in which it counts, as agreed in the greeting.
    pub epoch: u64,
    /// The last frame of data that it received.
    pub received: u64,
}

/// Why a node gives up a life of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CloseReason {
    /// It stops; there is nothing to wait for.
    Shutdown = 1,
    /// It counts the other node as gone already.
    Gone = 2,
    /// It received what it can't read, or what makes no sense at this point.
    ProtocolError = 3,
    /// The streams no longer agree (a gap in sequences or in interest), and start again from nothing.
    OutOfStep = 4,
    /// The other node does not keep up, and a limit was reached.
    Overloaded = 5,
}

impl CloseReason {
    const fn new(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => CloseReason::Shutdown,
            2 => CloseReason::Gone,
            3 => CloseReason::ProtocolError,
            4 => CloseReason::OutOfStep,
            5 => CloseReason::Overloaded,
            _ => return None,
        })
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CloseReason::Shutdown => "node stops",
            CloseReason::Gone => "node was counted as gone",
            CloseReason::ProtocolError => "protocol error",
            CloseReason::OutOfStep => "streams out of step",
            CloseReason::Overloaded => "limit reached",
        })
    }
}

/// What is wrong with bytes from a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Longer than we take.
    #[error("frame of {found} bytes, at most {max} are allowed")]
    TooLarge {
        /// The announced length.
        found: usize,
        /// Our limit.
        max: usize,
    },
    /// A frame that nobody defined.
    #[error("unknown frame kind {found}")]
    UnknownFrame {
        /// The kind.
        found: u8,
    },
    /// A message that nobody defined.
    #[error("unknown message kind {found}")]
    UnknownMessage {
        /// The kind.
        found: u8,
    },
    /// A field reaches beyond its frame.
    #[error("{what} needs {wanted} bytes, found {found}")]
    Truncated {
        /// The field.
        what: &'static str,
        /// Its length.
        wanted: usize,
        /// What is left.
        found: usize,
    },
    /// Bytes after the last field.
    #[error("{found} bytes after {what}, wanted none")]
    Trailing {
        /// What should have been the last field.
        what: &'static str,
        /// How many bytes follow.
        found: usize,
    },
    /// Text that is none.
    #[error("{what} is not UTF-8")]
    NotUtf8 {
        /// The field.
        what: &'static str,
    },
    /// A value that is not among those allowed.
    #[error("{what} is {found}, which is not allowed")]
    Value {
        /// The field.
        what: &'static str,
        /// The value.
        found: u64,
    },
    /// Publish properties that MQTT does not allow there.
    #[error("forwarded properties are malformed")]
    Properties,
}

/// What stands at the front of received bytes.
#[derive(Debug, Clone, Copy)]
pub enum Split<'a> {
    /// Not all of a frame.
    Incomplete {
        /// Its length, once that is known.
        needed: Option<usize>,
    },
    /// A frame.
    Whole {
        /// The frame.
        frame: Frame<'a>,
        /// How many bytes it took.
        used: usize,
    },
}

/// Reads the frame at the front of `bytes`. A frame longer than `max` is refused as soon as its length is known.
pub fn split(bytes: &[u8], max: usize) -> Result<Split<'_>, FrameError> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(Split::Incomplete { needed: None });
    };
    let length = u32::from_be_bytes(*length) as usize;
    let used = LENGTH_BYTES.saturating_add(length);
    if used > max {
        return Err(FrameError::TooLarge { found: used, max });
    }
    let Some(body) = rest.get(..length) else {
        return Ok(Split::Incomplete { needed: Some(used) });
    };
    Ok(Split::Whole { frame: decode(body)?, used })
}

fn decode(body: &[u8]) -> Result<Frame<'_>, FrameError> {
    let mut reader = Reader::new(body);
    let frame = match reader.u8("frame kind")? {
        DATA => {
            let sequence = reader.u64("sequence")?;
            if sequence == 0 {
                return Err(FrameError::Value { what: "sequence", found: 0 });
            }
            if reader.is_empty() {
                return Err(FrameError::Truncated { what: "message", wanted: 1, found: 0 });
            }
            return Ok(Frame::Data { sequence, messages: Messages::new(reader.rest()) });
        }
        ACK => Frame::Ack { sequence: reader.u64("sequence")? },
        RESUME => Frame::Resume(Resume { epoch: reader.u64("epoch")?, received: reader.u64("received")? }),
        PING => Frame::Ping,
        PONG => Frame::Pong,
        CLOSE => {
            let byte = reader.u8("close reason")?;
            let found = u64::from(byte);
            Frame::Close(CloseReason::new(byte).ok_or(FrameError::Value { what: "close reason", found })?)
        }
        found => return Err(FrameError::UnknownFrame { found }),
    };
    reader.finish("frame")?;
    Ok(frame)
}

/// A frame that stands outside the sequence: it is never resent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlFrame {
    /// See [`Frame::Ack`].
    Ack {
        /// The last frame that was dealt with.
        sequence: u64,
    },
    /// See [`Frame::Resume`].
    Resume(Resume),
    /// See [`Frame::Ping`].
    Ping,
    /// See [`Frame::Pong`].
    Pong,
    /// See [`Frame::Close`].
    Close(CloseReason),
}

/// Appends a frame that stands outside the sequence.
pub fn encode_control(out: &mut Vec<u8>, frame: ControlFrame) {
    let start = out.len();
    put_u32(out, 0);
    match frame {
        ControlFrame::Ack { sequence } => {
            out.push(ACK);
            put_u64(out, sequence);
        }
        ControlFrame::Resume(Resume { epoch, received }) => {
            out.push(RESUME);
            put_u64(out, epoch);
            put_u64(out, received);
        }
        ControlFrame::Ping => out.push(PING),
        ControlFrame::Pong => out.push(PONG),
        ControlFrame::Close(reason) => {
            out.push(CLOSE);
            out.push(reason as u8);
        }
    }
    patch_length(out, start);
}

/// Opens a frame of data at the end of `out`; messages are appended to it, then [`seal_data`] closes it.
pub fn open_data(out: &mut Vec<u8>, sequence: u64) {
    put_u32(out, 0);
    out.push(DATA);
    put_u64(out, sequence);
}

/// Closes the frame of data that was opened at `start`, by writing its length.
pub fn seal_data(out: &mut [u8], start: usize) {
    patch_length(out, start);
}

fn patch_length(out: &mut [u8], start: usize) {
    let length = u32::try_from(out.len() - start - LENGTH_BYTES).expect("a frame holds at most one large message");
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests;
