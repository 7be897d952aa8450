//! A message of QoS 2 comes to a session once (MQTT 5.0, 4.3.3): by the client's account of packet identifiers, which sets
//! aside what is sent again.
//!
//! What a new subscription is sent of what is retained is another message. Wills are judged elsewhere.

use std::collections::BTreeMap;

use fulmar_codec::QoS;

use super::{Promise, Violation};
use crate::history::{Event, History};

pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    // By client identifier, the place where its session began, and how often each message came since.
    let mut came: BTreeMap<(&str, usize, _), usize> = BTreeMap::new();
    let mut began: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
    let mut lasts = BTreeMap::new();
    for (at, record) in history.records().iter().enumerate() {
        let client_id = &*history.profile(record.actor).client_id;
        match &record.event {
            Event::ConnectSent { expiry_seconds, .. } => {
                lasts.insert(client_id, *expiry_seconds != Some(0));
            }
            Event::ConnAck { session_present: false, reason } if !reason.is_error() => {
                began.insert(client_id, (at, lasts.get(client_id).copied().unwrap_or(false)));
            }
            Event::Received {
                message: Some(message),
                topic,
                qos: QoS::ExactlyOnce,
                retain: false,
                packet_id,
                is_fresh: true,
                ..
            } if !message.is_will => {
                let (session, is_lasting) = began.get(client_id).copied().unwrap_or_default();
                let times = came.entry((client_id, session, *message)).or_default();
                *times += 1;
                if *times > 1 {
                    let promise = if is_lasting { Promise::OnceDurable } else { Promise::OnceLive };
                    let id = packet_id.unwrap_or_default();
                    let what = format!("{message} ({topic}) came to {client_id} {times} times, now as {id}");
                    found.push(Violation::new(promise, at, what));
                }
            }
            _ => {}
        }
    }
    found
}
