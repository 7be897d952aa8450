//! Wall clocks that can be stepped, one for each node: a library that is loaded into the broker before its own ones.
//! It is compiled for the test, and no part of the product.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/clock.c");

/// The clock of a node.
pub struct Clock {
    file: std::fs::File,
    path: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// One that goes right, with what it needs in the folder.
    pub fn new(folder: &Path) -> Clock {
        let (path, library) = (folder.join("clock"), folder.join("clock.so"));
        let compiled = Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(SOURCE).status();
        assert!(compiled.expect("there is a compiler").success(), "compile {SOURCE}");
        let file = std::fs::File::create(&path).expect("make a file");
        let clock = Clock { file, path, library };
        clock.step(0);
        clock
    }

    /// From now on it is so many seconds away from the machine's.
    pub fn step(&self, seconds: i64) {
        self.file.write_all_at(&seconds.to_ne_bytes(), 0).expect("step a clock");
    }

    /// What the broker's environment must have.
    pub fn variables(&self) -> [(&'static str, String); 2] {
        let text = |path: &Path| path.to_str().expect("paths of tests are text").to_owned();
        [("LD_PRELOAD", text(&self.library)), ("FULMAR_TEST_CLOCK", text(&self.path))]
    }
}
