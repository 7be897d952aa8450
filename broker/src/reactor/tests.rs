//! A reactor turn by turn, around a worker of the test's own that does what the bytes tell it.
//!
//! Bytes are echoed, except that a command stands for what a real worker may want: see [`Puppet::received`].

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fulmar_auth::identity::CertificateNames;
use fulmar_session::Message;
use fulmar_store::{Ask, Ticket};
use fulmar_worker::{
    Answer, Batch, Closed, ConnId, Consumed, Counters, Gauges, LaneSocket, LinkCounters, Note, Origin, Out, Refused,
    Rules, Thread,
};
use mio::Events;
use tokio::sync::mpsc;

use super::{
    Client, Core, EVENTS_PER_TURN, Inbox, Lease, Letter, Listener, Reactor, Settings, Turn, WRITES_PER_TURN, bind, open,
};
use crate::connect_rate::ConnectRate;
use crate::metrics::{ControlMetrics, ThreadReport};
use crate::shortage::Shortage;
use crate::trace::Traces;

mod lease;

const PATIENCE: Duration = Duration::from_secs(10);
const CONNECTIONS_MAX: usize = 8;
const BUDGET: usize = 16 << 10;
const CARRIED: usize = 2 << 20;
/// What the command `b` makes the worker say.
const BIG: usize = 16 << 20;

/// Something that a reactor told its worker.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Received(ConnId, Vec<u8>),
    Closed(ConnId, Closed),
    Drained(ConnId),
}

/// A worker that keeps what it is told.
#[derive(Default)]
struct Puppet {
    /// By slot; slots are not used again here.
    outputs: Vec<Option<Vec<u8>>>,
    origins: Vec<Origin>,
    certificates: BTreeMap<u32, Arc<CertificateNames>>,
    dirty: Vec<ConnId>,
    outboxes: [Batch; 2],
    told: Vec<Told>,
    asked: Vec<(Ticket, Ask)>,
    letters: usize,
    resume: Option<ConnId>,
    thread: Thread,
    /// Seconds of the clock of leases.
    clock: Arc<AtomicU64>,
}

impl Puppet {
    fn write(&mut self, conn: ConnId, bytes: &[u8]) {
        if let Some(Some(output)) = self.outputs.get_mut(conn.slot as usize) {
            output.extend_from_slice(bytes);
            self.dirty.push(conn);
        }
    }

    /// Everything received on a connection, joined.
    fn received_by(&self, conn: ConnId) -> Vec<u8> {
        let mine = |told: &Told| match told {
            Told::Received(of, bytes) if *of == conn => Some(bytes.clone()),
            _ => None,
        };
        self.told.iter().filter_map(mine).flatten().collect()
    }

    fn ended(&self) -> Vec<(ConnId, Closed)> {
        let closed = |told: &Told| if let Told::Closed(conn, how) = told { Some((*conn, *how)) } else { None };
        self.told.iter().filter_map(closed).collect()
    }
}

impl Core for Puppet {
    fn accepted(&mut self, origin: Origin, _now: Instant) -> Result<ConnId, Refused> {
        if self.outputs.len() == CONNECTIONS_MAX {
            return Err(Refused::TooManyConnections { connections: CONNECTIONS_MAX, max: CONNECTIONS_MAX });
        }
        self.outputs.push(Some(Vec::new()));
        self.origins.push(origin);
        Ok(conn(self.outputs.len() - 1))
    }

    fn certified(&mut self, conn: ConnId, certificate: Arc<CertificateNames>) {
        self.certificates.insert(conn.slot, certificate);
    }

    /// `!` panics, `>` belongs to thread 1, `b` answers at length, `c` closes
    /// every other connection, `n` has something for thread 1, `p` pauses until `resume`, `s` stops the process for 30 s, `w` waits for the end of a
    /// line of any length. All else is echoed.
    fn received(&mut self, conn: ConnId, bytes: &[u8], _now: Instant, out: &mut impl Out) -> Consumed {
        let whole = Consumed { bytes: bytes.len(), paused: false };
        let nothing = Consumed { bytes: 0, paused: false };
        match bytes[0] {
            b'!' => panic!("asked to"),
            b'>' if self.thread == 0 => {
                self.outputs[conn.slot as usize] = None;
                out.hand_over(conn, 1, self.origins[conn.slot as usize], self.certificates.remove(&conn.slot));
                return nothing;
            }
            b'w' if bytes.last() != Some(&b'\n') => return nothing,
            b'p' if self.resume.is_none() => {
                self.resume = Some(conn);
                return Consumed { bytes: 0, paused: true };
            }
            _ => {}
        }
        self.told.push(Told::Received(conn, bytes.to_vec()));
        match bytes[0] {
            b'b' => self.write(conn, &vec![b'x'; BIG]),
            b'c' => {
                let others = (0..self.outputs.len()).map(self::conn).filter(|other| *other != conn);
                for other in others.collect::<Vec<_>>() {
                    self.outputs[other.slot as usize] = None;
                    out.close(other, b"bye".to_vec());
                }
            }
            b's' => {
                self.clock.fetch_add(30, Ordering::Relaxed);
                self.write(conn, bytes);
            }
            b'n' => self.outboxes[1].notes.extend(bytes.iter().map(|_| Note::InterestChanged)),
            _ => self.write(conn, bytes),
        }
        whole
    }

    fn answered(&mut self, _answer: Answer, _out: &mut impl Out) {}
    fn told(&mut self, _told: Vec<fulmar_store::Told>, _now: Instant, _out: &mut impl Out) {}

    fn asked(&mut self) -> (&mut Vec<(Ticket, Ask)>, usize) {
        (&mut self.asked, 0)
    }

    fn posted(&mut self) {}
    fn reload(&mut self, _rules: Arc<Rules>) {}

    fn closed(&mut self, conn: ConnId, how: Closed, _now: Instant, _out: &mut impl Out) {
        self.outputs[conn.slot as usize] = None;
        self.told.push(Told::Closed(conn, how));
    }

    fn shed(&mut self, conn: ConnId, _now: Instant, out: &mut impl Out) {
        self.outputs[conn.slot as usize] = None;
        out.close(conn, b"too much".to_vec());
    }

    fn drained(&mut self, conn: ConnId, _now: Instant, _out: &mut impl Out) {
        self.told.push(Told::Drained(conn));
    }

    fn takes_letters(&self) -> bool {
        true
    }

    fn letters(&mut self, batch: Batch, _now: Instant, _out: &mut impl Out) {
        self.letters += batch.notes.len();
    }

    fn lane_up(&mut self, _lane: &LaneSocket, _now: Instant, _out: &mut impl Out) -> Result<ConnId, Refused> {
        Err(Refused::UnknownLane)
    }

    fn peer_gone(&mut self, _node: u64, _epoch: u64, _now: Instant, _out: &mut impl Out) {}
    fn close_lanes(&mut self, _now: Instant, _out: &mut impl Out) {}

    fn has_news(&self) -> bool {
        false
    }

    fn tick(&mut self, _now: Instant, _out: &mut impl Out) -> Option<Instant> {
        None
    }

    fn shut_down(&mut self, _now: Instant, _out: &mut impl Out) {}

    fn dirty(&mut self) -> &mut Vec<ConnId> {
        &mut self.dirty
    }

    fn output(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        self.outputs[conn.slot as usize].as_mut()
    }

    fn written(&mut self, _conn: ConnId, _bytes: usize) {}
    fn tell(&mut self, _messages: &[Message], _now: Instant) {}

    fn outbox(&mut self, thread: Thread) -> &mut Batch {
        &mut self.outboxes[usize::from(thread)]
    }

    fn is_sated(&self) -> bool {
        false
    }

    fn end_turn(&mut self) {}

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn gauges(&self) -> Gauges {
        Gauges::default()
    }

    fn link_counters(&self) -> Vec<LinkCounters> {
        Vec::new()
    }
}

fn conn(slot: usize) -> ConnId {
    ConnId { slot: u32::try_from(slot).unwrap(), generation: 0 }
}

/// Two data threads of which only the first accepts clients, turned by the test.
struct Threads {
    reactors: Vec<Reactor<Puppet>>,
    events: Events,
    address: SocketAddr,
    inboxes: Vec<Arc<Inbox>>,
}

impl Threads {
    fn start() -> Threads {
        Threads::start_with(None, &Arc::default())
    }

    fn start_with(lease: Option<Lease>, clock: &Arc<AtomicU64>) -> Threads {
        let (polls, inboxes): (Vec<_>, Vec<_>) = (0..2).map(|_| open().unwrap()).unzip();
        let socket = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().pop().unwrap();
        let address = socket.local_addr().unwrap();
        let metrics: Arc<ControlMetrics> = Arc::default();
        let settings = Settings {
            read_budget_bytes: BUDGET,
            output_buffer_bytes: 1 << 20,
            carried_bytes_max: CARRIED,
            listener_names: vec!["test".into()],
            lingering_max: 256,
            shortage: Arc::new(Shortage::new(metrics.clone())),
            metrics,
            traces: Arc::new(Traces::new(7)),
            lane_news: mpsc::unbounded_channel().0,
            pool: None,
            store: None,
            lease,
        };
        let mut listeners =
            vec![Listener::new(socket, "test".into(), 0, Arc::new(ConnectRate::new("test", 0, Arc::default())))];
        let reactors = (0..).zip(polls).map(|(thread, poll)| {
            let core = Puppet { thread, clock: clock.clone(), ..Puppet::default() };
            let (listeners, report) = (std::mem::take(&mut listeners), Arc::new(ThreadReport::default()));
            Reactor::new(core, thread, poll, listeners, inboxes.clone(), report, settings.clone()).unwrap()
        });
        Threads { reactors: reactors.collect(), events: Events::with_capacity(EVENTS_PER_TURN), address, inboxes }
    }

    /// A client of thread 0, accepted.
    fn connect(&mut self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        let accepted = self.core(0).outputs.len() + 1;
        self.turn_until(0, |core| core.outputs.len() == accepted);
        stream
    }

    fn core(&mut self, thread: usize) -> &mut Puppet {
        &mut self.reactors[thread].core
    }

    fn turn(&mut self, thread: usize) {
        assert_eq!(self.reactors[thread].turn(&mut self.events).unwrap(), Turn::GoOn);
    }

    fn turn_until(&mut self, thread: usize, is_reached: impl Fn(&Puppet) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_reached(&self.reactors[thread].core) {
            assert!(Instant::now() < until, "it never comes: {:?}", self.reactors[thread].core.told.len());
            self.turn(thread);
        }
    }

    /// Turns thread 0 until the client has read so many bytes.
    fn read(&mut self, client: &mut TcpStream, length: usize) -> Vec<u8> {
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
        let until = Instant::now() + PATIENCE;
        client.set_nonblocking(true).unwrap();
        while bytes.len() < length {
            assert!(Instant::now() < until, "read {} bytes of {length}", bytes.len());
            match client.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => bytes.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.turn(0),
                Err(error) => panic!("{error}"),
            }
        }
        bytes
    }
}

#[test]
fn a_flood_is_read_in_portions_and_everyone_has_a_turn_between() {
    let mut threads = Threads::start();
    let (mut flood, mut light) = (threads.connect(), threads.connect());
    // As much as a socket buffer surely takes.
    let sent = vec![b'f'; 4 * BUDGET];
    flood.write_all(&sent).unwrap();
    light.write_all(b"l").unwrap();
    let mut last = 0;
    while threads.core(0).received_by(conn(0)).len() < sent.len() {
        threads.turn(0);
        let received = threads.core(0).received_by(conn(0)).len();
        assert!(received - last <= BUDGET, "{} bytes in one turn", received - last);
        last = received;
    }
    let of_light = |told: &Told| *told == Told::Received(conn(1), b"l".to_vec());
    let told = &threads.core(0).told;
    // Portions of the flood before the light client: at most what one turn takes.
    let before = told.iter().position(of_light).unwrap();
    let bytes = |told: &Told| if let Told::Received(_, bytes) = told { bytes.len() } else { 0 };
    assert!(told[..before].iter().map(bytes).sum::<usize>() <= BUDGET, "{before} portions before");
}

#[test]
fn a_panic_in_a_connections_turn_closes_that_connection() {
    let mut threads = Threads::start();
    let (mut bad, mut good) = (threads.connect(), threads.connect());
    bad.write_all(b"!").unwrap();
    good.write_all(b"hello").unwrap();
    assert_eq!(threads.read(&mut good, 5), b"hello");
    threads.turn_until(0, |core| !core.ended().is_empty());
    assert_eq!(threads.core(0).ended(), [(conn(0), Closed::Panicked)]);
    assert_eq!(threads.read(&mut bad, 1), b"");
    good.write_all(b"again").unwrap();
    assert_eq!(threads.read(&mut good, 5), b"again");
}

#[test]
fn what_a_full_socket_does_not_take_is_written_when_it_does() {
    let mut threads = Threads::start();
    let mut client = threads.connect();
    client.write_all(b"b").unwrap();
    threads.turn_until(0, |core| !core.told.is_empty());
    let waiting = threads.core(0).output(conn(0)).unwrap().len();
    assert!(waiting > 0 && waiting < BIG, "{waiting} bytes wait");
    assert!(threads.read(&mut client, BIG) == vec![b'x'; BIG]);
    threads.turn_until(0, |core| core.told.contains(&Told::Drained(conn(0))));
    assert_eq!(threads.core(0).output(conn(0)).map(|output| output.len()), Some(0));
    // A small answer that the socket takes at once is nothing to tell.
    threads.core(0).told.clear();
    client.write_all(b"a").unwrap();
    assert_eq!(threads.read(&mut client, 1), b"a");
    assert_eq!(threads.core(0).told, [Told::Received(conn(0), b"a".to_vec())]);
}

#[test]
fn a_client_moves_to_its_thread_with_all_that_it_sent() {
    let mut threads = Threads::start();
    let mut client = threads.connect();
    client.write_all(b">hello").unwrap();
    threads.turn_until(0, |core| core.outputs == [None]);
    let origin = threads.core(0).origins[0];
    assert_eq!((origin.address, origin.trace), (client.local_addr().unwrap(), 7));
    // It is read there at once, without a further event.
    threads.turn(1);
    assert_eq!(threads.core(1).received_by(conn(0)), b">hello");
    assert_eq!(threads.core(1).origins, [origin]);
    client.write_all(b"more").unwrap();
    threads.turn_until(1, |core| core.received_by(conn(0)) == b">hellomore");
    assert_eq!(threads.core(0).told, []);
}

#[test]
fn a_clients_certificate_moves_with_it() {
    let mut threads = Threads::start();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, address) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    client.write_all(b">hello").unwrap();
    let certificate = CertificateNames { common_names: vec!["meter-1".to_owned()], ..CertificateNames::default() };
    threads.inboxes[0].push(Letter::Client(Box::new(Client {
        stream: mio::net::TcpStream::from_std(stream),
        tls: None,
        certificate: Some(Arc::new(certificate.clone())),
        bytes: Vec::new(),
        origin: Origin { listener: 0, address, trace: 7 },
        permit: None,
    })));
    threads.turn_until(0, |core| core.outputs == [None]);
    threads.turn(1);
    assert_eq!(threads.core(1).received_by(conn(0)), b">hello");
    assert_eq!(threads.core(1).certificates, BTreeMap::from([(0, Arc::new(certificate))]));
}

#[test]
fn clients_are_not_read_while_another_threads_queue_is_full() {
    let mut threads = Threads::start();
    let mut client = threads.connect();
    let heavy = || {
        let mut batch = Batch::default();
        batch.notes = vec![Note::InterestChanged; 64 << 10];
        batch
    };
    assert!(threads.inboxes[1].push_batch(0, &mut heavy()));
    client.write_all(b"nnn").unwrap();
    threads.turn_until(0, |core| !core.told.is_empty());
    assert_eq!(threads.core(0).outboxes[1].notes.len(), 3);
    client.write_all(b"nn").unwrap();
    // A turn that ends with its beat: nothing was read although there is something to read.
    for _ in 0..2 {
        threads.turn(0);
        assert_eq!(threads.core(0).received_by(conn(0)), b"nnn");
    }
    // Thread 1 takes what it has and wakes thread 0, which passes on the rest and reads again.
    threads.turn_until(1, |core| core.letters == 64 << 10);
    threads.turn_until(0, |core| core.received_by(conn(0)) == b"nnnnn");
    threads.turn_until(1, |core| core.letters == (64 << 10) + 5);
}

#[test]
fn the_last_bytes_before_an_end_of_stream_are_received() {
    let mut threads = Threads::start();
    let mut client = threads.connect();
    client.write_all(b"last words").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    threads.turn_until(0, |core| !core.ended().is_empty());
    let told = [Told::Received(conn(0), b"last words".to_vec()), Told::Closed(conn(0), Closed::Eof)];
    assert_eq!(threads.core(0).told, told);
}

#[test]
fn a_packet_larger_than_the_threads_buffer_is_offered_whole() {
    let mut threads = Threads::start();
    let mut client = threads.connect();
    let line = [&vec![b'w'; 1 << 20][..], b"\n"].concat();
    let (sent, mut writer) = (line.clone(), client.try_clone().unwrap());
    // The socket takes it in parts, as they are read here.
    let writing = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    threads.turn_until(0, |core| !core.told.is_empty());
    writing.join().unwrap();
    assert!(threads.core(0).told[0] == Told::Received(conn(0), line.clone()));
    assert!(threads.read(&mut client, line.len()) == line);
    // The worker may have held back more behind so much output.
    assert_eq!(threads.core(0).told[1..], [Told::Drained(conn(0))]);
}

#[test]
fn a_paused_connection_is_offered_its_bytes_again_before_new_ones() {
    let mut threads = Threads::start();
    let mut client = threads.connect();
    client.write_all(b"p-first").unwrap();
    threads.turn_until(0, |core| core.resume.is_some());
    client.write_all(b"-second").unwrap();
    threads.turn(0);
    assert_eq!(threads.core(0).told, []);
    threads.reactors[0].world.pause_reading(conn(0), false);
    threads.turn_until(0, |core| core.received_by(conn(0)) == b"p-first-second");
}

#[test]
fn an_event_of_a_connection_that_another_one_closed_in_the_same_turn_is_nothing() {
    let mut threads = Threads::start();
    let mut clients: Vec<TcpStream> = (0..3).map(|_| threads.connect()).collect();
    for client in &mut clients {
        client.write_all(b"c").unwrap();
    }
    // Whichever is first closes the others.
    threads.turn_until(0, |core| !core.told.is_empty());
    threads.turn(0);
    let received = threads.core(0).told.clone();
    let [Told::Received(first, _)] = received[..] else { panic!("{received:?}") };
    for (slot, client) in clients.iter_mut().enumerate().filter(|(slot, _)| conn(*slot) != first) {
        assert_eq!(threads.read(client, 4), b"bye", "client {slot}");
    }
}

#[test]
fn a_connection_that_the_worker_refuses_is_closed() {
    let mut threads = Threads::start();
    let _clients: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| threads.connect()).collect();
    let mut ninth = TcpStream::connect(threads.address).unwrap();
    assert_eq!(threads.read(&mut ninth, 1), b"");
    assert_eq!(threads.core(0).told, []);
}

#[test]
fn whoever_holds_part_of_a_packet_for_longest_is_closed_when_all_hold_too_much() {
    let mut threads = Threads::start();
    let mut clients: Vec<TcpStream> = (0..3).map(|_| threads.connect()).collect();
    let part = vec![b'w'; 7 * CARRIED / 20];
    for client in &clients {
        let (sent, mut writer) = (part.clone(), client.try_clone().unwrap());
        let writing = std::thread::spawn(move || writer.write_all(&sent));
        let until = Instant::now() + PATIENCE;
        while !writing.is_finished() {
            assert!(Instant::now() < until, "not everything is read");
            threads.turn(0);
        }
        // The first is closed while the third writes, but not before all of it was taken from the third.
        writing.join().unwrap().unwrap();
    }
    threads.turn_until(0, |core| core.outputs[0].is_none());
    assert_eq!(threads.read(&mut clients[0], 100), b"too much");
    for slot in [1, 2] {
        clients[slot].write_all(b"\n").unwrap();
        assert_eq!(threads.read(&mut clients[slot], part.len() + 1).len(), part.len() + 1, "client {slot}");
    }
    assert_eq!(threads.core(0).ended(), []);
}

#[test]
fn more_writes_than_a_turn_should_do_are_done_in_the_next_one() {
    let mut threads = Threads::start();
    let _client = threads.connect();
    let core = threads.core(0);
    core.dirty = vec![conn(0); WRITES_PER_TURN + 100];
    threads.turn(0);
    assert_eq!(threads.core(0).dirty.len(), 100);
    threads.turn(0);
    assert_eq!(threads.core(0).dirty.len(), 0);
}
