use super::*;

fn receive_maximum(maximum: u16) -> NonZeroU16 {
    NonZeroU16::new(maximum).unwrap()
}

#[test]
fn what_a_client_takes_unacknowledged_is_given_out_in_order_with_identifiers_of_the_sequence() {
    let mut world = World::new();
    let two = Claim { receive_maximum: receive_maximum(2), ..claim("c", A, 1) };
    let epoch = world.claim(&two).epoch;
    world.queue("c", &["a", "b", "c", "d"]);
    let shown = |sequence, id, payload: &str| (sequence, id, payload.to_owned());
    assert_eq!(world.deliverable("c"), [shown(0, 1, "a"), shown(1, 2, "b")]);
    assert_eq!(world.apply(acknowledge("c", epoch, &[(1, Ack::Ack)])), Reply::Acknowledged(vec![AckReply::Done]));
    assert_eq!(world.deliverable("c"), [shown(0, 1, "a"), shown(2, 3, "c")]);
    assert_eq!(world.apply(acknowledge("c", epoch, &[(0, Ack::Ack)])), Reply::Acknowledged(vec![AckReply::Done]));
    assert_eq!(world.deliverable("c"), [shown(2, 3, "c"), shown(3, 4, "d")]);
}

#[test]
fn a_client_that_takes_more_than_the_shard_gives_out_gets_no_more() {
    let mut world = World::with(Settings { in_flight_max: receive_maximum(2), ..Settings::default() });
    let epoch = world.session("c").epoch;
    world.queue("c", &["a", "b", "c"]);
    assert_eq!(world.payloads("c"), ["a", "b"]);
    world.apply(acknowledge("c", epoch, &[(0, Ack::Ack)]));
    assert_eq!(world.payloads("c"), ["b", "c"]);
}

#[test]
fn credit_bounds_what_is_read_but_never_to_nothing() {
    let mut world = World::new();
    world.session("c");
    world.queue("c", &["aaaa", "bbbb", "cccc"]);
    let read = |from, messages, bytes| {
        let deliveries =
            world.shard.deliverable("c", from, Credit { messages, bytes }, world.now, &mut Nowhere).unwrap();
        deliveries.into_iter().map(|it| it.sequence).collect::<Vec<_>>()
    };
    assert_eq!(
        [read(0, 2, 1000), read(1, 9, 1000), read(0, 9, 10), read(2, 9, 0)],
        [vec![0, 1], vec![1, 2], vec![0, 1], vec![2]]
    );
    assert_eq!((read(0, 0, 1000), read(3, 9, 1000)), (vec![], vec![]));
}

#[test]
fn qos_2_is_released_by_pubrec_and_done_by_pubcomp() {
    let mut world = World::new();
    let epoch = world.session("c").epoch;
    world.queue_at("c", QoS::ExactlyOnce, &["x"]);
    let mut ack = |acks: &[Ack]| {
        let acks: Vec<_> = acks.iter().map(|ack| (0, *ack)).collect();
        world.apply(acknowledge("c", epoch, &acks))
    };
    assert_eq!(ack(&[Ack::Ack, Ack::Complete]), Reply::Acknowledged(vec![AckReply::Unexpected; 2]));
    assert_eq!(
        ack(&[Ack::Received, Ack::Received, Ack::Ack]),
        Reply::Acknowledged(vec![AckReply::Done, AckReply::DoneBefore, AckReply::Unexpected])
    );
    // Whoever owns the session next goes on with PUBREL.
    let next = world.claim(&claim("c", B, 2));
    assert_eq!((next.sent_until, world.payloads("c")), (1, vec!["PUBREL".to_owned()]));
    assert_eq!(
        world.apply(acknowledge("c", next.epoch, &[(0, Ack::Complete), (0, Ack::Complete)])),
        Reply::Acknowledged(vec![AckReply::Done, AckReply::DoneBefore])
    );
    assert_eq!(world.shard.counts().queued, 0);
}

#[test]
fn an_acknowledgement_must_be_of_what_was_sent() {
    let mut world = World::new();
    let one = Claim { receive_maximum: receive_maximum(1), ..claim("c", A, 1) };
    let epoch = world.claim(&one).epoch;
    world.queue("c", &["a", "b"]);
    let acks = [(1, Ack::Ack), (9, Ack::Discard), (0, Ack::Received), (0, Ack::Discard), (0, Ack::Ack)];
    let replies = [AckReply::NotSent, AckReply::NotSent, AckReply::Unexpected, AckReply::Done, AckReply::DoneBefore];
    assert_eq!(world.apply(acknowledge("c", epoch, &acks)), Reply::Acknowledged(replies.to_vec()));
    assert_eq!(world.payloads("c"), ["b"]);
}

#[test]
fn who_comes_back_is_told_what_may_have_been_sent() {
    let mut world = World::new();
    let two = Claim { receive_maximum: receive_maximum(2), ..claim("c", A, 1) };
    let epoch = world.claim(&two).epoch;
    world.queue("c", &["a", "b", "c"]);
    world.apply(disconnect("c", epoch, WillFate::Keep));
    assert_eq!(world.payloads("c"), [""; 0], "nobody is there to send it");
    world.queue("c", &["d"]);
    let back = world.claim(&Claim { receive_maximum: receive_maximum(3), ..claim("c", B, 2) });
    assert_eq!((back.sent_until, world.payloads("c")), (2, ["a", "b", "c"].map(str::to_owned).to_vec()));
}

#[test]
fn a_client_that_takes_less_than_before_gets_nothing_new_until_the_old_is_done() {
    let mut world = World::new();
    world.session("c");
    world.queue("c", &["a", "b", "c"]);
    let back = world.claim(&Claim { receive_maximum: receive_maximum(1), ..claim("c", B, 2) });
    world.queue("c", &["d"]);
    assert_eq!((back.sent_until, world.payloads("c").len()), (3, 3));
    let acks = [0, 1, 2].map(|sequence| (sequence, Ack::Ack));
    world.apply(acknowledge("c", back.epoch, &acks));
    assert_eq!(world.deliverable("c"), [(3, 4, "d".to_owned())]);
}

#[test]
fn identifiers_in_flight_are_never_given_to_another_message() {
    let mut world = World::with(Settings {
        queue_messages_max: 70_000,
        in_flight_max: receive_maximum(65_535),
        ..Settings::default()
    });
    let most = Claim { receive_maximum: receive_maximum(65_535), ..claim("c", A, 1) };
    let Claimed { epoch, generation, .. } = world.claim(&most);
    let item = item("x", &[target("c", generation, QoS::AtLeastOnce)]);
    world.apply(publish(1, &vec![item; 65_600]));
    // All but the oldest are done: there are identifiers enough, but the next in turn is the oldest one's.
    let acks: Vec<_> = (1..65_535).map(|sequence| (sequence, Ack::Ack)).collect();
    world.apply(acknowledge("c", epoch, &acks));
    assert_eq!(world.deliverable("c"), [(0, 1, "x".to_owned())]);
    world.apply(acknowledge("c", epoch, &[(0, Ack::Ack)]));
    let deliverable = world.deliverable("c");
    assert_eq!((deliverable.len(), &deliverable[0]), (65, &(65_535, 1, "x".to_owned())));
}
