//! What names and addresses in the configuration stand for right now, and whether that can be trusted.
//!
//! A node does not know how many peers it has: it must ask, and the answer may be old. It is believed when it was the
//! same twice, a second apart, and when this node itself was found by it, because a name that stands for all nodes
//! then had time to learn of the others too. Asking is the shell's affair.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::peers::Address;

/// The same answer must be given again after this long.
const CONFIRM_AFTER: Duration = Duration::from_secs(1);

/// See the [module](self).
#[derive(Debug)]
pub struct Discovery {
    since: Instant,
    hosts: Vec<Host>,
}

#[derive(Debug)]
struct Host {
    name: Box<str>,
    port: u16,
    /// The last good answer.
    answer: BTreeSet<SocketAddr>,
    first_given: Option<Instant>,
    confirmed: bool,
}

impl Discovery {
    /// Looks for hosts and ports from now on.
    pub fn new<'a>(hosts: impl IntoIterator<Item = (&'a str, u16)>, now: Instant) -> Self {
        let host = |(name, port): (&str, u16)| Host {
            name: name.into(),
            port,
            answer: name.parse().map(|ip| SocketAddr::new(ip, port)).into_iter().collect(),
            first_given: None,
            confirmed: false,
        };
        Self { since: now, hosts: hosts.into_iter().map(host).collect() }
    }

    /// The names to ask for; written addresses need no answer. The index says whose answer it is.
    pub fn names(&self) -> impl Iterator<Item = (usize, &str, u16)> {
        let names = self.hosts.iter().enumerate().filter(|(_, host)| !host.is_written());
        names.map(|(index, host)| (index, host.name.as_ref(), host.port))
    }

    /// An answer for a host. Errors and empty answers are to be given as empty: they leave things as they are, for a
    /// name server that is away must not break up a cluster.
    pub fn handle_answer(&mut self, index: usize, answer: BTreeSet<SocketAddr>, now: Instant) {
        let Some(host) = self.hosts.get_mut(index).filter(|_| !answer.is_empty()) else { return };
        if host.answer != answer {
            host.answer = answer;
            host.first_given = Some(now);
            host.confirmed = false;
        } else if host.first_given.is_some_and(|first| now >= first + CONFIRM_AFTER) {
            host.confirmed = true;
        }
    }

    /// All addresses found, for [`Peers::handle_resolved`](crate::peers::Peers::handle_resolved).
    pub fn addresses(&self) -> BTreeSet<Address> {
        let of = |host: &Host| {
            let name = host.name.clone();
            host.answer.clone().into_iter().map(move |socket| Address { socket, host: name.clone() })
        };
        self.hosts.iter().flat_map(of).collect()
    }

    /// Whether the answers can be trusted. Written addresses, and names on this machine, need no confirmation.
    pub fn is_settled(&self, found_itself: bool) -> bool {
        self.hosts.iter().all(|host| host.is_written() || (host.confirmed && (found_itself || host.is_local())))
    }

    /// How long this has been going on.
    pub fn going_on_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

impl Host {
    fn is_written(&self) -> bool {
        self.name.parse::<std::net::IpAddr>().is_ok()
    }

    fn is_local(&self) -> bool {
        self.answer.iter().all(|socket| socket.ip().is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(last: &[u8]) -> BTreeSet<SocketAddr> {
        last.iter().map(|last| SocketAddr::from(([10, 0, 0, *last], 7800))).collect()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_name_is_settled_when_it_answers_the_same_twice_and_this_node_was_found() {
        let now = Instant::now();
        let mut discovery = Discovery::new([("nodes.test", 7800)], now);
        discovery.handle_answer(0, sockets(&[1]), now);
        assert!(!discovery.is_settled(true));
        discovery.handle_answer(0, sockets(&[1, 2]), now + SECOND);
        assert!(!discovery.is_settled(true), "the answer changed");
        discovery.handle_answer(0, sockets(&[1, 2]), now + SECOND * 3 / 2);
        assert!(!discovery.is_settled(true), "too soon to say");
        discovery.handle_answer(0, sockets(&[1, 2]), now + SECOND * 2);
        assert_eq!((discovery.is_settled(false), discovery.is_settled(true)), (false, true));
    }

    #[test]
    fn no_answer_changes_nothing() {
        let now = Instant::now();
        let mut discovery = Discovery::new([("nodes.test", 7800)], now);
        discovery.handle_answer(0, sockets(&[1]), now);
        discovery.handle_answer(0, sockets(&[1]), now + SECOND);
        discovery.handle_answer(0, BTreeSet::new(), now + SECOND * 2);
        assert!(discovery.is_settled(true));
        let host = "nodes.test".into();
        assert_eq!(discovery.addresses(), [Address { socket: ([10, 0, 0, 1], 7800).into(), host }].into());
    }

    #[test]
    fn written_addresses_are_settled_and_local_names_need_not_find_themselves() {
        let now = Instant::now();
        let written = Discovery::new([("10.0.0.1", 7800), ("::1", 7800)], now);
        assert!(written.is_settled(false));
        assert_eq!((written.names().count(), written.addresses().len()), (0, 2));
        let mut local = Discovery::new([("localhost", 7801)], now);
        let answer: BTreeSet<SocketAddr> = [([127, 0, 0, 1], 7801).into()].into();
        local.handle_answer(0, answer.clone(), now);
        assert!(!local.is_settled(false));
        local.handle_answer(0, answer, now + SECOND);
        assert!(local.is_settled(false));
    }
}
