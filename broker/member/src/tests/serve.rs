//! When a node may serve clients and acknowledge, and how it stops.

use super::*;

/// Node 2, which node 1 leads, in the view and linked; up if that is said.
fn member_two(is_up: bool) -> Node {
    let mut cluster = Cluster::new();
    cluster.join(2);
    if is_up {
        cluster.confirm(2, 1);
    }
    let (mut node, out) = Node::start(me(2, 1), Bond::Belongs(CLUSTER), cluster);
    let renewal = Renewal { member: member(2, 1), number: 1, unreachable: vec![] };
    assert_eq!(out, [Output::View(node.cluster.meta.view().clone())], "nobody hears its renewal yet");
    assert_eq!(node.role(1, Some(1), false), []);
    node.link(&[member(1, 1)]);
    assert_eq!(node.at(0), [send(1, MemberMessage::Renewal(Renewal { number: 2, ..renewal }))]);
    node
}

fn grant(node: &mut Node, number: u64) -> Vec<Output> {
    let view = node.cluster.meta.view().number;
    let member = node.membership.member();
    node.receive(self::member(1, 1), MemberMessage::Grant(Grant { member, number, view }))
}

fn serves_until(millis: u64) -> Vec<Output> {
    vec![Output::Acknowledge(Some(at(millis))), Output::Serve]
}

#[test]
fn a_joiner_serves_when_all_waits_for_it_and_it_has_all_filters_whatever_comes_last() {
    let confirm = Command::Confirm { member: member(2, 1), by: member(1, 1) };
    type Step<'a> = (&'a str, &'a dyn Fn(&mut Node) -> Vec<Output>);
    let steps: [Step<'_>; 4] = [
        ("joining: not confirmed by broker-1", &|node| node.commit(&confirm)),
        ("joining: data threads do not follow the view yet", &|node| node.follow(2)),
        ("joining: not all shards have told their filters yet", &|node| node.feed(2)),
        ("no lease: broker-1, who leads the cluster, does not answer", &|node| grant(node, 2)),
    ];
    for last in 0..steps.len() {
        let mut node = member_two(false);
        assert_eq!(node.lacks(), steps.map(|(text, _)| text));
        assert_eq!(node.membership.awaits_feeds(), Some(2));
        for (_, step) in steps.iter().enumerate().filter(|(at, _)| *at != last).map(|(_, step)| step) {
            assert_eq!(step(&mut node), [], "last is {}", steps[last].0);
        }
        assert_eq!(node.lacks(), [steps[last].0]);
        assert_eq!(steps[last].1(&mut node), serves_until(2000), "last is {}", steps[last].0);
        assert_eq!((node.lacks().len(), node.membership.awaits_feeds()), (0, None));
    }
}

#[test]
fn filters_and_threads_of_an_earlier_view_do_not_count() {
    let mut node = member_two(true);
    grant(&mut node, 2);
    assert_eq!((node.follow(1), node.feed(1)), (vec![], vec![]));
    assert_eq!(node.lacks().len(), 2);
    node.follow(2);
    assert_eq!(node.feed(3), serves_until(2000));
    // Another one comes: who was told all filters once is told each one from then on.
    let join = Command::Join { cluster: CLUSTER, made_at: 3, start: start(3, 1) };
    assert_eq!(node.commit(&join), [Output::View(node.cluster.meta.view().clone())]);
    assert_eq!((node.membership.serves(), node.lacks().len()), (true, 0));
}

#[test]
fn without_a_lease_clients_are_closed_and_with_one_they_may_come_back() {
    let mut node = member_two(true);
    node.follow(2);
    node.feed(2);
    assert_eq!(grant(&mut node, 2), serves_until(2000));
    for millis in (250..2000).step_by(250) {
        node.at(millis);
    }
    let last = node.at(2000);
    assert_eq!(last[1..], [Output::CloseClients], "{last:?}");
    assert_eq!(node.lacks(), ["no lease: broker-1, who leads the cluster, does not answer"]);
    let status = node.membership.status(&node.cluster.meta, at(2000));
    assert_eq!((status.serves, status.lease_left, status.counts.leases_lost), (false, Duration::ZERO, 1));
    assert_eq!(grant(&mut node, 9), serves_until(3750), "it counts from when renewal 9 was sent");
}

#[test]
fn a_new_life_awaits_all_that_the_one_before_had() {
    let mut node = member_two(true);
    node.follow(2);
    node.feed(2);
    grant(&mut node, 2);
    node.commit(&Command::Lead { leader: 1, term: 1 });
    let out = node.commit(&Command::Remove { member: member(2, 1), term: 1 });
    let wanted = [
        Output::View(node.cluster.meta.view().clone()),
        Output::Acknowledge(None),
        Output::CloseClients,
        Output::BeginNextLife { above: 1 },
    ];
    assert_eq!(out, wanted);
    node.does(|node, meta, now, out| node.begin_life(member(2, 2), meta, now, out));
    let nonce = start(2, 1).nonce;
    let boot = Command::Boot { cluster: CLUSTER, start: Start { nonce, ..start(2, 2) } };
    node.commit(&boot);
    node.commit(&Command::Confirm { member: member(2, 2), by: member(1, 1) });
    // A grant for the life before is for nobody.
    let old = Grant { member: member(2, 1), number: 2, view: 4 };
    assert_eq!(node.receive(member(1, 1), MemberMessage::Grant(old)), []);
    assert_eq!(node.lacks().len(), 3, "{:?}", node.lacks());
    assert_eq!((grant(&mut node, 1), node.follow(4), node.membership.awaits_feeds()), (vec![], vec![], Some(4)));
    assert_eq!(node.feed(4), serves_until(2000));
}

#[test]
fn a_member_that_cannot_be_reached_for_as_long_as_links_wait_is_reported() {
    let mut node = member_two(true);
    node.link(&[]);
    let reported = |out: &[Output]| match out {
        [Output::Send { to: 1, message: MemberMessage::Renewal(it) }] => it.unreachable.clone(),
        other => panic!("one renewal is wanted, found {other:?}"),
    };
    let last = (250..=2000).step_by(250).map(|millis| reported(&node.at(millis)));
    let last: Vec<Vec<NodeId>> = last.collect();
    assert_eq!(last, [vec![], vec![], vec![], vec![], vec![], vec![], vec![], vec![1]]);
    node.link(&[member(1, 1)]);
    assert_eq!(reported(&node.at(2250)), []);
}

#[test]
fn a_joiner_is_confirmed_when_there_is_a_link_with_all_filters_and_all_threads_wait_for_it() {
    let mut node = member_two(true);
    node.follow(2);
    let join = Command::Join { cluster: CLUSTER, made_at: 3, start: start(3, 1) };
    node.commit(&join);
    let request = Request {
        nonce: start(2, 1).nonce,
        number: 1,
        command: Command::Confirm { member: member(3, 1), by: member(2, 1) },
    };
    let confirm = || vec![send(1, MemberMessage::Request(request.clone()))];
    let link = |node: &mut Node, third| {
        let link = |member, is_level| Link { member, is_live: true, is_level, hears: true };
        let links = [link(member(1, 1), true), link(member(3, 1), third)];
        node.does(|node, meta, now, out| node.links(&links, meta, now, out))
    };
    assert_eq!((link(&mut node, false), node.follow(3)), (vec![], vec![]));
    assert_eq!(link(&mut node, true), confirm());
    assert_eq!(node.commit(&Command::Confirm { member: member(3, 1), by: member(2, 1) }), [], "once is enough");

    let mut node = member_two(true);
    node.follow(2);
    node.commit(&join);
    assert_eq!(link(&mut node, true), []);
    assert_eq!(node.follow(3), confirm());
}

#[test]
fn who_stops_closes_its_clients_and_then_takes_leave_of_all() {
    let mut node = member_two(true);
    node.follow(2);
    node.feed(2);
    grant(&mut node, 2);
    let goodbye = send(1, MemberMessage::Goodbye(Goodbye { member: member(2, 1) }));
    assert_eq!(node.does(|node, _, _, out| node.farewell(out)), [], "clients are there still");
    let out = node.does(|node, meta, now, out| node.stop(meta, now, out));
    assert_eq!(out, [Output::Acknowledge(None), Output::CloseClients]);
    assert_eq!(grant(&mut node, 3), []);
    assert_eq!(node.does(|node, _, _, out| node.farewell(out)), [goodbye]);
    assert_eq!((node.at(9000), node.lacks()), (vec![], vec!["stopping".to_owned()]));
    assert_eq!(node.does(|node, _, _, out| node.farewell(out)), []);
}
