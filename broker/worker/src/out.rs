//! What a worker asks of the world around it. The reactor does it at once; tests record it.
//!
//! Bytes for a connection are not here: they are appended to the connection's output buffer inside the worker, which
//! the reactor writes once at the end of the turn (see [`crate::Worker::output`]).

use crate::ids::{ConnId, Thread};
use crate::question::Question;
use fulmar_auth::hooks::Ticket;
use fulmar_auth::identity::CertificateNames;
use fulmar_codec::ReasonCode;
use std::net::SocketAddr;
use std::sync::Arc;

/// The world around a [`crate::Worker`].
pub trait Out {
    /// Stop (or go on) giving this connection's bytes to the worker. Bytes that `received` did not consume wait.
    /// After `paused == false` the reactor first offers the waiting bytes again, then reads the socket.
    fn pause_reading(&mut self, conn: ConnId, paused: bool);

    /// Write what its output buffer still holds, as far as the socket takes it, then close the socket. The worker has
    /// forgotten the connection already: nothing of it is reported any more, and its slot is free after the turn.
    fn close(&mut self, conn: ConnId, last_bytes: Vec<u8>);

    /// Like [`close`](Self::close), but not before [`let_go`](Self::let_go): the store is still to have what the client
    /// said last. A socket that is kept for too long is closed all the same.
    fn close_when_told(&mut self, conn: ConnId) {
        self.close(conn, Vec::new());
    }

    /// The store has what the client of this connection said last.
    fn let_go(&mut self, conn: ConnId) {
        let _ = conn;
    }

    /// This connection's client belongs to another data thread: take the socket with all bytes not consumed and give
    /// both to that thread's reactor, which calls `accepted` (with its `origin`), `certified` if there is a `certificate`,
    /// and `received` there. The worker has forgotten it.
    fn hand_over(&mut self, conn: ConnId, thread: Thread, origin: Origin, certificate: Option<Arc<CertificateNames>>);

    /// Find out away from this thread whether a password is right; [`crate::Worker::answered`] is told. `false`: as many
    /// questions wait as may, and this one will not be answered.
    fn verify(&mut self, question: Question) -> bool;

    /// Nobody waits for the answer to this question any more.
    fn abandon(&mut self, ticket: Ticket);

    /// A lane to another node was lost or given up: the control side shall dial again (or learn that it is gone).
    /// `epoch` is the life of the link that the connection belonged to.
    fn lane_closed(&mut self, peer: u64, lane: u16, epoch: u64, why: LaneEnd);

    /// Whether the lease of this node holds, by a clock that is read now. Without a durable cluster nobody asks.
    fn may_acknowledge(&mut self) -> bool {
        true
    }

    /// Something to log. Never called on the path of a publish that goes well.
    fn event(&mut self, event: Event<'_>);
}

/// Why a lane's connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LaneEnd {
    /// The socket closed or fell silent; the lane resumes when the peer is back in time.
    Lost,
    /// The peer did not come back within the resume time, or closed for good: its state was dropped.
    Gone,
    /// Another connection of the same lane took its place.
    Replaced,
}

/// Something worth a log line. Each is counted as well.
#[derive(Clone, Debug, Eq, PartialEq)]
#[allow(missing_docs)] // the names of the fields are the fields of the log line
pub enum Event<'a> {
    ClientConnected {
        client_id: &'a str,
        origin: Origin,
        version: u8,
        session_present: bool,
    },
    ClientRefused {
        client_id: &'a str,
        origin: Origin,
        reason: ReasonCode,
        error: Option<String>,
    },
    ClientDisconnected {
        client_id: &'a str,
        origin: Origin,
        reason: Departure,
    },
    /// A client went beyond a bound of its own; `limit` is its name in the configuration.
    ClientBeyondLimit {
        client_id: &'a str,
        origin: Origin,
        limit: &'static str,
    },
    /// A connection was closed by its other side before its CONNECT had come.
    ClosedBeforeConnect {
        origin: Origin,
    },
    BadBytes {
        client_id: &'a str,
        origin: Origin,
        error: String,
    },
    PublishDenied {
        client_id: &'a str,
        origin: Origin,
        topic: &'a str,
    },
    SubscribeDenied {
        client_id: &'a str,
        origin: Origin,
        filter: &'a str,
    },
    /// It has been behind for a while with what there is for it.
    ClientSlow {
        client_id: &'a str,
        origin: Origin,
        unsent_bytes: usize,
    },
    /// It was slow and has taken everything.
    ClientCaughtUp {
        client_id: &'a str,
        origin: Origin,
    },
    LinkUp {
        peer: &'a str,
        lane: u16,
    },
    LinkLost {
        peer: &'a str,
        lane: u16,
    },
    NodeGone {
        peer: &'a str,
    },
    LinkError {
        peer: &'a str,
        error: String,
    },
    /// A bound of the node was reached so often since this was last said; `limit` is its name in the configuration.
    LimitReached {
        limit: &'static str,
        times: u64,
    },
}

/// Why a client's connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Departure {
    /// The client sent DISCONNECT.
    Asked(ReasonCode),
    /// The socket closed without DISCONNECT.
    Lost,
    /// We closed it, for this reason.
    Closed(ReasonCode),
    /// The code of this connection's turn panicked.
    Panicked,
}

impl Departure {
    /// The reason code that says it best.
    pub fn reason(self) -> ReasonCode {
        match self {
            Departure::Asked(reason) | Departure::Closed(reason) => reason,
            Departure::Lost => ReasonCode::UNSPECIFIED_ERROR,
            Departure::Panicked => ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
        }
    }
}

/// How a connection reached this data thread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Origin {
    /// Index of the listener in the configuration.
    pub listener: u16,
    /// The client's address.
    pub address: SocketAddr,
    /// Names the connection in log lines, on every thread that it comes to.
    pub trace: u64,
}
