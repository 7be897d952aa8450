//! Replicas that the map does not give this node any more.
//!
//! The map is ahead of the shard's group: as long as that counts on this node, what it has here must stay. Nobody tells
//! a node that it was removed, since the leader does not speak to it any more. So it asks those who have the shard, and
//! a leader whose group has committed that the node is not in it says so. An answer counts only for the last question,
//! and only if no leader has spoken to the replica in between: then it was added again, and had begun to answer.

use std::time::{Duration, Instant};

use fulmar_log::Disk;
use fulmar_raft::{Body, Message, NodeId};

use crate::engine::Engine;
use crate::errors::{Failed, Written, written};
use crate::letter::Letter;
use crate::out::Out;
use crate::settings::sabotaged;
use crate::write::Batch;

/// How often it is asked. What was said before the replica was removed has long come when it is answered.
const ASK: Duration = Duration::from_secs(1);

/// A replica that may be gone from its group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaving {
    question: u64,
    ask_at: Instant,
    /// A leader has answered the last question.
    is_out: bool,
}

impl<D: Disk + Clone> Engine<D> {
    /// Asks about the replicas that the map does not give this node.
    pub(crate) fn ask_to_leave(&mut self, now: Instant) {
        let Some(cluster) = &self.cluster else { return };
        let me = self.me.id;
        let mut wanted: Vec<(u16, Vec<NodeId>)> = Vec::new();
        for replica in &self.replicas {
            let number = replica.group_number();
            let Some(replicas) = cluster.meta.shard(fulmar_meta::ShardId(number)) else { continue };
            if !replicas.has(me) {
                wanted.push((number, replicas.voters().to_vec()));
            }
        }
        self.leaving.retain(|number, _| wanted.iter().any(|(it, _)| it == number));
        for (number, voters) in wanted {
            // It begins to wait: whoever removed this node has just done so.
            let first = Leaving { question: 0, ask_at: now + ASK, is_out: false };
            let leaving = self.leaving.entry(number).or_insert(first);
            if sabotaged!(self.settings, LeavesEarly) {
                leaving.is_out = true;
            }
            if leaving.ask_at <= now && !leaving.is_out {
                let question = self.random.next();
                *leaving = Leaving { question, ask_at: now + ASK, is_out: false };
                let letter = Letter::MayLeave { group: number, question };
                self.letters.extend(voters.into_iter().map(|voter| (voter, letter.clone())));
            }
        }
    }

    /// A node asks whether a group that this node leads has removed it.
    pub(crate) fn may_leave(&mut self, from: NodeId, group: u16, question: u64) {
        let Some(hosted) = self.hosted(group) else { return };
        let has = hosted.membership().is_voter(from) || hosted.membership().is_learner(from);
        if hosted.is_serving() && !has && hosted.is_membership_committed() {
            self.letters.push((from, Letter::Left { group, question }));
        }
    }

    /// The answer.
    pub(crate) fn left(&mut self, group: u16, question: u64) {
        if let Some(leaving) = self.leaving.get_mut(&group).filter(|leaving| leaving.question == question) {
            leaving.is_out = question != 0;
        }
    }

    /// A leader speaks to a replica: it is in the group again, or still.
    pub(crate) fn note_leader(&mut self, group: u16, message: &Message) {
        if matches!(message.body, Body::Append { .. } | Body::Heartbeat { .. })
            && let Some(leaving) = self.leaving.get_mut(&group)
        {
            (leaving.question, leaving.is_out) = (0, false);
        }
    }

    /// Whether the map does not give this node the replica any more.
    pub(crate) fn is_leaving(&self, group: u16) -> bool {
        self.leaving.contains_key(&group)
    }

    /// Whether a replica waits to be removed.
    pub(crate) fn must_leave(&self) -> bool {
        self.leaving.values().any(|leaving| leaving.is_out)
    }

    /// Removes the replicas that neither the map nor their group want here. What they had promised is kept.
    pub(crate) fn leave(&mut self, out: &mut impl Out) -> Result<(), Failed> {
        let gone: Vec<u16> =
            self.leaving.iter().filter(|(_, leaving)| leaving.is_out).map(|(number, _)| *number).collect();
        for number in gone {
            self.leave_group(number, out)?;
        }
        Ok(())
    }

    fn leave_group(&mut self, number: u16, out: &mut impl Out) -> Result<(), Failed> {
        let Some(at) = self.place_of_group(number) else { return Ok(()) };
        let kept = self.replicas[at].group.left();
        let mut batch = Batch::default();
        batch.forget(number);
        batch.state(number, &kept);
        // Without room for it the replica stays until it is asked again.
        if matches!(written(self.log.write(&batch.writes()))?, Written::Full(_)) {
            self.leaving.remove(&number);
            return Ok(());
        }
        self.log.sync()?;
        self.counted.syncs += 1;
        let mut replica = self.replicas.remove(at);
        replica.give_up(out);
        self.counted.replicas_left += 1;
        self.leaving.remove(&number);
        self.left.insert(number, kept);
        self.unwritten.retain(|unwritten| unwritten.group != number);
        self.forget_transfers(number)?;
        if let Some(path) = self.snapshots.give_up(number) {
            self.disk.remove(&path).map_err(Failed::disk("remove", &path))?;
        }
        self.remove_snapshots(number, u64::MAX)?;
        self.bodies.remove(number, &self.disk)?;
        self.log.reclaim()?;
        Ok(())
    }
}
