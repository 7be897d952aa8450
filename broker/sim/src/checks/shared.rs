//! A message for a shared subscription comes to one of its members (MQTT 5.0, 4.8.2): of QoS 2 to one member, once; of
//! QoS 1 to one at least. Nothing is lost if all members have sessions that outlive their connections; what a member
//! without one held when its node died is not promised, and such members get a message before it is committed: again if
//! its publisher sends it on another connection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fulmar_codec::{QoS, filter_matches};

use super::published::Published;
use super::spans::{Span, Spans, Subscribed};
use super::{Promise, Violation};
use crate::history::{Event, History};

pub(super) fn check(history: &History, published: &Published, spans: &Spans) -> Vec<Violation> {
    let mut groups: BTreeMap<&str, Vec<(&Span, &Subscribed)>> = BTreeMap::new();
    for span in &spans.0 {
        for subscribed in span.subscribed.iter().filter(|it| it.filter.starts_with("$share/")) {
            groups.entry(&subscribed.filter).or_default().push((span, subscribed));
        }
    }
    groups.iter().flat_map(|(name, members)| check_group(history, name, members, published)).collect()
}

fn check_group(
    history: &History,
    name: &str,
    members: &[(&Span, &Subscribed)],
    published: &Published,
) -> Vec<Violation> {
    let mut found = Vec::new();
    let clients: BTreeSet<&Arc<str>> = members.iter().map(|(span, _)| &span.client_id).collect();
    let is_lasting = members.iter().all(|(span, _)| span.is_lasting);
    let stays = |(span, subscribed): &&(&Span, &Subscribed)| span.is_there_at_end && subscribed.until.is_none();
    let began = members.iter().filter(stays).map(|(_, subscribed)| subscribed.from).min();
    let granted = members.iter().map(|(_, subscribed)| subscribed.granted).min().unwrap_or_default();
    let Some(filter) = members.first().and_then(|(_, subscribed)| Some(subscribed.parsed()?.filter)) else {
        return found;
    };
    if let Some(began) = began.filter(|_| is_lasting) {
        for (message, publish, at) in published.accepted() {
            let is_wanted = publish.first_sent > began
                && publish.qos.min(granted) != QoS::AtMostOnce
                && !publish.is_empty
                && filter_matches(filter, &publish.topic);
            if is_wanted && !members.iter().any(|(span, _)| span.took.contains(&message)) {
                let what = format!("{message} ({}) was acknowledged and came to no member of {name}", publish.topic);
                found.push(Violation::new(Promise::Shared, at, what));
            }
        }
    }
    let mut came: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for (at, record) in history.records().iter().enumerate() {
        let profile = history.profile(record.actor);
        if !clients.contains(&profile.client_id) {
            continue;
        }
        if let Event::Received {
            message: Some(message), qos: QoS::ExactlyOnce, retain: false, is_fresh: true, ..
        } = record.event
        {
            let names = came.entry(message).or_default();
            names.push(&profile.name);
            let was_sent_again = published.0.get(&message).is_some_and(|publish| publish.connections.len() > 1);
            if names.len() > 1 && (is_lasting || !was_sent_again) {
                let what = format!("{message} came to members of {name} {} times: {names:?}", names.len());
                found.push(Violation::new(Promise::Shared, at, what));
            }
        }
    }
    found
}
