//! The operator's own metrics, registered in one place.

use prometheus::{Encoder, Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

/// What the operator counts.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Reconciliations by how they ended: applied, refused (the user must act) or retried.
    pub(crate) reconciliations: IntCounterVec,
    /// How long a reconciliation took.
    pub(crate) reconcile_seconds: Histogram,
    /// Readings of a broker's metrics by result: read or failed.
    pub(crate) scrapes: IntCounterVec,
    /// Clusters that exist.
    clusters: IntGauge,
}

impl Metrics {
    /// Registers everything.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let reconciliations = IntCounterVec::new(
            Opts::new(
                "fulmar_operator_reconciliations_total",
                "Reconciliations by result: applied, refused or retried.",
            ),
            &["result"],
        )?;
        let reconcile_seconds = Histogram::with_opts(
            HistogramOpts::new("fulmar_operator_reconcile_seconds", "Time that one reconciliation took.")
                .buckets(vec![0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]),
        )?;
        let scrapes = IntCounterVec::new(
            Opts::new("fulmar_operator_scrapes_total", "Readings of a broker's metrics by result: read or failed."),
            &["result"],
        )?;
        let clusters = IntGauge::new("fulmar_operator_clusters", "MqttCluster resources that exist.")?;
        registry.register(Box::new(reconciliations.clone()))?;
        registry.register(Box::new(reconcile_seconds.clone()))?;
        registry.register(Box::new(scrapes.clone()))?;
        registry.register(Box::new(clusters.clone()))?;
        Ok(Self { registry, reconciliations, reconcile_seconds, scrapes, clusters })
    }

    /// Counts the clusters of one scope; `counted` is what the same scope counted last.
    pub(crate) fn count_clusters(&self, counted: &mut i64, existing: usize) {
        let count = i64::try_from(existing).unwrap_or(i64::MAX);
        self.clusters.add(count - std::mem::replace(counted, count));
    }

    /// Everything in Prometheus' text form.
    pub(crate) fn text(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_of_all_scopes_are_added_up() {
        let metrics = Metrics::new().unwrap();
        let (mut one, mut two) = (0, 0);
        metrics.count_clusters(&mut one, 3);
        metrics.count_clusters(&mut two, 2);
        metrics.count_clusters(&mut one, 1);
        assert_eq!(metrics.clusters.get(), 3);
    }

    #[test]
    fn every_metric_has_a_help_sentence() {
        let metrics = Metrics::new().unwrap();
        metrics.reconciliations.with_label_values(&["applied"]).inc();
        metrics.scrapes.with_label_values(&["read"]).inc();
        let text = metrics.text().unwrap();
        for name in ["reconciliations_total", "reconcile_seconds", "scrapes_total", "clusters"] {
            assert!(text.contains(&format!("# HELP fulmar_operator_{name} ")), "{name} is not in:\n{text}");
        }
    }
}
