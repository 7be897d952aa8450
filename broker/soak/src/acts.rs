//! What clients do to a broker: come and go, subscribe, publish, retain, die with a will, read slowly, talk nonsense.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fulmar_codec::{Connect, QoS, Version, Will};
use fulmar_random::Random;

use crate::client::{Client, open};
use crate::files::{FLEETING_USER, PASSWORD, USER};

/// An actor does at most one thing in this time: the rate is bounded, however fast the broker is.
const PACE: Duration = Duration::from_millis(40);
/// No session stays longer than this without its client.
pub(crate) const SESSION_SECONDS_MAX: u32 = 20;
const RETAINED_TOPICS: u64 = 400;
const DURABLE_CLIENTS: u64 = 300;
/// What is remembered of who guesses stays for an hour, so there are no more of them than come in the first minutes.
const STRANGERS: u64 = 300;
const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const FILTERS: [&str; 9] = [
    "soak/#",
    "soak/+/level",
    "soak/1/#",
    "+/2/+",
    "soak/3/level",
    "$share/group/soak/#",
    "$share/other/soak/+/level",
    "retained/#",
    "$share/third/retained/+",
];

/// How often each thing was done, and how often the connection was lost over it.
#[derive(Default)]
pub(crate) struct Tally {
    done: [AtomicU64; ACTS.len()],
    lost: AtomicU64,
}

impl Tally {
    pub(crate) fn show(&self) -> String {
        let done = ACTS.iter().zip(&self.done).map(|((name, _), done)| (name, done.load(Ordering::Relaxed)));
        let done: Vec<_> = done.map(|(name, done)| format!("{name} {done}")).collect();
        format!("{}, connection lost {}", done.join(", "), self.lost.load(Ordering::Relaxed))
    }
}

/// One who acts, from a seed.
pub(crate) struct Actor {
    random: Random,
    number: u64,
    address: SocketAddr,
}

type Act = fn(&mut Actor) -> io::Result<()>;

/// All that may happen, with its name in the tally.
const ACTS: [(&str, Act); 8] = [
    ("visits", Actor::visit),
    ("returns", Actor::come_back),
    ("takeovers", Actor::take_over),
    ("retained", Actor::retain),
    ("slow readers", Actor::read_slowly),
    ("aborts", Actor::abort),
    ("nonsense", Actor::talk_nonsense),
    ("guesses", Actor::guess),
];

impl Actor {
    pub(crate) fn new(seed: u64, address: SocketAddr) -> Actor {
        Actor { random: Random::new(seed), number: seed, address }
    }

    pub(crate) fn act_until(mut self, is_over: &AtomicBool, tally: &Tally) {
        while !is_over.load(Ordering::Relaxed) {
            let start = Instant::now();
            // Visits and returns are what most clients do.
            let which = match self.random.below(16) {
                0..=4 => 0,
                5..=8 => 1,
                other => other as usize - 8,
            };
            let (_, act) = ACTS[which];
            // A broker may close on clients that behave so; what counts is what it keeps of them.
            if act(&mut self).is_err() {
                tally.lost.fetch_add(1, Ordering::Relaxed);
            }
            tally.done[which].fetch_add(1, Ordering::Relaxed);
            thread::sleep(PACE.saturating_sub(start.elapsed()));
        }
    }

    /// A client with a clean session subscribes, publishes, listens and goes.
    fn visit(&mut self) -> io::Result<()> {
        let id = format!("visitor-{}-{}", self.number, self.random.below(1_000_000));
        let Some(mut client) = self.connect(&id, true, 0)? else { return Ok(()) };
        self.stay(&mut client)?;
        client.leave(self.random.once_in(2))
    }

    /// A client with a session that waits for it, for a while.
    fn come_back(&mut self) -> io::Result<()> {
        let id = format!("durable-{}", self.random.below(DURABLE_CLIENTS));
        let Some(mut client) = self.connect(&id, false, SESSION_SECONDS_MAX)? else { return Ok(()) };
        self.stay(&mut client)?;
        if self.random.once_in(2) { client.leave(false) } else { Ok(()) }
    }

    /// A client that is there twice.
    fn take_over(&mut self) -> io::Result<()> {
        let id = format!("durable-{}", self.random.below(DURABLE_CLIENTS));
        let first = self.connect(&id, false, SESSION_SECONDS_MAX)?;
        let clean_start = self.random_flag();
        let second = self.connect(&id, clean_start, SESSION_SECONDS_MAX)?;
        drop(first);
        second.map_or(Ok(()), |mut client| self.stay(&mut client))
    }

    fn retain(&mut self) -> io::Result<()> {
        let Some(mut client) = self.connect(&format!("keeper-{}", self.number), true, 0)? else { return Ok(()) };
        for _ in 0..10 {
            let topic = retained_topic(self.random.below(RETAINED_TOPICS));
            // Nothing clears it (MQTT 5.0, 3.3.1.3).
            let length = if self.random.once_in(3) { 0 } else { self.random.below(2000) };
            client.publish(&topic, &vec![b'r'; length as usize], self.random.pick(&QOS), true)?;
        }
        client.listen(Duration::from_millis(10))?;
        client.leave(false)
    }

    /// Wants everything, makes much of it, and reads nothing.
    fn read_slowly(&mut self) -> io::Result<()> {
        let Some(mut client) = self.connect(&format!("slow-{}", self.number), true, 0)? else { return Ok(()) };
        client.subscribe("soak/#", self.random.pick(&QOS))?;
        for _ in 0..200 {
            client.publish("soak/1/level", &[b's'; 1000], QoS::AtMostOnce, false)?;
        }
        thread::sleep(self.random.milliseconds(500));
        Ok(())
    }

    /// Goes in the middle of a packet.
    fn abort(&mut self) -> io::Result<()> {
        let id = format!("durable-{}", self.random.below(DURABLE_CLIENTS));
        let Some(mut client) = self.connect(&id, false, SESSION_SECONDS_MAX)? else { return Ok(()) };
        client.publish("soak/2/level", b"unacknowledged", QoS::ExactlyOnce, false)?;
        client.send(&[0x30, 0x7f, 0, 9, b's'])
    }

    fn talk_nonsense(&mut self) -> io::Result<()> {
        use io::Write;
        let mut socket = open(self.address)?;
        let bytes: Vec<u8> = (0..self.random.below(300)).map(|_| self.random.below(256) as u8).collect();
        let beginning: &[u8] = self.random.pick(&[b"".as_slice(), b"\x10\x20\0\x04MQTT", b"GET / HTTP/1.1\r\n"]);
        socket.write_all(beginning)?;
        socket.write_all(&bytes)
    }

    /// A password that is wrong, of one of many users.
    fn guess(&mut self) -> io::Result<()> {
        let name = format!("stranger-{}", self.random.below(STRANGERS));
        let connect = Connect { username: Some(&name), password: Some(b"guess"), ..Connect::new(Version::V5, "guess") };
        Client::connect(self.address, &connect).map(drop)
    }

    fn connect(&mut self, id: &str, clean_start: bool, session_expiry: u32) -> io::Result<Option<Client>> {
        // In MQTT 3.1.1 a session that is not clean has no end of its own, so it is version 5 that has them here.
        let version = if clean_start && self.random_flag() { Version::V311 } else { Version::V5 };
        let will = Will { retain: self.random.once_in(4), delay: 0, ..Will::new("soak/2/level", b"gone") };
        let connect = Connect {
            clean_start,
            session_expiry: if version == Version::V5 { session_expiry } else { 0 },
            username: Some(if self.random.once_in(4) { FLEETING_USER } else { USER }),
            password: Some(PASSWORD),
            will: self.random.once_in(3).then_some(will),
            ..Connect::new(version, id)
        };
        Client::connect(self.address, &connect)
    }

    /// What a client does while it is there.
    fn stay(&mut self, client: &mut Client) -> io::Result<()> {
        for _ in 0..self.random.below(4) {
            let filter = self.random.pick(&FILTERS);
            client.subscribe(filter, self.random.pick(&QOS))?;
        }
        if self.random.once_in(3) {
            client.subscribe(&format!("soak/{}/own", self.random.below(100_000)), QoS::AtLeastOnce)?;
        }
        for _ in 0..self.random.below(20) {
            let topic = self.random.pick(&["soak/1/level", "soak/2/level", "soak/3/level", "denied/level", "soak/1"]);
            let payload = vec![b'p'; self.random.below(500) as usize];
            client.publish(topic, &payload, self.random.pick(&QOS), false)?;
        }
        client.listen(self.random.milliseconds(60))
    }

    fn random_flag(&mut self) -> bool {
        self.random.once_in(2)
    }
}

fn retained_topic(number: u64) -> String {
    format!("retained/{number}")
}

/// Clears all that was retained, the wills among it, and tells how many retained messages are there all the same.
pub(crate) fn clear_retained(address: SocketAddr) -> io::Result<usize> {
    let connect = Connect { username: Some(USER), password: Some(PASSWORD), ..Connect::new(Version::V5, "clearer") };
    let Some(mut client) = Client::connect(address, &connect)? else {
        return Err(io::ErrorKind::ConnectionRefused.into());
    };
    for topic in (0..RETAINED_TOPICS).map(retained_topic).chain(["soak/2/level".to_owned()]) {
        client.publish(&topic, b"", QoS::AtLeastOnce, true)?;
        client.listen(Duration::from_millis(1))?;
    }
    client.subscribe("#", QoS::AtLeastOnce)?;
    client.listen(Duration::from_millis(500))?;
    let retained = client.retained;
    client.leave(false).map(|()| retained)
}
