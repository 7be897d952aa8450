//! Deliberate mistakes. Each one breaks a rule that somebody's acknowledged message or somebody's data depends on; the
//! simulation must notice every one of them. They can be chosen in this crate's own tests and with the feature
//! `sabotage`; anywhere else the question is answered `false` at compile time.

/// A rule to break.
#[cfg(any(test, feature = "sabotage"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A cluster is begun without asking anybody whether there is one.
    BeginWithoutAsking,
    /// Who does not answer counts as one that has no cluster.
    SilenceIsEmpty,
    /// A cluster is begun though the operator knows one.
    ClusterIdIgnored,
    /// A joiner acknowledges as soon as all others confirmed it, whatever it was fed.
    FeedsNotAwaited,
    /// A joiner is confirmed before all data threads wait for it.
    ThreadsNotAwaited,
    /// What came when this node did not lead, or in an earlier term, is proposed when it leads.
    ProposedInLaterTerm,
    /// A new life goes on with what it was granted, fed and admitted to as the one before.
    LeaseOfEarlierLife,
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
