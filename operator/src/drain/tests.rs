//! The gate as tables, and whole drains in which a broker hands over bit by bit.

use super::*;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
}

fn report(state: DrainState, left: u32) -> DrainReport {
    let purpose = (state != DrainState::None).then_some(Purpose::Leave);
    DrainReport { state, purpose, leaders: left, replicas: left, clients: left }
}

fn node(ordinal: i32) -> Node {
    Node {
        name: format!("demo-{ordinal}"),
        uid: format!("uid-{ordinal}"),
        ordinal,
        is_durable: true,
        answer: Answer::NotAsked,
    }
}

/// Five pods of which `wanted` are wanted; the last has answered.
fn five(wanted: i32, answer: Answer) -> Facts {
    let mut nodes: Vec<_> = (0..5).map(node).collect();
    nodes[4].answer = answer;
    Facts { wanted, current: Some(5), nodes, ..Facts::default() }
}

fn waiting(since: i64, report: Option<DrainReport>, message: &str, orders: Vec<Order>) -> Plan {
    let (pod, uid, since) = ("demo-4".to_owned(), "uid-4".to_owned(), at(since));
    let progress = Progress { pod, since, report, message: message.to_owned(), is_slow: false };
    Plan { replicas: 5, stopped: None, orders, progress: Some(progress), memory: Some(Memory { uid, since }) }
}

#[test]
fn the_last_pod_hands_over_before_there_is_one_less() {
    let idle = report(DrainState::None, 3);
    let plan = decide(&five(3, Answer::Said(idle)), None, at(0));
    let begin = vec![Order::Begin("demo-4".to_owned())];
    assert_eq!(plan, waiting(0, Some(idle), "demo-4 begins to hand over what it keeps", begin));

    let half = DrainReport { leaders: 0, clients: 200, ..report(DrainState::Draining, 2) };
    let plan = decide(&five(3, Answer::Said(half)), plan.memory.as_ref(), at(5));
    assert_eq!(plan, waiting(0, Some(half), "left: 2 copies, 200 clients", vec![]));

    // What a node says of its state counts only together with its numbers.
    for (state, left) in [(DrainState::Drained, 1), (DrainState::Draining, 0)] {
        let plan = decide(&five(3, Answer::Said(report(state, left))), None, at(6));
        assert_eq!((plan.replicas, plan.orders), (5, vec![]), "{state:?} {left}");
    }
    let over = Answer::Said(report(DrainState::Drained, 0));
    assert_eq!(decide(&five(3, over), None, at(6)), Plan { replicas: 4, ..Plan::default() }, "one at a time");
}

#[test]
fn a_drain_for_a_restart_is_none_for_leaving() {
    let restarts = DrainReport { purpose: Some(Purpose::Restart), ..report(DrainState::Drained, 0) };
    let plan = decide(&five(4, Answer::Said(restarts)), None, at(0));
    assert_eq!((plan.replicas, plan.orders), (5, vec![Order::Begin("demo-4".to_owned())]));
}

#[test]
fn a_drain_does_not_begin_while_another_pod_is_missing_and_goes_on_when_it_has() {
    let idle = report(DrainState::None, 3);
    let obstacle = Some("waiting for demo-1 to be ready".to_owned());
    let facts = Facts { obstacle: obstacle.clone(), ..five(4, Answer::Said(idle)) };
    let message = "the drain has not begun: waiting for demo-1 to be ready";
    assert_eq!(decide(&facts, None, at(0)), waiting(0, Some(idle), message, vec![]));
    let over = Facts { obstacle, ..five(4, Answer::Said(report(DrainState::Drained, 0))) };
    assert_eq!(decide(&over, None, at(0)).replicas, 4);
}

#[test]
fn more_pods_again_cancel_the_drain() {
    for wanted in [5, 7] {
        let plan = decide(&five(wanted, Answer::Said(report(DrainState::Draining, 2))), None, at(0));
        let orders = vec![Order::Cancel("demo-4".to_owned())];
        assert_eq!(plan, Plan { replicas: wanted, orders, ..Plan::default() });
        let idle = decide(&five(wanted, Answer::Said(report(DrainState::None, 2))), None, at(0));
        assert_eq!(idle, Plan { replicas: wanted, ..Plan::default() });
        let restarts = DrainReport { purpose: Some(Purpose::Restart), ..report(DrainState::Draining, 2) };
        assert_eq!(decide(&five(wanted, Answer::Said(restarts)), None, at(0)).orders, [], "that is not ours to end");
    }
}

#[test]
fn no_pods_and_pods_that_keep_nothing_need_no_drain() {
    assert_eq!(decide(&five(0, Answer::NotAsked), None, at(0)).replicas, 0);
    let mut nothing = five(2, Answer::NotAsked);
    nothing.nodes.iter_mut().for_each(|node| node.is_durable = false);
    assert_eq!(decide(&nothing, None, at(0)), Plan { replicas: 2, ..Plan::default() });
    nothing.nodes[3].is_durable = true;
    assert_eq!(decide(&nothing, None, at(0)).replicas, 4, "it has something to hand over");
    assert_eq!(decide(&Facts { wanted: 3, ..Facts::default() }, None, at(0)).replicas, 3, "there are no pods yet");
}

#[test]
fn pods_that_were_stopped_together_wake_together() {
    let stopped = decide(&five(0, Answer::NotAsked), None, at(0));
    assert_eq!(stopped, Plan { stopped: Some(5), ..Plan::default() });
    let none = |wanted| Facts { wanted, current: Some(0), stopped: stopped.stopped, ..Facts::default() };
    assert_eq!(decide(&none(0), None, at(1)), stopped);
    assert_eq!(decide(&none(3), None, at(2)), Plan { replicas: 5, ..Plan::default() }, "two of them drain later");
    assert_eq!(decide(&none(7), None, at(2)), Plan { replicas: 7, ..Plan::default() });
    let mut nothing = five(0, Answer::NotAsked);
    nothing.nodes.iter_mut().for_each(|node| node.is_durable = false);
    assert_eq!(decide(&nothing, None, at(0)), Plan::default());
    let new = Facts { wanted: 3, current: Some(0), ..Facts::default() };
    assert_eq!(decide(&new, None, at(0)).replicas, 3);
}

#[test]
fn a_pod_that_does_not_answer_is_waited_for_unless_it_keeps_nothing_or_is_given_up() {
    let silent = five(4, Answer::Silent("connection refused".to_owned()));
    let message = "demo-4 cannot be drained, it does not answer: connection refused; bring it back, or give up what only it \
                   keeps by annotation mqtt.fulmar.dev/abandon=demo-4 of the MqttCluster";
    assert_eq!(decide(&silent, None, at(0)), waiting(0, None, message, vec![]));
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    let known = Facts { members: names(&["demo-0", "demo-4"]), ..silent.clone() };
    assert_eq!(decide(&known, None, at(0)).replicas, 5);
    let stranger = Facts { members: names(&["demo-0"]), ..silent.clone() };
    assert_eq!(decide(&stranger, None, at(0)).replicas, 4);
    let other = Facts { abandoned: Some("demo-3".to_owned()), ..silent.clone() };
    assert_eq!(decide(&other, None, at(0)).replicas, 5);
    let given_up = Facts { abandoned: Some("demo-4".to_owned()), ..silent };
    assert_eq!(decide(&given_up, None, at(0)), Plan { replicas: 4, ..Plan::default() });
}

#[test]
fn a_drain_that_takes_long_is_told_and_not_forced() {
    let stuck = five(4, Answer::Said(report(DrainState::Draining, 1)));
    let first = decide(&stuck, None, at(0));
    let is_slow = |minute| decide(&stuck, first.memory.as_ref(), at(minute)).progress.unwrap().is_slow;
    assert_eq!((is_slow(30), is_slow(31)), (false, true));
    assert_eq!(decide(&stuck, first.memory.as_ref(), at(600)).replicas, 5);
    let another = Memory { uid: "another".to_owned(), since: at(-90) };
    assert!(!decide(&stuck, Some(&another), at(0)).progress.unwrap().is_slow, "that was another pod");
}

#[test]
fn only_the_last_pod_is_asked_and_only_if_it_matters() {
    assert_eq!(asked(3, Some(5), false), Some(4));
    assert_eq!(asked(5, Some(5), false), None);
    assert_eq!(asked(5, Some(5), true), Some(4), "to cancel");
    assert_eq!(asked(0, Some(5), true), None);
    assert_eq!(asked(3, None, false), None);
}

/// From five to three, back to five in the middle of the second drain.
#[test]
fn a_scale_down_goes_pod_by_pod_and_turns_back_when_asked() {
    let (mut current, mut memory, mut drains, mut history) = (5, None, [None::<u32>; 5], Vec::new());
    for minute in 0..40 {
        let wanted = if minute < 15 { 3 } else { 5 };
        let nodes = (0..current).map(|ordinal| {
            let left = drains[usize::try_from(ordinal).unwrap()];
            let said = match left {
                None => report(DrainState::None, 9),
                Some(0) => report(DrainState::Drained, 0),
                Some(left) => report(DrainState::Draining, left),
            };
            Node { answer: Answer::Said(said), ..node(ordinal) }
        });
        let facts = Facts { wanted, current: Some(current), nodes: nodes.collect(), ..Facts::default() };
        let plan = decide(&facts, memory.as_ref(), at(minute));
        for order in &plan.orders {
            let (pod, left) = match order {
                Order::Begin(pod) => (pod, Some(9)),
                Order::Cancel(pod) => (pod, None),
            };
            drains[usize::try_from(crate::observe::ordinal(pod)).unwrap()] = left;
            history.push(format!("{minute}: {order:?}"));
        }
        if plan.replicas != current {
            history.push(format!("{minute}: {} pods", plan.replicas));
            drains[usize::try_from(current).unwrap().min(5) - 1] = None;
        }
        (current, memory) = (plan.replicas, plan.memory);
        drains.iter_mut().flatten().for_each(|left| *left = left.saturating_sub(1));
    }
    let wanted =
        [r#"0: Begin("demo-4")"#, "9: 4 pods", r#"10: Begin("demo-3")"#, r#"15: Cancel("demo-3")"#, "15: 5 pods"];
    assert_eq!(history, wanted);
}
