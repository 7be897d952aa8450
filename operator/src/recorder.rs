//! Writes events so that every note is kept.
//!
//! kube's recorder counts an event on the last one of the same reason, and that one keeps its note: "from 3 to 5 pods"
//! would swallow a later "from 5 to 4 pods". So each note has a recorder of its own, and only what repeats word for
//! word is counted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, Recorder, Reporter};

/// Notes that are remembered; beyond that all are forgotten, and what repeats is a new event.
const NOTES_MAX: usize = 1024;

/// Writes the events of this operator.
pub(crate) struct NoteRecorder {
    client: Client,
    reporter: Reporter,
    by_note: Mutex<HashMap<String, Recorder>>,
}

impl NoteRecorder {
    pub(crate) fn new(client: Client, reporter: Reporter) -> Self {
        Self { client, reporter, by_note: Mutex::default() }
    }

    /// Writes an event about an object.
    pub(crate) async fn publish(&self, event: &Event, about: &ObjectReference) -> Result<(), kube::Error> {
        let recorder = self.of_note(event.note.as_deref().unwrap_or_default());
        recorder.publish(event, about).await
    }

    fn of_note(&self, note: &str) -> Recorder {
        // A panic while the lock was held cannot leave the map half written.
        let mut by_note = self.by_note.lock().unwrap_or_else(PoisonError::into_inner);
        if by_note.len() >= NOTES_MAX && !by_note.contains_key(note) {
            by_note.clear();
        }
        let new = || Recorder::new(self.client.clone(), self.reporter.clone());
        by_note.entry(note.to_owned()).or_insert_with(new).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::extract::State;
    use axum::http::Method;
    use axum::{Json, Router};
    use kube::runtime::events::EventType;
    use serde_json::Value;

    use super::*;
    use crate::events::event;

    type Seen = Arc<Mutex<Vec<(String, String)>>>;

    /// Notes what would be written, and answers as the API server does: with the object.
    async fn note(State(seen): State<Seen>, method: Method, Json(object): Json<Value>) -> Json<Value> {
        seen.lock().unwrap().push((method.to_string(), object["note"].as_str().unwrap_or_default().to_owned()));
        Json(object)
    }

    fn recorder() -> (NoteRecorder, Seen) {
        let seen = Seen::default();
        let api_server = Router::new().fallback(note).with_state(seen.clone());
        let reporter = Reporter { controller: "test".to_owned(), instance: None };
        (NoteRecorder::new(Client::new(api_server, "shop"), reporter), seen)
    }

    #[tokio::test]
    async fn every_note_is_an_event_of_its_own_and_only_its_repetition_is_counted() {
        let (recorder, seen) = recorder();
        let about = ObjectReference { name: Some("demo".to_owned()), ..ObjectReference::default() };
        for note in ["from 3 to 5 pods", "from 5 to 4 pods", "from 5 to 4 pods"] {
            recorder.publish(&event(EventType::Normal, "Scaled", "Scale", note), &about).await.unwrap();
        }
        let wanted = [("POST", "from 3 to 5 pods"), ("POST", "from 5 to 4 pods"), ("PATCH", "from 5 to 4 pods")];
        assert_eq!(*seen.lock().unwrap(), wanted.map(|(verb, note)| (verb.to_owned(), note.to_owned())));
    }

    #[tokio::test]
    async fn notes_are_forgotten_when_there_are_too_many() {
        let (recorder, _) = recorder();
        for number in 0..=NOTES_MAX {
            recorder.of_note(&number.to_string());
        }
        assert_eq!(recorder.by_note.lock().unwrap().len(), 1);
    }
}
