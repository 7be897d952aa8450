//! What the data folder says of the cluster, on the disk: a small file beside the engine's, replaced as a whole.

use std::path::Path;

use fulmar_log::{Disk, File};
use fulmar_member::{FOLDER_BYTES_MAX, Folder, FolderError};
use thiserror::Error;

const NAME: &str = "membership";
const UNFINISHED: &str = "membership.new";

/// The file can't be used.
#[derive(Debug, Error)]
pub enum FolderFileError {
    /// The disk refuses.
    #[error("{step} {file}: {source}")]
    Disk {
        /// What was to be done.
        step: &'static str,
        /// With which file.
        file: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It is damaged or edited.
    #[error("{file}: {source}")]
    Content {
        /// Which.
        file: String,
        /// What is wrong.
        source: FolderError,
    },
}

fn disk(step: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FolderFileError {
    let file = path.display().to_string();
    move |source| FolderFileError::Disk { step, file, source }
}

/// What is there; none: the folder was never part of any cluster.
pub(crate) fn read(on: &impl Disk, folder: &Path) -> Result<Option<Folder>, FolderFileError> {
    let names = on.list(folder).map_err(disk("list", folder))?;
    if !names.iter().any(|name| name == NAME) {
        return Ok(None);
    }
    let path = folder.join(NAME);
    let file = on.open(&path).map_err(disk("open", &path))?;
    let length = file.length().map_err(disk("read", &path))?.min(FOLDER_BYTES_MAX as u64 + 1);
    let mut bytes = vec![0; length as usize];
    file.read_at(0, &mut bytes).map_err(disk("read", &path))?;
    let content = |source| FolderFileError::Content { file: path.display().to_string(), source };
    Folder::decode(&bytes).map(Some).map_err(content)
}

/// Replaces it; durable when this returns.
pub fn write(on: &impl Disk, folder: &Path, what: &Folder) -> Result<(), FolderFileError> {
    let (path, unfinished) = (folder.join(NAME), folder.join(UNFINISHED));
    let file = on.create(&unfinished).map_err(disk("create", &unfinished))?;
    file.write_at(0, &what.encode()).map_err(disk("write", &unfinished))?;
    file.sync().map_err(disk("sync", &unfinished))?;
    on.rename(&unfinished, &path).map_err(disk("rename", &unfinished))?;
    on.sync_folder(folder).map_err(disk("sync", folder))
}

#[cfg(test)]
mod tests {
    use fulmar_log::disk::{CrashKeeps, SimulatedDisk};
    use fulmar_member::Bond;
    use fulmar_meta::ClusterId;

    use super::*;

    #[test]
    fn what_was_written_is_there_after_a_crash() {
        let (on, folder) = (SimulatedDisk::new(1), Path::new("/data"));
        on.create_folder(folder).unwrap();
        assert_eq!(read(&on, folder).unwrap(), None);
        for bond in [Bond::None, Bond::Begins(ClusterId(7)), Bond::Belongs(ClusterId(7))] {
            let what = Folder { node: 0xab, bond };
            write(&on, folder, &what).unwrap();
            on.crash(CrashKeeps::Nothing);
            assert_eq!(read(&on, folder).unwrap(), Some(what));
        }
    }
}
