//! What the leader of group 0 does for others.

use super::*;

/// Node 1 leads, alone in the view or with others that are linked with it.
fn leader(others: &[NodeId]) -> Node {
    let mut cluster = Cluster::new();
    for id in others {
        cluster.join(*id);
    }
    leader_of(Settings::default(), others, cluster)
}

fn leader_of(settings: Settings, others: &[NodeId], cluster: Cluster) -> Node {
    let (mut node, _) = Node::start_with(settings, me(1, 1), Bond::Belongs(CLUSTER), cluster);
    let members: Vec<Member> = others.iter().map(|id| member(*id, 1)).collect();
    node.link(&members);
    assert_eq!(node.role(1, Some(1), true), [propose(1, Command::Lead { leader: 1, term: 1 })]);
    assert_eq!(node.commit(&Command::Lead { leader: 1, term: 1 }), [Output::Read(1)]);
    node
}

fn ask(node: &mut Node, from: NodeId, number: u64, command: &Command) -> Vec<Output> {
    let request = Request { nonce: 77, number, command: command.clone() };
    node.receive(member(from, 1), MemberMessage::Request(request))
}

fn told(to: NodeId, number: u64, advice: Advice, text: &str) -> Output {
    send(to, MemberMessage::Answer { nonce: 77, number, answer: Answer { advice, text: text.into() } })
}

fn drain(node: NodeId) -> Command {
    Command::Drain { node, purpose: Purpose::Restart }
}

#[test]
fn what_others_ask_for_is_proposed_once_and_answered_when_it_is_applied() {
    let mut node = leader(&[2, 3]);
    assert_eq!(ask(&mut node, 2, 1, &drain(3)), [propose(1, drain(3))]);
    assert_eq!(ask(&mut node, 2, 2, &drain(3)), []);
    assert_eq!(ask(&mut node, 3, 9, &drain(3)), []);
    let out = node.commit(&drain(3));
    assert_eq!(out, [told(2, 2, Advice::Done, ""), told(3, 9, Advice::Done, "")]);
    assert_eq!(ask(&mut node, 2, 3, &drain(3)), [told(2, 3, Advice::Done, "")], "it counts already");
}

#[test]
fn what_came_in_one_term_is_not_proposed_in_another() {
    let mut node = leader(&[2, 3]);
    assert_eq!(ask(&mut node, 2, 1, &drain(3)), [propose(1, drain(3))]);
    assert_eq!(node.role(2, Some(3), false), []);
    let state = NodeState { leader: Some((2, 3)), ..leader_state(&node.cluster) };
    assert_eq!(ask(&mut node, 2, 2, &drain(3)), [send(2, MemberMessage::State(state))], "who leads is told instead");
    assert_eq!(node.role(3, Some(1), true), [propose(3, Command::Lead { leader: 1, term: 3 })]);
    assert_eq!(node.commit(&drain(3)), [], "whoever asked asks again");
    assert_eq!(ask(&mut node, 2, 3, &Command::CancelDrain { node: 3 }), [propose(3, Command::CancelDrain { node: 3 })]);
}

#[test]
fn what_has_to_wait_is_answered_at_once_and_other_refusals_when_the_group_agrees() {
    let mut node = leader(&[2]);
    let boot = Command::Boot { cluster: CLUSTER, start: start(2, 2) };
    assert_eq!(ask(&mut node, 2, 1, &boot), [told(2, 1, Advice::Retry, "0000000000000002#1 is still in the view")]);
    let unknown = Command::Boot { cluster: CLUSTER, start: start(9, 2) };
    assert_eq!(ask(&mut node, 9, 1, &unknown), [propose(1, unknown.clone())]);
    let text = "node 0000000000000009 does not belong to the cluster; it may join with a new folder";
    assert_eq!(node.commit(&unknown), [told(9, 1, Advice::StartAnew, text)]);
}

#[test]
fn nobody_asks_for_what_the_leader_decides_or_in_the_name_of_another() {
    let mut node = leader(&[2, 3]);
    let others = [
        Command::Bootstrap { cluster: CLUSTER, shards: 12, first: start(2, 1) },
        Command::Lead { leader: 2, term: 1 },
        Command::Remove { member: member(3, 1), term: 1 },
    ];
    for command in &others {
        assert_eq!(ask(&mut node, 2, 1, command), [told(2, 1, Advice::GiveUp, "only the leader decides that")]);
    }
    let text = "node 0000000000000002 asks in the name of 0000000000000003";
    let own = [
        Command::Confirm { member: member(2, 1), by: member(3, 1) },
        Command::Boot { cluster: CLUSTER, start: start(3, 2) },
        Command::Describe { member: member(3, 1), addresses: vec![], zone: "".into() },
    ];
    for command in &own {
        assert_eq!(ask(&mut node, 2, 1, command), [told(2, 1, Advice::GiveUp, text)]);
    }
    let renewal = Renewal { member: member(3, 1), number: 1, unreachable: vec![] };
    assert_eq!(node.receive(member(2, 1), MemberMessage::Renewal(renewal)), []);
    assert_eq!(node.receive(member(2, 1), MemberMessage::Goodbye(Goodbye { member: member(3, 1) })), []);
    assert_eq!(node.membership.status(&node.cluster.meta, at(0)).counts.requests_refused, 6);
}

#[test]
fn no_more_is_under_way_than_may_be() {
    let settings = Settings { proposals_max: 2, asks_max: 1, ..Settings::default() };
    let mut cluster = Cluster::new();
    cluster.join(2);
    let mut node = leader_of(settings, &[2], cluster);
    let gone = |node| Command::Gone { node };
    assert_eq!(ask(&mut node, 2, 1, &gone(7)), [propose(1, gone(7))]);
    assert_eq!(ask(&mut node, 2, 2, &gone(8)), [propose(1, gone(8))]);
    let text = "2 commands are under way, and no more may be";
    assert_eq!(ask(&mut node, 2, 3, &gone(9)), [told(2, 3, Advice::Retry, text)]);
    assert_eq!(node.membership.status(&node.cluster.meta, at(0)).counts.proposals_refused, 1);

    let mut out = Vec::new();
    let meta = node.cluster.meta.clone();
    assert_eq!(node.membership.ask(gone(5), &meta, at(0), &mut out), Ok(()));
    assert_eq!(node.membership.ask(gone(5), &meta, at(0), &mut out), Ok(()), "it is open already");
    assert_eq!(node.membership.ask(gone(6), &meta, at(0), &mut out), Err(TooManyAsks { max: 1 }));
    assert_eq!((out, node.membership.status(&meta, at(0)).counts.asks_refused), (vec![], 1));
}

#[test]
fn what_the_program_asks_for_is_asked_of_the_leader_until_it_is_answered() {
    let mut node = leader(&[2]);
    let asked = |node: &mut Node, command: Command| {
        node.does(|node, meta, now, out| node.ask(command, meta, now, out).expect("there is room"))
    };
    assert_eq!(asked(&mut node, drain(2)), [propose(1, drain(2))], "it leads itself");
    let answer = Answer::of(&Reply::Done);
    assert_eq!(node.commit(&drain(2)), [Output::Answered { command: drain(2), answer: answer.clone() }]);

    node.role(2, Some(2), false);
    let cancel = Command::CancelDrain { node: 2 };
    let nonce = start(1, 1).nonce;
    let out = asked(&mut node, cancel.clone());
    let [Output::Send { to: 2, message: MemberMessage::Request(request) }] = &out[..] else { panic!("{out:?}") };
    assert_eq!((request.nonce, &request.command), (nonce, &cancel));
    let number = request.number;
    let reply = |answer| MemberMessage::Answer { nonce, number, answer };
    let later = Answer { advice: Advice::Retry, text: "later".into() };
    assert_eq!(node.receive(member(2, 1), reply(later)), []);
    assert!(node.at(300).iter().any(|output| *output == out[0]), "again");
    let done = node.receive(member(2, 1), reply(answer.clone()));
    assert_eq!(done, [Output::Answered { command: cancel, answer: answer.clone() }]);
    assert_eq!(node.receive(member(2, 1), reply(answer)), []);
}

#[test]
fn a_renewal_is_granted_when_the_group_has_confirmed_that_this_node_leads() {
    let mut node = leader(&[2]);
    let renew = |node: &mut Node, number| {
        let renewal = Renewal { member: member(2, 1), number, unreachable: vec![] };
        node.receive(member(2, 1), MemberMessage::Renewal(renewal))
    };
    let confirm = |node: &mut Node, read| node.does(|node, meta, now, out| node.confirmed(read, 3, meta, now, out));
    assert_eq!(renew(&mut node, 5), [], "its own renewal is asked about");
    assert_eq!(confirm(&mut node, 1), [Output::Read(2)]);
    let grant = Grant { member: member(2, 1), number: 5, view: 2 };
    assert_eq!(confirm(&mut node, 2), [send(2, MemberMessage::Grant(grant))]);
    assert_eq!(renew(&mut node, 6), [Output::Read(3)]);
    assert_eq!(node.does(|node, meta, now, out| node.read_failed(3, meta, now, out)), []);
    assert_eq!(confirm(&mut node, 3), [], "it has failed");
}

#[test]
fn a_goodbye_ends_a_life_at_once() {
    let mut node = leader(&[2]);
    let out = node.receive(member(2, 1), MemberMessage::Goodbye(Goodbye { member: member(2, 1) }));
    assert_eq!(out, [propose(1, Command::Remove { member: member(2, 1), term: 1 })]);
}

#[test]
fn a_leader_that_drains_or_stops_hands_over() {
    let mut node = leader(&[2]);
    node.commit(&Command::Confirm { member: member(2, 1), by: member(1, 1) });
    node.commit(&Command::Confirm { member: member(1, 1), by: member(2, 1) });
    let out = node.commit(&drain(1));
    assert_eq!(out, [Output::TransferMeta(2)]);
    assert!(node.lacks().contains(&"draining".to_owned()));
    assert!(!node.at(999).contains(&Output::TransferMeta(2)));
    assert!(node.at(1000).contains(&Output::TransferMeta(2)), "nobody took it");

    let mut node = leader(&[2]);
    node.commit(&Command::Confirm { member: member(2, 1), by: member(1, 1) });
    let out = node.does(|node, meta, now, out| node.stop(meta, now, out));
    assert_eq!(out, [Output::TransferMeta(2)]);
}

#[test]
fn the_status_says_who_is_who() {
    let mut node = leader(&[2]);
    node.cluster.join(3);
    node.commit(&drain(2));
    let status = node.membership.status(&node.cluster.meta, at(0));
    let of = |id: NodeId, state, is_linked| MemberStatus {
        id,
        incarnation: 1,
        name: format!("broker-{id}").into(),
        state,
        is_linked,
    };
    let wanted = Status {
        member: member(1, 1),
        cluster: Some(CLUSTER),
        leader: Some(1),
        term: 1,
        is_granting: true,
        view: 3,
        followed: 0,
        applied: 5,
        level: fulmar_meta::LEVEL,
        members: vec![
            of(1, fulmar_meta::State::Up, true),
            of(2, fulmar_meta::State::Draining, true),
            of(3, fulmar_meta::State::Joining, false),
        ],
        lease_left: Duration::ZERO,
        serves: false,
        counts: Counts::default(),
    };
    assert_eq!(status, wanted);
}

#[test]
fn a_node_that_has_to_start_anew_does_nothing_else_in_the_same_turn() {
    let mut cluster = Cluster::new();
    cluster.commit(&Command::Lead { leader: 1, term: 1 });
    cluster.commit(&Command::Remove { member: member(1, 1), term: 1 });
    let (mut node, _) = Node::start(me(1, 2), Bond::Belongs(CLUSTER), cluster);
    let boot = |incarnation| Command::Boot { cluster: CLUSTER, start: start(1, incarnation) };
    assert_eq!(node.role(2, Some(1), true), [propose(2, boot(2)), propose(2, Command::Lead { leader: 1, term: 2 })]);
    // A copy of the folder was faster, by way of an earlier leader.
    let commands = [boot(5), boot(2)].map(|command| {
        let reply = node.cluster.commit(&command);
        (command, reply)
    });
    let out = node.does(|node, meta, now, out| node.applied(&commands, meta, now, out));
    let text = "this node can't come back to the cluster: boot counter 2 of a restored or copied folder, more than 5 is \
                wanted; its data folder is set aside, and it joins as another node";
    assert_eq!(out, [Output::View(node.cluster.meta.view().clone()), Output::StartAnew(text.into())]);
}

#[test]
fn who_was_drained_to_leave_and_stays_away_is_retired() {
    let mut node = leader(&[2, 3]);
    let read = |out: &Output| matches!(out, Output::Propose { command: Command::Gone { .. }, .. });
    let leave = Command::Drain { node: 3, purpose: Purpose::Leave };
    node.commit(&leave);
    let gone = Command::Gone { node: 3 };
    let proposes = |node: &mut Node, millis: u64| node.at(millis).into_iter().filter(read).collect::<Vec<_>>();
    assert_eq!(proposes(&mut node, 20_000), [], "it lives");
    node.commit(&Command::Remove { member: member(3, 1), term: 1 });
    assert_eq!(proposes(&mut node, 29_999), [], "it may restart");
    assert_eq!(proposes(&mut node, 30_000), [propose(1, gone.clone())]);
    assert_eq!(proposes(&mut node, 30_100), [], "it is on its way");
    assert_eq!(proposes(&mut node, 31_000), [propose(1, gone.clone())], "it was lost");
    node.commit(&gone);
    assert_eq!((node.cluster.meta.state(3), proposes(&mut node, 60_000)), (Some(State::Gone), vec![]));
}

#[test]
fn who_is_down_and_was_not_to_leave_stays() {
    let mut node = leader(&[2, 3]);
    node.commit(&drain(3));
    node.commit(&Command::Remove { member: member(3, 1), term: 1 });
    node.commit(&Command::Remove { member: member(2, 1), term: 1 });
    let is_gone = |out: &Output| matches!(out, Output::Propose { command: Command::Gone { .. }, .. });
    assert!(![0, 10_000, 60_000].into_iter().any(|millis| node.at(millis).iter().any(is_gone)));
}
