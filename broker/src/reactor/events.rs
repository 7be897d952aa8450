//! A worker's events as log lines: a fixed phrase and fields. Devices come and go all day, so that is info.

use fulmar_worker::{Departure, Event};
use tracing::{error, info, warn};

pub(crate) fn log_event(event: &Event<'_>, listener_names: &[String]) {
    let name = |index: &u16| listener_names.get(usize::from(*index)).map_or("", String::as_str);
    match event {
        Event::ClientConnected { client_id, address, listener, version, session_present } => {
            info!(client_id, %address, listener = name(listener), version, session_present, "client connected");
        }
        Event::ClientRefused { client_id, address, listener, reason } => {
            info!(client_id, %address, listener = name(listener), ?reason, "client refused");
        }
        Event::ClientDisconnected { client_id, address, listener, reason: Departure::Panicked } => {
            error!(client_id, %address, listener = name(listener), "client disconnected by a panic in its turn");
        }
        Event::ClientDisconnected { client_id, address, listener, reason } => {
            info!(client_id, %address, listener = name(listener), ?reason, "client disconnected");
        }
        Event::BadBytes { client_id, address, listener, error } => {
            info!(client_id, %address, listener = name(listener), error, "bad bytes from a client");
        }
        Event::LinkUp { peer, lane } => info!(peer, lane, "link is up"),
        Event::LinkLost { peer, lane } => warn!(peer, lane, "link is lost"),
        Event::NodeGone { peer } => warn!(peer, "node is gone"),
        Event::LinkError { peer, error } => warn!(peer, error, "link broke the rules"),
    }
}
