//! The names of the objects that make up one cluster, written down once.
//!
//! A cluster's name is at most [`CLUSTER_NAME_MAX`] characters and a listener's at most [`LISTENER_NAME_MAX`], so
//! that every name below, and every pod and label that Kubernetes derives from it, stays within 63 characters.

/// The longest name of a cluster.
pub const CLUSTER_NAME_MAX: usize = 40;
/// The longest name of a listener; it is also the name of a container port, where Kubernetes allows 15.
pub const LISTENER_NAME_MAX: usize = 15;
/// The port on which brokers link with each other.
pub const CLUSTER_PORT: i32 = 7800;
/// The port on which brokers are asked about the cluster and told to drain.
pub const ADMIN_PORT: i32 = 7801;
/// The port for probes and metrics.
pub const HTTP_PORT: i32 = 8080;
/// The name of the claim template and of its volume.
pub const DATA_VOLUME: &str = "data";
/// The name of the broker's container.
pub const BROKER_CONTAINER: &str = "broker";

/// The headless Service whose name resolves to every pod.
pub fn nodes_service(cluster: &str) -> String {
    format!("{cluster}-nodes")
}

/// The Service of one listener.
pub fn listener_service(cluster: &str, listener: &str) -> String {
    format!("{cluster}-{listener}")
}

/// The immutable ConfigMap that holds `broker.yaml` and the pod template for one hash of the input.
pub fn config_map(cluster: &str, hash: &str) -> String {
    format!("{cluster}-config-{hash}")
}

/// The ServiceAccount of the pods; it has no rights and no token is mounted.
pub fn service_account(cluster: &str) -> String {
    format!("{cluster}-broker")
}

/// The Secret with the key of the cluster's own certificate authority, and the ConfigMap with its public part.
pub fn authority(cluster: &str) -> String {
    format!("{cluster}-ca")
}

/// The immutable ConfigMap with the id of the cluster that the brokers are members of.
pub fn identity(cluster: &str) -> String {
    format!("{cluster}-identity")
}

/// The Secret with the certificate for links between brokers.
pub fn internal_tls(cluster: &str) -> String {
    format!("{cluster}-internal-tls")
}

/// The Secret with the certificate of a listener that asked for a self-signed one.
pub fn listener_tls(cluster: &str, listener: &str) -> String {
    format!("{cluster}-{listener}-tls")
}

/// The port inside the container: pods run without privileges, so ports below 1024 move up by 10000.
pub fn container_port(service_port: i32) -> i32 {
    if service_port < 1024 { service_port + 10_000 } else { service_port }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_longest_cluster_is_a_dns_label() {
        let (cluster, listener) = ("c".repeat(CLUSTER_NAME_MAX), "l".repeat(LISTENER_NAME_MAX));
        let names = [
            nodes_service(&cluster),
            listener_service(&cluster, &listener),
            config_map(&cluster, "0123456789"),
            service_account(&cluster),
            authority(&cluster),
            identity(&cluster),
            internal_tls(&cluster),
            listener_tls(&cluster, &listener),
        ];
        for name in names {
            assert!(name.len() <= 63, "{name} has {} characters", name.len());
        }
    }

    #[test]
    fn privileged_ports_move_above_1024() {
        assert_eq!(
            [container_port(443), container_port(1023), container_port(1024), container_port(8883)],
            [10_443, 11_023, 1024, 8883]
        );
    }
}
