//! The real broker under strace, and what its data thread has called so far.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::rules::{access_file, password_file};

/// How long the broker may take to do anything. Slow machines and strace are no reason to fail.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often is looked whether it has.
const POLL: Duration = Duration::from_micros(200);

/// A broker with one data thread. Its folder and its processes go with it.
pub(crate) struct Traced {
    strace: Child,
    folder: PathBuf,
    /// Of the broker's data thread.
    thread: u32,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
}

impl Traced {
    pub(crate) fn start(broker: &Path, name: &str) -> Result<Traced> {
        let folder = std::env::temp_dir().join(format!("fulmar-guard-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let write = |name: &str, text: String| fs::write(folder.join(name), text).with_context(|| name.to_owned());
        write("users", password_file()?)?;
        write("access.yaml", access_file())?;
        let place = folder.display();
        let settings = format!(
            "threads: 1\nauth: {{passwordFile: {place}/users, accessFile: {place}/access.yaml}}\n\
             listeners: [{{name: mqtt, address: 127.0.0.1, port: 0}}]\n"
        );
        write("broker.yaml", settings)?;
        let mut strace = Command::new("strace");
        // One file per thread, and nothing between the calls of one thread.
        strace.args(["-ff", "-q", "-qq", "-o"]).arg(folder.join("calls")).arg(broker).arg("--config");
        strace.arg(folder.join("broker.yaml")).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut strace = strace.spawn().context("start strace; `cargo xtask setup` installs it")?;
        let errors = strace.stderr.take().expect("standard error was piped above");
        let (listens, listening) = mpsc::channel();
        thread::spawn(move || {
            // Read to the end, so that the broker's log never waits for us.
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                let _ = listens.send(line);
            }
        });
        // From here on dropping it ends the processes.
        let mut traced = Traced { strace, folder, thread: 0, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.ends_with("INFO serving")) {
            let Ok(line) = listening.recv_timeout(PATIENCE) else {
                bail!("the broker did not start: {}", said.join("\n"))
            };
            if let Some(address) = parse_listening(&line) {
                traced.address = address;
            }
            said.push(line);
        }
        traced.thread = traced.await_thread()?;
        Ok(traced)
    }

    /// What the data thread has called, as strace writes it. Waits until it rests, so that no call is under way.
    pub(crate) fn calls(&self) -> Result<Vec<String>> {
        self.await_rest()?;
        let file = self.folder.join(format!("calls.{}", self.thread));
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Waits until the data thread sleeps. What a client did before, it has been woken by: loopback delivers at once.
    pub(crate) fn await_rest(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.thread)).context("read the thread's state")?;
            // The name before it may hold spaces and brackets, but its closing bracket is the last one.
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            if state == Some('S') {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("the data thread does not come to rest, it is in state {state:?}");
            }
            thread::sleep(POLL);
        }
    }

    /// The broker's data thread, among those that strace writes files for. A thread gives itself its name.
    fn await_thread(&self) -> Result<u32> {
        let end = Instant::now() + PATIENCE;
        loop {
            let files = fs::read_dir(&self.folder).context("list the threads")?;
            let thread = |file: fs::DirEntry| file.file_name().to_str()?.strip_prefix("calls.")?.parse().ok();
            let mut threads = files.filter_map(Result::ok).filter_map(thread);
            let name = |thread: u32| fs::read_to_string(format!("/proc/{thread}/comm")).unwrap_or_default();
            if let Some(thread) = threads.find(|thread| name(*thread).trim() == "data-0") {
                return Ok(thread);
            }
            if Instant::now() > end {
                bail!("found no thread of the broker that is called data-0");
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // strace would leave the broker running; it ends with the broker.
        let tracer = self.strace.id();
        let children = fs::read_to_string(format!("/proc/{tracer}/task/{tracer}/children")).unwrap_or_default();
        for broker in children.split_whitespace() {
            let _ = Command::new("kill").args(["-KILL", broker]).status();
        }
        if children.is_empty() {
            let _ = self.strace.kill();
        }
        let _ = self.strace.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The address in the broker's line `... listening listener="mqtt" protocol="mqtt" address=127.0.0.1:1883`.
fn parse_listening(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening listener=\"mqtt\"")?;
    let (_, address) = rest.split_once("address=")?;
    address.split_whitespace().next()?.parse().ok()
}

/// Whether the input decides about this call. A wait that ran out is the clock's doing, and a futex is called or not by
/// whether another thread happens to sleep.
pub(crate) fn is_counted(call: &str) -> bool {
    let is_call = call.starts_with(|first: char| first.is_ascii_lowercase());
    let ran_out = call.starts_with("epoll_wait(") && call.ends_with("= 0");
    is_call && !ran_out && !call.starts_with("futex(") && !call.starts_with("restart_syscall(")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_log() {
        let line = "2026-11-22T12:14:40Z  INFO listening listener=\"mqtt\" protocol=\"mqtt\" address=127.0.0.1:41";
        assert_eq!(parse_listening(line), Some(SocketAddr::from(([127, 0, 0, 1], 41))));
        assert_eq!(parse_listening("2026-11-22T12:14:40Z  INFO serving"), None);
    }

    #[test]
    fn only_what_the_input_asks_for_is_counted() {
        for (call, counts) in [
            ("recvfrom(9, \"0\", 65536, 0, NULL, NULL) = 38", true),
            ("epoll_wait(3, [{events=EPOLLIN}], 1024, 1000) = 1", true),
            ("epoll_wait(3, [], 1024, 1000)           = 0", false),
            ("futex(0x7f, FUTEX_WAKE_PRIVATE, 1)      = 1", false),
            ("--- SIGCHLD {si_signo=SIGCHLD} ---", false),
            ("+++ exited with 0 +++", false),
        ] {
            assert_eq!(is_counted(call), counts, "{call}");
        }
    }
}
