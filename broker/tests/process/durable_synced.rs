//! What was acknowledged was synced before: brokers die when all of a batch is acknowledged, and come back with what
//! they had synced until then, as after a loss of power. Where syncs are left out, this finds it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::channel;

use fulmar_codec::{Connect, PublishHead, QoS, ReasonCode, Version};

use crate::durable::lasting;
use crate::durable_nodes::{NODES, come_in, places};
use crate::harness::{
    Broker, Client, Cluster, Dice, Folder, Got, Publisher, Start, Subscriber, forget_syncs, recorded, wait_until_ready,
};

/// Messages of one publisher until everything dies.
const BATCH: u32 = 40;

/// Something acknowledged was not there any more.
#[derive(Debug)]
struct Lost(#[expect(dead_code, reason = "it is shown")] String);

/// The folders that brokers live in, one after the other.
enum Places {
    Alone(Folder),
    Together(Cluster),
}

impl Places {
    fn alone() -> Places {
        Places::Alone(Folder::new())
    }

    fn together() -> Places {
        let mut cluster = places(NODES);
        cluster.variables = recorded;
        cluster.arguments = ["--set", "log.level=info"].map(str::to_owned).to_vec();
        Places::Together(cluster)
    }

    fn forget_syncs(&self, of: &str) {
        match self {
            Places::Alone(folder) => forget_syncs(folder, of),
            Places::Together(cluster) => (0..NODES).for_each(|index| forget_syncs(cluster.folder(index), of)),
        }
    }

    fn start(&self) -> Vec<Broker> {
        match self {
            Places::Alone(folder) => {
                let data = format!("dataDir={}", folder.path().join("data").display());
                let start = Start::with(&["threads=2", "log.level=info", &data]);
                vec![recorded(folder).iter().fold(start, |start, (name, value)| start.variable(name, value)).run()]
            }
            Places::Together(cluster) => {
                let nodes: Vec<Broker> = (0..NODES).map(|index| cluster.start(index)).collect();
                nodes.iter().for_each(wait_until_ready);
                nodes
            }
        }
    }
}

/// The addresses of the brokers of one life, over and over.
struct Addresses(Vec<SocketAddr>);

impl Addresses {
    fn of(nodes: &[Broker]) -> Addresses {
        Addresses(nodes.iter().map(|broker| broker.address("mqtt")).collect())
    }

    fn at(&self, index: usize) -> SocketAddr {
        self.0[index % self.0.len()]
    }
}

/// One life after the other: everything of a batch is acknowledged, all brokers die, and what they had synced is what
/// the next ones begin with.
fn survives(places: &Places, batches: usize, fault: Option<(usize, &str)>) -> Result<(), Lost> {
    let mut dice = Dice::new();
    let mut publishers = [
        Publisher::new("traffic/once-or-more".to_owned(), QoS::AtLeastOnce),
        Publisher::new("traffic/once".to_owned(), QoS::ExactlyOnce),
    ];
    let (mut present, mut absent) = (Subscriber::new("present"), Subscriber::new("absent"));
    let mut nodes = places.start();
    for name in [present.name, absent.name] {
        let (mut client, _) = come_in(Addresses::of(&nodes).at(0), &lasting(name));
        client.subscribe("traffic/#", QoS::ExactlyOnce);
    }
    for batch in 0..batches {
        if let Some((_, of)) = fault.filter(|(begins, _)| *begins == batch) {
            places.forget_syncs(of);
        }
        let addresses = Addresses::of(&nodes);
        // A session, what waits for it, and what is kept for everybody.
        let name = format!("batch-{batch}");
        let (mut client, _) = come_in(addresses.at(batch), &lasting(&name));
        client.subscribe(&name, QoS::AtLeastOnce);
        client.disconnect(ReasonCode::SUCCESS);
        let mut client = Client::connect(addresses.at(batch + 1), "keeper");
        let head = PublishHead { qos: QoS::AtLeastOnce, retain: true, ..PublishHead::default() };
        let id = client.publish_with(&name, &name, head);
        assert!(matches!(client.next(), Got::PubAck(of, reason) if of == id && !reason.is_error()));
        publish_batch(&mut publishers, &addresses, batch);
        nodes.into_iter().for_each(Broker::kill);

        nodes = places.start();
        let addresses = Addresses::of(&nodes);
        find(&name, addresses.at(batch + 2), &lasting(&name), &name)?;
        find_kept(&name, addresses.at(batch))?;
        let address = addresses.at(batch);
        let mut client = resume(address, &lasting(present.name))?;
        present.live(&mut client, Some(&totals(&publishers)), true, &mut dice);
    }
    let (mut client, totals) = (resume(Addresses::of(&nodes).at(1), &lasting(absent.name))?, totals(&publishers));
    absent.live(&mut client, Some(&totals), true, &mut dice);
    [present, absent].iter().for_each(|subscriber| subscriber.check(&publishers));
    Ok(())
}

fn totals(publishers: &[Publisher]) -> BTreeMap<String, u32> {
    publishers.iter().map(|publisher| (publisher.name.clone(), publisher.next)).collect()
}

/// Sends so many messages by each publisher, and returns when all of them are acknowledged.
fn publish_batch(publishers: &mut [Publisher], addresses: &Addresses, batch: usize) {
    let (done, _is_done) = channel();
    std::thread::scope(|scope| {
        for (index, publisher) in publishers.iter_mut().enumerate() {
            let (done, address) = (done.clone(), addresses.at(batch + index));
            scope.spawn(move || {
                let id = publisher.name.replace('/', "-");
                let connect = Connect { receive_maximum: 100.try_into().unwrap(), ..lasting(&id) };
                let (mut client, _) = come_in(address, &connect);
                let end = publisher.next + BATCH;
                publisher.live(&mut client, end, false, &done);
            });
        }
    });
}

fn resume(address: SocketAddr, connect: &Connect<'_>) -> Result<Client, Lost> {
    let (client, session_present) = come_in(address, connect);
    if session_present { Ok(client) } else { Err(Lost(format!("the session of {}", connect.client_id))) }
}

/// The session is there with the message that waits for it.
fn find(name: &str, address: SocketAddr, connect: &Connect<'_>, payload: &str) -> Result<(), Lost> {
    let mut client = resume(address, connect)?;
    client.acknowledges = true;
    match client.next() {
        Got::Message { payload: found, .. } if found == payload.as_bytes() => Ok(()),
        got => Err(Lost(format!("the message for {name}: {got:?}"))),
    }
}

fn find_kept(name: &str, address: SocketAddr) -> Result<(), Lost> {
    let mut reader = Client::open(address, Version::V5);
    assert!(matches!(reader.hello(&Connect::new(Version::V5, "reader")), Got::ConnAck { .. }));
    reader.subscribe(name, QoS::AtMostOnce);
    let found = reader.ping();
    match found.as_slice() {
        [Got::Message { retain: true, .. }] => Ok(()),
        _ => Err(Lost(format!("the retained message {name}: {found:?}"))),
    }
}

#[test]
fn a_broker_alone_has_synced_all_that_it_acknowledged() {
    survives(&Places::alone(), 8, None).unwrap();
}

#[test]
fn three_brokers_have_synced_all_that_they_acknowledged() {
    survives(&Places::together(), 4, None).unwrap();
}

#[test]
fn a_broker_that_leaves_out_the_syncs_of_its_log_is_found() {
    survives(&Places::alone(), 3, Some((1, "files"))).unwrap_err();
}

#[test]
fn a_broker_that_leaves_out_the_syncs_of_its_folders_is_found() {
    let places = Places::alone();
    places.forget_syncs("folders");
    survives(&places, 1, None).unwrap_err();
}

#[test]
fn brokers_that_leave_out_the_syncs_of_their_logs_are_found() {
    survives(&Places::together(), 2, Some((1, "files"))).unwrap_err();
}
