//! Whose turn it is in a shared group, when members are on one data thread or on several.

use fulmar_codec::QoS;
use fulmar_router::{NodeIndex, Options, SubscriberId, Trie};

const OPTIONS: Options = Options::new(QoS::AtLeastOnce);

fn on(thread: u16, slot: u32) -> SubscriberId {
    SubscriberId { thread, generation: 0, slot }
}

/// A group whose members are given by how many each thread has.
struct Group {
    trie: Trie,
    members: Vec<SubscriberId>,
    /// What each of them was given.
    given: Vec<u32>,
}

impl Group {
    fn new(members: &[u32]) -> Group {
        let of_thread =
            |(thread, count): (u16, &u32)| (0..*count).map(move |slot| on(thread, slot)).collect::<Vec<_>>();
        let members: Vec<_> = (0..).zip(members).flat_map(of_thread).collect();
        let mut trie = Trie::new(1);
        for member in &members {
            trie.subscribe_shared("g", "jobs", *member, OPTIONS);
        }
        Group { trie, given: vec![0; members.len()], members }
    }

    /// So many messages of one thread, one after the other.
    fn ask(&mut self, thread: u16, window: u16, messages: u32) {
        let group = self.trie.shared_group("g", "jobs").expect("it has members");
        for _ in 0..messages {
            let member = group.members_in_turn(thread, window).next().expect("somebody is there");
            let at = self.members.iter().position(|id| *id == member.subscriber).expect("it is a member");
            self.given[at] += 1;
        }
    }

    /// What the members of a thread were given.
    fn of(&self, thread: u16) -> u32 {
        self.members.iter().zip(&self.given).filter(|(id, _)| id.thread == thread).map(|(_, given)| given).sum()
    }

    fn forget(&mut self) {
        self.given.fill(0);
    }
}

#[test]
fn members_of_one_thread_take_turns_and_so_do_nodes() {
    let mut trie = Trie::new(1);
    for slot in 0..3 {
        trie.subscribe_shared("g", "jobs/+", on(0, slot), OPTIONS);
    }
    trie.remote_shared_add("g", "jobs/+", NodeIndex(4));
    let group = trie.shared_group("g", "jobs/+").expect("it has members");
    let slots = |asking| group.members_in_turn(asking, 0).map(|member| member.subscriber.slot).collect::<Vec<_>>();
    assert_eq!([0, 1, 0, 1].map(slots), [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
    assert_eq!(group.nodes_in_turn().collect::<Vec<_>>(), [NodeIndex(4)]);
    assert_eq!(group.absent_in_turn().count(), 0);
    assert!(trie.shared_group("h", "jobs/+").is_none() && trie.shared_group("g", "jobs/1").is_none());
}

#[test]
fn everybody_is_asked_once_before_a_message_is_for_nobody() {
    let group = Group::new(&[2, 3, 1]);
    let shared = group.trie.shared_group("g", "jobs").expect("it has members");
    for (asking, window) in [(0, 0), (1, 0), (2, 1), (9, 1)] {
        let mut asked: Vec<_> = shared.members_in_turn(asking, window).map(|member| member.subscriber).collect();
        asked.sort_unstable();
        assert_eq!(asked, group.members, "thread {asking}");
    }
}

#[test]
fn a_few_jobs_are_spread_evenly_over_all_threads_whoever_has_them() {
    // Members, who asks, and what each member of each thread gets of 24 messages.
    let cases =
        [(vec![6, 6], 0), (vec![6, 6], 1), (vec![2, 10], 0), (vec![10, 2], 0), (vec![4, 4, 4], 2), (vec![6, 6], 7)];
    for (members, asking) in cases {
        let mut group = Group::new(&members);
        group.ask(asking, 3, 24);
        assert_eq!(group.given, [2; 12], "{members:?}, asked by {asking}");
    }
}

#[test]
fn what_one_thread_has_is_for_the_members_of_all_however_much_it_is() {
    for members in [[4, 4], [1, 7]] {
        let mut group = Group::new(&members);
        for window in 0..50 {
            group.ask(0, window, 200);
            let (all, mine) = (group.of(0) + group.of(1), group.of(0));
            let wanted = all * members[0] / 8;
            assert!(mine.abs_diff(wanted) <= 32, "{mine} of {all} for {members:?}");
        }
    }
}

#[test]
fn threads_that_all_have_many_give_them_to_their_own_members() {
    let mut group = Group::new(&[4, 4]);
    // A window shows that there are many.
    (0..2).for_each(|thread| group.ask(thread, 0, 100));
    group.forget();
    let mut strays = 0;
    for window in 1..100 {
        for _ in 0..10 {
            for thread in 0..2 {
                let before = group.of(thread);
                group.ask(thread, window, 20);
                strays += 20 - (group.of(thread) - before);
            }
        }
    }
    assert_eq!(group.of(0) + group.of(1), 2 * 99 * 200);
    assert!(strays <= 32, "{strays}: what was decided before it was known");
}

#[test]
fn members_of_a_thread_that_has_more_get_no_more_than_a_little() {
    let mut group = Group::new(&[4, 4]);
    for window in 0..200 {
        group.ask(0, window, 300);
        group.ask(1, window, 100);
        // What is decided at one time, and what a thread may be ahead.
        let ahead = group.of(0).abs_diff(group.of(1));
        assert!(ahead <= 256 + 32 + 100, "{ahead} in window {window}");
    }
    assert!(group.given.iter().all(|given| given.abs_diff(200 * 400 / 8) <= 100), "{:?}", group.given);
}

#[test]
fn who_was_ahead_while_there_were_many_is_not_idle_afterwards() {
    let mut group = Group::new(&[4, 4]);
    for window in 0..20 {
        group.ask(0, window, 150);
        group.ask(1, window, 64);
    }
    for window in [21, 22, 500] {
        group.forget();
        // The first window after tells that there are few now.
        group.ask(0, 40 + window, 16);
        assert!(group.given.iter().all(|given| given.abs_diff(2) <= 1), "{:?}", group.given);
    }
}

#[test]
fn who_comes_has_nothing_to_catch_up_with() {
    let mut group = Group::new(&[4, 4]);
    group.ask(0, 0, 1000);
    group.trie.subscribe_shared("g", "jobs", on(1, 4), OPTIONS);
    group.members.push(on(1, 4));
    group.given = vec![0; 9];
    group.ask(0, 9, 9);
    assert_eq!(group.given, [1; 9]);
}

#[test]
fn members_that_come_and_go_with_each_message_leave_the_others_their_part() {
    // One member on thread 0, nine on thread 1, and a tenth that comes or goes before each message.
    let mut group = Group::new(&[1, 9]);
    let tenth = on(1, 9);
    group.members.push(tenth);
    group.given.push(0);
    for number in 0..1000 {
        match number % 2 {
            0 => drop(group.trie.subscribe_shared("g", "jobs", tenth, OPTIONS).new),
            _ => assert!(group.trie.set_shared_absent("g", "jobs", tenth)),
        }
        group.ask(0, number / 100, 1);
    }
    let mine = group.of(0);
    assert!((80..=120).contains(&mine), "{mine} of 1,000 for one of ten");
}

#[test]
fn bursts_of_one_thread_are_spread_evenly_each_and_all_together() {
    for (burst, members) in [(96, [4, 4]), (96, [1, 9]), (72, [1, 9]), (200, [1, 9])] {
        let mut group = Group::new(&members);
        for number in 0..1000 {
            // Each in a window of its own.
            group.ask(0, number * 3, burst);
        }
        let (mine, all) = (group.of(0), burst * 1000);
        let wanted = all * members[0] / (members[0] + members[1]);
        assert!(mine.abs_diff(wanted) <= all / 100, "{mine} for {wanted}, bursts of {burst} for {members:?}");
    }
}

#[test]
fn a_thread_with_small_bursts_does_not_spoil_the_turns_of_others() {
    let mut group = Group::new(&[4, 4, 4]);
    for window in 0..500 {
        group.ask(0, window, 300);
        group.ask(1, window, 150);
        if window % 5 == 0 {
            group.ask(2, window, 80);
        }
    }
    let parts = [0, 1, 2].map(|thread| group.of(thread));
    let all: u32 = parts.iter().sum();
    assert!(parts.iter().all(|part| part.abs_diff(all / 3) <= 1000), "{parts:?}");
}
