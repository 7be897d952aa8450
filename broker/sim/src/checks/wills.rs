//! A will is published once when it is due, and not at all when it is not (MQTT 5.0, 3.1.2.5, 3.1.3.2.2).
//!
//! Somebody who is always there has subscribed to all wills with QoS 2 before any was given. When a will is due depends on
//! when the server notices that its client is gone, which is after the client does; a client that comes back at about that
//! time tells nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use fulmar_codec::QoS;

use super::spans::Spans;
use super::{Promise, Violation};
use crate::Time;
use crate::history::{ActorId, Event, History, MessageId, WillGiven};

/// By then a will that is due has been published, if no new fault comes.
const PATIENCE: Duration = Duration::from_secs(8);
/// A client learns of the end of its connection so much later than the server, at most.
const SURPRISE: Duration = Duration::from_millis(800);
/// Who is served for so long after is served by a node that is a member.
const SERVED: Duration = Duration::from_secs(4);
/// So long before a DISCONNECT nothing must have happened for it to count.
const CALM: Duration = Duration::from_secs(15);

/// A will, and what became of its connection.
struct Given {
    actor: ActorId,
    will: WillGiven,
    /// Where CONNECT was sent.
    asked: usize,
    is_let_in: bool,
    superseded: bool,
    /// When DISCONNECT was sent, and whether it was to leave the will.
    goodbye: Option<(Time, bool)>,
    /// When it ended, and whether the server closed it.
    ended: Option<(usize, Time, bool)>,
    /// The last thing of the server's that came on it and that only a member says.
    served_until: Option<Time>,
}

pub(super) fn check(history: &History, spans: &Spans) -> Vec<Violation> {
    let Some((watcher, watched_from)) = watcher(spans) else { return Vec::new() };
    let mut fired: BTreeMap<MessageId, Vec<usize>> = BTreeMap::new();
    for (at, record) in history.records().iter().enumerate() {
        if let Event::Received { message: Some(message), is_fresh: true, .. } = record.event
            && message.is_will
            && *history.profile(record.actor).client_id == *watcher
        {
            fired.entry(message).or_default().push(at);
        }
    }
    let mut found = Vec::new();
    let given = given(history);
    for (message, times) in &fired {
        if times.len() > 1 {
            let what = format!("will {message} was published {} times", times.len());
            found.push(Violation::new(Promise::Will, times[1], what));
        }
        if !given.iter().any(|it| it.will.message == *message) {
            let what = format!("will {message} was never given");
            found.push(Violation::new(Promise::Will, times[0], what));
        }
    }
    for it in given.iter().filter(|it| it.is_let_in) {
        let times = fired.get(&it.will.message).and_then(|times| times.first());
        let name = &history.profile(it.actor).name;
        let message = it.will.message;
        match times {
            Some(at) => {
                if let Some(why) = must_not(it, *at, history) {
                    let what = format!("will {message} of {name} was published, {why}");
                    found.push(Violation::new(Promise::Will, *at, what));
                }
            }
            None if it.asked > watched_from && must(it, history) => {
                let what = format!("will {message} of {name} was due and was not published");
                found.push(Violation::new(Promise::Will, it.ended.map(|(at, ..)| at), what));
            }
            None => {}
        }
    }
    found
}

/// Who watches, and from where on.
fn watcher(spans: &Spans) -> Option<(std::sync::Arc<str>, usize)> {
    let of = |span: &super::spans::Span| {
        let watches = |it: &&super::spans::Subscribed| {
            it.until.is_none() && it.granted == QoS::ExactlyOnce && &*it.filter == "will/#"
        };
        let from = span.subscribed.iter().find(watches)?.from;
        (span.is_there_at_end && span.is_lasting).then(|| (span.client_id.clone(), from))
    };
    spans.0.iter().find_map(of)
}

fn given(history: &History) -> Vec<Given> {
    let mut all: Vec<Given> = Vec::new();
    let mut open: BTreeMap<(ActorId, u32), usize> = BTreeMap::new();
    for (at, record) in history.records().iter().enumerate() {
        let key = (record.actor, record.connection);
        if let Event::ConnectSent { will: Some(will), .. } = &record.event {
            open.insert(key, all.len());
            all.push(Given {
                actor: record.actor,
                will: will.clone(),
                asked: at,
                is_let_in: false,
                superseded: false,
                goodbye: None,
                ended: None,
                served_until: None,
            });
            continue;
        }
        let Some(it) = open.get(&key).map(|at| &mut all[*at]) else { continue };
        match &record.event {
            Event::ConnAck { reason, .. } => it.is_let_in |= !reason.is_error(),
            Event::Superseded => it.superseded = true,
            Event::DisconnectSent { keeps_will } => it.goodbye = Some((record.at, *keeps_will)),
            Event::Closed => it.ended = Some((at, record.at, true)),
            Event::Left => it.ended = Some((at, record.at, false)),
            Event::Accepted { .. } | Event::Received { .. } | Event::Subscribed { .. } => {
                it.served_until = Some(record.at);
            }
            _ => {}
        }
    }
    all
}

/// Why a will that was published must not have been.
fn must_not(it: &Given, fired: usize, history: &History) -> Option<String> {
    let fired_at = history.records()[fired].at;
    if it.ended.is_none() && it.goodbye.is_none() && !it.superseded {
        return Some("and its client is still there".to_owned());
    }
    if it.ended.is_some_and(|(at, ..)| at > fired)
        && it.goodbye.is_none_or(|(at, _)| at > fired_at)
        && it.served_until.is_some_and(|at| at > fired_at + SERVED)
        && !it.superseded
    {
        return Some("and its client was still served for a while".to_owned());
    }
    if let (Some((at, false)), Some((_, ended, true))) = (it.goodbye, it.ended)
        && !history.has_fault_between(Time(at.0.saturating_sub(CALM.as_micros() as u64)), ended + CALM)
    {
        return Some("and its client said goodbye".to_owned());
    }
    let delay = Duration::from_secs(it.will.delay_seconds.into());
    let ((ended_at, ..), served) = (it.ended?, it.served_until?);
    let back = came_back(it, ended_at, history)?;
    // Until then its connection was there for the server too.
    let is_early = back.at + SURPRISE < served + delay;
    if delay > SURPRISE && is_early && back.session_present && !it.superseded && !history.has_clock_jumped() {
        return Some(format!("and its client came back at {} after it was served at {served}", back.at));
    }
    None
}

/// The next connection of the client identifier.
struct Back {
    at: Time,
    session_present: bool,
}

fn came_back(it: &Given, ended: usize, history: &History) -> Option<Back> {
    let client_id = &history.profile(it.actor).client_id;
    let records = history.records()[ended..].iter();
    let mut of_client = records.filter(|record| history.profile(record.actor).client_id == *client_id);
    of_client.find_map(|record| match record.event {
        Event::ConnAck { session_present, reason } if !reason.is_error() => {
            Some(Back { at: record.at, session_present })
        }
        _ => None,
    })
}

/// Whether a will that was not published must have been.
fn must(it: &Given, history: &History) -> bool {
    let Some((_, ended, _)) = it.ended else { return false };
    if matches!(it.goodbye, Some((_, false))) || it.superseded {
        return false;
    }
    let delay = Duration::from_secs(it.will.delay_seconds.into());
    let due = (ended + delay).max(history.last_fault()) + PATIENCE;
    if history.records().last().is_none_or(|last| last.at < due) {
        return false;
    }
    if delay.is_zero() {
        return true;
    }
    if history.has_clock_jumped() {
        return false;
    }
    // Any CONNECT, answered or not, may have cancelled it.
    let client_id = &history.profile(it.actor).client_id;
    let later = history.records()[it.asked + 1..].iter().filter(|record| record.at < due);
    let mut connects = later.filter(|record| history.profile(record.actor).client_id == *client_id);
    !connects.any(|record| matches!(record.event, Event::ConnectSent { .. }))
}
