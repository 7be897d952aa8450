//! The process itself, as Linux tells in `/proc/self`: the metrics that every Prometheus client library has.

use std::fs;

use crate::metrics::{Exposition, Kind};

/// Adds what can be read; elsewhere than on Linux that is nothing.
pub(crate) fn expose(exposition: &mut Exposition) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let system = fs::read_to_string("/proc/stat").unwrap_or_default();
    // SAFETY: sysconf only reads its argument.
    let (ticks, page) = unsafe { (libc::sysconf(libc::_SC_CLK_TCK) as f64, libc::sysconf(libc::_SC_PAGESIZE) as f64) };
    let mut gauge = |name: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            exposition.family(name, Kind::Gauge, help).sample(&[], value);
        }
    };
    let field = |index| field(&stat, index);
    gauge("process_resident_memory_bytes", "Resident memory in bytes.", field(24).map(|pages| pages * page));
    gauge("process_virtual_memory_bytes", "Virtual memory in bytes.", field(23));
    gauge("process_threads", "Threads of the process.", field(20));
    let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
    gauge("process_open_fds", "Open file descriptors.", open);
    gauge("process_max_fds", "The file-descriptor limit.", max_descriptors(&limits));
    let start = boot_time(&system).zip(field(22)).map(|(boot, started)| boot + started / ticks);
    gauge("process_start_time_seconds", "Start of the process, in seconds since 1970.", start);
    if let Some((user, kernel)) = field(14).zip(field(15)) {
        let mut family = exposition.family(
            "process_cpu_seconds_total",
            Kind::Counter,
            "Processor time in user and kernel, in seconds.",
        );
        family.sample(&[], (user + kernel) / ticks);
    }
}

/// The memory that the process has now, and that it had at most, in bytes; 0 where that cannot be read.
pub(crate) fn resident_bytes() -> (u64, u64) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // SAFETY: sysconf only reads its argument.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as f64;
    let now = (field(&stat, 24).unwrap_or_default() * page) as u64;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    let peak: u64 = peak.unwrap_or_default();
    (now, (peak << 10).max(now))
}

/// Field `index` (from 1) of `/proc/self/stat`; the second one, in parentheses, may itself hold spaces.
fn field(stat: &str, index: usize) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(index - 3)?.parse().ok()
}

fn max_descriptors(limits: &str) -> Option<f64> {
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

fn boot_time(system: &str) -> Option<f64> {
    system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_after_the_name_whatever_it_holds() {
        let stat = "7 (a) b (c) S 1 2 3";
        assert_eq!((field(stat, 4), field(stat, 6), field(stat, 7)), (Some(1.0), Some(3.0), None));
        assert_eq!(field("", 4), None);
    }

    #[test]
    fn this_process_has_memory_descriptors_and_a_past() {
        let mut exposition = Exposition::default();
        expose(&mut exposition);
        let text = exposition.into_text();
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
            line.rsplit_once(' ').unwrap().1.parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes ") > 1e5);
        assert!(value("process_open_fds ") >= 3.0 && value("process_max_fds ") >= value("process_open_fds "));
        assert!(value("process_start_time_seconds ") > 1.7e9);
        assert!(value("process_cpu_seconds_total ") >= 0.0);
    }
}
