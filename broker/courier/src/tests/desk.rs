//! What a desk does, one thing at a time.

use fulmar_store::{Answer, Ask, Asked, Node, Refusal, Reply, ShardId, Ticket, Told};

use super::simulation::shard::SHARDS;
use crate::{AnswerLetter, AskLetter, Asking, Desk, DeskSettings, Leadership, Written};

const SHARD: ShardId = ShardId(1);
const FROM: Node = Node { id: 4, incarnation: 2 };

fn desk(settings: DeskSettings) -> Desk {
    let mut desk = Desk::new(settings, SHARDS);
    desk.set_leadership(SHARD, Leadership { term: Some(7), leader: Some(1) });
    desk
}

fn ask() -> Ask {
    Ask::Adopted { shard: SHARD, number: 9 }
}

/// One ask, whose id is 1.
fn letter(from: Node, run: u64, term: u64) -> AskLetter {
    let asks = vec![Asking { ticket: 1 << 16 | run, number: None, ask: ask() }];
    AskLetter { from, shard: SHARD, run, term: Some(term), asks }
}

fn asked(origin: Node, run: u64) -> Vec<Asked> {
    vec![Asked { origin, ticket: Ticket { thread: SHARD.0, number: 1 << 16 | run }, number: None, ask: ask() }]
}

fn written(lines: Vec<Written>) -> Vec<AnswerLetter> {
    vec![AnswerLetter { to: FROM, lines: lines.into_iter().map(|line| (SHARD, line)).collect() }]
}

#[test]
fn who_begins_a_run_is_told_the_term_and_asks_for_that() {
    let mut desk = desk(DeskSettings::default());
    let begin = AskLetter { from: FROM, shard: SHARD, run: 3, term: None, asks: vec![] };
    assert_eq!(desk.receive(4, begin), []);
    assert_eq!(desk.take_letters(), written(vec![Written::Welcome { run: 3, term: 7 }]));
    assert_eq!(desk.receive(4, letter(FROM, 3, 7)), asked(FROM, 3));
    let told = Told::Answer { number: 1 << 16 | 3, answer: Answer::Reply(Reply::Done) };
    desk.tell(FROM, SHARD.0, told.clone());
    assert_eq!(desk.take_letters(), written(vec![Written::Told(told)]));
    assert_eq!(desk.take_letters(), []);
}

#[test]
fn what_is_for_an_earlier_term_or_run_is_not_done() {
    let mut desk = desk(DeskSettings::default());
    assert_eq!(desk.receive(4, letter(FROM, 3, 6)), []);
    assert_eq!(desk.take_letters(), written(vec![Written::Refused { run: 3, leader: Some(1) }]));
    // And so is all that comes behind it in the same run.
    assert_eq!(desk.receive(4, letter(FROM, 3, 7)), []);
    assert_eq!(desk.receive(4, letter(FROM, 4, 7)), asked(FROM, 4));
    assert_eq!(desk.receive(4, letter(FROM, 3, 7)), []);
    let before = Node { incarnation: 1, ..FROM };
    assert_eq!(desk.receive(4, letter(before, 9, 7)), []);
    let next = Node { incarnation: 3, ..FROM };
    assert_eq!(desk.receive(4, letter(next, 1, 7)), asked(next, 1));
    assert_eq!((desk.counts().asks, desk.counts().late), (2, 3));
}

#[test]
fn nothing_is_done_behind_what_was_refused() {
    let refusals = [
        Answer::Unavailable,
        Answer::NotLeader { leader: None },
        Answer::Reply(Reply::Refused(Refusal::OutOfOrder { found: 3, expected: 2 })),
    ];
    for answer in refusals {
        let mut desk = desk(DeskSettings::default());
        assert_eq!(desk.receive(4, letter(FROM, 3, 7)), asked(FROM, 3));
        // Of an earlier run, it says nothing about this.
        desk.tell(FROM, SHARD.0, Told::Answer { number: 1 << 16 | 2, answer: answer.clone() });
        assert_eq!(desk.receive(4, letter(FROM, 3, 7)), asked(FROM, 3));
        desk.tell(FROM, SHARD.0, Told::Answer { number: 1 << 16 | 3, answer });
        assert_eq!(desk.receive(4, letter(FROM, 3, 7)), []);
        assert_eq!(desk.receive(4, letter(FROM, 4, 7)), asked(FROM, 4));
    }
}

#[test]
fn when_a_leadership_ends_whoever_asks_is_told_even_if_nothing_of_theirs_waits() {
    let mut desk = desk(DeskSettings::default());
    assert_eq!(desk.receive(4, letter(FROM, 3, 7)), asked(FROM, 3));
    desk.set_leadership(SHARD, Leadership { term: Some(7), leader: Some(1) });
    assert_eq!(desk.take_letters(), []);
    desk.set_leadership(SHARD, Leadership { term: None, leader: Some(2) });
    assert_eq!(desk.take_letters(), written(vec![Written::Refused { run: 3, leader: Some(2) }]));
    desk.set_leadership(SHARD, Leadership { term: None, leader: None });
    assert_eq!(desk.take_letters(), []);
    // The same if it leads again at once.
    desk.set_leadership(SHARD, Leadership { term: Some(9), leader: Some(1) });
    assert_eq!(desk.receive(4, letter(FROM, 4, 9)), asked(FROM, 4));
    desk.set_leadership(SHARD, Leadership { term: Some(11), leader: Some(1) });
    assert_eq!(desk.take_letters(), written(vec![Written::Refused { run: 4, leader: Some(1) }]));
}

#[test]
fn letters_that_make_no_sense_are_counted() {
    let mut desk = desk(DeskSettings::default());
    assert_eq!(desk.receive(5, letter(FROM, 3, 7)), []);
    assert_eq!(desk.receive(4, AskLetter { shard: ShardId(0), ..letter(FROM, 3, 7) }), []);
    assert_eq!(desk.receive(4, AskLetter { shard: ShardId(2), ..letter(FROM, 3, 7) }), []);
    assert_eq!((desk.counts().senseless, desk.take_letters()), (3, vec![]));
}

#[test]
fn of_too_many_nodes_the_one_is_forgotten_that_was_not_heard_of_for_longest() {
    let mut desk = desk(DeskSettings { origins_max: 2, ..DeskSettings::default() });
    let node = |id| Node { id, incarnation: 1 };
    for id in [1, 2, 1, 3] {
        assert_eq!(desk.receive(id, letter(node(id), 5, 7)), asked(node(id), 5));
    }
    assert_eq!(desk.counts().origins_forgotten, 1);
    // Of the other, the run is known still.
    assert_eq!(desk.receive(1, letter(node(1), 4, 7)), []);
    assert_eq!(desk.receive(2, letter(node(2), 4, 7)), asked(node(2), 4));
}

#[test]
fn letters_are_no_larger_than_allowed_and_none_goes_to_who_lost_the_connection() {
    let told = || Told::Answer { number: 1 << 16 | 3, answer: Answer::Reply(Reply::Done) };
    let bytes = crate::weight::of_told(&told());
    let mut desk = desk(DeskSettings { letter_bytes_max: 2 * bytes, ..DeskSettings::default() });
    (0..5).for_each(|_| desk.tell(FROM, SHARD.0, told()));
    let sizes: Vec<usize> = desk.take_letters().iter().map(|letter| letter.lines.len()).collect();
    assert_eq!(sizes, [2, 2, 1]);
    desk.tell(FROM, SHARD.0, told());
    desk.lost(4);
    assert_eq!(desk.take_letters(), []);
}
