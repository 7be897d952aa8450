//! Messages as bytes: version, kind, numbers in big-endian, and at the end what `fulmar-meta` writes itself.

use fulmar_meta::{
    Answer, BytesError, ClusterId, Command, Entry, Goodbye, Grant, Incarnation, Member, NODES_MAX, NodeId, Renewal,
};
use thiserror::Error;

use super::{MemberMessage, NodeState, Request};

/// The version of everything here.
const VERSION: u8 = 1;

/// A message is never longer: a view of all nodes that there may be takes a quarter of it.
pub const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// What is wrong with the bytes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MessageError {
    /// They are more than any message has.
    #[error("a message of {found} bytes, at most {MESSAGE_BYTES_MAX} are allowed")]
    TooLong {
        /// How many there are.
        found: usize,
    },
    /// From a build with other messages.
    #[error("version {found} of messages between members, only {VERSION} is known")]
    Version {
        /// What they say.
        found: u8,
    },
    /// A variant that nobody defined.
    #[error("unknown {what} {found}")]
    Unknown {
        /// Of what.
        what: &'static str,
        /// Its number.
        found: u8,
    },
    /// They end too early.
    #[error("{wanted} bytes are wanted, found {found}")]
    Truncated {
        /// How many.
        wanted: usize,
        /// What is left.
        found: usize,
    },
    /// They end too late.
    #[error("{found} bytes follow the end")]
    Trailing {
        /// How many.
        found: usize,
    },
    /// A view of more members than there may be.
    #[error("a view of {found} members, at most {NODES_MAX} are allowed")]
    Members {
        /// How many it says.
        found: usize,
    },
    /// A request is for one command.
    #[error("{found} commands in a request, 1 is wanted")]
    Commands {
        /// How many there are.
        found: usize,
    },
    /// What is inside is wrong.
    #[error(transparent)]
    Inner(#[from] BytesError),
}

impl MemberMessage {
    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        match self {
            Self::Look => out.push(1),
            Self::State(state) => {
                out.push(2);
                put_state(state, out);
            }
            Self::Request(Request { nonce, number, command }) => {
                out.push(3);
                put(*nonce, out);
                put(*number, out);
                Entry { time: 0, commands: vec![command.clone()] }.encode(out);
            }
            Self::Answer { nonce, number, answer } => {
                out.push(4);
                put(*nonce, out);
                put(*number, out);
                answer.encode(out);
            }
            Self::Renewal(renewal) => {
                out.push(5);
                renewal.encode(out);
            }
            Self::Grant(grant) => {
                out.push(6);
                grant.encode(out);
            }
            Self::Goodbye(goodbye) => {
                out.push(7);
                goodbye.encode(out);
            }
        }
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(MessageError::TooLong { found: bytes.len() });
        }
        let mut reader = Reader(bytes);
        let version = reader.byte()?;
        if version != VERSION {
            return Err(MessageError::Version { found: version });
        }
        let message = match reader.byte()? {
            1 => Self::Look,
            2 => Self::State(get_state(&mut reader)?),
            3 => Self::Request(get_request(&mut reader)?),
            4 => {
                let (nonce, number) = (reader.number()?, reader.number()?);
                Self::Answer { nonce, number, answer: Answer::decode(reader.rest())? }
            }
            5 => Self::Renewal(Renewal::decode(reader.rest())?),
            6 => Self::Grant(Grant::decode(reader.rest())?),
            7 => Self::Goodbye(Goodbye::decode(reader.rest())?),
            found => return Err(MessageError::Unknown { what: "message between members", found }),
        };
        match reader.0.len() {
            0 => Ok(message),
            found => Err(MessageError::Trailing { found }),
        }
    }
}

fn get_request(reader: &mut Reader<'_>) -> Result<Request, MessageError> {
    let (nonce, number) = (reader.number()?, reader.number()?);
    let commands = Entry::decode(reader.rest())?.commands;
    let [command] =
        <[Command; 1]>::try_from(commands).map_err(|commands| MessageError::Commands { found: commands.len() })?;
    Ok(Request { nonce, number, command })
}

fn put_state(state: &NodeState, out: &mut Vec<u8>) {
    let NodeState { cluster, may_begin, leader, applied, view } = state;
    out.push(u8::from(cluster.is_some()) | u8::from(*may_begin) << 1 | u8::from(leader.is_some()) << 2);
    if let Some(ClusterId(cluster)) = cluster {
        out.extend_from_slice(&cluster.to_be_bytes());
    }
    if let Some((term, leader)) = leader {
        put(*term, out);
        put(*leader, out);
    }
    put(*applied, out);
    let members = u16::try_from(view.len()).expect("a view is never that large");
    out.extend_from_slice(&members.to_be_bytes());
    for member in view {
        put(member.id, out);
        put(member.incarnation, out);
    }
}

fn get_state(reader: &mut Reader<'_>) -> Result<NodeState, MessageError> {
    let flags = reader.byte()?;
    if flags > 7 {
        return Err(MessageError::Unknown { what: "flags of a state", found: flags });
    }
    let cluster = if flags & 1 > 0 { Some(ClusterId(u128::from_be_bytes(reader.take()?))) } else { None };
    let leader = if flags & 4 > 0 { Some((reader.number()?, reader.number()?)) } else { None };
    let applied = reader.number()?;
    let found = usize::from(u16::from_be_bytes(reader.take()?));
    if found > NODES_MAX {
        return Err(MessageError::Members { found });
    }
    let mut view = Vec::with_capacity(found);
    for _ in 0..found {
        let (id, incarnation): (NodeId, Incarnation) = (reader.number()?, reader.number()?);
        view.push(Member { id, incarnation });
    }
    Ok(NodeState { cluster, may_begin: flags & 2 > 0, leader, applied, view })
}

fn put(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_be_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let Some((taken, rest)) = self.0.split_first_chunk() else {
            return Err(MessageError::Truncated { wanted: N, found: self.0.len() });
        };
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, MessageError> {
        self.take().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u64, MessageError> {
        self.take().map(u64::from_be_bytes)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}
