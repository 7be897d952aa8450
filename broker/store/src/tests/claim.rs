use super::*;

#[test]
fn a_session_begins_goes_on_and_moves_with_a_higher_epoch_each_time() {
    let mut world = World::new();
    let first = Claimed { epoch: 1, generation: 1, present: false, took_over: None, sent_until: 0 };
    assert_eq!(world.claim(&claim("c", A, 1)), first);
    let second = Claimed { epoch: 2, generation: 1, present: true, took_over: Some(A), sent_until: 0 };
    assert_eq!(world.claim(&claim("c", B, 2)), second);
    assert_eq!(world.apply(disconnect("c", 2, WillFate::Keep)), left(false, WillState::None));
    let third = Claimed { epoch: 3, generation: 1, present: true, took_over: None, sent_until: 0 };
    assert_eq!(world.claim(&claim("c", A, 3)), third);
}

fn left(ended: bool, will: WillState) -> Reply {
    Reply::Disconnected { ended, will }
}

#[test]
fn epochs_and_generations_are_never_used_again_for_the_same_name() {
    let mut world = World::new();
    let gone = world.claim(&Claim { expiry_seconds: 0, ..claim("c", A, 1) });
    assert_eq!(world.apply(disconnect("c", gone.epoch, WillFate::Keep)), left(true, WillState::None));
    let new = world.claim(&claim("c", B, 2));
    assert_eq!(new, Claimed { epoch: 2, generation: 2, present: false, took_over: None, sent_until: 0 });
    let refusal = Refusal::Epoch { found: 1, current: 2 };
    assert_eq!(world.apply(acknowledge("c", gone.epoch, &[(0, Ack::Ack)])), Reply::Refused(refusal));
}

#[test]
fn a_clean_start_drops_queue_and_subscriptions() {
    let mut world = World::new();
    let Claimed { epoch, generation, .. } = world.session("c");
    let subscriptions = vec![(text("a/#"), subscription(QoS::AtLeastOnce))];
    assert_eq!(
        world.apply(Command::Subscribe { client: text("c"), epoch, subscriptions: subscriptions.clone() }),
        Reply::Subscribed(vec![Ok(true)])
    );
    world.queue("c", &["old"]);
    let clean = world.claim(&Claim { clean: true, ..claim("c", B, 2) });
    assert_eq!(clean, Claimed { epoch: 2, generation: 2, present: false, took_over: Some(A), sent_until: 0 });
    let (client, filter) = (text("c"), text("a/#"));
    let ended = SubscriptionChange { client, generation, filter, subscription: None, subscribers: 0 };
    assert_eq!(world.subscriptions, [ended]);
    assert_eq!(world.payloads("c"), [""; 0]);
    let counts = world.shard.counts();
    assert_eq!((counts.sessions, counts.subscriptions, counts.queued, counts.messages), (1, 0, 0, 0));
    let head = Counts { sessions: 1, bytes: cost::SESSION + 1, ..Counts::default() };
    assert_eq!(counts, head);
}

#[test]
fn a_claim_that_is_sent_again_changes_nothing() {
    let mut world = World::new();
    let mine = claim("c", A, 7);
    let answer = world.claim(&mine);
    let before = format!("{:?}", world.shard.session("c"));
    assert_eq!(world.claim(&mine), answer);
    assert_eq!(format!("{:?}", world.shard.session("c")), before);
    let other = world.claim(&claim("c", A, 8));
    assert_eq!((other.epoch, other.took_over), (2, Some(A)));
    world.apply(disconnect("c", 2, WillFate::Keep));
    assert_eq!(world.apply(Command::Claim(claim("c", A, 8))), Reply::Refused(Refusal::NotOwned { epoch: 2 }));
}

#[test]
fn a_claim_that_is_sent_again_does_not_take_the_session_from_a_later_one() {
    let mut world = World::new();
    world.claim(&claim("c", A, 7));
    let later = world.claim(&claim("c", B, 1));
    let superseded = Reply::Refused(Refusal::Superseded { epoch: later.epoch });
    assert_eq!(world.apply(Command::Claim(claim("c", A, 7))), superseded);
    // The same number from another node is another claim.
    assert_eq!(world.claim(&claim("c", B, 7)).epoch, 3);
}

#[test]
fn only_the_last_owner_speaks_for_a_session() {
    let mut world = World::new();
    let old = world.claim(&claim("c", A, 1)).epoch;
    let new = world.claim(&claim("c", B, 2)).epoch;
    world.queue("c", &["1"]);
    let packet_id = fulmar_codec::PacketId::MIN;
    let routed = Routed { item: item("2", &[]), destinations: vec![] };
    let with_epoch = |epoch| {
        [
            acknowledge("c", epoch, &[(0, Ack::Ack)]),
            Command::Subscribe { client: text("c"), epoch, subscriptions: vec![] },
            Command::Unsubscribe { client: text("c"), epoch, filters: vec![] },
            Command::ReceiveQos2 { client: text("c"), epoch, packet_id, routed: routed.clone() },
            Command::Release { client: text("c"), epoch, packet_id },
            disconnect("c", epoch, WillFate::Keep),
        ]
    };
    for command in with_epoch(old) {
        assert_eq!(world.apply(command), Reply::Refused(Refusal::Epoch { found: old, current: new }));
    }
    assert_eq!(world.payloads("c"), ["1"]);
    let replies = with_epoch(new).map(|command| world.apply(command));
    let expected = [
        Reply::Acknowledged(vec![AckReply::Done]),
        Reply::Subscribed(vec![]),
        Reply::Unsubscribed(vec![]),
        Reply::Routed(Stored::default()),
        Reply::Released(true),
        left(false, WillState::None),
    ];
    assert_eq!(replies, expected);
    for command in with_epoch(new) {
        assert_eq!(world.apply(command), Reply::Refused(Refusal::NotOwned { epoch: new }));
    }
}

#[test]
fn nobody_speaks_for_a_session_that_is_not_there() {
    let mut world = World::new();
    assert_eq!(world.apply(acknowledge("c", 1, &[])), Reply::Refused(Refusal::NoSession));
}

#[test]
fn subscriptions_tell_what_began_changed_and_ended() {
    let mut world = World::new();
    let Claimed { epoch, generation, .. } = world.session("c");
    world.session("d");
    let change = |client: &str, generation, filter: &str, subscription, subscribers| SubscriptionChange {
        client: client.into(),
        generation,
        filter: filter.into(),
        subscription,
        subscribers,
    };
    let one = subscription(QoS::AtLeastOnce);
    let two = subscription(QoS::ExactlyOnce);
    let subscribe = |client: &str, epoch, list: &[(&str, Subscription)]| Command::Subscribe {
        client: client.into(),
        epoch,
        subscriptions: list.iter().map(|(filter, it)| (text(filter), *it)).collect(),
    };
    assert_eq!(
        world.apply(subscribe("c", epoch, &[("a", one), ("b", one), ("a", one), ("a", two)])),
        Reply::Subscribed(vec![Ok(true), Ok(true), Ok(false), Ok(false)])
    );
    let changes = [("a", one), ("b", one), ("a", two)].map(|(filter, it)| change("c", generation, filter, Some(it), 1));
    assert_eq!(world.subscriptions, changes);
    world.apply(subscribe("d", 2, &[("a", one)]));
    assert_eq!(world.subscriptions, [change("d", 2, "a", Some(one), 2)]);
    assert_eq!(world.shard.filters().collect::<Vec<_>>(), [(&text("a"), 2), (&text("b"), 1)]);

    let filters = ["a", "a", "x"].map(text).to_vec();
    assert_eq!(
        world.apply(Command::Unsubscribe { client: text("c"), epoch, filters }),
        Reply::Unsubscribed(vec![true, false, false])
    );
    assert_eq!(world.subscriptions, [change("c", generation, "a", None, 1)]);
    let began = world.shard.filters_since(0).unwrap().map(|(_, filter, began)| (&**filter, began));
    assert_eq!(began.collect::<Vec<_>>(), [("a", true), ("b", true)]);
    assert_eq!(world.shard.filters_since(world.shard.applied()).unwrap().count(), 0);
    let all: Vec<_> = world.shard.subscriptions().map(|(client, _, filter, it)| (&**client, &**filter, *it)).collect();
    assert_eq!(all, [("c", "b", one), ("d", "a", one)]);
}
