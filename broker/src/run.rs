//! Starting and stopping: what is opened in which order, which threads there are, and how they end.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use fulmar_config::{ClientIdentity, ClusterTls, Config, Effective};
use fulmar_worker::{Answer, Node, NodeSettings, Worker};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::admin::{self, Admin, NothingKept};
use crate::auth::{self, AuthFiles, Pool};
use crate::connect_rate::ConnectRate;
use crate::grant;
use crate::health::{Health, Phase};
use crate::link::{Links, Surroundings};
use crate::log::{self, Log};
use crate::metrics::{AuthMetrics, ControlMetrics, Metrics, ThreadReport};
use crate::node_id;
use crate::pressure::{MemoryState, Watch};
use crate::reactor::{self, Inbox, Lease, Letter, Listener, Reactor, Settings};
use crate::setup;
use crate::shortage::Shortage;
use crate::store::{self, Around, Kept, StoreThread};
use crate::sys;
use crate::throttle::Throttle;
use crate::tls::{
    ClusterCertificates, Handshakes, Reload, Reloaded, TlsListener, cluster_certificates, listener_certificate,
};
use crate::trace::Traces;
use crate::zone;

/// How often files that may change are looked at.
const FILE_LOOK: Duration = Duration::from_secs(2);
/// A signal that comes so long after the first is a second one.
const SECOND_SIGNAL_AFTER: Duration = Duration::from_secs(1);
/// When the broker stops, and the store can do nothing, it is waited for so long.
const STUCK_PATIENCE: Duration = Duration::from_secs(2);
/// Threads of the control side; the data threads do the work.
const CONTROL_THREADS: usize = 2;

/// Runs the broker until it is told to stop.
pub(crate) fn run(effective: &Effective, warnings: &[String]) -> anyhow::Result<()> {
    let log = log::start(&effective.config.log)?;
    log_panics();
    for warning in warnings {
        warn!("{warning}");
    }
    let result = Broker::start(effective, &log).and_then(Broker::serve);
    if let Err(error) = &result {
        error!(error = format!("{error:#}"), "stopped by an error");
    }
    log.finish();
    result
}

/// Tells when a part without which the broker is of no use ends, by a panic too: whoever holds it drops it.
struct Ended {
    what: &'static str,
    ends: mpsc::Sender<&'static str>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        // One is enough, and while the broker stops nobody asks.
        let _ = self.ends.try_send(self.what);
    }
}

/// Everything that was started.
struct Broker {
    config: Config,
    runtime: Runtime,
    health: Arc<Health>,
    /// None: the broker is alone.
    links: Option<Arc<Links>>,
    inboxes: Vec<Arc<Inbox>>,
    reports: Vec<Arc<ThreadReport>>,
    threads: Vec<JoinHandle<()>>,
    /// None: there are no passwords.
    pool: Option<Arc<Pool>>,
    /// None: nothing outlives the process.
    store: Option<StoreThread>,
    /// Names a part of the broker that has ended.
    ended: mpsc::Receiver<&'static str>,
    /// Held for its lock.
    _node_id: node_id::NodeId,
}

impl Broker {
    fn start(effective: &Effective, log: &Log) -> anyhow::Result<Broker> {
        let mut config = effective.config.clone();
        let name = config.name.clone().context("the configuration names no node, wanted the host name at least")?;
        let threads = setup::thread_count(config.threads);
        let budget = setup::descriptor_budget(effective, threads)?;
        let grant = grant::find(config.memory.limit_bytes);
        if let Some(grant) = &grant {
            setup::fit_memory(effective, &mut config.limits, grant.bytes, threads);
        }
        let node_id = node_id::obtain(config.data_dir.as_deref(), setup::random)?;
        let node_id = store::begin_with_folder(&config, node_id)?;
        info!(
            version = env!("CARGO_PKG_VERSION"),
            name,
            node_id = format!("{:016x}", node_id.value),
            threads,
            connections = budget.connections,
            "starting"
        );
        if let Some(zone) = config.cluster.as_ref().and_then(zone::find) {
            info!(zone, "this node is in a zone");
        }
        setup::warn_of_surprises(&config);
        let auth_files = Arc::new(AuthFiles::load(&config.auth)?);

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(CONTROL_THREADS)
            .thread_name("control")
            .enable_all()
            .build()
            .context("start the control side")?;
        let metrics = Arc::new(ControlMetrics::default());
        let shortage = Arc::new(Shortage::new(metrics.clone()));
        let traces = Arc::new(Traces::new(setup::random()));
        let reports: Vec<Arc<ThreadReport>> = (0..threads).map(|_| Arc::default()).collect();
        let health = Arc::new(Health::new(reports.clone()));
        let opened: Vec<_> = (0..threads).map(|_| reactor::open()).collect::<Result<_, _>>().context("open epoll")?;
        let (polls, inboxes): (Vec<_>, Vec<_>) = opened.into_iter().unzip();

        // Every port is bound before the first client is served, so that a port in use stops the start.
        let http = config.http.as_ref().map(setup::bind_http).transpose()?;
        let admin = config.admin.as_ref().map(setup::bind_admin).transpose()?;
        let cluster = config.cluster.as_ref().map(setup::bind_cluster).transpose()?;
        let sockets = config
            .listeners
            .iter()
            .map(|listener| setup::bind_listener(listener, threads))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let start = Instant::now();
        let kept = Kept::of(&config, node_id.value, threads);
        let node = Arc::new(Node::new(NodeSettings {
            node_id: node_id.value,
            incarnation: setup::random(),
            name,
            threads,
            limits: setup::worker_limits(&config, budget.connections, threads),
            anonymous: config.listeners.iter().map(|listener| config.is_anonymous_allowed(listener)).collect(),
            auth: auth::settings(&config, Arc::new(auth_files.rules()), setup::random_bytes()),
            seed: setup::random(),
            views: kept.as_ref().is_some_and(Kept::is_member),
            store_shards: kept.as_ref().map(Kept::shards),
            wall_clock_microseconds: setup::wall_clock_microseconds(),
            start,
        }));
        let (ends, ended) = mpsc::channel(1);
        let around = Around { node: node.clone(), inboxes: inboxes.clone() };
        let store = kept.map(|kept| {
            let names_by_file = !config
                .listeners
                .iter()
                .any(|listener| listener.tls.as_ref().is_some_and(|tls| tls.client_identity != ClientIdentity::None));
            let ended = Ended { what: "the store", ends: ends.clone() };
            store::start(kept, around, &health, names_by_file, ended)
        });
        let store = store.transpose()?;
        let mut listeners: Vec<Vec<Listener>> = (0..threads).map(|_| Vec::new()).collect();
        let mut certificates: Vec<Arc<dyn Reload>> = Vec::new();
        let connect_timeout = config.limits.connect_timeout();
        let handshakes =
            Handshakes::new(budget.handshakes.min(config.limits.handshakes) as usize, connect_timeout, metrics.clone());
        let handshakes = Arc::new(handshakes);
        for ((index, listener), sockets) in (0..).zip(&config.listeners).zip(sockets) {
            let rate = ConnectRate::new(&listener.name, listener.limits.connects_per_second, metrics.clone());
            let rate = Arc::new(rate);
            let Some(tls) = listener.tls.clone() else {
                for (listeners, socket) in listeners.iter_mut().zip(sockets) {
                    listeners.push(Listener::new(socket, listener.name.clone(), index, rate.clone()));
                }
                continue;
            };
            let names_clients = tls.client_identity != ClientIdentity::None;
            let files = [&tls.cert_file, &tls.key_file].into_iter().chain(&tls.client_ca_file).cloned().collect();
            let certificate = Reloaded::load(files, move || listener_certificate(&tls))
                .with_context(|| format!("load the certificate of listener {}", listener.name))?;
            let certificate = Arc::new(certificate);
            certificates.push(certificate.clone());
            let tls_listener = TlsListener {
                name: listener.name.clone(),
                index,
                certificate,
                names_clients,
                handshakes: handshakes.clone(),
                connect_timeout,
                packet_bytes_max: config.limits.first_packet_bytes() as usize,
                inboxes: inboxes.clone(),
                next_inbox: AtomicUsize::new(0),
                metrics: metrics.clone(),
                traces: traces.clone(),
                shortage: shortage.clone(),
                rate,
                node: node.clone(),
                throttle: Throttle::default(),
            };
            let tls_listener = Arc::new(tls_listener);
            let _runtime = runtime.enter();
            for socket in sockets {
                let socket = tokio::net::TcpListener::from_std(socket).context("listen for TLS clients")?;
                runtime.spawn(tls_listener.clone().run(socket));
            }
        }
        let cluster_tls = config.cluster.as_ref().and_then(|cluster| cluster.tls.clone());
        let cluster_certificates = cluster_tls.map(load_cluster_certificates).transpose()?;
        certificates.extend(cluster_certificates.clone().map(|loaded| loaded as Arc<dyn Reload>));
        runtime.spawn(watch_certificates(certificates, metrics.clone()));

        let memory = Arc::new(MemoryState::default());
        if let Some(grant) = grant {
            let (marks, state, node) = (config.memory.clone(), memory.clone(), node.clone());
            let watch = Watch { grant, marks, state, node, inboxes: inboxes.clone(), shortage: shortage.clone() };
            runtime.spawn(watch.run());
        }
        let password_file = config.auth.password_file.as_ref();
        let pool = password_file.map(|_| start_pool(&config, &inboxes, &ends)).transpose()?;
        let store_inbox = store.as_ref().map(|store| store.inbox.clone());
        runtime.spawn(watch_auth_files(auth_files.clone(), inboxes.clone(), store_inbox, health.clone()));
        let (lane_news, news) = mpsc::unbounded_channel();
        if let (Some(listener), Some(certificates)) = (admin, cluster_certificates.clone()) {
            let control = store.as_ref().and_then(StoreThread::control);
            let control = control.unwrap_or_else(|| Arc::new(NothingKept));
            let port = admin::admin_port(control, certificates, shortage.clone(), metrics.clone());
            let _runtime = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener).context("listen for operators")?;
            runtime.spawn(Arc::new(port).run(listener));
        }
        let links = config.cluster.as_ref().map(|cluster| {
            let (node, inboxes) = (node.clone(), inboxes.clone());
            let (health, metrics, shortage) = (health.clone(), metrics.clone(), shortage.clone());
            let mail = store.as_ref().and_then(|store| store.mail());
            let nonce = store.as_ref().and_then(StoreThread::nonce).unwrap_or_else(setup::random);
            let surroundings = Surroundings { node, nonce, inboxes, health, metrics, shortage, mail };
            let links = Arc::new(Links::new(cluster, &budget, cluster_certificates, surroundings));
            if let Some(store) = &store {
                store.linked_by(&links);
            }
            links
        });
        let settings = Settings {
            read_budget_bytes: config.limits.read_budget_bytes as usize,
            output_buffer_bytes: config.limits.output_buffer_bytes as usize,
            lingering_max: budget.lingering as usize,
            carried_bytes_max: setup::bytes(config.limits.input_buffer_bytes_per_thread(threads)),
            listener_names: config.listeners.iter().map(|listener| listener.name.clone()).collect(),
            metrics: metrics.clone(),
            traces,
            shortage: shortage.clone(),
            lane_news,
            pool: pool.clone(),
            store: store.as_ref().map(|store| store.inbox.clone()),
            lease: Lease::of(&node),
        };
        if let Some(interval) = config.sys_interval() {
            let sources = sys::Sources { node: node.clone(), reports: reports.clone(), start };
            runtime.spawn(sys::run(interval, sources, inboxes[0].clone()));
        }
        if let Some(listener) = http {
            let metrics = Metrics {
                version: env!("CARGO_PKG_VERSION"),
                node: node.settings.name.clone(),
                node_id: node_id.value,
                threads: reports.clone(),
                control: metrics.clone(),
                memory,
                log_lines_dropped: log.dropped(),
                links: links.clone(),
                store: store.as_ref().map(|store| store.report.clone()),
                auth: AuthMetrics { node: node.clone(), files: auth_files, pool: pool.clone() },
            };
            let port = Arc::new(Admin { health: health.clone(), metrics }.into_port(shortage));
            let _runtime = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener).context("listen for HTTP")?;
            runtime.spawn(port.run(listener));
        }
        let mut handles = Vec::new();
        for ((thread, poll), listeners) in (0..).zip(polls).zip(listeners) {
            let worker = Worker::new(node.clone(), thread, start, setup::random());
            let report = reports[usize::from(thread)].clone();
            let reactor = Reactor::new(worker, thread, poll, listeners, inboxes.clone(), report, settings.clone())
                .context("start an event loop")?;
            handles.push(spawn(thread, reactor, Ended { what: "a data thread", ends: ends.clone() })?);
        }
        if let (Some(links), Some(listener)) = (&links, cluster) {
            let _runtime = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener).context("listen for peers")?;
            runtime.spawn(links.clone().accept(listener));
            runtime.spawn(links.clone().discover());
            let (links, ended) = (links.clone(), Ended { what: "the control of links", ends: ends.clone() });
            runtime.spawn(async move {
                let _ended = ended;
                links.drive(news).await;
            });
        }
        health.set_phase(Phase::Serving);
        info!("serving");
        let threads = handles;
        Ok(Broker { config, runtime, health, links, inboxes, reports, threads, pool, store, ended, _node_id: node_id })
    }

    /// Serves until a signal comes or a data thread ends, then stops within the grace period.
    fn serve(self) -> anyhow::Result<()> {
        let Broker { config, runtime, health, links, inboxes, reports, threads, pool, store, mut ended, _node_id } =
            self;
        let result = runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
            let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
            tokio::select! {
                _ = terminate.recv() => info!(signal = "SIGTERM", "stopping"),
                _ = interrupt.recv() => info!(signal = "SIGINT", "stopping"),
                Some(what) = ended.recv() => anyhow::bail!("{what} ended by itself"),
            }
            health.set_phase(Phase::Stopping);
            let told = async {
                if let Some(store) = &store {
                    // Clients are told in what is left of it.
                    store.leave(config.shutdown.grace() / 2).await;
                }
                for inbox in &inboxes {
                    inbox.push(Letter::ShutDown);
                }
                all_quiet(&reports).await;
                if let Some(links) = links {
                    links.stop();
                }
                close_lanes(&inboxes).await;
            };
            // What waits for room on the disk, or for others that have stopped too, may wait for ever.
            let stuck = async {
                match &store {
                    Some(store) => store.stay_stuck(STUCK_PATIENCE).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = told => info!("stopped, clients and peers were told as far as they listened"),
                () = tokio::time::sleep(config.shutdown.grace()) => warn!("stopped by the end of the grace period"),
                wanted = stuck => warn!(wanted, "stopped without what the store has not done"),
                () = second_signal(&mut terminate, &mut interrupt) => warn!("stopped at once by a second signal"),
                Some(what) = ended.recv() => anyhow::bail!("{what} ended by itself"),
            }
            Ok(())
        });
        for inbox in &inboxes {
            inbox.push(Letter::Exit);
        }
        if let Some(pool) = pool {
            pool.stop();
        }
        if result.is_ok() {
            for thread in threads {
                // A panic was logged when it happened.
                let _ = thread.join();
            }
            if let Some(store) = store {
                store.stop();
            }
        }
        runtime.shutdown_background();
        result
    }
}

fn load_cluster_certificates(tls: ClusterTls) -> anyhow::Result<Arc<Reloaded<ClusterCertificates>>> {
    let files = vec![tls.cert_file.clone(), tls.key_file.clone(), tls.ca_file.clone()];
    let loaded = Reloaded::load(files, move || cluster_certificates(&tls));
    loaded.map(Arc::new).context("load the certificates of the cluster")
}

/// Waits for somebody who is in a hurry. What comes right after the first signal is the same wish once more: a
/// supervisor and the terminal's process group may both pass it on.
async fn second_signal(terminate: &mut Signal, interrupt: &mut Signal) {
    let start = Instant::now();
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if start.elapsed() >= SECOND_SIGNAL_AFTER {
            return;
        }
    }
}

/// Waits until no data thread holds anything that somebody would miss, all at the same time.
async fn all_quiet(reports: &[Arc<ThreadReport>]) {
    loop {
        for report in reports {
            report.wait_until_quiet().await;
        }
        if reports.iter().all(|report| report.is_quiet()) {
            return;
        }
    }
}

/// Tells peers that this node stops, so that none of them waits for it to come back.
async fn close_lanes(inboxes: &[Arc<Inbox>]) {
    let (closed, mut all_closed) = mpsc::channel(1);
    for inbox in inboxes {
        inbox.push(Letter::CloseLanes(closed.clone()));
    }
    drop(closed);
    // There is nothing to receive: each data thread drops its sender when it is done.
    let _ = all_closed.recv().await;
}

fn spawn<C: reactor::Core + Send + 'static>(
    thread: u16,
    reactor: Reactor<C>,
    ended: Ended,
) -> anyhow::Result<JoinHandle<()>> {
    let run = move || {
        // Dropped with the thread, however it ends.
        let _ended = ended;
        if let Err(error) = reactor.run() {
            error!(thread, %error, "event loop failed");
        }
    };
    std::thread::Builder::new().name(format!("data-{thread}")).spawn(run).context("start a data thread")
}

/// Starts the threads that verify passwords. What they find out goes to the data thread that asked.
fn start_pool(config: &Config, inboxes: &[Arc<Inbox>], ends: &mpsc::Sender<&'static str>) -> anyhow::Result<Arc<Pool>> {
    let pool = Arc::new(Pool::new(config.auth.queued as usize));
    for number in 0..setup::thread_count(config.auth.threads) {
        let inboxes = inboxes.to_vec();
        let ended = Ended { what: "a thread that verifies passwords", ends: ends.clone() };
        // There are no more answers on their way than questions may be, and each data thread takes all it finds.
        let tell = move |answer: Answer| inboxes[usize::from(answer.thread)].push(Letter::Answer(answer));
        pool.clone().start(number, ended, tell)?;
    }
    Ok(pool)
}

/// Looks at the files of users and access rules now and then, and gives all data threads what they say anew.
async fn watch_auth_files(
    files: Arc<AuthFiles>,
    inboxes: Vec<Arc<Inbox>>,
    store: Option<Arc<store::Inbox>>,
    health: Arc<Health>,
) {
    let mut looks = tokio::time::interval(FILE_LOOK);
    loop {
        looks.tick().await;
        let looking = files.clone();
        // Reading files may block, and a large one takes a while.
        match tokio::task::spawn_blocking(move || looking.look()).await {
            Ok(None) => {}
            Ok(Some(rules)) => {
                let rules = Arc::new(rules);
                inboxes.iter().for_each(|inbox| inbox.push(Letter::Rules(rules.clone())));
                store.iter().for_each(|store| store.reload(rules.clone()));
            }
            Err(error) => error!(%error, "looking at the files of users and access rules failed"),
        }
        let invalid = files.states().into_iter().filter(|file| !file.is_valid).map(|file| file.key.to_owned());
        health.set_invalid_files(invalid.collect());
    }
}

/// Looks at the certificate files now and then, and takes changed ones into use for new connections.
async fn watch_certificates(certificates: Vec<Arc<dyn Reload>>, metrics: Arc<ControlMetrics>) {
    let mut looks = tokio::time::interval(FILE_LOOK);
    loop {
        looks.tick().await;
        for certificate in &certificates {
            let certificate = certificate.clone();
            // Reading files may block.
            match tokio::task::spawn_blocking(move || certificate.reload()).await {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => {
                    metrics.certificate_reloads.add(1);
                    info!("a changed certificate is in use");
                }
                Ok(Err(error)) => {
                    metrics.certificate_reload_failures.add(1);
                    error!(error = format!("{error:#}"), "a changed certificate is not used");
                }
                Err(error) => error!(%error, "looking at certificate files failed"),
            }
        }
    }
}

/// Panics go to the log, in its format, rather than as bare text to standard error.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let location = panic.location().map(ToString::to_string);
        error!(message, location, "panic");
    }));
}
