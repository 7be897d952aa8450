//! Connections, nodes and sessions that end; wills; what expires.

use super::*;

fn left(ended: bool, will: WillState) -> Reply {
    Reply::Disconnected { ended, will }
}

fn with_will(client: &str, node: Node, nonce: u64, delay_seconds: u32) -> Claim {
    Claim { will: will("bye", delay_seconds), ..claim(client, node, nonce) }
}

#[test]
fn a_session_ends_when_its_expiry_is_over() {
    let mut world = World::new();
    let epoch = world.claim(&Claim { expiry_seconds: 10, ..claim("c", A, 1) }).epoch;
    world.queue("c", &["x"]);
    assert_eq!(world.apply(disconnect("c", epoch, WillFate::Keep)), left(false, WillState::None));
    assert_eq!(world.shard.next_due(), Some(world.now + 10 * SECOND));
    world.now += 10 * SECOND - 1;
    assert_eq!(world.expire(), Cleared::default());
    world.now += 1;
    assert_eq!(world.expire(), Cleared { ended: 1, ..Cleared::default() });
    assert_eq!((world.shard.counts(), world.shard.next_due()), (Counts::default(), None));
}

#[test]
fn a_session_without_end_stays() {
    let mut world = World::new();
    let epoch = world.claim(&Claim { expiry_seconds: u32::MAX, ..claim("c", A, 1) }).epoch;
    world.apply(disconnect("c", epoch, WillFate::Keep));
    assert_eq!(world.shard.next_due(), None);
}

#[test]
fn disconnect_may_set_another_expiry() {
    let mut world = World::new();
    let epoch = world.session("c").epoch;
    let (client, will) = (text("c"), WillFate::Delete);
    let now = Command::Disconnect { client, epoch, expiry_seconds: Some(0), will };
    assert_eq!(world.apply(now), left(true, WillState::None));
    assert_eq!(world.shard.counts(), Counts::default());
}

#[test]
fn a_session_that_is_over_is_not_resumed_though_it_was_not_cleared_up() {
    let mut world = World::new();
    let epoch = world.claim(&Claim { expiry_seconds: 10, ..with_will("c", A, 1, 60) }).epoch;
    world.queue("c", &["x"]);
    world.apply(disconnect("c", epoch, WillFate::Keep));
    world.now += 10 * SECOND;
    let new = world.claim(&claim("c", A, 2));
    assert_eq!(new, Claimed { epoch: 2, generation: 2, present: false, took_over: None, sent_until: 0 });
    assert_eq!((world.wills(), world.payloads("c")), (vec!["bye".to_owned()], vec![]));
}

#[test]
fn a_will_is_published_after_its_delay_once() {
    let mut world = World::new();
    let epoch = world.claim(&with_will("c", A, 1, 30)).epoch;
    let due = world.now + 30 * SECOND;
    assert_eq!(world.apply(disconnect("c", epoch, WillFate::Keep)), left(false, WillState::DueAt(due)));
    assert_eq!((world.shard.next_due(), world.wills()), (Some(due), vec![]));
    world.now = due;
    assert_eq!(world.expire(), Cleared { wills: 1, ..Cleared::default() });
    assert_eq!(world.expire(), Cleared::default());
    assert_eq!(world.wills(), ["bye"]);
    let publish = Command::PublishWill { will: 1, retain: None, targets: vec![], destinations: vec![] };
    assert_eq!(world.apply(publish.clone()), Reply::Routed(Stored::default()));
    assert_eq!(world.apply(publish), Reply::Refused(Refusal::NoWill(1)));
    // The session's end brings no second one.
    world.now += 3600 * SECOND;
    assert_eq!(world.expire(), Cleared { ended: 1, ..Cleared::default() });
    assert_eq!((world.wills().len(), world.shard.counts()), (0, Counts::default()));
}

#[test]
fn a_will_is_published_no_later_than_the_session_ends() {
    let mut world = World::new();
    let epoch = world.claim(&Claim { expiry_seconds: 10, ..with_will("c", A, 1, 30) }).epoch;
    let due = world.now + 10 * SECOND;
    assert_eq!(world.apply(disconnect("c", epoch, WillFate::Keep)), left(false, WillState::DueAt(due)));
    world.now = due;
    assert_eq!(world.expire(), Cleared { wills: 1, ended: 1, ..Cleared::default() });
}

#[test]
fn what_becomes_of_a_will_when_the_connection_ends() {
    for (fate, delay_seconds, expiry_seconds, expected, wills) in [
        (WillFate::Delete, 0, 3600, left(false, WillState::None), 0),
        (WillFate::Delete, 0, 0, left(true, WillState::None), 0),
        (WillFate::Keep, 0, 3600, left(false, WillState::Pending(1)), 1),
        (WillFate::Keep, 30, 0, left(true, WillState::Pending(1)), 1),
        (WillFate::Fire, 30, 3600, left(false, WillState::Pending(1)), 1),
        (WillFate::Fire, 30, 0, left(true, WillState::Pending(1)), 1),
    ] {
        let mut world = World::new();
        let epoch = world.claim(&Claim { expiry_seconds, ..with_will("c", A, 1, delay_seconds) }).epoch;
        let found = world.apply(disconnect("c", epoch, fate));
        assert_eq!((found, world.wills().len()), (expected, wills), "{fate:?}, {delay_seconds}, {expiry_seconds}");
    }
}

#[test]
fn who_comes_back_in_time_cancels_the_will() {
    let mut world = World::new();
    let epoch = world.claim(&with_will("c", A, 1, 30)).epoch;
    world.apply(disconnect("c", epoch, WillFate::Keep));
    world.now += 30 * SECOND - 1;
    let back = world.claim(&claim("c", B, 2));
    world.now += 1;
    assert_eq!((back.present, world.expire(), world.wills().len()), (true, Cleared::default(), 0));
    world.apply(disconnect("c", back.epoch, WillFate::Keep));
    assert_eq!(world.shard.next_due(), Some(world.now + 3600 * SECOND), "only the session has an end");
}

#[test]
fn who_comes_back_too_late_does_not_cancel_the_will() {
    let mut world = World::new();
    let epoch = world.claim(&with_will("c", A, 1, 30)).epoch;
    world.apply(disconnect("c", epoch, WillFate::Keep));
    world.now += 30 * SECOND;
    let back = world.claim(&claim("c", B, 2));
    assert_eq!((back.present, world.wills()), (true, vec!["bye".to_owned()]));
}

#[test]
fn taking_over_publishes_a_will_without_delay_or_of_a_session_that_ends() {
    for (delay_seconds, clean, wills) in [(0, false, 1), (30, false, 0), (30, true, 1), (0, true, 1)] {
        let mut world = World::new();
        world.claim(&with_will("c", A, 1, delay_seconds));
        let taken = world.claim(&Claim { clean, ..with_will("c", B, 2, 7) });
        assert_eq!((taken.took_over, taken.present), (Some(A), !clean));
        assert_eq!(world.wills().len(), wills, "{delay_seconds}, {clean}");
        // The new connection's will is another one.
        let due = world.now + 7 * SECOND;
        let left = left(false, WillState::DueAt(due));
        assert_eq!(world.apply(disconnect("c", taken.epoch, WillFate::Keep)), left);
    }
}

#[test]
fn the_sessions_of_a_node_that_is_gone_are_left() {
    let mut world = World::new();
    world.claim(&Claim { expiry_seconds: 0, ..with_will("a", A, 1, 30) });
    world.claim(&with_will("b", A, 1, 0));
    world.claim(&with_will("c", A, 1, 30));
    world.claim(&with_will("d", B, 1, 0));
    let cleared = Cleared { left: 2, ended: 1, wills: 2, ..Cleared::default() };
    assert_eq!(world.apply(Command::NodeGone(A)), Reply::Cleared(cleared));
    assert_eq!(world.shard.next_due(), Some(world.now + 30 * SECOND));
    let owners = ["a", "b", "c", "d"].map(|client| world.shard.session(client).map(|it| it.owner));
    assert_eq!(owners, [None, Some(None), Some(None), Some(Some(B))]);
    assert_eq!(world.apply(Command::NodeGone(A)), Reply::Cleared(Cleared::default()));
}

#[test]
fn a_node_that_is_gone_is_not_heard_any_more_but_its_next_life_is() {
    let mut world = World::new();
    let epoch = world.session("c").epoch;
    world.queue("c", &["x"]);
    world.apply(Command::NodeGone(A));
    let refused = Reply::Refused(Refusal::NodeGone(A));
    assert_eq!(world.apply(publish(2, &[])), refused);
    assert_eq!(world.apply(publish(1, &[])), refused);
    assert_eq!(world.apply(Command::Claim(claim("c", A, 2))), refused);
    let not_owned = Reply::Refused(Refusal::NotOwned { epoch });
    assert_eq!(world.apply(acknowledge("c", epoch, &[(0, Ack::Ack)])), not_owned);
    let next_life = Node { incarnation: 2, ..A };
    let source = Party::Node(next_life);
    let published = Reply::Published { items: vec![], expected: 1 };
    assert_eq!(world.apply(Command::Publish { source, first: 1, items: vec![], goes_on: false }), published);
    let back = world.claim(&claim("c", next_life, 1));
    assert_eq!((back.present, back.took_over, world.payloads("c")), (true, None, vec!["x".to_owned()]));
}

#[test]
fn a_life_that_is_gone_takes_those_before_it_along() {
    let mut world = World::new();
    let earlier = A;
    let later = Node { incarnation: 3, ..A };
    world.session("c");
    world.queue("c", &["x"]);
    assert_eq!(world.shard.expected(Party::Node(earlier)), 2);
    let cleared = Cleared { left: 1, ..Cleared::default() };
    assert_eq!(world.apply(Command::NodeGone(later)), Reply::Cleared(cleared));
    assert_eq!(world.shard.expected(Party::Node(earlier)), 1, "its numbers are forgotten");
    assert_eq!(world.apply(publish(1, &[])), Reply::Refused(Refusal::NodeGone(earlier)));
}

#[test]
fn clearing_up_goes_in_portions_and_who_was_not_reached_counts_as_left() {
    let mut world = World::with(Settings { portion: 2, ..Settings::default() });
    for client in ["a", "b", "c", "d"] {
        world.claim(&Claim { expiry_seconds: 10, ..claim(client, A, 1) });
    }
    let first = Cleared { left: 2, more: true, ..Cleared::default() };
    assert_eq!(world.apply(Command::NodeGone(A)), Reply::Cleared(first));
    assert_eq!(world.shard.next_due(), Some(world.now));
    // Not reached yet, but nobody owns them: their expiry began when the node was gone.
    assert_eq!(world.shard.session("d").unwrap().owner, None);
    assert_eq!(world.apply(acknowledge("d", 4, &[])), Reply::Refused(Refusal::NodeGone(A)));
    world.now += 5 * SECOND;
    let back = world.claim(&claim("c", B, 2));
    assert_eq!((back.present, back.took_over), (true, None));
    world.now += 5 * SECOND;
    assert_eq!(world.expire(), Cleared { ended: 2, more: true, ..Cleared::default() });
    assert_eq!(world.expire(), Cleared { ended: 1, ..Cleared::default() });
    assert_eq!(world.shard.counts().sessions, 1);
}

#[test]
fn a_session_with_a_long_queue_is_a_portion_of_its_own() {
    let mut world = World::with(Settings { portion: 3, ..Settings::default() });
    for client in ["a", "b"] {
        let epoch = world.claim(&Claim { expiry_seconds: 10, ..claim(client, A, 1) }).epoch;
        world.queue(client, &["1", "2", "3", "4"]);
        world.apply(disconnect(client, epoch, WillFate::Keep));
    }
    world.now += 10 * SECOND;
    assert_eq!(world.expire(), Cleared { ended: 1, more: true, ..Cleared::default() });
    assert_eq!(world.expire(), Cleared { ended: 1, ..Cleared::default() });
}

#[test]
fn nodes_are_remembered_as_gone_up_to_a_bound() {
    let mut world = World::with(Settings { nodes_max: 2, ..Settings::default() });
    let node = |id| Node { id, incarnation: 1 };
    for id in [3, 1, 2] {
        world.apply(Command::NodeGone(node(id)));
    }
    let refused =
        [1, 2, 3].map(|id| matches!(world.apply(Command::Claim(claim("c", node(id), id))), Reply::Refused(_)));
    assert_eq!(refused, [true, true, false]);
}

#[test]
fn messages_that_wait_expire_and_those_in_flight_do_not() {
    let mut world = World::new();
    let one = Claim { receive_maximum: NonZeroU16::MIN, ..claim("c", A, 1) };
    let Claimed { epoch, generation, .. } = world.claim(&one);
    let target = target("c", generation, QoS::AtLeastOnce);
    let lasting = |payload, lifetime| Item {
        message: message("t", payload).with_lifetime(lifetime),
        retain: None,
        targets: vec![target.clone()],
    };
    let items = [lasting("1", Some(5)), lasting("2", Some(5)), lasting("3", Some(9)), lasting("4", None)];
    world.apply(publish(1, &items));
    world.now += 1500;
    let credit = Credit { messages: 9, bytes: 900 };
    let left = world.shard.deliverable("c", 0, credit, world.now, &mut Nowhere).unwrap()[0]
        .message
        .as_ref()
        .unwrap()
        .lifetime_seconds;
    assert_eq!(left, Some(4), "what is left is rounded up");
    world.now += 3500;
    assert_eq!(world.expire(), Cleared { messages: 1, ..Cleared::default() });
    world.apply(acknowledge("c", epoch, &[(0, Ack::Ack)]));
    assert_eq!(world.deliverable("c"), [(2, 3, "3".to_owned())]);
    assert_eq!(world.shard.next_due(), None, "what is left is in flight or lasts for ever");
    assert_eq!(world.shard.totals(), Totals { expired: 1, ..Totals::default() });
}

#[test]
fn a_message_that_comes_too_late_is_for_nobody() {
    let mut world = World::new();
    let generation = world.session("c").generation;
    let message = message("t", "x").with_lifetime(Some(0));
    let version = Version { clock: 1, node: 1 };
    let item = Item { message, retain: Some(version), targets: vec![target("c", generation, QoS::AtLeastOnce)] };
    let expected = Stored { is_expired: true, retained: Some(RetainReply::Applied), ..Stored::default() };
    assert_eq!(
        world.apply(publish(1, &[item])),
        Reply::Published { items: vec![ItemReply::Stored(expected)], expected: 2 }
    );
    assert_eq!((world.shard.counts().messages, world.shard.totals().expired), (0, 1));
}
