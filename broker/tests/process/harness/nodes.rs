//! Several brokers that form a cluster, each with a place that outlives its processes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use super::{Broker, Folder, Start, wait_for};

/// The brokers of a test, whose places outlive their processes.
pub struct Cluster {
    places: Vec<SocketAddr>,
    /// The name by which nodes know each other; none: they know addresses.
    pub host: Option<&'static str>,
    folders: Vec<Folder>,
    /// What each node is called.
    pub names: Vec<String>,
    /// More of each node's configuration.
    settings: fn(&Folder) -> String,
    /// More of each node's command line.
    pub arguments: Vec<String>,
    /// When what must outlive a process is acknowledged.
    pub durability: &'static str,
    /// What each node finds in its environment.
    pub variables: fn(&Folder) -> Vec<(String, String)>,
}

impl Cluster {
    /// Places for so many nodes, none of which runs yet.
    pub fn of(count: usize) -> Cluster {
        Cluster::with(count, |_| String::new())
    }

    pub fn with(count: usize, settings: fn(&Folder) -> String) -> Cluster {
        Cluster::at((0..count).map(|_| free_place()).collect(), settings)
    }

    pub fn at(places: Vec<SocketAddr>, settings: fn(&Folder) -> String) -> Cluster {
        let folders = places.iter().map(|_| Folder::new()).collect();
        let names = (0..places.len()).map(name).collect();
        Cluster {
            places,
            host: None,
            folders,
            names,
            settings,
            arguments: Vec::new(),
            durability: "none",
            variables: |_| Vec::new(),
        }
    }

    pub fn folder(&self, index: usize) -> &Folder {
        &self.folders[index]
    }

    pub fn place(&self, index: usize) -> SocketAddr {
        self.places[index]
    }

    /// Starts a node, for the first time or again. It knows all places, its own too. Each has another number of data
    /// threads, so that a lane belongs to threads of different numbers.
    pub fn start(&self, index: usize) -> Broker {
        let (place, folder) = (self.places[index], &self.folders[index]);
        let peer = |place: &SocketAddr| match self.host {
            None => format!("\"{place}\""),
            Some(host) => format!("\"{host}:{}\"", place.port()),
        };
        let peers: Vec<String> = self.places.iter().map(peer).collect();
        let yaml = format!(
            "
name: {name}
dataDir: {data}
durability: {durability}
threads: {threads}
listeners: [{{name: mqtt, protocol: mqtt, address: 127.0.0.1, port: 0}}]
http: {{address: 127.0.0.1, port: 0}}
log: {{format: json, level: debug}}
cluster:
  address: {address}
  port: {port}
  peers: [{peers}]
  reconnect: {{initialMilliseconds: 50, maxMilliseconds: 200}}
{more}",
            name = self.names[index],
            durability = self.durability,
            threads = index + 1,
            data = folder.path().join("data").display(),
            address = place.ip(),
            port = place.port(),
            peers = peers.join(", "),
            more = (self.settings)(folder),
        );
        let start = self.arguments.iter().fold(Start::with_file(&yaml), |start, argument| start.argument(argument));
        (self.variables)(folder).iter().fold(start, |start, (name, value)| start.variable(name, value)).run()
    }

    /// Starts all nodes and waits until each is linked with every other.
    pub fn start_all(&self) -> Vec<Broker> {
        let nodes: Vec<Broker> = (0..self.places.len()).map(|index| self.start(index)).collect();
        for (index, node) in nodes.iter().enumerate() {
            for peer in (0..nodes.len()).filter(|peer| *peer != index) {
                wait_for_link(node, peer);
            }
            wait_until_ready(node);
        }
        nodes
    }
}

/// A port that nobody takes: the addresses of the loopback network are many, and each test process has its own.
fn free_place() -> SocketAddr {
    static PORT: AtomicU16 = AtomicU16::new(7800);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    (Ipv4Addr::new(127, 64 + high, middle, low), PORT.fetch_add(1, Ordering::Relaxed)).into()
}

/// What a node is called.
pub fn name(index: usize) -> String {
    format!("node-{index}")
}

pub fn has_line(node: &Broker, line: &str) -> bool {
    node.get("/metrics").1.lines().any(|found| found == line)
}

/// Waits until every lane of the link is up.
pub fn wait_for_link(node: &Broker, peer: usize) {
    let line = format!("fulmar_link_state{{peer=\"{}\",state=\"up\"}} 1", name(peer));
    wait_for(&line, || has_line(node, &line).then_some(()));
}

pub fn wait_until_ready(node: &Broker) {
    wait_for("readiness", || (node.get("/readyz").0 == 200).then_some(()));
}

/// What this node has sent to the peer so far. Data threads tell their numbers a few times a second.
pub fn wait_for_link_publishes(node: &Broker, peer: usize, fits: impl Fn(u64) -> bool) -> u64 {
    let metric = format!("fulmar_link_publishes_sent_total{{peer=\"{}\"}} ", name(peer));
    wait_for(&metric, || {
        let (_, text) = node.get("/metrics");
        text.lines().find_map(|line| line.strip_prefix(&metric)?.parse().ok()).filter(|sent| fits(*sent))
    })
}
