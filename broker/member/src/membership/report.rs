//! What a node says of its part in the cluster.

use std::time::Duration;

use fulmar_meta::{Life, Member, Meta, Moment};

use super::{Membership, Phase};
use crate::folder::{Bond, Folder};
use crate::status::{Counts, MemberStatus, Missing, Obstacle, Status};

impl Membership {
    /// This life of this node.
    pub fn member(&self) -> Member {
        self.me.member
    }

    /// What the folder says by now.
    pub fn folder(&self) -> Folder {
        self.folder
    }

    /// Whether clients may come.
    pub fn serves(&self) -> bool {
        self.serves
    }

    /// What keeps this node from being ready; nothing if it is.
    pub fn missing(&self, meta: &Meta, now: Moment) -> Vec<Missing> {
        match &self.phase {
            Phase::Ended(text) => return vec![Missing::Ended(text.clone())],
            Phase::Stopped => return vec![Missing::Stopped],
            Phase::AwaitsLife => return vec![Missing::NextLife],
            Phase::Lives if !self.is_in_view(meta) => return vec![self.missing_membership(meta, now)],
            Phase::Lives => {}
        }
        let node = meta.node(self.me.member.id).expect("who is in the view is known");
        let mut missing = Vec::new();
        if let Life::Joining { confirmed } = &node.life {
            let others = meta.view().members().filter(|other| other.id != self.me.member.id);
            missing.push(Missing::Confirmed { by: others.filter(|other| !confirmed.contains(other)).collect() });
        }
        if self.entered.is_none_or(|entered| self.followed < entered) {
            missing.push(Missing::Threads);
        }
        if !self.is_fed {
            missing.push(Missing::Feeds);
        }
        if !self.lease.holds(now) {
            missing.push(match self.leader() {
                _ if self.role.leads => Missing::Majority,
                leader => Missing::Lease { leader: leader.map(|(_, id)| id) },
            });
        }
        if node.drain.is_some() {
            missing.push(Missing::Draining);
        }
        missing
    }

    fn missing_membership(&self, meta: &Meta, now: Moment) -> Missing {
        if let Some(missing) = self.missing_alone() {
            return missing;
        }
        let wanted = self.cluster();
        let is_new = matches!(self.folder.bond, Bond::None | Bond::Begins(_)) && meta.cluster().is_none();
        match (self.seek.cluster(), wanted) {
            (Some((wanted, Some(found))), None) => return Missing::OtherCluster { found, wanted },
            (Some((found, _)), Some(wanted)) if !self.seek.knows(Some(wanted)) => {
                return Missing::OtherCluster { found, wanted };
            }
            (None, _) if is_new => {
                return Missing::Cluster(self.obstacle(meta, now).unwrap_or(Obstacle::Committing));
            }
            _ => {}
        }
        if self.leader().is_none() {
            return Missing::Leader { answering: self.seek.answering(wanted) };
        }
        match self.unlinked(meta) {
            None => Missing::Leader { answering: self.seek.answering(wanted) },
            Some(to) if !to.is_empty() => Missing::Links { to },
            Some(_) => Missing::Admission { refused: self.refused.clone() },
        }
    }

    /// How things stand.
    pub fn status(&self, meta: &Meta, now: Moment) -> Status {
        let leader = self.leader();
        let is_linked = |member: Member| member == self.me.member || self.links.is_linked(member);
        let members = meta.nodes().map(|(id, node)| MemberStatus {
            id,
            incarnation: node.member.incarnation,
            name: node.name.clone(),
            state: node.state(),
            is_linked: is_linked(node.member),
        });
        Status {
            member: self.me.member,
            cluster: meta.cluster(),
            leader: leader.map(|(_, id)| id),
            term: leader.map_or(self.role.term, |(term, _)| term),
            is_granting: self.leases.is_granting(),
            view: meta.view().number,
            followed: self.followed,
            applied: meta.applied(),
            level: meta.level(),
            members: members.collect(),
            lease_left: self.until.map_or(Duration::ZERO, |until| until.since(now)),
            serves: self.serves,
            counts: Counts { asked_again: self.asks.asked_again, ..self.counts },
        }
    }
}
