//! Messages that one shard has for another.

use fulmar_codec::{PacketId, QoS};
use fulmar_log::disk::CrashKeeps;
use fulmar_store::{
    Answer, Ask, Asked, Destination, Party, Published, Recipients, Reply, ShardId, Stored, Ticket, Version, Wants,
};

use super::fixture::*;

fn receive(name: &str, epoch: u64, packet_id: u16, payload: &str, shards: &[ShardId]) -> Ask {
    let message = message_of(QoS::ExactlyOnce, "t", payload);
    let to = Recipients::Matching { publisher: Some(client(name)) };
    Ask::ReceiveQos2 {
        client: client(name),
        epoch,
        packet_id: PacketId::new(packet_id).unwrap(),
        published: Published { message, retain: None, to },
        destinations: Destination::subscribers_of(shards),
    }
}

/// A publisher, and a subscriber in its shard and one in another.
fn world() -> (World, String, u64, ShardId) {
    let mut world = World::new();
    let other = (0..).map(|it| format!("o{it}")).find(|it| shard_of(it) != shard_of("pub")).unwrap();
    let same = (0..).map(|it| format!("s{it}")).find(|it| shard_of(it) == shard_of("pub")).unwrap();
    for (slot, name) in [(1, &same), (2, &other)] {
        let epoch = world.claim(name, slot).claimed.epoch;
        world.ask(subscribe(name, epoch, "t", QoS::ExactlyOnce));
    }
    let epoch = world.claim("pub", 3).claimed.epoch;
    let shard = shard_of(&other);
    (world, other, epoch, shard)
}

#[test]
fn a_qos_2_message_reaches_subscribers_of_other_shards_once() {
    let (mut world, _, epoch, other) = world();
    let shards = [shard_of("pub"), other];
    let routed = Answer::Reply(Reply::Routed(Stored { queued: 1, ..Stored::default() }));
    assert_eq!(world.ask(receive("pub", epoch, 7, "a", &shards)), routed);
    assert_eq!(world.ask(receive("pub", epoch, 7, "a", &shards)), Answer::Reply(Reply::Duplicate));
    let release = Ask::Release { client: client("pub"), epoch, packet_id: PacketId::new(7).unwrap() };
    assert_eq!(world.ask(release), Answer::Reply(Reply::Released(true)));
    assert_eq!((payloads(&world.delivered(1)), payloads(&world.delivered(2))), (vec!["a".into()], vec!["a".into()]));
    let waiting: usize = world.engine.replicas.iter().map(|it| it.shard.destinations().count()).sum();
    assert_eq!(waiting, 0, "what came is forgotten where it came from");
}

#[test]
fn a_qos_2_message_reaches_shared_subscriptions_and_its_topic_in_whatever_shard_they_are_once() {
    let (mut world, elsewhere, epoch, other) = world();
    let same = (0..).map(|it| format!("m{it}")).find(|it| shard_of(it) == shard_of("pub")).unwrap();
    for (slot, name, filter) in [(4, &same, "$share/here/t"), (2, &elsewhere, "$share/there/t")] {
        let epoch = world.claim(name, slot).claimed.epoch;
        world.ask(subscribe(name, epoch, filter, QoS::ExactlyOnce));
    }
    world.said();
    let at = |shard, wants| Destination { party: Party::Shard(shard), wants };
    let version = Version { clock: 3, node: NODE };
    let mut ask = receive("pub", epoch, 7, "a", &[]);
    let Ask::ReceiveQos2 { destinations, .. } = &mut ask else { panic!("it is one") };
    *destinations = vec![
        at(shard_of("pub"), Wants::Group("$share/here/t".into())),
        at(other, Wants::Group("$share/there/t".into())),
        at(other, Wants::Retained(version)),
    ];
    assert_eq!(world.ask(ask.clone()), Answer::Reply(Reply::Routed(Stored::default())));
    assert_eq!(world.ask(ask), Answer::Reply(Reply::Duplicate));
    world.settle();
    assert_eq!((payloads(&world.delivered(4)), payloads(&world.delivered(2))), (vec!["a".into()], vec!["a".into()]));
    let (message, found) = world.engine.replicas[usize::from(other.0)].shard.retained("t", 0).unwrap();
    assert_eq!((message.payload(), found), (&b"a"[..], version));
    let waiting: usize = world.engine.replicas.iter().map(|it| it.shard.destinations().count()).sum();
    assert_eq!(waiting, 0, "what came is forgotten where it came from");
}

#[test]
fn what_is_on_its_way_between_shards_survives_a_crash_at_any_sync() {
    for crash_at in 1..6 {
        let (mut world, subscriber, epoch, other) = world();
        let source = shard_of("pub");
        world.disk.fail_sync(crash_at);
        let mut acknowledged = 0;
        for packet_id in 1..=3 {
            world.asked += 1;
            let number = world.asked;
            let ask = receive("pub", epoch, packet_id, &packet_id.to_string(), &[other]);
            let (origin, ticket) = (world.engine.node(), Ticket { thread: 0, number });
            world.engine.ask(Asked { origin, ticket, number: None, ask });
            let mut failed = false;
            for _ in 0..20 {
                failed |= world.engine.turn(world.now, world.time, &mut world.heard).is_err();
            }
            acknowledged += usize::from(!failed && world.answer_to(number).is_some());
        }
        world.crash(CrashKeeps::Nothing);
        let expected = world.engine.replicas[usize::from(other.0)].shard.expected(Party::Shard(source));
        world.claim(&subscriber, 9);
        let delivered = payloads(&world.delivered(9));
        assert!(delivered.len() >= acknowledged, "{crash_at}: {delivered:?} of {acknowledged}");
        assert_eq!(delivered, ["1", "2", "3"][..delivered.len()], "{crash_at}: in order and once");
        assert_eq!(expected - 1, delivered.len() as u64);
    }
}

#[test]
fn what_a_member_was_owed_goes_to_another_one_in_whatever_shard_it_is() {
    let mut world = World::new();
    let name = "$share/g/t";
    let first = "pub";
    let same = (0..).map(|it| format!("s{it}")).find(|it| shard_of(it) == shard_of(first)).unwrap();
    let other = (0..).map(|it| format!("o{it}")).find(|it| shard_of(it) != shard_of(first)).unwrap();
    let session = world.claim(first, 1).claimed;
    world.ask(subscribe(first, session.epoch, name, QoS::AtLeastOnce));
    let leave = Ask::Disconnect {
        client: client(first),
        epoch: session.epoch,
        expiry_seconds: None,
        will: fulmar_store::WillFate::Keep,
    };
    world.ask(leave);
    for payload in ["a", "b", "c"] {
        let to = Recipients::Group { group: "g".into(), filter: "t".into() };
        let published = Published { message: message("t", payload), retain: None, to };
        world.ask(Ask::Publish { shard: shard_of(first), published });
    }
    let epoch = world.claim(&same, 2).claimed.epoch;
    world.ask(subscribe(&same, epoch, name, QoS::AtLeastOnce));
    world.ask(Ask::End { client: client(first), generation: session.generation });
    assert_eq!(payloads(&world.delivered(2)), ["a", "b", "c"], "a member of the same shard");

    let next = world.claim(&other, 3).claimed.epoch;
    world.ask(subscribe(&other, next, name, QoS::AtLeastOnce));
    let generation = world.engine.replicas[usize::from(shard_of(&same).0)].shard.session(&same).unwrap().generation;
    world.ask(Ask::End { client: client(&same), generation });
    assert_eq!(payloads(&world.delivered(3)), ["a", "b", "c"], "a member of another shard");

    let generation = world.engine.replicas[usize::from(shard_of(&other).0)].shard.session(&other).unwrap().generation;
    world.ask(Ask::End { client: client(&other), generation });
    // Nobody of the store is left: a data thread looks among those who are connected, for one message after the other.
    let mut adopted = Vec::new();
    while let Some((shard, number, share, message)) = world.take_orphan() {
        adopted.push((share.to_string(), String::from_utf8(message.payload().to_vec()).unwrap()));
        world.ask(Ask::Adopted { shard, number });
    }
    assert_eq!(adopted, ["a", "b", "c"].map(|payload| (name.to_owned(), payload.to_owned())));
    let waiting: usize = world.engine.replicas.iter().map(|it| it.shard.destinations().count()).sum();
    assert_eq!(waiting, 0, "nobody is left to wait for");
}

#[test]
fn a_large_outbox_is_moved_in_portions() {
    let (mut world, subscriber, epoch, other) = world();
    // More than is fetched at once.
    let payload = "x".repeat(10_000);
    for packet_id in 1..=100 {
        world.ask_only(receive("pub", epoch, packet_id, &payload, &[other]));
    }
    world.settle();
    let source = shard_of("pub");
    let sender = &world.engine.replicas[usize::from(source.0)].shard;
    assert_eq!(sender.destinations().count(), 0);
    assert_eq!(world.engine.replicas[usize::from(other.0)].shard.session(&subscriber).unwrap().queued, 100);
}
