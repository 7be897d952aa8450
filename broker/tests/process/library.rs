//! A client library that we did not write (rumqttc), in both versions of MQTT, at every quality of service.

use std::net::SocketAddr;

use rumqttc::{mqttbytes, v5};

use crate::harness::{Broker, PATIENCE};

const TOPIC: &str = "library/topic";

/// What a client of either version saw: deliveries as `payload@qos`, and the acknowledgements of its own publishes.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    deliveries: Vec<String>,
    acknowledged: usize,
}

impl Seen {
    fn add(&mut self, payload: &[u8], qos: u8) {
        self.deliveries.push(format!("{}@{qos}", String::from_utf8_lossy(payload)));
    }
}

trait Library {
    /// Subscribes at QoS 2 and waits for SUBACK.
    fn subscribe(&mut self);
    fn publish(&mut self, payload: &str, qos: u8);
    /// Waits until so much was delivered and acknowledged.
    fn see(&mut self, deliveries: usize, acknowledged: usize) -> Seen;
}

struct Old(rumqttc::Client, rumqttc::Connection);

struct New(v5::Client, v5::Connection);

fn old(address: SocketAddr) -> Old {
    let mut options = rumqttc::MqttOptions::new("old", address.ip().to_string(), address.port());
    options.set_keep_alive(PATIENCE * 4);
    let (client, connection) = rumqttc::Client::new(options, 10);
    Old(client, connection)
}

fn new(address: SocketAddr) -> New {
    let mut options = v5::MqttOptions::new("new", address.ip().to_string(), address.port());
    options.set_keep_alive(PATIENCE * 4);
    let (client, connection) = v5::Client::new(options, 10);
    New(client, connection)
}

impl Old {
    fn next(&mut self) -> rumqttc::Packet {
        loop {
            match self.1.recv_timeout(PATIENCE).unwrap().unwrap() {
                rumqttc::Event::Incoming(packet) => return packet,
                rumqttc::Event::Outgoing(_) => {}
            }
        }
    }
}

impl New {
    fn next(&mut self) -> v5::mqttbytes::v5::Packet {
        loop {
            match self.1.recv_timeout(PATIENCE).unwrap().unwrap() {
                v5::Event::Incoming(packet) => return packet,
                v5::Event::Outgoing(_) => {}
            }
        }
    }
}

impl Library for Old {
    fn subscribe(&mut self) {
        self.0.subscribe(TOPIC, mqttbytes::QoS::ExactlyOnce).unwrap();
        while !matches!(self.next(), rumqttc::Packet::SubAck(_)) {}
    }

    fn publish(&mut self, payload: &str, qos: u8) {
        self.0.publish(TOPIC, mqttbytes::qos(qos).unwrap(), false, payload).unwrap();
    }

    fn see(&mut self, deliveries: usize, acknowledged: usize) -> Seen {
        let mut seen = Seen::default();
        while seen.deliveries.len() < deliveries || seen.acknowledged < acknowledged {
            match self.next() {
                rumqttc::Packet::Publish(publish) => seen.add(&publish.payload, publish.qos as u8),
                rumqttc::Packet::PubAck(_) | rumqttc::Packet::PubComp(_) => seen.acknowledged += 1,
                _ => {}
            }
        }
        seen
    }
}

impl Library for New {
    fn subscribe(&mut self) {
        self.0.subscribe(TOPIC, v5::mqttbytes::QoS::ExactlyOnce).unwrap();
        while !matches!(self.next(), v5::mqttbytes::v5::Packet::SubAck(_)) {}
    }

    fn publish(&mut self, payload: &str, qos: u8) {
        self.0.publish(TOPIC, v5::mqttbytes::qos(qos).unwrap(), false, payload.to_owned()).unwrap();
    }

    fn see(&mut self, deliveries: usize, acknowledged: usize) -> Seen {
        use v5::mqttbytes::v5::Packet;
        let mut seen = Seen::default();
        while seen.deliveries.len() < deliveries || seen.acknowledged < acknowledged {
            match self.next() {
                Packet::Publish(publish) => seen.add(&publish.payload, publish.qos as u8),
                Packet::PubAck(_) | Packet::PubComp(_) => seen.acknowledged += 1,
                _ => {}
            }
        }
        seen
    }
}

#[test]
fn a_library_of_both_versions_gets_every_quality_of_service_across() {
    let broker = Broker::start(&["threads=2"]);
    let address = broker.address("mqtt");
    let mut clients: [Box<dyn Library>; 2] = [Box::new(old(address)), Box::new(new(address))];
    for client in &mut clients {
        client.subscribe();
    }
    for publisher in 0..2 {
        for qos in 0..3 {
            clients[publisher].publish("hello", qos);
            // The library sends only while it is asked for what came, so the publisher goes first.
            for number in [publisher, 1 - publisher] {
                let acknowledged = usize::from(number == publisher && qos > 0);
                let wanted = Seen { deliveries: vec![format!("hello@{qos}")], acknowledged };
                assert_eq!(clients[number].see(1, acknowledged), wanted, "from {publisher} to {number}");
            }
        }
    }
}
