//! The nodes of a cluster, each in a network namespace and with a disk of its own to be slowed down, and what is done to
//! them. What their clients are to see of it is said elsewhere.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::clock::Clock;
use crate::group::Group;
use crate::harness::{Authority, Broker, Folder, Operator, Start, get, wait_for};
use crate::network::Network;
use crate::plan::{Fault, Step};

const MQTT: u16 = 1883;
const HTTP: u16 = 8080;
const CLUSTER: u16 = 7800;
const ADMIN: u16 = 7801;
/// Shards of a cluster: the default.
const SHARDS: u64 = 12;

/// See the [module](self).
pub struct Stage {
    // In the order in which they go: a group is empty when its broker has ended.
    brokers: Vec<Option<Broker>>,
    groups: Vec<Group>,
    folders: Vec<Folder>,
    clocks: Vec<Clock>,
    network: Network,
    /// What each node said in the lives that have ended.
    told: Vec<Vec<Value>>,
    operator: Operator,
}

impl Stage {
    /// Starts so many nodes and waits until all of them serve.
    pub fn new(count: usize) -> Stage {
        let authority = Authority::new();
        let folders: Vec<Folder> = (0..count).map(|_| Folder::new()).collect();
        let mut stage = Stage {
            brokers: (0..count).map(|_| None).collect(),
            groups: (0..count).map(|index| Group::with_disk(&format!("disk-{index}"))).collect(),
            clocks: folders.iter().map(|folder| Clock::new(folder.path())).collect(),
            folders,
            network: Network::new(count),
            told: vec![Vec::new(); count],
            operator: Operator::of(&authority),
        };
        // Outside of loopback nodes speak with each other only if both show a certificate.
        for (index, folder) in stage.folders.iter().enumerate() {
            authority.publish(&folder.path().join("ca.crt"));
            authority.issue(&stage.network.address(index).to_string(), folder.path());
        }
        (0..count).for_each(|index| stage.start(index));
        stage.wait_until_whole();
        stage
    }

    pub fn count(&self) -> usize {
        self.brokers.len()
    }

    /// Where clients find the nodes, whether they run or not.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        (0..self.count()).map(|index| (self.network.address(index), MQTT).into()).collect()
    }

    pub fn broker(&self, index: usize) -> &Broker {
        self.brokers[index].as_ref().expect("it runs")
    }

    pub fn start(&mut self, index: usize) {
        let peers: Vec<String> =
            (0..self.count()).map(|index| format!("\"{}:{CLUSTER}\"", self.network.address(index))).collect();
        let yaml = format!(
            "
name: node-{index}
dataDir: {data}
durability: fsync
threads: 1
listeners: [{{name: mqtt, protocol: mqtt, address: {address}, port: {MQTT}}}]
http: {{address: {address}, port: {HTTP}}}
log: {{format: json, level: info}}
allowAnonymous: true
# What waits for an absent client is not dropped for want of room, and publishers are not refused for it.
limits: {{queuedMessages: 1000000, queuedBytes: 1073741824, queuedBytesTotal: 2147483648}}
admin: {{address: {address}, port: {ADMIN}}}
cluster:
  address: {address}
  port: {CLUSTER}
  peers: [{peers}]
  tls: {{certFile: {folder}/tls.crt, keyFile: {folder}/tls.key, caFile: {folder}/ca.crt}}
",
            folder = self.folders[index].path().display(),
            data = self.data(index).display(),
            address = self.network.address(index),
            peers = peers.join(", "),
        );
        let entrance = self.network.entrance(index);
        let start = Start::with_file(&yaml)
            .after(&self.groups[index].admit_shell())
            .by_way_of(&entrance.each_ref().map(String::as_str));
        let start =
            self.clocks[index].variables().iter().fold(start, |start, (name, value)| start.variable(name, value));
        self.brokers[index] = Some(start.run());
    }

    /// Ends it at once.
    pub fn kill(&mut self, index: usize) {
        if let Some(broker) = self.brokers[index].take() {
            self.told[index].extend(broker.log(|_| true));
            broker.kill();
        }
    }

    /// What a node answers at its admin port. None: it has no answer now.
    pub fn ask(&self, index: usize, path: &str) -> Option<Value> {
        let address = self.network.address(index);
        let (status, body) = self.operator.ask((address, ADMIN).into(), &address.to_string(), "GET", path, "");
        (status == 200).then(|| serde_json::from_str(&body).expect("answers are JSON"))
    }

    /// Tells it to stop and waits until it has.
    pub fn stop(&mut self, index: usize) {
        self.broker(index).signal(libc::SIGTERM);
        self.await_end(index);
    }

    /// Waits until a node that was told to stop has done so.
    pub fn await_end(&mut self, index: usize) {
        let mut broker = self.brokers[index].take().expect("it runs");
        assert!(broker.wait().success());
        self.told[index].extend(broker.log(|_| true));
    }

    /// Kills it and takes its folder away.
    pub fn lose(&mut self, index: usize) {
        self.kill(index);
        std::fs::remove_dir_all(self.data(index)).expect("remove the folder");
    }

    /// Whom a node does not reach, or who does not reach it.
    fn peers(&self, index: usize) -> impl Iterator<Item = usize> {
        (0..self.count()).filter(move |peer| *peer != index)
    }

    /// Nobody reaches it and it reaches nobody, clients aside.
    pub fn isolate(&self, index: usize) {
        self.deafen(index);
        self.silence(index);
    }

    fn deafen(&self, index: usize) {
        self.peers(index).for_each(|peer| self.network.cut(peer, index));
    }

    fn silence(&self, index: usize) {
        self.peers(index).for_each(|peer| self.network.cut(index, peer));
    }

    pub fn heal(&self) {
        self.network.heal();
    }

    /// Something begins to be wrong.
    pub fn begin(&mut self, step: Step) {
        let Step { fault, node, other, writes, seconds, .. } = step;
        match fault {
            Fault::Kill => self.kill(node),
            Fault::KillBoth => [node, other].into_iter().for_each(|index| self.kill(index)),
            Fault::KillAll => (0..self.count()).for_each(|index| self.kill(index)),
            Fault::Stop => self.stop(node),
            Fault::Freeze | Fault::FreezeLong => self.broker(node).freeze(),
            Fault::Isolate => self.isolate(node),
            Fault::CutLink => {
                self.network.cut(node, other);
                self.network.cut(other, node);
            }
            Fault::CutOneWay => self.network.cut(node, other),
            Fault::Deaf => self.deafen(node),
            Fault::Mute => self.silence(node),
            Fault::SlowDisk => {
                if self.groups[node].limit_writes(self.folders[node].path(), Some(writes)).is_none() {
                    println!("{} is on no disk that could be slowed down", self.folders[node].path().display());
                }
            }
            Fault::LoseFolder => self.lose(node),
            Fault::ClockForward => self.clocks[node].step(seconds),
            Fault::ClockBack => self.clocks[node].step(-seconds),
        }
    }

    /// It is over, as far as it is up to the machine.
    pub fn end(&mut self, step: Step) {
        let Step { fault, node, other, .. } = step;
        match fault {
            Fault::Kill | Fault::Stop | Fault::LoseFolder => self.start(node),
            Fault::KillBoth => [other, node].into_iter().for_each(|index| self.start(index)),
            Fault::KillAll => (0..self.count()).for_each(|index| self.start(index)),
            Fault::Freeze | Fault::FreezeLong => self.broker(node).signal(libc::SIGCONT),
            Fault::Isolate | Fault::CutLink | Fault::CutOneWay | Fault::Deaf | Fault::Mute => self.heal(),
            Fault::ClockForward | Fault::ClockBack => self.clocks[node].step(0),
            Fault::SlowDisk => {
                let _ = self.groups[node].limit_writes(self.folders[node].path(), None);
            }
        }
    }

    /// Waits until all nodes serve; tells how long that took.
    pub fn wait_until_ready(&self) -> Duration {
        let start = Instant::now();
        for index in 0..self.count() {
            wait_for(&format!("node {index} to be ready"), || {
                let (status, _) = get((self.network.address(index), HTTP).into(), "/readyz");
                (status == 200).then_some(())
            });
        }
        start.elapsed()
    }

    /// Waits until there are as many copies of everything as there should be.
    pub fn wait_until_whole(&self) {
        self.wait_until_ready();
        let sum = |name: &str| self.brokers.iter().flatten().map(|broker| broker.metric(name)).sum::<u64>();
        wait_for("copies of every shard", || (sum("fulmar_store_shards_healthy") == SHARDS).then_some(()));
        wait_for("all to have caught up", || (sum("fulmar_store_caught_up") == self.count() as u64).then_some(()));
    }

    fn data(&self, index: usize) -> PathBuf {
        self.folders[index].path().join("data")
    }

    /// Writes what each node said to a folder that stays.
    fn leave_logs(&self) -> PathBuf {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("make a folder for the logs");
        for (index, told) in self.told.iter().enumerate() {
            let last = self.brokers[index].iter().flat_map(|broker| broker.log(|_| true));
            let lines: Vec<String> = told.iter().cloned().chain(last).map(|line| format!("{line}\n")).collect();
            std::fs::write(folder.join(format!("node-{index}.log")), lines.concat()).expect("write a log");
        }
        folder
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("logs of all nodes: {}", self.leave_logs().display());
        }
    }
}
