//! Calling cargo from a program that cargo itself started.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::MetadataCommand;

/// A cargo command at the root of the clone. Words are parted by single spaces.
///
/// `cargo run` tells this program its own package in variables that build scripts watch too. Handed on, they would have
/// ring, and everything above it, built again by every call from here and once more by every call from a shell.
pub(crate) fn cargo(root: &Path, words: &str) -> Command {
    let mut command = Command::new("cargo");
    command.args(words.split(' ')).current_dir(root);
    for (name, _) in std::env::vars_os() {
        let is_ours = |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start));
        if name.to_str().is_some_and(is_ours) {
            command.env_remove(name);
        }
    }
    command
}

/// Where cargo puts what it builds: `target`, unless the user's settings say otherwise.
pub(crate) fn target_folder(root: &Path) -> Result<PathBuf> {
    let metadata = MetadataCommand::new().current_dir(root).no_deps().exec().context("ask cargo for its folder")?;
    Ok(metadata.target_directory.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_not_told_of_the_package_that_calls_it() {
        // Cargo sets it for tests as it does for programs.
        assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
        let command = cargo(Path::new("/"), "build --locked");
        assert!(command.get_envs().any(|(name, value)| name == "CARGO_PKG_NAME" && value.is_none()));
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["build", "--locked"]);
    }
}
