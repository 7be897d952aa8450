//! How a cluster is begun, and when it is not.

use super::*;

fn first() -> Me {
    Me { begins: Some(Begins { cluster: CLUSTER, shards: 12 }), ..me(1, 1) }
}

fn bootstrap() -> Command {
    Command::Bootstrap { cluster: CLUSTER, shards: 12, first: start(1, 1) }
}

fn empty() -> NodeState {
    NodeState::default()
}

/// Discovery finds the node itself and two others, of which the given ones answer.
fn three(second: Option<Member>, third: Option<Member>) -> [Found; 3] {
    [found("10.0.0.1:7800", Some(member(1, 1))), found("10.0.0.2:7800", second), found("10.0.0.3:7800", third)]
}

fn begins() -> Vec<Output> {
    vec![save(1, Bond::Begins(CLUSTER)), Output::BeginCluster]
}

#[test]
fn a_node_that_finds_nobody_else_begins_a_cluster_a_second_later() {
    let (mut node, out) = Node::start(first(), Bond::None, nothing());
    assert_eq!(out, []);
    assert_eq!(node.lacks(), ["no cluster yet: discovery has not found the same addresses twice"]);
    let itself = [found("10.0.0.1:7800", Some(member(1, 1)))];
    assert_eq!(node.find(&itself, false), []);
    node.now = 500;
    assert_eq!(node.find(&itself, true), []);
    assert_eq!(node.at(1499), []);
    assert_eq!(node.lacks(), ["no cluster yet: all nodes found are asked a second time"]);
    assert_eq!(node.at(1500), begins());
    assert_eq!(node.lacks(), ["the cluster begins: its first entry is not committed yet"]);
    assert_eq!(node.at(2499), []);
    assert_eq!(node.at(2500), [Output::BeginCluster], "there was no room on the disk, perhaps");
    assert_eq!(node.role(1, Some(1), true), [propose(1, bootstrap())]);
    assert_eq!(node.at(3499), []);
    assert_eq!(node.at(3500), [propose(1, bootstrap())], "the group may not have taken it");
    let mut cluster = nothing();
    cluster.commit(&bootstrap());
    let wanted = [
        Output::View(cluster.meta.view().clone()),
        save(1, Bond::Belongs(CLUSTER)),
        propose(1, Command::Lead { leader: 1, term: 1 }),
    ];
    assert_eq!(node.commit(&bootstrap()), wanted);
}

#[test]
fn others_must_say_twice_that_they_have_no_cluster_either() {
    let (mut node, _) = Node::start(first(), Bond::None, nothing());
    let look = [send(2, MemberMessage::Look), send(3, MemberMessage::Look)];
    assert_eq!(node.link(&[member(2, 1), member(3, 1)]), look);
    assert_eq!(node.find(&three(Some(member(2, 1)), Some(member(3, 1))), true), []);
    node.now = 10;
    assert_eq!((node.hear(member(2, 1), empty()), node.hear(member(3, 1), empty())), (vec![], vec![]));
    assert_eq!(node.at(1000), look);
    assert_eq!(node.lacks(), ["no cluster yet: all nodes found are asked a second time"]);
    node.now = 1010;
    assert_eq!(node.hear(member(2, 1), empty()), []);
    // The third has started anew meanwhile: it is another life that has said nothing yet.
    assert_eq!(node.find(&three(Some(member(2, 1)), Some(member(3, 2))), true), []);
    assert_eq!(node.hear(member(3, 2), empty()), []);
    assert_eq!(node.at(2000), look);
    node.now = 2010;
    assert_eq!(node.hear(member(2, 1), empty()), []);
    assert_eq!(node.hear(member(3, 2), empty()), begins());
}

#[test]
fn a_node_that_does_not_answer_may_have_a_cluster() {
    let (mut node, _) = Node::start(first(), Bond::None, nothing());
    node.find(&three(Some(member(2, 1)), None), true);
    for millis in [0, 1000, 2000, 3000] {
        node.now = millis;
        assert_eq!(node.hear(member(2, 1), empty()), []);
    }
    assert_eq!(node.lacks(), ["no cluster yet: 1 of 3 addresses do not answer: 10.0.0.3:7800"]);
    // What the second said is old by then.
    assert_eq!(node.at(6000), []);
    assert_eq!(node.lacks(), ["no cluster yet: 2 of 3 addresses do not answer: 10.0.0.2:7800, 10.0.0.3:7800"]);
}

#[test]
fn nobody_begins_a_cluster_beside_one_that_anything_speaks_of() {
    let alone = |me: Me, bond| {
        let (mut node, out) = Node::start(me, bond, nothing());
        let out = [out, node.find(&[found("10.0.0.1:7800", Some(member(1, 1)))], true), node.at(5000)].concat();
        (out, node.lacks())
    };
    let text = |text: &str| vec![text.to_owned()];
    assert_eq!(alone(first(), Bond::None).0, begins());
    assert_eq!(
        alone(Me { cluster_id: Some(ClusterId(7)), ..first() }, Bond::None),
        (
            vec![],
            text(
                "cluster 00000000000000000000000000000007 is wanted: 1 addresses found, none of them belongs to it, and \
                 no other is begun"
            )
        )
    );
    assert_eq!(
        alone(me(1, 1), Bond::None),
        (
            vec![],
            text(
                "no cluster yet: 1 addresses found, none of them belongs to a cluster, and this node may not begin one: that \
                 is for the node whose name ends with -0, or with cluster.bootstrap (--bootstrap=true)"
            )
        )
    );
    for bond in [Bond::Belongs(CLUSTER), Bond::Joins { cluster: CLUSTER, made_at: 3 }] {
        assert_eq!(alone(first(), bond), (vec![], text("no node says who leads the cluster")));
    }
}

#[test]
fn whoever_finds_a_member_of_a_cluster_does_not_begin_one_but_joins() {
    let (mut node, _) = Node::start(Me { begins: first().begins, ..me(9, 1) }, Bond::None, nothing());
    let mut cluster = Cluster::new();
    cluster.join(2);
    node.link(&[member(1, 1), member(2, 1)]);
    node.find(&three(Some(member(1, 1)), Some(member(2, 1))), true);
    let state = NodeState { leader: None, ..leader_state(&cluster) };
    for millis in [0, 1000, 2000] {
        node.at(millis);
        assert_eq!(node.hear(member(2, 1), state.clone()), []);
    }
    assert_eq!(node.lacks(), ["the cluster has no leader, say those of its nodes that answer (1)"]);
}

#[test]
fn of_two_that_may_begin_the_one_with_the_lower_id_does() {
    let run = |other: NodeId| {
        let (mut node, _) = Node::start(Me { begins: first().begins, ..me(5, 1) }, Bond::None, nothing());
        node.find(&[found("a", Some(member(5, 1))), found("b", Some(member(other, 1)))], true);
        let state = NodeState { may_begin: true, ..empty() };
        node.hear(member(other, 1), state.clone());
        node.now = 1000;
        (node.hear(member(other, 1), state), node.lacks())
    };
    assert_eq!(run(9).0, [save(5, Bond::Begins(CLUSTER)), Output::BeginCluster]);
    let lower = vec!["no cluster yet: broker-3 begins it".to_owned()];
    assert_eq!(run(3), (vec![], lower));
}

#[test]
fn more_addresses_than_can_be_asked_are_too_many() {
    let (mut node, _) = Node::start(first(), Bond::None, nothing());
    let many: Vec<Found> = (0..=NODES_MAX).map(|at| found(&format!("10.0.0.1:{at}"), Some(member(1, 1)))).collect();
    node.find(&many, true);
    assert_eq!(node.at(5000), []);
    assert_eq!(node.lacks(), ["no cluster yet: 257 addresses found, at most 256 can be asked"]);
    node.find(&many[1..], true);
    assert_eq!(node.at(6000), begins());
}

#[test]
fn a_beginning_goes_on_after_a_crash_at_any_step() {
    let itself = [found("10.0.0.1:7800", Some(member(1, 2)))];
    // Its name is written down, the group may be there or not; a name that is drawn anew does not count.
    let again = Me { begins: Some(Begins { cluster: ClusterId(0xdead), shards: 12 }), ..me(1, 2) };
    let (mut node, out) = Node::start(again.clone(), Bond::Begins(CLUSTER), nothing());
    assert_eq!((out, node.find(&itself, true)), (vec![], vec![]));
    assert_eq!(node.role(2, Some(1), true), [], "it asks all others first, as at the beginning");
    let command = Command::Bootstrap { cluster: CLUSTER, shards: 12, first: start(1, 2) };
    assert_eq!(node.at(1000), [propose(2, command)]);

    // The first entry is committed, and comes with the log.
    let (node, out) = Node::start(again, Bond::Begins(CLUSTER), Cluster::new());
    let view = Output::View(Cluster::new().meta.view().clone());
    assert_eq!(out, [view, save(1, Bond::Belongs(CLUSTER))]);
    assert_eq!(node.membership.folder().bond, Bond::Belongs(CLUSTER));
}

#[test]
fn a_beginning_does_not_go_on_when_somebody_has_another_cluster_by_then() {
    let (mut node, _) = Node::start(first(), Bond::Begins(ClusterId(5)), nothing());
    node.find(&[found("a", Some(member(1, 1))), found("b", Some(member(2, 1)))], true);
    node.role(2, Some(1), true);
    let state = NodeState { cluster: Some(CLUSTER), ..empty() };
    node.hear(member(2, 1), state.clone());
    node.now = 1500;
    assert_eq!(node.hear(member(2, 1), state), []);
    let wanted = format!("nodes that answer belong to cluster {CLUSTER}, wanted is {}", ClusterId(5));
    assert_eq!(node.lacks(), [wanted]);
}

#[test]
fn a_folder_of_another_cluster_or_node_is_for_a_human() {
    let other = Me { cluster_id: Some(ClusterId(5)), ..me(2, 1) };
    let (node, out) = Node::start(other, Bond::Belongs(ClusterId(6)), nothing());
    let text = "the data folder belongs to cluster 00000000000000000000000000000006, wanted is \
                00000000000000000000000000000005";
    assert_eq!(out, [Output::GiveUp(text.into())]);
    assert_eq!(node.lacks(), [text]);

    let mut out = Vec::new();
    Membership::new(Settings::default(), me(2, 1), Folder::new(3), &Meta::new(), at(0), &mut out);
    let text = "the data folder says that it belongs to node 0000000000000003, wanted is 0000000000000002";
    assert_eq!(out, [Output::GiveUp(text.into())]);
}
