//! From what a user asked for to what can be built: pure, and all that is wrong at once.
//!
//! `ValidatedCluster` is the proof: builders take nothing else, so they cannot fail.

use fulmar_api::{
    ClientAuth, ClientIdentity, ListenerLimits, ListenerProtocol, ListenerService, ListenerTls, MqttCluster,
    MqttClusterSpec, labels, names,
};
use fulmar_config::Config;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::broker_config::{SettingError, build_config};
use crate::image::is_image_reference;
use crate::record::Recorded;
use crate::settings::ImageReference;
use crate::volumes::template_size;

/// A cluster that can be built.
#[derive(Clone, Debug)]
pub(crate) struct ValidatedCluster {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) owner: OwnerReference,
    pub(crate) spec: MqttClusterSpec,
    /// What the claim template asks for, which never changes.
    pub(crate) claim_size: String,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) config: Config,
    pub(crate) image: BrokerImage,
    /// Names everything whose change restarts pods.
    pub(crate) input_hash: String,
    /// What was applied when this input was first seen.
    pub(crate) recorded: Option<Recorded>,
    /// The public part of the cluster's authority, in PEM.
    pub(crate) authority: String,
}

impl ValidatedCluster {
    /// The same cluster with the pods of another input, as they are on record.
    pub(crate) fn with_pods_of(self, input_hash: String, recorded: Recorded) -> Self {
        Self { input_hash, recorded: Some(recorded), ..self }
    }
}

/// A listener whose certificate, if it needs one, has a Secret.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) protocol: ListenerProtocol,
    pub(crate) port: i32,
    pub(crate) container_port: i32,
    pub(crate) certificate_secret: Option<String>,
    pub(crate) clients: Option<ClientCertificates>,
    pub(crate) service: ListenerService,
    pub(crate) limits: ListenerLimits,
}

/// How a listener's clients prove themselves by certificates.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ClientCertificates {
    pub(crate) auth: ClientAuth,
    pub(crate) authority_secret: String,
    pub(crate) identity: ClientIdentity,
}

/// What the brokers run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerImage {
    pub(crate) reference: String,
    /// What the status shows: the version, or the whole reference where the user gave one.
    pub(crate) version: String,
    /// The version to go back to when the user names none any more.
    pub(crate) pinned: String,
}

/// One thing that is wrong with what the user asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpecError {
    /// In the settings of the brokers.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// No container runtime would understand it.
    #[error("image: found {found:?}, wanted a reference such as fulmar.dev/fulmar-broker:v0.1.0")]
    Image { found: String },
}

/// The part of the spec whose change restarts pods. Whatever is not here must not reach the template or the
/// configuration: replicas, Services, names in certificates, autoscaling.
#[derive(Serialize)]
struct RestartInput<'a> {
    image: &'a str,
    image_pull_secrets: &'a [fulmar_api::ImagePullSecret],
    listeners: Vec<(&'a str, ListenerProtocol, i32, Option<&'a str>)>,
    anonymous: bool,
    // What came with later releases is left out where it is not set, so that an upgrade changes no hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    users_secret: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_secret: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    client_certificates: Vec<(&'a str, &'a ClientCertificates)>,
    config: &'a serde_json::Map<String, serde_json::Value>,
    resources: &'a Option<k8s_openapi::api::core::v1::ResourceRequirements>,
    pod_template: &'a fulmar_api::PodTemplate,
}

/// Checks what the API server could not.
pub(crate) fn validate(
    cluster: &MqttCluster,
    owner: OwnerReference,
    existing: Option<&StatefulSet>,
    authority: String,
    default_image: &ImageReference,
) -> Result<ValidatedCluster, Vec<SpecError>> {
    let name = cluster.name_any();
    let namespace = cluster.namespace().unwrap_or_default();
    let spec = cluster.spec.clone();
    let listeners = validate_listeners(&name, &spec);
    let config = build_config(&name, &namespace, &listeners, &spec.auth, &spec.config);
    let image = spec.image.iter().filter(|image| !is_image_reference(image));
    let mut errors: Vec<_> = image.map(|found| SpecError::Image { found: found.clone() }).collect();
    let config = match config {
        Ok(config) if errors.is_empty() => config,
        config => {
            errors.extend(config.err().into_iter().flatten().map(SpecError::from));
            return Err(errors);
        }
    };
    let image = choose_image(cluster, existing, default_image);
    let claim_size = existing.and_then(template_size).unwrap_or_else(|| spec.storage.size.clone());
    let input_hash = input_hash(&spec, &listeners, &image);
    Ok(ValidatedCluster {
        name,
        namespace,
        owner,
        spec,
        claim_size,
        listeners,
        config,
        image,
        input_hash,
        recorded: None,
        authority,
    })
}

fn validate_listeners(cluster: &str, spec: &MqttClusterSpec) -> Vec<Listener> {
    let listeners = spec.listeners.iter().map(|listener| Listener {
        name: listener.name.clone(),
        protocol: listener.protocol,
        port: listener.port,
        container_port: names::container_port(listener.port),
        certificate_secret: listener
            .tls
            .as_ref()
            .map(|tls| tls.secret_name.clone().unwrap_or_else(|| names::listener_tls(cluster, &listener.name))),
        clients: listener.tls.as_ref().and_then(client_certificates),
        service: listener.service.clone().unwrap_or_default(),
        limits: listener.limits.clone().unwrap_or_default(),
    });
    listeners.collect()
}

/// The schema allows no authority without `clientAuth`, and no `clientAuth` without an authority.
fn client_certificates(tls: &ListenerTls) -> Option<ClientCertificates> {
    let ListenerTls { secret_name: _, self_signed: _, client_auth, client_ca_secret_name, client_identity } = tls;
    let authority_secret = client_ca_secret_name.clone().filter(|_| *client_auth != ClientAuth::None)?;
    Some(ClientCertificates { auth: *client_auth, authority_secret, identity: *client_identity })
}

/// An unset version is fixed when the cluster is created. The status remembers it, which no edit of the StatefulSet
/// reaches, and the StatefulSet does before the first status and while the user names an image.
fn choose_image(cluster: &MqttCluster, existing: Option<&StatefulSet>, default: &ImageReference) -> BrokerImage {
    let pinned = || existing.and_then(|existing| existing.annotations().get(labels::PINNED_VERSION).cloned());
    let seen = || {
        let version = cluster.status.as_ref().and_then(|status| status.version.clone());
        // Where the user gave an image, it stands here in place of a version.
        version.filter(|version| !version.contains([':', '/', '@']))
    };
    let MqttClusterSpec { version, image, .. } = &cluster.spec;
    let pinned = version.clone().or_else(seen).or_else(pinned).unwrap_or_else(|| default.version.clone());
    match image {
        Some(reference) => BrokerImage { reference: reference.clone(), version: reference.clone(), pinned },
        None => BrokerImage { reference: format!("{}:{pinned}", default.repository), version: pinned.clone(), pinned },
    }
}

fn input_hash(spec: &MqttClusterSpec, listeners: &[Listener], image: &BrokerImage) -> String {
    let input = RestartInput {
        image: &image.version,
        image_pull_secrets: &spec.image_pull_secrets,
        listeners: listeners
            .iter()
            .map(|listener| {
                (
                    listener.name.as_str(),
                    listener.protocol,
                    listener.container_port,
                    listener.certificate_secret.as_deref(),
                )
            })
            .collect(),
        anonymous: spec.auth.anonymous,
        users_secret: spec.auth.users_secret_name.as_deref(),
        access_secret: spec.auth.acl_secret_name.as_deref(),
        client_certificates: listeners
            .iter()
            .filter_map(|listener| Some((listener.name.as_str(), listener.clients.as_ref()?)))
            .collect(),
        config: &spec.config,
        resources: &spec.resources,
        pod_template: &spec.pod_template,
    };
    hash(&serde_json::to_vec(&input).expect("plain values can be written as JSON"))
}

/// Ten hexadecimal digits: enough to tell the inputs of one cluster apart, short enough for names.
pub(crate) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}

/// The reference that makes an object ours: it goes when the cluster goes.
pub(crate) fn owner_reference(cluster: &MqttCluster) -> Option<OwnerReference> {
    cluster.controller_owner_ref(&())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulmar_api::MqttClusterStatus;

    use crate::build::{Scale, build};
    use crate::fixtures::{cluster, image};

    fn validated(cluster: &MqttCluster, existing: Option<&StatefulSet>) -> ValidatedCluster {
        validate(cluster, owner_reference(cluster).unwrap(), existing, String::new(), &image("v0.1.0")).unwrap()
    }

    fn ask_for_certificates(spec: &mut MqttClusterSpec, auth: ClientAuth, secret: &str, identity: ClientIdentity) {
        let tls = spec.listeners[1].tls.as_mut().unwrap();
        (tls.client_auth, tls.client_identity) = (auth, identity);
        tls.client_ca_secret_name = Some(secret.to_owned());
    }

    #[test]
    fn what_never_restarts_pods_leaves_the_input_hash_alone() {
        let base = cluster();
        let mut other = base.clone();
        other.spec.replicas = 7;
        other.spec.pod_disruption_budget.enabled = false;
        other.spec.listeners[0].service =
            Some(ListenerService { kind: fulmar_api::ServiceType::NodePort, ..ListenerService::default() });
        if let Some(tls) = &mut other.spec.listeners[1].tls {
            tls.self_signed.as_mut().unwrap().dns_names.push("mqtt.example.org".to_owned());
        }
        assert_eq!(validated(&base, None).input_hash, validated(&other, None).input_hash);
    }

    #[test]
    fn what_restarts_pods_changes_the_input_hash() {
        let base = validated(&cluster(), None).input_hash;
        let changes: [fn(&mut MqttClusterSpec); 11] = [
            |spec| spec.version = Some("v0.2.0".to_owned()),
            |spec| spec.image = Some("example.org/broker:1".to_owned()),
            |spec| spec.listeners[0].port = 1884,
            |spec| spec.auth.anonymous = !spec.auth.anonymous,
            |spec| drop(spec.config.insert("threads".to_owned(), 2.into())),
            |spec| drop(spec.pod_template.node_selector.insert("disk".to_owned(), "fast".to_owned())),
            |spec| spec.auth.users_secret_name = Some("a".to_owned()),
            |spec| spec.auth.acl_secret_name = Some("a".to_owned()),
            |spec| ask_for_certificates(spec, ClientAuth::Optional, "a", ClientIdentity::None),
            |spec| ask_for_certificates(spec, ClientAuth::Required, "a", ClientIdentity::None),
            |spec| ask_for_certificates(spec, ClientAuth::Required, "a", ClientIdentity::Uri),
        ];
        let mut hashes = vec![base];
        for (index, change) in changes.into_iter().enumerate() {
            let mut changed = cluster();
            change(&mut changed.spec);
            let hash = validated(&changed, None).input_hash;
            assert!(!hashes.contains(&hash), "change {index}");
            hashes.push(hash);
        }
    }

    /// A changed hash is a changed input: every pod of every cluster would restart when the operator is upgraded. If
    /// this test fails, the way of making the hash must be mended, not the test.
    #[test]
    fn the_input_hash_is_as_in_the_first_release() {
        let mut full = cluster();
        full.spec.version = Some("v0.1.0".to_owned());
        full.spec.image_pull_secrets.push(fulmar_api::ImagePullSecret { name: "registry".to_owned() });
        full.spec.config.insert("threads".to_owned(), 2.into());
        full.spec.pod_template.node_selector.insert("disk".to_owned(), "fast".to_owned());
        full.spec.resources = serde_json::from_value(serde_json::json!({"limits": {"cpu": "1"}})).unwrap();
        let found = [validated(&cluster(), None).input_hash, validated(&full, None).input_hash];
        assert_eq!(found, ["8d46bec1a7", "2372687e42"]);
    }

    #[test]
    fn an_unset_version_is_fixed_at_creation() {
        let cluster = cluster();
        let first = validated(&cluster, None);
        assert_eq!(first.image.reference, "fulmar.dev/fulmar-broker:v0.1.0");
        let existing = build(&first, Scale::at_rest(3)).statefulset;
        let newer = validate(&cluster, first.owner.clone(), Some(&existing), String::new(), &image("v9.0.0")).unwrap();
        assert_eq!(newer.image, first.image);
        assert_eq!(newer.input_hash, first.input_hash);
    }

    #[test]
    fn an_edited_pin_on_the_statefulset_changes_nothing() {
        let mut cluster = cluster();
        let mut existing = build(&validated(&cluster, None), Scale::at_rest(3)).statefulset;
        existing.annotations_mut().insert(labels::PINNED_VERSION.to_owned(), "v6.6.6".to_owned());
        cluster.status = Some(MqttClusterStatus { version: Some("v0.1.0".to_owned()), ..MqttClusterStatus::default() });
        assert_eq!(validated(&cluster, Some(&existing)).image.pinned, "v0.1.0");
    }

    #[test]
    fn an_image_in_the_status_is_no_version() {
        let mut cluster = cluster();
        for image in ["example.org/broker", "broker:v1", "broker@sha256:00"] {
            cluster.status =
                Some(MqttClusterStatus { version: Some(image.to_owned()), ..MqttClusterStatus::default() });
            assert_eq!(validated(&cluster, None).image.pinned, "v0.1.0", "{image}");
        }
    }

    #[test]
    fn an_image_that_is_no_reference_is_refused_together_with_wrong_settings() {
        let mut cluster = cluster();
        cluster.spec.image = Some("https://example.org/Broker".to_owned());
        cluster.spec.config.insert("name".to_owned(), "x".into());
        let owner = owner_reference(&cluster).unwrap();
        let errors = validate(&cluster, owner, None, String::new(), &image("v0.1.0")).unwrap_err();
        let lines: Vec<_> = errors.iter().map(|error| error.to_string()).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        let wanted =
            r#"image: found "https://example.org/Broker", wanted a reference such as fulmar.dev/fulmar-broker:v0.1.0"#;
        assert_eq!(lines[0], wanted);
        assert!(lines[1].starts_with("config.name: found a setting of the operator, "), "{lines:?}");
    }

    #[test]
    fn a_version_from_the_user_beats_the_fixed_one() {
        let mut cluster = cluster();
        let existing = build(&validated(&cluster, None), Scale::at_rest(3)).statefulset;
        cluster.spec.version = Some("v0.2.0".to_owned());
        assert_eq!(validated(&cluster, Some(&existing)).image.version, "v0.2.0");
    }
}
