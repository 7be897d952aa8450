//! The operator's HTTP port: /metrics for Prometheus, /healthz and /readyz for Kubernetes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::context::Context;

/// Serves until `stop` is done.
pub(crate) async fn serve(context: Arc<Context>, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    let address = context.settings.http;
    let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readiness))
        .with_state(context);
    axum::serve(listener, routes).with_graceful_shutdown(stop).await.context("serve HTTP")
}

async fn metrics(State(context): State<Arc<Context>>) -> impl IntoResponse {
    match context.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Ready means that the operator knows every cluster it must care for.
async fn readiness(State(context): State<Arc<Context>>) -> (StatusCode, &'static str) {
    if context.scopes_pending.load(Ordering::Acquire) == 0 {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the list of MqttClusters has not been read yet\n")
    }
}
