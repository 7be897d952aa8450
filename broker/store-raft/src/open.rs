//! Opening a folder: whose it is, which life of the node begins, what each group has, and what was committed.

use std::collections::BTreeMap;
use std::time::Instant;

use fulmar_log::{Disk, Log, RecoveredGroup};
use fulmar_meta::Meta;
use fulmar_raft::{Entry, Group, Membership, Payload, Position, Recovered};
use fulmar_random::Random;
use fulmar_store::{Node, Shard, ShardId, Time};

use crate::bodies::{BodyFiles, Room, Spilling};
use crate::engine::Engine;
use crate::errors::{Failed, OpenError};
use crate::hosted::{Hosted, Kept};
use crate::identity::Identity;
use crate::matcher::split_share;
use crate::meta_group::{META, MetaEvent, MetaGroup};
use crate::out::Out;
use crate::replica::{Replica, group_of, shard_of};
use crate::settings::{Mode, Settings, sabotaged};
use crate::snapshot::{self, Loaded, Named};
use crate::tails::{Tails, next_number};

/// Where the log is in the folder.
pub(crate) const LOG: &str = "log";

/// So much of the log is read at once.
const READ_BYTES: usize = 4 << 20;

impl<D: Disk + Clone> Engine<D> {
    /// Opens what is in the folder, or begins. Of a node that is alone all groups are there, with the given voters where
    /// they are new. A member of a cluster begins with an empty group 0 and has the shards that it has on its disk, and
    /// those that the map gives it. Who decides alone has committed and applied everything when this returns, and serves.
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
        let found: BTreeMap<u32, RecoveredGroup> =
            recovered.groups.into_iter().map(|group| (group.group, group)).collect();
        let snapshots = snapshot::list(&disk, &settings.folder)?;
        let mut bodies = Tails::new(&settings.folder);
        bodies.next = next_number(&disk, &settings.folder)?;
        let mut opening = Opening {
            disk: &disk,
            settings: &settings,
            log: &mut log,
            snapshots: &snapshots,
            bodies: &mut bodies,
            now,
        };
        let opened = match settings.mode {
            Mode::Alone => opening.alone(&found, &mut random)?,
            Mode::Member => opening.member(&found, &mut random)?,
        };
        let mut engine = Self::new(settings, me, disk, log, random);
        engine.bodies = bodies;
        engine.remove_strange_bodies()?;
        (engine.cluster, engine.replicas, engine.left) = (opened.cluster, opened.replicas, opened.left);
        engine.hold_alone();
        engine.tell_all(time, out);
        engine.follow_map(now)?;
        while engine.is_replaying(time) {
            engine.turn(now, time, out)?;
        }
        Ok(engine)
    }

    /// What snapshots hold; what entries change comes as they are applied.
    fn tell_all(&self, time: Time, out: &mut impl Out) {
        if let Some(MetaGroup { meta, .. }) = self.cluster.as_ref().filter(|cluster| cluster.meta.applied() > 0) {
            out.meta(MetaEvent::Applied { index: meta.applied(), commands: Vec::new(), is_new_view: true });
        }
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
            // Peers that have not come so far may tell of what was deleted.
            for (topic, version) in replica.shard.deleted() {
                out.retained(topic, None, version);
            }
        }
    }

    /// Whether groups in which nobody else decides have not come as far as they can.
    fn is_replaying(&self, time: Time) -> bool {
        if self.full.is_some() {
            let is_behind = |group: &Hosted| group.is_alone() && group.applied < group.committed();
            return self.groups().any(is_behind);
        }
        let is_behind = |group: &Hosted| group.is_alone() && !group.is_serving() && !group.is_held();
        self.groups().any(is_behind) || self.has_work(time)
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
            Identity { node: settings.node, shards: settings.shards, incarnation: 0, mode: settings.mode }
        }
    };
    let Identity { node, shards, incarnation, mode } = found;
    if mode != settings.mode {
        return Err(OpenError::Mode { folder: folder.clone(), found: mode, wanted: settings.mode });
    }
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
    bodies: &'a mut Tails<D::File>,
    now: Instant,
}

/// What there is in a folder.
struct Opened {
    cluster: Option<MetaGroup>,
    replicas: Vec<Replica>,
    left: BTreeMap<u16, Kept>,
}

impl<D: Disk> Opening<'_, D> {
    /// All shards, new or not.
    fn alone(&mut self, found: &BTreeMap<u32, RecoveredGroup>, random: &mut Random) -> Result<Opened, OpenError> {
        let mut replicas = Vec::new();
        for shard in (0..self.settings.shards.get()).map(ShardId) {
            let kept = match kept(found, group_of(shard))? {
                Some(kept) => kept,
                None => Kept::new(Membership::new(self.settings.voters.iter().copied(), [])?),
            };
            let mut replica = self.replica(shard, kept, random)?;
            if self.settings.voters == [self.settings.node] {
                // What clients were promised must be known even if the disk has no room for a vote: a message for a
                // session that nobody knows of would be acknowledged, and lost.
                replica.group.has_decided_alone();
            }
            replicas.push(replica);
        }
        Ok(Opened { cluster: None, replicas, left: BTreeMap::new() })
    }

    /// Group 0, the shards that are on the disk, and what is left of others.
    fn member(&mut self, found: &BTreeMap<u32, RecoveredGroup>, random: &mut Random) -> Result<Opened, OpenError> {
        let mut left = BTreeMap::new();
        let mut replicas = Vec::new();
        let kept_of_meta = kept(found, META)?.unwrap_or_else(|| Kept::new(Membership::default()));
        let (group, loaded) = self.group(META, kept_of_meta, random)?;
        let meta = match loaded {
            Some(Loaded::Meta(meta)) => *meta,
            _ => Meta::new(),
        };
        let meta = self.settings.sabotaged_meta(meta);
        let numbers = found.keys().filter_map(|number| u16::try_from(*number).ok());
        for (number, shard) in numbers.filter_map(|number| Some((number, shard_of(number)?))) {
            let Some(kept) = kept(found, number)? else { continue };
            let has_entries = self.log.entries(number.into()).is_some();
            // It has never heard of anything, or has forgotten it: the map says whether it is here.
            if kept.start.membership == Membership::default() && !has_entries {
                left.insert(number, kept);
            } else {
                replicas.push(self.replica(shard, kept, random)?);
            }
        }
        Ok(Opened { cluster: Some(MetaGroup::new(group, meta)), replicas, left })
    }

    fn replica(&mut self, id: ShardId, kept: Kept, random: &mut Random) -> Result<Replica, OpenError> {
        let (group, loaded) = self.group(group_of(id), kept, random)?;
        let shard = match loaded {
            Some(Loaded::Shard(shard)) => *shard,
            _ => Shard::new(id),
        };
        Ok(Replica::new(group, self.settings.sabotaged_shard(shard), random.next()))
    }

    /// A group as it was, and what its newest snapshot holds.
    fn group(&mut self, group: u16, kept: Kept, random: &mut Random) -> Result<(Hosted, Option<Loaded>), OpenError> {
        let start = kept.start.clone();
        let (entries, log_bytes) = self.entries(group, start.position.index)?;
        let loaded = self.load(group, start.position, &entries)?;
        let applied = loaded.as_ref().map_or(0, |(index, _)| *index);
        let recovered = Recovered::from_log(kept.hard_state, start, applied, entries)
            .map_err(|source| OpenError::Group { group, source })?;
        let raft = self.settings.raft.clone();
        let raft = Group::new(raft, self.settings.node, recovered, self.now, random.next());
        let mut hosted = Hosted::new(group, raft, applied, kept);
        (hosted.log_bytes, hosted.snapshot) = (log_bytes, applied);
        Ok((hosted, loaded.map(|(_, loaded)| loaded)))
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
    /// on from there. One that was received and that the log did not take fits by its place at most, not by its term.
    fn load(&mut self, group: u16, start: Position, entries: &[Entry]) -> Result<Option<(u64, Loaded)>, OpenError> {
        let mut found = "there is none".to_owned();
        let last = entries.last().map_or(start.index, |last| last.index);
        let fits = |named: &&Named| named.group == group && (start.index..=last).contains(&named.index);
        for named in self.snapshots.iter().filter(fits) {
            let behind_start = entries.iter().find(|entry| entry.index == named.index);
            let wanted = behind_start.map_or(start, Entry::position);
            let folder = &self.settings.folder;
            let mut files = BodyFiles::new(group, folder);
            let mut keeping = Spilling {
                files: &mut files,
                room: Room { disk: self.disk, next: &mut self.bodies.next, file_bytes: self.settings.body_file_bytes },
                most: self.settings.shard_memory_bytes,
                is_from_elsewhere: false,
            };
            match snapshot::load(self.disk, &named.path(folder), *named, &mut keeping) {
                Ok((at, _)) if at.position != wanted => {
                    found = format!("snapshot {} is of term {}", named.index, at.position.term);
                }
                Ok((_, Loaded::Shard(shard))) if Some(shard.id()) != shard_of(group) => {
                    found = format!("snapshot {} is of shard {}", named.index, shard.id().0);
                }
                Ok((_, loaded)) => {
                    self.bodies.replace(group, files, self.disk)?;
                    return Ok(Some((named.index, loaded)));
                }
                Err(what) => found = what,
            }
        }
        let start = start.index;
        if start == 0 { Ok(None) } else { Err(OpenError::NoSnapshot { group, start, found }) }
    }
}

/// What is kept of a group beside its log, if it is one.
fn kept(found: &BTreeMap<u32, RecoveredGroup>, group: u16) -> Result<Option<Kept>, OpenError> {
    let state = found.get(&group.into()).map(|found| &found.state).filter(|state| !state.is_empty());
    state.map(|state| Kept::decode(group, state)).transpose()
}
