//! A queue that is several times larger than the memory of its broker: it is on the disk, and comes back whole.

use std::time::Duration;

use fulmar_codec::{AckKind, QoS, ReasonCode};

use crate::durable::{lasting, publisher, settle, start};
use crate::harness::{Broker, Client, Folder, Got};

/// So much is granted, and much less is for messages.
const MEMORY_BYTES: u64 = 100_000_000;
const SETTINGS: [&str; 6] = [
    "memory.limitBytes=100000000",
    "limits.queuedMessages=100000",
    "limits.queuedBytes=400000000",
    "limits.queuedBytesTotal=800000000",
    "limits.storedBytesTotal=8000000000",
    "limits.storedBytesInMemory=12582912",
];
const MESSAGES: usize = 5000;
const PAYLOAD_BYTES: usize = 64 << 10;
const QUEUE_BYTES: u64 = (MESSAGES * PAYLOAD_BYTES) as u64;
/// Publishes that are not acknowledged.
const UNDER_WAY: usize = 64;

/// All bytes depend on the number.
fn payload(number: usize) -> Vec<u8> {
    let mut payload = format!("{number:08}").into_bytes();
    payload.extend((payload.len()..PAYLOAD_BYTES).map(|at| (at.wrapping_mul(31) ^ number) as u8));
    payload
}

fn fill(client: &mut Client) {
    let mut acknowledged = 0;
    for number in 0..MESSAGES + UNDER_WAY {
        if number < MESSAGES {
            client.publish("t", payload(number), QoS::AtLeastOnce);
        }
        if number >= UNDER_WAY {
            assert!(matches!(client.next(), Got::PubAck(_, ReasonCode::SUCCESS)), "publish {acknowledged}");
            acknowledged += 1;
        }
    }
}

fn drain(client: &mut Client) {
    for number in 0..MESSAGES {
        let Got::Message { payload: found, packet_id, .. } = client.next() else { panic!("wanted message {number}") };
        assert!(found == payload(number), "wanted message {number}, found {:?}", String::from_utf8_lossy(&found[..8]));
        client.acknowledge(AckKind::PubAck, packet_id);
    }
}

fn check_memory(broker: &Broker) {
    let most = broker.resident_bytes_max();
    println!("{most} bytes of memory at most");
    assert!(most < MEMORY_BYTES, "{most} bytes of memory, wanted less than {MEMORY_BYTES}");
}

#[test]
fn a_queue_that_is_larger_than_memory_survives_a_kill_and_comes_whole_and_in_order() {
    let folder = Folder::new();
    let broker = start(&folder, &SETTINGS);
    let mut client = Client::connect_with(broker.address("mqtt"), &lasting("subscriber"));
    client.subscribe("t", QoS::AtLeastOnce);
    client.disconnect(ReasonCode::SUCCESS);
    settle(&broker, 0);

    let mut filler = publisher(&broker);
    fill(&mut filler);
    broker.wait_for_metric("fulmar_store_queued_messages", |count| count == MESSAGES as u64);
    broker.wait_for_metric("fulmar_store_bytes_on_disk", |bytes| bytes > QUEUE_BYTES - MEMORY_BYTES / 2);
    check_memory(&broker);
    broker.kill();

    let broker = start(&folder, &SETTINGS);
    broker.wait_for_metric("fulmar_store_queued_messages", |count| count == MESSAGES as u64);
    let mut client = Client::resume(broker.address("mqtt"), &lasting("subscriber"));
    client.socket().set_read_timeout(Some(Duration::from_secs(60))).expect("sockets have time limits");
    drain(&mut client);
    broker.wait_for_metric("fulmar_store_queued_messages", |count| count == 0);
    broker.wait_for_metric("fulmar_store_bytes_on_disk", |bytes| bytes == 0);
    // What the last snapshot refers to goes with the next one, which comes when that is much.
    broker.wait_for_metric("fulmar_store_body_file_bytes", |bytes| bytes < QUEUE_BYTES / 2);
    check_memory(&broker);
}
