//! The file-descriptor limit: raised as far as it goes, and shared out among all that the process opens.
//!
//! Clients are not alone: handshakes, greetings of peers, links, HTTP connections and sockets that are on their way out
//! take descriptors too, each bounded. Together they have to fit, so that none of them can take what another needs.

use crate::admin;

/// Files, timers, name look-ups and what the runtime opens.
const OWN: u64 = 64;
/// Of each data thread: its poll and its waker.
const OWN_PER_THREAD: u64 = 2;
/// Connections of a link: a lane per thread, and as many again that replace them or of a peer with more threads.
const LANES_PER_THREAD: u64 = 2;
/// Connections for letters between stores, of each node: one to it and one from it for each channel, and as many of the
/// latter that are being replaced.
const LETTERS_PER_NODE: u64 = 6;

/// Greetings of peers under way at one time, if descriptors allow.
const GREETINGS_MAX: u64 = 256;
/// Sockets per data thread whose last bytes are still read, if descriptors allow.
const LINGERING_MAX: u64 = 256;
/// Nodes linked with this one, if descriptors allow.
const NODES_MAX: u64 = 256;
/// The least of each of these that a broker is of use with.
const LEAST: u64 = 4;

/// What the configuration wants, as far as descriptors are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) connections: Number,
    /// None: no listener speaks TLS.
    pub(crate) handshakes: Option<Number>,
    /// Sockets that listen.
    pub(crate) listening: u64,
    pub(crate) threads: u16,
    pub(crate) http_ports: u64,
    pub(crate) has_cluster: bool,
    /// The nodes have stores, which write letters to each other.
    pub(crate) has_letters: bool,
}

/// A number from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) value: u32,
    /// Somebody chose it: it is never lowered silently.
    pub(crate) is_chosen: bool,
}

/// How many of each there may be at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) connections: u32,
    pub(crate) handshakes: u32,
    pub(crate) greetings: u32,
    pub(crate) nodes: u16,
    /// Per data thread.
    pub(crate) lingering: u32,
    /// Something is less than it would be with more descriptors.
    pub(crate) is_lowered: bool,
}

/// The file-descriptor limit is too low for the numbers that somebody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "found a file-descriptor limit of {limit}, wanted at least {wanted}: limits.connections {connections}, TLS \
     handshakes {handshakes}, and {others} for peers, probes and files (raise it with ulimit -n or LimitNOFILE=, or \
     lower limits.connections or limits.handshakes)"
)]
pub(crate) struct TooFewDescriptors {
    limit: u64,
    wanted: u64,
    connections: u64,
    handshakes: u64,
    others: u64,
}

/// Everything but the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shares {
    handshakes: u64,
    greetings: u64,
    nodes: u64,
    lingering: u64,
    /// Descriptors of all these together, but the handshakes.
    others: u64,
}

/// Shares `limit` descriptors out. What nobody chose shrinks with the limit; what is left goes to clients.
pub(crate) fn share_out(limit: u64, wanted: &Wanted) -> Result<Budget, TooFewDescriptors> {
    let shares = shares(limit, wanted);
    let room = limit.saturating_sub(shares.handshakes + shares.others);
    let Number { value, is_chosen } = wanted.connections;
    let connections = room.min(value.into());
    if connections < if is_chosen { value.into() } else { 1 } {
        return Err(too_few(limit, wanted));
    }
    let full = self::shares(u64::MAX, wanted);
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(Budget {
        connections: number(connections),
        handshakes: number(shares.handshakes),
        greetings: number(shares.greetings),
        nodes: u16::try_from(shares.nodes).unwrap_or(u16::MAX),
        lingering: number(shares.lingering),
        is_lowered: shares != full || connections < value.into(),
    })
}

fn shares(limit: u64, wanted: &Wanted) -> Shares {
    let Wanted { connections: _, handshakes, listening, threads, http_ports, has_cluster, has_letters } = *wanted;
    let threads = u64::from(threads);
    // Never more than these parts of all descriptors, so that most are left for clients.
    let (sixteenth, eighth) = (limit / 16, limit / 8);
    let handshakes = handshakes.map_or(0, |Number { value, is_chosen }| match is_chosen {
        true => u64::from(value),
        false => u64::from(value).min(eighth.max(LEAST)),
    });
    let lingering = LINGERING_MAX.min((sixteenth / threads).max(LEAST));
    let per_node = threads * LANES_PER_THREAD + if has_letters { LETTERS_PER_NODE } else { 0 };
    let (greetings, nodes) = match has_cluster {
        true => (GREETINGS_MAX.min(sixteenth.max(LEAST)), NODES_MAX.min((eighth / per_node).max(LEAST))),
        false => (0, 0),
    };
    let http = http_ports * admin::CONNECTIONS_MAX as u64;
    let own = OWN + OWN_PER_THREAD * threads + listening;
    Shares {
        handshakes,
        greetings,
        nodes,
        lingering,
        others: own + http + lingering * threads + greetings + nodes * per_node,
    }
}

/// Names the least limit that would do. The shares grow with the limit, much slower than the limit itself.
fn too_few(limit: u64, wanted: &Wanted) -> TooFewDescriptors {
    let connections = if wanted.connections.is_chosen { wanted.connections.value.into() } else { 1 };
    let mut least = limit;
    loop {
        let Shares { handshakes, others, .. } = shares(least, wanted);
        let sum = connections + handshakes + others;
        if sum <= least {
            return TooFewDescriptors { limit, wanted: least, connections, handshakes, others };
        }
        least = sum;
    }
}

/// Raises the soft limit to the hard one and returns it.
pub(crate) fn raise() -> std::io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for one rlimit during the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: `raised` is a valid rlimit during the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } != 0 {
        return Ok(limit.rlim_cur);
    }
    Ok(limit.rlim_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn number(value: u32, is_chosen: bool) -> Number {
        Number { value, is_chosen }
    }

    /// A pod: two threads, TLS, a cluster and probes, everything as by default.
    const POD: Wanted = Wanted {
        connections: number(100_000, false),
        handshakes: Some(number(1000, false)),
        listening: 5,
        threads: 2,
        http_ports: 1,
        has_cluster: true,
        has_letters: false,
    };

    /// What may be open at one time.
    fn sum(budget: &Budget, wanted: &Wanted) -> u64 {
        let Budget { connections, handshakes, greetings, nodes, lingering, is_lowered: _ } = *budget;
        let threads = u64::from(wanted.threads);
        let clients = u64::from(connections) + u64::from(handshakes) + u64::from(lingering) * threads;
        let letters = if wanted.has_letters { LETTERS_PER_NODE } else { 0 };
        let peers = u64::from(greetings) + u64::from(nodes) * (threads * LANES_PER_THREAD + letters);
        let http = wanted.http_ports * admin::CONNECTIONS_MAX as u64;
        clients + peers + http + OWN + OWN_PER_THREAD * threads + wanted.listening
    }

    #[test]
    fn what_nobody_chose_shrinks_with_the_limit() {
        let budget = |connections, handshakes, greetings, nodes, lingering, is_lowered| Budget {
            connections,
            handshakes,
            greetings,
            nodes,
            lingering,
            is_lowered,
        };
        for (limit, wanted) in [
            (1 << 20, budget(100_000, 1000, 256, 256, 256, false)),
            (103_000, budget(100_000, 1000, 256, 256, 256, false)),
            (20_000, budget(17_063, 1000, 256, 256, 256, true)),
            (1024, budget(495, 128, 64, 32, 32, true)),
            (400, budget(108, 50, 25, 12, 12, true)),
        ] {
            assert_eq!(share_out(limit, &POD), Ok(wanted), "{limit}");
            assert!(sum(&wanted, &POD) <= limit, "{limit}: {}", sum(&wanted, &POD));
        }
    }

    #[test]
    fn connections_for_letters_count_for_each_node() {
        let durable = Wanted { has_letters: true, ..POD };
        for (limit, wanted) in [(1 << 20, 256), (1024, 12), (400, 5)] {
            let budget = share_out(limit, &durable).unwrap();
            assert_eq!(budget.nodes, wanted, "{limit}");
            assert!(sum(&budget, &durable) <= limit, "{limit}: {}", sum(&budget, &durable));
        }
    }

    #[test]
    fn a_broker_alone_without_tls_keeps_nothing_for_peers_and_handshakes() {
        let alone = Wanted { handshakes: None, listening: 2, http_ports: 0, has_cluster: false, ..POD };
        let budget = share_out(300, &alone).unwrap();
        assert_eq!((budget.handshakes, budget.greetings, budget.nodes, budget.lingering), (0, 0, 0, 9));
        assert_eq!(budget.connections, 300 - 64 - 2 * 2 - 2 - 9 * 2);
    }

    #[test]
    fn a_chosen_number_is_kept_or_refused_with_the_limit_that_would_do() {
        for (chosen, limits) in [
            (Wanted { connections: number(1000, true), ..POD }, [0, 256, 1024, 1500]),
            (Wanted { handshakes: Some(number(5000, true)), ..POD }, [0, 1024, 5000, 5100]),
        ] {
            for limit in limits {
                let refused = share_out(limit, &chosen).unwrap_err();
                assert_eq!(refused.limit, limit);
                let budget = share_out(refused.wanted, &chosen).unwrap();
                assert!(sum(&budget, &chosen) <= refused.wanted);
                assert_eq!(share_out(refused.wanted - 1, &chosen).unwrap_err().wanted, refused.wanted);
                for Number { value, .. } in [chosen.connections].into_iter().filter(|number| number.is_chosen) {
                    assert_eq!(budget.connections, value);
                }
                for Number { value, .. } in chosen.handshakes.into_iter().filter(|number| number.is_chosen) {
                    assert_eq!(budget.handshakes, value);
                }
            }
        }
    }

    #[test]
    fn raising_twice_changes_nothing_more() {
        assert_eq!(raise().unwrap(), raise().unwrap());
    }
}
