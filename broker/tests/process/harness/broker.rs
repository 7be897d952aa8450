//! A broker's process: started with a configuration of the test's, watched through its log and its HTTP port, and
//! killed with the test.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use serde_json::Value;

use super::{Folder, PATIENCE, get, wait_for};

/// The configuration, in the folder that the broker works in.
pub const FILE: &str = "broker.yaml";
const BINARY: &str = env!("CARGO_BIN_EXE_fulmar-broker");
/// Names another broker than the one that was built for the test, such as an optimized one to measure.
const OTHER_BINARY: &str = "FULMAR_TEST_BROKER";

/// One plain listener and the HTTP port, both on free ports, and a log that the harness can read.
const BASE: &str = "
listeners: [{name: mqtt, protocol: mqtt, address: 127.0.0.1, port: 0}]
http: {address: 127.0.0.1, port: 0}
log: {format: json, level: debug}
";

/// How a broker is to be started.
pub struct Start {
    yaml: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// Commands of a shell that becomes the broker after them.
    before: Vec<String>,
    /// Words in front of the broker's: a program that becomes the broker.
    by_way_of: Vec<String>,
}

/// A running broker. It is killed when it is dropped.
pub struct Broker {
    child: Child,
    log: Arc<Log>,
    _folder: Folder,
}

/// How a broker ended.
#[derive(Debug)]
pub struct Exit {
    pub status: ExitStatus,
    pub output: String,
    pub errors: String,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Default)]
struct Lines {
    all: Vec<Value>,
    is_over: bool,
}

impl Start {
    /// With `yaml` instead of the base configuration.
    pub fn with_file(yaml: &str) -> Start {
        Start {
            yaml: yaml.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            before: Vec::new(),
            by_way_of: Vec::new(),
        }
    }

    /// With the base configuration and some settings, `key=value` each.
    pub fn with(settings: &[&str]) -> Start {
        let arguments = settings.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]).collect();
        Start { arguments, ..Start::with_file(BASE) }
    }

    pub fn argument(mut self, argument: &str) -> Start {
        self.arguments.push(argument.to_owned());
        self
    }

    pub fn variable(mut self, name: &str, value: &str) -> Start {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a file-descriptor limit that the process cannot raise.
    pub fn descriptors_max(self, max: u32) -> Start {
        self.after(&format!("ulimit -n {max}"))
    }

    /// Runs a command of the shell first, in the same process.
    pub fn after(mut self, command: &str) -> Start {
        self.before.push(command.to_owned());
        self
    }

    /// Starts a program that becomes the broker, such as `nsenter`.
    #[allow(dead_code, reason = "for the tests of faults")]
    pub fn by_way_of(mut self, words: &[&str]) -> Start {
        self.by_way_of = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Starts it and waits until every port is open.
    pub fn run(self) -> Broker {
        let (mut child, folder) = self.spawn();
        let log = Arc::new(Log::default());
        let errors = child.stderr.take().expect("stderr is piped");
        let reader = log.clone();
        std::thread::spawn(move || reader.read(errors));
        let broker = Broker { child, log, _folder: folder };
        broker.wait_for_log("starting to serve", |line| line["message"] == "serving");
        broker
    }

    /// Runs it to its end, which it must find by itself.
    pub fn run_to_end(self) -> Exit {
        let (child, folder) = self.spawn();
        let output = child.wait_with_output().expect("wait for the broker");
        drop(folder);
        let text = |bytes| String::from_utf8(bytes).expect("a broker writes UTF-8");
        Exit { status: output.status, output: text(output.stdout), errors: text(output.stderr) }
    }

    fn spawn(self) -> (Child, Folder) {
        let Start { yaml, arguments, environment, before, by_way_of } = self;
        let folder = Folder::new();
        std::fs::write(folder.path().join(FILE), yaml).expect("write the configuration");
        let mut words = if before.is_empty() {
            Vec::new()
        } else {
            ["sh", "-c", &format!("{} && exec \"$@\"", before.join(" && ")), "sh"].map(str::to_owned).to_vec()
        };
        words.extend(by_way_of);
        words.push(std::env::var(OTHER_BINARY).unwrap_or(BINARY.to_owned()));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        if arguments.first().is_none_or(|argument| argument != "check") {
            command.args(["--config", FILE]);
        }
        command.args(arguments).env_clear().envs(environment).current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        (command.spawn().expect("start the broker"), folder)
    }
}

impl Broker {
    /// With the base configuration and some settings, `key=value` each.
    pub fn start(settings: &[&str]) -> Broker {
        Start::with(settings).run()
    }

    /// Where a listener of that name listens, `http` for the HTTP port.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let listens = |line: &Value| line["message"] == "listening" && line["listener"] == listener;
        let line = self.wait_for_log(listener, listens);
        line["address"].as_str().and_then(|address| address.parse().ok()).expect("a listener logs its address")
    }

    /// The first line of the log that fits, once it is there.
    pub fn wait_for_log(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().expect("the reader does not panic");
        loop {
            if let Some(line) = lines.all.iter().find(|line| fits(line)) {
                return line.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            if lines.is_over || left.is_zero() {
                // The reader goes on, for the log that belongs to the failure.
                drop(lines);
                panic!("no {what} in the log");
            }
            lines = self.log.changed.wait_timeout(lines, left).expect("the reader does not panic").0;
        }
    }

    /// The lines of the log so far that fit.
    pub fn log(&self, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
        let lines = self.log.lines.lock().expect("the reader does not panic");
        lines.all.iter().filter(|line| fits(line)).cloned().collect()
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        get(self.address("http"), path)
    }

    /// The value of a metric; `name` is the sample as it is shown, labels included.
    pub fn metric(&self, name: &str) -> u64 {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("no metric {name} in\n{text}"))
    }

    pub fn wait_for_metric(&self, name: &str, fits: impl Fn(u64) -> bool) -> u64 {
        wait_for(name, || Some(self.metric(name)).filter(|value| fits(*value)))
    }

    /// Bytes of memory that the process holds now.
    pub fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most that it held at any time.
    pub fn resident_bytes_max(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the broker runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells of memory");
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
        kilobytes * 1024
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a process id is an i32");
        // SAFETY: kill reads its arguments; the process is a child that was not waited for, so the id is its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "signal the broker");
    }

    /// Stops all its threads until SIGCONT comes.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
        let is_frozen = || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).ok()?;
            let mut states = threads.map(|thread| std::fs::read_to_string(thread.ok()?.path().join("status")).ok());
            states.all(|status| status.is_some_and(|status| status.contains("State:\tT"))).then_some(())
        };
        wait_for("every thread to stop", is_frozen);
    }

    /// Changes the soft file-descriptor limit of the running process.
    pub fn limit_descriptors(&self, max: u64) {
        let pid = i32::try_from(self.child.id()).expect("a process id is an i32");
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the pointers are null or to one rlimit that lives during the call; the process is our own child.
        let prlimit = |new: *const libc::rlimit, old: *mut libc::rlimit| unsafe {
            libc::prlimit(pid, libc::RLIMIT_NOFILE, new, old)
        };
        assert_eq!(prlimit(std::ptr::null(), &raw mut limit), 0, "read the limit");
        limit.rlim_cur = max;
        assert_eq!(prlimit(&raw const limit, std::ptr::null_mut()), 0, "set the limit");
    }

    /// Ends it at once, as the kernel would: nothing is written or said any more.
    pub fn kill(mut self) {
        self.child.kill().expect("kill the broker");
        self.child.wait().expect("wait for the broker");
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("ask for the broker's end").is_some()
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the end of the broker", || self.child.try_wait().expect("wait for the broker"))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking()
            && let Ok(lines) = self.log.lines.lock()
        {
            println!("log of the broker:\n{}", show(&lines.all));
        }
    }
}

impl Log {
    fn read(&self, errors: impl Read) {
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            // What is not JSON is shown as it is.
            let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
            self.lines.lock().expect("nobody panics with the log").all.push(value);
            self.changed.notify_all();
        }
        self.lines.lock().expect("nobody panics with the log").is_over = true;
        self.changed.notify_all();
    }
}

fn show(lines: &[Value]) -> String {
    let last = lines.iter().rev().take(40).rev();
    last.map(|line| format!("{line}\n")).collect()
}
