//! How far a drain is.

use std::fmt;

use crate::command::Purpose;
use crate::meta::{Meta, State};
use crate::names::{NodeId, ShardId};

/// What is left on a node, for its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What the cluster says of the node.
    pub state: State,
    /// Shards that it leads.
    pub leaders: usize,
    /// Shards that it keeps, though it should not: none if it comes back.
    pub replicas: usize,
    /// Clients that are connected to it.
    pub clients: u64,
}

impl Progress {
    /// Whether the node may stop without anybody noticing.
    pub fn is_drained(&self) -> bool {
        let Self { state, leaders, replicas, clients } = *self;
        (state == State::Draining || state == State::Gone) && leaders == 0 && replicas == 0 && clients == 0
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leaders {}, replicas {}, clients {}", self.leaders, self.replicas, self.clients)
    }
}

/// How far the drain of a node is: `led` are the shards that it really leads at the moment, `kept` those whose groups
/// it is really in, each by its own word, and `clients` are connected to it. Nothing of a node that nobody remembers.
pub fn progress(meta: &Meta, node: NodeId, led: &[ShardId], kept: &[ShardId], clients: u64) -> Option<Progress> {
    let state = meta.state(node)?;
    let stays = meta.node(node).is_some_and(|it| it.drain != Some(Purpose::Leave));
    // What the map says and what the group has done may differ for a moment; both count.
    let numbered = (1..).map(ShardId).zip(meta.shards());
    let has = |(shard, replicas): &(ShardId, &crate::meta::Replicas)| replicas.has(node) || kept.contains(shard);
    let replicas = if stays { 0 } else { numbered.filter(has).count() };
    Some(Progress { state, leaders: led.len(), replicas, clients })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClusterId, Command, Entry, Member, Start};

    fn meta() -> Meta {
        let start = |id: NodeId| Start {
            member: Member { id, incarnation: 1 },
            nonce: id,
            name: format!("broker-{id}").into(),
            addresses: vec![],
            zone: "".into(),
            level: 1,
        };
        let cluster = ClusterId(7);
        let commands = [
            Command::Bootstrap { cluster, shards: 3, first: start(1) },
            Command::Join { cluster, made_at: 1, start: start(2) },
        ];
        let mut meta = Meta::new();
        meta.apply(1, &Entry { time: 0, commands: commands[..1].to_vec() });
        meta.apply(2, &Entry { time: 0, commands: commands[1..].to_vec() });
        meta
    }

    fn drain(meta: &mut Meta, node: NodeId, purpose: Purpose) {
        let command = Command::Drain { node, purpose };
        meta.apply(meta.applied() + 1, &Entry { time: 0, commands: vec![command] });
    }

    #[test]
    fn who_leaves_has_nothing_left_when_map_groups_and_clients_say_so() {
        let mut meta = meta();
        let all = [ShardId(1), ShardId(2), ShardId(3)];
        drain(&mut meta, 1, Purpose::Leave);
        let first = progress(&meta, 1, &all[..2], &all, 9).unwrap();
        assert_eq!(first.to_string(), "leaders 2, replicas 3, clients 9");
        assert!(!first.is_drained());
        assert_eq!(progress(&meta, 1, &[], &[], 0).unwrap().replicas, 3, "the map says so still");

        drain(&mut meta, 2, Purpose::Restart);
        let second = progress(&meta, 2, &[], &all[..1], 0).unwrap();
        assert_eq!(second, Progress { state: State::Draining, leaders: 0, replicas: 0, clients: 0 });
        assert!(second.is_drained(), "its replicas stay");
    }

    #[test]
    fn a_group_that_still_has_the_node_counts() {
        let mut meta = meta();
        drain(&mut meta, 2, Purpose::Leave);
        let kept = [ShardId(3)];
        assert_eq!(progress(&meta, 2, &[], &kept, 0).unwrap().replicas, 1);
        assert!(progress(&meta, 2, &[], &[], 0).unwrap().is_drained());
    }

    #[test]
    fn who_does_not_drain_is_not_drained_however_little_it_has() {
        let meta = meta();
        assert!(!progress(&meta, 2, &[], &[], 0).unwrap().is_drained());
        assert_eq!(progress(&meta, 9, &[], &[], 0), None);
    }
}
