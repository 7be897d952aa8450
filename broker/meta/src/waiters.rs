//! Waits for members: what a PUBACK or SUBACK waits for on other nodes.
//!
//! A wait ends when every member has confirmed, or when a newer view was committed without those that have not. Nothing
//! else ends it: a link that is lost says nothing about the member behind it, which may acknowledge and deliver still.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::names::Member;
use crate::view::View;

/// Too many waits are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{max} waits are open, and no more may be")]
pub struct TooManyWaits {
    /// How many there may be.
    pub max: usize,
}

/// All waits of a data thread. `T` is its name for what waits.
#[derive(Debug, Clone)]
pub struct Waiters<T> {
    waits_max: usize,
    view: View,
    open: BTreeMap<T, BTreeSet<Member>>,
    refused: u64,
    #[cfg(any(test, feature = "sabotage"))]
    pub(crate) sabotage: Option<crate::sabotage::Sabotage>,
}

impl<T: Ord + Clone> Waiters<T> {
    /// No waits yet, of at most `waits_max` at a time.
    pub fn new(waits_max: usize) -> Self {
        Self {
            waits_max,
            view: View::default(),
            open: BTreeMap::new(),
            refused: 0,
            #[cfg(any(test, feature = "sabotage"))]
            sabotage: None,
        }
    }

    /// Waits for members. Of lives that are not in the view that this node knows, earlier ones are over and later ones
    /// may not acknowledge before this node has confirmed them, so that neither is waited for. Answers whether there is
    /// anybody to wait for.
    pub fn wait(&mut self, token: T, on: impl IntoIterator<Item = Member>) -> Result<bool, TooManyWaits> {
        let missing: BTreeSet<Member> = on.into_iter().filter(|member| self.view.contains(*member)).collect();
        if missing.is_empty() {
            return Ok(false);
        }
        if self.open.len() >= self.waits_max && !self.open.contains_key(&token) {
            self.refused += 1;
            return Err(TooManyWaits { max: self.waits_max });
        }
        self.open.insert(token, missing);
        Ok(true)
    }

    /// A member confirmed. Answers whether the wait ended by it.
    pub fn confirmed(&mut self, token: &T, by: Member) -> bool {
        let Some(missing) = self.open.get_mut(token) else { return false };
        missing.remove(&by);
        let is_over = missing.is_empty();
        if is_over {
            self.open.remove(token);
        }
        is_over
    }

    /// A view was committed. Gives the waits that ended by it, in order. One that is not newer changes nothing.
    pub fn follow(&mut self, view: &View) -> Vec<T> {
        if view.number <= self.view.number {
            return Vec::new();
        }
        self.view = view.clone();
        self.end_without(|member| view.contains(member))
    }

    /// The link to a member is lost. Waits for it go on.
    pub fn link_lost(&mut self, member: Member) -> Vec<T> {
        if crate::sabotage::sabotaged!(self, WaitDroppedWithLink) {
            return self.end_without(|other| other != member);
        }
        Vec::new()
    }

    /// Who does not wait any more forgets.
    pub fn forget(&mut self, token: &T) {
        self.open.remove(token);
    }

    fn end_without(&mut self, counts: impl Fn(Member) -> bool) -> Vec<T> {
        let mut ended = Vec::new();
        for (token, missing) in &mut self.open {
            missing.retain(|member| counts(*member));
            if missing.is_empty() {
                ended.push(token.clone());
            }
        }
        self.open.retain(|_, missing| !missing.is_empty());
        ended
    }

    /// The view that this node knows.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Whom a wait is for still.
    pub fn missing(&self, token: &T) -> impl Iterator<Item = Member> + '_ {
        self.open.get(token).into_iter().flatten().copied()
    }

    /// How many waits are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// How many were refused since too many were open.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn member(id: u64, incarnation: u64) -> Member {
        Member { id, incarnation }
    }

    const A: Member = member(1, 1);
    const B: Member = member(2, 1);

    fn waiters() -> Waiters<u32> {
        let mut waiters = Waiters::new(3);
        assert_eq!(waiters.follow(&View::new(5, [A, B])), []);
        waiters
    }

    #[test]
    fn a_wait_ends_when_the_last_member_confirms() {
        let mut waiters = waiters();
        assert_eq!(waiters.wait(7, [A, B]), Ok(true));
        assert!(!waiters.confirmed(&7, A));
        assert!(!waiters.confirmed(&7, A));
        assert!(!waiters.confirmed(&7, member(2, 2)), "another life says nothing about this one");
        assert_eq!(waiters.missing(&7).collect::<Vec<_>>(), [B]);
        assert!(waiters.confirmed(&7, B));
        assert!(!waiters.confirmed(&7, B));
        assert!(waiters.is_empty());
    }

    #[test]
    fn a_newer_view_without_the_missing_ones_ends_a_wait_and_nothing_else_does() {
        let mut waiters = waiters();
        waiters.wait(7, [A, B]).unwrap();
        waiters.wait(8, [A]).unwrap();
        waiters.confirmed(&7, A);
        assert_eq!(waiters.link_lost(B), []);
        assert_eq!(waiters.follow(&View::new(5, [A])), [], "it is not newer");
        assert_eq!(waiters.follow(&View::new(4, [A])), []);
        assert_eq!(waiters.follow(&View::new(6, [A, B])), []);
        assert_eq!(waiters.follow(&View::new(7, [A, member(2, 2)])), [7]);
        assert_eq!(waiters.missing(&8).collect::<Vec<_>>(), [A]);
        waiters.forget(&8);
        assert!(waiters.is_empty());
    }

    #[test]
    fn nobody_waits_for_lives_outside_of_the_view() {
        let mut waiters = waiters();
        assert_eq!(waiters.wait(7, [member(1, 9), member(3, 1)]), Ok(false));
        assert_eq!(waiters.wait(8, []), Ok(false));
        assert_eq!(waiters.wait(9, [member(1, 9), B]), Ok(true));
        assert_eq!(waiters.missing(&9).collect::<Vec<_>>(), [B]);
    }

    #[test]
    fn no_more_waits_than_may_be_are_open() {
        let mut waiters = waiters();
        (1..=3).for_each(|token| assert_eq!(waiters.wait(token, [B]), Ok(true)));
        assert_eq!(waiters.wait(4, [B]), Err(TooManyWaits { max: 3 }));
        assert_eq!(waiters.wait(3, [A]), Ok(true), "the same one waits for somebody else now");
        assert_eq!((waiters.len(), waiters.refused()), (3, 1));
        assert_eq!(waiters.wait(5, []), Ok(false));
    }
}
