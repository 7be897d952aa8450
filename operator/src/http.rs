//! The operator's HTTP port: /metrics for Prometheus, /healthz and /readyz for Kubernetes.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

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
    let listener = listen(context.settings.http).await?;
    axum::serve(listener, routes(context)).with_graceful_shutdown(stop).await.context("serve HTTP")
}

fn routes(context: Arc<Context>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(liveness))
        .route("/readyz", get(readiness))
        .with_state(context)
}

/// `::` takes IPv4 too; a kernel without IPv6 refuses it, and then all of IPv4 is meant.
async fn listen(address: SocketAddr) -> Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    let is_any = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let bound = match bound {
        Err(error) if is_any && error.kind() != ErrorKind::AddrInUse => {
            tracing::info!(%error, "no IPv6 here, so IPv4 alone is served");
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    bound.with_context(|| format!("listen on {address}"))
}

/// Alive means that every controller's loop turns.
async fn liveness(State(context): State<Arc<Context>>) -> (StatusCode, String) {
    match context.pulse.hanging(Instant::now()) {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some((scope, age)) => {
            let message = format!("the controller of {scope} has not turned for {} s\n", age.as_secs());
            (StatusCode::INTERNAL_SERVER_ERROR, message)
        }
    }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::Request;
    use kube::Client;

    use super::*;
    use crate::fixtures::context;

    async fn asked(context: &Arc<Context>, path: &str) -> Result<String, kube::Error> {
        let client = Client::new(routes(context.clone()), "none");
        client.request_text(Request::get(path).body(Vec::new()).unwrap()).await
    }

    #[tokio::test]
    async fn a_controller_that_hangs_fails_the_liveness_probe() {
        let context = Arc::new(context(Client::new(Router::new(), "none")));
        assert_eq!(asked(&context, "/healthz").await.unwrap(), "ok\n");
        let long_ago = Instant::now().checked_sub(Duration::from_secs(151)).expect("this machine runs for longer");
        context.pulse.turned(&None, long_ago);
        let hanging = asked(&context, "/healthz").await.unwrap_err().to_string();
        assert!(hanging.contains("the controller of all namespaces has not turned for 151 s"), "{hanging}");
        context.pulse.turned(&None, Instant::now());
        assert_eq!(asked(&context, "/healthz").await.unwrap(), "ok\n");
    }

    #[tokio::test]
    async fn every_address_means_ipv4_too() {
        let listener = listen("[::]:0".parse().unwrap()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    }
}
