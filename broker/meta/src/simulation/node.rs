//! A node as a shell would wire it: a folder that outlives processes, and a process with its copy of the state.

use std::collections::{BTreeMap, BTreeSet};

use crate::sabotage::Sabotage;
use crate::{
    ClusterId, Command, Incarnation, Index, Lease, Leases, Member, Meta, NodeId, Settings, Start, Term, Waiters,
};

pub(super) const CLUSTER: ClusterId = ClusterId(0x5eed);

pub(super) type Pod = fulmar_harness::Pod<Folder, Process>;

/// What is on disk.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub(super) id: NodeId,
    pub(super) counter: Incarnation,
    pub(super) made_at: Index,
    pub(super) has_joined: bool,
    pub(super) meta: Meta,
}

#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) member: Member,
    pub(super) nonce: u64,
    pub(super) meta: Meta,
    pub(super) lease: Lease,
    pub(super) leases: Leases,
    /// It leads the group in this term, as far as it knows.
    pub(super) term: Option<Term>,
    /// Whom it asks.
    pub(super) leader: usize,
    pub(super) waiters: Waiters<u64>,
    /// Clients were closed, and have not come back.
    pub(super) is_serving: bool,
    /// Since when it is linked with a member, or not.
    pub(super) linked: BTreeMap<Member, (bool, u64)>,
    pub(super) published: BTreeMap<u64, Published>,
}

/// A message that waits for its acknowledgement.
#[derive(Debug, Clone)]
pub(super) struct Published {
    /// Who must have it, or be out of the view: those that were up when it came.
    pub(super) must: BTreeSet<Member>,
    pub(super) confirmed: BTreeSet<Member>,
    pub(super) asked_at: u64,
}

impl Process {
    pub(super) fn new(
        settings: Settings,
        folder: &Folder,
        nonce: u64,
        leader: usize,
        sabotage: Option<Sabotage>,
    ) -> Self {
        let member = Member { id: folder.id, incarnation: folder.counter };
        let mut process = Self {
            member,
            nonce,
            meta: folder.meta.clone(),
            lease: Lease::new(settings, member, nonce),
            leases: Leases::new(settings, member),
            term: None,
            leader,
            waiters: Waiters::new(64),
            is_serving: false,
            linked: BTreeMap::new(),
            published: BTreeMap::new(),
        };
        process.waiters.sabotage = sabotage;
        process.waiters.follow(folder.meta.view());
        process
    }

    pub(super) fn start(&self, name: &str) -> Start {
        Start {
            member: self.member,
            nonce: self.nonce,
            name: name.into(),
            addresses: Vec::new(),
            zone: "".into(),
            level: 1,
        }
    }

    /// Whether this very process is in the view that it knows.
    pub(super) fn is_in_view(&self) -> bool {
        self.meta.view().contains(self.member)
            && self.meta.node(self.member.id).is_some_and(|it| it.nonce == self.nonce)
    }

    /// What it asks of the leader: to be taken in, or to take others in.
    pub(super) fn requests(&self, folder: &Folder, name: &str) -> Vec<Command> {
        let is_linked = |member: &Member| self.linked.get(member).is_some_and(|(is_linked, _)| *is_linked);
        if !self.is_in_view() {
            // All others would wait for it: so it comes only when it can talk to all.
            let mut others = self.meta.view().members().filter(|other| other.id != self.member.id);
            if !others.all(|other| is_linked(&other)) {
                return Vec::new();
            }
            let (cluster, start) = (CLUSTER, self.start(name));
            let join = Command::Join { cluster, made_at: folder.made_at, start: start.clone() };
            return vec![if folder.has_joined { Command::Boot { cluster, start } } else { join }];
        }
        let joining = self.meta.nodes().filter(|(_, node)| node.state() == crate::State::Joining);
        let joining = joining.map(|(_, node)| node.member).filter(|member| *member != self.member);
        let waiting = joining.filter(|member| is_linked(member) && self.waiters.view().contains(*member));
        waiting.map(|member| Command::Confirm { member, by: self.member }).collect()
    }
}
