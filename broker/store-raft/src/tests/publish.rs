//! A message's way: asked, matched, committed, delivered, kept.

use fulmar_codec::QoS;
use fulmar_log::disk::CrashKeeps;
use fulmar_store::{Ack, AckReply, Answer, Ask, ItemReply, Reply, Stored};

use super::fixture::*;

#[test]
fn what_was_acknowledged_is_delivered_and_is_there_after_a_crash() {
    let mut world = World::new();
    let shard = shard_of("sub");
    let epoch = world.claim("sub", 1).claimed.epoch;
    world.ask(subscribe("sub", epoch, "t/+", QoS::AtLeastOnce));
    let stored = ItemReply::Stored(Stored { queued: 1, ..Stored::default() });
    let answer = world.ask(publish(shard, message("t/1", "one")));
    assert_eq!(answer, Answer::Reply(Reply::Published { items: vec![stored.clone()], expected: 2 }));
    assert_eq!(payloads(&world.delivered(1)), ["one"]);
    let acks = vec![(0, Ack::Ack)];
    let answer = world.ask(Ask::Acknowledge { client: client("sub"), epoch, acks });
    assert_eq!(answer, Answer::Reply(Reply::Acknowledged(vec![AckReply::Done])));
    let answer = world.ask(publish(shard, message("t/2", "two")));
    assert_eq!(answer, Answer::Reply(Reply::Published { items: vec![stored], expected: 3 }));

    world.crash(CrashKeeps::Nothing);
    assert_eq!(world.engine.node().incarnation, 2);
    let session = world.claim("sub", 5);
    assert_eq!((session.claimed.present, session.claimed.took_over, session.claimed.sent_until), (true, None, 2));
    assert_eq!(session.subscriptions, [("t/+".into(), subscription(QoS::AtLeastOnce, 0))]);
    assert_eq!(payloads(&world.delivered(5)), ["two"]);
}
