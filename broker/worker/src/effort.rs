//! How much work a turn of the event loop has done, so that no turn becomes long however much there is to do.
//!
//! Work is counted by what is done and not by a clock: the same events make the same portions, on every machine. Once
//! a turn has done its share, nobody is read before the next one, and whatever can be done in portions (retained
//! messages for new subscriptions, sessions that end by the thousand at one time) goes on there.
//!
//! One thing is never cut: what a single packet asks for. Its limits bound it (`packetBytes`, `subscriptionsPerPacket`).

/// Nanoseconds that things take on a slow core, roughly. They tell things apart by orders of magnitude; that they are
/// a little wrong makes turns a little longer.
pub(crate) mod cost {
    /// A read of a socket, which is a system call.
    pub(crate) const READ: u64 = 1500;
    /// A kibibyte that is copied from or to a buffer.
    pub(crate) const KIBIBYTE: u64 = 400;
    /// A packet, whatever is in it.
    pub(crate) const PACKET: u64 = 250;
    /// A receiver of a message.
    pub(crate) const DELIVERY: u64 = 250;
    /// A place of the subscriptions that is looked at for a message.
    pub(crate) const VISIT: u64 = 20;
    /// A subscription that a message matches, whether or not it makes one more receiver.
    pub(crate) const MATCH: u64 = 80;
    /// A filter that is subscribed, unsubscribed, or judged anew.
    pub(crate) const FILTER: u64 = 2000;
    /// A session that is looked at because the rules have changed.
    pub(crate) const REVIEW: u64 = 500;
    /// A topic of the retained store that is looked at.
    pub(crate) const TOPIC: u64 = 200;
    /// A connection that is accepted.
    pub(crate) const ACCEPT: u64 = 15_000;
    /// A client that is let in or refused.
    pub(crate) const CONNECT: u64 = 10_000;
    /// A client that goes, or a session that ends.
    pub(crate) const END: u64 = 10_000;
}

/// What a turn has done and may do.
#[derive(Debug)]
pub(crate) struct Effort {
    spent: u64,
    max: u64,
}

impl Effort {
    pub(crate) fn new(max: u64) -> Effort {
        Effort { spent: 0, max }
    }

    /// So much of it was done, at a [`cost`] each.
    #[inline]
    pub(crate) fn add(&mut self, count: usize, cost: u64) {
        self.spent = self.spent.saturating_add(count as u64 * cost);
    }

    /// One in so many parts of a turn was done. Gives how much that is.
    pub(crate) fn add_part_of_turn(&mut self, parts: u64) -> u64 {
        self.spent = self.spent.saturating_add(self.max / parts);
        self.max / parts
    }

    /// Nothing is left of the turn.
    pub(crate) fn spend_all(&mut self) {
        self.spent = self.spent.max(self.max);
    }

    /// Whether the turn has done enough.
    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.spent >= self.max
    }

    /// Whether what has begun should be cut. It may take some more than what has not begun, so that what is small is done
    /// in one piece.
    #[inline]
    pub(crate) fn is_overspent(&self) -> bool {
        self.spent >= self.max.saturating_mul(2)
    }

    /// Nothing that was done since then counts.
    pub(crate) fn go_back(&mut self, spent: u64) {
        self.spent = spent;
    }

    pub(crate) fn spent(&self) -> u64 {
        self.spent
    }

    pub(crate) fn end_turn(&mut self) {
        self.spent = 0;
    }
}
