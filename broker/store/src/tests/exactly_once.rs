//! QoS 2 from a publisher: one entry brings the message on its whole way.

use fulmar_codec::PacketId;

use super::*;

const OTHER: Party = Party::Shard(ShardId(9));
const NODE: Party = Party::Node(B);
const NOWHERE: Stored =
    Stored { queued: 0, ignored: 0, again: 0, dropped: 0, is_expired: false, refused: vec![], retained: None };
const ALL: Credit = Credit { messages: 100, bytes: 10_000 };

fn receive(client: &str, epoch: Epoch, id: u16, item: Item, destinations: &[Party]) -> Command {
    let routed = Routed { item, destinations: destinations.iter().copied().map(Destination::subscribers).collect() };
    Command::ReceiveQos2 { client: client.into(), epoch, packet_id: PacketId::new(id).unwrap(), routed }
}

fn release(client: &str, epoch: Epoch, id: u16) -> Command {
    Command::Release { client: client.into(), epoch, packet_id: PacketId::new(id).unwrap() }
}

fn waiting(world: &World, destination: Party) -> Vec<(Number, String)> {
    let messages = world.shard.outbox(destination, 0, ALL, world.now, &mut Nowhere).unwrap().into_iter();
    messages.map(|it| (it.number, String::from_utf8(it.message.payload().to_vec()).unwrap())).collect()
}

#[test]
fn a_message_goes_to_local_sessions_and_to_the_outbox_in_one_entry() {
    let mut world = World::new();
    let epoch = world.session("p").epoch;
    let generation = world.session("c").generation;
    let item = |payload| item(payload, &[target("c", generation, QoS::ExactlyOnce)]);
    let one = Reply::Routed(Stored { queued: 1, ..Stored::default() });
    assert_eq!(world.apply(receive("p", epoch, 7, item("x"), &[OTHER, NODE, OTHER])), one);
    assert_eq!(world.apply(receive("p", epoch, 8, item("y"), &[OTHER])), one);
    assert_eq!(world.payloads("c"), ["x", "y"]);
    assert_eq!(waiting(&world, OTHER), [(1, "x".to_owned()), (2, "y".to_owned())]);
    assert_eq!(waiting(&world, NODE), [(1, "x".to_owned())]);
    assert_eq!(world.shard.counts().messages, 2);
    assert_eq!(world.shard.destinations().collect::<Vec<_>>(), [(NODE, 1), (OTHER, 1)]);
    let to = world.shard.outbox(NODE, 1, ALL, world.now, &mut Nowhere).unwrap().remove(0).to;
    assert_eq!(to, Addressee::Subscribers { publisher: text("p") });
}

#[test]
fn a_retry_is_never_routed_again_until_the_identifier_is_released() {
    let mut world = World::new();
    let epoch = world.session("p").epoch;
    assert_eq!(world.apply(receive("p", epoch, 7, item("x", &[]), &[OTHER])), Reply::Routed(Stored::default()));
    // The client comes back elsewhere before it had PUBREC.
    let epoch = world.claim(&claim("p", B, 2)).epoch;
    assert_eq!(world.apply(receive("p", epoch, 7, item("x", &[]), &[OTHER])), Reply::Duplicate);
    assert_eq!(world.apply(release("p", epoch, 7)), Reply::Released(true));
    assert_eq!(world.apply(release("p", epoch, 7)), Reply::Released(false));
    assert_eq!(world.apply(receive("p", epoch, 7, item("y", &[]), &[OTHER])), Reply::Routed(Stored::default()));
    assert_eq!(waiting(&world, OTHER), [(1, "x".to_owned()), (2, "y".to_owned())]);
}

#[test]
fn identifiers_end_with_the_session() {
    let mut world = World::new();
    let epoch = world.session("p").epoch;
    world.apply(receive("p", epoch, 7, item("x", &[]), &[]));
    let epoch = world.claim(&Claim { clean: true, ..claim("p", A, 2) }).epoch;
    assert_eq!(world.apply(receive("p", epoch, 7, item("x", &[]), &[])), Reply::Routed(Stored::default()));
}

#[test]
fn what_a_destination_has_is_forgotten_and_its_numbers_go_on() {
    let mut world = World::new();
    let epoch = world.session("p").epoch;
    let mut send = |id, payload| world.apply(receive("p", epoch, id, item(payload, &[]), &[OTHER]));
    assert_eq!([send(1, "1"), send(2, "2"), send(3, "3")], [const { Reply::Routed(NOWHERE) }; 3]);
    let done = |until| Command::OutboxDone { destination: OTHER, until };
    assert_eq!(world.apply(done(2)), Reply::Done);
    assert_eq!(world.apply(done(1)), Reply::Done);
    assert_eq!(waiting(&world, OTHER), [(3, "3".to_owned())]);
    assert_eq!(world.apply(done(4)), Reply::Refused(Refusal::NeverSent { found: 4, last: 3 }));
    let nowhere = Command::OutboxDone { destination: NODE, until: 1 };
    assert_eq!(world.apply(nowhere), Reply::Refused(Refusal::NeverSent { found: 1, last: 0 }));
    assert_eq!(world.apply(done(3)), Reply::Done);
    assert_eq!((world.shard.counts().messages, world.shard.destinations().count()), (0, 0));
    world.apply(receive("p", epoch, 4, item("4", &[]), &[OTHER]));
    assert_eq!(waiting(&world, OTHER), [(4, "4".to_owned())]);
}

#[test]
fn reading_the_outbox_goes_on_where_it_was_left_within_its_credit() {
    let mut world = World::new();
    let epoch = world.session("p").epoch;
    for id in 1..=4 {
        world.apply(receive("p", epoch, id, item("four", &[]), &[OTHER]));
    }
    world.apply(Command::OutboxDone { destination: OTHER, until: 1 });
    let read = |from, messages, bytes| {
        let read = world.shard.outbox(OTHER, from, Credit { messages, bytes }, world.now, &mut Nowhere).unwrap();
        read.into_iter().map(|it| it.number).collect::<Vec<_>>()
    };
    assert_eq!([read(1, 9, 99), read(3, 1, 99), read(0, 9, 10)], [vec![2, 3, 4], vec![3], vec![2, 3]]);
    assert_eq!([read(5, 9, 99), read(u64::MAX, 9, 99)], [vec![], vec![]]);
}

#[test]
fn a_message_in_the_outbox_ages() {
    let mut world = World::new();
    let epoch = world.session("p").epoch;
    let item = Item { message: message("t", "x").with_lifetime(Some(10)), retain: None, targets: vec![] };
    world.apply(receive("p", epoch, 1, item, &[OTHER]));
    let lifetime =
        |world: &World, now| world.shard.outbox(OTHER, 1, ALL, now, &mut Nowhere).unwrap()[0].message.lifetime_seconds;
    let left = [0, 4, 10, 60].map(|later| lifetime(&world, world.now + later * SECOND));
    assert_eq!(left, [Some(10), Some(6), Some(0), Some(0)], "one that is over is sent too: its number counts");
}

#[test]
fn a_node_that_is_gone_takes_its_outbox_along() {
    let mut world = World::new();
    let epoch = world.session("p").epoch;
    world.apply(receive("p", epoch, 1, item("x", &[]), &[NODE, OTHER]));
    world.apply(Command::NodeGone(B));
    assert_eq!((waiting(&world, NODE), waiting(&world, OTHER).len()), (vec![], 1));
    world.apply(receive("p", epoch, 2, item("y", &[]), &[NODE]));
    assert_eq!((waiting(&world, NODE), world.shard.counts().messages), (vec![], 1));
}

#[test]
fn a_full_outbox_refuses_the_whole_message() {
    let mut world = World::with(Settings { outbox_messages_max: 1, ..Settings::default() });
    let epoch = world.session("p").epoch;
    let generation = world.session("c").generation;
    let item = |payload| item(payload, &[target("c", generation, QoS::ExactlyOnce)]);
    world.apply(receive("p", epoch, 1, item("1"), &[OTHER]));
    let before = world.shard.counts();
    let refused = Reply::Refused(Refusal::Bound(Bound::Outbox));
    assert_eq!(world.apply(receive("p", epoch, 2, item("2"), &[NODE, OTHER])), refused);
    assert_eq!((world.shard.counts(), world.payloads("c")), (before, vec!["1".to_owned()]));
    // It was not taken for received.
    world.apply(Command::OutboxDone { destination: OTHER, until: 1 });
    let stored = Reply::Routed(Stored { queued: 1, ..Stored::default() });
    assert_eq!(world.apply(receive("p", epoch, 2, item("2"), &[NODE, OTHER])), stored);
}

#[test]
fn a_will_goes_to_local_sessions_and_to_the_outbox_in_one_entry() {
    let mut world = World::new();
    let generation = world.session("c").generation;
    let epoch = world.claim(&Claim { will: will("bye", 0), ..claim("p", A, 1) }).epoch;
    world.apply(disconnect("p", epoch, WillFate::Keep));
    let targets = vec![target("c", generation, QoS::AtLeastOnce)];
    let publish =
        Command::PublishWill { will: 1, retain: None, targets, destinations: vec![Destination::subscribers(OTHER)] };
    assert_eq!(world.apply(publish.clone()), Reply::Routed(Stored { queued: 1, ..Stored::default() }));
    assert_eq!(world.apply(publish), Reply::Refused(Refusal::NoWill(1)));
    assert_eq!((world.payloads("c"), waiting(&world, OTHER)), (vec!["bye".to_owned()], vec![(1, "bye".to_owned())]));
}

#[test]
fn one_entry_brings_a_message_to_groups_and_to_its_topic_too() {
    let mut world = World::new();
    let claimed = world.session("p");
    let version = Version { clock: 9, node: 1 };
    let of = |wants| Destination { party: OTHER, wants };
    let all = [Wants::Retained(version), Wants::Group(text("$share/g/t")), Wants::Subscribers];
    let destinations: Vec<Destination> = all.into_iter().map(of).collect();
    let routed = Routed { item: item("m", &[]), destinations };
    let packet_id = PacketId::new(1).unwrap();
    let receive = Command::ReceiveQos2 { client: text("p"), epoch: claimed.epoch, packet_id, routed };
    assert_eq!(world.apply(receive.clone()), Reply::Routed(Stored::default()));
    assert_eq!(world.apply(receive), Reply::Duplicate, "a retry brings nothing a second time");
    let waiting = world.shard.outbox(OTHER, 1, ALL, world.now, &mut Nowhere).unwrap();
    let wanted = [
        (1, Addressee::Subscribers { publisher: text("p") }),
        (2, Addressee::Group(text("$share/g/t"))),
        (3, Addressee::Retained(version)),
    ];
    assert_eq!(waiting.into_iter().map(|it| (it.number, it.to)).collect::<Vec<_>>(), wanted);
    world.apply(Command::OutboxDone { destination: OTHER, until: 3 });
    assert_eq!((world.shard.counts().messages, world.shard.destinations().count()), (0, 0));
}
