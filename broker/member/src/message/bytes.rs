//! Messages as bytes: version, kind, numbers in big-endian, and at the end what `fulmar-meta` writes itself.

use fulmar_bytes::{Bytes, BytesError, Reader};
use fulmar_meta::{Answer, Command, Entry, Goodbye, Grant, NODES_MAX, Renewal};

use super::{MemberMessage, NodeState, Request};

/// The version of everything here.
const VERSION: u8 = 1;

/// A message is never longer: a view of all nodes that there may be takes a quarter of it.
pub const MESSAGE_BYTES_MAX: usize = 16 << 10;

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
                nonce.put(out);
                number.put(out);
                Entry { time: 0, commands: vec![command.clone()] }.encode(out);
            }
            Self::Answer { nonce, number, answer } => {
                out.push(4);
                nonce.put(out);
                number.put(out);
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
    pub fn decode(bytes: &[u8]) -> Result<Self, BytesError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(too_large("length of a message between members", bytes.len(), MESSAGE_BYTES_MAX));
        }
        let mut reader = Reader::of_format(VERSION, bytes)?;
        let message = match u8::get(&mut reader)? {
            1 => Self::Look,
            2 => Self::State(get_state(&mut reader)?),
            3 => Self::Request(get_request(&mut reader)?),
            4 => {
                let (nonce, number) = Bytes::get(&mut reader)?;
                Self::Answer { nonce, number, answer: Answer::decode(reader.rest())? }
            }
            5 => Self::Renewal(Renewal::decode(reader.rest())?),
            6 => Self::Grant(Grant::decode(reader.rest())?),
            7 => Self::Goodbye(Goodbye::decode(reader.rest())?),
            found => return Err(BytesError::Unknown { what: "message between members", found }),
        };
        reader.finish()?;
        Ok(message)
    }
}

fn get_request(reader: &mut Reader<'_>) -> Result<Request, BytesError> {
    let (nonce, number) = Bytes::get(reader)?;
    let commands = Entry::decode(reader.rest())?.commands;
    let [command] = <[Command; 1]>::try_from(commands)
        .map_err(|it| BytesError::Value { what: "number of commands in a request", found: it.len() as u64 })?;
    Ok(Request { nonce, number, command })
}

fn put_state(state: &NodeState, out: &mut Vec<u8>) {
    let NodeState { cluster, may_begin, leader, applied, view } = state;
    out.push(u8::from(cluster.is_some()) | u8::from(*may_begin) << 1 | u8::from(leader.is_some()) << 2);
    if let Some(cluster) = cluster {
        cluster.put(out);
    }
    if let Some(leader) = leader {
        leader.put(out);
    }
    applied.put(out);
    u16::try_from(view.len()).expect("a view is never that large").put(out);
    view.iter().for_each(|member| member.put(out));
}

fn get_state(reader: &mut Reader<'_>) -> Result<NodeState, BytesError> {
    let flags = u8::get(reader)?;
    if flags > 7 {
        return Err(BytesError::Unknown { what: "flags of a state", found: flags });
    }
    let cluster = if flags & 1 > 0 { Some(Bytes::get(reader)?) } else { None };
    let leader = if flags & 4 > 0 { Some(Bytes::get(reader)?) } else { None };
    let applied = Bytes::get(reader)?;
    let found = usize::from(u16::get(reader)?);
    if found > NODES_MAX {
        return Err(too_large("number of members in a view", found, NODES_MAX));
    }
    let view = (0..found).map(|_| Bytes::get(reader)).collect::<Result<_, _>>()?;
    Ok(NodeState { cluster, may_begin: flags & 2 > 0, leader, applied, view })
}

fn too_large(what: &'static str, found: usize, most: usize) -> BytesError {
    BytesError::TooLarge { what, found: found as u64, most: most as u64 }
}
