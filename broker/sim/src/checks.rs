//! What must be true of every history, whatever happened to the cluster: what it promises its clients.
//!
//! A check says something only where the promise is beyond doubt. What may have happened either way (a message that was
//! never acknowledged, an acknowledgement that was lost with its connection, a will that was due when its client came back)
//! is neither asked for nor forbidden.

mod lost;
mod once;
mod order;
mod owners;
mod published;
mod retained;
mod sessions;
mod shared;
mod spans;
mod wills;

use std::fmt;

use crate::Time;
use crate::history::{Event, History};
use published::Published;
use spans::Spans;

/// Which promise is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// A server keeps to the protocol.
    Protocol,
    /// A session is there when its client comes back, and only then.
    Session,
    /// What was acknowledged comes to those who had subscribed.
    NothingLost,
    /// QoS 2 comes exactly once to a session that outlives its connections.
    OnceDurable,
    /// QoS 2 comes exactly once to a session that ends with its connection.
    OnceLive,
    /// What one publisher sends on a topic comes in order.
    Order,
    /// Nobody gets what is not for him.
    OnlyOwn,
    /// What is retained is what was acknowledged last.
    Retained,
    /// A will is published once when it is due, and not at all when it is not.
    Will,
    /// A message for a shared subscription comes to one of its members.
    Shared,
    /// A session has one owner.
    OneOwner,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// How, for a person.
    pub what: String,
    /// The record in the history at which it shows; none: at the end.
    pub at: Option<usize>,
    /// When that was.
    pub time: Option<Time>,
}

impl Violation {
    fn new(promise: Promise, at: impl Into<Option<usize>>, what: String) -> Violation {
        Violation { promise, what, at: at.into(), time: None }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:?}: {}", self.promise, self.what)?;
        self.time.map_or(Ok(()), |time| write!(to, " (at {})", time.to_string().trim()))
    }
}

/// Everything that was wrong in a run that has come to rest: the last fault is over, all clients are done.
pub fn all(history: &History) -> Vec<Violation> {
    let published = Published::of(history);
    let spans = Spans::of(history);
    let mut found = protocol(history);
    found.extend(sessions::check(history, &published, &spans));
    found.extend(lost::check(history, &published, &spans));
    found.extend(once::check(history));
    found.extend(order::check(history, &published));
    found.extend(retained::check(history, &published));
    found.extend(wills::check(history, &spans));
    found.extend(shared::check(history, &published, &spans));
    found.extend(owners::check(history));
    found.sort_by_key(|violation| violation.at.unwrap_or(usize::MAX));
    for violation in &mut found {
        violation.time = violation.at.map(|at| history.records()[at].at);
    }
    found
}

/// What clients have noticed themselves.
fn protocol(history: &History) -> Vec<Violation> {
    let records = history.records().iter().enumerate();
    let wrong = records.filter_map(|(at, record)| match &record.event {
        Event::Wrong(what) => Some((at, record, what)),
        _ => None,
    });
    wrong
        .map(|(at, record, what)| {
            let name = &history.profile(record.actor).name;
            Violation::new(Promise::Protocol, at, format!("{name}: {what}"))
        })
        .collect()
}

#[cfg(test)]
mod tests;
