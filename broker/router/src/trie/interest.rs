//! Who wants the messages of one filter.
//!
//! Of a million filters nearly all have one subscriber, or a few remote nodes: those fit into the trie's node. What
//! does not fit moves into one allocation, and back when it fits again.

use super::shared::Group;
use super::{Matches, Subscribed, Unsubscribed};
use crate::hash::Hashes;
use crate::indexed::{Indexed, Keyed};
use crate::subscriber::{Member, NodeIndex, SubscriberId};

const INLINE_NODES: usize = 6;

/// The subscribers of one filter.
pub(super) enum Interest {
    None,
    One(Member),
    /// Only other nodes, the first `count` of the array.
    Nodes {
        count: u8,
        nodes: [NodeIndex; INLINE_NODES],
    },
    Mixed(Box<Mixed>),
}

/// Any subscribers there can be.
#[derive(Default)]
pub(super) struct Mixed {
    members: Indexed<Member>,
    /// Distinct. As many as the cluster has nodes: short enough to search.
    nodes: Vec<NodeIndex>,
    groups: Indexed<Group>,
}

impl Keyed for Member {
    type Key = SubscriberId;

    fn key(&self) -> &SubscriberId {
        &self.subscriber
    }

    fn hash(key: &SubscriberId, hashes: &Hashes) -> u64 {
        hashes.number(key.to_number())
    }
}

impl Interest {
    #[inline]
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    #[inline]
    pub(super) fn tell(&self, out: &mut impl Matches) {
        match self {
            Self::None => {}
            Self::One(member) => out.local(member.subscriber, member.options),
            _ => self.tell_many(out),
        }
    }

    fn tell_many(&self, out: &mut impl Matches) {
        for member in self.members() {
            out.local(member.subscriber, member.options);
        }
        for &node in self.nodes() {
            out.remote(node);
        }
        for group in self.groups() {
            out.shared(group.as_ref());
        }
    }

    /// The local subscribers, without those of shared groups.
    pub(super) fn members(&self) -> &[Member] {
        match self {
            Self::None | Self::Nodes { .. } => &[],
            Self::One(member) => std::slice::from_ref(member),
            Self::Mixed(mixed) => &mixed.members,
        }
    }

    pub(super) fn groups(&self) -> &[Group] {
        match self {
            Self::Mixed(mixed) => &mixed.groups,
            _ => &[],
        }
    }

    pub(super) fn group(&self, name: &str, hashes: &Hashes) -> Option<&Group> {
        let Self::Mixed(mixed) = self else { return None };
        mixed.groups.find(name, hashes).map(|at| &mixed.groups[at])
    }

    fn nodes(&self) -> &[NodeIndex] {
        match self {
            Self::None | Self::One(_) => &[],
            Self::Nodes { count, nodes } => &nodes[..usize::from(*count)],
            Self::Mixed(mixed) => &mixed.nodes,
        }
    }

    pub(super) fn subscribe(&mut self, member: Member, hashes: &Hashes) -> Subscribed {
        match self {
            Self::None => {
                *self = Self::One(member);
                Subscribed { new: true, first: true }
            }
            Self::One(old) if old.subscriber == member.subscriber => {
                old.options = member.options;
                Subscribed { new: false, first: false }
            }
            _ => join(&mut self.widen(hashes).members, member, hashes),
        }
    }

    pub(super) fn unsubscribe(&mut self, subscriber: SubscriberId, hashes: &Hashes) -> Unsubscribed {
        match self {
            Self::One(member) if member.subscriber == subscriber => {
                *self = Self::None;
                Unsubscribed { existed: true, last: true }
            }
            Self::Mixed(mixed) => {
                let answer = leave(&mut mixed.members, subscriber, hashes);
                self.narrow();
                answer
            }
            _ => Unsubscribed { existed: false, last: false },
        }
    }

    pub(super) fn subscribe_shared(
        &mut self,
        group: &str,
        filter: &str,
        member: Member,
        hashes: &Hashes,
    ) -> Subscribed {
        let group = self.group_or_new(group, filter, hashes);
        group.join(member, hashes)
    }

    /// Whether the member was there and present.
    pub(super) fn set_absent(&mut self, group: &str, subscriber: SubscriberId, hashes: &Hashes) -> bool {
        self.change_group(group, hashes, |group| group.set_absent(subscriber, hashes)).unwrap_or(false)
    }

    pub(super) fn unsubscribe_shared(
        &mut self,
        group: &str,
        subscriber: SubscriberId,
        hashes: &Hashes,
    ) -> Unsubscribed {
        self.change_group(group, hashes, |group| group.leave(subscriber, hashes))
            .unwrap_or(Unsubscribed { existed: false, last: false })
    }

    /// Whether the node was not there before.
    pub(super) fn add_node(&mut self, node: NodeIndex, hashes: &Hashes) -> bool {
        if self.nodes().contains(&node) {
            return false;
        }
        match self {
            Self::None => {
                let mut nodes = [NodeIndex(0); INLINE_NODES];
                nodes[0] = node;
                *self = Self::Nodes { count: 1, nodes };
            }
            Self::Nodes { count, nodes } if usize::from(*count) < INLINE_NODES => {
                nodes[usize::from(*count)] = node;
                *count += 1;
            }
            _ => self.widen(hashes).nodes.push(node),
        }
        true
    }

    /// Whether the node was there.
    pub(super) fn remove_node(&mut self, node: NodeIndex) -> bool {
        let Some(at) = self.nodes().iter().position(|&other| other == node) else { return false };
        match self {
            Self::Nodes { count: 1, .. } => *self = Self::None,
            Self::Nodes { count, nodes } => {
                *count -= 1;
                nodes.swap(at, usize::from(*count));
            }
            Self::Mixed(mixed) => {
                mixed.nodes.swap_remove(at);
                self.narrow();
            }
            Self::None | Self::One(_) => {}
        }
        true
    }

    pub(super) fn add_group_node(&mut self, group: &str, filter: &str, node: NodeIndex, hashes: &Hashes) -> bool {
        let group = self.group_or_new(group, filter, hashes);
        let new = !group.nodes.contains(&node);
        if new {
            group.nodes.push(node);
        }
        new
    }

    pub(super) fn remove_group_node(&mut self, group: &str, node: NodeIndex, hashes: &Hashes) -> bool {
        self.change_group(group, hashes, |group| group.remove_node(node)).unwrap_or(false)
    }

    /// Forgets a node and gives how often it was there: for the filter itself and for its groups.
    pub(super) fn forget_node(&mut self, node: NodeIndex, hashes: &Hashes) -> usize {
        let mut forgotten = usize::from(self.remove_node(node));
        if let Self::Mixed(mixed) = self {
            forgotten += mixed.groups.iter_mut().map(|group| usize::from(group.remove_node(node))).sum::<usize>();
            for at in (0..mixed.groups.len()).rev() {
                if mixed.groups[at].is_empty() {
                    mixed.groups.remove(at, hashes);
                }
            }
            self.narrow();
        }
        forgotten
    }

    fn group_or_new(&mut self, name: &str, filter: &str, hashes: &Hashes) -> &mut Group {
        let groups = &mut self.widen(hashes).groups;
        let at = groups.find(name, hashes).unwrap_or_else(|| groups.add(Group::new(name, filter), hashes));
        groups.get_mut(at)
    }

    /// Changes a group, if there is one, and removes it if nobody is left in it.
    fn change_group<R>(&mut self, name: &str, hashes: &Hashes, change: impl FnOnce(&mut Group) -> R) -> Option<R> {
        let Self::Mixed(mixed) = self else { return None };
        let at = mixed.groups.find(name, hashes)?;
        let answer = change(mixed.groups.get_mut(at));
        if mixed.groups[at].is_empty() {
            mixed.groups.remove(at, hashes);
            self.narrow();
        }
        Some(answer)
    }

    /// Takes the form that holds everything.
    fn widen(&mut self, hashes: &Hashes) -> &mut Mixed {
        if !matches!(self, Self::Mixed(_)) {
            let mut mixed = Box::<Mixed>::default();
            match self {
                Self::One(member) => {
                    mixed.members.add(*member, hashes);
                }
                _ => mixed.nodes.extend_from_slice(self.nodes()),
            }
            *self = Self::Mixed(mixed);
        }
        match self {
            Self::Mixed(mixed) => mixed,
            _ => unreachable!("it was just made so"),
        }
    }

    /// Takes the smallest form that holds what is left.
    fn narrow(&mut self) {
        let Self::Mixed(mixed) = self else { return };
        if !mixed.groups.is_empty() {
            return;
        }
        match (&*mixed.members, mixed.nodes.as_slice()) {
            ([], []) => *self = Self::None,
            (&[member], []) => *self = Self::One(member),
            ([], some) if some.len() <= INLINE_NODES => {
                let mut nodes = [NodeIndex(0); INLINE_NODES];
                nodes[..some.len()].copy_from_slice(some);
                *self = Self::Nodes { count: some.len() as u8, nodes };
            }
            _ => {}
        }
    }
}

fn join(members: &mut Indexed<Member>, member: Member, hashes: &Hashes) -> Subscribed {
    if let Some(at) = members.find(&member.subscriber, hashes) {
        members.get_mut(at).options = member.options;
        return Subscribed { new: false, first: false };
    }
    let first = members.is_empty();
    members.add(member, hashes);
    Subscribed { new: true, first }
}

fn leave(members: &mut Indexed<Member>, subscriber: SubscriberId, hashes: &Hashes) -> Unsubscribed {
    let Some(at) = members.find(&subscriber, hashes) else {
        return Unsubscribed { existed: false, last: false };
    };
    members.remove(at, hashes);
    Unsubscribed { existed: true, last: members.is_empty() }
}

#[cfg(test)]
mod tests {
    use fulmar_codec::QoS;

    use super::*;
    use crate::subscriber::Options;

    fn member(slot: u32) -> Member {
        Member { subscriber: SubscriberId { thread: 0, generation: 0, slot }, options: Options::new(QoS::AtMostOnce) }
    }

    #[test]
    fn what_fits_into_the_node_lies_there_again_after_it_was_larger() {
        assert_eq!(size_of::<Interest>(), 16);
        let hashes = Hashes::new(1);
        let mut interest = Interest::None;
        interest.subscribe(member(1), &hashes);
        interest.subscribe(member(2), &hashes);
        assert!(matches!(interest, Interest::Mixed(_)));
        interest.unsubscribe(member(1).subscriber, &hashes);
        assert!(matches!(interest, Interest::One(m) if m == member(2)));
        interest.add_node(NodeIndex(5), &hashes);
        assert!(matches!(interest, Interest::Mixed(_)));
        interest.unsubscribe(member(2).subscriber, &hashes);
        assert!(matches!(interest, Interest::Nodes { count: 1, .. }));
        interest.subscribe_shared("g", "f", member(3), &hashes);
        interest.remove_node(NodeIndex(5));
        assert!(matches!(interest, Interest::Mixed(_)));
        interest.unsubscribe_shared("g", member(3).subscriber, &hashes);
        assert!(interest.is_none());
    }

    #[test]
    fn more_nodes_than_fit_are_kept_as_well() {
        let hashes = Hashes::new(1);
        let mut interest = Interest::None;
        for node in 0..20 {
            assert!(interest.add_node(NodeIndex(node), &hashes));
            assert!(!interest.add_node(NodeIndex(node), &hashes));
        }
        for node in 0..20 {
            assert_eq!(interest.nodes().len(), usize::from(20 - node));
            assert!(interest.remove_node(NodeIndex(node)));
            assert!(!interest.remove_node(NodeIndex(node)));
        }
        assert!(interest.is_none());
    }
}
