//! What the reactor needs of a worker. The tests of the reactor put small workers of their own in its place.

use std::sync::Arc;
use std::time::Instant;

use fulmar_auth::identity::CertificateNames;
use fulmar_session::Message;
use fulmar_store::{Ask, Ticket, Told};
use fulmar_worker::{
    Answer, Batch, Closed, ConnId, Consumed, Counters, Gauges, LaneSocket, LinkCounters, Origin, Out, Refused, Rules,
    Thread, Worker,
};

/// The decisions of one data thread. See [`Worker`] for what each call means.
pub(crate) trait Core {
    fn accepted(&mut self, origin: Origin, now: Instant) -> Result<ConnId, Refused>;
    fn certified(&mut self, conn: ConnId, certificate: Arc<CertificateNames>);
    fn received(&mut self, conn: ConnId, bytes: &[u8], now: Instant, out: &mut impl Out) -> Consumed;
    fn answered(&mut self, answer: Answer, out: &mut impl Out);
    fn told(&mut self, told: Vec<Told>, now: Instant, out: &mut impl Out);
    fn asked(&mut self) -> (&mut Vec<(Ticket, Ask)>, usize);
    fn posted(&mut self);
    fn reload(&mut self, rules: Arc<Rules>);
    fn closed(&mut self, conn: ConnId, how: Closed, now: Instant, out: &mut impl Out);
    fn shed(&mut self, conn: ConnId, now: Instant, out: &mut impl Out);
    fn drained(&mut self, conn: ConnId, now: Instant, out: &mut impl Out);
    fn takes_letters(&self) -> bool;
    fn letters(&mut self, batch: Batch, now: Instant, out: &mut impl Out);
    fn lane_up(&mut self, lane: &LaneSocket, now: Instant, out: &mut impl Out) -> Result<ConnId, Refused>;
    fn peer_gone(&mut self, node: u64, epoch: u64, now: Instant, out: &mut impl Out);
    fn close_lanes(&mut self, now: Instant, out: &mut impl Out);
    fn has_news(&self) -> bool;
    fn tick(&mut self, now: Instant, out: &mut impl Out) -> Option<Instant>;
    fn shut_down(&mut self, now: Instant, out: &mut impl Out);
    fn dirty(&mut self) -> &mut Vec<ConnId>;
    fn output(&mut self, conn: ConnId) -> Option<&mut Vec<u8>>;
    fn written(&mut self, conn: ConnId, bytes: usize);
    fn tell(&mut self, messages: &[Message], now: Instant);
    fn outbox(&mut self, thread: Thread) -> &mut Batch;
    fn end_turn(&mut self);
    fn is_sated(&self) -> bool;
    fn counters(&self) -> Counters;
    fn gauges(&self) -> Gauges;
    fn link_counters(&self) -> Vec<LinkCounters>;
}

impl Core for Worker {
    #[inline]
    fn accepted(&mut self, origin: Origin, now: Instant) -> Result<ConnId, Refused> {
        self.accepted(origin, now)
    }

    fn certified(&mut self, conn: ConnId, certificate: Arc<CertificateNames>) {
        self.certified(conn, certificate);
    }

    #[inline]
    fn received(&mut self, conn: ConnId, bytes: &[u8], now: Instant, out: &mut impl Out) -> Consumed {
        self.received(conn, bytes, now, out)
    }

    fn answered(&mut self, answer: Answer, out: &mut impl Out) {
        self.answered(answer, out);
    }

    fn told(&mut self, told: Vec<Told>, now: Instant, out: &mut impl Out) {
        self.told(told, now, out);
    }

    fn asked(&mut self) -> (&mut Vec<(Ticket, Ask)>, usize) {
        self.asked()
    }

    fn posted(&mut self) {
        self.posted();
    }

    fn reload(&mut self, rules: Arc<Rules>) {
        self.reload(rules);
    }

    fn closed(&mut self, conn: ConnId, how: Closed, now: Instant, out: &mut impl Out) {
        self.closed(conn, how, now, out);
    }

    fn shed(&mut self, conn: ConnId, now: Instant, out: &mut impl Out) {
        self.shed(conn, now, out);
    }

    fn drained(&mut self, conn: ConnId, now: Instant, out: &mut impl Out) {
        self.drained(conn, now, out);
    }

    #[inline]
    fn takes_letters(&self) -> bool {
        self.takes_letters()
    }

    fn letters(&mut self, batch: Batch, now: Instant, out: &mut impl Out) {
        self.letters(batch, now, out);
    }

    fn lane_up(&mut self, lane: &LaneSocket, now: Instant, out: &mut impl Out) -> Result<ConnId, Refused> {
        self.lane_up(lane, now, out)
    }

    fn peer_gone(&mut self, node: u64, epoch: u64, now: Instant, out: &mut impl Out) {
        self.peer_gone(node, epoch, now, out);
    }

    fn close_lanes(&mut self, now: Instant, out: &mut impl Out) {
        self.close_lanes(now, out);
    }

    #[inline]
    fn has_news(&self) -> bool {
        self.has_news()
    }

    fn tick(&mut self, now: Instant, out: &mut impl Out) -> Option<Instant> {
        self.tick(now, out)
    }

    fn shut_down(&mut self, now: Instant, out: &mut impl Out) {
        self.shut_down(now, out);
    }

    #[inline]
    fn dirty(&mut self) -> &mut Vec<ConnId> {
        self.dirty()
    }

    #[inline]
    fn output(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        self.output(conn)
    }

    #[inline]
    fn written(&mut self, conn: ConnId, bytes: usize) {
        self.written(conn, bytes);
    }

    fn tell(&mut self, messages: &[Message], now: Instant) {
        self.tell(messages, now);
    }

    #[inline]
    fn outbox(&mut self, thread: Thread) -> &mut Batch {
        self.outbox(thread)
    }

    fn end_turn(&mut self) {
        self.end_turn();
    }

    #[inline]
    fn is_sated(&self) -> bool {
        self.is_sated()
    }

    fn counters(&self) -> Counters {
        *self.counters()
    }

    fn gauges(&self) -> Gauges {
        self.gauges()
    }

    fn link_counters(&self) -> Vec<LinkCounters> {
        self.link_counters()
    }
}
