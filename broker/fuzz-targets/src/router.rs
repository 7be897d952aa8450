//! The subscription trie against the plain list that its own tests compare it with.

// What the tests of the trie know about it is kept with them.
#[path = "../../router/tests/model/mod.rs"]
mod model;

use fulmar_router::Trie;
use model::{Found, Key, Model, Op, apply, check_whole};

use crate::dice::Dice;

/// More would be slow and find nothing that fewer do not.
const OPERATIONS_MAX: usize = 200;

/// Few different levels, so that filters meet; all that is odd about levels is among them.
const LEVELS: [&str; 7] = ["a", "b", "", "$SYS", "$share", "ü", "a level longer than what a node holds in place"];

pub(crate) fn target(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    let (mut trie, mut model) = (Trie::new(dice.byte().into()), Model::default());
    for _ in 0..OPERATIONS_MAX {
        if dice.is_over() {
            break;
        }
        apply(&operation(&mut dice), &mut trie, &mut model);
        let topic = topic(&mut dice);
        assert_eq!(Found::in_trie(&trie, &topic), model.matches(&topic), "{topic:?}");
    }
    check_whole(&trie, &model);
}

fn operation(dice: &mut Dice<'_>) -> Op {
    let choice = dice.below(16);
    let key = key(dice);
    match choice {
        0..=5 => Op::Subscribe { key, slot: dice.below(50), id: dice.below(3) },
        6 | 7 => Op::SetAbsent { group: key.0.unwrap_or_else(|| "g".to_owned()), filter: key.1, slot: dice.below(50) },
        8..=10 => Op::Unsubscribe { key, slot: dice.below(50) },
        11 | 12 => Op::RemoteAdd { key, node: dice.pick(&[0, 1, 2, 8]) },
        13 | 14 => Op::RemoteRemove { key, node: dice.pick(&[0, 1, 2, 8]) },
        _ => Op::RemoteClear { node: dice.pick(&[0, 1, 2, 8]), step: 1 + dice.below(20) as usize },
    }
}

fn key(dice: &mut Dice<'_>) -> Key {
    let group = dice.pick(&[None, None, Some("g"), Some("h")]);
    (group.map(str::to_owned), filter(dice))
}

fn topic(dice: &mut Dice<'_>) -> String {
    let count = 1 + dice.below(4);
    join((0..count).map(|_| dice.pick(&LEVELS)).collect())
}

fn filter(dice: &mut Dice<'_>) -> String {
    let shape = dice.byte();
    let count = u32::from(shape % 5);
    let mut levels: Vec<_> = (0..count)
        .map(|_| {
            let level = dice.byte();
            if level >= 150 { "+" } else { LEVELS[usize::from(level) % LEVELS.len()] }
        })
        .collect();
    if shape >= 170 {
        levels.push("#");
    }
    join(levels)
}

/// Joins levels; no levels, which would be no topic, become two empty ones.
#[allow(clippy::needless_pass_by_value, reason = "it is made for this")]
fn join(levels: Vec<&str>) -> String {
    Some(levels.join("/")).filter(|text| !text.is_empty()).unwrap_or_else(|| "/".to_owned())
}
