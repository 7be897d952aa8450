//! Whose a session is, in a cluster: whoever connects with another user's client id at another node is closed.

use fulmar_auth::passwords::{Argon2idParams, hash_password};
use fulmar_codec::{Connect, QoS, ReasonCode, Version, Will};

use crate::harness::{Broker, Client, Cluster, Folder, Got};

/// Hashes that cost next to nothing, so that tests are not about them.
const CHEAP: Argon2idParams = Argon2idParams { memory_kib: 8, passes: 1, lanes: 1 };

fn with_users(folder: &Folder) -> String {
    format!("auth: {{passwordFile: \"{}\"}}", folder.path().join("users").display())
}

fn start_three() -> Vec<Broker> {
    let cluster = Cluster::with(3, with_users);
    let line = |user: &str| format!("{user}:{}\n", hash_password(b"secret", CHEAP, b"saltsalt").unwrap());
    for index in 0..3 {
        std::fs::write(cluster.folder(index).path().join("users"), line("anna") + &line("otto")).unwrap();
    }
    cluster.start_all()
}

/// A CONNECT whose session waits for its client.
fn lasting<'a>(version: Version, id: &'a str, user: &'a str) -> Connect<'a> {
    let session_expiry = if version == Version::V5 { 3600 } else { 0 };
    let (username, password) = (Some(user), Some(b"secret".as_slice()));
    Connect { clean_start: false, session_expiry, username, password, ..Connect::new(version, id) }
}

/// What a client is told that is closed because of its user, or because it has connected again.
fn farewell(version: Version, reason: ReasonCode) -> Vec<Got> {
    if version == Version::V5 { vec![Got::Disconnect(reason)] } else { Vec::new() }
}

#[test]
fn another_user_at_another_node_is_closed_and_the_user_may_move() {
    let nodes = start_three();
    let [first, second, third] = [0, 1, 2].map(|node: usize| nodes[node].address("mqtt"));
    for (round, version) in [Version::V5, Version::V311].into_iter().enumerate() {
        let id = format!("shared-{round}");
        let anna = lasting(version, &id, "anna");
        let mut owner = Client::connect_with(first, &anna);
        owner.subscribe("news", QoS::AtLeastOnce);
        owner.subscribe("wills", QoS::AtLeastOnce);
        let will = Some(Will::new("wills", b"of otto"));
        let otto = Connect { will, ..lasting(version, &id, "otto") };
        let refused_at = |address, count: u64| {
            let mut other = Client::connect_with(address, &otto);
            assert_eq!(other.until_closed(), farewell(version, ReasonCode::NOT_AUTHORIZED), "{version:?}");
            let node = if address == second { &nodes[1] } else { &nodes[2] };
            node.wait_for_metric("fulmar_session_owner_refusals_total", |refusals| refusals == count);
            assert_eq!(node.metric("fulmar_wills_published_total"), 0);
        };
        // Neither a connection nor a session that waits is taken over.
        refused_at(second, 2 * round as u64 + 1);
        let publisher = lasting(Version::V311, "publisher", "otto");
        let mut publisher = Client::connect_with(third, &Connect { clean_start: true, ..publisher });
        publisher.publish("news", "now", QoS::AtLeastOnce);
        assert_eq!(owner.text(), "now");
        assert_eq!(owner.ping(), []);
        drop(owner);
        refused_at(second, 2 * round as u64 + 2);
        let mut owner = Client::resume(first, &anna);
        assert_eq!(owner.ping(), []);

        // The same user goes to another node, and is no newcomer there.
        let mut moved = Client::connect_with(second, &anna);
        assert_eq!(owner.until_closed(), farewell(version, ReasonCode::SESSION_TAKEN_OVER));
        moved.subscribe("news", QoS::AtLeastOnce);
        refused_at(third, round as u64 + 1);
        publisher.publish("news", "after the move", QoS::AtLeastOnce);
        assert_eq!(moved.text(), "after the move");
        drop((moved, publisher));
    }
    let told = |node: &Broker| {
        let is_refusal = |line: &serde_json::Value| {
            line["message"] == "client refused"
                && line["error"] == "the client id has a session of another user at another node"
        };
        node.log(is_refusal).len()
    };
    assert_eq!([0, 1, 2].map(|node: usize| told(&nodes[node])), [0, 4, 2]);
    assert_eq!(nodes[0].metric("fulmar_session_owner_refusals_total"), 0);
}
