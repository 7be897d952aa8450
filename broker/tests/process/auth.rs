//! Who may connect and who may do what, by files that change while the broker runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fulmar_auth::passwords::{Argon2idParams, hash_password};
use fulmar_codec::{Connect, ReasonCode, Version};
use rumqttc::v5;

use crate::harness::{Broker, Client, Folder, Got, PATIENCE, Start};

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
        connection.recv_timeout(PATIENCE).unwrap()
    };
    let Ok(rumqttc::Event::Incoming(rumqttc::Packet::ConnAck(ack))) = old("secret") else { panic!("not let in") };
    assert_eq!(ack.code, rumqttc::ConnectReturnCode::Success);
    let Err(rumqttc::ConnectionError::ConnectionRefused(code)) = old("wrong") else { panic!("not refused") };
    assert_eq!(code, rumqttc::ConnectReturnCode::BadUserNamePassword);
    let new = |password: &str| {
        let mut options = v5::MqttOptions::new("new", address.ip().to_string(), address.port());
        options.set_credentials("anna", password);
        let (_client, mut connection) = v5::Client::new(options, 10);
        connection.recv_timeout(PATIENCE).unwrap()
    };
    let Ok(v5::Event::Incoming(v5::mqttbytes::v5::Packet::ConnAck(ack))) = new("secret") else { panic!("not let in") };
    assert_eq!(ack.code, v5::mqttbytes::v5::ConnectReturnCode::Success);
    let Err(v5::ConnectionError::ConnectionRefused(code)) = new("wrong") else { panic!("not refused") };
    assert_eq!(code, v5::mqttbytes::v5::ConnectReturnCode::BadUserNamePassword);
}

#[test]
fn the_time_of_an_answer_does_not_tell_who_exists() {
    let files = Files(Folder::new());
    files.put_users(&[("anna", "secret")], Argon2idParams { memory_kib: 4096, passes: 4, lanes: 1 });
    let broker = Broker::start(&[&files.password_file(), "auth.backoff.freeFailures=1000"]);
    let address = broker.address("mqtt");
    // The quickest of several: how busy the machine is only ever adds to it.
    let quickest = |user: &str| {
        let tries = (0..5).map(|_| {
            let start = Instant::now();
            let reason = hello(address, &connect(Version::V5, "a", user, "wrong"));
            assert_eq!(reason, ReasonCode::BAD_USER_NAME_OR_PASSWORD);
            start.elapsed()
        });
        tries.min().unwrap()
    };
    let (known, unknown) = (quickest("anna"), quickest("nobody"));
    assert!(known > Duration::from_millis(5), "{known:?} is too short to tell");
    assert!(unknown * 2 > known && known * 2 > unknown, "a user who is there: {known:?}, one who is not: {unknown:?}");
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
