//! Letters between the links of several nodes, over real sockets.

mod end;
mod stranger;

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use fulmar_cluster::hello::{Greeting, Hello, RefusalReason};
use fulmar_cluster::letters::{Channel, LETTER_BYTES_MAX, head};
use fulmar_cluster::peers::Lodger;
use fulmar_config::ClusterTls;
use fulmar_store::Node;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::Arrival;
use super::mail::NotSent;
use crate::link::neighbours::LanesState;
use end::{End, ends, eventually, places};
use stranger::{greet, hello, is_closed};

const CONTROL: Channel = Channel::Control;
const BULK: Channel = Channel::Bulk;
/// By default a peer is given up after so long.
const SILENCE: Duration = Duration::from_secs(2);

fn number(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// A letter whose bytes differ.
fn long(bytes: usize, seed: u8) -> Vec<u8> {
    (0..bytes).map(|index| (index % 251) as u8 ^ seed).collect()
}

#[test]
fn letters_of_all_nodes_reach_all_others_in_order_on_both_channels() {
    let mut nodes: [End; 3] = ends();
    let ids = nodes.each_ref().map(|end| end.node);
    for end in &mut nodes {
        for to in ids.into_iter().filter(|id| *id != end.node) {
            for channel in Channel::ALL {
                eventually("it stands", || end.mail.send(to.id, channel, number(0)).ok());
                (1..1000).for_each(|index| end.mail.send(to.id, channel, number(index)).unwrap());
            }
        }
    }
    for end in &mut nodes {
        let mut counts = std::collections::BTreeMap::new();
        while counts.values().filter(|count| **count == 1000).count() < 4 {
            match end.next() {
                Arrival::Letter { from, channel, bytes } => {
                    let count = counts.get_mut(&(from, channel)).expect("a connection is told of before its letters");
                    assert_eq!(bytes, number(*count));
                    *count += 1;
                }
                Arrival::Reset { from, channel } => assert_eq!(counts.insert((from, channel), 0), None),
                Arrival::Connected { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn large_letters_pass_whole_and_control_does_not_wait_for_them() {
    let [mut a, mut b] = ends();
    for channel in Channel::ALL {
        a.await_connected(b.node, channel);
    }
    let letters: Vec<_> =
        (0..6).flat_map(|seed| [long(8 << 20, seed), number(seed.into()), long(9000, seed)]).collect();
    letters.iter().for_each(|letter| a.mail.send(b.node.id, BULK, letter.clone()).unwrap());
    a.mail.send(b.node.id, CONTROL, b"lease".to_vec()).unwrap();
    // More than may wait in the inbox, of which nothing is taken: it stays on its way, and control passes it.
    eventually("the inbox is full", || (b.arrivals.bytes() > 16 << 20).then_some(()));
    let mut taken = Vec::new();
    eventually("control comes", || {
        b.arrivals.take(0, &mut taken);
        let lease = Arrival::Letter { from: a.node, channel: CONTROL, bytes: b"lease".to_vec() };
        taken.contains(&lease).then_some(())
    });
    let is_bulk = |arrival: Arrival| match arrival {
        Arrival::Letter { channel: BULK, bytes, .. } => Some(bytes),
        _ => None,
    };
    let mut found: Vec<_> = taken.into_iter().filter_map(is_bulk).collect();
    found.extend(b.await_letters(a.node, BULK, letters.len() - found.len()));
    assert!(found == letters);
    assert_eq!(a.mail.send(b.node.id, BULK, Vec::new()), Err(NotSent::Empty));
    assert_eq!(a.mail.send(99, BULK, number(1)), Err(NotSent::NotConnected));
    let tally = a.mail.tallies().into_iter().find(|tally| tally.channel == BULK).unwrap();
    let bytes: usize = letters.iter().map(Vec::len).sum();
    assert_eq!((tally.name.as_str(), tally.sent, tally.sent_bytes), ("broker-2", letters.len() as u64, bytes as u64));
}

#[test]
fn a_node_that_starts_again_is_connected_under_its_new_life_and_begins_anew() {
    let mut places = places(2);
    let (mut a, mut b) = (End::start(&places[0]), End::start(&places[1]));
    a.await_connected(b.node, CONTROL);
    a.mail.send(b.node.id, CONTROL, number(1)).unwrap();
    b.until(|arrival| matches!(arrival, Arrival::Letter { .. }));
    let before = b.node;
    drop(b);
    a.until(|arrival| *arrival == Arrival::Lost { to: before, channel: CONTROL });
    // Nobody serves the lanes here, who would notice that they are lost: as long as they stand the process does.
    a.links.peers().handle_gone(fulmar_cluster::NodeId(before.id), 1, Instant::now(), 0);
    places[1].node.incarnation = 2;
    let mut b = End::start(&places[1]);
    a.await_connected(b.node, CONTROL);
    a.mail.send(b.node.id, CONTROL, number(2)).unwrap();
    b.until(|arrival| *arrival == Arrival::Reset { from: a.node, channel: CONTROL });
    assert_eq!(b.await_letters(a.node, CONTROL, 1), [number(2)]);
    b.await_connected(a.node, BULK);
    b.mail.send(a.node.id, BULK, number(3)).unwrap();
    assert_eq!(
        a.until(|arrival| matches!(arrival, Arrival::Letter { .. })),
        Arrival::Letter { from: b.node, channel: BULK, bytes: number(3) }
    );
}

#[test]
fn a_node_that_stands_still_is_given_up_on_both_ways_and_taken_back_when_it_goes_on() {
    let [mut a, mut b] = ends();
    for channel in Channel::ALL {
        a.await_connected(b.node, channel);
        b.await_connected(a.node, channel);
        a.until(|arrival| *arrival == Arrival::Reset { from: b.node, channel });
    }
    let start = Instant::now();
    let frozen = b.freeze();
    // Its kernel takes them all the same.
    a.mail.send(b.node.id, BULK, number(1)).unwrap();
    let mut ends = vec![];
    while ends.len() < 4 {
        let end = a.next();
        assert!(matches!(end, Arrival::Lost { .. } | Arrival::Ended { .. }), "{end:?}");
        ends.push(end);
        let elapsed = start.elapsed();
        assert!((SILENCE * 7 / 10..SILENCE * 2).contains(&elapsed), "{elapsed:?}: {ends:?}");
    }
    drop(frozen);
    a.await_connected(b.node, BULK);
    a.mail.send(b.node.id, BULK, number(2)).unwrap();
    b.until(|arrival| *arrival == Arrival::Letter { from: a.node, channel: BULK, bytes: number(2) });
}

#[test]
fn nobody_is_given_up_for_having_nothing_to_say_or_no_room() {
    let [mut a, mut b] = ends();
    for channel in Channel::ALL {
        a.await_connected(b.node, channel);
        b.until(|arrival| *arrival == Arrival::Reset { from: a.node, channel });
    }
    // More than fits into the inbox and what is between, so that the reader reads nothing for a while.
    let letters: Vec<_> = (0..50).map(|seed| long(1 << 20, seed)).collect();
    letters.iter().for_each(|letter| a.mail.send(b.node.id, BULK, letter.clone()).unwrap());
    a.await_beats(b.node, BULK);
    assert!(b.await_letters(a.node, BULK, letters.len()) == letters);
    let connections: Vec<_> = a.mail.tallies().iter().map(|tally| tally.connections).collect();
    assert_eq!(connections, [1, 1]);
}

#[test]
fn too_many_letters_for_a_slow_peer_end_the_connection_which_begins_anew() {
    let [mut a, mut b] = ends();
    for channel in Channel::ALL {
        a.await_connected(b.node, channel);
    }
    let letter = long(1 << 20, 0);
    let overflows = |a: &End| a.mail.tallies().iter().map(|tally| tally.overflows).sum::<u64>();
    let mut sent = 0_u32;
    while overflows(&a) == 0 {
        a.mail.send(b.node.id, BULK, [number(sent), letter.clone()].concat()).unwrap();
        sent += 1;
        // The first is there before there are too many.
        eventually("it comes", || (sent > 1 || b.arrivals.bytes() > letter.len()).then_some(()));
        assert!(sent < 1000, "nothing is bounded");
    }
    assert!(sent >= 64, "{sent}: the outbox takes no less");
    a.until(|arrival| *arrival == Arrival::Lost { to: b.node, channel: BULK });
    a.await_connected(b.node, BULK);
    a.mail.send(b.node.id, BULK, b"anew".to_vec()).unwrap();
    let (mut next, mut has_begun) = (0, false);
    loop {
        match b.next() {
            Arrival::Reset { channel: BULK, .. } => has_begun = next > 0 || has_begun,
            Arrival::Letter { channel: BULK, bytes, .. } if bytes == b"anew" => break,
            Arrival::Letter { channel: BULK, bytes, .. } => {
                assert_eq!((&bytes[..4], has_begun), (&number(next)[..], false), "in order, up to where it ends");
                next += 1;
            }
            _ => {}
        }
    }
    assert!(has_begun && next > 0 && next < sent);
    assert_eq!(overflows(&a), 1);
}

#[test]
fn a_new_life_of_a_running_node_is_greeted_with_on_new_connections() {
    let [mut a, mut b] = ends();
    a.await_connected(b.node, CONTROL);
    b.await_connected(a.node, CONTROL);
    let next = Node { incarnation: 7, ..a.node };
    a.links.begin_life(7);
    a.until(|arrival| *arrival == Arrival::Lost { to: b.node, channel: CONTROL });
    a.await_connected(b.node, CONTROL);
    b.await_connected(next, CONTROL);
    a.mail.send(b.node.id, CONTROL, number(1)).unwrap();
    b.until(|arrival| *arrival == Arrival::Letter { from: next, channel: CONTROL, bytes: number(1) });
}

#[test]
fn neighbours_are_known_by_what_discovery_and_greetings_told() {
    let [mut a, mut b] = ends();
    for channel in Channel::ALL {
        a.await_connected(b.node, channel);
        b.await_connected(a.node, channel);
    }
    let neighbours = eventually("both addresses are known", || {
        let neighbours = a.links.neighbours();
        let lodgers: Vec<_> = neighbours.found.iter().map(|found| found.lodger).collect();
        let wanted = [Lodger::Itself, Lodger::Node(fulmar_cluster::NodeId(b.node.id))];
        wanted.iter().all(|wanted| lodgers.contains(wanted)).then_some(neighbours)
    });
    assert!(neighbours.is_settled);
    let [known] = &neighbours.known[..] else { panic!("{neighbours:?}") };
    assert_eq!((known.node, known.name.as_str(), &known.letters[..]), (b.node, "broker-2", &Channel::ALL[..]));
    assert_eq!(known.address.map(|address| address.ip().is_loopback()), Some(true));
    // Nobody serves the lanes here.
    assert!(matches!(known.lanes, LanesState::Lost { .. }), "{known:?}");
}

#[test]
fn wrong_greetings_are_refused_and_say_why() {
    let place = places(1).remove(0);
    let _node = End::start(&place);
    let other = Node { id: 9, incarnation: 1 };
    let usual = hello(other, CONTROL);
    for (hello, wanted) in [
        (hello(place.node, CONTROL), RefusalReason::Itself),
        (hello(Node { incarnation: 2, ..place.node }, BULK), RefusalReason::SameNodeId { name: "broker-1".to_owned() }),
        (Hello { cluster: "other".to_owned(), ..usual.clone() }, RefusalReason::WrongCluster { wanted: String::new() }),
    ] {
        let (mut stream, answer) = greet(place.address, &hello);
        let Greeting::Refusal(refusal) = answer else { panic!("{hello:?} is accepted") };
        assert_eq!(refusal.reason, wanted);
        assert!(is_closed(&mut stream));
    }
    let (_stream, answer) = greet(place.address, &usual);
    assert!(matches!(answer, Greeting::Hello(_)), "{answer:?}");
    let (_, answer) = greet(place.address, &usual);
    assert!(matches!(answer, Greeting::Refusal(refusal) if refusal.reason == RefusalReason::AlreadyLinked));
}

#[test]
fn a_node_without_a_store_refuses_letters_and_writes_none() {
    let mut places = places(2);
    places[1].has_store = false;
    let (_a, b) = (End::start(&places[0]), End::start(&places[1]));
    let (_, answer) = greet(places[1].address, &hello(Node { id: 9, incarnation: 1 }, BULK));
    assert!(matches!(answer, Greeting::Refusal(refusal) if refusal.reason == RefusalReason::NoStore));
    assert!(b.links.letter_tallies().is_empty());
}

#[test]
fn a_writer_that_says_nothing_or_too_much_is_closed() {
    let place = places(1).remove(0);
    let mut node = End::start(&place);
    let from = Node { id: 9, incarnation: 1 };
    let start = Instant::now();
    let (mut silent, _) = greet(place.address, &hello(from, CONTROL));
    assert!(is_closed(&mut silent));
    let elapsed = start.elapsed();
    assert!((SILENCE * 7 / 10..SILENCE * 2).contains(&elapsed), "{elapsed:?}");
    node.until(|arrival| *arrival == Arrival::Ended { from, channel: CONTROL });

    let (mut long, _) = greet(place.address, &hello(from, BULK));
    long.write_all(&u32::try_from(LETTER_BYTES_MAX + 1).unwrap().to_be_bytes()).unwrap();
    long.write_all(b"x").unwrap();
    assert!(is_closed(&mut long));
    node.until(|arrival| *arrival == Arrival::Ended { from, channel: BULK });
}

#[test]
fn a_newer_connection_takes_the_place_of_an_older_one() {
    let place = places(1).remove(0);
    let mut node = End::start(&place);
    let from = Node { id: 9, incarnation: 1 };
    let (mut older, _) = greet(place.address, &hello(from, BULK));
    let (mut newer, _) = greet(place.address, &Hello { epoch: 2, ..hello(from, BULK) });
    assert!(is_closed(&mut older));
    newer.write_all(&[&head(5).unwrap()[..], b"newer"].concat()).unwrap();
    let reset = || Arrival::Reset { from, channel: BULK };
    let wanted = [reset(), reset(), Arrival::Letter { from, channel: BULK, bytes: b"newer".to_vec() }];
    assert_eq!([node.next(), node.next(), node.next()], wanted);
}

/// Writes a certificate for localhost, signed by this authority, and the authority itself.
fn certify(folder: &Path, authority: &(rcgen::Certificate, Issuer<'_, KeyPair>)) -> ClusterTls {
    std::fs::create_dir_all(folder).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority.1).unwrap();
    let file = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    ClusterTls {
        cert_file: file("tls.crt", certificate.pem()),
        key_file: file("tls.key", key.serialize_pem()),
        ca_file: file("ca.crt", authority.0.pem()),
    }
}

fn authority() -> (rcgen::Certificate, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap(), Issuer::new(params, key))
}

#[test]
fn with_certificates_letters_are_encrypted_and_strangers_stay_out() {
    let folder = std::env::temp_dir().join(format!("fulmar-letters-{}", std::process::id()));
    let mut places = places(3);
    let ours = authority();
    places[0].tls = Some(certify(&folder.join("0"), &ours));
    places[1].tls = Some(certify(&folder.join("1"), &ours));
    places[2].tls = Some(certify(&folder.join("2"), &authority()));
    let [mut a, mut b, stranger] = [0, 1, 2].map(|index| End::start(&places[index]));
    a.await_connected(b.node, BULK);
    let letters = [long(3 << 20, 1), number(1), long(8 << 20, 2)];
    letters.iter().for_each(|letter| a.mail.send(b.node.id, BULK, letter.clone()).unwrap());
    b.until(|arrival| *arrival == Arrival::Reset { from: a.node, channel: BULK });
    assert!(b.await_letters(a.node, BULK, letters.len()) == letters);
    // Nothing is said for longer than a silent peer would be given, and the stranger tries all the while.
    a.await_beats(b.node, BULK);
    a.mail.send(b.node.id, BULK, number(2)).unwrap();
    assert_eq!(b.await_letters(a.node, BULK, 1), [number(2)]);
    assert_eq!((stranger.mail.tallies(), stranger.links.neighbours().known), (vec![], vec![]));
    assert!(a.links.neighbours().known.iter().all(|known| known.node == b.node));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn small_letters_are_written_many_at_a_time() {
    const LETTERS: u32 = 200_000;
    let [mut a, mut b] = ends();
    a.await_connected(b.node, BULK);
    let start = Instant::now();
    let (mail, to) = (a.mail.clone(), b.node.id);
    let writer = std::thread::spawn(move || {
        for index in 0..LETTERS {
            mail.send(to, BULK, [number(index), vec![0; 96]].concat()).unwrap();
        }
    });
    b.until(|arrival| *arrival == Arrival::Reset { from: a.node, channel: BULK });
    for (index, letter) in (0..).zip(b.await_letters(a.node, BULK, LETTERS as usize)) {
        assert_eq!(letter[..4], number(index));
    }
    writer.join().unwrap();
    println!("{:.0} letters of 100 bytes per second", f64::from(LETTERS) / start.elapsed().as_secs_f64());
}
