//! What a client may subscribe to, and what it is granted.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

mod common;

use std::num::NonZeroU32;

use common::*;
use fulmar_codec::{
    Connect, QoS, ReasonCode, RetainHandling, SubscribeFilter, SubscriptionOptions, TopicLimits, Version, parse_filter,
};
use fulmar_session::{Excess, Limit, Limits, SubscribeAction, Subscription};

const V5: Version = Version::V5;

fn subscribe(fixture: &mut Fixture, filter: &str, options: SubscriptionOptions) -> SubscribeAction {
    let parsed = parse_filter(filter, TopicLimits::default()).unwrap();
    fixture.session.handle_subscribe_filter(&SubscribeFilter { filter, options }, &parsed, NonZeroU32::new(7))
}

fn filters(fixture: &Fixture) -> Vec<String> {
    let mut filters: Vec<_> = fixture.session.subscriptions().map(|held| held.filter.to_owned()).collect();
    filters.sort();
    filters
}

#[test]
fn a_subscription_is_granted_replaced_and_ended() {
    let mut fixture = Fixture::connected(&Connect::new(V5, "meter"), Limits::default());
    let options = SubscriptionOptions { qos: QOS1, no_local: true, ..Default::default() };
    let granted = |granted, existed, send_retained| SubscribeAction::Subscribe { granted, existed, send_retained };
    assert_eq!(subscribe(&mut fixture, "a/#", options), granted(QOS1, false, true));
    let again = SubscriptionOptions { qos: QOS2, ..Default::default() };
    assert_eq!(subscribe(&mut fixture, "a/#", again), granted(QOS2, true, true));
    let held: Vec<_> = fixture.session.subscriptions().collect();
    assert_eq!(held, [Subscription { filter: "a/#", options: again, subscription_id: NonZeroU32::new(7) }]);
    assert!(fixture.session.handle_unsubscribe_filter("a/#"));
    assert!(!fixture.session.handle_unsubscribe_filter("a/#"));
    assert_eq!((filters(&fixture), fixture.session.subscription_count()), (vec![], 0));
}

#[test]
fn a_walk_over_the_filters_goes_on_where_it_was_whatever_has_changed_since() {
    // Few are held otherwise than many.
    for count in [0, 1, 8, 9, 50] {
        let mut fixture = Fixture::connected(&Connect::new(V5, "meter"), Limits::default());
        for number in (0..count).rev() {
            subscribe(&mut fixture, &format!("a/{number:02}"), SubscriptionOptions::default());
        }
        let (mut walked, mut last) = (Vec::new(), String::new());
        while let Some(next) = fixture.session.filter_after(&last).map(str::to_owned) {
            if walked.len() % 2 == 1 {
                assert!(fixture.session.handle_unsubscribe_filter(&next));
                subscribe(&mut fixture, "a", SubscriptionOptions::default());
            }
            walked.push(next.clone());
            last = next;
        }
        assert_eq!(walked, (0..count).map(|number| format!("a/{number:02}")).collect::<Vec<_>>());
    }
}

#[test]
fn retained_messages_are_sent_as_the_client_wants_but_not_to_shared_subscriptions() {
    let mut fixture = Fixture::connected(&Connect::new(V5, "meter"), Limits::default());
    let mut sends = |filter, retain_handling| match subscribe(
        &mut fixture,
        filter,
        SubscriptionOptions { retain_handling, ..Default::default() },
    ) {
        SubscribeAction::Subscribe { send_retained, .. } => send_retained,
        other => panic!("{other:?} where a subscription was wanted"),
    };
    use RetainHandling::{DoNotSend, Send, SendIfNew};
    assert_eq!([sends("a", Send), sends("a", Send)], [true, true]);
    assert_eq!([sends("b", SendIfNew), sends("b", SendIfNew)], [true, false]);
    assert_eq!([sends("c", DoNotSend), sends("c", DoNotSend)], [false, false]);
    assert_eq!([sends("$share/g/a", Send), sends("$share/g/b", SendIfNew)], [false, false]);
}

#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    let mut fixture = Fixture::connected(&Connect::new(V5, "meter"), Limits::default());
    let options = SubscriptionOptions { no_local: true, ..Default::default() };
    assert_eq!(subscribe(&mut fixture, "$share/g/a", options), SubscribeAction::Close(ReasonCode::PROTOCOL_ERROR));
    assert_eq!(filters(&fixture), Vec::<String>::new());
}

#[test]
fn one_subscription_too_many_is_refused_and_the_others_stay() {
    for subscriptions_max in [1, 8, 9, 20] {
        let limits = Limits { subscriptions_max, ..Limits::default() };
        let mut fixture = Fixture::connected(&Connect::new(V5, "meter"), limits);
        let names: Vec<_> = (0..subscriptions_max).map(|number| format!("a/{number:02}")).collect();
        for name in &names {
            assert!(matches!(
                subscribe(&mut fixture, name, SubscriptionOptions::default()),
                SubscribeAction::Subscribe { existed: false, .. }
            ));
        }
        let reason = ReasonCode::QUOTA_EXCEEDED;
        let refused = SubscribeAction::Refuse(Excess { limit: Limit::SubscriptionsPerClient, reason });
        assert_eq!(subscribe(&mut fixture, "b", SubscriptionOptions::default()), refused);
        assert!(matches!(
            subscribe(&mut fixture, "a/00", SubscriptionOptions::default()),
            SubscribeAction::Subscribe { existed: true, .. }
        ));
        assert_eq!(filters(&fixture), names);
        for name in &names {
            assert!(fixture.session.handle_unsubscribe_filter(name));
        }
        assert_eq!(fixture.session.subscription_count(), 0);
    }
}

#[test]
fn a_bridge_is_spared_its_own_messages_and_told_what_is_retained() {
    let plain = SubscriptionOptions { qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
    let bridged = SubscriptionOptions { no_local: true, retain_as_published: true, ..plain };
    for (bridge, filter, options) in [
        (false, "a/#", plain),
        (true, "a/#", bridged),
        (true, "$share/g/a", SubscriptionOptions { no_local: false, ..bridged }),
    ] {
        let connect = Connect { bridge, ..Connect::new(Version::V311, "bridge") };
        let fixture = Fixture::connected(&connect, Limits::default());
        let requested = SubscribeFilter { filter, options: plain };
        assert_eq!(fixture.session.subscription_terms(requested), SubscribeFilter { filter, options }, "{bridge}");
    }
}
