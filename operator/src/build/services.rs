//! Services: one for the pods among themselves, one for each listener.

use fulmar_api::{labels, names};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata::{metadata, pod_selector};
use crate::validate::{Listener, ValidatedCluster};

pub(super) fn build_services(cluster: &ValidatedCluster) -> Vec<Service> {
    let listeners = cluster.listeners.iter().map(|listener| build_listener(cluster, listener));
    std::iter::once(build_nodes(cluster)).chain(listeners).collect()
}

/// Resolves to every pod, ready or not: brokers must find each other before they are ready.
fn build_nodes(cluster: &ValidatedCluster) -> Service {
    Service {
        metadata: metadata(cluster, names::nodes_service(&cluster.name)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(pod_selector(&cluster.name)),
            ports: Some(vec![
                tcp_port("tcp-cluster", names::CLUSTER_PORT, "tcp-cluster", "tcp"),
                tcp_port("http", names::HTTP_PORT, "http", "http"),
            ]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn build_listener(cluster: &ValidatedCluster, listener: &Listener) -> Service {
    let Listener { name, port, service, protocol: _, container_port: _, certificate_secret: _, clients: _, limits: _ } =
        listener;
    let mut metadata = metadata(cluster, names::listener_service(&cluster.name, name));
    metadata.labels.get_or_insert_default().insert(labels::LISTENER.to_owned(), name.clone());
    if !service.annotations.is_empty() {
        metadata.annotations = Some(service.annotations.clone());
    }
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(service.kind.as_str().to_owned()),
            selector: Some(pod_selector(&cluster.name)),
            ports: Some(vec![tcp_port(name, *port, name, "tcp")]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// A mesh that guesses protocols would wait for the client's first bytes, so each port says what it carries.
fn tcp_port(name: &str, port: i32, target: &str, app_protocol: &str) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(target.to_owned())),
        app_protocol: Some(app_protocol.to_owned()),
        ..ServicePort::default()
    }
}
