//! Brokers that all tests share, and names that no other test uses.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use crate::harness::{Broker, Cluster};

/// One broker, and three that are linked; each starts when it is first asked for.
#[derive(Default)]
pub struct Stage {
    one: OnceLock<Vec<Broker>>,
    three: OnceLock<(Cluster, Vec<Broker>)>,
}

/// The surroundings of one test.
pub struct Bed {
    stage: Arc<Stage>,
    nodes: usize,
    number: usize,
}

impl Bed {
    pub fn new(stage: &Arc<Stage>, nodes: usize, number: usize) -> Bed {
        Bed { stage: Arc::clone(stage), nodes, number }
    }

    /// Where clients connect. Beyond the last node it is the first one's turn again.
    pub fn node(&self, index: usize) -> SocketAddr {
        let brokers = match self.nodes {
            1 => self.stage.one.get_or_init(|| vec![Broker::start(&["threads=2", "log.level=info"])]),
            _ => {
                let (_, brokers) = self.stage.three.get_or_init(|| {
                    let mut cluster = Cluster::of(3);
                    cluster.arguments = ["--set", "log.level=info"].map(str::to_owned).to_vec();
                    let brokers = cluster.start_all();
                    (cluster, brokers)
                });
                brokers
            }
        };
        brokers[index % brokers.len()].address("mqtt")
    }

    /// A name that is this test's own: a client id, or the beginning of a topic.
    pub fn name(&self, name: &str) -> String {
        format!("t{}{name}", self.number)
    }
}
