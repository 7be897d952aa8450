//! How a node joins a cluster, comes back to it, and is refused.

use super::*;

fn joins(made_at: Index) -> Bond {
    Bond::Joins { cluster: CLUSTER, made_at }
}

fn join(made_at: Index, id: NodeId, incarnation: Incarnation) -> Command {
    Command::Join { cluster: CLUSTER, made_at, start: start(id, incarnation) }
}

fn request(of: NodeId, incarnation: Incarnation, number: u64, command: Command) -> MemberMessage {
    MemberMessage::Request(Request { nonce: start(of, incarnation).nonce, number, command })
}

fn answer(of: NodeId, number: u64, advice: Advice, text: &str) -> MemberMessage {
    MemberMessage::Answer { nonce: start(of, 1).nonce, number, answer: Answer { advice, text: text.into() } }
}

/// A node that belongs to the cluster of nodes 1 and 2 and starts again, linked with both.
fn returning() -> Node {
    let mut cluster = Cluster::new();
    cluster.join(2);
    cluster.join(3);
    let own = member(3, 1);
    cluster.commit(&Command::Lead { leader: 1, term: 1 });
    cluster.commit(&Command::Remove { member: own, term: 1 });
    let back = Me { nonce: start(3, 1).nonce, ..me(3, 2) };
    let (mut node, out) = Node::start(back, Bond::Belongs(CLUSTER), cluster);
    assert_eq!(out, [Output::View(node.cluster.meta.view().clone())]);
    node.role(1, Some(1), false);
    node
}

#[test]
fn a_new_node_binds_its_folder_and_asks_the_leader_when_it_is_linked_with_all_members() {
    let mut theirs = Cluster::new();
    theirs.join(2);
    let (mut node, out) = Node::start(me(3, 1), Bond::None, nothing());
    assert_eq!(out, []);
    assert_eq!(node.link(&[member(1, 1)]), [send(1, MemberMessage::Look)]);
    // First the folder says what it means, with an entry that the leader knows.
    assert_eq!(node.hear(member(1, 1), leader_state(&theirs)), [save(3, joins(2))]);
    assert_eq!(node.lacks(), ["not linked with all members of the cluster: broker-2"]);
    assert_eq!(node.link(&[member(1, 1), member(2, 7)]), [send(2, MemberMessage::Look)], "another life is another");
    let wanted = [send(2, MemberMessage::Look), send(1, request(3, 1, 1, join(2, 3, 1)))];
    assert_eq!(node.link(&[member(1, 1), member(2, 1)]), wanted);
    assert_eq!(node.lacks(), ["not a member of the cluster yet: the leader was asked"]);
    assert_eq!(node.at(299), []);
    assert_eq!(node.at(300), [send(1, request(3, 1, 1, join(2, 3, 1)))]);
    // Why it is kept out is told, as long as it is.
    let refusal = Refusal::NameTaken { name: "broker-3".into(), member: member(2, 1) };
    let answer = Answer::of(&Reply::Refused(refusal));
    assert_eq!(node.receive(member(1, 1), MemberMessage::Answer { nonce: 3001, number: 1, answer }), []);
    let why = "a live member, node 0000000000000002, has the name \"broker-3\" already: each needs one of its own";
    assert_eq!(node.lacks(), [format!("not a member of the cluster yet: {why}")]);
    // A view that is later than what it knows counts.
    theirs.join(4);
    assert_eq!(node.hear(member(1, 1), leader_state(&theirs)), []);
    assert_eq!(node.lacks(), ["not linked with all members of the cluster: broker-4"]);
}

#[test]
fn an_old_word_of_a_leader_binds_nobody_to_a_cluster_that_has_not_begun() {
    let (mut node, _) = Node::start(me(3, 1), Bond::None, nothing());
    node.link(&[member(1, 1)]);
    // What a node says of itself while it begins.
    let begins = Me { begins: Some(Begins { cluster: CLUSTER, shards: 12 }), ..me(1, 1) };
    let (mut first, _) = Node::start(begins, Bond::Begins(CLUSTER), nothing());
    first.role(1, Some(1), true);
    let said = first.receive(member(3, 1), MemberMessage::Look);
    let state = NodeState { cluster: Some(CLUSTER), ..NodeState::default() };
    assert_eq!(said, [send(3, MemberMessage::State(state.clone()))]);
    assert_eq!(node.hear(member(1, 1), state), []);
    assert_eq!(node.membership.folder().bond, Bond::None);
}

#[test]
fn a_folder_with_what_a_lone_broker_kept_joins_no_cluster() {
    let (mut node, _) = Node::start(Me { has_data: true, ..me(3, 1) }, Bond::None, nothing());
    node.link(&[member(1, 1)]);
    let text = format!(
        "the data folder holds what a broker kept that was alone, wanted is an empty one to join cluster {CLUSTER}: \
         move it away, or begin the cluster with this node"
    );
    assert_eq!(node.hear(member(1, 1), leader_state(&Cluster::new())), [Output::GiveUp(text.as_str().into())]);
    assert_eq!(node.lacks(), [text]);
}

#[test]
fn nodes_of_two_clusters_are_for_a_human() {
    let (mut node, _) = Node::start(me(3, 1), Bond::None, nothing());
    let other = NodeState { cluster: Some(ClusterId(5)), ..NodeState::default() };
    assert_eq!((node.link(&[member(1, 1), member(2, 1)]).len(), node.hear(member(2, 1), other)), (2, vec![]));
    assert_eq!(node.hear(member(1, 1), leader_state(&Cluster::new())), []);
    assert_eq!(node.lacks(), [format!("nodes that answer belong to cluster {}, wanted is {CLUSTER}", ClusterId(5))]);

    // A node that knows its own joins it.
    let (mut node, _) = Node::start(Me { cluster_id: Some(CLUSTER), ..me(3, 1) }, Bond::None, nothing());
    node.link(&[member(1, 1), member(2, 1)]);
    node.hear(member(2, 1), NodeState { cluster: Some(ClusterId(5)), ..NodeState::default() });
    assert_eq!(node.hear(member(1, 1), leader_state(&Cluster::new()))[0], save(3, joins(1)));
}

#[test]
fn another_leader_is_asked_at_once_and_a_later_one_that_others_know_of_too() {
    let mut node = returning();
    let nonce = start(3, 1).nonce;
    let command = Command::Boot { cluster: CLUSTER, start: Start { nonce, ..start(3, 2) } };
    let ask = |to| send(to, request(3, 1, 1, command.clone()));
    let looks = [send(1, MemberMessage::Look), send(2, MemberMessage::Look)];
    assert_eq!(node.link(&[member(1, 1), member(2, 1)]), [&looks[..], &[ask(1)]].concat());
    node.now = 100;
    assert_eq!(node.role(2, Some(2), false), [ask(2)]);
    node.now = 200;
    assert_eq!(node.role(3, None, false), [], "nobody knows");
    let heard = NodeState { leader: Some((3, 1)), ..leader_state(&node.cluster) };
    assert_eq!(node.hear(member(2, 1), heard), [ask(1)]);
    assert_eq!(node.membership.status(&node.cluster.meta, at(200)).counts.asked_again, 2);
}

#[test]
fn what_the_leader_advises_is_done_if_it_is_for_this_process_and_this_life() {
    let asked = || {
        let mut node = returning();
        node.link(&[member(1, 1), member(2, 1)]);
        node
    };
    let mut node = asked();
    let foreign = MemberMessage::Answer { nonce: 7, number: 1, answer: Answer::of(&Reply::Done) };
    assert_eq!(node.receive(member(1, 1), foreign), []);
    assert_eq!(node.receive(member(1, 1), answer(3, 9, Advice::StartAnew, "no")), []);
    assert_eq!(node.receive(member(1, 1), answer(3, 1, Advice::Retry, "later")), []);
    assert_eq!(
        node.receive(member(1, 1), answer(3, 1, Advice::NextLife, "over")),
        [Output::BeginNextLife { above: 2 }]
    );
    assert_eq!(node.lacks(), ["removed from the cluster, about to join again"]);
    let again = node.does(|node, meta, now, out| node.begin_life(member(3, 3), meta, now, out));
    assert!(matches!(&again[..], [Output::Send { to: 1, message: MemberMessage::Request(it) }] if it.number == 2));
    assert_eq!(node.receive(member(1, 1), answer(3, 1, Advice::StartAnew, "of the life before")), []);

    let text = "this node can't come back to the cluster: boot counter 2 of a restored or copied folder, more than 7 is \
                wanted; its data folder is set aside, and it joins as another node";
    let refusal = Reply::Refused(Refusal::Restored { found: 2, recorded: 7 });
    let restored = |number| MemberMessage::Answer { nonce: start(3, 1).nonce, number, answer: Answer::of(&refusal) };
    let mut node = asked();
    assert_eq!(node.receive(member(1, 1), restored(1)), [Output::StartAnew(text.into())]);
    assert_eq!((node.lacks(), node.at(5000)), (vec![text.to_owned()], vec![]));
    assert_eq!(node.membership.next_deadline(&node.cluster.meta, at(5000)), None);

    let text = "the cluster does not take this node in: feature level 1, at least 2 is wanted";
    let refusal = Reply::Refused(Refusal::Level { found: 1, wanted: 2 });
    let message = MemberMessage::Answer { nonce: start(3, 1).nonce, number: 1, answer: Answer::of(&refusal) };
    assert_eq!(asked().receive(member(1, 1), message), [Output::GiveUp(text.into())]);
}

#[test]
fn a_node_that_had_joined_without_knowing_comes_back_by_its_next_life() {
    let mut theirs = Cluster::new();
    theirs.join(3);
    let again = Me { nonce: start(3, 1).nonce, ..me(3, 2) };
    let (mut node, _) = Node::start(again, joins(1), nothing());
    node.link(&[member(1, 1)]);
    node.hear(member(1, 1), leader_state(&theirs));
    let refusal = Reply::Refused(Refusal::Known { node: 3, recorded: 1 });
    let message = MemberMessage::Answer { nonce: start(3, 1).nonce, number: 1, answer: Answer::of(&refusal) };
    let wanted = [save(3, Bond::Belongs(CLUSTER)), Output::BeginNextLife { above: 2 }];
    assert_eq!(node.receive(member(1, 1), message), wanted);
}

#[test]
fn a_member_that_was_cut_off_for_long_believes_others_that_it_is_out() {
    let mut cluster = Cluster::new();
    cluster.join(2);
    let (mut node, _) = Node::start(me(2, 1), Bond::Belongs(CLUSTER), cluster.clone());
    node.role(1, Some(1), false);
    cluster.commit(&Command::Lead { leader: 1, term: 1 });
    cluster.commit(&Command::Remove { member: member(2, 1), term: 1 });
    node.link(&[member(1, 1)]);
    node.now = 2999;
    assert_eq!(node.hear(member(1, 1), leader_state(&cluster)), [], "its own group will tell it");
    node.now = 3000;
    assert_eq!(node.hear(member(1, 1), leader_state(&cluster))[0], Output::BeginNextLife { above: 1 });
}

#[test]
fn what_others_say_is_kept_of_no_more_nodes_than_there_may_be() {
    let begins = Some(Begins { cluster: CLUSTER, shards: 12 });
    let (mut node, _) = Node::start(Me { begins, ..me(1, 1) }, Bond::None, nothing());
    let ids = 2..=NODES_MAX as u64 + 2;
    assert_eq!(ids.clone().count(), NODES_MAX + 1);
    let last: Vec<Found> = ids.clone().skip(1).map(|id| found(&format!("{id}"), Some(member(id, 1)))).collect();
    for millis in [0, 1000] {
        node.now = millis;
        for id in ids.clone() {
            assert_eq!(node.hear(member(id, 1), NodeState::default()), []);
        }
        assert_eq!(node.find(&last, true), []);
    }
    // One more is not kept, and so counts as one that does not answer.
    assert_eq!(node.lacks(), ["no cluster yet: 1 of 256 addresses do not answer: 258"]);
}
