//! Who may connect and who may do what, by files that change while the broker runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fulmar_auth::passwords::{Argon2idParams, hash_password};
use fulmar_codec::{Connect, QoS, ReasonCode, SubscriptionOptions, Version};
use rumqttc::v5;

use crate::harness::{
    Authority, Broker, Client, Files as CertificateFiles, Folder, Got, PATIENCE, Start, shake_hands, wait_for,
};

/// The files of users and access rules, in a folder of the test's own.
struct Files(Folder);

/// Hashes that cost next to nothing, so that tests are not about them.
const CHEAP: Argon2idParams = Argon2idParams { memory_kib: 8, passes: 1, lanes: 1 };

impl Files {
    /// With these users, each with a password.
    fn with_users(users: &[(&str, &str)]) -> Files {
        let files = Files(Folder::new());
        files.put_users(users, CHEAP);
        files
    }

    fn put_users(&self, users: &[(&str, &str)], params: Argon2idParams) {
        let line = |(name, password): &(&str, &str)| {
            format!("{name}:{}\n", hash_password(password.as_bytes(), params, b"saltsalt").unwrap())
        };
        self.put("users", &users.iter().map(line).collect::<String>());
    }

    /// Each file is whole at any time, as a mounted Secret's files are.
    fn put(&self, name: &str, text: &str) {
        let new = self.path("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path(name)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn password_file(&self) -> String {
        format!("auth.passwordFile={}", self.path("users").display())
    }
}

fn connect<'a>(version: Version, id: &'a str, user: &'a str, password: &'a str) -> Connect<'a> {
    Connect { username: Some(user), password: Some(password.as_bytes()), ..Connect::new(version, id) }
}

/// What the broker answers, and whether it closes then.
fn hello(address: SocketAddr, connect: &Connect<'_>) -> ReasonCode {
    let mut client = Client::open(address, connect.version);
    let Got::ConnAck { session_present: false, reason } = client.hello(connect) else { panic!("no CONNACK") };
    if reason.is_error() {
        assert_eq!(client.next(), Got::Closed);
    }
    reason
}

#[test]
fn passwords_let_in_who_knows_them() {
    let files = Files::with_users(&[("anna", "secret")]);
    let broker = Broker::start(&[&files.password_file()]);
    let address = broker.address("mqtt");
    for version in [Version::V5, Version::V311] {
        for (user, password, reason) in [
            ("anna", "secret", ReasonCode::SUCCESS),
            ("anna", "wrong", ReasonCode::BAD_USER_NAME_OR_PASSWORD),
            ("nobody", "secret", ReasonCode::BAD_USER_NAME_OR_PASSWORD),
        ] {
            assert_eq!(hello(address, &connect(version, "a", user, password)), reason, "{version:?} {user} {password}");
        }
        assert_eq!(hello(address, &Connect::new(version, "a")), ReasonCode::NOT_AUTHORIZED, "{version:?}");
    }
    broker.wait_for_metric("fulmar_auth_results_total{result=\"no_user\"}", |count| count == 2);
    broker.wait_for_metric("fulmar_auth_results_total{result=\"wrong_password\"}", |count| count == 4);
    // The second time it is known.
    broker.wait_for_metric("fulmar_auth_results_total{result=\"verified\"}", |count| count == 1);
    broker.wait_for_metric("fulmar_auth_results_total{result=\"remembered\"}", |count| count == 1);
    assert_eq!(broker.metric("fulmar_auth_seconds_count"), 5);
    assert_eq!(broker.metric("fulmar_auth_queued"), 0);
    let log = broker.log(|line| line.to_string().contains("secret"));
    assert!(log.is_empty(), "{log:?}");
}

#[test]
fn the_return_codes_of_old_clients_tell_a_wrong_password_from_none() {
    let files = Files::with_users(&[("anna", "secret")]);
    let broker = Broker::start(&[&files.password_file()]);
    let answer = |connect: &Connect<'_>| {
        let mut client = Client::open(broker.address("mqtt"), Version::V311);
        let mut bytes = Vec::new();
        fulmar_codec::encode_connect(&mut bytes, connect);
        client.send(&bytes);
        let mut socket = client.socket();
        let mut answer = Vec::new();
        std::io::Read::read_to_end(&mut socket, &mut answer).unwrap();
        answer
    };
    // MQTT 3.1.1, 3.2.2.3.
    assert_eq!(answer(&connect(Version::V311, "a", "anna", "wrong")), [0x20, 2, 0, 4]);
    assert_eq!(answer(&Connect::new(Version::V311, "a")), [0x20, 2, 0, 5]);
}

#[test]
fn a_client_library_is_let_in_and_refused() {
    let files = Files::with_users(&[("anna", "secret")]);
    let broker = Broker::start(&[&files.password_file()]);
    let address = broker.address("mqtt");
    let old = |password: &str| {
        let mut options = rumqttc::MqttOptions::new("old", address.ip().to_string(), address.port());
        options.set_credentials("anna", password);
        let (_client, mut connection) = rumqttc::Client::new(options, 10);
        connection.recv_timeout(PATIENCE).unwrap().map_err(Box::new)
    };
    let Ok(rumqttc::Event::Incoming(rumqttc::Packet::ConnAck(ack))) = old("secret") else { panic!("not let in") };
    assert_eq!(ack.code, rumqttc::ConnectReturnCode::Success);
    let Err(rumqttc::ConnectionError::ConnectionRefused(code)) = old("wrong").map_err(|error| *error) else {
        panic!("not refused")
    };
    assert_eq!(code, rumqttc::ConnectReturnCode::BadUserNamePassword);
    let new = |password: &str| {
        let mut options = v5::MqttOptions::new("new", address.ip().to_string(), address.port());
        options.set_credentials("anna", password);
        let (_client, mut connection) = v5::Client::new(options, 10);
        connection.recv_timeout(PATIENCE).unwrap().map_err(Box::new)
    };
    let Ok(v5::Event::Incoming(v5::mqttbytes::v5::Packet::ConnAck(ack))) = new("secret") else { panic!("not let in") };
    assert_eq!(ack.code, v5::mqttbytes::v5::ConnectReturnCode::Success);
    let Err(v5::ConnectionError::ConnectionRefused(code)) = new("wrong").map_err(|error| *error) else {
        panic!("not refused")
    };
    assert_eq!(code, v5::mqttbytes::v5::ConnectReturnCode::BadUserNamePassword);
}

#[test]
fn the_time_of_an_answer_does_not_tell_who_exists() {
    let files = Files(Folder::new());
    files.put_users(&[("anna", "secret")], Argon2idParams { memory_kib: 4096, passes: 4, lanes: 1 });
    let broker = Broker::start(&[&files.password_file(), "auth.backoff.freeFailures=1000"]);
    let address = broker.address("mqtt");
    let time_of = |user: &str| {
        let start = Instant::now();
        let reason = hello(address, &connect(Version::V5, "a", user, "wrong"));
        assert_eq!(reason, ReasonCode::BAD_USER_NAME_OR_PASSWORD);
        start.elapsed()
    };
    // The quickest of several, in turn: how busy the machine is only ever adds to it, and on a very busy one it takes more of
    // them until both have met a quiet moment. What is told by the time is told by the quickest, however many there are.
    let mut quickest = [Duration::MAX; 2];
    let mut tries = 0;
    let is_alike = |[known, unknown]: [Duration; 2]| unknown < known * 2 && known < unknown * 2;
    while tries < 5 || (tries < 60 && !is_alike(quickest)) {
        quickest = [quickest[0].min(time_of("anna")), quickest[1].min(time_of("nobody"))];
        tries += 1;
    }
    let [known, unknown] = quickest;
    assert!(known > Duration::from_millis(5), "{known:?} is too short to tell");
    assert!(is_alike(quickest), "a user who is there: {known:?}, one who is not: {unknown:?}, after {tries} tries");
}

#[test]
fn a_file_that_is_no_good_stops_the_start() {
    let files = Files(Folder::new());
    files.put("users", "anna:secret\notto\n");
    let exit = Start::with(&[&files.password_file()]).run_to_end();
    assert!(!exit.status.success());
    for part in ["read auth.passwordFile", "line 1: found", "line 2: found no colon, wanted NAME:HASH"] {
        assert!(exit.errors.contains(part), "{part} is missing in {}", exit.errors);
    }
    assert!(!exit.errors.contains("secret"), "{}", exit.errors);
    let exit = Start::with(&["auth.accessFile=/nowhere"]).run_to_end();
    assert!(exit.errors.contains("read auth.accessFile, /nowhere"), "{}", exit.errors);
}

#[test]
fn when_too_many_wait_for_their_passwords_the_next_is_told_to_come_later() {
    let files = Files(Folder::new());
    files.put_users(&[("anna", "secret")], Argon2idParams { memory_kib: 64 << 10, passes: 4, lanes: 1 });
    let broker = Broker::start(&[&files.password_file(), "auth.threads=1", "auth.queued=2"]);
    let address = broker.address("mqtt");
    let ids: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let version = |number: usize| if number.is_multiple_of(2) { Version::V5 } else { Version::V311 };
    let mut clients: Vec<Client> = (0..ids.len()).map(|number| Client::open(address, version(number))).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let mut bytes = Vec::new();
        fulmar_codec::encode_connect(&mut bytes, &connect(version(number), &ids[number], "anna", "secret"));
        client.send(&bytes);
    }
    let mut refused = 0;
    for (number, client) in clients.iter_mut().enumerate() {
        let later = match version(number) {
            Version::V5 => ReasonCode::QUOTA_EXCEEDED,
            Version::V311 => ReasonCode::SERVER_UNAVAILABLE,
        };
        match client.next() {
            Got::ConnAck { reason: ReasonCode::SUCCESS, .. } => {}
            Got::ConnAck { reason, .. } if reason == later => refused += 1,
            got => panic!("{got:?}"),
        }
    }
    assert!((1..20).contains(&refused), "{refused} of 20 were refused");
    broker.wait_for_metric("fulmar_auth_results_total{result=\"queue_full\"}", |count| count == refused);
}

const METERS: &str = "
rules:
- {allow: publish, filters: ['meters/${clientid}/#']}
- {allow: subscribe, users: [anna], filters: ['meters/#']}
";

#[test]
fn denied_publishes_are_answered_in_the_words_that_each_version_has() {
    let files = Files::with_users(&[("anna", "secret")]);
    files.put("access.yaml", METERS);
    let access = format!("auth.accessFile={}", files.path("access.yaml").display());
    let broker = Broker::start(&[&files.password_file(), &access, "allowAnonymous=true"]);
    let address = broker.address("mqtt");
    let mut anna = Client::connect_with(address, &connect(Version::V5, "anna", "anna", "secret"));
    anna.subscribe("meters/#", QoS::AtMostOnce);
    for (version, answer) in [(Version::V5, ReasonCode::NOT_AUTHORIZED), (Version::V311, ReasonCode::SUCCESS)] {
        let mut meter = Client::connect_with(address, &Connect::new(version, "meter"));
        let refused = meter.ask_to_subscribe("meters/meter/power", SubscriptionOptions::default());
        let Got::SubAck(codes) = refused else { panic!("{refused:?}") };
        assert!(codes.iter().all(|code| code.is_error()), "{codes:?}");
        meter.publish("meters/other/power", "0", QoS::AtMostOnce);
        let id = meter.publish("meters/other/power", "1", QoS::AtLeastOnce);
        assert_eq!(meter.next(), Got::PubAck(id, answer));
        let id = meter.publish("meters/other/power", "2", QoS::ExactlyOnce);
        assert_eq!(meter.next(), Got::PubRec(id, answer));
        let id = meter.publish("meters/meter/power", "3", QoS::AtLeastOnce);
        assert_eq!(meter.next(), Got::PubAck(id, ReasonCode::SUCCESS));
        assert_eq!(anna.text(), "3");
    }
    broker.wait_for_metric("fulmar_publishes_denied_total", |count| count == 6);
    broker.wait_for_metric("fulmar_subscriptions_denied_total", |count| count == 2);
    let line = broker.wait_for_log("denied publish", |line| line["message"] == "client may not publish this");
    assert_eq!((&line["level"], &line["topic"]), (&"INFO".into(), &"meters/other/power".into()));
}

#[test]
fn changed_files_are_taken_into_use_and_only_who_loses_a_right_is_disconnected() {
    let files = Files::with_users(&[("anna", "secret"), ("otto", "secret")]);
    files.put("access.yaml", "default: allow");
    let access = format!("auth.accessFile={}", files.path("access.yaml").display());
    let broker = Broker::start(&[&files.password_file(), &access]);
    let address = broker.address("mqtt");
    let mut anna = Client::connect_with(address, &connect(Version::V5, "anna", "anna", "secret"));
    let mut otto = Client::connect_with(address, &connect(Version::V5, "otto", "otto", "secret"));
    let mut old = Client::connect_with(address, &connect(Version::V311, "old", "otto", "secret"));
    anna.subscribe("news", QoS::AtMostOnce);
    files.put_users(&[("anna", "secret"), ("otto", "another")], CHEAP);
    assert_eq!(otto.until_closed(), [Got::Disconnect(ReasonCode::NOT_AUTHORIZED)]);
    assert_eq!(old.until_closed(), []);
    assert_eq!(hello(address, &connect(Version::V5, "otto", "otto", "secret")), ReasonCode::BAD_USER_NAME_OR_PASSWORD);
    assert_eq!(hello(address, &connect(Version::V5, "otto", "otto", "another")), ReasonCode::SUCCESS);
    anna.publish("news", "still here", QoS::AtMostOnce);
    assert_eq!(anna.text(), "still here");
    files.put("access.yaml", "rules: [{allow: publish, filters: ['#']}]");
    assert_eq!(anna.until_closed(), [Got::Disconnect(ReasonCode::NOT_AUTHORIZED)]);
    broker.wait_for_metric("fulmar_rights_withdrawn_total", |count| count == 3);
}

#[test]
fn a_changed_file_that_is_no_good_leaves_the_last_good_one_in_use_and_says_so() {
    let files = Files::with_users(&[("anna", "secret")]);
    let broker = Broker::start(&[&files.password_file()]);
    let address = broker.address("mqtt");
    let valid = "fulmar_auth_file_valid{file=\"auth.passwordFile\"}";
    assert_eq!(broker.metric(valid), 1);
    let mut anna = Client::connect_with(address, &connect(Version::V5, "anna", "anna", "secret"));
    files.put("users", "otto:secret-of-otto\nno colon\n");
    broker.wait_for_metric(valid, |valid| valid == 0);
    let said = |line: &serde_json::Value| line["message"] == "a changed file of users or access rules is not used";
    // The log has a thread of its own, and may be behind the metrics.
    let lines = wait_for("both errors in the log", || {
        let lines: Vec<_> = broker.log(said).iter().map(|line| line["line"].clone()).collect();
        (lines.len() >= 2).then_some(lines)
    });
    assert_eq!(lines, [1, 2]);
    assert!(broker.log(|line| line.to_string().contains("secret-of-otto")).is_empty());
    let (status, readiness) = wait_for("readiness to tell", || {
        Some(broker.get("/readyz?verbose")).filter(|(_, text)| text.contains("auth.passwordFile"))
    });
    assert_eq!(status, 200, "{readiness}");
    assert_eq!(hello(address, &connect(Version::V5, "b", "anna", "secret")), ReasonCode::SUCCESS);
    files.put_users(&[("otto", "secret")], CHEAP);
    broker.wait_for_metric(valid, |valid| valid == 1);
    assert_eq!(anna.until_closed(), [Got::Disconnect(ReasonCode::NOT_AUTHORIZED)]);
    // Said once, however often the file was looked at meanwhile.
    assert_eq!(broker.log(said).len(), 2);
}

#[test]
fn the_name_in_a_certificate_is_the_user_whom_access_rules_speak_of() {
    let (server, clients, folder) = (Authority::new(), Authority::new(), Folder::new());
    let CertificateFiles { certificate, key } = server.issue("broker.test", folder.path()).0;
    let ca_file = folder.path().join("clients.crt");
    clients.publish(&ca_file);
    let access = folder.path().join("access.yaml");
    std::fs::write(&access, "rules: [{allow: all, filters: ['meters/${username}/#']}]").unwrap();
    let yaml = format!(
        "
auth: {{accessFile: {}}}
threads: 2
listeners:
- name: mqtts
  protocol: mqtts
  address: 127.0.0.1
  port: 0
  tls:
    certFile: {}
    keyFile: {}
    clientCaFile: {}
    clientCertificate: optional
    clientIdentity: commonName
http: {{address: 127.0.0.1, port: 0}}
log: {{format: json, level: debug}}
",
        access.display(),
        certificate.display(),
        key.display(),
        ca_file.display(),
    );
    let broker = Start::with_file(&yaml).run();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "meter-1");
    let config = server.client_config_with(&clients.sign(&params));
    // Ids that belong to either data thread: the name travels with the connection.
    for id in ["a", "b", "c", "d"] {
        let tls = shake_hands(broker.address("mqtts"), &config, "broker.test").unwrap();
        let mut meter = Client::on(tls, Version::V5);
        meter.hello(&Connect::new(Version::V5, id));
        meter.subscribe("meters/meter-1/#", QoS::AtMostOnce);
        let other = meter.ask_to_subscribe("meters/meter-2/#", SubscriptionOptions::default());
        assert_eq!(other, Got::SubAck(vec![ReasonCode::NOT_AUTHORIZED]));
    }
    broker.wait_for_metric("fulmar_auth_results_total{result=\"certificate\"}", |count| count == 4);
    // Another name than the certificate's.
    let tls = shake_hands(broker.address("mqtts"), &config, "broker.test").unwrap();
    let liar = Client::on(tls, Version::V5).hello(&connect(Version::V5, "e", "meter-2", ""));
    assert_eq!(liar, Got::ConnAck { session_present: false, reason: ReasonCode::NOT_AUTHORIZED });
}

#[test]
fn memory_for_verifying_is_given_back_when_nobody_needs_it() {
    let files = Files::with_users(&[]);
    let params = Argon2idParams { memory_kib: 64 << 10, passes: 1, lanes: 1 };
    files.put_users(&[("anna", "secret")], params);
    let broker = Broker::start(&[&files.password_file()]);
    let before = broker.resident_bytes();
    assert_eq!(hello(broker.address("mqtt"), &connect(Version::V5, "a", "anna", "secret")), ReasonCode::SUCCESS);
    assert!(broker.resident_bytes_max() > before + (60 << 20), "64 MiB were used");
    wait_for("the 64 MiB to be given back", || (broker.resident_bytes() < before + (8 << 20)).then_some(()));
}
