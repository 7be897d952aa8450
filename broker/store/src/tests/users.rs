//! Whose a session is, and who may end it.

use super::*;

fn of_user(user: &str, node: Node, nonce: u64) -> Claim {
    Claim { user: Some(user.into()), ..claim("c", node, nonce) }
}

fn by_anybody(claim: Claim) -> Claim {
    Claim { takeover: Takeover::AnyUser, ..claim }
}

/// A session of `ann` on node A with a subscription, a message, an open packet identifier and a will.
fn session_of_ann(world: &mut World) -> Claimed {
    let claimed = world.claim(&Claim { will: will("bye", 30), ..of_user("ann", A, 1) });
    let epoch = claimed.epoch;
    let subscriptions = vec![(text("t"), subscription(QoS::AtLeastOnce))];
    world.apply(Command::Subscribe { client: text("c"), epoch, subscriptions });
    world.queue("c", &["secret"]);
    let routed = Routed { item: item("x", &[]), destinations: vec![] };
    let packet_id = fulmar_codec::PacketId::MIN;
    world.apply(Command::ReceiveQos2 { client: text("c"), epoch, packet_id, routed });
    claimed
}

#[test]
fn another_user_is_refused_and_nothing_changes() {
    let mut world = World::new();
    let mine = session_of_ann(&mut world);
    let before = (world.shard.counts(), world.shard.session("c"));
    let anonymous = Claim { user: None, ..of_user("ann", B, 3) };
    for other in [of_user("bob", B, 2), anonymous, Claim { clean: true, ..of_user("bob", B, 4) }] {
        assert_eq!(world.apply(Command::Claim(other)), Reply::Refused(Refusal::OtherUser));
    }
    assert_eq!((world.shard.counts(), world.shard.session("c")), before);
    let back = world.claim(&of_user("ann", B, 5));
    assert_eq!((back.present, back.generation, back.took_over), (true, mine.generation, Some(A)));
    assert_eq!(world.payloads("c"), ["secret"]);
}

#[test]
fn who_may_take_over_from_another_user_ends_the_session_and_inherits_nothing() {
    let mut world = World::new();
    session_of_ann(&mut world);
    let taken = world.claim(&by_anybody(of_user("bob", B, 2)));
    let expected = Claimed { epoch: 2, generation: 2, present: false, took_over: Some(A), sent_until: 0 };
    assert_eq!((taken, world.wills()), (expected, vec!["bye".to_owned()]));
    let (id, pending) = world.shard.pending_wills().next().unwrap();
    assert_eq!((id, pending.user.as_deref()), (1, Some("ann")));
    world.apply(Command::PublishWill { will: 1, retain: None, targets: vec![], destinations: vec![] });
    let bytes = cost::SESSION + 1 + 3;
    assert_eq!(world.shard.counts(), Counts { sessions: 1, bytes, ..Counts::default() });
    let users: Vec<_> = world.shard.users_after(None).collect();
    assert_eq!(users, [(&text("c"), 2, Some(&text("bob")))]);
    assert_eq!(world.shard.users_after(Some("c")).count(), 0);
    // It is sent again, and so is the one that lost the session.
    assert_eq!(world.claim(&by_anybody(of_user("bob", B, 2))), expected);
    let again = world.apply(Command::Claim(of_user("ann", A, 1)));
    assert_eq!(again, Reply::Refused(Refusal::Superseded { epoch: 2 }));
}

#[test]
fn the_same_user_goes_on_whatever_the_rule() {
    let mut world = World::new();
    session_of_ann(&mut world);
    assert!(world.claim(&by_anybody(of_user("ann", B, 2))).present);
    let anonymous = claim("d", A, 1);
    world.claim(&anonymous);
    assert!(world.claim(&by_anybody(claim("d", B, 2))).present);
}

#[test]
fn a_session_that_is_over_is_nobodys() {
    let mut world = World::new();
    let epoch = world.claim(&Claim { expiry_seconds: 10, ..of_user("ann", A, 1) }).epoch;
    world.apply(disconnect("c", epoch, WillFate::Keep));
    world.now += 10 * SECOND - 1;
    assert_eq!(world.apply(Command::Claim(of_user("bob", B, 2))), Reply::Refused(Refusal::OtherUser));
    world.now += 1;
    assert!(!world.claim(&of_user("bob", B, 2)).present);
    // So is one that has no end but its connection, whose node is gone and which was not dealt with.
    world.apply(Command::Settings(Settings { portion: 0, ..Settings::default() }));
    world.claim(&Claim { expiry_seconds: 0, ..of_user("bob", B, 3) });
    for client in ["a", "b"] {
        world.claim(&Claim { expiry_seconds: 0, ..claim(client, B, 1) });
    }
    world.apply(Command::NodeGone(B));
    assert_eq!(world.shard.session("c").unwrap().owner, None);
    assert!(!world.claim(&of_user("ann", A, 4)).present);
}

#[test]
fn a_session_is_ended_for_good_whoever_owns_it_but_not_a_later_life_of_it() {
    let mut world = World::new();
    let first = session_of_ann(&mut world);
    let end = |generation| Command::End { client: text("c"), generation };
    let nothing = Reply::Ended { was_there: false, owner: None };
    assert_eq!(world.apply(end(first.generation)), Reply::Ended { was_there: true, owner: Some(A) });
    assert_eq!((world.wills(), world.shard.counts().sessions), (vec!["bye".to_owned()], 0));
    assert_eq!(world.apply(end(first.generation)), nothing);
    assert_eq!(world.apply(acknowledge("c", first.epoch, &[])), Reply::Refused(Refusal::NoSession));

    let second = world.claim(&of_user("ann", A, 2));
    assert_eq!((second.present, world.apply(end(first.generation))), (false, nothing));
    world.apply(disconnect("c", second.epoch, WillFate::Keep));
    assert_eq!(world.apply(end(second.generation)), Reply::Ended { was_there: true, owner: None });
    world.apply(Command::PublishWill { will: 1, retain: None, targets: vec![], destinations: vec![] });
    assert_eq!((world.shard.counts(), world.shard.next_due()), (Counts::default(), None));
}

#[test]
fn an_owner_that_is_gone_has_no_client_to_close() {
    let mut world = World::with(Settings { portion: 1, ..Settings::default() });
    let [_, second] = ["b", "c"].map(|client| world.session(client).generation);
    world.apply(Command::NodeGone(A));
    let end = Command::End { client: text("c"), generation: second };
    assert_eq!(world.apply(end), Reply::Ended { was_there: true, owner: None });
    assert_eq!(world.expire(), Cleared::default());
}

#[test]
fn who_comes_back_takes_no_room_but_another_user_with_a_longer_name_does() {
    let mut world = World::new();
    world.claim(&of_user("ann", A, 1));
    let shard_bytes_max = world.shard.counts().bytes;
    world.apply(Command::Settings(Settings { shard_bytes_max, ..Settings::default() }));
    let longer = Command::Claim(by_anybody(of_user("anne", B, 2)));
    assert_eq!(world.apply(longer), Reply::Refused(Refusal::Bound(Bound::ShardBytes)));
    assert!(!world.claim(&by_anybody(of_user("bob", B, 3))).present);
    assert!(world.claim(&of_user("bob", B, 4)).present);
}
