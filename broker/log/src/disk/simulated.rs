//! A disk in memory, from one seed: it forgets what was not synced, tears writes, fills up, fails a sync, is slow.
//!
//! What it takes from real ones: a write can be read at once; a crash keeps of the unsynced ones what it likes; names
//! are durable only with their folder; a file whose sync failed counts as clean, though it can be read and may never
//! reach the disk. What it leaves out: read errors, and sectors that are half old and half new.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fulmar_random::Random;

use super::{Disk, File};

const SECTOR_BYTES: usize = 512;

/// What a crash leaves of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashKeeps {
    /// Nothing.
    Nothing,
    /// The changes of each file up to some byte, and those of the folders up to some name; removed names at will.
    Prefix,
    /// Of each file any sectors and any length; of the folders as with a prefix.
    Sectors,
}

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

/// A file of a [`SimulatedDisk`]. After a crash it can't be used any more.
#[derive(Debug, Clone)]
pub struct SimulatedFile {
    state: Arc<Mutex<State>>,
    inode: u64,
    life: u64,
}

#[derive(Debug)]
struct State {
    random: Random,
    /// Counts crashes.
    life: u64,
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    stored_names: BTreeMap<PathBuf, u64>,
    unsynced_names: Vec<NameChange>,
    capacity: Option<u64>,
    syncs: u64,
    failing_sync: Option<u64>,
    sync_takes: Duration,
    bytes_per_second: u64,
    elapsed: Duration,
}

/// A file's contents: as they can be read, and as a crash would leave them if it kept nothing.
#[derive(Debug, Default, Clone)]
struct Inode {
    cached: Vec<u8>,
    stored: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Clone)]
enum NameChange {
    Link(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
}

impl Change {
    fn apply(&self, contents: &mut Vec<u8>) {
        match self {
            Change::Write { offset, bytes } => {
                let end = offset + bytes.len();
                contents.resize(contents.len().max(end), 0);
                contents[*offset..end].copy_from_slice(bytes);
            }
            Change::Length(length) => contents.resize(*length, 0),
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::Link(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            NameChange::Unlink(path) => {
                names.remove(path);
            }
        }
    }

    fn is_in(&self, folder: &Path) -> bool {
        let (NameChange::Link(path, _) | NameChange::Rename(_, path) | NameChange::Unlink(path)) = self;
        path.parent() == Some(folder)
    }
}

impl SimulatedDisk {
    /// An empty disk without end that takes no time.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: Random::new(seed),
            life: 0,
            inodes: BTreeMap::new(),
            names: BTreeMap::new(),
            stored_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            capacity: None,
            syncs: 0,
            failing_sync: None,
            sync_takes: Duration::ZERO,
            bytes_per_second: u64::MAX,
            elapsed: Duration::ZERO,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Another disk with what can be read on this one now, all of it durable: a backup of a volume.
    #[must_use]
    pub fn copy(&self, seed: u64) -> Self {
        let copy = Self::new(seed);
        let state = self.lock();
        let durable = |inode: &Inode| Inode { stored: inode.cached.clone(), unsynced: Vec::new(), ..inode.clone() };
        {
            let mut to = copy.lock();
            to.inodes = state.inodes.iter().map(|(number, inode)| (*number, durable(inode))).collect();
            (to.names, to.stored_names) = (state.names.clone(), state.names.clone());
            (to.sync_takes, to.bytes_per_second) = (state.sync_takes, state.bytes_per_second);
        }
        copy
    }

    /// The machine loses its power. What is open can't be used any more.
    pub fn crash(&self, keeps: CrashKeeps) {
        self.lock().crash(keeps);
    }

    /// From now on at most so many bytes fit; none is without end.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// How many bytes the files have.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// Lets the `count`-th sync from now on fail, the next one being the first.
    pub fn fail_sync(&self, count: u64) {
        let mut state = self.lock();
        state.failing_sync = Some(state.syncs + count);
    }

    /// How many syncs there were, of files and folders.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Turns one bit over, on the disk and for those who read it.
    pub fn flip(&self, path: &Path, bit: u64) {
        let mut state = self.lock();
        let Some(inode) = state.names.get(path).copied().and_then(|inode| state.inodes.get_mut(&inode)) else {
            return;
        };
        let (at, bit) = (usize::try_from(bit / 8).unwrap_or(usize::MAX), bit % 8);
        for contents in [&mut inode.cached, &mut inode.stored] {
            if let Some(byte) = contents.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
    }

    /// From now on a sync takes so long, and bytes pass at this rate.
    pub fn set_speed(&self, sync_takes: Duration, bytes_per_second: u64) {
        let mut state = self.lock();
        (state.sync_takes, state.bytes_per_second) = (sync_takes, bytes_per_second.max(1));
    }

    /// How long everything took since this was asked last. Nobody waited for it.
    pub fn take_elapsed(&self) -> Duration {
        std::mem::take(&mut self.lock().elapsed)
    }

    /// The files, with how many bytes each has.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let state = self.lock();
        state.names.iter().map(|(path, inode)| (path.clone(), state.inodes[inode].cached.len() as u64)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Nothing is left half done when a test that holds it fails.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn up_to(&mut self, most: usize) -> usize {
        self.random.index(most + 1)
    }

    fn coin(&mut self) -> bool {
        self.random.once_in(2)
    }

    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[inode].cached.len() as u64).sum()
    }

    fn crash(&mut self, keeps: CrashKeeps) {
        self.life += 1;
        self.failing_sync = None;
        let changes = std::mem::take(&mut self.unsynced_names);
        if keeps != CrashKeeps::Nothing {
            let kept = self.up_to(changes.len());
            for (at, change) in changes.iter().enumerate() {
                let is_kept = if matches!(change, NameChange::Unlink(_)) { self.coin() } else { at < kept };
                if is_kept {
                    change.apply(&mut self.stored_names);
                }
            }
        }
        self.names = self.stored_names.clone();
        let named: Vec<u64> = self.names.values().copied().collect();
        self.inodes.retain(|inode, _| named.contains(inode));
        for number in named {
            let mut inode = self.inodes.remove(&number).unwrap_or_default();
            match keeps {
                CrashKeeps::Nothing => {}
                CrashKeeps::Prefix => self.keep_prefix(&mut inode),
                CrashKeeps::Sectors => self.keep_sectors(&mut inode),
            }
            inode.unsynced.clear();
            inode.cached = inode.stored.clone();
            self.inodes.insert(number, inode);
        }
    }

    fn keep_prefix(&mut self, inode: &mut Inode) {
        let kept = self.up_to(inode.unsynced.len());
        for change in &inode.unsynced[..kept] {
            change.apply(&mut inode.stored);
        }
        let is_torn = self.coin();
        if let Some(Change::Write { offset, bytes }) = inode.unsynced.get(kept).filter(|_| is_torn) {
            let count = self.up_to(bytes.len());
            Change::Write { offset: *offset, bytes: bytes[..count].to_vec() }.apply(&mut inode.stored);
        }
    }

    fn keep_sectors(&mut self, inode: &mut Inode) {
        let mut all = inode.stored.clone();
        let mut touched = vec![false; all.len().div_ceil(SECTOR_BYTES)];
        for change in &inode.unsynced {
            let before = all.len();
            change.apply(&mut all);
            let range = match change {
                Change::Write { offset, bytes } => (*offset).min(before)..offset + bytes.len(),
                Change::Length(length) => before.min(*length)..before.max(*length),
            };
            touched.resize(touched.len().max(range.end.div_ceil(SECTOR_BYTES)), false);
            touched[range.start / SECTOR_BYTES..range.end.div_ceil(SECTOR_BYTES)].fill(true);
        }
        let (least, most) = (all.len().min(inode.stored.len()), all.len().max(inode.stored.len()));
        let length = match self.up_to(2) {
            0 => inode.stored.len(),
            1 => all.len(),
            _ => least + self.up_to(most - least),
        };
        all.resize(most, 0);
        inode.stored.resize(most, 0);
        for (at, sector) in all.chunks(SECTOR_BYTES).enumerate() {
            if !touched.get(at).is_some_and(|touched| *touched) || self.coin() {
                let begin = at * SECTOR_BYTES;
                inode.stored[begin..begin + sector.len()].copy_from_slice(sector);
            }
        }
        inode.stored.truncate(length);
    }

    /// Counts a sync, and fails the one that was asked to.
    fn sync_fails(&mut self) -> bool {
        self.syncs += 1;
        self.elapsed += self.sync_takes;
        self.failing_sync.take_if(|failing| *failing == self.syncs).is_some()
    }

    fn passed(&mut self, bytes: usize) {
        let nanoseconds = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second);
        self.elapsed += Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} does not exist", path.display()))
}

fn sync_failed() -> io::Error {
    io::Error::other("simulated: the disk did not take it")
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn create_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.lock();
        let names = state.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(names.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn create(&self, path: &Path) -> io::Result<SimulatedFile> {
        let mut state = self.lock();
        let inode = state.inodes.last_key_value().map_or(1, |(last, _)| last + 1);
        state.inodes.insert(inode, Inode::default());
        state.change_names(NameChange::Link(path.to_owned(), inode));
        Ok(SimulatedFile { state: Arc::clone(&self.state), inode, life: state.life })
    }

    fn open(&self, path: &Path) -> io::Result<SimulatedFile> {
        let state = self.lock();
        let inode = *state.names.get(path).ok_or_else(|| not_found(path))?;
        Ok(SimulatedFile { state: Arc::clone(&self.state), inode, life: state.life })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if !state.names.contains_key(from) {
            return Err(not_found(from));
        }
        state.change_names(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if !state.names.contains_key(path) {
            return Err(not_found(path));
        }
        state.change_names(NameChange::Unlink(path.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if state.sync_fails() {
            return Err(sync_failed());
        }
        let changes = std::mem::take(&mut state.unsynced_names);
        let (here, elsewhere) = changes.into_iter().partition(|change| change.is_in(folder));
        state.unsynced_names = elsewhere;
        let here: Vec<NameChange> = here;
        for change in here {
            change.apply(&mut state.stored_names);
        }
        Ok(())
    }
}

impl SimulatedFile {
    /// Does something with the file, if there was no crash since it was opened.
    fn with<T>(&self, act: impl FnOnce(&mut State, &mut Inode) -> io::Result<T>) -> io::Result<T> {
        let mut state = lock(&self.state);
        if state.life != self.life {
            return Err(io::Error::other("simulated: opened before the crash"));
        }
        let mut inode = state.inodes.remove(&self.inode).ok_or_else(|| io::Error::other("simulated: no such file"))?;
        let result = act(&mut state, &mut inode);
        state.inodes.insert(self.inode, inode);
        result
    }
}

impl File for SimulatedFile {
    fn length(&self) -> io::Result<u64> {
        self.with(|_, inode| Ok(inode.cached.len() as u64))
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.with(|state, inode| {
            let begin = usize::try_from(offset).unwrap_or(usize::MAX);
            let found = inode.cached.get(begin..begin.saturating_add(bytes.len()));
            bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            state.passed(bytes.len());
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|state, inode| {
            let offset = usize::try_from(offset).map_err(io::Error::other)?;
            // The inode is out of the map meanwhile, and counts for itself.
            let others = state.names.values().filter(|number| **number != self.inode);
            let others: u64 = others.map(|number| state.inodes[number].cached.len() as u64).sum();
            let room = state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(others));
            let room = usize::try_from(room).unwrap_or(usize::MAX).max(inode.cached.len());
            let fits = room.saturating_sub(offset).min(bytes.len());
            let change = Change::Write { offset, bytes: bytes[..fits].to_vec() };
            change.apply(&mut inode.cached);
            inode.unsynced.push(change);
            state.passed(fits);
            if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        })
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.with(|_, inode| {
            let change = Change::Length(usize::try_from(length).map_err(io::Error::other)?);
            change.apply(&mut inode.cached);
            inode.unsynced.push(change);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state, inode| {
            let fails = state.sync_fails();
            for change in std::mem::take(&mut inode.unsynced) {
                if !fails || state.coin() {
                    change.apply(&mut inode.stored);
                }
            }
            if fails { Err(sync_failed()) } else { Ok(()) }
        })
    }
}
