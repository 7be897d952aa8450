//! What is retained is what was acknowledged last, and a new subscription sees it: at once, or because it is newer.
//!
//! A reader that subscribed, and was served for a while after SUBACK, has seen of each topic what was acknowledged by then,
//! or something that is not older. What was retained and is certainly replaced or deleted when it subscribes it does not
//! see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fulmar_codec::{TopicLimits, filter_matches, parse_filter};

use super::published::{Publish, Published};
use super::{Promise, Violation};
use crate::history::{ActorId, Event, History, MessageId};

/// A reader that was sent something so long after SUBACK has been sent what was there before.
const SERVED: Duration = Duration::from_secs(4);

/// A subscription on one connection, and what came on it.
struct Reading {
    name: String,
    filter: Arc<str>,
    /// Where SUBSCRIBE was sent, and SUBACK received.
    asked: usize,
    from: usize,
    /// What came after that, and whether as something that was retained.
    came: Vec<(MessageId, usize, bool)>,
    /// Where something came last.
    served: usize,
    /// The connection ended, or the subscription.
    is_over: bool,
    /// It was there when all had come to rest.
    is_there_at_end: bool,
    /// The session was new and the subscription the first: nothing that was read for another one can come.
    is_first: bool,
}

pub(super) fn check(history: &History, published: &Published) -> Vec<Violation> {
    let mut topics: BTreeMap<&str, Vec<(MessageId, &Publish)>> = BTreeMap::new();
    for (message, publish) in published.0.iter().filter(|(_, publish)| publish.retain) {
        topics.entry(&publish.topic).or_default().push((*message, publish));
    }
    let mut found = Vec::new();
    for reading in readings(history) {
        let Ok(parsed) = parse_filter(&reading.filter, TopicLimits::NONE) else { continue };
        if parsed.share.is_some() {
            continue;
        }
        for (topic, publishes) in topics.iter().filter(|(topic, _)| filter_matches(parsed.filter, topic)) {
            found.extend(stale(&reading, topic, publishes));
            found.extend(missed(history, &reading, topic, publishes));
        }
    }
    found
}

/// Something came as retained though it was replaced before.
fn stale(reading: &Reading, topic: &str, publishes: &[(MessageId, &Publish)]) -> Vec<Violation> {
    let came = reading.came.iter().filter(|(_, _, is_retained)| *is_retained && reading.is_first);
    let judged = came.filter_map(|(message, at, _)| {
        let (_, old) = publishes.iter().find(|(it, _)| it == message)?;
        let replaces = |(_, new): &&(MessageId, &Publish)| {
            old.is_surely_before(new) && new.accepted.is_some_and(|accepted| accepted < reading.asked)
        };
        let (new, _) = publishes.iter().find(replaces)?;
        let name = &reading.name;
        let what = format!("{name} read {message} on {topic}, which {new} had replaced");
        Some(Violation::new(Promise::Retained, *at, what))
    });
    judged.collect()
}

/// Something was acknowledged, and neither it nor something newer came.
fn missed(history: &History, reading: &Reading, topic: &str, publishes: &[(MessageId, &Publish)]) -> Option<Violation> {
    let records = history.records();
    let served = records[reading.served].at;
    let is_owed = |(_, publish): &&(MessageId, &Publish)| {
        let Some(accepted) = publish.accepted else { return false };
        let since = records[accepted.max(reading.from)].at;
        !publish.is_empty && (reading.is_there_at_end || since + SERVED < served)
    };
    let is_seen = |old: &Publish| {
        let is_not_older = |(message, ..): &(MessageId, usize, bool)| {
            publishes.iter().any(|(it, new)| it == message && !new.is_surely_before(old))
        };
        reading.came.iter().any(is_not_older)
    };
    // What may have been deleted, before it was read or after, may not be there.
    let is_in_time = |publish: &Publish| reading.is_there_at_end || publish.first_sent < reading.served;
    let may_be_deleted =
        |old: &Publish| publishes.iter().any(|(_, new)| new.is_empty && !new.is_surely_before(old) && is_in_time(new));
    let (message, publish) =
        publishes.iter().filter(is_owed).find(|(_, publish)| !is_seen(publish) && !may_be_deleted(publish))?;
    let name = &reading.name;
    let what = format!("{name} never saw {message} on {topic} nor anything newer, which was acknowledged");
    Some(Violation::new(Promise::Retained, publish.accepted.map(|at| at.max(reading.from)), what))
}

fn readings(history: &History) -> Vec<Reading> {
    let mut all: Vec<Reading> = Vec::new();
    let mut asked: BTreeMap<(ActorId, u32, Arc<str>), usize> = BTreeMap::new();
    let mut open: BTreeMap<(ActorId, u32), Vec<usize>> = BTreeMap::new();
    let mut fresh: BTreeSet<(ActorId, u32)> = BTreeSet::new();
    for (at, record) in history.records().iter().enumerate() {
        let key = (record.actor, record.connection);
        match &record.event {
            Event::ConnAck { session_present: false, .. } => {
                fresh.insert(key);
            }
            Event::SubscribeSent { filter, .. } => {
                asked.insert((key.0, key.1, filter.clone()), at);
            }
            Event::Subscribed { filter, granted: Some(_) } => {
                let Some(asked) = asked.remove(&(key.0, key.1, filter.clone())) else { continue };
                let is_first = fresh.remove(&key);
                open.entry(key).or_default().push(all.len());
                all.push(Reading {
                    name: history.profile(record.actor).name.clone(),
                    filter: filter.clone(),
                    asked,
                    from: at,
                    came: Vec::new(),
                    served: at,
                    is_over: false,
                    is_there_at_end: false,
                    is_first,
                });
            }
            Event::UnsubscribeSent { filter } => {
                for at in open.get(&key).into_iter().flatten() {
                    let reading = &mut all[*at];
                    reading.is_over |= reading.filter == *filter;
                }
            }
            Event::Closed | Event::Left | Event::DisconnectSent { .. } => {
                for at in open.remove(&key).into_iter().flatten() {
                    all[at].is_over = true;
                }
            }
            Event::Received { message, retain, .. } => {
                for reading in open.get(&key).into_iter().flatten() {
                    let reading = &mut all[*reading];
                    if !reading.is_over {
                        reading.served = at;
                        reading.came.extend(message.map(|message| (message, at, *retain)));
                    }
                }
            }
            _ => {}
        }
    }
    for reading in &mut all {
        reading.is_there_at_end = !reading.is_over;
    }
    all
}
