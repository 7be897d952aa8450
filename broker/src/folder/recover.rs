//! `fulmar-broker recover FOLDER...`: a cluster that has lost the quorum of its groups goes on from what is left of it.
//!
//! Without `--accept-loss` it only tells what there is and what would be lost. With it the first folder becomes that of
//! the only member of all groups, made of the most recent copies in all folders that were named. A whole store is made
//! beside the one that there is, takes its place in one step, and the old one is set aside. The file with the node's id
//! comes last: no broker starts in between, and the command run again goes on there.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use fulmar_log::{ReadOnlyDisk, StdDisk};
use fulmar_member::{Bond, Folder};
use fulmar_meta::Meta;
use fulmar_store::Shard;
use fulmar_store_raft::{Identity, Inspector, Mode, Wanted};

use super::left::{Copy, Left, Rest};
use super::progress::note;
use super::{DataFolder, Ended, SHARDS, swap};
use crate::{node_id, setup, store};

/// What will be the store when a recovery has come to its end, and what was it afterwards.
pub(super) const RECOVERING: &str = "store.recovering";

/// What the user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecoverRequest {
    /// The folder that is recovered, and others that are left.
    pub(crate) folders: Vec<PathBuf>,
    /// Do it.
    pub(crate) is_loss_accepted: bool,
}

/// Tells what is left, and recovers the first folder if that is wanted.
pub(crate) fn run(request: &RecoverRequest) -> anyhow::Result<Ended> {
    let RecoverRequest { folders, is_loss_accepted } = request;
    let first = folders.first().context("found no folder, wanted one")?;
    if !is_loss_accepted {
        let read = read(folders.iter().map(|path| DataFolder::open(path)))?;
        let is_sound = read.left.rests.iter().all(|rest| rest.is_sound);
        print(&read.left.tell())?;
        return Ok(if is_sound { Ended::Well } else { Ended::Damaged });
    }
    ensure!(first.join(node_id::FILE_NAME).exists(), "found no {} in {}", node_id::FILE_NAME, first.display());
    // No broker has the folder, and none gets it, until this ends.
    let node = node_id::obtain(Some(first), setup::random)?;
    if finish_earlier(first, node.value)? {
        return Ok(Ended::Well);
    }
    let own = DataFolder { path: first.clone(), node: Some(node.value), findings: Vec::new(), _lock: None };
    let others = folders[1..].iter().map(|path| DataFolder::open(path));
    let Read { left, meta, shards } = read(std::iter::once(Ok(own)).chain(others))?;
    if let Some(damaged) = left.rests.iter().find(|rest| !rest.is_sound) {
        bail!("{} is damaged, wanted a sound one: fulmar-broker inspect tells what is wrong", damaged.folder);
    }
    let was = left.rests.first().map(|rest| rest.identity).context("found no store")?;
    let id = setup::random().max(1);
    let new = first.join(RECOVERING);
    swap::clear(&new)?;
    let cluster = fulmar_store_raft::Cluster { meta, shards, last: left.last() };
    let meta = fulmar_store_raft::recover(&StdDisk, &new, was, id, cluster, setup::random())
        .with_context(|| format!("fill {}", new.display()))?
        .with_context(|| format!("the cluster does not know node {:016x}, wanted the folder of a member", was.node))?;
    let cluster = meta.cluster().context("a cluster that has begun has an id")?;
    fulmar_store_node::write_membership(&StdDisk, &new, &Folder { node: id, bond: Bond::Belongs(cluster) })?;
    print(&left.tell_done())?;
    put_in_place(first)?;
    finish(first, id, was.node)?;
    Ok(Ended::Well)
}

/// What was read: what to say of it, and the most recent copy of each group.
struct Read {
    left: Left,
    meta: Meta,
    shards: Vec<Shard>,
}

fn read(folders: impl Iterator<Item = anyhow::Result<DataFolder>>) -> anyhow::Result<Read> {
    let mut left = Left::default();
    let (mut meta, mut shards): (Option<Meta>, Vec<Shard>) = (None, Vec::new());
    // Of all of them nobody writes to any until the last one is read.
    let folders = folders.collect::<anyhow::Result<Vec<_>>>()?;
    for folder in &folders {
        let shown = folder.path.display();
        if let Some(node) = folder.node.filter(|node| is_unfinished(&folder.path, *node)) {
            bail!("a recovery of {shown} (node {node:016x}) was cut off: --accept-loss with this folder alone ends it");
        }
        let mut inspector = folder.inspector().with_context(|| format!("found no store in {shown}"))?;
        let identity = inspector.identity().with_context(|| format!("found nothing that says whose {shown} is"))?;
        ensure!(identity.mode == Mode::Member, "{shown} is of {}, wanted {}", identity.mode, Mode::Member);
        ensure!(identity.shards == SHARDS, "{shown} has {} shards, wanted {SHARDS}", identity.shards);
        let mut rest = Rest { folder: shown.to_string(), identity, copies: Vec::new(), is_sound: true };
        for group in inspector.groups() {
            let (mut report, shard) = inspector.group(group);
            let copy = Copy::of(&report);
            // Where it left this node, or never came, is no copy.
            if report.floor.is_some() || copy.last.index == 0 {
                continue;
            }
            let is_best = left.best(group).is_none_or(|best| best.last < copy.last);
            if let Some(found) = report.cluster.take().filter(|_| is_best) {
                meta = Some(*found);
            }
            if let Some(shard) = shard.filter(|_| is_best) {
                shards.retain(|other| other.id() != shard.id());
                shards.push(shard);
            }
            rest.copies.push(copy);
        }
        rest.is_sound = inspector.is_sound();
        left.rests.push(rest);
    }
    let meta = meta.filter(|meta| meta.cluster().is_some()).context(
        "found nothing of the cluster in any of the folders, wanted that of a member: export takes what else there is",
    )?;
    left.know(&meta);
    Ok(Read { left, meta, shards })
}

fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // Who has seen enough closes the pipe.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("print what was found"),
        _ => Ok(()),
    }
}

/// The new store, and the old one under the name that the new one had.
fn put_in_place(folder: &Path) -> anyhow::Result<()> {
    let (new, store) = (folder.join(RECOVERING), folder.join(store::FOLDER));
    swap::exchange(&new, &store)
        .with_context(|| format!("let {} and {} change places", new.display(), store.display()))?;
    sync(folder)
}

/// The node gets the id that its store has, and the store that it had is set aside.
fn finish(folder: &Path, id: u64, was: u64) -> anyhow::Result<()> {
    node_id::replace(folder, id).context("write the node's new id")?;
    let aside = (1..).map(|number| folder.join(format!("set-aside-{number}"))).find(|place| !place.exists());
    let aside = aside.expect("there are more numbers than folders");
    let set_aside = || {
        fs::create_dir(&aside)?;
        fs::write(aside.join(node_id::FILE_NAME), format!("{was:016x}\n"))?;
        fs::rename(folder.join(RECOVERING), aside.join(store::FOLDER))
    };
    set_aside().with_context(|| format!("set the old store aside in {}", aside.display()))?;
    sync(folder)?;
    note(&format!("recovered: what there was is set aside in {}", aside.display()));
    note("start the broker of this folder first, then the others: each joins as a new node and gets copies");
    Ok(())
}

fn sync(folder: &Path) -> anyhow::Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("write the folder {} to the disk", folder.display()))
}

/// Ends a recovery that was cut off when the new store was in its place.
fn finish_earlier(folder: &Path, node: u64) -> anyhow::Result<bool> {
    let Some(identity) = identity(&folder.join(store::FOLDER)).filter(|_| is_unfinished(folder, node)) else {
        return Ok(false);
    };
    note("an earlier recovery of this folder was cut off when it was nearly done: it is brought to its end");
    finish(folder, identity.node, node)?;
    Ok(true)
}

/// Whether the store is a new one whose id the node has not got, and the old one lies beside it.
fn is_unfinished(folder: &Path, node: u64) -> bool {
    let is_of = |name: &str, wanted: bool| identity(&folder.join(name)).is_some_and(|it| (it.node == node) == wanted);
    is_of(store::FOLDER, false) && is_of(RECOVERING, true)
}

fn identity(store: &Path) -> Option<Identity> {
    store.exists().then(|| Inspector::open(ReadOnlyDisk, store, Wanted::default()).identity()).flatten()
}
