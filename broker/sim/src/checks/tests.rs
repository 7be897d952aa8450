//! Each check accepts a history that is right, and finds what is wrong in one that differs from it in one thing.

use std::sync::Arc;

use fulmar_codec::{QoS, ReasonCode, Version};

use super::{Promise, all};
use crate::Time;
use crate::history::{ActorId, Event, History, MessageId, Profile, WillGiven};

const PUBLISHER: ActorId = ActorId(0);
const SUBSCRIBER: ActorId = ActorId(1);
const OTHER: ActorId = ActorId(2);
const WATCHER: ActorId = ActorId(3);

/// A history in the making. Each thing happens 10 ms after the one before.
struct Story {
    history: History,
    now: Time,
    connections: [u32; 4],
}

fn message(number: u32) -> MessageId {
    MessageId { publisher: PUBLISHER, number, is_will: false }
}

fn will(number: u32) -> MessageId {
    MessageId { publisher: OTHER, number, is_will: true }
}

impl Story {
    /// With a publisher and a subscriber whose sessions last, somebody else, and one that watches wills.
    fn new() -> Story {
        let (history, now) = (History::default(), Time::default());
        let mut story = Story { history, now, connections: [0; 4] };
        for (actor, client_id) in [(PUBLISHER, "p"), (SUBSCRIBER, "s"), (OTHER, "o"), (WATCHER, "w")] {
            let profile = Profile { name: client_id.to_owned(), client_id: client_id.into(), version: Version::V5 };
            story.history.introduce(actor, profile);
        }
        story.connect(WATCHER, None, false);
        story.subscribe(WATCHER, "will/#");
        story
    }

    /// Two with one client identifier: the second rules.
    fn of_rivals() -> Story {
        let (history, now) = (History::default(), Time::default());
        let mut story = Story { history, now, connections: [0; 4] };
        for (actor, client_id) in [(PUBLISHER, "p"), (SUBSCRIBER, "s"), (OTHER, "s"), (WATCHER, "w")] {
            let profile = Profile { name: client_id.to_owned(), client_id: client_id.into(), version: Version::V5 };
            story.history.introduce(actor, profile);
        }
        story
    }

    fn wait(&mut self, seconds: u64) {
        self.now = Time(self.now.0 + seconds * 1_000_000);
    }

    fn say(&mut self, actor: ActorId, event: Event) {
        self.now = Time(self.now.0 + 10_000);
        self.history.record(self.now, actor, self.connections[actor.0 as usize], event);
    }

    fn connect(&mut self, actor: ActorId, expiry_seconds: Option<u32>, session_present: bool) {
        self.connect_with(actor, expiry_seconds, expiry_seconds == Some(0), session_present, None);
    }

    fn connect_with(
        &mut self,
        actor: ActorId,
        expiry_seconds: Option<u32>,
        clean_start: bool,
        session_present: bool,
        will: Option<WillGiven>,
    ) {
        self.connections[actor.0 as usize] += 1;
        self.say(actor, Event::Connected { node: 0 });
        self.say(actor, Event::ConnectSent { clean_start, expiry_seconds, receive_maximum: 10, will });
        self.say(actor, Event::ConnAck { session_present, reason: ReasonCode::SUCCESS });
    }

    fn subscribe(&mut self, actor: ActorId, filter: &str) {
        let filter: Arc<str> = filter.into();
        self.say(actor, Event::SubscribeSent { filter: filter.clone(), qos: QoS::ExactlyOnce });
        self.say(actor, Event::Subscribed { filter, granted: Some(QoS::ExactlyOnce) });
    }

    fn send(&mut self, number: u32, topic: &str, qos: QoS) {
        let (message, topic) = (message(number), topic.into());
        let (retain, is_empty, dup) = (false, false, false);
        self.say(PUBLISHER, Event::PublishSent { message, topic, qos, retain, is_empty, dup });
    }

    fn retain(&mut self, number: u32, is_empty: bool) {
        let (message, topic, qos) = (message(number), "r".into(), QoS::AtLeastOnce);
        self.say(PUBLISHER, Event::PublishSent { message, topic, qos, retain: true, is_empty, dup: false });
    }

    fn accept(&mut self, number: u32) {
        self.say(PUBLISHER, Event::Accepted { message: message(number), reason: ReasonCode::SUCCESS });
    }

    fn publish(&mut self, number: u32, qos: QoS) {
        self.send(number, "t", qos);
        self.accept(number);
    }

    fn come(&mut self, actor: ActorId, message: MessageId, topic: &str, qos: QoS, retain: bool, is_fresh: bool) {
        let (message, packet_id, dup) = (Some(message), Some(1), !is_fresh);
        let topic: Arc<str> = topic.into();
        self.say(actor, Event::Received { message, topic: topic.clone(), qos, retain, dup, packet_id, is_fresh });
        self.say(actor, Event::Took { message, topic, qos, packet_id });
    }

    fn receive(&mut self, number: u32, qos: QoS) {
        self.come(SUBSCRIBER, message(number), "t", qos, false, true);
    }

    /// What is found, each promise once.
    fn broken(&self) -> Vec<Promise> {
        let mut promises: Vec<Promise> = all(&self.history).iter().map(|it| it.promise).collect();
        promises.sort();
        promises.dedup();
        promises
    }
}

const ONE: QoS = QoS::AtLeastOnce;
const TWO: QoS = QoS::ExactlyOnce;

/// A publisher, and a subscriber of `t`.
fn subscribed(expiry_seconds: Option<u32>) -> Story {
    let mut story = Story::new();
    story.connect(PUBLISHER, None, false);
    story.connect(SUBSCRIBER, expiry_seconds, false);
    story.subscribe(SUBSCRIBER, "t");
    story
}

#[test]
fn what_was_acknowledged_and_came_is_right_and_what_never_came_is_lost() {
    for expiry in [None, Some(0)] {
        let mut story = subscribed(expiry);
        story.publish(1, ONE);
        story.publish(2, TWO);
        story.receive(1, ONE);
        story.receive(2, TWO);
        // Nobody has said that the server has it.
        story.send(3, "t", ONE);
        assert_eq!(story.broken(), []);
        story.publish(4, ONE);
        assert_eq!(story.broken(), [Promise::NothingLost], "{expiry:?}");
        story.receive(4, ONE);
        assert_eq!(story.broken(), []);
    }
}

#[test]
fn a_session_that_lasts_is_owed_what_it_has_received_and_not_acknowledged() {
    let mut story = subscribed(None);
    story.publish(1, ONE);
    let (message, topic) = (Some(message(1)), "t".into());
    let (qos, retain, dup, packet_id, is_fresh) = (ONE, false, false, Some(1), true);
    story.say(SUBSCRIBER, Event::Received { message, topic, qos, retain, dup, packet_id, is_fresh });
    story.say(SUBSCRIBER, Event::Closed);
    assert_eq!(story.broken(), [Promise::NothingLost]);
    story.connect(SUBSCRIBER, None, true);
    story.receive(1, ONE);
    assert_eq!(story.broken(), []);
}

#[test]
fn who_subscribes_later_or_went_away_is_owed_nothing() {
    let mut story = subscribed(Some(0));
    story.publish(1, ONE);
    story.say(SUBSCRIBER, Event::Closed);
    story.publish(2, ONE);
    story.connect(SUBSCRIBER, Some(0), false);
    story.send(3, "t", ONE);
    story.subscribe(SUBSCRIBER, "t");
    story.accept(3);
    story.say(SUBSCRIBER, Event::UnsubscribeSent { filter: "t".into() });
    story.publish(4, ONE);
    assert_eq!(story.broken(), []);
}

#[test]
fn what_is_left_out_before_a_connection_ends_shows_by_what_came_behind() {
    for left_out in [false, true] {
        let mut story = subscribed(Some(0));
        for number in 1..=3 {
            story.publish(number, ONE);
            if !(left_out && number == 2) {
                story.receive(number, ONE);
            }
        }
        story.publish(4, ONE);
        story.say(SUBSCRIBER, Event::Closed);
        assert_eq!(story.broken(), if left_out { vec![Promise::NothingLost] } else { vec![] });
    }
}

#[test]
fn qos_2_comes_once_however_often_it_is_sent_and_qos_1_may_come_again() {
    for (expiry, promise) in [(None, Promise::OnceDurable), (Some(0), Promise::OnceLive)] {
        let mut story = subscribed(expiry);
        story.publish(1, TWO);
        story.publish(2, ONE);
        story.receive(1, TWO);
        story.receive(2, ONE);
        story.receive(2, ONE);
        story.come(SUBSCRIBER, message(1), "t", TWO, false, false);
        assert_eq!(story.broken(), []);
        story.receive(1, TWO);
        assert_eq!(story.broken(), [promise]);
    }
}

#[test]
fn messages_of_one_publisher_come_in_order_and_only_sent_again_ones_may_be_late() {
    let mut story = subscribed(None);
    (1..=3).for_each(|number| story.publish(number, ONE));
    // Of another QoS: there is no order between them.
    story.publish(4, TWO);
    story.receive(4, TWO);
    [1, 2, 1, 3, 2].into_iter().for_each(|number| story.receive(number, ONE));
    assert_eq!(story.broken(), []);
    story.publish(5, ONE);
    story.publish(6, ONE);
    story.receive(6, ONE);
    story.receive(5, ONE);
    assert_eq!(story.broken(), [Promise::Order]);

    // Unacknowledged on one connection, sent again on the next one: which of the two came when is not known.
    let mut story = subscribed(None);
    story.send(1, "t", ONE);
    story.send(2, "t", ONE);
    story.say(PUBLISHER, Event::Closed);
    story.connect(PUBLISHER, None, true);
    story.publish(1, ONE);
    story.publish(2, ONE);
    story.receive(2, ONE);
    story.receive(1, ONE);
    assert_eq!(story.broken(), []);
}

#[test]
fn a_session_is_there_when_its_client_comes_back_and_not_after_a_clean_start() {
    for (expiry, clean, present, right) in [
        (None, false, true, true),
        (None, false, false, false),
        (None, true, false, true),
        (None, true, true, false),
        (Some(0), true, false, true),
    ] {
        let mut story = Story::new();
        story.connect(SUBSCRIBER, expiry, false);
        story.say(SUBSCRIBER, Event::Closed);
        story.connect_with(SUBSCRIBER, expiry, clean, present, None);
        let wanted = if right { vec![] } else { vec![Promise::Session] };
        assert_eq!(story.broken(), wanted, "{expiry:?} {clean} {present}");
    }
    let mut story = Story::new();
    story.connect(SUBSCRIBER, None, true);
    assert_eq!(story.broken(), [Promise::Session], "nobody began it");
}

#[test]
fn a_clean_start_that_was_never_answered_may_have_ended_the_session() {
    let mut story = Story::new();
    story.connect(SUBSCRIBER, None, false);
    story.say(SUBSCRIBER, Event::Closed);
    let (clean_start, expiry_seconds, receive_maximum, will) = (true, None, 10, None);
    story.say(SUBSCRIBER, Event::ConnectSent { clean_start, expiry_seconds, receive_maximum, will });
    story.say(SUBSCRIBER, Event::Closed);
    story.connect(SUBSCRIBER, None, false);
    assert_eq!(story.broken(), []);
}

#[test]
fn a_session_that_ends_with_time_may_have_ended_before_a_connack_that_never_came() {
    for is_answered in [true, false] {
        let mut story = Story::new();
        story.connect_with(SUBSCRIBER, Some(2), false, false, None);
        story.subscribe(SUBSCRIBER, "t");
        story.say(SUBSCRIBER, Event::Closed);
        if !is_answered {
            let (clean_start, expiry_seconds, receive_maximum, will) = (false, Some(2), 10, None);
            story.say(SUBSCRIBER, Event::ConnectSent { clean_start, expiry_seconds, receive_maximum, will });
            story.say(SUBSCRIBER, Event::Closed);
        }
        story.connect_with(SUBSCRIBER, Some(2), false, true, None);
        story.publish(1, ONE);
        let broken = if is_answered { vec![Promise::NothingLost] } else { vec![] };
        assert_eq!(story.broken(), broken, "{is_answered}");
    }
}

#[test]
fn nothing_comes_that_was_not_subscribed_to_or_belonged_to_an_earlier_session() {
    let mut story = subscribed(None);
    story.send(1, "t", ONE);
    story.say(SUBSCRIBER, Event::UnsubscribeSent { filter: "t".into() });
    story.say(SUBSCRIBER, Event::Unsubscribed { filter: "t".into() });
    story.receive(1, ONE);
    assert_eq!(story.broken(), [], "it was on its way");
    story.publish(2, ONE);
    story.receive(2, ONE);
    assert_eq!(story.broken(), [Promise::OnlyOwn]);

    let mut story = subscribed(None);
    story.publish(1, ONE);
    story.say(SUBSCRIBER, Event::Closed);
    story.connect_with(SUBSCRIBER, None, true, false, None);
    story.subscribe(SUBSCRIBER, "t");
    assert_eq!(story.broken(), []);
    story.receive(1, ONE);
    assert_eq!(story.broken(), [Promise::OnlyOwn]);
}

/// A reader that comes when `before` have been retained, and is there until the end.
fn reading(before: u32) -> Story {
    let mut story = Story::new();
    story.connect(PUBLISHER, None, false);
    for number in 1..=before {
        story.retain(number, false);
        story.accept(number);
    }
    story.connect(SUBSCRIBER, Some(0), false);
    story.subscribe(SUBSCRIBER, "r");
    story
}

#[test]
fn a_reader_sees_what_was_retained_last_or_something_newer() {
    let mut story = reading(2);
    story.come(SUBSCRIBER, message(2), "r", ONE, true, true);
    assert_eq!(story.broken(), []);

    let mut story = reading(2);
    story.come(SUBSCRIBER, message(1), "r", ONE, true, true);
    assert_eq!(story.broken(), [Promise::Retained], "an older one");

    assert_eq!(reading(2).broken(), [Promise::Retained], "none at all");

    let mut story = reading(0);
    story.retain(1, false);
    story.come(SUBSCRIBER, message(1), "r", ONE, true, true);
    assert_eq!(story.broken(), [], "it was retained before it was acknowledged");
}

#[test]
fn what_was_retained_while_somebody_subscribed_comes_one_way_or_the_other() {
    for comes in [true, false] {
        let mut story = Story::new();
        story.connect(PUBLISHER, None, false);
        story.connect(SUBSCRIBER, Some(0), false);
        story.say(SUBSCRIBER, Event::SubscribeSent { filter: "r".into(), qos: TWO });
        story.retain(1, false);
        story.say(SUBSCRIBER, Event::Subscribed { filter: "r".into(), granted: Some(TWO) });
        story.accept(1);
        if comes {
            story.come(SUBSCRIBER, message(1), "r", ONE, false, true);
        }
        // It was served on, so that it would have come.
        story.subscribe(SUBSCRIBER, "t");
        story.wait(10);
        story.publish(2, ONE);
        story.receive(2, ONE);
        story.say(SUBSCRIBER, Event::Left);
        assert_eq!(story.broken(), if comes { vec![] } else { vec![Promise::Retained] });
    }
}

#[test]
fn what_may_have_been_deleted_need_not_be_seen_and_what_was_deleted_is_not() {
    let mut story = reading(1);
    story.retain(2, true);
    assert_eq!(story.broken(), [], "it may be deleted already");

    let mut story = Story::new();
    story.connect(PUBLISHER, None, false);
    for (number, is_empty) in [(1, false), (2, true)] {
        story.retain(number, is_empty);
        story.accept(number);
    }
    story.connect(SUBSCRIBER, Some(0), false);
    story.subscribe(SUBSCRIBER, "r");
    assert_eq!(story.broken(), []);
    story.come(SUBSCRIBER, message(1), "r", ONE, true, true);
    assert_eq!(story.broken(), [Promise::Retained]);
}

/// Somebody with a will, who is served.
fn mortal(delay_seconds: u32) -> Story {
    let mut story = Story::new();
    story.connect(PUBLISHER, None, false);
    let will = WillGiven { message: will(1), topic: "will/o".into(), qos: TWO, delay_seconds };
    story.connect_with(OTHER, None, false, false, Some(will));
    story.subscribe(OTHER, "t");
    story
}

impl Story {
    fn fires(&mut self) {
        self.come(WATCHER, will(1), "will/o", TWO, false, true);
    }
}

#[test]
fn a_will_is_published_once_when_its_client_is_gone() {
    for (times, broken) in [(0, vec![Promise::Will]), (1, vec![]), (2, vec![Promise::Will])] {
        let mut story = mortal(0);
        story.say(OTHER, Event::Closed);
        (0..times).for_each(|_| story.fires());
        story.wait(30);
        story.say(PUBLISHER, Event::Closed);
        assert_eq!(story.broken(), broken, "{times}");
    }
}

#[test]
fn a_will_is_not_published_while_its_client_is_there_or_when_it_said_goodbye() {
    let mut story = mortal(0);
    story.wait(30);
    story.say(PUBLISHER, Event::Closed);
    assert_eq!(story.broken(), []);
    story.fires();
    assert_eq!(story.broken(), [Promise::Will]);

    for (is_calm, broken) in [(true, vec![Promise::Will]), (false, vec![])] {
        let mut story = mortal(0);
        story.wait(30);
        story.say(OTHER, Event::DisconnectSent { keeps_will: false });
        story.say(OTHER, Event::Closed);
        if !is_calm {
            story.history.fault(story.now);
        }
        assert_eq!(story.broken(), []);
        story.fires();
        assert_eq!(story.broken(), broken, "{is_calm}");
    }
}

#[test]
fn a_client_that_is_served_on_cannot_have_left_its_will() {
    let mut story = mortal(0);
    story.fires();
    story.wait(10);
    story.publish(1, ONE);
    story.come(OTHER, message(1), "t", ONE, false, true);
    story.say(OTHER, Event::Left);
    assert_eq!(story.broken(), [Promise::Will]);
}

#[test]
fn a_will_with_a_delay_is_not_published_if_its_client_comes_back_in_time() {
    for (away, fires, broken) in [(1, true, vec![Promise::Will]), (1, false, vec![]), (20, true, vec![])] {
        let mut story = mortal(3);
        story.say(OTHER, Event::Closed);
        story.wait(away);
        story.connect(OTHER, None, true);
        if fires {
            story.fires();
        }
        story.wait(30);
        story.say(PUBLISHER, Event::Closed);
        assert_eq!(story.broken(), broken, "{away} {fires}");
    }
    // Nobody came back.
    let mut story = mortal(3);
    story.say(OTHER, Event::Closed);
    story.wait(30);
    story.say(PUBLISHER, Event::Closed);
    assert_eq!(story.broken(), [Promise::Will]);
}

/// Two members of a shared subscription, whose sessions last or not.
fn sharing(expiry_seconds: Option<u32>) -> Story {
    let mut story = Story::new();
    story.connect(PUBLISHER, None, false);
    for member in [SUBSCRIBER, OTHER] {
        story.connect(member, expiry_seconds, false);
        story.subscribe(member, "$share/g/t");
    }
    story
}

#[test]
fn a_message_for_a_shared_subscription_comes_to_one_member() {
    let mut story = sharing(None);
    (1..=3).for_each(|number| story.publish(number, TWO));
    story.publish(4, ONE);
    // In any order.
    story.receive(3, TWO);
    story.receive(1, TWO);
    story.come(OTHER, message(2), "t", TWO, false, true);
    story.come(OTHER, message(4), "t", ONE, false, true);
    story.receive(4, ONE);
    assert_eq!(story.broken(), []);
    story.come(OTHER, message(1), "t", TWO, false, true);
    assert_eq!(story.broken(), [Promise::Shared]);
}

#[test]
fn members_whose_sessions_last_get_what_is_sent_again_on_another_connection_once_and_others_may_get_it_twice() {
    for (expiry, is_sent_again, broken) in
        [(None, true, vec![Promise::Shared]), (Some(0), true, vec![]), (Some(0), false, vec![Promise::Shared])]
    {
        let mut story = sharing(expiry);
        story.send(1, "t", TWO);
        story.receive(1, TWO);
        if is_sent_again {
            story.say(PUBLISHER, Event::Closed);
            story.connect(PUBLISHER, None, true);
            story.send(1, "t", TWO);
        }
        story.come(OTHER, message(1), "t", TWO, false, true);
        story.accept(1);
        assert_eq!(story.broken(), broken, "{expiry:?} {is_sent_again}");
    }
}

#[test]
fn what_came_to_no_member_is_lost_if_all_of_them_last() {
    for (expiry, broken) in [(None, vec![Promise::Shared]), (Some(0), vec![])] {
        let mut story = sharing(expiry);
        story.publish(1, ONE);
        assert_eq!(story.broken(), broken, "{expiry:?}");
    }
}

#[test]
fn who_lost_a_session_changes_nothing_in_it() {
    for (is_late, broken) in [(false, vec![]), (true, vec![Promise::OneOwner])] {
        let mut story = Story::of_rivals();
        story.connect(SUBSCRIBER, None, false);
        let ask = |story: &mut Story| {
            story.say(SUBSCRIBER, Event::SubscribeSent { filter: "t".into(), qos: ONE });
        };
        if !is_late {
            ask(&mut story);
        }
        story.connect(OTHER, None, true);
        story.say(SUBSCRIBER, Event::Superseded);
        if is_late {
            ask(&mut story);
        }
        story.say(SUBSCRIBER, Event::Subscribed { filter: "t".into(), granted: Some(ONE) });
        assert_eq!(story.broken(), broken, "{is_late}");
    }
}

#[test]
fn what_a_client_has_noticed_is_told() {
    let mut story = Story::new();
    assert_eq!(story.broken(), []);
    story.say(OTHER, Event::Wrong("unreadable bytes".to_owned()));
    assert_eq!(story.broken(), [Promise::Protocol]);
    let found = all(&story.history);
    assert_eq!(found[0].to_string(), "Protocol: o: unreadable bytes (at 0.060000)");
    assert_eq!(found[0].at, Some(story.history.records().len() - 1));
}
