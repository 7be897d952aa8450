//! The brokers' configuration file: what the operator sets, with the user's settings laid under it.
//!
//! The types and every rule about a single setting live in `fulmar-config`, so what passes here starts in the pod.
//! This file only knows which settings belong to the operator.

use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use fulmar_api::{AuthSpec, ClientAuth, ClientIdentity, ListenerProtocol, names};
use fulmar_config::{
    AdminConfig, ClientCertificate, ClusterTls, Config, HttpConfig, ListenerConfig, ListenerLimits, ListenerTls, Peer,
    Protocol,
};
use serde_json::{Map, Value};

use crate::validate::{ClientCertificates, Listener};

/// Where the configuration is mounted, as a folder: Kubernetes does not renew what is mounted by subPath.
pub(crate) const CONFIG_FOLDER: &str = "/etc/fulmar/config";
/// The key in the ConfigMap and the name of the file.
pub(crate) const CONFIG_FILE: &str = "broker.yaml";
/// Where the certificate for links is mounted.
pub(crate) const CLUSTER_TLS_FOLDER: &str = "/etc/fulmar/cluster-tls";
/// Where the certificates of listeners are mounted, each in a folder of the listener's name.
pub(crate) const LISTENERS_FOLDER: &str = "/etc/fulmar/listeners";
/// Where the Secret with users is mounted, and its key.
pub(crate) const USERS_FOLDER: &str = "/etc/fulmar/auth/users";
pub(crate) const USERS_FILE: &str = "users";
/// Where the Secret with access rules is mounted, and its key.
pub(crate) const ACCESS_FOLDER: &str = "/etc/fulmar/auth/access";
pub(crate) const ACCESS_FILE: &str = "access.yaml";
/// Where the authorities of clients are mounted, each in a folder of the listener's name, and their key.
pub(crate) const CLIENT_CA_FOLDER: &str = "/etc/fulmar/client-ca";
pub(crate) const CA_FILE: &str = "ca.crt";
/// Where what Kubernetes says of the pod is mounted, and the file with the zone of its node.
pub(crate) const POD_FOLDER: &str = "/etc/fulmar/pod";
pub(crate) const ZONE_FILE: &str = "zone";
/// Where the volume is mounted.
pub(crate) const DATA_FOLDER: &str = "/data";

/// Every address of a pod: the broker takes IPv4 on it too, and that alone where a node is without IPv6.
const EVERYWHERE: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// What a user may set. Everything else is the operator's.
const USER_KEYS: &[&str] = &[
    "auth.backoff",
    "auth.identity",
    "auth.queued",
    "auth.threads",
    "cluster.heartbeat",
    "cluster.resumeMilliseconds",
    "cluster.reconnect",
    "durability",
    "limits",
    "log",
    "memory",
    "shutdown",
    "sysIntervalSeconds",
    "threads",
];
/// Keys that exist and are set by the operator, with the field of the spec that stands for them.
const OPERATOR_KEYS: &[(&str, &str)] = &[
    ("name", "each pod has its own name"),
    ("dataDir", "the volume of spec.storage is always used"),
    ("allowAnonymous", "set spec.auth.anonymous"),
    ("auth.passwordFile", "set spec.auth.usersSecretName"),
    ("auth.accessFile", "set spec.auth.aclSecretName"),
    ("listeners", "set spec.listeners"),
    ("http", "probes and metrics are always on port 8080"),
    ("admin", "brokers are always asked on port 7801"),
    ("cluster.address", "links are always on port 7800"),
    ("cluster.port", "links are always on port 7800"),
    ("cluster.peers", "the pods of the cluster are each other's peers"),
    ("cluster.tls", "links always use the cluster's own certificates"),
    ("cluster.id", "each cluster has its own"),
    ("cluster.bootstrap", "the first pod begins the cluster"),
    ("cluster.zone", "each pod is in the zone of its node"),
    ("cluster.zoneFile", "each pod is in the zone of its node"),
    ("cluster.bootIdFile", "pods read that of their machine"),
];

/// One thing that is wrong with the user's settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("config.{path}: found {found}, wanted {wanted}")]
pub(crate) struct SettingError {
    pub(crate) path: String,
    pub(crate) found: String,
    pub(crate) wanted: String,
}

/// The configuration of every pod of a cluster, or all that is wrong with the user's part of it. Nothing in it depends
/// on the number of pods.
pub(crate) fn build_config(
    cluster: &str,
    namespace: &str,
    listeners: &[Listener],
    auth: &AuthSpec,
    user: &Map<String, Value>,
) -> Result<Config, Vec<SettingError>> {
    let mut errors = operator_settings(user);
    // The rest is checked all the same, so that everything is told at once.
    let own = without(user, &errors);
    let text = serde_json::to_string(&own).expect("a JSON object can be written");
    let checked = fulmar_config::check(&text);
    let wrong = checked.as_ref().err().into_iter().flatten().map(|error| SettingError {
        path: error.path.clone(),
        found: error.found.clone(),
        wanted: error.wanted.clone(),
    });
    errors.extend(wrong);
    let Ok(checked) = checked else { return Err(errors) };
    if !errors.is_empty() {
        return Err(errors);
    }
    let config = with_operator_settings(checked, cluster, namespace, listeners, auth);
    // The rules between settings are checked once more with the operator's own in place.
    match fulmar_config::check(&config.to_yaml()) {
        Ok(config) => Ok(config),
        Err(errors) => Err(errors
            .into_iter()
            .map(|error| SettingError { path: error.path, found: error.found, wanted: error.wanted })
            .collect()),
    }
}

/// The user's settings without those that are refused already.
fn without(user: &Map<String, Value>, refused: &[SettingError]) -> Map<String, Value> {
    let mut own = user.clone();
    for SettingError { path, .. } in refused {
        match path.split_once('.') {
            Some((section, key)) => drop(own.get_mut(section).and_then(|it| it.as_object_mut()?.remove(key))),
            None => drop(own.remove(path)),
        }
    }
    own
}

fn operator_settings(user: &Map<String, Value>) -> Vec<SettingError> {
    let given = |path: &str| match path.split_once('.') {
        Some((section, key)) => user.get(section).and_then(Value::as_object).is_some_and(|it| it.contains_key(key)),
        None => user.contains_key(path),
    };
    let taken = OPERATOR_KEYS.iter().filter(|(path, _)| given(path));
    taken
        .map(|(path, instead)| SettingError {
            path: (*path).to_owned(),
            found: "a setting of the operator".to_owned(),
            wanted: format!("none ({instead}); allowed are {}", USER_KEYS.join(", ")),
        })
        .collect()
}

fn with_operator_settings(
    mut config: Config,
    cluster: &str,
    namespace: &str,
    listeners: &[Listener],
    auth: &AuthSpec,
) -> Config {
    let folder = PathBuf::from(CLUSTER_TLS_FOLDER);
    config.name = None;
    config.data_dir = Some(PathBuf::from(DATA_FOLDER));
    let AuthSpec { anonymous, users_secret_name, acl_secret_name } = auth;
    config.allow_anonymous = Some(*anonymous);
    config.auth.password_file = users_secret_name.as_ref().map(|_| Path::new(USERS_FOLDER).join(USERS_FILE));
    config.auth.access_file = acl_secret_name.as_ref().map(|_| Path::new(ACCESS_FOLDER).join(ACCESS_FILE));
    config.listeners = listeners.iter().map(listener_config).collect();
    config.http = Some(HttpConfig { address: EVERYWHERE, port: port(names::HTTP_PORT) });
    config.admin = Some(AdminConfig { address: EVERYWHERE, port: port(names::ADMIN_PORT) });
    let mut links = config.cluster.unwrap_or_default();
    links.address = EVERYWHERE;
    links.port = port(names::CLUSTER_PORT);
    links.peers = vec![Peer {
        host: format!("{}.{namespace}.svc", names::nodes_service(cluster)),
        port: port(names::CLUSTER_PORT),
    }];
    links.tls = Some(ClusterTls {
        cert_file: folder.join("tls.crt"),
        key_file: folder.join("tls.key"),
        ca_file: folder.join("ca.crt"),
    });
    links.zone_file = Some(Path::new(POD_FOLDER).join(ZONE_FILE));
    config.cluster = Some(links);
    config
}

fn listener_config(listener: &Listener) -> ListenerConfig {
    let folder = PathBuf::from(LISTENERS_FOLDER).join(&listener.name);
    let protocol = match listener.protocol {
        ListenerProtocol::Mqtt => Protocol::Mqtt,
        ListenerProtocol::Mqtts => Protocol::Mqtts,
    };
    let tls = listener.certificate_secret.is_some().then(|| {
        let server = ListenerTls::new(folder.join("tls.crt"), folder.join("tls.key"));
        match &listener.clients {
            Some(clients) => with_clients(server, &listener.name, clients),
            None => server,
        }
    });
    let port = port(listener.container_port);
    ListenerConfig {
        name: listener.name.clone(),
        protocol,
        address: EVERYWHERE,
        port,
        tls,
        limits: listener_limits(&listener.limits),
    }
}

/// The schema allows no limit of 0 or less; in the brokers' file 0 is none.
fn listener_limits(limits: &fulmar_api::ListenerLimits) -> ListenerLimits {
    let number = |limit: Option<i32>| limit.map_or(0, |limit| u32::try_from(limit).unwrap_or(0));
    let fulmar_api::ListenerLimits { connections, connects_per_second } = limits;
    ListenerLimits { connections: number(*connections), connects_per_second: number(*connects_per_second) }
}

fn with_clients(server: ListenerTls, listener: &str, clients: &ClientCertificates) -> ListenerTls {
    let ClientCertificates { auth, authority_secret: _, identity } = clients;
    ListenerTls {
        client_certificate: match auth {
            ClientAuth::None => ClientCertificate::None,
            ClientAuth::Optional => ClientCertificate::Optional,
            ClientAuth::Required => ClientCertificate::Required,
        },
        client_ca_file: Some(Path::new(CLIENT_CA_FOLDER).join(listener).join(CA_FILE)),
        client_identity: match identity {
            ClientIdentity::None => fulmar_config::ClientIdentity::None,
            ClientIdentity::CommonName => fulmar_config::ClientIdentity::CommonName,
            ClientIdentity::Dns => fulmar_config::ClientIdentity::Dns,
            ClientIdentity::Uri => fulmar_config::ClientIdentity::Uri,
            ClientIdentity::Email => fulmar_config::ClientIdentity::Email,
        },
        ..server
    }
}

fn port(port: i32) -> u16 {
    u16::try_from(port).expect("the schema allows ports from 1 to 65535 only")
}

#[cfg(test)]
mod tests {
    use fulmar_config::Durability;
    use serde_json::json;

    use super::*;

    fn user(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(settings) => settings,
            other => panic!("found {other}, wanted an object"),
        }
    }

    fn anonymous() -> AuthSpec {
        AuthSpec { anonymous: true, ..AuthSpec::default() }
    }

    fn listeners() -> Vec<Listener> {
        let plain = Listener {
            name: "mqtt".to_owned(),
            protocol: ListenerProtocol::Mqtt,
            port: 1883,
            container_port: 1883,
            certificate_secret: None,
            clients: None,
            service: fulmar_api::ListenerService::default(),
            limits: fulmar_api::ListenerLimits::default(),
        };
        let secure = Listener {
            name: "mqtts".to_owned(),
            protocol: ListenerProtocol::Mqtts,
            port: 443,
            container_port: 10_443,
            certificate_secret: Some("demo-mqtts-tls".to_owned()),
            ..plain.clone()
        };
        vec![plain, secure]
    }

    #[test]
    fn the_file_names_listeners_peers_and_certificates() {
        let config = build_config("demo", "shop", &listeners(), &anonymous(), &Map::new()).unwrap();
        let yaml = config.to_yaml();
        let found = fulmar_config::check(&yaml).unwrap();
        assert_eq!(found, config);
        assert_eq!(config.cluster.unwrap().peers[0].to_string(), "demo-nodes.shop.svc:7800");
        assert_eq!(config.allow_anonymous, Some(true));
        let tls = config.listeners[1].tls.clone().unwrap();
        assert_eq!(tls.cert_file.to_str(), Some("/etc/fulmar/listeners/mqtts/tls.crt"));
        assert_eq!(config.listeners[1].port, 10_443);
    }

    #[test]
    fn the_file_has_the_limits_of_each_listener() {
        let mut listeners = listeners();
        let limits = |connections, connects_per_second| fulmar_api::ListenerLimits { connections, connects_per_second };
        listeners[1].limits = limits(Some(5000), None);
        listeners.push(Listener { name: "other".to_owned(), port: 1884, container_port: 1884, ..listeners[0].clone() });
        listeners[2].limits = limits(Some(1), Some(200));
        let config = build_config("demo", "shop", &listeners, &anonymous(), &Map::new()).unwrap();
        let found = fulmar_config::check(&config.to_yaml()).unwrap();
        let limits: Vec<_> =
            found.listeners.iter().map(|it| (it.limits.connections, it.limits.connects_per_second)).collect();
        assert_eq!(limits, [(0, 0), (5000, 0), (1, 200)]);
    }

    #[test]
    fn the_file_names_where_users_rules_and_authorities_of_clients_are_mounted() {
        let mut listeners = listeners();
        listeners[1].clients = Some(ClientCertificates {
            auth: ClientAuth::Optional,
            authority_secret: "devices".to_owned(),
            identity: ClientIdentity::CommonName,
        });
        let names = ["mine", "rules"].map(|name| Some(name.to_owned()));
        let [users_secret_name, acl_secret_name] = names;
        let auth = AuthSpec { anonymous: false, users_secret_name, acl_secret_name };
        let user = user(json!({"auth": {"identity": "usernameIsClientId"}}));
        let config = build_config("demo", "shop", &listeners, &auth, &user).unwrap();
        assert_eq!(config.auth.password_file, Some("/etc/fulmar/auth/users/users".into()));
        assert_eq!(config.auth.access_file, Some("/etc/fulmar/auth/access/access.yaml".into()));
        assert_eq!(config.auth.identity, fulmar_config::IdentityRule::UsernameIsClientId);
        let folder = Path::new("/etc/fulmar/listeners/mqtts");
        let wanted = ListenerTls {
            client_certificate: ClientCertificate::Optional,
            client_ca_file: Some("/etc/fulmar/client-ca/mqtts/ca.crt".into()),
            client_identity: fulmar_config::ClientIdentity::CommonName,
            ..ListenerTls::new(folder.join("tls.crt"), folder.join("tls.key"))
        };
        assert_eq!(config.listeners[1].tls, Some(wanted));
    }

    #[test]
    fn every_port_is_open_to_both_families_of_addresses() {
        let config = build_config("demo", "shop", &listeners(), &anonymous(), &Map::new()).unwrap();
        let listeners = config.listeners.iter().map(|listener| listener.address);
        let others = [config.cluster.unwrap().address, config.http.unwrap().address, config.admin.unwrap().address];
        assert!(listeners.chain(others).all(|address| address.to_string() == "::"));
    }

    #[test]
    fn without_a_word_of_the_user_everything_acknowledged_is_on_disks() {
        let config = build_config("demo", "shop", &listeners(), &anonymous(), &Map::new()).unwrap();
        assert_eq!((config.durability, config.data_dir), (Durability::Fsync, Some(DATA_FOLDER.into())));
    }

    #[test]
    fn settings_of_the_user_reach_the_file() {
        let config = user(json!({
            "limits": {"queuedMessages": 50},
            "cluster": {"heartbeat": {"intervalMilliseconds": 200}},
            "shutdown": {"graceSeconds": 5},
            "durability": "memory",
        }));
        let config = build_config("demo", "shop", &listeners(), &AuthSpec::default(), &config).unwrap();
        assert_eq!(config.limits.queued_messages, 50);
        assert_eq!(config.cluster.unwrap().heartbeat.interval_milliseconds, 200);
        assert_eq!(config.shutdown.grace_seconds, 5);
        assert_eq!(config.durability, Durability::Memory);
    }

    #[test]
    fn an_unknown_setting_is_named_with_its_path() {
        let config = user(json!({"limits": {"queuedMesages": 50}}));
        let errors = build_config("demo", "shop", &listeners(), &AuthSpec::default(), &config).unwrap_err();
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].path, "limits.queuedMesages");
    }

    #[test]
    fn settings_of_the_operator_and_other_errors_are_told_together() {
        let config = user(json!({"name": "x", "cluster": {"port": 1}, "limits": {"queuedMesages": 50}}));
        let errors = build_config("demo", "shop", &listeners(), &AuthSpec::default(), &config).unwrap_err();
        let paths: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(paths, ["name", "cluster.port", "limits.queuedMesages"]);
    }

    #[test]
    fn settings_of_the_operator_are_refused_with_what_to_set_instead() {
        let config = user(json!({"listeners": [], "cluster": {"peers": []}, "auth": {"passwordFile": "x"}}));
        let errors = build_config("demo", "shop", &listeners(), &AuthSpec::default(), &config).unwrap_err();
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        let allowed = "auth.backoff, auth.identity, auth.queued, auth.threads, cluster.heartbeat, cluster.resumeMilliseconds, \
             cluster.reconnect, durability, limits, log, memory, shutdown, sysIntervalSeconds, threads";
        assert_eq!(
            lines,
            [
                format!(
                    "config.auth.passwordFile: found a setting of the operator, wanted none (set spec.auth.usersSecretName); allowed are {allowed}"
                ),
                format!(
                    "config.listeners: found a setting of the operator, wanted none (set spec.listeners); allowed are {allowed}"
                ),
                format!(
                    "config.cluster.peers: found a setting of the operator, wanted none (the pods of the cluster are each other's peers); allowed are {allowed}"
                ),
            ]
        );
    }
}
