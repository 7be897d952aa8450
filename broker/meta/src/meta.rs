//! The state of the cluster, and how an entry changes it.
//!
//! `nodes.rs` has the commands about nodes, `shards.rs` those about replicas; what they share is here.

mod nodes;
mod shards;

use std::collections::{BTreeMap, BTreeSet};

pub use nodes::{Life, Node, State};
pub use shards::{Move, Replicas, Stage};

use crate::command::{Command, Entry, Purpose, Start};
use crate::limits::{Bound, SHARDS_MAX, TOMBSTONES_MAX};
use crate::names::{ClusterId, Index, Level, NodeId, ShardId, Term, Time};
use crate::placement::Place;
use crate::reply::{Applied, Refusal, Reply};
use crate::view::View;

/// A shard has as many voters as there are nodes, but not more than this.
pub const VOTERS_MAX: usize = 3;

/// From this feature level on names of retired nodes are remembered.
pub(crate) const NAMES_LEVEL: Level = 2;

/// The state of the cluster: see the [crate].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// The last entry.
    pub(crate) applied: Index,
    pub(crate) time: Time,
    /// Once somebody has bootstrapped it.
    pub(crate) cluster: Option<Cluster>,
    #[cfg(any(test, feature = "sabotage"))]
    pub(crate) sabotage: Option<crate::sabotage::Sabotage>,
}

/// What there is from the first command on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cluster {
    pub(crate) id: ClusterId,
    /// The node that it began with.
    pub(crate) first: NodeId,
    pub(crate) level: Level,
    pub(crate) leader: Leader,
    pub(crate) view: View,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) tombstones: BTreeMap<NodeId, Tombstone>,
    /// What some of these were called.
    pub(crate) retired_names: BTreeMap<NodeId, Box<str>>,
    /// Nobody joins whose folder may be older than this: a retired node that is not remembered by name.
    pub(crate) forgotten: Index,
    /// The first is shard 1.
    pub(crate) shards: Vec<Replicas>,
}

/// Who leads the group, as it said itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leader {
    /// Who.
    pub node: NodeId,
    /// In which term; 0 if nobody has led yet.
    pub term: Term,
}

/// A node that never comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstone {
    /// The entry that retired it.
    pub index: Index,
    /// The node that came in its place, if one did.
    pub successor: Option<NodeId>,
}

impl Meta {
    /// From now on this state machine makes a mistake, for simulations.
    #[cfg(feature = "sabotage")]
    pub fn sabotage(&mut self, what: Option<crate::sabotage::Sabotage>) {
        self.sabotage = what;
    }

    /// Before the first entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies a committed entry. One that was applied before changes nothing and has no replies.
    pub fn apply(&mut self, index: Index, entry: &Entry) -> Applied {
        if index <= self.applied {
            return Applied { index: self.applied, ..Applied::default() };
        }
        let before = self.view().number;
        self.applied = index;
        self.time = self.time.max(entry.time);
        let replies = entry.commands.iter().map(|command| self.apply_command(command)).collect();
        Applied { index, replies, is_new_view: self.view().number != before }
    }

    /// What would become of a command if it were committed next. A leader need not propose what is refused with
    /// [`Advice::Retry`](crate::Advice::Retry); other refusals it should commit, since its own state may be behind.
    pub fn foresee(&self, command: &Command) -> Reply {
        let mut next = self.clone();
        next.applied += 1;
        next.apply_command(command)
    }

    fn apply_command(&mut self, command: &Command) -> Reply {
        let reply = match command {
            Command::Bootstrap { cluster, shards, first } => self.bootstrap(*cluster, *shards, first),
            Command::Lead { leader, term } => self.lead(*leader, *term),
            Command::Join { cluster, made_at, start } => self.join(*cluster, *made_at, start),
            Command::Boot { cluster, start } => self.boot(*cluster, start),
            Command::Confirm { member, by } => self.confirm(*member, *by),
            Command::Remove { member, term } => self.remove(*member, *term),
            Command::Describe { member, addresses, zone } => self.describe(*member, addresses, zone),
            Command::Drain { node, purpose } => self.drain(*node, *purpose),
            Command::CancelDrain { node } => self.cancel_drain(*node),
            Command::Gone { node } => self.gone(*node),
            Command::MoveReplica { shard, step } => self.move_replica(*shard, *step),
        };
        if let Some(cluster) = self.cluster.as_mut().filter(|_| reply.is_ok()) {
            cluster.end_moves();
        }
        reply.unwrap_or_else(Reply::Refused)
    }

    fn bootstrap(&mut self, id: ClusterId, shards: u16, first: &Start) -> Result<Reply, Refusal> {
        if let Some(cluster) = &self.cluster {
            cluster.check_id(id)?;
            let wanted = u16::try_from(cluster.shards.len()).expect("it was one once");
            if shards != wanted {
                return Err(Refusal::Shards { found: shards, wanted });
            }
            let found = first.member.id;
            return if found == cluster.first { Ok(Reply::DoneBefore) } else { Err(Refusal::OtherFirst { found }) };
        }
        if shards == 0 || shards > SHARDS_MAX {
            return Err(Refusal::Shards { found: shards, wanted: if shards == 0 { 1 } else { SHARDS_MAX } });
        }
        Bound::check_start(first)?;
        let node = first.member.id;
        let mut cluster = Cluster {
            id,
            first: node,
            level: first.level,
            leader: Leader::default(),
            view: View::default(),
            nodes: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            retired_names: BTreeMap::new(),
            forgotten: 0,
            shards: (0..shards).map(|_| Replicas::alone(node)).collect(),
        };
        cluster.begin(first, None);
        self.cluster = Some(cluster);
        Ok(Reply::Done)
    }

    fn lead(&mut self, node: NodeId, term: Term) -> Result<Reply, Refusal> {
        let cluster = self.cluster_mut()?;
        let wanted = cluster.leader.term;
        if term < wanted || (term == wanted && node != cluster.leader.node) {
            return Err(Refusal::NotLeading { found: term, wanted });
        }
        let leader = Leader { node, term };
        let reply = if cluster.leader == leader { Reply::DoneBefore } else { Reply::Done };
        cluster.leader = leader;
        Ok(reply)
    }

    fn cluster_mut(&mut self) -> Result<&mut Cluster, Refusal> {
        self.cluster.as_mut().ok_or(Refusal::NoCluster)
    }
}

/// What can be read.
impl Meta {
    /// The last entry that was applied.
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// The time of the last entry.
    pub fn time(&self) -> Time {
        self.time
    }

    /// The cluster's name, once it has begun.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.cluster.as_ref().map(|cluster| cluster.id)
    }

    /// What all nodes know, and so what may be used. Never goes down.
    pub fn level(&self) -> Level {
        self.cluster.as_ref().map_or(0, |cluster| cluster.level)
    }

    /// Who leads the group, as it said itself.
    pub fn leader(&self) -> Leader {
        self.cluster.as_ref().map_or_else(Leader::default, |cluster| cluster.leader)
    }

    /// Who is live.
    pub fn view(&self) -> &View {
        static NOBODY: View = View::EMPTY;
        self.cluster.as_ref().map_or(&NOBODY, |cluster| &cluster.view)
    }

    /// All nodes of the cluster, by id, those that are down too.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.cluster.iter().flat_map(|cluster| cluster.nodes.iter().map(|(id, node)| (*id, node)))
    }

    /// A node of the cluster.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.cluster.as_ref()?.nodes.get(&id)
    }

    /// A retired node.
    pub fn tombstone(&self, id: NodeId) -> Option<Tombstone> {
        self.cluster.as_ref()?.tombstones.get(&id).copied()
    }

    /// All retired nodes that are remembered by name.
    pub fn retired(&self) -> impl Iterator<Item = (NodeId, Tombstone)> + '_ {
        self.cluster.iter().flat_map(|cluster| cluster.tombstones.iter().map(|(id, it)| (*id, *it)))
    }

    /// What a retired node was called, if it was retired since all nodes know of that.
    pub fn retired_name(&self, id: NodeId) -> Option<&str> {
        self.cluster.as_ref()?.retired_names.get(&id).map(|name| &**name)
    }

    /// How many retired nodes are remembered by name.
    pub fn tombstones(&self) -> usize {
        self.cluster.as_ref().map_or(0, |cluster| cluster.tombstones.len())
    }

    /// Who keeps what, from shard 1 on.
    pub fn shards(&self) -> &[Replicas] {
        self.cluster.as_ref().map_or(&[], |cluster| &cluster.shards)
    }

    /// Who keeps a shard.
    pub fn shard(&self, shard: ShardId) -> Option<&Replicas> {
        self.shards().get(usize::from(shard.0).checked_sub(1)?)
    }

    /// How many voters a shard has when nothing is under way.
    pub fn factor(&self) -> usize {
        self.cluster.as_ref().map_or(0, Cluster::factor)
    }

    /// The nodes as [`plan`](crate::placement::plan) wants them.
    pub fn places(&self) -> Vec<Place> {
        self.cluster.as_ref().map_or_else(Vec::new, Cluster::places)
    }
}

impl Cluster {
    fn check_id(&self, found: ClusterId) -> Result<(), Refusal> {
        if found == self.id { Ok(()) } else { Err(Refusal::OtherCluster { found, wanted: self.id }) }
    }

    pub(crate) fn factor(&self) -> usize {
        let staying = self.nodes.values().filter(|node| node.drain != Some(Purpose::Leave)).count();
        staying.clamp(1, VOTERS_MAX)
    }

    fn places(&self) -> Vec<Place> {
        let successors = self.tombstones.iter().filter_map(|(old, it)| Some((it.successor?, *old)));
        let mut replaced: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
        successors.for_each(|(new, old)| {
            replaced.entry(new).or_default().insert(old);
        });
        let place = |(id, node): (&NodeId, &Node)| Place {
            id: *id,
            zone: node.zone.clone(),
            is_live: node.life != Life::Down,
            drain: node.drain,
            replaces: replaced.remove(id).unwrap_or_default().into_iter().collect(),
        };
        self.nodes.iter().map(place).collect()
    }

    /// A replica that was to replace another has arrived where one more is wanted by now: both stay.
    fn end_moves(&mut self) {
        let factor = self.factor();
        for replicas in &mut self.shards {
            let has_room = replicas.voters.len() <= factor;
            replicas.moving.take_if(|moving| moving.stage == Stage::Voter && has_room);
        }
    }

    /// A node is retired. When too many are remembered the oldest is forgotten: its folder is older than that.
    pub(crate) fn retire(&mut self, node: NodeId, index: Index, successor: Option<NodeId>) {
        let known = self.nodes.remove(&node);
        if let Some(known) = known.filter(|_| self.level >= NAMES_LEVEL) {
            self.retired_names.insert(node, known.name);
        }
        self.tombstones.insert(node, Tombstone { index, successor });
        if self.tombstones.len() > TOMBSTONES_MAX {
            let oldest = self.tombstones.iter().min_by_key(|(id, it)| (it.index, **id));
            if let Some((id, Tombstone { index, .. })) = oldest.map(|(id, it)| (*id, *it)) {
                self.tombstones.remove(&id);
                self.retired_names.remove(&id);
                self.forgotten = self.forgotten.max(index);
            }
        }
    }

    /// What all nodes know by now. Those that are down count too: their next start must not be refused because the
    /// others went on without them.
    fn raise_level(&mut self) {
        let lowest = self.nodes.values().map(|node| node.level).min();
        self.level = self.level.max(lowest.unwrap_or(0));
    }

    /// Whoever all others wait for may acknowledge.
    fn admit_confirmed(&mut self) {
        for node in self.nodes.values_mut() {
            node.admit(&self.view);
        }
    }
}

impl Cluster {
    /// A life begins, in the view, joining.
    fn begin(&mut self, start: &Start, drain: Option<Purpose>) {
        let Start { member, nonce, name, addresses, zone, level } = start;
        let node = Node {
            member: *member,
            nonce: *nonce,
            name: name.clone(),
            addresses: addresses.clone(),
            zone: zone.clone(),
            level: *level,
            life: Life::Joining { confirmed: BTreeSet::new() },
            drain,
        };
        self.nodes.insert(member.id, node);
        self.view.insert(*member);
        self.raise_level();
        self.admit_confirmed();
    }
}
