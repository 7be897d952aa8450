//! Deliberate mistakes of data threads. Each one breaks a rule that somebody's acknowledged message depends on; the
//! simulation of whole brokers must notice every one of them. They can be chosen with the feature `sabotage`; without it
//! the question is answered `false` at compile time.

/// A rule to break.
#[cfg(feature = "sabotage")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Clients are told what was decided, whatever the lease says.
    LeaseNotChecked,
    /// The lease is compared with the clock as it was when it was last asked about.
    LeaseByCachedClock,
    /// SUBACK waits for no other node.
    SubackBeforeBarrier,
    /// A publish does not wait any more for a member whose link is lost, though the view has it.
    WaitDroppedWithLink,
    /// A retained publish goes to those who have subscribed, and can be read by those who subscribe when it is committed.
    MatchBeforeRetained,
    /// PUBREL goes out when PUBREC has come.
    PubrelBeforeCommitted,
    /// Which packet identifiers of QoS 2 a session has received is not taken up with it.
    RetryMatchedAgain,
}

/// Whether a deliberate mistake is to be made by this [`Node`](crate::Node).
macro_rules! sabotaged {
    ($node:expr, $what:ident) => {{
        #[cfg(feature = "sabotage")]
        let chosen = $node.sabotage == Some($crate::sabotage::Sabotage::$what);
        #[cfg(not(feature = "sabotage"))]
        let chosen = {
            let _ = &$node;
            false
        };
        chosen
    }};
}

pub(crate) use sabotaged;
