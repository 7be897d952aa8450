//! Opening a folder: whose it is, which life of the node begins, what each group has, and what was committed.

use std::collections::BTreeMap;
use std::time::Instant;

use fulmar_log::{Disk, Log, RecoveredGroup};
use fulmar_raft::{Entry, Group, HardState, Membership, Payload, Recovered, Snapshot, State};
use fulmar_store::{Node, Shard, ShardId, Time};

use crate::engine::Engine;
use crate::errors::{Failed, OpenError};
use crate::identity::Identity;
use crate::matcher::split_share;
use crate::out::Out;
use crate::random::Random;
use crate::replica::{Replica, group_of};
use crate::settings::{Settings, sabotaged};
use crate::snapshot::{self, Named};

/// Where the log is in the folder.
const LOG: &str = "log";

/// So much of the log is read at once.
const READ_BYTES: usize = 4 << 20;

impl<D: Disk + Clone> Engine<D> {
    /// Opens what is in the folder, or begins: the groups of an empty folder have the given voters. Whoever decides
    /// alone has committed and applied everything when this returns, and serves.
    ///
    /// The boot counter in the folder is raised and synced before anything else is said or done.
    ///
    /// # Errors
    /// Says whether the folder, its disk or the settings are to blame. Nothing acknowledged is ever passed over.
    pub fn open(
        disk: D,
        mut settings: Settings,
        now: Instant,
        time: Time,
        out: &mut impl Out,
    ) -> Result<Self, OpenError> {
        let me = begin_life(&disk, &settings)?;
        let mut random = Random::new(settings.seed ^ me.incarnation.rotate_left(32));
        (settings.log.node, settings.log.salt) = (settings.node, random.next());
        // Group 0 is one, too.
        settings.log.groups_max = settings.log.groups_max.max(usize::from(settings.shards.get()) + 1);
        let (mut log, recovered) = Log::open(disk.clone(), &settings.folder.join(LOG), settings.log.clone())?;
        let mut groups: BTreeMap<u32, RecoveredGroup> =
            recovered.groups.into_iter().map(|group| (group.group, group)).collect();
        let snapshots = snapshot::list(&disk, &settings.folder)?;
        let mut replicas = Vec::new();
        for shard in (0..settings.shards.get()).map(ShardId) {
            let found = groups.remove(&group_of(shard).into());
            let mut opening = Opening { disk: &disk, settings: &settings, log: &mut log, snapshots: &snapshots };
            replicas.push(opening.replica(shard, found.as_ref(), now, &mut random)?);
        }
        let mut engine = Self::new(settings, me, disk, log, replicas, random);
        engine.tell_all(time, out);
        while engine.is_replaying(time) {
            engine.turn(now, time, out)?;
        }
        Ok(engine)
    }

    /// What snapshots hold; what entries change comes as they are applied.
    fn tell_all(&self, time: Time, out: &mut impl Out) {
        for replica in &self.replicas {
            // With others, the leader tells it.
            let filters = replica.shard.filters().filter(|_| self.settings.is_alone());
            for (filter, _) in filters {
                let (share, filter) = split_share(filter);
                out.interest(replica.id, share, filter, true);
            }
            for (message, version) in replica.shard.retained_after(None, time) {
                out.retained(message.topic(), Some(&message), version);
            }
        }
    }

    /// Whether groups in which nobody else decides have not come as far as they can.
    fn is_replaying(&self, time: Time) -> bool {
        let is_behind = |replica: &Replica| replica.is_alone() && replica.leading.is_none();
        self.full.is_none() && (self.replicas.iter().any(is_behind) || self.has_work(time))
    }
}

/// Makes sure that the folder is ours, and raises the boot counter: no two lives have the same, whatever crashes.
fn begin_life(disk: &impl Disk, settings: &Settings) -> Result<Node, OpenError> {
    let folder = &settings.folder;
    let found = match Identity::read(disk, folder)? {
        Some(found) => found,
        None => {
            let log = folder.join(LOG);
            disk.create_folder(&log).map_err(OpenError::disk("create", &log))?;
            if !disk.list(&log).map_err(OpenError::disk("list", &log))?.is_empty() {
                return Err(OpenError::NoIdentity { folder: folder.clone() });
            }
            Identity { node: settings.node, shards: settings.shards, incarnation: 0 }
        }
    };
    let Identity { node, shards, incarnation } = found;
    if node != settings.node {
        return Err(OpenError::OtherNode { folder: folder.clone(), found: node, wanted: settings.node });
    }
    if shards != settings.shards {
        let (found, wanted) = (shards.get(), settings.shards.get());
        return Err(OpenError::Shards { folder: folder.clone(), found, wanted });
    }
    let begun = Identity { incarnation: incarnation + 1, ..found };
    let sync = incarnation == 0 || !sabotaged!(settings, BootCounterNotSynced);
    begun.write(disk, folder, sync)?;
    Ok(Node { id: node, incarnation: begun.incarnation })
}

struct Opening<'a, D: Disk> {
    disk: &'a D,
    settings: &'a Settings,
    log: &'a mut Log<D>,
    snapshots: &'a [Named],
}

impl<D: Disk> Opening<'_, D> {
    fn replica(
        &mut self,
        id: ShardId,
        found: Option<&RecoveredGroup>,
        now: Instant,
        random: &mut Random,
    ) -> Result<Replica, OpenError> {
        let group = group_of(id);
        let state = match found {
            Some(found) if !found.state.is_empty() => {
                State::decode(&found.state).map_err(|source| OpenError::State { group, source })?
            }
            _ => {
                let voters = Membership::new(self.settings.voters.iter().copied(), [])?;
                State { hard_state: HardState::default(), start: Snapshot::initial(voters) }
            }
        };
        let (entries, log_bytes) = self.entries(group, state.start.position.index)?;
        let last = entries.last().map_or(state.start.position.index, |last| last.index);
        let (applied, shard) = self.shard(id, state.start.position.index, last)?;
        let recovered = Recovered::from_log(state.hard_state, state.start.clone(), applied, entries)
            .map_err(|source| OpenError::Group { group, source })?;
        let raft = self.settings.raft.clone();
        let raft = Group::new(raft, self.settings.node, recovered, now, random.next());
        let mut replica = Replica::new(raft, applied, shard, state, random.next());
        replica.log_bytes = log_bytes;
        Ok(replica)
    }

    /// The entries behind the start of a group's log, without what they command: that is read again when it is applied.
    fn entries(&mut self, group: u16, start: u64) -> Result<(Vec<Entry>, u64), OpenError> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let mut next = start + 1;
        if self.log.entries(group.into()).is_none_or(|[_, (last, _)]| last < next) {
            return Ok((entries, bytes));
        }
        loop {
            let read = self.log.read(group.into(), next, READ_BYTES)?;
            if read.is_empty() {
                return Ok((entries, bytes));
            }
            for entry in read {
                let failed = |error: fulmar_raft::WireError| Failed::Read {
                    group,
                    index: entry.index,
                    reason: error.to_string(),
                };
                let payload = match Payload::decode(entry.payload).map_err(failed)? {
                    Payload::Command(_) => Payload::Empty,
                    other => other,
                };
                bytes += entry.payload.len() as u64;
                next = entry.index + 1;
                entries.push(Entry { term: entry.term, index: entry.index, payload });
            }
        }
    }

    /// The newest whole snapshot that fits the log, and where it stands. An older one will do as long as the log goes
    /// on from there.
    fn shard(&self, id: ShardId, start: u64, last: u64) -> Result<(u64, Shard), OpenError> {
        let group = group_of(id);
        let mut found = "there is none".to_owned();
        let fits = |named: &&Named| named.group == group && (start..=last).contains(&named.index);
        for named in self.snapshots.iter().filter(fits) {
            match snapshot::load(self.disk, &self.settings.folder, *named) {
                Ok((position, shard)) if shard.id() == id => return Ok((position.position.index, shard)),
                Ok((_, shard)) => found = format!("snapshot {} is of shard {}", named.index, shard.id().0),
                Err(what) => found = what,
            }
        }
        if start == 0 { Ok((0, Shard::new(id))) } else { Err(OpenError::NoSnapshot { group, start, found }) }
    }
}
