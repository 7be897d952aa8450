//! What every client has to get across, whoever made it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use crate::foreign::{Foreign, Hello, Kind, Message, Publish};
use crate::harness::PATIENCE;
use crate::proxy::Proxy;
use crate::stage::Bed;

type Scenario = (&'static str, fn(&Bed, Kind, u8));

pub const TESTS: &[Scenario] = &[
    ("every_quality_of_service_passes_both_ways", every_quality_of_service_passes_both_ways),
    ("retained_messages_and_wills_arrive", retained_messages_and_wills_arrive),
    ("a_group_shares_what_comes", a_group_shares_what_comes),
    ("what_is_cut_off_is_resumed_and_nothing_is_lost", what_is_cut_off_is_resumed_and_nothing_is_lost),
    ("messages_up_to_the_limit_pass_and_one_above_it_ends_nothing", messages_up_to_the_limit_pass),
];

/// The default of `limits.packetBytes`.
const PACKET_BYTES_MAX: usize = 1 << 20;

fn hello(bed: &Bed, address: SocketAddr, version: u8, id: &str) -> Hello {
    Hello { address, version, id: bed.name(id), clean: true, will: None }
}

/// A client of the node with this number.
fn connect(bed: &Bed, kind: Kind, version: u8, node: usize, id: &str) -> Foreign {
    kind.start(&hello(bed, bed.node(node), version, id))
}

fn message(topic: &str, text: &str, qos: u64) -> Message {
    let sum = text.bytes().map(u64::from).sum();
    Message { topic: topic.to_owned(), text: text.to_owned(), size: text.len() as u64, sum, qos, retain: false }
}

fn every_quality_of_service_passes_both_ways(bed: &Bed, kind: Kind, version: u8) {
    let mut clients = [0, 1].map(|node| connect(bed, kind, version, node, &format!("c{node}")));
    let topics = [0, 1].map(|node| bed.name(&format!("/to/{node}")));
    for (client, topic) in clients.iter_mut().zip(&topics) {
        client.subscribe(&format!("{topic}/#"), 2);
    }
    for to in [0, 1] {
        for qos in 0..3 {
            let topic = format!("{}/ü/{qos}", topics[to]);
            clients[1 - to].say(&topic, "grüße", qos);
            assert_eq!(clients[to].message(), message(&topic, "grüße", qos.into()));
        }
    }
}

fn retained_messages_and_wills_arrive(bed: &Bed, kind: Kind, version: u8) {
    let (kept, will) = (bed.name("/kept"), bed.name("/will"));
    let mut watcher = connect(bed, kind, version, 0, "watcher");
    watcher.subscribe(&kept, 1);
    watcher.subscribe(&will, 1);
    let mortal = Hello { will: Some(will.clone()), ..hello(bed, bed.node(1), version, "mortal") };
    let mut mortal = kind.start(&mortal);
    mortal.publish(Publish { topic: &kept, text: "lasting", size: 0, qos: 1, retain: true });
    assert_eq!(watcher.message(), message(&kept, "lasting", 1));
    // Whoever comes later reads it, on any node.
    let mut late = connect(bed, kind, version, 2, "late");
    late.subscribe(&kept, 1);
    assert_eq!(late.message(), Message { retain: true, ..message(&kept, "lasting", 1) });
    mortal.kill();
    assert_eq!(watcher.message(), message(&will, &bed.name("mortal"), 1));
}

fn a_group_shares_what_comes(bed: &Bed, kind: Kind, version: u8) {
    const COUNT: usize = 20;
    let topic = bed.name("/work");
    let filter = format!("$share/group/{topic}");
    // Both on one node: those on the publisher's go first.
    let mut members = [0, 1].map(|number| connect(bed, kind, version, 0, &format!("member{number}")));
    members.iter_mut().for_each(|member| member.subscribe(&filter, 1));
    let mut publisher = connect(bed, kind, version, 1, "publisher");
    let texts: BTreeSet<String> = (0..COUNT).map(|number| number.to_string()).collect();
    texts.iter().for_each(|text| publisher.say(&topic, text, 1));
    // In turns, so each gets half of it.
    let got: Vec<String> = members
        .iter_mut()
        .flat_map(|member| (0..COUNT / 2).map(|_| member.message().text).collect::<Vec<_>>())
        .collect();
    assert_eq!(got.iter().cloned().collect::<BTreeSet<_>>(), texts, "{got:?}");
    assert!(members.iter_mut().all(|member| !member.has_message()), "each message goes to one member");
}

fn what_is_cut_off_is_resumed_and_nothing_is_lost(bed: &Bed, kind: Kind, version: u8) {
    const COUNT: usize = 40;
    let topic = bed.name("/x");
    let ways = [0, 1].map(|node| Proxy::before(bed.node(node)));
    let lasting = |way: &Proxy, id| Hello { clean: false, ..hello(bed, way.address, version, id) };
    let mut reader = kind.start(&lasting(&ways[0], "reader"));
    let mut writer = kind.start(&lasting(&ways[1], "writer"));
    let qualities = 1..kind.resumed_qos_max() + 1;
    for qos in qualities.clone() {
        reader.subscribe(&format!("{topic}/{qos}"), qos);
    }
    let mut wanted = BTreeSet::new();
    for number in 0..COUNT {
        for qos in qualities.clone() {
            writer.say(&format!("{topic}/{qos}"), &number.to_string(), qos);
            wanted.insert((u64::from(qos), number.to_string()));
        }
        match number {
            10 => ways[0].cut(),
            20 => {
                ways[1].cut();
                writer.await_event("lost");
                writer.await_event("connected");
            }
            // What comes while the client is away waits in its session.
            30 => ways[0].close(),
            _ => {}
        }
    }
    ways[0].open();
    let mut got = BTreeSet::new();
    while got != wanted {
        let Ok(Message { qos, text, .. }) = reader.message_within(PATIENCE) else {
            panic!("lost: {:?}", wanted.difference(&got).collect::<Vec<_>>());
        };
        let is_first = got.insert((qos, text.clone()));
        assert!(is_first || qos == 1 || !kind.passes_on_once(version), "{text} came twice at QoS {qos}");
    }
}

fn messages_up_to_the_limit_pass(bed: &Bed, kind: Kind, version: u8) {
    let topic = bed.name("/large");
    let mut reader = connect(bed, kind, version, 0, "reader");
    reader.subscribe(&topic, 1);
    let mut writer = connect(bed, kind, version, 1, "writer");
    let size = PACKET_BYTES_MAX - 100;
    for qos in 0..2 {
        writer.publish(Publish { topic: &topic, text: "large", size, qos, retain: false });
        let Message { text, size: found, sum, .. } = reader.message();
        let wanted = "large".bytes().map(u64::from).sum::<u64>() + u64::from(b'x') * (size as u64 - 5);
        assert!(text.starts_with("largex"), "{text}");
        assert_eq!((found, sum), (size as u64, wanted));
    }
    // The client may refuse to send it, or be closed for it: either way it is of use again.
    writer.publish(Publish { topic: &topic, text: "too large", size: PACKET_BYTES_MAX + 1, qos: 0, retain: false });
    let next = crate::harness::wait_for("the next message", || {
        writer.say(&topic, "small", 0);
        reader.message_within(Duration::from_millis(100)).ok()
    });
    assert_eq!(next.text, "small");
}

/// All clients at one time: each says something that all get.
pub fn all_meet(bed: &Bed) {
    let topic = bed.name("/all");
    let kinds = Kind::ALL.into_iter().flat_map(|kind| [(kind, 4), (kind, 5)]);
    let mut clients: Vec<Foreign> = kinds
        .enumerate()
        .map(|(number, (kind, version))| connect(bed, kind, version, number, &format!("{}{version}", kind.name())))
        .collect();
    clients.iter_mut().for_each(|client| client.subscribe(&topic, 2));
    let texts: BTreeSet<String> = (0..clients.len()).map(|number| number.to_string()).collect();
    for (client, text) in clients.iter_mut().zip(&texts) {
        client.say(&topic, text, 2);
    }
    for client in &mut clients {
        let got: BTreeSet<String> = texts.iter().map(|_| client.message().text).collect();
        assert_eq!(got, texts);
    }
}
