//! A file that is there when it is whole, or standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Where an export goes.
pub(super) enum Output {
    Standard(BufWriter<io::Stdout>),
    File { writer: BufWriter<File>, new: Unfinished, path: PathBuf },
}

/// A file that goes if it is not given its name.
pub(super) struct Unfinished(PathBuf);

impl Output {
    /// `-` is standard output. A file is made beside the one that it takes the place of when it is whole; what clients
    /// have sent is nobody else's to read.
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Standard(BufWriter::new(io::stdout())));
        }
        let mut name = path.file_name().context("found no file's name to export to, wanted one, or -")?.to_owned();
        name.push(format!(".{:016x}", getrandom::u64().context("ask the operating system for random bytes")?));
        let new = Unfinished(path.with_file_name(name));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new.0);
        let file = file.with_context(|| format!("create {}", new.0.display()))?;
        Ok(Self::File { writer: BufWriter::with_capacity(1 << 20, file), new, path: path.to_owned() })
    }

    /// Makes it durable, and gives it its name.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Self::Standard(mut writer) => writer.flush(),
            Self::File { mut writer, new, path } => {
                writer.flush()?;
                writer.get_ref().sync_all()?;
                std::fs::rename(&new.0, &path)?;
                let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
                File::open(folder)?.sync_all()
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Standard(writer) => writer.write(bytes),
            Self::File { writer, .. } => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Standard(writer) => writer.flush(),
            Self::File { writer, .. } => writer.flush(),
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After it got its name there is nothing to remove.
        let _ = std::fs::remove_file(&self.0);
    }
}
