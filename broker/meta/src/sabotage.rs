//! Deliberate mistakes. Each one breaks a rule that somebody's acknowledged message depends on; the simulation must
//! notice every one of them. They can be chosen in this crate's own tests and with the feature
//! `sabotage`; anywhere else the question is answered `false` at compile time.

/// A rule to break.
#[cfg(any(test, feature = "sabotage"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A lease is compared with the clock of the last event.
    CachedClock,
    /// A lease is counted from when its grant came.
    CountedFromGrant,
    /// A process takes itself for the member whose folder it has a copy of.
    CopyTrusted,
    /// Whoever has not renewed for a moment is removed.
    RemovalWithoutWaiting,
    /// A member whose removal is under way gets a grant.
    GrantWhileRemoving,
    /// A leader grants without asking whether there is a newer one.
    UnconfirmedGrant,
    /// A new leader removes whoever it has not granted anything.
    NewLeaderDoesNotWait,
    /// What a leader decided is committed though it leads no more.
    RemovalOfOldTerm,
    /// The leader waits for a lease and a tenth more, though two clocks may differ by more than a tenth.
    MarginOfATenth,
    /// A wait for a member ends when its link is lost.
    WaitDroppedWithLink,
    /// A folder that is behind may begin the life that its counter says.
    OldFolderRejoins,
    /// A joiner acknowledges as soon as it has a lease.
    JoinerNotConfirmed,
}

/// Whether a deliberate mistake is to be made here.
macro_rules! sabotaged {
    ($of:expr, $what:ident) => {{
        #[cfg(any(test, feature = "sabotage"))]
        let chosen = $of.sabotage == Some($crate::sabotage::Sabotage::$what);
        #[cfg(not(any(test, feature = "sabotage")))]
        let chosen = {
            let _ = &$of;
            false
        };
        chosen
    }};
}

pub(crate) use sabotaged;
