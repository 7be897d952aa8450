//! What one test gets: brokers, and names that no other test uses, so that hundreds of tests share brokers at one time.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::target::{Nodes, Settings, Shape, Stage};
use crate::wire::{Client, Connect, Packet};

/// The surroundings of one test.
pub struct Bed {
    stage: Arc<Stage>,
    shape: Shape,
    nodes: Arc<Nodes>,
    /// The version that the test's clients speak.
    pub version: u8,
    number: usize,
    connections: Cell<usize>,
    has_resumed: Rc<Cell<bool>>,
}

impl Bed {
    pub fn new(stage: &Arc<Stage>, shape: Shape, version: u8, number: usize) -> Bed {
        let nodes = stage.shared(shape, &[]);
        Bed {
            stage: Arc::clone(stage),
            shape,
            nodes,
            version,
            number,
            connections: Cell::new(0),
            has_resumed: Rc::default(),
        }
    }

    /// The same test against brokers with these settings, which are shared by all tests that want them.
    pub fn with(&self, settings: Settings) -> Bed {
        self.on(self.stage.shared(self.shape, settings))
    }

    /// The same test against brokers that nobody else uses: for what all clients of a broker would notice.
    pub fn alone(&self, settings: Settings) -> Bed {
        self.on(Arc::new(Nodes::start(self.shape, settings)))
    }

    fn on(&self, nodes: Arc<Nodes>) -> Bed {
        let Bed { stage, shape, version, number, .. } = self;
        let (stage, shape, version, number) = (Arc::clone(stage), *shape, *version, *number);
        let has_resumed = Rc::clone(&self.has_resumed);
        Bed { stage, shape, nodes, version, number, connections: Cell::new(0), has_resumed }
    }

    /// The same test with clients of another version.
    pub fn speaking(&self, version: u8) -> Bed {
        Bed { version, ..self.on(Arc::clone(&self.nodes)) }
    }

    /// A name that is this test's own: a client id, a topic or the beginning of one.
    pub fn name(&self, name: &str) -> String {
        format!("t{}{name}", self.number)
    }

    /// A CONNECT with an id of this test's own and a clean start.
    pub fn hello(&self, id: &str) -> Connect {
        Connect::new(self.version, self.name(id))
    }

    /// A connection to the next node: the first goes to node 0, the second to node 1, and so on.
    pub fn open(&self) -> Client {
        let connection = self.connections.get();
        self.connections.set(connection + 1);
        self.open_at(connection % self.nodes.count())
    }

    /// Waits until a metric of this node says that.
    pub fn wait_for_metric(&self, node: usize, name: &str, wanted: u64) {
        self.nodes.wait_for_metric(node, name, wanted);
    }

    /// A connection to this node.
    pub fn open_at(&self, node: usize) -> Client {
        Client::open(self.nodes.address(node), node, self.version)
    }

    /// A client of the next node with a clean start.
    pub fn connect(&self, id: &str) -> Client {
        self.join(&self.hello(id))
    }

    /// A client of the next node, which must let it in.
    pub fn join(&self, connect: &Connect) -> Client {
        join(self.open(), connect)
    }

    /// A client of the node on which `old` is or was: a session is resumed where it was left.
    pub fn join_beside(&self, old: &Client, connect: &Connect) -> Client {
        self.has_resumed.set(true);
        join(self.open_at(old.node), connect)
    }

    /// Whether the test has resumed a session where it was left. The table names those that do.
    pub fn has_resumed(&self) -> bool {
        self.has_resumed.get()
    }

    /// A CONNECT to the next node that must not be let in, and the answer.
    pub fn offer(&self, connect: &Connect) -> (Client, Packet) {
        let mut client = self.open();
        let answer = client.offer(connect);
        (client, answer)
    }
}

fn join(mut client: Client, connect: &Connect) -> Client {
    match client.offer(connect) {
        Packet::ConnAck(connack) if connack.reason == 0 => client,
        other => panic!("wanted CONNACK with success, got {other:?}"),
    }
}
