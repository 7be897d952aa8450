//! What all clients of a node together may make it keep: above that, new messages take the place of old ones of the
//! same client or are dropped, and what was kept is given back with the last message.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]
mod common;

use std::sync::Arc;

use common::*;
use fulmar_codec::{AckKind, Version};
use fulmar_session::{Delivered, DropReason, Limits, Quota, QuotaShare, SharedMessage};

const V5: Version = Version::V5;
const QUEUED: Delivered = Delivered::Queued { evicted: 0, evicted_by_node: 0 };
const NODE_FULL: Delivered = Delivered::Dropped(DropReason::NodeFull);

/// Clients of one node that keeps messages of 400,000 bytes, 300,000 of them waiting. All are absent.
fn absent<const N: usize>() -> ([Fixture; N], Arc<QuotaShare>) {
    let share = QuotaShare::new(Quota::new(400_000));
    let clients = std::array::from_fn(|_| {
        let mut client = Fixture::connected(&lasting(V5), Limits::default());
        client.share = Arc::clone(&share);
        client.lose();
        client
    });
    (clients, share)
}

/// One publish for several clients of a thread.
fn deliver_to_all(clients: &mut [Fixture], payload: &[u8]) -> Vec<Delivered> {
    let share = Arc::clone(&clients[0].share);
    let mut scratch = Vec::new();
    let mut shared = SharedMessage::new(&share, &mut scratch);
    let outgoing = outgoing(QOS1, payload);
    let deliver =
        |client: &mut Fixture| client.session.deliver(&mut client.out, &outgoing, to(QOS1), client.now, &mut shared);
    clients.iter_mut().map(deliver).collect()
}

#[test]
fn clients_that_are_absent_keep_no_more_together_than_their_node_allows() {
    let ([mut one, mut other], share) = absent();
    for number in [1; 5] {
        assert_eq!(one.deliver(QOS1, &[number; 50_000]), QUEUED);
    }
    assert_eq!(other.deliver(QOS1, &[6; 100_000]), NODE_FULL);
    assert!(share.used() <= 300_000);
    // Who waits for something already may have what is new instead, as with a full mailbox.
    assert_eq!(one.deliver(QOS1, &[7; 90_000]), Delivered::Queued { evicted: 0, evicted_by_node: 1 });
    assert_eq!(one.session.queued_messages(), 5);
    drop(one);
    assert_eq!(share.used(), 0);
    assert_eq!(other.deliver(QOS1, &[8; 100_000]), QUEUED);
}

#[test]
fn a_message_for_many_clients_counts_once() {
    let (mut clients, share) = absent::<100>();
    assert_eq!(deliver_to_all(&mut clients, &[1; 200_000]), [QUEUED; 100]);
    assert!((200_000..220_000).contains(&share.used()), "{} bytes", share.used());
    // None of them alone can make room for one more, so none gives up what it has.
    assert_eq!(deliver_to_all(&mut clients, &[2; 200_000]), [NODE_FULL; 100]);
    assert!(clients.iter().all(|client| client.session.queued_messages() == 1));
}

#[test]
fn clients_that_are_there_are_served_while_the_queues_of_absent_ones_are_full() {
    let ([mut absent, mut present], share) = absent();
    while absent.deliver(QOS1, &[1; 10_000]) == QUEUED {}
    present.connect(&lasting(V5), true);
    present.packets();
    for id in 1..=5 {
        assert_eq!(present.deliver(QOS1, &[2; 10_000]), Delivered::Sent);
        assert_eq!(present.packets(), [sent(QOS1, id, &[2; 10_000])]);
    }
    let held = share.used();
    assert_eq!(present.ack(AckKind::PubAck, 1), fulmar_session::AckAction::Completed);
    assert!(held - share.used() > 10_000);
}

#[test]
fn what_a_client_does_not_acknowledge_is_bounded_like_what_waits_for_it() {
    let limits = Limits { queued_bytes_max: 10_000, ..Limits::default() };
    for qos in [QOS1, QOS2] {
        let mut client = Fixture::connected(&lasting(V5), limits.clone());
        for _ in 0..3 {
            assert_eq!(client.deliver(qos, &[1; 4000]), Delivered::Sent);
        }
        assert_eq!(client.deliver(qos, &[2; 4000]), QUEUED);
        let kind = if qos == QOS1 { AckKind::PubAck } else { AckKind::PubRec };
        client.ack(kind, 1);
        client.ack(AckKind::PubComp, 1);
        assert_eq!(client.drain(), fulmar_session::Drained { sent: 1, ..Default::default() });
    }
}
