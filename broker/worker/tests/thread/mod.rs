//! One data thread of a node that has no other, called by hand: the test says what arrives and when a turn ends.
//!
//! Each test program adds what it sends and how its sockets take it.

use fulmar_auth::hooks::Ticket;
use fulmar_auth::identity::CertificateNames;
use fulmar_worker::{AuthSettings, ConnId, Event, LaneEnd, Limits, Node, NodeSettings, Origin, Out, Question, Worker};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// Who is not read any more, and who is again, in this order. Nothing else is to be asked for.
#[derive(Default)]
pub(crate) struct Pauses(pub(crate) Vec<(ConnId, bool)>);

impl Out for Pauses {
    fn pause_reading(&mut self, conn: ConnId, paused: bool) {
        self.0.push((conn, paused));
    }
    fn close(&mut self, conn: ConnId, _last_bytes: Vec<u8>) {
        panic!("{conn} is closed");
    }
    fn hand_over(&mut self, conn: ConnId, thread: u16, _origin: Origin, _certificate: Option<Arc<CertificateNames>>) {
        panic!("{conn} belongs to thread {thread}");
    }
    fn verify(&mut self, question: Question) -> bool {
        panic!("{question:?} is asked");
    }
    fn abandon(&mut self, ticket: Ticket) {
        panic!("{ticket:?} is given up");
    }
    fn lane_closed(&mut self, peer: u64, lane: u16, _epoch: u64, why: LaneEnd) {
        panic!("lane {lane} of {peer} is closed: {why:?}");
    }
    fn event(&mut self, _event: Event<'_>) {}
}

/// See the [module](self).
pub(crate) struct Thread {
    pub(crate) worker: Worker,
    pub(crate) now: Instant,
}

impl Thread {
    pub(crate) fn with(limits: Limits, auth: AuthSettings) -> Thread {
        let now = Instant::now();
        let settings = NodeSettings {
            node_id: 1,
            incarnation: 1,
            name: "node".into(),
            threads: 1,
            limits,
            anonymous: vec![true],
            auth,
            seed: 7,
            views: false,
            store_shards: None,
            wall_clock_microseconds: 0,
            start: now,
        };
        Thread { worker: Worker::new(Arc::new(Node::new(settings)), 0, now, 7), now }
    }

    /// A connection that has said nothing yet.
    pub(crate) fn accept(&mut self) -> ConnId {
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9);
        self.worker.accepted(Origin { listener: 0, address, trace: 0 }, self.now).expect("the limit is far away")
    }
}
