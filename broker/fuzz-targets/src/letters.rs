//! Bytes of another node: greetings, letters between stores, and the part of each that a letter is for. Whoever can read
//! them writes the same again, and a letter that came whole, however it was cut, is the one that was sent.

use fulmar_cluster::frame::{FRAME_BYTES_MAX, Frame, Split, split};
use fulmar_cluster::hello::{SplitGreeting, encode_greeting, split_greeting};
use fulmar_cluster::letters::{Assembler, LETTER_BYTES_MAX, head};
use fulmar_courier::{AnswerLetter, AskLetter};
use fulmar_store_node::Envelope;
use fulmar_store_raft::Letter;

use crate::dice::Dice;

/// The first byte says what the rest is.
pub(crate) fn target(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    match dice.below(6) {
        0 => greet(dice.rest()),
        1 => assemble(&mut dice),
        2 => open(dice.rest()),
        // Every part is written by itself as well, since few bytes get as far.
        3 => read_courier(dice.rest()),
        4 => read_engine(dice.rest()),
        _ => read_lane(dice.rest()),
    }
}

fn greet(bytes: &[u8]) {
    let Ok(SplitGreeting::Whole { greeting, used }) = split_greeting(bytes) else { return };
    assert!(used <= bytes.len());
    assert!(matches!(split_greeting(&bytes[..used - 1]), Ok(SplitGreeting::Incomplete)), "a part is no greeting");
    let mut again = Vec::new();
    encode_greeting(&mut again, &greeting);
    assert_eq!(split_greeting(&again), Ok(SplitGreeting::Whole { greeting, used: again.len() }));
}

/// Letters of a stream, whole and cut. What is announced and does not come takes no room.
fn assemble(dice: &mut Dice<'_>) {
    let cut = 1 + usize::from(dice.byte());
    let bytes = dice.rest();
    let (mut whole, mut in_parts) = (Vec::new(), Vec::new());
    let result = Assembler::default().take(bytes, &mut whole);
    let mut assembler = Assembler::default();
    let of_parts = bytes.chunks(cut).try_for_each(|part| assembler.take(part, &mut in_parts));
    assert_eq!((result, &whole), (of_parts, &in_parts));
    let length: usize = whole.iter().map(|letter| head(letter.len()).unwrap().len() + letter.len()).sum();
    assert!(length <= bytes.len() && whole.iter().all(|letter| (1..=LETTER_BYTES_MAX).contains(&letter.len())));
    whole.iter().for_each(|letter| open(letter));
}

fn open(bytes: &[u8]) {
    if let Ok(envelope) = Envelope::decode(bytes) {
        let _ = envelope.channel();
        let again = envelope.encode();
        assert_eq!(Envelope::decode(&again).as_ref(), Ok(&envelope), "written as {again:?}");
    }
}

fn read_courier(bytes: &[u8]) {
    let mut again = Vec::new();
    if let Ok(letter) = AskLetter::decode(bytes) {
        letter.encode(&mut again);
        assert_eq!(AskLetter::decode(&again), Ok(letter));
    }
    again.clear();
    if let Ok(letter) = AnswerLetter::decode(bytes) {
        letter.encode(&mut again);
        assert_eq!(AnswerLetter::decode(&again), Ok(letter));
    }
}

/// Raft's messages, snapshots on their way, and feeds of filters.
fn read_engine(bytes: &[u8]) {
    let Ok(letter) = Letter::decode(bytes) else { return };
    let _ = (letter.is_of_shard(), letter.is_bulk());
    let mut again = Vec::new();
    letter.append_to(&mut again);
    assert_eq!(Letter::decode(&again), Ok(letter));
}

/// Frames of a lane: all that is in them can be read to its end, or is refused.
fn read_lane(mut bytes: &[u8]) {
    while let Ok(Split::Whole { frame, used }) = split(bytes, FRAME_BYTES_MAX) {
        assert!((1..=bytes.len()).contains(&used));
        if let Frame::Data { messages, .. } = frame {
            let read = messages.take_while(Result::is_ok).count();
            assert!(read <= used, "a message takes a byte at least");
        }
        bytes = &bytes[used..];
    }
}
