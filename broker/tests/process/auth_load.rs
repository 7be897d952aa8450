//! How long ten thousand clients with passwords need to be back: all at once, after a restart and then from memory.
//!
//! Not part of every run: it measures, and means something in a release build on a machine that has nothing else to do.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fulmar_auth::passwords::{Argon2idParams, hash_password};
use fulmar_codec::{Connect, ReasonCode, Version};

use crate::harness::{Broker, Client, Folder, Got};

const CLIENTS: usize = 10_000;
/// Connections that are opened before the first of them is answered.
const THREADS: usize = 8;

#[test]
#[ignore = "it measures: cargo test --release -p fulmar-broker --test process -- --ignored ten_thousand --nocapture"]
fn ten_thousand_clients_with_passwords_are_back_in_time() {
    let folder = Folder::new();
    let names: Vec<String> = (0..CLIENTS).map(|number| format!("client-{number}")).collect();
    // Making ten thousand hashes would take as long as the test: all have one salt and password, and so one hash, which
    // is verified for each of them all the same.
    let hash = hash_password(b"secret", Argon2idParams::default(), b"0123456789abcdef").unwrap();
    let mut text = String::new();
    names.iter().for_each(|name| writeln!(text, "{name}:{hash}").unwrap());
    std::fs::write(folder.path().join("users"), text).unwrap();
    let users = format!("auth.passwordFile={}", folder.path().join("users").display());
    let broker = Broker::start(&[&users, "threads=2", "auth.threads=2", "log.level=info"]);
    let address = broker.address("mqtt");
    let after_a_restart = all_connect(address, &names);
    let from_memory = all_connect(address, &names);
    let verified = broker.metric("fulmar_auth_seconds_count");
    println!("after a restart {after_a_restart:?}, from memory {from_memory:?}, {verified} passwords were verified");
    assert!(after_a_restart < Duration::from_secs(120), "{after_a_restart:?}");
    assert!(from_memory < Duration::from_secs(30), "{from_memory:?}");
}

/// Until each of them was let in.
fn all_connect(address: SocketAddr, names: &[String]) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for names in names.chunks(CLIENTS / THREADS) {
            scope.spawn(move || connect_all_of(address, names));
        }
    });
    start.elapsed()
}

fn connect_all_of(address: SocketAddr, names: &[String]) {
    let mut waiting: VecDeque<(&String, Client)> = names.iter().map(|name| (name, ask(address, name))).collect();
    let mut connected = Vec::new();
    while let Some((name, mut client)) = waiting.pop_front() {
        match client.next() {
            Got::ConnAck { reason: ReasonCode::SUCCESS, .. } => connected.push(client),
            // Who was not answered in time comes again, behind those who wait for the first time. All of them fit into
            // the queue, so nobody needs to be told to come later.
            Got::Closed => waiting.push_back((name, ask(address, name))),
            got => panic!("{name}: {got:?}"),
        }
    }
}

fn ask(address: SocketAddr, name: &str) -> Client {
    let mut client = Client::open(address, Version::V5);
    let connect = Connect { username: Some(name), password: Some(b"secret"), ..Connect::new(Version::V5, name) };
    let mut bytes = Vec::new();
    fulmar_codec::encode_connect(&mut bytes, &connect);
    client.send(&bytes);
    client
}
