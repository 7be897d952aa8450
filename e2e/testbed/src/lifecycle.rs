//! Bringing testbeds up and down, as seen from the host.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::exec::RUN_VARIABLE;
use crate::namespaces::{give_children_a_process_namespace, is_root, kill_and_wait};
use crate::process::wait_until;
use crate::run::{Run, RunName};
use crate::supervisor::READY;
use crate::tools::Tools;
use crate::{cgroup, packages};

/// How many nodes a testbed can have.
pub const NODES_MAX: u8 = 9;

/// Installs the Debian packages that testbeds stand on and builds Kubernetes, where they are missing.
pub fn set_up(progress: &mut dyn FnMut(&str)) -> anyhow::Result<Tools> {
    packages::install_missing(packages::FOR_TESTBEDS, progress)?;
    Tools::find_or_build(progress)
}

/// Brings up a testbed. `progress` is told each step as it ends.
///
/// The calling process must have one thread, and the program must answer to `supervise --name NAME --nodes N` with
/// [`supervise`](crate::supervisor::supervise).
pub fn up(name: &RunName, nodes: u8, progress: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    if !is_root() {
        bail!("a testbed makes namespaces, mounts and cgroups: run this as root, or use a cluster of your own");
    }
    let tools = set_up(progress)?;
    clear_dead_runs(progress)?;

    let run = Run::named(name);
    let Some(lock) = run.try_lock()? else {
        bail!("testbed {name} is up already; `testbed down --name {name}` ends it");
    };
    prepare(&run, nodes, &tools)?;
    start_supervisor(&run, nodes, lock, progress)
        .with_context(|| format!("bring up testbed {name}; logs are in {} until the next start", run.logs().display()))
}

/// Ends a testbed and removes every trace of it. Ending one that is not there is no error.
pub fn down(name: &RunName) -> anyhow::Result<()> {
    let run = Run::named(name);
    if run.is_alive()? {
        kill_and_wait(run.supervisor()?).context("end the supervisor")?;
    }
    end_commands(name)?;
    match run.try_lock()? {
        Some(lock) => clear(&run, lock),
        None => bail!("testbed {name} was started again while it was going down"),
    }
}

/// Folder, programs and cgroups of a new run.
fn prepare(run: &Run, nodes: u8, tools: &Tools) -> anyhow::Result<()> {
    fs::create_dir(run.root()).with_context(|| format!("make {}", run.root().display()))?;
    for folder in [run.logs(), run.bin(), run.client_caches()] {
        fs::create_dir(folder)?;
    }
    for node in 1..=nodes {
        fs::create_dir(run.node(node))?;
    }
    let program = run.bin().join("kube");
    if fs::hard_link(&tools.kubernetes, &program).is_err() {
        // The cache is on another file system.
        fs::copy(&tools.kubernetes, &program).context("copy the Kubernetes program")?;
    }
    for client in ["kubectl", "helm"] {
        symlink("kube", run.bin().join(client))?;
    }
    fs::write(run.pause_archive(), tools.pause_archive()?)?;
    cgroup::create(run.name(), nodes).context("make cgroups")
}

fn start_supervisor(run: &Run, nodes: u8, lock: File, progress: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    let errors_path = run.logs().join("supervisor.log");
    let mut supervisor = Command::new(std::env::current_exe().context("find this program")?);
    supervisor.args(["supervise", "--name", &run.name().to_string(), "--nodes", &nodes.to_string()]);
    supervisor.stdin(Stdio::from(lock)).stdout(Stdio::piped()).stderr(File::create(&errors_path)?).current_dir("/");
    give_children_a_process_namespace()?;
    let mut child = supervisor.spawn().context("start the supervisor")?;
    // The command holds this process's copy of the lock.
    drop(supervisor);
    fs::write(run.supervisor_path(), child.id().to_string())?;

    let lines = BufReader::new(child.stdout.take().expect("standard output was piped above")).lines();
    for line in lines {
        let line = line?;
        progress(&line);
        if line == READY {
            return Ok(());
        }
    }
    let status = child.wait()?;
    bail!("the supervisor ended with {status}: {}", fs::read_to_string(errors_path)?.trim())
}

/// Removes what runs left whose supervisor was killed or whose machine went down.
fn clear_dead_runs(progress: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    for run in Run::all()? {
        if let Some(lock) = run.try_lock()? {
            if run.root().exists() {
                progress(&format!("clearing what the dead testbed {} left", run.name()));
            }
            end_commands(run.name())?;
            clear(&run, lock)?;
        }
    }
    Ok(())
}

fn clear(run: &Run, lock: File) -> anyhow::Result<()> {
    cgroup::remove(run.name())?;
    run.remove(lock)
}

/// Ends commands that `testbed exec` started and that are still running, such as clients left in the background: they
/// hold the network namespace. They are known by a variable in their environment.
fn end_commands(name: &RunName) -> anyhow::Result<()> {
    let mark = format!("{RUN_VARIABLE}={name}");
    let own_network = fs::read_link("/proc/self/ns/net")?;
    let is_left_over = |process: &Path| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        let marked = environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
        marked && fs::read_link(process.join("ns/net")).is_ok_and(|network| network != own_network)
    };
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let process = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
        if let Some(process) = process
            && is_left_over(&path)
        {
            kill_and_wait(process)?;
        }
    }
    wait_until("left-over commands to end", Duration::from_secs(10), || {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        !processes.map(|entry| entry.path()).any(|path| is_left_over(&path))
    })
}
