//! Deliberate mistakes. Each one breaks a rule that Raft's proof needs; the simulation must notice every one of them.
//! They can be chosen in this crate's own tests and with the feature `sabotage`; anywhere else the question is answered
//! `false` at compile time.

/// A rule to break.
#[cfg_attr(not(any(test, feature = "sabotage")), expect(unreachable_pub, reason = "only who may choose one sees it"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A vote is told before it is on disk.
    VoteBeforeStored,
    /// Entries are acknowledged before they are on disk.
    AcknowledgeBeforeStored,
    /// A node votes for everyone who asks.
    VoteTwice,
    /// Entries of old terms are committed because a majority has them (Raft, figure 8).
    CommitOldTerms,
    /// A vote goes to candidates with any log.
    VoteForAnyLog,
    /// An append cuts off what follows it, though nothing contradicts.
    TruncateOnStaleAppend,
    /// A membership changes while the change before is not committed.
    TwoChangesAtOnce,
    /// A read is served without asking whether there is a newer leader.
    UnconfirmedRead,
}
