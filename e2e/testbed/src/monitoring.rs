//! The programs that bring metrics to a HorizontalPodAutoscaler: Prometheus and its adapter.
//!
//! Only the end-to-end tests run them, so setting them up is a step of its own. Prometheus is unpacked from its Debian
//! package and not installed: nothing of it runs but what a test starts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::go_module::{GoModule, Program, cache_folder, clear, lock};
use crate::process::{SYSTEM_PATH, command, run};

const ADAPTER: GoModule = GoModule {
    name: "prometheus-adapter",
    notice: "building the Prometheus adapter, once per machine (about 4 minutes on 2 cores)",
    sources: &[
        ("go.mod", include_str!("../../prometheus-adapter/go.mod")),
        ("go.sum", include_str!("../../prometheus-adapter/go.sum")),
    ],
    programs: &[Program {
        name: "adapter",
        package: "sigs.k8s.io/prometheus-adapter/cmd/adapter",
        linker_flags: "-s -w",
    }],
};

/// The programs, each a path to an executable file.
#[derive(Debug)]
pub struct Monitoring {
    /// Reads metrics from pods.
    pub prometheus: PathBuf,
    /// Serves what Prometheus read as an API of Kubernetes.
    pub adapter: PathBuf,
}

impl Monitoring {
    /// Finds the programs in the cache, or fetches and builds them there. `progress` is told what takes time.
    pub fn find_or_build(progress: &mut dyn FnMut(&str)) -> anyhow::Result<Self> {
        let prometheus = find_or_unpack_prometheus(progress)?;
        Ok(Self { prometheus, adapter: ADAPTER.find_or_build(progress)?.join("adapter") })
    }

    /// Finds the programs where [`Self::find_or_build`] left them: in a testbed there is no network to fetch them by.
    pub fn find() -> anyhow::Result<Self> {
        let prometheus = prometheus_in(&cache_folder()?);
        let (Some(adapter), true) = (ADAPTER.find()?, prometheus.exists()) else {
            bail!("found no Prometheus and adapter in the cache; cargo xtask setup puts them there");
        };
        Ok(Self { prometheus, adapter: adapter.join("adapter") })
    }
}

fn prometheus_in(cache: &Path) -> PathBuf {
    cache.join("prometheus").join("usr/bin/prometheus")
}

fn find_or_unpack_prometheus(progress: &mut dyn FnMut(&str)) -> anyhow::Result<PathBuf> {
    let cache = cache_folder()?;
    let program = prometheus_in(&cache);
    if program.exists() {
        return Ok(program);
    }
    if !Path::new("/etc/debian_version").exists() {
        bail!("this is not Debian, so put the program by hand where it is looked for: {}", program.display());
    }
    let _lock = lock(&cache)?;
    if !program.exists() {
        progress("unpacking Prometheus from its Debian package");
        unpack("prometheus", &cache.join("unpack"), &cache.join("prometheus"))?;
    }
    Ok(program)
}

/// Downloads a Debian package to the scratch folder `work`; its files become `unpacked` when all are there.
fn unpack(package: &str, work: &Path, unpacked: &Path) -> anyhow::Result<()> {
    clear(work)?;
    fs::create_dir_all(work).with_context(|| format!("make {}", work.display()))?;
    let download = || {
        let mut apt = command("apt-get");
        // This folder is the user's, and apt's own user cannot write to it.
        apt.args(["download", "--option", "APT::Sandbox::User=root", package]).current_dir(work);
        run(apt.env("PATH", SYSTEM_PATH))
    };
    // What the machine knows of the archive may be too old for its files; asked first it costs seconds, so ask second.
    if download().is_err() {
        run(command("apt-get").arg("update").env("PATH", SYSTEM_PATH)).context("update the list of packages")?;
        download().with_context(|| format!("download the Debian package {package}"))?;
    }
    let archives = fs::read_dir(work)?.collect::<Result<Vec<_>, _>>()?;
    let [archive] = archives.as_slice() else {
        bail!("found {} files after the download of {package}, wanted one", archives.len());
    };
    let files = work.join("files");
    run(command("dpkg-deb").arg("--extract").arg(archive.path()).arg(&files).env("PATH", SYSTEM_PATH))?;
    fs::rename(files, unpacked).context("keep what was unpacked")?;
    clear(work)
}
