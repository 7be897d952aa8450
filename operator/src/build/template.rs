//! The pod template: the broker's container, its volumes and probes, fit for the Pod Security level "restricted".

use fulmar_api::{AuthSpec, PodTemplate, labels, names};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapKeySelector, ConfigMapVolumeSource, Container, ContainerPort,
    DownwardAPIVolumeFile, DownwardAPIVolumeSource, EnvVar, EnvVarSource, HTTPGetAction, KeyToPath,
    LocalObjectReference, ObjectFieldSelector, PodAffinityTerm, PodAntiAffinity, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, SeccompProfile, SecretVolumeSource, SecurityContext, Volume, VolumeMount,
    WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata::{object_labels, selector};
use crate::broker_config::{
    ACCESS_FILE, ACCESS_FOLDER, CA_FILE, CLIENT_CA_FOLDER, CLUSTER_TLS_FOLDER, CONFIG_FILE, CONFIG_FOLDER, DATA_FOLDER,
    LISTENERS_FOLDER, POD_FOLDER, USERS_FILE, USERS_FOLDER, ZONE_FILE,
};
use crate::identity;
use crate::validate::ValidatedCluster;

/// The user and group of the broker in its image.
const BROKER_USER: i64 = 65_532;
/// Readable by owner and group only; fsGroup makes the broker a member.
const FILE_MODE: i32 = 0o440;
const USERS_VOLUME: &str = "auth-users";
const ACCESS_VOLUME: &str = "auth-access";
const POD_VOLUME: &str = "pod";
/// The longest that Kubernetes waits after SIGTERM. The broker bounds itself by its own shutdown.graceSeconds.
const TERMINATION_GRACE_SECONDS: i64 = 3600;
/// A start may take 10 minutes: a new node copies the retained messages before it is live for good.
const STARTUP_SECONDS: i32 = 600;

pub(super) fn build_template(cluster: &ValidatedCluster) -> PodTemplateSpec {
    let PodTemplate {
        labels: users_labels,
        annotations,
        node_selector,
        affinity,
        tolerations,
        topology_spread_constraints,
        security_context,
    } = &cluster.spec.pod_template;
    let mut pod_labels = users_labels.clone();
    pod_labels.extend(object_labels(&cluster.name));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(pod_labels),
            annotations: (!annotations.is_empty()).then(|| annotations.clone()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(names::service_account(&cluster.name)),
            automount_service_account_token: Some(false),
            // Kubernetes would announce Services as FULMAR_*, which the broker reads as settings.
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(TERMINATION_GRACE_SECONDS),
            image_pull_secrets: list(
                cluster.spec.image_pull_secrets.iter().map(|secret| LocalObjectReference { name: secret.name.clone() }),
            ),
            security_context: Some(pod_security(security_context.clone().unwrap_or_default())),
            node_selector: (!node_selector.is_empty()).then(|| node_selector.clone()),
            affinity: Some(affinity.clone().unwrap_or_else(|| spread_over_nodes(&cluster.name))),
            tolerations: list(tolerations.iter().cloned()),
            topology_spread_constraints: list(topology_spread_constraints.iter().cloned()),
            containers: vec![broker_container(cluster)],
            volumes: Some(volumes(cluster)),
            ..PodSpec::default()
        }),
    }
}

/// An empty list is written as no list, as the API server stores it.
fn list<T>(items: impl Iterator<Item = T>) -> Option<Vec<T>> {
    let items: Vec<T> = items.collect();
    (!items.is_empty()).then_some(items)
}

fn broker_container(cluster: &ValidatedCluster) -> Container {
    Container {
        name: names::BROKER_CONTAINER.to_owned(),
        image: Some(cluster.image.reference.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(vec!["--config".to_owned(), format!("{CONFIG_FOLDER}/{CONFIG_FILE}")]),
        env: Some(environment(&cluster.name)),
        ports: Some(ports(cluster)),
        resources: cluster.spec.resources.clone(),
        startup_probe: Some(Probe { failure_threshold: Some(STARTUP_SECONDS), ..probe("/livez", 1) }),
        readiness_probe: Some(Probe { failure_threshold: Some(2), ..probe("/readyz", 2) }),
        liveness_probe: Some(Probe { failure_threshold: Some(3), timeout_seconds: Some(5), ..probe("/livez", 10) }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(mounts(cluster)),
        ..Container::default()
    }
}

fn environment(cluster: &str) -> Vec<EnvVar> {
    let from_pod = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { api_version: None, field_path: path.to_owned() }),
            ..EnvVarSource::default()
        }),
        value: None,
    };
    // Whoever starts after the first cluster was begun joins that one. Before, there is no such ConfigMap.
    let identity = ConfigMapKeySelector {
        name: names::identity(cluster),
        key: identity::CLUSTER_ID.to_owned(),
        optional: Some(true),
    };
    vec![
        from_pod("POD_NAME", "metadata.name"),
        from_pod("POD_NAMESPACE", "metadata.namespace"),
        from_pod("POD_IP", "status.podIP"),
        EnvVar { name: "FULMAR_NAME".to_owned(), value: Some("$(POD_NAME)".to_owned()), value_from: None },
        EnvVar {
            name: "FULMAR_CLUSTER_ID".to_owned(),
            value_from: Some(EnvVarSource { config_map_key_ref: Some(identity), ..EnvVarSource::default() }),
            value: None,
        },
    ]
}

fn ports(cluster: &ValidatedCluster) -> Vec<ContainerPort> {
    let port = |name: &str, port: i32| ContainerPort {
        name: Some(name.to_owned()),
        container_port: port,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let listeners = cluster.listeners.iter().map(|listener| port(&listener.name, listener.container_port));
    let own = [("tcp-cluster", names::CLUSTER_PORT), ("tcp-admin", names::ADMIN_PORT), ("http", names::HTTP_PORT)];
    listeners.chain(own.map(|(name, number)| port(name, number))).collect()
}

fn probe(path: &str, period_seconds: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

fn volumes(cluster: &ValidatedCluster) -> Vec<Volume> {
    let items = |keys: &[&str]| -> Vec<KeyToPath> {
        keys.iter().map(|key| KeyToPath { key: (*key).to_owned(), path: (*key).to_owned(), mode: None }).collect()
    };
    let secret = |name: String, secret: String, keys: &[&str]| Volume {
        name,
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret),
            default_mode: Some(FILE_MODE),
            items: Some(items(keys)),
            optional: None,
        }),
        ..Volume::default()
    };
    let config = Volume {
        name: "config".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: names::config_map(&cluster.name, &cluster.input_hash),
            default_mode: Some(FILE_MODE),
            items: Some(items(&[CONFIG_FILE])),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    };
    // An annotation may come while the pod runs; the file follows it, a variable would not.
    let pod = Volume {
        name: POD_VOLUME.to_owned(),
        downward_api: Some(DownwardAPIVolumeSource {
            default_mode: Some(FILE_MODE),
            items: Some(vec![DownwardAPIVolumeFile {
                path: ZONE_FILE.to_owned(),
                field_ref: Some(ObjectFieldSelector {
                    api_version: None,
                    field_path: format!("metadata.annotations['{}']", labels::ZONE),
                }),
                ..DownwardAPIVolumeFile::default()
            }]),
        }),
        ..Volume::default()
    };
    let links = secret("cluster-tls".to_owned(), names::internal_tls(&cluster.name), &["tls.crt", "tls.key", "ca.crt"]);
    let listeners = cluster.listeners.iter().filter_map(|listener| {
        let certificate = listener.certificate_secret.clone()?;
        Some(secret(listener_volume(&listener.name), certificate, &["tls.crt", "tls.key"]))
    });
    let authorities = cluster.listeners.iter().filter_map(|listener| {
        let authority = listener.clients.as_ref()?.authority_secret.clone();
        Some(secret(client_ca_volume(&listener.name), authority, &[CA_FILE]))
    });
    let AuthSpec { anonymous: _, users_secret_name, acl_secret_name } = &cluster.spec.auth;
    let users = users_secret_name.clone().map(|name| secret(USERS_VOLUME.to_owned(), name, &[USERS_FILE]));
    let access = acl_secret_name.clone().map(|name| secret(ACCESS_VOLUME.to_owned(), name, &[ACCESS_FILE]));
    [config, pod, links].into_iter().chain(listeners).chain(authorities).chain(users).chain(access).collect()
}

fn mounts(cluster: &ValidatedCluster) -> Vec<VolumeMount> {
    let mount = |name: &str, path: String, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path,
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    let fixed = [
        mount(names::DATA_VOLUME, DATA_FOLDER.to_owned(), false),
        mount("config", CONFIG_FOLDER.to_owned(), true),
        mount(POD_VOLUME, POD_FOLDER.to_owned(), true),
        mount("cluster-tls", CLUSTER_TLS_FOLDER.to_owned(), true),
    ];
    let secure = cluster.listeners.iter().filter(|listener| listener.certificate_secret.is_some());
    let listeners = secure
        .map(|listener| mount(&listener_volume(&listener.name), format!("{LISTENERS_FOLDER}/{}", listener.name), true));
    let asking = cluster.listeners.iter().filter(|listener| listener.clients.is_some());
    let authorities = asking.map(|listener| {
        mount(&client_ca_volume(&listener.name), format!("{CLIENT_CA_FOLDER}/{}", listener.name), true)
    });
    let AuthSpec { anonymous: _, users_secret_name, acl_secret_name } = &cluster.spec.auth;
    let users = users_secret_name.iter().map(|_| mount(USERS_VOLUME, USERS_FOLDER.to_owned(), true));
    let access = acl_secret_name.iter().map(|_| mount(ACCESS_VOLUME, ACCESS_FOLDER.to_owned(), true));
    fixed.into_iter().chain(listeners).chain(authorities).chain(users).chain(access).collect()
}

fn listener_volume(listener: &str) -> String {
    format!("tls-{listener}")
}

fn client_ca_volume(listener: &str) -> String {
    format!("client-ca-{listener}")
}

/// The user's settings win field by field.
fn pod_security(user: PodSecurityContext) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: user.run_as_non_root.or(Some(true)),
        run_as_user: user.run_as_user.or(Some(BROKER_USER)),
        run_as_group: user.run_as_group.or(Some(BROKER_USER)),
        fs_group: user.fs_group.or(Some(BROKER_USER)),
        fs_group_change_policy: user.fs_group_change_policy.or_else(|| Some("OnRootMismatch".to_owned())),
        seccomp_profile: user
            .seccomp_profile
            .or_else(|| Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() })),
        ..user
    }
}

/// Without a wish of the user, pods prefer zones and nodes without another pod of the cluster.
fn spread_over_nodes(cluster: &str) -> Affinity {
    let apart = |key: &str, weight: i32| WeightedPodAffinityTerm {
        weight,
        pod_affinity_term: PodAffinityTerm {
            label_selector: Some(selector(cluster)),
            topology_key: key.to_owned(),
            ..PodAffinityTerm::default()
        },
    };
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![
                apart("kubernetes.io/hostname", 100),
                apart("topology.kubernetes.io/zone", 50),
            ]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

/// The ConfigMap that a pod uses as its configuration, if it is one of ours.
pub(crate) fn used_config_map(pod: &PodSpec) -> Option<&str> {
    let volumes = pod.volumes.iter().flatten();
    volumes.filter(|volume| volume.name == "config").find_map(|volume| Some(volume.config_map.as_ref()?.name.as_str()))
}

/// The Secrets that a pod mounts.
pub(crate) fn used_secrets(pod: &PodSpec) -> impl Iterator<Item = &str> {
    let volumes = pod.volumes.iter().flatten();
    volumes.filter_map(|volume| volume.secret.as_ref()?.secret_name.as_deref())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fixtures::{cluster, image};
    use crate::validate::{owner_reference, validate};

    fn built(cluster: &fulmar_api::MqttCluster) -> PodTemplateSpec {
        let owner = owner_reference(cluster).unwrap();
        build_template(&validate(cluster, owner, None, String::new(), &image("v0.1.0")).unwrap())
    }

    #[test]
    fn a_pod_fits_the_level_restricted() {
        let spec = built(&cluster()).spec.unwrap();
        let pod = spec.security_context.unwrap();
        assert_eq!((pod.run_as_non_root, pod.run_as_user, pod.fs_group), (Some(true), Some(65_532), Some(65_532)));
        assert_eq!(pod.seccomp_profile.unwrap().type_, "RuntimeDefault");
        let container = spec.containers[0].security_context.clone().unwrap();
        assert_eq!(container.allow_privilege_escalation, Some(false));
        assert_eq!(container.read_only_root_filesystem, Some(true));
        assert_eq!(container.capabilities.unwrap().drop, Some(vec!["ALL".to_owned()]));
        assert_eq!(spec.automount_service_account_token, Some(false));
    }

    #[test]
    fn every_port_is_above_1024_and_every_certificate_is_mounted_as_a_folder() {
        let container = built(&cluster()).spec.unwrap().containers.remove(0);
        let ports: Vec<_> =
            container.ports.unwrap().into_iter().map(|port| (port.name.unwrap(), port.container_port)).collect();
        let wanted = [("mqtt", 1883), ("mqtts", 10_443), ("tcp-cluster", 7800), ("tcp-admin", 7801), ("http", 8080)];
        assert_eq!(ports, wanted.map(|(name, port)| (name.to_owned(), port)));
        let mounts = container.volume_mounts.unwrap();
        assert!(mounts.iter().all(|mount| mount.sub_path.is_none()));
        let paths: Vec<_> = mounts.iter().map(|mount| mount.mount_path.as_str()).collect();
        let wanted = [
            "/data",
            "/etc/fulmar/config",
            "/etc/fulmar/pod",
            "/etc/fulmar/cluster-tls",
            "/etc/fulmar/listeners/mqtts",
        ];
        assert_eq!(paths, wanted);
    }

    #[test]
    fn secrets_with_users_rules_and_authorities_are_mounted_as_folders_with_one_key_each() {
        let mut cluster = cluster();
        cluster.spec.auth.users_secret_name = Some("mine".to_owned());
        cluster.spec.auth.acl_secret_name = Some("rules".to_owned());
        let tls = cluster.spec.listeners[1].tls.as_mut().unwrap();
        tls.client_auth = fulmar_api::ClientAuth::Required;
        tls.client_ca_secret_name = Some("devices".to_owned());
        let mut spec = built(&cluster).spec.unwrap();
        let mounts = spec.containers.remove(0).volume_mounts.unwrap();
        let found: Vec<_> = spec.volumes.unwrap().into_iter().skip(4).collect();
        let found: Vec<_> = found
            .into_iter()
            .map(|volume| {
                let mount = mounts.iter().find(|mount| mount.name == volume.name).unwrap();
                assert_eq!((mount.read_only, &mount.sub_path), (Some(true), &None));
                let secret = volume.secret.unwrap();
                let keys: Vec<_> = secret.items.unwrap().into_iter().map(|item| (item.key, item.path)).collect();
                let [(key, path)] = keys.try_into().unwrap();
                assert_eq!(key, path);
                (secret.secret_name.unwrap(), format!("{}/{key}", mount.mount_path))
            })
            .collect();
        let wanted = [
            ("devices", "/etc/fulmar/client-ca/mqtts/ca.crt"),
            ("mine", "/etc/fulmar/auth/users/users"),
            ("rules", "/etc/fulmar/auth/access/access.yaml"),
        ];
        assert_eq!(found, wanted.map(|(secret, file)| (secret.to_owned(), file.to_owned())));
    }

    #[test]
    fn a_broker_that_starts_gets_the_id_of_its_cluster_as_soon_as_there_is_one() {
        let container = built(&cluster()).spec.unwrap().containers.remove(0);
        let id = container.env.unwrap().into_iter().find(|variable| variable.name == "FULMAR_CLUSTER_ID").unwrap();
        let key = id.value_from.unwrap().config_map_key_ref.unwrap();
        let found = (key.name.as_str(), key.key.as_str(), key.optional);
        assert_eq!(found, ("demo-identity", "clusterId", Some(true)));
    }

    #[test]
    fn the_zone_is_a_file_that_follows_an_annotation_of_the_pod() {
        let volumes = built(&cluster()).spec.unwrap().volumes.unwrap();
        let mut files = volumes.into_iter().filter_map(|volume| volume.downward_api?.items).flatten();
        let file = files.next().unwrap();
        let field = file.field_ref.unwrap().field_path;
        assert_eq!((file.path.as_str(), field.as_str()), ("zone", "metadata.annotations['mqtt.fulmar.dev/zone']"));
        assert!(files.next().is_none());
    }

    #[test]
    fn the_authority_s_key_is_in_no_pod() {
        let volumes = built(&cluster()).spec.unwrap().volumes.unwrap();
        let secrets: Vec<_> = volumes.into_iter().filter_map(|volume| volume.secret?.secret_name).collect();
        assert_eq!(secrets, ["demo-internal-tls", "demo-mqtts-tls"]);
    }

    #[test]
    fn labels_of_the_operator_win_and_settings_of_the_user_stay() {
        let mut cluster = cluster();
        let pods = &mut cluster.spec.pod_template;
        pods.labels = BTreeMap::from([
            ("team".to_owned(), "lights".to_owned()),
            (labels::CLUSTER.to_owned(), "other".to_owned()),
        ]);
        pods.security_context = Some(PodSecurityContext { run_as_user: Some(1000), ..PodSecurityContext::default() });
        let built = built(&cluster);
        let found = built.metadata.unwrap().labels.unwrap();
        assert_eq!((found["team"].as_str(), found[labels::CLUSTER].as_str()), ("lights", "demo"));
        let security = built.spec.unwrap().security_context.unwrap();
        assert_eq!((security.run_as_user, security.run_as_group), (Some(1000), Some(65_532)));
    }
}
