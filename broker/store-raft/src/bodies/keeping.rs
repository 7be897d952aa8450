//! What becomes of bodies while a snapshot is read: they leave memory again, or all of them come into it.

use std::collections::BTreeMap;
use std::path::Path;

use fulmar_log::{Disk, File};
use fulmar_store::{Bodies, BodyPlace, Message, Shard};

use super::{BodyFile, BodyFiles, FILE_HEAD_BYTES, MAGIC, NamedBodies, Room, VERSION, read, record_bytes};
use crate::errors::Failed;

/// Who reads a snapshot of a shard.
pub(crate) trait Keeping: Bodies<Error = Failed> {
    /// Whether it may refer to files.
    fn may_have_places(&self) -> bool;
    /// More of it was read.
    fn keep(&mut self, shard: &mut Shard) -> Result<(), Failed>;
    /// All of it was.
    fn finish(&mut self, shard: &mut Shard) -> Result<(), Failed>;
}

/// For an engine: memory holds no more than it may.
pub(crate) struct Spilling<'a, D: Disk> {
    pub(crate) files: &'a mut BodyFiles<D::File>,
    pub(crate) room: Room<'a, D>,
    pub(crate) most: u64,
    /// It comes from elsewhere, where files with the same names are others.
    pub(crate) is_from_elsewhere: bool,
}

impl<D: Disk> Bodies for Spilling<'_, D> {
    type Error = Failed;

    fn read(&mut self, body: u64, place: BodyPlace) -> Result<Message, Failed> {
        self.files.read(body, place)
    }
}

impl<D: Disk> Keeping for Spilling<'_, D> {
    fn may_have_places(&self) -> bool {
        !self.is_from_elsewhere
    }

    /// Without room they stay in memory: the engine tries again.
    fn keep(&mut self, shard: &mut Shard) -> Result<(), Failed> {
        self.files.spill(shard, self.most, &mut self.room).map(drop)
    }

    fn finish(&mut self, shard: &mut Shard) -> Result<(), Failed> {
        shard.take_freed();
        self.files.refer(self.room.disk, shard)
    }
}

impl<F: File> BodyFiles<F> {
    /// A shard that was loaded refers to some of these files, and perhaps to others in the folder.
    fn refer(&mut self, disk: &impl Disk<File = F>, shard: &Shard) -> Result<(), Failed> {
        self.doubled = self.live();
        self.files.values_mut().for_each(|file| file.live = 0);
        for (body, place) in shard.body_places() {
            if !self.files.contains_key(&place.file) {
                let path = self.path(place.file);
                let (file, length) = open(disk, &path, body, place)?;
                let file = BodyFile { file: file.into(), length, live: 0, is_synced: true };
                self.files.insert(place.file, file);
                self.held.insert(place.file);
            }
            let path = self.path(place.file);
            let Some(file) = self.files.get_mut(&place.file) else { continue };
            let end = u64::from(place.offset) + record_bytes(place);
            if end > file.length {
                let what = format!("the file ends at {}, wanted {end}", file.length);
                return Err(Failed::Body { path, offset: place.offset.into(), body, what });
            }
            file.live += record_bytes(place);
        }
        Ok(())
    }
}

/// A file of bodies, and how long it is.
fn open<D: Disk>(disk: &D, path: &Path, body: u64, place: BodyPlace) -> Result<(D::File, u64), Failed> {
    let wrong = |what: String| Failed::Body { path: path.to_owned(), offset: place.offset.into(), body, what };
    let mut head = [0; FILE_HEAD_BYTES];
    let opened = disk.open(path).and_then(|file| {
        file.read_at(0, &mut head)?;
        Ok((file.length()?, file))
    });
    let (length, file) = opened.map_err(|error| wrong(error.to_string()))?;
    let (magic, version) = head.split_at(MAGIC.len());
    if magic != MAGIC || version != VERSION.to_le_bytes() {
        return Err(wrong(format!("the file begins with {head:02x?}, wanted version {VERSION}")));
    }
    Ok((file, length))
}

/// For whoever looks at a shard: all of it is in memory.
pub(crate) struct Bringing<'a, D: Disk> {
    pub(crate) disk: &'a D,
    pub(crate) folder: &'a Path,
    pub(crate) group: u16,
    files: BTreeMap<u32, D::File>,
}

impl<'a, D: Disk> Bringing<'a, D> {
    pub(crate) fn new(disk: &'a D, folder: &'a Path, group: u16) -> Self {
        Self { disk, folder, group, files: BTreeMap::new() }
    }
}

impl<D: Disk> Bodies for Bringing<'_, D> {
    type Error = Failed;

    fn read(&mut self, body: u64, place: BodyPlace) -> Result<Message, Failed> {
        let path = NamedBodies { group: self.group, number: place.file }.path(self.folder);
        if !self.files.contains_key(&place.file) {
            self.files.insert(place.file, open(self.disk, &path, body, place)?.0);
        }
        read(self.files.get(&place.file), body, place, &path)
    }
}

impl<D: Disk> Keeping for Bringing<'_, D> {
    fn may_have_places(&self) -> bool {
        true
    }

    fn keep(&mut self, _shard: &mut Shard) -> Result<(), Failed> {
        Ok(())
    }

    fn finish(&mut self, shard: &mut Shard) -> Result<(), Failed> {
        shard.bring_all(self)
    }
}
