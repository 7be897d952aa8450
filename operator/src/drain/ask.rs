//! The questions to brokers without which the gate cannot decide, and what it orders them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fulmar_api::names;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::{Answer, Facts, Memory, Node, Order, Plan, Purpose, asked, decide};
use crate::admin::{AdminClient, Target};
use crate::readings::{ClusterKey, exists};
use crate::roll::{Member, State, check_pods};

/// Brokers that are asked for the members of the cluster, one after the other, until one answers.
const ASKED_MAX: usize = 3;

/// Since when which pod of each cluster has been drained; bounded by the clusters that exist.
#[derive(Debug, Default)]
pub(crate) struct Drains {
    by_cluster: Mutex<HashMap<ClusterKey, Memory>>,
}

impl Drains {
    /// The drain of a cluster that is not over.
    pub(crate) fn of(&self, cluster: &ClusterKey) -> Option<Memory> {
        self.lock().get(cluster).cloned()
    }

    /// Notes it, or that there is none.
    pub(crate) fn note(&self, cluster: ClusterKey, memory: Option<Memory>) {
        match memory {
            Some(memory) => drop(self.lock().insert(cluster, memory)),
            None => drop(self.lock().remove(&cluster)),
        }
    }

    /// Forgets every cluster of this namespace (`None`: of all) that does not exist any more.
    pub(crate) fn retain(&self, scope: Option<&str>, existing: &std::collections::HashSet<ClusterKey>) {
        self.lock().retain(|key, _| exists(key, scope, existing));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClusterKey, Memory>> {
        self.by_cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks what must be asked, decides, and orders what was decided.
pub(crate) async fn step(
    client: Option<&AdminClient>,
    (wanted, current): (i32, Option<i32>),
    (pods, members): (&[Pod], &[Member]),
    abandoned: Option<String>,
    memory: Option<&Memory>,
    now: Timestamp,
) -> Plan {
    // A new operator does not know of a drain that an earlier one began; the broker does.
    let told = |ordinal| members.iter().any(|it| it.ordinal == ordinal && it.told.as_ref().is_some_and(|it| it.drains));
    let has_begun = memory.is_some() || current.is_some_and(|current| told(current - 1));
    let asked = asked(wanted, current, has_begun);
    let mut facts = Facts { wanted, current, abandoned, ..Facts::default() };
    for member in members {
        let Member { name, uid, ordinal, is_durable, .. } = member.clone();
        let answer = match (asked == Some(ordinal) && is_durable, client) {
            (false, _) => Answer::NotAsked,
            (true, None) => Answer::Silent("the authority of the cluster cannot be used".to_owned()),
            (true, Some(client)) => match target(pods, &name) {
                Err(reason) => Answer::Silent(reason),
                Ok(target) => match client.drain(&target).await {
                    Ok(report) => Answer::Said(report),
                    Err(error) => Answer::Silent(format!("{error:#}")),
                },
            },
        };
        facts.nodes.push(Node { name, uid, ordinal, is_durable, answer });
    }
    if let Some(ordinal) = asked {
        let others: Vec<Member> = members.iter().filter(|member| member.ordinal < ordinal).cloned().collect();
        facts.obstacle = check_pods(ordinal, &others).err();
        if facts.nodes.iter().any(|node| matches!(node.answer, Answer::Silent(_))) {
            facts.members = ask_members(client, pods, &others).await;
        }
    }
    let mut plan = decide(&facts, memory, now);
    for order in &plan.orders {
        if let Err(reason) = carry_out(client, pods, order).await {
            tracing::warn!(?order, reason, "a broker did not take an order");
            if let Some(progress) = &mut plan.progress {
                progress.message = format!("{} was asked to hand over and did not take it: {reason}", progress.pod);
            }
        }
    }
    plan
}

async fn ask_members(client: Option<&AdminClient>, pods: &[Pod], others: &[Member]) -> Option<Vec<String>> {
    let serving = others.iter().filter(|member| member.is_durable && member.state == State::Ready);
    for member in serving.take(ASKED_MAX) {
        let Ok(target) = target(pods, &member.name) else { continue };
        match client?.members(&target).await {
            Ok(members) => return Some(members),
            Err(error) => tracing::debug!(pod = member.name, error = format!("{error:#}"), "members not told"),
        }
    }
    None
}

async fn carry_out(client: Option<&AdminClient>, pods: &[Pod], order: &Order) -> Result<(), String> {
    let client = client.ok_or("the authority of the cluster cannot be used")?;
    let done = match order {
        Order::Begin(pod) => client.begin_drain(&target(pods, pod)?, Purpose::Leave).await,
        Order::Cancel(pod) => client.cancel_drain(&target(pods, pod)?).await,
    };
    done.map(drop).map_err(|error| format!("{error:#}"))
}

/// Where the admin port of a pod is.
fn target(pods: &[Pod], name: &str) -> Result<Target, String> {
    let pod = pods.iter().find(|pod| pod.name_any() == name);
    let address = pod.and_then(|pod| pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok());
    let address = address.ok_or_else(|| "the pod has no address".to_owned())?;
    let port = u16::try_from(names::ADMIN_PORT).expect("7801 is a port");
    Ok(Target { pod: name.to_owned(), address: SocketAddr::new(address, port) })
}
