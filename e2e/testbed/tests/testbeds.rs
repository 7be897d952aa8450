//! Real testbeds, brought up and down by the program that users call.
//!
//! They need root, and Kubernetes is built first where it is not in the cache, so they run only when asked for:
//! `make test`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A testbed that goes down with the test.
struct Testbed(&'static str);

impl Testbed {
    fn up(name: &'static str, nodes: u8) -> Self {
        let testbed = Self(name);
        testbed.call("up", &["--nodes", &nodes.to_string()]);
        testbed
    }

    fn call(&self, command: &str, arguments: &[&str]) -> String {
        let output = testbed(&[&[command, "--name", self.0], arguments].concat());
        assert!(output.status.success(), "testbed {command} {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn kubectl(&self, words: &str) -> String {
        self.call("exec", &[&["--", "kubectl"], words.split(' ').collect::<Vec<_>>().as_slice()].concat())
    }

    fn supervisor(&self) -> u32 {
        let path = fulmar_testbed::run::Run::named(&self.0.parse().unwrap()).supervisor_path();
        fs::read_to_string(path).unwrap().parse().unwrap()
    }

    /// Everything on this machine that bears the testbed's name.
    fn traces(&self) -> Vec<PathBuf> {
        let run = fulmar_testbed::run::Run::named(&self.0.parse().unwrap());
        let mut traces: Vec<PathBuf> = [run.root().to_owned(), run.root().with_extension("lock")]
            .into_iter()
            .filter(|path| path.exists())
            .collect();
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap() {
            let cgroup = hierarchy.unwrap().path().join(format!("fulmar-{}", self.0));
            traces.extend(cgroup.exists().then_some(cgroup));
        }
        for process in fs::read_dir("/proc").unwrap() {
            let path = process.unwrap().path();
            let command = fs::read(path.join("cmdline")).unwrap_or_default();
            let folder = run.root().to_str().unwrap().to_owned() + "/";
            if String::from_utf8_lossy(&command).contains(&folder) {
                traces.push(path);
            }
        }
        traces
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        testbed(&["down", "--name", self.0]);
    }
}

fn testbed(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_testbed")).args(arguments).output().unwrap()
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mounts").unwrap()
}

#[test]
#[ignore = "needs root; make test runs it"]
fn two_testbeds_stand_side_by_side_and_leave_nothing_behind() {
    let mounts_before = mounts();
    let (one, other) = (Testbed::up("selftest-1", 1), Testbed::up("selftest-2", 1));
    one.kubectl("create configmap only-here");
    assert!(one.kubectl("get configmaps -o name").contains("configmap/only-here"));
    assert!(!other.kubectl("get configmaps -o name").contains("configmap/only-here"));
    let again = testbed(&["up", "--name", one.0]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("testbed selftest-1 is up already"), "{again:?}");
    // What a user leaves in the background must not keep the testbed's network.
    one.call("exec", &["--", "sh", "-c", "sleep 1000 >/dev/null 2>&1 &"]);

    one.call("down", &[]);
    assert_eq!(one.traces(), Vec::<PathBuf>::new());
    assert!(other.kubectl("get nodes -o name").contains("node/node1"), "ending one does not touch the other");
    other.call("down", &[]);
    assert_eq!(other.traces(), Vec::<PathBuf>::new());
    assert_eq!(mounts(), mounts_before);
}

#[test]
#[ignore = "needs root; make test runs it"]
fn a_start_clears_what_a_dead_run_left() {
    let dead = Testbed::up("selftest-3", 1);
    let killed = Command::new("kill").args(["-KILL", &dead.supervisor().to_string()]).status().unwrap();
    assert!(killed.success());
    assert!(!dead.traces().is_empty());
    let next = Testbed::up("selftest-4", 1);
    assert_eq!(dead.traces(), Vec::<PathBuf>::new());
    next.call("down", &[]);
}

#[test]
#[ignore = "needs root; make test runs it"]
fn a_cut_node_is_out_of_reach_until_its_link_is_back() {
    let testbed = Testbed::up("selftest-5", 3);
    let attached = fulmar_testbed::Testbed::attach(&testbed.0.parse().unwrap()).unwrap();
    let reaches_node_within = |limit: &str| {
        let words = ["exec", "--name", testbed.0, "--", "kubectl", "--request-timeout", limit, "get", "--raw"];
        self::testbed(&[&words[..], &["/api/v1/nodes/node2/proxy/healthz"]].concat()).status.success()
    };
    assert!(reaches_node_within("30s"));
    attached.set_link(2, fulmar_testbed::Link::Cut).unwrap();
    assert!(!reaches_node_within("2s"));
    attached.set_link(2, fulmar_testbed::Link::Connected).unwrap();
    assert!(reaches_node_within("60s"));
    assert!(attached.set_link(1, fulmar_testbed::Link::Cut).is_err(), "node 1 shares the control plane's network");
}
