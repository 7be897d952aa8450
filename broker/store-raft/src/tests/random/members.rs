//! Who belongs to the cluster, as the layer above engines would see to it: the first node begins it, others join, each
//! life is told, nodes drain, and one that has lost its folder comes back as another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fulmar_meta::placement::plan;
use fulmar_meta::{ClusterId, Command, LEVEL, Life, Member, Meta, Purpose, Reply, Start};
use fulmar_store::{Node, ShardId};

use super::Violation;
use super::nodes::{Kind, Nodes, below, pick};
use crate::hosted::Hosted;
use crate::meta_group::META;
use crate::tests::fixture;
use crate::{GroupStatus, MetaEvent};

const CLUSTER: ClusterId = ClusterId(0xc1);

/// What is known of the cluster beside the engines.
pub(super) struct Members {
    last_id: u64,
    /// Nodes that are no more.
    gone: BTreeSet<u64>,
    /// Of each node: what a leader had applied when its folder was made.
    made_at: Vec<u64>,
    /// The last entry of group 0 that each node told.
    applied: Vec<u64>,
    /// What was committed, by index.
    committed: BTreeMap<u64, Vec<(Command, Reply)>>,
    reached: Reached,
}

/// How often something happened that mistakes hide behind.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reached {
    /// Folders were lost.
    pub(super) lost: u64,
    /// Snapshots of other nodes took the place of what was there.
    pub(super) received: u64,
    /// Replicas went.
    pub(super) left: u64,
    /// Bytes of bodies were read from files.
    pub(super) read: u64,
    /// Portions of files were emptied.
    pub(super) compacted: u64,
}

impl Members {
    pub(super) fn new(count: usize) -> Self {
        Self {
            last_id: fixture::NODE + 100,
            gone: BTreeSet::new(),
            made_at: vec![1; count],
            applied: vec![0; count],
            committed: BTreeMap::new(),
            reached: Reached::default(),
        }
    }

    pub(super) fn is_gone(&self, node: u64) -> bool {
        self.gone.contains(&node)
    }

    pub(super) fn stopped(&mut self, at: usize) {
        self.applied[at] = 0;
    }

    /// Every entry once and in order, and the same on all nodes.
    pub(super) fn hear(&mut self, at: usize, event: MetaEvent) -> Result<(), Violation> {
        let MetaEvent::Applied { index, commands, .. } = event else { return Ok(()) };
        let before = std::mem::replace(&mut self.applied[at], index);
        if index <= before {
            return Err(format!("node {at} tells entry {index} of group 0 after {before}"));
        }
        // A snapshot stands for all before it, and has no commands.
        if !commands.is_empty() {
            let known = self.committed.entry(index).or_insert_with(|| commands.clone());
            if *known != commands {
                return Err(format!("entry {index} of group 0 is {commands:?} at node {at}, and {known:?} elsewhere"));
            }
        }
        Ok(())
    }
}

fn member(Node { id, incarnation }: Node) -> Member {
    Member { id, incarnation }
}

fn start(at: usize, node: Node) -> Start {
    Start {
        member: member(node),
        nonce: node.id.wrapping_mul(31) + node.incarnation,
        name: format!("broker-{at}").into(),
        addresses: Vec::new(),
        zone: "".into(),
        level: LEVEL,
    }
}

impl Nodes {
    /// Before a node stops.
    pub(super) fn note_reached(&mut self, at: usize) {
        let Some(engine) = &self.nodes[at].engine else { return };
        let counts = engine.counts();
        self.members.reached.received += counts.snapshots_received;
        self.members.reached.left += counts.replicas_left;
        self.members.reached.read += counts.body_bytes_read;
        self.members.reached.compacted += counts.bodies_compacted;
    }

    pub(super) fn reached(&mut self) -> Reached {
        (0..self.nodes.len()).for_each(|at| self.note_reached(at));
        self.members.reached
    }

    /// The node that leads group 0.
    fn leader(&self) -> Option<usize> {
        let leads = |at: &usize| self.group(*at, META).is_some_and(|group| group.is_serving());
        (0..self.nodes.len()).filter(leads).max_by_key(|at| self.group(*at, META).map_or(0, |group| group.term()))
    }

    fn group(&self, at: usize, group: u16) -> Option<&Hosted> {
        self.nodes[at].engine.as_ref()?.hosted(group)
    }

    fn meta(&self, at: usize) -> Option<&Meta> {
        self.nodes[at].engine.as_ref()?.meta()
    }

    /// Whether the map of a node gives it a shard.
    pub(super) fn has_shard(&self, at: usize, shard: ShardId) -> bool {
        let Some(meta) = self.meta(at) else { return true };
        let id = self.nodes[at].settings.node;
        meta.shard(fulmar_meta::ShardId(shard.0 + 1)).is_some_and(|replicas| replicas.has(id))
    }

    /// What the leader of group 0 would propose now.
    pub(super) fn play_members(&mut self) -> Result<(), Violation> {
        let Some(leader) = self.leader() else {
            let has_begun = !self.members.committed.is_empty();
            let (now, first) = (self.now, &mut self.nodes[0]);
            if let Some(engine) = first.engine.as_mut().filter(|_| !has_begun) {
                // It may have begun already.
                let _ = engine.begin_cluster(now);
            }
            return Ok(());
        };
        let commands = self.commands(leader);
        let (now, time) = (self.now, self.time);
        let Some(engine) = &mut self.nodes[leader].engine else { return Ok(()) };
        let term = engine.hosted(META).map_or(0, |group| group.term());
        for command in commands {
            // What is not taken is found again.
            let _ = engine.propose_meta(term, command, now, time);
        }
        Ok(())
    }

    fn commands(&self, leader: usize) -> Vec<Command> {
        let (Some(meta), Some(group)) = (self.meta(leader), self.group(leader, META)) else { return Vec::new() };
        if meta.applied() < group.last().index {
            return Vec::new();
        }
        let Some(me) = self.nodes[leader].engine.as_ref().map(|engine| engine.node()) else { return Vec::new() };
        if meta.cluster().is_none() {
            let shards = self.shards.get();
            return vec![Command::Bootstrap { cluster: CLUSTER, shards, first: start(leader, me) }];
        }
        let term = group.term();
        if meta.leader().term != term {
            return vec![Command::Lead { leader: me.id, term }];
        }
        let mut commands = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let named = meta.nodes().find(|(_, known)| *known.name == format!("broker-{at}"));
            let life = node.engine.as_ref().map(|engine| engine.node());
            match (named, life) {
                (Some((_, known)), life)
                    if meta.view().contains(known.member) && life.map(member) != Some(known.member) =>
                {
                    commands.push(Command::Remove { member: known.member, term });
                }
                (Some((_, known)), Some(life)) if known.member == member(life) => {
                    if let Life::Joining { confirmed } = &known.life {
                        let others = meta.view().members().filter(|by| by.id != life.id && !confirmed.contains(by));
                        commands.extend(others.map(|by| Command::Confirm { member: known.member, by }));
                    }
                    if self.is_calm && known.drain.is_some() {
                        commands.push(Command::CancelDrain { node: life.id });
                    }
                }
                (Some((id, _)), Some(life)) if id == life.id => {
                    commands.push(Command::Boot { cluster: CLUSTER, start: start(at, life) });
                }
                (_, Some(life)) => {
                    let made_at = self.members.made_at[at];
                    commands.push(Command::Join { cluster: CLUSTER, made_at, start: start(at, life) });
                }
                (_, None) => {}
            }
        }
        commands
    }

    /// A node is drained, or not any more.
    pub(super) fn drain_some(&mut self) -> Result<(), Violation> {
        let at = self.any();
        let node = self.nodes[at].settings.node;
        let Some(leader) = self.leader() else { return Ok(()) };
        let Some(meta) = self.meta(leader) else { return Ok(()) };
        let is_drained = meta.nodes().find(|(_, node)| node.drain.is_some()).map(|(id, _)| id);
        let purpose = pick(&mut self.random, &[Purpose::Leave, Purpose::Restart]);
        let command = match is_drained {
            Some(node) => Command::CancelDrain { node },
            None => Command::Drain { node, purpose },
        };
        if is_drained.is_some() && below(&mut self.random, 4) > 0 {
            return Ok(());
        }
        let (now, time) = (self.now, self.time);
        let Some(engine) = &mut self.nodes[leader].engine else { return Ok(()) };
        let term = engine.hosted(META).map_or(0, |group| group.term());
        let _ = engine.propose_meta(term, command, now, time);
        Ok(())
    }

    /// A node loses its folder, if the others can do without it; as often as it can be, after others have moved in.
    pub(super) fn lose_some(&mut self, at: usize) -> Result<(), Violation> {
        if !self.is_calm {
            self.wait_for_members(Duration::from_secs(5))?;
        }
        if self.is_calm || self.converged().is_err() {
            return Ok(());
        }
        let Some(applied) = self.leader().and_then(|leader| self.meta(leader)).map(Meta::applied) else {
            return Ok(());
        };
        self.members.last_id += 1;
        self.members.reached.lost += 1;
        self.members.made_at[at] = applied;
        let (id, before) = (self.members.last_id, self.nodes[at].settings.node);
        self.members.gone.insert(before);
        self.lose(at, id)
    }

    /// Whether every group is where it should be, and every node has everything. Says what is not so.
    pub(super) fn converged(&self) -> Result<(), Violation> {
        if self.kind == Kind::Fixed {
            let applied = |at: usize, number| self.group(at, number).map(|group| group.applied);
            let is_same = |number| (1..self.nodes.len()).all(|at| applied(at, number) == applied(0, number));
            let lagging = (1..=self.shards.get()).find(|number| !is_same(*number));
            return lagging.map_or(Ok(()), |number| Err(format!("group {number} is not the same everywhere")));
        }
        let leader = self.leader().ok_or("nobody leads group 0")?;
        let meta = self.meta(leader).ok_or("there is no cluster")?;
        let steps = plan(&meta.places(), meta.shards());
        if !steps.is_empty() || meta.shards().is_empty() {
            return Err(format!("the map is to be changed: {steps:?}"));
        }
        let mut led: BTreeMap<u64, usize> = meta.nodes().map(|(id, _)| (id, 0)).collect();
        for at in 0..self.nodes.len() {
            let Some(engine) = &self.nodes[at].engine else { return Err(format!("node {at} does not run")) };
            let known = engine.meta().ok_or("there is no cluster")?;
            let is_up = known.node(engine.node().id).is_some_and(|it| it.life == Life::Up);
            if known.applied() != meta.applied() || !is_up {
                let (known, life) = (known.applied(), known.node(engine.node().id));
                return Err(format!("node {at} knows {known} of {}: {life:?}", meta.applied()));
            }
            if !engine.is_caught_up(self.now) {
                return Err(format!("node {at} is not caught up"));
            }
        }
        for (number, replicas) in (1..).zip(meta.shards()) {
            let (_, status) = self.serving_status(number).ok_or_else(|| format!("nobody leads group {number}"))?;
            let is_settled = status.voters == replicas.voters() && status.learners.is_empty();
            let lags = status.lags.iter().any(|(_, lag)| *lag > 0);
            if !is_settled || replicas.moving().is_some() || lags || status.leader != Some(replicas.leader()) {
                return Err(format!("group {number} is {status:?}, wanted {replicas:?}"));
            }
            if status.voters.len() != meta.factor() {
                return Err(format!("group {number} has {:?}, wanted {} voters", status.voters, meta.factor()));
            }
            *led.entry(replicas.leader()).or_default() += 1;
            let keepers = (0..self.nodes.len()).filter(|at| self.group(*at, number).is_some());
            let keepers: BTreeSet<u64> = keepers.map(|at| self.nodes[at].settings.node).collect();
            if !keepers.iter().eq(replicas.voters()) {
                return Err(format!("group {number} is on {keepers:x?}, wanted {:x?}", replicas.voters()));
            }
        }
        let (least, most) = (led.values().min(), led.values().max());
        if most > least.map(|least| least + 1).as_ref() {
            return Err(format!("leaders are not spread: {led:x?}"));
        }
        let (_, status) = self.serving_status(META).ok_or("nobody leads group 0")?;
        let wanted = if self.nodes.len() < 5 { 3 } else { 5 };
        let all = status.voters.len() + status.learners.len();
        if status.voters.len() != wanted || all != self.nodes.len() || status.lags.iter().any(|(_, lag)| *lag > 0) {
            return Err(format!("group 0 is {status:?}"));
        }
        Ok(())
    }

    /// What there is, for whoever looks for a mistake.
    pub(super) fn describe(&self) -> String {
        let mut text = format!("converged: {:?}\n", self.converged());
        for (at, node) in self.nodes.iter().enumerate() {
            let Some(engine) = &node.engine else { continue };
            let statuses: Vec<GroupStatus> = engine.group_statuses().collect();
            text += &format!("node {at} ({:x}), {:?}: {statuses:#?}\n", node.settings.node, engine.state());
            text += &format!("{:?} {:?}\n", engine.leaving, engine.left);
        }
        text
    }

    fn serving_status(&self, number: u16) -> Option<(usize, GroupStatus)> {
        let statuses = self.nodes.iter().enumerate().filter_map(|(at, node)| {
            let status = node.engine.as_ref()?.group_statuses().find(|it| it.group == number && it.serves)?;
            Some((at, status))
        });
        statuses.max_by_key(|(_, status)| status.term)
    }

    /// For so long nothing is done but what members do.
    pub(super) fn wait_for_members(&mut self, most: Duration) -> Result<(), Violation> {
        let until = self.now + most;
        while self.now < until && self.converged().is_err() {
            self.pass(Duration::from_millis(5));
            self.turn()?;
        }
        Ok(())
    }
}
