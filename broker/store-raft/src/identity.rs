//! Whose folder it is, how many shards it was made for and how often it was opened: a file of a few lines.
//!
//! ```text
//! fulmar data folder, format 1
//! node 00000000000000ab
//! shards 12
//! incarnation 7
//! check 1a2b3c4d
//! ```
//! That of a member of a cluster has a line `member` before the last one, which is the CRC-32C of all before it. The
//! file is replaced as a whole, under another name first.

use std::num::NonZeroU16;
use std::path::Path;

use fulmar_log::{Disk, File};

use crate::errors::{Failed, OpenError};
use crate::reserve;
use crate::settings::Mode;

pub(crate) const TITLE: &str = "fulmar data folder, format 1";
const NAME: &str = "identity";
const NEW: &str = "identity.new";

/// What a data folder says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The node that it belongs to.
    pub node: u64,
    /// How many shards it was made for.
    pub shards: NonZeroU16,
    /// How often it was opened: the boot counter of the node.
    pub incarnation: u64,
    /// Whether it was made for a member of a cluster.
    pub mode: Mode,
}

impl Identity {
    /// Reads what a folder says of itself; nothing if it is new.
    pub fn read(disk: &impl Disk, folder: &Path) -> Result<Option<Self>, OpenError> {
        disk.create_folder(folder).map_err(OpenError::disk("create", folder))?;
        let names = disk.list(folder).map_err(OpenError::disk("list", folder))?;
        if !names.iter().any(|name| name == NAME) {
            return Ok(None);
        }
        let path = folder.join(NAME);
        let bytes = read_all(disk, &path).map_err(OpenError::disk("read", &path))?;
        let damaged = |what| OpenError::Identity { path: path.clone(), what };
        let text = str::from_utf8(&bytes).map_err(|_| damaged("it is not text"))?;
        if let Some(found) = other_format(text) {
            return Err(OpenError::Format { path, found: found.to_owned(), wanted: TITLE });
        }
        Self::parse(text).map(Some).map_err(damaged)
    }

    /// Puts it in place, durably.
    pub(crate) fn write(&self, disk: &impl Disk, folder: &Path, sync: bool) -> Result<(), Failed> {
        let (new, path) = (folder.join(NEW), folder.join(NAME));
        let file = reserve::take(disk, folder, &new).map_err(Failed::disk("create", &new))?;
        let text = self.text();
        file.write_at(0, text.as_bytes()).map_err(Failed::disk("write", &new))?;
        file.set_length(text.len() as u64).map_err(Failed::disk("cut", &new))?;
        if sync {
            file.sync().map_err(Failed::disk("sync", &new))?;
        }
        disk.rename(&new, &path).map_err(Failed::disk("rename", &new))?;
        reserve::keep(disk, folder).map_err(Failed::disk("keep a reserve in", folder))?;
        if sync {
            disk.sync_folder(folder).map_err(Failed::disk("sync", folder))?;
        }
        Ok(())
    }

    fn text(&self) -> String {
        let Self { node, shards, incarnation, mode } = self;
        let member = match mode {
            Mode::Alone => "",
            Mode::Member => "member\n",
        };
        let text = format!("{TITLE}\nnode {node:016x}\nshards {shards}\nincarnation {incarnation}\n{member}");
        let check = crc32c::crc32c(text.as_bytes());
        format!("{text}check {check:08x}\n")
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let mut lines = text.lines();
        if lines.next() != Some(TITLE) {
            return Err("it has another title");
        }
        let mut field = |name: &str| {
            let line = lines.next()?;
            line.strip_prefix(name)?.strip_prefix(' ')
        };
        let node = field("node").and_then(|it| u64::from_str_radix(it, 16).ok()).ok_or("it has no node")?;
        let shards = field("shards").and_then(|it| it.parse().ok()).ok_or("it has no number of shards")?;
        let incarnation = field("incarnation").and_then(|it| it.parse().ok()).ok_or("it has no incarnation")?;
        let mode = if lines.next() == Some("member") { Mode::Member } else { Mode::Alone };
        let identity = Self { node, shards, incarnation, mode };
        // What is written the same way again has the right check, too.
        if identity.text() == text { Ok(identity) } else { Err("its check does not match") }
    }
}

/// The title of a folder that another release has made.
fn other_format(text: &str) -> Option<&str> {
    let title = text.lines().next().filter(|title| *title != TITLE)?;
    let format = title.strip_prefix(TITLE.trim_end_matches(|it: char| it.is_ascii_digit()))?;
    format.parse::<u32>().is_ok().then_some(title)
}

pub(crate) fn read_all(disk: &impl Disk, path: &Path) -> std::io::Result<Vec<u8>> {
    /// So much that a file that is none of ours is noticed.
    const BYTES_MAX: u64 = 4096;
    let file = disk.open(path)?;
    let length = usize::try_from(file.length()?.min(BYTES_MAX)).unwrap_or(0);
    let mut bytes = vec![0; length];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_as_it_was_written_and_nothing_else_is() {
        let shards = NonZeroU16::new(12).unwrap();
        let identity = Identity { node: 0xab, shards, incarnation: 7, mode: Mode::Alone };
        let text = identity.text();
        assert_eq!(
            text,
            "fulmar data folder, format 1\nnode 00000000000000ab\nshards 12\nincarnation 7\ncheck bfecb9fc\n"
        );
        assert_eq!(Identity::parse(&text), Ok(identity));
        let member = Identity { mode: Mode::Member, ..identity };
        assert_eq!(Identity::parse(&member.text()), Ok(member));
        assert_ne!(Identity::parse(&member.text().replace("member\n", "")), Ok(identity), "the check is of all of it");
        assert_eq!(Identity::parse(&text.replace('7', "8")), Err("its check does not match"));
        assert_eq!(Identity::parse(&text.replace("12", "0")), Err("it has no number of shards"));
        assert_eq!(other_format(&text), None);
        assert_eq!(other_format("fulmar data folder, format 2\nelse\n"), Some("fulmar data folder, format 2"));
        assert_eq!(other_format("fulmar data folder, format \n"), None, "that is damage");
    }
}
