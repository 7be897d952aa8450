//! For all configurations: what is written is read back. For all texts: an answer, never a panic.

use std::net::IpAddr;
use std::path::PathBuf;

use fulmar_config::{
    AdminConfig, AuthConfig, BackoffConfig, ClientCertificate, ClientIdentity, ClusterConfig, ClusterId, ClusterTls,
    Config, DrainConfig, Durability, HeartbeatConfig, HttpConfig, IdentityRule, Limits, ListenerConfig, ListenerLimits,
    ListenerTls, LogConfig, LogFormat, LogLevel, MemoryConfig, Peer, Protocol, ReconnectConfig, ShutdownConfig,
    TakeoverRule, check, load,
};
use proptest::prelude::*;

/// Texts that YAML could take for something else are among them.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("yes".to_owned()),
        Just("1e5".to_owned()),
        Just("0x10".to_owned()),
        Just("-".to_owned()),
        "[A-Za-z0-9._-]{1,20}"
    ]
}

fn any_path() -> impl Strategy<Value = PathBuf> {
    prop_oneof!["/[ -~]{1,30}", "[^\\x00-\\x1f\\x7f-\\x9f\\u{feff}\\u{2028}\\u{2029}\\u{fffe}\\u{ffff}]{1,10}"]
        .prop_map(PathBuf::from)
}

fn any_listener(index: u16) -> impl Strategy<Value = ListenerConfig> {
    let limits = (0..1000_u32, 0..1000_u32);
    (any::<bool>(), any::<IpAddr>(), 0..3000_u16, any_listener_tls(), limits).prop_map(
        move |(is_tls, address, port, tls, (connections, connects_per_second))| ListenerConfig {
            name: format!("listener-{index}"),
            protocol: if is_tls { Protocol::Mqtts } else { Protocol::Mqtt },
            address,
            port: port + index * 3000,
            tls: is_tls.then_some(tls),
            limits: ListenerLimits { connections, connects_per_second },
        },
    )
}

fn any_listener_tls() -> impl Strategy<Value = ListenerTls> {
    let certificate = prop_oneof![Just(ClientCertificate::Optional), Just(ClientCertificate::Required)];
    let identity = prop_oneof![
        Just(ClientIdentity::None),
        Just(ClientIdentity::CommonName),
        Just(ClientIdentity::Dns),
        Just(ClientIdentity::Uri),
        Just(ClientIdentity::Email),
    ];
    let of_clients = prop::option::of((certificate, any_path(), identity));
    (any_path(), any_path(), of_clients).prop_map(|(cert_file, key_file, of_clients)| {
        let server = ListenerTls::new(cert_file, key_file);
        match of_clients {
            Some((client_certificate, client_ca_file, client_identity)) => {
                ListenerTls { client_certificate, client_ca_file: Some(client_ca_file), client_identity, ..server }
            }
            None => server,
        }
    })
}

fn any_cluster() -> impl Strategy<Value = ClusterConfig> {
    let peer = (any_text(), 1..u16::MAX).prop_map(|(host, port)| Peer { host, port });
    let tls = (any_path(), any_path(), any_path());
    let place = (
        prop::option::of(any::<u128>()),
        any::<Option<bool>>(),
        (prop::option::of("[a-z0-9-]{1,63}"), prop::option::of(any_path()), prop::option::of(any_path())),
    );
    (any::<IpAddr>(), prop::collection::vec(peer, 0..4), tls, 50..5000_u32, 10..60_000_u32, 0..=20_u8, place).prop_map(
        |(
            address,
            peers,
            (cert_file, key_file, ca_file),
            interval,
            initial,
            jitter_percent,
            (id, bootstrap, (zone, zone_file, boot_id_file)),
        )| {
            ClusterConfig {
                address,
                port: 7800,
                peers,
                tls: Some(ClusterTls { cert_file, key_file, ca_file }),
                heartbeat: HeartbeatConfig {
                    interval_milliseconds: interval,
                    timeout_milliseconds: 100,
                    retries: jitter_percent.into(),
                },
                resume_milliseconds: 2000,
                reconnect: ReconnectConfig { initial_milliseconds: initial, max_milliseconds: 60_000, jitter_percent },
                id: id.map(ClusterId),
                bootstrap,
                zone,
                zone_file,
                boot_id_file,
            }
        },
    )
}

fn any_auth() -> impl Strategy<Value = AuthConfig> {
    let backoff = (any::<bool>(), 1..=60_000_u32, 60..=3600_u32);
    (prop::option::of(any_path()), prop::option::of(any_path()), any::<(bool, bool)>(), 0..=1024_u16, backoff).prop_map(
        |(
            password_file,
            access_file,
            (is_bound, is_open),
            threads,
            (per_address, initial_milliseconds, max_seconds),
        )| {
            AuthConfig {
                password_file,
                access_file,
                identity: if is_bound { IdentityRule::UsernameIsClientId } else { IdentityRule::None },
                takeover: if is_open { TakeoverRule::AnyUser } else { TakeoverRule::SameUser },
                threads,
                queued: 5,
                backoff: BackoffConfig { per_address, initial_milliseconds, max_seconds, ..BackoffConfig::default() },
            }
        },
    )
}

fn any_config() -> impl Strategy<Value = Config> {
    let head = (
        prop::option::of(any_text()),
        prop::option::of(any_path()),
        prop_oneof![Just(Durability::Fsync), Just(Durability::Memory), Just(Durability::None)],
        0..=1024_u16,
        prop::option::of(any::<bool>()),
        (any_listener(0), any_listener(1)),
        any_auth(),
    );
    let http = prop::option::of((any::<IpAddr>(), prop_oneof![Just(8080), 8081..9000_u16]));
    let memory = (prop::option::of(1_u64 << 20..1 << 40), 10..=50_u8);
    let tail = (1..1000_u32, any::<bool>(), (0..3600_u32, 1..=100_000_u32), memory, 0..=86_400_u32);
    let admin = prop::option::of((any::<IpAddr>(), prop_oneof![Just(7801), 7802..7900_u16]));
    (head, http, prop::option::of((any_cluster(), admin)), tail).prop_map(
        |(
            (name, data_dir, durability, threads, allow_anonymous, (one, two), auth),
            http,
            members,
            (connections, is_json, (grace, per_second), (limit_bytes, high_percent), sys_interval_seconds),
        )| {
            let (cluster, admin) = members.unzip();
            Config {
                name,
                data_dir,
                durability,
                threads,
                allow_anonymous,
                auth,
                listeners: vec![one, two],
                http: http.map(|(address, port)| HttpConfig { address, port }),
                admin: admin.flatten().map(|(address, port)| AdminConfig { address, port }),
                cluster,
                limits: Limits { connections, ..Limits::default() },
                memory: MemoryConfig { limit_bytes, high_percent, ..MemoryConfig::default() },
                sys_interval_seconds,
                log: LogConfig {
                    format: if is_json { LogFormat::Json } else { LogFormat::Text },
                    level: LogLevel::default(),
                },
                drain: DrainConfig { connections_per_second: per_second },
                shutdown: ShutdownConfig { grace_seconds: grace },
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(config in any_config()) {
        let text = config.to_yaml();
        prop_assert_eq!(check(&text), Ok(config), "{}", text);
    }

    #[test]
    fn whatever_text_arrives_is_answered(text in "(threads|limits|listeners|cluster|peers|[-{}\\[\\]:, \n'0-9a]){0,40}") {
        if let Err(errors) = check(&text) {
            prop_assert!(!errors.is_empty());
        }
    }

    #[test]
    fn every_value_is_listed_with_its_source(config in any_config()) {
        let effective = load(Some(&config.to_yaml()), &[]).unwrap();
        let value = |path: &str| {
            let setting = effective.settings.iter().find(|setting| setting.path == path);
            setting.map(|setting| setting.value.clone())
        };
        prop_assert_eq!(value("threads"), Some(config.threads.to_string()));
        prop_assert_eq!(value("limits.connections"), Some(config.limits.connections.to_string()));
        prop_assert_eq!(value("listeners[1].port"), Some(config.listeners[1].port.to_string()));
    }
}

#[test]
fn defaults_are_written_as_nothing_and_sections_that_turn_something_on_as_empty() {
    assert_eq!(Config::default().to_yaml().trim(), "{}");
    let http = Config { http: Some(HttpConfig::default()), ..Config::default() };
    assert_eq!(http.to_yaml().trim(), "http: {}");
}
