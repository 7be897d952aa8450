//! Two nodes in memory, whose letters come at once unless a test loses them.

use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use fulmar_codec::QoS;
use fulmar_log::disk::{CrashKeeps, SimulatedDisk};
use fulmar_member::{Found, Link};
use fulmar_meta::{ClusterId, Moment, View};
use fulmar_store::{Answer, Ask, Message, Node, Published, Recipients, Reply, ShardId, Ticket, Told, Version};

use crate::node::member;
use crate::{Channel, Clock, Envelope, Out, Settings, StoreNode};

/// What a node has said in a turn.
#[derive(Default)]
struct Said {
    letters: Vec<(u64, Channel, Vec<u8>)>,
    told: Vec<Told>,
    view: Option<u64>,
    serves: Option<bool>,
}

impl Out for Said {
    fn tell(&mut self, _thread: u16, told: Told) {
        self.told.push(told);
    }

    fn interest(&mut self, _: ShardId, _: Option<&str>, _: &str, _: bool) {}

    fn retained(&mut self, _: &str, _: Option<&Message>, _: Version) {}

    fn send(&mut self, to: u64, channel: Channel, letter: Vec<u8>) {
        self.letters.push((to, channel, letter));
    }

    fn follow(&mut self, view: &View) {
        self.view = Some(view.number);
    }

    fn acknowledge(&mut self, _: Option<Moment>) {}

    fn serve(&mut self, serves: bool) {
        self.serves = Some(serves);
    }

    fn begin_life(&mut self, _: Node) {}
}

type Kind = fn(&Envelope) -> bool;

struct World {
    start: Instant,
    millis: u64,
    disks: [SimulatedDisk; 2],
    nodes: [StoreNode<SimulatedDisk>; 2],
    told: [Vec<Told>; 2],
    serves: [bool; 2],
    /// Kinds of letters that are lost, by who sends them.
    loses: Option<(usize, Kind)>,
    /// What was written, by whom.
    written: Vec<(usize, Envelope)>,
}

fn settings(id: u64, nonce: u64) -> Settings {
    let mut engine = fulmar_store_raft::Settings::of_member(id, format!("/{id}").into(), id);
    engine.shards = NonZeroU16::new(4).unwrap();
    Settings {
        engine,
        member: fulmar_member::Settings::default(),
        courier: fulmar_courier::Settings::default(),
        desk: fulmar_courier::DeskSettings::default(),
        nonce,
        name: format!("broker-{id}").into(),
        addresses: vec![format!("broker-{id}:7800").into()],
        zone: "".into(),
        cluster_id: None,
        begins: (id == 1).then_some(ClusterId(7)),
    }
}

impl World {
    /// Two nodes that serve.
    fn new() -> Self {
        let start = Instant::now();
        let clock = clock_at(start, 0);
        let disks = [1, 2].map(SimulatedDisk::new);
        let nodes = [0, 1].map(|at| open(&disks, at, NONCES[at], &clock));
        let (told, written) = Default::default();
        let mut world = Self { start, millis: 0, disks, nodes, told, serves: [false; 2], loses: None, written };
        world.connect();
        while world.serves != [true; 2] || world.shard_led_by(1).is_none() {
            world.pass(Duration::from_millis(50));
            assert!(world.millis < 60_000, "the nodes do not come to serve");
        }
        world.written.clear();
        world
    }

    fn connect(&mut self) {
        for at in 0..2 {
            let other = self.nodes[1 - at].node();
            [Channel::Control, Channel::Bulk].into_iter().for_each(|channel| self.nodes[at].connected(other, channel));
        }
    }

    /// The process of a node dies, and the next begins.
    fn restart(&mut self, at: usize, nonce: u64) {
        self.disks[at].crash(CrashKeeps::Nothing);
        self.nodes[at] = open(&self.disks, at, nonce, &self.clock());
        self.written.clear();
        self.connect();
    }

    fn clock(&self) -> Clock {
        clock_at(self.start, self.millis)
    }

    fn shard_led_by(&self, at: usize) -> Option<ShardId> {
        let node = &self.nodes[at];
        (0..node.shards().get()).map(ShardId).find(|shard| {
            let led = node.engine().leads(*shard).is_some();
            led && self.nodes[1 - at].engine().leader(*shard) == Some(node.node().id)
        })
    }

    fn pass(&mut self, time: Duration) {
        self.millis += u64::try_from(time.as_millis()).unwrap();
        let lives = [0, 1].map(|at| self.nodes[at].node());
        let clock = self.clock();
        for at in 0..2 {
            let other = member(lives[1 - at]);
            self.nodes[at].links(&[Link { member: other, is_live: true, is_level: true, hears: true }], &clock);
            let found = [lives[at], lives[1 - at]]
                .map(|life| Found { address: life.id.to_string().into(), node: Some(member(life)) });
            self.nodes[at].discovered(&found, true, &clock);
        }
        self.run();
    }

    /// Turns until nobody has anything to say.
    fn run(&mut self) {
        let clock = self.clock();
        for _ in 0..1000 {
            let mut is_quiet = true;
            for at in 0..2 {
                let mut said = Said::default();
                self.nodes[at].turn(&clock, &mut said).unwrap();
                let Said { letters, told, view, serves } = said;
                self.told[at].extend(told);
                self.serves[at] = serves.unwrap_or(self.serves[at]);
                is_quiet &= letters.is_empty() && view.is_none();
                if let Some(view) = view {
                    self.nodes[at].followed(view, &clock);
                }
                let from = self.nodes[at].node();
                for (to, channel, bytes) in letters {
                    let envelope = Envelope::decode(&bytes).unwrap();
                    assert_eq!((to, channel), (self.nodes[1 - at].node().id, envelope.channel()));
                    let is_lost = self.loses.is_some_and(|(of, what)| of == at && what(&envelope));
                    self.written.push((at, envelope));
                    if !is_lost {
                        self.nodes[1 - at].letter(from, &bytes, &clock).unwrap();
                    }
                }
            }
            if is_quiet {
                return;
            }
        }
        panic!("they never stop: {:?}", self.written.last());
    }

    fn asks(&self) -> usize {
        self.written.iter().filter(|(at, envelope)| *at == 0 && matches!(envelope, Envelope::Ask(_))).count()
    }
}

const NONCES: [u64; 2] = [101, 102];

fn open(disks: &[SimulatedDisk; 2], at: usize, nonce: u64, clock: &Clock) -> StoreNode<SimulatedDisk> {
    let settings = settings(1 + at as u64, nonce);
    let opened = StoreNode::open(disks[at].clone(), settings, clock, &mut Said::default());
    opened.map_err(|stopped| stopped.to_string()).unwrap()
}

fn clock_at(start: Instant, millis: u64) -> Clock {
    let passed = Duration::from_millis(millis);
    Clock { now: start + passed, moment: Moment(Duration::from_secs(3600) + passed), time: 1_000_000 + millis }
}

fn is_answer(envelope: &Envelope) -> bool {
    matches!(envelope, Envelope::Answer(letter) if !letter.lines.is_empty())
}

/// The reader of a new connection may hear of it before the writer does, who goes on writing to the one before.
#[test]
fn what_was_answered_into_a_connection_that_is_no_more_is_asked_again_when_the_next_one_stands() {
    let mut world = World::new();
    let shard = world.shard_led_by(1).unwrap();
    let message = Message::new("a", QoS::AtLeastOnce, b"1", b"");
    let published = Published { message, retain: None, to: Recipients::Matching { publisher: None } };
    let ticket = Ticket { thread: 0, number: 7 };
    let (asker, answerer) = (world.nodes[0].node(), world.nodes[1].node());

    world.nodes[0].reset(answerer, Channel::Bulk);
    world.loses = Some((1, is_answer));
    world.nodes[0].ask(ticket, Ask::Publish { shard, published }, world.clock().now).unwrap();
    world.run();
    assert_eq!((world.asks(), world.told[0].len()), (1, 0), "the answer went with the old connection");
    assert!(world.written.iter().any(|(at, envelope)| *at == 1 && is_answer(envelope)));

    world.loses = None;
    world.run();
    assert_eq!(world.asks(), 1, "nobody knows that it was lost");
    world.nodes[1].connected(asker, Channel::Bulk);
    world.run();
    assert!(world.asks() > 1);
    let [Told::Answer { number: 7, answer: Answer::Reply(Reply::Published { .. }) }] = &world.told[0][..] else {
        panic!("{:?}", world.told[0])
    };
}

#[test]
fn a_process_says_nothing_in_the_groups_of_shards_before_its_life_is_committed() {
    let mut world = World::new();
    world.restart(1, 7);
    let speaks = |(at, envelope): &(usize, Envelope)| match envelope {
        Envelope::Engine(letter) if letter.is_of_shard() => Some(*at),
        _ => None,
    };
    let nonce = |world: &World| world.nodes[1].engine().meta().unwrap().node(2).map(|node| node.nonce);
    let mut rounds = 0;
    while nonce(&world) != Some(7) {
        world.written.clear();
        world.pass(Duration::from_millis(50));
        let is_committed = nonce(&world) == Some(7);
        let speakers: Vec<usize> = world.written.iter().filter_map(speaks).collect();
        assert!(is_committed || !speakers.contains(&1), "round {rounds}");
        rounds += 1;
        assert!(rounds < 1000, "its life is never committed");
    }
    assert!(rounds > 40, "the life before has to end: {rounds}");
    let has_copies = |world: &World| {
        let groups = world.nodes[1].engine().group_statuses().filter(|status| status.leader.is_some()).count();
        groups > 1
    };
    while !has_copies(&world) {
        world.pass(Duration::from_millis(50));
        assert!(world.millis < 120_000, "it never takes part");
    }
    assert!(world.written.iter().filter_map(speaks).any(|at| at == 1));
}
