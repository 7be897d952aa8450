//! What a member of a cluster tells the admin port: what the cluster looks like, and how far its own drain is.

use fulmar_meta::drain::progress;
use fulmar_meta::{Life, Meta, Node, NodeId, Purpose, ShardId};
use fulmar_store_raft::GroupStatus;

use crate::admin::{self, ClusterReport, CopyReport, DrainReport, DrainState, MemberReport, MemberState, ShardReport};

fn hexadecimal(id: NodeId) -> String {
    format!("{id:016x}")
}

/// How far the drain of this node is; none if it was no member yet. Group 0 is led and kept like shards, but whoever has
/// no vote there is told what the cluster decides as long as it lives, which keeps nobody.
pub(super) fn drain(meta: &Meta, node: NodeId, groups: &[GroupStatus], clients: u64) -> Option<DrainReport> {
    let purpose = meta.node(node)?.drain;
    let led: Vec<ShardId> =
        groups.iter().filter(|group| group.leader == Some(node)).map(|group| ShardId(group.group)).collect();
    let kept: Vec<ShardId> = groups.iter().map(|group| ShardId(group.group)).filter(|shard| shard.0 > 0).collect();
    let has_vote = groups.iter().any(|group| group.group == 0 && group.voters.contains(&node));
    let left = progress(meta, node, &led, &kept, clients)?;
    let leaves = purpose == Some(Purpose::Leave);
    let copies = if leaves { left.replicas } else { kept.len() };
    let replicas = copies + usize::from(has_vote);
    let is_over = left.leaders == 0 && clients == 0 && (replicas == 0 || !leaves);
    let state = match purpose {
        None => DrainState::None,
        Some(_) if is_over => DrainState::Drained,
        Some(_) => DrainState::Draining,
    };
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Some(DrainReport {
        state,
        purpose: purpose.map(|purpose| match purpose {
            Purpose::Leave => admin::Purpose::Leave,
            Purpose::Restart => admin::Purpose::Restart,
        }),
        leaders: count(left.leaders),
        replicas: count(replicas),
        clients: u32::try_from(clients).unwrap_or(u32::MAX),
    })
}

/// The cluster, as this node knows it. `leader` says who leads a shard, counted from 1.
pub(super) fn cluster(
    meta: &Meta,
    node: NodeId,
    groups: &[GroupStatus],
    leader: impl Fn(u16) -> Option<NodeId>,
    drain: DrainReport,
) -> ClusterReport {
    let live = meta.nodes().map(|(id, node)| member(meta, id, node));
    // Nothing but its id and its name is remembered of who will never be back.
    let gone = meta.retired().map(|(id, _)| MemberReport {
        node_id: hexadecimal(id),
        incarnation: 0,
        name: meta.retired_name(id).unwrap_or_default().to_owned(),
        zone: None,
        state: MemberState::Gone,
        is_live: false,
    });
    let shard = |(number, replicas): (u16, &fulmar_meta::Replicas)| {
        let group = groups.iter().find(|group| group.group == number);
        let leader = leader(number);
        let lag = |id: NodeId| {
            let group = group.filter(|group| group.leader == Some(node))?;
            let of_others = group.lags.iter().find(|(other, _)| *other == id).map(|(_, lag)| *lag);
            of_others.or((id == node).then_some(0))
        };
        let copy = |id: NodeId, is_voter| CopyReport { node_id: hexadecimal(id), is_voter, lag: lag(id) };
        let voters = replicas.voters().iter().map(|id| copy(*id, true));
        let copies = voters.chain(replicas.learner().map(|id| copy(id, false))).collect();
        ShardReport { number, leader: leader.map(hexadecimal), copies }
    };
    ClusterReport {
        cluster_id: meta.cluster().map(|id| id.to_string()),
        node_id: hexadecimal(node),
        view: meta.view().number,
        members: live.chain(gone).collect(),
        shards: (1..).zip(meta.shards()).map(shard).collect(),
        drain,
    }
}

/// One that is down for now belongs to the cluster as it did before.
fn member(meta: &Meta, id: NodeId, node: &Node) -> MemberReport {
    let state = match (&node.life, node.drain) {
        (_, Some(_)) => MemberState::Draining,
        (Life::Joining { .. }, None) => MemberState::Joining,
        (Life::Up | Life::Down, None) => MemberState::Up,
    };
    MemberReport {
        node_id: hexadecimal(id),
        incarnation: node.member.incarnation,
        name: node.name.to_string(),
        zone: Some(node.zone.to_string()).filter(|zone| !zone.is_empty()),
        state,
        is_live: meta.view().contains(node.member),
    }
}
