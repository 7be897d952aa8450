//! What the state machine does, by topic. Whole replies and states are compared, so that what should not happen is
//! tested too.

mod bounds;
mod bytes;
mod drain;
mod nodes;
pub(crate) mod random;
mod recover;
mod replicas;

use crate::*;

pub(crate) const CLUSTER: ClusterId = ClusterId(0xc1);

pub(crate) fn member(id: NodeId, incarnation: Incarnation) -> Member {
    Member { id, incarnation }
}

/// A node with its own name, in no zone.
pub(crate) fn start(id: NodeId, incarnation: Incarnation) -> Start {
    Start {
        member: member(id, incarnation),
        nonce: id * 1000 + incarnation,
        name: format!("broker-{id}").into(),
        addresses: vec![format!("broker-{id}.fulmar:7000").into()],
        zone: "".into(),
        level: 1,
    }
}

fn text(refusal: &Refusal) -> String {
    refusal.to_string()
}

/// A cluster to which one command after the other is committed.
pub(crate) struct World {
    pub(crate) meta: Meta,
}

impl World {
    pub(crate) fn empty() -> Self {
        Self { meta: Meta::new() }
    }

    /// Some nodes that are up, led by the first in term 1; twelve shards, all on the first.
    pub(crate) fn new(nodes: u64) -> Self {
        let mut world = Self::empty();
        let first = start(1, 1);
        assert_eq!(world.apply(Command::Bootstrap { cluster: CLUSTER, shards: 12, first }), Reply::Done);
        assert_eq!(world.apply(Command::Lead { leader: 1, term: 1 }), Reply::Done);
        for id in 2..=nodes {
            assert_eq!(world.join(start(id, 1)), Reply::Done);
            world.confirm_all(member(id, 1));
        }
        world
    }

    pub(crate) fn apply(&mut self, command: Command) -> Reply {
        let index = self.meta.applied() + 1;
        let mut applied = self.meta.apply(index, &Entry { time: index, commands: vec![command] });
        assert_eq!((applied.index, applied.replies.len()), (index, 1));
        applied.replies.remove(0)
    }

    pub(crate) fn refused(&mut self, command: Command) -> Refusal {
        let before = self.meta.clone();
        let Reply::Refused(refusal) = self.apply(command) else { panic!("it was taken") };
        let after = Meta { applied: before.applied, time: before.time, ..self.meta.clone() };
        assert_eq!(after, before, "what is refused changes nothing");
        refusal
    }

    pub(crate) fn join(&mut self, start: Start) -> Reply {
        let made_at = self.meta.applied();
        self.apply(Command::Join { cluster: CLUSTER, made_at, start })
    }

    pub(crate) fn boot(&mut self, start: Start) -> Reply {
        self.apply(Command::Boot { cluster: CLUSTER, start })
    }

    pub(crate) fn remove(&mut self, member: Member) -> Reply {
        let term = self.meta.leader().term;
        self.apply(Command::Remove { member, term })
    }

    /// All others wait for a joiner.
    pub(crate) fn confirm_all(&mut self, member: Member) {
        let others: Vec<_> = self.meta.view().members().filter(|by| *by != member).collect();
        for by in others {
            assert_eq!(self.apply(Command::Confirm { member, by }), Reply::Done);
        }
    }

    pub(crate) fn view(&self) -> Vec<Member> {
        self.meta.view().members().collect()
    }

    pub(crate) fn states(&self) -> Vec<(NodeId, State)> {
        self.meta.nodes().map(|(id, node)| (id, node.state())).collect()
    }
}
