//! Control groups of versions 1 and 2: the broker has little memory, its attackers little of the processors, and both
//! the broker and its well-behaved clients go before whatever else this machine does, which is not what is measured.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::harness::wait_for;

const MOUNT: &str = "/sys/fs/cgroup";

/// A group of a test's own, which goes with it once its processes have ended or left.
pub struct Group {
    /// One, or in version 1 one for each controller.
    folders: Vec<PathBuf>,
}

impl Group {
    /// For a broker.
    pub fn with_memory(bytes: u64) -> Group {
        let group = Group::make("broker", &["memory", "cpu"]);
        group.write(if is_v2() { "memory.max" } else { "memory.limit_in_bytes" }, &bytes.to_string());
        group.go_first()
    }

    /// For those who are served.
    pub fn that_goes_first() -> Group {
        Group::make("served", &["cpu"]).go_first()
    }

    /// For attackers: so much of one processor.
    pub fn with_processor(percent: u32) -> Group {
        let group = Group::make("attackers", &["cpu"]);
        let (quota, period) = (percent * 1000, 100_000);
        if is_v2() {
            group.write("cpu.max", &format!("{quota} {period}"));
        } else {
            group.write("cpu.cfs_period_us", &period.to_string());
            group.write("cpu.cfs_quota_us", &quota.to_string());
        }
        group
    }

    /// For a broker whose disk can be made slow.
    pub fn with_disk(name: &str) -> Group {
        Group::make(name, &[if is_v2() { "io" } else { "blkio" }])
    }

    /// Lets those in the group write so often in a second to the disk that has `path`; no number: as often as they like.
    /// None: nothing that can be slowed down is under that path, as where it is in memory.
    pub fn limit_writes(&self, path: &Path, per_second: Option<u32>) -> Option<()> {
        let device = disk_of(path)?;
        if is_v2() {
            let limit = per_second.map_or("max".to_owned(), |limit| limit.to_string());
            self.write("io.max", &format!("{device} wiops={limit}"));
        } else {
            self.write("blkio.throttle.write_iops_device", &format!("{device} {}", per_second.unwrap_or(0)));
        }
        Some(())
    }

    fn make(name: &str, controllers: &[&str]) -> Group {
        let mount = Path::new(MOUNT);
        let parents = if is_v2() {
            for controller in controllers {
                fs::write(mount.join("cgroup.subtree_control"), format!("+{controller}")).expect("groups are root's");
            }
            vec![mount.to_owned()]
        } else {
            controllers.iter().map(|controller| mount.join(controller)).collect()
        };
        let folder = |parent: PathBuf| {
            let folder = parent.join(format!("fulmar-attack-{name}-{}", std::process::id()));
            fs::create_dir(&folder).expect("control groups are root's");
            folder
        };
        Group { folders: parents.into_iter().map(folder).collect() }
    }

    fn go_first(self) -> Group {
        let (file, most) = if is_v2() { ("cpu.weight", "10000") } else { ("cpu.shares", "262144") };
        self.write(file, most);
        self
    }

    /// Takes a process in, with what it starts from then on.
    pub fn admit(&self, process: u32) {
        let join = |folder: &PathBuf| fs::write(folder.join("cgroup.procs"), process.to_string());
        self.folders.iter().for_each(|folder| join(folder).expect("a process can be moved"));
    }

    /// A command for the shell that takes itself in.
    pub fn admit_shell(&self) -> String {
        let join = |folder: &PathBuf| format!("echo $$ > {}/cgroup.procs", folder.display());
        self.folders.iter().map(join).collect::<Vec<_>>().join(" && ")
    }

    /// The most memory that was used at any time.
    pub fn memory_max(&self) -> u64 {
        let text = self.read(if is_v2() { "memory.peak" } else { "memory.max_usage_in_bytes" });
        text.trim().parse().expect("a number of bytes")
    }

    /// Processes that were killed for want of memory.
    pub fn killed(&self) -> u64 {
        let text = self.read(if is_v2() { "memory.events" } else { "memory.oom_control" });
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse().ok()).expect("Linux counts who is killed")
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.file(file)).expect(file)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.file(file), text).expect(file);
    }

    /// A file of whichever controller has it.
    fn file(&self, name: &str) -> PathBuf {
        let mut files = self.folders.iter().map(|folder| folder.join(name));
        files.find(|file| file.exists()).expect(name)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for folder in &self.folders {
            if std::thread::panicking() {
                // Its processes may be there yet.
                let _ = fs::remove_dir(folder);
            } else {
                wait_for("an empty control group", || fs::remove_dir(folder).ok());
            }
        }
    }
}

/// Major and minor number of the whole disk that has a path.
fn disk_of(path: &Path) -> Option<String> {
    let device = fs::metadata(path).expect("the path is there").dev();
    let folder = PathBuf::from(format!("/sys/dev/block/{}:{}", libc::major(device), libc::minor(device)));
    // What is no device is not there, and a part of a disk is in the folder of the disk.
    let part = fs::canonicalize(folder).ok()?;
    let disk = if part.join("partition").exists() { part.parent()?.to_owned() } else { part };
    fs::read_to_string(disk.join("dev")).ok().map(|device| device.trim().to_owned())
}

fn is_v2() -> bool {
    Path::new(MOUNT).join("cgroup.controllers").exists()
}

/// This process in a group, until this is dropped.
pub struct Membership {
    /// Of the group where it was before.
    back: PathBuf,
    _group: Group,
}

impl Membership {
    pub fn of(group: Group) -> Membership {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let path = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let is_it = if is_v2() { controllers.is_empty() } else { controllers.split(',').any(|name| name == "cpu") };
            is_it.then(|| path.trim_start_matches('/').to_owned())
        });
        let mount = Path::new(MOUNT).join(if is_v2() { "" } else { "cpu" });
        group.admit(std::process::id());
        Membership { back: mount.join(path.unwrap()).join("cgroup.procs"), _group: group }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // Before the group goes.
        let _ = fs::write(&self.back, std::process::id().to_string());
    }
}
