//! The whole state, in one piece: it is bounded, and small. The same state makes the same bytes, so replicas can be
//! compared by them. Who is live is not written but derived.
//!
//! Nothing in a snapshot is believed: what comes out of it is a state that entries could have made, as far as anything
//! depends on it.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{BytesError, bytes_of_enum, bytes_of_struct, decode, encode, unknown};
use crate::command::{Purpose, Start};
use crate::limits::{Bound, NAME_BYTES_MAX, NODES_MAX, SHARDS_MAX, TOMBSTONES_MAX};
use crate::meta::{Cluster, Leader, Life, Meta, Move, Node, Replicas, Stage, Tombstone, VOTERS_MAX};
use crate::names::{ClusterId, Index, Level, NodeId, Time};
use crate::view::View;

/// Numbers that count up stay below this for ever.
const COUNTER_MAX: u64 = 1 << 62;

/// Why bytes are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// They can't be read.
    #[error(transparent)]
    Bytes(#[from] BytesError),
    /// They say more than there may be.
    #[error(transparent)]
    Bound(#[from] Bound),
    /// They don't fit together.
    #[error("snapshot: {0}")]
    Inconsistent(&'static str),
}

impl Meta {
    /// Appends the whole state.
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        let cluster = self.cluster.as_ref().map(|cluster| Body {
            id: cluster.id,
            first: cluster.first,
            level: cluster.level,
            leader: cluster.leader,
            view: cluster.view.number,
            forgotten: cluster.forgotten,
            nodes: cluster.nodes.values().cloned().collect(),
            tombstones: cluster.tombstones.iter().map(|(node, it)| Retired { node: *node, tombstone: *it }).collect(),
            shards: cluster.shards.clone(),
        });
        let snapshot = Snapshot { applied: self.applied, time: self.time, cluster };
        let names = self.cluster.iter().flat_map(|cluster| &cluster.retired_names);
        let names: Vec<Called> = names.map(|(node, name)| Called { node: *node, name: name.clone() }).collect();
        if names.is_empty() {
            return encode(&snapshot, out);
        }
        fulmar_bytes::encode(FORMAT_WITH_NAMES, &(snapshot, names), out);
    }

    /// Reads what [`snapshot`](Self::snapshot) wrote.
    pub fn load(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let (Snapshot { applied, time, cluster }, names) = match bytes.first() {
            Some(&FORMAT_WITH_NAMES) => fulmar_bytes::decode(FORMAT_WITH_NAMES, bytes)?,
            _ => (decode(bytes)?, Vec::new()),
        };
        check(applied <= COUNTER_MAX, "the last entry is too high")?;
        let cluster = cluster.map(|body| body.check(applied, names)).transpose()?;
        Ok(Self {
            applied,
            time,
            cluster,
            #[cfg(any(test, feature = "sabotage"))]
            sabotage: None,
        })
    }
}

/// That of a state that remembers names of retired nodes, which no node has before all know this format.
const FORMAT_WITH_NAMES: u8 = 2;

struct Snapshot {
    applied: Index,
    time: Time,
    cluster: Option<Body>,
}

struct Body {
    id: ClusterId,
    first: NodeId,
    level: Level,
    leader: Leader,
    view: u64,
    forgotten: Index,
    nodes: Vec<Node>,
    tombstones: Vec<Retired>,
    shards: Vec<Replicas>,
}

/// What a retired node was called.
struct Called {
    node: NodeId,
    name: Box<str>,
}

struct Retired {
    node: NodeId,
    tombstone: Tombstone,
}

bytes_of_struct!(Snapshot { applied, time, cluster });
bytes_of_struct!(Body { id, first, level, leader, view, forgotten, nodes, tombstones, shards });
bytes_of_struct!(Leader { node, term });
bytes_of_struct!(Node { member, nonce, name, addresses, zone, level, life, drain });
bytes_of_enum!(Life, unknown!("state of a node"), { 1 => Down, 2 => Joining { confirmed }, 3 => Up, });
bytes_of_struct!(Retired { node, tombstone });
bytes_of_struct!(Called { node, name });
bytes_of_struct!(Tombstone { index, successor });
bytes_of_struct!(Replicas { voters, leader, moving });
bytes_of_struct!(Move { to, from, stage });
bytes_of_enum!(Stage, unknown!("stage of a replica"), { 1 => Learner, 2 => CaughtUp, 3 => Voter, });

fn check(holds: bool, what: &'static str) -> Result<(), SnapshotError> {
    if holds { Ok(()) } else { Err(SnapshotError::Inconsistent(what)) }
}

impl Body {
    fn check(self, applied: Index, called: Vec<Called>) -> Result<Cluster, SnapshotError> {
        let Self { id, first, level, leader, view, forgotten, nodes, tombstones, shards } = self;
        Bound::check("nodes", nodes.len(), NODES_MAX)?;
        Bound::check("retired nodes", tombstones.len(), TOMBSTONES_MAX)?;
        Bound::check("shards", shards.len(), SHARDS_MAX.into())?;
        check(!shards.is_empty(), "there are no shards")?;
        check(view <= COUNTER_MAX && forgotten <= applied, "a number is too high")?;
        let live = || nodes.iter().filter(|node| node.life != Life::Down).map(|node| node.member);
        let view = View::new(view, live());
        check(view.number >= view.len() as u64, "the view is older than its members")?;
        for node in &nodes {
            check_node(node, &view)?;
        }
        check(nodes.iter().all(|node| node.level >= level), "a node is behind the feature level")?;
        let names: BTreeSet<&str> = nodes.iter().map(|node| &*node.name).collect();
        check(names.len() == nodes.len(), "two nodes have one name")?;
        check(nodes.iter().any(|node| node.drain != Some(Purpose::Leave)), "all nodes are leaving")?;
        check(nodes.is_sorted_by(|before, after| before.member.id < after.member.id), "nodes are not in order")?;
        let nodes: BTreeMap<_, _> = nodes.into_iter().map(|node| (node.member.id, node)).collect();
        check(tombstones.is_sorted_by(|before, after| before.node < after.node), "retired nodes are not in order")?;
        let tombstones: BTreeMap<_, _> = tombstones.into_iter().map(|it| (it.node, it.tombstone)).collect();
        check(tombstones.keys().all(|node| !nodes.contains_key(node)), "a retired node is there still")?;
        check(tombstones.values().all(|it| it.index <= applied), "a node was retired in the future")?;
        check(
            called.is_sorted_by(|before, after| before.node < after.node),
            "names of retired nodes are not in order",
        )?;
        for Called { node, name } in &called {
            check(tombstones.contains_key(node), "a node has a name though it is not retired")?;
            Bound::check("bytes of a node's name", name.len(), NAME_BYTES_MAX)?;
        }
        let retired_names = called.into_iter().map(|it| (it.node, it.name)).collect();
        for replicas in &shards {
            check_replicas(replicas)?;
        }
        Ok(Cluster { id, first, level, leader, view, nodes, tombstones, retired_names, forgotten, shards })
    }
}

fn check_node(node: &Node, view: &View) -> Result<(), SnapshotError> {
    let Node { member, nonce, name, addresses, zone, level, life, drain: _ } = node.clone();
    Bound::check_start(&Start { member, nonce, name, addresses, zone, level })?;
    if let Life::Joining { confirmed } = life {
        check(confirmed.iter().all(|by| view.contains(*by)), "a joiner is confirmed by nobody who lives")?;
        let others = view.members().filter(|other| other.id != member.id);
        check(!others.into_iter().all(|other| confirmed.contains(&other)), "a joiner is confirmed by all")?;
    }
    Ok(())
}

fn check_replicas(replicas: &Replicas) -> Result<(), SnapshotError> {
    let Replicas { voters, leader, moving } = replicas;
    Bound::check("voters of a shard", voters.len(), VOTERS_MAX + 1)?;
    check(voters.is_sorted_by(|before, after| before < after), "voters are not in order")?;
    check(voters.contains(leader), "the leader of a shard is no voter")?;
    let Some(Move { to, from, stage }) = moving else { return Ok(()) };
    check(voters.contains(to) == (*stage == Stage::Voter), "a replica is on its way to a node that has it")?;
    check(from.is_none_or(|from| voters.contains(&from) && from != *to), "a replica comes from nowhere")
}
