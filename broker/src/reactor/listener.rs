//! A plain listener of a data thread. Every thread has a socket of its own on the same port, and the kernel deals
//! connections out, so that no thread is woken for a client that another one takes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};
use tracing::{debug, warn};

use crate::connect_rate::ConnectRate;
use crate::shortage::{REST, Shortage, is_out_of_resources};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;
/// Connections accepted per turn, so that a storm of them does not hold up clients that are there.
const ACCEPTS_PER_TURN: usize = 64;

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
    /// Shared with its other sockets.
    rate: Arc<ConnectRate>,
}

/// Binds `count` sockets to one address. Port 0 becomes the same free port for all. `::` takes IPv4 too, and on a
/// machine without IPv6 that alone.
pub(crate) fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<std::net::TcpListener>> {
    // Sockets that share a port hide from each other that another broker has it: the first one asks without sharing.
    let probe = match (bind_one(address, false), without_ipv6(address)) {
        (Err(error), Some(other)) if is_without_ipv6(&error) => {
            warn!(wanted = %address, taken = %other, %error, "no IPv6 on this machine, listening on IPv4 only");
            bind_one(other, false)?
        }
        (bound, _) => bound?,
    };
    let address = probe.local_addr()?;
    drop(probe);
    (0..count).map(|_| bind_one(address, true)).collect()
}

fn bind_one(address: SocketAddr, is_shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Whatever the machine's default is: `::` is every address, of IPv4 too.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What takes the place of `::` where there is no IPv6. Who asks for one address of IPv6 gets no other.
fn without_ipv6(address: SocketAddr) -> Option<SocketAddr> {
    let is_all = address.is_ipv6() && address.ip().is_unspecified();
    is_all.then(|| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
}

/// Whether the kernel knows no IPv6, or has none of its addresses.
fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// The address of the other side, that of IPv4 in its own form wherever it came in.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl Listener {
    pub(crate) fn new(socket: std::net::TcpListener, name: String, index: u16, rate: Arc<ConnectRate>) -> Listener {
        // Ready at once: clients may have come before the socket was registered.
        Listener { socket: TcpListener::from_std(socket), name, index, is_ready: true, resting_until: None, rate }
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
        if shortage.must_rest() {
            self.resting_until = Some(now + REST);
            return;
        }
        for _ in 0..ACCEPTS_PER_TURN {
            if let Some(rest) = self.rate.rest(now) {
                self.resting_until = Some(now + rest);
                return;
            }
            match self.socket.accept() {
                Ok((stream, address)) => {
                    self.resting_until = None;
                    self.rate.take(now);
                    take(stream, canonical(address));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_every_address_of_ipv6_has_another_of_ipv4() {
        let other = |text: &str| without_ipv6(text.parse().unwrap()).map(|address| address.to_string());
        let others = ["[::]:1883", "[::1]:1883", "0.0.0.0:1883"].map(other);
        assert_eq!(others, [Some("0.0.0.0:1883".to_owned()), None, None]);
        let of = |code| is_without_ipv6(&io::Error::from_raw_os_error(code));
        assert_eq!(
            [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL, libc::EADDRINUSE, libc::EACCES].map(of),
            [true, true, false, false]
        );
    }

    #[test]
    fn addresses_of_ipv4_look_the_same_on_every_listener() {
        let shown = |text: &str| canonical(text.parse().unwrap()).to_string();
        assert_eq!(
            ["[::ffff:10.0.0.1]:5", "10.0.0.1:5", "[::1]:5"].map(shown),
            ["10.0.0.1:5", "10.0.0.1:5", "[::1]:5"]
        );
    }
}
