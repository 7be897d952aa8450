//! Two nodes, each with one of the two shards, and what their engines do for data threads of the other one.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fulmar_codec::{PacketId, QoS};
use fulmar_log::disk::{CrashKeeps, SimulatedDisk};
use fulmar_store::{
    Ack, Answer, Ask, Asked, Destination, ItemReply, Node, Published, Recipients, Refusal, Reply, ShardId, Stored,
    Ticket, Told, Will, WillFate,
};

use super::fixture::*;
use crate::{Engine, Letter, Settings};

const SHARDS: u16 = 2;

struct Side {
    settings: Settings,
    disk: SimulatedDisk,
    engine: Engine<SimulatedDisk>,
    heard: Heard,
}

struct Two {
    sides: [Side; 2],
    now: Instant,
    time: u64,
    asked: u64,
    /// No letter comes.
    is_cut: bool,
}

/// A name of a client whose session is at a node.
fn at(side: u16, name: &str) -> String {
    let shards = NonZeroU16::new(SHARDS).unwrap();
    (0..).map(|it| format!("{name}{it}")).find(|it| ShardId::of(it, shards) == ShardId(side)).unwrap()
}

/// Decides alone in the group of the shard of its own, as if the other node had no copy of it.
fn open(
    side: u16,
    settings: &Settings,
    disk: &SimulatedDisk,
    now: Instant,
    time: u64,
) -> (Engine<SimulatedDisk>, Heard) {
    let mut heard = Heard::default();
    let mut engine = Engine::open(disk.clone(), settings.clone(), now, time, &mut heard).expect("it opens");
    engine.settings.voters = vec![NODE, NODE + 1];
    engine.replicas.retain(|replica| replica.id == ShardId(side));
    (engine, heard)
}

impl Two {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl Fn(&mut Settings)) -> Self {
        let (now, time) = (Instant::now(), 1_000_000);
        let sides = [0, 1].map(|side| {
            let seed = 1 + u64::from(side);
            let mut settings = Settings {
                shards: NonZeroU16::new(SHARDS).unwrap(),
                ..Settings::new(NODE + u64::from(side), PathBuf::from("/data"), seed)
            };
            change(&mut settings);
            let disk = SimulatedDisk::new(seed);
            let (engine, _) = open(side, &settings, &disk, now, time);
            Side { settings, disk, engine, heard: Heard::default() }
        });
        let mut two = Self { sides, now, time, asked: 0, is_cut: false };
        two.follow(1, &[0, 1]);
        two.settle();
        two
    }

    fn node(&self, side: usize) -> Node {
        self.sides[side].engine.node()
    }

    /// Both follow a view with these.
    fn follow(&mut self, view: u64, members: &[usize]) {
        let members: Vec<Node> = members.iter().map(|side| self.node(*side)).collect();
        for side in &mut self.sides {
            side.engine.follow(view, members.clone());
            side.engine.acknowledge_until(self.now + Duration::from_secs(3600));
        }
    }

    fn restart(&mut self, side: u16, keeps: CrashKeeps) {
        let it = &mut self.sides[usize::from(side)];
        it.disk.crash(keeps);
        (it.engine, it.heard) = open(side, &it.settings, &it.disk, self.now, self.time);
    }

    /// Turns and carries letters until nothing more is to be done at once.
    fn settle(&mut self) {
        for _ in 0..200 {
            let mut is_busy = false;
            for side in 0..2 {
                let Side { engine, heard, .. } = &mut self.sides[side];
                let Ok(next) = engine.turn(self.now, self.time, heard) else { continue };
                is_busy |= next == Some(self.now);
                let sent: Vec<(u64, Letter)> = heard
                    .0
                    .extract_if(.., |said| matches!(said, Said::Sent(..)))
                    .filter_map(|said| if let Said::Sent(to, letter) = said { Some((to, letter)) } else { None })
                    .collect();
                for (to, letter) in sent.into_iter().filter(|_| !self.is_cut) {
                    let mut bytes = Vec::new();
                    letter.append_to(&mut bytes);
                    let other = usize::try_from(to - NODE).unwrap();
                    let letter = Letter::decode(&bytes).expect("what was written can be read");
                    self.sides[other].engine.receive(NODE + side as u64, letter, self.now);
                    is_busy = true;
                }
            }
            if !is_busy {
                return;
            }
        }
        panic!("they never come to rest");
    }

    fn pass(&mut self, duration: Duration) {
        self.now += duration;
        self.time += u64::try_from(duration.as_millis()).unwrap();
        self.settle();
    }

    /// A data thread of `from` asks the engine of `to`. Returns the number of the question.
    fn ask_only(&mut self, from: Node, to: usize, number: Option<u64>, ask: Ask) -> u64 {
        self.asked += 1;
        let ticket = Ticket { thread: 3, number: self.asked };
        self.sides[to].engine.ask(Asked { origin: from, ticket, number, ask });
        self.asked
    }

    fn ask(&mut self, from: Node, to: usize, number: Option<u64>, ask: Ask) -> Option<Answer> {
        let question = self.ask_only(from, to, number, ask);
        self.settle();
        self.answer_to(from, to, question)
    }

    /// The answer, if there is one, which goes where the question came from.
    fn answer_to(&mut self, from: Node, to: usize, question: u64) -> Option<Answer> {
        let is_it = |said: &Said| matches!(said, Said::Told(.., Told::Answer { number, .. }) if *number == question);
        let heard = &mut self.sides[to].heard.0;
        match heard.remove(heard.iter().position(is_it)?) {
            Said::Told(to, 3, Told::Answer { answer, .. }) if to == from => Some(answer),
            other => panic!("{other:?} is no answer to {from}"),
        }
    }

    /// Claims a session for a data thread of `from`. Returns the epoch.
    fn claim(&mut self, from: Node, to: usize, name: &str, slot: u32) -> u64 {
        match self.ask(from, to, None, claim(name, slot)) {
            Some(Answer::Claimed(session)) => session.claimed.epoch,
            other => panic!("{other:?}"),
        }
    }

    fn subscribe(&mut self, from: Node, to: usize, name: &str, epoch: u64, filter: &str) {
        let answer = self.ask(from, to, None, subscribe(name, epoch, filter, QoS::ExactlyOnce));
        assert_eq!(answer, Some(Answer::Reply(Reply::Subscribed(vec![Ok(true)]))));
    }

    /// What a data thread of a node was sent for a place, by an engine, which goes.
    fn delivered(&mut self, from: usize, node: Node, slot: u32) -> Vec<String> {
        let mut all = Vec::new();
        self.sides[from].heard.0.retain(|said| match said {
            Said::Told(to, _, Told::Deliver { owner, deliveries, .. }) if (*to, owner.slot) == (node, slot) => {
                all.extend(deliveries.iter().cloned());
                false
            }
            _ => true,
        });
        payloads(&all)
    }

    /// The filters that a node was told of, which go.
    fn interest(&mut self, side: usize) -> Vec<(u16, String, bool)> {
        let is_interest = |said: &mut Said| matches!(said, Said::Interest(..));
        let all = self.sides[side].heard.0.extract_if(.., is_interest);
        let shown = all.filter_map(|said| match said {
            Said::Interest(shard, None, filter, begins) => Some((shard.0, filter, begins)),
            _ => None,
        });
        shown.collect()
    }
}

fn published(queued: u32, expected: u64) -> Option<Answer> {
    let items = vec![ItemReply::Stored(Stored { queued, ..Stored::default() })];
    Some(Answer::Reply(Reply::Published { items, expected }))
}

fn refused(refusal: Refusal) -> Option<Answer> {
    Some(Answer::Reply(Reply::Refused(refusal)))
}

#[test]
fn a_session_is_served_at_another_node_from_its_claim_on() {
    let mut two = Two::new();
    let (name, other) = (at(0, "c"), two.node(1));
    let epoch = two.claim(other, 0, &name, 7);
    two.subscribe(other, 0, &name, epoch, "t");
    assert_eq!(two.ask(other, 0, Some(1), publish(ShardId(0), message("t", "x"))), published(1, 2));
    assert_eq!(two.delivered(0, other, 7), ["x"]);
    // Somebody else takes over, at the leader's own node.
    let me = two.node(0);
    let next = two.claim(me, 0, &name, 8);
    let told = Said::Told(other, 0, Told::TakenOver { owner: owner(7), epoch });
    assert!(two.sides[0].heard.0.contains(&told) && next > epoch);
}

#[test]
fn a_shard_that_has_no_copy_here_is_led_by_whoever_fed_its_filters() {
    let mut two = Two::new();
    assert_eq!(two.sides[0].engine.leader(ShardId(1)), Some(NODE + 1));
    let (me, ask) = (two.node(0), publish(ShardId(1), message("t", "x")));
    assert_eq!(two.ask(me, 0, Some(1), ask), Some(Answer::NotLeader { leader: Some(NODE + 1) }));
}

#[test]
fn a_node_numbers_what_it_publishes_and_is_told_what_is_wanted() {
    let mut two = Two::new();
    let other = two.node(1);
    let ask = |payload: &str| publish(ShardId(0), message("t", payload));
    let gap = |found, expected| refused(Refusal::OutOfOrder { found, expected });
    let before = |expected| Some(Answer::Reply(Reply::Published { items: vec![ItemReply::DoneBefore], expected }));
    assert_eq!(two.ask(other, 0, Some(2), ask("2")), gap(2, 1));
    assert_eq!(two.ask(other, 0, Some(1), ask("1")), published(0, 2));
    assert_eq!(two.ask(other, 0, Some(1), ask("1")), before(2));
    // What is on its way counts, and is answered as often as it was asked.
    let questions = [2, 2, 3, 5].map(|number| two.ask_only(other, 0, Some(number), ask("x")));
    two.settle();
    let answers = questions.map(|question| two.answer_to(other, 0, question));
    assert_eq!(answers, [published(0, 3), before(4), published(0, 4), gap(5, 4)]);
    // The streams of different nodes are different ones.
    let me = two.node(0);
    assert_eq!(two.ask(me, 0, Some(1), ask("1")), published(0, 2));
}

#[test]
fn whoever_is_not_live_is_not_heard() {
    let mut two = Two::new();
    let (name, other) = (at(0, "c"), two.node(1));
    let epoch = two.claim(other, 0, &name, 7);
    let ask = || publish(ShardId(0), message("t", "x"));
    assert_eq!(two.ask(other, 0, Some(1), ask()), published(0, 2));
    two.follow(2, &[0]);
    two.settle();
    let shard = &two.sides[0].engine.replicas[0].shard;
    assert!(shard.is_gone(other) && shard.session(&name).is_some_and(|it| it.owner.is_none() && it.epoch == epoch));
    assert_eq!(two.ask(other, 0, Some(2), ask()), refused(Refusal::NodeGone(other)));
    let next = Node { incarnation: other.incarnation + 1, ..other };
    assert_eq!(two.ask(next, 0, Some(1), ask()), Some(Answer::Unavailable), "it is not in the view yet");
    two.sides[0].engine.follow(3, vec![two.node(0), next]);
    assert_eq!(two.ask(next, 0, Some(1), ask()), published(0, 2));
}

#[test]
fn a_life_that_left_before_this_leader_knew_of_it_is_gone_once_the_leader_is_surely_live() {
    let mut two = Two::new();
    let (name, other) = (at(0, "c"), two.node(1));
    two.claim(other, 0, &name, 7);
    two.restart(0, CrashKeeps::Nothing);
    let me = two.node(0);
    two.sides[0].engine.follow(9, vec![me]);
    two.settle();
    assert!(!two.sides[0].engine.replicas[0].shard.is_gone(other), "it may have joined without this node knowing");
    two.sides[0].engine.acknowledge_until(two.now + Duration::from_secs(2));
    two.settle();
    assert!(two.sides[0].engine.replicas[0].shard.is_gone(other));
}

#[test]
fn nothing_is_delivered_to_a_node_that_was_lost_before_the_session_is_attached_again() {
    let mut two = Two::with(|settings| settings.unacknowledged_bytes_max = 4);
    let (name, other) = (at(0, "c"), two.node(1));
    let epoch = two.claim(other, 0, &name, 7);
    two.subscribe(other, 0, &name, epoch, "t");
    for (number, payload) in (1..).zip(["a", "b", "c", "d"]) {
        two.ask(other, 0, Some(number), publish(ShardId(0), message("t", payload)));
    }
    assert_eq!(two.delivered(0, other, 7), ["a", "b"], "as much as may be unacknowledged");
    two.sides[0].engine.lost(NODE + 1);
    let ack = |sequence| Ask::Acknowledge { client: client(&name), epoch, acks: vec![(sequence, Ack::Ack)] };
    assert!(two.ask(other, 0, None, ack(0)).is_some());
    assert_eq!(two.delivered(0, other, 7), [""; 0]);
    let attach = |next, epoch| Ask::Attach { owner: owner(9), client: client(&name), epoch, next };
    // What was sent before and is not acknowledged counts.
    assert_eq!(two.ask(other, 0, None, attach(2, epoch)), Some(Answer::Reply(Reply::Attached)));
    assert_eq!(two.delivered(0, other, 9), ["c"]);
    assert_eq!(two.ask(other, 0, None, attach(2, epoch)), Some(Answer::Reply(Reply::Attached)), "it came twice");
    assert_eq!(two.delivered(0, other, 9), [""; 0]);
    assert!(two.ask(other, 0, None, ack(1)).is_some());
    assert_eq!(two.delivered(0, other, 9), ["d"]);
    // Only the owner may.
    let me = two.node(0);
    let answer = two.ask(me, 0, None, attach(0, epoch));
    assert_eq!(answer, refused(Refusal::NotOwned { epoch }));
    let answer = two.ask(other, 0, None, attach(0, epoch + 1));
    assert_eq!(answer, refused(Refusal::Epoch { found: epoch + 1, current: epoch }));
}

#[test]
fn parts_of_a_message_come_once_though_the_leader_stops_between_them() {
    let mut stopped = 0;
    for crash_at in 1..8 {
        let mut two = Two::with(|settings| {
            settings.entry_targets_max = 2;
            settings.raft.uncommitted_entries_max = 1;
        });
        let other = two.node(1);
        let names: Vec<String> = (0..5).map(|it| at(0, &format!("c{it}-"))).collect();
        for (slot, name) in (1..).zip(names.iter().rev()) {
            let epoch = two.claim(other, 0, name, slot);
            two.subscribe(other, 0, name, epoch, "t");
        }
        two.sides[0].disk.fail_sync(crash_at);
        let ask = || publish(ShardId(0), message("t", "x"));
        let question = two.ask_only(other, 0, Some(1), ask());
        two.settle();
        if two.answer_to(other, 0, question).is_none() {
            two.restart(0, CrashKeeps::Nothing);
            two.follow(2, &[0, 1]);
            two.settle();
            stopped += usize::from(
                two.sides[0].engine.replicas[0].shard.came_until(fulmar_store::Party::Node(other)).is_some(),
            );
            assert!(matches!(two.ask(other, 0, Some(1), ask()), Some(Answer::Reply(Reply::Published { .. }))));
        }
        let shard = &two.sides[0].engine.replicas[0].shard;
        let queued: Vec<_> = names.iter().map(|name| shard.session(name).map(|session| session.queued)).collect();
        assert_eq!(queued, [Some(1); 5], "crash at {crash_at}");
    }
    assert_eq!(stopped, 2, "after the first part and after the second");
}

#[test]
fn subscribe_is_answered_when_the_other_node_knows_or_is_not_live() {
    let mut two = Two::new();
    let (name, me) = (at(0, "c"), two.node(0));
    let epoch = two.claim(me, 0, &name, 7);
    two.is_cut = true;
    let question = two.ask_only(me, 0, None, subscribe(&name, epoch, "a/+", QoS::AtLeastOnce));
    two.settle();
    assert_eq!((two.interest(0), two.interest(1)), (vec![(0, "a/+".to_owned(), true)], vec![]));
    assert_eq!(two.answer_to(me, 0, question), None);
    two.is_cut = false;
    two.pass(Duration::from_secs(1));
    assert_eq!(two.interest(1), [(0, "a/+".to_owned(), true)]);
    let subscribed = Some(Answer::Reply(Reply::Subscribed(vec![Ok(true)])));
    assert_eq!(two.answer_to(me, 0, question), subscribed);
    // The next one leaves the view first.
    two.is_cut = true;
    let question = two.ask_only(me, 0, None, subscribe(&name, epoch, "b", QoS::AtLeastOnce));
    two.pass(Duration::from_secs(1));
    assert_eq!(two.answer_to(me, 0, question), None);
    two.follow(2, &[0]);
    two.settle();
    assert_eq!(two.answer_to(me, 0, question), subscribed);
}

#[test]
fn subscribe_is_not_answered_by_a_leader_that_may_not_be_live() {
    let mut two = Two::new();
    let (name, me) = (at(0, "c"), two.node(0));
    let epoch = two.claim(me, 0, &name, 7);
    two.pass(Duration::from_secs(3600));
    let question = two.ask_only(me, 0, None, subscribe(&name, epoch, "a", QoS::AtLeastOnce));
    two.settle();
    assert_eq!(two.answer_to(me, 0, question), None);
    two.sides[0].engine.acknowledge_until(two.now + Duration::from_secs(2));
    two.settle();
    assert!(two.answer_to(me, 0, question).is_some());
}

#[test]
fn answers_that_wait_for_others_are_bounded() {
    let mut two = Two::with(|settings| settings.asks_max = 3);
    let (name, me) = (at(0, "c"), two.node(0));
    let epoch = two.claim(me, 0, &name, 7);
    two.is_cut = true;
    let mut answered = Vec::new();
    for number in 0..5 {
        let ask = subscribe(&name, epoch, &number.to_string(), QoS::AtLeastOnce);
        answered.push(two.ask(me, 0, None, ask));
    }
    assert_eq!(answered, [None, None, None, Some(Answer::Unavailable), Some(Answer::Unavailable)]);
    let counts = two.sides[0].engine.counts();
    assert_eq!((counts.held, counts.asks_refused), (3, 2));
}

#[test]
fn a_node_that_joins_asks_for_all_filters_and_is_told_by_those_who_lead() {
    let mut two = Two::new();
    let (name, me) = (at(0, "c"), two.node(0));
    let epoch = two.claim(me, 0, &name, 7);
    for filter in ["a", "b"] {
        two.subscribe(me, 0, &name, epoch, filter);
    }
    two.restart(1, CrashKeeps::Nothing);
    assert!(!two.sides[1].engine.are_feeds_complete());
    two.follow(2, &[0, 1]);
    two.settle();
    assert!(!two.sides[1].engine.are_feeds_complete(), "nobody has asked");
    two.is_cut = true;
    two.sides[1].engine.ask_for_feeds();
    two.settle();
    assert!(!two.sides[1].engine.are_feeds_complete());
    two.is_cut = false;
    two.pass(Duration::from_secs(1));
    assert!(two.sides[1].engine.are_feeds_complete());
    assert_eq!(two.interest(1), [(0, "a".to_owned(), true), (0, "b".to_owned(), true)]);
}

#[test]
fn what_one_shard_has_for_another_reaches_it_at_the_other_node_once() {
    let mut two = Two::with(|settings| settings.entry_bytes_max = 300);
    let (publisher, subscriber, me, other) = (at(0, "p"), at(1, "s"), two.node(0), two.node(1));
    let epoch = two.claim(other, 1, &subscriber, 1);
    two.subscribe(other, 1, &subscriber, epoch, "t");
    let epoch = two.claim(me, 0, &publisher, 2);
    let payloads: Vec<String> = (1..=9).map(|it| format!("{it}{}", "x".repeat(100))).collect();
    two.is_cut = true;
    for (packet_id, payload) in (1..).zip(&payloads) {
        let to = Recipients::Matching { publisher: Some(client(&publisher)) };
        let published = Published { message: message_of(QoS::ExactlyOnce, "t", payload), retain: None, to };
        let ask = Ask::ReceiveQos2 {
            client: client(&publisher),
            epoch,
            packet_id: PacketId::new(packet_id).unwrap(),
            published,
            destinations: Destination::subscribers_of(&[ShardId(1)]),
        };
        assert!(two.ask(me, 0, None, ask).is_some());
    }
    // The first batch was lost, and the receiver stops in between.
    let Side { engine, heard, .. } = &mut two.sides[0];
    let next = engine.turn(two.now, two.time, heard).unwrap();
    assert!(next.is_some_and(|next| next > two.now), "who waits for an answer waits");
    two.is_cut = false;
    two.pass(Duration::from_secs(2));
    two.restart(1, CrashKeeps::Nothing);
    two.follow(2, &[0, 1]);
    for _ in 0..20 {
        two.pass(Duration::from_secs(1));
    }
    assert_eq!(two.sides[0].engine.replicas[0].shard.destinations().count(), 0, "what came is forgotten");
    let other = two.node(1);
    two.claim(other, 1, &subscriber, 3);
    assert_eq!(two.delivered(1, other, 3), payloads);
}

/// The wills that a node told its data threads of.
fn wills(two: &mut Two, side: usize) -> Vec<u64> {
    let said = std::mem::take(&mut two.sides[side].heard.0);
    let will = |said: &Said| match said {
        Said::Told(_, _, Told::Will { id, .. }) => Some(*id),
        _ => None,
    };
    said.iter().filter_map(will).collect()
}

#[test]
fn a_will_is_told_by_a_leader_that_knows_for_whom_it_is() {
    let mut two = Two::new();
    let (name, node) = (at(0, "w"), two.node(0));
    two.is_cut = true;
    let Ask::Claim { owner, mut claim } = claim(&name, 1) else { unreachable!("a claim is one") };
    claim.will = Some(Will { message: message("will", "9"), delay_seconds: 0 });
    let claimed = two.ask(node, 0, None, Ask::Claim { owner, claim });
    let Some(Answer::Claimed(session)) = claimed else { panic!("{claimed:?}") };
    let epoch = session.claimed.epoch;
    let leave = Ask::Disconnect { client: client(&name), epoch, expiry_seconds: None, will: WillFate::Fire };
    assert!(matches!(two.ask(node, 0, None, leave), Some(Answer::Reply(Reply::Disconnected { .. }))));
    // It has just been started: the other shard has filters of which it was not told.
    assert_eq!(wills(&mut two, 0), []);
    two.sides[0].engine.ask_for_feeds();
    two.settle();
    assert_eq!(wills(&mut two, 0), []);

    // Others may have left it out meanwhile, and have not waited for it.
    let lease = Duration::from_secs(3600);
    two.now += lease;
    two.is_cut = false;
    two.settle();
    assert!(two.sides[0].engine.are_feeds_complete());
    assert_eq!(wills(&mut two, 0), []);

    let until = two.now + lease;
    two.sides[0].engine.acknowledge_until(until);
    two.settle();
    assert_eq!(wills(&mut two, 0), [1]);
    two.pass(Duration::from_secs(1));
    assert_eq!(wills(&mut two, 0), []);
}
