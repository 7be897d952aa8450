//! The messages in a frame of data: what one node tells another about publishes, interest, clients and retained
//! messages.

use super::FrameError;
use super::publish::{LinkPublish, RetainedEntry};
use crate::claims::{Claim, Takeover};
use crate::clock::{NodeId, Version};
use crate::wire::{Reader, put_text, put_u64};

const PUBLISH: u8 = 1;
const INTEREST: u8 = 2;
const SNAPSHOT_BEGIN: u8 = 3;
const SNAPSHOT_END: u8 = 4;
const INTEREST_CONFIRM: u8 = 5;
const CLAIM: u8 = 6;
const CLAIMS_DONE: u8 = 7;
const RETAINED_REQUEST: u8 = 8;
const RETAINED_ENTRY: u8 = 9;
const RETAINED_DONE: u8 = 10;

/// One message between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkMessage<'a> {
    /// A publish for this node.
    Publish(LinkPublish<'a>),
    /// The sender's live filters changed, or one of them as part of a snapshot.
    Interest(InterestDelta<'a>),
    /// The sender lists all its live filters; deltas count on from this version.
    InterestSnapshotBegin {
        /// The version that the deltas follow.
        version: u64,
    },
    /// All live filters of the sender are listed.
    InterestSnapshotEnd,
    /// All changes of the receiver's interest up to this version are in the sender's trie.
    InterestConfirm {
        /// The last of them.
        version: u64,
    },
    /// A node holds a session of a client.
    Claim {
        /// Of which client.
        client_id: &'a str,
        /// By what right.
        claim: Claim<'a>,
    },
    /// All clients of this lane's thread have been claimed: those that were there when the link came up.
    ClaimsDone,
    /// The sender wants all retained messages and tombstones of the receiver.
    RetainedRequest,
    /// One of them.
    RetainedEntry(RetainedEntry<'a>),
    /// These were all.
    RetainedDone,
}

/// A change of a node's live filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterestDelta<'a> {
    /// One more than that of the change before; 0 in a snapshot, whose parts have no number.
    pub version: u64,
    /// What became of the filter.
    pub change: InterestChange,
    /// The shared group it belongs to, if any.
    pub group: Option<&'a str>,
    /// The filter, without `$share` and group.
    pub filter: &'a str,
}

/// What became of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InterestChange {
    /// It has a subscriber now.
    Add,
    /// It has none any more.
    Remove,
}

impl LinkMessage<'_> {
    /// Appends the message to an open frame.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            LinkMessage::Publish(publish) => {
                out.push(PUBLISH);
                publish.append_to(out);
            }
            LinkMessage::Interest(InterestDelta { version, change, group, filter }) => {
                out.push(INTEREST);
                let remove = matches!(change, InterestChange::Remove);
                out.push(u8::from(remove) | u8::from(group.is_some()) << 1);
                put_u64(out, *version);
                if let Some(group) = group {
                    put_text(out, group);
                }
                put_text(out, filter);
            }
            LinkMessage::InterestSnapshotBegin { version } => {
                out.push(SNAPSHOT_BEGIN);
                put_u64(out, *version);
            }
            LinkMessage::InterestSnapshotEnd => out.push(SNAPSHOT_END),
            LinkMessage::InterestConfirm { version } => {
                out.push(INTEREST_CONFIRM);
                put_u64(out, *version);
            }
            LinkMessage::Claim { client_id, claim: Claim { version, since, user, takeover } } => {
                out.push(CLAIM);
                let any_user = matches!(takeover, Takeover::AnyUser);
                out.push(u8::from(user.is_some()) | u8::from(any_user) << 1);
                put_version(out, *version);
                put_version(out, *since);
                put_text(out, client_id);
                if let Some(user) = user {
                    put_text(out, user);
                }
            }
            LinkMessage::ClaimsDone => out.push(CLAIMS_DONE),
            LinkMessage::RetainedRequest => out.push(RETAINED_REQUEST),
            LinkMessage::RetainedEntry(entry) => {
                out.push(RETAINED_ENTRY);
                entry.append_to(out);
            }
            LinkMessage::RetainedDone => out.push(RETAINED_DONE),
        }
    }

    /// About how many bytes [`append_to`](Self::append_to) writes; never less.
    pub fn length_max(&self) -> usize {
        const FIXED: usize = 64;
        FIXED
            + match self {
                LinkMessage::Publish(publish) => publish.variable_length(),
                LinkMessage::Interest(InterestDelta { group, filter, .. }) => group.map_or(0, str::len) + filter.len(),
                LinkMessage::Claim { client_id, claim } => client_id.len() + claim.user.map_or(0, str::len),
                LinkMessage::RetainedEntry(entry) => entry.variable_length(),
                LinkMessage::InterestSnapshotBegin { .. }
                | LinkMessage::InterestSnapshotEnd
                | LinkMessage::InterestConfirm { .. }
                | LinkMessage::ClaimsDone
                | LinkMessage::RetainedRequest
                | LinkMessage::RetainedDone => 0,
            }
    }
}

/// The messages of a frame, read one by one. After an error there is nothing more: the link is to be closed.
#[derive(Debug, Clone, Copy)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    pub(crate) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<LinkMessage<'a>, FrameError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let mut reader = Reader::new(self.rest);
        let message = decode(&mut reader);
        self.rest = if message.is_ok() { reader.rest() } else { &[] };
        Some(message)
    }
}

fn decode<'a>(reader: &mut Reader<'a>) -> Result<LinkMessage<'a>, FrameError> {
    Ok(match reader.u8("message kind")? {
        PUBLISH => LinkMessage::Publish(LinkPublish::decode(reader)?),
        INTEREST => {
            let flags = reader.u8("interest flags")?;
            if flags > 0b11 {
                return Err(FrameError::Value { what: "interest flags", found: u64::from(flags) });
            }
            LinkMessage::Interest(InterestDelta {
                version: reader.u64("interest version")?,
                change: if flags & 1 == 0 { InterestChange::Add } else { InterestChange::Remove },
                group: if flags & 2 == 0 { None } else { Some(reader.text("group")?) },
                filter: reader.text("filter")?,
            })
        }
        SNAPSHOT_BEGIN => LinkMessage::InterestSnapshotBegin { version: reader.u64("interest version")? },
        SNAPSHOT_END => LinkMessage::InterestSnapshotEnd,
        INTEREST_CONFIRM => LinkMessage::InterestConfirm { version: reader.u64("interest version")? },
        CLAIM => {
            let flags = reader.u8("claim flags")?;
            if flags > 0b11 {
                return Err(FrameError::Value { what: "claim flags", found: u64::from(flags) });
            }
            let (version, since) = (version(reader)?, version(reader)?);
            let client_id = reader.text("client identifier")?;
            let user = if flags & 1 == 0 { None } else { Some(reader.text("user name")?) };
            let takeover = if flags & 2 == 0 { Takeover::SameUser } else { Takeover::AnyUser };
            LinkMessage::Claim { client_id, claim: Claim { version, since, user, takeover } }
        }
        CLAIMS_DONE => LinkMessage::ClaimsDone,
        RETAINED_REQUEST => LinkMessage::RetainedRequest,
        RETAINED_ENTRY => LinkMessage::RetainedEntry(RetainedEntry::decode(reader)?),
        RETAINED_DONE => LinkMessage::RetainedDone,
        found => return Err(FrameError::UnknownMessage { found }),
    })
}

pub(super) fn put_version(out: &mut Vec<u8>, version: Version) {
    put_u64(out, version.clock);
    put_u64(out, version.node.0);
}

pub(super) fn version(reader: &mut Reader<'_>) -> Result<Version, FrameError> {
    Ok(Version { clock: reader.u64("clock")?, node: NodeId(reader.u64("node")?) })
}
