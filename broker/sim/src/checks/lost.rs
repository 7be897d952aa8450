//! What was acknowledged to its publisher comes to whoever had SUBACK before it was sent (DESIGN, 1).
//!
//! Of a session that is there at the end all is asked for. Of others, what must have come before something else that did:
//! a message that was acknowledged before another one of its publisher and topic was sent stands before that in every
//! queue.

use std::collections::BTreeMap;

use fulmar_codec::QoS;

use super::published::{Publish, Published};
use super::spans::{Span, Spans, Subscribed};
use super::{Promise, Violation};
use crate::history::{History, MessageId};

pub(super) fn check(history: &History, published: &Published, spans: &Spans) -> Vec<Violation> {
    let mut found = Vec::new();
    for span in &spans.0 {
        for subscribed in &span.subscribed {
            if span.is_there_at_end && subscribed.until.is_none() {
                found.extend(not_taken(span, subscribed, published));
            } else {
                found.extend(left_out(history, span, subscribed, published));
            }
        }
    }
    found
}

/// What a subscription is for, with where it was acknowledged.
fn wanted<'a>(
    subscribed: &'a Subscribed,
    published: &'a Published,
) -> impl Iterator<Item = (MessageId, &'a Publish, usize)> {
    published.accepted().filter(|(_, publish, _)| {
        publish.qos.min(subscribed.granted) != QoS::AtMostOnce
            && !publish.is_empty
            && publish.first_sent > subscribed.from
            && subscribed.is_for(&publish.topic)
    })
}

fn not_taken(span: &Span, subscribed: &Subscribed, published: &Published) -> Vec<Violation> {
    let missing = wanted(subscribed, published).filter(|(message, ..)| !span.took.contains(message));
    missing
        .map(|(message, publish, at)| {
            let (name, filter) = (&span.name, &subscribed.filter);
            let (topic, qos) = (&publish.topic, publish.qos);
            let what = format!(
                "{message} ({topic}, {qos:?}) was acknowledged and never came to {name} ({filter}), \
                 which was subscribed when it was sent"
            );
            Violation::new(Promise::NothingLost, at, what)
        })
        .collect()
}

/// What did not come though something that stands behind it did, before the subscription ended.
fn left_out(history: &History, span: &Span, subscribed: &Subscribed, published: &Published) -> Vec<Violation> {
    let until = subscribed.until.unwrap_or(history.records().len());
    // By publisher, topic and QoS the last message that came, by its number.
    let mut last_came: BTreeMap<_, (u32, usize)> = BTreeMap::new();
    for (message, at) in span.received.iter().filter(|(_, at)| (subscribed.from..until).contains(*at)) {
        let Some(publish) = published.0.get(message).filter(|it| it.first_sent > subscribed.from && !it.retain) else {
            continue;
        };
        let last = last_came.entry((message.publisher, &publish.topic, publish.qos)).or_default();
        *last = (*last).max((message.number, *at));
    }
    let left_out = wanted(subscribed, published).filter(|(message, publish, _)| {
        let last = last_came.get(&(message.publisher, &publish.topic, publish.qos));
        let behind = last.map(|(number, _)| MessageId { number: *number, ..*message });
        let is_behind = |behind: MessageId| publish.is_surely_before(&published.0[&behind]);
        !span.received.contains_key(message) && behind.is_some_and(is_behind)
    });
    left_out
        .map(|(message, publish, at)| {
            let (name, topic) = (&span.name, &publish.topic);
            let what =
                format!("{message} ({topic}) was acknowledged and never came to {name}, what was sent later did");
            Violation::new(Promise::NothingLost, at, what)
        })
        .collect()
}
