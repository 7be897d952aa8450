//! The control side of links: peers are found, dialled, accepted and greeted here; then a connection is a lane, and a
//! data thread's.
//!
//! What is to be done is decided by the pure `Peers` of fulmar-cluster, under a lock that is held for a few
//! instructions. Around it: `discover` asks the name server, `dial` and `accept` make connections, `drive` carries out
//! the decisions, hears of lost lanes and says whether the node is ready.
//!
//! `letters` has the connections of the stores, which stay here; `neighbours` is what all this tells about other nodes.

mod accept;
mod complaints;
mod dial;
mod discover;
mod drive;
pub(crate) mod letters;
mod namesakes;
pub(crate) mod neighbours;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use fulmar_cluster::NodeId;
use fulmar_cluster::dial::BackOffSettings;
use fulmar_cluster::discovery::Discovery;
use fulmar_cluster::hello::{Hello, RefusalReason};
use fulmar_cluster::peers::{Address, LaneUp, Life, Me, PeerView, Peers, PeersSettings, namesakes};
use fulmar_config::ClusterConfig;
use fulmar_worker::{LaneSocket, Node, PeerIdentity};
use tokio::sync::{Notify, Semaphore, oneshot};
use tracing::warn;

use crate::descriptors::Budget;
use crate::health::Health;
use crate::metrics::ControlMetrics;
use crate::places::Places;
use crate::reactor::{Inbox, Lane, Letter};
use crate::setup;
use crate::shortage::Shortage;
use crate::throttle::Throttle;
use crate::tls::{ClusterCertificates, Reloaded};
use complaints::Complaints;
use letters::{Incoming, Mail, Patience, TallyView};
use namesakes::{Namesake, Namesakes};
use neighbours::Turns;
use stream::Stream;

/// Connecting, TLS and greeting have to be done within this time.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// Of so many places for greetings, one is for a connection that makes room.
const GREETINGS_PER_CLOSING: usize = 8;

/// The links of this node, as the tasks of the control side share them.
pub(crate) struct Links {
    peers: Mutex<Peers>,
    discovery: Mutex<Discovery>,
    /// Of addresses that were dialled.
    errors: Mutex<Complaints<Address>>,
    /// Of nodes that were refused.
    refusals: Mutex<Complaints<NodeId>>,
    /// The node was ready once.
    was_ready: AtomicBool,
    /// There may be something to do.
    changed: Notify,
    /// Names should be resolved now rather than later.
    look_up: Notify,
    /// A peer that says nothing for so long is given up.
    silence_max: Duration,
    /// Peers are expected on the same kind of addresses as this node listens on.
    address: IpAddr,
    certificates: Option<Arc<Reloaded<ClusterCertificates>>>,
    node: Arc<Node>,
    inboxes: Vec<Arc<Inbox>>,
    health: Arc<Health>,
    metrics: Arc<ControlMetrics>,
    shortage: Arc<Shortage>,
    /// Connections under way to their greeting.
    greetings: Mutex<Places<oneshot::Sender<Infallible>>>,
    /// One permit each, and a few for those that had to make room and are about to be closed.
    greeting_permits: Arc<Semaphore>,
    namesakes: Mutex<Namesakes>,
    /// None: this node has no store.
    mail: Option<Mail>,
    /// Connections of peers for letters.
    incoming: Incoming,
    /// With both sides of those.
    patience: Patience,
    /// Since when each node is linked, or not.
    turns: Mutex<Turns>,
    /// Log lines about connections that came to nothing.
    strangers: Throttle,
    /// Why the cluster will not have this process.
    refused: OnceLock<RefusalReason>,
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("peers", &self.peers).finish_non_exhaustive()
    }
}

/// What the links need of the rest of the broker.
pub(crate) struct Surroundings {
    pub(crate) node: Arc<Node>,
    /// Of this process; that of the store, if there is one.
    pub(crate) nonce: u64,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<ControlMetrics>,
    pub(crate) shortage: Arc<Shortage>,
    /// None: this node has no store, and takes no letters.
    pub(crate) mail: Option<Mail>,
}

impl Links {
    /// Knows nobody yet; the node is not ready from now on until its peers are found.
    pub(crate) fn new(
        config: &ClusterConfig,
        budget: &Budget,
        certificates: Option<Arc<Reloaded<ClusterCertificates>>>,
        surroundings: Surroundings,
    ) -> Links {
        let Surroundings { node, nonce, inboxes, health, metrics, shortage, mail } = surroundings;
        let now = Instant::now();
        let me = Me {
            node: NodeId(node.settings.node_id),
            incarnation: node.settings.incarnation,
            nonce,
            name: node.settings.name.clone(),
            cluster: String::new(),
            threads: node.settings.threads,
        };
        let back_off = BackOffSettings {
            initial: config.reconnect.initial(),
            max: config.reconnect.max(),
            jitter_percent: config.reconnect.jitter_percent,
        };
        let settings = PeersSettings { back_off, nodes_max: budget.nodes, has_letters: mail.is_some() };
        let hosts = config.peers.iter().map(|peer| (peer.host.as_str(), peer.port));
        let greetings = budget.greetings as usize;
        let closing = (greetings / GREETINGS_PER_CLOSING).max(1);
        let links = Links {
            peers: Mutex::new(Peers::new(me, settings)),
            discovery: Mutex::new(Discovery::new(hosts, now)),
            errors: Mutex::default(),
            refusals: Mutex::default(),
            was_ready: AtomicBool::new(false),
            changed: Notify::new(),
            look_up: Notify::new(),
            silence_max: config.heartbeat.silence(),
            address: config.address,
            certificates,
            node,
            inboxes,
            health,
            metrics,
            shortage,
            greetings: Mutex::new(Places::new(greetings - closing, GREETING_TIMEOUT)),
            greeting_permits: Arc::new(Semaphore::new(greetings)),
            namesakes: Mutex::default(),
            mail,
            incoming: Incoming::default(),
            patience: Patience::new(&config.heartbeat),
            turns: Mutex::default(),
            strangers: Throttle::default(),
            refused: OnceLock::new(),
        };
        links.take_addresses();
        links.tell_health(now);
        links
    }

    /// Every peer as it is now.
    pub(crate) fn view(&self) -> Vec<PeerView> {
        self.peers().view(Instant::now())
    }

    /// The silence after which a link is closed.
    pub(crate) fn silence_max(&self) -> Duration {
        self.silence_max
    }

    /// Nobody is dialled or accepted any more. The lanes that there are go on.
    pub(crate) fn stop(&self) {
        self.peers().stop();
        self.changed.notify_one();
    }

    /// Linked nodes that share their name with another or with this node, by name.
    pub(crate) fn namesakes(&self, peers: &[PeerView]) -> BTreeMap<String, BTreeSet<NodeId>> {
        namesakes(&self.node.settings.name, peers)
    }

    /// What the stores of nodes wrote to each other so far.
    pub(crate) fn letter_tallies(&self) -> Vec<TallyView> {
        self.mail.as_ref().map(Mail::tallies).unwrap_or_default()
    }

    /// This node's life is over and its next begins: all lanes and connections for letters end and are dialled anew.
    pub(crate) fn begin_life(&self, incarnation: u64) {
        self.peers().begin_life(incarnation);
        self.changed.notify_one();
    }

    /// The last lives of all nodes, as far as this node knows what was committed.
    pub(crate) fn set_lives(&self, lives: BTreeMap<NodeId, Life>) {
        self.peers().set_lives(lives);
    }

    /// Why the cluster will not have this process, if somebody has said so.
    pub(crate) fn refused(&self) -> Option<&RefusalReason> {
        self.refused.get()
    }

    fn warn_of_namesakes(&self, lane: &LaneUp, address: SocketAddr) {
        let me = (NodeId(self.node.settings.node_id), self.node.settings.name.as_str());
        let peers = self.view();
        let mut namesakes = self.namesakes.lock().expect("nothing panics while names are compared");
        let news = namesakes.met((lane.node, &lane.name), address, me, &peers);
        drop(namesakes);
        for Namesake { node, address: other_address } in news {
            warn!(
                name = lane.name,
                node_id = format!("{:016x}", lane.node.0),
                %address,
                other_node_id = format!("{:016x}", node.0),
                other_address = other_address.map_or_else(|| "this node".to_owned(), |address| address.to_string()),
                "two nodes have the same name"
            );
        }
    }

    fn peers(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().expect("nothing panics while peers are decided about")
    }

    fn greetings(&self) -> MutexGuard<'_, Places<oneshot::Sender<Infallible>>> {
        self.greetings.lock().expect("nothing panics while places are dealt out")
    }

    fn discovery(&self) -> MutexGuard<'_, Discovery> {
        self.discovery.lock().expect("nothing panics while answers are kept")
    }

    /// Gives a greeted connection to the data thread that the lane belongs to.
    fn hand_over(
        &self,
        stream: Stream,
        bytes: Vec<u8>,
        (lane, address): (&LaneUp, SocketAddr),
        hello: &Hello,
    ) -> anyhow::Result<()> {
        self.warn_of_namesakes(lane, address);
        let stream::Parts { stream, tls, bytes } = stream.into_parts(bytes)?;
        self.node.observe_clock(hello.clock);
        let peer = PeerIdentity {
            node_id: lane.node.0,
            incarnation: lane.incarnation,
            name: lane.name.clone(),
            threads: hello.threads,
        };
        let socket = LaneSocket { peer, lane: lane.lane, epoch: lane.epoch };
        let letter = Letter::Lane(Box::new(Lane { stream, tls, bytes, socket, connection: lane.connection }));
        self.inboxes[usize::from(lane.thread)].push(letter);
        Ok(())
    }
}

/// For the jitter of waits.
fn random() -> u32 {
    (setup::random() >> 32) as u32
}
