//! mosquitto's command line clients, each started with all that it has to do.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::harness::PATIENCE;
use crate::proxy::Proxy;
use crate::stage::Bed;

type Scenario = (&'static str, fn(&Bed, u8));

pub const TESTS: &[Scenario] = &[
    ("every_quality_of_service_passes", every_quality_of_service_passes),
    ("retained_messages_and_wills_arrive", retained_messages_and_wills_arrive),
    ("a_group_shares_what_comes", a_group_shares_what_comes),
    ("what_is_cut_off_is_resumed_and_nothing_is_lost", what_is_cut_off_is_resumed_and_nothing_is_lost),
    ("messages_up_to_the_limit_pass", messages_up_to_the_limit_pass),
];

fn command(program: &str, address: SocketAddr, version: u8, words: &[&str]) -> Command {
    // Its output would sit in a buffer without a terminal.
    let mut command = Command::new("stdbuf");
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let version = if version == 5 { "mqttv5" } else { "mqttv311" };
    command.args(["-oL", program, "-h", &host, "-p", &port, "-V", version]).args(words);
    command
}

/// A running `mosquitto_sub`, killed when it is dropped. Lines are `TOPIC|QOS|RETAIN|LENGTH|TEXT`.
struct Reader {
    child: Child,
    lines: Receiver<String>,
    /// What it has printed so far, for a failure.
    seen: Vec<String>,
}

impl Reader {
    /// Subscribed when this returns.
    fn start(address: SocketAddr, version: u8, words: &[&str]) -> Reader {
        let mut command = command("mosquitto_sub", address, version, &["-d", "-F", "%t|%q|%r|%l|%p"]);
        let mut child = command.args(words).stdout(Stdio::piped()).stdin(Stdio::null()).spawn().expect("start it");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // A test that has what it wants reads no more.
                let _ = sender.send(line);
            }
        });
        let mut reader = Reader { child, lines, seen: Vec::new() };
        reader.line(|line| line.starts_with("Subscribed (mid: "));
        reader
    }

    fn line(&mut self, fits: impl Fn(&str) -> bool) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push(line.chars().take(100).collect());
                    if fits(&line) {
                        return line;
                    }
                }
                Err(error) => panic!("waited in vain for mosquitto_sub: {error}"),
            }
        }
    }

    /// The next message.
    fn message(&mut self) -> String {
        self.line(|line| line.split('|').count() == 5)
    }

    fn is_quiet_for(&mut self, time: Duration) -> bool {
        loop {
            match self.lines.recv_timeout(time) {
                Ok(line) if line.split('|').count() == 5 => return false,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => panic!("mosquitto_sub ended"),
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("mosquitto_sub printed {:#?}", self.seen);
        }
    }
}

/// Publishes what it is given, and ends when that is acknowledged.
fn publish(address: SocketAddr, version: u8, words: &[&str], payload: &[u8]) {
    let mut command = command("mosquitto_pub", address, version, words);
    let mut child = command.arg("-s").stdin(Stdio::piped()).spawn().expect("start mosquitto_pub");
    child.stdin.take().expect("it is piped").write_all(payload).expect("it reads");
    assert!(child.wait().expect("wait for it").success(), "mosquitto_pub {words:?}");
}

fn every_quality_of_service_passes(bed: &Bed, version: u8) {
    let topic = bed.name("/x");
    let mut reader = Reader::start(bed.node(0), version, &["-t", &topic, "-q", "2"]);
    for qos in ["0", "1", "2"] {
        publish(bed.node(1), version, &["-t", &topic, "-q", qos], "grüße".as_bytes());
        assert_eq!(reader.message(), format!("{topic}|{qos}|0|7|grüße"));
    }
}

fn retained_messages_and_wills_arrive(bed: &Bed, version: u8) {
    let (kept, will) = (bed.name("/kept"), bed.name("/will"));
    publish(bed.node(1), version, &["-t", &kept, "-q", "1", "-r"], b"lasting");
    let mut watcher = Reader::start(bed.node(0), version, &["-t", &kept, "-t", &will, "-q", "1"]);
    assert_eq!(watcher.message(), format!("{kept}|1|1|7|lasting"));
    let words = ["-t", "nothing", "--will-topic", &will, "--will-payload", "gone", "--will-qos", "1"];
    let mut mortal = Reader::start(bed.node(2), version, &words);
    mortal.child.kill().expect("it runs");
    assert_eq!(watcher.message(), format!("{will}|1|0|4|gone"));
}

fn a_group_shares_what_comes(bed: &Bed, version: u8) {
    let topic = bed.name("/work");
    let filter = format!("$share/group/{topic}");
    let mut members = [(); 2].map(|()| Reader::start(bed.node(0), version, &["-t", &filter, "-q", "1"]));
    for number in 0..6 {
        publish(bed.node(1), version, &["-t", &topic, "-q", "1"], number.to_string().as_bytes());
    }
    let mut got: Vec<String> =
        members.iter_mut().flat_map(|member| (0..3).map(|_| member.message()).collect::<Vec<_>>()).collect();
    got.sort();
    assert_eq!(got, (0..6).map(|number| format!("{topic}|1|0|1|{number}")).collect::<Vec<_>>());
}

fn what_is_cut_off_is_resumed_and_nothing_is_lost(bed: &Bed, version: u8) {
    let (topic, id) = (bed.name("/x"), bed.name("reader"));
    let way = Proxy::before(bed.node(0));
    let mut words = vec!["-t", topic.as_str(), "-q", "2", "-i", id.as_str(), "-c"];
    if version == 5 {
        words.extend(["-x", "600"]);
    }
    let mut reader = Reader::start(way.address, version, &words);
    let mut got = 0;
    let mut read_until = |number: usize, reader: &mut Reader| {
        (got..number).for_each(|number| assert_eq!(reader.message(), format!("{topic}|2|0|2|{number:02}")));
        got = number;
    };
    for number in 0..12 {
        // mosquitto_sub 2.0 loses a message whose PUBCOMP it cannot send, so it is cut off when it has them all.
        if number == 4 || number == 8 {
            read_until(number, &mut reader);
        }
        match number {
            4 => way.cut(),
            // What comes while it is away waits in its session.
            8 => way.close(),
            _ => {}
        }
        publish(bed.node(1), version, &["-t", &topic, "-q", "2"], format!("{number:02}").as_bytes());
    }
    way.open();
    read_until(12, &mut reader);
    assert!(reader.is_quiet_for(Duration::from_millis(200)), "a message came twice");
}

fn messages_up_to_the_limit_pass(bed: &Bed, version: u8) {
    const PACKET_BYTES_MAX: usize = 1 << 20;
    let topic = bed.name("/large");
    let mut reader = Reader::start(bed.node(0), version, &["-t", &topic, "-q", "1"]);
    let size = PACKET_BYTES_MAX - 100;
    publish(bed.node(1), version, &["-t", &topic, "-q", "1"], &vec![b'x'; size]);
    assert!(reader.message() == format!("{topic}|1|0|{size}|{}", "x".repeat(size)), "it came as it was");
    // The client refuses to send it, or is closed for it: nobody else notices.
    let mut command = command("mosquitto_pub", bed.node(1), version, &["-t", &topic, "-q", "0", "-s"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("start mosquitto_pub");
    child.stdin.take().expect("it is piped").write_all(&vec![b'x'; PACKET_BYTES_MAX + 1]).expect("it reads");
    child.wait().expect("wait for it");
    publish(bed.node(1), version, &["-t", &topic, "-q", "1"], b"small");
    assert_eq!(reader.message(), format!("{topic}|1|0|5|small"));
}
