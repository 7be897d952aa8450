//! The metrics of a pod, as Prometheus would read them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use fulmar_api::names;

/// One reading of one pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the metrics of the pod at this address.
    pub async fn read(address: IpAddr) -> Result<Self> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?;
        let url = format!("http://{address}:{}/metrics", names::HTTP_PORT);
        let text = client.get(&url).send().await?.error_for_status()?.text().await?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.filter_map(|line| line.rsplit_once(' '));
        Self(samples.filter_map(|(series, value)| Some((series.to_owned(), value.parse().ok()?))).collect())
    }

    /// The value of a series that must be there, named as Prometheus writes it: `name` or `name{label="value"}`.
    pub fn value(&self, series: &str) -> Result<f64> {
        self.0.get(series).copied().with_context(|| format!("{series} is not among the metrics"))
    }

    /// The value of a series that is not there before it first counts.
    #[must_use]
    pub fn count(&self, series: &str) -> f64 {
        self.0.get(series).copied().unwrap_or_default()
    }

    /// The value of a label of the first series of a metric, if there is one.
    #[must_use]
    pub fn label(&self, name: &str, label: &str) -> Option<String> {
        let of = |series: &String| {
            let labels = series.strip_prefix(name)?.strip_prefix('{')?.strip_suffix('}')?;
            let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
            let (_, quoted) = pairs.into_iter().find(|(found, _)| *found == label)?;
            Some(quoted.trim_matches('"').to_owned())
        };
        self.0.keys().find_map(of)
    }

    /// All series of one metric, added up.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        let is_of =
            |series: &str| series.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
        self.0.iter().filter(|(series, _)| is_of(series)).map(|(_, value)| value).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_found_with_and_without_labels() {
        let text = "# HELP a_total Things.\n# TYPE a_total counter\na_total{qos=\"0\"} 3\na_total{qos=\"1\"} 4\nb 5\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.value("a_total{qos=\"1\"}").unwrap(), 4.0);
        assert_eq!(metrics.value("b").unwrap(), 5.0);
        assert_eq!(metrics.sum("a_total"), 7.0);
        assert_eq!(metrics.label("a_total", "qos").as_deref(), Some("0"));
        assert_eq!((metrics.label("a_total", "peer"), metrics.label("b", "qos")), (None, None));
        assert_eq!(metrics.count("c"), 0.0);
        assert_eq!(metrics.value("c").unwrap_err().to_string(), "c is not among the metrics");
    }
}
