//! The deliberate mistakes that a simulation must find, and where each is made.
//!
//! A mistake is a value that one simulation is given. The crates know it by the feature `sabotage`, which nothing but
//! simulations asks for.

use fulmar_log::Sabotage as InLog;
use fulmar_meta::Sabotage as InMeta;
use fulmar_store::Sabotage as InStore;
use fulmar_store_raft::Sabotage as InEngine;
use fulmar_worker::Sabotage as InWorker;

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// An entry is applied and answered when it is proposed.
    AckBeforeCommit,
    /// Nothing is synced.
    NoFsync,
    /// A node acknowledges whatever it has heard of its lease.
    LeaseNotChecked,
    /// The lease is compared with the time at which it was last looked at.
    LeaseByCachedClock,
    /// Whoever has owned a session may speak for it.
    EpochNotChecked,
    /// A stream goes on with whatever number comes.
    GapAccepted,
    /// SUBACK waits for nobody.
    SubackBeforeBarrier,
    /// A lost link ends what waits for a member.
    WaitDroppedWithoutView,
    /// What is retained can be read some time after it was given to those who have subscribed.
    MatchBeforeRetained,
    /// PUBREL goes out when PUBREC has come.
    PubrelBeforeCommitted,
    /// A message of QoS 2 that comes again is matched again.
    RetryMatchedAgain,
    /// A will that was published is still there.
    WillFiredTwice,
    /// A snapshot knows nothing of what is in flight.
    SnapshotWithoutInFlight,
    /// A folder that is behind is taken for the node that it was of.
    OldFolderRejoins,
    /// A leader serves before it has applied the first entry of its term.
    ServesEarly,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 15] = [
        Bug::AckBeforeCommit,
        Bug::NoFsync,
        Bug::LeaseNotChecked,
        Bug::LeaseByCachedClock,
        Bug::EpochNotChecked,
        Bug::GapAccepted,
        Bug::SubackBeforeBarrier,
        Bug::WaitDroppedWithoutView,
        Bug::MatchBeforeRetained,
        Bug::PubrelBeforeCommitted,
        Bug::RetryMatchedAgain,
        Bug::WillFiredTwice,
        Bug::SnapshotWithoutInFlight,
        Bug::OldFolderRejoins,
        Bug::ServesEarly,
    ];

    /// The bug of that name, as `Debug` writes it.
    pub fn named(name: &str) -> Option<Bug> {
        Bug::ALL.into_iter().find(|bug| format!("{bug:?}").eq_ignore_ascii_case(name))
    }

    /// The store of a node is to make it.
    pub fn plant(self, settings: &mut fulmar_store_node::Settings) {
        let engine = &mut settings.engine;
        match self {
            Bug::AckBeforeCommit => engine.sabotage = Some(InEngine::AnswerBeforeCommit),
            Bug::NoFsync => engine.log.sabotage = Some(InLog::NoSync),
            Bug::LeaseNotChecked => engine.sabotage = Some(InEngine::LeaseNotChecked),
            Bug::LeaseByCachedClock => settings.member.leases.sabotage = Some(InMeta::CachedClock),
            Bug::EpochNotChecked => engine.sabotage_store = Some(InStore::EpochNotChecked),
            Bug::GapAccepted => {
                engine.sabotage = Some(InEngine::GapAccepted);
                engine.sabotage_store = Some(InStore::GapAccepted);
            }
            Bug::SubackBeforeBarrier => engine.sabotage = Some(InEngine::BarrierLeftOut),
            Bug::RetryMatchedAgain => engine.sabotage_store = Some(InStore::RetryMatchedAgain),
            Bug::WillFiredTwice => engine.sabotage_store = Some(InStore::WillFiredTwice),
            Bug::SnapshotWithoutInFlight => engine.sabotage_store = Some(InStore::SnapshotWithoutInFlight),
            Bug::OldFolderRejoins => engine.sabotage_meta = Some(InMeta::OldFolderRejoins),
            Bug::ServesEarly => engine.sabotage = Some(InEngine::ServesEarly),
            Bug::WaitDroppedWithoutView | Bug::MatchBeforeRetained | Bug::PubrelBeforeCommitted => {}
        }
    }

    /// The data threads of a node are to make it: what [`fulmar_worker::Node::sabotaged`] takes.
    pub fn in_data_threads(self) -> Option<InWorker> {
        match self {
            Bug::LeaseNotChecked => Some(InWorker::LeaseNotChecked),
            Bug::LeaseByCachedClock => Some(InWorker::LeaseByCachedClock),
            Bug::SubackBeforeBarrier => Some(InWorker::SubackBeforeBarrier),
            Bug::WaitDroppedWithoutView => Some(InWorker::WaitDroppedWithLink),
            Bug::MatchBeforeRetained => Some(InWorker::MatchBeforeRetained),
            Bug::PubrelBeforeCommitted => Some(InWorker::PubrelBeforeCommitted),
            Bug::RetryMatchedAgain => Some(InWorker::RetryMatchedAgain),
            _ => None,
        }
    }
}
