//! When bodies leave memory, when their files are synced, emptied and removed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fulmar_log::Disk;

use crate::bodies::{BodyFiles, NamedBodies, Room, Spilled};
use crate::engine::Engine;
use crate::errors::{Failed, OpenError};
use crate::settings::sabotaged;

/// The files of all groups.
pub(crate) struct Tails<F> {
    folder: PathBuf,
    groups: BTreeMap<u16, BodyFiles<F>>,
    /// The number of the next file of any group.
    pub(crate) next: u32,
    /// So much could not leave memory for want of room.
    pub(crate) full: Option<usize>,
}

impl<F: fulmar_log::File> Tails<F> {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), groups: BTreeMap::new(), next: 1, full: None }
    }

    /// Those of a group.
    pub(crate) fn of(&mut self, group: u16) -> &mut BodyFiles<F> {
        self.groups.entry(group).or_insert_with(|| BodyFiles::new(group, &self.folder))
    }

    fn get(&self, group: u16) -> Option<&BodyFiles<F>> {
        self.groups.get(&group)
    }

    /// Those of a shard that was loaded take the place of what there was, which goes.
    pub(crate) fn replace(&mut self, group: u16, files: BodyFiles<F>, disk: &impl Disk) -> Result<(), Failed> {
        match self.groups.insert(group, files) {
            Some(before) => before.remove_all(disk),
            None => Ok(()),
        }
    }

    /// A group has gone.
    pub(crate) fn remove(&mut self, group: u16, disk: &impl Disk) -> Result<(), Failed> {
        self.groups.remove(&group).map_or(Ok(()), |files| files.remove_all(disk))
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.groups.values().map(BodyFiles::bytes).sum()
    }

    fn knows(&self, named: NamedBodies) -> bool {
        self.get(named.group).is_some_and(|files| files.has(named.number))
    }
}

/// The number behind those of all files of bodies in the folder.
pub(crate) fn next_number(disk: &impl Disk, folder: &Path) -> Result<u32, OpenError> {
    let names = disk.list(folder).map_err(OpenError::disk("list", folder))?;
    let last = names.iter().filter_map(|name| NamedBodies::parse(name)).map(|named| named.number).max();
    Ok(last.map_or(1, |last| last.saturating_add(1)))
}

impl<D: Disk + Clone> Engine<D> {
    /// A group's shard has changed: what it does not want any more is free, and what is too much leaves memory.
    pub(crate) fn spill(&mut self, at: usize) -> Result<(), Failed> {
        let replica = &mut self.replicas[at];
        let Tails { next, full, groups, .. } = &mut self.bodies;
        let mut room = Room { disk: &self.disk, next, file_bytes: self.settings.body_file_bytes };
        let group = replica.group_number();
        let files = groups.entry(group).or_insert_with(|| BodyFiles::new(group, &self.settings.folder));
        files.free(&replica.shard.take_freed());
        if let Spilled::Full(wanted) = files.spill(&mut replica.shard, self.settings.shard_memory_bytes, &mut room)? {
            *full = Some(wanted);
        }
        Ok(())
    }

    /// Tries again what the disk had no room for. How much it has none for still.
    pub(crate) fn spill_again(&mut self) -> Result<Option<usize>, Failed> {
        if self.bodies.full.take().is_some() {
            (0..self.replicas.len()).try_for_each(|at| self.spill(at))?;
        }
        Ok(self.bodies.full)
    }

    /// Syncs what was written, so that no snapshot has to wait for much, and empties files that are mostly unwanted: a
    /// portion of one group.
    pub(crate) fn tend_bodies(&mut self) -> Result<(), Failed> {
        for at in 0..self.replicas.len() {
            let group = self.replicas[at].group_number();
            let files = self.bodies.of(group);
            if files.unsynced() >= self.settings.snapshot_portion_bytes as u64
                && !sabotaged!(self.settings, BodiesNotSynced)
            {
                files.sync()?;
            }
        }
        if self.full.is_some() {
            return Ok(());
        }
        let groups = self.bodies.groups.iter();
        let Some(group) = groups.filter(|(_, files)| files.must_compact()).map(|(group, _)| *group).next() else {
            return Ok(());
        };
        let Some(at) = self.place_of_group(group) else { return Ok(()) };
        let Tails { next, groups, full, .. } = &mut self.bodies;
        let Some(files) = groups.get_mut(&group) else { return Ok(()) };
        let mut room = Room { disk: &self.disk, next, file_bytes: self.settings.body_file_bytes };
        if let Spilled::Full(wanted) = files.compact(&mut self.replicas[at].shard, &mut room)? {
            *full = Some(wanted);
        }
        self.counted.bodies_compacted += 1;
        self.remove_bodies(group)
    }

    /// Whether another turn would empty files.
    pub(crate) fn must_tend_bodies(&self) -> bool {
        self.full.is_none() && self.bodies.full.is_none() && self.bodies.groups.values().any(BodyFiles::must_compact)
    }

    /// Removes files of a group that nobody wants.
    pub(crate) fn remove_bodies(&mut self, group: u16) -> Result<(), Failed> {
        let (file_bytes, ignores_held) = (self.settings.body_file_bytes, sabotaged!(self.settings, HeldBodiesRemoved));
        let files = self.bodies.of(group);
        if ignores_held {
            files.forget_held();
        }
        files.remove_unwanted(&self.disk, file_bytes)
    }

    /// Whether a group's last snapshot keeps more on the disk than is worth it.
    pub(crate) fn wastes_bodies(&self, group: u16) -> bool {
        let least = 2 * self.settings.body_file_bytes;
        self.bodies.get(group).is_some_and(|files| files.wasted() > least.max(files.live() / 2))
    }

    /// Removes files in the folder that no shard refers to: of an earlier life, or of groups that are not here.
    pub(crate) fn remove_strange_bodies(&self) -> Result<(), OpenError> {
        let folder = &self.settings.folder;
        let names = self.disk.list(folder).map_err(OpenError::disk("list", folder))?;
        for named in names.iter().filter_map(|name| NamedBodies::parse(name)).filter(|named| !self.bodies.knows(*named))
        {
            let path = named.path(folder);
            self.disk.remove(&path).map_err(OpenError::disk("remove", &path))?;
        }
        Ok(())
    }
}
