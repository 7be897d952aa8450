//! The bodies of messages that have left memory: files of a shard on this node.
//!
//! `bodies-GROUP-NUMBER` is appended to and never changed:
//!
//! ```text
//! file   = magic (8 bytes) version (32 bits) record*
//! record = length (32 bits) crc32c (32 bits) body (64 bits) message
//! ```
//! Integers are little-endian; the checksum is of all behind it, and a message is as [`Message::encode`] writes it.
//!
//! Until a snapshot refers to them the files are nothing but memory that is elsewhere: after a crash the log makes again
//! what was in them. So they are synced before a snapshot that refers to them has its name, and stay as long as it is
//! there. Nobody appends to a file of an earlier life, and those that no snapshot refers to go when a folder is opened.
//!
//! A file of which less than half is wanted is read from its beginning, a portion in a turn; what is wanted is appended
//! to the newest. Numbers are not used twice in a life, by no group.

mod compact;
mod keeping;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fulmar_log::{Disk, File};
use fulmar_store::{Bodies, BodyPlace, Message, Shard, cost};

use crate::errors::{Failed, is_full};
pub(crate) use keeping::{Bringing, Keeping, Spilling};

const MAGIC: &[u8; 8] = b"FULMBODY";
const VERSION: u32 = 1;
const FILE_HEAD_BYTES: usize = MAGIC.len() + 4;
const RECORD_HEAD_BYTES: usize = 16;

/// So much is written at once, beside one body that is larger.
const WRITE_BYTES: usize = 1 << 20;

/// See the [module](self). Those of one group.
pub(crate) struct BodyFiles<F> {
    group: u16,
    folder: PathBuf,
    files: BTreeMap<u32, BodyFile<F>>,
    /// The one that is appended to.
    current: Option<u32>,
    /// Those that the snapshot on the disk refers to.
    held: BTreeSet<u32>,
    /// Those that the snapshot refers to that is being written.
    writing: BTreeSet<u32>,
    /// What was written since the last sync.
    unsynced: u64,
    /// A file was made since its folder was synced.
    is_name_new: bool,
    /// What the snapshot on the disk has itself of bodies that are here as well.
    doubled: u64,
    /// The file that is being emptied, and how far.
    compacting: Option<(u32, u64)>,
    /// Bytes that were read since this was asked last.
    was_read: u64,
}

struct BodyFile<F> {
    file: Arc<F>,
    length: u64,
    /// The bytes of records that are wanted.
    live: u64,
    is_synced: bool,
}

/// Whether bodies could leave memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spilled {
    Yes,
    /// The disk has no room for so many bytes.
    Full(usize),
}

/// A file of bodies, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NamedBodies {
    pub(crate) group: u16,
    pub(crate) number: u32,
}

impl NamedBodies {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (group, number) = name.strip_prefix("bodies-")?.split_once('-')?;
        let named = Self { group: group.parse().ok()?, number: number.parse().ok()? };
        (named.name() == name).then_some(named)
    }

    fn name(self) -> String {
        format!("bodies-{}-{}", self.group, self.number)
    }

    pub(crate) fn path(self, folder: &Path) -> PathBuf {
        folder.join(self.name())
    }
}

/// What a file takes and how much of it is wanted.
fn record_bytes(place: BodyPlace) -> u64 {
    RECORD_HEAD_BYTES as u64 + u64::from(place.length)
}

/// Where files are, and how large they become.
pub(crate) struct Room<'a, D> {
    pub(crate) disk: &'a D,
    /// The number of the next file of any group.
    pub(crate) next: &'a mut u32,
    /// A file that has so many bytes is followed by another one.
    pub(crate) file_bytes: u64,
}

impl<F: File> BodyFiles<F> {
    /// Of a group that has none yet.
    pub(crate) fn new(group: u16, folder: &Path) -> Self {
        Self {
            group,
            folder: folder.to_owned(),
            files: BTreeMap::new(),
            current: None,
            held: BTreeSet::new(),
            writing: BTreeSet::new(),
            unsynced: 0,
            is_name_new: false,
            doubled: 0,
            compacting: None,
            was_read: 0,
        }
    }

    fn path(&self, number: u32) -> PathBuf {
        NamedBodies { group: self.group, number }.path(&self.folder)
    }

    /// Lets bodies leave memory, the oldest first, when they count more than `most` there.
    pub(crate) fn spill<D: Disk<File = F>>(
        &mut self,
        shard: &mut Shard,
        most: u64,
        room: &mut Room<'_, D>,
    ) -> Result<Spilled, Failed> {
        if shard.bytes_in_memory() <= most {
            return Ok(Spilled::Yes);
        }
        // Some more than must be, so that it is not a single one each time.
        let wanted = most - most / 4;
        while shard.bytes_in_memory() > wanted {
            let (number, base) = match self.end(room)? {
                Ok(end) => end,
                Err(wanted) => return Ok(Spilled::Full(wanted)),
            };
            let mut leave = shard.bytes_in_memory() - wanted;
            let (mut bytes, mut placed) = (Vec::new(), Vec::new());
            for (id, message) in shard.leaving() {
                let offset = offset_of(base + bytes.len() as u64);
                let length = append_record(&mut bytes, id, message);
                placed.push((id, BodyPlace { file: number, offset, length }));
                leave = leave.saturating_sub(cost::BODY + message.bytes());
                if leave == 0 || bytes.len() >= WRITE_BYTES || base + bytes.len() as u64 >= room.file_bytes {
                    break;
                }
            }
            if let Spilled::Full(wanted) = self.append(number, &bytes)? {
                return Ok(Spilled::Full(wanted));
            }
            placed.into_iter().for_each(|(id, place)| shard.put_on_disk(id, place));
        }
        Ok(Spilled::Yes)
    }

    /// The file that is appended to, and how long it is. The error is how much there is no room for.
    fn end<D: Disk<File = F>>(&mut self, room: &mut Room<'_, D>) -> Result<Result<(u32, u64), usize>, Failed> {
        if let Some((number, file)) = self.current.and_then(|it| Some((it, self.files.get(&it)?)))
            && file.length < room.file_bytes
        {
            return Ok(Ok((number, file.length)));
        }
        let number = *room.next;
        let path = self.path(number);
        let head = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
        let made = room.disk.create(&path).and_then(|file| file.write_at(0, &head).map(|()| file));
        let file = match made {
            Ok(file) => file,
            Err(error) if is_full(&error) => {
                return match room.disk.remove(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        Err(Failed::disk("remove", &path)(error))
                    }
                    _ => Ok(Err(head.len())),
                };
            }
            Err(error) => return Err(Failed::disk("create", &path)(error)),
        };
        *room.next += 1;
        let length = head.len() as u64;
        self.files.insert(number, BodyFile { file: Arc::new(file), length, live: 0, is_synced: false });
        self.current = Some(number);
        self.is_name_new = true;
        Ok(Ok((number, length)))
    }

    /// Appends records that are all wanted.
    fn append(&mut self, number: u32, bytes: &[u8]) -> Result<Spilled, Failed> {
        let path = self.path(number);
        let Some(file) = self.files.get_mut(&number) else { return Ok(Spilled::Yes) };
        if let Err(error) = file.file.write_at(file.length, bytes) {
            // What is behind the end is written over, but should not take the room that there is.
            return match file.file.set_length(file.length) {
                Ok(()) if is_full(&error) => Ok(Spilled::Full(bytes.len())),
                Ok(()) => Err(Failed::disk("write", &path)(error)),
                Err(error) => Err(Failed::disk("cut back", &path)(error)),
            };
        }
        file.length += bytes.len() as u64;
        file.live += bytes.len() as u64;
        file.is_synced = false;
        self.unsynced += bytes.len() as u64;
        Ok(Spilled::Yes)
    }

    /// Nobody wants what is at these places.
    pub(crate) fn free(&mut self, places: &[BodyPlace]) {
        for place in places {
            if let Some(file) = self.files.get_mut(&place.file) {
                file.live = file.live.saturating_sub(record_bytes(*place));
            }
        }
    }

    /// What was written since the last sync.
    pub(crate) fn unsynced(&self) -> u64 {
        self.unsynced
    }

    /// Makes durable what was written.
    pub(crate) fn sync(&mut self) -> Result<(), Failed> {
        for (number, file) in self.files.iter_mut().filter(|(_, file)| !file.is_synced) {
            let path = NamedBodies { group: self.group, number: *number }.path(&self.folder);
            file.file.sync().map_err(Failed::disk("sync", &path))?;
            file.is_synced = true;
        }
        self.unsynced = 0;
        Ok(())
    }

    /// The same with the names of the files.
    pub(crate) fn sync_with_names(&mut self, disk: &impl Disk) -> Result<(), Failed> {
        self.sync()?;
        if self.is_name_new {
            disk.sync_folder(&self.folder).map_err(Failed::disk("sync", &self.folder))?;
            self.is_name_new = false;
        }
        Ok(())
    }

    /// A snapshot of this moment refers to what is wanted now.
    pub(crate) fn begin_snapshot(&mut self) {
        self.writing = self.wanted().collect();
    }

    /// Whether there is something that a snapshot would refer to.
    pub(crate) fn has_any(&self) -> bool {
        self.wanted().next().is_some()
    }

    fn wanted(&self) -> impl Iterator<Item = u32> {
        self.files.iter().filter(|(_, file)| file.live > 0).map(|(number, _)| *number)
    }

    /// The snapshot that was begun last is the one on the disk.
    pub(crate) fn finish_snapshot(&mut self) {
        self.held = std::mem::take(&mut self.writing);
        self.doubled = 0;
    }

    /// It never will be.
    pub(crate) fn give_up_snapshot(&mut self) {
        self.writing.clear();
    }

    /// Removes files that nobody wants. An emptied one that is appended to stays while it is small.
    pub(crate) fn remove_unwanted(&mut self, disk: &impl Disk, file_bytes: u64) -> Result<(), Failed> {
        let small = file_bytes / 32;
        let is_needed = |number: &u32, file: &BodyFile<F>| {
            file.live > 0
                || self.held.contains(number)
                || self.writing.contains(number)
                || (self.current == Some(*number) && file.length <= small)
        };
        let unwanted: Vec<u32> =
            self.files.iter().filter(|(number, file)| !is_needed(number, file)).map(|(number, _)| *number).collect();
        for number in unwanted {
            let path = self.path(number);
            disk.remove(&path).map_err(Failed::disk("remove", &path))?;
            self.files.remove(&number);
            self.current.take_if(|current| *current == number);
            self.compacting.take_if(|(current, _)| *current == number);
        }
        Ok(())
    }

    /// Whether one has this number.
    pub(crate) fn has(&self, number: u32) -> bool {
        self.files.contains_key(&number)
    }

    /// A mistake for the tests.
    pub(crate) fn forget_held(&mut self) {
        self.held.clear();
    }

    /// Removes all.
    pub(crate) fn remove_all(self, disk: &impl Disk) -> Result<(), Failed> {
        self.files.keys().map(|number| self.path(*number)).try_for_each(|path| {
            // One may have gone already when its removal was not durable.
            match disk.remove(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failed::disk("remove", &path)(error)),
                _ => Ok(()),
            }
        })
    }

    /// Bytes of the files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.length).sum()
    }

    /// Bytes that are on the disk only because the snapshot there refers to them, or has them itself. A new snapshot gives
    /// them back.
    pub(crate) fn wasted(&self) -> u64 {
        let held = self.held.iter().filter_map(|number| self.files.get(number));
        held.filter(|file| file.live == 0).map(|file| file.length).sum::<u64>() + self.doubled
    }

    /// Bytes of records that are wanted.
    pub(crate) fn live(&self) -> u64 {
        self.files.values().map(|file| file.live).sum()
    }

    /// The files that the snapshot on the disk refers to, for whoever sends it. They can be read when they have gone.
    pub(crate) fn held_files(&self) -> HeldFiles<F> {
        let held = self.held.iter().filter_map(|number| Some((*number, self.files.get(number)?.file.clone())));
        HeldFiles { group: self.group, folder: self.folder.clone(), files: held.collect() }
    }

    /// Bytes that were read since this was asked last.
    pub(crate) fn take_read(&mut self) -> u64 {
        std::mem::take(&mut self.was_read)
    }
}

impl<F: File> Bodies for BodyFiles<F> {
    type Error = Failed;

    fn read(&mut self, body: u64, place: BodyPlace) -> Result<Message, Failed> {
        self.was_read += record_bytes(place);
        read(self.files.get(&place.file).map(|file| &*file.file), body, place, &self.path(place.file))
    }
}

/// Files that may have no names any more.
pub(crate) struct HeldFiles<F> {
    group: u16,
    folder: PathBuf,
    files: BTreeMap<u32, Arc<F>>,
}

impl<F: File> Bodies for HeldFiles<F> {
    type Error = Failed;

    fn read(&mut self, body: u64, place: BodyPlace) -> Result<Message, Failed> {
        let path = NamedBodies { group: self.group, number: place.file }.path(&self.folder);
        read(self.files.get(&place.file).map(|file| &**file), body, place, &path)
    }
}

/// Reads a body, and says what is wrong with it.
fn read<F: File>(file: Option<&F>, body: u64, place: BodyPlace, path: &Path) -> Result<Message, Failed> {
    let damaged = |what: String| Failed::Body { path: path.to_owned(), offset: place.offset.into(), body, what };
    let file = file.ok_or_else(|| damaged("the file is not there".to_owned()))?;
    let mut record = vec![0; RECORD_HEAD_BYTES + place.length as usize];
    file.read_at(place.offset.into(), &mut record).map_err(|error| damaged(error.to_string()))?;
    let (found, message) = check_record(&record).map_err(damaged)?;
    if found != body {
        return Err(damaged(format!("body {found} is there")));
    }
    Message::decode(message).map_err(|error| damaged(error.to_string()))
}

fn append_record(out: &mut Vec<u8>, body: u64, message: &Message) -> u32 {
    let start = out.len();
    out.resize(start + 8, 0);
    out.extend(body.to_le_bytes());
    message.encode(out);
    let checksum = crc32c::crc32c(&out[start + 8..]);
    let length = offset_of((out.len() - start - RECORD_HEAD_BYTES) as u64);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
    length
}

/// What stands in the head of a record: how long the message is, and of which body.
fn record_head(head: &[u8; RECORD_HEAD_BYTES]) -> (u32, u64) {
    let [length, body] = [&head[..4], &head[8..]].map(|bytes| {
        let mut all = [0; 8];
        all[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(all)
    });
    (offset_of(length), body)
}

/// The body and its bytes, if the record is as it was written.
fn check_record(record: &[u8]) -> Result<(u64, &[u8]), String> {
    let Some((head, message)) = record.split_first_chunk::<RECORD_HEAD_BYTES>() else {
        return Err(format!("a record of {} bytes", record.len()));
    };
    let (length, body) = record_head(head);
    if length as usize != message.len() {
        return Err(format!("a body of {length} bytes, wanted {}", message.len()));
    }
    let wanted = u32::from_le_bytes(head[4..8].try_into().expect("four of sixteen bytes"));
    let found = crc32c::crc32c(&record[8..]);
    if found == wanted { Ok((body, message)) } else { Err(format!("checksum {found:08x}, wanted {wanted:08x}")) }
}

/// A place within a file: these are far smaller than 4 GB, with one message that is as large as one may be.
fn offset_of(bytes: u64) -> u32 {
    u32::try_from(bytes).expect("files of bodies are far smaller than 4 GB")
}
