//! Sockets on their way out: the last bytes are written, and the other side is given time to read them.
//!
//! Closing a socket with unread bytes resets it, and a reset takes with it what the other side has not read: the
//! reason of the refusal, of all things. So what still comes in is read and dropped until the other side closes.
//!
//! Who is behind does not take its last bytes at once. As long as it goes on reading it gets them, the reason at their
//! end, within bounds of memory and time.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Interest, Registry, Token};

use crate::reactor::socket::{Socket, Writing};

/// How long the other side has to read and to close, and between two signs that it reads what waits for it.
const LINGER: Duration = Duration::from_secs(1);
/// How long all of that may take.
const LINGER_MAX: Duration = Duration::from_secs(10);
/// Bytes dropped per socket and turn, so that a flood does not hold up others; the rest comes by its deadline.
const READS_PER_EVENT: usize = 16;

/// The lingering sockets of one data thread.
#[derive(Debug)]
pub(crate) struct Lingering {
    /// In the order of their deadlines.
    sockets: VecDeque<Leaver>,
    next: usize,
    /// Tokens from here on are ours.
    first_token: usize,
    /// Sockets that may linger at a time; beyond it the oldest is closed at once.
    max: usize,
    /// Memory of last bytes that may wait; beyond it the next ones are not waited for.
    bytes_max: usize,
    bytes: usize,
    pub(crate) cut: u64,
}

/// One of them.
#[derive(Debug)]
struct Leaver {
    /// Makes the token.
    number: usize,
    socket: Socket,
    /// What it has not taken yet.
    rest: Vec<u8>,
    /// All is said, and our direction is closed.
    is_finished: bool,
    /// The other side has closed its direction.
    is_eof: bool,
    since: Instant,
    deadline: Instant,
}

impl Lingering {
    pub(crate) fn new(first_token: usize, max: usize, bytes_max: usize) -> Lingering {
        Lingering { sockets: VecDeque::new(), next: 0, first_token, max, bytes_max, bytes: 0, cut: 0 }
    }

    /// The node stops: what clients have not taken was within the bound of all output before, and nothing is added.
    pub(crate) fn take_all(&mut self) {
        self.bytes_max = usize::MAX;
    }

    /// Says the last bytes to a socket that is to be closed.
    pub(crate) fn add(&mut self, socket: Socket, last_bytes: Vec<u8>, now: Instant, registry: &Registry) {
        let number = self.next;
        let (since, deadline) = (now, now + LINGER);
        let mut leaver =
            Leaver { number, socket, rest: last_bytes, is_finished: false, is_eof: false, since, deadline };
        if leaver.speak().is_err() {
            return;
        }
        if self.bytes + leaver.rest.capacity() > self.bytes_max {
            leaver.finish();
        }
        let token = Token(self.first_token + number);
        if registry.reregister(leaver.socket.stream(), token, Interest::READABLE | Interest::WRITABLE).is_err() {
            return;
        }
        if self.sockets.len() >= self.max {
            self.remove(0);
            self.cut += 1;
        }
        self.bytes += leaver.rest.capacity();
        self.sockets.push_back(leaver);
        // Far fewer than these linger within one round of numbers.
        self.next = (self.next + 1) % (1 << 20);
    }

    /// Whether an event's token is of a lingering socket.
    pub(crate) fn owns(&self, token: Token) -> bool {
        token.0 >= self.first_token
    }

    /// Writes on, reads and drops. The socket closes with the other side.
    pub(crate) fn handle_event(&mut self, event: &Event, buffer: &mut [u8], now: Instant) {
        let number = event.token().0 - self.first_token;
        let Some(index) = self.sockets.iter().position(|leaver| leaver.number == number) else { return };
        let leaver = &mut self.sockets[index];
        let before = leaver.rest.capacity();
        let has_taken_some = event.is_writable() && !leaver.is_finished;
        let is_there = (!has_taken_some || leaver.speak().is_ok()) && leaver.drop_input(buffer);
        let is_over = !is_there || (leaver.is_finished && leaver.is_eof);
        self.bytes -= before - leaver.rest.capacity();
        if is_over {
            self.remove(index);
        } else if has_taken_some && now < leaver.since + LINGER_MAX {
            leaver.deadline = now + LINGER;
            // It stands behind all others, whose deadlines were set before.
            let leaver = self.sockets.remove(index);
            self.sockets.extend(leaver);
        }
    }

    /// Closes those whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.sockets.front().is_some_and(|leaver| leaver.deadline <= now) {
            self.remove(0);
        }
    }

    /// When the next one's time is over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.sockets.front().map(|leaver| leaver.deadline)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    fn remove(&mut self, index: usize) {
        self.bytes -= self.sockets.remove(index).map_or(0, |leaver| leaver.rest.capacity());
    }
}

impl Leaver {
    /// Writes what the socket takes, and closes our direction once that is all.
    fn speak(&mut self) -> io::Result<()> {
        let Writing { bytes, is_blocked } = self.socket.write(&self.rest)?;
        self.rest.drain(..bytes);
        if !is_blocked {
            self.finish();
        }
        Ok(())
    }

    /// Nothing more is said.
    fn finish(&mut self) {
        self.rest = Vec::new();
        self.is_finished = true;
        self.socket.finish();
    }

    /// Drops what came in. False: the connection is gone.
    fn drop_input(&mut self, buffer: &mut [u8]) -> bool {
        for _ in 0..READS_PER_EVENT {
            match self.socket.stream().read(buffer) {
                Ok(1..) => {}
                Ok(0) => {
                    self.is_eof = true;
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use mio::{Events, Poll};

    use super::*;

    /// More than sockets hold.
    const MUCH: usize = 32 << 20;

    /// A socket of a broker that is registered as a connection's, and its client.
    fn pair(registry: &Registry) -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (served, _) = listener.accept().unwrap();
        served.set_nonblocking(true).unwrap();
        let mut served = mio::net::TcpStream::from_std(served);
        registry.register(&mut served, Token(0), Interest::READABLE | Interest::WRITABLE).unwrap();
        (Socket::new(served, None), client)
    }

    #[test]
    fn who_reads_on_gets_all_that_was_waiting_for_it() {
        let mut poll = Poll::new().unwrap();
        let mut lingering = Lingering::new(1, 9, MUCH);
        let (socket, mut client) = pair(poll.registry());
        lingering.add(socket, vec![7; MUCH], Instant::now(), poll.registry());
        assert!(lingering.bytes > 0);
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            client.read_to_end(&mut got).map(|_| got.len())
        });
        let (mut events, mut buffer) = (Events::with_capacity(16), [0; 64]);
        while !lingering.is_empty() {
            poll.poll(&mut events, Some(LINGER)).unwrap();
            events.iter().for_each(|event| lingering.handle_event(event, &mut buffer, Instant::now()));
            lingering.expire(Instant::now());
        }
        assert_eq!(reader.join().unwrap().unwrap(), MUCH);
        assert_eq!((lingering.bytes, lingering.cut), (0, 0));
    }

    #[test]
    fn no_more_waits_than_there_is_room_for_and_not_for_long() {
        let poll = Poll::new().unwrap();
        let start = Instant::now();
        let mut lingering = Lingering::new(1, 2, 1 << 20);
        let pairs: Vec<_> = (0..3).map(|_| pair(poll.registry())).collect();
        let (sockets, _clients): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        for (number, socket) in (0..).zip(sockets) {
            lingering.add(socket, vec![7; MUCH], start + LINGER * number, poll.registry());
            assert_eq!(lingering.bytes, 0, "the other side would have to read for too long");
        }
        assert_eq!((lingering.sockets.len(), lingering.cut), (2, 1));
        lingering.expire(start + LINGER * 2);
        assert_eq!(lingering.deadline(), Some(start + LINGER * 3));
        lingering.expire(start + LINGER * 3);
        assert!(lingering.is_empty());
    }
}
