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
/// For so many messages a thread decides at one time, while others have many too. Looking at what all threads have given,
/// for each of them, would cost as much as it saves.
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
    /// Messages that its members were given, in relation to what others were: whoever comes begins with as many as others
    /// have, and takes with them what it had when it goes.
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
        if let Some(share) = self.shares.iter_mut().find(|share| share.thread == thread) {
            share.change(|members| {
                members.add(member, hashes);
            });
            return;
        }
        let all = self.shares.iter_mut().map(|share| (*share.given.get_mut(), share.members.len() as u64));
        let (given, count) = all.fold((0, 0), |sum, share| (sum.0 + share.0, sum.1 + share.1));
        let mut share = Share::of(thread);
        share.members.add(member, hashes);
        *share.given.get_mut() = given / count.max(1);
        self.shares.push(share);
    }

    pub(super) fn take(&mut self, subscriber: SubscriberId, hashes: &Hashes) -> Option<Member> {
        let at = self.shares.iter().position(|share| share.thread == subscriber.thread)?;
        let share = &mut self.shares[at];
        let member_at = share.members.find(&subscriber, hashes)?;
        let mut taken = None;
        share.change(|members| taken = Some(members.remove(member_at, hashes)));
        if share.members.is_empty() {
            self.shares.swap_remove(at);
            // What was decided names shares by where they stand.
            self.shares.iter_mut().for_each(Share::forget_decision);
        }
        taken
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

    /// A member comes or goes. Each of the others was given what it was.
    fn change(&mut self, change: impl FnOnce(&mut Indexed<Member>)) {
        let before = self.members.len() as u64;
        change(&mut self.members);
        let given = u128::from(*self.given.get_mut()) * self.members.len() as u128;
        *self.given.get_mut() = ((given + u128::from(before / 2)) / u128::from(before.max(1))) as u64;
    }

    fn forget_decision(&mut self) {
        let pace = self.pace.get_mut();
        *pace = Pace { left: 0, ..Pace::from_bits(*pace) }.to_bits();
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
        let tallies = shares.iter().map(|share| share.tally(window));
        let has_many = pace.has_many(window);
        if last.has_many(last.window) && !has_many {
            forgive(shares, own, tallies.clone());
        }
        let is_shared = has_many && tallies.clone().enumerate().any(|(index, tally)| index != own && tally.has_many);
        let size = if is_shared { DECIDED } else { 1 };
        let to = choose(tallies, own, is_shared);
        shares[to].given.fetch_add(u64::from(size), Ordering::Relaxed);
        (pace.to, pace.left) = (to as u16, size - 1);
    }
    shares[own].pace.store(pace.to_bits(), Ordering::Relaxed);
    usize::from(pace.to)
}

/// The thread has no longer many. What its members are ahead of others is forgiven but for a message each: they would be
/// idle until the others have as much.
fn forgive(shares: &[Share], own: usize, tallies: impl Iterator<Item = Tally>) {
    let members = shares[own].members.len() as u64;
    let least = tallies.map(|tally| tally.given * members / tally.members.max(1)).min();
    let most = least.unwrap_or(0).saturating_add(members);
    shares[own].given.fetch_min(most, Ordering::Relaxed);
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

/// Where the next messages go: to the own share, unless its members are too far ahead of another's; then to the one that
/// was given least. `is_shared`: this thread has many, and so has another.
fn choose(shares: impl Iterator<Item = Tally> + Clone, own: usize, is_shared: bool) -> usize {
    let Some(mine) = shares.clone().nth(own) else { return own };
    let may_be_ahead = |other: &Tally| if is_shared && other.has_many { AHEAD_MAX } else { 0 };
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
