//! The cgroup that a run's pods live below: `/fulmar-NAME/nodeN`, one per node.
//!
//! Works with cgroup v1 (a hierarchy per controller) and v2 (one for all). Tried on v1; v2 is written from its
//! documentation.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use crate::process::wait_until;
use crate::run::RunName;

const MOUNT: &str = "/sys/fs/cgroup";

/// The controllers that a kubelet asks for on v2.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "memory", "pids", "io"];

/// What a kubelet of this run takes as its root, as a path below the mount point.
pub(crate) fn node_root(name: &RunName, node: u8) -> String {
    format!("/fulmar-{name}/node{node}")
}

/// Makes the cgroups of a run with `nodes` nodes, in every hierarchy.
pub(crate) fn create(name: &RunName, nodes: u8) -> anyhow::Result<()> {
    for hierarchy in hierarchies()? {
        // A kernel mounts v1 beside an empty v2; only where v2 is the only one does it hold the controllers.
        let delegate = hierarchy == Path::new(MOUNT);
        if delegate {
            enable_controllers(&hierarchy)?;
        }
        for node in 1..=nodes {
            let folder = hierarchy.join(&node_root(name, node)[1..]);
            fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        }
        if delegate {
            enable_controllers(&run_folder(&hierarchy, name))?;
        }
    }
    Ok(())
}

/// Removes the cgroups of a run whose processes have been ended.
pub(crate) fn remove(name: &RunName) -> anyhow::Result<()> {
    for hierarchy in hierarchies()? {
        let folder = run_folder(&hierarchy, name);
        // A dead process leaves its cgroup a moment after its parent has seen it end.
        wait_until("the cgroups to empty", Duration::from_secs(10), || remove_tree(&folder).is_ok())
            .with_context(|| format!("remove {}", folder.display()))?;
    }
    Ok(())
}

fn run_folder(hierarchy: &Path, name: &RunName) -> PathBuf {
    hierarchy.join(format!("fulmar-{name}"))
}

/// The root folder of every mounted hierarchy: one on v2, one per controller on v1.
fn hierarchies() -> anyhow::Result<Vec<PathBuf>> {
    let mount = Path::new(MOUNT);
    if mount.join("cgroup.controllers").exists() {
        return Ok(vec![mount.to_owned()]);
    }
    let entries = fs::read_dir(mount).with_context(|| format!("list {MOUNT}: cgroups must be mounted there"))?;
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry?;
        // Names such as `cpu` may be links to a hierarchy of several controllers.
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

/// Lets the children of a v2 cgroup use the controllers that it has.
fn enable_controllers(cgroup: &Path) -> anyhow::Result<()> {
    let present = fs::read_to_string(cgroup.join("cgroup.controllers"))?;
    let wanted = CONTROLLERS.into_iter().filter(|wanted| present.split_whitespace().any(|name| name == *wanted));
    let line = wanted.map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
    let path = cgroup.join("cgroup.subtree_control");
    fs::write(&path, line).with_context(|| format!("write {}", path.display()))
}

fn remove_tree(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}
