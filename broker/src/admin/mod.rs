//! The plain HTTP port: probes and metrics. It answers questions and changes nothing. What is answered is here; `serve`
//! has the connections and their bounds. The admin port beside it asks for certificates and takes `orders`.

mod control;
mod orders;
mod serve;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;

use crate::health::{Health, Readiness};
use crate::metrics::{ControlMetrics, Metrics};
use crate::shortage::Shortage;
use crate::tls::{ClusterCertificates, Reloaded};

pub(crate) use control::{
    ClusterControl, ClusterReport, CopyReport, DrainReport, DrainState, MemberReport, MemberState, NothingKept,
    Ordered, Purpose, Question, Refused, ShardReport, Unavailable,
};
pub(crate) use serve::{CONNECTIONS_MAX, HttpPort};

/// What the handlers read.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Metrics,
}

impl Admin {
    /// The port that answers with this.
    pub(crate) fn into_port(self, shortage: Arc<Shortage>) -> HttpPort {
        let metrics = self.metrics.control.clone();
        HttpPort::new("http", router(Arc::new(self)), None, shortage, metrics)
    }
}

/// The admin port, for who proves himself as a peer does.
pub(crate) fn admin_port(
    control: Arc<dyn ClusterControl>,
    certificates: Arc<Reloaded<ClusterCertificates>>,
    shortage: Arc<Shortage>,
    metrics: Arc<ControlMetrics>,
) -> HttpPort {
    HttpPort::new("admin", orders::router(control), Some(certificates), shortage, metrics)
}

fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .with_state(admin)
}

/// Whether this process works. Another start would help if not, so peers are not asked.
async fn livez(State(admin): State<Arc<Admin>>) -> Response {
    plain(StatusCode::INTERNAL_SERVER_ERROR, &admin.health.stalled(Instant::now()))
}

/// Whether clients should be sent here; with `?verbose` as JSON.
async fn readyz(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Response {
    let readiness = admin.health.readiness();
    let is_verbose = query.is_some_and(|query| query.split('&').any(|part| part.split('=').next() == Some("verbose")));
    if is_verbose {
        let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        return (status, Json(readiness)).into_response();
    }
    plain(StatusCode::SERVICE_UNAVAILABLE, &awaited(&readiness))
}

/// Both.
async fn healthz(State(admin): State<Arc<Admin>>) -> Response {
    let mut problems = admin.health.stalled(Instant::now());
    problems.extend(awaited(&admin.health.readiness()));
    plain(StatusCode::SERVICE_UNAVAILABLE, &problems)
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], admin.metrics.expose()).into_response()
}

fn awaited(readiness: &Readiness) -> Vec<String> {
    readiness.missing.iter().map(|missing| format!("awaiting: {missing}")).collect()
}

fn plain(failed: StatusCode, problems: &[String]) -> Response {
    if problems.is_empty() {
        return (StatusCode::OK, "ok\n").into_response();
    }
    (failed, format!("{}\n", problems.join("\n"))).into_response()
}
