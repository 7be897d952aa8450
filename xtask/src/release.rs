//! What a release is: the content of the repository at the tag of its version, and nothing else.
//!
//! A tag that has been pulled once must never name other content, so images get the plain version only there.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::cluster::read;

/// The tag of this version, of the repository as of the images.
pub(crate) const TAG: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// Fails unless the clone is exactly at the tag.
pub(crate) fn check(root: &Path) -> Result<()> {
    let git = |words: &str| read(Command::new("git").args(words.split(' ')).current_dir(root));
    judge(&git("tag --points-at HEAD")?, &git("status --porcelain")?)
}

/// `tags` and `changes` as git prints them, one a line.
fn judge(tags: &str, changes: &str) -> Result<()> {
    let found = tags.split_whitespace().collect::<Vec<_>>().join(", ");
    let found = if found.is_empty() { "none" } else { &found };
    ensure!(
        tags.lines().any(|tag| tag == TAG),
        "images are called {TAG} only at the tag {TAG} of the repository: found here {found} \
         (`make images` tags them with their content instead)"
    );
    let changed = changes.lines().next().unwrap_or_default().trim();
    ensure!(changes.is_empty(), "images are called {TAG} only without uncommitted changes: found `{changed}`");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tagged_content_is_a_release() {
        fn said(tags: &str, changes: &str) -> Option<String> {
            judge(tags, changes).err().map(|error| error.to_string())
        }
        assert_eq!(said(&format!("latest\n{TAG}\n"), ""), None);
        let untagged = format!(
            "images are called {TAG} only at the tag {TAG} of the repository: found here none \
             (`make images` tags them with their content instead)"
        );
        assert_eq!(said("", ""), Some(untagged.clone()));
        assert_eq!(said("v0.0.1\n", ""), Some(untagged.replace("none", "v0.0.1")));
        let changed = format!("images are called {TAG} only without uncommitted changes: found `M README.md`");
        assert_eq!(said(&format!("{TAG}\n"), " M README.md\n"), Some(changed));
    }
}
