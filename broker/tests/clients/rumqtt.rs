//! The client of rumqttc, in a process of its own like the others.

use std::io::BufRead;
use std::time::Duration;

use rumqttc::{mqttbytes, v5};
use serde::Deserialize;
use serde_json::json;

/// Larger than any packet of these tests.
const PACKET_BYTES_MAX: usize = 4 << 20;
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
struct Settings {
    host: String,
    port: u16,
    version: u8,
    id: String,
    clean: bool,
    will: String,
}

#[derive(Deserialize)]
struct Order {
    r#do: String,
    topic: String,
    qos: u8,
    #[serde(default)]
    retain: bool,
    #[serde(default)]
    text: String,
    #[serde(default)]
    size: usize,
}

/// What a client of either version is told to do.
trait Client: Send + 'static {
    fn subscribe(&self, filter: &str, qos: u8);
    fn publish(&self, topic: &str, payload: Vec<u8>, qos: u8, retain: bool);
    fn disconnect(&self);
}

/// Runs until standard input ends.
pub fn run(settings: &str) {
    let settings: Settings = serde_json::from_str(settings).expect("the settings are JSON");
    if settings.version == 5 { run_five(&settings) } else { run_old(&settings) }
}

fn tell(event: &str) {
    println!("{}", json!({ "event": event }));
}

fn tell_message(topic: &str, payload: &[u8], qos: u8, retain: bool) {
    let text = String::from_utf8_lossy(&payload[..payload.len().min(100)]);
    let (size, sum) = (payload.len(), payload.iter().map(|byte| u64::from(*byte)).sum::<u64>());
    let message = json!({
        "event": "message", "topic": topic, "text": text, "size": size, "sum": sum, "qos": qos, "retain": retain,
    });
    println!("{message}");
}

/// Does what standard input says, on a thread of its own.
fn take_orders(client: impl Client) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let Order { r#do, topic, qos, retain, text, size } = serde_json::from_str(&line).expect("orders are JSON");
            if r#do == "subscribe" {
                client.subscribe(&topic, qos);
            } else {
                let mut payload = text.into_bytes();
                payload.resize(payload.len().max(size), b'x');
                client.publish(&topic, payload, qos, retain);
            }
        }
        client.disconnect();
    });
}

fn run_old(settings: &Settings) {
    use rumqttc::{Event, LastWill, MqttOptions, Packet};
    let Settings { host, port, id, clean, will, .. } = settings;
    let mut options = MqttOptions::new(id, host, *port);
    options.set_clean_session(*clean).set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
    if !will.is_empty() {
        options.set_last_will(LastWill::new(will, id.as_bytes(), mqttbytes::QoS::AtLeastOnce, false));
    }
    let (client, mut connection) = rumqttc::Client::new(options, 1000);
    take_orders(client);
    for event in connection.iter() {
        match event {
            Ok(Event::Incoming(Packet::ConnAck(_))) => tell("connected"),
            Ok(Event::Incoming(Packet::SubAck(_))) => tell("subscribed"),
            Ok(Event::Incoming(Packet::Publish(got))) => {
                tell_message(&got.topic, &got.payload, got.qos as u8, got.retain);
            }
            Ok(_) => {}
            Err(_) => {
                tell("lost");
                std::thread::sleep(PAUSE);
            }
        }
    }
}

fn run_five(settings: &Settings) {
    use v5::mqttbytes::v5::{ConnectProperties, LastWill, Packet};
    use v5::{Event, MqttOptions};
    let Settings { host, port, id, clean, will, .. } = settings;
    let mut options = MqttOptions::new(id, host, *port);
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval = Some(if *clean { 0 } else { 600 });
    options.set_connect_properties(properties).set_clean_start(*clean);
    options.set_max_packet_size(Some(PACKET_BYTES_MAX as u32));
    if !will.is_empty() {
        let will = LastWill::new(will, id.clone(), v5::mqttbytes::QoS::AtLeastOnce, false, None);
        options.set_last_will(will);
    }
    let (client, mut connection) = v5::Client::new(options, 1000);
    take_orders(client);
    for event in connection.iter() {
        match event {
            Ok(Event::Incoming(Packet::ConnAck(_))) => tell("connected"),
            Ok(Event::Incoming(Packet::SubAck(_))) => tell("subscribed"),
            Ok(Event::Incoming(Packet::Publish(got))) => {
                tell_message(&String::from_utf8_lossy(&got.topic), &got.payload, got.qos as u8, got.retain);
            }
            Ok(_) => {}
            Err(_) => {
                tell("lost");
                std::thread::sleep(PAUSE);
            }
        }
    }
}

impl Client for rumqttc::Client {
    fn subscribe(&self, filter: &str, qos: u8) {
        self.subscribe(filter, mqttbytes::qos(qos).expect("a quality of service")).expect("its connection goes on");
    }

    fn publish(&self, topic: &str, payload: Vec<u8>, qos: u8, retain: bool) {
        let qos = mqttbytes::qos(qos).expect("a quality of service");
        self.publish(topic, qos, retain, payload).expect("its connection goes on");
    }

    fn disconnect(&self) {
        self.disconnect().expect("its connection goes on");
    }
}

impl Client for v5::Client {
    fn subscribe(&self, filter: &str, qos: u8) {
        let qos = v5::mqttbytes::qos(qos).expect("a quality of service");
        self.subscribe(filter, qos).expect("its connection goes on");
    }

    fn publish(&self, topic: &str, payload: Vec<u8>, qos: u8, retain: bool) {
        let qos = v5::mqttbytes::qos(qos).expect("a quality of service");
        self.publish(topic, qos, retain, payload).expect("its connection goes on");
    }

    fn disconnect(&self) {
        self.disconnect().expect("its connection goes on");
    }
}
