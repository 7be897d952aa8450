//! The metrics of links: by the peer's name, and where two nodes have the same one, by name and id.

use std::collections::{BTreeMap, BTreeSet};

use fulmar_cluster::NodeId;
use fulmar_cluster::letters::Channel;
use fulmar_cluster::peers::{LinkState, PeerView};

use super::{Exposition, Kind, Numbers};
use crate::link::Links;
use crate::link::letters::TallyView;

/// Adds everything about links; of a broker alone that is nothing but descriptions.
pub(super) fn expose(exposition: &mut Exposition, numbers: &[Numbers], links: Option<&Links>) {
    let peers = links.map(Links::view).unwrap_or_default();
    let namesakes = links.map(|links| links.namesakes(&peers)).unwrap_or_default();
    expose_lanes(exposition, numbers, &namesakes);
    expose_states(exposition, &peers, &namesakes);
    expose_letters(exposition, &links.map(Links::letter_tallies).unwrap_or_default(), &namesakes);
    let help = "Linked nodes that share their name with another node, or with this one; people and dashboards mistake \
                them for each other.";
    let sharing: usize = namesakes.values().map(BTreeSet::len).sum();
    exposition.family("fulmar_link_namesakes", Kind::Gauge, help).sample(&[], sharing);
    if let Some(links) = links {
        let help = "Silence of a peer after which its link is closed: interval + timeout * (1 + retries) of \
                    cluster.heartbeat.";
        let seconds = links.silence_max().as_secs_f64();
        exposition.family("fulmar_link_silence_max_seconds", Kind::Gauge, help).sample(&[], seconds);
    }
}

type Shared = BTreeMap<String, BTreeSet<NodeId>>;

/// What a peer is called in labels: its name, unless another node has it too.
fn label(name: &str, node: Option<NodeId>, namesakes: &Shared) -> String {
    match node {
        Some(NodeId(node)) if namesakes.contains_key(name) => format!("{name} ({node:016x})"),
        _ => name.to_owned(),
    }
}

fn expose_lanes(exposition: &mut Exposition, numbers: &[Numbers], namesakes: &Shared) {
    #[derive(Default)]
    struct Link {
        sent: u64,
        received: u64,
        unacknowledged_bytes: u64,
        lanes_connected: u64,
    }
    let mut links: BTreeMap<String, Link> = BTreeMap::new();
    for lane in numbers.iter().flat_map(|numbers| &numbers.links) {
        let link = links.entry(label(&lane.peer, Some(NodeId(lane.node_id)), namesakes)).or_default();
        link.sent += lane.publishes_sent;
        link.received += lane.publishes_received;
        link.unacknowledged_bytes += lane.unacknowledged_bytes;
        link.lanes_connected += u64::from(lane.connected);
    }
    type Value = fn(&Link) -> u64;
    let families: [(&str, Kind, &str, Value); 4] = [
        ("fulmar_link_publishes_sent_total", Kind::Counter, "Publishes sent to a peer.", |link| link.sent),
        ("fulmar_link_publishes_received_total", Kind::Counter, "Publishes received from a peer.", |link| {
            link.received
        }),
        (
            "fulmar_link_unacknowledged_bytes",
            Kind::Gauge,
            "Bytes sent to a peer that it has not acknowledged.",
            |link| link.unacknowledged_bytes,
        ),
        ("fulmar_link_lanes_connected", Kind::Gauge, "Connections to a peer that are up.", |link| link.lanes_connected),
    ];
    for (name, kind, help, value) in families {
        let mut family = exposition.family(name, kind, help);
        for (peer, link) in &links {
            family.sample(&[("peer", peer)], value(link));
        }
    }
}

/// What the stores of nodes write to each other.
fn expose_letters(exposition: &mut Exposition, tallies: &[TallyView], namesakes: &Shared) {
    // A pod that came back under another id has the same name.
    let mut sums: BTreeMap<(String, Channel), [u64; LETTERS.len()]> = BTreeMap::new();
    for tally in tallies {
        let key = (label(&tally.name, Some(NodeId(tally.node)), namesakes), tally.channel);
        let sum = sums.entry(key).or_default();
        sum.iter_mut().zip(LETTERS).for_each(|(sum, (.., value))| *sum += value(tally));
    }
    for (index, (name, kind, help, _)) in LETTERS.into_iter().enumerate() {
        let mut family = exposition.family(name, kind, help);
        for ((peer, channel), values) in &sums {
            family.sample(&[("peer", peer), ("channel", channel.name())], values[index]);
        }
    }
}

type LettersFamily = (&'static str, Kind, &'static str, fn(&TallyView) -> u64);

/// The metrics of letters, and their values.
const LETTERS: [LettersFamily; 7] = [
    ("fulmar_letters_sent_total", Kind::Counter, "Letters that the store has written to that of a peer.", |it| it.sent),
    ("fulmar_letters_sent_bytes_total", Kind::Counter, "Bytes of letters written to a peer.", |it| it.sent_bytes),
    ("fulmar_letters_received_total", Kind::Counter, "Letters that a peer's store has written to ours.", |it| {
        it.received
    }),
    ("fulmar_letters_received_bytes_total", Kind::Counter, "Bytes of letters from a peer.", |it| it.received_bytes),
    ("fulmar_letters_waiting_bytes", Kind::Gauge, "Bytes of letters that wait until a peer reads them.", |it| {
        it.waiting_bytes
    }),
    (
        "fulmar_letters_connections_total",
        Kind::Counter,
        "Connections that were made to write letters to a peer.",
        |it| it.connections,
    ),
    (
        "fulmar_letters_overflows_total",
        Kind::Counter,
        "Connections that were ended, and their letters dropped, because too many waited for a slow peer.",
        |it| it.overflows,
    ),
];

/// One sample for each state of each peer, 1 for the one it is in.
fn expose_states(exposition: &mut Exposition, peers: &[PeerView], namesakes: &Shared) {
    let help = "Whether the link to a peer is in this state; a peer that has not answered goes by its address.";
    // A node that came back under another address may be there twice for a while.
    let mut by_name: BTreeMap<String, &PeerView> = BTreeMap::new();
    for peer in peers {
        let shown = by_name.entry(label(&peer.name, peer.node, namesakes)).or_insert(peer);
        if peer.lanes_up > shown.lanes_up {
            *shown = peer;
        }
    }
    let mut family = exposition.family("fulmar_link_state", Kind::Gauge, help);
    for (name, peer) in &by_name {
        for state in LinkState::ALL {
            family.sample(&[("peer", name), ("state", state.name())], u8::from(state == peer.state));
        }
    }
    let help = "Attempts to link with a peer that failed in a row.";
    let mut family = exposition.family("fulmar_link_failures", Kind::Gauge, help);
    for (name, peer) in &by_name {
        family.sample(&[("peer", name)], peer.failures);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_summed_by_the_name_of_the_peer_and_the_channel() {
        let tally = |node, name: &str, channel, sent| TallyView {
            node,
            name: name.to_owned(),
            channel,
            sent,
            sent_bytes: 10 * sent,
            received: 0,
            received_bytes: 0,
            waiting_bytes: 7,
            connections: 1,
            overflows: 0,
        };
        let tallies = [
            tally(1, "broker-1", Channel::Bulk, 2),
            tally(1, "broker-1", Channel::Control, 3),
            // The same pod with a new volume.
            tally(2, "broker-1", Channel::Bulk, 5),
        ];
        let mut exposition = Exposition::default();
        expose_letters(&mut exposition, &tallies, &Shared::new());
        let text = exposition.into_text();
        for line in [
            "fulmar_letters_sent_total{peer=\"broker-1\",channel=\"bulk\"} 7",
            "fulmar_letters_sent_total{peer=\"broker-1\",channel=\"control\"} 3",
            "fulmar_letters_sent_bytes_total{peer=\"broker-1\",channel=\"bulk\"} 70",
            "fulmar_letters_waiting_bytes{peer=\"broker-1\",channel=\"bulk\"} 14",
            "fulmar_letters_connections_total{peer=\"broker-1\",channel=\"control\"} 1",
        ] {
            assert_eq!(text.lines().filter(|found| *found == line).count(), 1, "{line} in\n{text}");
        }
    }
}
