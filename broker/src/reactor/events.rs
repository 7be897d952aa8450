//! A worker's events as log lines: a fixed phrase and fields. Devices come and go all day, so that is info.

use crate::trace::Trace;
use fulmar_worker::{Departure, Event, Origin};
use tracing::{error, info, warn};

pub(crate) fn log_event(event: &Event<'_>, listener_names: &[String]) {
    let name = |origin: &Origin| listener_names.get(usize::from(origin.listener)).map_or("", String::as_str);
    match event {
        Event::ClientConnected { client_id, origin, version, session_present } => {
            info!(client_id, address = %origin.address, listener = name(origin), trace = %Trace(origin.trace), version, session_present, "client connected");
        }
        Event::ClientRefused { client_id, origin, reason } => {
            info!(client_id, address = %origin.address, listener = name(origin), trace = %Trace(origin.trace), ?reason, "client refused");
        }
        Event::ClientDisconnected { client_id, origin, reason: Departure::Panicked } => {
            error!(client_id, address = %origin.address, listener = name(origin), trace = %Trace(origin.trace), "client disconnected by a panic in its turn");
        }
        Event::ClientDisconnected { client_id, origin, reason } => {
            info!(client_id, address = %origin.address, listener = name(origin), trace = %Trace(origin.trace), ?reason, "client disconnected");
        }
        Event::BadBytes { client_id, origin, error } => {
            info!(client_id, address = %origin.address, listener = name(origin), trace = %Trace(origin.trace), error, "bad bytes from a client");
        }
        Event::LinkUp { peer, lane } => info!(peer, lane, "link is up"),
        Event::LinkLost { peer, lane } => warn!(peer, lane, "link is lost"),
        Event::NodeGone { peer } => warn!(peer, "node is gone"),
        Event::LinkError { peer, error } => warn!(peer, error, "link broke the rules"),
    }
}
