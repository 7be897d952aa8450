//! A worker's events as log lines: a fixed phrase and fields.
//!
//! A broker may have a million devices, and after a power cut they all come at once; who runs it reads the log to find
//! what is wrong. So what goes as it should is debug: clients that connect, say goodbye, move, or are sent away by a
//! broker that stops. Ends that somebody may have to look into (connections lost, clients refused, bad bytes) are info,
//! but only a few a second and thread: the rest of that second is debug too, and one line tells how many there were.
//! Metrics count them all. A panic is always an error, and what happens to links is rare and always shown.

use std::time::{Duration, Instant};

use fulmar_codec::ReasonCode;
use fulmar_worker::{Departure, Event, Origin};
use tracing::{debug, error, info, warn};

use crate::trace::Trace;

/// Lines about clients that are info, per second and data thread.
const LINES_PER_SECOND: u32 = 10;
/// As much of a topic is shown.
const TOPIC_BYTES_MAX: usize = 256;
const SECOND: Duration = Duration::from_secs(1);

/// The same line as info or as debug.
macro_rules! say {
    ($is_info:expr, $($line:tt)+) => {
        if $is_info { info!($($line)+) } else { debug!($($line)+) }
    };
}

/// The log of one data thread's clients and links.
#[derive(Debug)]
pub(crate) struct ClientLog {
    listener_names: Vec<String>,
    allowance: Allowance,
}

impl ClientLog {
    pub(crate) fn new(listener_names: Vec<String>, now: Instant) -> ClientLog {
        ClientLog { listener_names, allowance: Allowance { since: now, used: 0, withheld: 0 } }
    }

    pub(crate) fn write(&mut self, event: &Event<'_>, now: Instant) {
        let is_info = is_unusual(event) && self.admit(now);
        let listener =
            |origin: &Origin| self.listener_names.get(usize::from(origin.listener)).map_or("", String::as_str);
        match event {
            Event::ClientConnected { client_id, origin, version, session_present } => {
                let version = if *version == 5 { "5.0" } else { "3.1.1" };
                debug!(client_id, address = %origin.address, listener = listener(origin), trace = %Trace(origin.trace), version, session_present, "client connected");
            }
            Event::ClientRefused { client_id, origin, reason, error } => {
                say!(is_info, client_id, error, address = %origin.address, listener = listener(origin), trace = %Trace(origin.trace), reason = reason.name(), code = code(*reason), "client refused");
            }
            Event::ClientDisconnected { client_id, origin, reason: Departure::Panicked } => {
                error!(client_id, address = %origin.address, listener = listener(origin), trace = %Trace(origin.trace), "client disconnected by a panic in its turn");
            }
            Event::ClientDisconnected { client_id, origin, reason } => {
                let (reason, code) = describe(*reason);
                say!(is_info, client_id, address = %origin.address, listener = listener(origin), trace = %Trace(origin.trace), reason, code, "client disconnected");
            }
            Event::ClientBeyondLimit { client_id, origin, limit } => {
                say!(is_info, client_id, address = %origin.address, listener = listener(origin), trace = %Trace(origin.trace), limit, "client reached a limit");
            }
            Event::ClosedBeforeConnect { origin } => {
                debug!(address = %origin.address, listener = listener(origin), trace = %Trace(origin.trace), "connection closed before its first packet");
            }
            Event::BadBytes { client_id, origin, error } => {
                say!(is_info, client_id, address = %origin.address, listener = listener(origin), trace = %Trace(origin.trace), error, "bad bytes from a client");
            }
            Event::PublishDenied { client_id, origin, topic } => {
                say!(is_info, client_id, address = %origin.address, listener = listener(origin), trace = %Trace(origin.trace), topic = shorten(topic), "client may not publish this");
            }
            Event::SubscribeDenied { client_id, origin, filter } => {
                say!(is_info, client_id, address = %origin.address, listener = listener(origin), trace = %Trace(origin.trace), filter = shorten(filter), "client may not subscribe to this");
            }
            Event::ClientSlow { client_id, origin, unsent_bytes } => {
                say!(is_info, client_id, address = %origin.address, listener = listener(origin), trace = %Trace(origin.trace), unsent_bytes, "client is slow");
            }
            Event::ClientCaughtUp { client_id, origin } => {
                say!(is_info, client_id, address = %origin.address, listener = listener(origin), trace = %Trace(origin.trace), "client has caught up");
            }
            Event::LinkUp { peer, lane } => info!(peer, lane, "link is up"),
            Event::LinkLost { peer, lane } => warn!(peer, lane, "link is lost"),
            Event::NodeGone { peer } => warn!(peer, "node is gone"),
            Event::LimitReached { limit, times } => warn!(limit, times, "limit of the node reached"),
            Event::LinkError { peer, error } => warn!(peer, error, "link broke the rules"),
        }
    }

    /// Time passes: what was withheld in a second that is over is told of.
    pub(crate) fn settle(&mut self, now: Instant) {
        if let Some(withheld) = self.allowance.settle(now) {
            info!(withheld, "more clients were refused or lost than are logged one by one (at level debug they are)");
        }
    }

    fn admit(&mut self, now: Instant) -> bool {
        self.settle(now);
        self.allowance.admit()
    }
}

/// Whether somebody may have to look into it.
fn is_unusual(event: &Event<'_>) -> bool {
    match event {
        Event::ClientRefused { .. }
        | Event::ClientBeyondLimit { .. }
        | Event::BadBytes { .. }
        | Event::PublishDenied { .. }
        | Event::SubscribeDenied { .. }
        | Event::ClientSlow { .. }
        | Event::ClientCaughtUp { .. } => true,
        Event::ClientDisconnected { reason, .. } => match reason {
            Departure::Lost => true,
            Departure::Asked(code) => code.is_error(),
            // It connected again, here or elsewhere, or the broker stops: no client's fault.
            Departure::Closed(code) => {
                !matches!(*code, ReasonCode::SESSION_TAKEN_OVER | ReasonCode::SERVER_SHUTTING_DOWN)
            }
            // A line of its own.
            Departure::Panicked => false,
        },
        Event::ClientConnected { .. }
        | Event::ClosedBeforeConnect { .. }
        | Event::LinkUp { .. }
        | Event::LinkLost { .. }
        | Event::NodeGone { .. }
        | Event::LimitReached { .. }
        | Event::LinkError { .. } => false,
    }
}

/// Why a client left, in words, and the code if there was one.
fn describe(departure: Departure) -> (&'static str, Option<String>) {
    match departure {
        Departure::Asked(ReasonCode::NORMAL_DISCONNECTION) => ("client asked", Some(code(ReasonCode::SUCCESS))),
        Departure::Asked(reason) => {
            let words = if reason.is_error() { "client gave up" } else { "client asked, with its will" };
            (words, Some(code(reason)))
        }
        Departure::Lost => ("connection lost", None),
        Departure::Closed(reason) => (reason.name(), Some(code(reason))),
        Departure::Panicked => ("panic", None),
    }
}

/// The beginning of a topic, which may be longer than anyone wants to read.
fn shorten(topic: &str) -> &str {
    &topic[..topic.floor_char_boundary(TOPIC_BYTES_MAX)]
}

/// A reason code as the specification writes it.
fn code(reason: ReasonCode) -> String {
    format!("0x{:02x}", reason.value())
}

/// How many lines may still be written in this second.
#[derive(Debug)]
struct Allowance {
    since: Instant,
    used: u32,
    withheld: u64,
}

impl Allowance {
    fn admit(&mut self) -> bool {
        if self.used < LINES_PER_SECOND {
            self.used += 1;
            return true;
        }
        self.withheld += 1;
        false
    }

    /// Begins a new second if the last one is over, and tells what was withheld in it.
    fn settle(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) < SECOND {
            return None;
        }
        (self.since, self.used) = (now, 0);
        Some(std::mem::take(&mut self.withheld)).filter(|withheld| *withheld > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_a_few_lines_a_second_and_a_number() {
        let start = Instant::now();
        let mut allowance = Allowance { since: start, used: 0, withheld: 0 };
        let mut admitted = |count: usize| (0..count).filter(|_| allowance.admit()).count();
        assert_eq!((admitted(4), admitted(100), admitted(1)), (4, 6, 0));
        assert_eq!(allowance.settle(start + SECOND / 2), None);
        assert_eq!(allowance.settle(start + SECOND), Some(95));
        assert!(allowance.admit());
        assert_eq!(allowance.settle(start + SECOND * 3), None);
    }

    #[test]
    fn reasons_are_words_and_codes() {
        let described = [
            Departure::Asked(ReasonCode::NORMAL_DISCONNECTION),
            Departure::Asked(ReasonCode::DISCONNECT_WITH_WILL),
            Departure::Asked(ReasonCode::UNSPECIFIED_ERROR),
            Departure::Lost,
            Departure::Closed(ReasonCode::KEEP_ALIVE_TIMEOUT),
        ]
        .map(describe);
        let code = |code: &str| Some(code.to_owned());
        assert_eq!(
            described,
            [
                ("client asked", code("0x00")),
                ("client asked, with its will", code("0x04")),
                ("client gave up", code("0x80")),
                ("connection lost", None),
                ("keep alive timeout", code("0x8d")),
            ]
        );
    }
}
