//! A node that comes back and has the only vote of group 0, if its folder is no old copy.

use super::*;

/// Its folder ends with entry 5 in term 3. It begins at 0 s, linked with node 2, which is found with it and a third address.
fn alone() -> Node {
    let me = Me { alone: Some(Alone { last: 5, term: 3 }), ..me(1, 2) };
    let (mut node, out) = Node::start(me, Bond::Belongs(CLUSTER), nothing());
    assert_eq!(out, []);
    assert_eq!(node.link(&[member(2, 1)]), [send(2, MemberMessage::Look)]);
    node
}

fn find_all(node: &mut Node, third: Option<Member>) -> Vec<Output> {
    let all = [found("a", Some(member(1, 2))), found("b", Some(member(2, 1))), found("c", third)];
    node.find(&all, true)
}

fn said(applied: Index, leader: Option<(Term, NodeId)>) -> NodeState {
    NodeState { cluster: Some(CLUSTER), may_begin: false, leader, applied, view: vec![] }
}

fn decides(silent: &[&str]) -> Vec<Output> {
    vec![Output::DecideAlone { silent: silent.iter().map(|it| (*it).into()).collect() }]
}

#[test]
fn it_goes_on_when_all_have_answered_and_none_is_ahead() {
    let mut node = alone();
    assert_eq!(node.hear(member(2, 1), said(5, Some((3, 1)))), [], "discovery may not be sure");
    assert_eq!(find_all(&mut node, Some(member(3, 1))), []);
    let asks = "this data folder decides alone for the cluster: others are asked whether it is an old copy, and no answer \
                from c";
    assert_eq!(node.lacks(), [asks]);
    // One with an empty folder, and what an earlier leader has left behind, show nothing.
    assert_eq!(node.hear(member(3, 1), NodeState::default()), decides(&[]));
    let out = node.hear(member(2, 1), said(4, Some((2, 9))));
    assert!(!out.contains(&decides(&[])[0]), "it is said once");
}

#[test]
fn it_goes_on_at_once_when_nobody_else_is_found() {
    let mut node = alone();
    assert_eq!(node.find(&[found("a", Some(member(1, 2)))], false), []);
    assert_eq!(node.find(&[found("a", Some(member(1, 2)))], true), decides(&[]));
}

#[test]
fn who_is_silent_for_long_is_not_there_and_is_named() {
    let mut node = alone();
    find_all(&mut node, None);
    assert_eq!(node.at(29_999).iter().filter(|out| matches!(out, Output::DecideAlone { .. })).count(), 0);
    // What was heard long ago is not known any more.
    let out = node.at(30_000);
    assert!(out.contains(&decides(&["b", "c"])[0]), "{out:?}");
}

#[test]
fn it_never_goes_on_while_somebody_is_ahead() {
    for ahead in [said(6, None), said(0, Some((4, 2))), said(9, Some((9, 2)))] {
        let mut node = alone();
        find_all(&mut node, Some(member(2, 1)));
        for millis in [0, 1000, 30_000, 31_000] {
            node.at(millis);
            let out = node.hear(member(2, 1), ahead.clone());
            assert!(!out.iter().any(|it| matches!(it, Output::DecideAlone { .. })), "{ahead:?}: {out:?}");
        }
        let old = "this data folder decides alone for the cluster and is behind broker-2: it may be an old copy";
        assert_eq!(node.lacks(), [old]);
    }
}

#[test]
fn it_asks_who_leads_to_be_taken_in_which_refuses_an_old_folder() {
    let mut node = alone();
    let state = NodeState { view: vec![member(2, 1)], ..said(9, Some((9, 2))) };
    let out = node.hear(member(2, 1), state);
    let asks = |it: &Output| {
        matches!(
            it,
            Output::Send { to: 2, message: MemberMessage::Request(Request { command: Command::Boot { .. }, .. }) }
        )
    };
    assert!(out.iter().any(asks), "{out:?}");
    let answer = Answer::of(&Reply::Refused(Refusal::Restored { found: 2, recorded: 7 }));
    let out = node.receive(member(2, 1), MemberMessage::Answer { nonce: 1002, number: 1, answer });
    assert!(matches!(out.as_slice(), [Output::StartAnew(_)]), "{out:?}");
}
