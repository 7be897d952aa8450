//! Random commands from a seed, for a few nodes: much of what they do meets something.

use fulmar_random::Random;

use super::*;

/// A command for the state that there is.
pub(super) fn command(random: &mut Random, meta: &Meta) -> Command {
    let id = 1 + random.below(8);
    let known = meta.node(id).map_or(0, |node| node.member.incarnation);
    let own = member(id, random.pick(&[known, known, known + 1]));
    let other = 1 + random.below(8);
    let by = meta.node(other).map_or(member(other, 1), |node| node.member);
    let name = random.pick(&[id, id, id, 3]);
    let zone = random.pick(&["", "east", "west"]);
    let start = Start {
        name: format!("broker-{name}").into(),
        zone: zone.into(),
        level: random.pick(&[1, 1, 2]),
        ..start(id, random.pick(&[known + 1, known + 1, known]))
    };
    let term = meta.leader().term;
    match random.below(40) {
        0 => Command::Bootstrap { cluster: CLUSTER, shards: 4, first: start },
        1..3 => Command::Lead { leader: id, term: random.pick(&[term, term + 1]) },
        3..8 => Command::Join { cluster: CLUSTER, made_at: meta.applied(), start },
        8..12 => Command::Boot { cluster: random.pick(&[CLUSTER, CLUSTER, CLUSTER, ClusterId(1)]), start },
        12..20 => Command::Confirm { member: own, by },
        20..23 => Command::Remove { member: own, term },
        23 => Command::Describe { member: own, addresses: vec![], zone: zone.into() },
        24 => Command::Drain { node: id, purpose: random.pick(&[Purpose::Leave, Purpose::Restart]) },
        25 => Command::CancelDrain { node: id },
        26 => Command::Gone { node: id },
        _ => {
            let shard = ShardId(1 + random.below(4) as u16);
            let planned = placement::plan(&meta.places(), meta.shards());
            let step = [
                Step::AddLearner { node: id, replaces: random.pick(&[None, Some(other)]) },
                Step::CaughtUp(id),
                Step::CaughtUp(id),
                Step::Promote(id),
                Step::Remove(id),
                Step::Prefer(id),
            ];
            let wild = (shard, random.pick(&step));
            let catching_up = |(shard, it): (u16, &Replicas)| Some((ShardId(shard), Step::CaughtUp(it.learner()?)));
            let next = (1..).zip(meta.shards()).find_map(catching_up);
            let planned = planned.first().copied().or(next).unwrap_or(wild);
            let (shard, step) = random.pick(&[wild, planned, planned]);
            Command::MoveReplica { shard, step }
        }
    }
}

/// A cluster with a past.
pub(super) fn grown(seed: u64, commands: usize) -> (World, Random) {
    let mut random = Random::new(seed);
    let mut world = World::empty();
    world.apply(Command::Bootstrap { cluster: CLUSTER, shards: 4, first: start(1, 1) });
    for _ in 0..commands {
        let command = command(&mut random, &world.meta);
        world.apply(command);
    }
    (world, random)
}
