//! How things stand in the store, for `/metrics`.

use std::sync::{Mutex, PoisonError};

use fulmar_member::Status;
use fulmar_meta::ClusterId;
use fulmar_store::Node;
use fulmar_store_raft::{Counts, GroupStatus, State};

use crate::admin::DrainReport;

/// What the store's thread said last.
#[derive(Debug, Default)]
pub(crate) struct Report {
    counts: Mutex<Option<(Counts, State)>>,
    member: Mutex<Option<MemberReport>>,
}

/// What a member of a cluster says beside.
#[derive(Debug, Clone)]
pub(crate) struct MemberReport {
    /// This life of the node.
    pub(crate) node: Node,
    /// The cluster that it belongs to.
    pub(crate) cluster: Option<ClusterId>,
    /// Where this node is, as the cluster knows it; empty: in no zone.
    pub(crate) zone: String,
    /// How many shards that has.
    pub(crate) shards: usize,
    /// The cluster, as this node sees it.
    pub(crate) status: Status,
    /// The groups that it takes part in.
    pub(crate) groups: Vec<GroupStatus>,
    /// It has all that was committed in them.
    pub(crate) is_caught_up: bool,
    /// While it drains.
    pub(crate) drain: Option<DrainReport>,
}

impl Report {
    pub(crate) fn set(&self, counts: Counts, state: State) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = Some((counts, state));
    }

    /// None before the store was opened.
    pub(crate) fn get(&self) -> Option<(Counts, State)> {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk had no room when it was looked at last.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self.get(), Some((_, State::Full { .. })))
    }

    /// Why nothing that is asked can be done now, if that is so.
    pub(crate) fn stuck(&self) -> Option<&'static str> {
        if self.is_full() {
            return Some("room on the disk");
        }
        let has_lease = self.member().is_none_or(|member| !member.status.lease_left.is_zero());
        (!has_lease).then_some("a majority of the cluster")
    }

    pub(crate) fn set_member(&self, report: MemberReport) {
        *self.member.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }

    /// None where there are no peers.
    pub(crate) fn member(&self) -> Option<MemberReport> {
        self.member.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
