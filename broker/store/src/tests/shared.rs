//! Shared subscriptions: what a member was owed goes on to others when it is no member any more.

use super::*;

const GROUP: &str = "$share/g/t";
/// The shard of all tests.
const ITSELF: Party = Party::Shard(ShardId(3));
const OTHER: Party = Party::Shard(ShardId(9));
const ALL: Credit = Credit { messages: 100, bytes: 10_000 };

/// A session that takes `window` messages unacknowledged, and is a member.
fn member(world: &mut World, client: &str, window: u16) -> Claimed {
    let receive_maximum = NonZeroU16::new(window).unwrap();
    let claimed = world.claim(&Claim { receive_maximum, ..claim(client, A, 1) });
    subscribe(world, client, claimed.epoch);
    claimed
}

fn subscribe(world: &mut World, client: &str, epoch: Epoch) {
    let subscriptions = vec![(text(GROUP), subscription(QoS::ExactlyOnce))];
    let reply = world.apply(Command::Subscribe { client: client.into(), epoch, subscriptions });
    assert_eq!(reply, Reply::Subscribed(vec![Ok(true)]));
}

fn unsubscribe(world: &mut World, client: &str, epoch: Epoch) {
    let reply = world.apply(Command::Unsubscribe { client: client.into(), epoch, filters: vec![text(GROUP)] });
    assert_eq!(reply, Reply::Unsubscribed(vec![true]));
}

fn as_member(client: &str, generation: Generation, qos: QoS) -> Target {
    Target { share: Some(text(GROUP)), ..target(client, generation, qos) }
}

/// Messages of the group for one member.
fn share(world: &mut World, client: &str, generation: Generation, messages: &[(&str, QoS)]) -> Reply {
    let items: Vec<_> =
        messages.iter().map(|(payload, qos)| item(payload, &[as_member(client, generation, *qos)])).collect();
    let first = world.shard.expected(Party::Node(A));
    world.apply(publish(first, &items))
}

fn end(client: &str, generation: Generation) -> Command {
    Command::End { client: client.into(), generation }
}

/// What is on its way to a destination, all of it for the group.
fn on_its_way(world: &World, destination: Party) -> Vec<(Number, String)> {
    let messages = world.shard.outbox(destination, 0, ALL, world.now, &mut Nowhere).unwrap().into_iter();
    let shown = |it: OutboxMessage| {
        assert_eq!(it.to, Addressee::Group(text(GROUP)));
        (it.number, String::from_utf8(it.message.payload().to_vec()).unwrap())
    };
    messages.map(shown).collect()
}

fn to_route_again(world: &World) -> Vec<String> {
    on_its_way(world, ITSELF).into_iter().map(|(_, payload)| payload).collect()
}

fn route_again(world: &mut World, number: Number, to: Onward) -> Reply {
    world.apply(Command::RouteAgain { number, to })
}

const ONE: QoS = QoS::AtLeastOnce;
const TWO: QoS = QoS::ExactlyOnce;
const NOTHING: [&str; 0] = [];
const ROUTED: Stored =
    Stored { queued: 0, ignored: 0, again: 0, dropped: 0, is_expired: false, refused: vec![], retained: None };

#[test]
fn what_a_member_was_owed_goes_on_when_its_session_ends_but_not_what_it_may_have_of_qos_2() {
    let mut world = World::new();
    let Claimed { epoch, generation, .. } = member(&mut world, "c", 3);
    share(&mut world, "c", generation, &[("1", ONE), ("2", TWO), ("3", ONE), ("4", TWO), ("5", ONE)]);
    world.queue("c", &["its own"]);
    world.apply(disconnect("c", epoch, WillFate::Keep));
    assert_eq!(to_route_again(&world), NOTHING, "while the session waits, so does what it is owed");
    world.now += 3600 * SECOND;
    assert_eq!(world.expire(), Cleared { ended: 1, ..Cleared::default() });
    assert_eq!(to_route_again(&world), ["1", "3", "4", "5"]);
    assert_eq!(world.shard.destinations().collect::<Vec<_>>(), [(ITSELF, 1)]);
    let bytes = 4 * (cost::OUTBOX + cost::BODY + 2) + cost::SHARE + GROUP.len() as u64;
    assert_eq!(world.shard.counts(), Counts { messages: 4, bytes, ..Counts::default() });
    assert_eq!(world.shard.totals(), Totals::default());
}

#[test]
fn whatever_ends_a_session_lets_its_messages_go_on() {
    let generation = 1;
    let ways: [fn() -> Command; 5] = [
        || end("c", 1),
        || Command::Claim(Claim { clean: true, ..claim("c", B, 2) }),
        || Command::Claim(Claim { user: Some(text("bob")), takeover: Takeover::AnyUser, ..claim("c", B, 2) }),
        || Command::Disconnect { client: text("c"), epoch: 1, expiry_seconds: Some(0), will: WillFate::Delete },
        || Command::NodeGone(A),
    ];
    for way in ways {
        let mut world = World::new();
        let claimed = world.claim(&Claim { expiry_seconds: 0, ..claim("c", A, 1) });
        subscribe(&mut world, "c", claimed.epoch);
        share(&mut world, "c", generation, &[("x", ONE)]);
        let command = way();
        world.apply(command.clone());
        assert_eq!(to_route_again(&world), ["x"], "{command:?}");
    }
}

#[test]
fn what_the_client_has_acknowledged_does_not_go_on() {
    let mut world = World::new();
    let Claimed { epoch, generation, .. } = member(&mut world, "c", 4);
    share(&mut world, "c", generation, &[("1", ONE), ("2", TWO), ("3", ONE), ("4", ONE)]);
    world.apply(acknowledge("c", epoch, &[(0, Ack::Ack), (1, Ack::Received), (2, Ack::Discard)]));
    world.apply(end("c", generation));
    assert_eq!(to_route_again(&world), ["4"]);
}

#[test]
fn what_waits_goes_on_when_the_client_unsubscribes_and_what_may_be_on_its_way_is_completed() {
    let mut world = World::new();
    let Claimed { epoch, generation, .. } = member(&mut world, "c", 2);
    share(&mut world, "c", generation, &[("1", ONE), ("2", TWO), ("3", ONE), ("4", TWO)]);
    world.queue("c", &["its own"]);
    unsubscribe(&mut world, "c", epoch);
    assert_eq!((to_route_again(&world), world.payloads("c")), (shown(&["3", "4"]), shown(&["1", "2"])));
    world.apply(acknowledge("c", epoch, &[(1, Ack::Received), (1, Ack::Complete)]));
    assert_eq!(world.payloads("c"), ["1", "its own"]);
    // It never said that it has the first.
    world.apply(end("c", generation));
    assert_eq!(to_route_again(&world), ["3", "4", "1"]);
}

fn shown(payloads: &[&str]) -> Vec<String> {
    payloads.iter().map(|payload| (*payload).to_owned()).collect()
}

#[test]
fn another_subscription_is_left_with_what_is_its_own() {
    let mut world = World::new();
    let Claimed { epoch, generation, .. } = member(&mut world, "c", 1);
    let other = Target { share: Some(text("$share/h/t")), ..target("c", generation, ONE) };
    let subscriptions = vec![(text("$share/h/t"), subscription(ONE))];
    world.apply(Command::Subscribe { client: text("c"), epoch, subscriptions });
    share(&mut world, "c", generation, &[("1", ONE), ("2", ONE)]);
    world.apply(publish(3, &[item("3", &[other])]));
    unsubscribe(&mut world, "c", epoch);
    assert_eq!(to_route_again(&world), ["2"]);
    world.apply(acknowledge("c", epoch, &[(0, Ack::Ack)]));
    assert_eq!(world.payloads("c"), ["3"]);
}

#[test]
fn a_message_whose_member_is_no_more_when_it_comes_is_routed_again() {
    let mut world = World::new();
    let gone = member(&mut world, "gone", 5);
    world.apply(end("gone", gone.generation));
    let left = member(&mut world, "left", 5);
    unsubscribe(&mut world, "left", left.epoch);
    let there = member(&mut world, "there", 5).generation;
    let targets = [
        as_member("gone", gone.generation, ONE),
        as_member("left", left.generation, ONE),
        as_member("there", there, ONE),
        as_member("there", there, QoS::AtMostOnce),
    ];
    let stored = Stored { queued: 1, ignored: 1, again: 2, ..ROUTED };
    let expected = Reply::Published { items: vec![ItemReply::Stored(stored)], expected: 2 };
    assert_eq!(world.apply(publish(1, &[item("x", &targets)])), expected);
    assert_eq!((to_route_again(&world), world.payloads("there")), (shown(&["x", "x"]), shown(&["x"])));
}

#[test]
fn a_message_goes_on_once_to_a_member_here_or_to_a_destination() {
    let mut world = World::new();
    let gone = member(&mut world, "c", 5).generation;
    share(&mut world, "c", gone, &[("1", ONE), ("2", TWO), ("3", ONE), ("4", ONE)]);
    let there = member(&mut world, "d", 5).generation;
    world.apply(end("c", gone));
    // The one of QoS 2 may have been sent.
    assert_eq!(on_its_way(&world, ITSELF), [(1, "1".to_owned()), (2, "3".to_owned()), (3, "4".to_owned())]);

    let here = || Onward::Member(as_member("d", there, ONE));
    let queued = Reply::Routed(Stored { queued: 1, ..ROUTED });
    assert_eq!(route_again(&mut world, 1, here()), queued);
    assert_eq!(route_again(&mut world, 1, here()), Reply::Duplicate);
    assert_eq!(world.payloads("d"), ["1"]);
    let too_soon = Refusal::OutOfOrder { found: 3, expected: 2 };
    assert_eq!(route_again(&mut world, 3, here()), Reply::Refused(too_soon));
    assert_eq!(route_again(&mut world, 4, here()), Reply::Refused(Refusal::NeverSent { found: 4, last: 3 }));
    assert_eq!(route_again(&mut world, 2, Onward::Destination(OTHER)), Reply::Routed(ROUTED));
    assert_eq!(on_its_way(&world, OTHER), [(1, "3".to_owned())]);
    assert_eq!(world.shard.totals(), Totals::default());
    assert_eq!(route_again(&mut world, 3, Onward::Nobody), Reply::Routed(ROUTED));
    assert_eq!((to_route_again(&world), world.shard.totals().stranded), (vec![], 1));
    assert_eq!(world.shard.destinations().collect::<Vec<_>>(), [(OTHER, 1)]);
    // The member that got it may end as well.
    world.apply(end("d", there));
    assert_eq!(on_its_way(&world, ITSELF), [(4, "1".to_owned())]);
    world.apply(Command::OutboxDone { destination: OTHER, until: 1 });
    assert_eq!(route_again(&mut world, 4, Onward::Nobody), Reply::Routed(ROUTED));
    assert_eq!(world.shard.counts(), Counts::default());
}

#[test]
fn a_message_that_cannot_go_there_stays_where_it_is() {
    let mut world = World::with(Settings { outbox_messages_max: 1, ..Settings::default() });
    let gone = member(&mut world, "c", 5).generation;
    let fill = member(&mut world, "f", 5);
    let stays = member(&mut world, "d", 5);
    share(&mut world, "c", gone, &[("x", ONE)]);
    world.apply(end("c", gone));
    world.apply(Command::NodeGone(B));
    let packet_id = fulmar_codec::PacketId::MIN;
    let routed = Routed { item: item("in the way", &[]), destinations: vec![Destination::subscribers(OTHER)] };
    world.apply(Command::ReceiveQos2 { client: text("f"), epoch: fill.epoch, packet_id, routed });
    unsubscribe(&mut world, "d", stays.epoch);
    let before = world.shard.counts();
    for (to, refusal) in [
        (Onward::Member(as_member("c", gone, ONE)), Refusal::NoMember),
        (Onward::Member(as_member("d", stays.generation, ONE)), Refusal::NoMember),
        (Onward::Member(as_member("f", fill.generation, QoS::AtMostOnce)), Refusal::NoMember),
        (Onward::Destination(OTHER), Refusal::Bound(Bound::Outbox)),
        (Onward::Destination(Party::Node(B)), Refusal::NodeGone(B)),
    ] {
        assert_eq!(route_again(&mut world, 1, to), Reply::Refused(refusal));
    }
    let settings = Settings { shard_bytes_max: before.bytes, ..Settings::default() };
    world.apply(Command::Settings(settings));
    let member = Onward::Member(as_member("f", fill.generation, ONE));
    assert_eq!(route_again(&mut world, 1, member.clone()), Reply::Refused(Refusal::Bound(Bound::ShardBytes)));
    assert_eq!((to_route_again(&world), world.shard.counts()), (shown(&["x"]), before));
    world.apply(Command::Settings(Settings::default()));
    assert_eq!(route_again(&mut world, 1, member), Reply::Routed(Stored { queued: 1, ..ROUTED }));
}

#[test]
fn messages_that_nobody_wants_any_more_do_not_go_on() {
    let mut world = World::new();
    let generation = member(&mut world, "c", 9).generation;
    let lasting = |payload, seconds| Item {
        message: message("t", payload).with_lifetime(Some(seconds)),
        ..item("", &[as_member("c", generation, ONE)])
    };
    world.apply(publish(1, &[lasting("1", 5), lasting("2", 10)]));
    world.now += 5 * SECOND;
    world.apply(end("c", generation));
    assert_eq!((to_route_again(&world), world.shard.totals().expired), (shown(&["2"]), 1));
    world.now += 5 * SECOND;
    let late = member(&mut world, "d", 5).generation;
    let expired = Reply::Routed(Stored { is_expired: true, ..ROUTED });
    assert_eq!(route_again(&mut world, 1, Onward::Member(as_member("d", late, ONE))), expired);
    assert_eq!((world.payloads("d"), world.shard.totals().expired), (vec![], 2));
}

#[test]
fn what_the_outbox_has_no_room_for_is_lost_and_counted() {
    let mut world = World::with(Settings { outbox_messages_max: 1, ..Settings::default() });
    let generation = member(&mut world, "c", 5).generation;
    share(&mut world, "c", generation, &[("1", ONE), ("2", ONE)]);
    world.apply(end("c", generation));
    assert_eq!((to_route_again(&world), world.shard.totals().stranded), (shown(&["1"]), 1));
    let full = Stored { refused: vec![(0, Bound::Outbox)], ..ROUTED };
    let expected = Reply::Published { items: vec![ItemReply::Stored(full)], expected: 4 };
    assert_eq!(share(&mut world, "c", generation, &[("3", ONE)]), expected);
    assert_eq!(world.shard.totals(), Totals { stranded: 1, refused: 1, ..Totals::default() });
}

#[test]
fn a_full_shard_keeps_what_goes_on_but_takes_nothing_new() {
    let mut world = World::new();
    let generation = member(&mut world, "c", 5).generation;
    share(&mut world, "c", generation, &[("1", ONE), ("2", ONE)]);
    let shard_bytes_max = world.shard.counts().bytes - 1;
    world.apply(Command::Settings(Settings { shard_bytes_max, ..Settings::default() }));
    world.apply(end("c", generation));
    assert_eq!((to_route_again(&world), world.shard.totals()), (shown(&["1", "2"]), Totals::default()));
    let shard_bytes_max = world.shard.counts().bytes + cost::BODY + 2 + cost::OUTBOX - 1;
    world.apply(Command::Settings(Settings { shard_bytes_max, ..Settings::default() }));
    let full = Stored { refused: vec![(0, Bound::ShardBytes)], ..ROUTED };
    let expected = Reply::Published { items: vec![ItemReply::Stored(full)], expected: 4 };
    assert_eq!(share(&mut world, "c", generation, &[("3", ONE)]), expected);
    let settings = Settings { shard_bytes_max: shard_bytes_max + 1, ..Settings::default() };
    world.apply(Command::Settings(settings));
    share(&mut world, "c", generation, &[("4", ONE)]);
    assert_eq!(to_route_again(&world), ["1", "2", "4"]);
}

#[test]
fn a_destination_that_is_gone_gives_back_what_it_may_not_have_sent_twice() {
    let mut world = World::new();
    let generation = member(&mut world, "c", 1).generation;
    let of_qos_2 =
        Item { message: Message::new("t", TWO, &[], b"two"), ..item("", &[as_member("c", generation, TWO)]) };
    share(&mut world, "c", generation, &[("in flight", ONE), ("one", ONE)]);
    world.apply(publish(3, &[of_qos_2]));
    world.apply(end("c", generation));
    for number in 1..=3 {
        assert_eq!(route_again(&mut world, number, Onward::Destination(Party::Node(B))), Reply::Routed(ROUTED));
    }
    world.apply(Command::NodeGone(B));
    assert_eq!(on_its_way(&world, ITSELF), [(4, "in flight".to_owned()), (5, "one".to_owned())]);
}

#[test]
fn a_snapshot_keeps_whose_messages_they_are() {
    let mut world = World::new();
    let generation = member(&mut world, "c", 1).generation;
    let gone = member(&mut world, "gone", 5).generation;
    share(&mut world, "c", generation, &[("1", ONE), ("2", ONE)]);
    share(&mut world, "gone", gone, &[("3", ONE)]);
    world.apply(end("gone", gone));
    let mut loader = Loader::new();
    world.shard.snapshot(100).for_each(|chunk| loader.chunk(&chunk).unwrap());
    let before = world.shard.counts();
    world.shard = loader.finish().unwrap();
    assert_eq!((world.shard.counts(), to_route_again(&world)), (before, shown(&["3"])));
    world.apply(end("c", generation));
    assert_eq!(to_route_again(&world), ["3", "1", "2"]);
}
