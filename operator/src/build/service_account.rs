//! The ServiceAccount of the pods: a name without rights, so that none of the namespace's default ones reach a broker.

use fulmar_api::names;
use k8s_openapi::api::core::v1::ServiceAccount;

use super::metadata::metadata;
use crate::validate::ValidatedCluster;

pub(super) fn build_service_account(cluster: &ValidatedCluster) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(cluster, names::service_account(&cluster.name)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
