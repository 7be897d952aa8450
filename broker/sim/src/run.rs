//! One run: the cluster forms, clients come, things break, all heals and comes to rest, and somebody looks at it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Time;
use crate::checks::Violation;
use crate::history::History;
use crate::link::{Actor, Phase};
use crate::outside::Trace;
use crate::world::World;

/// Whatever goes wrong, a cluster forms and comes to rest within this time.
const FORMS: Duration = Duration::from_secs(60);
const RESTS: Duration = Duration::from_secs(180);
/// Nothing has arrived anywhere for so long: it is at rest.
const SILENCE: Duration = Duration::from_secs(3);

/// What a run is to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Where all chance comes from.
    pub seed: u64,
    /// The last lines of what happened are wanted.
    pub is_traced: bool,
    /// All of them are, on standard error.
    pub is_loud: bool,
    /// Nothing breaks.
    pub is_calm: bool,
    /// A deliberate mistake that all nodes make.
    #[cfg(feature = "sabotage")]
    pub bug: Option<crate::Bug>,
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What must not be.
    pub violations: Vec<String>,
    /// What must not be either, and is known and not mended: how often.
    pub known: BTreeMap<&'static str, u64>,
    /// The last lines of what happened, if they were wanted.
    pub lines: Vec<String>,
    /// Two runs have it in common only if they were the same.
    pub hash: u64,
    /// What happened, and how often.
    pub happened: BTreeMap<&'static str, u64>,
    /// How many steps it had.
    pub steps: u64,
    /// How long it was.
    pub time: Time,
}

/// Runs a seed with the clients that it has, and all checks.
pub fn play(options: Options) -> Report {
    let mut known: BTreeMap<&'static str, u64> = BTreeMap::new();
    let check = |history: &History| {
        let mut is_new = |violation: &Violation| match crate::known::reason(violation) {
            Some(reason) => {
                *known.entry(reason).or_default() += 1;
                false
            }
            None => true,
        };
        crate::checks::all(history)
            .into_iter()
            .filter(|violation| is_new(violation))
            .map(|violation| violation.to_string())
            .collect()
    };
    let report = run(options, crate::crew(options.seed, 100), check);
    Report { known, ..report }
}

/// Runs a seed with these clients, and asks `check` what clients saw that must not be.
pub fn run(options: Options, actors: Vec<Box<dyn Actor>>, check: impl FnOnce(&History) -> Vec<String>) -> Report {
    let mut steps = 0;
    let mut world = World::new(options.seed, Trace::new(options.is_traced, options.is_loud));
    #[cfg(feature = "sabotage")]
    {
        world.config.bug = options.bug;
    }
    actors.into_iter().for_each(|actor| world.add_actor(actor));
    let mut violations = Vec::new();
    match live(&mut world, options, &mut steps) {
        Ok(()) => violations.extend(check(&world.history)),
        Err(violation) => violations.push(violation),
    }
    violations.append(&mut world.failures);
    Report {
        seed: options.seed,
        violations,
        known: BTreeMap::new(),
        hash: world.outside.trace.hash(),
        happened: std::mem::take(&mut world.happened),
        steps,
        time: world.now(),
        lines: world.outside.trace.into_lines(),
    }
}

fn live(world: &mut World, options: Options, steps: &mut u64) -> Result<(), String> {
    go_until(world, FORMS, steps, |world| (0..world.slots.len()).all(|slot| world.is_ready(slot)))
        .map_err(|()| format!("no cluster has formed: {}", world.troubles()))?;
    let now = world.now();
    world.outside.trace.line(now, || "the cluster has formed".to_owned());
    for actor in 0..world.seats.len() {
        world.call(actor, |actor, now, history| actor.begin(now, history));
    }
    let faults = world.begin_plan(options.is_calm);
    let end = world.now() + faults;
    let _ = go_until(world, faults, steps, |world| world.now() >= end || !world.failures.is_empty());
    world.end_plan();
    world.enter(Phase::Heals);
    let healed = world.now();
    go_until(world, RESTS, steps, |world| {
        !world.failures.is_empty()
            || (world.now().since(healed.max(world.last_record())) >= SILENCE
                && world.seats.iter().all(|seat| !seat.is_busy())
                && world.troubles().is_empty())
    })
    .map_err(|()| format!("it does not come to rest: {}", world.troubles()))
}

/// Goes on until something is so, at most for so long.
fn go_until(world: &mut World, time: Duration, steps: &mut u64, is_so: impl Fn(&World) -> bool) -> Result<(), ()> {
    let end = world.now() + time;
    loop {
        // It is looked at now and then: that alone takes time.
        for _ in 0..50 {
            *steps += 1;
            world.step();
        }
        if is_so(world) {
            return Ok(());
        }
        if world.now() >= end {
            return Err(());
        }
    }
}
