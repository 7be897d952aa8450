//! The Kubernetes controller that runs MqttCluster resources. This file starts things; the story of one cluster is in
//! `reconcile.rs`.

mod access;
mod admin;
mod apply;
mod autoscale;
mod backoff;
mod broker_config;
mod build;
mod certificates;
mod context;
mod controller;
mod drain;
mod events;
mod evict;
mod failure;
#[cfg(test)]
mod fake_api;
#[cfg(test)]
mod fixtures;
mod fleet;
mod http;
mod identity;
mod image;
mod keys;
mod metrics;
mod observe;
mod ownership;
#[cfg(test)]
mod pipeline_tests;
mod pods;
mod prune;
mod pulse;
mod readings;
mod reconcile;
mod record;
mod recorder;
mod refresh;
mod roll;
mod rotation;
mod scrape;
mod settings;
mod status;
mod told;
mod validate;
mod volumes;
mod zone;

use std::io::IsTerminal;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Parser;
use fulmar_api::labels;
use kube::Client;
use kube::runtime::events::Reporter;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

use crate::context::Context;
use crate::settings::{LogFormat, Settings};

#[tokio::main]
async fn main() -> Result<()> {
    let settings = Settings::parse();
    start_log(&settings)?;
    let client = Client::try_default().await.context("find the API server")?;
    let scopes = settings.scopes();
    let reporter = Reporter { controller: labels::MANAGER.to_owned(), instance: std::env::var("POD_NAME").ok() };
    let context = Arc::new(Context::new(client, settings, reporter).context("register the metrics")?);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        http = %context.settings.http,
        brokers = context.settings.broker_image.version,
        namespaces = ?scopes,
        "operator started"
    );

    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut http_stop = stopping.clone();
    tasks.spawn(http::serve(context.clone(), async move {
        // A closed channel stops just as well.
        let _ = http_stop.wait_for(|stop| *stop).await;
    }));
    for scope in scopes {
        tasks.spawn(controller::run(context.clone(), scope, stopping.clone()));
    }
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watch for SIGINT")?;
    let ended = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        ended = tasks.join_next() => ended,
    };
    tracing::info!("operator stops");
    // Every task holds a receiver until it ends, so the word is heard.
    let _ = stop.send(true);
    if let Some(result) = ended {
        // Without being told, no part of the operator ends: Kubernetes starts it again.
        result.context("a task panicked")??;
        anyhow::bail!("a task ended without being told to");
    }
    while let Some(result) = tasks.join_next().await {
        result.context("a task panicked")??;
    }
    Ok(())
}

fn start_log(settings: &Settings) -> Result<()> {
    let filter =
        EnvFilter::try_new(&settings.log).with_context(|| format!("read the log filter {:?}", settings.log))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match settings.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
