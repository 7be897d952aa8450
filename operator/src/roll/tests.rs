//! Every reason for which a roll waits or goes on, and whole rolls against a model of the StatefulSet controller.

use fulmar_config::ClusterId;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// A node that leads four of twelve shards, all of them healthy.
fn healthy() -> Told {
    Told {
        cluster_id: Some(ClusterId(1)),
        view: Some(7),
        shards: Some(12),
        leaders: Some(4),
        shards_healthy: Some(4),
        caught_up: Some(true),
        drains: false,
    }
}

fn member(ordinal: i32, is_newest: bool) -> Member {
    Member {
        name: format!("demo-{ordinal}"),
        uid: format!("uid-{ordinal}"),
        ordinal,
        is_newest,
        state: State::Ready,
        is_durable: true,
        told: Some(healthy()),
    }
}

/// Three pods of which the last runs the newest template.
fn begun() -> Facts {
    Facts {
        replicas: 3,
        partition: 2,
        is_seen: true,
        members: vec![member(0, false), member(1, false), member(2, true)],
        ..Facts::default()
    }
}

fn going(text: &str) -> Option<Progress> {
    Some(Progress::Going(text.to_owned()))
}

#[test]
fn the_next_pod_restarts_when_all_is_well() {
    let progress = going("demo-1 restarts with the newest template");
    assert_eq!(decide(&begun(), at(0)), Decision { partition: 1, evict: None, progress: progress.clone() });
    let granted = Facts { partition: 1, ..begun() };
    let evict = Some(("demo-1".to_owned(), "uid-1".to_owned()));
    assert_eq!(decide(&granted, at(0)), Decision { partition: 1, evict, progress });
}

#[test]
fn every_reason_holds_the_roll_and_is_told() {
    type Change = fn(&mut Facts);
    let edit = |change: Change| {
        let mut facts = begun();
        change(&mut facts);
        facts
    };
    fn told(facts: &mut Facts, ordinal: usize) -> &mut Told {
        facts.members[ordinal].told.as_mut().unwrap()
    }
    let table: [(Change, &str); 15] = [
        (|facts| facts.drained = Some("demo-3".to_owned()), "demo-3 is being drained"),
        (|facts| facts.replicas = 4, "pod 3 of 4 does not exist yet"),
        (|facts| facts.members[2].state = State::Unready { since: None }, "waiting for demo-2 to be ready"),
        (|facts| facts.members[1].state = State::Unready { since: Some(at(0)) }, "waiting for demo-1 to be ready"),
        (|facts| facts.members[2].state = State::Failing, "demo-2 does not run"),
        (|facts| facts.members[2].state = State::Stopping, "demo-2 is stopping"),
        (|facts| facts.members[2].told = None, "no metrics from demo-2"),
        (|facts| told(facts, 2).cluster_id = None, "demo-2 is no member of a cluster yet"),
        (|facts| told(facts, 0).shards = None, "demo-0 does not tell fulmar_store_shards"),
        (|facts| told(facts, 1).shards_healthy = None, "demo-1 does not tell fulmar_store_shards_healthy"),
        (|facts| told(facts, 2).caught_up = None, "demo-2 does not tell fulmar_store_caught_up"),
        (|facts| told(facts, 2).view = Some(9), "demo-0 knows view 7 and demo-2 view 9 of who lives"),
        (|facts| told(facts, 2).caught_up = Some(false), "the copies on demo-2 have not caught up"),
        (|facts| told(facts, 0).shards_healthy = Some(3), "all copies have caught up in 11 of 12 shards"),
        (
            |facts| facts.members.iter_mut().for_each(|it| it.told.as_mut().unwrap().shards = Some(0)),
            "all copies have caught up in 12 of 0 shards",
        ),
    ];
    for (change, reason) in table {
        let facts = edit(change);
        let message = format!("demo-1 does not restart with the newest template yet: {reason}");
        let wanted = Decision { partition: 2, evict: None, progress: Some(Progress::Held(message)) };
        assert_eq!(decide(&facts, at(60)), wanted);
        // A step that was allowed before is taken back.
        assert_eq!(decide(&Facts { partition: 1, ..facts }, at(60)), wanted);
    }
    let two = edit(|facts| told(facts, 1).cluster_id = Some(ClusterId(2)));
    let Some(Progress::Held(held)) = decide(&two, at(0)).progress else { panic!("the roll goes on") };
    let wanted = format!("demo-0 is a member of cluster {} and demo-1 of cluster {}", ClusterId(1), ClusterId(2));
    assert!(held.ends_with(&wanted), "{held}");
}

#[test]
fn a_pod_that_does_not_run_is_replaced_without_asking() {
    let mut facts = begun();
    facts.drained = Some("demo-3".to_owned());
    facts.members.iter_mut().for_each(|member| {
        member.state = State::Failing;
        member.told = None;
    });
    assert_eq!(decide(&facts, at(0)).partition, 1);
    facts.members[1].state = State::Unready { since: Some(at(0)) };
    assert_eq!(decide(&facts, at(900)).partition, 2, "it may still get ready");
    assert_eq!(decide(&facts, at(901)).partition, 1);
}

#[test]
fn brokers_that_keep_nothing_are_asked_for_nothing_but_to_serve() {
    let mut facts = begun();
    for member in &mut facts.members {
        (member.is_durable, member.told) = (false, None);
    }
    assert_eq!(decide(&facts, at(0)).partition, 1);
    facts.members[2].state = State::Unready { since: None };
    assert_eq!(decide(&facts, at(0)).partition, 2);
}

#[test]
fn at_rest_and_with_a_new_template_no_pod_is_let_go() {
    let mut done = begun();
    done.members.iter_mut().for_each(|member| member.is_newest = true);
    let finishing = Facts { partition: 0, ..done.clone() };
    let progress = going("the last pods with the newest template are getting ready");
    assert_eq!(decide(&finishing, at(0)), Decision { partition: 0, evict: None, progress });
    let complete = Facts { partition: 0, is_complete: true, ..done };
    assert_eq!(decide(&complete, at(0)), Decision { partition: 3, evict: None, progress: None });

    let another = Facts { is_new_template: true, partition: 1, ..begun() };
    let progress = going("a new template is applied, no pod runs it yet");
    assert_eq!(decide(&another, at(0)), Decision { partition: 3, evict: None, progress });
    let unseen = Facts { is_seen: false, ..begun() };
    let progress = going("the StatefulSet controller has not yet seen the last change");
    assert_eq!(decide(&unseen, at(0)), Decision { partition: 2, evict: None, progress });
    let created = Facts { replicas: 3, is_new_template: true, ..Facts::default() };
    assert_eq!(decide(&created, at(0)), Decision { partition: 3, evict: None, progress: None });
}

/// What the StatefulSet controller does in one look: it removes the last outdated pod from the partition on, unless a
/// later one is not ready.
fn controller_removes(facts: &Facts, partition: i32) -> Option<usize> {
    let mut members: Vec<_> = facts.members.iter().enumerate().collect();
    members.sort_by_key(|(_, member)| -member.ordinal);
    for (index, member) in members {
        if member.ordinal < partition {
            return None;
        }
        match (&member.state, member.is_newest) {
            (State::Stopping, _) => return None,
            (_, false) => return Some(index),
            (State::Ready, true) => {}
            (_, true) => return None,
        }
    }
    None
}

#[test]
fn a_roll_of_five_pods_never_has_two_of_them_down() {
    let mut facts = Facts {
        replicas: 5,
        partition: 5,
        is_seen: true,
        members: (0..5).map(|ordinal| member(ordinal, false)).collect(),
        ..Facts::default()
    };
    let shares = [3, 3, 2, 2, 2];
    for (member, share) in facts.members.iter_mut().zip(shares) {
        member.told.as_mut().unwrap().shards_healthy = Some(share);
    }
    let (mut down_until, mut restarts, mut view) = ([0; 5], Vec::new(), 7);
    for second in 0..400 {
        for (member, until) in facts.members.iter_mut().zip(&mut down_until) {
            if *until == second && second > 0 {
                (member.state, member.is_newest) = (State::Ready, true);
                view += 2;
                // It tells at once, the others only at the next reading.
                member.told = Some(Told { view: Some(view), ..member.told.clone().unwrap_or_else(healthy) });
            }
        }
        if second % 15 == 0 {
            facts.members.iter_mut().for_each(|member| member.told.as_mut().unwrap().view = Some(view));
        }
        let decision = decide(&facts, at(second));
        assert_eq!(decision.evict.filter(|_| facts.members.iter().any(|it| it.state != State::Ready)), None);
        facts.partition = decision.partition;
        if let Some(index) = controller_removes(&facts, facts.partition) {
            assert!(facts.members.iter().all(|member| member.state == State::Ready), "two pods are down");
            facts.members[index].state = State::Stopping;
            (down_until[index], restarts) = (second + 20, [restarts, vec![index]].concat());
        }
    }
    assert_eq!(restarts, [4, 3, 2, 1, 0]);
    assert!(facts.members.iter().all(|member| member.is_newest));
}

/// The StatefulSet controller may wait for another pod that does not get ready; then the operator removes this one.
#[test]
fn a_template_that_does_not_run_is_replaced_by_the_next() {
    let mut facts = begun();
    facts.members[2] = Member { state: State::Failing, is_newest: false, told: None, ..member(2, false) };
    let decision = decide(&Facts { partition: 3, ..facts.clone() }, at(0));
    assert_eq!((decision.partition, decision.evict), (2, None), "the controller removes it");
    let decision = decide(&Facts { partition: 2, ..facts }, at(0));
    assert_eq!(decision.evict, Some(("demo-2".to_owned(), "uid-2".to_owned())), "if it does not, the operator does");
}
