//! What a shard keeps comes to another one as it is, with the packet identifiers that clients hold.

use fulmar_codec::{PacketId, QoS};

use super::*;

const GONE: Node = Node { id: 0xe, incarnation: 7 };

/// All that `shard` keeps, taken by `into`, as if everybody had left now.
fn moved(shard: &Shard, into: Shard, now: Time) -> Result<Shard, &'static str> {
    let mut intake = Intake::new(into, GONE);
    let message = |it: KeptMessage<'_>| (it.id, it.message.clone(), it.expires);
    for session in shard.kept_sessions().map(|session| session.left(now)) {
        intake.session(NewSession {
            client: session.client.clone(),
            user: session.user.cloned(),
            expiry_seconds: session.expiry_seconds,
            ends: session.ends,
            receive_maximum: session.receive_maximum,
            will: session.will.cloned().zip(session.will_due),
            next: session.next,
            sent_until: session.sent_until,
            received: session.received.iter().copied().collect(),
            subscriptions: session.subscriptions.iter().map(|(filter, it)| (filter.clone(), *it)).collect(),
        })?;
        for place in shard.kept_queue(session.client) {
            let kept = place.message.map(message);
            let kept = kept.as_ref().map(|(id, message, expires)| NewMessage { id: *id, message, expires: *expires });
            let KeptPlace { sequence, qos, retain, subscription_ids, share, .. } = place;
            intake.queued(NewPlace { sequence, message: kept, qos, retain, subscription_ids, share })?;
        }
    }
    for (kept, version) in shard.kept_retained() {
        let (id, message, expires) = message(kept);
        intake.retained(NewMessage { id, message: &message, expires }, version)?;
    }
    shard.pending_wills().try_for_each(|(_, pending)| intake.will(pending.clone()))?;
    Ok(intake.finish())
}

/// One of everything that a client can have.
fn filled() -> World {
    let mut world = World::new();
    let claim = Claim { will: will("lost", 60), ..claim("c", A, 1) };
    let Claimed { epoch, generation, .. } = world.claim(&claim);
    let subscriptions =
        vec![(text("t"), subscription(QoS::ExactlyOnce)), (text("$share/g/t"), subscription(QoS::AtLeastOnce))];
    world.apply(Command::Subscribe { client: "c".into(), epoch, subscriptions });
    world.queue_at("c", QoS::ExactlyOnce, &["done", "released", "sent"]);
    world.apply(acknowledge("c", epoch, &[(0, Ack::Received), (0, Ack::Complete), (1, Ack::Received)]));
    let shared = Target { share: Some(text("$share/g/t")), ..target("c", generation, QoS::AtLeastOnce) };
    let retained = Item {
        message: message("kept", "r").with_lifetime(Some(50)),
        retain: Some(Version { clock: 5, node: 9 }),
        targets: vec![shared],
    };
    let first = world.shard.expected(Party::Node(A));
    world.apply(publish(first, &[retained]));
    let routed = Routed { item: item("own", &[]), destinations: vec![] };
    let packet_id = PacketId::new(77).unwrap();
    world.apply(Command::ReceiveQos2 { client: "c".into(), epoch, packet_id, routed });
    world.session("fires");
    let claim = Claim { will: will("fired", 0), ..super::claim("w", A, 2) };
    let epoch = world.claim(&claim).epoch;
    world.apply(disconnect("w", epoch, WillFate::Fire));
    world
}

#[test]
fn what_a_client_left_in_one_shard_is_there_in_another() {
    let old = filled();
    let mut new = World { shard: moved(&old.shard, Shard::new(ShardId(0)), old.now).unwrap(), ..World::new() };
    let ignored = |counts: Counts| Counts { tombstones: 0, ..counts };
    assert_eq!(ignored(new.shard.counts()), ignored(old.shard.counts()));
    assert_eq!(new.wills(), ["fired"]);
    let retained = |world: &World| world.shard.retained("kept", world.now + 20 * SECOND);
    assert_eq!(retained(&new), retained(&old));

    // Whoever claims it sends what the old owner would, with the identifiers of the old one.
    let claimed = new.claim(&claim("c", B, 1));
    assert!(claimed.present, "{claimed:?}");
    let expected = [(1, 2, "PUBREL".to_owned()), (2, 3, "sent".to_owned()), (3, 4, "r".to_owned())];
    assert_eq!(new.deliverable("c"), expected);
    assert_eq!(new.shard.session("c").unwrap().received, 1);
    let again =
        Routed { item: item("own", &[target("c", claimed.generation, QoS::AtLeastOnce)]), destinations: vec![] };
    let packet_id = PacketId::new(77).unwrap();
    new.apply(Command::ReceiveQos2 { client: "c".into(), epoch: claimed.epoch, packet_id, routed: again });
    assert_eq!(new.deliverable("c"), expected, "a retry is not taken for a new message");

    // The shard is whole: it loads from its own snapshot.
    let mut loader = Loader::new();
    new.shard.snapshot(1 << 16).for_each(|chunk| loader.chunk(&chunk).unwrap());
    assert_eq!(loader.finish().unwrap().counts(), new.shard.counts());
}

#[test]
fn a_session_that_its_owner_left_ends_and_has_its_will_published_in_time() {
    let old = filled();
    let left = old.shard.kept_sessions().next().unwrap().left(old.now);
    assert_eq!((left.owner, left.ends), (None, Some(old.now + 3600 * SECOND)));
    assert_eq!(left.will_due, Some(old.now + 60 * SECOND));
    let mut new = World { shard: moved(&old.shard, Shard::new(ShardId(0)), old.now).unwrap(), ..World::new() };
    new.now = old.now + 60 * SECOND;
    new.expire();
    assert_eq!(new.wills(), ["fired", "lost"]);
    new.now = old.now + 3600 * SECOND;
    while new.expire().more {}
    assert_eq!((new.shard.counts().sessions, new.shard.counts().queued), (0, 0));
}

#[test]
fn names_that_are_taken_and_parts_that_do_not_fit_are_refused() {
    let old = filled();
    let twice = moved(&old.shard, old.shard.clone(), old.now).map(|_| ());
    assert_eq!(twice, Err("a session is there twice"));

    let mut intake = Intake::new(Shard::new(ShardId(0)), GONE);
    let session = |client: &str, next, sent_until| NewSession {
        client: client.into(),
        user: None,
        expiry_seconds: 1,
        ends: None,
        receive_maximum: NonZeroU16::MIN,
        will: None,
        next,
        sent_until,
        received: vec![],
        subscriptions: vec![],
    };
    assert_eq!(intake.session(session("a", 1, 2)), Err("a window ends behind the queue"));
    intake.session(session("b", 2, 1)).unwrap();
    let message = message("t", "m");
    let place = |sequence| NewPlace {
        sequence,
        message: Some(NewMessage { id: 1, message: &message, expires: None }),
        qos: QoS::AtLeastOnce,
        retain: false,
        subscription_ids: &[],
        share: None,
    };
    assert_eq!(intake.queued(place(2)), Err("a message is behind the end of its queue"));
    intake.queued(place(1)).unwrap();
    assert_eq!(intake.queued(place(0)), Err("a queue is out of order"));
    assert_eq!(intake.shard().counts().messages, 1, "the same message is kept once");
}

#[test]
fn a_retained_message_comes_to_a_topic_whose_own_was_deleted() {
    let mut world = World::new();
    let deleted = Item { retain: Some(Version { clock: 9, node: 1 }), message: message("kept", ""), targets: vec![] };
    world.apply(publish(1, &[deleted]));
    assert_eq!(world.shard.counts().tombstones, 1);
    let old = filled();
    let new = moved(&old.shard, world.shard.clone(), old.now).unwrap();
    assert_eq!((new.counts().tombstones, new.counts().retained), (0, 1));
}
