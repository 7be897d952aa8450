//! Clients that were there before the attack and behave: pairs of a publisher and a subscriber at QoS 1. They measure how
//! long each message takes, and none of them may be lost or closed.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fulmar_codec::QoS;

use crate::harness::wait_for;
use crate::wire;

pub const PAIRS: u32 = 10;
/// Between two messages of a pair.
const PERIOD: Duration = Duration::from_millis(50);
/// The first byte of a PUBLISH with QoS 1.
const PUBLISH: u8 = 0x32;

/// See the [module](self).
pub struct WellBehaved {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    subscribers: Vec<TcpStream>,
}

struct Shared {
    start: Instant,
    is_over: AtomicBool,
    sent: AtomicU64,
    /// When each message was sent, and how long it took, in microseconds.
    latencies: Mutex<Vec<(u64, u64)>>,
}

impl WellBehaved {
    pub fn start(target: SocketAddr) -> WellBehaved {
        let shared = Arc::new(Shared {
            start: Instant::now(),
            is_over: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            latencies: Mutex::default(),
        });
        let (mut threads, mut subscribers) = (Vec::new(), Vec::new());
        for number in 0..PAIRS {
            let topic = format!("well/{number}");
            let mut subscriber = wire::client(target, number, &format!("subscriber-{number}"), 0).unwrap();
            subscriber.write_all(&wire::subscribe(std::slice::from_ref(&topic), QoS::AtLeastOnce)).unwrap();
            assert_eq!(wire::packet(&mut subscriber).unwrap().0, 0x90, "SUBACK");
            subscribers.push(subscriber.try_clone().unwrap());
            let reading = shared.clone();
            threads.push(std::thread::spawn(move || reading.subscribe(subscriber)));
            let publisher = wire::client(target, number, &format!("publisher-{number}"), 0).unwrap();
            let publishing = shared.clone();
            threads.push(std::thread::spawn(move || publishing.publish(publisher, &topic)));
        }
        WellBehaved { shared, threads, subscribers }
    }

    /// Microseconds since these began.
    pub fn now(&self) -> u64 {
        self.shared.now()
    }

    /// The latencies of messages sent in this time, in order.
    pub fn latencies(&self, from: u64, until: u64) -> Vec<u64> {
        let latencies = self.shared.latencies.lock().unwrap();
        let mut of_time: Vec<u64> =
            latencies.iter().filter(|(sent, _)| (from..until).contains(sent)).map(|(_, took)| *took).collect();
        of_time.sort_unstable();
        of_time
    }

    /// Stops, once every message has arrived.
    pub fn stop(self) {
        let WellBehaved { shared, threads, subscribers } = self;
        shared.is_over.store(true, Ordering::Relaxed);
        wait_for("every message of well-behaved clients", || {
            let arrived = shared.latencies.lock().unwrap().len() as u64;
            (arrived >= shared.sent.load(Ordering::Relaxed)).then_some(())
        });
        subscribers.iter().for_each(|subscriber| drop(subscriber.shutdown(Shutdown::Both)));
        threads.into_iter().for_each(|thread| thread.join().expect("a well-behaved client is never closed"));
    }
}

impl Shared {
    fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    fn publish(&self, mut stream: TcpStream, topic: &str) {
        let mut next = Instant::now();
        while !self.is_over.load(Ordering::Relaxed) {
            self.sent.fetch_add(1, Ordering::Relaxed);
            let payload = self.now().to_be_bytes();
            stream.write_all(&wire::publish(topic, &payload, QoS::AtLeastOnce, false, 1)).expect("a publisher is read");
            let (first, _) = wire::packet(&mut stream).expect("a publisher is answered");
            assert_eq!(first, 0x40, "PUBACK");
            // Who had to wait does not hurry afterwards.
            next = (next + PERIOD).max(Instant::now());
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }

    fn subscribe(&self, mut stream: TcpStream) {
        loop {
            let (first, body) = match wire::packet(&mut stream) {
                Ok(packet) => packet,
                Err(_) if self.is_over.load(Ordering::Relaxed) => return,
                Err(error) => panic!("a subscriber is closed: {error}"),
            };
            assert_eq!(first, PUBLISH, "a subscriber gets messages and nothing else: {body:02x?}");
            let sent = u64::from_be_bytes(body[body.len() - 8..].try_into().unwrap());
            let topic_bytes = usize::from(u16::from_be_bytes([body[0], body[1]]));
            let id = &body[2 + topic_bytes..][..2];
            self.latencies.lock().unwrap().push((sent, self.now() - sent));
            stream.write_all(&[0x40, 2, id[0], id[1]]).expect("a subscriber is read");
        }
    }
}
