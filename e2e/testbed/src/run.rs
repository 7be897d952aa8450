//! The name, the folder and the lock of one testbed.
//!
//! A run is alive exactly as long as its supervisor holds the lock file: the kernel lets go of it when that process
//! ends, however it ends, so no reader has to guess whether a process id is still the same process.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail};

/// Every run has its folder here. A supervisor covers /run, /tmp, /var/lib and /var/log with folders of its own, so
/// this must be in none of them.
const BASE: &str = "/var/tmp/fulmar-testbed";

/// What a testbed is called: it names the folder, the cgroup and the sockets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunName(String);

impl RunName {
    /// Socket paths hold the name and may not be longer than 107 bytes.
    const LENGTH_MAX: usize = 20;
}

impl FromStr for RunName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ends_well = !text.starts_with('-') && !text.ends_with('-');
        let letters = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if (1..=Self::LENGTH_MAX).contains(&text.len()) && ends_well && letters {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("found the name {text:?}, 1 to {} of a-z, 0-9 and inner - are wanted", Self::LENGTH_MAX))
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Where one run keeps its things. Knows paths, whether the run is alive, and nothing about what is in the files.
#[derive(Debug, Clone)]
pub struct Run {
    name: RunName,
    root: PathBuf,
}

impl Run {
    /// The run of this name, alive or not.
    #[must_use]
    pub fn named(name: &RunName) -> Self {
        Self { name: name.clone(), root: Path::new(BASE).join(&name.0) }
    }

    /// Every run that left a trace on this machine, alive or dead, by name.
    pub fn all() -> anyhow::Result<Vec<Self>> {
        let entries = match fs::read_dir(BASE) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("list {BASE}")),
        };
        let mut names = Vec::new();
        for entry in entries {
            let path = entry?.path();
            // A lock file alone is a run that was starting or ending.
            names.extend(path.file_stem().and_then(|stem| stem.to_str()?.parse::<RunName>().ok()));
        }
        names.sort();
        names.dedup();
        Ok(names.iter().map(Self::named).collect())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &RunName {
        &self.name
    }

    /// Its folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its lock file, beside the folder.
    fn lock_path(&self) -> PathBuf {
        self.root.with_extension("lock")
    }

    /// Takes the run's lock, or `None` when a living supervisor (or another command just now) holds it.
    pub fn try_lock(&self) -> anyhow::Result<Option<File>> {
        let path = self.lock_path();
        loop {
            fs::create_dir_all(BASE).with_context(|| format!("make {BASE} (this needs root)"))?;
            let file = match OpenOptions::new().create(true).truncate(false).write(true).open(&path) {
                Ok(file) => file,
                // The last other run was just forgotten, and its folder with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| format!("open {} (this needs root)", path.display())),
            };
            match file.try_lock() {
                // The holder before us may have removed the file while we waited for it to open.
                Ok(()) if is_file_at(&file, &path) => return Ok(Some(file)),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error).context("lock the run"),
            }
        }
    }

    /// Forgets the run: its folder and its lock file. The lock is let go last.
    pub fn remove(&self, lock: File) -> anyhow::Result<()> {
        match fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", self.root.display()));
            }
            _ => {}
        }
        fs::remove_file(self.lock_path()).context("remove the lock file")?;
        drop(lock);
        // Fails while there are other runs.
        let _ = fs::remove_dir(BASE);
        Ok(())
    }

    /// True while the run's supervisor lives.
    pub fn is_alive(&self) -> anyhow::Result<bool> {
        let file = match File::open(self.lock_path()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).context("open the run's lock"),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error).context("look at the run's lock"),
        }
    }

    /// The process id, as the host sees it, of the supervisor of a living run.
    pub fn supervisor(&self) -> anyhow::Result<u32> {
        if !self.is_alive()? {
            bail!("testbed {} is not up; `testbed up --name {}` starts it", self.name, self.name);
        }
        let path = self.supervisor_path();
        let text = fs::read_to_string(&path).with_context(|| format!("read {} (is it starting?)", path.display()))?;
        text.trim().parse().with_context(|| format!("read a process id from {}", path.display()))
    }

    /// Holds the supervisor's process id.
    #[must_use]
    pub fn supervisor_path(&self) -> PathBuf {
        self.root.join("supervisor.pid")
    }

    /// The cluster administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("admin.kubeconfig")
    }

    /// The API server's audit log, one JSON object per line: with bodies for our own API group, without elsewhere.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.logs().join("audit.jsonl")
    }

    /// One log file per process.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Certificates and keys of the cluster.
    #[must_use]
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// The programs of the cluster, kubectl and helm among them.
    #[must_use]
    pub fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// Becomes /tmp inside; the volume provisioner makes its volumes in `hostpath_pv` there.
    #[must_use]
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// The resolver configuration that points at the cluster's DNS.
    #[must_use]
    pub fn resolv_conf(&self) -> PathBuf {
        self.root.join("resolv.conf")
    }

    /// The resolver configuration of the nodes: pods get the cluster's search domains from their kubelet.
    #[must_use]
    pub fn node_resolv_conf(&self) -> PathBuf {
        self.root.join("node-resolv.conf")
    }

    /// The image that holds a pod's namespaces open, as an archive.
    #[must_use]
    pub fn pause_archive(&self) -> PathBuf {
        self.root.join("pause.tar")
    }

    /// Where kubectl and helm may keep what they would else keep in the home folder.
    #[must_use]
    pub fn client_caches(&self) -> PathBuf {
        self.root.join("client")
    }

    /// The folder of node `number`, counted from 1.
    #[must_use]
    pub fn node(&self, number: u8) -> PathBuf {
        self.root.join(format!("node{number}"))
    }

    /// The containerd socket of node `number`.
    #[must_use]
    pub fn containerd_socket(&self, number: u8) -> PathBuf {
        self.node(number).join("containerd.sock")
    }

    /// The numbers of this run's nodes.
    pub fn nodes(&self) -> anyhow::Result<Vec<u8>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.root).with_context(|| format!("list {}", self.root.display()))? {
            let name = entry?.file_name();
            let number: Option<u8> = name.to_str().and_then(|name| name.strip_prefix("node")?.parse().ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}

/// True when the open file is (still) what the path leads to.
fn is_file_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => open.dev() == there.dev() && open.ino() == there.ino(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit_folders_cgroups_and_sockets_are_taken() {
        let taken = |text: &str| text.parse::<RunName>().is_ok();
        assert!(["demo", "test", "a", "test-2", "abcdefghijklmnopqrst"].into_iter().all(taken));
        assert!(!["", "-a", "a-", "Demo", "a/b", "..", "a_b", "abcdefghijklmnopqrstu"].into_iter().any(taken));
    }

    #[test]
    fn socket_paths_fit_the_kernels_limit() {
        let longest = Run::named(&"abcdefghijklmnopqrst".parse().unwrap());
        assert!(longest.containerd_socket(3).as_os_str().len() <= 107);
    }
}
