//! What simulations rely on without looking.

use std::time::Duration;

use super::*;

#[test]
fn events_come_in_the_order_of_time_and_then_of_being_put_down() {
    let mut agenda = Agenda::new();
    [(7, "late"), (3, "first"), (3, "second")].into_iter().for_each(|(time, event)| agenda.at(time, event));
    assert_eq!(agenda.pop(), Some((3, "first")));
    // Put off until what waits at that time is over.
    agenda.at(7, "first");
    assert_eq!([(); 4].map(|()| agenda.pop()), [Some((3, "second")), Some((7, "late")), Some((7, "first")), None]);
}

#[test]
fn a_clock_reads_at_least_what_it_was_waited_for() {
    let mut random = Random::new(1);
    for _ in 0..1000 {
        let clock = Clock::draw(&[950, 1000, 1050], &mut random);
        let (now, later) = (random.below(1 << 40), Duration::from_micros(random.below(1 << 30)));
        let deadline = clock.read(now) + later;
        let real = clock.real(deadline);
        assert!(clock.read(real) >= deadline && clock.read(real - 1) < deadline, "{clock:?} at {real}");
    }
}

#[test]
fn what_is_cut_lets_nothing_through_and_what_is_good_everything_once_and_soon() {
    let mut random = Random::new(2);
    let bad = Weather { lost_percent: 15, delay_micros: 50_000, slow_percent: 5, slow_micros: 2_500_000 };
    let mut network = Network::new(bad);
    let (mut one_way, mut lost, mut doubled) = (0, 0, 0);
    for _ in 0..200 {
        network.heal();
        network.draw_cut(0, 3, 4, &mut random);
        for (from, to) in [(0, 1), (1, 0), (1, 2), (3, 0)] {
            let copies = network.carry(from, to, &mut random);
            assert!(network.reaches(from, to) || copies.is_empty());
            lost += u64::from(network.reaches(from, to) && copies.is_empty());
            doubled += u64::from(copies.len() == 2);
        }
        one_way += u64::from(network.reaches(0, 1) != network.reaches(1, 0));
    }
    assert!(one_way > 20 && lost > 20 && doubled > 5, "one way {one_way}, lost {lost}, doubled {doubled}");
    network.become_good();
    assert!((0..200).all(|_| network.links(0, 1) && network.carry(0, 1, &mut random).iter().all(|it| *it < 2_200)));
}

#[test]
fn a_process_that_stands_still_wakes_once_and_one_that_ended_is_not_taken_for_the_next() {
    let mut random = Random::new(3);
    let mut pod: Pod<(), &str> = Pod::new(0, Clock::draw(&[1000], &mut random));
    assert_eq!(pod.pause(5, &mut random), None);
    pod.begin("first");
    let first = pod.life;
    let micros = pod.pause(5, &mut random).expect("it runs");
    assert_eq!((pod.is_awake(5 + micros - 1), pod.is_awake(5 + micros)), (false, true));
    assert_eq!((pod.wake(5), pod.wake(5), pod.is_awake(5)), (true, false, true));
    pod.crash();
    pod.begin("second");
    assert_eq!(pod.process_of(first), None);
    assert_eq!(pod.process_of(pod.life), Some(&mut "second"));
    // Sooner than what was planned, or nothing new.
    let reads = |micros| pod.clock.read(micros);
    let (soon, late) = (reads(100), reads(200));
    assert_eq!([late, soon, late].map(|deadline| pod.tick_in(deadline, 0)), [Some(200), Some(100), None]);
}

#[test]
fn another_leads_when_nobody_has_for_long_and_the_old_one_hears_of_it() {
    let (mut random, mut group) = (Random::new(4), Leadership::default());
    let network = Network::new(Weather { lost_percent: 0, delay_micros: 1, slow_percent: 0, slow_micros: 1 });
    assert!(!group.is_over(false, 7, &mut random));
    assert!(!group.is_over(true, 900_000, &mut random) && !group.is_over(false, 1_000_000, &mut random));
    assert!(group.is_over(false, 2_000_000, &mut random));
    let told = group.elect(2, &network, &mut random);
    assert_eq!((group.term, group.leader, told[0], told[told.len() - 1]), (1, 2, (2, 200), (0, 1_000_000)));
}

#[test]
fn what_weighs_more_is_drawn_more_often_and_what_weighs_nothing_never() {
    let mut random = Random::new(5);
    let drawn = [(); 1000].map(|()| draw(&[(1, 'a'), (0, 'b'), (9, 'c')], &mut random));
    let count = |what| drawn.iter().filter(|it| **it == what).count();
    assert!(count('b') == 0 && (50..200).contains(&count('a')), "{}", count('a'));
}

#[test]
#[should_panic(expected = "\"a mistake\" is not found in 3 seeds")]
fn a_mistake_that_no_seed_shows_is_told() {
    seeds::find("a mistake", 3, |_| None::<Violation>);
}
