//! A member's side, event by event. The member is node 2 of two, and up, unless a test says otherwise.

use std::time::Duration;

use super::*;
use crate::tests::{World, member, start};

fn at(millis: u64) -> Moment {
    Moment(Duration::from_secs(3600) + Duration::from_millis(millis))
}

fn renewal(number: u64) -> LeaseOutput {
    LeaseOutput::Renew(Renewal { member: member(2, 1), number, unreachable: vec![] })
}

fn grant(number: u64, view: u64) -> Grant {
    Grant { member: member(2, 1), number, view }
}

/// A lease, and what it has put out last.
struct Member2 {
    lease: Lease,
    world: World,
}

impl Member2 {
    fn new(world: World) -> Self {
        Self { lease: Lease::new(Settings::default(), member(2, 1), start(2, 1).nonce), world }
    }

    fn up() -> Self {
        Self::new(World::new(2))
    }

    fn applied(&mut self, now: Moment) -> Vec<LeaseOutput> {
        let mut out = Vec::new();
        self.lease.applied(&self.world.meta, now, &mut out);
        out
    }

    fn granted(&mut self, grant: &Grant, now: Moment) -> Vec<LeaseOutput> {
        let mut out = Vec::new();
        self.lease.granted(grant, now, &mut out);
        out
    }

    fn tick(&mut self, now: Moment) -> Vec<LeaseOutput> {
        let mut out = Vec::new();
        self.lease.tick(now, &mut out);
        out
    }

    fn view(&self) -> u64 {
        self.world.meta.view().number
    }
}

#[test]
fn a_lease_holds_from_when_its_renewal_was_sent() {
    let mut it = Member2::up();
    assert_eq!(it.tick(at(0)), [], "nobody has taken it in, as far as it knows");
    assert_eq!(it.applied(at(0)), [renewal(1)]);
    assert!(!it.lease.may_acknowledge(at(0)));
    let view = it.view();
    assert_eq!(it.granted(&grant(1, view), at(200)), [LeaseOutput::Serve]);
    assert!(it.lease.may_acknowledge(at(200)) && it.lease.may_acknowledge(at(1999)));
    assert!(!it.lease.may_acknowledge(at(2000)), "two seconds after the renewal, not after the grant");
}

#[test]
fn it_is_renewed_in_time_and_at_once_with_a_new_leader() {
    let mut it = Member2::up();
    it.applied(at(0));
    assert_eq!(it.lease.next_deadline(), Some(at(250)));
    assert_eq!(it.tick(at(249)), []);
    assert_eq!(it.tick(at(250)), [renewal(2)]);
    it.lease.leader_changed(at(300));
    it.lease.set_unreachable(vec![9]);
    let wanted = Renewal { member: member(2, 1), number: 3, unreachable: vec![9] };
    assert_eq!(it.tick(at(300)), [LeaseOutput::Renew(wanted)]);
    assert_eq!(it.lease.next_deadline(), Some(at(550)));
}

#[test]
fn who_has_no_lease_any_more_closes_its_clients_and_may_come_back() {
    let mut it = Member2::up();
    it.applied(at(0));
    let view = it.view();
    it.granted(&grant(1, view), at(1));
    let before: Vec<_> = (1..8).flat_map(|step| it.tick(at(250 * step))).collect();
    assert_eq!(before, (2..9).map(renewal).collect::<Vec<_>>());
    assert_eq!(it.tick(at(2000)), [LeaseOutput::CloseClients, renewal(9)]);
    assert_eq!(it.tick(at(2001)), []);
    assert_eq!(it.granted(&grant(9, view), at(2002)), [LeaseOutput::Serve], "it is in the view still");
}

#[test]
fn who_was_stopped_notices_before_it_acknowledges() {
    let mut it = Member2::up();
    it.applied(at(0));
    let view = it.view();
    it.granted(&grant(1, view), at(1));
    it.tick(at(250));
    // SIGSTOP for half a minute; then the bytes of a PUBLISH are read first, and an old grant after them.
    assert!(!it.lease.may_acknowledge(at(30_000)));
    assert_eq!(it.granted(&grant(2, view), at(30_000)), [LeaseOutput::CloseClients, renewal(3)]);
    assert!(!it.lease.may_acknowledge(at(30_000)));
}

#[test]
fn a_grant_counts_once_for_its_own_life_and_its_own_renewal() {
    let mut it = Member2::up();
    it.applied(at(0));
    let view = it.view();
    it.tick(at(1000));
    let other_life = Grant { member: member(2, 9), ..grant(1, view) };
    let other_node = Grant { member: member(1, 1), ..grant(1, view) };
    for wrong in [other_life, other_node, grant(0, view), grant(3, view)] {
        assert_eq!(it.granted(&wrong, at(1100)), []);
        assert!(!it.lease.holds(at(1100)), "{wrong:?}");
    }
    it.granted(&grant(2, view), at(1100));
    it.granted(&grant(1, view), at(1200));
    assert!(it.lease.holds(at(2999)), "an older grant that comes later does not shorten it");
    assert!(!it.lease.holds(at(3000)));
}

#[test]
fn a_grant_in_a_view_that_is_not_known_yet_waits_for_it() {
    let mut it = Member2::up();
    it.applied(at(0));
    let view = it.view() + 1;
    assert_eq!(it.granted(&grant(1, view), at(10)), []);
    assert!(!it.lease.holds(at(10)));
    it.world.join(start(3, 1));
    assert_eq!(it.applied(at(20)), [LeaseOutput::Serve]);
    assert!(it.lease.may_acknowledge(at(1999)) && !it.lease.may_acknowledge(at(2000)));
}

#[test]
fn a_joiner_has_a_lease_but_may_not_acknowledge_until_all_wait_for_it() {
    let mut world = World::new(1);
    world.join(start(2, 1));
    let mut it = Member2::new(world);
    it.applied(at(0));
    let view = it.view();
    assert_eq!(it.granted(&grant(1, view), at(10)), []);
    assert!(it.lease.holds(at(10)) && !it.lease.may_acknowledge(at(10)));
    assert_eq!(it.lease.acknowledges_until(), None);
    it.world.confirm_all(member(2, 1));
    assert_eq!(it.applied(at(20)), [LeaseOutput::Serve]);
    assert!(it.lease.may_acknowledge(at(20)));
    assert_eq!(it.lease.acknowledges_until(), Some(at(2000)));
}

#[test]
fn a_life_that_was_given_up_is_over_and_another_begins() {
    let mut it = Member2::up();
    it.applied(at(0));
    let view = it.view();
    it.granted(&grant(1, view), at(10));
    it.world.remove(member(2, 1));
    let next = LeaseOutput::BeginNextLife { above: 1 };
    assert_eq!(it.applied(at(2200)), [LeaseOutput::CloseClients, next]);
    assert_eq!(it.applied(at(2300)), [], "it is said once");
    assert_eq!(it.granted(&grant(1, view), at(2300)), []);
    assert_eq!((it.lease.may_acknowledge(at(10)), it.lease.next_deadline()), (false, None));
}

#[test]
fn a_copy_of_a_folder_is_not_the_member() {
    let mut it = Member2::up();
    it.lease = Lease::new(Settings::default(), member(2, 1), 12345);
    assert_eq!(it.applied(at(0)), []);
    assert_eq!(it.lease.next_deadline(), None);
    assert_eq!(it.lease.stop(), None, "and does not take leave in its name");
}

#[test]
fn who_stops_says_goodbye_and_acknowledges_nothing_any_more() {
    let mut it = Member2::up();
    it.applied(at(0));
    let view = it.view();
    it.granted(&grant(1, view), at(10));
    assert_eq!(it.lease.stop(), Some(Goodbye { member: member(2, 1) }));
    assert!(!it.lease.may_acknowledge(at(11)) && !it.lease.holds(at(11)));
    assert_eq!(it.lease.acknowledges_until(), None);
    assert_eq!(it.tick(at(300)), []);
    assert_eq!(it.applied(at(300)), []);
}

#[test]
fn renewals_that_nobody_answers_are_forgotten_in_the_end() {
    let mut it = Member2::up();
    it.applied(at(0));
    for step in 1..100 {
        it.tick(at(250 * step));
    }
    assert_eq!(it.lease.sent.len(), SENT_MAX);
}
