//! A value made from files, made again when they change. The last good one stays when the new files are no good.
//!
//! Files are looked at every few seconds rather than watched: Kubernetes replaces a mounted Secret by turning a
//! symbolic link, and what a watch reports of that differs from one file system to the next.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::Context;

/// A value and the files it was made from.
pub(crate) struct Reloaded<T> {
    files: Vec<PathBuf>,
    make: Box<dyn Fn() -> anyhow::Result<T> + Send + Sync>,
    current: Mutex<Current<T>>,
}

struct Current<T> {
    value: T,
    stamps: Vec<Option<Stamp>>,
}

/// What changes when a file is replaced or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    bytes: u64,
}

/// Something that can be made again from its files.
pub(crate) trait Reload: Send + Sync {
    /// Makes the value again if a file changed since the last look. `Ok(true)`: there is a new value.
    fn reload(&self) -> anyhow::Result<bool>;
}

impl<T: Clone> Reloaded<T> {
    /// Makes the value for the first time.
    pub(crate) fn load(
        files: Vec<PathBuf>,
        make: impl Fn() -> anyhow::Result<T> + Send + Sync + 'static,
    ) -> anyhow::Result<Reloaded<T>> {
        // The stamps are taken first: what changes during the reading is seen at the next look.
        let stamps = stamps(&files);
        let current = Mutex::new(Current { value: make()?, stamps });
        Ok(Reloaded { files, make: Box::new(make), current })
    }

    /// The last good value.
    pub(crate) fn get(&self) -> T {
        self.lock().value.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current<T>> {
        self.current.lock().expect("nothing panics while the value is replaced")
    }
}

impl<T: Clone + Send> Reload for Reloaded<T> {
    fn reload(&self) -> anyhow::Result<bool> {
        let stamps = stamps(&self.files);
        if self.lock().stamps == stamps {
            return Ok(false);
        }
        let made = (self.make)();
        let mut current = self.lock();
        // A failure is reported once, not at every look at the same files.
        current.stamps = stamps;
        current.value = made.context("keep the last good one")?;
        Ok(true)
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |file: &PathBuf| {
        let metadata = std::fs::metadata(file).ok()?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Some(Stamp { device: metadata.dev(), inode: metadata.ino(), modified, bytes: metadata.len() })
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_taken_and_a_bad_one_leaves_the_last_good_value() {
        let folder = std::env::temp_dir().join(format!("fulmar-reload-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        // As Kubernetes does it: the file is a link into a folder that a second link points to.
        let put = |version: &str, text: &str| {
            std::fs::create_dir_all(folder.join(version)).unwrap();
            std::fs::write(folder.join(version).join("value"), text).unwrap();
            std::os::unix::fs::symlink(version, folder.join("new")).unwrap();
            std::fs::rename(folder.join("new"), folder.join("data")).unwrap();
        };
        put("1", "1");
        std::os::unix::fs::symlink("data/value", folder.join("value")).unwrap();
        let file = folder.join("value");
        let path = file.clone();
        let make = move || Ok(std::fs::read_to_string(&path)?.parse::<u32>()?);
        let reloaded = Reloaded::load(vec![file], make).unwrap();
        assert_eq!((reloaded.get(), reloaded.reload().unwrap()), (1, false));
        put("2", "2");
        assert_eq!((reloaded.reload().unwrap(), reloaded.get()), (true, 2));
        put("3", "three");
        assert!(reloaded.reload().is_err());
        assert_eq!((reloaded.reload().unwrap(), reloaded.get()), (false, 2));
        std::fs::remove_file(folder.join("data")).unwrap();
        assert!(reloaded.reload().is_err());
        put("4", "4");
        assert_eq!((reloaded.reload().unwrap(), reloaded.get()), (true, 4));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
