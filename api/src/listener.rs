//! Listeners: what clients connect to, with its certificate and its Service.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One way for clients to reach the cluster. Each listener has a Service named CLUSTER-LISTENER.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.protocol != 'mqtts' || has(self.tls)",
     "message": "a listener with protocol mqtts needs tls: set tls.secretName or tls.selfSigned"},
    {"rule": "self.protocol != 'mqtt' || !has(self.tls)",
     "message": "a listener with protocol mqtt has no tls: use protocol mqtts, or remove tls"},
    {"rule": "!(self.name in ['nodes', 'ca', 'internal', 'broker', 'tcp-cluster', 'tcp-admin', 'http'])",
     "message": "the listener names nodes, ca, internal, broker, tcp-cluster, tcp-admin and http are used by the cluster itself: choose another"}
]))]
pub struct ListenerSpec {
    /// Name of the listener, unique within the cluster: at most 15 lower-case letters, digits and single '-' between
    /// them, starting with a letter.
    #[schemars(length(min = 1, max = 15), regex(pattern = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"))]
    pub name: String,
    /// What clients speak: mqtt (MQTT over TCP) or mqtts (MQTT over TLS). MQTT 3.1.1 and 5.0 share one port.
    pub protocol: ListenerProtocol,
    /// Port of the listener's Service. Usual are 1883 for mqtt and 8883 for mqtts. Inside the pod, ports below 1024
    /// are moved up by 10000. 7800 and 8080 are used by the broker itself.
    #[schemars(range(min = 1, max = 65535), extend("x-kubernetes-validations" = [
        {"rule": "!(self in [7800, 8080])",
         "message": "ports 7800 (links between brokers) and 8080 (probes and metrics) are used by the broker itself: choose another"}
    ]))]
    pub port: i32,
    /// Certificate of an mqtts listener: exactly one of secretName and selfSigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// How the listener's Service is published. Unset: a ClusterIP Service, reachable inside the Kubernetes cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ListenerService>,
    /// What the listener's clients may take together on each broker. Unset: as much as all clients may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ListenerLimits>,
}

/// What the clients of one listener may take together on each broker, besides what config.limits allows those of all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerLimits {
    /// Connected clients of this listener on each broker; more are closed. Unset: as many as the broker may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000000))]
    pub connections: Option<i32>,
    /// Connections that each broker accepts on this listener in a second; more wait in its listen queue, and all are
    /// served. Unset: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000000))]
    pub connects_per_second: Option<i32>,
}

/// What clients of a listener speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ListenerProtocol {
    /// MQTT over TCP.
    Mqtt,
    /// MQTT over TLS.
    Mqtts,
}

impl ListenerProtocol {
    /// The scheme of a URI that reaches such a listener; also its name in the broker's configuration.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
        }
    }
}

/// Where the certificate of a listener comes from, and whether its clients show one too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.secretName) != has(self.selfSigned)",
     "message": "tls needs exactly one of secretName and selfSigned"},
    {"rule": "self.clientAuth == 'none' || has(self.clientCaSecretName)",
     "message": "clientAuth optional or required needs clientCaSecretName: the Secret with the authority of the clients' certificates"},
    {"rule": "self.clientAuth != 'none' || !has(self.clientCaSecretName)",
     "message": "clientCaSecretName needs clientAuth optional or required: set clientAuth, or remove clientCaSecretName"},
    {"rule": "self.clientAuth != 'none' || self.clientIdentity == 'none'",
     "message": "clientIdentity needs clientAuth optional or required: set clientAuth, or remove clientIdentity"}
]))]
pub struct ListenerTls {
    /// Name of a Secret of type kubernetes.io/tls in the same namespace, with tls.crt (the certificate followed by its
    /// chain) and tls.key. Brokers read it again when it changes; connected clients stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub secret_name: Option<String>,
    /// A certificate issued by the cluster's own certificate authority, whose public part is in ConfigMap CLUSTER-ca
    /// under ca.crt. It lasts one year and is renewed after two thirds of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_signed: Option<SelfSigned>,
    /// Whether clients show a certificate: none (they are not asked), optional or required. One that clientCaSecretName
    /// does not vouch for, or that has expired, ends the handshake. Default: none.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// Name of a Secret in the same namespace with the key ca.crt: the authorities that clients' certificates are checked
    /// against, in PEM. Brokers read it again when it changes; connected clients stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub client_ca_secret_name: Option<String>,
    /// The name in a client's certificate that is its user name, with no password then: commonName, or the one of kind
    /// dns, uri or email among its alternative names. none: the certificate lets a client in and names nobody.
    /// Default: none.
    #[serde(default)]
    pub client_identity: ClientIdentity,
}

/// Whether clients of a listener show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ClientAuth {
    /// They are not asked for one.
    #[default]
    None,
    /// They may.
    Optional,
    /// They must.
    Required,
}

/// Which name in a client's certificate is its user name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ClientIdentity {
    /// None of them.
    #[default]
    None,
    /// The common name of the subject.
    CommonName,
    /// The DNS name among the alternative names.
    Dns,
    /// The URI there, as SPIFFE has it.
    Uri,
    /// The email address there.
    Email,
}

/// What a self-signed listener certificate is valid for, besides the names of the listener's Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SelfSigned {
    /// Further DNS names that clients use; a leading "*." is allowed. The names of the listener's Service are always
    /// included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(
            length(min = 1, max = 253),
            regex(pattern = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
        )
    )]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub dns_names: Vec<String>,
    /// IP addresses that clients use, IPv4 or IPv6.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 2, max = 45)))]
    #[schemars(extend("x-kubernetes-list-type" = "set", "x-kubernetes-validations" = [
        {"rule": "self.all(a, isIP(a))", "message": "every one of ipAddresses must be an IPv4 or IPv6 address"}
    ]))]
    pub ip_addresses: Vec<String>,
}

/// How a listener's Service is published.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerService {
    /// Type of the Service: ClusterIP, NodePort or LoadBalancer.
    #[serde(default, rename = "type")]
    pub kind: ServiceType,
    /// Annotations of the Service, as load-balancer controllers read them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64), schema_with = "crate::crd::string_map")]
    pub annotations: BTreeMap<String, String>,
}

/// Type of a listener's Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// Reachable inside the Kubernetes cluster.
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    /// Reachable on a port of every node.
    NodePort,
    /// Reachable through a load balancer of the cloud or of the cluster.
    LoadBalancer,
}

impl ServiceType {
    /// The name that Kubernetes uses in a Service.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}
