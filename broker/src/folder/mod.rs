//! Data folders without a broker: `fulmar-broker inspect`, `export`, `import` and `recover`.
//!
//! What is read and what it means is decided by `fulmar-store-raft`; here are the lock, the files and what people and
//! programs are shown. Nobody but these has the folder open meanwhile.

mod export;
mod import;
mod inspect;
mod left;
mod line;
mod output;
mod parse;
mod progress;
mod recover;
mod report;
mod swap;
mod text;

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use fulmar_log::ReadOnlyDisk;
use fulmar_store::Time;
use fulmar_store_raft::{Finding, Inspector, Wanted};

pub(crate) use export::{ExportRequest, run as export};
pub(crate) use import::{ImportRequest, run as import};
pub(crate) use inspect::{InspectRequest, run as inspect};
pub(crate) use recover::{RecoverRequest, run as recover};

use crate::{node_id, store};

/// How a tool ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// As it should.
    Well,
    /// The folder is damaged, or can't be read.
    Damaged,
}

/// A data folder that is only read. No broker starts on it meanwhile.
struct DataFolder {
    path: PathBuf,
    /// As the file with the node's id says.
    node: Option<u64>,
    /// What is wrong with that file.
    findings: Vec<Finding>,
    /// Keeps the lock, which others who only read may have as well.
    _lock: Option<File>,
}

impl DataFolder {
    /// Opens nothing to be written, so it may be a copy on a file system that can't be.
    fn open(path: &Path) -> anyhow::Result<Self> {
        let mut folder = DataFolder { path: path.to_owned(), node: None, findings: Vec::new(), _lock: None };
        let listed = std::fs::read_dir(path).with_context(|| format!("open the data folder {}", path.display()))?;
        let names: Vec<_> = listed.flatten().map(|entry| entry.file_name()).collect();
        let has = |name: &str| names.iter().any(|it| it == name);
        if !has(node_id::FILE_NAME) && !has(store::FOLDER) {
            let hint =
                if has("identity") { "; this looks like the store of one: name the folder above it" } else { "" };
            let [id, store] = [node_id::FILE_NAME, store::FOLDER];
            bail!("found neither {id} nor {store} in {}, wanted the dataDir of a broker{hint}", path.display());
        }
        for name in [IMPORTING, recover::RECOVERING].into_iter().filter(|name| has(name)) {
            folder.findings.push(Finding::left_over(path.join(name)));
        }
        let file = path.join(node_id::FILE_NAME);
        if !has(node_id::FILE_NAME) {
            folder.findings.push(Finding::no_node_id(file));
            return Ok(folder);
        }
        match File::open(&file) {
            Ok(open) => folder.read_node_id(&file, open)?,
            Err(error) => folder.findings.push(Finding::unreadable(&file, &error)),
        }
        Ok(folder)
    }

    fn read_node_id(&mut self, path: &Path, mut file: File) -> anyhow::Result<()> {
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "{} is in use by a broker, wanted one that nobody changes meanwhile: stop the broker, or ask it by /metrics",
                self.path.display()
            ),
            // Where there are no locks, no broker runs either.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
        }
        let mut text = String::new();
        match (&mut file).take(1024).read_to_string(&mut text) {
            Ok(_) => {
                self.node = node_id::parse(text.trim());
                // What is empty was never used.
                if self.node.is_none() && !text.trim().is_empty() {
                    self.findings.push(Finding::node_id(path.to_owned(), &text));
                }
            }
            Err(error) => self.findings.push(Finding::unreadable(path, &error)),
        }
        self._lock = Some(file);
        Ok(())
    }

    /// Where sessions and retained messages are, if there is anything.
    fn store(&self) -> Option<PathBuf> {
        Some(self.path.join(store::FOLDER)).filter(|store| store.exists())
    }

    /// Looks at the store.
    fn inspector(&self) -> Option<Inspector<ReadOnlyDisk>> {
        let wanted = Wanted { node: self.node, shards: Some(SHARDS) };
        let mut inspector = Inspector::open(ReadOnlyDisk, &self.store()?, wanted);
        self.findings.iter().for_each(|finding| inspector.note(finding.clone()));
        Some(inspector)
    }
}

/// What a broker has.
const SHARDS: NonZeroU16 = store::SHARDS;

/// What will be the store when an import has come to its end.
const IMPORTING: &str = "store.importing";

/// Milliseconds of the wall clock.
fn wall_clock() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
