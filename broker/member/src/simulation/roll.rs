//! Builds of two levels in one cluster: each node in turn stops and starts with the next one.

use fulmar_harness::Violation;
use fulmar_meta::{LEVEL, Level};

use super::acts::Storm;
use super::node::Process;
use super::world::World;

const SEEDS: u64 = 24;
const NEXT: Level = LEVEL + 1;

impl World {
    /// A cluster that works, of nodes of this build.
    fn begun(seed: u64) -> World {
        let mut world = World::new(seed, Storm::All, None);
        world.mend();
        world.wait_until(World::has_recovered).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        world
    }

    /// Another build is started in a place, and everybody is there again.
    fn replace(&mut self, pod: usize, level: Level) -> Result<(), Violation> {
        self.crash(pod);
        self.levels[pod] = level;
        self.start(pod)?;
        self.wait_until(World::has_recovered)?;
        let level = self.truth.level();
        self.wait_until(|world| world.processes().all(|process| process.meta.level() == level))?;
        Ok(())
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        self.pods[..self.plan.nodes].iter().filter_map(|pod| pod.process.as_ref())
    }
}

/// What is newer begins when the last node knows it, at all of them, and until then each may go back.
fn roll(seed: u64) -> Result<(), Violation> {
    let mut world = World::begun(seed);
    let last = world.plan.nodes - 1;
    for pod in 0..last {
        world.replace(pod, NEXT)?;
        assert_eq!(world.truth.level(), LEVEL, "seed {seed}: not all know more");
    }
    world.replace(0, LEVEL)?;
    world.replace(0, NEXT)?;
    world.replace(last, NEXT)?;
    assert_eq!(world.truth.level(), NEXT, "seed {seed}: all know more");
    Ok(())
}

#[test]
fn a_cluster_rolls_to_the_next_level_and_uses_it_when_all_have_it() {
    for seed in 0..SEEDS {
        roll(seed).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
}

#[test]
fn a_build_that_is_too_old_for_its_cluster_says_so_and_the_others_go_on() {
    for seed in 0..SEEDS / 6 {
        let mut world = World::begun(seed);
        (0..world.plan.nodes).for_each(|pod| world.replace(pod, NEXT).unwrap());
        let violation = world.replace(1, LEVEL).unwrap_err();
        let wanted = format!("feature level {LEVEL}, at least {NEXT} is wanted");
        assert!(violation.to_string().contains(&wanted), "seed {seed}: {violation}");
        world.replace(1, NEXT).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
}

#[test]
fn who_is_down_during_a_roll_is_waited_for() {
    let mut world = World::begun(1);
    let last = world.plan.nodes - 1;
    world.crash(last);
    for pod in 0..last {
        world.crash(pod);
        world.levels[pod] = NEXT;
        world.start(pod).unwrap();
        let is_back = |world: &World| world.pods[pod].process.as_ref().is_some_and(|process| process.serves);
        world.wait_until(is_back).unwrap();
        assert_eq!(world.truth.level(), LEVEL, "it may come back with what it had");
    }
    world.replace(last, LEVEL).unwrap();
    world.replace(last, NEXT).unwrap();
    assert_eq!(world.truth.level(), NEXT);
}
