//! Key material in Secrets: made once with POST, read live, never applied.
//!
//! Another operator may make the same Secret at the same instant: AlreadyExists means read again, so no key is ever
//! overwritten by one made from a stale view. What is due is replaced with the resourceVersion that was read.

use std::collections::BTreeMap;

use fulmar_api::{CertificateStatus, ListenerSpec, MqttCluster, labels, names};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};

use crate::broker_config::CA_FILE;
use crate::build::object_labels;
use crate::certificates::{
    Certificate, KeyMaterial, Subject, authority_name, check_authorities, check_authority, is_signed_by,
    issue_authority, issue_leaf, read_material,
};
use crate::failure::{During, Failure, refused_or_passing};
use crate::observe::{is_controlled_by, made_for, own_or_taken};
use crate::rotation::Authority;

/// Ends each certificate in PEM.
const END: &str = "-----END CERTIFICATE-----\n";

/// The certificates of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// The authority itself, where it can be used.
    pub(crate) signer: Option<Authority>,
    /// The public part of the cluster's authority, in PEM, with the one that comes or goes while it rotates.
    pub(crate) authority: String,
    /// Every certificate in use, for the status.
    pub(crate) certificates: Vec<CertificateStatus>,
    /// Names of our own Secrets that are in use; others of ours may be pruned.
    pub(crate) secrets: Vec<String>,
    /// What is wrong with a certificate that is nevertheless used, for example that it is over.
    pub(crate) complaint: Option<String>,
    /// Secrets that were made or renewed just now, for events.
    pub(crate) issued: Vec<String>,
    /// What became of an authority whose Secret is gone, for an event.
    pub(crate) replaced: Option<String>,
    /// Why a Secret of the user, or the authority, cannot be used. Pods that need it wait; all else goes on.
    pub(crate) held: Option<Failure>,
}

/// Makes what is missing, renews what is due and checks what the user brought.
pub(crate) async fn ensure_keys(
    client: &Client,
    cluster: &MqttCluster,
    owner: &OwnerReference,
    now: Timestamp,
) -> Result<Keys, Failure> {
    let (name, namespace) = (cluster.name_any(), cluster.namespace().unwrap_or_default());
    let store = SecretStore {
        api: Api::namespaced(client.clone(), &namespace),
        config_maps: Api::namespaced(client.clone(), &namespace),
        cluster,
        owner,
    };
    let mut keys = Keys::default();

    let authority_secret = names::authority(&name);
    let links = names::internal_tls(&name);
    let authority = match store.ensure_authority(&authority_secret, &namespace, now, &mut keys).await {
        Ok(authority) => {
            keys.note(&authority_secret, &read_material(&authority.current).map_err(Failure::Keys)?, now, false);
            keys.authority = authority.bundle();
            Some(authority)
        }
        // Certificates and what is trusted stay as they are. A new cluster has none of them and waits.
        Err(failure @ Failure::Keys(_)) => {
            let Some(trusted) = store.trusted(&links, &authority_secret).await? else { return Err(failure) };
            keys.authority = trusted;
            keys.held = Some(failure);
            None
        }
        Err(failure) => return Err(failure),
    };

    keys.signer.clone_from(&authority);
    let subject = link_subject(&name, &namespace);
    let certificate =
        store.ensure_or_keep_leaf(&links, authority.as_ref(), &subject, None, now, &mut keys.issued).await?;
    keys.note_kept(&links, certificate.as_ref(), now);

    for listener in &cluster.spec.listeners {
        let Some(tls) = &listener.tls else { continue };
        match &tls.secret_name {
            Some(secret) => match store.read_users(listener, secret).await {
                Ok(certificate) => keys.note(secret, &certificate, now, true),
                Err(failure @ Failure::Certificate { .. }) => keys.held = keys.held.or(Some(failure)),
                Err(failure) => return Err(failure),
            },
            None => {
                let secret = names::listener_tls(&name, &listener.name);
                let subject = listener_subject(&name, &namespace, listener);
                let (authority, listener) = (authority.as_ref(), Some(listener.name.as_str()));
                let certificate =
                    store.ensure_or_keep_leaf(&secret, authority, &subject, listener, now, &mut keys.issued).await?;
                keys.note_kept(&secret, certificate.as_ref(), now);
            }
        }
        if let Some(secret) = &tls.client_ca_secret_name {
            match store.check_client_authority(listener, secret).await {
                Ok(()) => {}
                Err(failure @ Failure::Certificate { .. }) => keys.held = keys.held.or(Some(failure)),
                Err(failure) => return Err(failure),
            }
        }
    }
    Ok(keys)
}

impl Keys {
    fn note_kept(&mut self, secret: &str, certificate: Option<&Certificate>, now: Timestamp) {
        if let Some(certificate) = certificate {
            self.note(secret, certificate, now, false);
        }
    }

    fn note(&mut self, secret: &str, certificate: &Certificate, now: Timestamp, is_users: bool) {
        let not_after = certificate.not_after;
        if certificate.is_over(now) && self.complaint.is_none() {
            self.complaint = Some(format!("the certificate in Secret {secret} ended at {not_after}"));
        }
        if !is_users {
            self.secrets.push(secret.to_owned());
        }
        // Two listeners may use one Secret of the user.
        if !self.certificates.iter().any(|known| known.secret_name == secret) {
            self.certificates.push(CertificateStatus { secret_name: secret.to_owned(), not_after: Time(not_after) });
        }
    }
}

/// The names that brokers check on links: a wildcard, so that no certificate depends on the number of pods.
fn link_subject(cluster: &str, namespace: &str) -> Subject {
    let service = format!("{}.{namespace}.svc", names::nodes_service(cluster));
    let local = format!("{service}.cluster.local");
    let names = [format!("*.{service}"), format!("*.{local}"), service, local];
    Subject { names: names.into(), ..Subject::default() }
}

/// The names of a listener's Service in every form that resolves, and what the user adds.
fn listener_subject(cluster: &str, namespace: &str, listener: &ListenerSpec) -> Subject {
    let service = names::listener_service(cluster, &listener.name);
    let forms = [
        service.clone(),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
    ];
    let users = listener.tls.as_ref().and_then(|tls| tls.self_signed.clone()).unwrap_or_default();
    Subject {
        names: forms.into_iter().chain(users.dns_names).collect(),
        addresses: users.ip_addresses.iter().filter_map(|address| address.parse().ok()).collect(),
    }
}

struct SecretStore<'a> {
    api: Api<Secret>,
    config_maps: Api<ConfigMap>,
    cluster: &'a MqttCluster,
    owner: &'a OwnerReference,
}

impl SecretStore<'_> {
    async fn ensure_authority(
        &self,
        name: &str,
        namespace: &str,
        now: Timestamp,
        keys: &mut Keys,
    ) -> Result<Authority, Failure> {
        let wanted = authority_name(&self.cluster.name_any(), namespace);
        let issue = || issue_authority(&self.cluster.name_any(), namespace, now);
        let found = match self.read_own(name).await? {
            Some(found) => found,
            None => {
                let public = self.public_part(name).await?;
                // The one that signed comes first.
                let lost = public.as_ref().and_then(|bundle| bundle.split_inclusive(END).next());
                let lost = lost.filter(|pem| check_authority(pem, &wanted).is_ok_and(|lost| !lost.is_over(now)));
                // More people may edit ConfigMaps than Secrets: what the brokers' own certificate is signed by is ours.
                let links = self.read_own(&names::internal_tls(&self.cluster.name_any())).await?;
                let leaf = links.and_then(|links| text(&links, "tls.crt")).unwrap_or_default();
                let lost = lost.filter(|pem| is_signed_by(&leaf, pem));
                let new = Authority::in_place_of(lost.map(str::to_owned), issue().map_err(Failure::Keys)?);
                let made = self.create(self.secret(name, new.data())).await?;
                // Another operator may have been first, and tells it.
                if public.is_some() && text(&made, "tls.crt").as_ref() == Some(&new.current.certificate) {
                    let kept = if lost.is_some() { "stays trusted until it ends" } else { "is not trusted any more" };
                    keys.replaced = Some(format!(
                        "Secret {name} was gone, a new authority was made and the old one {kept}: \
                         clients need the new ca.crt of ConfigMap {name}"
                    ));
                }
                made
            }
        };
        let refused = |problem: anyhow::Error| {
            Failure::Keys(anyhow::anyhow!(
                "Secret {name}: {problem:#}: restore it, or delete it to have a new authority made, \
                 after which clients need the new ca.crt"
            ))
        };
        let authority = Authority::from_data(|key| text(&found, key)).ok_or_else(|| {
            let missing = ["tls.crt", "tls.key"].into_iter().filter(|key| text(&found, key).is_none());
            let missing = missing.collect::<Vec<_>>().join(" and no ");
            refused(anyhow::anyhow!("found no {missing} that is text, wanted the authority {wanted:?} and its key"))
        })?;
        authority.check(&wanted).map_err(refused)?;
        let Some(rotated) = authority.rotated(now, issue).map_err(refused)? else { return Ok(authority) };
        self.replace(&found, self.secret(name, rotated.data())).await?;
        keys.issued.push(name.to_owned());
        Ok(rotated)
    }

    /// The public part of the authority, as clients see it, if it belongs to this cluster.
    async fn public_part(&self, name: &str) -> Result<Option<String>, Failure> {
        let found = self.config_maps.get_opt(name).await.during("read the public part of the authority")?;
        let found = found.filter(|found| is_controlled_by(found, self.cluster));
        Ok(found.and_then(|found| found.data?.remove("ca.crt")))
    }

    /// What brokers and clients trust already.
    async fn trusted(&self, links: &str, authority: &str) -> Result<Option<String>, Failure> {
        match self.read_own(links).await?.and_then(|found| text(&found, "ca.crt")) {
            Some(trusted) => Ok(Some(trusted)),
            None => self.public_part(authority).await,
        }
    }

    /// A certificate for this subject, or what is there as long as there is nobody to sign.
    async fn ensure_or_keep_leaf(
        &self,
        name: &str,
        authority: Option<&Authority>,
        subject: &Subject,
        listener: Option<&str>,
        now: Timestamp,
        issued: &mut Vec<String>,
    ) -> Result<Option<Certificate>, Failure> {
        if let Some(authority) = authority {
            return self.ensure_leaf(name, authority, subject, listener, now, issued).await.map(Some);
        }
        let kept = self.read_own(name).await?.and_then(|found| material(&found));
        Ok(kept.and_then(|kept| read_material(&kept).ok()))
    }

    async fn ensure_leaf(
        &self,
        name: &str,
        authority: &Authority,
        subject: &Subject,
        listener: Option<&str>,
        now: Timestamp,
        issued: &mut Vec<String>,
    ) -> Result<Certificate, Failure> {
        let new = || issue_leaf(&authority.current, subject, now).map_err(Failure::Keys);
        let Some(found) = self.read_own(name).await? else {
            let made = self.create(self.leaf(name, &new()?, authority, listener)).await?;
            issued.push(name.to_owned());
            let made = material(&made).ok_or_else(|| unusable(name))?;
            return read_material(&made).map_err(Failure::Keys);
        };
        if let Some(current) = material(&found)
            && let Ok(certificate) = read_material(&current)
            && certificate.subject == *subject
            && !certificate.is_due(now)
            && is_signed_by(&current.certificate, &authority.current.certificate)
            && text(&found, "ca.crt").as_deref() == Some(authority.bundle().as_str())
        {
            return Ok(certificate);
        }
        let new = new()?;
        self.replace(&found, self.leaf(name, &new, authority, listener)).await?;
        issued.push(name.to_owned());
        read_material(&new).map_err(Failure::Keys)
    }

    async fn read_users(&self, listener: &ListenerSpec, secret: &str) -> Result<Certificate, Failure> {
        let problem = |reason, problem: String| Failure::Certificate {
            listener: listener.name.clone(),
            secret: secret.to_owned(),
            problem,
            reason,
        };
        let found = self.api.get_opt(secret).await.during("read the Secret of a listener")?;
        let Some(found) = found else {
            return Err(problem("SecretNotFound", "not found in the namespace of the MqttCluster".to_owned()));
        };
        // It would be removed as soon as no listener is self-signed into it, or with the cluster that it belongs to.
        if let Some(owner) = made_for(&found) {
            let wanted = "wanted a Secret of yours: copy it to another name, or set tls.selfSigned";
            return Err(problem(
                "SecretNotYours",
                format!("found that the operator made it for MqttCluster {owner}, {wanted}"),
            ));
        }
        let Some(material) = material(&found) else {
            // The other keys of the Secret are nobody's business.
            let missing: Vec<_> =
                ["tls.crt", "tls.key"].into_iter().filter(|key| text(&found, key).is_none()).collect();
            let problem_text =
                format!("found no {} that is text, wanted tls.crt and tls.key", missing.join(" and no "));
            return Err(problem("SecretInvalid", problem_text));
        };
        read_material(&material).map_err(|error| problem("SecretInvalid", format!("{error:#}")))
    }

    /// Makes sure that the brokers can check clients' certificates against what the user brought.
    async fn check_client_authority(&self, listener: &ListenerSpec, secret: &str) -> Result<(), Failure> {
        let problem = |reason, problem: String| Failure::Certificate {
            listener: listener.name.clone(),
            secret: secret.to_owned(),
            problem,
            reason,
        };
        let found = self.api.get_opt(secret).await.during("read the Secret with the authority of clients")?;
        let Some(found) = found else {
            return Err(problem("SecretNotFound", "not found in the namespace of the MqttCluster".to_owned()));
        };
        // It would go with the cluster that it belongs to, or change when that renews its certificates.
        if let Some(owner) = made_for(&found) {
            let words = format!("found that the operator made it for MqttCluster {owner}, wanted a Secret of yours");
            return Err(problem("SecretNotYours", words));
        }
        let Some(bundle) = text(&found, CA_FILE) else {
            return Err(problem("SecretInvalid", format!("found no {CA_FILE} that is text, wanted it")));
        };
        check_authorities(&bundle).map_err(|error| problem("SecretInvalid", format!("{error:#}")))
    }

    async fn read_own(&self, name: &str) -> Result<Option<Secret>, Failure> {
        let found = self.api.get_opt(name).await.during("read a Secret")?;
        found.map(|found| own_or_taken(found, "Secret", self.cluster)).transpose()
    }

    async fn create(&self, secret: Secret) -> Result<Secret, Failure> {
        let name = secret.name_any();
        let parameters = PostParams { field_manager: Some(labels::MANAGER.to_owned()), ..PostParams::default() };
        match self.api.create(&parameters, &secret).await {
            Ok(made) => Ok(made),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                self.read_own(&name).await?.ok_or(Failure::NameTaken { kind: "Secret", name })
            }
            Err(error) => Err(refused_or_passing("make a Secret", "Secret", &name, error)),
        }
    }

    /// Renews a Secret, if it is still the one that was read. Labels and annotations of others stay.
    async fn replace(&self, found: &Secret, mut renewed: Secret) -> Result<(), Failure> {
        let name = found.name_any();
        renewed.metadata.resource_version = found.metadata.resource_version.clone();
        let ours = renewed.metadata.labels.take().unwrap_or_default();
        renewed.metadata.labels = Some(found.labels().clone().into_iter().chain(ours).collect());
        renewed.metadata.annotations.clone_from(&found.metadata.annotations);
        let parameters = PostParams { field_manager: Some(labels::MANAGER.to_owned()), ..PostParams::default() };
        let replaced = self.api.replace(&name, &parameters, &renewed).await;
        replaced.map(drop).map_err(|error| refused_or_passing("renew a certificate", "Secret", &name, error))
    }

    fn leaf(&self, name: &str, leaf: &KeyMaterial, authority: &Authority, listener: Option<&str>) -> Secret {
        let bundle = authority.bundle();
        let data =
            [("tls.crt", leaf.certificate.as_str()), ("tls.key", leaf.key.as_str()), ("ca.crt", bundle.as_str())];
        let mut secret = self.secret(name, data.into());
        let listener = listener.map(|listener| (labels::LISTENER.to_owned(), listener.to_owned()));
        secret.metadata.labels.get_or_insert_default().extend(listener);
        secret
    }

    fn secret(&self, name: &str, data: BTreeMap<&str, &str>) -> Secret {
        let bytes = |(key, text): (&str, &str)| (key.to_owned(), ByteString(text.as_bytes().to_vec()));
        Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: self.cluster.namespace(),
                labels: Some(object_labels(&self.cluster.name_any())),
                owner_references: Some(vec![self.owner.clone()]),
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".to_owned()),
            data: Some(data.into_iter().map(bytes).collect()),
            ..Secret::default()
        }
    }
}

fn unusable(name: &str) -> Failure {
    Failure::Keys(anyhow::anyhow!("Secret {name} has no tls.crt or no tls.key: delete it, and new keys are made"))
}

fn material(secret: &Secret) -> Option<KeyMaterial> {
    Some(KeyMaterial { certificate: text(secret, "tls.crt")?, key: text(secret, "tls.key")? })
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    let ByteString(bytes) = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::cluster;

    #[test]
    fn links_are_checked_by_names_that_do_not_depend_on_the_number_of_pods() {
        let names = link_subject("demo", "shop").names;
        let wanted = [
            "*.demo-nodes.shop.svc",
            "*.demo-nodes.shop.svc.cluster.local",
            "demo-nodes.shop.svc",
            "demo-nodes.shop.svc.cluster.local",
        ];
        assert_eq!(names, wanted.map(str::to_owned).into());
    }

    #[test]
    fn a_listener_is_certified_for_its_service_and_for_what_the_user_adds() {
        let subject = listener_subject("demo", "shop", &cluster().spec.listeners[1]);
        let wanted = [
            "demo-mqtts",
            "demo-mqtts.shop",
            "demo-mqtts.shop.svc",
            "demo-mqtts.shop.svc.cluster.local",
            "mqtt.example.com",
        ];
        assert_eq!(subject.names, wanted.map(str::to_owned).into());
    }
}
