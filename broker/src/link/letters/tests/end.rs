//! One end of letters: the links of a node in a runtime of its own, which can be frozen and killed as a process can.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use fulmar_cluster::letters::Channel;
use fulmar_config::{ClusterConfig, ClusterTls, HeartbeatConfig, Peer, ReconnectConfig};
use fulmar_store::Node;
use fulmar_worker::{AuthSettings, Limits, NodeSettings};
use mio::Poll;
use tokio::runtime::Runtime;

use crate::descriptors::Budget;
use crate::health::Health;
use crate::link::letters::{Arrival, ArrivalQueue, Mail};
use crate::link::{Links, Surroundings};
use crate::reactor;
use crate::shortage::Shortage;
use crate::tls::{Reloaded, cluster_certificates};

/// A condition that does not come about by then never does.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is to be known to make an end, and to make it again.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) node: Node,
    pub(super) address: SocketAddr,
    pub(super) peers: Vec<SocketAddr>,
    pub(super) tls: Option<ClusterTls>,
    pub(super) has_store: bool,
}

pub(super) struct End {
    pub(super) node: Node,
    pub(super) links: Arc<Links>,
    pub(super) mail: Mail,
    pub(super) arrivals: Arc<ArrivalQueue>,
    runtime: Option<Runtime>,
    waiting: VecDeque<Arrival>,
    wake: Arc<Wake>,
    /// The data thread that lanes go to, where they stay.
    _thread: Poll,
}

#[derive(Default)]
struct Wake {
    is_due: Mutex<bool>,
    news: Condvar,
}

/// Everything at this end stands still until it is dropped.
pub(super) struct Frozen(#[expect(dead_code, reason = "held until it is dropped")] mpsc::Sender<()>);

/// Places that know each other.
pub(super) fn places(count: u64) -> Vec<Place> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    let peers: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    let place = |(id, address): (u64, &SocketAddr)| Place {
        node: Node { id, incarnation: 1 },
        address: *address,
        peers: peers.clone(),
        tls: None,
        has_store: true,
    };
    (1..).zip(&peers).map(place).collect()
}

pub(super) fn ends<const N: usize>() -> [End; N] {
    let ends: Vec<_> = places(N as u64).iter().map(End::start).collect();
    ends.try_into().unwrap_or_else(|_| unreachable!("as many as there are places"))
}

impl End {
    pub(super) fn start(place: &Place) -> End {
        let Place { node, address, peers, tls, has_store } = place.clone();
        let config = ClusterConfig {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: address.port(),
            peers: peers.iter().map(|peer| Peer { host: peer.ip().to_string(), port: peer.port() }).collect(),
            tls,
            reconnect: ReconnectConfig { initial_milliseconds: 50, max_milliseconds: 500, jitter_percent: 10 },
            ..ClusterConfig::default()
        };
        let budget =
            Budget { connections: 0, handshakes: 0, greetings: 64, nodes: 16, lingering: 0, is_lowered: false };
        let certificates = config.tls.clone().map(|tls| {
            let loaded = Reloaded::load(Vec::new(), move || cluster_certificates(&tls));
            Arc::new(loaded.unwrap())
        });
        let (thread, inbox) = reactor::open().unwrap();
        let wake = Arc::<Wake>::default();
        let woken = wake.clone();
        let arrivals = Arc::new(ArrivalQueue::new(move || {
            *woken.is_due.lock().unwrap() = true;
            woken.news.notify_one();
        }));
        let mail = Mail::new(arrivals.clone());
        let metrics = Arc::<crate::metrics::ControlMetrics>::default();
        let surroundings = Surroundings {
            node: Arc::new(fulmar_worker::Node::new(settings(node))),
            nonce: node.incarnation,
            inboxes: vec![inbox],
            health: Arc::new(Health::new(Vec::new())),
            metrics: metrics.clone(),
            shortage: Arc::new(Shortage::new(metrics)),
            mail: has_store.then(|| mail.clone()),
        };
        let links = Arc::new(Links::new(&config, &budget, certificates, surroundings));
        // One thread, so that whoever keeps it busy freezes everything.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = listen(address);
        let (lane_news, news) = tokio::sync::mpsc::unbounded_channel();
        let driven = links.clone();
        runtime.spawn(async move {
            tokio::spawn(driven.clone().accept(tokio::net::TcpListener::from_std(listener).unwrap()));
            driven.drive(news).await;
            drop(lane_news);
        });
        End { node, links, mail, arrivals, runtime: Some(runtime), waiting: VecDeque::new(), wake, _thread: thread }
    }

    /// What arrives next.
    pub(super) fn next(&mut self) -> Arrival {
        self.until(|_| true)
    }

    /// The first arrival that `is_wanted`; all others are left for later.
    pub(super) fn until(&mut self, is_wanted: impl Fn(&Arrival) -> bool) -> Arrival {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = 0;
        loop {
            if let Some(index) = self.waiting.range(seen..).position(&is_wanted) {
                return self.waiting.remove(seen + index).expect("it was just found");
            }
            seen = self.waiting.len();
            assert!(self.wait(deadline), "nothing that is wanted arrives, but {:#?}", self.shortened());
        }
    }

    /// Waits for more; whether some has come.
    fn wait(&mut self, deadline: Instant) -> bool {
        let before = self.waiting.len();
        loop {
            let mut taken = Vec::new();
            self.arrivals.take(1 << 20, &mut taken);
            self.waiting.extend(taken);
            if self.waiting.len() > before {
                return true;
            }
            let wait = deadline.saturating_duration_since(Instant::now());
            let is_due = self.wake.is_due.lock().unwrap();
            let (mut is_due, timeout) = self.wake.news.wait_timeout_while(is_due, wait, |due| !*due).unwrap();
            *is_due = false;
            if timeout.timed_out() {
                return false;
            }
        }
    }

    fn shortened(&self) -> Vec<String> {
        let texts = self.waiting.iter().map(|arrival| format!("{arrival:?}"));
        texts.map(|text| text.chars().take(200).collect()).collect()
    }

    pub(super) fn await_connected(&mut self, to: Node, channel: Channel) {
        self.until(|arrival| *arrival == Arrival::Connected { to, channel });
    }

    /// For longer than a silent peer would be given nothing comes of this one but that it lives, or has more to read than
    /// it has room for.
    pub(super) fn await_beats(&self, of: Node, channel: Channel) {
        // One comes each half a second, and one may have been on its way.
        let patience = HeartbeatConfig::default().silence();
        let wanted = patience.as_millis() / 500 * 3 / 2 + 1;
        let beats = || self.mail.beats(of.id, &format!("broker-{}", of.id), channel);
        let before = beats();
        let has_lasted = || (u128::from(beats() - before) >= wanted).then_some(());
        eventually("the peer beats", has_lasted);
    }

    /// The letters of a node that come next on a channel, without an end or a new beginning in between.
    pub(super) fn await_letters(&mut self, wanted: Node, of: Channel, count: usize) -> Vec<Vec<u8>> {
        let is_of = |arrival: &Arrival| match arrival {
            Arrival::Letter { from, channel, .. }
            | Arrival::Ended { from, channel }
            | Arrival::Reset { from, channel } => from.id == wanted.id && *channel == of,
            _ => false,
        };
        let letter = |arrival| match arrival {
            Arrival::Letter { from, bytes, .. } if from == wanted => bytes,
            other => panic!("wanted a letter of {wanted}, found {other:?}"),
        };
        (0..count).map(|_| letter(self.until(is_of))).collect()
    }

    /// All at this end stands still from when this returns, as a stopped process does; its sockets are there.
    pub(super) fn freeze(&self) -> Frozen {
        let (frozen, thaw) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        self.runtime.as_ref().unwrap().spawn(async move {
            begun.send(()).unwrap();
            // Whoever froze it drops the sender.
            let _ = thaw.recv();
        });
        has_begun.recv().unwrap();
        Frozen(frozen)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// The port may still be held by the tasks of an end that was just dropped.
fn listen(address: SocketAddr) -> TcpListener {
    let listener = eventually("the port is free", || TcpListener::bind(address).ok());
    listener.set_nonblocking(true).unwrap();
    listener
}

/// Waits until there is something.
pub(super) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(result) = condition() {
            return result;
        }
        assert!(Instant::now() < deadline, "{what}: never");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn settings(node: Node) -> NodeSettings {
    NodeSettings {
        views: false,
        node_id: node.id,
        incarnation: node.incarnation,
        name: format!("broker-{}", node.id),
        threads: 1,
        limits: Limits::default(),
        anonymous: Vec::new(),
        auth: AuthSettings::new([7; 32]),
        seed: 7,
        store_shards: None,
        wall_clock_microseconds: 0,
        start: Instant::now(),
    }
}
