//! Traffic over the sudden end of a broker that keeps its sessions in a folder: publishers and subscribers come back
//! again and again, as clients do, and nothing that was acknowledged is lost, doubled or out of order.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};

use fulmar_codec::{Connect, QoS, ReasonCode, Version};

use crate::durable::{self, lasting};
use crate::harness::{Broker, Client, Dice, Folder, Got, PATIENCE, Publisher, Subscriber};

const PUBLISHERS: usize = 3;
const KILLS: u64 = 5;

/// The session of a subscriber, made before anybody publishes.
fn begin(subscriber: &Subscriber, address: SocketAddr, qos: QoS) {
    let mut client = Client::connect_with(address, &lasting(subscriber.name));
    client.subscribe("traffic/#", qos);
}

/// A life of a broker: `dice` ends it in the middle of the traffic, or it comes to its end if nobody throws them.
fn live(folder: &Folder, publishers: &mut [Publisher], subscriber: &mut Subscriber, is_last: bool, dice: &mut Dice) {
    let broker = start(folder);
    let address = broker.address("mqtt");
    // All are there before anybody can end it.
    let mut connected: Vec<Client> = publishers.iter().map(|publisher| come(address, &publisher.name)).collect();
    let mut receiver = Client::resume(address, &lasting(subscriber.name));
    let end_of = |publisher: &Publisher| if is_last { publisher.next + 100 } else { u32::MAX };
    let totals: BTreeMap<String, u32> =
        publishers.iter().map(|publisher| (publisher.name.clone(), end_of(publisher))).collect();
    let mut of_subscriber = Dice(dice.between(0, u64::MAX >> 32));
    let (done, is_done) = channel();
    let left = std::thread::scope(|scope| {
        for (publisher, client) in publishers.iter_mut().zip(&mut connected) {
            let (end, done) = (end_of(publisher), done.clone());
            scope.spawn(move || publisher.live(client, end, end == u32::MAX, &done));
        }
        drop(done);
        let (totals, receiver, dice_of_subscriber) = (is_last.then_some(&totals), &mut receiver, &mut of_subscriber);
        scope.spawn(move || subscriber.live(receiver, totals, totals.is_none(), dice_of_subscriber));
        if is_last {
            return Some(broker);
        }
        wait_for_some(&is_done, dice.between(100, 600));
        broker.kill();
        None
    });
    if let Some(broker) = left {
        broker.kill();
    }
}

fn wait_for_some(done: &Receiver<()>, count: u64) {
    (0..count).for_each(|_| done.recv_timeout(PATIENCE).expect("publishers are acknowledged"));
}

fn start(folder: &Folder) -> Broker {
    durable::start(folder, &["log.level=info", "limits.queuedMessages=1000000"])
}

/// A publisher with a session of its own, which need not be there yet.
fn come(address: SocketAddr, name: &str) -> Client {
    let id = name.replace('/', "-");
    let mut client = Client::open(address, Version::V5);
    let connect = Connect { receive_maximum: 100.try_into().unwrap(), ..lasting(&id) };
    let Got::ConnAck { reason: ReasonCode::SUCCESS, .. } = client.hello(&connect) else { panic!("not let in") };
    client
}

fn survives_kills(qos: QoS) {
    let folder = Folder::new();
    let mut dice = Dice::new();
    let mut publishers: Vec<Publisher> =
        (0..PUBLISHERS).map(|number| Publisher::new(format!("traffic/{number}"), qos)).collect();
    let (mut present, mut absent) = (Subscriber::new("present"), Subscriber::new("absent"));
    let broker = start(&folder);
    begin(&present, broker.address("mqtt"), qos);
    begin(&absent, broker.address("mqtt"), qos);
    broker.kill();
    for life in 0..=KILLS {
        live(&folder, &mut publishers, &mut present, life == KILLS, &mut dice);
    }
    present.check(&publishers);
    // That last broker was killed when nothing was under way.
    let broker = start(&folder);
    let mut client = Client::resume(broker.address("mqtt"), &lasting(absent.name));
    let totals = publishers.iter().map(|publisher| (publisher.name.clone(), publisher.next)).collect();
    absent.live(&mut client, Some(&totals), false, &mut dice);
    absent.check(&publishers);
}

#[test]
fn what_was_acknowledged_at_qos_1_survives_kills_in_order() {
    survives_kills(QoS::AtLeastOnce);
}

#[test]
fn what_was_sent_at_qos_2_arrives_exactly_once_over_kills() {
    survives_kills(QoS::ExactlyOnce);
}
