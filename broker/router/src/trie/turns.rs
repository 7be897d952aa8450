//! Whose turn it is among the members of a shared group that are present, when several data threads of a node have some.
//!
//! A message for a member of another thread costs more than one for a member of the own: it is copied, the other thread
//! is woken, and both write less at a time. So where several threads have many messages for a group at the same time, each
//! gives what it has to its own members, as long as these are not too far ahead of the others; what members were given is
//! counted for all to see. Threads that take turns on a processor would swap half of all messages without it.
//!
//! Anywhere else members take their turns as exactly as with a single thread: a burst that one thread has, or a few jobs
//! that take long, are for all who can work. What is many is told by time, in windows of some milliseconds that whoever
//! asks names: a turn of an event loop may bring few messages, however many there are in a second.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::hash::Hashes;
use crate::indexed::Indexed;
use crate::subscriber::{Member, SubscriberId};

/// A window that has brought a thread so many messages for the group has brought many.
const MANY: u16 = 64;
/// For so many messages a thread decides at one time, while there are many. Looking at what all threads have given, for
/// each of them, would cost as much as it saves.
const DECIDED: u16 = 32;
/// Messages that the members of a thread may be ahead of those of another, while both have many.
const AHEAD_MAX: u64 = 256;

/// The present members of a shared group, by the data threads that have them.
#[derive(Default)]
pub(super) struct Present {
    /// None is empty. As many as data threads at most: short enough to search.
    shares: Vec<Share>,
}

/// The members of one data thread. Counts under a read lock, hence atomic; on a cache line of its own, because mostly it
/// is the thread itself that counts.
#[repr(align(64))]
pub(super) struct Share {
    thread: u16,
    members: Indexed<Member>,
    turn: AtomicU32,
    /// Messages that its members were given since members last came or went, or there last were many.
    given: AtomicU64,
    /// What the thread has had and decided: only the thread itself changes it.
    pace: AtomicU64,
}

/// How many messages a thread has for the group, and where the next ones go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pace {
    window: u16,
    /// Messages that came in this window.
    had: u16,
    /// The window before this one had many.
    had_many: bool,
    /// Index of the share that the next so many go to.
    to: u16,
    left: u16,
}

impl Present {
    pub(super) fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    pub(super) fn find_mut(&mut self, subscriber: SubscriberId, hashes: &Hashes) -> Option<&mut Member> {
        let share = self.shares.iter_mut().find(|share| share.thread == subscriber.thread)?;
        let at = share.members.find(&subscriber, hashes)?;
        Some(share.members.get_mut(at))
    }

    /// Adds a member that is not there.
    pub(super) fn add(&mut self, member: Member, hashes: &Hashes) {
        let thread = member.subscriber.thread;
        let at = self.shares.iter().position(|share| share.thread == thread).unwrap_or_else(|| {
            self.shares.push(Share::of(thread));
            self.shares.len() - 1
        });
        self.shares[at].members.add(member, hashes);
        self.begin_anew();
    }

    pub(super) fn take(&mut self, subscriber: SubscriberId, hashes: &Hashes) -> Option<Member> {
        let at = self.shares.iter().position(|share| share.thread == subscriber.thread)?;
        let members = &mut self.shares[at].members;
        let member = members.remove(members.find(&subscriber, hashes)?, hashes);
        if members.is_empty() {
            self.shares.swap_remove(at);
        }
        self.begin_anew();
        Some(member)
    }

    /// Who comes has nothing to catch up with, and what was decided may be about somebody who is gone.
    fn begin_anew(&mut self) {
        for share in &mut self.shares {
            *share.given.get_mut() = 0;
            *share.pace.get_mut() = 0;
        }
    }

    pub(super) fn shares(&self) -> &[Share] {
        &self.shares
    }
}

impl Share {
    fn of(thread: u16) -> Share {
        let (turn, given, pace) = <(AtomicU32, AtomicU64, AtomicU64)>::default();
        Share { thread, members: Indexed::default(), turn, given, pace }
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// The members, starting with the one whose turn it is.
    fn in_turn(&self) -> impl Iterator<Item = Member> + use<'_> {
        let start = self.turn.fetch_add(1, Ordering::Relaxed) as usize % self.members.len();
        self.members[start..].iter().chain(&self.members[..start]).copied()
    }

    fn pace(&self) -> Pace {
        Pace::from_bits(self.pace.load(Ordering::Relaxed))
    }

    fn tally(&self, window: u16) -> Tally {
        Tally {
            given: self.given.load(Ordering::Relaxed),
            members: self.members.len() as u64,
            has_many: self.pace().has_many(window),
        }
    }
}

/// All present members, starting with the one whose turn it is when a thread asks in this window. `turn` counts for
/// threads without members of their own.
pub(super) fn in_turn<'a>(
    shares: &'a [Share],
    asking: u16,
    window: u16,
    turn: &AtomicU32,
) -> impl Iterator<Item = Member> + use<'a> {
    let first = match shares {
        [] | [_] => 0,
        shares => next_share(shares, asking, window, turn),
    };
    let (before, from) = shares.split_at(first);
    from.iter().chain(before).flat_map(Share::in_turn)
}

fn next_share(shares: &[Share], asking: u16, window: u16, turn: &AtomicU32) -> usize {
    let Some(own) = shares.iter().position(|share| share.thread == asking) else {
        let to = in_proportion(shares, turn.fetch_add(1, Ordering::Relaxed));
        shares[to].given.fetch_add(1, Ordering::Relaxed);
        return to;
    };
    let last = shares[own].pace();
    let mut pace = last.one_more(window);
    if pace.left > 0 {
        pace.left -= 1;
    } else {
        let has_many = pace.has_many(window);
        if last.has_many(last.window) && !has_many {
            // What some were ahead is forgiven: they would be idle now until the others have as much.
            shares.iter().for_each(|share| share.given.store(0, Ordering::Relaxed));
        }
        let size = if has_many { DECIDED } else { 1 };
        let to = choose(shares.iter().map(|share| share.tally(window)), own, size);
        shares[to].given.fetch_add(u64::from(size), Ordering::Relaxed);
        (pace.to, pace.left) = (to as u16, size - 1);
    }
    shares[own].pace.store(pace.to_bits(), Ordering::Relaxed);
    usize::from(pace.to)
}

/// What the members of a share were given, and whether their thread has many messages.
#[derive(Clone, Copy, Debug)]
struct Tally {
    given: u64,
    members: u64,
    has_many: bool,
}

impl Tally {
    /// Whether each of its members was given less than each of the other's, who have `ahead` messages more than they have.
    fn is_behind(self, other: Tally, ahead: u64) -> bool {
        u128::from(self.given + ahead) * u128::from(other.members) < u128::from(other.given) * u128::from(self.members)
    }
}

/// Where the next messages go, of which there are many if it is more than one: to the own share, unless its members are
/// too far ahead of another's; then to the one that was given least.
fn choose(shares: impl Iterator<Item = Tally> + Clone, own: usize, size: u16) -> usize {
    let Some(mine) = shares.clone().nth(own) else { return own };
    let may_be_ahead = |other: &Tally| if size > 1 && other.has_many { AHEAD_MAX } else { u64::from(size) - 1 };
    if !shares.clone().any(|share| share.is_behind(mine, may_be_ahead(&share))) {
        return own;
    }
    let mut least = (own, mine);
    for (index, share) in shares.enumerate() {
        if share.is_behind(least.1, 0) {
            least = (index, share);
        }
    }
    least.0
}

/// The share whose member has this turn, when all members take turns.
fn in_proportion(shares: &[Share], turn: u32) -> usize {
    let all: usize = shares.iter().map(|share| share.members.len()).sum();
    let mut at = turn as usize % all.max(1);
    for (index, share) in shares.iter().enumerate() {
        match at.checked_sub(share.members.len()) {
            Some(rest) => at = rest,
            None => return index,
        }
    }
    0
}

impl Pace {
    /// One more message came. Windows are numbered modulo 2^16; what was decided holds while there are many.
    fn one_more(self, window: u16) -> Pace {
        if self.window == window {
            return Pace { had: self.had.saturating_add(1), ..self };
        }
        let had_many = self.had >= MANY && self.window.wrapping_add(1) == window;
        let left = if had_many { self.left } else { 0 };
        Pace { window, had: 1, had_many, left, ..self }
    }

    /// Whether many have come, in this window or in the one before.
    fn has_many(self, window: u16) -> bool {
        match window.wrapping_sub(self.window) {
            0 => self.had >= MANY || self.had_many,
            1 => self.had >= MANY,
            _ => false,
        }
    }

    fn to_bits(self) -> u64 {
        let to = u64::from(self.had_many) << 15 | u64::from(self.to);
        u64::from(self.window) << 48 | u64::from(self.had) << 32 | to << 16 | u64::from(self.left)
    }

    fn from_bits(bits: u64) -> Pace {
        let to = (bits >> 16) as u16;
        let (had_many, to) = (to >> 15 == 1, to & (u16::MAX >> 1));
        Pace { window: (bits >> 48) as u16, had: (bits >> 32) as u16, had_many, to, left: bits as u16 }
    }
}
