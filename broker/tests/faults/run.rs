//! One run: clients of all kinds, faults from a seed, and what must hold in the end.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use fulmar_codec::{Connect, QoS, Version};

use crate::harness::{Dice, PATIENCE, Publisher, Subscriber, wait_for};
use crate::live::{self, Board, Life};
use crate::mortals::{self, Fate};
use crate::plan::{Plan, Step};
use crate::retained::Kept;
use crate::stage::Stage;
use crate::world::{Abort, World, lasting};

/// Half of them at QoS 1, half at QoS 2.
const PUBLISHERS: usize = 4;
/// Messages of each after the last fault.
const LAST: u32 = 20;

/// What a run is told.
#[derive(Clone, Copy)]
pub struct Orders<'a> {
    pub nodes: usize,
    pub seed: u64,
    /// For how long there are faults.
    pub time: Duration,
    /// One kind of fault, to look into that.
    pub kind: Option<&'a str>,
}

/// Runs and panics if anything does not hold.
pub fn run(Orders { nodes, seed, time, kind }: Orders<'_>) {
    println!("{nodes} nodes, faults of seed {seed:#x} for {time:?}");
    let mut dice = Dice(seed);
    let mut plan = Plan::new(dice.between(0, 1 << 30), nodes);
    if let Some(kind) = kind {
        plan = plan.of_kind(kind);
    }
    let mut stage = Stage::new(nodes);
    let world = World::new(stage.addresses());
    let mut publishers: Vec<Publisher> = (0..PUBLISHERS)
        .map(|number| {
            let qos = if number % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            Publisher::new(format!("traffic/{number}"), qos)
        })
        .collect();
    let board: Vec<_> = publishers.iter().map(Publisher::sent).collect();
    let ends: [AtomicU32; PUBLISHERS] = Default::default();
    let (mut present, mut absent) = (Subscriber::new("present"), Subscriber::new("absent"));
    for subscriber in [&present, &absent] {
        world.rove(&lasting(subscriber.name), &mut dice, |client, _, _| {
            ["traffic/#", "wills/#"].into_iter().for_each(|filter| client.subscribe(filter, QoS::ExactlyOnce));
            true
        });
    }
    let kept = [Kept::new("kept/0"), Kept::new("kept/1")];
    let totals = Mutex::new(None);
    let (done, is_done) = channel();
    let lives = thread::scope(|scope| {
        let _abort = Abort(&world);
        let world = &world;
        let mut seed = || Dice(dice.between(0, 1 << 30));
        let publishing: Vec<_> = publishers
            .iter_mut()
            .zip(&ends)
            .map(|(publisher, end)| {
                let (done, dice) = (done.clone(), seed());
                watched(scope, world, move || publish(publisher, world, dice, &done, end))
            })
            .collect();
        let (dice, totals, present) = (seed(), &totals, &mut present);
        let receiving = watched(scope, world, move || receive(present, world, totals, dice));
        let living: Vec<_> = (0..2)
            .map(|number| {
                let (dice, board) = (seed(), &board);
                watched(scope, world, move || live::come_and_go(&format!("live-{number}"), world, board, dice))
            })
            .collect();
        let dice = seed();
        let dying = watched(scope, world, move || mortals::live(world, dice));
        let keeping: Vec<_> = (0_u32..)
            .zip(&kept)
            .map(|(number, kept)| {
                let (changes, reads) = (seed(), seed());
                let changing = watched(scope, world, move || kept.change(&format!("keeper-{number}"), world, changes));
                let reading = watched(scope, world, move || kept.read(&format!("reader-{number}"), world, reads));
                (changing, reading)
            })
            .collect();

        let faults = be_faulty(&mut stage, plan, world, &is_done, time);
        // Whoever is there from now on sees the last of each publisher, on whatever node it is.
        let witnesses: Vec<_> = (0..nodes)
            .map(|index| {
                let (ends, (ready, is_ready)) = (&ends, channel());
                let board = &board;
                let witness = watched(scope, world, move || watch(index, world, board, ends, &ready));
                is_ready.recv_timeout(PATIENCE).expect("a subscriber is let in");
                witness
            })
            .collect();
        world.end();
        let mut sent: BTreeMap<String, u32> = publishing.into_iter().map(join).collect();
        let fates: Vec<Fate> = join(dying);
        let died = (0..fates.len()).filter(|number| fates[*number] == Fate::Died);
        sent.extend(died.map(|number| (mortals::topic(number), 1)));
        *totals.lock().unwrap() = Some(sent);
        let mut lives: Vec<Life> = witnesses.into_iter().map(join).collect();
        lives.extend(living.into_iter().flat_map(join));
        let (mut changes, mut reads) = (0, 0);
        for (changing, reading) in keeping {
            (changes, reads) = (changes + join(changing), reads + join(reading));
        }
        println!(
            "{faults} faults; {} messages, {} seen by {} live subscribers, {changes} retained and {reads} read, \
             {} wills",
            board.iter().map(|next| next.load(Ordering::SeqCst)).sum::<u32>(),
            lives.iter().map(Life::count).sum::<usize>(),
            lives.len(),
            fates.len(),
        );
        // The last fault of all. Who is connected learns of the end with its next connection.
        (0..nodes).for_each(|index| stage.kill(index));
        (0..nodes).for_each(|index| stage.start(index));
        join(receiving);
        (lives, fates)
    });
    let (lives, fates) = lives;
    let totals = totals.into_inner().unwrap().expect("it was said above");
    world.rove(&lasting(absent.name), &mut dice, |client, session_present, dice| {
        assert!(session_present, "the session of {} is gone", absent.name);
        absent.live(client, Some(&totals), true, dice);
        absent.has_all(&totals)
    });
    for subscriber in [&present, &absent] {
        subscriber.check(&publishers);
        mortals::check(&fates, subscriber);
    }
    let again: usize = lives.iter().map(|life| life.check(&publishers)).sum();
    println!("live subscribers got {again} messages again that were sent again");
}

/// A thread that ends the world when it panics.
fn watched<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    world: &'scope World,
    work: impl FnOnce() -> T + Send + 'scope,
) -> ScopedJoinHandle<'scope, T> {
    scope.spawn(move || {
        let _abort = Abort(world);
        work()
    })
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Lets things go wrong, one after the other, and tells how many.
fn be_faulty(stage: &mut Stage, mut plan: Plan, world: &World, is_done: &Receiver<()>, time: Duration) -> usize {
    let (begin, mut count) = (Instant::now(), 0);
    while begin.elapsed() < time {
        // Some messages are done between two faults.
        progress(world, is_done);
        let steps = plan.next();
        if steps.iter().any(Step::needs_whole) {
            stage.wait_until_whole();
        }
        println!("{:6.1} s: {steps:?}", begin.elapsed().as_secs_f64());
        world.disturb();
        steps.iter().for_each(|step| stage.begin(*step));
        let hold = steps.iter().map(|step| step.hold).max().unwrap_or_default();
        let until = Instant::now() + hold;
        if hold >= Duration::from_secs(2) && steps.iter().all(|step| step.leaves_majority(stage.count())) {
            // What those publish who are on the other side comes to its end too.
            progress(world, is_done);
        }
        thread::sleep(until.saturating_duration_since(Instant::now()));
        steps.iter().for_each(|step| stage.end(*step));
        let waited = stage.wait_until_ready();
        println!("{:6.1} s: all are ready {waited:.1?} after the end", begin.elapsed().as_secs_f64());
        world.disturb();
        count += steps.len();
    }
    stage.wait_until_whole();
    count
}

/// Waits until some more messages are acknowledged.
fn progress(world: &World, is_done: &Receiver<()>) {
    while is_done.try_recv().is_ok() {}
    let begin = Instant::now();
    for _ in 0..50 {
        while is_done.recv_timeout(Duration::from_millis(100)).is_err() {
            assert!(!world.is_aborted(), "a client has failed");
            assert!(begin.elapsed() < PATIENCE, "publishers are not acknowledged any more");
        }
    }
}

/// Publishes until it is over and a little after that, and tells how many there were.
pub fn publish(
    publisher: &mut Publisher,
    world: &World,
    mut dice: Dice,
    done: &Sender<()>,
    end: &AtomicU32,
) -> (String, u32) {
    let id = publisher.name.replace('/', "-");
    let connect = Connect { receive_maximum: 100.try_into().unwrap(), ..lasting(&id) };
    let mut last = None;
    world.rove(&connect, &mut dice, |client, _, dice| {
        loop {
            if world.is_over() && last.is_none() {
                last = Some(publisher.next + LAST);
                end.store(publisher.next + LAST, Ordering::SeqCst);
            }
            let portion = last.unwrap_or(publisher.next + 20);
            publisher.live(client, portion, true, done);
            if !publisher.is_done(portion) {
                return false;
            }
            if last.is_some() {
                return true;
            }
            thread::sleep(Duration::from_millis(dice.between(20, 100)));
        }
    });
    (publisher.name.clone(), publisher.next)
}

/// Receives with a session that lasts, until everything has come.
fn receive(subscriber: &mut Subscriber, world: &World, totals: &Mutex<Option<BTreeMap<String, u32>>>, mut dice: Dice) {
    let (name, mut last) = (subscriber.name, None);
    world.rove(&lasting(name), &mut dice, |client, session_present, dice| {
        assert!(session_present, "the session of {name} is gone");
        let totals: Option<BTreeMap<String, u32>> = totals.lock().unwrap().clone();
        subscriber.live(client, totals.as_ref(), true, dice);
        let Some(totals) = totals else { return false };
        let since = *last.get_or_insert_with(Instant::now);
        let missing = totals.keys().filter(|topic| subscriber.count(topic) == 0);
        assert!(
            since.elapsed() < 2 * PATIENCE,
            "{name} waits in vain; nothing came of {:?}",
            missing.collect::<Vec<_>>()
        );
        subscriber.has_all(&totals)
    });
}

/// Subscribes on one node when everything is well, and waits for the last message of everybody.
fn watch(index: usize, world: &World, board: &Board, ends: &[AtomicU32], ready: &Sender<()>) -> Life {
    let id = format!("witness-{index}");
    let connect = Connect::new(Version::V5, &id);
    let (mut client, _) = wait_for("CONNACK", || world.connect_to(index, &connect));
    let mut life = Life::begin(id.clone(), &mut client, board).expect("everything is well");
    ready.send(()).expect("the run waits for it");
    let mut next = vec![0; ends.len()];
    // Each publisher says which its last message is before it sends it.
    let is_last = |next: &[u32]| ends.iter().zip(next).all(|(end, next)| end.load(Ordering::SeqCst) == *next);
    life.go_on(&mut client, |of, number| {
        next[of] = number + 1;
        is_last(&next)
    });
    assert!(is_last(&next), "{id} saw messages before {next:?}, wanted {ends:?}");
    life
}
