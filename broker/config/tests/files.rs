//! What users write, what they get, and what they are told.

use std::path::PathBuf;

use fulmar_config::{
    AuthConfig, BackoffConfig, ClientCertificate, ClientIdentity, ClusterTls, Config, HeartbeatConfig, IdentityRule,
    ListenerLimits, ListenerTls, Override, OverrideValue, Protocol, Source, TakeoverRule, check, environment_override,
    load, parse_peer,
};

fn messages(text: &str) -> Vec<String> {
    check(text).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_written_is_a_broker_alone_on_loopback() {
    for text in ["", "{}", "# nothing yet\n", "http: null\nlimits:\n"] {
        assert_eq!(check(text), Ok(Config::default()), "{text:?}");
    }
    let listener = &Config::default().listeners[0];
    assert!(listener.address.is_loopback());
    assert!(Config::default().is_anonymous_allowed(listener));
}

#[test]
fn the_file_of_a_pod_reads_as_written() {
    let config = check(
        "
dataDir: /data
threads: 2
allowAnonymous: true
listeners:
- {name: mqtt, address: 0.0.0.0, port: 1883}
- name: secure
  protocol: mqtts
  address: '::'
  tls: {certFile: /tls/tls.crt, keyFile: /tls/tls.key}
http: {address: 0.0.0.0}
cluster:
  address: 0.0.0.0
  peers: ['quickstart-nodes.default.svc:7800', '[::1]:7801']
  tls: {certFile: a, keyFile: b, caFile: c}
  heartbeat: {intervalMilliseconds: 100}
limits: {packetBytes: 4096}
log: {format: json}
",
    )
    .unwrap();
    assert_eq!((config.data_dir, config.threads), (Some(PathBuf::from("/data")), 2));
    let [mqtt, secure] = &config.listeners[..] else { panic!("{:?}", config.listeners) };
    assert_eq!((mqtt.protocol, mqtt.port, &mqtt.tls), (Protocol::Mqtt, 1883, &None));
    let tls = ListenerTls::new("/tls/tls.crt", "/tls/tls.key");
    assert_eq!((secure.name.as_str(), secure.port, &secure.tls), ("secure", 8883, &Some(tls)));
    assert_eq!(config.http.unwrap().port, 8080);
    let cluster = config.cluster.unwrap();
    assert_eq!(
        cluster.peers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["quickstart-nodes.default.svc:7800", "[::1]:7801"]
    );
    assert_eq!(cluster.tls, Some(ClusterTls { cert_file: "a".into(), key_file: "b".into(), ca_file: "c".into() }));
    assert_eq!(cluster.heartbeat, HeartbeatConfig { interval_milliseconds: 100, ..HeartbeatConfig::default() });
    assert_eq!(HeartbeatConfig::default().silence(), std::time::Duration::from_secs(2));
    assert_eq!(config.limits.packet_bytes, 4096);
}

#[test]
fn limits_of_a_listener_are_read_as_written() {
    let config = check("listeners: [{limits: {connections: 7, connectsPerSecond: 3}}, {name: b, port: 1}]").unwrap();
    let limits: Vec<_> = config.listeners.into_iter().map(|listener| listener.limits).collect();
    assert_eq!(limits, [ListenerLimits { connections: 7, connects_per_second: 3 }, ListenerLimits::default()]);
}

#[test]
fn certificates_of_clients_are_read_as_written() {
    let tls = "certFile: a, keyFile: b, clientCertificate: optional, clientCaFile: c, clientIdentity: commonName";
    let mut config = check(&format!("listeners: [{{protocol: mqtts, tls: {{{tls}}}}}]")).unwrap();
    let wanted = ListenerTls {
        client_certificate: ClientCertificate::Optional,
        client_ca_file: Some("c".into()),
        client_identity: ClientIdentity::CommonName,
        ..ListenerTls::new("a", "b")
    };
    assert_eq!(config.listeners.remove(0).tls, Some(wanted));
}

#[test]
fn anonymous_clients_beyond_loopback_need_a_word() {
    let beyond = check("listeners: [{address: 0.0.0.0}]").unwrap();
    assert!(!beyond.is_anonymous_allowed(&beyond.listeners[0]));
    let allowed = check("{allowAnonymous: true, listeners: [{address: 0.0.0.0}]}").unwrap();
    assert!(allowed.is_anonymous_allowed(&allowed.listeners[0]));
    let refused = check("allowAnonymous: false").unwrap();
    assert!(!refused.is_anonymous_allowed(&refused.listeners[0]));
}

#[test]
fn with_a_password_file_nobody_is_anonymous_unless_that_is_asked_for() {
    let of = |text: &str| {
        let config = check(text).unwrap();
        config.is_anonymous_allowed(&config.listeners[0])
    };
    assert!(!of("auth: {passwordFile: users}"));
    assert!(of("{allowAnonymous: true, auth: {passwordFile: users}}"));
    assert!(of("auth: {accessFile: access.yaml}"));
}

#[test]
fn who_may_connect_is_read_as_written() {
    let auth = check(
        "
auth:
  passwordFile: /etc/fulmar/auth/users/users
  accessFile: /etc/fulmar/auth/access/access.yaml
  identity: usernameIsClientId
  takeover: anyUser
  threads: 2
  queued: 100
  backoff: {perAddress: true, maxSeconds: 300}
",
    );
    let backoff = BackoffConfig { per_address: true, max_seconds: 300, ..BackoffConfig::default() };
    let expected = AuthConfig {
        password_file: Some("/etc/fulmar/auth/users/users".into()),
        access_file: Some("/etc/fulmar/auth/access/access.yaml".into()),
        identity: IdentityRule::UsernameIsClientId,
        takeover: TakeoverRule::AnyUser,
        threads: 2,
        queued: 100,
        backoff,
    };
    assert_eq!(auth.unwrap().auth, expected);
    assert_eq!(
        messages("{auth: {identity: mine, takeover: nobody, backoff: {initialMilliseconds: 2000, maxSeconds: 1}}}"),
        [
            "line 1: auth.identity: found mine, wanted none or usernameIsClientId",
            "line 1: auth.takeover: found nobody, wanted sameUser or anyUser",
            "line 1: auth.backoff.maxSeconds: found 1, wanted no less than initialMilliseconds",
        ]
    );
}

#[test]
fn every_error_is_reported_at_once_in_the_order_of_lines() {
    let text = "
threads: many
allowAnonymous: 'true'
limit: {packet_bytes: 1}
limits:
  packet_bytes: 4096
  inflight: 70000
  topicLevels: [1]
listeners:
- {name: MQTT, port: 99999}
- {name: b, protocol: ws, address: localhost}
- {name: b, protocol: mqtts, tls: {certFile: /a}}
cluster:
  peers: [here, 'a:0', {}]
log: verbose
name: {}
";
    assert_eq!(
        messages(text),
        [
            "line 2: threads: found many, wanted a whole number from 0 to 1024",
            "line 3: allowAnonymous: found \"true\", wanted true or false",
            "line 4: limit: found an unknown key, wanted a known key, perhaps limits",
            "line 6: limits.packet_bytes: found an unknown key, wanted a known key, perhaps packetBytes",
            "line 7: limits.inflight: found 70000, wanted a whole number from 1 to 65535",
            "line 8: limits.topicLevels: found a list of 1, wanted a whole number from 1 to 65535",
            "line 10: listeners[0].name: found MQTT, wanted 1 to 15 lower-case letters, digits and inner dashes",
            "line 10: listeners[0].port: found 99999, wanted a whole number from 0 to 65535",
            "line 11: listeners[1].protocol: found ws, wanted mqtt or mqtts",
            "line 11: listeners[1].address: found localhost, wanted an IP address",
            "line 12: listeners[2].tls.keyFile: found nothing, wanted a path",
            "line 12: listeners[2].name: found b, wanted another name than listeners[1].name",
            "line 14: cluster.peers[0]: found here, wanted HOST:PORT",
            "line 14: cluster.peers[1]: found \"a:0\", wanted HOST:PORT",
            "line 14: cluster.peers[2]: found a section of 0 keys, wanted HOST:PORT",
            "line 15: log: found verbose, wanted a section",
            "line 16: name: found a section of 0 keys, wanted 1 to 253 letters, digits, dots, dashes and underscores",
        ]
    );
}

#[test]
fn rules_between_keys_name_the_line_to_change() {
    let cases = [
        ("listeners: []", "listeners: found 0 listeners, wanted 1 to 16"),
        (
            "listeners:\n- {name: a}\n- {name: a, port: 2}",
            "line 3: listeners[1].name: found a, wanted another name than listeners[0].name",
        ),
        (
            "listeners:\n- {name: a, address: 0.0.0.0}\n- {name: b, address: '::'}",
            "line 3: listeners[1].port: found 1883, wanted a port that listeners[0] does not take",
        ),
        (
            "http:\n  port: 7800\ncluster:\n  peers: []",
            "line 4: cluster.port: found 7800, wanted a port that http does not take",
        ),
        (
            "admin:\n  port: 7800",
            "line 2: admin: found a port that nobody could prove himself to, wanted cluster.tls, whose CA says who may \
             ask, or no admin",
        ),
        (
            "admin:\n  port: 7800\ncluster:\n  tls: {certFile: a, keyFile: b, caFile: c}",
            "line 4: cluster.port: found 7800, wanted a port that admin does not take",
        ),
        (
            "listeners:\n- protocol: mqtts",
            "line 2: listeners[0].tls: found nothing, wanted certFile and keyFile, because the protocol is mqtts",
        ),
        (
            "listeners:\n- tls: {certFile: a, keyFile: b}",
            "line 2: listeners[0].tls: found a certificate, wanted none, or the protocol mqtts",
        ),
        (
            "listeners:\n- protocol: mqtts\n  tls:\n    certFile: a\n    keyFile: b\n    clientCertificate: required",
            "line 4: listeners[0].tls.clientCaFile: found nothing, wanted a path, because clientCertificate is optional \
             or required",
        ),
        (
            "listeners:\n- protocol: mqtts\n  tls:\n    certFile: a\n    keyFile: b\n    clientCaFile: c",
            "line 6: listeners[0].tls.clientCaFile: found CA certificates for no certificate, wanted none, or \
             clientCertificate optional or required",
        ),
        (
            "listeners:\n- protocol: mqtts\n  tls:\n    certFile: a\n    keyFile: b\n    clientIdentity: uri",
            "line 6: listeners[0].tls.clientIdentity: found a name in no certificate, wanted none, or \
             clientCertificate optional or required",
        ),
        (
            "cluster:\n  peers: ['a:1']",
            "line 2: cluster.tls: found nothing, wanted certFile, keyFile and caFile, or loopback addresses only",
        ),
        (
            "cluster:\n  heartbeat:\n    timeoutMilliseconds: 2501",
            "line 3: cluster.heartbeat: found 8003 milliseconds until a silent link is closed, wanted \
             intervalMilliseconds + timeoutMilliseconds * (1 + retries) of at most 8000, because publishers are closed \
             after 10 s without an acknowledgement",
        ),
        (
            "cluster:\n  reconnect: {maxMilliseconds: 900}",
            "line 2: cluster.reconnect.maxMilliseconds: found 900, wanted at least 1000, which is initialMilliseconds",
        ),
        (
            "limits:\n  packetBytes: 10000000\n  linkBufferBytes: 20000000",
            "line 2: limits.queuedBytes: found 8388608, wanted at least 10000000, which is packetBytes",
        ),
        (
            "limits:\n  packetBytes: 10000000\n  queuedBytes: 10000000\n  linkBufferBytes: 19999999",
            "line 4: limits.linkBufferBytes: found 19999999, wanted at least 20000000, twice packetBytes",
        ),
        (
            "limits:\n  publishBytesPerSecond: 104857",
            "line 2: limits.publishBytesPerSecond: found 104857, wanted 0 or at least 104858, so that a packet of \
             packetBytes is paid for in 10 s and its client's next ping is heard",
        ),
        (
            "limits:\n  queuedBytesTotal: 16777215",
            "line 2: limits.queuedBytesTotal: found 16777215, wanted at least 16777216, twice queuedBytes",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(messages(text), [message], "{text}");
    }
}

#[test]
fn sockets_that_can_share_a_port_may() {
    for listeners in [
        "[{name: a, port: 0}, {name: b, port: 0}]",
        "[{name: a, address: 127.0.0.1}, {name: b, address: 127.0.0.2}]",
        "[{name: a, address: 0.0.0.0}, {name: b, address: '::1'}]",
    ] {
        assert_eq!(messages(&format!("listeners: {listeners}")), [""; 0], "{listeners}");
    }
}

#[test]
fn flags_beat_the_environment_and_that_beats_the_file() {
    let overrides = [
        environment_override("FULMAR_LIMITS__PACKET_BYTES", "2048").unwrap(),
        environment_override("FULMAR_LIMITS__INFLIGHT", "7").unwrap(),
        Override {
            path: "limits.packetBytes".into(),
            value: OverrideValue::Yaml("4096".into()),
            source: Source::Flag("--set".into()),
        },
    ];
    let effective = load(Some("limits:\n  packetBytes: 1024\n  topicLevels: 9\n"), &overrides).unwrap();
    let source = |path: &str| effective.source(path).clone();
    assert_eq!(
        (effective.config.limits.packet_bytes, source("limits.packetBytes")),
        (4096, Source::Flag("--set".into()))
    );
    assert_eq!(source("limits.inflight"), Source::Environment("FULMAR_LIMITS__INFLIGHT".into()));
    assert_eq!(source("limits.topicLevels"), Source::File { line: 3 });
    assert_eq!(source("limits.sessions"), Source::Default);
}

#[test]
fn an_error_in_an_override_names_it() {
    let flag =
        |path: &str, value: OverrideValue| Override { path: path.into(), value, source: Source::Flag("--set".into()) };
    let overrides = [
        environment_override("FULMAR_LIMITS__PAKET_BYTES", "2048").unwrap(),
        flag("threads", OverrideValue::Yaml("[1".into())),
        flag("limits..a", OverrideValue::Text("5".into())),
        flag("name", OverrideValue::Text("null and [void]".into())),
    ];
    let errors = load(None, &overrides).unwrap_err();
    let origins: Vec<_> = errors.iter().map(|error| (error.origin.to_string(), error.path.as_str())).collect();
    assert_eq!(
        origins,
        [
            ("--set".into(), ""),
            ("--set".into(), ""),
            ("--set".into(), "name"),
            ("FULMAR_LIMITS__PAKET_BYTES".into(), "limits.paketBytes")
        ]
    );
}

#[test]
fn variables_of_kubernetes_services_are_not_taken_for_settings() {
    for name in ["FULMAR_SERVICE_HOST", "FULMAR_PORT_1883_TCP", "FULMAR_NAME", "PATH", "OTHER_A__B"] {
        assert_eq!(environment_override(name, "x"), None, "{name}");
    }
}

#[test]
fn peers_are_names_or_addresses_with_a_port() {
    for (text, is_loopback) in [
        ("localhost:1", true),
        ("127.0.0.1:7800", true),
        ("[::1]:7800", true),
        ("10.0.0.1:7800", false),
        ("nodes.default.svc.cluster.local:7800", false),
    ] {
        let peer = parse_peer(text).unwrap();
        assert_eq!((peer.to_string().as_str(), peer.is_loopback()), (text, is_loopback));
    }
    for text in ["", "a", "a:", "a:b", "a:70000", "a:+1", ":1", "a b:1", "::1:7800", "[::1:7800", "[a]:1", "a:0"] {
        assert_eq!(parse_peer(text), None, "{text:?}");
    }
}

#[test]
fn the_page_of_the_file_names_every_key_with_its_default_or_an_example() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, after) = page.split_once("```yaml\n").unwrap();
    let (file, _) = after.split_once("```").unwrap();
    let effective = load(Some(file), &[]).unwrap();
    let is_told_elsewhere = |path: &str| path.starts_with("limits.");
    let missing: Vec<_> = effective
        .settings
        .iter()
        .filter(|setting| !is_told_elsewhere(&setting.path) && !matches!(setting.source, Source::File { .. }))
        .map(|setting| &setting.path)
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
