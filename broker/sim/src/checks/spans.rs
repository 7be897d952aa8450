//! Sessions as clients know them: when each began, what it was subscribed to from when to when, what came in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fulmar_codec::{ParsedFilter, QoS, TopicLimits, filter_matches, parse_filter};

use crate::history::{ActorId, Event, History, MessageId};

/// A session, from the CONNACK that said that there was none before.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) client_id: Arc<str>,
    /// It outlives its connections for longer than any run.
    pub(super) is_lasting: bool,
    /// For a trace.
    pub(super) name: String,
    pub(super) subscribed: Vec<Subscribed>,
    /// What came, with where it came first.
    pub(super) received: BTreeMap<MessageId, usize>,
    /// What its client has dealt with.
    pub(super) took: BTreeSet<MessageId>,
    /// The client is there when all is over, or the session waits for it.
    pub(super) is_there_at_end: bool,
    /// Where CONNECT with a clean start was sent that may have ended it, or CONNACK said that it is no more.
    ends: Option<usize>,
}

/// A subscription.
#[derive(Debug)]
pub(super) struct Subscribed {
    pub(super) filter: Arc<str>,
    pub(super) granted: QoS,
    /// Where SUBSCRIBE was sent, and SUBACK received.
    pub(super) asked: usize,
    pub(super) from: usize,
    /// Where UNSUBSCRIBE was sent, or the session may have ended.
    pub(super) until: Option<usize>,
}

impl Subscribed {
    /// The share's name, if it is a shared subscription, and the filter.
    pub(super) fn parsed(&self) -> Option<ParsedFilter<'_>> {
        parse_filter(&self.filter, TopicLimits::NONE).ok()
    }

    /// Whether it is for messages of this topic, and not only for one of several members.
    pub(super) fn is_for(&self, topic: &str) -> bool {
        self.parsed().is_some_and(|parsed| parsed.share.is_none() && filter_matches(parsed.filter, topic))
    }
}

/// All sessions of all clients.
#[derive(Debug)]
pub(super) struct Spans(pub(super) Vec<Span>);

/// What is known of a client identifier while the history is read.
#[derive(Default)]
struct Open {
    span: Option<usize>,
    /// Actors whose connection was let in.
    online: BTreeMap<ActorId, u32>,
    /// Where a filter was asked for first in this session, or since it was given up.
    asked: BTreeMap<Arc<str>, usize>,
    is_lasting: bool,
    /// CONNECT was sent, and no CONNACK has come.
    is_unanswered: bool,
    /// It was superseded on these connections.
    superseded: BTreeSet<(ActorId, u32)>,
}

impl Spans {
    pub(super) fn of(history: &History) -> Spans {
        let mut spans: Vec<Span> = Vec::new();
        let mut clients: BTreeMap<Arc<str>, Open> = BTreeMap::new();
        for (at, record) in history.records().iter().enumerate() {
            let profile = history.profile(record.actor);
            let open = clients.entry(profile.client_id.clone()).or_default();
            let key = (record.actor, record.connection);
            if open.superseded.contains(&key) && !matches!(record.event, Event::Closed | Event::Left) {
                continue;
            }
            match &record.event {
                Event::ConnectSent { clean_start, expiry_seconds, .. } => {
                    open.is_lasting = expiry_seconds.is_none();
                    // The CONNACK that was not read may have said that the session had ended by then.
                    let was_lost = std::mem::replace(&mut open.is_unanswered, true) && !open.is_lasting;
                    if (*clean_start || was_lost)
                        && let Some(span) = open.span.map(|span| &mut spans[span])
                    {
                        span.end(at);
                    }
                }
                Event::ConnAck { session_present, reason } if !reason.is_error() => {
                    open.online.insert(record.actor, record.connection);
                    open.is_unanswered = false;
                    if !session_present || open.span.is_none() {
                        if let Some(span) = open.span {
                            spans[span].end(at);
                        }
                        open.asked.clear();
                        open.span = Some(spans.len());
                        spans.push(Span {
                            client_id: profile.client_id.clone(),
                            is_lasting: open.is_lasting,
                            name: profile.name.clone(),
                            subscribed: Vec::new(),
                            received: BTreeMap::new(),
                            took: BTreeSet::new(),
                            is_there_at_end: false,
                            ends: None,
                        });
                    }
                }
                Event::Superseded => {
                    open.superseded.insert(key);
                }
                Event::Closed | Event::Left => {
                    if open.online.get(&record.actor) == Some(&record.connection) {
                        open.online.remove(&record.actor);
                    }
                }
                Event::SubscribeSent { filter, .. } => {
                    open.asked.entry(filter.clone()).or_insert(at);
                }
                event => {
                    if let Event::Unsubscribed { filter } = event {
                        open.asked.remove(filter);
                    }
                    if let Some(span) = open.span.map(|span| &mut spans[span]) {
                        span.note(at, event, &open.asked);
                    }
                }
            }
        }
        for open in clients.values() {
            if let Some(span) = open.span.map(|span| &mut spans[span]) {
                span.is_there_at_end = span.ends.is_none() && (span.is_lasting || !open.online.is_empty());
            }
        }
        Spans(spans)
    }
}

impl Span {
    fn end(&mut self, at: usize) {
        self.ends = self.ends.or(Some(at));
        self.subscribed.iter_mut().for_each(|it| it.until = it.until.or(Some(at)));
    }

    fn note(&mut self, at: usize, event: &Event, asked: &BTreeMap<Arc<str>, usize>) {
        match event {
            Event::Subscribed { filter, granted: Some(granted) } => {
                let is_open = |it: &Subscribed| it.filter == *filter && it.until.is_none();
                if !self.subscribed.iter().any(is_open) {
                    let asked = asked.get(filter).copied().unwrap_or(at);
                    let (filter, granted) = (filter.clone(), *granted);
                    self.subscribed.push(Subscribed { filter, granted, asked, from: at, until: None });
                }
            }
            Event::UnsubscribeSent { filter } => {
                let open = self.subscribed.iter_mut().filter(|it| it.filter == *filter);
                open.for_each(|it| it.until = it.until.or(Some(at)));
            }
            Event::Received { message: Some(message), .. } => {
                self.received.entry(*message).or_insert(at);
            }
            Event::Took { message: Some(message), .. } => {
                self.took.insert(*message);
            }
            _ => {}
        }
    }
}
