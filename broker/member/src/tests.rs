//! What a node does about each event. Whole outputs are compared, so that what should not happen is tested too.

use fulmar_meta::*;

pub(crate) const CLUSTER: ClusterId = ClusterId(0xc1);

/// A state of the cluster, to which commands are committed one by one.
pub(crate) struct Cluster {
    pub(crate) meta: Meta,
}

pub(crate) fn start(id: NodeId, incarnation: Incarnation) -> Start {
    Start {
        member: Member { id, incarnation },
        nonce: 1000 * id + incarnation,
        name: format!("broker-{id}").into(),
        addresses: vec![format!("broker-{id}.fulmar:7800").into()],
        zone: "".into(),
        level: LEVEL,
    }
}

impl Cluster {
    /// Node 1 has begun it.
    pub(crate) fn new() -> Self {
        let mut cluster = Self { meta: Meta::new() };
        cluster.commit(Command::Bootstrap { cluster: CLUSTER, shards: 12, first: start(1, 1) });
        cluster
    }

    pub(crate) fn commit(&mut self, command: Command) -> Reply {
        let entry = Entry { time: 0, commands: vec![command] };
        self.meta.apply(self.meta.applied() + 1, &entry).replies.remove(0)
    }

    pub(crate) fn join(&mut self, id: NodeId) {
        let command = Command::Join { cluster: CLUSTER, made_at: self.meta.applied(), start: start(id, 1) };
        assert_eq!(self.commit(command), Reply::Done);
    }
}
