//! What a courier does, one thing at a time.

use std::time::{Duration, Instant};

use fulmar_store::{
    Ack, Answer, Ask, Claimed, Delivery, ItemReply, Node, OwnedSession, Owner, Refusal, Reply, ShardId, Stored, Ticket,
    Told, WillFate,
};

use super::simulation::shard::{SHARDS, claim, client_of, message};
use crate::{AnswerLetter, AskLetter, Asking, Courier, Output, Settings, Written};
use fulmar_store::{Published, Recipients};

const ME: Node = Node { id: 1, incarnation: 5 };
const SHARD: ShardId = ShardId(0);
const OWNER: Owner = Owner { thread: 1, slot: 70, generation: 9 };

struct World {
    courier: Courier,
    start: Instant,
    now: Instant,
    last_ticket: u64,
}

impl World {
    /// A courier that knows of a leader, node 2, and can reach it and node 3.
    fn new(settings: Settings) -> Self {
        let mut courier = Courier::new(settings, ME, SHARDS);
        courier.set_replicas(SHARD, vec![2, 3]);
        courier.heard_of_leader(SHARD, Some(2));
        courier.connected(2);
        courier.connected(3);
        let start = Instant::now();
        Self { courier, start, now: start, last_ticket: 0 }
    }

    fn try_ask(&mut self, ask: Ask) -> Result<(), Box<Ask>> {
        self.last_ticket += 1;
        self.courier.ask(Ticket { thread: 1, number: self.last_ticket }, ask, self.now)
    }

    fn ask(&mut self, ask: Ask) {
        self.try_ask(ask).unwrap();
    }

    fn out(&mut self) -> Vec<Output> {
        let mut out = Vec::new();
        self.courier.turn(self.now, &mut out);
        self.courier.check();
        out
    }

    fn wait(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }

    fn hear(&mut self, written: Written) {
        self.courier.receive(AnswerLetter { to: ME, lines: vec![(SHARD, written)] }, self.now);
    }

    fn told(&mut self, told: Told) {
        self.hear(Written::Told(told));
    }

    fn answer(&mut self, ticket: u64, answer: Answer) {
        self.told(Told::Answer { number: ticket, answer });
    }

    fn welcome(&mut self, run: u64) {
        self.hear(Written::Welcome { run, term: 40 + run });
    }

    /// The run begins, and the first letter of it is this.
    fn begin(&mut self, to: u64, run: u64) -> Vec<Asking> {
        assert_eq!(self.out(), [letter(to, run, None, vec![])]);
        self.welcome(run);
        self.sent(to, run)
    }

    fn sent(&mut self, to: u64, run: u64) -> Vec<Asking> {
        let mut asks = Vec::new();
        for output in self.out() {
            let Output::Send { to: found, letter } = output else { panic!("{output:?}") };
            assert_eq!((found, letter.from, letter.shard, letter.run), (to, ME, SHARD, run));
            assert_eq!(letter.term, Some(40 + run));
            asks.extend(letter.asks);
        }
        asks
    }

    /// A session that is claimed in the first run. Its claim is the first ask.
    fn serve(&mut self) {
        self.ask(Ask::Claim { owner: OWNER, claim: claim(client_of(SHARD, 0)) });
        let asks = self.begin(2, 1);
        let [Asking { ticket, ask: Ask::Claim { claim, .. }, .. }] = &asks[..] else { panic!("{asks:?}") };
        assert_eq!((claim.node, claim.nonce), (ME, 1));
        self.answer(*ticket, owned());
        assert_eq!(self.out(), [answered(1, owned())]);
    }
}

fn letter(to: u64, run: u64, term: Option<u64>, asks: Vec<Asking>) -> Output {
    Output::Send { to, letter: AskLetter { from: ME, shard: SHARD, run, term, asks } }
}

fn answered(number: u64, answer: Answer) -> Output {
    Output::Tell { thread: 1, told: Told::Answer { number, answer } }
}

fn asking(ticket: u64, number: u64, ask: Ask) -> Asking {
    Asking { ticket, number: Some(number), ask }
}

/// What an ask is called in a run.
fn ticket(id: u64, run: u64) -> u64 {
    id << 16 | run
}

fn publish(payload: u64) -> Ask {
    let to = Recipients::Matching { publisher: None };
    Ask::Publish { shard: SHARD, published: Published { message: message(payload), retain: None, to } }
}

fn empty() -> Ask {
    let message = fulmar_store::Message::new("", fulmar_codec::QoS::AtLeastOnce, b"", b"");
    let to = Recipients::Nobody;
    Ask::Publish { shard: SHARD, published: Published { message, retain: None, to } }
}

fn stored() -> Answer {
    Answer::Reply(Reply::Published { items: vec![ItemReply::Stored(Stored::default())], expected: 2 })
}

fn owned() -> Answer {
    let claimed = Claimed { epoch: 6, generation: 6, present: false, took_over: None, sent_until: 0 };
    Answer::Claimed(Box::new(OwnedSession { claimed, subscriptions: Vec::new(), received: Vec::new() }))
}

/// As a leader knows the session with that attachment.
fn wire(attachment: u32) -> Owner {
    Owner { thread: SHARD.0, slot: 1, generation: attachment }
}

fn deliver(owner: Owner, sequences: std::ops::Range<u64>) -> Told {
    let delivery = |sequence| Delivery {
        sequence,
        packet_id: fulmar_codec::PacketId::new(1).unwrap(),
        qos: fulmar_codec::QoS::AtLeastOnce,
        retain: false,
        subscription_ids: [].into(),
        message: Some(message(sequence)),
    };
    Told::Deliver { owner, epoch: 6, deliveries: sequences.map(delivery).collect() }
}

fn attach(attachment: u32, next: u64) -> Ask {
    Ask::Attach { owner: wire(attachment), client: client_of(SHARD, 0), epoch: 6, next }
}

#[test]
fn what_was_asked_of_a_leader_that_is_none_goes_to_the_next_with_the_same_numbers() {
    let mut world = World::new(Settings::default());
    (1..4).for_each(|payload| world.ask(publish(payload)));
    let first = |run| (1..4).map(|id| asking(ticket(id, run), id, publish(id))).collect::<Vec<_>>();
    assert_eq!(world.begin(2, 1), first(1));
    // The first was stored, and the others met somebody who leads no more.
    world.answer(ticket(1, 1), stored());
    world.answer(ticket(2, 1), Answer::NotLeader { leader: Some(3) });
    world.answer(ticket(3, 1), Answer::NotLeader { leader: Some(3) });
    world.ask(publish(4));
    assert_eq!(world.out(), [answered(1, stored()), letter(3, 2, None, vec![])]);
    world.welcome(2);
    let again: Vec<_> = (2..5).map(|id| asking(ticket(id, 2), id, publish(id))).collect();
    assert_eq!(world.sent(3, 2), again);
    // An answer of the earlier run is as good as one of this; each is told once.
    world.answer(ticket(2, 1), stored());
    world.answer(ticket(2, 2), stored());
    world.answer(ticket(4, 2), stored());
    world.answer(ticket(3, 2), stored());
    assert_eq!(world.out(), [answered(2, stored()), answered(4, stored()), answered(3, stored())]);
    assert_eq!(world.courier.counts().asks, 0);
}

#[test]
fn a_missing_number_makes_all_go_again_at_once_from_there() {
    let mut world = World::new(Settings::default());
    (1..4).for_each(|payload| world.ask(publish(payload)));
    world.begin(2, 1);
    let refusal = |found| Answer::Reply(Reply::Refused(Refusal::OutOfOrder { found, expected: 2 }));
    world.answer(ticket(1, 1), stored());
    world.answer(ticket(3, 1), refusal(3));
    assert_eq!(world.out(), [answered(1, stored()), letter(2, 2, None, vec![])]);
    // A refusal of the earlier run that comes late begins no third.
    world.answer(ticket(2, 1), refusal(2));
    world.welcome(2);
    let again: Vec<_> = (2..4).map(|id| asking(ticket(id, 2), id, publish(id))).collect();
    assert_eq!(world.sent(2, 2), again);
}

#[test]
fn where_nobody_is_known_to_lead_replicas_are_asked_in_turn_and_hints_are_followed() {
    let mut world = World::new(Settings::default());
    world.courier.heard_of_leader(SHARD, None);
    world.ask(publish(1));
    assert_eq!(world.out(), [letter(2, 1, None, vec![])]);
    world.hear(Written::Refused { run: 1, leader: None });
    assert_eq!(world.out(), []);
    assert_eq!(world.courier.next_deadline(), Some(world.start + Duration::from_millis(20)));
    world.wait(20);
    assert_eq!(world.out(), [letter(3, 2, None, vec![])]);
    world.hear(Written::Refused { run: 2, leader: Some(2) });
    world.wait(40);
    assert_eq!(world.begin(2, 3), [asking(ticket(1, 3), 1, publish(1))]);
    // This node leads now, and its engine says so.
    world.courier.heard_of_leader(SHARD, Some(1));
    assert_eq!(world.begin(1, 4), [asking(ticket(1, 4), 1, publish(1))]);
}

#[test]
fn a_connection_that_breaks_makes_all_go_again() {
    let mut world = World::new(Settings::default());
    world.ask(publish(1));
    world.begin(2, 1);
    world.courier.disconnected(2, world.now);
    assert_eq!(world.begin(3, 2), [asking(ticket(1, 2), 1, publish(1))]);
    // Letters of somebody who is not asked are of no interest.
    world.courier.reset(2);
    world.courier.connected(2);
    assert_eq!(world.out(), []);
    world.courier.reset(3);
    assert_eq!(world.begin(3, 3), [asking(ticket(1, 3), 1, publish(1))]);
    world.courier.connected(3);
    assert_eq!(world.begin(3, 4), [asking(ticket(1, 4), 1, publish(1))]);
}

#[test]
fn no_more_is_on_its_way_than_allowed_and_letters_are_no_larger() {
    let bytes = crate::weight::of_ask(&publish(1));
    let settings = Settings { in_flight_bytes_max: 3 * bytes, letter_bytes_max: 2 * bytes, ..Settings::default() };
    let mut world = World::new(settings);
    (1..6).for_each(|payload| world.ask(publish(payload)));
    assert_eq!(world.out(), [letter(2, 1, None, vec![])]);
    world.welcome(1);
    let sent = |ids: std::ops::Range<u64>| ids.map(|id| asking(ticket(id, 1), id, publish(id))).collect::<Vec<_>>();
    assert_eq!(world.out(), [letter(2, 1, Some(41), sent(1..3)), letter(2, 1, Some(41), sent(3..4))]);
    assert_eq!(world.out(), []);
    world.answer(ticket(2, 1), stored());
    assert_eq!(world.out(), [answered(2, stored()), letter(2, 1, Some(41), sent(4..5))]);
}

#[test]
fn what_does_not_fit_is_given_back_and_nothing_is_too_large_alone() {
    let bytes = crate::weight::of_ask(&publish(1));
    for settings in [
        Settings { shard_asks_max: 2, ..Settings::default() },
        Settings { asks_max: 2, ..Settings::default() },
        Settings { shard_bytes_max: 2 * bytes, ..Settings::default() },
        Settings { bytes_max: 2 * bytes, ..Settings::default() },
    ] {
        let mut world = World::new(settings);
        world.ask(publish(1));
        world.ask(publish(2));
        assert_eq!(world.try_ask(publish(3)), Err(Box::new(publish(3))));
        assert_eq!(world.courier.counts().refused, 1);
        world.begin(2, 1);
        world.answer(ticket(1, 1), stored());
        assert_eq!(world.try_ask(publish(3)), Ok(()));
    }
    let mut world = World::new(Settings { bytes_max: 1, shard_bytes_max: 1, ..Settings::default() });
    world.ask(publish(1));
    assert!(world.try_ask(publish(2)).is_err());
}

#[test]
fn a_publish_that_nobody_waits_for_keeps_its_number_and_its_message_only_if_it_may_be_stored() {
    let bytes = crate::weight::of_ask(&publish(1));
    let mut world = World::new(Settings { in_flight_bytes_max: bytes, ..Settings::default() });
    world.ask(publish(1));
    world.ask(publish(2));
    world.begin(2, 1);
    world.wait(9_999);
    assert_eq!(world.out(), []);
    assert_eq!(world.courier.next_deadline(), Some(world.start + Duration::from_secs(10)));
    world.wait(1);
    assert_eq!(world.out(), [answered(1, Answer::Unavailable), answered(2, Answer::Unavailable)]);
    world.answer(ticket(1, 1), stored());
    assert_eq!(world.sent(2, 1), [asking(ticket(2, 1), 2, empty())]);
    world.answer(ticket(2, 1), stored());
    let counts = world.courier.counts();
    assert_eq!((counts.asks, counts.bytes, counts.given_up), (0, 0, 2));
}

#[test]
fn a_publish_that_is_refused_leaves_its_number_to_an_empty_one() {
    let mut world = World::new(Settings::default());
    world.ask(publish(1));
    world.ask(publish(2));
    world.begin(2, 1);
    let refused = Answer::Reply(Reply::Refused(Refusal::Bound(fulmar_store::Bound::Nodes)));
    world.answer(ticket(1, 1), refused.clone());
    assert_eq!(world.out(), [answered(1, refused)]);
    world.wait(20);
    let again = [asking(ticket(1, 2), 1, empty()), asking(ticket(2, 2), 2, publish(2))];
    assert_eq!(world.begin(2, 2), again);
    world.answer(ticket(1, 2), stored());
    world.answer(ticket(2, 2), stored());
    assert_eq!(world.out(), [answered(2, stored())]);
}

#[test]
fn what_must_be_done_is_never_given_up_and_what_a_client_asks_again_is_dropped() {
    let mut world = World::new(Settings::default());
    let client = client_of(SHARD, 0);
    let acknowledge = Ask::Acknowledge { client: client.clone(), epoch: 3, acks: vec![(0, Ack::Ack)] };
    let release = Ask::Release { client: client.clone(), epoch: 3, packet_id: fulmar_codec::PacketId::new(1).unwrap() };
    let disconnect = Ask::Disconnect { client: client.clone(), epoch: 3, expiry_seconds: None, will: WillFate::Keep };
    let unsubscribe = Ask::Unsubscribe { client, epoch: 3, filters: vec!["t".into()] };
    let all = [acknowledge, release, disconnect, unsubscribe];
    all.clone().into_iter().for_each(|ask| world.ask(ask));
    world.begin(2, 1);
    world.wait(10_000);
    assert_eq!(world.out(), [answered(2, Answer::Unavailable), answered(4, Answer::Unavailable)]);
    world.courier.heard_of_leader(SHARD, Some(3));
    let sent: Vec<Ask> = world.begin(3, 2).into_iter().map(|asking| asking.ask).collect();
    assert_eq!(sent, all[..3]);
    let done = || Answer::Reply(Reply::Done);
    (1..4).for_each(|id| world.answer(ticket(id, 2), done()));
    assert_eq!(world.out(), [answered(1, done()), answered(3, done())]);
}

#[test]
fn a_session_is_attached_to_the_next_leader_before_anything_is_asked_in_its_name() {
    let mut world = World::new(Settings::default());
    world.serve();
    world.told(deliver(wire(1), 0..3));
    let Told::Deliver { epoch, deliveries, .. } = deliver(OWNER, 0..3) else { panic!() };
    let told = Told::Deliver { owner: OWNER, epoch, deliveries };
    assert_eq!(world.out(), [Output::Tell { thread: 1, told }]);
    let acknowledge = Ask::Acknowledge { client: client_of(SHARD, 0), epoch: 6, acks: vec![(0, Ack::Ack)] };
    world.ask(acknowledge.clone());
    world.courier.heard_of_leader(SHARD, Some(3));
    let asks = world.begin(3, 2);
    let sent: Vec<Ask> = asks.iter().map(|asking| asking.ask.clone()).collect();
    assert_eq!(sent, [attach(2, 3), acknowledge]);
    // What the leader before sends is late, what the next sends again is dropped.
    world.told(deliver(wire(1), 3..4));
    world.answer(asks[0].ticket, Answer::Reply(Reply::Attached));
    world.told(deliver(wire(2), 2..5));
    assert_eq!(world.out(), [Output::Tell { thread: 1, told: deliver(OWNER, 3..5) }]);
    // That it is over is so whoever tells it.
    world.told(Told::TakenOver { owner: wire(1), epoch: 6 });
    world.told(deliver(wire(2), 5..6));
    assert_eq!(world.out(), [Output::Tell { thread: 1, told: Told::TakenOver { owner: OWNER, epoch: 6 } }]);
    assert_eq!(world.courier.counts().sessions, 0);
}

#[test]
fn a_session_that_cannot_be_attached_was_taken_over() {
    let mut world = World::new(Settings::default());
    world.serve();
    world.courier.reset(2);
    let asks = world.begin(2, 2);
    assert_eq!(asks.iter().map(|asking| &asking.ask).collect::<Vec<_>>(), [&attach(2, 0)]);
    world.answer(asks[0].ticket, Answer::Reply(Reply::Refused(Refusal::Epoch { found: 6, current: 7 })));
    assert_eq!(world.out(), [Output::Tell { thread: 1, told: Told::TakenOver { owner: OWNER, epoch: 6 } }]);
}

#[test]
fn nothing_is_delivered_after_its_client_has_left_and_it_is_not_attached_again() {
    let mut world = World::new(Settings::default());
    world.serve();
    let disconnect =
        Ask::Disconnect { client: client_of(SHARD, 0), epoch: 6, expiry_seconds: None, will: WillFate::Keep };
    world.ask(disconnect.clone());
    world.told(deliver(wire(1), 0..3));
    world.courier.connected(2);
    let asks: Vec<Ask> = world.begin(2, 2).into_iter().map(|asking| asking.ask).collect();
    assert_eq!(asks, [disconnect]);
}

#[test]
fn a_claim_that_succeeds_when_nobody_waits_is_given_up() {
    let mut world = World::new(Settings::default());
    world.ask(Ask::Claim { owner: OWNER, claim: claim(client_of(SHARD, 0)) });
    let first = world.begin(2, 1);
    world.wait(10_000);
    assert_eq!(world.out(), [answered(1, Answer::Unavailable)]);
    world.courier.reset(2);
    let again = world.begin(2, 2);
    let nonce = |asks: &[Asking]| match &asks[0].ask {
        Ask::Claim { claim, .. } => claim.nonce,
        other => panic!("{other:?}"),
    };
    assert_eq!((again.len(), nonce(&again)), (1, nonce(&first)));
    world.answer(again[0].ticket, owned());
    let left =
        Ask::Disconnect { client: client_of(SHARD, 0), epoch: 6, expiry_seconds: Some(0), will: WillFate::Delete };
    assert_eq!(world.sent(2, 2).into_iter().map(|asking| asking.ask).collect::<Vec<_>>(), [left]);
    assert_eq!(world.courier.counts().sessions, 0);
}

#[test]
fn a_claim_that_was_never_sent_is_dropped() {
    let mut world = World::new(Settings::default());
    world.courier.disconnected(2, world.now);
    world.courier.disconnected(3, world.now);
    world.ask(Ask::Claim { owner: OWNER, claim: claim(client_of(SHARD, 0)) });
    assert_eq!(world.out(), []);
    assert_eq!(world.courier.counts().held_shards, 1);
    world.wait(10_000);
    assert_eq!(world.out(), [answered(1, Answer::Unavailable)]);
    let counts = world.courier.counts();
    assert_eq!((counts.asks, counts.sessions, world.courier.next_deadline()), (0, 0, None));
}

#[test]
fn changes_of_subscriptions_are_told_in_order() {
    let mut world = World::new(Settings::default());
    let unsubscribe =
        |filter: &str| Ask::Unsubscribe { client: client_of(SHARD, 0), epoch: 3, filters: vec![filter.into()] };
    world.ask(unsubscribe("a"));
    world.ask(unsubscribe("b"));
    world.begin(2, 1);
    let done = || Answer::Reply(Reply::Unsubscribed(vec![true]));
    world.answer(ticket(2, 1), done());
    assert_eq!(world.out(), []);
    // Both go again: the first would undo the second.
    world.courier.reset(2);
    let again: Vec<Ask> = world.begin(2, 2).into_iter().map(|asking| asking.ask).collect();
    assert_eq!(again, [unsubscribe("a"), unsubscribe("b")]);
    world.answer(ticket(2, 2), done());
    world.answer(ticket(1, 1), done());
    assert_eq!(world.out(), []);
    world.answer(ticket(1, 2), done());
    assert_eq!(world.out(), [answered(1, done()), answered(2, done())]);
}

#[test]
fn a_new_life_begins_with_nothing() {
    let mut world = World::new(Settings::default());
    world.serve();
    world.ask(publish(1));
    assert_eq!(world.sent(2, 1), [asking(ticket(2, 1), 1, publish(1))]);
    let next = Node { incarnation: 6, ..ME };
    world.courier.begin_life(next);
    assert_eq!(world.out(), [answered(2, Answer::Unavailable)]);
    world.answer(ticket(2, 1), stored());
    world.told(deliver(wire(1), 0..1));
    assert_eq!(world.out(), []);
    world.ask(publish(2));
    let hello = AskLetter { from: next, shard: SHARD, run: 2, term: None, asks: vec![] };
    assert_eq!(world.out(), [Output::Send { to: 2, letter: hello }]);
    let welcome = (SHARD, Written::Welcome { run: 2, term: 41 });
    world.courier.receive(AnswerLetter { to: next, lines: vec![welcome] }, world.now);
    let first = vec![asking(ticket(3, 2), 1, publish(2))];
    let first = AskLetter { from: next, shard: SHARD, run: 2, term: Some(41), asks: first };
    assert_eq!(world.out(), [Output::Send { to: 2, letter: first }]);
}
