//! A plain listener of a data thread. Every thread has a socket of its own on the same port, and the kernel deals
//! connections out, so that no thread is woken for a client that another one takes.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};
use tracing::debug;

use crate::shortage::{REST, Shortage, is_out_of_resources};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;
/// Connections accepted per turn, so that a storm of them does not hold up clients that are there.
const ACCEPTS_PER_TURN: usize = 256;

/// One listener on one data thread.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    name: String,
    /// Index in the configuration.
    pub(crate) index: u16,
    /// Clients may wait: no event will come before they were accepted.
    pub(crate) is_ready: bool,
    resting_until: Option<Instant>,
}

/// Binds `count` sockets to one address. Port 0 becomes the same free port for all.
pub(crate) fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<std::net::TcpListener>> {
    // Sockets that share a port hide from each other that another broker has it: the first one asks without sharing.
    let probe = bind_one(address, false)?;
    let address = probe.local_addr()?;
    drop(probe);
    (0..count).map(|_| bind_one(address, true)).collect()
}

fn bind_one(address: SocketAddr, is_shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Listener {
    pub(crate) fn new(socket: std::net::TcpListener, name: String, index: u16) -> Listener {
        // Ready at once: clients may have come before the socket was registered.
        Listener { socket: TcpListener::from_std(socket), name, index, is_ready: true, resting_until: None }
    }

    /// Whether accepting shall be tried in this turn.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.is_ready && self.resting_until.is_none_or(|until| until <= now)
    }

    /// When a rest ends.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.resting_until.filter(|_| self.is_ready)
    }

    /// Accepts what waits, up to one turn's share.
    pub(crate) fn accept(&mut self, now: Instant, shortage: &Shortage, mut take: impl FnMut(TcpStream, SocketAddr)) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.socket.accept() {
                Ok((stream, address)) => {
                    self.resting_until = None;
                    take(stream, address);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_ready = false;
                    return;
                }
                Err(error) if is_out_of_resources(&error) => {
                    shortage.tell(&self.name, &error, now);
                    self.resting_until = Some(now + REST);
                    return;
                }
                // The client was gone before it was accepted.
                Err(error) => debug!(listener = self.name, %error, "client not accepted"),
            }
        }
    }
}
