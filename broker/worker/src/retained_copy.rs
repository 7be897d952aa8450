//! What is retained, between nodes: a peer that is new gets a copy of it, as far as its lane takes it at a time, and all
//! are told what the store taught this node since.

use crate::learned::{Change, News};
use crate::node::unpoisoned;
use crate::worker::Worker;
use fulmar_cluster::frame::{LinkMessage, RetainedEntry, RetainedMessage};
use fulmar_router::Cursor;
use fulmar_session::{Message, Outgoing};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Retained messages looked at before others have their turn.
const RETAINED_STEPS_MAX: usize = 1024;
/// A copy of the retained messages uses this much of a lane, so that publishes pass.
const RETAINED_COPY_BYTES: usize = 1 << 20;

impl Worker {
    /// Goes on with a peer's copy of our retained messages, as far as the lane takes it.
    pub(crate) fn copy_retained(&mut self, index: u32, now: Instant) {
        let Worker { node, lanes, .. } = self;
        let slot = &mut lanes.slots[index as usize];
        let Some(speaker) = slot.speaker.as_deref_mut() else { return };
        let Some(cursor) = &mut speaker.copy else { return };
        if slot.lane.buffered_bytes() >= RETAINED_COPY_BYTES {
            return;
        }
        let lane = &mut slot.lane;
        let done = node.copy_retained(cursor, RETAINED_STEPS_MAX, now, |topic, message, version| {
            let message = message.map(|message| of_link(message, now));
            // The lane takes twice what stops this copy, so there is room for one more.
            let taken = lane.push(&LinkMessage::RetainedEntry(RetainedEntry { topic, version, message }));
            if taken.is_ok() && lane.buffered_bytes() < RETAINED_COPY_BYTES {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        if done && lane.push(&LinkMessage::RetainedDone).is_ok() {
            speaker.copy = None;
        }
        lanes.touch(index);
    }

    /// Tells all peers what was learned from the store since. One whose lane is full gets everything once more.
    pub(crate) fn tell_learned(&mut self, now: Instant) {
        let news = unpoisoned(self.node.learned.lock()).take();
        if matches!(&news, News::Changes(changes) if changes.is_empty()) {
            return;
        }
        for index in 0..self.lanes.slots.len() as u32 {
            let slot = &mut self.lanes.slots[index as usize];
            let Some(speaker) = slot.speaker.as_deref_mut() else { continue };
            let has_all = match &news {
                News::Everything => false,
                News::Changes(changes) => changes.iter().all(|Change { topic, message, version }| {
                    let message = message.as_ref().map(|message| of_link(message, now));
                    let entry = LinkMessage::RetainedEntry(RetainedEntry { topic, version: *version, message });
                    slot.lane.buffered_bytes() < RETAINED_COPY_BYTES && slot.lane.push(&entry).is_ok()
                }),
            };
            if !has_all {
                speaker.copy = Some(Cursor::default());
                self.copy_retained(index, now);
            }
            self.lanes.touch(index);
        }
    }

    /// One of a peer's retained messages.
    pub(crate) fn retained_from_peer(&mut self, entry: &RetainedEntry<'_>, now: Instant) {
        let RetainedEntry { topic, version, message } = entry;
        self.node.clock.observe(version.clock);
        match message {
            Some(RetainedMessage { qos, expiry, forward, payload }) => {
                let expires = expiry.map(|seconds| now + Duration::from_secs(seconds.into()));
                let (qos, forward) = (*qos, *forward);
                self.retain(&Outgoing { topic, qos, retain: true, forward, payload, expires }, *version, now);
            }
            None => {
                // A deletion needs no room, so it is never refused.
                let _ = self.node.retain(topic, None, *version, now);
            }
        }
    }
}

/// A retained message as it goes to a peer.
fn of_link(message: &Message, now: Instant) -> RetainedMessage<'_> {
    let view = message.view();
    let expiry = view.expiry_seconds_left(now);
    RetainedMessage { qos: view.qos, expiry, forward: view.forward, payload: view.payload }
}
