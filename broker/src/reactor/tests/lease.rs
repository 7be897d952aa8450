//! What the lease lets clients be told, by a clock that the test sets.

use fulmar_meta::Moment;
use fulmar_worker::{AuthSettings, Limits, Node, NodeSettings};

use super::*;

/// A lease on a clock of seconds.
fn lease(clock: &Arc<AtomicU64>) -> (Arc<Node>, Lease) {
    let node = Arc::new(Node::new(NodeSettings {
        node_id: 1,
        incarnation: 1,
        name: "node".into(),
        threads: 2,
        limits: Limits::default(),
        anonymous: vec![true],
        auth: AuthSettings::new([7; 32]),
        seed: 7,
        views: true,
        store_shards: None,
        wall_clock_microseconds: 0,
        start: Instant::now(),
    }));
    let clock = clock.clone();
    let read = move || Moment(Duration::from_secs(clock.load(Ordering::Relaxed)));
    (node.clone(), Lease::new(node, read))
}

fn until(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

/// Turns until the bytes have been taken, and twice more.
fn turn_on(threads: &mut Threads, bytes: &[u8]) {
    threads.turn_until(0, |core| core.received_by(conn(0)).ends_with(bytes));
    (0..2).for_each(|_| threads.turn(0));
}

fn has_nothing(client: &mut TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    matches!(client.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn a_process_that_is_stopped_after_it_has_read_answers_by_the_clock_that_it_finds() {
    let clock = Arc::new(AtomicU64::new(5));
    let (node, lease) = lease(&clock);
    let mut threads = Threads::start_with(Some(lease), &clock);
    node.set_acknowledges_until(until(10));
    let mut client = threads.connect();
    client.write_all(b"hello").unwrap();
    assert_eq!(threads.read(&mut client, 5), b"hello");
    // The lease holds when the turn begins, and is over when the bytes have been dealt with.
    client.write_all(b"stop").unwrap();
    turn_on(&mut threads, b"stop");
    assert!(clock.load(Ordering::Relaxed) == 35 && has_nothing(&mut client));
    client.write_all(b"more").unwrap();
    turn_on(&mut threads, b"more");
    assert!(has_nothing(&mut client));
    // Nobody wakes the thread for it.
    node.set_acknowledges_until(until(36));
    assert_eq!(threads.read(&mut client, 8), b"stopmore");
    clock.store(36, Ordering::Relaxed);
    client.write_all(b"over").unwrap();
    turn_on(&mut threads, b"over");
    assert!(has_nothing(&mut client), "it is over at its last moment");
}

#[test]
fn a_socket_that_takes_more_gets_nothing_more_while_the_lease_is_over_and_then_all_of_it() {
    let clock = Arc::new(AtomicU64::new(5));
    let (node, lease) = lease(&clock);
    let mut threads = Threads::start_with(Some(lease), &clock);
    node.set_acknowledges_until(until(10));
    let mut client = threads.connect();
    client.write_all(b"b").unwrap();
    turn_on(&mut threads, b"b");
    clock.store(10, Ordering::Relaxed);
    // The client takes what is on its way, so that its socket has room again.
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let (mut taken, mut buffer) = (0, vec![0; 1 << 20]);
    while let Ok(read) = client.read(&mut buffer) {
        taken += read;
    }
    client.write_all(b"e").unwrap();
    turn_on(&mut threads, b"e");
    assert!(has_nothing(&mut client) && taken < BIG, "{taken} of {BIG}");
    node.set_acknowledges_until(until(11));
    let rest = threads.read(&mut client, BIG + 1 - taken);
    assert_eq!((rest.len(), rest.last()), (BIG + 1 - taken, Some(&b'e')));
    // The session behind it is told that there is room.
    threads.turn_until(0, |core| core.told.contains(&Told::Drained(conn(0))));
}
