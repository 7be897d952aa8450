//! A process that is killed in the middle of writing, on the real disk: what it said was synced is found.

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fulmar_log::{Log, Settings, StdDisk, Write};

const FOLDER: &str = "FULMAR_LOG_KILL_FOLDER";

fn settings() -> Settings {
    Settings { segment_bytes: 64 * 1024, ..Settings::new(1, 2) }
}

/// What the other process does: writes, syncs and says so, for ever.
fn write_until_killed(folder: &Path) {
    let (mut log, recovered) = Log::open(StdDisk, folder, settings()).expect("the log opens");
    let mut index = recovered.groups.first().and_then(|group| group.entries).map_or(0, |[_, (last, _)]| last);
    loop {
        index += 1;
        let payload = [index as u8; 500];
        let mut writes = vec![Write::Append { group: 1, index, term: 1, payload: &payload }];
        writes.extend((index > 300).then(|| Write::Purge { group: 1, until: index - 300 }));
        log.write(&writes).expect("there is room");
        log.sync().expect("the disk works");
        log.reclaim().expect("the disk works");
        writeln!(std::io::stdout(), "synced {index}").expect("the test listens");
    }
}

#[test]
fn what_a_killed_process_synced_is_found() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return write_until_killed(Path::new(&folder));
    }
    let folder = TestFolder::new();
    let mut before = 0;
    for lines in [1, 50, 700, 3] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "what_a_killed_process_synced_is_found", "--nocapture"])
            .env(FOLDER, &folder.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut synced = output.lines().filter_map(|line| line.unwrap().strip_prefix("synced ")?.parse::<u64>().ok());
        // The pipe stays open until the process is gone, so that it dies of nothing else.
        let last = synced.by_ref().take(lines).last().expect("it writes");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(last >= before + lines as u64, "it goes on behind {before}, and said {last}");

        let (mut log, recovered) = Log::open(StdDisk, &folder.0, settings()).unwrap();
        let [(first, _), (found, _)] = recovered.groups[0].entries.unwrap();
        assert!(found >= last && found - first < 300, "{first} to {found}, and {last} was synced");
        let entries = log.read(1, first, usize::MAX).unwrap();
        assert!(entries.iter().all(|entry| entry.payload == [entry.index as u8; 500]));
        assert_eq!(entries.len() as u64, found - first + 1);
        before = found;
    }
}

/// A folder that goes with the test.
struct TestFolder(PathBuf);

impl TestFolder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("fulmar-log-kill-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
