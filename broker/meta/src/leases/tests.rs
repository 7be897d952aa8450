//! The leader's side, event by event. Node 1 leads three nodes that are up, in term 1, unless a test says otherwise.

use std::time::Duration;

use super::*;
use crate::tests::{World, member, start};

fn at(millis: u64) -> Moment {
    Moment(Duration::from_secs(3600) + Duration::from_millis(millis))
}

struct Leader1 {
    leases: Leases,
    world: World,
    /// Says what a renewal is.
    numbers: u64,
}

impl Leader1 {
    fn new(nodes: u64) -> Self {
        let leases = Leases::new(Settings::default(), member(1, 1));
        Self { leases, world: World::new(nodes), numbers: 0 }
    }

    /// It leads since 0.
    fn leading(nodes: u64) -> Self {
        let mut it = Self::new(nodes);
        it.leases.lead(1, at(0), &mut Vec::new());
        assert_eq!(it.applied(at(0)), []);
        assert!(it.leases.is_granting());
        it
    }

    fn applied(&mut self, now: Moment) -> Vec<LeasesOutput> {
        let mut out = Vec::new();
        self.leases.applied(&self.world.meta, now, &mut out);
        out
    }

    fn renewed(&mut self, id: NodeId, unreachable: &[NodeId], now: Moment) -> Vec<LeasesOutput> {
        self.numbers += 1;
        let member = self.world.meta.view().member(id).unwrap_or(member(id, 1));
        let renewal = Renewal { member, number: self.numbers, unreachable: unreachable.to_vec() };
        let mut out = Vec::new();
        self.leases.renewed(&renewal, &self.world.meta, now, &mut out);
        out
    }

    fn confirmed(&mut self, read: u64, index: Index, now: Moment) -> Vec<LeasesOutput> {
        let mut out = Vec::new();
        self.leases.confirmed(read, index, &self.world.meta, now, &mut out);
        out
    }

    fn tick(&mut self, now: Moment) -> Vec<LeasesOutput> {
        let mut out = Vec::new();
        self.leases.tick(&self.world.meta, now, &mut out);
        out
    }

    /// Time goes by, and nobody renews. Answers what comes of it, and when.
    fn wait(&mut self, millis: std::ops::RangeInclusive<u64>) -> Vec<(u64, LeasesOutput)> {
        let mut out = Vec::new();
        for now in millis {
            if self.leases.next_deadline(at(now)).is_some_and(|deadline| deadline <= at(now)) {
                out.extend(self.tick(at(now)).into_iter().map(|output| (now, output)));
            }
        }
        out
    }

    /// Members renew, and the group confirms everything at once. Answers whose leases were granted, and what else.
    fn round(&mut self, ids: &[(NodeId, &[NodeId])], now: Moment) -> (Vec<NodeId>, Vec<LeasesOutput>) {
        let mut queue: Vec<LeasesOutput> = Vec::new();
        for (id, unreachable) in ids {
            queue.extend(self.renewed(*id, unreachable, now));
        }
        let (mut granted, mut others) = (Vec::new(), Vec::new());
        while !queue.is_empty() {
            match queue.remove(0) {
                LeasesOutput::Read(read) => queue.extend(self.confirmed(read, 0, now)),
                LeasesOutput::Grant(grant) => granted.push(grant.member.id),
                other => others.push(other),
            }
        }
        granted.sort_unstable();
        (granted, others)
    }
}

fn remove(id: NodeId) -> LeasesOutput {
    LeasesOutput::Propose(Command::Remove { member: member(id, 1), term: 1 })
}

fn grant(id: NodeId, number: u64, view: u64) -> LeasesOutput {
    LeasesOutput::Grant(Grant { member: member(id, 1), number, view })
}

#[test]
fn a_leader_grants_when_its_term_is_committed_and_not_before() {
    let mut it = Leader1::new(3);
    assert_eq!(it.renewed(2, &[], at(0)), []);
    let mut out = Vec::new();
    it.leases.lead(4, at(0), &mut out);
    let lead = || LeasesOutput::Propose(Command::Lead { leader: 1, term: 4 });
    assert_eq!(out, [lead()]);
    assert_eq!(it.applied(at(10)), []);
    assert_eq!((it.renewed(2, &[], at(20)), it.leases.is_granting()), (vec![], false));
    assert_eq!(it.tick(at(999)), []);
    assert_eq!(it.tick(at(1000)), [lead()], "it may have been lost");
    it.world.apply(Command::Lead { leader: 1, term: 4 });
    it.applied(at(1010));
    assert_eq!(it.renewed(2, &[], at(1020)), [LeasesOutput::Read(1)]);
    // Somebody else leads: known by the log, though nobody said so.
    it.world.apply(Command::Lead { leader: 3, term: 5 });
    it.applied(at(1030));
    assert_eq!((it.confirmed(1, 0, at(1040)), it.leases.is_granting()), (vec![], false));
}

#[test]
fn a_grant_waits_for_the_confirmation_and_for_what_was_committed_before_it() {
    let mut it = Leader1::leading(3);
    let (view, index) = (it.world.meta.view().number, it.world.meta.applied());
    assert_eq!(it.renewed(2, &[], at(0)), [LeasesOutput::Read(1)]);
    assert_eq!(it.renewed(3, &[], at(1)), [], "it came after the question, which says nothing about it");
    assert_eq!(it.confirmed(7, index, at(2)), [], "another question");
    assert_eq!(it.confirmed(1, index + 1, at(2)), []);
    it.world.apply(Command::CancelDrain { node: 1 });
    assert_eq!(it.applied(at(3)), [grant(2, 1, view), LeasesOutput::Read(2)]);
    assert_eq!(it.confirmed(2, index, at(4)), [grant(3, 2, view)]);
}

#[test]
fn what_is_not_confirmed_is_not_granted() {
    let mut it = Leader1::leading(3);
    assert_eq!(it.renewed(2, &[], at(0)), [LeasesOutput::Read(1)]);
    it.leases.unconfirmed(1);
    assert_eq!(it.confirmed(1, 0, at(1)), []);
    assert_eq!(it.renewed(2, &[], at(2)), [LeasesOutput::Read(2)]);
    // Never answered: asked again for those that renewed meanwhile.
    assert_eq!(it.renewed(3, &[], at(500)), []);
    assert_eq!(it.tick(at(750)), []);
    assert_eq!(it.leases.next_deadline(at(750)), Some(at(1002)));
    assert_eq!(it.tick(at(1002)), [LeasesOutput::Read(3)]);
    assert_eq!(it.confirmed(2, 0, at(1003)), []);
    let view = it.world.meta.view().number;
    assert_eq!(it.confirmed(3, 0, at(1004)), [grant(3, 3, view)]);
    it.leases.follow();
    assert_eq!(it.renewed(2, &[], at(1005)), []);
}

#[test]
fn a_member_is_removed_a_lease_and_a_margin_after_its_last_grant() {
    let mut it = Leader1::leading(3);
    assert_eq!(it.round(&[(2, &[]), (3, &[])], at(1000)).0, [2, 3]);
    assert_eq!(it.round(&[(2, &[])], at(2000)).0, [2]);
    assert_eq!(it.wait(2000..=3300), [(3250, remove(3))]);
    assert_eq!(it.round(&[(2, &[]), (3, &[])], at(3300)), (vec![2], vec![]), "who is on its way out gets nothing");
    assert_eq!(it.wait(3300..=4260), [(4250, remove(3))], "it may have been lost");
    it.world.remove(member(3, 1));
    it.applied(at(4260));
    assert_eq!(it.wait(4260..=5300), []);
    assert_eq!(it.round(&[(3, &[])], at(5300)), (vec![], vec![]), "who is not in the view gets nothing");
}

#[test]
fn a_new_leader_waits_a_whole_lease_before_it_removes_anybody() {
    let mut it = Leader1::leading(3);
    assert_eq!(it.wait(0..=2300), [(2250, remove(2)), (2250, remove(3))], "but never itself");
    // It loses the leadership and has it again: what it knew is of no use.
    it.leases.follow();
    it.leases.lead(2, at(10_000), &mut Vec::new());
    it.world.apply(Command::Lead { leader: 1, term: 2 });
    it.applied(at(10_000));
    let removals: Vec<_> = it.wait(10_000..=12_300).into_iter().map(|(at, _)| at).collect();
    assert_eq!(removals, [12_250, 12_250]);
}

#[test]
fn a_life_that_began_just_now_has_a_whole_lease_to_renew() {
    let mut it = Leader1::leading(2);
    it.round(&[(2, &[])], at(900));
    it.world.join(start(3, 1));
    it.applied(at(1000));
    it.round(&[(2, &[])], at(1800));
    assert_eq!(it.wait(1800..=3300), [(3250, remove(3))]);
}

#[test]
fn a_leader_that_was_stopped_does_not_blame_the_members() {
    let mut it = Leader1::leading(3);
    it.round(&[(2, &[]), (3, &[])], at(100));
    assert_eq!(it.tick(at(30_000)), []);
    assert_eq!(it.round(&[(2, &[])], at(30_001)).0, [2], "it was in the socket");
    assert_eq!(it.wait(30_001..=32_250), [(32_250, remove(3))]);
}

#[test]
fn who_said_goodbye_is_removed_at_once() {
    let mut it = Leader1::leading(3);
    it.round(&[(2, &[]), (3, &[])], at(0));
    let mut out = Vec::new();
    it.leases.stopped(Goodbye { member: member(3, 9) }, &it.world.meta, at(10), &mut out);
    assert_eq!(out, [], "another life");
    it.leases.stopped(Goodbye { member: member(3, 1) }, &it.world.meta, at(10), &mut out);
    assert_eq!(out, [remove(3)]);
    assert_eq!(it.round(&[(3, &[])], at(20)), (vec![], vec![]), "a renewal that was under way");
}

#[test]
fn of_two_that_cannot_reach_each_other_the_one_that_fewer_reach_has_to_go() {
    let mut it = Leader1::leading(5);
    let all = |it: &mut Leader1, millis| it.round(&[(1, &[]), (2, &[3, 4]), (3, &[2]), (4, &[]), (5, &[])], at(millis));
    assert_eq!(all(&mut it, 0).0, [1, 2, 3, 4, 5]);
    assert_eq!(all(&mut it, 999).0, [1, 2, 3, 4, 5], "it may be over in a moment");
    assert_eq!(it.leases.next_deadline(at(999)), Some(at(1000)));
    assert_eq!(all(&mut it, 1000), (vec![1, 3, 4, 5], vec![]), "two others can't reach node 2");
    for step in 1..9 {
        assert_eq!(all(&mut it, 1000 + 250 * step), (vec![1, 3, 4, 5], vec![]));
    }
    assert_eq!(it.wait(3000..=3300), [(3249, remove(2))], "a lease and a margin after its last grant");
}

#[test]
fn of_equals_the_higher_id_has_to_go_but_never_the_leader() {
    let mut it = Leader1::leading(3);
    it.round(&[(1, &[]), (2, &[]), (3, &[2])], at(0));
    assert_eq!(it.round(&[(1, &[]), (2, &[]), (3, &[2])], at(1000)).0, [1, 2], "3 of 2 and 3, whoever reports it");

    let mut it = Leader1::leading(2);
    it.leases.begin_life(member(2, 1));
    it.leases.lead(1, at(0), &mut Vec::new());
    it.world.meta.cluster.as_mut().unwrap().leader.node = 2;
    it.applied(at(0));
    it.round(&[(1, &[2]), (2, &[1])], at(0));
    assert_eq!(it.round(&[(1, &[2]), (2, &[1])], at(1000)).0, [2], "2 leads, so 1 goes");
}

#[test]
fn who_is_reached_again_stays() {
    let mut it = Leader1::leading(3);
    it.round(&[(1, &[]), (2, &[3]), (3, &[2])], at(0));
    assert_eq!(it.round(&[(1, &[]), (2, &[3]), (3, &[2])], at(1000)).0, [1, 2]);
    it.round(&[(1, &[]), (2, &[]), (3, &[])], at(1200));
    assert_eq!(it.round(&[(1, &[]), (2, &[]), (3, &[])], at(1400)).0, [1, 2, 3]);
    // A new report begins anew.
    assert_eq!(it.round(&[(1, &[]), (2, &[3]), (3, &[])], at(1500)).0, [1, 2, 3]);
    assert_eq!(it.round(&[(1, &[]), (2, &[3]), (3, &[])], at(2499)).0, [1, 2, 3]);
    assert_eq!(it.round(&[(1, &[]), (2, &[3]), (3, &[])], at(2500)).0, [1, 2]);
}

#[test]
fn a_leader_that_fewest_reach_steps_aside_and_decides_only_if_nobody_takes_over() {
    let mut it = Leader1::leading(3);
    let all = |it: &mut Leader1, millis| it.round(&[(1, &[2, 3]), (2, &[1]), (3, &[1])], at(millis));
    all(&mut it, 0);
    assert_eq!(all(&mut it, 1000), (vec![1, 2, 3], vec![LeasesOutput::StepAside(2)]));
    assert_eq!(all(&mut it, 1500), (vec![1, 2, 3], vec![]), "it is asked once");
    assert_eq!(all(&mut it, 2000), (vec![1, 2], vec![]), "nobody has taken over: it stays with one of them");
}

#[test]
fn members_that_renew_no_more_are_no_reason_to_give_anybody_up() {
    let mut it = Leader1::leading(5);
    it.round(&[(1, &[]), (2, &[]), (3, &[]), (4, &[]), (5, &[])], at(0));
    // Three died; the other two tell so, and each of them reaches but one.
    for step in 8..20 {
        let (granted, others) = it.round(&[(1, &[3, 4, 5]), (2, &[3, 4, 5])], at(250 * step));
        assert_eq!(granted, [1, 2]);
        assert!(others.iter().all(|it| [remove(3), remove(4), remove(5)].contains(it)), "{others:?}");
    }
}

#[test]
fn strangers_are_neither_granted_nor_believed() {
    let mut it = Leader1::leading(3);
    assert_eq!(it.round(&[(9, &[1])], at(0)), (vec![], vec![]));
    let unknown: Vec<NodeId> = (100..10_000).collect();
    it.round(&[(2, &unknown)], at(0));
    let held = &it.leases.leading.as_ref().unwrap().members[&member(2, 1)];
    assert!(held.unreachable.is_empty());
    assert_eq!(it.round(&[(1, &[]), (2, &unknown), (3, &[])], at(2000)).0, [1, 2, 3]);
}
