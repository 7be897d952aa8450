//! What a start needs to find out and to open: names, numbers, ports, and the worker's limits.

use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use fulmar_cluster::heartbeat;
use fulmar_config::{
    AdminConfig, ClientIdentity, ClusterConfig, Config, Durability, Effective, HeartbeatConfig, HttpConfig, Limits,
    ListenerConfig, Protocol, Source,
};
use tracing::{info, warn};

use crate::descriptors::{self, Budget, Number, Wanted};
use crate::memory::{self, Fit, Shape};
use crate::reactor;

/// How long the deletion of a retained message is remembered, for nodes that were away.
const TOMBSTONE: Duration = Duration::from_secs(3600);
/// How long an acknowledgement may be owed to a client: clients do not resend on a live connection.
const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// What a turn of a data thread writes into its clients' buffers before they are sent.
const TURN_OUTPUT_BYTES: usize = 4 << 20;
/// Nanoseconds of work of a data thread, about, before it looks who else has come.
const TURN_EFFORT: u64 = 5_000_000;
/// How long SUBACK waits for nodes that have not confirmed the filter.
const SUBSCRIBE_BARRIER: Duration = Duration::from_secs(2);
/// How long a node that stands still may delay publishes, as the documentation promises.
const PROMISED_SILENCE: Duration = Duration::from_secs(2);

/// How many connections of each kind the descriptors allow: as configured, or fewer where nobody chose the number.
pub(crate) fn descriptor_budget(effective: &Effective, threads: u16) -> anyhow::Result<Budget> {
    let limit = descriptors::raise().context("raise the file-descriptor limit")?;
    let config = &effective.config;
    let number = |value, path| Number { value, is_chosen: effective.source(path) != &Source::Default };
    let sockets = config.listeners.iter().map(|listener| sockets_of(listener, threads) as u64);
    let http_ports = u64::from(config.http.is_some()) + u64::from(config.admin.is_some());
    let wanted = Wanted {
        connections: number(config.limits.connections, "limits.connections"),
        handshakes: speaks_tls(config).then(|| number(config.limits.handshakes, "limits.handshakes")),
        listening: sockets.sum::<u64>() + http_ports + u64::from(config.cluster.is_some()),
        threads,
        http_ports,
        has_cluster: config.cluster.is_some(),
        has_letters: config.cluster.is_some() && config.data_dir.is_some(),
    };
    let budget = descriptors::share_out(limit, &wanted)?;
    let Budget { connections, handshakes, greetings, nodes, lingering: _, is_lowered } = budget;
    if is_lowered {
        // Of what there is no use for here there is nothing to tell.
        let handshakes = wanted.handshakes.map(|_| handshakes);
        let (greetings, nodes) = (wanted.has_cluster.then_some(greetings), wanted.has_cluster.then_some(nodes));
        warn!(limit, connections, handshakes, greetings, nodes, "the file-descriptor limit lowers other limits");
    }
    Ok(budget)
}

/// Lowers what nobody chose where there is less memory than the limits would allow to be taken.
pub(crate) fn fit_memory(effective: &Effective, limits: &mut Limits, memory: u64, threads: u16) {
    let config = &effective.config;
    let has_cluster = config.cluster.is_some();
    let has_store = config.data_dir.is_some() && config.durability != Durability::None;
    let shape = Shape { threads, has_tls: speaks_tls(config), has_cluster, has_store };
    let is_chosen = |path: &str| effective.source(path) != &Source::Default;
    let Fit { is_lowered, needed, usable } = memory::fit(limits, shape, memory, is_chosen);
    if is_lowered {
        info!(
            memory,
            queued_bytes_total = limits.queued_bytes_total,
            retained_bytes = limits.retained_bytes,
            session_bytes_total = limits.session_bytes_total,
            input_buffer_bytes_total = limits.input_buffer_bytes_total,
            output_buffer_bytes_total = limits.output_buffer_bytes_total,
            link_buffer_bytes = limits.link_buffer_bytes,
            "there is less memory than the defaults are for, so what clients may take is lowered"
        );
    }
    if needed > usable {
        warn!(
            memory,
            needed,
            usable,
            "clients may take more memory than there is, and the process be killed for it: give it more, or lower the \
             limits in bytes"
        );
    }
}

fn speaks_tls(config: &Config) -> bool {
    config.listeners.iter().any(|listener| listener.protocol == Protocol::Mqtts)
}

/// What a user may not expect, said once at the start.
pub(crate) fn warn_of_surprises(config: &Config) {
    for listener in &config.listeners {
        let by_certificate = listener.tls.as_ref().is_some_and(|tls| tls.client_identity != ClientIdentity::None);
        let is_any_known = config.auth.password_file.is_some() || by_certificate;
        if !config.is_anonymous_allowed(listener) && !is_any_known {
            warn!(
                listener = listener.name,
                "clients are refused: no authentication is configured, and allowAnonymous is not true"
            );
        }
    }
    let silence = config.cluster.as_ref().map(|cluster| cluster.heartbeat.silence());
    if let Some(silence) = silence.filter(|silence| *silence > PROMISED_SILENCE) {
        warn!(
            milliseconds = silence.as_millis(),
            promised = PROMISED_SILENCE.as_millis(),
            "by cluster.heartbeat a node that stands still delays publishes for longer than promised"
        );
    }
}

/// One socket per data thread for a plain listener, one for a TLS listener, whose handshakes are the control side's.
pub(crate) fn bind_listener(listener: &ListenerConfig, threads: u16) -> anyhow::Result<Vec<TcpListener>> {
    let address = SocketAddr::new(listener.address, listener.port);
    let sockets = reactor::bind(address, sockets_of(listener, threads))
        .with_context(|| format!("listen on {address} ({})", listener.name))?;
    let address = sockets[0].local_addr()?;
    info!(listener = listener.name, protocol = listener.protocol.name(), %address, "listening");
    Ok(sockets)
}

fn sockets_of(listener: &ListenerConfig, threads: u16) -> usize {
    match listener.protocol {
        Protocol::Mqtt => threads.into(),
        Protocol::Mqtts => 1,
    }
}

pub(crate) fn bind_http(http: &HttpConfig) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::new(http.address, http.port);
    let mut sockets = reactor::bind(address, 1).with_context(|| format!("listen on {address} (http)"))?;
    let socket = sockets.pop().context("bind one socket")?;
    info!(listener = "http", address = %socket.local_addr()?, "listening");
    Ok(socket)
}

pub(crate) fn bind_admin(admin: &AdminConfig) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::new(admin.address, admin.port);
    let mut sockets = reactor::bind(address, 1).with_context(|| format!("listen on {address} (admin)"))?;
    let socket = sockets.pop().context("bind one socket")?;
    info!(listener = "admin", address = %socket.local_addr()?, "listening");
    Ok(socket)
}

pub(crate) fn bind_cluster(cluster: &ClusterConfig) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::new(cluster.address, cluster.port);
    let mut sockets = reactor::bind(address, 1).with_context(|| format!("listen on {address} (cluster)"))?;
    let socket = sockets.pop().context("bind one socket")?;
    info!(listener = "cluster", tls = cluster.tls.is_some(), address = %socket.local_addr()?, "listening");
    Ok(socket)
}

/// One thread per core that the machine or the container grants, unless the configuration says how many.
pub(crate) fn thread_count(configured: u16) -> u16 {
    if configured > 0 {
        return configured;
    }
    std::thread::available_parallelism().map_or(1, |cores| u16::try_from(cores.get()).unwrap_or(u16::MAX))
}

/// The worker's limits out of the configuration. A new limit in either asks here what becomes of it.
pub(crate) fn worker_limits(config: &Config, connections: u32, threads: u16) -> fulmar_worker::Limits {
    let Limits {
        connections: _,
        connections_per_address,
        handshakes: _,
        connect_timeout_seconds: _,
        packet_bytes,
        connect_packet_bytes: _,
        inflight,
        outbound_inflight,
        outbound_inflight_seconds,
        publishes_per_second,
        publish_bytes_per_second,
        queued_messages,
        queued_bytes,
        queued_bytes_total,
        stored_bytes_total: _,
        stored_bytes_in_memory: _,
        sessions,
        session_bytes_total,
        session_expiry_seconds_max,
        keep_alive_seconds_max,
        subscriptions_per_client,
        subscriptions_per_packet,
        topic_levels,
        topic_bytes,
        user_properties,
        will_bytes,
        topic_aliases,
        outbound_topic_aliases,
        retained_messages,
        retained_bytes,
        output_buffer_bytes,
        output_buffer_bytes_total: _,
        read_budget_bytes: _,
        input_buffer_bytes_total: _,
        link_buffer_bytes: _,
    } = config.limits;
    let alone = ClusterConfig::default();
    let cluster = config.cluster.as_ref().unwrap_or(&alone);
    let output_bytes_per_thread = bytes(config.limits.output_buffer_bytes_per_thread(threads));
    fulmar_worker::Limits {
        connections: connections as usize,
        listener_connections: config.listeners.iter().map(listener_connections).collect(),
        connections_per_address: unless_zero(connections_per_address).map(|max| max as usize),
        sessions: sessions as usize,
        session_bytes_total: bytes(session_bytes_total),
        connect_timeout: config.limits.connect_timeout(),
        packet_bytes: packet_bytes as usize,
        connect_packet_bytes: config.limits.first_packet_bytes() as usize,
        inflight,
        outbound_inflight,
        outbound_inflight_age: unless_zero(outbound_inflight_seconds)
            .map(|seconds| Duration::from_secs(seconds.into())),
        publishes_per_second: NonZeroU64::new(publishes_per_second.into()),
        publish_bytes_per_second: NonZeroU64::new(publish_bytes_per_second),
        queued_messages: queued_messages as usize,
        queued_bytes: bytes(queued_bytes),
        queued_bytes_total: bytes(queued_bytes_total),
        output_buffer_bytes: output_buffer_bytes as usize,
        turn_output_bytes: TURN_OUTPUT_BYTES.min(output_bytes_per_thread / 2),
        output_bytes_per_thread,
        turn_effort: TURN_EFFORT,
        session_expiry_seconds: session_expiry_seconds_max,
        // The largest value there is leaves the choice to clients, who may ask for none at all.
        keep_alive_seconds: if keep_alive_seconds_max == u16::MAX { 0 } else { keep_alive_seconds_max },
        subscriptions_per_client: subscriptions_per_client as usize,
        subscriptions_per_packet: subscriptions_per_packet as usize,
        topic_levels: topic_levels.into(),
        topic_bytes: topic_bytes.into(),
        user_properties: user_properties.into(),
        will_bytes: will_bytes as usize,
        topic_aliases,
        outbound_topic_aliases,
        retained_messages: retained_messages as usize,
        retained_bytes: bytes(retained_bytes),
        // A node that is alone has nobody to tell of deletions.
        tombstone: if config.cluster.is_some() { TOMBSTONE } else { Duration::ZERO },
        acknowledgement_timeout: ACKNOWLEDGEMENT_TIMEOUT,
        subscribe_barrier: SUBSCRIBE_BARRIER,
        link_buffer_bytes: bytes(config.limits.link_buffer_bytes_per_thread(threads)),
        resume: cluster.resume(),
        heartbeat: heartbeat(cluster),
    }
}

fn listener_connections(listener: &ListenerConfig) -> usize {
    unless_zero(listener.limits.connections).map_or(usize::MAX, |max| max as usize)
}

/// In the configuration 0 stands for no limit.
fn unless_zero(limit: u32) -> Option<u32> {
    Some(limit).filter(|limit| *limit > 0)
}

/// When a silent peer is probed and given up.
fn heartbeat(cluster: &ClusterConfig) -> heartbeat::Settings {
    let HeartbeatConfig { interval_milliseconds, timeout_milliseconds, retries } = cluster.heartbeat;
    heartbeat::Settings {
        interval: Duration::from_millis(interval_milliseconds.into()),
        timeout: Duration::from_millis(timeout_milliseconds.into()),
        retries: retries.into(),
    }
}

/// A number of bytes that was configured, as far as this machine can address them.
pub(crate) fn bytes(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The machine's name; a pod's is the pod's.
pub(crate) fn host_name() -> anyhow::Result<String> {
    let mut buffer = [0_u8; 256];
    // SAFETY: the pointer and the length are those of `buffer`.
    if unsafe { libc::gethostname(buffer.as_mut_ptr().cast(), buffer.len()) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    let end = buffer.iter().position(|byte| *byte == 0).unwrap_or(buffer.len());
    Ok(String::from_utf8_lossy(&buffer[..end]).into_owned())
}

/// A random number that nobody can guess.
pub(crate) fn random() -> u64 {
    getrandom::u64().expect("the operating system has random numbers")
}

/// Random bytes for a key.
pub(crate) fn random_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes
}

pub(crate) fn wall_clock_microseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named() {
        let listener = ListenerConfig { port: 0, ..ListenerConfig::default() };
        let sockets = bind_listener(&listener, 2).unwrap();
        let port = sockets[0].local_addr().unwrap().port();
        assert_eq!(sockets[1].local_addr().unwrap().port(), port);
        let error = format!("{:#}", bind_listener(&ListenerConfig { port, ..listener }, 1).unwrap_err());
        assert!(error.starts_with(&format!("listen on 127.0.0.1:{port} (mqtt): ")), "{error}");
    }

    #[test]
    fn threads_are_as_configured_or_one_per_core() {
        assert_eq!(thread_count(3), 3);
        assert!(thread_count(0) >= 1);
    }

    #[test]
    fn the_longest_keep_alive_means_any() {
        let limits = worker_limits(&Config::default(), 7, 1);
        assert_eq!((limits.connections, limits.keep_alive_seconds), (7, 0));
    }

    #[test]
    fn a_machine_has_a_name() {
        assert!(!host_name().unwrap().is_empty());
    }
}
