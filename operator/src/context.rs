//! What every reconciliation shares.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, PoisonError};

use fulmar_api::{AuthSpec, MqttCluster};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::SignedDuration;
use kube::runtime::events::{Event, Reporter};
use kube::{Client, ResourceExt};

use crate::backoff::Backoffs;
use crate::drain::ask::Drains;
use crate::metrics::Metrics;
use crate::pulse::Pulse;
use crate::readings::{ClusterKey, Readings, exists};
use crate::recorder::NoteRecorder;
use crate::refresh::Passes;
use crate::settings::Settings;

/// The client, the settings, and what is remembered between reconciliations.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) recorder: NoteRecorder,
    pub(crate) metrics: Metrics,
    pub(crate) readings: Readings,
    pub(crate) secrets: SecretIndex,
    pub(crate) passes: Passes,
    pub(crate) drains: Drains,
    pub(crate) backoffs: Backoffs,
    pub(crate) pulse: Pulse,
    /// Scopes whose clusters have not all been read since the start.
    pub(crate) scopes_pending: AtomicUsize,
}

impl Context {
    /// What every reconciliation shares, at its beginning.
    pub(crate) fn new(client: Client, settings: Settings, reporter: Reporter) -> Result<Self, prometheus::Error> {
        Ok(Self {
            recorder: NoteRecorder::new(client.clone(), reporter),
            client,
            metrics: Metrics::new()?,
            readings: Readings::default(),
            secrets: SecretIndex::default(),
            passes: Passes::default(),
            drains: Drains::default(),
            backoffs: Backoffs::default(),
            pulse: Pulse::default(),
            scopes_pending: AtomicUsize::new(settings.scopes().len()),
            settings,
        })
    }

    /// Forgets every cluster of this namespace (`None`: of all) that does not exist any more.
    pub(crate) fn retain(&self, scope: Option<&str>, existing: &HashSet<ClusterKey>) {
        self.readings.retain(scope, existing);
        self.secrets.retain(scope, existing);
        self.passes.retain(scope, existing);
        self.drains.retain(scope, existing);
        self.backoffs.retain(scope, existing);
    }

    /// Events are for people; one that cannot be written stops nothing.
    pub(crate) async fn tell(&self, about: &ObjectReference, events: Vec<Event>) {
        for event in events {
            if let Err(error) = self.recorder.publish(&event, about).await {
                tracing::warn!(%error, reason = event.reason, "event not written");
            }
        }
    }

    /// How old a reading may be: two rounds may fail.
    pub(crate) fn reading_age_max(&self) -> SignedDuration {
        SignedDuration::try_from(self.settings.scrape_interval() * 3).unwrap_or(SignedDuration::MAX)
    }
}

/// Which clusters use which Secrets of the user, so that a change of one reaches them at once. Its size is bounded by
/// the listeners of existing clusters.
#[derive(Debug, Default)]
pub(crate) struct SecretIndex {
    users: Mutex<HashMap<ClusterKey, BTreeSet<String>>>,
}

impl SecretIndex {
    /// Notes the Secrets that a cluster names now.
    pub(crate) fn note(&self, cluster: &MqttCluster) {
        let key = (cluster.namespace().unwrap_or_default(), cluster.name_any());
        let tls = cluster.spec.listeners.iter().filter_map(|listener| listener.tls.as_ref());
        let certificates = tls.flat_map(|tls| tls.secret_name.iter().chain(&tls.client_ca_secret_name));
        let AuthSpec { anonymous: _, users_secret_name, acl_secret_name } = &cluster.spec.auth;
        let named = certificates.chain(users_secret_name).chain(acl_secret_name).cloned();
        self.lock().insert(key, named.collect());
    }

    /// Names of the clusters that use a Secret.
    pub(crate) fn clusters_of(&self, namespace: &str, secret: &str) -> Vec<String> {
        let users = self.lock();
        let using = users.iter().filter(|((found, _), secrets)| found == namespace && secrets.contains(secret));
        using.map(|((_, cluster), _)| cluster.clone()).collect()
    }

    /// Forgets every cluster of this namespace (`None`: of all) that does not exist any more.
    pub(crate) fn retain(&self, scope: Option<&str>, existing: &HashSet<ClusterKey>) {
        self.lock().retain(|key, _| exists(key, scope, existing));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ClusterKey, BTreeSet<String>>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::cluster;

    #[test]
    fn a_secret_leads_to_the_clusters_that_name_it_now() {
        let index = SecretIndex::default();
        let mut cluster = cluster();
        let tls = cluster.spec.listeners[1].tls.as_mut().unwrap();
        (tls.self_signed, tls.secret_name) = (None, Some("mine".to_owned()));
        index.note(&cluster);
        assert_eq!(index.clusters_of("shop", "mine"), ["demo"]);
        assert_eq!(index.clusters_of("other", "mine"), Vec::<String>::new());
        cluster.spec.listeners[1].tls.as_mut().unwrap().secret_name = Some("yours".to_owned());
        index.note(&cluster);
        assert_eq!(index.clusters_of("shop", "mine"), Vec::<String>::new());
        cluster.spec.auth.users_secret_name = Some("users".to_owned());
        cluster.spec.auth.acl_secret_name = Some("rules".to_owned());
        cluster.spec.listeners[1].tls.as_mut().unwrap().client_ca_secret_name = Some("devices".to_owned());
        index.note(&cluster);
        for secret in ["yours", "users", "rules", "devices"] {
            assert_eq!(index.clusters_of("shop", secret), ["demo"], "{secret}");
        }
        index.retain(None, &HashSet::new());
        assert_eq!(index.clusters_of("shop", "yours"), Vec::<String>::new());
    }
}
