//! A password file that is changed while brokers read it: whole before, whole after, and never open to more than before.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use fulmar_auth::FileError;
use fulmar_auth::passwords::{PasswordFile, PasswordLimits};

/// Of a new file: it is nobody else's business who the users are.
const NEW_MODE: u32 = 0o600;
/// Bits by which others could let themselves in.
const OTHERS_WRITE: u32 = 0o022;

/// Replaces the file's text by what `change` makes of it. A file that is not there is empty.
pub(super) fn change(file: &Path, change: impl FnOnce(&str) -> anyhow::Result<String>) -> anyhow::Result<()> {
    // A link stays, and the file that it leads to is replaced.
    let file = match file.canonicalize() {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => file.to_owned(),
        Err(error) => return Err(error).with_context(|| format!("find {}", file.display())),
    };
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let lock = File::open(&folder).with_context(|| format!("open the folder {}", folder.display()))?;
    // Two that read the same text would undo each other's change. The lock ends with the descriptor.
    lock.lock().with_context(|| format!("lock the folder {}", folder.display()))?;

    let before = read(&file)?;
    let text = before.as_ref().map_or("", |before| before.text.as_str());
    parse(&file, text)?;
    let changed = change(text)?;
    replace(&file, &changed, before.as_ref()).with_context(|| format!("replace {}", file.display()))?;
    lock.sync_all().with_context(|| format!("write the folder {} to the disk", folder.display()))
}

/// The text with `line` for this user, in the place of an earlier one or at the end.
pub(super) fn with(text: &str, name: &str, line: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    match lines.iter().position(|found| is_of(found, name)) {
        Some(place) => lines[place] = line,
        None => lines.push(line),
    }
    lines.join("\n") + "\n"
}

/// The text without this user.
pub(super) fn without(text: &str, name: &str) -> anyhow::Result<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let Some(place) = lines.iter().position(|found| is_of(found, name)) else {
        bail!("found no user {name:?} in the file, wanted one");
    };
    lines.remove(place);
    Ok(lines.iter().map(|line| format!("{line}\n")).collect())
}

/// All that is wrong with a file, in words.
pub(super) fn told(errors: &[FileError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn is_of(line: &str, name: &str) -> bool {
    let line = line.strip_prefix('\u{feff}').unwrap_or(line);
    !line.starts_with('#') && line.split_once(':').is_some_and(|(found, _)| found == name)
}

struct Before {
    text: String,
    mode: u32,
    owner: (u32, u32),
}

fn read(file: &Path) -> anyhow::Result<Option<Before>> {
    let metadata = match file.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("look at {}", file.display())),
    };
    ensure!(metadata.is_file(), "{}: found something that is no file, wanted a file", file.display());
    let mode = metadata.mode() & 0o7777;
    ensure!(
        mode & OTHERS_WRITE == 0,
        "{}: found that others may write it (mode {mode:04o}), wanted its owner alone: chmod go-w",
        file.display()
    );
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    Ok(Some(Before { text, mode, owner: (metadata.uid(), metadata.gid()) }))
}

/// A file that brokers refuse is not made worse.
fn parse(file: &Path, text: &str) -> anyhow::Result<()> {
    match PasswordFile::parse(text, PasswordLimits::default()) {
        Ok(_) => Ok(()),
        Err(errors) => bail!("{}: {}", file.display(), told(&errors)),
    }
}

/// Writes a new file beside it and gives it the name, so that a reader sees one or the other.
fn replace(file: &Path, text: &str, before: Option<&Before>) -> anyhow::Result<()> {
    let mut name = file.file_name().context("found a path without a file's name")?.to_owned();
    name.push(format!(".{:016x}", getrandom::u64().context("ask the operating system for random bytes")?));
    let new = Unfinished(file.with_file_name(name));
    let mut writer = OpenOptions::new().write(true).create_new(true).mode(NEW_MODE).open(&new.0)?;
    if let Some(Before { text: _, mode, owner }) = before {
        let made = writer.metadata()?;
        if *owner != (made.uid(), made.gid()) {
            fchown(&writer, Some(owner.0), Some(owner.1)).context("give the new file the owner of the old one")?;
        }
        writer.set_permissions(Permissions::from_mode(*mode))?;
    }
    writer.write_all(text.as_bytes())?;
    writer.sync_all()?;
    std::fs::rename(&new.0, file)?;
    Ok(())
}

/// A file that goes if it is not given its name. After that there is nothing to remove.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_line_is_replaced_in_its_place_or_added_at_the_end() {
        let text = "# staff\nalice:1\n\nbob:2";
        assert_eq!(with(text, "alice", "alice:3"), "# staff\nalice:3\n\nbob:2\n");
        assert_eq!(with(text, "carol", "carol:3"), "# staff\nalice:1\n\nbob:2\ncarol:3\n");
        assert_eq!(with("", "carol", "carol:3"), "carol:3\n");
        // Neither a part of a name nor a comment is the user.
        assert_eq!(with("#al:1\nalice:2\n", "al", "al:3"), "#al:1\nalice:2\nal:3\n");
    }

    #[test]
    fn a_user_is_taken_out_with_its_line_alone() {
        assert_eq!(without("# staff\nalice:1\nbob:2\n", "alice").unwrap(), "# staff\nbob:2\n");
        assert_eq!(without("alice:1", "alice").unwrap(), "");
        let error = without("alice:1", "al").unwrap_err().to_string();
        assert_eq!(error, "found no user \"al\" in the file, wanted one");
    }
}
