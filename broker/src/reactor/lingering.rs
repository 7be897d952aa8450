//! Sockets on their way out: the last bytes are written, and the other side is given time to read them.
//!
//! Closing a socket with unread bytes resets it, and a reset takes with it what the other side has not read: the
//! reason of the refusal, of all things. So what still comes in is read and dropped until the other side closes.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// How long the other side has to read and to close.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes dropped per socket and turn, so that a flood does not hold up others; the rest comes by its deadline.
const READS_PER_EVENT: usize = 16;

/// The lingering sockets of one data thread.
#[derive(Debug)]
pub(crate) struct Lingering {
    /// In the order of their deadlines. The number makes the token.
    sockets: VecDeque<(usize, TcpStream, Instant)>,
    next: usize,
    /// Tokens from here on are ours.
    first_token: usize,
    /// Sockets that may linger at a time; beyond it the oldest is closed at once.
    max: usize,
    pub(crate) cut: u64,
}

impl Lingering {
    pub(crate) fn new(first_token: usize, max: usize) -> Lingering {
        Lingering { sockets: VecDeque::new(), next: 0, first_token, max, cut: 0 }
    }

    /// Takes a socket whose direction towards the other side is closed.
    pub(crate) fn add(&mut self, mut stream: TcpStream, now: Instant, registry: &Registry) {
        let token = Token(self.first_token + self.next);
        if registry.reregister(&mut stream, token, Interest::READABLE).is_err() {
            return;
        }
        if self.sockets.len() >= self.max {
            self.sockets.pop_front();
            self.cut += 1;
        }
        self.sockets.push_back((self.next, stream, now + LINGER));
        // Far fewer than these linger within one round of numbers.
        self.next = (self.next + 1) % (1 << 20);
    }

    /// Whether an event's token is of a lingering socket.
    pub(crate) fn owns(&self, token: Token) -> bool {
        token.0 >= self.first_token
    }

    /// Reads and drops. The socket closes with the other side.
    pub(crate) fn handle_readable(&mut self, token: Token, buffer: &mut [u8]) {
        let number = token.0 - self.first_token;
        let Some(index) = self.sockets.iter().position(|(other, ..)| *other == number) else { return };
        let (_, stream, _) = &mut self.sockets[index];
        for _ in 0..READS_PER_EVENT {
            match stream.read(buffer) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => {
                    self.sockets.remove(index);
                    return;
                }
            }
        }
    }

    /// Closes those whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.sockets.front().is_some_and(|(_, _, deadline)| *deadline <= now) {
            self.sockets.pop_front();
        }
    }

    /// When the next one's time is over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.sockets.front().map(|(_, _, deadline)| *deadline)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }
}
