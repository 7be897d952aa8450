//! Group 0 on this node: the cluster's own state in the same log as the shards, and what is told of it.
//!
//! Whoever is a member of a cluster has it. It is empty until this node begins the cluster, or a leader adds this node.
//! What is proposed there, and when, is decided above; what follows from it for this node is in `placing.rs`.

use std::sync::Arc;
use std::time::Instant;

use fulmar_log::Disk;
use fulmar_meta::{Command, Entry, Meta, Reply};
use fulmar_raft::{
    Entry as LogEntry, Group, Index, Membership, NodeId, Payload, ProposeError, ReadError, ReadId, ReadOutcome,
    Recovered, RoleChange, Term, TransferError,
};
use fulmar_store::Time;
use thiserror::Error;

use crate::engine::Engine;
use crate::errors::{Failed, Written, written};
use crate::hosted::{Hosted, Kept};
use crate::out::Out;
use crate::placing::Placing;
use crate::write::Batch;

/// The number of the group.
pub(crate) const META: u16 = 0;

/// What happened in group 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetaEvent {
    /// Who leads it has changed.
    Role {
        /// In which term.
        term: Term,
        /// Who leads, if known.
        leader: Option<NodeId>,
        /// Whether this node does.
        leads: bool,
    },
    /// The state has changed: [`Engine::meta`] is what it is after this entry or, when the turn is over, after later
    /// ones. The first one after [`Engine::open`] and one after a snapshot have no commands, and stand for all that is
    /// there.
    Applied {
        /// The entry.
        index: Index,
        /// What was committed, and what became of it.
        commands: Vec<(Command, Reply)>,
        /// Who is live has changed.
        is_new_view: bool,
    },
    /// A read counts once this entry is applied.
    Confirmed {
        /// Which.
        read: ReadId,
        /// The entry.
        index: Index,
    },
    /// A read does not count: this node leads no longer.
    ReadFailed {
        /// Which.
        read: ReadId,
    },
}

/// Why group 0 was not asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MetaRefused {
    /// The node is no member of a cluster.
    #[error("the node is alone, and has no group 0")]
    Alone,
    /// The cluster has begun, or another node has told this one of it.
    #[error("group 0 has begun: term {term}, last entry {last}")]
    HasBegun {
        /// Its term.
        term: Term,
        /// Its last entry.
        last: Index,
    },
    /// What was decided in another term may not hold any more.
    #[error("decided in term {found}, but the group is in term {wanted}")]
    Term {
        /// That of the caller.
        found: Term,
        /// That of the group.
        wanted: Term,
    },
    /// There is no room on the disk.
    #[error("the disk is full")]
    FullDisk,
    /// The disk has failed.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// The group does not take it.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The group does not take it.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The group does not take it.
    #[error(transparent)]
    Transfer(#[from] TransferError),
}

/// See the [module](self).
pub(crate) struct MetaGroup {
    pub(crate) group: Hosted,
    pub(crate) meta: Meta,
    /// This node has bootstrapped the cluster, and its shards are not on the disk yet.
    pub(crate) begins_shards: bool,
    pub(crate) placing: Placing,
}

impl MetaGroup {
    pub(crate) fn new(group: Hosted, meta: Meta) -> Self {
        Self { group, meta, begins_shards: false, placing: Placing::default() }
    }
}

impl<D: Disk + Clone> Engine<D> {
    /// The state of the cluster, as far as it is applied here. None if the node is alone.
    pub fn meta(&self) -> Option<&Meta> {
        self.cluster.as_ref().map(|cluster| &cluster.meta)
    }

    /// Begins a cluster: this node becomes the only voter of its group 0, and leads it with the next turns. Only where
    /// nothing was ever in group 0; who decides that the cluster is new is above.
    ///
    /// # Errors
    /// Says why not. Nothing has changed then.
    pub fn begin_cluster(&mut self, now: Instant) -> Result<(), MetaRefused> {
        let cluster = self.cluster.as_ref().ok_or(MetaRefused::Alone)?;
        let (term, last) = (cluster.group.term(), cluster.group.last().index);
        if (term, last) != (0, 0) || *cluster.group.membership() != Membership::default() {
            return Err(MetaRefused::HasBegun { term, last });
        }
        let alone = Membership::new([self.me.id], []).expect("one voter");
        let kept = Kept::new(alone);
        let mut batch = Batch::default();
        batch.state(META, &kept);
        match written(self.log.write(&batch.writes()))? {
            Written::Whole => self.log.sync().map_err(Failed::from)?,
            Written::Full(_) => return Err(MetaRefused::FullDisk),
        }
        let meta = self.settings.sabotaged_meta(Meta::new());
        self.cluster = Some(MetaGroup::new(self.new_group(META, kept, now), meta));
        Ok(())
    }

    /// A group without entries, with what is kept of it.
    pub(crate) fn new_group(&mut self, number: u16, kept: Kept, now: Instant) -> Hosted {
        let Kept { hard_state, start, .. } = kept.clone();
        let recovered = Recovered::from_log(hard_state, start, 0, []).expect("a log without entries has no gaps");
        let group = Group::new(self.settings.raft.clone(), self.me.id, recovered, now, self.random.next());
        Hosted::new(number, group, 0, kept)
    }

    /// Proposes a command that was decided in this term. It is committed when [`MetaEvent::Applied`] says so; if that
    /// has another entry at the index, it is lost.
    ///
    /// # Errors
    /// Says why the group does not take it.
    pub fn propose_meta(
        &mut self,
        term: Term,
        command: Command,
        now: Instant,
        time: Time,
    ) -> Result<Index, MetaRefused> {
        let wanted = self.cluster.as_ref().ok_or(MetaRefused::Alone)?.group.term();
        if term != wanted {
            return Err(MetaRefused::Term { found: term, wanted });
        }
        self.propose_to_meta(vec![command], now, time)
    }

    pub(crate) fn propose_to_meta(
        &mut self,
        commands: Vec<Command>,
        now: Instant,
        time: Time,
    ) -> Result<Index, MetaRefused> {
        let cluster = self.cluster.as_mut().ok_or(MetaRefused::Alone)?;
        if self.full.is_some() {
            return Err(MetaRefused::FullDisk);
        }
        let mut bytes = Vec::new();
        Entry { time: time.max(cluster.meta.time()), commands }.encode(&mut bytes);
        Ok(cluster.group.propose(vec![Arc::from(bytes)], now)?)
    }

    /// Asks from which entry on a read of the state is current: [`MetaEvent::Confirmed`] or [`MetaEvent::ReadFailed`].
    ///
    /// # Errors
    /// Says why the group does not take it.
    pub fn read_meta(&mut self, read: ReadId, now: Instant) -> Result<(), MetaRefused> {
        let cluster = self.cluster.as_mut().ok_or(MetaRefused::Alone)?;
        Ok(cluster.group.read(read, now)?)
    }

    /// Hands the leadership of group 0 over.
    ///
    /// # Errors
    /// Says why the group does not take it.
    pub fn transfer_meta(&mut self, to: NodeId, now: Instant) -> Result<(), MetaRefused> {
        let cluster = self.cluster.as_mut().ok_or(MetaRefused::Alone)?;
        Ok(cluster.group.transfer(to, now)?)
    }

    /// What the group says beside entries.
    pub(crate) fn tell_meta(
        &mut self,
        role: Option<RoleChange>,
        reads: Vec<(ReadId, ReadOutcome)>,
        out: &mut impl Out,
    ) {
        if let Some(RoleChange { term, leader, serves_after }) = role {
            out.meta(MetaEvent::Role { term, leader, leads: serves_after.is_some() });
        }
        for (read, outcome) in reads {
            out.meta(match outcome {
                ReadOutcome::At(index) => MetaEvent::Confirmed { read, index },
                ReadOutcome::NotLeader => MetaEvent::ReadFailed { read },
            });
        }
    }

    /// Applies committed entries of group 0, and does what they mean for this node.
    pub(crate) fn apply_meta(&mut self, entries: &[LogEntry], now: Instant, out: &mut impl Out) -> Result<(), Failed> {
        let Some(MetaGroup { group, meta, begins_shards, placing }) = &mut self.cluster else { return Ok(()) };
        for LogEntry { index, payload, .. } in entries {
            // Entries without commands count, too: reads name them.
            let entry = match payload {
                Payload::Command(bytes) => {
                    Entry::decode(bytes).map_err(|error| Failed::MetaEntry { index: *index, error })?
                }
                Payload::Empty | Payload::Membership(_) => Entry { time: 0, commands: Vec::new() },
            };
            let applied = meta.apply(*index, &entry);
            let commands: Vec<(Command, Reply)> = entry.commands.into_iter().zip(applied.replies).collect();
            let has_begun = |(command, reply): &(Command, Reply)| {
                let Command::Bootstrap { first, .. } = command else { return false };
                first.member.id == self.me.id && *reply == Reply::Done
            };
            *begins_shards |= commands.iter().any(has_begun);
            out.meta(MetaEvent::Applied { index: *index, commands, is_new_view: applied.is_new_view });
        }
        if let Some(last) = entries.last() {
            group.applied = last.index;
            group.applied(last.index);
        }
        placing.is_due = true;
        self.follow_map(now)
    }

    /// The state was replaced by a snapshot.
    pub(crate) fn replace_meta(&mut self, meta: Meta, now: Instant, out: &mut impl Out) -> Result<(), Failed> {
        let Some(cluster) = &mut self.cluster else { return Ok(()) };
        let is_new_view = cluster.meta.view().number != meta.view().number;
        cluster.meta = meta;
        cluster.placing.is_due = true;
        let index = cluster.meta.applied();
        out.meta(MetaEvent::Applied { index, commands: Vec::new(), is_new_view });
        self.follow_map(now)
    }

    /// Puts groups on the disk that have this node as their only voter.
    pub(crate) fn begin_shards(&mut self, now: Instant) -> Result<(), Failed> {
        let shards = self.cluster.as_ref().map_or(0, |cluster| cluster.meta.shards().len());
        let alone = Membership::new([self.me.id], []).expect("one voter");
        let numbers = (1..).take(shards).filter(|number| self.hosted(*number).is_none());
        // One that was here before, or has left, did not begin just now: the entry is read again.
        let missing: Vec<u16> = numbers.filter(|number| !self.left.contains_key(number)).collect();
        let mut batch = Batch::default();
        missing.iter().for_each(|number| batch.state(*number, &Kept::new(alone.clone())));
        if !missing.is_empty() {
            match written(self.log.write(&batch.writes()))? {
                Written::Whole => self.log.sync()?,
                Written::Full(_) => return Ok(()),
            }
        }
        for number in missing {
            self.add_replica(number, Kept::new(alone.clone()), now);
        }
        if let Some(cluster) = &mut self.cluster {
            cluster.begins_shards = false;
        }
        Ok(())
    }
}
