//! The attackers, in a process of their own. They go on whatever the broker does to them, until their standard input
//! ends.

use std::io::{BufRead, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use fulmar_codec::QoS;
use socket2::SockRef;

use crate::wire;

const NAME: &str = "FULMAR_ATTACK";
const TARGET: &str = "FULMAR_TARGET";
/// Before somebody who was refused or closed comes again.
const PAUSE: Duration = Duration::from_millis(20);
/// How many clients are slow readers.
const SLOW_READERS: u32 = 10_000;

/// What attackers do.
pub struct Attack {
    pub name: &'static str,
    /// How long it lasts, with what it needs to begin.
    pub time: Duration,
    /// Bytes that the broker may use.
    pub memory: u64,
    /// What 99 of 100 messages of well-behaved clients have to arrive within.
    pub latency_max: Duration,
    /// Clients that have to be connected at a time, so that it is the attack that it is meant to be.
    pub clients_least: u32,
    run: fn(SocketAddr),
}

pub const ATTACKS: &[Attack] = &[
    attack("publishers_without_readers", 8, publishers_without_readers),
    Attack { clients_least: SLOW_READERS, ..attack("ten_thousand_slow_readers", 20, slow_readers) },
    attack("connect_floods", 8, connect_floods),
    attack("subscribe_bombs", 8, subscribe_bombs),
    attack("huge_retained_sets", 10, retained_sets),
    attack("qos_2_never_released", 8, unreleased),
    attack("wildcard_publish_storms", 8, storms),
    attack("large_messages_for_many", 8, large_messages),
    Attack {
        memory: 128 << 20,
        latency_max: Duration::from_millis(500),
        ..attack("all_of_them_at_once_in_too_little_memory", 15, everything)
    },
];

const fn attack(name: &'static str, seconds: u64, run: fn(SocketAddr)) -> Attack {
    let (time, latency_max) = (Duration::from_secs(seconds), Duration::from_millis(100));
    Attack { name, time, memory: 256 << 20, latency_max, clients_least: 0, run }
}

/// The attack that this process is to run, if it is an attacker.
pub fn asked_for() -> Option<String> {
    std::env::var(NAME).ok()
}

/// What an attacker's process finds in its environment.
pub fn environment(attack: &Attack, target: SocketAddr) -> [(&'static str, String); 2] {
    [(NAME, attack.name.to_owned()), (TARGET, target.to_string())]
}

/// Begins with the first line of standard input, which comes when this process is in its control group.
pub fn run(name: &str) {
    let target = std::env::var(TARGET).unwrap().parse().unwrap();
    let attack = ATTACKS.iter().find(|attack| attack.name == name).unwrap();
    let mut input = std::io::stdin().lock();
    input.read_line(&mut String::new()).unwrap();
    (attack.run)(target);
    input.read_to_end(&mut Vec::new()).unwrap();
    std::process::exit(0);
}

/// Runs `work` on so many threads, again and again. What the broker refuses ends one try.
fn again_and_again(threads: u32, work: impl Fn(u32) -> std::io::Result<()> + Send + Sync + Clone + 'static) {
    for number in 0..threads {
        let work = work.clone();
        let body = move || {
            loop {
                let _: std::io::Result<()> = work(number);
                thread::sleep(PAUSE);
            }
        };
        thread::Builder::new().stack_size(256 << 10).spawn(body).unwrap();
    }
}

/// A number that is used once.
fn fresh() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Reads and forgets all that comes.
fn drain(stream: &TcpStream) {
    let mut stream = stream.try_clone().unwrap();
    let body = move || {
        let mut buffer = vec![0; 64 << 10];
        while stream.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {}
    };
    thread::Builder::new().stack_size(128 << 10).spawn(body).unwrap();
}

/// Sessions that wait for their clients get more than anyone can keep.
fn publishers_without_readers(target: SocketAddr) {
    again_and_again(4, move |number| {
        for _ in 0..50 {
            let mut absent = wire::client(target, fresh(), &format!("absent-{number}-{}", fresh() % 100), 5)?;
            absent.write_all(&wire::subscribe(&["queue/#".to_owned()], QoS::AtLeastOnce))?;
            wire::packet(&mut absent)?;
        }
        let mut publisher = wire::client(target, fresh(), &format!("publisher-without-{number}"), 0)?;
        drain(&publisher);
        let payload = vec![b'q'; 20_000];
        for packet_id in 1..=10_000 {
            let topic = format!("queue/{}", packet_id % 100);
            publisher.write_all(&wire::publish(&topic, &payload, QoS::AtLeastOnce, false, packet_id))?;
        }
        publisher.shutdown(Shutdown::Both)
    });
}

/// They subscribe and read nothing at all.
fn slow_readers(target: SocketAddr) {
    thread::spawn(move || {
        let mut held = Vec::new();
        while held.len() < SLOW_READERS as usize {
            let number = fresh();
            let Ok(mut stream) = wire::dial(target, number, Some(4096)) else { continue };
            let mut bytes = wire::connect(&format!("slow-{number}"), 0);
            bytes.extend(wire::subscribe(&["flood".to_owned()], QoS::AtMostOnce));
            if stream.write_all(&bytes).is_ok() {
                held.push(stream);
            }
        }
        // All of them are there.
        again_and_again(2, move |number| {
            let mut publisher = wire::client(target, fresh(), &format!("flooder-{number}"), 0)?;
            drain(&publisher);
            let bytes = wire::publish("flood", &[b'f'; 4000], QoS::AtMostOnce, false, 0);
            loop {
                publisher.write_all(&bytes)?;
                thread::sleep(Duration::from_millis(1));
            }
        });
        thread::sleep(Duration::MAX);
    });
}

/// They connect, some with CONNECT and some without, and are gone or stay silent.
fn connect_floods(target: SocketAddr) {
    again_and_again(4, move |number| {
        let mut silent = Vec::new();
        for round in 0..2000 {
            let id = fresh();
            let mut stream = wire::dial(target, id, None)?;
            // A reset: the port is free again at once.
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            match round % 4 {
                0 => silent.push(stream),
                1 => stream.write_all(&wire::connect(&format!("flood-{number}-{id}"), 30)[..7])?,
                _ => stream.write_all(&wire::connect(&format!("flood-{number}-{id}"), 5))?,
            }
        }
        Ok(())
    });
}

/// As many subscriptions as they get, many of which match the same topics, and then they are gone.
fn subscribe_bombs(target: SocketAddr) {
    again_and_again(8, move |number| {
        let mut bomb = wire::client(target, fresh(), &format!("bomb-{number}-{}", fresh()), 0)?;
        drain(&bomb);
        for packet in 0..20 {
            let filter = |index: u32| {
                // Every combination of + and a level: all of them match one topic.
                let levels = (0..14).map(|bit| if index >> bit & 1 == 0 { "+".to_owned() } else { format!("l{bit}") });
                levels.collect::<Vec<_>>().join("/")
            };
            let filters: Vec<String> = (packet * 500..(packet + 1) * 500).map(filter).collect();
            bomb.write_all(&wire::subscribe(&filters, QoS::AtLeastOnce))?;
        }
        let topic = (0..14).map(|bit| format!("l{bit}")).collect::<Vec<_>>().join("/");
        for _ in 0..20 {
            bomb.write_all(&wire::publish(&topic, b"bang", QoS::AtMostOnce, false, 0))?;
        }
        thread::sleep(Duration::from_secs(1));
        bomb.shutdown(Shutdown::Both)
    });
}

/// Ever more topics with a retained message, and subscribers that want all of them, or look for one that is not there.
fn retained_sets(target: SocketAddr) {
    again_and_again(3, move |number| {
        let mut publisher = wire::client(target, fresh(), &format!("hoarder-{number}"), 0)?;
        drain(&publisher);
        let payload = [b'r'; 1000];
        loop {
            let topic = format!("hoard/{number}/{}", fresh());
            publisher.write_all(&wire::publish(&topic, &payload, QoS::AtLeastOnce, true, 1))?;
        }
    });
    again_and_again(8, move |number| {
        let mut searcher = wire::client(target, fresh(), &format!("searcher-{number}"), 0)?;
        if number % 2 == 0 {
            drain(&searcher);
        }
        for _ in 0..20 {
            let filters = ["+/+/nothing/+".to_owned(), "hoard/+/7".to_owned(), "hoard/#".to_owned()];
            searcher.write_all(&wire::subscribe(&filters, QoS::AtMostOnce))?;
            thread::sleep(Duration::from_millis(50));
        }
        searcher.shutdown(Shutdown::Both)
    });
}

/// As many open QoS 2 publishes as a client may have, of all of which none is ever released; nor is what they get.
fn unreleased(target: SocketAddr) {
    again_and_again(16, move |number| {
        let mut client = wire::client(target, fresh(), &format!("unreleased-{number}-{}", fresh()), 5)?;
        drain(&client);
        client.write_all(&wire::subscribe(&["open/#".to_owned()], QoS::ExactlyOnce))?;
        let payload = vec![b'o'; 2000];
        for packet_id in 1..=1024 {
            client.write_all(&wire::publish("open/never", &payload, QoS::ExactlyOnce, false, packet_id))?;
        }
        thread::sleep(Duration::from_millis(500));
        client.shutdown(Shutdown::Both)
    });
}

/// Everybody wants everything, and much is published.
fn storms(target: SocketAddr) {
    again_and_again(200, move |number| {
        let mut reader = wire::client(target, fresh(), &format!("everything-{number}"), 0)?;
        reader.write_all(&wire::subscribe(&["#".to_owned(), "storm/+".to_owned()], QoS::AtMostOnce))?;
        let mut buffer = vec![0; 16 << 10];
        while reader.read(&mut buffer)? > 0 {}
        Ok(())
    });
    again_and_again(4, move |number| {
        let mut publisher = wire::client(target, fresh(), &format!("storm-{number}"), 0)?;
        drain(&publisher);
        loop {
            let packets: Vec<u8> = (0..100)
                .flat_map(|_| wire::publish(&format!("storm/{}", fresh()), b"21.5", QoS::AtMostOnce, false, 0))
                .collect();
            publisher.write_all(&packets)?;
        }
    });
}

/// Messages as large as they may be, for many who do not read them.
fn large_messages(target: SocketAddr) {
    again_and_again(500, move |number| {
        let mut reader = wire::client(target, fresh(), &format!("large-{number}"), 0)?;
        reader.write_all(&wire::subscribe(&["large".to_owned()], QoS::AtMostOnce))?;
        wire::packet(&mut reader)?;
        thread::sleep(Duration::from_secs(2));
        Ok(())
    });
    again_and_again(4, move |number| {
        let mut publisher = wire::client(target, fresh(), &format!("giant-{number}"), 0)?;
        drain(&publisher);
        let bytes = wire::publish("large", &vec![b'l'; (1 << 20) - 100], QoS::AtMostOnce, false, 0);
        loop {
            publisher.write_all(&bytes)?;
        }
    });
}

fn everything(target: SocketAddr) {
    for attack in [publishers_without_readers, slow_readers, connect_floods, subscribe_bombs, retained_sets] {
        attack(target);
    }
    for attack in [unreleased, storms, large_messages] {
        attack(target);
    }
}
