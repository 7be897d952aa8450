//! Which of two holders of one client identifier stays, when they are on different nodes.
//!
//! Every CONNECT makes a [`Claim`], which is announced to all peers. Of one user the newest CONNECT wins, of two users
//! the one who has held the client identifier for longer: nobody takes over the session of another. Both sides decide
//! by the same two claims, so exactly one of them keeps, in whatever order the announcements arrive and however the
//! nodes are set. Who holds the connection is the worker's affair.

use crate::clock::Version;

/// Who may take over a client identifier that is in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Takeover {
    /// Its user: nobody else gets it before the session has ended.
    #[default]
    SameUser,
    /// Whoever connects with it. The session ends, as nobody else shall read what waits in it.
    AnyUser,
}

/// A node holds a session of a client identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim<'a> {
    /// When and where its client connected last.
    pub version: Version,
    /// Since when the user has held the client identifier without a break, on whatever nodes.
    pub since: Version,
    /// The user; nothing: nobody vouches for the client.
    pub user: Option<&'a str>,
    /// What the node is set to. Another user takes over only if both nodes let anybody.
    pub takeover: Takeover,
}

/// What to do with our own session of a client identifier that a peer claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// We hold nothing of this client: nothing to do.
    NotOurs,
    /// The peer's CONNECT is the newer one: close ours with 0x8E (session taken over) and end its session.
    Yield {
        /// Announce ours once more before: the peer does not know for how long the user has held the client identifier,
        /// and who else wants it must not seem to have been there first.
        last_word: bool,
    },
    /// The peer's client has held the client identifier for longer, and is another user's: close ours with 0x87 (not
    /// authorized) and end its session.
    Refuse,
    /// Ours stays. Tell the peer again, which may have missed our claim.
    Keep {
        /// Since when the user has held the client identifier, as far as we know now.
        since: Version,
    },
}

/// Decides between our claim of a client identifier, if there is one, and a peer's.
pub fn decide(ours: Option<&Claim<'_>>, theirs: &Claim<'_>) -> Verdict {
    let Some(ours) = ours else { return Verdict::NotOurs };
    let is_same_user = ours.user == theirs.user;
    let may_take_over = is_same_user || [ours.takeover, theirs.takeover] == [Takeover::AnyUser; 2];
    if may_take_over && theirs.version > ours.version {
        Verdict::Yield { last_word: is_same_user && ours.since < theirs.since }
    } else if !may_take_over && theirs.seniority() < ours.seniority() {
        Verdict::Refuse
    } else {
        Verdict::Keep { since: if is_same_user { ours.since.min(theirs.since) } else { ours.since } }
    }
}

impl<'a> Claim<'a> {
    /// The lower holds the client identifier. Between two users there are no ties, whatever a broken clock makes.
    fn seniority(&self) -> (Version, Version, Option<&'a str>) {
        (self.since, self.version, self.user)
    }
}

#[cfg(test)]
mod tests;
