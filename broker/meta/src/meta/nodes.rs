//! Nodes: how one joins, lives, drains and leaves.

use std::collections::BTreeSet;

use super::{Cluster, Meta};
use crate::command::{Purpose, Start};
use crate::limits::{Bound, NODES_MAX};
use crate::names::{ClusterId, Index, Level, Member, NodeId, Term};
use crate::reply::{Refusal, Reply};
use crate::sabotage::sabotaged;
use crate::view::View;

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its last life.
    pub member: Member,
    /// Of that life; see [`Start::nonce`].
    pub nonce: u64,
    /// Its pod.
    pub name: Box<str>,
    /// Where it is reached.
    pub addresses: Vec<Box<str>>,
    /// Where it runs; empty if nobody said.
    pub zone: Box<str>,
    /// What its build knows.
    pub level: Level,
    /// Whether it lives.
    pub life: Life,
    /// Whether it gives away what it has, and what for.
    pub drain: Option<Purpose>,
}

/// Whether a node lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// Its last life is over, and it keeps what it has on disk.
    Down,
    /// Others wait for it, but it may not acknowledge yet.
    Joining {
        /// Who waits for it.
        confirmed: BTreeSet<Member>,
    },
    /// It may acknowledge while its lease holds.
    Up,
}

/// What a status says of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It lives, but does not take part yet.
    Joining,
    /// It takes part.
    Up,
    /// It lives and gives away what it has.
    Draining,
    /// It does not live at the moment.
    Down,
    /// It never comes back.
    Gone,
}

impl Node {
    /// What a status says of it.
    pub fn state(&self) -> State {
        match (&self.life, self.drain) {
            (Life::Down, _) => State::Down,
            (_, Some(_)) => State::Draining,
            (Life::Joining { .. }, None) => State::Joining,
            (Life::Up, None) => State::Up,
        }
    }

    /// A joiner for which all others of the view wait is up.
    pub(super) fn admit(&mut self, view: &View) {
        let Life::Joining { confirmed } = &mut self.life else { return };
        confirmed.retain(|by| view.contains(*by));
        let others = view.members().filter(|other| other.id != self.member.id);
        if others.into_iter().all(|other| confirmed.contains(&other)) {
            self.life = Life::Up;
        }
    }
}

impl Meta {
    /// What a status says of a node; nothing of one that nobody remembers.
    pub fn state(&self, node: NodeId) -> Option<State> {
        let gone = self.tombstone(node).map(|_| State::Gone);
        gone.or_else(|| self.node(node).map(Node::state))
    }

    pub(super) fn join(&mut self, cluster: ClusterId, made_at: Index, start: &Start) -> Result<Reply, Refusal> {
        let index = self.applied;
        let state = self.cluster_mut()?;
        state.check_id(cluster)?;
        Bound::check_start(start)?;
        let Member { id: node, .. } = start.member;
        if let Some(known) = state.nodes.get(&node) {
            if (known.member, known.nonce) == (start.member, start.nonce) && state.view.contains(start.member) {
                return Ok(Reply::DoneBefore);
            }
            return Err(Refusal::Known { node, recorded: known.member.incarnation });
        }
        state.check_not_retired(node)?;
        // Whoever was retired and is not remembered by name made its folder before that.
        let after = state.forgotten;
        if made_at <= after || made_at >= index {
            return Err(Refusal::OldFolder { found: made_at, after, before: index });
        }
        state.check_level(start.level)?;
        let replaced = state.nodes.values().find(|other| other.name == start.name).map(|other| other.member);
        if let Some(member) = replaced.filter(|member| state.view.contains(*member)) {
            return Err(Refusal::NameTaken { name: start.name.clone(), member });
        }
        Bound::check("nodes", state.nodes.len() + 1 - usize::from(replaced.is_some()), NODES_MAX)?;
        if let Some(old) = replaced {
            state.retire(old.id, index, Some(node));
        }
        state.begin(start, None);
        Ok(Reply::Done)
    }

    pub(super) fn boot(&mut self, cluster: ClusterId, start: &Start) -> Result<Reply, Refusal> {
        let rejoins_old = sabotaged!(self, OldFolderRejoins);
        let state = self.cluster_mut()?;
        state.check_id(cluster)?;
        Bound::check_start(start)?;
        let Member { id: node, incarnation: found } = start.member;
        state.check_not_retired(node)?;
        let known = state.nodes.get(&node).ok_or(Refusal::Unknown { node })?;
        if known.name != start.name {
            let (found, wanted) = (start.name.clone(), known.name.clone());
            return Err(Refusal::OtherName { node, found, wanted });
        }
        let recorded = known.member.incarnation;
        if (found, start.nonce) == (recorded, known.nonce) {
            let is_live = state.view.contains(start.member);
            return if is_live { Ok(Reply::DoneBefore) } else { Err(Refusal::Over { member: start.member }) };
        }
        if found <= recorded && !rejoins_old {
            return Err(Refusal::Restored { found, recorded });
        }
        if state.view.contains(known.member) {
            return Err(Refusal::StillLive { member: known.member });
        }
        state.check_level(start.level)?;
        let drain = known.drain.filter(|purpose| *purpose == Purpose::Leave);
        state.begin(start, drain);
        Ok(Reply::Done)
    }

    pub(super) fn confirm(&mut self, member: Member, by: Member) -> Result<Reply, Refusal> {
        let state = self.cluster_mut()?;
        state.check_live(member)?;
        state.check_live(by)?;
        let node = state.nodes.get_mut(&member.id).expect("who is live is known");
        let Life::Joining { confirmed } = &mut node.life else { return Ok(Reply::DoneBefore) };
        if !confirmed.insert(by) {
            return Ok(Reply::DoneBefore);
        }
        node.admit(&state.view);
        Ok(Reply::Done)
    }

    pub(super) fn remove(&mut self, member: Member, term: Term) -> Result<Reply, Refusal> {
        let any_term = sabotaged!(self, RemovalOfOldTerm);
        let state = self.cluster_mut()?;
        let wanted = state.leader.term;
        if term != wanted && !any_term {
            return Err(Refusal::NotLeading { found: term, wanted });
        }
        state.check_live(member)?;
        state.nodes.get_mut(&member.id).expect("who is live is known").life = Life::Down;
        state.view.remove(member);
        state.admit_confirmed();
        Ok(Reply::Done)
    }

    pub(super) fn describe(&mut self, member: Member, addresses: &[Box<str>], zone: &str) -> Result<Reply, Refusal> {
        let state = self.cluster_mut()?;
        Bound::check_place(addresses, zone)?;
        state.check_live(member)?;
        let node = state.nodes.get_mut(&member.id).expect("who is live is known");
        if node.addresses == addresses && &*node.zone == zone {
            return Ok(Reply::DoneBefore);
        }
        (node.addresses, node.zone) = (addresses.to_vec(), zone.into());
        Ok(Reply::Done)
    }

    pub(super) fn drain(&mut self, node: NodeId, purpose: Purpose) -> Result<Reply, Refusal> {
        let state = self.cluster_mut()?;
        state.check_known(node)?;
        let stays = |(id, other): (&NodeId, &Node)| *id != node && other.drain != Some(Purpose::Leave);
        if purpose == Purpose::Leave && !state.nodes.iter().any(stays) {
            return Err(Refusal::LastNode { node, name: state.nodes[&node].name.clone() });
        }
        Ok(state.set_drain(node, Some(purpose)))
    }

    pub(super) fn cancel_drain(&mut self, node: NodeId) -> Result<Reply, Refusal> {
        let state = self.cluster_mut()?;
        state.check_known(node)?;
        Ok(state.set_drain(node, None))
    }

    pub(super) fn gone(&mut self, node: NodeId) -> Result<Reply, Refusal> {
        let index = self.applied;
        let state = self.cluster_mut()?;
        if state.tombstones.contains_key(&node) {
            return Ok(Reply::DoneBefore);
        }
        state.check_known(node)?;
        let known = &state.nodes[&node];
        if known.drain != Some(Purpose::Leave) {
            return Err(Refusal::NotLeaving { node });
        }
        let replicas = state.shards.iter().filter(|replicas| replicas.has(node)).count();
        if replicas > 0 {
            return Err(Refusal::StillKeeps { node, replicas });
        }
        if state.view.contains(known.member) {
            return Err(Refusal::StillLive { member: known.member });
        }
        state.retire(node, index, None);
        state.raise_level();
        Ok(Reply::Done)
    }
}

impl Cluster {
    fn check_not_retired(&self, node: NodeId) -> Result<(), Refusal> {
        if self.tombstones.contains_key(&node) { Err(Refusal::Retired { node }) } else { Ok(()) }
    }

    fn check_known(&self, node: NodeId) -> Result<(), Refusal> {
        self.check_not_retired(node)?;
        if self.nodes.contains_key(&node) { Ok(()) } else { Err(Refusal::Unknown { node }) }
    }

    fn check_live(&self, member: Member) -> Result<(), Refusal> {
        let view = self.view.number;
        if self.view.contains(member) { Ok(()) } else { Err(Refusal::NotInView { member, view }) }
    }

    fn check_level(&self, found: Level) -> Result<(), Refusal> {
        if found < self.level { Err(Refusal::Level { found, wanted: self.level }) } else { Ok(()) }
    }

    fn set_drain(&mut self, node: NodeId, drain: Option<Purpose>) -> Reply {
        let before = &mut self.nodes.get_mut(&node).expect("it was just looked up").drain;
        let is_new = std::mem::replace(before, drain) != drain;
        if is_new { Reply::Done } else { Reply::DoneBefore }
    }
}
