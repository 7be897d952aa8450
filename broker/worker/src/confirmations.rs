//! Which members of the view know this node's filters: SUBACK waits for all of them.
//!
//! What a member has confirmed holds as long as it is in the view, whatever becomes of the link: it forgets nothing of a
//! node that is in its own view. A member that was never heard of has confirmed nothing.

use fulmar_meta::{Member, View};

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Confirmations {
    own: u64,
    view: View,
    /// Other nodes: members of the view, and lives that may be in a later one.
    lives: Vec<Confirmed>,
}

#[derive(Debug)]
struct Confirmed {
    member: Member,
    /// Nothing before its first confirmation.
    version: Option<u64>,
    /// What there was when it came into the view.
    wanted: u64,
}

/// Lives that are in no view and are remembered: each was linked, and few are at a time.
const OUTSIDE_MAX: usize = 256;

impl Confirmations {
    pub(crate) fn new(own: u64) -> Confirmations {
        Confirmations { own, ..Confirmations::default() }
    }

    /// A newer view. This node's filters are at `version`.
    pub(crate) fn follow(&mut self, view: &View, version: u64) {
        if view.number <= self.view.number {
            return;
        }
        let before = std::mem::replace(&mut self.view, view.clone());
        let Confirmations { own, view, lives } = self;
        // A life that was in a view and is not any more never comes back.
        lives.retain(|it| view.contains(it.member) || !before.contains(it.member));
        for member in view.members().filter(|member| member.id != *own && !before.contains(*member)) {
            match lives.iter_mut().find(|it| it.member == member) {
                Some(life) => life.wanted = version,
                None => lives.push(Confirmed { member, version: None, wanted: version }),
            }
        }
    }

    /// To the others this node's next life is a new member, which they know nothing of.
    pub(crate) fn begin_life(&mut self, version: u64) {
        let Confirmations { own, view, lives } = self;
        let members = view.members().filter(|member| member.id != *own);
        *lives = members.map(|member| Confirmed { member, version: None, wanted: version }).collect();
    }

    /// A node knows all changes up to `version`.
    pub(crate) fn confirmed(&mut self, member: Member, version: u64) {
        if let Some(life) = self.lives.iter_mut().find(|it| it.member == member) {
            life.version = life.version.max(Some(version));
            return;
        }
        if self.lives.len() >= self.view.len() + OUTSIDE_MAX
            && let Some(oldest) = self.lives.iter().position(|it| !self.view.contains(it.member))
        {
            self.lives.remove(oldest);
        }
        self.lives.push(Confirmed { member, version: Some(version), wanted: 0 });
    }

    /// Whether all other members of the view know all changes up to `version`.
    pub(crate) fn is_confirmed(&self, version: u64) -> bool {
        let Confirmations { view, lives, .. } = self;
        lives.iter().filter(|it| view.contains(it.member)).all(|it| it.version >= Some(version))
    }

    /// Whether a member of the view knows what there was when it came into it.
    pub(crate) fn has_confirmed(&self, member: Member) -> bool {
        let life = self.lives.iter().find(|it| it.member == member && self.view.contains(member));
        life.is_some_and(|it| it.version >= Some(it.wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn member(id: u64, incarnation: u64) -> Member {
        Member { id, incarnation }
    }

    #[test]
    fn a_version_is_confirmed_when_every_other_member_has_said_so() {
        let mut confirmations = Confirmations::new(1);
        assert!(confirmations.is_confirmed(7), "nobody else is there");
        confirmations.follow(&View::new(1, [member(1, 1), member(2, 1), member(3, 1)]), 5);
        confirmations.confirmed(member(2, 1), 7);
        assert!(!confirmations.is_confirmed(0), "one was never linked");
        confirmations.confirmed(member(3, 2), 7);
        assert!(!confirmations.is_confirmed(0), "another life of it says nothing");
        confirmations.confirmed(member(3, 1), 6);
        confirmations.confirmed(member(3, 1), 2);
        assert_eq!([6, 7].map(|version| confirmations.is_confirmed(version)), [true, false]);
        // The next life has said so before it came into the view.
        confirmations.follow(&View::new(2, [member(1, 1), member(2, 1), member(3, 2)]), 8);
        assert_eq!([7, 8].map(|version| confirmations.is_confirmed(version)), [true, false]);
        assert_eq!(
            [member(2, 1), member(3, 1), member(3, 2)].map(|it| confirmations.has_confirmed(it)),
            [true, false, false]
        );
        confirmations.confirmed(member(3, 2), 8);
        assert!(confirmations.has_confirmed(member(3, 2)));
        confirmations.follow(&View::new(1, [member(1, 1), member(4, 1)]), 8);
        assert!(confirmations.is_confirmed(7), "an older view changes nothing");
        confirmations.begin_life(9);
        assert!(!confirmations.is_confirmed(0) && !confirmations.has_confirmed(member(2, 1)));
    }

    #[test]
    fn lives_that_come_into_no_view_do_not_add_up() {
        let mut confirmations = Confirmations::new(1);
        confirmations.follow(&View::new(1, [member(1, 1), member(2, 1)]), 0);
        confirmations.confirmed(member(2, 1), 1);
        (0..1000).for_each(|incarnation| confirmations.confirmed(member(3, incarnation), 1));
        assert!(confirmations.lives.len() <= 2 + OUTSIDE_MAX && confirmations.is_confirmed(1));
    }
}
