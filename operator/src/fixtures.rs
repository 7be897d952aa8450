//! Values that tests start from.

use fulmar_api::MqttCluster;
use serde_json::json;

use crate::settings::ImageReference;

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
