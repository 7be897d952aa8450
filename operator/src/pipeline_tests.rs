//! Whole reconciliations against an API server in memory: what is asked of it, what it holds afterwards, what is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use fulmar_api::{ConditionKind, MqttCluster, find_condition};
use fulmar_config::ClusterId;
use k8s_openapi::jiff::Timestamp;
use kube::core::PartialObjectMetaExt;
use serde_json::{Value, json};

use crate::certificates::{Subject, is_signed_by, issue_authority, issue_leaf};
use crate::context::Context;
use crate::failure::Failure;
use crate::fake_api::{FakeApi, refusal};
use crate::fixtures::{cluster, context};
use crate::readings::PodReading;
use crate::reconcile::reconcile;
use crate::refresh::refresh;
use crate::told::Told;

struct World {
    api: FakeApi,
    context: Arc<Context>,
}

impl World {
    /// A cluster that was just created.
    fn with(change: impl FnOnce(&mut MqttCluster)) -> Self {
        let mut cluster = cluster();
        change(&mut cluster);
        let api = FakeApi::default();
        api.objects(|objects| objects.put("mqttclusters", serde_json::to_value(&cluster).unwrap()));
        Self { context: Arc::new(context(api.client())), api }
    }

    /// One that was reconciled, and whose StatefulSet was seen by its controller.
    async fn running(change: impl FnOnce(&mut MqttCluster)) -> Self {
        let world = Self::with(change);
        world.reconcile().await.unwrap();
        world.edit("statefulsets", "demo", |set| set["status"] = json!({"replicas": 3, "readyReplicas": 3}));
        world
    }

    async fn reconcile(&self) -> Result<(), Failure> {
        let known = PartialObjectMetaExt::into_response_partial(cluster().metadata);
        reconcile(Arc::new(known), self.context.clone()).await.map(drop)
    }

    fn edit(&self, kind: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.api.object(kind, name);
        change(&mut object);
        self.api.objects(|objects| objects.put(kind, object));
    }

    fn edit_spec(&self, change: impl FnOnce(&mut Value)) {
        self.edit("mqttclusters", "demo", |cluster| change(&mut cluster["spec"]));
    }

    fn remove(&self, kind: &str, name: &str) {
        self.api.objects(|objects| objects.remove(kind, name));
    }

    fn names(&self, kind: &str) -> Vec<String> {
        self.api.objects(|objects| objects.names(kind))
    }

    fn statefulset(&self) -> Value {
        self.api.object("statefulsets", "demo")["spec"].clone()
    }

    /// `STATUS REASON: MESSAGE` of a condition.
    fn told(&self, kind: ConditionKind) -> String {
        let cluster: MqttCluster = serde_json::from_value(self.api.object("mqttclusters", "demo")).unwrap();
        let conditions = cluster.status.unwrap().conditions;
        let found = find_condition(&conditions, kind).unwrap();
        format!("{} {}: {}", found.status, found.reason, found.message)
    }

    fn events(&self) -> Vec<String> {
        let names = self.names("events");
        names.iter().map(|name| self.api.object("events", name)["reason"].as_str().unwrap().to_owned()).collect()
    }

    /// A pod of the StatefulSet, ready for an hour, that mounts this ConfigMap.
    fn pod(&self, number: i32, config_map: &str) -> Value {
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"});
        let owner = &self.api.object("statefulsets", "demo")["metadata"]["uid"];
        json!({
            "metadata": {
                "name": format!("demo-{number}"), "namespace": "shop", "uid": format!("pod-{number}"),
                "labels": {"app.kubernetes.io/name": "fulmar-broker", "mqtt.fulmar.dev/cluster": "demo"},
                "ownerReferences": [{"kind": "StatefulSet", "name": "demo", "uid": owner, "controller": true, "apiVersion": "apps/v1"}],
            },
            "spec": {"containers": [], "volumes": [{"name": "config", "configMap": {"name": config_map}}]},
            "status": {"conditions": [ready]},
        })
    }

    fn put(&self, kind: &str, object: Value) {
        self.api.objects(|objects| objects.put(kind, object));
    }
}

/// A certificate of the user, as a Secret.
fn users_secret(name: &str) -> Value {
    let now = Timestamp::now();
    let authority = issue_authority("x", "y", now).unwrap();
    let leaf = issue_leaf(&authority, &Subject::default(), now).unwrap();
    let data = BTreeMap::from([
        ("tls.crt", k8s_openapi::ByteString(leaf.certificate.into_bytes())),
        ("tls.key", k8s_openapi::ByteString(leaf.key.into_bytes())),
    ]);
    json!({"metadata": {"name": name, "namespace": "shop"}, "data": data})
}

fn bring_certificate(cluster: &mut MqttCluster) {
    let tls = cluster.spec.listeners[1].tls.as_mut().unwrap();
    (tls.self_signed, tls.secret_name) = (None, Some("mine".to_owned()));
}

#[tokio::test]
async fn without_the_users_secret_everything_else_goes_on() {
    let world = World::with(bring_certificate);
    world.put("secrets", users_secret("mine"));
    world.reconcile().await.unwrap();
    let template = world.statefulset()["template"].clone();

    world.remove("secrets", "mine");
    world.remove("services", "demo-mqtt");
    world.edit_spec(|spec| {
        spec["replicas"] = 5.into();
        spec["podDisruptionBudget"] = json!({"enabled": false});
    });
    world.edit("statefulsets", "demo", |set| set["spec"]["template"]["spec"]["serviceAccountName"] = "x".into());
    world.reconcile().await.unwrap();
    assert_eq!(world.statefulset()["replicas"], 5);
    assert_eq!(world.statefulset()["template"], template);
    assert!(world.names("services").contains(&"demo-mqtt".to_owned()));
    assert_eq!(world.names("poddisruptionbudgets"), Vec::<String>::new());
    let missing = "listener mqtts: Secret mine: not found in the namespace of the MqttCluster";
    assert_eq!(world.told(ConditionKind::CertificatesReady), format!("False SecretNotFound: {missing}"));
    assert_eq!(world.told(ConditionKind::Ready), format!("False SecretNotFound: {missing}"));

    world.remove("statefulsets", "demo");
    world.reconcile().await.unwrap();
    assert_eq!(world.statefulset()["template"], template);
}

#[tokio::test]
async fn pods_keep_what_they_run_until_the_secret_of_a_new_listener_is_there() {
    let world = World::running(|_| {}).await;
    let (template, config_maps) = (world.statefulset()["template"].clone(), world.names("configmaps"));
    let version = world.api.object("mqttclusters", "demo")["status"]["version"].clone();
    world.edit_spec(|spec| {
        let listener = json!({"name": "new", "protocol": "mqtts", "port": 8883, "tls": {"secretName": "mine"}});
        spec["listeners"].as_array_mut().unwrap().push(listener);
        spec["replicas"] = 4.into();
        spec["version"] = "v0.2.0".into();
    });
    world.reconcile().await.unwrap();
    assert_eq!((world.statefulset()["template"].clone(), world.names("configmaps")), (template.clone(), config_maps));
    assert_eq!(world.statefulset()["replicas"], 4);
    assert_eq!(world.api.object("mqttclusters", "demo")["status"]["version"], version, "no pod runs the new one");

    world.put("secrets", users_secret("mine"));
    world.reconcile().await.unwrap();
    assert_ne!(world.statefulset()["template"], template);
    assert_eq!(world.told(ConditionKind::CertificatesReady), "True Issued: every certificate is there and valid");
    assert_eq!(world.api.object("mqttclusters", "demo")["status"]["version"], "v0.2.0");
}

#[tokio::test]
async fn a_new_cluster_without_its_secret_waits_for_it() {
    let world = World::with(bring_certificate);
    assert!(world.reconcile().await.is_err());
    assert_eq!(world.names("statefulsets"), Vec::<String>::new());
    assert!(world.told(ConditionKind::Ready).starts_with("False SecretNotFound: "));
}

#[tokio::test]
async fn a_secret_of_the_operator_named_as_the_users_is_refused_and_kept() {
    let world = World::running(|_| {}).await;
    for secret in ["demo-mqtts-tls", "demo-ca"] {
        let before = world.names("secrets");
        world.edit_spec(|spec| spec["listeners"][1]["tls"] = json!({"secretName": secret}));
        world.reconcile().await.unwrap();
        let wanted = format!(
            "False SecretNotYours: listener mqtts: Secret {secret}: found that the operator made it for MqttCluster demo, \
             wanted a Secret of yours: copy it to another name, or set tls.selfSigned"
        );
        assert_eq!(world.told(ConditionKind::CertificatesReady), wanted);
        assert_eq!(world.names("secrets"), before);
    }
}

#[tokio::test]
async fn a_secret_without_a_key_is_told_by_what_is_missing_alone() {
    let world = World::with(bring_certificate);
    let mut secret = users_secret("mine");
    let key = secret["data"].as_object_mut().unwrap().remove("tls.key").unwrap();
    secret["data"]["password-of-the-bank"] = key;
    world.put("secrets", secret);
    assert!(world.reconcile().await.is_err());
    let wanted =
        "False SecretInvalid: listener mqtts: Secret mine: found no tls.key that is text, wanted tls.crt and tls.key";
    assert_eq!(world.told(ConditionKind::CertificatesReady), wanted);
}

/// A Secret of the user with one key.
fn secret(name: &str, key: &str, text: &str) -> Value {
    let bytes = k8s_openapi::ByteString(text.as_bytes().to_vec());
    json!({"metadata": {"name": name, "namespace": "shop"}, "data": {key: bytes}})
}

const USERS: &str = "alice:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$DPHvyFZwVwjKyJ5V0Yb3Cg\n";

#[tokio::test]
async fn users_and_rules_are_mounted_once_their_secrets_are_there_and_good() {
    let world = World::running(|_| {}).await;
    let template = world.statefulset()["template"].clone();
    world.edit_spec(|spec| spec["auth"] = json!({"usersSecretName": "users", "aclSecretName": "rules"}));
    world.put("secrets", secret("rules", "access.yaml", "rules: [{allow: all}]"));
    world.reconcile().await.unwrap();
    let wanted = "spec.auth.usersSecretName: Secret users: not found in the namespace of the MqttCluster; \
                  spec.auth.aclSecretName: Secret rules: access.yaml: line 1 rules[0]: wanted filters: a list; # is all topics";
    assert_eq!(world.told(ConditionKind::ConfigApplied), format!("False SecretNotFound: {wanted}"));
    assert_eq!(world.told(ConditionKind::Ready), format!("False SecretNotFound: {wanted}"));
    assert!(world.events().contains(&"SecretNotFound".to_owned()));
    assert_eq!(world.statefulset()["template"], template, "the cluster runs on as it was");

    world.put("secrets", secret("users", "users", USERS));
    world.put("secrets", secret("rules", "access.yaml", "rules: [{allow: all, filters: [a]}]"));
    world.reconcile().await.unwrap();
    assert!(world.told(ConditionKind::ConfigApplied).starts_with("True Accepted: "));
    assert!(world.told(ConditionKind::Degraded).starts_with("False AsExpected: "), "users may authenticate");
    let volumes = world.statefulset()["template"]["spec"]["volumes"].to_string();
    assert!(volumes.contains(r#""secretName":"users""#) && volumes.contains(r#""secretName":"rules""#), "{volumes}");
}

#[tokio::test]
async fn a_changed_content_of_users_and_rules_restarts_nothing_and_a_bad_one_is_told() {
    let world = World::with(|cluster| {
        cluster.spec.auth.users_secret_name = Some("users".to_owned());
        cluster.spec.auth.acl_secret_name = Some("rules".to_owned());
    });
    world.put("secrets", secret("users", "users", USERS));
    world.put("secrets", secret("rules", "access.yaml", "default: allow"));
    world.reconcile().await.unwrap();
    let before = world.api.object("statefulsets", "demo")["spec"].clone();

    world.put("secrets", secret("users", "users", &USERS.replace("alice", "bob")));
    world.put("secrets", secret("rules", "access.yaml", "default: deny"));
    world.reconcile().await.unwrap();
    assert!(world.told(ConditionKind::ConfigApplied).starts_with("True Accepted: "));
    assert_eq!(world.api.object("statefulsets", "demo")["spec"], before);

    world.put("secrets", secret("users", "users", "correct horse battery staple"));
    world.edit_spec(|spec| spec["replicas"] = 5.into());
    world.reconcile().await.unwrap();
    let wanted =
        "False InvalidUsers: spec.auth.usersSecretName: Secret users: users: line 1: found no colon, wanted NAME:HASH";
    assert_eq!(world.told(ConditionKind::ConfigApplied), wanted);
    assert!(world.events().contains(&"InvalidUsers".to_owned()));
    assert_eq!(world.statefulset()["template"], before["template"]);
    assert_eq!(world.statefulset()["replicas"], 5, "all else goes on");

    world.put("secrets", secret("users", "users", USERS));
    world.put("secrets", secret("rules", "access.yaml", "default: perhaps"));
    world.reconcile().await.unwrap();
    let told = world.told(ConditionKind::ConfigApplied);
    assert!(told.starts_with("False InvalidAccessRules: "), "{told}");
}

#[tokio::test]
async fn an_authority_for_clients_is_looked_at_before_pods_need_it() {
    let world = World::running(|_| {}).await;
    let template = world.statefulset()["template"].clone();
    world.edit_spec(|spec| {
        let tls = &mut spec["listeners"][1]["tls"];
        (tls["clientAuth"], tls["clientCaSecretName"]) = ("required".into(), "devices".into());
    });
    let mut told = Vec::new();
    world.reconcile().await.unwrap();
    told.push(world.told(ConditionKind::CertificatesReady));
    for text in ["", "nonsense"] {
        let key = if text.is_empty() { "tls.crt" } else { "ca.crt" };
        world.put("secrets", secret("devices", key, text));
        world.reconcile().await.unwrap();
        told.push(world.told(ConditionKind::CertificatesReady));
    }
    world.edit_spec(|spec| spec["listeners"][1]["tls"]["clientCaSecretName"] = "demo-internal-tls".into());
    world.reconcile().await.unwrap();
    told.push(world.told(ConditionKind::CertificatesReady));
    let wanted = [
        "False SecretNotFound: listener mqtts: Secret devices: not found in the namespace of the MqttCluster",
        "False SecretInvalid: listener mqtts: Secret devices: found no ca.crt that is text, wanted it",
        "False SecretInvalid: listener mqtts: Secret devices: ca.crt has no certificate",
        "False SecretNotYours: listener mqtts: Secret demo-internal-tls: found that the operator made it for MqttCluster \
         demo, wanted a Secret of yours",
    ];
    assert_eq!(told, wanted);
    assert_eq!(world.statefulset()["template"], template);

    let authority = issue_authority("x", "y", Timestamp::now()).unwrap().certificate;
    world.put("secrets", secret("devices", "ca.crt", &authority));
    world.edit_spec(|spec| spec["listeners"][1]["tls"]["clientCaSecretName"] = "devices".into());
    world.reconcile().await.unwrap();
    assert_eq!(world.told(ConditionKind::CertificatesReady), "True Issued: every certificate is there and valid");
    assert_ne!(world.statefulset()["template"], template);
}

/// The template of an older release is on record; neither this release nor a hand changes it.
#[tokio::test]
async fn edits_of_the_statefulset_are_undone_to_the_template_on_record() {
    let world = World::running(|_| {}).await;
    let name = world.names("configmaps").into_iter().find(|name| name.starts_with("demo-config-")).unwrap();
    world.edit("configmaps", &name, |map| {
        let mut template: Value = serde_json::from_str(map["data"]["pod-template.json"].as_str().unwrap()).unwrap();
        template["spec"]["terminationGracePeriodSeconds"] = 7.into();
        map["data"]["pod-template.json"] = template.to_string().into();
    });
    world.reconcile().await.unwrap();
    let before = world.api.object("statefulsets", "demo");
    assert_eq!(before["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], 7, "an upgrade restarts nothing");

    world.edit("statefulsets", "demo", |set| {
        set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 1.into();
        set["spec"]["template"]["spec"]["containers"][0]["image"] = "example.org/other:1".into();
        for annotation in set["metadata"]["annotations"].as_object_mut().unwrap().values_mut() {
            *annotation = "v6.6.6".into();
        }
    });
    world.reconcile().await.unwrap();
    let after = world.api.object("statefulsets", "demo");
    assert_eq!(after["spec"], before["spec"]);
    assert_eq!(after["metadata"]["annotations"], before["metadata"]["annotations"]);
}

#[tokio::test]
async fn a_configuration_stays_for_a_pod_that_appears_while_another_is_applied() {
    let world = World::running(|_| {}).await;
    let old = world.names("configmaps").into_iter().find(|name| name.starts_with("demo-config-")).unwrap();
    world.edit_spec(|spec| spec["config"] = json!({"threads": 2}));
    let mut late = Some(world.pod(2, &old));
    world.api.before_each(move |verb, (kind, _), objects| {
        if verb == "APPLY"
            && kind == "statefulsets"
            && let Some(pod) = late.take()
        {
            objects.put("pods", pod);
        }
        None
    });
    world.reconcile().await.unwrap();
    assert!(world.names("configmaps").contains(&old));
    world.remove("pods", "demo-2");
    world.reconcile().await.unwrap();
    assert!(!world.names("configmaps").contains(&old));
}

#[tokio::test]
async fn nothing_that_pods_mount_is_removed_before_the_statefulset_controller_has_seen_the_change() {
    let world = World::running(|_| {}).await;
    let old = world.names("configmaps");
    world.edit("statefulsets", "demo", |set| {
        set["metadata"]["generation"] = 2.into();
        set["status"]["observedGeneration"] = 1.into();
    });
    world.edit_spec(|spec| drop(spec["listeners"].as_array_mut().unwrap().pop()));
    world.reconcile().await.unwrap();
    assert!(!world.names("services").contains(&"demo-mqtts".to_owned()), "nobody mounts a Service");
    assert!(world.names("secrets").contains(&"demo-mqtts-tls".to_owned()));
    assert!(old.iter().all(|name| world.names("configmaps").contains(name)));
    world.edit("statefulsets", "demo", |set| set["status"]["observedGeneration"] = 2.into());
    world.reconcile().await.unwrap();
    assert!(!world.names("secrets").contains(&"demo-mqtts-tls".to_owned()));
    assert_eq!(world.names("configmaps").len(), old.len());
}

#[tokio::test]
async fn the_children_of_an_earlier_life_are_waited_for() {
    let world = World::running(|_| {}).await;
    world.edit("mqttclusters", "demo", |cluster| {
        cluster["metadata"]["uid"] = "00000000-0000-0000-0000-000000000002".into();
        cluster["status"] = Value::Null;
    });
    let failure = world.reconcile().await.unwrap_err();
    assert!(failure.is_passing());
    let waiting = world.told(ConditionKind::Progressing);
    let wanted = "True AwaitingDeletion: waiting for the old Secret demo-ca to go: it belongs to an earlier MqttCluster of this name";
    assert_eq!(waiting, wanted);
    assert!(world.told(ConditionKind::Ready).starts_with("False AwaitingDeletion: "));
    assert!(!world.events().contains(&"NameTaken".to_owned()));
}

#[tokio::test]
async fn a_new_authority_reaches_the_bundles_of_brokers_and_clients_before_it_signs() {
    let world = World::with(|_| {});
    let made = Timestamp::now() - k8s_openapi::jiff::SignedDuration::from_hours(3000 * 24);
    let old = issue_authority("demo", "shop", made).unwrap();
    world.reconcile().await.unwrap();
    let base64 = |text: &str| serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec())).unwrap();
    world.edit("secrets", "demo-ca", |secret| {
        (secret["data"]["tls.crt"], secret["data"]["tls.key"]) = (base64(&old.certificate), base64(&old.key));
    });
    world.reconcile().await.unwrap();
    let text = |name: &str, key: &str| {
        let secret: k8s_openapi::api::core::v1::Secret =
            serde_json::from_value(world.api.object("secrets", name)).unwrap();
        String::from_utf8(secret.data.unwrap()[key].0.clone()).unwrap()
    };
    let bundle = text("demo-ca", "tls.crt") + &text("demo-ca", "next.crt");
    assert_eq!(text("demo-ca", "tls.crt"), old.certificate, "it still signs");
    assert_eq!(world.api.object("configmaps", "demo-ca")["data"]["ca.crt"], bundle);
    for leaf in ["demo-internal-tls", "demo-mqtts-tls"] {
        assert_eq!(text(leaf, "ca.crt"), bundle);
        assert!(is_signed_by(&text(leaf, "tls.crt"), &old.certificate));
    }
    world.api.take_requests();
    world.reconcile().await.unwrap();
    let writes = world
        .api
        .take_requests()
        .into_iter()
        .filter(|request| request.contains(" secrets/") && !request.starts_with("GET"))
        .collect::<Vec<_>>();
    assert_eq!(writes, ["LIST secrets/"]);
}

#[tokio::test]
async fn an_authority_of_another_cluster_is_refused_and_all_else_goes_on() {
    let world = World::running(|_| {}).await;
    let own = world.api.object("secrets", "demo-ca")["data"].clone();
    let leaves = || ["demo-internal-tls", "demo-mqtts-tls"].map(|name| world.api.object("secrets", name));
    let (before, template) = (leaves(), world.statefulset()["template"].clone());
    let public = world.api.object("configmaps", "demo-ca")["data"].clone();
    let other = issue_authority("x", "y", Timestamp::now()).unwrap();
    let base64 = |text: &str| serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec())).unwrap();
    let what_to_do = "restore it, or delete it to have a new authority made, after which clients need the new ca.crt";
    let edits = [
        (
            json!({"tls.crt": base64(&other.certificate), "tls.key": base64(&other.key)}),
            r#"tls.crt: found a certificate of "Fulmar y/x", wanted that of "Fulmar shop/demo""#,
        ),
        (
            json!({"tls.crt": base64("x"), "tls.key": base64("x")}),
            "tls.crt: found no certificate in PEM: no items found",
        ),
        (
            json!({"tls.key": base64("x")}),
            r#"found no tls.crt that is text, wanted the authority "Fulmar shop/demo" and its key"#,
        ),
    ];
    for (replicas, (data, problem)) in (4..).zip(edits) {
        world.edit("secrets", "demo-ca", |secret| secret["data"] = data);
        world.edit_spec(|spec| spec["replicas"] = replicas.into());
        world.remove("services", "demo-mqtt");
        world.remove("configmaps", "demo-ca");
        world.reconcile().await.unwrap();
        let told = [ConditionKind::CertificatesReady, ConditionKind::Degraded, ConditionKind::Ready]
            .map(|kind| world.told(kind));
        let wanted = format!("KeysUnusable: Secret demo-ca: {problem}: {what_to_do}");
        assert_eq!(told, [format!("False {wanted}"), format!("True {wanted}"), format!("False {wanted}")]);
        assert_eq!(
            (world.statefulset()["replicas"].clone(), world.statefulset()["template"].clone()),
            (replicas.into(), template.clone())
        );
        assert!(world.names("services").contains(&"demo-mqtt".to_owned()));
        assert_eq!(world.api.object("configmaps", "demo-ca")["data"], public);
        assert_eq!(leaves(), before);
    }
    assert!(world.events().contains(&"KeysUnusable".to_owned()));
    world.edit("secrets", "demo-ca", |secret| secret["data"] = own);
    world.reconcile().await.unwrap();
    assert_eq!(world.told(ConditionKind::CertificatesReady), "True Issued: every certificate is there and valid");
    assert_eq!(leaves(), before);
}

#[tokio::test]
async fn an_authority_whose_secret_is_gone_is_replaced_and_stays_trusted() {
    let world = World::running(|_| {}).await;
    assert!(!world.events().contains(&"AuthorityReplaced".to_owned()), "the first replaces none");
    let bundle = || world.api.object("configmaps", "demo-ca")["data"]["ca.crt"].as_str().unwrap().to_owned();
    let old = bundle();
    world.remove("secrets", "demo-ca");
    world.reconcile().await.unwrap();
    let new = bundle();
    assert!(new.ends_with(&old) && new.len() > old.len(), "{new}");
    assert!(world.events().contains(&"AuthorityReplaced".to_owned()));
    assert_eq!(world.told(ConditionKind::CertificatesReady), "True Issued: every certificate is there and valid");

    for (cluster, namespace) in [("x", "y"), ("demo", "shop")] {
        let stranger = issue_authority(cluster, namespace, Timestamp::now()).unwrap().certificate;
        world.remove("secrets", "demo-ca");
        world.edit("configmaps", "demo-ca", |map| map["data"]["ca.crt"] = stranger.into());
        world.reconcile().await.unwrap();
        assert_eq!(bundle().matches("BEGIN CERTIFICATE").count(), 1, "what signed nothing of ours is not trusted");
    }
}

fn autoscaled(cluster: &mut MqttCluster) {
    let spec = json!({"minReplicas": 3, "maxReplicas": 9, "targets": {"connectionsPerReplica": 1000}});
    cluster.spec.autoscaling = serde_json::from_value(spec).unwrap();
}

/// One pod tells that it is a member of this cluster.
fn tell_cluster(world: &World, number: i32, id: u128) {
    let told = Told { cluster_id: Some(ClusterId(id)), ..Told::default() };
    let reading = PodReading { uid: format!("pod-{number}"), connections: 0, told, at: Timestamp::now() };
    let key = ("shop".to_owned(), "demo".to_owned());
    world.context.readings.store(&key, &format!("demo-{number}"), Some(reading));
}

#[tokio::test]
async fn the_cluster_that_brokers_tell_first_is_written_down_and_never_overwritten() {
    let world = World::running(|_| {}).await;
    let template = world.statefulset()["template"].clone();
    let pods: Vec<_> = (0..3).map(|number| world.pod(number, "x")).collect();
    for pod in &pods {
        world.put("pods", pod.clone());
    }
    world.reconcile().await.unwrap();
    assert!(!world.names("configmaps").contains(&"demo-identity".to_owned()), "nobody has told anything");

    tell_cluster(&world, 0, 1);
    let pods: Vec<_> = pods.into_iter().map(|pod| serde_json::from_value(pod).unwrap()).collect();
    let key = ("shop".to_owned(), "demo".to_owned());
    assert!(refresh(&world.context, &key, &pods, Timestamp::now()).await.unwrap(), "it is news");
    world.reconcile().await.unwrap();
    let written = world.api.object("configmaps", "demo-identity");
    let id = ClusterId(1).to_string();
    assert_eq!((written["data"].clone(), written["immutable"].clone()), (json!({"clusterId": id}), true.into()));
    assert_eq!(world.api.object("mqttclusters", "demo")["status"]["clusterId"], id);
    assert_eq!(world.statefulset()["template"], template, "nothing restarts");
    assert!(!refresh(&world.context, &key, &pods, Timestamp::now()).await.unwrap(), "it is written down");

    tell_cluster(&world, 1, 2);
    world.reconcile().await.unwrap();
    let wanted = format!(
        "ClusterIdDiffers: demo-1 is a member of cluster {}, wanted cluster {id}, which is written down in ConfigMap \
         demo-identity",
        ClusterId(2)
    );
    assert_eq!(world.told(ConditionKind::Degraded), format!("True {wanted}"));
    assert!(world.events().contains(&"ClusterIdDiffers".to_owned()));
    assert_eq!(world.api.object("configmaps", "demo-identity")["data"], written["data"]);
    assert_eq!(world.api.object("mqttclusters", "demo")["status"]["clusterId"], id);
}

/// The pods of a cluster that keeps what it is given, made from the first template.
fn durable_pods(world: &World) {
    let name = world.names("configmaps").into_iter().find(|name| name.starts_with("demo-config-")).unwrap();
    for number in 0..3 {
        let mut pod = world.pod(number, &name);
        pod["metadata"]["labels"]["controller-revision-hash"] = "one".into();
        world.put("pods", pod);
    }
    revisions(world, "one", "one");
}

fn revisions(world: &World, current: &str, update: &str) {
    world.edit("statefulsets", "demo", |set| {
        set["status"]["currentRevision"] = current.into();
        set["status"]["updateRevision"] = update.into();
    });
}

/// Every pod tells that it is well, with so many healthy shards of twelve.
fn tell_copies(world: &World, healthy: [i32; 3]) {
    for (number, healthy) in healthy.into_iter().enumerate() {
        let told = Told {
            cluster_id: Some(ClusterId(1)),
            view: Some(3),
            shards: Some(12),
            leaders: Some(4),
            shards_healthy: Some(healthy),
            caught_up: Some(true),
            drains: false,
        };
        let reading = PodReading { uid: format!("pod-{number}"), connections: 0, told, at: Timestamp::now() };
        world.context.readings.store(&("shop".to_owned(), "demo".to_owned()), &format!("demo-{number}"), Some(reading));
    }
}

fn partition(world: &World) -> Value {
    world.statefulset()["updateStrategy"]["rollingUpdate"]["partition"].clone()
}

#[tokio::test]
async fn a_new_template_reaches_one_pod_when_all_copies_have_caught_up() {
    let world = World::running(|_| {}).await;
    durable_pods(&world);
    tell_copies(&world, [4, 4, 4]);
    world.reconcile().await.unwrap();
    assert_eq!(partition(&world), 3);
    world.edit_spec(|spec| spec["config"] = json!({"threads": 2}));
    world.reconcile().await.unwrap();
    assert_eq!(partition(&world), 3, "nothing begins with the template itself");

    revisions(&world, "one", "two");
    tell_copies(&world, [4, 3, 4]);
    world.reconcile().await.unwrap();
    assert_eq!(partition(&world), 3);
    let held = "demo-2 does not restart with the newest template yet: all copies have caught up in 11 of 12 shards";
    assert_eq!(
        world.told(ConditionKind::Progressing),
        format!("True RollHeld: 0 of 3 pods run the newest template; {held}")
    );
    assert!(world.events().contains(&"RollHeld".to_owned()));
    let status = &world.api.object("mqttclusters", "demo")["status"];
    assert_eq!(status["shards"], json!({"total": 12, "healthy": 11}));
    assert_eq!((&status["nodes"][0]["leaders"], &status["nodes"][0]["caughtUp"]), (&4.into(), &true.into()));

    tell_copies(&world, [4, 4, 4]);
    world.api.take_requests();
    world.reconcile().await.unwrap();
    assert_eq!(partition(&world), 2);
    assert!(!world.api.take_requests().contains(&"POST pods/demo-2/eviction".to_owned()), "its controller does it");
    let going = "0 of 3 pods run the newest template; demo-2 restarts with the newest template";
    assert_eq!(world.told(ConditionKind::Progressing), format!("True Rolling: {going}"));
    world.reconcile().await.unwrap();
    assert_eq!(world.names("pods"), ["demo-0", "demo-1"], "unless it waits for something");
    world.reconcile().await.unwrap();
    assert_eq!((partition(&world), world.names("pods").len()), (2.into(), 2), "a pod is missing now");
}

#[tokio::test]
async fn one_pod_less_waits_for_what_it_keeps_and_hibernation_does_not() {
    let world = World::running(|_| {}).await;
    durable_pods(&world);
    tell_copies(&world, [4, 4, 4]);
    world.edit_spec(|spec| spec["replicas"] = 2.into());
    world.reconcile().await.unwrap();
    assert_eq!(world.statefulset()["replicas"], 3);
    // The pods of this world have no addresses.
    let waits = "demo-2 cannot be drained, it does not answer: the pod has no address; bring it back, or give up what only \
                 it keeps by annotation mqtt.fulmar.dev/abandon=demo-2 of the MqttCluster";
    let told = world.told(ConditionKind::Ready);
    assert_eq!(told, format!("False Draining: demo-2 hands over before it is removed: {waits}"));
    let status = world.api.object("mqttclusters", "demo")["status"]["drain"].clone();
    assert_eq!((&status["pod"], &status["message"]), (&"demo-2".into(), &waits.into()));

    let hour = k8s_openapi::jiff::SignedDuration::from_hours(1);
    let key = ("shop".to_owned(), "demo".to_owned());
    let mut memory = world.context.drains.of(&key).unwrap();
    memory.since = memory.since.checked_sub(hour).unwrap();
    world.context.drains.note(key, Some(memory));
    world.reconcile().await.unwrap();
    assert!(world.told(ConditionKind::Degraded).starts_with("True DrainStalled: demo-2 has been handing over since "));

    world.edit("mqttclusters", "demo", |cluster| {
        cluster["metadata"]["annotations"] = json!({"mqtt.fulmar.dev/abandon": "demo-2"});
    });
    world.reconcile().await.unwrap();
    assert_eq!(world.statefulset()["replicas"], 2);
    world.edit_spec(|spec| spec["replicas"] = 0.into());
    world.reconcile().await.unwrap();
    assert_eq!(world.statefulset()["replicas"], 0);
    assert!(world.api.object("mqttclusters", "demo")["status"]["drain"].is_null());
    for number in 0..3 {
        world.remove("pods", &format!("demo-{number}"));
    }
    world.reconcile().await.unwrap();
    world.edit_spec(|spec| spec["replicas"] = 1.into());
    world.reconcile().await.unwrap();
    assert_eq!(world.statefulset()["replicas"], 2, "they wake together, and one hands over then");
}

#[tokio::test]
async fn the_autoscaler_keeps_its_word_while_a_pod_hands_over() {
    let world = World::running(autoscaled).await;
    durable_pods(&world);
    world.edit("statefulsets", "demo", |set| set["spec"]["replicas"] = 3.into());
    tell_copies(&world, [4, 4, 4]);
    world.edit_spec(|spec| {
        let quick = json!({"stabilizationSeconds": 0});
        spec["autoscaling"] =
            json!({"minReplicas": 2, "maxReplicas": 9, "targets": {"connectionsPerReplica": 1000}, "scaleDown": quick});
    });
    world.reconcile().await.unwrap();
    let desired = || world.api.object("mqttclusters", "demo")["status"]["autoscaling"]["desiredReplicas"].clone();
    assert_eq!((world.statefulset()["replicas"].clone(), desired()), (3.into(), 2.into()));
    world.edit_spec(|spec| spec["autoscaling"]["scaleDown"]["stabilizationSeconds"] = 3600.into());
    world.reconcile().await.unwrap();
    assert_eq!((world.statefulset()["replicas"].clone(), desired()), (3.into(), 2.into()), "the drain goes on");
    say(&world, 900);
    world.reconcile().await.unwrap();
    assert_eq!(desired(), 3, "more clients than two pods should carry");
}

fn say(world: &World, connections: i64) {
    for number in 0..3 {
        let reading =
            PodReading { uid: format!("pod-{number}"), connections, told: Told::default(), at: Timestamp::now() };
        let key = ("shop".to_owned(), "demo".to_owned());
        world.context.readings.store(&key, &format!("demo-{number}"), Some(reading));
    }
}

#[tokio::test]
async fn a_changed_number_costs_one_write_of_the_status_in_15_seconds() {
    let world = World::running(autoscaled).await;
    let pods: Vec<_> = (0..3).map(|number| world.pod(number, "x")).collect();
    for pod in &pods {
        world.put("pods", pod.clone());
    }
    say(&world, 100);
    world.reconcile().await.unwrap();
    let pods: Vec<_> = pods.into_iter().map(|pod| serde_json::from_value(pod).unwrap()).collect();
    let key = ("shop".to_owned(), "demo".to_owned());
    let start = Timestamp::now();
    let (context, api) = (&*world.context, &world.api);
    let shown = || api.object("mqttclusters", "demo")["status"]["connections"].clone();
    let after = |seconds: i64| start.saturating_add(k8s_openapi::jiff::SignedDuration::from_secs(seconds)).unwrap();
    api.take_requests();

    assert!(!refresh(context, &key, &pods, start).await.unwrap());
    assert_eq!((api.take_requests().len(), shown()), (0, 300.into()), "nothing is new");
    say(&world, 200);
    assert!(!refresh(context, &key, &pods, start).await.unwrap());
    assert_eq!((api.take_requests(), shown()), (vec!["APPLY mqttclusters/demo/status".to_owned()], 600.into()));
    say(&world, 300);
    assert!(!refresh(context, &key, &pods, after(14)).await.unwrap());
    assert_eq!((api.take_requests().len(), shown()), (0, 600.into()), "a moment ago is soon enough");
    assert!(!refresh(context, &key, &pods, after(15)).await.unwrap());
    assert_eq!((api.take_requests().len(), shown()), (1, 900.into()));

    say(&world, 1001);
    assert!(refresh(context, &key, &pods, after(16)).await.unwrap(), "another number of pods is not only a number");
    assert_eq!(api.take_requests().len(), 0);
    world.reconcile().await.unwrap();
    assert_eq!(world.statefulset()["replicas"], 4);
}

#[tokio::test]
async fn numbers_are_not_written_over_a_change_that_was_not_seen() {
    let world = World::running(|_| {}).await;
    let pods: Vec<_> = (0..3).map(|number| serde_json::from_value(world.pod(number, "x")).unwrap()).collect();
    say(&world, 100);
    world.edit("mqttclusters", "demo", |cluster| cluster["metadata"]["labels"] = json!({"team": "lights"}));
    let key = ("shop".to_owned(), "demo".to_owned());
    assert!(refresh(&world.context, &key, &pods, Timestamp::now()).await.unwrap());
    assert!(world.api.object("mqttclusters", "demo")["status"]["connections"].is_null());
}

#[tokio::test]
async fn a_scale_up_that_is_refused_is_neither_an_event_nor_in_the_status() {
    let world = World::running(autoscaled).await;
    for number in 0..3 {
        world.put("pods", world.pod(number, "x"));
    }
    say(&world, 100);
    world.reconcile().await.unwrap();
    say(&world, 2000);
    world.api.before_each(|verb, (kind, _), _| {
        (verb == "APPLY" && kind == "statefulsets").then(|| refusal(403, "Forbidden", &[]))
    });
    assert!(world.reconcile().await.is_err());
    let events = world.events();
    assert!(!events.iter().any(|reason| reason == "ScaledUp" || reason == "Scaled"), "{events:?}");
    let status = &world.api.object("mqttclusters", "demo")["status"];
    assert_eq!(status["autoscaling"]["desiredReplicas"], 3);
    assert!(world.told(ConditionKind::ScalingActive).starts_with("False NotApplied: 6 replicas are wanted"));
}
