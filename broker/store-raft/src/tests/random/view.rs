//! Who is live, as a group of the cluster's own would say: nodes follow views at their own pace, have a lease, and do not
//! acknowledge before all others know of them and they know all filters.

use std::time::{Duration, Instant};

use fulmar_store::Node;

/// How long a node that hears nobody may acknowledge, and when it leaves the view.
const LEASE: Duration = Duration::from_millis(60);
const OVER: Duration = Duration::from_millis(80);

#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) life: Node,
    /// The view with which it joined.
    joined: u64,
    pub(super) is_up: bool,
    heard_at: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Views {
    pub(super) number: u64,
    /// For each node.
    pub(super) members: Vec<Option<Member>>,
    /// Which view each node follows.
    pub(super) followed: Vec<u64>,
}

impl Views {
    pub(super) fn new(count: usize) -> Self {
        Self { number: 0, members: vec![None; count], followed: vec![0; count] }
    }

    /// What a node is heard of, or that it is not. Whether it has become one that may acknowledge.
    pub(super) fn look(&mut self, at: usize, life: Node, is_heard: bool, now: Instant) -> bool {
        if self.members[at].is_some_and(|it| it.life != life || it.heard_at + OVER <= now && !is_heard) {
            self.members[at] = None;
            self.number += 1;
        }
        if !is_heard {
            return false;
        }
        if self.members[at].is_none() {
            self.number += 1;
            self.followed[at] = 0;
            self.members[at] = Some(Member { life, joined: self.number, is_up: false, heard_at: now });
        }
        let Some(mut member) = self.members[at] else { return false };
        member.heard_at = now;
        let others = self.members.iter().zip(&self.followed).filter(|(other, _)| other.is_some());
        let is_known = others.clone().all(|(_, followed)| *followed >= member.joined);
        let has_come_up = is_known && !member.is_up;
        member.is_up |= is_known;
        self.members[at] = Some(member);
        has_come_up
    }

    pub(super) fn lives(&self) -> Vec<Node> {
        self.members.iter().flatten().map(|member| member.life).collect()
    }

    /// Until when a node may acknowledge, if it is up.
    pub(super) fn lease(&self, at: usize) -> Option<Instant> {
        self.members[at].map(|member| member.heard_at + LEASE)
    }

    pub(super) fn is_up(&self, at: usize, life: Node) -> bool {
        self.members[at].is_some_and(|member| member.life == life && member.is_up)
    }
}
