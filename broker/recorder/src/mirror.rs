//! What was synced of a folder: files and folders by numbers of their own, contents and names apart from each other, as
//! file systems keep them.
//!
//! The contents of file 7 are in `contents/7`, as they were when the file was synced last. The names in folder 3 are in
//! `names/3`, as they were when that folder was synced last; the folder that is recorded is number 0. A file's number
//! outlives its names, so a rename is durable when its folder is synced, with whatever contents were synced by then.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A file of this name in the mirror says which syncs are left out from now on: `files` or `folders`. A broker that did
/// not sync would leave the same behind.
const FORGETS: &str = "forgets";

const CONTENTS: &str = "contents";
const NAMES: &str = "names";
const ROOT: u64 = 0;
const COPIED_AT_ONCE: usize = 1 << 20;

/// A file or folder, as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    pub(crate) fn of(metadata: &Metadata) -> Inode {
        Inode { device: metadata.dev(), number: metadata.ino() }
    }
}

/// A file or folder that is recorded.
#[derive(Debug)]
struct Tracked {
    number: u64,
    /// What was written since the last sync lies within.
    dirty: Option<Range<u64>>,
}

/// The recorder of one folder.
#[derive(Debug)]
pub(crate) struct Mirror {
    from: PathBuf,
    to: PathBuf,
    tracked: HashMap<Inode, Tracked>,
    next: u64,
}

impl Mirror {
    /// Begins with what was synced before, in place of what is in the folder, or with all of that: as a disk has it when
    /// a machine starts.
    pub(crate) fn begin(from: &Path, to: &Path) -> io::Result<Mirror> {
        if to.join(NAMES).exists() {
            restore(to, from)?;
        }
        fs::create_dir_all(from)?;
        for folder in [to.join(CONTENTS), to.join(NAMES)] {
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
            fs::create_dir_all(&folder)?;
        }
        let mut mirror = Mirror { from: from.to_owned(), to: to.to_owned(), tracked: HashMap::new(), next: ROOT };
        mirror.take_all(from)?;
        Ok(mirror)
    }

    fn take_all(&mut self, folder: &Path) -> io::Result<()> {
        self.track(Inode::of(&fs::metadata(folder)?));
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let metadata = fs::symlink_metadata(&path)?;
            if metadata.is_dir() {
                self.take_all(&path)?;
            } else {
                let number = self.track(Inode::of(&metadata));
                fs::copy(&path, self.contents(number))?;
            }
        }
        self.record_names(folder)
    }

    /// Whether a path lies in what is recorded.
    pub(crate) fn has(&self, path: &Path) -> bool {
        std::path::absolute(path).is_ok_and(|path| path.starts_with(&self.from))
    }

    /// A file or folder has been made here, perhaps with the inode of one that is gone.
    pub(crate) fn made(&mut self, inode: Inode) {
        self.tracked.remove(&inode);
        self.track(inode);
    }

    /// A file has so many bytes now.
    pub(crate) fn cut(&mut self, inode: Inode, length: u64) {
        self.touch(inode, length..u64::MAX);
    }

    pub(crate) fn written(&mut self, inode: Inode, bytes: Range<u64>) {
        self.touch(inode, bytes);
    }

    fn touch(&mut self, inode: Inode, bytes: Range<u64>) {
        if let Some(Tracked { dirty, .. }) = self.tracked.get_mut(&inode) {
            let before = dirty.take().unwrap_or_else(|| bytes.clone());
            *dirty = Some(before.start.min(bytes.start)..before.end.max(bytes.end));
        }
    }

    /// Whether this sync is to be recorded; `None`: it is none of ours.
    pub(crate) fn synced(&mut self, file: &File) -> Option<io::Result<()>> {
        let metadata = match file.metadata() {
            Ok(metadata) => metadata,
            Err(error) => return Some(Err(error)),
        };
        let tracked = self.tracked.get_mut(&Inode::of(&metadata))?;
        let forgets = fs::read_to_string(self.to.join(FORGETS)).unwrap_or_default();
        if metadata.is_dir() {
            let path = || fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)));
            return Some(match forgets.trim() {
                "folders" => Ok(()),
                _ => path().and_then(|path| self.record_names(&path)),
            });
        }
        if forgets.trim() == "files" {
            return Some(Ok(()));
        }
        let (number, dirty) = (tracked.number, tracked.dirty.take());
        Some(self.record_contents(number, dirty, file, metadata.len()))
    }

    fn record_contents(&self, number: u64, dirty: Option<Range<u64>>, file: &File, length: u64) -> io::Result<()> {
        let copy = OpenOptions::new().write(true).create(true).truncate(false).open(self.contents(number))?;
        copy.set_len(length)?;
        let Range { start: mut next, end } = dirty.unwrap_or_default();
        let mut buffer = vec![0; COPIED_AT_ONCE];
        while next < end.min(length) {
            let wanted = usize::try_from(end.min(length) - next).map_or(buffer.len(), |it| it.min(buffer.len()));
            file.read_exact_at(&mut buffer[..wanted], next)?;
            copy.write_all_at(&buffer[..wanted], next)?;
            next += wanted as u64;
        }
        Ok(())
    }

    /// All names of a folder at once: a journal does not tear a rename.
    fn record_names(&mut self, folder: &Path) -> io::Result<()> {
        let number = self.track(Inode::of(&fs::metadata(folder)?));
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = fs::symlink_metadata(entry.path())?;
            let kind = if metadata.is_dir() { "folder" } else { "file" };
            names.extend_from_slice(format!("{kind} {} ", self.track(Inode::of(&metadata))).as_bytes());
            names.extend_from_slice(entry.file_name().as_bytes());
            names.push(0);
        }
        let (new, path) = (self.to.join("names.new"), self.to.join(NAMES).join(number.to_string()));
        fs::write(&new, names)?;
        fs::rename(new, path)
    }

    fn track(&mut self, inode: Inode) -> u64 {
        let next = &mut self.next;
        let new = || {
            let number = *next;
            *next += 1;
            Tracked { number, dirty: None }
        };
        self.tracked.entry(inode).or_insert_with(new).number
    }

    fn contents(&self, number: u64) -> PathBuf {
        self.to.join(CONTENTS).join(number.to_string())
    }
}

/// Makes a folder of what was synced, in place of the one that may be there.
fn restore(mirror: &Path, folder: &Path) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    restore_folder(mirror, ROOT, folder)
}

fn restore_folder(mirror: &Path, number: u64, folder: &Path) -> io::Result<()> {
    fs::create_dir(folder)?;
    // A folder whose names were never synced has none.
    let names = optional(fs::read(mirror.join(NAMES).join(number.to_string())))?;
    for line in names.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let (kind, number, name) = (parts.next(), parts.next(), parts.next());
        let number = number.and_then(|number| str::from_utf8(number).ok()?.parse().ok());
        let (Some(number), Some(name)) = (number, name) else {
            return Err(io::Error::other("the mirror has a name without a number"));
        };
        let path = folder.join(OsString::from_vec(name.to_vec()));
        if kind == Some(b"folder") {
            restore_folder(mirror, number, &path)?;
        } else {
            fs::write(path, optional(fs::read(mirror.join(CONTENTS).join(number.to_string())))?)?;
        }
    }
    Ok(())
}

/// What is not there was never synced.
fn optional(read: io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// A folder that is recorded, by hand.
    struct Stage {
        base: PathBuf,
        mirror: Mirror,
    }

    impl Stage {
        fn new(name: &str) -> Stage {
            let base = std::env::temp_dir().join(format!("fulmar-recorder-{}-{name}", std::process::id()));
            let mirror = Mirror::begin(&base.join("data"), &base.join("mirror")).unwrap();
            Stage { base, mirror }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.base.join("data").join(name)
        }

        fn make(&mut self, name: &str) -> File {
            let path = self.path(name);
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).unwrap();
            self.mirror.made(Inode::of(&file.metadata().unwrap()));
            file
        }

        fn write(&mut self, file: &File, at: u64, bytes: &str) {
            file.write_all_at(bytes.as_bytes(), at).unwrap();
            self.mirror.written(Inode::of(&file.metadata().unwrap()), at..at + bytes.len() as u64);
        }

        fn sync(&mut self, file: &File) {
            self.mirror.synced(file).expect("it is recorded").unwrap();
        }

        fn sync_folder(&mut self) {
            let folder = File::open(self.base.join("data")).unwrap();
            self.sync(&folder);
        }

        /// Names and contents after a loss of power.
        fn left(&self) -> Vec<(String, String)> {
            let folder = self.base.join("left");
            restore(&self.base.join("mirror"), &folder).unwrap();
            let text = |path: PathBuf| fs::read_to_string(path).unwrap();
            let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
            let mut left: Vec<_> =
                names.map(|entry| (entry.file_name().into_string().unwrap(), text(entry.path()))).collect();
            left.sort();
            left
        }
    }

    impl Drop for Stage {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.base);
        }
    }

    fn one(name: &str, contents: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), contents.to_owned())]
    }

    #[test]
    fn contents_are_kept_when_they_are_synced_and_names_with_their_folder() {
        let mut stage = Stage::new("kept");
        assert!(stage.mirror.has(&stage.path("log")) && !stage.mirror.has(&stage.base.join("mirror/contents/0")));
        let file = stage.make("log");
        stage.write(&file, 0, "first");
        stage.sync(&file);
        assert_eq!(stage.left(), [], "nobody has synced the name");
        stage.sync_folder();
        stage.write(&file, 5, ", second");
        assert_eq!(stage.left(), one("log", "first"));
        stage.sync(&file);
        assert_eq!(stage.left(), one("log", "first, second"));
    }

    #[test]
    fn a_rename_and_a_cut_are_kept_no_earlier_than_they_are_synced() {
        let mut stage = Stage::new("rename");
        let file = stage.make("identity.new");
        stage.write(&file, 0, "one life");
        stage.sync(&file);
        stage.sync_folder();
        fs::rename(stage.path("identity.new"), stage.path("identity")).unwrap();
        assert_eq!(stage.left(), one("identity.new", "one life"));
        stage.sync_folder();
        assert_eq!(stage.left(), one("identity", "one life"));
        file.set_len(3).unwrap();
        stage.mirror.cut(Inode::of(&file.metadata().unwrap()), 3);
        stage.write(&file, 5, "!");
        assert_eq!(stage.left(), one("identity", "one life"));
        stage.sync(&file);
        assert_eq!(stage.left(), one("identity", "one\0\0!"));
    }

    #[test]
    fn a_removed_file_is_there_until_its_folder_is_synced_though_its_inode_is_another_files() {
        let mut stage = Stage::new("removed");
        let old = stage.make("old");
        stage.write(&old, 0, "old");
        stage.sync(&old);
        stage.sync_folder();
        drop(old);
        fs::remove_file(stage.path("old")).unwrap();
        let new = stage.make("new");
        stage.write(&new, 0, "new");
        stage.sync(&new);
        assert_eq!(stage.left(), one("old", "old"));
        stage.sync_folder();
        assert_eq!(stage.left(), one("new", "new"));
    }

    #[test]
    fn the_next_life_begins_with_what_was_synced_and_syncs_can_be_left_out() {
        let mut stage = Stage::new("next");
        let file = stage.make("log");
        stage.write(&file, 0, "first");
        stage.sync(&file);
        stage.sync_folder();
        stage.write(&file, 0, "other");
        stage.make("never");
        stage.mirror = Mirror::begin(&stage.base.join("data"), &stage.base.join("mirror")).unwrap();
        assert_eq!(stage.left(), one("log", "first"));
        assert!(!stage.path("never").exists() && fs::read(stage.path("log")).unwrap() == b"first");

        let file = OpenOptions::new().read(true).write(true).open(stage.path("log")).unwrap();
        fs::write(stage.base.join("mirror").join(FORGETS), "files").unwrap();
        stage.write(&file, 0, "third");
        stage.sync(&file);
        assert_eq!(stage.left(), one("log", "first"));
        fs::write(stage.base.join("mirror").join(FORGETS), "folders").unwrap();
        stage.sync(&file);
        stage.make("new");
        stage.sync_folder();
        assert_eq!(stage.left(), one("log", "third"));
    }
}
