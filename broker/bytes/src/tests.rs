//! What is written is read again, and nothing else is.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// One of everything.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    is_last: bool,
    numbers: (u8, u16),
    wide: u128,
    name: Arc<str>,
    label: Box<str>,
    limit: Option<NonZeroU16>,
    outcomes: Vec<Result<u64, Shape>>,
    tags: BTreeSet<u32>,
    shapes: Box<[Shape]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    Point,
    Line(u8, u8),
    Circle { radius: Box<u64> },
}

bytes_of_struct!(Row { is_last, numbers, wide, name, label, limit, outcomes, tags, shapes });
bytes_of_enum!(Shape, unknown!("shape"), { 1 => Point, 2 => Line(from, to), 7 => Circle { radius }, });

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Point),
        any::<(u8, u8)>().prop_map(|(from, to)| Shape::Line(from, to)),
        any::<u64>().prop_map(|radius| Shape::Circle { radius: Box::new(radius) }),
    ]
}

fn row() -> impl Strategy<Value = Row> {
    let outcome = prop_oneof![any::<u64>().prop_map(Ok), shape().prop_map(Err)];
    let lists = (
        prop::collection::vec(outcome, 0..4),
        prop::collection::btree_set(any::<u32>(), 0..4),
        prop::collection::vec(shape(), 0..4),
    );
    (any::<(bool, (u8, u16), u128)>(), ".{0,9}", ".{0,9}", any::<Option<u16>>(), lists).prop_map(
        |((is_last, numbers, wide), name, label, limit, (outcomes, tags, shapes))| Row {
            is_last,
            numbers,
            wide,
            name: name.into(),
            label: label.into(),
            limit: limit.and_then(NonZeroU16::new),
            outcomes,
            tags,
            shapes: shapes.into(),
        },
    )
}

fn bytes(value: &impl Bytes) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(3, value, &mut bytes);
    bytes
}

fn error<T: Bytes + std::fmt::Debug>(bytes: &[u8]) -> String {
    decode::<T>(3, bytes).unwrap_err().to_string()
}

proptest! {
    #[test]
    fn a_value_is_read_as_it_was_written_and_no_part_of_it_is_taken(row in row(), more in any::<u8>()) {
        let mut bytes = bytes(&row);
        prop_assert_eq!(decode(3, &bytes), Ok(row));
        for end in 0..bytes.len() {
            prop_assert!(decode::<Row>(3, &bytes[..end]).is_err(), "the first {} bytes are taken", end);
        }
        bytes.push(more);
        prop_assert_eq!(decode::<Row>(3, &bytes), Err(BytesError::Trailing { found: 1 }));
    }

    #[test]
    fn what_is_read_from_any_bytes_is_written_the_same(tail in prop::collection::vec(any::<u8>(), 0..60)) {
        let garbage = [&[3][..], &tail].concat();
        if let Ok(shapes) = decode::<Vec<Shape>>(3, &garbage) {
            prop_assert_eq!(bytes(&shapes), garbage.clone());
        }
        if let Ok(row) = decode::<Row>(3, &garbage) {
            prop_assert_eq!(bytes(&row), garbage);
        }
    }
}

/// Folders outlive builds, and nodes of two builds write to each other.
#[test]
fn bytes_stay_what_they_are() {
    assert_eq!(bytes(&0x0102_0304_u32), [3, 1, 2, 3, 4]);
    assert_eq!(bytes(&Shape::Line(8, 9)), [3, 2, 8, 9]);
    let row = Row {
        is_last: true,
        numbers: (2, 3),
        wide: 4,
        name: "n\u{fc}".into(),
        label: "".into(),
        limit: NonZeroU16::new(5),
        outcomes: vec![Ok(6), Err(Shape::Point)],
        tags: [8, 7].into(),
        shapes: [Shape::Circle { radius: Box::new(9) }].into(),
    };
    let (head, text) = ([&[3, 1, 2, 0, 3][..], &[0; 15], &[4]].concat(), [0, 0, 0, 3, b'n', 0xc3, 0xbc, 0, 0, 0, 0]);
    let outcomes = [0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 6, 0, 1];
    let lists = [0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0, 9];
    assert_eq!(bytes(&row), [&head[..], &text, &[1, 0, 5], &outcomes, &lists].concat());
}

#[test]
fn what_is_wrong_is_said_with_what_was_wanted() {
    assert_eq!(error::<u16>(&[]), "1 bytes are wanted at byte 0, found 0");
    assert_eq!(error::<u16>(&[2, 0, 0]), "format 2, only 3 is known");
    assert_eq!(error::<u16>(&[3, 0]), "2 bytes are wanted at byte 1, found 1");
    assert_eq!(error::<u16>(&[3, 0, 0, 0]), "1 bytes follow the end");
    assert_eq!(error::<Option<u8>>(&[3, 2]), "yes or no is 2, which is not allowed");
    assert_eq!(error::<NonZeroU16>(&[3, 0, 0]), "number that counts from 1 is 0, which is not allowed");
    assert_eq!(error::<Box<str>>(&[3, 0, 0, 0, 1, 0xff]), "text at byte 5 is not UTF-8");
    assert_eq!(error::<BTreeSet<u8>>(&[3, 0, 0, 0, 2, 1, 1]), "items of a set are not in order, or twice the same");
    assert_eq!(error::<Shape>(&[3, 4]), "unknown shape 4");
}

#[test]
fn a_length_that_is_a_lie_takes_no_memory() {
    let lie = [3, 0xff, 0xff, 0xff, 0xff, 1];
    assert_eq!(decode::<Vec<u8>>(3, &lie), Err(BytesError::Truncated { at: 6, wanted: 1, found: 0 }));
    assert_eq!(decode::<Arc<str>>(3, &lie), Err(BytesError::Truncated { at: 5, wanted: 0xffff_ffff, found: 1 }));
    let mut reader = Reader::new(&lie[1..]);
    assert_eq!(reader.part(), Err(BytesError::Truncated { at: 4, wanted: 0xffff_ffff, found: 1 }));
}

#[test]
fn a_part_has_bytes_of_its_own() {
    let mut bytes = vec![9];
    put_part(&mut bytes, |out| encode(5, &Shape::Point, out));
    8_u8.put(&mut bytes);
    assert_eq!(bytes, [9, 0, 0, 0, 2, 5, 1, 8]);
    let mut reader = Reader::new(&bytes[1..]);
    assert_eq!(reader.part().and_then(|part| decode(5, part)), Ok(Shape::Point));
    assert_eq!(reader.rest(), [8]);
    assert!(reader.is_empty());
    assert_eq!(reader.finish(), Ok(()));
}
