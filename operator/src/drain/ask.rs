//! The questions to brokers without which the gate cannot decide, and what it orders them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    (wanted, current, stopped): (i32, Option<i32>, Option<i32>),
    (pods, members): (&[Pod], &[Member]),
    abandoned: Option<String>,
    memory: Option<&Memory>,
    now: Timestamp,
) -> Plan {
    // A new operator does not know of a drain that an earlier one began; the broker does.
    let told = |ordinal| members.iter().any(|it| it.ordinal == ordinal && it.told.as_ref().is_some_and(|it| it.drains));
    let has_begun = memory.is_some() || current.is_some_and(|current| told(current - 1));
    let asked = asked(wanted, current, has_begun);
    let mut facts = Facts { wanted, current, stopped, abandoned, ..Facts::default() };
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
    Ok(Target { pod: name.to_owned(), address })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admin::tests::{Broker, authority, client_of, serve};
    use crate::told::Told;

    const DRAINING: &str = r#"{"state":"draining","purpose":"leave","leaders":0,"replicas":2,"clients":0}"#;
    const DRAINED: &str = r#"{"state":"drained","purpose":"leave","leaders":0,"replicas":0,"clients":0}"#;
    const IDLE: &str = r#"{"state":"none","leaders":4,"replicas":12,"clients":70}"#;

    fn pod(number: u8) -> Pod {
        let json = json!({"metadata": {"name": format!("demo-{number}")}, "status": {"podIP": "127.0.0.1"}});
        serde_json::from_value(json).unwrap()
    }

    fn member(ordinal: i32) -> Member {
        Member {
            name: format!("demo-{ordinal}"),
            uid: format!("uid-{ordinal}"),
            ordinal,
            is_newest: true,
            state: State::Ready,
            is_durable: true,
            told: None,
        }
    }

    struct Bed {
        broker: Broker,
        client: AdminClient,
        pods: Vec<Pod>,
        members: Vec<Member>,
    }

    impl Bed {
        /// Three pods, whose brokers are all the same one.
        async fn new() -> Bed {
            let (broker, authority) = (Broker::default(), authority());
            let client = client_of(&authority, serve(&broker, &authority, &authority).await);
            Bed { broker, client, pods: (0..3).map(pod).collect(), members: (0..3).map(member).collect() }
        }

        /// Replicas, the message, and what was asked.
        async fn step(&self, wanted: i32, memory: Option<&Memory>) -> (i32, Option<String>, Vec<String>) {
            let pods = (self.pods.as_slice(), self.members.as_slice());
            let now = Timestamp::UNIX_EPOCH;
            let plan = step(Some(&self.client), (wanted, Some(3), None), pods, None, memory, now).await;
            (plan.replicas, plan.progress.map(|progress| progress.message), self.broker.take_asked())
        }
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[tokio::test]
    async fn a_pod_hands_over_when_it_is_told_and_goes_when_it_says_so() {
        let mut bed = Bed::new().await;
        assert_eq!(bed.step(3, None).await, (3, None, vec![]), "nobody is asked for nothing");
        let begin = texts(&["GET /v1/drain", r#"POST /v1/drain {"purpose":"leave"}"#]);
        bed.broker.say(200, IDLE);
        let (replicas, message, asked) = bed.step(2, None).await;
        assert_eq!((replicas, message.unwrap().as_str()), (3, "demo-2 begins to hand over what it keeps"));
        assert_eq!(asked, begin);
        bed.broker.say(200, DRAINING);
        let left = Some("left: 2 copies".to_owned());
        assert_eq!(bed.step(2, None).await, (3, left, texts(&["GET /v1/drain"])));
        bed.broker.say(200, DRAINED);
        assert_eq!(bed.step(1, None).await, (2, None, texts(&["GET /v1/drain"])));
        bed.members[1].state = State::Failing;
        bed.broker.say(200, IDLE);
        let held = Some("the drain has not begun: demo-1 does not run".to_owned());
        assert_eq!(bed.step(2, None).await, (3, held, texts(&["GET /v1/drain"])));
    }

    #[tokio::test]
    async fn a_drain_that_an_earlier_operator_began_is_cancelled_by_what_the_broker_tells() {
        let mut bed = Bed::new().await;
        bed.broker.say(200, DRAINING);
        assert_eq!(bed.step(3, None).await, (3, None, vec![]));
        bed.members[2].told = Some(Told { drains: true, ..Told::default() });
        let cancel = texts(&["GET /v1/drain", "DELETE /v1/drain"]);
        assert_eq!(bed.step(3, None).await, (3, None, cancel.clone()));
        bed.members[2].told = None;
        let memory = Memory { uid: "uid-2".to_owned(), since: Timestamp::UNIX_EPOCH };
        assert_eq!(bed.step(3, Some(&memory)).await, (3, None, cancel));
    }

    #[tokio::test]
    async fn a_pod_that_does_not_answer_goes_if_the_others_do_not_know_it() {
        let mut bed = Bed::new().await;
        bed.pods[2].status = None;
        bed.broker.say(200, r#"{"members":[{"name":"demo-0","state":"up"},{"name":"demo-2","state":"joining"}]}"#);
        let (replicas, message, asked) = bed.step(2, None).await;
        assert!(message.unwrap().starts_with("demo-2 cannot be drained, it does not answer: the pod has no address; "));
        assert_eq!((replicas, asked), (3, texts(&["GET /v1/cluster"])));
        bed.broker.say(200, r#"{"members":[{"name":"demo-0","state":"up"},{"name":"demo-2","state":"gone"}]}"#);
        assert_eq!(bed.step(2, None).await, (2, None, texts(&["GET /v1/cluster"])));
        bed.broker.say(503, "");
        let (replicas, _, asked) = bed.step(2, None).await;
        assert_eq!((replicas, asked), (3, texts(&["GET /v1/cluster", "GET /v1/cluster"])), "nobody could tell");
    }

    #[tokio::test]
    async fn brokers_that_keep_nothing_are_not_asked() {
        let mut bed = Bed::new().await;
        bed.members.iter_mut().for_each(|member| member.is_durable = false);
        assert_eq!(bed.step(1, None).await, (1, None, vec![]));
    }
}
