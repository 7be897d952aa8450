//! What no single key can tell: ports taken twice, certificates that are missing, limits that contradict each other.

use std::net::IpAddr;

use crate::read::Findings;
use crate::{
    BackoffConfig, ClientCertificate, ClientIdentity, ClusterConfig, Config, Limits, ListenerConfig, ListenerTls,
    MemoryConfig, Protocol,
};

const LISTENERS_MAX: usize = 16;
const PEERS_MAX: usize = 256;
/// A link carries a packet with a header of its own, and two frames at a time keep it moving.
const LINK_BUFFER_PACKETS: u64 = 2;
/// Who is held back longer for one packet could take the silence for a dead connection.
const PACKET_SECONDS_MAX: u64 = 10;
/// Well below the time after which a publisher without an acknowledgement is closed: the silent peer has to go first.
const SILENCE_MILLISECONDS_MAX: u128 = 8000;

pub(crate) fn check_rules(config: &Config, findings: &mut Findings) {
    check_listeners(&config.listeners, findings);
    check_ports(config, findings);
    if let Some(cluster) = &config.cluster {
        check_cluster(cluster, findings);
    }
    let has_tls = config.cluster.as_ref().is_some_and(|cluster| cluster.tls.is_some());
    if config.admin.is_some() && !has_tls {
        let wanted = "cluster.tls, whose CA says who may ask, or no admin";
        findings.refuse("admin", &["cluster"], "a port that nobody could prove himself to", wanted);
    }
    check_limits(&config.limits, findings);
    check_memory(&config.memory, findings);
    check_backoff(&config.auth.backoff, findings);
}

fn check_listeners(listeners: &[ListenerConfig], findings: &mut Findings) {
    if !(1..=LISTENERS_MAX).contains(&listeners.len()) {
        let found = format!("{} listeners", listeners.len());
        findings.refuse("listeners", &[], found, format!("1 to {LISTENERS_MAX}"));
    }
    for (index, listener) in listeners.iter().enumerate() {
        let path = |key: &str| format!("listeners[{index}].{key}");
        if let Some(earlier) = listeners[..index].iter().position(|earlier| earlier.name == listener.name) {
            let other = format!("listeners[{earlier}].name");
            findings.refuse(&path("name"), &[&other], &listener.name, format!("another name than {other}"));
        }
        match (listener.protocol, &listener.tls) {
            (Protocol::Mqtts, None) => {
                let wanted = "certFile and keyFile, because the protocol is mqtts";
                findings.refuse(&path("tls"), &[&path("protocol")], "nothing", wanted);
            }
            (Protocol::Mqtt, Some(_)) => {
                findings.refuse(&path("tls"), &[&path("protocol")], "a certificate", "none, or the protocol mqtts");
            }
            (Protocol::Mqtts, Some(tls)) => check_client_certificates(tls, &path("tls"), findings),
            (Protocol::Mqtt, None) => {}
        }
    }
}

fn check_client_certificates(tls: &ListenerTls, section: &str, findings: &mut Findings) {
    let ListenerTls { cert_file: _, key_file: _, client_certificate, client_ca_file, client_identity } = tls;
    let path = |key: &str| format!("{section}.{key}");
    let (certificate, ca_file) = (path("clientCertificate"), path("clientCaFile"));
    let wanted = "none, or clientCertificate optional or required";
    match (client_certificate, client_ca_file) {
        (ClientCertificate::None, Some(_)) => {
            findings.refuse(&ca_file, &[&certificate], "CA certificates for no certificate", wanted);
        }
        (ClientCertificate::Optional | ClientCertificate::Required, None) => {
            let wanted = "a path, because clientCertificate is optional or required";
            findings.refuse(&ca_file, &[&certificate], "nothing", wanted);
        }
        (ClientCertificate::None, None) | (ClientCertificate::Optional | ClientCertificate::Required, Some(_)) => {}
    }
    if *client_certificate == ClientCertificate::None && *client_identity != ClientIdentity::None {
        findings.refuse(&path("clientIdentity"), &[&certificate], "a name in no certificate", wanted);
    }
}

fn check_ports(config: &Config, findings: &mut Findings) {
    let numbered = config.listeners.iter().enumerate();
    let listeners = numbered.map(|(index, listener)| (format!("listeners[{index}]"), listener.address, listener.port));
    let http = config.http.iter().map(|http| ("http".to_owned(), http.address, http.port));
    let admin = config.admin.iter().map(|admin| ("admin".to_owned(), admin.address, admin.port));
    let cluster = config.cluster.iter().map(|cluster| ("cluster".to_owned(), cluster.address, cluster.port));
    let sockets: Vec<(String, IpAddr, u16)> = listeners.chain(http).chain(admin).chain(cluster).collect();
    for (index, (path, address, port)) in sockets.iter().enumerate() {
        // Port 0 is a different one each time it is bound.
        let collides = |other: &&(String, IpAddr, u16)| *port != 0 && other.2 == *port && overlap(other.1, *address);
        if let Some((other, ..)) = sockets[..index].iter().find(collides) {
            let wanted = format!("a port that {other} does not take");
            let others = [format!("{path}.address"), format!("{other}.address"), format!("{other}.port")];
            findings.refuse(&format!("{path}.port"), &others.each_ref().map(String::as_str), port.to_string(), wanted);
        }
    }
}

/// Whether two sockets on these addresses cannot share a port. `::` takes IPv4 as well.
fn overlap(one: IpAddr, other: IpAddr) -> bool {
    let covers = |all: IpAddr, one: IpAddr| all.is_unspecified() && (all.is_ipv6() || one.is_ipv4());
    one == other || covers(one, other) || covers(other, one)
}

fn check_cluster(cluster: &ClusterConfig, findings: &mut Findings) {
    let ClusterConfig { address, peers, tls, heartbeat, reconnect, .. } = cluster;
    if peers.len() > PEERS_MAX {
        findings.refuse("cluster.peers", &[], format!("{} peers", peers.len()), format!("at most {PEERS_MAX}"));
    }
    if tls.is_none() && !(address.is_loopback() && peers.iter().all(|peer| peer.is_loopback())) {
        let wanted = "certFile, keyFile and caFile, or loopback addresses only";
        findings.refuse("cluster.tls", &["cluster.address", "cluster.peers"], "nothing", wanted);
    }
    let silence = heartbeat.silence().as_millis();
    if silence > SILENCE_MILLISECONDS_MAX {
        let found = format!("{silence} milliseconds until a silent link is closed");
        let wanted = format!(
            "intervalMilliseconds + timeoutMilliseconds * (1 + retries) of at most {SILENCE_MILLISECONDS_MAX}, because \
             publishers are closed after 10 s without an acknowledgement"
        );
        findings.refuse("cluster.heartbeat", &[], found, wanted);
    }
    let (initial, max) = (reconnect.initial_milliseconds, reconnect.max_milliseconds);
    if max < initial {
        let wanted = format!("at least {initial}, which is initialMilliseconds");
        let others = ["cluster.reconnect.initialMilliseconds"];
        findings.refuse("cluster.reconnect.maxMilliseconds", &others, max.to_string(), wanted);
    }
}

fn check_limits(limits: &Limits, findings: &mut Findings) {
    let packet = u64::from(limits.packet_bytes);
    if limits.queued_bytes < packet {
        let wanted = format!("at least {packet}, which is packetBytes");
        findings.refuse("limits.queuedBytes", &["limits.packetBytes"], limits.queued_bytes.to_string(), wanted);
    }
    if limits.queued_bytes_total < limits.queued_bytes.saturating_mul(2) {
        let wanted = format!("at least {}, twice queuedBytes", limits.queued_bytes.saturating_mul(2));
        let found = limits.queued_bytes_total.to_string();
        findings.refuse("limits.queuedBytesTotal", &["limits.queuedBytes"], found, wanted);
    }
    let bytes_per_second = limits.publish_bytes_per_second;
    if bytes_per_second > 0 && bytes_per_second < packet.div_ceil(PACKET_SECONDS_MAX) {
        let wanted = format!(
            "0 or at least {}, so that a packet of packetBytes is paid for in {PACKET_SECONDS_MAX} s and its client's \
             next ping is heard",
            packet.div_ceil(PACKET_SECONDS_MAX)
        );
        let found = bytes_per_second.to_string();
        findings.refuse("limits.publishBytesPerSecond", &["limits.packetBytes"], found, wanted);
    }
    if limits.link_buffer_bytes < packet * LINK_BUFFER_PACKETS {
        let wanted = format!("at least {}, twice packetBytes", packet * LINK_BUFFER_PACKETS);
        findings.refuse(
            "limits.linkBufferBytes",
            &["limits.packetBytes"],
            limits.link_buffer_bytes.to_string(),
            wanted,
        );
    }
}

fn check_memory(memory: &MemoryConfig, findings: &mut Findings) {
    let MemoryConfig { limit_bytes: _, high_percent, critical_percent } = *memory;
    if critical_percent <= high_percent {
        let (found, wanted) = (critical_percent.to_string(), format!("more than {high_percent}, which is highPercent"));
        findings.refuse("memory.criticalPercent", &["memory.highPercent"], found, wanted);
    }
}

fn check_backoff(backoff: &BackoffConfig, findings: &mut Findings) {
    if backoff.max() < backoff.initial() {
        let (found, wanted) = (backoff.max_seconds.to_string(), "no less than initialMilliseconds");
        findings.refuse("auth.backoff.maxSeconds", &["auth.backoff.initialMilliseconds"], found, wanted);
    }
}
