//! The actors of a run: each kind of client that the cluster makes a promise to.

use std::sync::Arc;

use fulmar_codec::{QoS, Version};

use crate::Actor;
use crate::actor::plan::{Leaves, Millis, Plan, Publishes, Roams};
use crate::actor::player::Player;
use crate::client::{Identity, Memory, Shared};
use crate::history::ActorId;
use crate::random::{Chance, Random};

const BOTH: [QoS; 2] = [QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Whoever watches wills: it must not miss any.
const WILLS: &str = "will/#";

/// The actors of a run. Their numbers are their places. At `pace` 100 each publisher has about ten messages for a second;
/// at another one so many of 100 of that.
pub fn crew(seed: u64, pace: u64) -> Vec<Box<dyn Actor>> {
    let mut crew = Crew { random: Random::new(seed), pace: pace.max(1), players: Vec::new() };
    crew.gather();
    crew.players.into_iter().map(|player| Box::new(player) as Box<dyn Actor>).collect()
}

struct Crew {
    random: Random,
    pace: u64,
    players: Vec<Player>,
}

fn filters(filters: &[(&str, QoS)]) -> Vec<(Arc<str>, QoS)> {
    filters.iter().map(|(filter, qos)| ((*filter).into(), *qos)).collect()
}

fn topics(topics: &[&str]) -> Vec<Arc<str>> {
    topics.iter().map(|topic| (*topic).into()).collect()
}

impl Crew {
    fn gather(&mut self) {
        self.watcher();
        self.publishers();
        self.subscribers();
        self.retainers();
        self.mortals();
        self.groups();
        self.rivals();
        self.beginners();
    }

    /// Adds one with a client identifier and a memory of its own.
    fn add(&mut self, name: &str, version: Version, expiry_seconds: Option<u32>, receive_maximum: u16, plan: Plan) {
        self.add_as(name, name, version, expiry_seconds, receive_maximum, plan, Memory::shared());
    }

    #[expect(clippy::too_many_arguments, reason = "what makes an actor")]
    fn add_as(
        &mut self,
        name: &str,
        client_id: &str,
        version: Version,
        expiry_seconds: Option<u32>,
        receive_maximum: u16,
        plan: Plan,
        memory: Shared,
    ) {
        let id = ActorId(u32::try_from(self.players.len()).expect("there are few actors"));
        let (name, client_id) = (name.to_owned(), client_id.into());
        let identity = Identity { id, name, client_id, version, expiry_seconds, receive_maximum };
        let random = self.random.branch();
        self.players.push(Player::new(identity, plan, memory, random));
    }

    fn version(&mut self) -> Version {
        self.random.pick(&[Version::V311, Version::V5])
    }

    fn publishes(&mut self, to: &[&str], qos: &[QoS]) -> Option<Publishes> {
        let (least, most) = (2000 / self.pace, 18_000 / self.pace);
        Some(Publishes {
            topics: topics(to),
            qos: qos.to_vec(),
            pause: least..=most,
            window: 1 + self.random.index(8),
            retain: false,
            delete_percent: 0,
            large_percent: 3,
        })
    }

    fn roams(&mut self, stays: Millis, is_away: Millis, goodbye_percent: u64) -> Option<Roams> {
        Some(Roams { stays, is_away, goodbye_percent })
    }

    /// Is always there, so that whatever happened to others shows.
    fn watcher(&mut self) {
        let subscribes = filters(&[(WILLS, QoS::ExactlyOnce), ("a/#", QoS::ExactlyOnce)]);
        self.add("watcher", Version::V5, None, 100, Plan { subscribes, ..Plan::default() });
    }

    /// Publishers with sessions that outlive connections, and without.
    fn publishers(&mut self) {
        let to = ["a/0", "a/1", "a/2"];
        for (name, expiry, qos) in [
            ("pub-q1", None, &BOTH[..1]),
            ("pub-q2", None, &BOTH[1..]),
            ("pub-both", None, &BOTH[..]),
            ("pub-live", Some(0), &BOTH[..]),
        ] {
            let version = self.version();
            let roams = self.roams(1000..=15_000, 10..=2000, 50).filter(|_| self.random.percent(60));
            let publishes = self.publishes(&to, qos);
            self.add(name, version, expiry, 20, Plan { publishes, roams, ..Plan::default() });
        }
    }

    /// Subscribers of the same, who come and go.
    fn subscribers(&mut self) {
        for (name, filter, qos, receive_maximum) in [
            ("sub-q2", "a/#", QoS::ExactlyOnce, 100),
            ("sub-q1", "a/+", QoS::AtLeastOnce, 10),
            ("sub-narrow", "a/0", QoS::ExactlyOnce, 1 + self.random.below(3) as u16),
        ] {
            let version = self.version();
            let holds = Some((self.random.index(30), 5..=1500)).filter(|_| self.random.percent(70));
            let roams = self.roams(300..=6000, 10..=6000, 40);
            let subscribes = filters(&[(filter, qos)]);
            let plan = Plan { subscribes, holds, roams, ..Plan::default() };
            self.add(name, version, None, receive_maximum, plan);
        }
        for (name, filter, qos) in [("live-q2", "a/#", QoS::ExactlyOnce), ("live-q1", "a/1", QoS::AtLeastOnce)] {
            let version = self.version();
            let roams = self.roams(500..=12_000, 10..=1000, 50);
            let subscribes = filters(&[(filter, qos)]);
            self.add(name, version, Some(0), 50, Plan { subscribes, roams, ..Plan::default() });
        }
        for (name, expiry) in [("fickle-live", Some(0)), ("fickle", None)] {
            let version = self.version();
            let subscribes = filters(&[("a/0", QoS::ExactlyOnce), ("a/2", QoS::AtLeastOnce)]);
            let roams = self.roams(4000..=20_000, 10..=1000, 50);
            let plan = Plan { subscribes, roams, resubscribes: Some(50..=2500), ..Plan::default() };
            self.add(name, version, expiry, 30, plan);
        }
    }

    /// Who sets what is retained, and who reads it.
    fn retainers(&mut self) {
        for (name, own) in [("setter-0", "r/0"), ("setter-1", "r/1")] {
            let version = self.version();
            // Few of each, so that what a reader misses is not made good by what comes next.
            let mut to: Vec<String> = (0..10).map(|topic| format!("{own}/{topic}")).collect();
            to.push("r/both".to_owned());
            let to: Vec<&str> = to.iter().map(String::as_str).collect();
            let publishes = self.publishes(&to, &BOTH);
            let publishes = publishes.map(|it| Publishes { retain: true, window: 1, delete_percent: 15, ..it });
            self.add(name, version, None, 20, Plan { publishes, ..Plan::default() });
        }
        for (name, expiry) in [("reader-0", Some(0)), ("reader-1", Some(0)), ("reader-durable", None)] {
            let version = self.version();
            let subscribes = filters(&[("r/#", QoS::AtLeastOnce)]);
            let roams = self.roams(100..=8000, 10..=500, 50);
            let reads_last = expiry == Some(0);
            self.add(name, version, expiry, 50, Plan { subscribes, roams, reads_last, ..Plan::default() });
        }
    }

    /// Who leaves a will.
    fn mortals(&mut self) {
        for (name, version, expiry, delay_seconds) in [
            ("mortal-live", Version::V311, Some(0), 0),
            ("mortal-v5", Version::V5, Some(0), 0),
            ("mortal-durable", Version::V5, None, 0),
            ("mortal-delayed", Version::V5, None, 2),
        ] {
            let topic = format!("will/{name}").into();
            let will = Some(Leaves { topic, qos: QoS::ExactlyOnce, delay_seconds });
            let roams = self.roams(500..=6000, 10..=6000, 40);
            // What it is sent shows that it is served.
            let subscribes = filters(&[("a/1", QoS::AtLeastOnce)]);
            self.add(name, version, expiry, 20, Plan { will, roams, subscribes, ..Plan::default() });
        }
    }

    /// Shared subscriptions, one of sessions that outlive connections and one of such that don't.
    fn groups(&mut self) {
        let publishes = self.publishes(&["s/0", "s/1"], &BOTH);
        self.add("sharing", Version::V5, None, 20, Plan { publishes, ..Plan::default() });
        for (group, expiry, members) in [("kept", None, 3), ("live", Some(0), 2)] {
            for member in 0..members {
                let version = self.version();
                let subscribes = filters(&[(&format!("$share/{group}/s/#"), QoS::ExactlyOnce)]);
                let holds = Some((self.random.index(10), 5..=500));
                let roams = self.roams(1000..=10_000, 10..=3000, 40);
                let plan = Plan { subscribes, holds, roams, ..Plan::default() };
                self.add(&format!("share-{group}-{member}"), version, expiry, 20, plan);
            }
        }
    }

    /// Two connections with one client identifier.
    fn rivals(&mut self) {
        let memory = Memory::shared();
        for (name, receive_maximum) in [("rival-wide", 40), ("rival-narrow", 2)] {
            let subscribes = filters(&[("a/0", QoS::AtLeastOnce), ("a/1", QoS::ExactlyOnce)]);
            let holds = Some((30, 200..=2000));
            let roams = self.roams(3000..=20_000, 300..=2500, 20);
            let publishes = self.publishes(&["b/0"], &BOTH);
            let will = Leaves { topic: "will/rival".into(), qos: QoS::ExactlyOnce, delay_seconds: 1 };
            let will = Some(will).filter(|_| self.random.percent(50));
            let plan = Plan { subscribes, holds, roams, publishes, will, takes_over: true, ..Plan::default() };
            self.add_as(name, "rival", Version::V5, None, receive_maximum, plan, memory.clone());
        }
        let subscribes = filters(&[("b/#", QoS::ExactlyOnce)]);
        self.add("sub-rival", Version::V5, None, 30, Plan { subscribes, ..Plan::default() });
    }

    /// Whose sessions end: by a clean start, and with time.
    fn beginners(&mut self) {
        for (name, expiry, clean_percent) in [("beginner", None, 40), ("short-lived", Some(2), 0)] {
            let subscribes = filters(&[("a/#", QoS::ExactlyOnce)]);
            let roams = self.roams(1000..=6000, 10..=8000, 30);
            let plan = Plan { subscribes, roams, clean_percent, ..Plan::default() };
            self.add(name, Version::V5, expiry, 20, plan);
        }
    }
}
