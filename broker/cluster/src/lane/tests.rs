//! Two lanes joined by a connection that can be cut at any byte.

use fulmar_codec::{ForwardProperties, QoS};

use super::*;
use crate::claims::{Claim, Takeover};
use crate::frame::{DATA_FRAME_BYTES, FRAME_BYTES_MAX, LinkPublish, SharedList, Split, split};

/// One end: a lane, the bytes that arrived for it, and what its owner saw.
struct End {
    lane: Lane,
    arrived: Vec<u8>,
    taken: Vec<Vec<u8>>,
    acknowledged: u64,
    closed: Option<CloseReason>,
    settle: bool,
}

fn settings() -> LaneSettings {
    LaneSettings { buffer_bytes_max: 1 << 20, ..LaneSettings::default() }
}

fn publish(payload: &[u8]) -> LinkMessage<'_> {
    LinkMessage::Publish(LinkPublish {
        qos: QoS::AtLeastOnce,
        retain: false,
        live: true,
        retain_as: None,
        shared: SharedList::EMPTY,
        hops: 0,
        topic: "t",
        expiry: None,
        forward: ForwardProperties::EMPTY,
        payload,
    })
}

impl End {
    fn new(settings: LaneSettings, now: Instant) -> Self {
        let lane = Lane::new(settings, now);
        Self { lane, arrived: Vec::new(), taken: Vec::new(), acknowledged: 0, closed: None, settle: true }
    }

    /// Ends the turn and takes up to `max` unsent bytes, in pieces of three to meet every boundary.
    fn write(&mut self, max: usize) -> Vec<u8> {
        self.lane.flush();
        let mut bytes = Vec::new();
        while bytes.len() < max {
            let piece = self.lane.unsent();
            let piece = &piece[..piece.len().min(3).min(max - bytes.len())];
            if piece.is_empty() {
                break;
            }
            bytes.extend_from_slice(piece);
            let length = piece.len();
            self.lane.sent(length);
        }
        bytes
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), LaneError> {
        self.arrived.extend_from_slice(bytes);
        let arrived = std::mem::take(&mut self.arrived);
        let mut rest = arrived.as_slice();
        while let Split::Whole { frame, used } = split(rest, FRAME_BYTES_MAX).unwrap() {
            rest = &rest[used..];
            match self.lane.handle_frame(frame)? {
                Received::Messages { sequence, messages } => {
                    for message in messages {
                        let LinkMessage::Publish(publish) = message.unwrap() else { panic!("only publishes are sent") };
                        self.taken.push(publish.payload.to_vec());
                    }
                    if self.settle {
                        self.lane.settle(sequence);
                    }
                }
                Received::Acknowledged { sequence } => self.acknowledged = sequence,
                Received::Closed(reason) => self.closed = Some(reason),
                Received::Nothing => {}
            }
        }
        self.arrived = rest.to_vec();
        Ok(())
    }
}

/// Carries everything both ways until there is nothing more.
fn exchange(a: &mut End, b: &mut End) {
    loop {
        let (to_b, to_a) = (a.write(usize::MAX), b.write(usize::MAX));
        if to_a.is_empty() && to_b.is_empty() {
            return;
        }
        b.read(&to_b).unwrap();
        a.read(&to_a).unwrap();
    }
}

fn connect(a: &mut End, b: &mut End, epoch: u64, now: Instant) {
    for end in [&mut *a, &mut *b] {
        end.lane.lost(now);
        end.arrived.clear();
        end.lane.connected(epoch, now).unwrap();
    }
}

fn linked(now: Instant) -> (End, End) {
    let (mut a, mut b) = (End::new(settings(), now), End::new(settings(), now));
    connect(&mut a, &mut b, 1, now);
    exchange(&mut a, &mut b);
    (a, b)
}

#[test]
fn messages_of_a_turn_travel_in_one_frame_and_are_acknowledged() {
    let (mut a, mut b) = linked(Instant::now());
    assert_eq!([a.lane.push(&publish(b"1")), a.lane.push(&publish(b"2"))], [Ok(1), Ok(1)]);
    a.lane.flush();
    assert_eq!(a.lane.push(&publish(b"3")), Ok(2));
    exchange(&mut a, &mut b);
    assert_eq!((b.taken.as_slice(), a.acknowledged), ([b"1".to_vec(), b"2".to_vec(), b"3".to_vec()].as_slice(), 2));
    assert_eq!(a.lane.buffered_bytes(), 0);
}

#[test]
fn a_frame_holds_whole_messages_up_to_64_kilobytes_or_one_larger() {
    let (mut a, mut b) = linked(Instant::now());
    let (small, large) = (vec![1; 30_000], vec![2; 200_000]);
    let frames = [&small, &small, &small, &large, &small].map(|payload| a.lane.push(&publish(payload)).unwrap());
    assert_eq!(frames, [1, 1, 2, 3, 4]);
    assert!(2 * small.len() < DATA_FRAME_BYTES);
    exchange(&mut a, &mut b);
    assert_eq!(b.taken, [small.clone(), small.clone(), small.clone(), large, small]);
}

#[test]
fn a_frame_is_acknowledged_when_it_and_all_before_are_settled() {
    let (mut a, mut b) = linked(Instant::now());
    b.settle = false;
    for payload in [b"1", b"2", b"3"] {
        a.lane.push(&publish(payload)).unwrap();
        a.lane.flush();
    }
    exchange(&mut a, &mut b);
    let after = |a: &mut End, b: &mut End, sequence| {
        b.lane.settle(sequence);
        exchange(a, b);
        a.acknowledged
    };
    assert_eq!([after(&mut a, &mut b, 2), after(&mut a, &mut b, 1), after(&mut a, &mut b, 3)], [0, 2, 3]);
    // Settled twice, and never sent: nothing happens.
    assert_eq!([after(&mut a, &mut b, 1), after(&mut a, &mut b, 77)], [3, 3]);
}

#[test]
fn a_connection_cut_at_any_byte_loses_and_repeats_nothing() {
    let now = Instant::now();
    for cut_a in 0..120 {
        for cut_b in [0, 1, 13, 21, 30, 40] {
            let (mut a, mut b) = linked(now);
            for payload in [b"1", b"2", b"3"] {
                a.lane.push(&publish(payload)).unwrap();
                a.lane.flush();
            }
            b.lane.push(&publish(b"x")).unwrap();
            let to_b = a.write(cut_a);
            b.read(&to_b).unwrap();
            let to_a = b.write(cut_b);
            a.read(&to_a).unwrap();
            connect(&mut a, &mut b, 1, now);
            a.lane.push(&publish(b"4")).unwrap();
            exchange(&mut a, &mut b);
            assert_eq!(b.taken, [b"1", b"2", b"3", b"4"], "cut at {cut_a} and {cut_b}");
            assert_eq!(a.taken, [b"x"], "cut at {cut_a} and {cut_b}");
            assert_eq!((a.acknowledged, b.acknowledged), (4, 1), "cut at {cut_a} and {cut_b}");
        }
    }
}

#[test]
fn an_acknowledgement_lost_with_its_connection_is_sent_again() {
    let now = Instant::now();
    let (mut a, mut b) = linked(now);
    a.lane.push(&publish(b"1")).unwrap();
    let to_b = a.write(usize::MAX);
    b.read(&to_b).unwrap();
    drop(b.write(usize::MAX));
    connect(&mut a, &mut b, 1, now);
    exchange(&mut a, &mut b);
    assert_eq!((a.acknowledged, b.taken.len(), a.lane.counters().frames_resent), (1, 1, 0));
}

#[test]
fn a_frame_that_arrives_again_is_dropped_and_acknowledged_again() {
    let (mut a, mut b) = linked(Instant::now());
    a.lane.push(&publish(b"1")).unwrap();
    let to_b = a.write(usize::MAX);
    b.read(&to_b).unwrap();
    assert!(!b.write(usize::MAX).is_empty());
    b.read(&to_b).unwrap();
    let to_a = b.write(usize::MAX);
    a.read(&to_a).unwrap();
    assert_eq!((b.taken.len(), a.acknowledged, b.lane.counters().frames_duplicate), (1, 1, 1));
}

#[test]
fn a_connection_that_takes_the_place_of_a_living_one_resumes() {
    let now = Instant::now();
    let (mut a, mut b) = linked(now);
    a.lane.push(&publish(b"1")).unwrap();
    assert_eq!(a.lane.connected(1, now), Ok(Connected::Resumed));
    assert_eq!(b.lane.connected(1, now), Ok(Connected::Resumed));
    exchange(&mut a, &mut b);
    assert_eq!((b.taken.len(), a.acknowledged), (1, 1));
}

#[test]
fn a_peer_that_does_not_come_back_in_two_seconds_is_gone() {
    let now = Instant::now();
    let (mut a, _) = linked(now);
    a.lane.push(&publish(b"1")).unwrap();
    a.lane.lost(now);
    assert_eq!(a.lane.deadline(), Some(now + Duration::from_secs(2)));
    assert_eq!(a.lane.tick(now + Duration::from_millis(1999)), Tick::Alive);
    assert!(a.lane.is_linked() && a.lane.push(&publish(b"2")).is_ok());
    assert_eq!(a.lane.tick(now + Duration::from_secs(2)), Tick::Gone(Gone::NotResumed));
    assert_eq!((a.lane.is_linked(), a.lane.buffered_bytes(), a.lane.deadline()), (false, 0, None));
    assert_eq!(a.lane.push(&publish(b"3")), Err(NotTaken::NotLinked));
}

#[test]
fn a_silent_peer_is_pinged_and_then_gone() {
    let now = Instant::now();
    let (mut a, _) = linked(now);
    let mut pings = 0;
    for milliseconds in (0..2000).step_by(100) {
        assert_eq!(a.lane.tick(now + Duration::from_millis(milliseconds)), Tick::Alive);
        pings += usize::from(!a.write(usize::MAX).is_empty());
    }
    assert_eq!(pings, 3);
    assert_eq!(a.lane.tick(now + Duration::from_secs(2)), Tick::Gone(Gone::Silent));
    // It is told, should it still read.
    let close = a.write(usize::MAX);
    let frame = split(&close, FRAME_BYTES_MAX);
    assert!(matches!(frame, Ok(Split::Whole { frame: Frame::Close(CloseReason::Gone), .. })));
}

#[test]
fn whatever_arrives_is_a_sign_of_life() {
    let now = Instant::now();
    let (mut a, mut b) = linked(now);
    for seconds in 1..10 {
        let now = now + Duration::from_secs(seconds);
        assert_eq!((a.lane.tick(now), b.lane.tick(now)), (Tick::Alive, Tick::Alive));
        exchange(&mut a, &mut b);
        a.lane.heard(now);
        b.lane.heard(now);
    }
}

#[test]
fn a_later_epoch_ends_the_life_before_and_an_earlier_one_is_refused() {
    let now = Instant::now();
    let (mut a, mut b) = linked(now);
    a.lane.push(&publish(b"old")).unwrap();
    assert_eq!(a.lane.connected(5, now), Ok(Connected::BeganAnew));
    assert_eq!(b.lane.connected(5, now), Ok(Connected::BeganAnew));
    assert_eq!(a.lane.connected(4, now), Err(StaleEpoch { found: 4, current: 5 }));
    assert_eq!(a.lane.push(&publish(b"new")), Ok(1));
    exchange(&mut a, &mut b);
    assert_eq!(b.taken, [b"new"]);
    a.lane.end(CloseReason::Gone);
    assert_eq!(a.lane.connected(5, now), Err(StaleEpoch { found: 5, current: 5 }));
    assert_eq!(a.lane.connected(6, now), Ok(Connected::Began));
}

#[test]
fn a_peer_that_closes_is_gone_at_once() {
    let (mut a, mut b) = linked(Instant::now());
    a.lane.end(CloseReason::Shutdown);
    exchange(&mut a, &mut b);
    assert_eq!((b.closed, b.lane.is_linked()), (Some(CloseReason::Shutdown), false));
}

#[test]
fn a_lane_whose_peer_settles_nothing_refuses_publishes_then_everything() {
    let (mut a, mut b) = linked(Instant::now());
    b.settle = false;
    let payload = vec![0; 10_000];
    let taken = (0..1000).take_while(|_| a.lane.push(&publish(&payload)).is_ok()).count();
    assert!(a.lane.is_full() && (100..110).contains(&taken), "{taken} taken");
    // What must not be missed has room of its own, which has an end, too.
    let long = "f".repeat(10_000);
    let version = crate::Version { clock: 1, node: crate::NodeId(1) };
    let claim = Claim { version, since: version, user: None, takeover: Takeover::SameUser };
    let claim = LinkMessage::Claim { client_id: &long, claim };
    let claims = (0..1000).take_while(|_| a.lane.push(&claim).is_ok()).count();
    assert!((100..110).contains(&claims), "{claims} taken");
    assert_eq!(a.lane.counters().messages_refused, 2);
    assert!(a.lane.buffered_bytes() < 2 * (1 << 20) + 20_000);
    a.lane.flush();
    a.lane.end(CloseReason::Overloaded);
    assert_eq!(a.lane.buffered_bytes(), 0);
}

#[test]
fn frames_are_bounded_by_number_too() {
    let (mut a, mut b) = linked(Instant::now());
    b.settle = false;
    let mut frames = 0;
    while a.lane.push(&publish(b"")).is_ok() {
        a.lane.flush();
        frames += 1;
    }
    assert_eq!(frames, FRAMES_OPEN_MAX);
}

#[test]
fn a_peer_beyond_its_bounds_breaks_the_protocol() {
    let (mut a, _) = linked(Instant::now());
    let data = |sequence| {
        let mut bytes = Vec::new();
        crate::frame::open_data(&mut bytes, sequence);
        publish(b"").append_to(&mut bytes);
        crate::frame::seal_data(&mut bytes, 0);
        bytes
    };
    for sequence in 1..=2 * FRAMES_OPEN_MAX as u64 {
        let bytes = data(sequence);
        let Ok(Split::Whole { frame, .. }) = split(&bytes, FRAME_BYTES_MAX) else { panic!("not a whole frame") };
        a.lane.handle_frame(frame).unwrap();
    }
    let error = a.read(&data(2 * FRAMES_OPEN_MAX as u64 + 1)).unwrap_err();
    assert_eq!(error, LaneError::TooFarAhead { max: 2 * FRAMES_OPEN_MAX });
}

#[test]
fn what_makes_no_sense_is_an_error() {
    let now = Instant::now();
    let cases: [(Frame<'_>, LaneError); 4] = [
        (Frame::Ack { sequence: 1 }, LaneError::Acknowledged { found: 1, sent: 0 }),
        (Frame::Resume(Resume { epoch: 1, received: 0 }), LaneError::OutOfPlace { found: "resume" }),
        (Frame::Ack { sequence: u64::MAX }, LaneError::Acknowledged { found: u64::MAX, sent: 0 }),
        (Frame::Data { sequence: 2, messages: Messages::new(&[]) }, LaneError::Gap { found: 2, wanted: 1 }),
    ];
    for (frame, wanted) in cases {
        let (mut a, _) = linked(now);
        assert_eq!(a.lane.handle_frame(frame).unwrap_err(), wanted);
    }
    for resume in [Resume { epoch: 1, received: 1 }, Resume { epoch: 2, received: 0 }] {
        let mut lane = Lane::new(settings(), now);
        lane.connected(1, now).unwrap();
        let Resume { epoch, received: found } = resume;
        let wanted = LaneError::Resume { found, epoch, first: 0, last: 0 };
        assert_eq!(lane.handle_frame(Frame::Resume(resume)).unwrap_err(), wanted);
        assert_eq!(wanted.reason(), CloseReason::OutOfStep);
    }
    let mut lane = Lane::new(settings(), now);
    lane.connected(1, now).unwrap();
    let data = Frame::Data { sequence: 1, messages: Messages::new(&[]) };
    assert_eq!(lane.handle_frame(data).unwrap_err(), LaneError::OutOfPlace { found: "data" });
}

#[test]
fn a_peer_that_pings_and_never_reads_takes_no_memory() {
    let (mut a, _) = linked(Instant::now());
    for _ in 0..100_000 {
        a.lane.handle_frame(Frame::Ping).unwrap();
    }
    assert!(a.write(usize::MAX).len() < 2 * 1024);
}
