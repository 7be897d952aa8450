//! Brokers whose data folder is recorded by `broker/recorder`: each of their lives begins with what the one before had
//! synced, and with nothing else that it wrote.

use std::path::{Path, PathBuf};

use super::Folder;

/// What a broker finds in its environment whose data is in the folder `data`.
pub fn recorded(folder: &Folder) -> Vec<(String, String)> {
    let library = library().to_str().expect("a path of ours is UTF-8").to_owned();
    let path = |name: &str| folder.path().join(name).display().to_string();
    [("LD_PRELOAD", library), ("FULMAR_RECORDER_FROM", path("data")), ("FULMAR_RECORDER_TO", path("synced"))]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
}

/// From now on syncs of `files`, or of `folders`, are as if the broker had left them out.
pub fn forget_syncs(folder: &Folder, of: &str) {
    let synced = folder.path().join("synced");
    std::fs::create_dir_all(&synced).expect("make a folder");
    std::fs::write(synced.join("forgets"), of).expect("write what is forgotten");
}

/// It is built with the tests, which depend on it, and lies beside them.
fn library() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let library = test.parent().unwrap_or(Path::new(".")).join("libfulmar_recorder.so");
    assert!(library.exists(), "{} was not built", library.display());
    library
}
