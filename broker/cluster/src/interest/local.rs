//! What this node announces: its distinct live filters, the changes not yet sent to everyone, and the way through
//! both for each peer.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;

use thiserror::Error;

use crate::frame::{InterestChange, InterestDelta, LinkMessage};

/// Bounds of what is kept for peers that lag behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterestLimits {
    /// Changes are kept for peers that have not been sent them, up to about this much memory.
    pub log_bytes_max: usize,
}

impl Default for InterestLimits {
    fn default() -> Self {
        Self { log_bytes_max: 16 * 1024 * 1024 }
    }
}

/// The live filters of this node, shared groups among them. One for all threads: change it while the trie is locked
/// for writing, so that both tell the same story.
#[derive(Debug)]
pub struct LocalInterest {
    limits: InterestLimits,
    /// A shared filter is kept as clients write it, `$share/group/filter`, which no other filter begins with.
    filters: BTreeSet<Box<str>>,
    /// The number of the last change.
    version: u64,
    /// The last changes, the newest at the end.
    log: VecDeque<(InterestChange, Box<str>)>,
    log_bytes: usize,
    /// Whether there was ever a peer. Until then nobody lags behind, and a node that is alone keeps no changes.
    has_feeds: bool,
}

/// How far one peer has been told.
#[derive(Debug, Clone)]
pub struct InterestFeed {
    step: Step,
    /// The last change it was sent, or that its snapshot includes.
    version: u64,
}

#[derive(Debug, Clone)]
enum Step {
    Begin,
    List { after: Option<Box<str>> },
    Changes,
}

/// What [`LocalInterest::feed`] achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    /// The peer has been sent everything.
    All,
    /// There is more to send, when the lane has room.
    More,
}

/// A peer was not sent changes that are no longer kept. End the life of its link as out of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("peer was sent interest up to {sent}, changes are kept from {kept}")]
pub struct FellBehind {
    /// The last change it was sent.
    pub sent: u64,
    /// The first change that is kept.
    pub kept: u64,
}

impl LocalInterest {
    /// No filters.
    pub const fn new(limits: InterestLimits) -> Self {
        Self { limits, filters: BTreeSet::new(), version: 0, log: VecDeque::new(), log_bytes: 0, has_feeds: false }
    }

    /// A filter has a subscriber now. Returns the version that peers must confirm before its SUBACK: also for a filter
    /// that was there already, whose announcement may still be on its way.
    pub fn add(&mut self, group: Option<&str>, filter: &str) -> u64 {
        let name = name(group, filter);
        if !self.filters.contains(&name) {
            self.filters.insert(name.clone());
            self.log(InterestChange::Add, name);
        }
        self.version
    }

    /// A filter has lost its last subscriber.
    pub fn remove(&mut self, group: Option<&str>, filter: &str) {
        let name = name(group, filter);
        if self.filters.remove(&name) {
            self.log(InterestChange::Remove, name);
        }
    }

    fn log(&mut self, change: InterestChange, name: Box<str>) {
        self.version += 1;
        if !self.has_feeds {
            return;
        }
        self.log_bytes += entry_bytes(&name);
        self.log.push_back((change, name));
        while self.log_bytes > self.limits.log_bytes_max
            && let Some((_, name)) = self.log.pop_front()
        {
            self.log_bytes -= entry_bytes(&name);
        }
    }

    /// The number of the last change.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// How many filters are live.
    pub fn len(&self) -> usize {
        self.filters.len()
    }

    /// The memory of the changes that are kept for peers.
    pub const fn kept_bytes(&self) -> usize {
        self.log_bytes
    }

    /// Whether no filter is live.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// A new peer, which is to be told everything.
    pub const fn new_feed(&mut self) -> InterestFeed {
        self.has_feeds = true;
        InterestFeed { step: Step::Begin, version: 0 }
    }

    /// Tells a peer what it has not been told, changes first, at most `messages_max` messages. `send` answers false
    /// when it has no room; what it refused is offered again the next time.
    ///
    /// The list of a new peer may be sent in parts, with changes in between: every part tells the state of its filters
    /// at that moment, and adding or removing twice does no harm.
    pub fn feed(
        &self,
        feed: &mut InterestFeed,
        messages_max: usize,
        mut send: impl FnMut(&LinkMessage<'_>) -> bool,
    ) -> Result<Fed, FellBehind> {
        let mut left = messages_max;
        let mut send = |message: &LinkMessage<'_>| {
            let sent = left > 0 && send(message);
            left -= usize::from(sent);
            sent
        };
        if matches!(feed.step, Step::Begin) {
            if !send(&LinkMessage::InterestSnapshotBegin { version: self.version }) {
                return Ok(Fed::More);
            }
            *feed = InterestFeed { step: Step::List { after: None }, version: self.version };
        }
        if self.feed_changes(feed, &mut send)? == Fed::More {
            return Ok(Fed::More);
        }
        Ok(self.feed_list(feed, &mut send))
    }

    fn feed_changes(
        &self,
        feed: &mut InterestFeed,
        send: &mut impl FnMut(&LinkMessage<'_>) -> bool,
    ) -> Result<Fed, FellBehind> {
        let kept = self.version - self.log.len() as u64 + 1;
        let Some(skip) = (feed.version + 1).checked_sub(kept) else {
            return Err(FellBehind { sent: feed.version, kept });
        };
        let skip = usize::try_from(skip).expect("a feed is never ahead of the changes, which are in memory");
        for (change, name) in self.log.range(skip..) {
            let (group, filter) = parts(name);
            let version = feed.version + 1;
            if !send(&LinkMessage::Interest(InterestDelta { version, change: *change, group, filter })) {
                return Ok(Fed::More);
            }
            feed.version = version;
        }
        Ok(Fed::All)
    }

    fn feed_list(&self, feed: &mut InterestFeed, send: &mut impl FnMut(&LinkMessage<'_>) -> bool) -> Fed {
        let Step::List { after } = &mut feed.step else { return Fed::All };
        let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut last: Option<&str> = None;
        for name in self.filters.range::<str, _>((start, Bound::Unbounded)) {
            let (group, filter) = parts(name);
            let delta = InterestDelta { version: 0, change: InterestChange::Add, group, filter };
            if !send(&LinkMessage::Interest(delta)) {
                if last.is_some() {
                    *after = last.map(Box::from);
                }
                return Fed::More;
            }
            last = Some(name);
        }
        if last.is_some() {
            *after = last.map(Box::from);
        }
        if !send(&LinkMessage::InterestSnapshotEnd) {
            return Fed::More;
        }
        feed.step = Step::Changes;
        Fed::All
    }
}

const SHARE: &str = "$share/";

fn name(group: Option<&str>, filter: &str) -> Box<str> {
    match group {
        None => filter.into(),
        Some(group) => [SHARE, group, "/", filter].concat().into_boxed_str(),
    }
}

fn parts(name: &str) -> (Option<&str>, &str) {
    match name.strip_prefix(SHARE).and_then(|shared| shared.split_once('/')) {
        // A group's name has no slash (MQTT 5.0, 4.8.2).
        Some((group, filter)) => (Some(group), filter),
        None => (None, name),
    }
}

/// A change in the log: the text, its entry, and what an allocation costs besides.
const fn entry_bytes(name: &str) -> usize {
    name.len() + size_of::<(InterestChange, Box<str>)>() + 16
}
