//! The licences of everything that is linked into a program, as one text.
//!
//! Every crate is named with its licence; below stand the licence files that the crates ship, each text once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

/// Licence names and texts of all crates that `package` is linked with on `target`.
pub(crate) fn of_dependencies(root: &Path, target: &str, package: &str) -> Result<String> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .other_options(["--locked", "--filter-platform", target].map(str::to_owned))
        .exec()
        .context("ask cargo for the dependencies")?;
    let linked = linked_packages(&metadata, package)?;

    let mut text = String::from("This program is linked with the GNU C Library (LGPL-2.1-or-later) and with:\n\n");
    let mut licences: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in linked {
        let name = format!("{} {}", package.name, package.version);
        writeln!(text, "{name}: {}", package.license.as_deref().unwrap_or("see its licence file below"))?;
        for licence in licence_files(package)? {
            licences.entry(licence).or_default().push(name.clone());
        }
    }
    for (licence, names) in licences {
        write!(text, "\n\n==== {} ====\n\n{licence}\n", names.join(", "))?;
    }
    Ok(text)
}

/// The crates of others that the named package is linked with, directly or not, by name.
fn linked_packages<'a>(metadata: &'a Metadata, name: &str) -> Result<Vec<&'a Package>> {
    let start = metadata.workspace_packages().into_iter().find(|package| package.name == name);
    let start = start.with_context(|| format!("found no package {name} in the workspace"))?;
    let nodes = &metadata.resolve.as_ref().context("cargo gave no resolved dependencies")?.nodes;
    let mut seen: BTreeSet<&PackageId> = BTreeSet::new();
    let mut open = vec![&start.id];
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            let node = nodes.iter().find(|node| node.id == *id).context("cargo gave a dependency no node")?;
            let linked = node
                .deps
                .iter()
                .filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal));
            open.extend(linked.map(|dependency| &dependency.pkg));
        }
    }
    let mut packages: Vec<&Package> =
        metadata.packages.iter().filter(|package| package.source.is_some() && seen.contains(&package.id)).collect();
    packages.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
    Ok(packages)
}

/// The texts of the licence files at the top of a crate's sources.
fn licence_files(package: &Package) -> Result<BTreeSet<String>> {
    let folder = package.manifest_path.parent().context("a manifest has a folder")?;
    let mut texts = BTreeSet::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {folder}"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        let is_licence = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"]
            .iter()
            .any(|start| name.starts_with(start));
        if is_licence && entry.file_type()?.is_file() {
            let bytes = fs::read(entry.path()).with_context(|| format!("read {}", entry.path().display()))?;
            texts.insert(String::from_utf8_lossy(&bytes).trim().to_owned());
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_linked_crate_is_named_and_others_are_not() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = of_dependencies(root, "x86_64-unknown-linux-gnu", "fulmar-broker").unwrap();
        let names: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(names.contains("mio") && names.contains("rustls"), "direct dependencies are linked");
        assert!(names.contains("ring"), "dependencies of dependencies are linked");
        assert!(!names.contains("proptest"), "dependencies of tests are not linked");
        assert!(text.contains("Permission is hereby granted"), "licence texts are there");
    }
}
