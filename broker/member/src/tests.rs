//! What a node does about each event, by topic. Whole outputs are compared, so that what should not happen is tested
//! too.

mod alone;
mod begin;
mod bytes;
mod join;
mod leader;
mod serve;

use std::time::Duration;

use fulmar_meta::*;

use crate::{Settings, *};

pub(crate) const CLUSTER: ClusterId = ClusterId(0xc1);

pub(crate) fn member(id: NodeId, incarnation: Incarnation) -> Member {
    Member { id, incarnation }
}

pub(crate) fn at(millis: u64) -> Moment {
    Moment(Duration::from_millis(millis))
}

/// A node as it starts, with the nonce of [`start`].
pub(crate) fn me(id: NodeId, incarnation: Incarnation) -> Me {
    let Start { member, nonce, name, addresses, zone, level } = start(id, incarnation);
    Me { member, nonce, name, addresses, zone, level, cluster_id: None, begins: None, alone: None, has_data: false }
}

/// What a node says of itself.
pub(crate) fn start(id: NodeId, incarnation: Incarnation) -> Start {
    Start {
        member: member(id, incarnation),
        nonce: 1000 * id + incarnation,
        name: format!("broker-{id}").into(),
        addresses: vec![format!("broker-{id}.fulmar:7800").into()],
        zone: "".into(),
        level: LEVEL,
    }
}

/// A state of the cluster, to which commands are committed one by one.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) meta: Meta,
}

impl Cluster {
    /// Node 1 has begun it.
    pub(crate) fn new() -> Self {
        let mut cluster = Self { meta: Meta::new() };
        cluster.commit(&Command::Bootstrap { cluster: CLUSTER, shards: 12, first: start(1, 1) });
        cluster
    }

    pub(crate) fn commit(&mut self, command: &Command) -> Reply {
        let entry = Entry { time: 0, commands: vec![command.clone()] };
        self.meta.apply(self.meta.applied() + 1, &entry).replies.remove(0)
    }

    pub(crate) fn join(&mut self, id: NodeId) {
        let command = Command::Join { cluster: CLUSTER, made_at: self.meta.applied(), start: start(id, 1) };
        assert_eq!(self.commit(&command), Reply::Done);
    }

    fn confirm(&mut self, id: NodeId, by: NodeId) {
        assert_eq!(self.commit(&Command::Confirm { member: member(id, 1), by: member(by, 1) }), Reply::Done);
    }
}

/// A node, its copy of the state and its clock.
struct Node {
    membership: Membership,
    cluster: Cluster,
    now: u64,
}

impl Node {
    /// One that starts, and what it does first.
    fn start(me: Me, bond: Bond, cluster: Cluster) -> (Self, Vec<Output>) {
        Self::start_with(Settings::default(), me, bond, cluster)
    }

    fn start_with(settings: Settings, me: Me, bond: Bond, cluster: Cluster) -> (Self, Vec<Output>) {
        let mut out = Vec::new();
        let folder = Folder { node: me.member.id, bond };
        let membership = Membership::new(settings, me, folder, &cluster.meta, at(0), &mut out);
        (Self { membership, cluster, now: 0 }, out)
    }

    fn does(&mut self, event: impl FnOnce(&mut Membership, &Meta, Moment, &mut Vec<Output>)) -> Vec<Output> {
        let mut out = Vec::new();
        event(&mut self.membership, &self.cluster.meta, at(self.now), &mut out);
        out
    }

    fn at(&mut self, millis: u64) -> Vec<Output> {
        self.now = millis;
        self.does(|node, meta, now, out| node.tick(meta, now, out))
    }

    fn role(&mut self, term: Term, leader: Option<NodeId>, leads: bool) -> Vec<Output> {
        self.does(|node, meta, now, out| node.role(term, leader, leads, meta, now, out))
    }

    /// Commits a command and has it applied.
    fn commit(&mut self, command: &Command) -> Vec<Output> {
        let reply = self.cluster.commit(command);
        self.does(|node, meta, now, out| node.applied(&[(command.clone(), reply)], meta, now, out))
    }

    fn receive(&mut self, from: Member, message: MemberMessage) -> Vec<Output> {
        self.does(|node, meta, now, out| node.received(from, message, meta, now, out))
    }

    fn hear(&mut self, from: Member, state: NodeState) -> Vec<Output> {
        self.receive(from, MemberMessage::State(state))
    }

    /// There are links with these lives, and all is in step.
    fn link(&mut self, members: &[Member]) -> Vec<Output> {
        let links: Vec<Link> =
            members.iter().map(|member| Link { member: *member, is_live: true, is_level: true, hears: true }).collect();
        self.does(|node, meta, now, out| node.links(&links, meta, now, out))
    }

    fn find(&mut self, found: &[Found], is_settled: bool) -> Vec<Output> {
        self.does(|node, meta, now, out| node.discovered(found, is_settled, meta, now, out))
    }

    fn follow(&mut self, view: u64) -> Vec<Output> {
        self.does(|node, meta, now, out| node.followed(view, meta, now, out))
    }

    fn feed(&mut self, view: u64) -> Vec<Output> {
        self.does(|node, meta, now, out| node.fed(view, meta, now, out))
    }

    /// What it lacks to be ready, in words.
    fn lacks(&self) -> Vec<String> {
        let missing = self.membership.missing(&self.cluster.meta, at(self.now));
        missing.iter().map(|it| it.text(&name)).collect()
    }
}

/// What nodes are called.
#[expect(clippy::unnecessary_wraps, reason = "it is what is asked for")]
fn name(node: NodeId) -> Option<String> {
    Some(format!("broker-{node}"))
}

fn found(address: &str, node: Option<Member>) -> Found {
    Found { address: address.into(), node }
}

fn send(to: NodeId, message: MemberMessage) -> Output {
    Output::Send { to, message }
}

fn propose(term: Term, command: Command) -> Output {
    Output::Propose { term, command }
}

fn save(node: NodeId, bond: Bond) -> Output {
    Output::Save(Folder { node, bond })
}

/// What the leader, node 1, says of itself.
fn leader_state(cluster: &Cluster) -> NodeState {
    NodeState {
        cluster: Some(CLUSTER),
        may_begin: false,
        leader: Some((1, 1)),
        applied: cluster.meta.applied(),
        view: cluster.meta.view().members().collect(),
    }
}

/// A state before any cluster.
fn nothing() -> Cluster {
    Cluster { meta: Meta::new() }
}
