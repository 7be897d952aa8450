//! Values that tests start from.

use clap::Parser;
use fulmar_api::MqttCluster;
use kube::Client;
use kube::runtime::events::Reporter;
use serde_json::json;

use crate::context::Context;
use crate::settings::{ImageReference, Settings};

/// A cluster with a plain and a self-signed listener, as the API server would store it.
pub(crate) fn cluster() -> MqttCluster {
    serde_json::from_value(json!({
        "apiVersion": "mqtt.fulmar.dev/v1alpha1",
        "kind": "MqttCluster",
        "metadata": {"name": "demo", "namespace": "shop", "uid": "00000000-0000-0000-0000-000000000001", "generation": 1},
        "spec": {
            "listeners": [
                {"name": "mqtt", "protocol": "mqtt", "port": 1883},
                {"name": "mqtts", "protocol": "mqtts", "port": 443, "tls": {"selfSigned": {"dnsNames": ["mqtt.example.com"]}}},
            ],
            "auth": {"anonymous": true},
        },
    }))
    .unwrap()
}

/// The operator's broker image at a version.
pub(crate) fn image(version: &str) -> ImageReference {
    ImageReference { repository: "fulmar.dev/fulmar-broker".to_owned(), version: version.to_owned() }
}

/// What reconciliations share, with this API server.
pub(crate) fn context(client: Client) -> Context {
    let line = ["operator", "--broker-image", "fulmar.dev/fulmar-broker:v0.1.0"];
    let reporter = Reporter { controller: "test".to_owned(), instance: None };
    Context::new(client, Settings::try_parse_from(line).unwrap(), reporter).unwrap()
}
