//! The admin port: what the cluster looks like to this node, and its drain. Who may ask is decided by TLS before anything
//! is read; here requests become questions to a [`ClusterControl`], which is waited for a few seconds.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tracing::info;

use super::control::{ClusterControl, Ordered, Purpose, Question, Refused, Unavailable};

/// The store's thread takes up what it is asked in milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest body: it says one word.
const BODY_BYTES_MAX: usize = 1024;

type Control = Arc<dyn ClusterControl>;

pub(super) fn router(control: Control) -> Router {
    Router::new()
        .route("/v1/cluster", get(cluster))
        .route("/v1/drain", get(drain).post(begin_drain).delete(cancel_drain))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(control)
}

async fn cluster(State(control): State<Control>) -> Response {
    answer(&control, Question::Cluster).await
}

async fn drain(State(control): State<Control>) -> Response {
    answer(&control, Question::Drain).await
}

/// What is asked for in the body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BeginDrain {
    purpose: Purpose,
}

async fn begin_drain(State(control): State<Control>, body: Bytes) -> Response {
    let BeginDrain { purpose } = match serde_json::from_slice(&body) {
        Ok(order) => order,
        Err(error) => {
            let text = format!("found another body ({error}), wanted {{\"purpose\":\"leave\"}} or \"restart\"\n");
            return (StatusCode::BAD_REQUEST, text).into_response();
        }
    };
    info!(?purpose, "asked to drain");
    ordered(&control, |reply| Question::BeginDrain(purpose, reply)).await
}

async fn cancel_drain(State(control): State<Control>) -> Response {
    info!("asked to drain no more");
    ordered(&control, Question::CancelDrain).await
}

/// Asks and waits for the answer.
async fn answer<T: Serialize>(control: &Control, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Response {
    let late = "this node has not answered in time, it may be overloaded";
    ask(control, question, late).await.map_or_else(|refusal| refusal, |report| Json(report).into_response())
}

/// Orders something and waits until the cluster has agreed.
async fn ordered(control: &Control, question: impl FnOnce(oneshot::Sender<Ordered>) -> Question) -> Response {
    let late = "the cluster has not agreed in time; it goes on being asked";
    match ask(control, question, late).await {
        Ok(Ok(report)) => Json(report).into_response(),
        Ok(Err(Refused(text))) => (StatusCode::CONFLICT, format!("{text}\n")).into_response(),
        Err(refusal) => refusal,
    }
}

/// The answer, or what is said when there is none.
async fn ask<T>(
    control: &Control,
    question: impl FnOnce(oneshot::Sender<T>) -> Question,
    late: &str,
) -> Result<T, Response> {
    let (reply, answered) = oneshot::channel();
    let unavailable = |text: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("{text}\n")).into_response();
    control.ask(question(reply)).map_err(|Unavailable(reason)| unavailable(reason))?;
    match tokio::time::timeout(PATIENCE, answered).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(unavailable("this node cannot tell now, it starts or stops")),
        Err(_) => Err(unavailable(late)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::{Value, json};

    use super::super::control::{
        ClusterReport, CopyReport, DrainReport, DrainState, MemberReport, MemberState, NothingKept, ShardReport,
    };
    use super::*;

    /// Answers at once, and notes what it was asked to do.
    #[derive(Debug, Default)]
    struct Answering {
        purpose: Mutex<Option<Purpose>>,
    }

    impl Answering {
        fn report(&self) -> DrainReport {
            let purpose = *self.purpose.lock().unwrap();
            let state = purpose.map_or(DrainState::None, |_| DrainState::Draining);
            DrainReport { state, purpose, leaders: 3, replicas: 9, clients: 200 }
        }
    }

    impl ClusterControl for Answering {
        fn ask(&self, question: Question) -> Result<(), Unavailable> {
            match question {
                Question::Cluster(reply) => drop(reply.send(cluster_report(self.report()))),
                Question::Drain(reply) => drop(reply.send(self.report())),
                Question::BeginDrain(purpose, reply) => {
                    *self.purpose.lock().unwrap() = Some(purpose);
                    reply.send(Ok(self.report())).unwrap();
                }
                Question::CancelDrain(reply) => {
                    *self.purpose.lock().unwrap() = None;
                    reply.send(Ok(self.report())).unwrap();
                }
            }
            Ok(())
        }
    }

    /// Does nothing that it is told.
    #[derive(Debug)]
    struct Refusing;

    impl ClusterControl for Refusing {
        fn ask(&self, question: Question) -> Result<(), Unavailable> {
            if let Question::BeginDrain(_, reply) | Question::CancelDrain(reply) = question {
                reply.send(Err(Refused("node 1 is the last one".to_owned()))).unwrap();
            }
            Ok(())
        }
    }

    /// Takes questions and never answers.
    #[derive(Debug)]
    struct Dropping;

    impl ClusterControl for Dropping {
        fn ask(&self, _: Question) -> Result<(), Unavailable> {
            Ok(())
        }
    }

    fn cluster_report(drain: DrainReport) -> ClusterReport {
        let id = |number: u64| format!("{number:016x}");
        let member = |number, zone: Option<&str>, state, is_live| MemberReport {
            node_id: id(number),
            incarnation: 4,
            name: format!("demo-{number}"),
            zone: zone.map(str::to_owned),
            state,
            is_live,
        };
        ClusterReport {
            cluster_id: Some("0123456789abcdef0123456789abcdef".to_owned()),
            node_id: id(0),
            view: 7,
            members: vec![
                member(0, Some("a"), MemberState::Draining, true),
                member(1, None, MemberState::Up, true),
                member(2, None, MemberState::Joining, true),
                member(3, None, MemberState::Gone, false),
            ],
            shards: vec![ShardReport {
                number: 1,
                leader: Some(id(0)),
                copies: vec![
                    CopyReport { node_id: id(0), is_voter: true, lag: Some(0) },
                    CopyReport { node_id: id(1), is_voter: false, lag: None },
                ],
            }],
            drain,
        }
    }

    async fn read(response: Response) -> (u16, String) {
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn json_of(response: Response) -> Value {
        let (status, text) = read(response).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    #[tokio::test]
    async fn a_drain_is_begun_looked_at_and_cancelled() {
        let control: Control = Arc::new(Answering::default());
        let state = || State(control.clone());
        let idle = json!({"state": "none", "leaders": 3, "replicas": 9, "clients": 200});
        assert_eq!(json_of(drain(state()).await).await, idle);
        for purpose in ["leave", "restart"] {
            let body = Bytes::from(json!({"purpose": purpose}).to_string());
            let wanted = json!({"state": "draining", "purpose": purpose, "leaders": 3, "replicas": 9, "clients": 200});
            assert_eq!(json_of(begin_drain(state(), body).await).await, wanted);
            assert_eq!(json_of(drain(state()).await).await, wanted);
        }
        assert_eq!(json_of(cancel_drain(state()).await).await, idle);
    }

    /// The page shows what is answered, word for word.
    #[tokio::test]
    async fn the_cluster_is_told_as_the_page_shows_it() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/admin.md");
        let page = std::fs::read_to_string(page).unwrap();
        let (_, after) = page.split_once("```json\n").unwrap();
        let (example, _) = after.split_once("```").unwrap();
        let control: Control = Arc::new(Answering::default());
        let found = json_of(cluster(State(control)).await).await;
        assert_eq!(found, serde_json::from_str::<Value>(example).unwrap());
    }

    #[test]
    fn the_states_of_a_drain_are_as_the_page_names_them() {
        let states = [DrainState::None, DrainState::Draining, DrainState::Drained];
        assert_eq!(json!(states), json!(["none", "draining", "drained"]));
    }

    #[tokio::test]
    async fn a_body_that_says_something_else_orders_nothing() {
        let answering = Arc::new(Answering::default());
        for body in ["", "leave", "{}", r#"{"purpose":"stay"}"#, r#"{"purpose":"leave","now":true}"#] {
            let (status, text) = read(begin_drain(State(answering.clone()), Bytes::from(body)).await).await;
            assert_eq!(status, 400, "{body}");
            assert!(text.ends_with("wanted {\"purpose\":\"leave\"} or \"restart\"\n"), "{text}");
        }
        assert_eq!(*answering.purpose.lock().unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_refused_is_said_in_the_words_of_the_refusal() {
        let control: Control = Arc::new(Refusing);
        let body = Bytes::from(r#"{"purpose":"leave"}"#);
        let wanted = (409, "node 1 is the last one\n".to_owned());
        assert_eq!(read(begin_drain(State(control.clone()), body).await).await, wanted);
        assert_eq!(read(cancel_drain(State(control)).await).await, wanted);
    }

    #[tokio::test]
    async fn what_cannot_be_told_is_said_so() {
        for (control, wanted) in [
            (Arc::new(NothingKept) as Control, "this node is no member of a cluster that keeps anything, so "),
            (Arc::new(Dropping), "this node cannot tell now, "),
        ] {
            let (status, text) = read(drain(State(control)).await).await;
            assert_eq!(status, 503);
            assert!(text.starts_with(wanted), "{text}");
        }
    }
}
