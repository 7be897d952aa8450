//! When a process may take part in the replication of shards. Until then no letter of their groups leaves it, and none
//! is taken from others: it votes for nobody, acknowledges no entry and stands in no election.
//!
//! What a voter has promised is on its disk, so a group counts on it that a node has one disk. A process whose folder is
//! a copy, or was restored, may lack what the node has promised since, and its vote could elect a leader that lacks
//! committed entries. Group 0 finds out: a life is committed only with a higher boot counter than any before, after the
//! life before has left the view, and with the nonce of its process. In group 0 itself a process votes from its start,
//! since after a stop of all nodes nobody's life would be committed otherwise; `docs/decisions/0007-view-lease.md` says
//! what protects it there.

use fulmar_meta::{Meta, NodeId};

/// Whether the last life that was committed of this node is one of this process. It remains so when that life is over and
/// the next one has not begun: the disk is the same.
pub(crate) fn takes_part(meta: &Meta, me: NodeId, nonce: u64) -> bool {
    meta.node(me).is_some_and(|node| node.nonce == nonce)
}

#[cfg(test)]
mod tests {
    use fulmar_meta::{ClusterId, Command, Entry, LEVEL, Member, Reply, Start};

    use super::*;

    fn start(incarnation: u64, nonce: u64) -> Start {
        let member = Member { id: 7, incarnation };
        Start { member, nonce, name: "broker-0".into(), addresses: Vec::new(), zone: "".into(), level: LEVEL }
    }

    #[test]
    fn a_process_takes_part_from_the_commit_of_its_first_life_to_that_of_another_process() {
        let cluster = ClusterId(1);
        let mut meta = Meta::new();
        let mut apply = |command| {
            let reply = meta.apply(meta.applied() + 1, &Entry { time: 0, commands: vec![command] }).replies.remove(0);
            assert_eq!(reply, Reply::Done);
            [10, 11].map(|nonce| takes_part(&meta, 7, nonce))
        };
        let lead = |term| Command::Lead { leader: 7, term };
        let remove = |incarnation, term| Command::Remove { member: Member { id: 7, incarnation }, term };
        let found = [
            apply(Command::Bootstrap { cluster, shards: 1, first: start(1, 10) }),
            apply(lead(1)),
            apply(remove(1, 1)),
            apply(Command::Boot { cluster, start: start(2, 10) }),
            apply(remove(2, 1)),
            apply(Command::Boot { cluster, start: start(3, 11) }),
        ];
        let (first, second) = ([true, false], [false, true]);
        assert_eq!(found, [first, first, first, first, first, second]);
    }
}
