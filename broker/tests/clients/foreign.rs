//! A client as a process: it is told what to do on its standard input and tells what happens to it on its output, as
//! `e2e/clients/README.md` says.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::BE_RUMQTTC;
use crate::harness::PATIENCE;

/// Whose client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    PahoGo,
    PahoPython,
    MqttJs,
    Rumqttc,
}

/// How a client connects.
#[derive(Clone, Debug)]
pub struct Hello {
    pub address: SocketAddr,
    /// 4 is MQTT 3.1.1.
    pub version: u8,
    pub id: String,
    /// Its session ends with its connection.
    pub clean: bool,
    /// Where its will goes, which says its id.
    pub will: Option<String>,
}

/// A running client. It is killed when it is dropped.
pub struct Foreign {
    id: String,
    child: Child,
    orders: ChildStdin,
    events: Receiver<Value>,
    /// Messages that came while something else was awaited.
    waiting: VecDeque<Value>,
}

/// A message as a client got it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    pub topic: String,
    /// The first 100 bytes of the payload.
    pub text: String,
    pub size: u64,
    pub sum: u64,
    pub qos: u64,
    pub retain: bool,
}

/// A message to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    pub topic: &'a str,
    pub text: &'a str,
    /// The payload is made so long; 0: as long as the text.
    pub size: usize,
    pub qos: u8,
    pub retain: bool,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::PahoGo, Kind::PahoPython, Kind::MqttJs, Kind::Rumqttc];

    pub fn name(self) -> &'static str {
        match self {
            Kind::PahoGo => "paho_go",
            Kind::PahoPython => "paho_python",
            Kind::MqttJs => "mqttjs",
            Kind::Rumqttc => "rumqttc",
        }
    }

    /// The highest quality of service at which a connection may be cut while the client receives. rumqttc 0.25 forgets
    /// which messages of QoS 2 it has got, and takes the PUBREL of one of them for an error, again and again.
    pub fn resumed_qos_max(self) -> u8 {
        if self == Kind::Rumqttc { 1 } else { 2 }
    }

    /// Whether each message of QoS 2 is passed on once when a connection was cut. Paho for Go 1.5 passes on what it has
    /// stored when it is connected again, too.
    pub fn passes_on_once(self, version: u8) -> bool {
        (self, version) != (Kind::PahoGo, 4)
    }

    fn command(self) -> Command {
        let installed = |variable: &str| {
            std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set; cargo xtask clients sets it"))
        };
        let (program, argument) = match self {
            Kind::PahoGo => (installed("FULMAR_PAHO_GO"), None),
            Kind::PahoPython => ("python3".into(), Some(installed("FULMAR_PAHO_PYTHON"))),
            Kind::MqttJs => ("node".into(), Some(installed("FULMAR_MQTTJS"))),
            Kind::Rumqttc => {
                let own = std::env::current_exe().expect("this program has a path");
                (own.into_os_string(), Some(BE_RUMQTTC.into()))
            }
        };
        let mut command = Command::new(program);
        command.args(argument);
        command
    }

    /// Starts a client and waits until it is connected.
    pub fn start(self, hello: &Hello) -> Foreign {
        let Hello { address, version, id, clean, will } = hello;
        let settings = json!({
            "host": address.ip().to_string(),
            "port": address.port(),
            "version": version,
            "id": id,
            "clean": clean,
            "will": will.as_deref().unwrap_or_default(),
        });
        let mut command = self.command();
        command.arg(settings.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let (sender, events) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                // A test that has what it wants reads no more.
                let _ = sender.send(event);
            }
        });
        let orders = child.stdin.take().expect("it is piped");
        let mut client = Foreign { id: id.clone(), child, orders, events, waiting: VecDeque::new() };
        client.await_event("connected");
        client
    }
}

impl Foreign {
    /// Subscribes, and waits until that is acknowledged.
    pub fn subscribe(&mut self, filter: &str, qos: u8) {
        self.order(&json!({"do": "subscribe", "topic": filter, "qos": qos}));
        self.await_event("subscribed");
    }

    /// Publishes; the client sees to it that it arrives.
    pub fn publish(&mut self, publish: Publish<'_>) {
        let Publish { topic, text, size, qos, retain } = publish;
        let order = json!({"do": "publish", "topic": topic, "text": text, "size": size, "qos": qos, "retain": retain});
        self.order(&order);
    }

    /// Publishes a text.
    pub fn say(&mut self, topic: &str, text: &str, qos: u8) {
        self.publish(Publish { topic, text, size: 0, qos, retain: false });
    }

    fn order(&mut self, order: &Value) {
        writeln!(self.orders, "{order}").unwrap_or_else(|error| panic!("tell {}: {error}", self.id));
    }

    /// The next message, whatever becomes of the connection meanwhile.
    pub fn message(&mut self) -> Message {
        self.message_within(PATIENCE).unwrap_or_else(|error| panic!("{}: waited for a message: {error}", self.id))
    }

    /// The next message, if one comes in time.
    pub fn message_within(&mut self, time: Duration) -> Result<Message, RecvTimeoutError> {
        let event = match self.waiting.pop_front() {
            Some(event) => event,
            None => self.event_within("message", time)?,
        };
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| event[name].as_u64().unwrap_or_default();
        Ok(Message {
            topic: text("topic"),
            text: text("text"),
            size: number("size"),
            sum: number("sum"),
            qos: number("qos"),
            retain: event["retain"] == true,
        })
    }

    /// The next event of that kind. Messages that come before it are kept, others are of no interest.
    pub fn await_event(&mut self, kind: &str) -> Value {
        self.event_within(kind, PATIENCE).unwrap_or_else(|error| panic!("{}: waited for {kind}: {error}", self.id))
    }

    fn event_within(&mut self, kind: &str, time: Duration) -> Result<Value, RecvTimeoutError> {
        let until = Instant::now() + time;
        loop {
            let event = self.events.recv_timeout(until.saturating_duration_since(Instant::now()))?;
            assert!(event["event"] != "refused", "{}: wanted {kind}, got {event}", self.id);
            if event["event"] == kind {
                return Ok(event);
            }
            if event["event"] == "message" {
                self.waiting.push_back(event);
            }
        }
    }

    /// Whether any message has come that was not looked at.
    pub fn has_message(&mut self) -> bool {
        !self.waiting.is_empty() || self.events.try_iter().any(|event| event["event"] == "message")
    }

    /// Ends it as a crash does.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
