//! What the tests run against: one broker, in memory or with a data folder, or three, linked only or keeping sessions
//! together. Brokers with the same settings are shared by all tests; they start when the first test asks for them and end
//! with the run.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use crate::harness::{Broker, Cluster, Folder};

/// One node or three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    One,
    /// One that keeps its sessions on disk.
    Durable,
    Three,
    /// Three that keep their sessions together.
    DurableThree,
}

/// Settings beyond the defaults, `key=value` each.
pub type Settings = &'static [&'static str];

/// Brokers that form one MQTT server.
pub struct Nodes {
    brokers: Vec<Broker>,
    /// Their folders, which go with it.
    _cluster: Option<Cluster>,
    _folder: Option<Folder>,
}

/// Brokers that start when they are first asked for.
type Started = OnceLock<Arc<Nodes>>;

/// All brokers that run.
#[derive(Default)]
pub struct Stage {
    shared: Mutex<HashMap<(Shape, Settings), Arc<Started>>>,
}

impl Shape {
    pub const ALL: [Shape; 4] = [Shape::One, Shape::Durable, Shape::Three, Shape::DurableThree];

    pub fn name(self) -> &'static str {
        match self {
            Shape::One => "one",
            Shape::Durable => "durable",
            Shape::Three => "three",
            Shape::DurableThree => "durable_three",
        }
    }
}

impl Stage {
    /// The brokers with these settings that all tests share.
    pub fn shared(&self, shape: Shape, settings: Settings) -> Arc<Nodes> {
        let place = {
            let mut shared = self.shared.lock().expect("nobody panics with the map");
            Arc::clone(shared.entry((shape, settings)).or_default())
        };
        Arc::clone(place.get_or_init(|| Arc::new(Nodes::start(shape, settings))))
    }
}

impl Nodes {
    /// Starts brokers and waits until they serve and are linked.
    pub fn start(shape: Shape, settings: Settings) -> Nodes {
        let settings = [&["log.level=info"], settings].concat();
        match shape {
            // Two data threads, so that clients meet across threads.
            Shape::One => {
                let broker = Broker::start(&[&["threads=2"], &settings[..]].concat());
                Nodes { brokers: vec![broker], _cluster: None, _folder: None }
            }
            Shape::Durable => {
                let folder = Folder::new();
                let data = format!("dataDir={}", folder.path().join("data").display());
                let broker = Broker::start(&[&["threads=2", &data], &settings[..]].concat());
                Nodes { brokers: vec![broker], _cluster: None, _folder: Some(folder) }
            }
            Shape::Three | Shape::DurableThree => {
                let mut cluster = Cluster::of(3);
                if shape == Shape::DurableThree {
                    cluster.durability = "fsync";
                }
                cluster.arguments =
                    settings.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]).collect();
                Nodes { brokers: cluster.start_all(), _cluster: Some(cluster), _folder: None }
            }
        }
    }

    /// How many nodes there are.
    pub fn count(&self) -> usize {
        self.brokers.len()
    }

    /// Waits until a metric of a node says that.
    pub fn wait_for_metric(&self, node: usize, name: &str, wanted: u64) {
        self.brokers[node].wait_for_metric(name, |value| value == wanted);
    }

    /// Where clients of a node connect.
    pub fn address(&self, node: usize) -> SocketAddr {
        self.brokers[node].address("mqtt")
    }
}
