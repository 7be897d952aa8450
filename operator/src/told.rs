//! What a broker tells of itself in its metrics, in Prometheus' text form, as values.
//!
//! Brokers of another release, or that keep nothing, tell less: whatever is missing is `None`, and who decides by it
//! has to say what that means.

use fulmar_config::ClusterId;

/// The gauge of connected clients.
pub(crate) const CONNECTIONS: &str = "fulmar_connections";

/// What one broker told of the cluster that it is a member of, and of what it keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// The cluster that it is a member of; none before it has joined one.
    pub(crate) cluster_id: Option<ClusterId>,
    /// The number of the newest view of who lives that it knows.
    pub(crate) view: Option<u64>,
    /// Shards of the whole cluster.
    pub(crate) shards: Option<i32>,
    /// Shards that it leads.
    pub(crate) leaders: Option<i32>,
    /// Of those that it leads: shards of which every copy has caught up.
    pub(crate) shards_healthy: Option<i32>,
    /// Whether every copy on it has what is committed.
    pub(crate) caught_up: Option<bool>,
    /// Whether it hands over what it keeps.
    pub(crate) drains: bool,
}

impl Told {
    /// Reads the metrics of a broker.
    pub(crate) fn read(text: &str) -> Self {
        let gauge = |name: &str| samples(text, name).map(|sample| sample.value).next();
        let count = |name: &str| gauge(name).and_then(whole).and_then(|count| i32::try_from(count).ok());
        Self {
            cluster_id: samples(text, "fulmar_cluster_info")
                .filter(|sample| sample.value == 1.0)
                .find_map(|sample| ClusterId::parse(sample.label("id")?)),
            view: gauge("fulmar_cluster_view").and_then(whole),
            shards: count("fulmar_store_shards"),
            leaders: count("fulmar_store_leaders"),
            shards_healthy: count("fulmar_store_shards_healthy"),
            caught_up: gauge("fulmar_store_caught_up").map(|value| value == 1.0),
            drains: samples(text, "fulmar_drain").next().is_some(),
        }
    }
}

/// The clients that are connected to a broker, by its metrics; added up over the listeners.
pub(crate) fn connections_in(text: &str) -> Option<i64> {
    let counts = samples(text, CONNECTIONS).filter_map(|sample| i64::try_from(whole(sample.value)?).ok());
    counts.reduce(i64::saturating_add)
}

/// A count, as long as it is one.
fn whole(value: f64) -> Option<u64> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "finite, not negative, below 2^53")]
    (value.is_finite() && (0.0..9e15).contains(&value)).then_some(value as u64)
}

/// One line of a metric.
struct Sample<'a> {
    labels: &'a str,
    value: f64,
}

impl<'a> Sample<'a> {
    /// The value of a label; those of brokers hold no quotes.
    fn label(&self, name: &str) -> Option<&'a str> {
        let mut pairs = self.labels.split(',').filter_map(|pair| pair.split_once('='));
        let (_, quoted) = pairs.find(|(found, _)| found.trim() == name)?;
        quoted.trim().strip_prefix('"')?.strip_suffix('"')
    }
}

/// The samples of exactly this metric.
fn samples<'a>(text: &'a str, name: &str) -> impl Iterator<Item = Sample<'a>> {
    text.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once('}')?,
            None => ("", rest.strip_prefix(' ')?),
        };
        Some(Sample { labels, value: value.split_whitespace().next()?.parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_member_of_a_durable_cluster_tells_all() {
        let text = format!(
            "# HELP fulmar_cluster_info The cluster.\n# TYPE fulmar_cluster_info gauge\n\
             fulmar_cluster_info{{node_id=\"00000000000000aa\",id=\"{ID}\"}} 1\nfulmar_cluster_view 17\n\
             fulmar_store_shards 12\nfulmar_store_leaders 4\nfulmar_store_shards_healthy 3\nfulmar_store_caught_up 0\n\
             fulmar_drain{{what=\"leaders\"}} 4\n"
        );
        let wanted = Told {
            cluster_id: ClusterId::parse(ID),
            view: Some(17),
            shards: Some(12),
            leaders: Some(4),
            shards_healthy: Some(3),
            caught_up: Some(false),
            drains: true,
        };
        assert_eq!(Told::read(&text), wanted);
    }

    #[test]
    fn what_is_not_told_or_makes_no_sense_is_none() {
        assert_eq!(Told::read("fulmar_connections 3\n"), Told::default());
        let text = "fulmar_cluster_info{id=\"short\"} 1\nfulmar_cluster_view NaN\nfulmar_store_shards -1\n\
                    fulmar_store_leaders many\nfulmar_store_shards_healthy_total 3\n";
        assert_eq!(Told::read(text), Told::default());
        let past = format!("fulmar_cluster_info{{id=\"{ID}\"}} 0\n");
        assert_eq!(Told::read(&past), Told::default());
    }

    #[test]
    fn connections_are_found_with_and_without_labels() {
        let plain = "# HELP fulmar_connections Clients.\n# TYPE fulmar_connections gauge\nfulmar_connections 17\n";
        assert_eq!(connections_in(plain), Some(17));
        let labelled =
            "fulmar_connections{listener=\"mqtt\"} 3\nfulmar_connections{listener=\"mqtts\"} 4 1700000000000\n";
        assert_eq!(connections_in(labelled), Some(7));
    }

    #[test]
    fn other_metrics_and_nonsense_are_not_connections() {
        assert_eq!(connections_in("fulmar_connections_total 9\n"), None);
        assert_eq!(connections_in("fulmar_connections NaN\nfulmar_connections -1\nfulmar_connections many\n"), None);
        assert_eq!(connections_in(""), None);
    }
}
