//! What is known of the links to other nodes: to whom there is one, and since when there is none to a member.

use std::collections::BTreeMap;
use std::time::Duration;

use fulmar_meta::{Member, Moment, NODES_MAX, NodeId, View};

/// Lives that are kept: each node may have an old one for a moment.
const LINKS_MAX: usize = 2 * NODES_MAX;

/// A life of another node that this one has connections to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Who is at the other end, as its greeting said.
    pub member: Member,
    /// All lanes for messages of clients are up.
    pub is_live: bool,
    /// Each side has all filters of the other, and has confirmed that.
    pub is_level: bool,
    /// Control letters reach it.
    pub hears: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Links {
    known: BTreeMap<Member, Link>,
    /// Members of the view without a link, since when.
    lost: BTreeMap<NodeId, Moment>,
}

impl Links {
    /// Takes what is known of all links, and gives those who hear this node from now on.
    pub(crate) fn set(&mut self, links: &[Link], me: Member) -> Vec<Member> {
        let others = links.iter().filter(|link| link.member.id != me.id).take(LINKS_MAX);
        let before = std::mem::replace(&mut self.known, others.map(|link| (link.member, *link)).collect());
        let heard = |member: &Member| before.get(member).is_some_and(|link| link.hears);
        self.hearing().filter(|member| !heard(member)).collect()
    }

    /// Members come and go with the view and the links.
    pub(crate) fn follow(&mut self, view: &View, me: Member, now: Moment) {
        let is_lost = |member: &Member| member.id != me.id && !self.known.get(member).is_some_and(|it| it.is_live);
        let lost = view.members().filter(is_lost).map(|it| (it.id, self.lost.get(&it.id).copied().unwrap_or(now)));
        self.lost = lost.collect();
    }

    /// Who could not be reached for as long as links wait.
    pub(crate) fn unreachable(&self, link_wait: Duration, now: Moment) -> Vec<NodeId> {
        self.lost.iter().filter(|(_, since)| now.since(**since) >= link_wait).map(|(id, _)| *id).collect()
    }

    /// When one more counts as unreachable.
    pub(crate) fn next_deadline(&self, link_wait: Duration, now: Moment) -> Option<Moment> {
        self.lost.values().map(|since| *since + link_wait).filter(|at| *at > now).min()
    }

    /// Whether messages of clients and control letters go to and fro.
    pub(crate) fn is_linked(&self, member: Member) -> bool {
        self.known.get(&member).is_some_and(|link| link.is_live && link.hears)
    }

    /// Whether both sides have all filters of each other besides.
    pub(crate) fn is_level(&self, member: Member) -> bool {
        self.is_linked(member) && self.known.get(&member).is_some_and(|link| link.is_level)
    }

    /// Who gets control letters.
    pub(crate) fn hearing(&self) -> impl Iterator<Item = Member> + '_ {
        self.known.values().filter(|link| link.hears).map(|link| link.member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Member = Member { id: 1, incarnation: 1 };

    fn member(id: NodeId, incarnation: u64) -> Member {
        Member { id, incarnation }
    }

    fn at(millis: u64) -> Moment {
        Moment(Duration::from_millis(millis))
    }

    fn view() -> View {
        let mut world = crate::tests::Cluster::new();
        world.join(2);
        world.join(3);
        world.meta.view().clone()
    }

    #[test]
    fn who_has_no_link_is_unreachable_as_soon_as_links_have_waited() {
        let wait = Duration::from_secs(2);
        let mut links = Links::default();
        let link = |member| Link { member, is_live: true, is_level: false, hears: true };
        // An earlier life of a member is none.
        links.set(&[link(member(2, 1)), link(member(3, 7))], ME);
        links.follow(&view(), ME, at(500));
        links.follow(&view(), ME, at(900));
        assert_eq!(links.unreachable(wait, at(2499)), []);
        assert_eq!(links.next_deadline(wait, at(2499)), Some(at(2500)));
        assert_eq!(links.unreachable(wait, at(2500)), [3]);
        assert_eq!(links.next_deadline(wait, at(2500)), None);
        links.set(&[link(member(2, 1)), link(member(3, 1))], ME);
        links.follow(&view(), ME, at(2600));
        assert_eq!(links.unreachable(wait, at(9000)), []);
    }

    #[test]
    fn no_more_links_are_kept_than_two_for_each_node_that_there_may_be() {
        let mut links = Links::default();
        let many: Vec<Link> = (2..=2 + LINKS_MAX as u64)
            .map(|id| Link { member: member(id, 1), is_live: true, is_level: true, hears: true })
            .collect();
        assert_eq!(many.len(), LINKS_MAX + 1);
        links.set(&many, ME);
        assert_eq!(links.hearing().count(), LINKS_MAX);
    }
}
