//! The memory that the container or the machine grants, and how much of it is used.
//!
//! Where a control group has the limit, its own account counts: what the kernel kills for is the group's memory with the
//! kernel's buffers, not what a process has resident. Elsewhere it is the process that counts.

use std::fs;
use std::path::PathBuf;

/// Memory that is granted, and where to read how much of it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) bytes: u64,
    account: Account,
}

/// Who counts what is used.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Account {
    Group(Group),
    Process,
}

/// A control group, and in which way it writes its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    folder: PathBuf,
    files: &'static Files,
}

/// How one version of control groups names things.
#[derive(Debug, PartialEq, Eq)]
struct Files {
    limit: &'static str,
    used: &'static str,
    /// The line of `memory.stat` with files that the kernel drops when memory is short.
    cache: &'static str,
}

const V1: Files = Files {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    // Groups below are part of the sum.
    cache: "total_inactive_file",
};
const V2: Files = Files { limit: "memory.max", used: "memory.current", cache: "inactive_file" };

/// The least of what the control group allows, what the machine has, and what somebody chose. None where nothing can
/// be read.
pub(crate) fn find(chosen: Option<u64>) -> Option<Grant> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limited = groups(&own).into_iter().filter_map(|group| {
        let bytes = parse_limit(&fs::read_to_string(group.folder.join(group.files.limit)).ok()?)?;
        Some(Grant { bytes, account: Account::Group(group) })
    });
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| parse_line(&text, "MemTotal:"));
    let of_process = |bytes| Grant { bytes, account: Account::Process };
    // The first of equals is taken, and the group kills before the machine does.
    limited.chain(machine.map(of_process)).chain(chosen.map(of_process)).min_by_key(|grant| grant.bytes)
}

impl Grant {
    /// Bytes that are used now.
    pub(crate) fn used(&self) -> Option<u64> {
        match &self.account {
            Account::Group(Group { folder, files }) => {
                let read = |name| fs::read_to_string(folder.join(name)).ok();
                let used = parse_limit(&read(files.used)?)?;
                Some(used.saturating_sub(parse_cache(&read("memory.stat")?, files.cache)))
            }
            Account::Process => parse_line(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:"),
        }
    }
}

/// The groups that may hold the limit, of version 2 and of version 1, as seen from inside a container and from outside.
fn groups(own: &str) -> Vec<Group> {
    let group = |folder: String, files| Group { folder: folder.into(), files };
    let mut groups = vec![group("/sys/fs/cgroup".into(), &V2), group("/sys/fs/cgroup/memory".into(), &V1)];
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        match (fields.next(), fields.next()) {
            (Some(""), Some(path)) => groups.push(group(format!("/sys/fs/cgroup{path}"), &V2)),
            (Some(controllers), Some(path)) if controllers.split(',').any(|name| name == "memory") => {
                groups.push(group(format!("/sys/fs/cgroup/memory{path}"), &V1));
            }
            _ => {}
        }
    }
    groups
}

/// A number as control groups write it; "max" is no limit, and so, in version 1, is a number beyond every machine, which
/// the machine's own memory takes care of.
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A line such as `MemTotal:   24590064 kB`.
fn parse_line(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// A line such as `inactive_file 4096`.
fn parse_cache(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
    value.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_looked_for_as_both_versions_write_them() {
        let outside = |text| {
            let groups = groups(text).split_off(2);
            groups.into_iter().map(|Group { folder, files }| (folder, files.limit)).collect::<Vec<_>>()
        };
        assert_eq!(outside("0::/kubepods/pod1\n"), [("/sys/fs/cgroup/kubepods/pod1".into(), "memory.max")]);
        let first = "9:name=systemd:/\n4:cpu,memory:/docker/1\n3:memory_x:/no\n";
        assert_eq!(outside(first), [("/sys/fs/cgroup/memory/docker/1".into(), "memory.limit_in_bytes")]);
    }

    #[test]
    fn numbers_are_read_as_the_kernel_writes_them() {
        assert_eq!(["max\n", "536870912\n", ""].map(parse_limit), [None, Some(536_870_912), None]);
        assert_eq!(parse_line("MemTotal:       24590064 kB\nMemFree: 1 kB\n", "MemTotal:"), Some(24_590_064 * 1024));
        let stat = "cache 1\ninactive_file 4096\nactive_file 7\ntotal_inactive_file 8192\n";
        assert_eq!([V2.cache, V1.cache, "none"].map(|name| parse_cache(stat, name)), [4096, 8192, 0]);
    }

    #[test]
    fn files_that_the_kernel_can_drop_are_not_counted_as_used() {
        let folder = std::env::temp_dir().join(format!("fulmar-grant-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in [(V2.used, "1000000\n"), ("memory.stat", "anon 5\ninactive_file 300000\n")] {
            fs::write(folder.join(name), text).unwrap();
        }
        let grant = Grant { bytes: 1, account: Account::Group(Group { folder: folder.clone(), files: &V2 }) };
        assert_eq!(grant.used(), Some(700_000));
        fs::remove_dir_all(folder).unwrap();
        assert_eq!(grant.used(), None);
    }

    #[test]
    fn this_process_uses_some_of_what_somebody_chose() {
        let grant = find(Some(1 << 20)).unwrap();
        assert_eq!(grant, Grant { bytes: 1 << 20, account: Account::Process });
        assert!(grant.used().unwrap() > 1 << 20);
    }
}
