//! What it costs to judge: `cargo run --release -p fulmar-auth --example measure_auth`.
//!
//! Times are the best of several rounds. Passwords are verified by one thread and then by two at once, because memory
//! is shared, in time on a processor, because others may be at work; from the latter follows how long two cores need for
//! 10,000 clients after a restart. Parts of names run only those scenarios.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use fulmar_auth::access::AccessList;
use fulmar_auth::cache::{Decisions, TOPICS_MAX};
use fulmar_auth::hooks::{Client, Hooks};
use fulmar_auth::passwords::{Argon2idParams, Hash, Scratch, hash_password};
use fulmar_auth::verified::{FingerprintKey, Verified};
use fulmar_auth::{AccessFile, AccessLimits};
use fulmar_codec::{Publish, PublishProperties, QoS, TopicLimits, parse_filter};

const ROUNDS: usize = 5;
const CLIENTS: u32 = 10_000;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let scenarios: [(&str, fn()); 6] = [
        ("passwords", all_passwords),
        ("verified passwords", verified),
        ("decisions", decisions),
        ("access list", || [100, 1000].into_iter().for_each(access)),
        ("access list of sites", sites),
        ("hooks", hooks),
    ];
    for (name, run) in scenarios {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            println!("{name}");
            run();
        }
    }
}

fn all_passwords() {
    for (memory_kib, passes) in [(7168, 5), (9216, 4), (12_288, 3), (19_456, 2), (47_104, 1)] {
        let params = Argon2idParams { memory_kib, passes, lanes: 1 };
        let text = hash_password(b"correct horse", params, &[7; 16]).expect("the parameters are allowed");
        passwords(&format!("argon2id m={memory_kib},t={passes},p=1"), &text);
    }
    let tail = format!("AAAAAAAAAAAAAAAA${}==", "A".repeat(86));
    passwords("$7$ of 101 iterations", &format!("$7$101${tail}"));
    passwords("$7$ of 250,000 iterations", &format!("$7$250000${tail}"));
    passwords("$6$", &format!("$6${tail}"));
}

fn passwords(name: &str, text: &str) {
    let hash = Hash::parse(text).expect("it is a hash");
    let verify = || {
        let mut scratch = Scratch::default();
        let mut spent = f64::INFINITY;
        // The first run finds the memory new.
        for _ in 0..10 {
            let before = on_processor();
            black_box(hash.verify(black_box(b"correct horse"), &mut scratch));
            spent = spent.min(on_processor() - before);
        }
        spent
    };
    let one = verify();
    let two = std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(verify));
        threads.map(|thread| thread.join().expect("it only computes")).into_iter().fold(0.0, f64::max)
    });
    let all = two * f64::from(CLIENTS) / 2.0;
    println!("  {name}: {:.3} ms, two at once {:.3} ms each; {CLIENTS} clients {all:.1} s", one * 1e3, two * 1e3);
}

/// The seconds that this thread has been on a processor, as Linux counts them.
fn on_processor() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts the time of threads");
    let nanoseconds = text.split(' ').next().and_then(|text| text.parse::<f64>().ok());
    nanoseconds.expect("the first number is nanoseconds") / 1e9
}

fn verified() {
    let key = FingerprintKey::new([7; 32]);
    let text = hash_password(b"correct horse", Argon2idParams::default(), &[7; 16]).expect("the defaults are allowed");
    let hash = Hash::parse(&text).expect("it is a hash");
    let users: Vec<String> = (0..CLIENTS).map(|number| format!("user-{number}")).collect();
    let mut verified = Verified::new(200_000);
    for user in &users {
        verified.insert(key.of(user, &hash, b"correct horse"));
    }
    let mut next = users.iter().cycle();
    let time = best(100_000, || {
        let user = next.next().expect("a cycle has no end");
        assert!(verified.holds(&key.of(user, &hash, b"correct horse")));
    });
    println!("  found again {time:.1?}");
}

fn decisions() {
    let topics: Vec<String> = (0..TOPICS_MAX).map(|number| format!("devices/sensor-0042/channels/{number}")).collect();
    for count in [1, TOPICS_MAX] {
        let mut decisions = Decisions::default();
        let mut next = topics[..count].iter().cycle();
        let time = best(1_000_000, || {
            let topic = next.next().expect("a cycle has no end");
            assert!(black_box(decisions.decide(1, black_box(topic), || true)));
        });
        println!("  known, 1 of {count} topics {time:.1?}");
    }
    let mut decisions = Decisions::default();
    let many: Vec<String> = (0..1000).map(|number| format!("devices/sensor-0042/channels/{number}")).collect();
    let mut next = many.iter().cycle();
    let time = best(100_000, || {
        let topic = next.next().expect("a cycle has no end");
        black_box(decisions.decide(1, black_box(topic), || true));
    });
    println!("  unknown, 1 of 1,000 topics {time:.1?}");
}

fn access(rules: usize) {
    let mut text = String::from("rules:\n");
    for number in 0..rules {
        text += &format!("- {{deny: publish, filters: [\"devices/+/channels/n{number}/#\"]}}\n");
    }
    text += "- {allow: all, filters: [\"devices/${clientid}/#\"]}\n";
    let list = AccessFile::parse(&text, AccessLimits::default()).expect("the file is right").list;
    let topic = "devices/sensor-0042/channels/x";
    let time = best(100_000, || {
        assert!(black_box(list.rights("sensor-0042", Some("alice")).may_publish(black_box(topic))));
    });
    println!("  may publish, the last of {rules} rules decides {time:.1?}");
    let time = best(100_000, || {
        assert!(black_box(list.rights("sensor-0042", Some("alice")).may_subscribe(black_box("devices/sensor-0042/#"))));
    });
    println!("  may subscribe, the last of {rules} rules decides {time:.1?}");

    let users: String = (0..rules)
        .map(|number| format!("- {{allow: all, users: [u{number}], filters: [\"u/{number}/#\"]}}\n"))
        .collect();
    let list = AccessFile::parse(&format!("rules:\n{users}"), AccessLimits::default()).expect("the file is right").list;
    let time = best(100_000, || {
        assert!(black_box(list.rights("sensor-0042", Some("u42")).may_publish(black_box("u/42/x"))));
    });
    println!("  may publish, each of {rules} rules for one user {time:.1?}");
}

/// The rules that the broker is measured with, of which the last lets the client pass.
fn sites() {
    let mut text = String::from("rules:\n");
    for site in 1..=33 {
        text += &format!(
            "- {{allow: publish, filters: [\"sites/{site}/${{clientid}}/#\", \"sites/{site}/state/${{username}}\"]}}\n\
             - {{allow: subscribe, filters: [\"sites/{site}/commands/${{clientid}}\", \"sites/{site}/+/alarm\"]}}\n\
             - {{deny: all, filters: [\"sites/{site}/locked/#\"]}}\n"
        );
    }
    text += "- {allow: all, users: [alice], filters: [\"#\"]}\n";
    let list = AccessFile::parse(&text, AccessLimits::default()).expect("the file is right").list;
    for (name, list) in [("100 rules", list), ("no rules", AccessList::allow_all())] {
        let rights = || list.rights("sensor-0042", Some("alice"));
        for topic in ["r/123/abc", "sites/7/x/y"] {
            let time = best(1_000_000, || assert!(black_box(rights().may_publish(black_box(topic)))));
            println!("  {name}, may publish to {topic} {time:.1?}");
        }
        for filter in ["s/1/+", "sites/7/x/y"] {
            let parsed = parse_filter(filter, TopicLimits::default()).expect("it is a filter");
            let time = best(1_000_000, || assert!(black_box(rights().may_subscribe_to(black_box(&parsed)))));
            println!("  {name}, may subscribe to {filter} {time:.1?}");
        }
    }
}

fn hooks() {
    let hooks = black_box(Hooks::default());
    let properties = PublishProperties::default();
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "t",
        packet_id: None,
        properties,
        payload: b"",
    };
    let client = || Client { client_id: "m1", username: None, address: IpAddr::V4(Ipv4Addr::LOCALHOST) };
    let time = nanoseconds(10_000_000, || {
        black_box(black_box(&hooks).publish(client, black_box(&publish)).is_ok());
    });
    println!("  publish without a hook {time:.2} ns");
    let time = nanoseconds(10_000_000, || {
        black_box(black_box(&publish));
    });
    println!("  the same loop without asking {time:.2} ns");
}

/// The time of one run, in the best of several rounds of so many.
fn best(runs: u32, run: impl FnMut()) -> Duration {
    Duration::from_secs_f64(nanoseconds(runs, run) / 1e9)
}

/// The same as a number, which can be less than one.
fn nanoseconds(runs: u32, mut run: impl FnMut()) -> f64 {
    let round = |_| {
        let began = Instant::now();
        (0..runs).for_each(|_| run());
        began.elapsed().as_secs_f64() * 1e9 / f64::from(runs)
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}
