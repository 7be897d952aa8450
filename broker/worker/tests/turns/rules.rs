//! A change of rules is carried out in portions.

use super::*;

#[test]
fn a_change_of_rules_for_sessions_with_many_filters_is_carried_out_in_portions_and_misses_none() {
    let filters = |kind: &str| (0..10_000).map(|number| format!("{kind}/{number}")).collect::<Vec<_>>();
    let rules = |generation, allowed| {
        let text = format!("rules: [{{allow: subscribe, filters: {allowed}}}]");
        let access = AccessFile::parse(&text, AccessLimits::default()).expect("it is an access file");
        Arc::new(Rules { generation, passwords: None, access: Some(Arc::new(access)) })
    };
    // A turn judges 500 filters, and a filter that goes counts as two.
    let cases = [("['a/#', 'b/#']", 20_000, 40..=45), ("['b/#']", 10_000, 60..=65), ("['c/#']", 0, 80..=85)];
    for (allowed, left, wanted) in cases {
        let limits = Limits { turn_effort: 1_000_000, subscriptions_per_client: 10_000, ..Limits::default() };
        let auth = AuthSettings { rules: rules(0, "['a/#', 'b/#']"), ..AuthSettings::new([7; 32]) };
        let mut thread = Thread::with(limits, auth);
        for kind in ["a", "b"] {
            let conn = thread.connect_for(kind, 60);
            for filters in filters(kind).chunks(500) {
                thread.send(conn, &subscribe(None, filters));
            }
            thread.worker.closed(conn, fulmar_worker::Closed::Eof, thread.now, &mut Pauses::default());
            thread.end_turn();
        }
        thread.worker.reload(rules(1, allowed));
        let turns = thread.carry_out_rules();
        assert!(wanted.contains(&turns), "{turns} turns for {allowed}");
        assert_eq!(thread.worker.gauges().subscriptions, left);
    }
}

#[test]
fn a_change_of_rules_during_another_makes_no_turn_long_and_the_last_one_holds() {
    let rules = |generation, allowed| {
        let text = format!("rules: [{{allow: subscribe, filters: {allowed}}}]");
        let access = AccessFile::parse(&text, AccessLimits::default()).expect("it is an access file");
        Arc::new(Rules { generation, passwords: None, access: Some(Arc::new(access)) })
    };
    let limits = Limits { turn_effort: 1_000_000, subscriptions_per_client: 10_000, ..Limits::default() };
    let auth = AuthSettings { rules: rules(0, "['a/#', 'b/#']"), ..AuthSettings::new([7; 32]) };
    let mut thread = Thread::with(limits, auth);
    for kind in ["a", "b"] {
        let conn = thread.connect_for(kind, 60);
        let filters: Vec<_> = (0..5000).map(|number| format!("{kind}/{number}")).collect();
        for filters in filters.chunks(500) {
            thread.send(conn, &subscribe(None, filters));
        }
        thread.worker.closed(conn, fulmar_worker::Closed::Eof, thread.now, &mut Pauses::default());
        thread.end_turn();
    }
    // Session b loses some under the first, which allows `a`, and all of `a` is lost under the last.
    for (generation, allowed, turns) in [(1, "['a/#']", 15), (2, "['a/#', 'b/#']", 5), (3, "['b/#']", 0)] {
        let before = thread.worker.gauges().subscriptions;
        thread.worker.reload(rules(generation, allowed));
        assert_eq!(thread.worker.gauges().subscriptions, before, "nothing is done at once");
        for _ in 0..turns {
            thread.end_turn();
        }
    }
    let turns = thread.carry_out_rules();
    let left = thread.worker.gauges().subscriptions;
    assert!((3000..=4999).contains(&left), "{left} of b are left, after {turns} turns");
}
