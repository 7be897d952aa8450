//! A session is there when its client comes back, and ends when it is to end; nothing of an earlier one comes to a later
//! one, and nothing comes that nobody subscribed to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fulmar_codec::{TopicLimits, filter_matches, parse_filter};

use super::published::Published;
use super::spans::Spans;
use super::{Promise, Violation};
use crate::history::{Event, History};

/// What is known of a client identifier.
#[derive(Default)]
struct Known {
    /// There is a session that outlives connections: the server has said so, and nobody has asked to end it.
    must_be_there: bool,
    /// There may be one: one was asked for.
    may_be_there: bool,
    /// What was ever asked for, and not certainly ended.
    filters: BTreeSet<Arc<str>>,
    /// What was, and where that was said.
    ended: BTreeMap<Arc<str>, usize>,
}

pub(super) fn check(history: &History, published: &Published, spans: &Spans) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut clients: BTreeMap<&str, Known> = BTreeMap::new();
    let mut asked = BTreeMap::new();
    for (at, record) in history.records().iter().enumerate() {
        let profile = history.profile(record.actor);
        let known = clients.entry(&profile.client_id).or_default();
        let mut wrong = |promise, what: &str| {
            let what = format!("{}: {what}", profile.name);
            found.push(Violation::new(promise, at, what));
        };
        match &record.event {
            Event::ConnectSent { clean_start, expiry_seconds, .. } => {
                known.must_be_there &= !clean_start;
                asked.insert((record.actor, record.connection), (*clean_start, *expiry_seconds));
                // What an unanswered CONNECT began stays, if it is to stay; this one is answered first.
            }
            Event::ConnAck { session_present, reason } if !reason.is_error() => {
                let (clean_start, expiry) =
                    asked.get(&(record.actor, record.connection)).copied().unwrap_or((false, None));
                if *session_present && clean_start {
                    wrong(Promise::Session, "there was a session after a clean start");
                } else if *session_present && !known.may_be_there && !was_asked_before(&asked, history, record) {
                    wrong(Promise::Session, "there was a session that nobody began");
                } else if !session_present && known.must_be_there {
                    wrong(Promise::Session, "the session is gone");
                }
                if !session_present {
                    known.filters.clear();
                    known.ended.clear();
                }
                known.must_be_there = expiry.is_none();
                known.may_be_there = expiry != Some(0);
            }
            Event::SubscribeSent { filter, .. } => {
                known.filters.insert(filter.clone());
            }
            Event::Unsubscribed { filter } => {
                known.filters.remove(filter);
                known.ended.insert(filter.clone(), at);
            }
            Event::Received { topic, message, .. } if !known.filters.iter().any(|filter| is_for(filter, topic)) => {
                // What was sent before the subscription ended may still come (MQTT 5.0, 3.10.4).
                let sent = message.and_then(|message| published.0.get(&message)).map_or(0, |it| it.first_sent);
                if !known.ended.iter().any(|(filter, until)| is_for(filter, topic) && sent < *until) {
                    wrong(Promise::OnlyOwn, &format!("{message:?} ({topic}) came without a subscription"));
                }
            }
            _ => {}
        }
    }
    found.extend(of_earlier_sessions(published, spans));
    found
}

/// Whether another CONNECT of the same client identifier has asked for a session and was not answered.
fn was_asked_before(
    asked: &BTreeMap<(crate::history::ActorId, u32), (bool, Option<u32>)>,
    history: &History,
    record: &crate::history::Record,
) -> bool {
    let client_id = &history.profile(record.actor).client_id;
    asked.iter().any(|((actor, connection), (_, expiry))| {
        (*actor, *connection) != (record.actor, record.connection)
            && *expiry != Some(0)
            && history.profile(*actor).client_id == *client_id
    })
}

fn is_for(filter: &str, topic: &str) -> bool {
    parse_filter(filter, TopicLimits::NONE).is_ok_and(|parsed| filter_matches(parsed.filter, topic))
}

/// What was sent once, and acknowledged before a session had any subscription to it, is not for that session.
fn of_earlier_sessions(published: &Published, spans: &Spans) -> Vec<Violation> {
    let mut found = Vec::new();
    for span in &spans.0 {
        for (message, at) in &span.received {
            let Some(publish) = published.0.get(message).filter(|it| it.sent == 1 && !it.retain) else { continue };
            let Some(accepted) = publish.accepted else { continue };
            let matching = || span.subscribed.iter().filter(|it| is_for(&it.filter, &publish.topic));
            if matching().count() > 0 && matching().all(|it| it.asked > accepted) {
                let (name, topic) = (&span.name, &publish.topic);
                let what = format!("{message} ({topic}) came to {name}, which subscribed when it was acknowledged");
                found.push(Violation::new(Promise::OnlyOwn, *at, what));
            }
        }
    }
    found
}
