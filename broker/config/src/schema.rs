//! Which keys there are, and what each accepts. What concerns several keys at once is in `rules`.

use crate::read::Section;
use crate::{
    AdminConfig, AuthConfig, BackoffConfig, ClientCertificate, ClientIdentity, ClusterConfig, ClusterId, ClusterTls,
    Config, DrainConfig, Durability, HeartbeatConfig, HttpConfig, IdentityRule, Limits, ListenerConfig, ListenerLimits,
    ListenerTls, LogConfig, LogFormat, LogLevel, MemoryConfig, Peer, Protocol, ReconnectConfig, ShutdownConfig,
    TakeoverRule,
};

const PACKET_BYTES_MAX: u32 = 268_435_460; // The largest remaining length and its header (MQTT 5.0, 1.5.5).
const BYTES_MAX: u64 = 1 << 50;
const RATE_MAX: u32 = 1_000_000_000; // One in each nanosecond.

pub(crate) fn read_config(section: &mut Section<'_>) -> Config {
    let defaults = Config::default();
    Config {
        name: section.optional_text("name", "1 to 253 letters, digits, dots, dashes and underscores", parse_name),
        data_dir: section.optional_path("dataDir"),
        durability: section.choice(
            "durability",
            ("fsync", Durability::Fsync),
            &[("memory", Durability::Memory), ("none", Durability::None)],
        ),
        threads: section.number("threads", defaults.threads, 0..=1024),
        allow_anonymous: section.flag("allowAnonymous"),
        auth: section.section("auth", read_auth),
        listeners: read_listeners(section),
        http: section.optional_section("http", read_http),
        admin: section.optional_section("admin", read_admin),
        cluster: section.optional_section("cluster", read_cluster),
        limits: section.section("limits", read_limits),
        memory: section.section("memory", read_memory),
        sys_interval_seconds: section.number("sysIntervalSeconds", defaults.sys_interval_seconds, 0..=86_400),
        log: section.section("log", read_log),
        drain: section.section("drain", read_drain),
        shutdown: section.section("shutdown", read_shutdown),
    }
}

fn read_auth(section: &mut Section<'_>) -> AuthConfig {
    let defaults = AuthConfig::default();
    let bound_names = ("usernameIsClientId", IdentityRule::UsernameIsClientId);
    let any_user = ("anyUser", TakeoverRule::AnyUser);
    AuthConfig {
        password_file: section.optional_path("passwordFile"),
        access_file: section.optional_path("accessFile"),
        identity: section.choice("identity", ("none", IdentityRule::None), &[bound_names]),
        takeover: section.choice("takeover", ("sameUser", TakeoverRule::SameUser), &[any_user]),
        threads: section.number("threads", defaults.threads, 0..=1024),
        queued: section.number("queued", defaults.queued, 1..=10_000_000),
        backoff: section.section("backoff", |section| {
            let defaults = BackoffConfig::default();
            BackoffConfig {
                per_address: section.flag("perAddress").unwrap_or(defaults.per_address),
                free_failures: section.number("freeFailures", defaults.free_failures, 1..=1_000_000),
                address_free_failures: section.number(
                    "addressFreeFailures",
                    defaults.address_free_failures,
                    1..=1_000_000,
                ),
                initial_milliseconds: section.number("initialMilliseconds", defaults.initial_milliseconds, 1..=60_000),
                max_seconds: section.number("maxSeconds", defaults.max_seconds, 1..=3600),
            }
        }),
    }
}

/// Without a list there is one listener, whose values are shown like all others.
fn read_listeners(section: &mut Section<'_>) -> Vec<ListenerConfig> {
    section
        .sections("listeners", read_listener)
        .unwrap_or_else(|| vec![section.default_item("listeners", read_listener)])
}

fn read_listener(section: &mut Section<'_>) -> ListenerConfig {
    let defaults = ListenerConfig::default();
    let protocol = section.choice("protocol", ("mqtt", Protocol::Mqtt), &[("mqtts", Protocol::Mqtts)]);
    ListenerConfig {
        name: section.text(
            "name",
            protocol.name().to_owned(),
            "1 to 15 lower-case letters, digits and inner dashes",
            parse_label,
        ),
        protocol,
        address: section.text("address", defaults.address, "an IP address", |text| text.parse().ok()),
        port: section.number("port", protocol.default_port(), 0..=u16::MAX),
        tls: section.optional_section("tls", read_listener_tls),
        limits: section.section("limits", |section| {
            let ListenerLimits { connections, connects_per_second } = defaults.limits;
            ListenerLimits {
                connections: section.number("connections", connections, 0..=10_000_000),
                connects_per_second: section.number("connectsPerSecond", connects_per_second, 0..=RATE_MAX),
            }
        }),
    }
}

fn read_listener_tls(section: &mut Section<'_>) -> ListenerTls {
    let certificates = [("optional", ClientCertificate::Optional), ("required", ClientCertificate::Required)];
    let identities = [
        ("commonName", ClientIdentity::CommonName),
        ("dns", ClientIdentity::Dns),
        ("uri", ClientIdentity::Uri),
        ("email", ClientIdentity::Email),
    ];
    ListenerTls {
        cert_file: section.path("certFile"),
        key_file: section.path("keyFile"),
        client_certificate: section.choice("clientCertificate", ("none", ClientCertificate::None), &certificates),
        client_ca_file: section.optional_path("clientCaFile"),
        client_identity: section.choice("clientIdentity", ("none", ClientIdentity::None), &identities),
    }
}

fn read_http(section: &mut Section<'_>) -> HttpConfig {
    let HttpConfig { address, port } = HttpConfig::default();
    HttpConfig {
        address: section.text("address", address, "an IP address", |text| text.parse().ok()),
        port: section.number("port", port, 0..=u16::MAX),
    }
}

fn read_admin(section: &mut Section<'_>) -> AdminConfig {
    let AdminConfig { address, port } = AdminConfig::default();
    AdminConfig {
        address: section.text("address", address, "an IP address", |text| text.parse().ok()),
        port: section.number("port", port, 0..=u16::MAX),
    }
}

fn read_cluster(section: &mut Section<'_>) -> ClusterConfig {
    let defaults = ClusterConfig::default();
    ClusterConfig {
        address: section.text("address", defaults.address, "an IP address", |text| text.parse().ok()),
        port: section.number("port", defaults.port, 0..=u16::MAX),
        peers: section.texts("peers", "HOST:PORT", parse_peer),
        tls: section.optional_section("tls", |section| ClusterTls {
            cert_file: section.path("certFile"),
            key_file: section.path("keyFile"),
            ca_file: section.path("caFile"),
        }),
        heartbeat: section.section("heartbeat", |section| {
            let HeartbeatConfig { interval_milliseconds, timeout_milliseconds, retries } = HeartbeatConfig::default();
            HeartbeatConfig {
                interval_milliseconds: section.number("intervalMilliseconds", interval_milliseconds, 50..=5000),
                timeout_milliseconds: section.number("timeoutMilliseconds", timeout_milliseconds, 50..=5000),
                retries: section.number("retries", retries, 0..=20),
            }
        }),
        resume_milliseconds: section.number("resumeMilliseconds", defaults.resume_milliseconds, 100..=60_000),
        reconnect: section.section("reconnect", |section| {
            let ReconnectConfig { initial_milliseconds, max_milliseconds, jitter_percent } = ReconnectConfig::default();
            ReconnectConfig {
                initial_milliseconds: section.number("initialMilliseconds", initial_milliseconds, 10..=60_000),
                max_milliseconds: section.number("maxMilliseconds", max_milliseconds, 10..=3_600_000),
                jitter_percent: section.number("jitterPercent", jitter_percent, 0..=50),
            }
        }),
        id: section.optional_text("id", "32 hexadecimal digits", ClusterId::parse),
        bootstrap: section.flag("bootstrap"),
        zone: section.optional_text("zone", "1 to 63 bytes", parse_zone),
        zone_file: section.optional_path("zoneFile"),
        boot_id_file: section.optional_path("bootIdFile"),
    }
}

fn read_limits(section: &mut Section<'_>) -> Limits {
    let defaults = Limits::default();
    Limits {
        connections: section.number("connections", defaults.connections, 1..=10_000_000),
        connections_per_address: section.number(
            "connectionsPerAddress",
            defaults.connections_per_address,
            0..=10_000_000,
        ),
        handshakes: section.number("handshakes", defaults.handshakes, 1..=1_000_000),
        connect_timeout_seconds: section.number("connectTimeoutSeconds", defaults.connect_timeout_seconds, 1..=300),
        packet_bytes: section.number("packetBytes", defaults.packet_bytes, 1024..=PACKET_BYTES_MAX),
        connect_packet_bytes: section.number(
            "connectPacketBytes",
            defaults.connect_packet_bytes,
            1024..=PACKET_BYTES_MAX,
        ),
        inflight: section.number("inflight", defaults.inflight, 1..=u16::MAX),
        outbound_inflight: section.number("outboundInflight", defaults.outbound_inflight, 1..=u16::MAX),
        outbound_inflight_seconds: section.number(
            "outboundInflightSeconds",
            defaults.outbound_inflight_seconds,
            0..=u32::MAX,
        ),
        publishes_per_second: section.number("publishesPerSecond", defaults.publishes_per_second, 0..=RATE_MAX),
        publish_bytes_per_second: section.number(
            "publishBytesPerSecond",
            defaults.publish_bytes_per_second,
            0..=BYTES_MAX,
        ),
        queued_messages: section.number("queuedMessages", defaults.queued_messages, 1..=100_000_000),
        queued_bytes: section.number("queuedBytes", defaults.queued_bytes, 1024..=BYTES_MAX),
        queued_bytes_total: section.number("queuedBytesTotal", defaults.queued_bytes_total, 2048..=BYTES_MAX),
        stored_bytes_total: section.number("storedBytesTotal", defaults.stored_bytes_total, 0..=BYTES_MAX),
        stored_bytes_in_memory: section.number(
            "storedBytesInMemory",
            defaults.stored_bytes_in_memory,
            1 << 20..=BYTES_MAX,
        ),
        sessions: section.number("sessions", defaults.sessions, 1..=100_000_000),
        session_bytes_total: section.number("sessionBytesTotal", defaults.session_bytes_total, 1 << 20..=BYTES_MAX),
        session_expiry_seconds_max: section.number(
            "sessionExpirySecondsMax",
            defaults.session_expiry_seconds_max,
            0..=u32::MAX,
        ),
        keep_alive_seconds_max: section.number("keepAliveSecondsMax", defaults.keep_alive_seconds_max, 1..=u16::MAX),
        subscriptions_per_client: section.number(
            "subscriptionsPerClient",
            defaults.subscriptions_per_client,
            1..=100_000_000,
        ),
        subscriptions_per_packet: section.number(
            "subscriptionsPerPacket",
            defaults.subscriptions_per_packet,
            1..=100_000_000,
        ),
        topic_levels: section.number("topicLevels", defaults.topic_levels, 1..=u16::MAX),
        topic_bytes: section.number("topicBytes", defaults.topic_bytes, 1..=u16::MAX),
        user_properties: section.number("userProperties", defaults.user_properties, 0..=u16::MAX),
        will_bytes: section.number("willBytes", defaults.will_bytes, 1..=PACKET_BYTES_MAX),
        topic_aliases: section.number("topicAliases", defaults.topic_aliases, 0..=u16::MAX),
        // Every message looks through them.
        outbound_topic_aliases: section.number("outboundTopicAliases", defaults.outbound_topic_aliases, 0..=256),
        retained_messages: section.number("retainedMessages", defaults.retained_messages, 0..=100_000_000),
        retained_bytes: section.number("retainedBytes", defaults.retained_bytes, 0..=BYTES_MAX),
        output_buffer_bytes: section.number("outputBufferBytes", defaults.output_buffer_bytes, 4096..=1 << 30),
        output_buffer_bytes_total: section.number(
            "outputBufferBytesTotal",
            defaults.output_buffer_bytes_total,
            1 << 20..=BYTES_MAX,
        ),
        read_budget_bytes: section.number("readBudgetBytes", defaults.read_budget_bytes, 4096..=64 << 20),
        input_buffer_bytes_total: section.number(
            "inputBufferBytesTotal",
            defaults.input_buffer_bytes_total,
            1 << 20..=BYTES_MAX,
        ),
        link_buffer_bytes: section.number("linkBufferBytes", defaults.link_buffer_bytes, 1 << 20..=BYTES_MAX),
    }
}

fn read_memory(section: &mut Section<'_>) -> MemoryConfig {
    let MemoryConfig { limit_bytes: _, high_percent, critical_percent } = MemoryConfig::default();
    let allowed = 1 << 20..=BYTES_MAX;
    let parse = |text: &str| text.parse().ok().filter(|bytes| allowed.contains(bytes));
    MemoryConfig {
        limit_bytes: section.optional_text("limitBytes", "a whole number from 1048576 to 1125899906842624", parse),
        high_percent: section.number("highPercent", high_percent, 10..=99),
        critical_percent: section.number("criticalPercent", critical_percent, 10..=100),
    }
}

fn read_log(section: &mut Section<'_>) -> LogConfig {
    let levels =
        [("error", LogLevel::Error), ("warn", LogLevel::Warn), ("debug", LogLevel::Debug), ("trace", LogLevel::Trace)];
    LogConfig {
        format: section.choice("format", ("text", LogFormat::Text), &[("json", LogFormat::Json)]),
        level: section.choice("level", ("info", LogLevel::Info), &levels),
    }
}

fn read_drain(section: &mut Section<'_>) -> DrainConfig {
    let DrainConfig { connections_per_second } = DrainConfig::default();
    let per_second = section.number("connectionsPerSecond", connections_per_second, 1..=100_000);
    DrainConfig { connections_per_second: per_second }
}

fn read_shutdown(section: &mut Section<'_>) -> ShutdownConfig {
    let ShutdownConfig { grace_seconds } = ShutdownConfig::default();
    ShutdownConfig { grace_seconds: section.number("graceSeconds", grace_seconds, 0..=3600) }
}

/// The name of a zone: 1 to 63 bytes.
pub fn parse_zone(text: &str) -> Option<String> {
    (1..=63).contains(&text.len()).then(|| text.to_owned())
}

fn parse_name(text: &str) -> Option<String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    ((1..=253).contains(&text.len()) && text.bytes().all(is_allowed)).then(|| text.to_owned())
}

/// A listener's name becomes part of names of Kubernetes objects and ports, so it is a short DNS label.
fn parse_label(text: &str) -> Option<String> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = (1..=15).contains(&text.len())
        && text.bytes().all(is_allowed)
        && !text.starts_with('-')
        && !text.ends_with('-');
    is_label.then(|| text.to_owned())
}

/// `HOST:PORT`, an IPv6 address in brackets. A host name is what DNS allows.
pub(crate) fn parse_peer(text: &str) -> Option<Peer> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok()).flatten()?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|host| host.parse::<std::net::Ipv6Addr>().is_ok())?,
        None => Some(host).filter(|host| parse_name(host).is_some())?,
    };
    (port != 0).then(|| Peer { host: host.to_owned(), port })
}
