//! Reading many retained messages: those that match a filter, or all of them, in pieces of a bounded size.
//!
//! **Bound.** Each step looks at one topic and either gives it out or jumps behind the branch that it lies in. A branch
//! is entered only if its levels match so far, so a scan takes a step for each match, and at most two for each branch
//! that matches the first levels of the filter but has nothing for the rest. What a filter like `+/+/+/x` can cost at
//! once is limited by `steps_max`.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use super::key::{self, AFTER_SEPARATOR, SEPARATOR};
use super::{Retained, Stored, Weigh};

/// A place in the order of topics where reading goes on. A new one starts at the beginning; it belongs to one filter,
/// and stays valid whatever changes in the store.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Cursor {
    /// All keys before this one are done with; without one, all are.
    next: Option<String>,
}

impl Default for Cursor {
    fn default() -> Self {
        Self { next: Some(String::new()) }
    }
}

/// How reading ended.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
#[must_use]
pub enum Scan {
    /// Not yet: call again with the same cursor.
    More,
    /// There is nothing left.
    Done,
}

/// After this many neighbours that are not wanted, jumping is quicker than going on.
const NEIGHBOURS: usize = 4;

impl<M: Weigh> Retained<M> {
    /// Visits the messages that match a filter, from the cursor on, until `visit` breaks or `steps_max` topics were
    /// looked at (one at least). What is retained all the time is visited once, in its state at that time.
    ///
    /// The filter is without `$share`: a shared subscription gets no retained messages (MQTT 5.0, 4.8.2).
    pub fn scan(
        &self,
        filter: &str,
        cursor: &mut Cursor,
        now: u64,
        steps_max: usize,
        mut visit: impl FnMut(Stored<'_, &M>) -> ControlFlow<()>,
    ) -> Scan {
        let filter = Filter::new(filter);
        let Some(mut next) = cursor.next.take() else { return Scan::Done };
        if next.is_empty() {
            filter.push_texts(0, &mut next);
        }
        let mut topic = String::new();
        let mut steps = 0;
        'jump: loop {
            let mut neighbours = 0;
            for (key, entry) in self.starting_at(&next) {
                if steps == steps_max.max(1) {
                    return cursor.stop_at(if **key < *next { next } else { key.as_ref().into() });
                }
                steps += 1;
                if **key < *next {
                    neighbours += 1;
                    if neighbours == NEIGHBOURS {
                        continue 'jump;
                    }
                    continue;
                }
                neighbours = 0;
                match filter.check(key, &mut next) {
                    Check::Fits => {
                        let Some(message) = entry.live(now) else { continue };
                        key::to_topic(key, &mut topic);
                        let (version, expires_at) = (entry.version, entry.expires_at());
                        if visit(Stored { topic: &topic, message, version, expires_at }).is_break() {
                            return cursor.stop_at(after(key));
                        }
                    }
                    // `next` is behind this key now. It may be among the neighbours.
                    Check::Next => {}
                    Check::Past => return Scan::Done,
                }
            }
            return Scan::Done;
        }
    }

    /// Visits everything there is, tombstones included, from the cursor on, until `visit` breaks or `steps_max` topics
    /// were looked at (one at least): for a node that needs a copy. Messages that have expired are left out.
    pub fn copy(
        &self,
        cursor: &mut Cursor,
        now: u64,
        steps_max: usize,
        mut visit: impl FnMut(Stored<'_, Option<&M>>) -> ControlFlow<()>,
    ) -> Scan {
        let mut topic = String::new();
        let Some(next) = cursor.next.take() else { return Scan::Done };
        for (step, (key, entry)) in self.starting_at(&next).enumerate() {
            if step == steps_max.max(1) {
                return cursor.stop_at(key.as_ref().into());
            }
            let message = entry.live(now);
            if message.is_none() && entry.message.is_some() {
                continue;
            }
            key::to_topic(key, &mut topic);
            let (version, expires_at) = (entry.version, entry.expires_at());
            if visit(Stored { topic: &topic, message, version, expires_at }).is_break() {
                return cursor.stop_at(after(key));
            }
        }
        Scan::Done
    }
}

impl Cursor {
    fn stop_at(&mut self, next: String) -> Scan {
        self.next = Some(next);
        Scan::More
    }
}

/// The first key that can come after this one.
fn after(key: &str) -> String {
    let mut next = String::with_capacity(key.len() + 1);
    next.push_str(key);
    next.push(SEPARATOR);
    next
}

/// A filter, taken apart.
struct Filter<'a> {
    levels: Vec<Level<'a>>,
    /// It ends with `#`, which is not among the levels.
    open: bool,
}

#[derive(Copy, Clone)]
enum Level<'a> {
    Plus,
    Text(&'a str),
}

/// What a key is to a filter.
enum Check {
    Fits,
    /// It does not fit, and the buffer got a key behind it before which none fits.
    Next,
    /// Neither it nor any key behind it fits.
    Past,
}

impl<'a> Filter<'a> {
    fn new(filter: &'a str) -> Self {
        let mut levels: Vec<_> =
            filter.split('/').map(|level| if level == "+" { Level::Plus } else { Level::Text(level) }).collect();
        let open = levels.pop_if(|last| matches!(last, Level::Text("#"))).is_some();
        Self { levels, open }
    }

    fn check(&self, key: &str, next: &mut String) -> Check {
        // Filters that start with a wildcard skip the topics that start with `$` (MQTT 5.0, 4.7.2).
        if key.starts_with('$') && !matches!(self.levels.first(), Some(Level::Text(_))) {
            return jump(next, ["%"]);
        }
        let mut start = 0;
        // The end of the last level that `+` stands for: behind its branch, another may fit.
        let mut branch = None;
        for (at, level) in self.levels.iter().enumerate() {
            if start > key.len() {
                jump(next, [key, "\0"]);
                self.push_texts(at, next);
                return Check::Next;
            }
            let end = key[start..].find(SEPARATOR).map_or(key.len(), |length| start + length);
            match level {
                Level::Plus => branch = Some(end),
                Level::Text(text) => match key[start..end].cmp(text) {
                    Ordering::Equal => {}
                    Ordering::Less => {
                        jump(next, [&key[..start]]);
                        self.push_texts(at, next);
                        return Check::Next;
                    }
                    Ordering::Greater => return next_branch(key, branch, next),
                },
            }
            start = end + 1;
        }
        if self.open || start > key.len() { Check::Fits } else { next_branch(key, branch, next) }
    }

    /// Adds the least that can stand for the levels from this one on.
    fn push_texts(&self, from: usize, next: &mut String) {
        for (at, level) in self.levels.iter().enumerate().skip(from) {
            if at > from {
                next.push(SEPARATOR);
            }
            match level {
                Level::Text(text) => next.push_str(text),
                Level::Plus => return,
            }
        }
    }
}

fn next_branch(key: &str, branch: Option<usize>, next: &mut String) -> Check {
    let Some(end) = branch else { return Check::Past };
    jump(next, [&key[..end]]);
    next.push(AFTER_SEPARATOR);
    Check::Next
}

fn jump<const N: usize>(next: &mut String, parts: [&str; N]) -> Check {
    next.clear();
    next.extend(parts);
    Check::Next
}
