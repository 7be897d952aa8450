//! What is reported for clusters in all kinds of states, by comparison of whole reports.

use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::*;
use crate::broker_config::SettingError;
use crate::build::{Built, Scale, build};
use crate::fixtures::{cluster, image};
use crate::validate::{owner_reference, validate};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// What an API server that accepts everything would return, with this status of the StatefulSet.
fn applied(cluster: &MqttCluster, replicas: i32, counts: serde_json::Value) -> Resources<Applied> {
    let owner = owner_reference(cluster).unwrap();
    let valid = validate(cluster, owner, None, String::new(), &image("v0.1.0")).unwrap();
    let Resources {
        service_account,
        config_map,
        authority,
        services,
        disruption_budget,
        mut statefulset,
        stage: _,
    }: Resources<Built> = build(&valid, Scale::at_rest(replicas));
    statefulset.metadata.generation = Some(2);
    statefulset.status = Some(serde_json::from_value(counts).unwrap());
    Resources { service_account, config_map, authority, services, disruption_budget, statefulset, stage: PhantomData }
}

fn reported(cluster: &MqttCluster, applied: Result<Resources<Applied>, Failure>) -> MqttClusterStatus {
    let seen =
        Seen { cluster, observed: &Observed::default(), reading: &ClusterReading::new(), decision: None, now: at(0) };
    let version = Some("v0.1.0".to_owned());
    let outcome = Outcome { keys: Some(Keys::default()), version, ..Outcome::of(applied) };
    report(&seen, &outcome)
}

fn told(status: &MqttClusterStatus) -> Vec<String> {
    let told = status
        .conditions
        .iter()
        .map(|condition| format!("{}={} {}", condition.type_, condition.status, condition.reason));
    let mut told: Vec<String> = told.collect();
    told.sort();
    told
}

fn serving() -> serde_json::Value {
    json!({"replicas": 3, "readyReplicas": 3, "updatedReplicas": 3, "observedGeneration": 2})
}

#[test]
fn a_cluster_whose_pods_all_serve_is_ready() {
    let cluster = cluster();
    let status = reported(&cluster, Ok(applied(&cluster, 3, serving())));
    assert_eq!(
        told(&status),
        [
            "Available=True Serving",
            "CertificatesReady=True Issued",
            "ConfigApplied=True Accepted",
            "Degraded=False AsExpected",
            "Progressing=False Complete",
            "Ready=True Serving",
        ]
    );
    assert_eq!((status.replicas, status.ready_replicas, status.observed_generation), (3, 3, Some(1)));
}

#[test]
fn a_cluster_is_not_ready_while_anything_is_on_its_way() {
    let cluster = cluster();
    let on_the_way = [
        (
            json!({"replicas": 3, "readyReplicas": 3, "updatedReplicas": 3, "observedGeneration": 1}),
            "the StatefulSet controller has not yet seen the last change",
        ),
        (
            json!({"replicas": 3, "readyReplicas": 2, "updatedReplicas": 3, "observedGeneration": 2}),
            "2 of 3 pods are ready",
        ),
        (
            json!({"replicas": 5, "readyReplicas": 5, "updatedReplicas": 5, "observedGeneration": 2}),
            "5 pods exist, 3 are wanted",
        ),
        (
            json!({"replicas": 3, "readyReplicas": 3, "updatedReplicas": 1, "observedGeneration": 2, "currentRevision": "a", "updateRevision": "b"}),
            "1 of 3 pods run the newest template",
        ),
    ];
    for (counts, message) in on_the_way {
        let status = reported(&cluster, Ok(applied(&cluster, 3, counts)));
        let ready = fulmar_api::find_condition(&status.conditions, ConditionKind::Ready).unwrap();
        assert_eq!((ready.status.as_str(), ready.message.as_str()), ("False", message));
    }
}

#[test]
fn a_failed_step_writes_its_condition_and_keeps_the_others() {
    let mut cluster = cluster();
    cluster.status = Some(reported(&cluster, Ok(applied(&cluster, 3, serving()))));
    cluster.metadata.generation = Some(2);
    let wrong = SettingError {
        path: "limits.x".to_owned(),
        found: "an unknown key".to_owned(),
        wanted: "a known key".to_owned(),
    };
    let status = reported(&cluster, Err(Failure::Config(vec![wrong.into()])));
    assert_eq!(
        told(&status),
        [
            "Available=False NoPodReady",
            "CertificatesReady=True Issued",
            "ConfigApplied=False ConfigInvalid",
            "Degraded=True ConfigInvalid",
            "Progressing=False Complete",
            "Ready=False ConfigInvalid",
        ]
    );
    assert_eq!(status.observed_generation, Some(2));
    let config = fulmar_api::find_condition(&status.conditions, ConditionKind::ConfigApplied).unwrap();
    assert_eq!(config.message, "config.limits.x: found an unknown key, wanted a known key");
}

#[test]
fn a_decision_that_was_not_applied_is_not_reported_as_done() {
    let mut cluster = cluster();
    let decided = |replicas, reason, message: &str| Decision {
        replicas,
        reason,
        message: message.to_owned(),
        hold_until: None,
        memory: crate::autoscale::Memory::default(),
    };
    let applied = applied(&cluster, 3, serving());
    let observed = Observed { statefulset: Some(applied.statefulset.clone()), ..Observed::default() };
    let mut report_with = |decision: &Decision, applied| {
        let seen = Seen {
            cluster: &cluster,
            observed: &observed,
            reading: &ClusterReading::new(),
            decision: Some(decision),
            now: at(0),
        };
        let outcome = Outcome::of(applied);
        let status = report(&seen, &outcome);
        cluster.status = Some(status.clone());
        status
    };
    report_with(&decided(3, Reason::Steady, "few"), Ok(applied));
    let refused = Failure::Refused { kind: "StatefulSet", name: "demo".to_owned(), message: "quota".to_owned() };
    let status = report_with(&decided(5, Reason::ScaledUp, "many"), Err(refused));
    assert_eq!(status.autoscaling.map(|scaling| scaling.desired_replicas), Some(3));
    let active = fulmar_api::find_condition(&status.conditions, ConditionKind::ScalingActive).unwrap();
    assert_eq!((active.status.as_str(), active.reason.as_str()), ("False", "NotApplied"));
    let wanted = "5 replicas are wanted and were not applied: the API server refused StatefulSet demo: quota";
    assert_eq!(active.message, wanted);
}

#[test]
fn without_a_way_to_authenticate_a_ready_cluster_says_that_nobody_gets_in() {
    let mut cluster = cluster();
    cluster.spec.auth.anonymous = false;
    let status = reported(&cluster, Ok(applied(&cluster, 3, serving())));
    let told = told(&status);
    assert!(told.contains(&"Ready=True Serving".to_owned()), "{told:?}");
    assert!(told.contains(&"Degraded=True NoAuthentication".to_owned()), "{told:?}");
}

#[test]
fn listeners_by_which_nobody_can_come_in_are_named() {
    let mut cluster = cluster();
    cluster.spec.auth.anonymous = false;
    assert_eq!(closed_listeners(&cluster), ["mqtt", "mqtts"]);
    let tls = cluster.spec.listeners[1].tls.as_mut().unwrap();
    tls.client_auth = fulmar_api::ClientAuth::Required;
    // A certificate that names nobody only opens the door to the next question.
    assert_eq!(closed_listeners(&cluster), ["mqtt", "mqtts"]);
    cluster.spec.listeners[1].tls.as_mut().unwrap().client_identity = ClientIdentity::CommonName;
    assert_eq!(closed_listeners(&cluster), ["mqtt"]);
    cluster.spec.auth.users_secret_name = Some("users".to_owned());
    assert_eq!(closed_listeners(&cluster), [""; 0]);
}

#[test]
fn a_hibernating_cluster_is_ready_and_not_available() {
    let mut cluster = cluster();
    cluster.spec.replicas = 0;
    let counts = json!({"replicas": 0, "observedGeneration": 2});
    let told = told(&reported(&cluster, Ok(applied(&cluster, 0, counts))));
    assert!(told.contains(&"Ready=True Hibernating".to_owned()), "{told:?}");
    assert!(told.contains(&"Available=False Hibernating".to_owned()), "{told:?}");
}

#[test]
fn endpoints_name_the_service_and_the_load_balancer() {
    let cluster = cluster();
    let balanced = serde_json::from_value(json!({
        "metadata": {"name": "demo-mqtts"},
        "status": {"loadBalancer": {"ingress": [{"ip": "2001:db8::1"}, {"hostname": "mqtt.example.org"}]}},
    }));
    let plain = serde_json::from_value(json!({"metadata": {"name": "demo-mqtt"}})).unwrap();
    let uris = |services: &[Service]| -> Vec<_> {
        endpoints(&cluster, services).into_iter().map(|endpoint| endpoint.uri).collect()
    };
    assert_eq!(uris(&[]), Vec::<String>::new(), "nobody answers there yet");
    let uris = uris(&[plain, balanced.unwrap()]);
    assert_eq!(
        uris,
        [
            "mqtt://demo-mqtt.shop.svc:1883",
            "mqtts://demo-mqtts.shop.svc:443",
            "mqtts://[2001:db8::1]:443",
            "mqtts://mqtt.example.org:443",
        ]
    );
}

/// `TYPE=STATUS REASON: MESSAGE` of every condition, and the URIs.
fn told_whole(status: &MqttClusterStatus) -> (Vec<String>, Vec<String>) {
    let told = status.conditions.iter().map(|told| {
        let Condition { type_, status, reason, message, .. } = told;
        format!("{type_}={status} {reason}: {message}")
    });
    let mut told: Vec<String> = told.collect();
    told.sort();
    (told, status.endpoints.iter().map(|endpoint| endpoint.uri.clone()).collect())
}

fn reported_at(second: i64, cluster: &MqttCluster, pods: Vec<Pod>, outcome: &Outcome) -> MqttClusterStatus {
    let observed = Observed { pods, ..Observed::default() };
    let reading = ClusterReading::new();
    report(&Seen { cluster, observed: &observed, reading: &reading, decision: None, now: at(second) }, outcome)
}

#[test]
fn the_first_report_has_every_condition_also_when_the_first_step_fails() {
    let mut cluster = cluster();
    let spec = json!({"minReplicas": 3, "maxReplicas": 9, "targets": {"connectionsPerReplica": 1000}});
    cluster.spec.autoscaling = serde_json::from_value(spec).unwrap();
    let taken = Failure::NameTaken { kind: "Secret", name: "demo-ca".to_owned() };
    let outcome = Outcome::of(Err(taken));
    let status = reported_at(0, &cluster, Vec::new(), &outcome);
    let why =
        "Secret demo-ca exists and does not belong to this MqttCluster: delete or rename it, or rename the cluster";
    let unknown = |kind: &str| format!("{kind}=Unknown NotReconciled: not judged yet, another step comes first: {why}");
    let wanted = vec![
        "Available=False NoPodReady: no pod serves clients".to_owned(),
        unknown("CertificatesReady"),
        unknown("ConfigApplied"),
        format!("Degraded=True NameTaken: {why}"),
        unknown("Progressing"),
        format!("Ready=False NameTaken: {why}"),
        unknown("ScalingActive"),
    ];
    assert_eq!(told_whole(&status), (wanted, Vec::new()));
}

#[test]
fn a_secret_that_cannot_be_used_degrades_and_its_times_stand_still() {
    let mut cluster = cluster();
    let failure = || Failure::Keys(anyhow::anyhow!("Secret demo-ca: no good"));
    let outcome = Outcome {
        keys: Some(Keys::default()),
        held: Some(failure()),
        ..Outcome::of(Ok(applied(&cluster, 3, serving())))
    };
    let first = reported_at(0, &cluster, Vec::new(), &outcome);
    let wanted = [
        "Available=True Serving: 3 pods serve clients",
        "CertificatesReady=False KeysUnusable: Secret demo-ca: no good",
        "ConfigApplied=Unknown NotReconciled: not judged yet, another step comes first: Secret demo-ca: no good",
        "Degraded=True KeysUnusable: Secret demo-ca: no good",
        "Progressing=False Waiting: every pod runs as before",
        "Ready=False KeysUnusable: Secret demo-ca: no good",
    ];
    let uris = ["mqtt://demo-mqtt.shop.svc:1883", "mqtts://demo-mqtts.shop.svc:443"];
    assert_eq!(told_whole(&first), (wanted.map(str::to_owned).into(), uris.map(str::to_owned).into()));
    cluster.status = Some(first.clone());
    assert_eq!(reported_at(60, &cluster, Vec::new(), &outcome), first);
}

#[test]
fn brokers_killed_for_want_of_memory_are_named_for_ten_minutes() {
    let cluster = cluster();
    let pod = |name: &str, reason: &str| -> Pod {
        let died = json!({"terminated": {"exitCode": 137, "reason": reason, "finishedAt": at(0).to_string()}});
        let broker = json!({
            "name": "broker", "image": "", "imageID": "", "ready": true, "restartCount": 1,
            "state": {"running": {}}, "lastState": died,
        });
        let limits = json!({"limits": {"memory": "256Mi"}});
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"containers": [{"name": "broker", "resources": limits}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [broker]},
        }))
        .unwrap()
    };
    let degraded = |second| {
        let pods = vec![pod("demo-0", "Error"), pod("demo-1", "OOMKilled")];
        let outcome = Outcome { keys: Some(Keys::default()), ..Outcome::of(Ok(applied(&cluster, 3, serving()))) };
        let status = reported_at(second, &cluster, pods, &outcome);
        told_whole(&status).0.into_iter().find(|told| told.starts_with("Degraded=")).unwrap()
    };
    let killed = format!(
        "Degraded=True OutOfMemory: demo-1: the broker was killed at {} because its memory was used up (limit 256Mi): \
         raise spec.resources.limits.memory",
        at(0)
    );
    let well = "Degraded=False AsExpected: nothing needs attention".to_owned();
    assert_eq!([degraded(0), degraded(599), degraded(600)], [killed.clone(), killed, well]);
}
