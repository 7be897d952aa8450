//! A network of the test's own: each node in a network namespace, all of them at one bridge in the namespace of this
//! process, and filters that keep one node's packets from another.
//!
//! Nothing of it is seen outside, and all of it goes with the processes. `ip`, `nsenter` and `nft` do the work.

use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

const BRIDGE: &str = "hub";
/// Each node drops what comes from these.
const FILTER: &str = "
table ip faults {
    set unheard { type ipv4_addr; }
    chain input {
        type filter hook input priority 0; policy accept;
        ip saddr @unheard drop
    }
}
";

/// The links of a cluster's nodes.
pub struct Network {
    /// A process that does nothing but keep the namespace of its node.
    keepers: Vec<Child>,
}

/// Leaves the network of the machine for an empty one. To be called before there are other threads.
pub fn leave_the_machine() {
    // SAFETY: unshare takes no pointers.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "a network namespace is root's");
    ip("link set lo up");
}

impl Network {
    pub fn new(count: usize) -> Network {
        ip(&format!("link add {BRIDGE} type bridge"));
        ip(&format!("addr add {}/24 dev {BRIDGE}", address(u8::MAX - 1)));
        ip(&format!("link set {BRIDGE} up"));
        let mut network = Network { keepers: Vec::new() };
        for index in 0..count {
            let keeper = keep_namespace();
            ip(&format!("link add node{index} type veth peer name eth0 netns {}", keeper.id()));
            ip(&format!("link set node{index} master {BRIDGE} up"));
            network.keepers.push(keeper);
            network.inside(index, &format!("ip addr add {}/24 dev eth0", network.address(index)), "");
            network.inside(index, "ip link set eth0 up", "");
            network.inside(index, "ip link set lo up", "");
            network.inside(index, "nft -f -", FILTER);
        }
        network
    }

    pub fn address(&self, index: usize) -> Ipv4Addr {
        address(u8::try_from(index + 1).expect("few nodes"))
    }

    /// The words that make a command run where the node is, for no longer than the thread that starts it.
    pub fn entrance(&self, index: usize) -> [String; 5] {
        let namespace = format!("--net=/proc/{}/ns/net", self.keepers[index].id());
        ["nsenter", &namespace, "setpriv", "--pdeathsig", "KILL"].map(str::to_owned)
    }

    /// From now on nothing of `from` reaches `to`.
    pub fn cut(&self, from: usize, to: usize) {
        self.inside(to, &format!("nft add element ip faults unheard {{ {} }}", self.address(from)), "");
    }

    /// Everything reaches everybody again.
    pub fn heal(&self) {
        (0..self.keepers.len()).for_each(|index| self.inside(index, "nft flush set ip faults unheard", ""));
    }

    /// Runs a command where the node is.
    fn inside(&self, index: usize, words: &str, input: &str) {
        let [program, entrance @ ..] = self.entrance(index);
        run(Command::new(program).args(entrance).args(words.split(' ')), input);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // Before the namespaces: the kernel takes its time for them, and the next network has links of these names.
            (0..self.keepers.len()).for_each(|index| ip(&format!("link del node{index}")));
            ip(&format!("link del {BRIDGE}"));
        }
        for keeper in &mut self.keepers {
            let _ = keeper.kill();
            let _ = keeper.wait();
        }
    }
}

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, number)
}

fn keep_namespace() -> Child {
    let mut command = Command::new("sleep");
    command.arg("infinity").stdin(Stdio::null());
    let unshare = || {
        // SAFETY: neither call takes pointers.
        let is_alone = unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0 && libc::unshare(libc::CLONE_NEWNET) == 0
        };
        if is_alone { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec there are only system calls.
    unsafe { command.pre_exec(unshare) };
    command.spawn().expect("keep a network namespace")
}

fn ip(words: &str) {
    run(Command::new("ip").args(words.split(' ')), "");
}

fn run(command: &mut Command, input: &str) {
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start a tool of the network");
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("the tool reads");
    let output = child.wait_with_output().expect("wait for a tool of the network");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
