//! The peers as people and metrics see them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Address;
use super::node::Node;
use super::target::{Progress, Target};
use crate::clock::NodeId;

/// What is going on with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkState {
    /// Nothing yet, or a lane is about to be dialled.
    Idle,
    /// A connection is being made.
    Dialling,
    /// The greeting is said, the answer is awaited.
    Handshaking,
    /// Some lanes are up.
    Partial,
    /// All lanes are up.
    Up,
    /// An attempt failed, the next one waits.
    BackOff,
    /// The other side refuses us; people have to mend that. It is tried again.
    Refused,
}

impl LinkState {
    /// All states, for metrics that show each.
    pub const ALL: [Self; 7] = [
        LinkState::Idle,
        LinkState::Dialling,
        LinkState::Handshaking,
        LinkState::Partial,
        LinkState::Up,
        LinkState::BackOff,
        LinkState::Refused,
    ];

    /// A word for it.
    pub const fn name(self) -> &'static str {
        match self {
            LinkState::Idle => "idle",
            LinkState::Dialling => "dialling",
            LinkState::Handshaking => "handshaking",
            LinkState::Partial => "partial",
            LinkState::Up => "up",
            LinkState::BackOff => "back-off",
            LinkState::Refused => "refused",
        }
    }
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    /// The node's name; its address as long as it has not answered.
    pub name: String,
    /// The node, once it has answered.
    pub node: Option<NodeId>,
    /// What is going on.
    pub state: LinkState,
    /// Lanes that are up.
    pub lanes_up: u16,
    /// Lanes that there are.
    pub lanes: u16,
    /// Whether interest is known both ways.
    pub synchronised: bool,
    /// How long nothing was heard of it while no lane is up.
    pub silent_for: Duration,
    /// Attempts that failed in a row.
    pub failures: u32,
    /// Why it refuses us.
    pub refusal: Option<String>,
}

pub(super) fn view(targets: &BTreeMap<Address, Target>, nodes: &BTreeMap<NodeId, Node>, now: Instant) -> Vec<PeerView> {
    let mut seen = BTreeSet::new();
    let mut views = Vec::new();
    for (address, target) in targets {
        // A node may have several addresses.
        if target.progress == Progress::Itself || target.node.is_some_and(|node| !seen.insert(node)) {
            continue;
        }
        let node = target.node.and_then(|id| nodes.get(&id));
        views.push(view_of(address.socket.to_string(), Some(target), target.node.zip(node), now));
    }
    for (id, node) in nodes.iter().filter(|(id, node)| node.is_alive() && !seen.contains(id)) {
        views.push(view_of(String::new(), None, Some((*id, node)), now));
    }
    views
}

fn view_of(address: String, target: Option<&Target>, node: Option<(NodeId, &Node)>, now: Instant) -> PeerView {
    let (lanes_up, lanes) = node.map_or((0, 0), |(_, node)| (node.lanes_up(), node.lanes()));
    let silent_for = match target {
        Some(target) if lanes_up == 0 => now.saturating_duration_since(target.last_heard),
        _ => Duration::ZERO,
    };
    PeerView {
        name: node.map_or(address, |(_, node)| node.name.clone()),
        node: node.map(|(id, _)| id).or(target.and_then(|target| target.node)),
        state: state(target, lanes_up, lanes),
        lanes_up,
        lanes,
        synchronised: node.is_some_and(|(_, node)| node.synchronised),
        silent_for,
        failures: target.map_or(0, |target| target.back_off.failures()),
        refusal: target.and_then(|target| target.refusal.as_ref()).map(ToString::to_string),
    }
}

fn state(target: Option<&Target>, lanes_up: u16, lanes: u16) -> LinkState {
    match (target.map(|target| (target, target.progress)), lanes_up) {
        (_, up) if up > 0 && up == lanes => LinkState::Up,
        (_, up) if up > 0 => LinkState::Partial,
        (Some((_, Progress::AwaitConnection { .. })), _) => LinkState::Dialling,
        (Some((_, Progress::AwaitAnswer { .. })), _) => LinkState::Handshaking,
        (Some((target, _)), _) if target.refusal.is_some() => LinkState::Refused,
        (Some((target, _)), _) if target.back_off.failures() > 0 => LinkState::BackOff,
        _ => LinkState::Idle,
    }
}
