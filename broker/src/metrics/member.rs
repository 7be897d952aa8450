//! What `/metrics` tells of a cluster that keeps sessions together, as this node sees it. Of a broker that is no member
//! of one that is nothing but descriptions.

use fulmar_store_raft::GroupStatus;

use crate::metrics::{Exposition, Kind};
use crate::store;

/// So many entries a voter may be behind in passing.
const LAG_MAX: u64 = 256;

/// Whether all who keep the shard have what its leader has, as it says itself.
fn is_healthy(group: &GroupStatus) -> bool {
    group.serves && group.learners.is_empty() && group.lags.iter().all(|(_, entries)| *entries <= LAG_MAX)
}

pub(super) fn expose(exposition: &mut Exposition, report: Option<&store::Report>) {
    let report = report.and_then(store::Report::member);
    let help = "1 with the cluster that the node belongs to, the node's id, and its zone.";
    let mut family = exposition.family("fulmar_cluster_info", Kind::Gauge, help);
    if let Some(report) = &report
        && let Some(id) = report.cluster
    {
        let (id, node) = (id.to_string(), format!("{:016x}", report.node.id));
        family.sample(&[("id", &id), ("node_id", &node), ("zone", &report.zone)], 1);
    }
    let mut show = |name: &str, help: &str, value: fn(&store::MemberReport) -> f64| {
        let mut family = exposition.family(name, Kind::Gauge, help);
        if let Some(report) = &report {
            family.sample(&[], value(report));
        }
    };
    show("fulmar_cluster_view", "The number of the view: who is live, as far as this node knows.", |it| {
        it.status.view as f64
    });
    show("fulmar_cluster_feature_level", "What all nodes of the cluster know; what is newer is not used.", |it| {
        it.status.level.into()
    });
    show("fulmar_store_shards", "Shards of the cluster.", |it| it.shards as f64);
    show("fulmar_store_shards_healthy", "Shards that this node leads and of which all copies have caught up.", |it| {
        it.groups.iter().filter(|group| group.group > 0 && is_healthy(group)).count() as f64
    });
    show("fulmar_store_copies", "Shards of which this node has copies.", |it| {
        it.groups.iter().filter(|group| group.group > 0).count() as f64
    });
    show("fulmar_store_caught_up", "1 if the copies on this node have all that was committed.", |it| {
        f64::from(u8::from(it.is_caught_up))
    });
    let help = "What a node that is drained has left to hand over; not there while it is not.";
    let mut family = exposition.family("fulmar_drain", Kind::Gauge, help);
    if let Some(drain) = report.as_ref().and_then(|report| report.drain) {
        for (what, count) in [("leaders", drain.leaders), ("replicas", drain.replicas), ("clients", drain.clients)] {
            family.sample(&[("what", what)], count);
        }
    }
}
