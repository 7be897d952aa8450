//! What clients know: where the nodes are, and whether it is over. They go to whoever lets them in, as clients do.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fulmar_codec::{Connect, ReasonCode, Version};

use crate::harness::{Client, Dice, Got};

/// A node that is silent for so long is left for another.
pub const SILENCE: Duration = Duration::from_secs(8);
/// Within that time some node lets a client in, whatever happens.
const ALONE_MAX: Duration = Duration::from_secs(120);

/// See the [module](self).
pub struct World {
    addresses: Vec<SocketAddr>,
    is_over: AtomicBool,
    /// The test has failed: there is nothing to wait for any more.
    is_aborted: AtomicBool,
    /// Odd while something is wrong.
    disturbances: AtomicU64,
}

/// Ends the world when the test fails, so that nobody waits for its clients.
pub struct Abort<'a>(pub &'a World);

impl World {
    pub fn new(addresses: Vec<SocketAddr>) -> World {
        let (is_over, is_aborted) = (AtomicBool::new(false), AtomicBool::new(false));
        World { addresses, is_over, is_aborted, disturbances: AtomicU64::new(0) }
    }

    /// Clients come to their ends from now on.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst) || self.is_aborted()
    }

    pub fn is_aborted(&self) -> bool {
        self.is_aborted.load(Ordering::SeqCst)
    }

    /// Something begins to be wrong, or is over.
    pub fn disturb(&self) {
        self.disturbances.fetch_add(1, Ordering::SeqCst);
    }

    /// A number that stays as it is while everything is well. None: something is wrong.
    pub fn peace(&self) -> Option<u64> {
        Some(self.disturbances.load(Ordering::SeqCst)).filter(|count| count % 2 == 0)
    }

    /// A connection to a node that lets the client in, and whether its session was there. None: that one does not, now.
    pub fn connect(&self, connect: &Connect<'_>, dice: &mut Dice) -> Option<(Client, bool)> {
        let at = dice.between(0, self.addresses.len() as u64) as usize;
        self.connect_to(at, connect)
    }

    pub fn connect_to(&self, index: usize, connect: &Connect<'_>) -> Option<(Client, bool)> {
        let stream = TcpStream::connect_timeout(&self.addresses[index], Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Client::on(stream, Version::V5);
        (client.acknowledges, client.gives_up) = (false, true);
        match client.hello(connect) {
            Got::ConnAck { session_present, reason: ReasonCode::SUCCESS } => Some((client, session_present)),
            Got::ConnAck { reason: ReasonCode::SERVER_UNAVAILABLE | ReasonCode::SERVER_BUSY, .. }
            | Got::Disconnect(_)
            | Got::Closed => None,
            got => panic!("{} wanted CONNACK, got {got:?}", connect.client_id),
        }
    }

    /// Calls `live` with one connection after the other until it is done.
    pub fn rove(
        &self,
        connect: &Connect<'_>,
        dice: &mut Dice,
        mut live: impl FnMut(&mut Client, bool, &mut Dice) -> bool,
    ) {
        let mut alone = Instant::now();
        while !self.is_aborted() {
            match self.connect(connect, dice) {
                Some((mut client, session_present)) => {
                    if live(&mut client, session_present, dice) {
                        return;
                    }
                    alone = Instant::now();
                }
                None => thread::sleep(Duration::from_millis(50)),
            }
            assert!(alone.elapsed() < ALONE_MAX, "nobody lets {} in", connect.client_id);
        }
    }
}

impl Drop for Abort<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.is_aborted.store(true, Ordering::SeqCst);
        }
    }
}

/// One whose session waits for it.
pub fn lasting(id: &str) -> Connect<'_> {
    Connect { clean_start: false, session_expiry: 3600, ..Connect::new(Version::V5, id) }
}
