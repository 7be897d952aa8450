//! How many connections there are: of the node, by listener, and by address. The data threads of a node share this.
//!
//! A connection is counted from the moment a data thread takes it until it is forgotten. While it moves from one thread
//! to another it gives its place up for a moment; somebody else may take it.

use crate::limits::Limits;
use crate::out::Origin;
use fulmar_auth::backoff::network_of;
use hashbrown::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The node serves as many connections as it may.
    #[error("{connections} connections are open, at most {max} are allowed")]
    TooManyConnections {
        /// Open now.
        connections: usize,
        /// The limit.
        max: usize,
    },
    /// The listener serves as many as it may.
    #[error("{connections} connections of this listener are open, at most {max} are allowed")]
    TooManyOfListener {
        /// Open now.
        connections: usize,
        /// The limit.
        max: usize,
    },
    /// The address has as many as it may.
    #[error("{connections} connections from this address are open, at most {max} are allowed")]
    TooManyOfAddress {
        /// Open now.
        connections: usize,
        /// The limit.
        max: usize,
    },
    /// The node is stopping.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// The lane belongs to a peer or incarnation that is not wanted.
    #[error("this lane of the peer is not expected here")]
    UnknownLane,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Admission {
    node: Places,
    /// By index in the configuration.
    listeners: Vec<Places>,
    addresses: Option<Addresses>,
}

/// Connections that are open, and how many may be.
#[derive(Debug)]
struct Places {
    open: AtomicUsize,
    max: usize,
}

/// Only there if addresses are bounded: nobody else pays for the lock.
#[derive(Debug)]
struct Addresses {
    /// None is 0, so there are no more than connections.
    open: Mutex<HashMap<IpAddr, usize>>,
    max: usize,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Admission {
        let places = |max| Places { open: AtomicUsize::new(0), max };
        Admission {
            node: places(limits.connections),
            listeners: limits.listener_connections.iter().map(|max| places(*max)).collect(),
            addresses: limits.connections_per_address.map(|max| Addresses { open: Mutex::default(), max }),
        }
    }

    /// Takes a place of each kind, or none.
    pub(crate) fn enter(&self, origin: &Origin) -> Result<(), Refused> {
        self.node.take().map_err(|open| Refused::TooManyConnections { connections: open, max: self.node.max })?;
        if let Some(places) = self.listener(origin)
            && let Err(open) = places.take()
        {
            self.node.give_back();
            return Err(Refused::TooManyOfListener { connections: open, max: places.max });
        }
        if let Some(addresses) = &self.addresses
            && let Err(open) = addresses.take(origin.address.ip())
        {
            self.node.give_back();
            self.listener(origin).into_iter().for_each(Places::give_back);
            return Err(Refused::TooManyOfAddress { connections: open, max: addresses.max });
        }
        Ok(())
    }

    /// Gives back what [`Admission::enter`] took.
    pub(crate) fn leave(&self, origin: &Origin) {
        self.node.give_back();
        self.listener(origin).into_iter().for_each(Places::give_back);
        if let Some(addresses) = &self.addresses {
            addresses.give_back(origin.address.ip());
        }
    }

    /// Why a connection would not be taken now. The answer may be another a moment later.
    pub(crate) fn would_refuse(&self, origin: &Origin) -> Option<Refused> {
        if let Some(connections) = self.node.open_if_full() {
            return Some(Refused::TooManyConnections { connections, max: self.node.max });
        }
        if let Some(places) = self.listener(origin)
            && let Some(connections) = places.open_if_full()
        {
            return Some(Refused::TooManyOfListener { connections, max: places.max });
        }
        let addresses = self.addresses.as_ref()?;
        let connections = addresses.open_if_full(origin.address.ip())?;
        Some(Refused::TooManyOfAddress { connections, max: addresses.max })
    }

    fn listener(&self, origin: &Origin) -> Option<&Places> {
        self.listeners.get(usize::from(origin.listener))
    }
}

impl Places {
    fn take(&self) -> Result<(), usize> {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        if open < self.max {
            return Ok(());
        }
        self.give_back();
        Err(open)
    }

    fn open_if_full(&self) -> Option<usize> {
        Some(self.open.load(Ordering::Relaxed)).filter(|open| *open >= self.max)
    }

    fn give_back(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Addresses {
    fn take(&self, address: IpAddr) -> Result<(), usize> {
        let mut addresses = self.lock();
        let open = addresses.entry(network_of(address)).or_insert(0);
        if *open >= self.max {
            return Err(*open);
        }
        *open += 1;
        Ok(())
    }

    fn open_if_full(&self, address: IpAddr) -> Option<usize> {
        self.lock().get(&network_of(address)).copied().filter(|open| *open >= self.max)
    }

    fn give_back(&self, address: IpAddr) {
        let mut addresses = self.lock();
        let network = network_of(address);
        let is_last = addresses.get_mut(&network).is_none_or(|open| {
            *open -= 1;
            *open == 0
        });
        if is_last {
            addresses.remove(&network);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Each change is a single one, so that a panic leaves nothing half done.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn origin(listener: u16, address: &str) -> Origin {
        Origin { listener, address: SocketAddr::new(address.parse().expect("an address"), 9), trace: 0 }
    }

    fn admission(connections: usize, listener_connections: &[usize], per_address: Option<usize>) -> Admission {
        Admission::new(&Limits {
            connections,
            listener_connections: listener_connections.to_vec(),
            connections_per_address: per_address,
            ..Limits::default()
        })
    }

    #[test]
    fn a_listener_has_its_own_bound_and_leaves_the_places_of_others_alone() {
        let admission = admission(3, &[1, usize::MAX], None);
        let (small, large) = (origin(0, "10.0.0.1"), origin(1, "10.0.0.1"));
        assert_eq!(admission.enter(&small), Ok(()));
        let full = Refused::TooManyOfListener { connections: 1, max: 1 };
        assert_eq!((admission.enter(&small), admission.would_refuse(&small)), (Err(full), Some(full)));
        assert_eq!(
            (admission.would_refuse(&large), admission.enter(&large), admission.enter(&large)),
            (None, Ok(()), Ok(()))
        );
        assert_eq!(admission.enter(&large), Err(Refused::TooManyConnections { connections: 3, max: 3 }));
        admission.leave(&small);
        assert_eq!(admission.enter(&small), Ok(()));
    }

    #[test]
    fn an_address_has_so_many_connections_and_a_network_of_ipv6_is_one() {
        let admission = admission(10, &[], Some(2));
        for [one, other, elsewhere] in
            [["10.0.0.1", "10.0.0.1", "10.0.0.2"], ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]]
        {
            assert_eq!([one, other].map(|address| admission.enter(&origin(0, address))), [Ok(()), Ok(())]);
            let full = Err(Refused::TooManyOfAddress { connections: 2, max: 2 });
            assert_eq!(admission.would_refuse(&origin(0, one)), full.err());
            assert_eq!([one, elsewhere].map(|address| admission.enter(&origin(0, address))), [full, Ok(())]);
            admission.leave(&origin(0, other));
            assert_eq!(admission.enter(&origin(0, one)), Ok(()));
            [one, one, elsewhere].iter().for_each(|address| admission.leave(&origin(0, address)));
        }
        let addresses = admission.addresses.as_ref().expect("they are bounded");
        assert_eq!((addresses.lock().len(), admission.node.open.load(Ordering::Relaxed)), (0, 0));
    }
}
