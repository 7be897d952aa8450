//! Members of a cluster on a network that loses nothing: how one begins, how others come and go, what each is told.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::Path;
use std::time::{Duration, Instant};

use fulmar_codec::QoS;
use fulmar_log::Disk;
use fulmar_log::disk::{CrashKeeps, SimulatedDisk};
use fulmar_meta::{ClusterId, Command, LEVEL, Life, Member, Purpose, Reply, Start};
use fulmar_store::{Answer, Ask, Asked, ShardId, Ticket, Told, WillFate};

use super::fixture::{Heard, Said, claim, message, publish, settings as settings_alone, subscribe};
use crate::{Engine, GroupStatus, MetaEvent, MetaRefused, Mode, OpenError, Settings};

const CLUSTER: ClusterId = ClusterId(0xc1);

fn settings(id: u64) -> Settings {
    Settings { shards: NonZeroU16::new(2).unwrap(), ..Settings::of_member(id, "/data".into(), id) }
}

struct Node {
    settings: Settings,
    disk: SimulatedDisk,
    engine: Option<Engine<SimulatedDisk>>,
    heard: Heard,
}

impl Node {
    fn new(settings: Settings) -> Self {
        let disk = SimulatedDisk::new(settings.seed);
        Self { settings, disk, engine: None, heard: Heard::default() }
    }

    fn open(&mut self, now: Instant) {
        let opened = Engine::open(self.disk.clone(), self.settings.clone(), now, 1, &mut self.heard);
        self.engine = Some(opened.expect("it opens"));
    }

    fn engine(&mut self) -> &mut Engine<SimulatedDisk> {
        self.engine.as_mut().expect("it runs")
    }

    fn meta_events(&mut self) -> Vec<MetaEvent> {
        let events = std::mem::take(&mut self.heard.0).into_iter();
        let event = |said| if let Said::Meta(event) = said { Some(event) } else { None };
        events.filter_map(event).collect()
    }
}

/// Nodes by their ids, 1 and so on.
struct World {
    nodes: Vec<Node>,
    now: Instant,
    /// Of the last message that each node published to each shard.
    numbers: BTreeMap<(usize, ShardId), u64>,
}

impl World {
    fn new() -> Self {
        Self { nodes: Vec::new(), now: Instant::now(), numbers: BTreeMap::new() }
    }

    /// One node that has begun a cluster.
    fn begun(settings: Settings) -> Self {
        let mut world = Self::new();
        world.add(settings);
        let now = world.now;
        world.node(1).engine().begin_cluster(now).unwrap();
        world.pass(10);
        let shards = world.node(1).settings.shards.get();
        world.propose(Command::Bootstrap { cluster: CLUSTER, shards, first: start(1, 1) });
        world.propose(Command::Lead { leader: 1, term: 1 });
        world
    }

    fn with(count: u64) -> Self {
        let mut world = Self::begun(settings(1));
        (2..=count).for_each(|id| world.join(settings(id)));
        world.pass(10_000);
        world
    }

    fn add(&mut self, settings: Settings) {
        let mut node = Node::new(settings);
        node.open(self.now);
        self.nodes.push(node);
    }

    fn join(&mut self, settings: Settings) {
        let id = settings.node;
        self.add(settings);
        let leader = self.leader();
        let meta = self.nodes[leader].engine().meta().unwrap();
        let others: Vec<Member> = meta.view().members().collect();
        self.propose(Command::Join { cluster: CLUSTER, made_at: 1, start: start(id, 1) });
        for by in others {
            self.propose(Command::Confirm { member: Member { id, incarnation: 1 }, by });
        }
    }

    fn node(&mut self, id: usize) -> &mut Node {
        &mut self.nodes[id - 1]
    }

    fn leader(&self) -> usize {
        let leads = |node: &Node| {
            let mut statuses = node.engine.iter().flat_map(|engine| engine.group_statuses());
            statuses.next().is_some_and(|status| status.serves)
        };
        self.nodes.iter().position(leads).expect("somebody leads")
    }

    fn propose(&mut self, command: Command) {
        let (leader, now) = (self.leader(), self.now);
        let engine = self.nodes[leader].engine();
        let term = engine.group_statuses().next().unwrap().term;
        engine.propose_meta(term, command, now, 1).unwrap();
        self.pass(50);
    }

    /// Time passes, and everything that is sent comes.
    fn pass(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds.div_ceil(5) {
            self.now += Duration::from_millis(5);
            self.follow();
            while self.turn() {}
        }
    }

    /// All nodes that run are live, and each knows that.
    fn follow(&mut self) {
        let lives: Vec<_> = self.nodes.iter().filter_map(|node| Some(node.engine.as_ref()?.node())).collect();
        let (view, until) = (lives.iter().map(|life| life.incarnation).sum(), self.now + Duration::from_secs(1));
        for engine in self.nodes.iter_mut().filter_map(|node| node.engine.as_mut()) {
            engine.follow(view, lives.clone());
            engine.acknowledge_until(until);
        }
    }

    /// Whether anything was sent.
    fn turn(&mut self) -> bool {
        let mut letters = Vec::new();
        for node in &mut self.nodes {
            let Some(engine) = &mut node.engine else { continue };
            while engine.turn(self.now, 1, &mut node.heard).expect("it works") == Some(self.now) {}
            let from = node.settings.node;
            node.heard.0.retain(|said| match said {
                Said::Sent(to, letter) => {
                    letters.push((from, *to, letter.clone()));
                    false
                }
                _ => true,
            });
        }
        let has_sent = !letters.is_empty();
        for (from, to, letter) in letters {
            let now = self.now;
            let to = self.nodes.iter_mut().find(|node| node.settings.node == to);
            if let Some(engine) = to.and_then(|node| node.engine.as_mut()) {
                engine.receive(from, letter, now);
            }
        }
        has_sent
    }

    /// Asks whoever leads the shard.
    fn ask(&mut self, ask: Ask) -> Answer {
        let shard = ask.shard(self.nodes[0].settings.shards);
        let serves = |node: &Node| node.engine.as_ref().is_some_and(|engine| engine.serves(shard));
        let at = self.nodes.iter().position(serves).expect("somebody leads the shard");
        let number = matches!(ask, Ask::Publish { .. }).then(|| {
            let number = self.numbers.entry((at, shard)).or_default();
            *number += 1;
            *number
        });
        let engine = self.nodes[at].engine();
        let (origin, ticket) = (engine.node(), Ticket { thread: 0, number: 1 });
        engine.ask(Asked { origin, ticket, number, ask });
        self.pass(50);
        let answers = self.nodes[at].heard.0.iter().rev();
        let answer = |said: &Said| match said {
            Said::Told(_, _, Told::Answer { answer, .. }) => Some(answer.clone()),
            _ => None,
        };
        answers.into_iter().find_map(answer).expect("it is answered")
    }

    /// A session for which messages wait.
    fn fill(&mut self, messages: u32) {
        let Answer::Claimed(session) = self.ask(claim("sub", 1)) else { panic!("it is claimed") };
        let epoch = session.claimed.epoch;
        self.ask(subscribe("sub", epoch, "t", QoS::AtLeastOnce));
        self.ask(Ask::Disconnect { client: "sub".into(), epoch, expiry_seconds: None, will: WillFate::Keep });
        let shard = ShardId::of("sub", self.nodes[0].settings.shards);
        for number in 0..messages {
            self.ask(publish(shard, message("t", &format!("{number:0>200}"))));
        }
    }

    fn groups(&mut self, id: usize) -> Vec<u16> {
        self.node(id).engine().group_statuses().map(|status| status.group).collect()
    }
}

fn start(id: u64, incarnation: u64) -> Start {
    Start {
        member: Member { id, incarnation },
        nonce: id * 1000 + incarnation,
        name: format!("broker-{id}").into(),
        addresses: Vec::new(),
        zone: "".into(),
        level: LEVEL,
    }
}

#[test]
fn a_member_has_nothing_until_it_begins_a_cluster_and_then_everything() {
    let mut world = World::new();
    world.add(settings(1));
    world.pass(2000);
    let of = |group, voters: &[u64]| GroupStatus {
        group,
        term: voters.len() as u64,
        leader: voters.first().copied(),
        serves: !voters.is_empty(),
        applied: 0,
        committed: 0,
        voters: voters.to_vec(),
        learners: Vec::new(),
        lags: Vec::new(),
    };
    let now = world.now;
    let engine = world.node(1).engine();
    assert_eq!(engine.group_statuses().collect::<Vec<_>>(), [of(0, &[])]);
    assert_eq!((engine.meta().unwrap().cluster(), engine.is_caught_up(now)), (None, false));
    engine.begin_cluster(now).unwrap();
    world.pass(10);
    let expected = [
        MetaEvent::Role { term: 1, leader: None, leads: false },
        MetaEvent::Role { term: 1, leader: Some(1), leads: true },
        MetaEvent::Applied { index: 1, commands: Vec::new(), is_new_view: false },
    ];
    assert_eq!(world.node(1).meta_events(), expected);
    let bootstrap = Command::Bootstrap { cluster: CLUSTER, shards: 2, first: start(1, 1) };
    world.propose(bootstrap.clone());
    let commands = vec![(bootstrap, Reply::Done)];
    let expected = [MetaEvent::Applied { index: 2, commands, is_new_view: true }];
    assert_eq!(world.node(1).meta_events(), expected);
    let now = world.now;
    let engine = world.node(1).engine();
    let found: Vec<GroupStatus> = engine.group_statuses().collect();
    let applied = |group: u16| GroupStatus {
        applied: found[usize::from(group)].applied,
        committed: found[usize::from(group)].applied,
        ..of(group, &[1])
    };
    assert_eq!(found, [applied(0), applied(1), applied(2)]);
    assert!(engine.is_caught_up(now));
    assert_eq!(engine.begin_cluster(now), Err(MetaRefused::HasBegun { term: 1, last: 2 }));
}

#[test]
fn what_a_sole_member_had_is_there_when_it_opens_again() {
    let mut world = World::begun(settings(1));
    world.fill(1);
    for keeps in [CrashKeeps::Nothing, CrashKeeps::Sectors] {
        let now = world.now;
        let node = world.node(1);
        node.disk.crash(keeps);
        node.heard.0.clear();
        node.open(now);
        assert_eq!(node.engine().meta().unwrap().cluster(), Some(CLUSTER));
        assert!(node.engine().has_session("sub"));
        assert!((0..2).all(|shard| node.engine().serves(ShardId(shard))));
        let is_new = |event: &MetaEvent| matches!(event, MetaEvent::Applied { is_new_view: true, .. });
        assert_eq!(node.meta_events().iter().filter(|it| is_new(it)).count(), 1, "all of it is told again");
    }
}

#[test]
fn a_folder_stays_what_it_was_made_for() {
    let alone = Settings { node: 1, ..settings_alone(1) };
    let member = Settings { shards: alone.shards, ..settings(1) };
    for (first, second) in [(alone.clone(), member.clone()), (member, alone)] {
        let disk = SimulatedDisk::new(1);
        let open = |settings: &Settings| {
            Engine::open(disk.clone(), settings.clone(), Instant::now(), 1, &mut Heard::default()).map(drop)
        };
        open(&first).unwrap();
        let before = disk.files();
        let found = open(&second).unwrap_err();
        assert!(matches!(found, OpenError::Mode { found, wanted, .. } if (found, wanted) == (first.mode, second.mode)));
        assert_eq!(disk.files(), before, "nothing was touched");
        open(&first).unwrap();
    }
    let error = OpenError::Mode { folder: "/data".into(), found: Mode::Alone, wanted: Mode::Member };
    assert_eq!(error.to_string(), "/data was made by a node that is alone, wanted a member of a cluster");
}

#[test]
fn a_node_that_is_alone_has_no_group_0() {
    let mut world = super::fixture::World::new();
    let (now, time) = (world.now, world.time);
    let command = Command::CancelDrain { node: 1 };
    assert_eq!(world.engine.meta(), None);
    assert_eq!(world.engine.begin_cluster(now), Err(MetaRefused::Alone));
    assert_eq!(world.engine.propose_meta(1, command, now, time), Err(MetaRefused::Alone));
    assert_eq!(world.engine.read_meta(1, now), Err(MetaRefused::Alone));
    assert_eq!(world.engine.transfer_meta(1, now), Err(MetaRefused::Alone));
    assert!(world.engine.is_caught_up(now));
}

#[test]
fn a_cluster_of_another_number_of_shards_is_not_followed() {
    let mut world = World::new();
    world.add(settings(1));
    let now = world.now;
    let node = world.node(1);
    node.engine().begin_cluster(now).unwrap();
    node.engine.as_mut().unwrap().turn(now, 1, &mut node.heard).unwrap();
    let bootstrap = Command::Bootstrap { cluster: CLUSTER, shards: 3, first: start(1, 1) };
    node.engine().propose_meta(1, bootstrap, now, 1).unwrap();
    let failed = node.engine.as_mut().unwrap().turn(now, 1, &mut node.heard).unwrap_err();
    assert_eq!(failed.to_string(), "the cluster has 3 shards, wanted 2");
}

#[test]
fn what_was_decided_in_another_term_is_not_proposed() {
    let mut world = World::begun(settings(1));
    let now = world.now;
    let command = Command::CancelDrain { node: 1 };
    let refused = world.node(1).engine().propose_meta(9, command, now, 1);
    assert_eq!(refused, Err(MetaRefused::Term { found: 9, wanted: 1 }));
}

#[test]
fn a_read_is_confirmed_by_an_entry_that_is_applied() {
    let mut world = World::with(3);
    let (leader, now) = (world.leader(), world.now);
    world.nodes[leader].meta_events();
    world.nodes[leader].engine().read_meta(7, now).unwrap();
    world.pass(50);
    let index = world.nodes[leader].engine().meta().unwrap().applied();
    assert_eq!(world.nodes[leader].meta_events(), [MetaEvent::Confirmed { read: 7, index }]);
    // Nobody hears a leader that is cut off, so it gives up.
    world.nodes.iter_mut().enumerate().filter(|(at, _)| *at != leader).for_each(|(_, node)| node.engine = None);
    let now = world.now;
    world.nodes[leader].engine().read_meta(8, now).unwrap();
    world.pass(1000);
    let events = world.nodes[leader].meta_events();
    assert!(events.contains(&MetaEvent::ReadFailed { read: 8 }), "{events:?}");
    assert!(events.contains(&MetaEvent::Role { term: 1, leader: None, leads: false }), "{events:?}");
}

#[test]
fn others_get_every_shard_and_their_part_of_the_leaders() {
    let mut world = World::with(3);
    let now = world.now;
    let mut led = Vec::new();
    for id in 1..=3 {
        let engine = world.node(id).engine();
        assert!(engine.is_caught_up(now), "node {id}");
        for GroupStatus { voters, learners, serves, group, lags, leader, .. } in engine.group_statuses() {
            assert_eq!((voters, learners), (vec![1, 2, 3], Vec::new()), "group {group} at {id}");
            if serves {
                let others = (1..=3).filter(|other| *other != id as u64).map(|other| (other, 0));
                assert_eq!((lags, leader), (others.collect(), Some(id as u64)), "group {group}");
            }
            if serves && group > 0 {
                led.push(id);
            }
        }
    }
    led.dedup();
    assert_eq!(led.len(), 2, "two shards are led by two of three nodes: {led:?}");
    let meta = world.node(3).engine().meta().unwrap();
    assert!(meta.nodes().all(|(_, node)| node.life == Life::Up));
}

#[test]
fn leaders_are_there_and_spread_soon_after_all_nodes_have_stopped() {
    let mut world = World::with(3);
    let now = world.now;
    for node in &mut world.nodes {
        node.disk.crash(CrashKeeps::Nothing);
        node.open(now);
    }
    let mut waited = 0;
    let wanted: Vec<u64> = world.node(1).engine().meta().unwrap().shards().iter().map(|it| it.leader()).collect();
    let is_done = |world: &mut World| {
        let mut led = Vec::new();
        for node in &mut world.nodes {
            let serves = node.engine().group_statuses().filter(|status| status.serves && status.group > 0);
            led.extend(serves.map(|status| (status.group, status.leader)));
        }
        led.sort_unstable();
        led.iter().map(|(_, leader)| *leader).eq(wanted.iter().map(|leader| Some(*leader)))
    };
    while !is_done(&mut world) {
        waited += 5;
        assert!(waited < 3000, "leaders are not where they should be");
        world.pass(5);
    }
    println!("{waited} ms");
}

/// A cluster of one with a log that is gone.
fn with_snapshots() -> World {
    let mut settings = settings(1);
    (settings.snapshot_log_bytes, settings.snapshot_portion_bytes, settings.log_tail_bytes) = (3000, 1000, 500);
    let mut world = World::begun(settings);
    world.fill(60);
    assert!(world.node(1).engine().counts().snapshots > 0);
    world
}

#[test]
fn who_comes_when_the_log_is_gone_gets_a_snapshot() {
    let mut world = with_snapshots();
    world.join(settings(2));
    world.pass(5000);
    assert_eq!(world.node(2).engine().counts().snapshots_received, 1);
    assert!(world.node(1).engine().counts().snapshots_sent >= 1);
    assert_eq!(world.groups(2), [0, 1, 2]);
    let queued: Vec<u64> = (1..=2).map(|id| world.node(id).engine().counts().queued).collect();
    assert_eq!(queued, [60, 60]);
    let names = world.node(2).disk.list(Path::new("/data")).unwrap();
    assert!(!names.iter().any(|name| name.ends_with(".received")), "{names:?}");
}

#[test]
fn a_crash_at_any_sync_of_a_received_snapshot_loses_nothing() {
    for keeps in [CrashKeeps::Nothing, CrashKeeps::Prefix, CrashKeeps::Sectors] {
        let mut crashed = 0;
        for crash_at in 1..40 {
            let mut world = with_snapshots();
            world.join(settings(2));
            world.node(2).disk.fail_sync(crash_at);
            let mut has_failed = false;
            for _ in 0..2000 {
                world.now += Duration::from_millis(5);
                let now = world.now;
                let node = world.node(2);
                if node.engine.as_mut().unwrap().turn(now, 1, &mut node.heard).is_err() {
                    has_failed = true;
                    node.disk.crash(keeps);
                    node.heard.0.clear();
                    node.open(now);
                }
                let letters: Vec<Said> = node.heard.0.extract_if(.., |it| matches!(it, Said::Sent(..))).collect();
                for said in letters {
                    if let Said::Sent(1, letter) = said {
                        world.node(1).engine().receive(2, letter, now);
                    }
                }
                let node = world.node(1);
                node.engine.as_mut().unwrap().turn(now, 1, &mut node.heard).unwrap();
                let letters: Vec<Said> = node.heard.0.extract_if(.., |it| matches!(it, Said::Sent(..))).collect();
                for said in letters {
                    if let Said::Sent(2, letter) = said {
                        world.node(2).engine().receive(1, letter, now);
                    }
                }
                if world.node(2).engine().counts().queued == 60 && world.node(2).engine().is_caught_up(now) {
                    break;
                }
            }
            crashed += u64::from(has_failed);
            assert_eq!(world.node(2).engine().counts().queued, 60, "{keeps:?} {crash_at}");
        }
        assert!(crashed > 20, "only {crashed} syncs");
    }
}

#[test]
fn a_node_that_leaves_keeps_nothing_and_does_not_begin_again_what_it_began_once() {
    let mut world = World::with(4);
    world.propose(Command::Drain { node: 1, purpose: Purpose::Leave });
    world.pass(20_000);
    assert_eq!(world.groups(1), [0]);
    let now = world.now;
    let node = world.node(1);
    node.disk.crash(CrashKeeps::Nothing);
    node.open(now);
    world.pass(2000);
    assert_eq!(world.groups(1), [0], "the entry that began the shards here was read again");
    for id in 2..=4 {
        assert_eq!(world.groups(id), [0, 1, 2]);
    }
    // It may have them again.
    world.propose(Command::CancelDrain { node: 1 });
    world.pass(20_000);
    let shards: usize = (1..=4).map(|id| world.groups(id).len() - 1).sum();
    assert_eq!(shards, 6, "two shards of three replicas");
    let now = world.now;
    assert!((1..=4).all(|id| world.node(id).engine().is_caught_up(now)));
}

#[test]
fn a_node_that_is_to_restart_gives_its_leaders_away_and_keeps_its_replicas() {
    let mut world = World::with(3);
    let leader = world.leader() + 1;
    world.propose(Command::Drain { node: leader as u64, purpose: Purpose::Restart });
    world.pass(3000);
    assert_ne!(world.leader() + 1, leader);
    let statuses: Vec<GroupStatus> = world.node(leader).engine().group_statuses().collect();
    assert_eq!(statuses.len(), 3);
    assert!(statuses.iter().all(|status| !status.serves && status.voters == [1, 2, 3]), "{statuses:?}");
}

#[test]
fn the_next_life_has_a_higher_number_whatever_the_cluster_knows() {
    let mut world = World::begun(settings(1));
    let engine = world.node(1).engine();
    let lives: Vec<u64> = [0, 7].into_iter().map(|above| engine.begin_life(above).unwrap().incarnation).collect();
    assert_eq!(lives, [2, 8]);
    assert_eq!(world.node(1).engine().node(), fulmar_store::Node { id: 1, incarnation: 8 });
    let now = world.now;
    let node = world.node(1);
    node.disk.crash(CrashKeeps::Nothing);
    node.open(now);
    assert_eq!(node.engine().node().incarnation, 9);
}

#[test]
fn what_the_life_before_had_claimed_is_served_by_nobody() {
    let mut world = World::begun(settings(1));
    world.ask(claim("sub", 1));
    let now = world.now;
    let node = world.node(1);
    node.engine.as_mut().unwrap().begin_life(0).unwrap();
    world.pass(50);
    let engine = world.node(1).engine.as_ref().unwrap();
    let sessions: Vec<_> = engine.replicas.iter().filter_map(|it| it.shard.session("sub")).collect();
    assert_eq!(sessions.iter().map(|it| it.owner).collect::<Vec<_>>(), [None]);
    assert!(engine.replicas.iter().all(|it| it.owned.is_empty()), "{now:?}");
}

#[test]
fn nobody_gives_up_a_vote_for_one_who_is_down() {
    let mut world = World::with(3);
    let leader = world.leader() + 1;
    let [down, leaving] = [1, 2, 3].into_iter().filter(|id| *id != leader).collect::<Vec<_>>()[..] else {
        unreachable!("two of three do not lead")
    };
    world.node(down).engine = None;
    world.pass(1000);
    world.propose(Command::Drain { node: leaving as u64, purpose: Purpose::Leave });
    world.pass(5000);
    let voters = |world: &mut World| -> Vec<Vec<u64>> {
        let statuses = world.node(leader).engine().group_statuses();
        statuses.map(|status| status.voters).collect()
    };
    assert_eq!(voters(&mut world), vec![vec![1, 2, 3]; 3], "with two voters of whom one is down nobody could decide");
    let now = world.now;
    world.node(down).open(now);
    world.pass(10_000);
    let mut stay = vec![leader as u64, down as u64];
    stay.sort_unstable();
    assert_eq!(voters(&mut world), vec![stay; 3]);
    assert_eq!(world.groups(leaving), [0]);
}

#[test]
fn shards_begin_when_the_disk_has_room_for_them() {
    let mut has_begun_without_shards = false;
    for room in (100..600).step_by(20) {
        let mut world = World::new();
        world.add(settings(1));
        let now = world.now;
        world.node(1).engine().begin_cluster(now).unwrap();
        world.pass(10);
        let node = world.node(1);
        node.disk.set_capacity(Some(node.disk.used() + room));
        world.propose(Command::Bootstrap { cluster: CLUSTER, shards: 2, first: start(1, 1) });
        let has_begun = world.node(1).engine().meta().unwrap().cluster().is_some();
        has_begun_without_shards |= has_begun && world.groups(1) == [0];
        world.node(1).disk.set_capacity(None);
        world.pass(1000);
        assert_eq!(world.groups(1), [0, 1, 2], "with room for {room} bytes");
    }
    assert!(has_begun_without_shards, "the entry never fits where the shards do not");
}

#[test]
fn a_node_without_room_for_a_snapshot_gets_it_when_there_is() {
    let mut world = with_snapshots();
    world.join(settings(2));
    let node = world.node(2);
    node.disk.set_capacity(Some(node.disk.used() + 2500));
    world.pass(3000);
    assert_eq!(world.node(2).engine().counts().snapshots_received, 0);
    world.node(2).disk.set_capacity(None);
    world.pass(20_000);
    assert_eq!(world.node(2).engine().counts().queued, 60);
}
