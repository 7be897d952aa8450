//! A node as a shell would wire it: a folder that outlives processes, and a process with its copy of the state.

use std::collections::BTreeMap;

use fulmar_meta::{Command, Incarnation, Member, Meta, Moment, NodeId, Term};

use crate::{Folder, Membership};

pub(super) type Pod = fulmar_harness::Pod<Disk, Process>;

/// What is on disk.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub(super) id: NodeId,
    pub(super) counter: Incarnation,
    /// The file of this crate.
    pub(super) file: Vec<u8>,
    /// The group 0 that it has, of all that were ever made.
    pub(super) group: Option<u64>,
    pub(super) meta: Meta,
    /// It was restored, or there is a copy of it.
    pub(super) is_suspect: bool,
}

impl Disk {
    pub(super) fn new(id: NodeId) -> Self {
        let file = Folder::new(id).encode();
        Self { id, counter: 0, file, group: None, meta: Meta::new(), is_suspect: false }
    }

    pub(super) fn bond(&self) -> crate::Bond {
        Folder::decode(&self.file).expect("it was written whole").bond
    }
}

#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) membership: Membership,
    pub(super) nonce: u64,
    pub(super) meta: Meta,
    /// The latest term that the group told it of, who leads in it, and whether that is this one.
    pub(super) term: Term,
    pub(super) leader: Option<NodeId>,
    pub(super) leads: bool,
    /// What others asked of it in this term.
    pub(super) came: Vec<Command>,
    /// Until when its data threads acknowledge, and whether clients are there.
    pub(super) until: Option<Moment>,
    pub(super) serves: bool,
    /// The view that its data threads follow.
    pub(super) threads: u64,
    /// The life for which it was told all filters.
    pub(super) fed: Option<Member>,
    /// Since when it is linked with other processes.
    pub(super) linked: BTreeMap<(usize, u64), u64>,
}

impl Process {
    pub(super) fn member(&self) -> Member {
        self.membership.member()
    }
}
