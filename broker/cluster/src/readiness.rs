//! Whether a node may take clients, as far as its peers are concerned, and what is missing.
//!
//! Ready is who has settled with discovery, is linked with every peer that answers, and has the retained messages. A
//! peer that does not answer for a while is named but not waited for: or one lost node would keep all others from
//! coming back. Nothing here reads a clock or a socket; it looks at [`PeerView`]s.

use std::fmt;
use std::time::Duration;

use crate::peers::{LinkState, PeerView};

/// A peer that is silent this long is not waited for.
pub const SILENT_AFTER: Duration = Duration::from_secs(10);

/// What is known besides the peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// Whether discovery gave the same answer twice, with this node in it where it must be.
    pub discovered: bool,
    /// How long this node has tried to discover its peers.
    pub discovering_for: Duration,
    /// Whether the retained messages were copied from a peer, or there was no peer to have any.
    pub retained_copied: bool,
}

/// Something that a node waits for, or would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// Discovery has not settled.
    Discovery,
    /// A peer that answers, or may yet, is not linked.
    Link {
        /// Its name or address.
        peer: String,
        /// How far it is.
        state: LinkState,
    },
    /// A peer's interest is not known here, or ours there.
    Interest {
        /// Its name.
        peer: String,
    },
    /// The retained messages are not copied yet.
    Retained,
    /// A peer has been silent for too long to be waited for.
    Silent {
        /// Its name or address.
        peer: String,
        /// For how long.
        silent_for: Duration,
    },
}

impl Missing {
    /// Whether the node is not ready because of it.
    pub const fn is_awaited(&self) -> bool {
        !matches!(self, Missing::Silent { .. })
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Discovery => f.write_str("discovery of the peers has not settled"),
            Missing::Link { peer, state } => write!(f, "peer {peer} is not linked: {}", state.name()),
            Missing::Interest { peer } => write!(f, "peer {peer} has not exchanged its subscriptions"),
            Missing::Retained => f.write_str("retained messages are not copied"),
            Missing::Silent { peer, silent_for } => {
                write!(f, "peer {peer} is silent for {} s and not waited for", silent_for.as_secs())
            }
        }
    }
}

/// What is missing. The node is ready if nothing of it [is awaited](Missing::is_awaited).
pub fn missing(situation: &Situation, peers: &[PeerView]) -> Vec<Missing> {
    let Situation { discovered, discovering_for, retained_copied } = *situation;
    let mut missing = Vec::new();
    if !discovered && discovering_for < SILENT_AFTER {
        missing.push(Missing::Discovery);
    }
    missing.extend(peers.iter().filter_map(missing_of_peer));
    if !retained_copied {
        missing.push(Missing::Retained);
    }
    missing
}

fn missing_of_peer(view: &PeerView) -> Option<Missing> {
    let peer = view.name.clone();
    match view.state {
        LinkState::Up if view.synchronised => None,
        LinkState::Up => Some(Missing::Interest { peer }),
        _ if view.silent_for >= SILENT_AFTER => Some(Missing::Silent { peer, silent_for: view.silent_for }),
        state => Some(Missing::Link { peer, state }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLED: Situation =
        Situation { discovered: true, discovering_for: Duration::from_secs(1), retained_copied: true };

    fn peer(name: &str, state: LinkState, silent_seconds: u64) -> PeerView {
        PeerView {
            name: name.to_owned(),
            node: None,
            state,
            lanes_up: 0,
            lanes: 1,
            synchronised: state == LinkState::Up,
            silent_for: Duration::from_secs(silent_seconds),
            failures: 0,
            refusal: None,
        }
    }

    #[test]
    fn a_node_linked_with_all_peers_is_ready() {
        let peers = [peer("broker-1", LinkState::Up, 0), peer("broker-2", LinkState::Up, 0)];
        assert_eq!(missing(&SETTLED, &peers), []);
    }

    #[test]
    fn a_peer_that_may_answer_is_waited_for_and_one_long_silent_is_only_named() {
        let peers = [peer("broker-1", LinkState::Dialling, 9), peer("broker-2", LinkState::BackOff, 10)];
        let missing = missing(&SETTLED, &peers);
        assert_eq!(
            missing,
            [
                Missing::Link { peer: "broker-1".to_owned(), state: LinkState::Dialling },
                Missing::Silent { peer: "broker-2".to_owned(), silent_for: Duration::from_secs(10) },
            ]
        );
        assert_eq!(missing.iter().map(Missing::is_awaited).collect::<Vec<_>>(), [true, false]);
        assert_eq!(missing[1].to_string(), "peer broker-2 is silent for 10 s and not waited for");
    }

    #[test]
    fn interest_and_retained_messages_are_waited_for() {
        let fresh = PeerView { synchronised: false, ..peer("broker-1", LinkState::Up, 0) };
        let situation = Situation { retained_copied: false, ..SETTLED };
        let wanted = [Missing::Interest { peer: "broker-1".to_owned() }, Missing::Retained];
        assert_eq!(missing(&situation, &[fresh]), wanted);
    }

    #[test]
    fn discovery_is_waited_for_no_longer_than_a_peer() {
        let situation = Situation { discovered: false, ..SETTLED };
        assert_eq!(missing(&situation, &[]), [Missing::Discovery]);
        let situation = Situation { discovering_for: SILENT_AFTER, ..situation };
        assert_eq!(missing(&situation, &[]), []);
    }
}
